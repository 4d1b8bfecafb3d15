"""Another process's memory (Linux: mm/memory.c access_remote_vm, mm/process_vm_access.c).

The Sentry touches no application memory itself (hazard C1); a stub thread of the other address space copies. A thread that
waits in a system call sits in its stub's loop and does so at once. One that runs the application is kicked and does it on its
way back (``visit``). One that never comes, because its program blocks our kicks (hazard B4), is given up after a second.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar, final

from ...platform.interface import (
    DATA_LEN,
    DATA_OFF,
    E_CRET,
    E_KIND,
    EV_CMDFAIL,
    OF_FD0,
    OF_FD4,
    OF_IGNORE,
    OP_COPYIN,
    OP_COPYOUT,
    OP_RECVFD,
    OP_SYSCALL,
    WIN_DATA,
)
from ...platform.native._native import lib
from ..errors import SysErr
from ..mm.vma import PAGE, PROT_READ, PROT_WRITE, STUB, Vma
from .signal import SIGKILL
from .wait import WaitQueue

if TYPE_CHECKING:
    from ..mm.mm import MM
    from ..vfs.inode import Inode
    from .task import Task
    from .thread import HostThread

T = TypeVar("T")
NR_CLOSE: Final = 3
NR_MMAP: Final = 9
NR_MPROTECT: Final = 10
NR_MINCORE: Final = 27
MINCORES: Final = 24  # at once, below what a list of operations holds
MAP_SHARED: Final = 0x01
MAP_PRIVATE: Final = 0x02
MAP_FIXED: Final = 0x10
LONG: Final = 20_000_000  # pauses a waiting thread gets for one list of copies: a second or so
LOOK_AGAIN: Final = 20_000_000  # ns
PATIENCE: Final = 50  # times LOOK_AGAIN


@final
class Access:
    """A thread of the address space, and the way it executes what is queued on it."""

    __slots__ = ("mm", "run", "th")

    def __init__(self, mm: MM, th: HostThread, run: Callable[[], int]) -> None:
        self.mm = mm
        self.th = th
        self.run = run

    def _read(self, addr: int, size: int) -> bytes:
        self.th.op(OP_COPYIN, 0, 0, DATA_OFF, addr, size)
        n = self.run()
        return bytes(self.th.mem[WIN_DATA : WIN_DATA + n]) if 0 < n <= size else b""

    def _write(self, addr: int, data: bytes) -> int:
        self.th.mem[WIN_DATA : WIN_DATA + len(data)] = data
        self.th.op(OP_COPYOUT, 0, 0, addr, DATA_OFF, len(data))
        try:
            self.run()
        except SysErr as e:
            if e.errno != errno.EFAULT:
                raise
            return 0  # the map allows it, the object does not (beyond a file's end)
        return len(data)

    def _protect(self, v: Vma, lo: int, hi: int, prot: int) -> None:
        start = lo & ~(PAGE - 1)
        end = (hi + PAGE - 1) & ~(PAGE - 1)
        self.th.op(OP_SYSCALL, 0, NR_MPROTECT, max(start, v.start), min(end, v.end) - start, prot)

    def read(self, addr: int, size: int, force: bool = False) -> bytes:
        """What can be read from ``addr`` on; ``force``: protections aside (FOLL_FORCE)."""
        out = []
        for v, lo, hi in self._pieces(addr, size):
            open_up = not v.prot & PROT_READ
            if open_up and not force:
                break
            if open_up:
                self._protect(v, lo, hi, v.prot | PROT_READ)
            data = self._read(lo, hi - lo)
            if open_up:
                self._protect(v, lo, hi, v.prot)
                self.run()
            out.append(data)
            if len(data) < hi - lo:
                break
        return b"".join(out)

    def write(self, addr: int, data: bytes, force: bool = False) -> int:
        """How much of ``data`` could be written. ``force`` opens private memory only: what is shared and read-only
        stays so."""
        done = 0
        for v, lo, hi in self._pieces(addr, len(data)):
            open_up = not v.prot & PROT_WRITE
            if open_up and (not force or v.shared):
                break
            if open_up:
                self._protect(v, lo, hi, v.prot | PROT_READ | PROT_WRITE)
            n = self._write(lo, data[done : done + hi - lo])
            if open_up:
                self._protect(v, lo, hi, v.prot)
                self.run()
            done += n
            if n < hi - lo:
                break
        return done

    def present(self, areas: list[tuple[int, int]]) -> list[int]:
        """How many pages there are of each (address, number of pages); a hole counts as none."""
        out = [0] * len(areas)
        batch: list[tuple[int, int, int]] = []  # area, offset in the window, pages
        used = 0
        for i, (addr, left) in enumerate(areas):
            while left:
                n = min(left, DATA_LEN - used)
                batch.append((i, used, n))
                self.th.op(
                    OP_SYSCALL, OF_IGNORE, NR_MINCORE, addr, n * PAGE, self.th.window() + used
                )
                addr, left, used = addr + n * PAGE, left - n, used + n
                if used == DATA_LEN or len(batch) == MINCORES:
                    self._count(batch, out)
                    used = 0
        self._count(batch, out)
        return out

    def _count(self, batch: list[tuple[int, int, int]], out: list[int]) -> None:
        if not batch:
            return
        mem = self.th.mem
        size = batch[-1][1] + batch[-1][2]
        mem[WIN_DATA : WIN_DATA + size] = bytes(size)
        self.run()
        for i, at, n in batch:
            out[i] += n - bytes(mem[WIN_DATA + at : WIN_DATA + at + n]).count(0)
        batch.clear()

    def map_file(self, v: Vma, lo: int, hi: int, fd: int) -> None:
        """Maps the part of ``v`` from ``lo`` to ``hi`` anew, of the file ``fd``."""
        self.th.give(fd)
        self.th.op(OP_RECVFD, 0, 0, 1)
        flags = MAP_FIXED | (MAP_SHARED if v.shared else MAP_PRIVATE)
        offset = v.offset + lo - v.start
        self.th.op(OP_SYSCALL, OF_FD4, NR_MMAP, lo, hi - lo, v.prot, flags, 0, offset)
        self.th.op(OP_SYSCALL, OF_FD0 | OF_IGNORE, NR_CLOSE, 0)
        self.run()

    def _pieces(self, addr: int, size: int) -> list[tuple[Vma, int, int]]:
        """The mapped part from ``addr`` on, cut by area and by what fits a window."""
        out = []
        at, end = addr, addr + size
        for v in self.mm.map.overlapping(addr, end):
            if v.start > at or v.kind == STUB:
                break
            while at < min(v.end, end):
                hi = min(v.end, end, at + DATA_LEN)
                out.append((v, at, hi))
                at = hi
        return out


@final
class Visit:
    """What a running thread is asked to do when it comes by."""

    __slots__ = ("done", "fn", "queue", "result")

    def __init__(self, fn: Callable[[Access], object]) -> None:
        self.fn = fn
        self.queue = WaitQueue()
        self.done = False
        self.result: object = None


def run_visits(t: Task) -> None:
    """On a thread's way back to its application."""
    mm, th = t.mm, t.thread
    if th.trap.queued:  # their data lie in the window
        with contextlib.suppress(SysErr):
            th.run()
    while mm.visits:
        v = mm.visits.pop(0)
        try:
            v.result = v.fn(Access(mm, th, th.run))
        except SysErr:
            v.result = None
        v.done = True
        v.queue.wake()


