"""hot.c: what a handler asks of a trap, with a slot that may hold anything."""

from __future__ import annotations

import os
import select
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nvsandbox.platform.interface import (
    CMD_LEN,
    E_INADDR0,
    E_INADDR1,
    E_INLEN0,
    E_INLEN1,
    SLOT_LEN,
    WIN_OFF,
)
from nvsandbox.platform.native import hot
from nvsandbox.platform.native._native import ffi, lib

MAXSTR = int(lib.NV_IN_MAXSTR)
KUSER = ffi.new("struct nv_kuser *")  # the module keeps it


class Record:
    """A thread's record over memory that no stub shares."""

    def __init__(self) -> None:
        self.fds = [os.memfd_create("slots"), os.memfd_create("cmds")]
        for fd, size in zip(self.fds, (SLOT_LEN, CMD_LEN), strict=True):
            os.ftruncate(fd, size)
        self.slots = lib.nv_map(self.fds[0], SLOT_LEN, 1)
        self.cmds = lib.nv_map(self.fds[1], CMD_LEN, 1)
        self.cdata = lib.nv_task_new(
            7, ffi.cast("char *", self.slots), ffi.cast("char *", self.cmds), 0, 0
        )
        self.trap = hot.Trap(int(ffi.cast("uintptr_t", self.cdata)))
        self.ev: Any = memoryview(ffi.buffer(self.cdata))[: int(lib.NV_E_N) * 8].cast("q")

    def window(self, at: int, data: bytes) -> None:
        os.pwrite(self.fds[0], data, WIN_OFF + at)

    def close(self) -> None:
        self.trap.close()
        self.ev.release()
        lib.nv_task_free(self.cdata)
        lib.nv_unmap(self.slots, SLOT_LEN)
        lib.nv_unmap(self.cmds, CMD_LEN)
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def record() -> Iterator[Record]:
    r = Record()
    yield r
    r.close()


def test_input_that_came_with_the_trap(record: Record) -> None:
    ev, trap = record.ev, record.trap
    ev[E_INADDR0], ev[E_INLEN0] = 0x1000, 6
    ev[E_INADDR1], ev[E_INLEN1] = 0x2000, 4
    record.window(0, b"path\0x")
    record.window(MAXSTR, b"abcd")
    assert trap.copy_in(0x1000, 6) == b"path\0x"
    assert trap.copy_in(0x2000, 3) == b"abc"
    assert trap.copy_in_str(0x1000) == b"path"
    assert trap.copy_in_str(0x2000) is None  # its end did not come
    assert trap.copy_in(0x1000, 7) is None
    assert trap.copy_in(0x1001, 1) is None
    assert trap.copy_in(0x1000, -1) is None


def test_a_string_is_looked_for_in_its_own_part_only(record: Record) -> None:
    ev = record.ev
    ev[E_INADDR0], ev[E_INLEN0] = 0x1000, MAXSTR + 8
    record.window(0, b"x" * MAXSTR + b"\0")
    assert record.trap.copy_in_str(0x1000) is None


def test_what_an_iovec_array_points_to_has_no_address(record: Record) -> None:
    record.ev[E_INADDR1], record.ev[E_INLEN1] = int(lib.NV_IN_GATHERED), 8
    record.window(MAXSTR, b"vectored")
    assert record.trap.copy_in(int(lib.NV_IN_GATHERED), 8) is None
    assert record.trap.gathered(8) == b"vectored"
    assert record.trap.gathered(7) is None
    record.ev[E_INLEN1] = 1 << 30
    assert record.trap.gathered(1 << 30) is None


def test_an_iovec_array_that_came_with_a_message(record: Record) -> None:
    at = int(lib.NV_E_INADDR2)
    record.ev[E_INADDR0], record.ev[E_INLEN0] = 0x1000, 56
    record.ev[at], record.ev[at + 1] = 0x3000, 32
    record.window(int(lib.NV_IN_MSG_IOV), bytes(range(32)))
    assert record.trap.copy_in(0x3000, 32) == bytes(range(32))
    assert record.trap.copy_in(0x3000, 33) is None
    assert record.trap.copy_in(0x1000 + int(lib.NV_IN_MSG_IOV), 1) is None
    record.ev[at + 1] = 1 << 40
    assert record.trap.copy_in(0x3000, 8) is None


@pytest.mark.parametrize("length", [-1, 1 << 40, (1 << 63) - 1])
def test_lengths_that_no_window_has(record: Record, length: int) -> None:
    record.ev[E_INADDR0], record.ev[E_INLEN0] = 0x1000, length
    assert record.trap.copy_in(0x1000, 1 << 30) is None
    assert record.trap.copy_in_str(0x1000) is None


def test_a_copy_stays_in_the_window(record: Record) -> None:
    for offset, data in ((-1, b"x"), (1 << 33, b"x"), (0, b"x" * (1 << 20))):
        with pytest.raises(ValueError):
            record.trap.copy_out(0x1000, offset, data, 0)
    assert record.trap.copy_out(0x1000, int(lib.NV_WIN_LEN) - 1, b"xy", 0)  # refused: True
    assert record.trap.queued == 0
    assert not record.trap.copy_out(0x1000, 0, b"data", 0)
    assert record.trap.queued == 1
    assert os.pread(record.fds[0], 4, WIN_OFF) == b"data"


