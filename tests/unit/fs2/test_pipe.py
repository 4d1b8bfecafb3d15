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

from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.fs.pipe import PipeFile, make_pipe
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
