"""Readiness of a host descriptor, for the file description that owns it.

It is asked at once, and told by the event loop while somebody waits: one shot at a time, or of each change.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, final

from ..kernel.wait import POLL_READ, POLL_WRITE, POLLIN, POLLNVAL, POLLOUT, POLLPRI

if TYPE_CHECKING:
    from ..kernel.wait import WaitQueue

POLLRDHUP: Final = 0x2000
ASKED: Final = POLLIN | POLLOUT | POLLPRI | POLLRDHUP


class Loop(Protocol):
    """What is used of the event loop."""

    def watch_fd(self, fd: int, events: int, callback: Callable[[int], None]) -> None: ...
    def unwatch_fd(self, fd: int) -> None: ...


@final
class HostPoll:
    """``queue``: who waits; ``wanted``: the host events that waiters may be told of; ``woken`` is called with those that came, after
    the descriptor is no longer watched. ``loop`` None: it is only asked. ``edges``: each arrival is told, also of what holds already,
    as edge-triggered epolls want it."""

    __slots__ = ("armed", "edges", "fd", "loop", "poller", "queue", "wanted", "woken")

    def __init__(
        self, fd: int, queue: WaitQueue, loop: Loop | None, wanted: int, woken: Callable[[int], None], edges: bool = False
    ) -> None:  # fmt: skip
        self.fd = fd
        self.queue = queue
        self.loop = loop
        self.wanted = wanted
        self.woken = woken
        self.edges = edges
        self.armed = 0  # what the loop watches for
        self.poller = select.poll()
        self.poller.register(fd, ASKED)

    def events(self) -> int:
        """The host's POLL* bits that hold now."""
        got = self.poller.poll(0)
        return got[0][1] & ~POLLNVAL if got else 0

    def mask(self) -> int:
        """As FileDescription.poll answers. What waiters want and does not hold yet is watched for."""
        mask = self.events()
        if mask & POLLIN:
            mask |= POLL_READ
        if mask & POLLOUT:
            mask |= POLL_WRITE
        if self.queue.waiters and self.edges:
            self.listen(self.wanted | select.EPOLLET)
        elif self.queue.waiters:
            want = 0
            for w in self.queue.waiters:
                want |= w.mask
            self.listen(want & self.wanted & ~mask)
        return mask

    def listen(self, events: int) -> None:
        """Has the loop watch for exactly these; 0: for nothing."""
        if events == self.armed or self.loop is None:
            return
        if events:
            self.loop.watch_fd(self.fd, events, self._ready)
        else:
            self.loop.unwatch_fd(self.fd)
        self.armed = events

    def also(self, events: int) -> None:
        """Has the loop watch for these too: for a waiter that is not in the queue yet."""
        if self.edges:
            self.listen(self.wanted | select.EPOLLET)
        elif not self.armed & events:
            self.listen(self.armed | events)

    def close(self) -> None:
        """The description lets go of the descriptor; we let go of the description."""
        self.listen(0)
        self.woken = _nobody

    def _ready(self, events: int) -> None:
        if not self.edges:
            self.listen(0)
        self.woken(events)


def _nobody(_events: int) -> None:
    pass
