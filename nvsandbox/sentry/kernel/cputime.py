"""CPU time and faults of tasks and processes: what the host measured for the stub's threads (getrusage(2),
clock_getcpuclockid(3)).

A process's CPU time as a whole is known at any time, by the host's clock. How it divides into user and system time, and how
many faults there were, the host tells only a stub itself: when its process asks, and when it ends or execs. What the Sentry
does for a process counts as nobody's.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Final, final

from ...platform.interface import WIN_DATA
from ..errors import SysErr

if TYPE_CHECKING:
    from .task import Task, ThreadGroup

NSEC: Final = 1_000_000_000
CPUCLOCK_SCHED: Final = 2
NR_GETRUSAGE: Final = 98
NR_CLOCK_GETTIME: Final = 228
CLOCK_THREAD_CPUTIME_ID: Final = 3
RUSAGE_SELF: Final = 0
RUSAGE_THREAD: Final = 1
RUSAGE: Final = struct.Struct(
    "<4q14q"
)  # struct rusage: two timevals, maxrss (KiB), thirteen counts


@final
class Usage:
    """What struct rusage tells: times in ns, the largest resident size in KiB, counts."""

    __slots__ = ("majflt", "maxrss", "minflt", "nivcsw", "nvcsw", "stime", "utime")

    def __init__(self) -> None:
        self.utime = self.stime = 0
        self.maxrss = 0
        self.minflt = self.majflt = 0
        self.nvcsw = self.nivcsw = 0

    def add(self, o: Usage) -> None:
        self.utime += o.utime
        self.stime += o.stime
        self.maxrss = max(self.maxrss, o.maxrss)
        self.minflt += o.minflt
        self.majflt += o.majflt
        self.nvcsw += o.nvcsw
        self.nivcsw += o.nivcsw

    def total(self) -> int:
        return self.utime + self.stime

    def pack(self) -> bytes:
        u, s = self.utime // 1000, self.stime // 1000
        return RUSAGE.pack(
            u // 1_000_000, u % 1_000_000, s // 1_000_000, s % 1_000_000, self.maxrss, 0, 0, 0,
            self.minflt, self.majflt, 0, 0, 0, 0, 0, 0, self.nvcsw, self.nivcsw,
        )  # fmt: skip


def _host_clock(ident: int) -> int:
    """CPU time of a host process of ours in ns; 0 when it is gone."""
    clock = (~ident << 3) | CPUCLOCK_SCHED
    try:
        return time.clock_gettime_ns(clock)
    except OSError:
        return 0


def task_ns(t: Task) -> int:
    """CPU time of a thread as others see it, ns: the process's, as long as it has no other thread."""
    return group_ns(t.tg) if len(t.tg.tasks) == 1 else 0


def own_ns(t: Task) -> int:
    """CPU time of the calling thread, ns: its stub asks the host, which tells a thread only of itself. May suspend."""
    th = t.thread
    th.host(NR_CLOCK_GETTIME, CLOCK_THREAD_CPUTIME_ID, th.window())
    th.run()
    sec, ns = struct.unpack_from("<qq", th.mem, WIN_DATA)
    return int(sec) * NSEC + int(ns)


def _live_ns(tg: ThreadGroup) -> int:
    """CPU time of the process's present stub, ns."""
    for t in tg.tasks.values():
        if t.memory() is not None and t.mm.space.pid > 0 and t.vfork_done is None:
            return _host_clock(t.mm.space.pid)
    return 0


def group_ns(tg: ThreadGroup) -> int:
    """CPU time of a process, ns: its stub's now, plus that of the stubs it had before an exec."""
    return tg.used.total() + _live_ns(tg)


def _ask(t: Task, who: int) -> Usage:
    """What the host has counted for the caller's stub. May suspend."""
    u = Usage()
    th = t.thread
    th.host(NR_GETRUSAGE, who, th.window())
    th.run()
    raw = RUSAGE.unpack_from(th.mem, WIN_DATA)
    lim = 1 << 62  # the stub could have written it itself
    us, uu, ss, su, rss, _, _, _, minflt, majflt, _, _, _, _, _, _, nv, niv = (
        min(max(v, 0), lim) for v in raw
    )
    u.utime = min(us * NSEC + uu * 1000, lim)
    u.stime = min(ss * NSEC + su * 1000, lim)
    u.maxrss, u.minflt, u.majflt, u.nvcsw, u.nivcsw = rss, minflt, majflt, nv, niv
    return u


def look(t: Task) -> None:
    """Notes what the host has counted for the caller's process so far. May suspend."""
    if t.has_thread() and not t.borrows():
        t.tg.seen = _ask(t, RUSAGE_SELF)


def thread_usage(t: Task) -> Usage:
    """RUSAGE_THREAD of the caller. May suspend."""
    return _ask(t, RUSAGE_THREAD)


def group_usage(tg: ThreadGroup) -> Usage:
    """A process's own usage: CPU time up to now, its division and the faults as of the last ``look``."""
    u = Usage()
    u.add(tg.used)
    live = _live_ns(tg)
    if live:
        seen = tg.seen
        stime = min(seen.stime, live)
        u.stime += stime
        u.utime += max(live - stime, seen.utime)
        u.maxrss = max(u.maxrss, seen.maxrss)
        u.minflt += seen.minflt
        u.majflt += seen.majflt
        u.nvcsw += seen.nvcsw
        u.nivcsw += seen.nivcsw
    return u


def close_books(tg: ThreadGroup) -> None:
    """The process's stub is about to go: what it has used is the process's past."""
    tg.used = group_usage(tg)
    tg.seen = Usage()


def look_last(t: Task) -> None:
    """As ``look`` for a process that ends here: nobody can ask its stub later."""
    try:
        look(t)
    except SysErr:
        pass


def with_children(tg: ThreadGroup) -> Usage:
    """What a parent is told that waited for it: its own and its waited-for children's."""
    u = group_usage(tg)
    u.add(tg.child_used)
    return u
