"""eventfd (Linux: fs/eventfd.c; eventfd(2))."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, final

from ..kernel.wait import POLLERR, POLLIN, POLLOUT
from .anon import AnonFile

if TYPE_CHECKING:
    from ..kernel.task import Task

MAX: Final = (1 << 64) - 1


@final
class EventFd(AnonFile):
    """A 64-bit counter."""

    __slots__ = ("count", "semaphore")

    label = b"anon_inode:[eventfd]"

    def __init__(self, count: int, semaphore: bool, flags: int) -> None:
        super().__init__(flags | os.O_RDWR)
        self.count = count
        self.semaphore = semaphore

    def read(self, t: Task, size: int) -> bytes | int:
        if size < 8:
            return -errno.EINVAL
        while self.count == 0:
            if self.flags & os.O_NONBLOCK:
                return -errno.EAGAIN
            t.wait(self.queue)
        n = 1 if self.semaphore else self.count
        self.count -= n
        self.queue.wake(POLLOUT)
        return n.to_bytes(8, "little")

    def write(self, t: Task, data: bytes) -> int:
        if len(data) < 8:
            return -errno.EINVAL
        n = int.from_bytes(data[:8], "little")
        if n == MAX:
            return -errno.EINVAL
        while MAX - self.count <= n:
            if self.flags & os.O_NONBLOCK:
                return -errno.EAGAIN
            t.wait(self.queue)
        self.count += n
        self.queue.wake(POLLIN)
        return 8

    def signal(self, n: int = 1) -> None:
        """A kernel-side write; saturates (then POLLERR)."""
        self.count = min(self.count + n, MAX)
        self.queue.wake(POLLIN)

    def poll(self, t: Task | None) -> int:
        mask = 0
        if self.count > 0:
            mask |= POLLIN
        if self.count == MAX:
            mask |= POLLERR
        if self.count < MAX - 1:
            mask |= POLLOUT
        return mask

    def fdinfo(self) -> bytes:
        return b"eventfd-count: %16x\n" % self.count
