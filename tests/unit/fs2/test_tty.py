"""The line discipline against the host's: the same typing and settings give the same bytes on both sides."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import termios
import time
from typing import Any

import pytest
from faketask import FakeTask
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nvsandbox.sentry.abi import tty as a
from nvsandbox.sentry.errors import Restart, SysErr
from nvsandbox.sentry.fs.devpts import make_devpts, open_slave
from nvsandbox.sentry.fs.tty_pty import MasterFile, Pty, SlaveFile
from nvsandbox.sentry.kernel.signal import SigHandlers
from nvsandbox.sentry.vfs.mount import mount_of
from nvsandbox.sentry.vfs.path import Path


def world() -> tuple[Any, MasterFile, SlaveFile, Pty]:
    t: Any = FakeTask()
    t.k.procs = {t.tg.pid: t.tg}
    t.k.sent = []
    t.k.signal_pgrp = lambda pgid, sig, info=None: t.k.sent.append((pgid, sig))
    t.k.pgrp_orphaned = lambda pgid, sid: False
    t.tg.sighand = SigHandlers()
    t.tg.send_signal = lambda sig, info=None: t.k.sent.append((t.tg.pid, sig))
    t.tg.dead = False
    t.blocked = 0
    fs = make_devpts()
    m = mount_of(fs, fs.root)
    p = fs.new_pty(t)
    p.locked, p.pids = False, t.k
    path = Path(m, m.root.set_child(b"0", fs.nodes[0]))
    master = MasterFile(os.O_RDWR | os.O_NONBLOCK, path, p)
    slave: Any = open_slave(t, path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY, p)
    master.incref()
    slave.incref()
    return t, master, slave, p


class Host:
    def __init__(self) -> None:
        self.m, self.s = os.openpty()
        os.set_blocking(self.m, False)
        os.set_blocking(self.s, False)

    def settle(self, t: Any, m: MasterFile, s: SlaveFile) -> None:
        """Input to a host terminal is processed by a kernel worker: waits until both sides hold as much as ours do, for
        a second at most; what differs then is told by the reads."""
        addr = t.room(4)
        want = []
        for f in (m, s):
            f.ioctl(t, a.FIONREAD, addr)
            want.append(struct.unpack("i", t.get(addr, 4))[0])
        end = time.monotonic() + 1
        while self.waiting() != want and time.monotonic() < end:
            time.sleep(0.0005)
        time.sleep(0.001)

    def waiting(self) -> list[int]:
        """Bytes that could be read from either side."""
        return [
            struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]
            for fd in (self.m, self.s)
        ]

    def read(self, fd: int, n: int, expect: bool = False) -> Any:
        """``expect``: there should be something; the host moves data between the two sides a little later."""
        if expect:
            select.select([fd], [], [], 2)
        try:
            return os.read(fd, n)
        except OSError as e:
            return -(e.errno or 0)

    def close(self) -> None:
        os.close(self.m)
        os.close(self.s)


CHARS = st.lists(
    st.sampled_from([b"a", b"b", b" ", b"_", b"\n", b"\r", b"\t", b"\x7f", b"\x15", b"\x17", b"\x16",
                     b"\x12", b"\x04", b"\x01", b"\x1b", b"\xc3\xa9", b"hello world", b"\x08"]),
    max_size=25,
).map(b"".join)  # fmt: skip
LFLAGS = st.lists(
    st.sampled_from([a.ICANON, a.ECHO, a.ECHOE, a.ECHOK, a.ECHOCTL, a.ECHOKE, a.ECHOPRT, a.ECHONL, a.IEXTEN]),
    unique=True,
)  # fmt: skip
IFLAGS = st.lists(st.sampled_from([a.ICRNL, a.INLCR, a.IGNCR, a.ISTRIP, a.IUTF8]), unique=True)
OFLAGS = st.lists(
    st.sampled_from([a.OPOST, a.ONLCR, a.OCRNL, a.ONOCR, a.ONLRET, a.XTABS]), unique=True
)
DEFAULT_L = [a.ICANON, a.ECHO, a.ECHOE, a.ECHOK, a.ECHOCTL, a.ECHOKE, a.IEXTEN]


def compare(typed: bytes, lf: list[int], i: list[int], o: list[int], written: bytes) -> None:
    h = Host()
    t, m, s, _ = world()
    try:
        attr: list[Any] = termios.tcgetattr(h.s)
        attr[0], attr[1], attr[3] = sum(i), sum(o), sum(lf)
        termios.tcsetattr(h.s, termios.TCSANOW, attr)
        raw = fcntl.ioctl(h.s, termios.TCGETS, bytes(36))
        assert s.ioctl(t, a.TCSETS, t.put(raw)) == 0
        back = t.room(36)
        m.ioctl(t, a.TCGETS, back)
        assert t.get(back, 36) == raw
        for part in (typed[: len(typed) // 2], typed[len(typed) // 2 :]):
            if part:
                os.write(h.m, part)
                m.write(t, part)
                h.settle(t, m, s)
            if written:
                os.write(h.s, written)
                s.write(t, written)
        h.settle(t, m, s)
        got = m.read(t, 8000)
        assert got == h.read(h.m, 8000, isinstance(got, bytes))
        n = struct.unpack("i", fcntl.ioctl(h.s, termios.FIONREAD, bytes(4)))[0]
        addr = t.room(4)
        s.ioctl(t, a.FIONREAD, addr)
        assert struct.unpack("i", t.get(addr, 4))[0] == n
        for size in (3, 100, 100, 100, 100):
            got = s.read(t, size)
            assert got == h.read(h.s, size, isinstance(got, bytes))
    finally:
        h.close()
        m.decref()


@settings(max_examples=250, deadline=None)
@given(CHARS, LFLAGS, IFLAGS, OFLAGS, st.sampled_from([b"", b"out\n", b"x\ty\r"]))
@example(b"a\tb\x7f\x7f\x7f", DEFAULT_L, [a.ICRNL], [a.OPOST, a.ONLCR], b"")
@example(b"ab cd\x17\x17x\n", DEFAULT_L, [a.ICRNL], [a.OPOST, a.ONLCR], b"")
def test_same_as_host(typed: bytes, lf: list[int], i: list[int], o: list[int], w: bytes) -> None:
    compare(typed, lf, i, o, w)


def test_signals_and_flush() -> None:
    t, m, s, p = world()
    p.pgrp = 77
    m.write(t, b"abc\x03")
    assert t.k.sent == [(77, 2)]
    assert s.read(t, 10) == -errno.EAGAIN
    m.write(t, b"\x1a\x1c")
    assert t.k.sent[1:] == [(77, 20), (77, 3)]


def test_background_read_stops() -> None:
    t, _, s, p = world()
    p.session, t.tg.tty, p.pgrp = t.tg.sid, p, 9999
    with pytest.raises(Restart):
        s.read(t, 1)
    assert t.k.sent == [(t.tg.pgid, 21)]
    assert s.write(t, b"x") == 1
    p.termios.lflag |= a.TOSTOP
    with pytest.raises(Restart):
        s.write(t, b"x")
    t.k.pgrp_orphaned = lambda pgid, sid: True
    with pytest.raises(SysErr):
        s.read(t, 1)


def test_master_close_hangs_up() -> None:
    t, m, s, p = world()
    p.set_controlling(t)
    m.decref()
    assert (t.tg.pid, 1) in t.k.sent and (t.tg.pid, 18) in t.k.sent
    assert s.read(t, 10) == b""
    assert s.write(t, b"x") == -errno.EIO
    assert s.poll(t) & select.POLLHUP
    assert t.tg.tty is None


def test_slave_close_gives_the_master_eio_after_the_data() -> None:
    t, m, s, _ = world()
    s.write(t, b"bye")
    s.decref()
    assert m.read(t, 10) == b"bye"
    assert m.read(t, 10) == -errno.EIO
    assert m.poll(t) & select.POLLHUP


def test_vmin_vtime() -> None:
    t, m, s, p = world()
    s.flags &= ~os.O_NONBLOCK
    p.termios.lflag = 0
    cc = bytearray(p.termios.cc)
    cc[a.VMIN], cc[a.VTIME] = 0, 1
    p.termios.cc = bytes(cc)
    assert s.read(t, 10) == b""
    cc[a.VMIN], cc[a.VTIME] = 3, 0
    p.termios.cc = bytes(cc)
    t.k.loop.hooks += [lambda: m.write(t, b"a"), lambda: m.write(t, b"bc")]
    assert s.read(t, 10) == b"abc"


def test_window_size_and_packet_mode() -> None:
    t, m, s, p = world()
    p.pgrp = 5
    m.ioctl(t, a.TIOCSWINSZ, t.put(struct.pack("HHHH", 24, 80, 0, 0)))
    assert t.k.sent == [(5, 28)]
    m.ioctl(t, a.TIOCPKT, t.put(struct.pack("i", 1)))
    s.write(t, b"hi")
    assert m.read(t, 10) == b"\0hi"
    s.ioctl(t, a.TCFLSH, 0)
    assert m.read(t, 10) == bytes([a.TIOCPKT_FLUSHREAD])


def test_flow_control() -> None:
    t, m, s, _ = world()
    m.write(t, b"\x13")
    assert s.write(t, b"x") == -errno.EAGAIN
    m.write(t, b"\x11")
    assert s.write(t, b"x") == 1