def run_now(t: Task, th: HostThread) -> int:
    """``HostThread.run`` without letting anybody else run: the thread belongs to a task that is asleep."""
    if not th.trap.run(LONG):
        if th.task is not None:
            th.task.tg.kill(SIGKILL)
        raise SysErr(errno.EIO)
    th.used = 0
    if th.ev[E_KIND] == EV_CMDFAIL:
        raise SysErr(min(max(-th.ev[E_CRET], 1), 4095))
    return th.ev[E_CRET]


def _idle(u: Task) -> bool:
    """Whether its host thread waits in the stub's loop with nothing queued."""
    th = u.thread
    return (
        u.token is not None
        and th.token is None
        and th.task is u
        and not th.trap.queued
        and not lib.nv_running(th.cdata)
    )


def access(t: Task, mm: MM, fn: Callable[[Access], T]) -> T:
    """Calls ``fn`` with access to ``mm``. May suspend. Raises ESRCH when nobody there answers."""
    if mm is t.mm:
        t.flush()
        return fn(Access(mm, t.thread, t.thread.run))
    v: Visit | None = None
    try:
        for _ in range(PATIENCE):
            users = [
                u
                for u in t.tg.pids.tasks.values()
                if u.mm is mm and u.has_thread() and not u.exiting
            ]
            if not users or mm.space.killed:
                break
            for u in users:
                if _idle(u):
                    th = u.thread
                    return fn(Access(mm, th, lambda th=th: run_now(t, th)))  # type: ignore[misc]
            if v is None:
                v = Visit(fn)
                mm.visits.append(v)
            for u in users:
                u.work = True
                if u.runs_application():
                    mm.space.kick(u.thread.native)
            t.wait(v.queue, deadline=t.k.monotonic_ns() + LOOK_AGAIN, interruptible=False)
            if v.done:
                return v.result  # type: ignore[return-value]
    finally:
        if v is not None and v in mm.visits:
            mm.visits.remove(v)
    raise SysErr(errno.ESRCH)


def read_remote(t: Task, mm: MM, addr: int, size: int, force: bool = False) -> bytes:
    """What can be read from ``addr`` on, text with its own system calls. ``force``: protections aside. May suspend. Raises ESRCH."""

    def plain(at: int, n: int) -> bytes:
        return access(t, mm, lambda a: a.read(at, n, force)) or b""

    if t.k.patcher is None or not mm.patches:
        return plain(addr, size)
    return t.k.patcher.read(t, mm, addr, size, plain)


def write_forced(t: Task, mm: MM, addr: int, data: bytes) -> int:
    """How much of ``data`` could be written, protections aside. May suspend. Raises ESRCH."""
    if t.k.patcher is not None:
        t.k.patcher.about_to_write(t, mm, addr, addr + len(data))
    return access(t, mm, lambda a: a.write(addr, data, True)) or 0


def read_memory(t: Task, mm: MM, addr: int, size: int) -> bytes:
    """For procfs: what can be read, b"" when nothing can."""
    try:
        return read_remote(t, mm, addr, size)
    except SysErr:
        return b""


def remap_shared(t: Task, inode: Inode, fd: int) -> None:
    """The host file behind ``inode`` is another one now: whoever maps it shared sees that one from here on."""
    seen: set[int] = set()
    for u in t.k.every_task():
        mm = u.memory()
        if mm is None or id(mm) in seen:
            continue
        seen.add(id(mm))
        areas = [
            v for v in mm.map.vmas if v.shared and v.file is not None and v.file.inode is inode
        ]
        if areas:
            with contextlib.suppress(SysErr):  # it is gone
                _remap(t, mm, areas, fd)


def _remap(t: Task, mm: MM, areas: list[Vma], fd: int) -> None:
    def anew(a: Access) -> None:
        for v in areas:
            a.map_file(v, v.start, v.end, fd)

    access(t, mm, anew)
