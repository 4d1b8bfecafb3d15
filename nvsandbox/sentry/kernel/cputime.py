"""CPU time of tasks and processes: what the host measured for the stub's threads (getrusage(2), clock_getcpuclockid(3))."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from ...platform.interface import WIN_DATA

if TYPE_CHECKING:
    from .task import Task, ThreadGroup

NSEC = 1_000_000_000
CPUCLOCK_SCHED = 2
NR_CLOCK_GETTIME = 228
CLOCK_THREAD_CPUTIME_ID = 3


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


def group_ns(tg: ThreadGroup) -> int:
    """CPU time of a process, ns: its stub's now, plus that of the stubs it had before an exec."""
    for t in tg.tasks.values():
        if t.memory() is not None and t.mm.space.pid > 0 and t.vfork_done is None:
            return tg.cputime_base + _host_clock(t.mm.space.pid)
    return tg.cputime_base


def pack_rusage(ns: int, rss_kib: int = 0) -> bytes:
    """struct rusage with the user time alone."""
    head = struct.pack("<qqqqq", ns // NSEC, ns % NSEC // 1000, 0, 0, rss_kib)
    return head.ljust(144, b"\0")
