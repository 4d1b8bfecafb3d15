"""epoll, poll, select, eventfd, timerfd with a fake task; epoll sequences against the host's."""

from __future__ import annotations

import errno
import os
import select
import struct
from typing import Any

import pytest
from faketask import FakeTask
from hypothesis import given, settings
from hypothesis import strategies as st

from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.syscalls import epoll as ep
from nvsandbox.sentry.syscalls import event_fds as ev
from nvsandbox.sentry.syscalls import poll as po
from nvsandbox.sentry.syscalls.event_pipe import sys_pipe2

IN, OUT, ET, ONESHOT = 1, 4, 1 << 31, 1 << 30


def task() -> Any:
    return FakeTask()


def ctl(t: Any, epfd: int, op: int, fd: int, events: int = 0) -> int:
    try:
        return ep.sys_epoll_ctl(t, epfd, op, fd, t.put(struct.pack("<IQ", events, fd)))
    except SysErr as e:
        return -e.errno


def wait(t: Any, epfd: int, timeout: int = 0) -> list[tuple[int, int]]:
    a = t.room(12 * 16)
    n = ep.sys_epoll_wait(t, epfd, a, 16, timeout)
    return [(d, e) for e, d in struct.iter_unpack("<IQ", t.get(a, 12 * n))]


def pipe(t: Any) -> tuple[int, int]:
    a = t.room(8)
    sys_pipe2(t, a, os.O_NONBLOCK)
    r, w = struct.unpack("ii", t.get(a, 8))
    return r, w


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "mod", "del", "write", "read", "wait", "close"]),
        st.integers(0, 1),
        st.sampled_from([IN, OUT, IN | ET, IN | ONESHOT, OUT | ONESHOT, IN | OUT, 0]),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_same_as_host(steps: list[tuple[str, int, int]]) -> None:
    t = task()
    hp, op = [os.pipe2(os.O_NONBLOCK) for _ in range(2)], [pipe(t) for _ in range(2)]
    hfds = [hp[0][0], hp[1][1]]
    ofds = [op[0][0], op[1][1]]
    he, oe = select.epoll(), ep.sys_epoll_create1(t, 0)
    closed = False
    try:
        for what, i, events in steps:
            t.reset_mem()
            if what in ("add", "mod", "del"):
                try:
                    if what == "add":
                        he.register(hfds[i], events)
                    elif what == "mod":
                        he.modify(hfds[i], events)
                    else:
                        he.unregister(hfds[i])
                    h = 0
                except OSError as e:
                    h = -(e.errno or 0)
                op_nr = {"add": 1, "del": 2, "mod": 3}[what]
                assert ctl(t, oe, op_nr, ofds[i], events) == h, what
            elif what == "write" and not closed:
                os.write(hp[i][1], b"x" * 10)
                t.files.get(op[i][1]).write(t, b"x" * 10)
            elif what == "read":
                try:
                    h2: Any = os.read(hp[i][0], 7)
                except OSError as e:
                    h2 = -(e.errno or 0)
                assert t.files.get(op[i][0]).read(t, 7) == h2
            elif what == "close" and not closed:
                closed = True
                os.close(hp[0][1])
                t.files.remove(op[0][1]).decref()
            elif what == "wait":
                h3 = sorted((hfds.index(fd), e) for fd, e in he.poll(0))
                assert sorted((ofds.index(fd), e) for fd, e in wait(t, oe)) == h3
    finally:
        he.close()
        for n, fd in enumerate([*hp[0], *hp[1]]):
            if not (closed and n == 1):
                os.close(fd)


def test_nesting_and_loops() -> None:
    t = task()
    eps = [ep.sys_epoll_create1(t, 0) for _ in range(7)]
    assert ctl(t, eps[0], 1, eps[0], IN) == -errno.EINVAL
    assert ctl(t, eps[0], 1, eps[1], IN) == 0
    assert ctl(t, eps[1], 1, eps[0], IN) == -errno.ELOOP
    r, w = pipe(t)
    assert ctl(t, eps[1], 1, r, IN) == 0
    t.files.get(w).write(t, b"x")
    assert wait(t, eps[0]) == [(eps[1], IN)]


