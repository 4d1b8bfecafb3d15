"""A pid namespace: numbers of processes and threads, process groups and sessions (Linux: kernel/pid.c; pid_namespaces(7)).

Namespaces lie beside each other, one for each container of a pod, or one for all: a process has one number and sees those of its own
namespace. Not modelled: namespaces in one another, CLONE_NEWPID.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from .creds import Credentials
from .task import Task, ThreadGroup

if TYPE_CHECKING:
    from . import signal as sg
    from .kernel import Kernel

RESERVED: Final = 300  # the numbers start again above them (Linux: RESERVED_PIDS)
PID_MAX_LIMIT: Final = 1 << 22

pid_max = 32768  # /proc/sys/kernel/pid_max


@final
class PidNamespace:
    """``init`` is its pid 1, which inherits orphans."""

    __slots__ = ("_idle", "init", "k", "last_pid", "procs", "tasks", "used_pids")

    def __init__(self, k: Kernel) -> None:
        self.k = k
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

    def release_pid(self, pid: int) -> None:
        self.used_pids.discard(pid)

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

    def find_task(self, tid: int) -> Task | None:
        """A task by its id. For an init of our own, which has none, one that never runs stands in: it has a priority and
        capabilities that others may ask for."""
        u = self.tasks.get(tid)
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
