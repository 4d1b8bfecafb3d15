"""Pid namespaces: numbers of processes and threads, process groups and sessions (Linux: kernel/pid.c; pid_namespaces(7)).

Outermost ones lie beside each other, one for each container of a pod, or one for all. Everywhere in the kernel a process, thread, group
or session has the number of its outermost namespace (``ThreadGroup.pids``). Where a program names or is shown one, it is translated
by the namespace that the program is in (``ThreadGroup.pidns``), which is the same one unless it was made with CLONE_NEWPID.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..errors import SysErr
from .creds import CAP_CHECKPOINT_RESTORE, CAP_SYS_ADMIN, Credentials
from .task import Task, ThreadGroup
from .userns import INIT_USER, Namespace, UserNamespace
from .wait import WaitQueue

if TYPE_CHECKING:
    from . import signal as sg
    from .kernel import Kernel

RESERVED: Final = 300  # the numbers start again above them (Linux: RESERVED_PIDS)
PID_MAX_LIMIT: Final = 1 << 22
MAX_LEVEL: Final = 32

pid_max = 32768  # /proc/sys/kernel/pid_max


@final
class PidNamespace(Namespace):
    """``init`` is its pid 1, which inherits orphans. ``tasks`` and ``procs`` are the outermost namespace's, where all are; one within
    another has ``up``, the outermost number of each of its own, and ``down``, the reverse."""

    __slots__ = (
        "_idle", "chains", "changed", "down", "init", "k", "last_pid", "level", "parent", "procs", "root", "tasks",
        "up", "used_pids",
    )  # fmt: skip

    kind: ClassVar[bytes] = b"pid"
    flag: ClassVar[int] = 0x20000000

    def __init__(
        self, k: Kernel, parent: PidNamespace | None = None, owner: UserNamespace = INIT_USER
    ) -> None:
        super().__init__(owner, 0 if parent is not None or k.made_pids else 0xEFFFFFFC)
        k.made_pids = True
        self.k = k
        self.parent = parent
        self.level: int = parent.level + 1 if parent is not None else 0
        if self.level > MAX_LEVEL:
            raise SysErr(errno.ENOSPC)
        self.root: PidNamespace = parent.root if parent is not None else self
        self.up: dict[int, int] = {}
        self.down: dict[int, int] = {}
        # of the outermost: which inner namespaces have a number for one of its own
        self.chains: dict[int, list[PidNamespace]] = {}
        self.changed = WaitQueue()  # a process of it is dead; its init waits for all of them
        self.tasks: dict[int, Task] = {}
        self.procs: dict[int, ThreadGroup] = {}
        self.used_pids: set[int] = set()
        self.last_pid = 0
        self.init: ThreadGroup | None = None
        self._idle: Task | None = None

    def new_pid(self) -> int:
        """A free task id. Raises EAGAIN when all are taken."""
        for _ in range(pid_max):
            self.last_pid += 1
            if self.last_pid >= pid_max:
                self.last_pid = RESERVED
            if self.last_pid not in self.used_pids:
                self.used_pids.add(self.last_pid)
                return self.last_pid
        raise SysErr(errno.EAGAIN)

    def claim_pid(self, pid: int, c: Credentials) -> int:
        """The id that clone3(2)'s set_tid asks for. Raises EINVAL, EPERM, EEXIST."""
        if not 1 <= pid < pid_max or (pid != 1 and self.init is None):
            raise SysErr(errno.EINVAL)
        ns = self.administrator()
        if not c.ns_capable(ns, CAP_CHECKPOINT_RESTORE) and not c.ns_capable(ns, CAP_SYS_ADMIN):
            raise SysErr(errno.EPERM)
        if pid in self.used_pids:
            raise SysErr(errno.EEXIST)
        self.used_pids.add(pid)
        return pid

    def release_pid(self, pid: int) -> None:
        self.used_pids.discard(pid)
        for ns in self.chains.pop(pid, ()):
            own = ns.down.pop(pid)
            del ns.up[own]
            ns.used_pids.discard(own)

    def allocate(self, c: Credentials, wanted: tuple[int, ...] = ()) -> int:
        """The outermost number of a new task of this namespace, which gets one in each namespace outwards: those ``wanted``, from here
        on. Raises EAGAIN, ENOMEM when its init is gone, and what ``claim_pid`` raises."""
        if len(wanted) > self.level + 1:
            raise SysErr(errno.EINVAL)
        root = self.root
        outermost = wanted[self.level] if len(wanted) > self.level else 0
        if self is root:
            return self.claim_pid(outermost, c) if wanted else self.new_pid()
        if self.init is not None and self.init.exited:
            raise SysErr(errno.ENOMEM)
        pid = root.claim_pid(outermost, c) if len(wanted) > self.level else root.new_pid()
        made = root.chains[pid] = []
        ns = self
        left = wanted
        try:
            while ns.parent is not None:
                own = ns.claim_pid(left[0], c) if left else ns.new_pid()
                left = left[1:]
                ns.up[own], ns.down[pid] = pid, own
                made.append(ns)
                ns = ns.parent
        except SysErr:
            root.release_pid(pid)
            raise
        return pid

    def nested(self, owner: UserNamespace) -> PidNamespace:
        """A new one within it."""
        return PidNamespace(self.k, self, owner)

    # Numbers
    def number(self, pid: int) -> int:
        """What an outermost number is called here; 0 for what is not to be seen."""
        return pid if self.parent is None else self.down.get(pid, 0)

    def outer(self, own: int) -> int:
        """The outermost number of ``own``; 0 if there is none."""
        return own if self.parent is None else self.up.get(own, 0)

    def task(self, own: int) -> Task | None:
        return self.root.tasks.get(self.outer(own))

    def proc(self, own: int) -> ThreadGroup | None:
        return self.root.procs.get(self.outer(own))

    def members(self) -> list[ThreadGroup]:
        """Its processes, those of namespaces within it included."""
        procs = self.root.procs
        if self.parent is None:
            return list(procs.values())
        return [procs[pid] for pid in list(self.down) if pid in procs]

    def is_within(self, other: PidNamespace) -> bool:
        """Whether it is ``other`` or lies within it."""
        ns: PidNamespace | None = self
        while ns is not None:
            if ns is other:
                return True
            ns = ns.parent
        return False

    def numbers_of(self, pid: int, own: PidNamespace) -> list[int]:
        """The numbers of a task of namespace ``own``, from this namespace inwards (NSpid of proc(5))."""
        out: list[int] = []
        ns: PidNamespace | None = own
        while ns is not None:
            out.append(ns.number(pid))
            if ns is self:
                break
            ns = ns.parent
        return out[::-1]

    def add(self, t: Task) -> None:
        """A task can be found; it counts for its container."""
        self.tasks[t.tid] = t
        t.tg.container.tasks += 1

    def drop(self, tid: int) -> None:
        """A task is gone, or has another id now."""
        t = self.tasks.pop(tid, None)
        if t is not None:
            t.tg.container.tasks -= 1

    def task_gone(self, t: Task) -> None:
        """A thread's id is free again, unless it is its process's pid, which lives until the process is reaped."""
        if t.tid != t.tg.pid:
            self.release_pid(t.tid)

    def free_pid(self, tg: ThreadGroup) -> None:
        pid = tg.pid
        if any(p.pgid == pid or p.sid == pid for p in self.procs.values()):
            return  # still names a process group or session; found free when that is gone
        self.release_pid(pid)

    def find_task(self, own: int) -> Task | None:
        """A task by its number here. For an init of our own, which has none, one that never runs stands in: it has a priority and
        capabilities that others may ask for."""
        tid = self.outer(own)
        u = self.root.tasks.get(tid)
        init = self.init
        if u is None and init is not None and tid == init.pid and not init.tasks and not init.dead:
            if self._idle is None:
                self._idle = Task(self.k, init, tid)
                self._idle.creds = Credentials()
            return self._idle
        return u

    def group(self, pgid: int) -> list[ThreadGroup]:
        return [p for p in self.procs.values() if p.pgid == pgid]

    def signal_pgrp(self, pgid: int, sig: int, info: sg.SigInfo | None = None) -> bool:
        """Sends to every process of a group; False when it has none."""
        members = self.group(pgid)
        for p in members:
            p.send_signal(sig, info)
        return bool(members)

    def pgrp_orphaned(self, pgid: int, sid: int) -> bool:
        """Whether no member has a parent outside the group but in the session (POSIX orphaned process group)."""
        for p in self.group(pgid):
            q = p.parent
            if not p.dead and q is not None and q.pgid != pgid and q.sid == sid:
                return False
        return True
