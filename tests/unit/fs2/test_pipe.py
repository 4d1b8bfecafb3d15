"""Pipes against the host's: the same operations give the same results."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Any

import pytest
from faketask import FakeTask
from hypothesis import given, settings
from hypothesis import strategies as st

from nvsandbox.platform.interface import DATA_LEN
from nvsandbox.sentry.errors import Restart, SysErr
from nvsandbox.sentry.fs.pipe import DEF_SLOTS, PAGE, STREAM, PipeFile, make_pipe
from nvsandbox.sentry.kernel.wait import Waiter
from nvsandbox.sentry.syscalls.event_pipe import sys_pipe2

SIZES = st.sampled_from([0, 1, 5, 100, 4095, 4096, 4097, 8192, 20000, 65536, 70000])
OPS = st.lists(
    st.tuples(st.sampled_from(["r", "w", "w", "n", "p"]), SIZES), min_size=1, max_size=40
)


def host_op(op: str, size: int, r: int, w: int) -> Any:
    try:
        if op == "r":
            return os.read(r, size)
        if op == "w":
            return os.write(w, bytes(i & 255 for i in range(size)))
        if op == "n":
            return struct.unpack("i", fcntl.ioctl(r, 0x541B, b"\0" * 4))[0]
        return fcntl.fcntl(w, 1031, size)
    except OSError as e:
        return -(e.errno or 0)


def our_op(t: FakeTask, op: str, size: int, r: PipeFile, w: PipeFile) -> Any:
    task: Any = t
    try:
        if op == "r":
            return r.read(task, size)
        if op == "w":
            return w.write(task, bytes(i & 255 for i in range(size)))
        if op == "n":
            return r.pipe.bytes
        return w.pipe.resize(task, size)
    except SysErr as e:
        return -e.errno


@settings(max_examples=150, deadline=None)
@given(OPS, st.sampled_from([0, os.O_DIRECT]))
def test_same_as_host(ops: list[tuple[str, int]], direct: int) -> None:
    hr, hw = os.pipe2(os.O_NONBLOCK | direct)
    t: Any = FakeTask()
    r, w = make_pipe(t, os.O_NONBLOCK | direct)
    try:
        for op, size in ops:
            assert our_op(t, op, size, r, w) == host_op(op, size, hr, hw), (op, size)
    finally:
        os.close(hr)
        os.close(hw)


def pair(t: Any, flags: int = 0) -> tuple[PipeFile, PipeFile, int, int]:
    addr = t.room(8)
    assert sys_pipe2(t, addr, flags) == 0
    r, w = struct.unpack("ii", t.get(addr, 8))
    return t.files.get(r), t.files.get(w), r, w


def test_write_without_reader_is_epipe_and_sigpipe() -> None:
    t: Any = FakeTask()
    r, w, rfd, _ = pair(t)
    t.files.remove(rfd).decref()
    assert w.write(t, b"x") == -errno.EPIPE
    assert t.signals == [13]
    assert w.poll(t) == 0x10C
    assert r.refs == 0


def test_blocking_write_goes_on_when_a_reader_makes_room() -> None:
    t: Any = FakeTask()
    r, w, _, _ = pair(t)
    got: list[Any] = []
    t.k.loop.hooks += [lambda: got.append(r.read(t, 4096))] * 2
    assert w.write(t, bytes(65536 + 8192)) == 65536 + 8192
    assert [len(x) for x in got] == [4096, 4096]


def test_eof_and_hup_when_the_writer_goes() -> None:
    t: Any = FakeTask()
    r, w, _, wfd = pair(t)
    w.write(t, b"abc")
    t.files.remove(wfd).decref()
    assert r.poll(t) == 0x51
    assert (r.read(t, 10), r.read(t, 10)) == (b"abc", b"")


def sleeping(r: PipeFile) -> list[int]:
    """Somebody sleeps in read(2) of ``r``; how much was there each time it was woken, and is then taken."""
    wakes: list[int] = []

    def woken(_events: int) -> None:
        wakes.append(r.pipe.bytes)
        r.pipe.take(1 << 20)

    r.pipe.rd_queue.add(Waiter(woken))
    r.pipe.asleep += 1
    r.pipe.want = DATA_LEN
    return wakes


def test_the_wakes_of_a_stream_are_put_off_until_no_more_fits() -> None:
    t: Any = FakeTask()
    r, w, _, _ = pair(t)
    wakes = sleeping(r)
    for _ in range(STREAM + 10):
        w.write(t, bytes(10240))
    assert wakes == [10240] * STREAM + [40960] * 2
    assert r.pipe.bytes == 20480 and list(t.k.loop.held) == [r.pipe.rd_queue]
    t.k.loop.step()
    assert wakes[-1] == 20480 and not t.k.loop.held


def test_who_waits_between_its_writes_wakes_with_each() -> None:
    t: Any = FakeTask()
    r, w, _, _ = pair(t)
    wakes = sleeping(r)
    for _ in range(4 * STREAM):
        t.waits += 1
        w.write(t, b"x")
    assert wakes == [1] * 4 * STREAM


def test_a_writer_that_waits_is_no_stream_any_more() -> None:
    t: Any = FakeTask()
    r, w, _, _ = pair(t)
    wakes = sleeping(r)
    for _ in range(2 * STREAM):
        w.write(t, b"x")
    assert t.k.loop.held
    t.waits += 1
    w.write(t, b"x")
    assert not t.k.loop.held
    assert sum(wakes) == 2 * STREAM + 1


def test_who_polls_hears_of_each_write() -> None:
    t: Any = FakeTask()
    r, w, _, _ = pair(t)
    wakes = sleeping(r)
    heard: list[int] = []
    r.watch(Waiter(heard.append))
    for _ in range(4 * STREAM):
        w.write(t, b"x")
    assert wakes == [1] * 4 * STREAM
    assert len(heard) == 4 * STREAM


def test_a_late_reader_waits_for_more_of_a_stream_but_for_a_moment_only() -> None:
    t: Any = FakeTask()
    reader: Any = FakeTask(t.k)
    r, w, _, _ = pair(t)
    for _ in range(2 * STREAM):
        w.write(t, b"x")
    t.k.loop.hooks.append(lambda: pytest.fail("not woken"))
    assert r.read(reader, 4096) == b"x" * 2 * STREAM
    assert reader.waits == 1
    w.write(t, b"y")
    t.waits += 1
    assert r.read(reader, 4096) == b"y"
    assert reader.waits == 1


def test_who_writes_to_itself_does_not_wait_for_more() -> None:
    t: Any = FakeTask()
    r, w, _, _ = pair(t)
    for _ in range(4 * STREAM):
        w.write(t, b"x")
        assert r.read(t, 4096) == b"x"
    assert t.waits == 0


def test_a_signal_does_not_keep_a_late_reader_from_what_is_there() -> None:
    t: Any = FakeTask()
    reader: Any = FakeTask(t.k)
    r, w, _, _ = pair(t)
    for _ in range(2 * STREAM):
        w.write(t, b"x")
    reader.pending = True
    assert r.read(reader, 4096) == b"x" * 2 * STREAM
    with pytest.raises(Restart):
        r.read(reader, 4096)


def test_bad_flags() -> None:
    t: Any = FakeTask()
    with pytest.raises(SysErr) as e:
        sys_pipe2(t, t.room(8), 1)
    assert e.value.errno == errno.EINVAL


def test_fault_leaves_no_descriptor() -> None:
    t: Any = FakeTask()
    with pytest.raises(SysErr):
        sys_pipe2(t, 1, 0)
    assert t.files.files == {}


def test_of_a_write_that_does_not_fit_nothing_else_is_kept() -> None:
    t: Any = FakeTask()
    r, w = make_pipe(t, os.O_NONBLOCK)
    for _ in range(DEF_SLOTS):
        assert w.write(t, bytes(1 << 20)) > 0
        assert len(r.read(t, PAGE)) == PAGE
    assert (
        sum(len(d) for d in {id(s.data): s.data for s in r.pipe.slots}.values()) <= 2 * w.pipe.size
    )


def test_what_was_written_at_once_is_read_without_a_copy() -> None:
    t: Any = FakeTask()
    r, w = make_pipe(t)
    data = bytes(10240)
    w.write(t, data)
    assert r.read(t, 20000) is data
