"""How a system call fails.

``SysErr`` carries a positive Linux errno and becomes the negative result of the call. The
restart codes (linux/errno.h, 512 and up) are a type of their own and never reach the
application: ``kernel/syscall.py`` turns them into a restart or ``EINTR``. Hot "would block" paths return
``-EAGAIN`` instead of raising. Any other Python exception in a handler is a bug of ours.
"""

from __future__ import annotations

import errno
import os
from typing import Final

ERESTARTSYS: Final = 512  # restart when the handler has SA_RESTART, otherwise EINTR
ERESTARTNOINTR: Final = 513  # always restart
ERESTARTNOHAND: Final = 514  # restart only when no handler runs
ERESTART_RESTARTBLOCK: Final = 516  # as NOHAND, but through restart_syscall(2)
NO_REPLY: Final = -(1 << 62)  # no result: the handler has arranged the registers itself


class SysErr(Exception):
    """The call fails with ``errno`` (a positive Linux number)."""

    __slots__ = ("errno",)

    def __init__(self, errno: int) -> None:
        self.errno = errno

    def __str__(self) -> str:
        return f"{errno.errorcode.get(self.errno, self.errno)}: {os.strerror(self.errno)}"


class Restart(Exception):
    """A wait was interrupted by a signal; ``code`` is one of the ERESTART* numbers."""

    __slots__ = ("code",)

    def __init__(self, code: int = ERESTARTSYS) -> None:
        self.code = code


class TaskExit(BaseException):
    """Unwinds a handler whose task is being killed; nobody but the dispatcher may catch it."""


def from_oserror(e: OSError) -> SysErr:
    """The host's error, as the application sees it."""
    return SysErr(e.errno if e.errno else errno.EIO)
