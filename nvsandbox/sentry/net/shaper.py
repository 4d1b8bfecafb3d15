"""--net-rate: how much a sandbox sends and receives in a second, all interfaces together.

Two token buckets. What is sent waits in a short queue for its turn, and is refused beyond it, which TCP takes for congestion; what comes
in too fast is dropped, as a network with that rate would. A super-segment counts as its bytes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from ..kernel.loop import EventLoop

SECOND: Final = 10**9
BURST_TIME: Final = 50 * 10**6  # ns
BURST: Final = 2 * 65536  # bytes at least: a super-segment passes whole
Send = Callable[[list[bytes]], bool]


@final
class Bucket:
    """``level``: bytes that may pass now; may be below zero after a large frame."""

    __slots__ = ("burst", "level", "rate", "when")

    def __init__(self, rate: int) -> None:
        """``rate``: bytes a second."""
        self.rate = rate
        self.burst = max(rate * BURST_TIME // SECOND, BURST)
        self.level = self.burst
        self.when = time.monotonic_ns()

    def fill(self) -> None:
        now = time.monotonic_ns()
        self.level = min(self.burst, self.level + (now - self.when) * self.rate // SECOND)
        self.when = now

    def take(self, n: int) -> bool:
        """Whether a frame may pass now."""
        self.fill()
        if self.level <= 0:
            return False
        self.level -= n
        return True

    def ready(self) -> int:
        """When one may, CLOCK_MONOTONIC ns."""
        return self.when + (1 - self.level) * SECOND // self.rate + 1


@final
class Shaper:
    """One for all links of a sandbox."""

    __slots__ = ("dropped", "incoming", "loop", "outgoing", "queue", "queued", "waiting")

    def __init__(self, loop: EventLoop, rate: int) -> None:
        """``rate``: bytes a second, each way."""
        self.loop = loop
        self.outgoing = Bucket(rate)
        self.incoming = Bucket(rate)
        self.queue: deque[tuple[Send, list[bytes], int]] = deque()
        self.queued = 0
        self.waiting = False
        self.dropped = 0

    def admits(self, n: int) -> bool:
        """Whether a frame that has come is taken."""
        if self.incoming.take(n):
            return True
        self.dropped += 1
        return False

    def send(self, write: Send, parts: list[bytes], n: int) -> bool:
        """A frame of ``n`` bytes, now or soon; False: the queue is full."""
        if not self.queue and self.outgoing.take(n):
            return write(parts)
        if self.queued + n > self.outgoing.burst:
            self.dropped += 1
            return False
        self.queue.append((write, parts, n))
        self.queued += n
        if not self.waiting:
            self.waiting = True
            self.loop.call_at(self.outgoing.ready(), self._due)
        return True

    def _due(self) -> None:
        self.waiting = False
        while self.queue:
            write, parts, n = self.queue[0]
            if not self.outgoing.take(n):
                self.waiting = True
                self.loop.call_at(self.outgoing.ready(), self._due)
                return
            self.queue.popleft()
            self.queued -= n
            write(parts)
