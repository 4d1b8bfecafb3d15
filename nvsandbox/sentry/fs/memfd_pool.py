"""Host memory files for tmpfs, overlay and memfd_create, in pairs of descriptors.

Each sandbox file that is mapped or big gets a host file of its own (hazard A6), held by a read-write descriptor and
by a read-only one of the same file. The Sentry can open nothing, so whoever can (the gofer) hands pairs out.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr

if TYPE_CHECKING:
    from ..kernel.task import Task

Refill = Callable[["Task"], list[tuple[int, int]]]

LOW: Final = 4


@final
class HostPair:
    """One host memory file. Closed when the last reference goes."""

    __slots__ = ("ro", "rw")

    def __init__(self, rw: int, ro: int) -> None:
        self.rw = rw
        self.ro = ro

    def close(self) -> None:
        if self.rw >= 0:
            os.close(self.rw)
            os.close(self.ro)
            self.rw = self.ro = -1

    def __del__(self) -> None:
        self.close()


@final
class MemfdPool:
    """``refill(t)`` gives more pairs; it may suspend. ``MemfdPool(local_refill)`` where opening is allowed."""

    __slots__ = ("free", "refill")

    def __init__(self, refill: Refill) -> None:
        self.refill = refill
        self.free: list[tuple[int, int]] = []

    def take(self, t: Task) -> HostPair:
        """A fresh empty host file. May suspend. Raises ENFILE."""
        while not self.free:
            got = self.refill(t)
            if not got:
                raise SysErr(errno.ENFILE)
            self.free += got
        rw, ro = self.free.pop()
        return HostPair(rw, ro)


def make_pair(proc_fd_dir: str = "/proc/self/fd") -> tuple[int, int]:
    """A memfd and its read-only reopening, made by this very process."""
    rw = os.memfd_create("nvsandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        ro = os.open(f"{proc_fd_dir}/{rw}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        os.close(rw)
        raise
    return rw, ro


def local_refill(t: Task) -> list[tuple[int, int]]:
    """For tests and unconfined processes."""
    return [make_pair()]
