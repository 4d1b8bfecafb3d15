"""Deadlines of everything in the stack, in one heap.

A deadline that moves later, which is the usual case, touches the heap only when the old one is reached.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final, final

COMPACT: Final = 256  # dead entries that are tolerated


class Expiring:
    """Something with a deadline."""

    __slots__ = ()

    def expire(self, now: int) -> None:
        """The deadline has come; it is not set any more and may be set again."""
        raise NotImplementedError


@final
class Timer:
    """``deadline``: absolute ns, 0: not set. ``queued``: the deadline of its entry in the heap, 0: none."""

    __slots__ = ("deadline", "owner", "queued")

    def __init__(self, owner: Expiring) -> None:
        self.owner: Expiring | None = owner
        self.deadline = 0
        self.queued = 0


@final
class Timers:
    """``on_timer`` is told when a deadline earlier than all others appears."""

    __slots__ = ("dead", "heap", "on_timer", "serial")

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Timer]] = []
        self.serial = 0
        self.dead = 0
        self.on_timer: Callable[[int], None] = lambda deadline: None

    def set(self, t: Timer, deadline: int) -> None:
        """Sets or moves a timer."""
        t.deadline = deadline
        if t.queued and t.queued <= deadline:
            return
        if t.queued:
            self._bury()
        t.queued = deadline
        self.serial += 1
        first = not self.heap or deadline < self.heap[0][0]
        heapq.heappush(self.heap, (deadline, self.serial, t))
        if first:
            self.on_timer(deadline)

    def cancel(self, t: Timer) -> None:
        """Unsets it; its entry stays until then."""
        t.deadline = 0

    def free(self, t: Timer) -> None:
        """Unsets it for good and lets go of its owner."""
        t.deadline = 0
        t.owner = None
        if t.queued:
            t.queued = 0
            self._bury()

    def _bury(self) -> None:
        self.dead += 1
        if self.dead > COMPACT and self.dead * 2 > len(self.heap):
            self.heap = [e for e in self.heap if e[2].queued == e[0]]
            heapq.heapify(self.heap)
            self.dead = 0

    def next(self) -> int | None:
        """The earliest deadline there may be."""
        return self.heap[0][0] if self.heap else None

    def run(self, now: int) -> None:
        """Calls the owners of all that are due."""
        while self.heap and self.heap[0][0] <= now:
            when, _, t = heapq.heappop(self.heap)
            if t.queued != when:
                self.dead -= 1
                continue
            t.queued = 0
            if t.deadline == 0:
                continue
            if t.deadline > now:
                self.set(t, t.deadline)
                continue
            t.deadline = 0
            owner = t.owner
            if owner is not None:
                owner.expire(now)
