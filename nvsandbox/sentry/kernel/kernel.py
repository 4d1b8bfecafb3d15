"""The kernel object: every table the layers share, and the life of host processes (Linux: init/main.c, kernel/pid.c)."""

from __future__ import annotations

import errno
import logging
import os
import select
import signal as hostsignal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

from ...platform.native._native import lib
from ...platform.space import HostPlatform, PlatformError, Space, Thread
from ..errors import SysErr
from ..mm.mm import MM
from ..mm.patch import Patcher
from ..mm.vma import VmaMap
from . import signal as sg
from .container import MAX_TASKS, Container
from .creds import CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from .dispatch import on_event
from .exit import exit_task, tell_parent
from .futex import FutexTable
from .loop import EventLoop
from .namespaces import UtsNamespace, first_namespaces
from .pids import PidNamespace
from .stubs import StubPool
from .task import RLIMIT_NPROC, Task, ThreadGroup
from .thread import HostThread
from .userns import INIT_USER

if TYPE_CHECKING:
    from ..syscalls.decode import Row
    from ..vfs.mount import MountNamespace

log = logging.getLogger("nvsandbox.sentry")
_time_ns: Final = time.time_ns


def _nothing() -> None:
    pass


@final
class Kernel:
    """One sandbox. Made once, before the Sentry locks itself down."""

    def __init__(
        self, platform: HostPlatform, ncpu: int, vdso_layout: list[tuple[int, int, bool]]
    ) -> None:
        self.platform = platform
        self.ncpu = ncpu
        self.loop = EventLoop(lambda ev: on_event(self, ev))
        # called when a process has ended or gone to another namespace, or a mount has
        self.namespaces_left: Callable[[], None] = _nothing
        # What a task holds while it has no host thread, no address space
        self.nobody = HostThread(platform.zygote_thread, self.loop, 0)
        self.no_mm = MM(platform.zygote, VmaMap())
        self.table: dict[int, Row] = {}
        self.made_pids = False
        self.uts = UtsNamespace(INIT_USER, b"nvsandbox", b"(none)", 0xEFFFFFFE)
        self.threads: dict[int, HostThread] = {}
        pids = PidNamespace(self)
        ns = first_namespaces(self.uts, pids)
        self.container = Container(pids, self.table, ns)  # the sandbox's own
        self.containers = [self.container]
        self.on_process_exit: Callable[[ThreadGroup], None] | None = None
        self.on_exit: Callable[[int], None] | None = None
        self.exit_hooks: list[
            Callable[[ThreadGroup], None]
        ] = []  # subsystems with per-process state
        self.futex = FutexTable()
        self.strace: Any = None
        self.patching = "on"  # or "off", "forced" (mm/patch.py)
        self.patcher: Patcher | None = None
        self.missing: dict[int, int] = {}
        self.boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.boot_mono = time.monotonic_ns()
        self.mnt_ns: MountNamespace | None = None
        self.pidfd_factory: Callable[[ThreadGroup], Any] | None = None
        self.tty_hangup: Callable[[ThreadGroup], None] | None = None
        self._ntid = 0
        self.stubs = StubPool(self)
        self.vdso_layout = vdso_layout

    # Time
    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def realtime_ns(self) -> int:
        return _time_ns()

    def check_task_limit(self, t: Task) -> None:
        """Raises EAGAIN at RLIMIT_NPROC (root and capable tasks exempt) or the sandbox's own limit."""
        own = t.tg.container
        if own.tasks >= own.max_tasks or sum(c.tasks for c in self.containers) >= MAX_TASKS:
            raise SysErr(errno.EAGAIN)
        c = t.creds
        limit = t.tg.rlimit(RLIMIT_NPROC)
        if (
            c.uid
            and limit < MAX_TASKS
            and not c.capable(CAP_SYS_ADMIN)
            and not c.capable(CAP_SYS_RESOURCE)
        ):
            if sum(1 for u in own.pids.tasks.values() if u.creds.uid == c.uid) >= limit:
                raise SysErr(errno.EAGAIN)

    # Host threads
    def adopt_thread(self, native: Thread) -> HostThread:
        self._ntid += 1
        th = HostThread(native, self.loop, self._ntid)
        native.set_id(self._ntid)
        native.space.users += 1
        self.threads[self._ntid] = th
        return th

    def new_thread(self, space: Space) -> HostThread:
        """A free slot of ``space``. Raises MemoryError."""
        return self.adopt_thread(space.new_thread(0))

    def drop_thread(self, th: HostThread) -> None:
        """No task will use it any more."""
        if self.threads.pop(th.ntid, None) is None:
            return
        th.task = None
        lib.nv_drop(th.cdata)
        th.native.space.put()

    def exit_task(self, t: Task) -> None:
        """The end of a task whose stub is dead. May suspend."""
        exit_task(t)

    def tell_parent(self, tg: ThreadGroup) -> None:
        """A process is dead and its tracer knows it: now its parent is told."""
        tell_parent(tg)

    def start_platform(self) -> None:
        """After the loop exists: hands over its descriptors, watches for dead children."""
        p = self.platform
        p.start_loop(p.eventfd, self.loop.epoll.fileno(), self.ncpu)
        zygote = self.adopt_thread(p.zygote_thread)
        hostsignal.pthread_sigmask(hostsignal.SIG_BLOCK, {hostsignal.SIGCHLD})
        fd = lib.nv_signalfd(int(hostsignal.SIGCHLD))
        if fd < 0:
            raise PlatformError("signalfd")
        self.loop.watch_fd(fd, select.EPOLLIN, lambda _e: self._children(fd))
        p.watch_children(fd)
        self.loop.spawn(lambda: self._start_zygote(zygote))
        for nr, row in self.table.items():
            packed = len(row.widths) << 12
            for i, w in enumerate(row.widths):
                packed |= w << (2 * i)
            lib.nv_set_widths(nr, packed)

    def _start_zygote(self, zygote: HostThread) -> None:
        self.platform.find_vdso(self.vdso_layout, lambda _th: zygote.run())
        low = self.platform.low
        if low is not None and self.patching != "off":
            self.patcher = Patcher(low, self.patching)
        self.stubs.start(zygote)
        self.stubs.refill()

    def _children(self, fd: int) -> None:
        """SIGCHLD: host processes died."""
        try:
            os.read(fd, 128 * 8)
        except BlockingIOError:
            pass
        for space, status in self.platform.reap():
            if space is None:
                continue
            if not space.killed:
                self._stub_died(space, status)  # while it is still known which threads ran
            if space.reaped():
                self.loop.later.append(space.release)
            for th in list(self.threads.values()):
                if th.native.space is space and th.token is not None:
                    token, th.token = th.token, None
                    self.loop.resume(token, False)  # who waits for an answer gets none

    def _stub_died(self, space: Space, status: int) -> None:
        """A stub ended without our asking: killed from outside, or by its own tampering. Its tasks are gone."""
        victims = {
            u.tg for u in self.every_task() if u.memory() is not None and u.mm.space is space
        }
        log.warning("stub process %d died unexpectedly (wait status %#x)", space.pid, status)
        sig = status & 0x7F if os.WIFSIGNALED(status) else sg.SIGSEGV
        ran = [u for tg in victims for u in tg.tasks.values() if u.runs_application()]
        for tg in victims:
            tg.kill(sig, ran)

    def take_clean(self, t: Task) -> tuple[Space, HostThread]:
        """A clean stub for exec. May suspend. Raises PlatformError, OSError."""
        own = t.tg.container.stubs
        return (own if own is not None else self.stubs).take()

    def mem_free(self) -> int:
        """Bytes of memory shown as free."""
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")

    # Processes
    def every_proc(self) -> list[ThreadGroup]:
        """Those of all containers."""
        return [tg for ns in self._namespaces() for tg in ns.procs.values()]

    def every_task(self) -> list[Task]:
        """Those of all containers."""
        return [t for ns in self._namespaces() for t in ns.tasks.values()]

    def _namespaces(self) -> list[PidNamespace]:
        return list(dict.fromkeys(c.pids for c in self.containers))

    def forget_container(self, c: Container) -> None:
        """One of a pod that was removed is known until its last task is gone."""
        if c.removed and not c.tasks and c in self.containers:
            self.containers.remove(c)

    def count_missing(self, nr: int) -> None:
        if nr not in self.missing:
            row = self.table.get(nr)
            log.info("system call %s is not implemented", row.name if row else nr)
        self.missing[nr] = self.missing.get(nr, 0) + 1

    def open_pidfd(self, t: Task, tg: ThreadGroup) -> int:
        if self.pidfd_factory is None:
            raise SysErr(errno.EINVAL)
        return t.files.install(self.pidfd_factory(tg), t.tg.rlimit(7), cloexec=True)

    def session_leader_exit(self, tg: ThreadGroup) -> None:
        """A session leader with a terminal hangs it up; a newly orphaned stopped group gets SIGHUP and SIGCONT."""
        if tg.sid == tg.pid and tg.tty is not None and self.tty_hangup is not None:
            self.tty_hangup(tg)
        for child in list(tg.children.values()):
            if child.pgid != tg.pgid and child.sid == tg.sid:
                members = tg.pids.group(child.pgid)
                orphaned = all(
                    p.parent is None
                    or p.parent is tg
                    or p.parent.pgid == p.pgid
                    or p.parent.sid != p.sid
                    for p in members
                )
                if orphaned and any(p.stopped for p in members):
                    for p in members:
                        p.send_signal(sg.SIGHUP)
                        p.send_signal(sg.SIGCONT)

    def init_exited(self, tg: ThreadGroup) -> None:
        """A process without a parent is gone. The init of a namespace takes everybody there with it, the sandbox's the sandbox."""
        if tg is self.container.pids.init:
            self.shutdown(tg.exit_code)
        elif tg is tg.pids.init:
            for p in list(tg.pids.procs.values()):
                if not p.dead:
                    p.kill(sg.SIGKILL)

    def shutdown(self, status: int) -> None:
        """The sandbox ends with wait status ``status``: every process is killed."""
        if self.on_exit is None:
            return
        done, self.on_exit = self.on_exit, None
        for tg in self.every_proc():
            if not tg.dead:
                tg.kill(sg.SIGKILL)
        done(status)
