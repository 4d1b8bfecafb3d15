"""pidfd (Linux: fs/pidfs.c, kernel/pid.c; pidfd_open(2)). Readable once the process is a zombie or gone."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, final

from ..errors import SysErr
from ..kernel.wait import POLL_READ, Waiter
from .anon import AnonFile

if TYPE_CHECKING:
    from ..kernel.task import Task, ThreadGroup


@final
class PidFd(AnonFile):
    """A descriptor for a process."""

    __slots__ = ("target",)

    label = b"anon_inode:[pidfd]"

    def __init__(self, target: ThreadGroup) -> None:
        super().__init__(os.O_RDWR)
        self.target = target

    def poll(self, t: Task | None) -> int:
        return POLL_READ if self.target.dead else 0

    def watch(self, w: Waiter) -> None:
        self.target.pidfd_queue.add(w)

    def unwatch(self, w: Waiter) -> None:
        self.target.pidfd_queue.remove(w)

    def seek(self, t: Task, offset: int, whence: int) -> int:
        raise SysErr(errno.ESPIPE)

    def fdinfo(self) -> bytes:
        pid = self.target.pid if self.target.pids.procs.get(self.target.pid) is self.target else -1
        return b"Pid:\t%d\nNSpid:\t%d\n" % (pid, pid)
