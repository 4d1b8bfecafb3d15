"""Unnamed files on the disk that a container's root is on: what its programs write there fills no memory (--overlay2=root:self).

The Sentry can open nothing and the gofer shall not be able to write to the root, so the pid-file process makes them, which meets
nothing hostile but the control connection: "files" asks for some, the answer brings pairs of descriptors of fresh, empty files
that no name leads to and none can be given (O_TMPFILE | O_EXCL, open(2)).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..sentry.kernel.wait import WaitQueue

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task

BATCH: Final = 8
Pairs = list[tuple[int, int]]


@final
class DiskFiles:
    """The Sentry's side, for a ``MemfdPool``: files in memory until ``ask`` is set, and where the disk can't have such files."""

    __slots__ = ("ask", "memory", "waiting")

    def __init__(self, memory: Callable[[Task], Pairs]) -> None:
        self.ask: Callable[[], None] | None = None
        self.memory = memory
        self.waiting: list[tuple[WaitQueue, Pairs]] = []

    def refill(self, t: Task) -> Pairs:
        """More files. Suspends until the answer is there."""
        if self.ask is None:
            return self.memory(t)
        got: Pairs = []
        queue = WaitQueue()
        self.waiting.append((queue, got))
        self.ask()
        t.wait(queue, interruptible=False)
        if not got:
            self.ask = None
            return self.memory(t)
        return got

    def answer(self, fds: list[int]) -> None:
        """Raises ValueError for what nobody has asked for."""
        if not self.waiting or len(fds) % 2:
            raise ValueError("no such files are expected")
        queue, got = self.waiting.pop(0)
        got += zip(fds[0::2], fds[1::2], strict=True)
        queue.wake()


def make(directory: int) -> list[int]:
    """Descriptors of some unnamed files of the directory's file system: read-write, read-only, read-write… Empty if it can't have
    any, and when the disk is full."""
    fds: list[int] = []
    try:
        for _ in range(BATCH):
            flags = os.O_TMPFILE | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            fds.append(os.open(".", flags, 0o600, dir_fd=directory))
            fds.append(os.open(f"/proc/self/fd/{fds[-1]}", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        if len(fds) % 2:
            os.close(fds.pop())
    return fds