def test_depth_is_the_hosts() -> None:
    h = [select.epoll() for _ in range(8)]
    t = task()
    o = [ep.sys_epoll_create1(t, 0) for _ in range(8)]
    for i in range(7):
        try:
            h[i].register(h[i + 1].fileno(), IN)
            want = 0
        except OSError as e:
            want = -(e.errno or 0)
        assert ctl(t, o[i], 1, o[i + 1], IN) == want, i


def test_a_dead_file_is_forgotten() -> None:
    t = task()
    e = ep.sys_epoll_create1(t, 0)
    _, w = pipe(t)
    ctl(t, e, 1, w, OUT)
    assert wait(t, e) == [(w, OUT)]
    t.files.remove(w).decref()
    assert wait(t, e) == []


def test_wait_times_out_and_wakes() -> None:
    t = task()
    e = ep.sys_epoll_create1(t, 0)
    fd = ev.sys_eventfd2(t, 0, 0)
    ctl(t, e, 1, fd, IN)
    assert wait(t, e, 5) == []
    t.k.loop.hooks.append(lambda: t.files.get(fd).write(t, struct.pack("<Q", 3)))
    assert wait(t, e, -1) == [(fd, IN)]
    assert t.files.get(fd).read(t, 8) == struct.pack("<Q", 3)


def test_poll_select() -> None:
    t = task()
    r, w = pipe(t)
    a = t.put(struct.pack("<ihhihhihh", r, IN, 99, w, OUT, 99, -1, IN, 99))
    assert po.sys_poll(t, a, 3, 1000) == 1
    assert struct.unpack("<ihhihhihh", t.get(a, 24))[2::3] == (0, OUT, 0)
    a = t.put(struct.pack("<ihh", 77, IN, 0))
    assert po.sys_poll(t, a, 1, -1) == 1
    assert struct.unpack("<ihh", t.get(a, 8))[2] == 0x20
    s1, s2 = t.put(struct.pack("<Q", 1 << r)), t.put(struct.pack("<Q", 1 << w))
    assert po.sys_select(t, w + 1, s1, s2, 0, 0) == 1
    assert (t.get(s1, 8), t.get(s2, 8)) == (bytes(8), struct.pack("<Q", 1 << w))
    s1 = t.put(struct.pack("<Q", 1 << 60))
    with pytest.raises(SysErr) as e:
        po.sys_select(t, 64, s1, 0, 0, 0)
    assert e.value.errno == errno.EBADF
    tv = t.put(struct.pack("<qq", 0, 2000))
    assert po.sys_select(t, 0, 0, 0, 0, tv) == 0


def test_eventfd_semaphore_and_limits() -> None:
    t = task()
    f = t.files.get(ev.sys_eventfd2(t, 2, 1 | os.O_NONBLOCK))
    assert [f.read(t, 8), f.read(t, 8), f.read(t, 8)] == [
        struct.pack("<Q", 1), struct.pack("<Q", 1), -errno.EAGAIN,
    ]  # fmt: skip
    assert f.write(t, b"\xff" * 8) == -errno.EINVAL
    assert f.write(t, struct.pack("<Q", 2**64 - 2)) == 8
    assert f.poll(t) == IN
    assert f.write(t, struct.pack("<Q", 1)) == -errno.EAGAIN


def test_timerfd() -> None:
    t = task()
    fd = ev.sys_timerfd_create(t, 1, 0)
    its = t.put(struct.pack("<qqqq", 0, 1_000_000, 0, 1_000_000))
    assert ev.sys_timerfd_settime(t, fd, 0, its, 0) == 0
    n = struct.unpack("<Q", t.files.get(fd).read(t, 8))[0]
    assert n >= 1
    cur = t.room(32)
    ev.sys_timerfd_gettime(t, fd, cur)
    assert struct.unpack("<qqqq", t.get(cur, 32))[:2] == (0, 1_000_000)
    t.files.get(fd).release()