def test_wrong_calls_are_errors_not_crashes(record: Record) -> None:
    trap: Any = record.trap
    for call in (
        lambda: trap.op(1, 2, 3),
        lambda: trap.copy_in(1),
        lambda: trap.copy_in("a", 1),
        lambda: trap.copy_in_str(None),
        lambda: trap.copy_out(1, 0, "text", 0),
        lambda: trap.run("x"),
        lambda: trap.reply(b""),
        lambda: trap.reply_wait(0),
        hot.Trap,
    ):
        with pytest.raises(TypeError):
            call()


def test_nothing_is_left_to_ask_once_the_thread_is_gone() -> None:
    r = Record()
    trap = r.trap
    r.close()
    for call in (
        lambda: trap.queued,
        lambda: trap.reply(0),
        lambda: trap.reply_wait(0, -1),
        trap.resume,
        trap.rest,
        trap.get_ready,
        lambda: trap.op(0, 0, 0, 0, 0, 0, 0, 0, 0),
        lambda: trap.run(0),
        lambda: trap.done(0),
        lambda: trap.copy_in(0x1000, 1),
        lambda: trap.copy_in_str(0x1000),
        lambda: trap.copy_out(0x1000, 0, b"", 0),
        lambda: trap.read_out(0, 0x1000, 1, 0),
    ):
        with pytest.raises(ValueError, match="gone"):
            call()


@pytest.mark.parametrize("jobs", [0, 1])
def test_other_threads_run_while_it_waits(jobs: int) -> None:
    wake = os.eventfd(0, os.EFD_NONBLOCK)
    with select.epoll() as epoll:
        assert lib.nv_init(wake, epoll.fileno(), KUSER, 2) == 0
        ran = threading.Event()

        def other() -> None:
            ran.set()
            os.eventfd_write(wake, 1)

        hot.work(jobs)
        t = threading.Thread(target=other)
        t.start()
        while not ran.is_set():
            assert hot.wait(time.monotonic_ns() + 50_000_000) is None
        hot.work(-jobs)
        t.join()
    os.close(wake)


def test_an_event_tells_all_of_the_call(record: Record) -> None:
    wake = os.eventfd(0, os.EFD_NONBLOCK)
    with select.epoll() as epoll:
        assert lib.nv_init(wake, epoll.fileno(), KUSER, 2) == 0
        # Five arguments: the second is an int, the others are unsigned longs
        lib.nv_set_widths(39, 5 << 12 | 2 << 2)
        values = list(range(100, 118))
        values[int(lib.NV_RAX)] = 39
        values[int(lib.NV_RDI)] = (1 << 64) - 5
        values[int(lib.NV_RSI)] = (1 << 64) - 6
        for i, v in enumerate(values):
            record.cdata.regs[i] = v
        record.trap.resume()  # they are in the slot now
        os.pwrite(record.fds[0], struct.pack("<I", int(lib.NV_EV_SYSCALL)), 8)  # kind
        os.pwrite(record.fds[0], struct.pack("<I", int(lib.NV_ST_EVENT)), 0)  # state
        got = hot.wait(-1)
        order = ("NV_RDI", "NV_RSI", "NV_RDX", "NV_R10", "NV_R8", "NV_R9")
        args = [values[int(getattr(lib, r))] for r in order]
        args[1] = -6
        args[5] = 0
        assert got == (int(lib.NV_EV_SYSCALL), 39, *args, 7)
    os.close(wake)


def test_bytes_are_put_into_an_array_and_nowhere_else() -> None:
    into = bytearray(b"0123456789")
    hot.put(into, 3, b"abc")
    hot.put(into, 10, b"")
    assert into == b"012abc6789"
    for at, data in ((8, b"abc"), (-1, b"a"), (11, b""), (1 << 62, b"a")):
        with pytest.raises(ValueError):
            hot.put(into, at, data)
    assert into == b"012abc6789"


def test_input_goes_into_arrays_and_files_without_an_object(record: Record) -> None:
    ev, trap = record.ev, record.trap
    ev[E_INADDR0], ev[E_INLEN0] = 0x1000, 6
    record.window(0, b"abcdef")
    into = bytearray(8)
    assert trap.put(into, 2, 0x1000, 6)
    assert into == b"\0\0abcdef"
    assert not trap.put(into, 3, 0x1000, 6)  # doesn't fit
    assert not trap.put(into, -1, 0x1000, 1)
    assert not trap.put(into, 0, 0x1000, 7)  # more than came
    assert not trap.put(into, 0, 0x1001, 1)
    assert into == b"\0\0abcdef"
    fd = os.memfd_create("file")
    assert trap.pwrite(fd, 1, 0x1000, 3)
    assert os.pread(fd, 10, 0) == b"\0abc"
    assert not trap.pwrite(fd, 0, 0x1000, 7)
    assert not trap.pwrite(-1, 0, 0x1000, 3)
    os.close(fd)


def test_a_status_is_laid_out_as_the_kernel_does(record: Record) -> None:
    ns = 1_000_000_000
    fields = (1, 2, 3, 0o100644, 1 << 31, 5, 6, -1, 4096, 8, 7 * ns + 9, -1, -ns)
    assert not record.trap.stat_out(0x5000, 4096, 0, *fields)
    assert record.trap.queued == 1
    got = struct.unpack("<QQQIII4xQqqqqqqqqq24x", os.pread(record.fds[0], 144, WIN_OFF + 4096))
    assert got == (*fields[:10], 7, 9, -1, ns - 1, -1, 0)
    for offset in (int(lib.NV_WIN_LEN) - 143, -1):
        with pytest.raises(ValueError):
            record.trap.stat_out(0x5000, offset, 0, *fields)
