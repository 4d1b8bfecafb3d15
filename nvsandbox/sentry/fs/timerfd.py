"""timerfd (Linux: fs/timerfd.c; timerfd_create(2)).

A periodic timer is rearmed when it is read, not at each period, so that a period of a nanosecond costs nothing;
the expirations in between are computed. Clock steps do not happen inside the sandbox (nobody can set the clock),
so TFD_TIMER_CANCEL_ON_SET is accepted and never cancels.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, final

from ..abi.event import (
    CLOCK_BOOTTIME,
    CLOCK_BOOTTIME_ALARM,
    CLOCK_REALTIME,
    CLOCK_REALTIME_ALARM,
    NS_MAX,
)
from ..kernel.wait import POLLIN
from .anon import AnonFile

if TYPE_CHECKING:
    from ..kernel.kernel import Kernel
    from ..kernel.loop import Timer
    from ..kernel.task import Task

REAL: Final = (CLOCK_REALTIME, CLOCK_REALTIME_ALARM)
BOOT: Final = (CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM)


@final
class TimerFd(AnonFile):
    """``when`` and ``interval`` in ns; ``when`` on CLOCK_MONOTONIC, 0 while disarmed."""

    __slots__ = ("clock", "interval", "k", "ticks", "timer", "when")

    label = b"anon_inode:[timerfd]"

    def __init__(self, k: Kernel, clock: int, flags: int) -> None:
        super().__init__(flags | os.O_RDWR)
        self.k = k
        self.clock = clock
        self.interval = 0
        self.when = 0
        self.ticks = 0
        self.timer: Timer | None = None

    def get(self) -> tuple[int, int]:
        """(interval, time left)."""
        if not self.when:
            return self.interval, 0
        now = self.k.monotonic_ns()
        left = self.when - now
        if left <= 0:
            if not self.interval:
                return 0, 0
            self._catch_up(now)
            left = self.when - now
        return self.interval, max(left, 1)

    def _offset(self) -> int:
        """The timer's clock minus CLOCK_MONOTONIC."""
        if self.clock in REAL:
            return self.k.realtime_ns() - self.k.monotonic_ns()
        return 0

    def set(self, value: int, interval: int, absolute: bool) -> None:
        self._stop()
        self.ticks = 0
        self.interval = interval
        if value == 0:
            self.when = 0
            return
        now = self.k.monotonic_ns()
        when = value - self._offset() if absolute else now + value
        self.when = max(min(when, NS_MAX), 1)
        self._arm()

    def _arm(self) -> None:
        self.timer = self.k.loop.call_at(self.when, self._fire)

    def _stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _fire(self) -> None:
        self.timer = None
        self.ticks += 1
        if not self.interval:
            self.when = 0
        self.queue.wake(POLLIN)

    def _catch_up(self, now: int) -> None:
        """The periods that passed since the last expiry; arms the next one."""
        if self.timer is not None or not self.interval or not self.when:
            return
        passed = max((now - self.when) // self.interval, 0)
        self.ticks += passed
        self.when = min(self.when + (passed + 1) * self.interval, NS_MAX)
        self._arm()

    def read(self, t: Task, size: int) -> bytes | int:
        if size < 8:
            return -errno.EINVAL
        while self.ticks == 0:
            if self.timer is not None and self.when <= self.k.monotonic_ns():
                self._stop()  # due, and the loop has not come to it yet
                self._fire()
                break
            if self.flags & os.O_NONBLOCK:
                return -errno.EAGAIN
            t.wait(self.queue)
        self._catch_up(self.k.monotonic_ns())
        n, self.ticks = self.ticks, 0
        return n.to_bytes(8, "little")

    def poll(self, t: Task | None) -> int:
        return POLLIN if self.ticks else 0

    def release(self) -> None:
        self._stop()

    def fdinfo(self) -> bytes:
        interval, left = self.get()
        return (
            b"clockid: %d\nticks: %d\nsettime flags: 00\nit_value: (%d, %d)\nit_interval: (%d, %d)\n"
            % (self.clock, self.ticks, *divmod(left, 10**9), *divmod(interval, 10**9))
        )
