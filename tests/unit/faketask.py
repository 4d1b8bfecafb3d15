"""A Task without a platform: memory is a bytearray, waiting runs a little loop of its own.

For unit tests of everything above the platform. ``FakeTask.mem`` starts at ``BASE``; ``put``/``get`` move bytes
in and out as the application would. ``wait`` returns when something has woken a queue; when nothing can (no
watched descriptor, no timer, no runnable ``hooks``) it raises ``WouldBlockForever``.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import select
import struct
import time
from collections.abc import Callable
from typing import Any

import nvsandbox.sentry.ipc.namespace
import nvsandbox.sentry.net.state  # noqa: F401  # they register their kinds of namespaces
from nvsandbox.sentry.abi.resource import RLIM_INFINITY, RLIMIT_NOFILE
from nvsandbox.sentry.errors import Restart, SysErr
from nvsandbox.sentry.kernel.container import Container
from nvsandbox.sentry.kernel.creds import Credentials
from nvsandbox.sentry.kernel.keys import TaskKeys
from nvsandbox.sentry.kernel.namespaces import UtsNamespace, first_namespaces
from nvsandbox.sentry.kernel.userns import INIT_USER, UserNamespace
from nvsandbox.sentry.kernel.wait import POLL_ALL, Waiter, WaitQueue
from nvsandbox.sentry.mm.vma import Vma, VmaMap
from nvsandbox.sentry.vfs.file import FdTable
from nvsandbox.sentry.vfs.inode import Stat

BASE = 0x10000
SIZE = 1 << 22


class WouldBlockForever(AssertionError):
    """The task waits and nothing in the test could ever wake it."""


class FakeTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeLoop:
    """The calls of kernel/loop.py, single greenlet: ``suspend`` runs events until the token is resumed."""

    def __init__(self) -> None:
        self.fds: dict[int, tuple[int, Callable[[int], None]]] = {}
        self.timers: list[tuple[int, int, FakeTimer]] = []
        self.order = itertools.count()
        self.results: list[Any] = []
        self.hooks: list[
            Callable[[], None]
        ] = []  # "other tasks": each runs once when we would sleep
        self.held: dict[WaitQueue, None] = {}  # whose wakes are put off until then

    def watch_fd(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        self.fds[fd] = (events, callback)

    def unwatch_fd(self, fd: int) -> None:
        self.fds.pop(fd, None)

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self.timers, (deadline_ns, next(self.order), timer))
        return timer

    def token(self) -> object:
        return object()

    def resume(self, token: object, value: Any = None) -> None:
        self.results.append(value)

    def suspend(self) -> Any:
        while not self.results:
            self.step()
        return self.results.pop(0)

    def run_in_worker(self, fn: Callable[[], Any]) -> Any:
        return fn()

    def hold(self, queue: WaitQueue) -> None:
        self.held[queue] = None

    def wake_now(self, queue: WaitQueue) -> None:
        self.held.pop(queue, None)
        queue.wake()

    def wake_held(self) -> None:
        for q in list(self.held):
            self.wake_now(q)

    def step(self) -> None:
        if self.held:
            self.wake_held()
            return
        if self.hooks:
            self.hooks.pop(0)()
            return
        while self.timers and self.timers[0][2].callback is None:
            heapq.heappop(self.timers)
        timeout = 5.0
        if self.timers:
            timeout = max(0.0, (self.timers[0][0] - time.monotonic_ns()) / 1e9)
        elif not self.fds:
            raise WouldBlockForever
        p = select.poll()
        for fd, (events, _) in self.fds.items():
            p.register(fd, events)
        ready = p.poll(timeout * 1000)
        for fd, ev in ready:
            if fd in self.fds:
                self.fds[fd][1](ev)
        if not ready:
            if not self.timers:
                raise WouldBlockForever
            _, _, timer = heapq.heappop(self.timers)
            if timer.callback is not None:
                timer.callback()


class FakeKernel:
    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.tasks: dict[int, FakeTask] = {}
        self.time_offset = 0
        # The one pid namespace is the kernel itself
        self.procs: dict[int, Any] = {}
        self.last_pid = 7
        pids: Any = self
        self.parent = None
        self.root = self
        self.kind, self.ino = b"pid", 1
        uts = UtsNamespace(INIT_USER, b"fake", b"")
        self.container = Container(pids, {}, first_namespaces(uts, pids))

    def number(self, pid: int) -> int:
        return pid

    outer = number

    def task(self, pid: int) -> Any:
        return self.tasks.get(pid)

    def proc(self, pid: int) -> Any:
        return self.procs.get(pid)

    def members(self) -> list[Any]:
        return list(self.procs.values())

    def numbers_of(self, pid: int, own: object) -> list[int]:
        return [pid]

    def administrator(self) -> UserNamespace:
        return INIT_USER

    def every_task(self) -> list[Any]:
        return list(self.tasks.values())

    def every_proc(self) -> list[Any]:
        return list(self.procs.values())

    def realtime_ns(self) -> int:
        return time.time_ns() + self.time_offset

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class FakeGroup:
    """The fields of ThreadGroup that the other layers use."""

    def __init__(self, pid: int, kernel: FakeKernel) -> None:
        self.pids = self.pidns = kernel
        self.container = kernel.container
        self.undo_sets: dict[Any, None] = {}
        self.core_filter = 0x33
        self.pid = self.pgid = self.sid = pid
        self.tty: object | None = None
        self.mm: object | None = None
        self.rlimits = [(RLIM_INFINITY, RLIM_INFINITY)] * 16
        self.rlimits[RLIMIT_NOFILE] = (1024, 4096)

    def rlimit(self, which: int) -> int:
        return self.rlimits[which][0]


class FakeMM:
    """The map alone: all of the fake memory, readable and writable."""

    users = 1

    def __init__(self) -> None:
        self.map = VmaMap()
        self.map.replace(BASE, BASE + SIZE, [Vma(BASE, BASE + SIZE, 3)])

    def grow(self, t: object, addr: int) -> bool:
        return False


class FakeThread:
    """What handlers ask a task's thread for directly."""

    def gathered(self, _size: int) -> bytes | None:
        """Nothing comes with a trap here."""
        return None


