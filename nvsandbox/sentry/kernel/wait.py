"""Wait queues (Linux: kernel/sched/wait.c) and poll event bits.

The Sentry is one thread, so nothing can happen between looking at a condition and calling
``Task.wait``: there are no lost wake-ups and no locks. A waiter's callback runs inside ``wake`` and must
not suspend; it usually makes a suspended task runnable or marks an epoll entry ready.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

# poll(2) bits, the same numbers as EPOLL*.
POLLIN: Final = 0x001
POLLPRI: Final = 0x002
POLLOUT: Final = 0x004
POLLERR: Final = 0x008
POLLHUP: Final = 0x010
POLLNVAL: Final = 0x020
POLLRDNORM: Final = 0x040
POLLRDBAND: Final = 0x080
POLLWRNORM: Final = 0x100
POLLWRBAND: Final = 0x200
POLLRDHUP: Final = 0x2000
POLL_READ: Final = POLLIN | POLLRDNORM
POLL_WRITE: Final = POLLOUT | POLLWRNORM
POLL_ALL: Final = 0xFFFF


@final
class Waiter:
    """One registration on a queue: ``callback(events)`` is called for wake-ups meeting ``mask``.

    The callback of an ``exclusive`` one says in ``took`` whether the wake-up reached anybody.
    """

    __slots__ = ("callback", "exclusive", "mask", "took")

    def __init__(
        self, callback: Callable[[int], None], mask: int = POLL_ALL, exclusive: bool = False
    ) -> None:
        self.callback = callback
        self.mask = mask
        self.exclusive = exclusive
        self.took = True


@final
class WaitQueue:
    """Waiters in the order of their registration."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: dict[Waiter, None] = {}

    def add(self, w: Waiter) -> None:
        self.waiters[w] = None

    def remove(self, w: Waiter) -> None:
        """Takes ``w`` off; no error when it is not there."""
        self.waiters.pop(w, None)

    def wake(self, events: int = POLL_ALL) -> None:
        """Calls every waiter interested in ``events``, but of the exclusive ones only up to the first that took it."""
        if not self.waiters:
            return
        exclusive_done = False
        for w in list(self.waiters):
            if not (w.mask & events):
                continue
            if w.exclusive:
                if exclusive_done:
                    continue
                w.callback(events)
                exclusive_done = w.took
                continue
            w.callback(events)
