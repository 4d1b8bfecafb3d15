"""Tasks and thread groups (Linux: struct task_struct, signal_struct; kernel/fork.c).

A task is a thread of the application. While it runs the application, its host thread does; while it is in a system call
that waits, the handler's greenlet is suspended in ``wait``. How calls are dispatched is in ``kernel/dispatch.py``, how
signals reach the application in ``kernel/deliver.py``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from ...platform.interface import KNOWN_OFF
from ...platform.native._native import lib
from ..errors import ERESTARTSYS, Restart, TaskExit
from ..vfs.lent import forget_thread
from . import signal as sg
from .cputime import Usage, group_ns, task_ns
from .keys import TaskKeys
from .thread import PATH_MAX, HostThread
from .wait import POLL_ALL, Waiter, WaitQueue

if TYPE_CHECKING:
    from ..ipc.sem import SemSet
    from ..mm.mm import MM
    from ..mm.vma import VmaMap
    from ..vfs.file import FdTable
    from ..vfs.fs_context import FsContext
    from ..vfs.inode import Stat
    from .container import Container
    from .coredump import Hold
    from .creds import Credentials
    from .kernel import Kernel
    from .namespaces import NsProxy
    from .pids import PidNamespace
    from .ptrace import DeadTracee, Tracee
    from .seccomp import Filter

RLIMIT_CPU: Final = 0
RLIMIT_FSIZE: Final = 1
RLIMIT_DATA: Final = 2
RLIMIT_STACK: Final = 3
RLIMIT_CORE: Final = 4
RLIMIT_RSS: Final = 5
RLIMIT_NPROC: Final = 6
RLIMIT_NOFILE: Final = 7
RLIMIT_MEMLOCK: Final = 8
RLIMIT_AS: Final = 9
RLIMIT_LOCKS: Final = 10
RLIMIT_SIGPENDING: Final = 11
RLIMIT_MSGQUEUE: Final = 12
RLIMIT_NICE: Final = 13
RLIMIT_RTPRIO: Final = 14
RLIMIT_RTTIME: Final = 15
RLIM_NLIMITS: Final = 16
RLIM_INFINITY: Final = (1 << 64) - 1

KILL_PATIENCE: Final = (
    1_000_000_000  # ns for the threads of a killed process to give up their locks
)

_KNOWN: Final = struct.Struct("<7I").pack_into
KILLED: Final = 2  # value a suspended task is resumed with
WOKEN: Final = 1
INTERRUPTED: Final = 3
TIMED_OUT: Final = 0


class ThreadGroup:
    """A process: the tasks that share a pid, signal actions, limits and timers."""

    __slots__ = (
        "child_queue",
        "child_used",
        "children",
        "cont_reported",
        "container",
        "core",
        "core_filter",
        "dead",
        "dead_tracees",
        "did_exec",
        "dumpable",
        "exit_code",
        "exit_signal",
        "exited",
        "held",
        "is_init",
        "itimers",
        "k",
        "leader_cred",
        "loginuid",
        "oom_score_adj",
        "parent",
        "pdeath_signal",
        "pending",
        "pgid",
        "pid",
        "pidfd_queue",
        "pidns",
        "pids",
        "posix_timers",
        "rlimits",
        "seen",
        "sid",
        "sighand",
        "start_ns",
        "stop_code",
        "stop_queue",
        "stop_reported",
        "stopped",
        "subreaper",
        "tasks",
        "timer_ids",
        "tty",
        "undo_sets",
        "used",
    )  # fmt: skip

    def __init__(
        self, k: Kernel, pid: int, parent: ThreadGroup | None, container: Container
    ) -> None:
        self.k = k
        self.container = container
        self.pids: PidNamespace = container.pids
        self.pidns: PidNamespace = container.pids  # within it, with CLONE_NEWPID
        self.pid = pid
        self.pgid = pid
        self.sid = pid
        self.tty: Any = None  # controlling terminal (fs/tty.py)
        self.parent = parent
        self.children: dict[int, ThreadGroup] = {}
        self.tasks: dict[int, Task] = {}
        self.sighand = sg.SigHandlers()
        self.pending = sg.Pending()
        self.rlimits: list[tuple[int, int]] = [(RLIM_INFINITY, RLIM_INFINITY)] * RLIM_NLIMITS
        self.child_queue = WaitQueue()  # a child changed state
        self.pidfd_queue = WaitQueue()  # this process died
        self.stop_queue = WaitQueue()
        self.exit_signal = sg.SIGCHLD
        self.exited = False  # the whole group is on its way out
        self.exit_code = 0  # wait status once exited
        self.dead = False  # zombie: no task is left
        self.stopped = False
        self.stop_code = 0
        self.stop_reported = True
        self.cont_reported = True
        self.is_init = False
        self.dead_tracees: dict[
            int, DeadTracee
        ] = {}  # by tid: its tracers have not waited for them
        self.held: DeadTracee | None = None  # its parent hears of its end after its tracer
        self.subreaper = False
        self.pdeath_signal = 0
        self.oom_score_adj = 0
        self.posix_timers: dict[int, Any] = {}
        self.timer_ids = 0
        self.itimers: dict[int, Any] = {}
        self.did_exec = False
        self.start_ns = k.monotonic_ns()
        self.used = Usage()  # by stubs that are gone
        self.seen = Usage()  # by its stub when it was last asked
        self.child_used = Usage()  # by children that were waited for
        self.loginuid = 0xFFFFFFFF
        self.dumpable = 1
        self.core: Hold | None = None  # while its core is written
        self.core_filter = 0x33  # /proc/PID/coredump_filter
        self.leader_cred: Credentials | None = None
        self.undo_sets: dict[SemSet, None] = {}  # System V semaphores it has changed with SEM_UNDO

    @property
    def nr(self) -> int:
        """Its pid as it knows it itself."""
        return self.pidns.number(self.pid)

    @property
    def mm(self) -> MM | None:
        """The address space of the leader, or of any thread that is left."""
        for t in self.tasks.values():
            return t.memory()
        return None

    @property
    def cputime(self) -> int:
        """CPU time used, ns."""
        return group_ns(self)

    def rlimit(self, which: int) -> int:
        """The soft limit."""
        return self.rlimits[which][0]

    def send_signal(self, sig: int, info: sg.SigInfo | None = None) -> None:
        """Sends to the process as a whole."""
        sg.send(self, None, info or sg.SigInfo(sig))

    def discard_pending(self, mask: int) -> None:
        self.pending.discard(mask)
        for t in self.tasks.values():
            t.pending.discard(mask)

    def continue_(self, report: bool = True) -> None:
        """SIGCONT (or SIGKILL): stopped threads go on."""
        for t in self.tasks.values():
            t.stop_pending = 0
            tr = t.tracee
            if tr is not None and tr.listening:
                tr.queue.wake()
        if self.stopped:
            self.stopped = False
            self.stop_queue.wake()
            if report:
                self.cont_reported = False
                self.stop_reported = True
                self.notify_parent(sg.CLD_CONTINUED, sg.SIGCONT)

    def notify_parent(self, code: int, status: int) -> None:
        """SIGCHLD for a stop or continue, and whoever waits."""
        p = self.parent
        if p is None:
            return
        act = p.sighand.get(sg.SIGCHLD)
        if not act.flags & sg.SA_NOCLDSTOP or act.handler == sg.SIG_DFL:
            info = sg.SigInfo(sg.SIGCHLD, code, self.pid)
            info.status = status
            sg.send(p, None, info)
        p.child_queue.wake()

    def kill(self, status: int, ran: list[Task] | None = None) -> None:
        """Begins the end of the group with wait status ``status``; every thread is made to leave. ``ran``: the stub is gone, and these
        threads were in the application."""
        if not self.exited:
            self.exited = True
            self.exit_code = status
        tasks = list(self.tasks.values())
        running = ran if ran is not None else [t for t in tasks if t.runs_application()]
        for t in tasks:
            t.exiting = t.work = True
        mm = self.mm
        if ran is not None and mm is not None:
            mm.space.kill()
        elif mm is not None and mm.users == sum(t.mm is mm for t in tasks):
            robust = mm.shares_memory() and any(t.robust_list for t in tasks)
            if not robust and all(t.vfork_done is None for t in tasks):
                mm.space.kill()  # nobody else lives there, or must hear of the locks held
            elif robust:
                self.k.loop.call_at(self.k.monotonic_ns() + KILL_PATIENCE, self._force)
        for t in tasks:
            t.leave(t in running)

    def _force(self) -> None:
        """A stub that does not let its threads say goodbye (it may block our kicks, hazard B4) is killed all the same."""
        left = list(self.tasks.values())
        mm = self.mm
        if mm is None or mm.users != sum(t.mm is mm for t in left):
            return
        running = [t for t in left if t.runs_application()]
        mm.space.kill()
        for t in left:
            t.leave(t in running)


class Task:
    """A thread of the application."""

    __slots__ = (
        "altstack",
        "blocked",
        "clear_tid",
        "comm",
        "cpu_mask",
        "creds",
        "deadline",
        "default_slack",
        "exit_code",
        "exiting",
        "files",
        "filter",
        "fs",
        "gs_base",
        "ioprio",
        "k",
        "keys",
        "lent",
        "mm",
        "newborn",
        "nice",
        "ns",
        "orig_nr",
        "pdeath_signal",
        "pending",
        "personality",
        "policy",
        "real_blocked",
        "reset_on_fork",
        "restart_fn",
        "robust_list",
        "rseq",
        "rt_priority",
        "saved_mask",
        "seccomp",
        "signal_queue",
        "start_ns",
        "stop_pending",
        "tg",
        "thread",
        "tid",
        "timer_slack",
        "token",
        "tracee",
        "tracees",
        "undo",
        "uninterruptible",
        "vfork_done",
        "waits",
        "work",
    )  # fmt: skip

    def __init__(self, k: Kernel, tg: ThreadGroup, tid: int) -> None:
        self.k = k
        self.tg = tg
        self.tid = tid
        self.comm = b""
        self.thread: HostThread = k.nobody
        self.mm: MM = k.no_mm
        self.creds: Credentials = None  # type: ignore[assignment]  # set before it runs
        self.files: FdTable = None  # type: ignore[assignment]  # set before it runs
        self.fs: FsContext = None  # type: ignore[assignment]  # set before it runs
        self.ns: NsProxy = tg.container.ns
        self.keys = TaskKeys()
        self.pending = sg.Pending()
        self.blocked = 0
        self.saved_mask: int | None = None  # sigsuspend, ppoll…: restored on the way out
        self.real_blocked = 0  # the mask while rt_sigtimedwait lets through what it waits for
        self.signal_queue = WaitQueue()
        self.altstack: tuple[int, int, int] = (0, 2, 0)  # sp, flags, size
        self.work = False  # something is to be done before the application goes on
        self.stop_pending = 0
        self.exiting = False
        self.exit_code = 0  # of a thread that ended by itself
        self.seccomp = 0  # its mode (kernel/seccomp.py)
        self.filter: Filter | None = None  # the last one put on it
        self.tracee: Tracee | None = None  # somebody traces it
        self.tracees: dict[int, Task] = {}  # by tid: whom it traces
        self.newborn = 0  # where it begins, if its tracer is to hear of it first
        self.lent: list[int] | None = None  # registers of one whose host thread a vfork child has
        self.token: Any = None  # suspended in wait
        self.waits = 0  # how often it has waited
        self.uninterruptible = False
        self.orig_nr = -1
        self.restart_fn: Any = None  # restart_syscall(2) calls it
        self.undo: tuple[MM, VmaMap] | None = None
        self.clear_tid = 0
        self.robust_list = 0
        self.rseq: tuple[int, int, int] | None = None
        self.vfork_done: WaitQueue | None = None  # a vfork parent waits here for this task
        self.nice = 0
        self.policy = 0
        self.rt_priority = 0
        self.reset_on_fork = False
        self.deadline = (0, 0, 0)  # SCHED_DEADLINE: runtime, deadline, period in ns
        self.ioprio = 0
        self.cpu_mask = 0
        self.timer_slack = self.default_slack = 50000  # ns
        self.personality = 0
        self.gs_base = 0  # as arch_prctl set it
        self.start_ns = k.monotonic_ns()
        self.pdeath_signal = 0

    def memory(self) -> MM | None:
        """The address space; None before it has one and once it has let go of it."""
        mm = self.mm
        return None if mm is self.k.no_mm else mm

    def borrows(self) -> bool:
        """Whether it runs on the host thread and in the memory of a vfork parent."""
        return self.vfork_done is not None

    def has_thread(self) -> bool:
        """Whether it has a host thread; a vfork parent has lent its own."""
        return self.thread is not self.k.nobody

    @property
    def nr(self) -> int:
        """Its tid as it knows it itself."""
        return self.tg.pidns.number(self.tid)

    @property
    def utime_ns(self) -> int:
        """CPU time used, ns."""
        return task_ns(self)

    def publish(self) -> None:
        """Tells its stub who it is: ``getpid`` and its like are then answered there (proto.h, ``known``)."""
        k = self.k
        forget_thread(self.thread.cdata)
        if k.patcher is None or k.strace is not None or self.tg.container.hears_all:
            return
        tg, c = self.tg, self.creds
        ns, users = tg.pidns, c.userns
        ppid = ns.number(tg.parent.pid) if tg.parent is not None else 0
        if self.tracee is not None or self.seccomp:
            _KNOWN(self.thread.mem, KNOWN_OFF, 0, 0, 0, 0, 0, 0, 0)
            return
        _KNOWN(
            self.thread.mem, KNOWN_OFF, ns.number(tg.pid) + 1, ns.number(self.tid) + 1, ppid + 1,
            users.uid_out(c.uid) + 1, users.uid_out(c.euid) + 1,
            users.gid_out(c.gid) + 1, users.gid_out(c.egid) + 1,
        )  # fmt: skip

    # Waiting
    def wait(
        self,
        *queues: WaitQueue,
        deadline: int | None = None,
        interruptible: bool = True,
        soon: bool = True,
        held: bool = False,
    ) -> bool:
        """Suspends until one of ``queues`` wakes (True) or CLOCK_MONOTONIC passes ``deadline`` ns (False).
        Not ``soon``: the host thread had better leave its core to others meanwhile. ``held``: what it waits for is there, more
        of it had better come first (``EventLoop.hold``).

        Spurious wake-ups happen: callers loop. Raises Restart(ERESTARTSYS) when a signal is to be delivered,
        TaskExit when the task is being killed.
        """
        if self.exiting:
            raise TaskExit
        if interruptible and self.signal_pending():
            raise Restart(ERESTARTSYS)
        self.waits += 1
        loop = self.k.loop
        if loop.held:  # before this one can be among them
            loop.wake_held()
        waiter = Waiter(self._wake, POLL_ALL)
        for q in queues:
            q.add(waiter)
            if held:
                loop.hold(q)
        if not soon:
            self.thread.trap.rest()
        timer = loop.call_at(deadline, self._timeout) if deadline is not None else None
        self.uninterruptible = not interruptible
        try:
            self.token = loop.token()
            got = loop.suspend()
        finally:
            self.token = None
            for q in queues:
                q.remove(waiter)
            if timer is not None:
                timer.cancel()
        if got == KILLED:
            raise TaskExit
        if got == INTERRUPTED:
            raise Restart(ERESTARTSYS)
        return bool(got != TIMED_OUT)

    def _resume(self, value: int) -> None:
        token = self.token
        if token is not None:
            self.token = None
            self.k.loop.resume(token, value)

    def _wake(self, _events: int) -> None:
        self._resume(WOKEN)

    def _timeout(self) -> None:
        self._resume(TIMED_OUT)

    def signal_pending(self) -> bool:
        """Whether a wait would be interrupted."""
        pend = (self.pending.mask | self.tg.pending.mask) & ~self.blocked
        if pend or self.exiting or self.stop_pending:
            return True
        tr = self.tracee
        return tr is not None and tr.interrupted

    # Signals
    def notify_signal(self) -> None:
        """A signal it should look at: a wait ends, a running application is made to trap."""
        self.work = True
        if self.token is not None:
            if not self.uninterruptible:
                self._resume(INTERRUPTED)
        elif self.runs_application():
            self.thread.native.space.kick(self.thread.native)

    def runs_application(self) -> bool:
        """Whether its host thread runs the application (and not operations for a handler)."""
        th = self.thread
        return (
            th is not self.k.nobody
            and self.token is None
            and th.token is None
            and bool(lib.nv_running(th.cdata))
        )

    def kill(self) -> None:
        """This task alone is to end (another thread execs)."""
        running = self.runs_application()
        self.exiting = self.work = True
        self.leave(running)

    def leave(self, running: bool) -> None:
        """Makes an exiting task unwind wherever it is. ``running``: in the application, before its stub was killed."""
        th = self.thread
        if self.token is not None:
            self._resume(KILLED)
        elif th is self.k.nobody:
            return
        elif th.token is not None:
            if th.native.space.killed:  # the acknowledgement it waits for won't come
                token, th.token = th.token, None
                self.k.loop.resume(token, False)
        elif running:
            if th.native.space.killed:
                self.k.loop.spawn(lambda: self.k.exit_task(self))
            else:
                th.native.space.kick(th.native)

    def send_signal(self, sig: int, info: sg.SigInfo | None = None) -> None:
        """Sends to this thread only."""
        sg.send(self.tg, self, info or sg.SigInfo(sig))

    def send_signal_self(self, sig: int) -> None:
        """A signal the kernel sends because of what the task just did (SIGPIPE, SIGXFSZ, faults)."""
        sg.send(self.tg, self, sg.SigInfo(sig, sg.SI_USER, self.tg.pid, self.creds.uid))

    def dequeue_signal(self, mask: int) -> sg.SigInfo | None:
        """Takes a pending signal out of ``mask``: the thread's own first, then the process's."""
        info = self.pending.take(mask) or self.tg.pending.take(mask)
        if info is not None and info.code == sg.SI_TIMER:
            timer = self.tg.posix_timers.get(info.timerid)
            if timer is not None and timer.info is info:
                timer.catch_up()
        return info

    def set_blocked(self, mask: int) -> None:
        self.blocked = mask & ~sg.KILL_STOP
        if self.signal_pending():
            self.work = True

    def set_temp_sigmask(self, mask: int) -> None:
        """The mask for the rest of this call (ppoll, sigsuspend…); the old one returns with the application."""
        if self.saved_mask is None:
            self.saved_mask = self.blocked
        self.work = True
        self.set_blocked(mask)

    # Memory; see HostThread
    def copy_in(self, addr: int, size: int) -> bytes:
        """``size`` bytes of application memory. May suspend. Raises SysErr(EFAULT)."""
        return self.thread.copy_in(addr, size)

    def copy_in_str(self, addr: int, limit: int) -> bytes:
        """A NUL-terminated string without its NUL. Raises EFAULT, or ENAMETOOLONG past ``limit`` bytes."""
        return self.thread.copy_in_str(addr, limit)

    def copy_in_path(self, addr: int) -> bytes:
        """A path argument: ``copy_in_str`` with PATH_MAX (4096 with the NUL)."""
        return self.thread.copy_in_str(addr, PATH_MAX)

    def copy_out(self, addr: int, data: bytes | memoryview) -> None:
        """Writes application memory. Small data travels with the reply: a fault there makes the call EFAULT."""
        self.thread.copy_out(addr, data)

    def stat_out(self, addr: int, s: Stat) -> None:
        """``struct stat`` with ids as the caller has them, as ``copy_out``."""
        users = self.creds.userns
        self.thread.stat_out(addr, s, users.uid_out(s.uid), users.gid_out(s.gid))

    def copy_out_now(self, addr: int, data: bytes | memoryview) -> None:
        """Writes application memory before the call goes on. May suspend. Raises SysErr(EFAULT)."""
        if data:
            self.thread.copy_out(addr, data)
            self.thread.run()

    def flush(self) -> None:
        """Has queued copies done now, for a call that must know that they worked."""
        if self.thread.used:
            self.thread.run()