class FakeTask:
    """One task of one process. Pass ``k`` to make several on the same kernel.

    Typed as Any where it is used: it has what kernel.task.Task promises to the other layers, without its imports.
    """

    fs: Any  # vfs.fs_context.FsContext, set by the tests that walk paths

    def __init__(
        self, k: FakeKernel | None = None, uid: int = 0, gid: int = 0, tid: int = 0
    ) -> None:
        kernel = k or FakeKernel()
        self.k = kernel
        self.tid = tid or 100 + len(kernel.tasks)
        kernel.tasks[self.tid] = self
        self.tg = FakeGroup(self.tid, kernel)
        self.nr = self.tid
        self.ns = kernel.container.ns
        self.keys = TaskKeys()
        self.comm = b"fake"
        self.creds = Credentials(uid, gid)
        self.files = FdTable()
        self.thread = FakeThread()
        self.mm = FakeMM()
        self.mem = bytearray(SIZE)
        self.top = 0
        self.signals: list[int] = []  # what send_signal_self was given
        self.personality = self.seccomp = 0
        self.filter = None
        self.waits = 0
        self.pending = False  # what signal_pending answers, and makes wait raise Restart

    def memory(self) -> None:
        """For those who look at all address spaces: there is none worth looking at."""
        return None

    # The application's side
    def put(self, data: bytes) -> int:
        """Places ``data`` somewhere in memory; returns its address."""
        addr = BASE + self.top
        self.mem[self.top : self.top + len(data)] = data
        self.top += (len(data) + 15) & ~15
        if self.top > SIZE:
            raise AssertionError("fake memory is full: reset_mem()")
        return addr

    def cstr(self, s: bytes) -> int:
        return self.put(s + b"\0")

    def room(self, size: int) -> int:
        return self.put(bytes(size))

    def get(self, addr: int, size: int) -> bytes:
        return bytes(self.mem[addr - BASE : addr - BASE + size])

    def reset_mem(self) -> None:
        self.top = 0

    def iovec(self, *parts: tuple[int, int]) -> int:
        return self.put(b"".join(struct.pack("<QQ", a, n) for a, n in parts))

    # The contract
    def _range(self, addr: int, size: int) -> int:
        off = addr - BASE
        if off < 0 or off + size > SIZE:
            raise SysErr(errno.EFAULT)
        return off

    def copy_in(self, addr: int, size: int) -> bytes:
        if size == 0:
            return b""
        off = self._range(addr, size)
        return bytes(self.mem[off : off + size])

    def copy_in_str(self, addr: int, limit: int) -> bytes:
        off = self._range(addr, 1)
        end = self.mem.find(0, off)
        if end < 0:
            raise SysErr(errno.EFAULT)
        if end - off > limit:
            raise SysErr(errno.ENAMETOOLONG)
        return bytes(self.mem[off:end])

    def copy_in_path(self, addr: int) -> bytes:
        return self.copy_in_str(addr, 4095)

    def copy_out(self, addr: int, data: bytes) -> None:
        if not data:
            return
        off = self._range(addr, len(data))
        self.mem[off : off + len(data)] = data

    def stat_out(self, addr: int, s: Stat) -> None:
        times = [x for t in (s.atime, s.mtime, s.ctime) for x in divmod(t, 1_000_000_000)]
        users = self.creds.userns
        uid, gid = users.uid_out(s.uid), users.gid_out(s.gid)
        self.copy_out(
            addr,
            struct.pack(
                "<QQQIII4xQqqqqqqqqq24x", s.dev, s.ino, s.nlink, s.mode, uid, gid, s.rdev, s.size,
                s.blksize, s.blocks, *times,
            ),
        )  # fmt: skip

    def signal_pending(self) -> bool:
        return self.pending

    def send_signal_self(self, sig: int) -> None:
        self.signals.append(sig)

    def wait(
        self, *queues: WaitQueue, deadline: int | None = None, interruptible: bool = True, soon: bool = True,
        held: bool = False,
    ) -> bool:  # fmt: skip
        woken: list[bool] = []
        w = Waiter(lambda events: woken.append(True), POLL_ALL)
        self.waits += 1
        loop = self.k.loop
        loop.wake_held()
        for q in queues:
            q.add(w)
            if held:
                loop.hold(q)
        timer = None
        expired: list[bool] = []
        if deadline is not None:
            timer = loop.call_at(deadline, lambda: expired.append(True))
        try:
            while not woken:
                if expired:
                    return False
                if interruptible and self.pending:
                    raise Restart
                loop.step()
            return True
        finally:
            if timer is not None:
                timer.cancel()
            for q in queues:
                q.remove(w)
