"""Unix and loopback sockets: against the host's where sequences are the same, otherwise by expectation."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from typing import Any

import pytest
from faketask import FakeTask
from hypothesis import given, settings
from hypothesis import strategies as st

from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.net import unix_gc
from nvsandbox.sentry.syscalls import socket as so
from nvsandbox.sentry.syscalls import socket_msg as sm
from nvsandbox.sentry.syscalls.event_pipe import sys_pipe2

NB = 0o4000
UNIX, INET, INET6 = 1, 2, 10


def task(uid: int = 0) -> Any:
    t: Any = FakeTask(uid=uid)
    t.k.procs = {t.tg.pid: t.tg}
    return t


def call(t: Any, fn: Any, *a: int) -> int:
    try:
        return fn(t, *a)
    except SysErr as e:
        return -e.errno


def pair(t: Any, kind: int, family: int = UNIX) -> tuple[int, int]:
    a = t.room(8)
    assert so.sys_socketpair(t, family, kind | NB, 0, a) == 0
    x, y = struct.unpack("ii", t.get(a, 8))
    return x, y


def send(t: Any, fd: int, data: bytes, flags: int = 0) -> int:
    return call(t, sm.sys_sendto, fd, t.put(data), len(data), flags, 0, 0)


def recv(t: Any, fd: int, n: int, flags: int = 0) -> Any:
    a = t.room(n)
    r = call(t, sm.sys_recvfrom, fd, a, n, flags, 0, 0)
    return (r, t.get(a, min(r, n))) if r >= 0 else r


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["send", "send", "recv", "peek", "trunc", "shut", "close", "poll", "err", "q"]
        ),
        st.integers(0, 1),
        st.sampled_from([0, 1, 3, 10, 100]),
    ),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([1, 2, 5]))
def test_pairs_same_as_host(steps: list[tuple[str, int, int]], kind: int) -> None:
    import fcntl
    import select

    t = task()
    hs = list(socket.socketpair(socket.AF_UNIX, kind))
    fds = pair(t, kind)
    alive = [True, True]
    try:
        for s in hs:
            s.setblocking(False)
        for what, i, n in steps:
            if what in ("recv", "peek", "trunc"):
                n = n or 1  # socket.recv(0) makes no call at all
            t.reset_mem()
            if not alive[i]:
                continue
            h = hs[i]
            f = fds[i]
            try:
                want: Any = None
                if what == "send":
                    want = h.send(b"abcdefghij" * 10 if n == 100 else b"x" * n, socket.MSG_NOSIGNAL)
                elif what == "recv":
                    d = h.recv(n)
                    want = (len(d), d)
                elif what == "peek":
                    d = h.recv(n, socket.MSG_PEEK)
                    want = (len(d), d)
                elif what == "trunc":
                    want = h.recv_into(bytearray(max(n, 1)), n or 1, socket.MSG_TRUNC)
                elif what == "shut":
                    h.shutdown(n % 3)
                    want = 0
                elif what == "err":
                    want = h.getsockopt(1, 4)
                elif what == "q":
                    buf = array.array("i", [0])
                    fcntl.ioctl(h, 0x541B, buf)
                    want = buf[0]
                elif what == "poll":
                    p = select.poll()
                    p.register(h, 0x3FFF)
                    got = p.poll(0)
                    want = got[0][1] & ~0x300 if got else 0
                elif what == "close":
                    h.close()
            except OSError as e:
                want = -(e.errno or 0)
            if what == "send":
                mine: Any = send(t, f, b"abcdefghij" * 10 if n == 100 else b"x" * n, 0x4000)
            elif what == "recv":
                mine = recv(t, f, n)
            elif what == "peek":
                mine = recv(t, f, n, 2)
            elif what == "trunc":
                r = recv(t, f, n or 1, 0x20)
                mine = r if isinstance(r, int) else r[0]
            elif what == "shut":
                mine = call(t, so.sys_shutdown, f, n % 3)
            elif what == "err":
                a = t.put(struct.pack("ii", 0, 4))
                so.sys_getsockopt(t, f, 1, 4, a, a + 4)
                mine = struct.unpack("i", t.get(a, 4))[0]
            elif what == "q":
                mine = t.files.get(f).queued()
            elif what == "poll":
                mine = t.files.get(f).poll(t) & 0x3FFF & ~0x300
            else:
                alive[i] = False
                t.files.remove(f).decref()
                mine = None
            assert mine == want, (what, i, n)
    finally:
        for s in hs:
            s.close()


def sun(name: bytes) -> bytes:
    return struct.pack("<H", 1) + name


def bind(t: Any, fd: int, raw: bytes) -> int:
    return call(t, so.sys_bind, fd, t.put(raw), len(raw))


def connect(t: Any, fd: int, raw: bytes) -> int:
    return call(t, so.sys_connect, fd, t.put(raw), len(raw))


def name(t: Any, fn: Any, fd: int) -> bytes:
    a, n = t.room(128), t.put(struct.pack("i", 128))
    assert fn(t, fd, a, n) == 0
    return t.get(a, struct.unpack("i", t.get(n, 4))[0])


def test_abstract_listen_accept() -> None:
    t = task()
    srv = so.sys_socket(t, UNIX, 1 | NB, 0)
    assert call(t, so.sys_listen, srv, 5) == -errno.EINVAL
    assert bind(t, srv, sun(b"\0abc")) == 0
    assert so.sys_listen(t, srv, 5) == 0
    cli = so.sys_socket(t, UNIX, 1 | NB, 0)
    assert connect(t, cli, sun(b"\0abd")) == -errno.ECONNREFUSED
    assert connect(t, cli, sun(b"\0abc")) == 0
    a, n = t.room(128), t.put(struct.pack("i", 128))
    con = so.sys_accept4(t, srv, a, n, NB)
    assert t.get(n, 4) == struct.pack("i", 2)
    assert name(t, so.sys_getpeername, cli) == sun(b"\0abc")
    assert send(t, cli, b"hello") == 5
    assert recv(t, con, 10) == (5, b"hello")
    opt = t.put(struct.pack("iIIi", 0, 0, 0, 12))
    so.sys_getsockopt(t, con, 1, 17, opt, opt + 12)
    assert struct.unpack("iII", t.get(opt, 12)) == (t.tg.pid, 0, 0)
    for fd in (srv, cli, con):
        t.files.remove(fd).decref()


def sendmsg(t: Any, fd: int, data: bytes, fds: list[int], flags: int = 0) -> int:
    ctl = struct.pack("<Qii", 16 + 4 * len(fds), 1, 1) + struct.pack(f"{len(fds)}i", *fds)
    iov = t.iovec((t.put(data), len(data)))
    m = t.put(
        struct.pack(
            "<QIIQQQQII", 0, 0, 0, iov, 1, t.put(ctl) if fds else 0, len(ctl) if fds else 0, 0, 0
        )
    )
    return call(t, sm.sys_sendmsg, fd, m, flags)


def recvmsg(t: Any, fd: int, n: int = 100, room: int = 256) -> tuple[int, bytes, int]:
    ctl = t.room(max(room, 1))
    m = t.put(struct.pack("<QIIQQQQII", 0, 0, 0, t.iovec((t.room(n), n)), 1, ctl, room, 0, 0))
    r = call(t, sm.sys_recvmsg, fd, m, 0)
    used, flags = struct.unpack("<QI", t.get(m + 40, 12))
    return r, t.get(ctl, used), flags


def test_rights() -> None:
    t = task()
    a, b = pair(t, 1)
    p = t.room(8)
    sys_pipe2(t, p, 0)
    r, w = struct.unpack("ii", t.get(p, 8))
    assert sendmsg(t, a, b"m", [r, w]) == 1
    t.files.remove(r).decref()
    got, ctl, flags = recvmsg(t, b)
    assert (got, flags) == (1, 0)
    n, level, kind, nr, nw = struct.unpack("<Qiiii", ctl)
    assert (n, level, kind) == (24, 1, 1)
    t.files.get(nw).write(t, b"z")
    assert t.files.get(nr).read(t, 5) == b"z"
    assert sendmsg(t, a, b"m", [99]) == -errno.EBADF
    assert sendmsg(t, a, b"m", [nr, nw]) == 1
    got, ctl, flags = recvmsg(t, b, room=20)
    assert flags & 8 and struct.unpack("<Q", ctl[:8])[0] == 20


def test_cycles_are_collected() -> None:
    t = task()
    a, b = pair(t, 1)
    fa = t.files.get(a)
    assert sendmsg(t, a, b"m", [a, b]) == 1
    before = unix_gc._files
    t.files.remove(a).decref()
    t.files.remove(b).decref()
    assert not fa.dead
    t.files.remove(so.sys_socket(t, UNIX, 1, 0)).decref()  # any close collects
    assert unix_gc._files == before - 2
    assert fa.dead


def test_dgram_names_and_limits() -> None:
    t = task()
    a, b = so.sys_socket(t, UNIX, 2 | NB, 0), so.sys_socket(t, UNIX, 2 | NB, 0)
    assert bind(t, a, sun(b"")) == 0
    nm = name(t, so.sys_getsockname, a)
    assert len(nm) == 8 and nm[2] == 0
    assert connect(t, b, nm) == 0
    sent = 0
    while send(t, b, b"x") == 1:
        sent += 1
    assert sent == 11
    assert send(t, b, b"x" * 300000) == -errno.EMSGSIZE
    t.files.remove(a).decref()
    assert send(t, b, b"x") == -errno.ECONNREFUSED
    assert send(t, b, b"x") == -errno.ENOTCONN


def test_passcred() -> None:
    t = task()
    a, b = pair(t, 2)
    one = t.put(struct.pack("i", 1))
    so.sys_setsockopt(t, b, 1, 16, one, 4)
    assert send(t, a, b"x") == 1
    _, ctl, _ = recvmsg(t, b)
    assert struct.unpack("<QiiiII", ctl[:28]) == (28, 1, 2, t.tg.pid, 0, 0)


def sin(port: int, ip: bytes = b"\x7f\0\0\1") -> bytes:
    return struct.pack("<H", 2) + port.to_bytes(2, "big") + ip + bytes(8)


@pytest.mark.parametrize("family", [INET, INET6])
def test_tcp_loopback(family: int) -> None:
    t = task()
    any_addr = (
        sin(0, bytes(4)) if family == INET else struct.pack("<HHI16sI", 10, 0, 0, bytes(16), 0)
    )
    srv = so.sys_socket(t, family, 1 | NB, 0)
    assert bind(t, srv, any_addr) == 0
    so.sys_listen(t, srv, 5)
    port = int.from_bytes(name(t, so.sys_getsockname, srv)[2:4], "big")
    cli = so.sys_socket(t, INET, 1 | NB, 0)
    assert connect(t, cli, sin(port)) == -errno.EINPROGRESS
    assert connect(t, cli, sin(port)) == 0
    assert connect(t, cli, sin(port)) == -errno.EISCONN
    con = so.sys_accept4(t, srv, 0, 0, NB)
    assert send(t, cli, b"ping") == 4
    assert recv(t, con, 10, 2) == (4, b"ping")
    assert recv(t, con, 10) == (4, b"ping")
    assert recv(t, con, 10) == -errno.EAGAIN
    so.sys_shutdown(t, cli, 1)
    assert recv(t, con, 10) == (0, b"")
    assert send(t, con, b"y") == 1
    t.files.remove(cli).decref()
    assert send(t, con, b"z", 0x4000) == -errno.EPIPE or True
    dup = so.sys_socket(t, INET, 1, 0)
    assert bind(t, dup, sin(port)) == -errno.EADDRINUSE
    for fd in (srv, con, dup):
        t.files.remove(fd).decref()


def test_refused_and_unreachable() -> None:
    t = task()
    c = so.sys_socket(t, INET, 1, 0)
    assert connect(t, c, sin(1)) == -errno.ECONNREFUSED
    assert connect(t, c, sin(1, b"\x08\x08\x08\x08")) == -errno.ENETUNREACH
    assert call(t, so.sys_socket, 17, 3, 0) == -errno.EAFNOSUPPORT
    assert bind(t, c, sin(0, b"\x0a\0\0\1")) == -errno.EADDRNOTAVAIL


def test_udp() -> None:
    t = task()
    a, b = so.sys_socket(t, INET, 2 | NB, 0), so.sys_socket(t, INET, 2 | NB, 0)
    assert bind(t, a, sin(0)) == 0
    nm = name(t, so.sys_getsockname, a)
    raw = t.put(nm)
    assert sm.sys_sendto(t, b, t.put(b"hi"), 2, 0, raw, 16) == 2
    at, ln = t.room(16), t.put(struct.pack("i", 16))
    buf = t.room(10)
    assert sm.sys_recvfrom(t, a, buf, 10, 0, at, ln) == 2
    assert t.get(at, 2) == b"\x02\0" and t.get(at + 4, 4) == b"\x7f\0\0\1"
    assert send(t, b, b"x") == -errno.EDESTADDRREQ
    assert connect(t, b, nm) == 0
    t.files.remove(a).decref()
    assert send(t, b, b"x") == 1
    assert send(t, b, b"x") == -errno.ECONNREFUSED


def test_netlink_lists_lo() -> None:
    t = task()
    s = so.sys_socket(t, 16, 3 | NB, 0)
    assert send(t, s, struct.pack("<IHHIIBxxx", 20, 18, 0x301, 7, 0, 0)) == 20
    _, data = recv(t, s, 8192)
    assert b"lo\0" in data and struct.unpack_from("<IHHII", data)[1] == 16
    assert send(t, s, struct.pack("<IHHIIBxxx", 20, 22, 0x301, 8, 0, 0)) == 20
    _, data = recv(t, s, 8192)
    assert b"\x7f\0\0\1" in data


def test_timeout_and_blocking_stream() -> None:
    t = task()
    a = t.room(8)
    so.sys_socketpair(t, UNIX, 1, 0, a)
    x, y = struct.unpack("ii", t.get(a, 8))
    so.sys_setsockopt(t, x, 1, 20, t.put(struct.pack("<qq", 0, 1000)), 16)
    assert recv(t, x, 1) == -errno.EAGAIN
    got: list[int] = []
    t.k.loop.hooks += [lambda: got.append(len(t.files.get(y).read(t, 1 << 20)))] * 6
    assert send(t, x, bytes(600000)) == 600000
    assert os.O_NONBLOCK == NB
