"""Tasks and thread groups (Linux: struct task_struct, signal_struct; kernel/fork.c).

What the other layers may use of a task is listed here. How a task runs, waits and reaches its memory lives in
``kernel/run.py`` and ``mm/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .wait import WaitQueue

if TYPE_CHECKING:
    from ..vfs.file import FdTable
    from ..vfs.fs_context import FsContext
    from .creds import Credentials
    from .kernel import Kernel

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
RLIM_INFINITY: Final = (1 << 64) - 1


class ThreadGroup:
    """A process: the tasks that share a pid, signal actions, limits and timers."""

    pid: int
    pgid: int
    sid: int
    tty: object | None  # controlling terminal (fs/tty.py)
    rlimits: list[tuple[int, int]]  # (soft, hard) by RLIMIT_*

    def rlimit(self, which: int) -> int:
        """The soft limit."""
        return self.rlimits[which][0]


class Task:
    """A thread of the application."""

    k: Kernel
    tg: ThreadGroup
    tid: int
    comm: bytes
    creds: Credentials
    files: FdTable
    fs: FsContext

    def wait(
        self, *queues: WaitQueue, deadline: int | None = None, interruptible: bool = True
    ) -> bool:
        """Suspends until one of ``queues`` wakes (True) or CLOCK_MONOTONIC passes ``deadline`` ns (False).

        Spurious wake-ups happen: callers loop. Raises Restart(ERESTARTSYS) when a signal is to be delivered.
        """
        raise NotImplementedError

    def copy_in(self, addr: int, size: int) -> bytes:
        """``size`` bytes of application memory. May suspend. Raises SysErr(EFAULT)."""
        raise NotImplementedError

    def copy_in_str(self, addr: int, limit: int) -> bytes:
        """A NUL-terminated string without its NUL. Raises EFAULT, or ENAMETOOLONG past ``limit`` bytes."""
        raise NotImplementedError

    def copy_in_path(self, addr: int) -> bytes:
        """A path argument: ``copy_in_str`` with PATH_MAX (4096 with the NUL)."""
        raise NotImplementedError

    def copy_out(self, addr: int, data: bytes) -> None:
        """Writes application memory. Small data travels with the reply: a fault there makes the call EFAULT.

        Order is kept. Data too large for the reply is written now (may suspend, raises SysErr(EFAULT)).
        """
        raise NotImplementedError

    def signal_pending(self) -> bool:
        """Whether a wait would be interrupted."""
        raise NotImplementedError
