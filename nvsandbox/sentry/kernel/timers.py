"""Timers that send signals: interval timers, POSIX timers, RLIMIT_CPU (Linux: kernel/time/itimer.c, posix-timers.c,
posix-cpu-timers.c).

CPU time can't be waited for: a CPU timer looks at the clock when it could have expired at the earliest, and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

from . import signal as sg
from .cputime import group_ns

if TYPE_CHECKING:
    from .kernel import Kernel
    from .task import ThreadGroup

NSEC: Final = 1_000_000_000
TICK: Final = 4_000_000  # the least time between two looks at a CPU clock
DELAYTIMER_MAX: Final = 0x7FFFFFFF  # overruns that are counted
CPU_LIMIT: Final = 100  # key in ThreadGroup.itimers
RLIMIT_CPU: Final = 0
FOREVER: Final = 1 << 33  # seconds


@final
class SignalTimer:
    """At expiry it sends a signal, then re-arms itself. ``cpu``: the clock, when it isn't CLOCK_MONOTONIC."""

    __slots__ = (
        "clock", "cpu", "delivered", "fire", "handle", "ident", "info", "interval", "k", "next", "overrun",
    )  # fmt: skip

    def __init__(
        self, k: Kernel, clock: int, fire: Any, cpu: Callable[[], int] | None = None
    ) -> None:
        self.k = k
        self.clock = clock
        self.fire = fire
        self.cpu = cpu
        self.interval = 0
        self.next = 0  # on its clock; 0: disarmed
        self.handle: Any = None
        self.overrun = 0  # expirations missed at the last one
        self.delivered = 0  # overruns of the last signal that was delivered
        self.ident = 0
        self.info: sg.SigInfo | None = None  # the last signal sent

    def now(self) -> int:
        return self.cpu() if self.cpu is not None else self.k.monotonic_ns()

    def arm(self, first: int, interval: int) -> None:
        """``first`` ns from now; 0 disarms, less was in the past."""
        self.cancel()
        self.interval = interval
        if first:
            self.next = self.now() + first
            self._schedule()

    def _schedule(self) -> None:
        when = self.next
        if self.cpu is not None:
            when = self.k.monotonic_ns() + max((self.next - self.cpu()) // self.k.ncpu, TICK)
        self.handle = self.k.loop.call_at(when, self._expire)

    def cancel(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
        self.next = 0

    def left(self) -> int:
        return max(self.next - self.now(), 1) if self.next else 0

    def catch_up(self) -> None:
        """Its signal is delivered now: expirations up to this moment are overruns (Linux: posixtimer_rearm)."""
        if self.info is None:
            return
        if self.interval and self.next:
            late = self.now() - self.next
            if late >= 0:
                missed = late // self.interval + 1
                self.info.overrun = min(self.info.overrun + missed, DELAYTIMER_MAX)
                self.next += missed * self.interval
        self.delivered = self.info.overrun

    def _expire(self) -> None:
        self.handle = None
        now = self.now()
        if now < self.next:
            self._schedule()
            return
        self.overrun = 0
        if self.interval:
            missed = max(now - self.next, 0) // self.interval
            self.overrun = min(missed, DELAYTIMER_MAX)
            self.next += (missed + 1) * self.interval
            self._schedule()
        else:
            self.next = 0
        self.fire(self)


def watch_cpu_limit(tg: ThreadGroup) -> None:
    """RLIMIT_CPU is in force: SIGXCPU at the soft limit and every second after, SIGKILL at the hard one."""
    old = tg.itimers.pop(CPU_LIMIT, None)
    if old is not None:
        old.cancel()
    soft, hard = tg.rlimits[RLIMIT_CPU]
    if min(soft, hard) >= FOREVER or tg.is_init:
        return

    def fire(timer: SignalTimer) -> None:
        used = group_ns(tg) // NSEC
        if used >= hard:
            tg.send_signal(sg.SIGKILL)
        else:
            tg.send_signal(sg.SIGXCPU)

    timer = SignalTimer(tg.k, 2, fire, lambda: group_ns(tg))
    tg.itimers[CPU_LIMIT] = timer
    timer.arm(max(min(soft, hard) * NSEC - timer.now(), 1), NSEC)
