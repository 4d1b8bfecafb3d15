"""Clocks, sleeping, interval and POSIX timers (Linux: kernel/time/; clock_gettime(2), timer_create(2), setitimer(2))."""

from __future__ import annotations

import errno
import struct
import time
from typing import TYPE_CHECKING, Any, Final

from ..errors import ERESTART_RESTARTBLOCK, ERESTARTNOHAND, Restart, SysErr
from ..kernel import signal as sg
from ..kernel.cputime import group_ns, group_usage, look, own_ns
from ..kernel.task import Task, ThreadGroup
from ..kernel.timers import DELAYTIMER_MAX, SignalTimer
from .decode import CInt, Table, UserPtr, full, partial

if TYPE_CHECKING:
    pass

NSEC: Final = 1_000_000_000
CLOCK_REALTIME: Final = 0
CLOCK_MONOTONIC: Final = 1
CLOCK_PROCESS_CPUTIME_ID: Final = 2
CLOCK_THREAD_CPUTIME_ID: Final = 3
HOST_CLOCKS: Final = {0: 0, 1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 8: 0, 9: 7, 11: 11}
SLEEPABLE: Final = (0, 1, 7, 8, 9, 11)
TIMER_ABSTIME: Final = 1
SIGEV_SIGNAL: Final = 0
SIGEV_NONE: Final = 1
SIGEV_THREAD_ID: Final = 4
MAX_TIMERS: Final = 1024


def clock_ns(t: Task, clock: int) -> int:
    """The time of ``clock``. Raises EINVAL."""
    host = HOST_CLOCKS.get(clock)
    if host is not None:
        return time.clock_gettime_ns(host)
    if clock == CLOCK_THREAD_CPUTIME_ID or (clock < 0 and _named(t, clock) is t):
        return own_ns(t)
    if clock == CLOCK_PROCESS_CPUTIME_ID:
        return group_ns(t.tg)
    if clock < 0:
        u = _named(t, clock)
        return group_ns(u.tg if isinstance(u, Task) else u)
    raise SysErr(errno.EINVAL)


def _named(t: Task, clock: int) -> Task | ThreadGroup:
    """Whose CPU time a negative clock is (Linux: posix-cpu-timers.c pid_for_clock). Raises EINVAL."""
    pid = ~(clock >> 3)
    if clock & 3 == 3:  # a descriptor's clock
        raise SysErr(errno.EINVAL)
    if clock & 4:
        u = t.tg.tasks.get(t.tg.pidns.outer(pid)) if pid else t
        if u is None:
            raise SysErr(errno.EINVAL)
        return u
    p = t.tg.pidns.proc(pid) if pid else t.tg
    if p is None:
        raise SysErr(errno.EINVAL)
    return p


def _pair(raw: bytes) -> tuple[int, int]:
    a, b = struct.unpack("<qq", raw)
    return int(a), int(b)


def timespec(t: Task, addr: int) -> int:
    """A struct timespec as ns. Raises EINVAL, EFAULT."""
    sec, ns = _pair(t.copy_in(addr, 16))
    if sec < 0 or not 0 <= ns < NSEC:
        raise SysErr(errno.EINVAL)
    return min(sec, 1 << 33) * NSEC + ns


def pack_ts(ns: int) -> bytes:
    return struct.pack("<qq", *divmod(max(ns, 0), NSEC))


def sys_clock_gettime(t: Task, clock: CInt, out: UserPtr) -> int:
    t.copy_out(out, struct.pack("<qq", *divmod(clock_ns(t, clock), NSEC)))
    return 0


def sys_clock_getres(t: Task, clock: CInt, out: UserPtr) -> int:
    if clock in HOST_CLOCKS or clock < 0 or clock in (2, 3):
        res = 4_000_000 if clock in (5, 6) else 1
        if clock < 0:
            _named(t, clock)
    else:
        raise SysErr(errno.EINVAL)
    if out:
        t.copy_out(out, pack_ts(res))
    return 0


def sys_clock_settime(t: Task, clock: CInt, new: UserPtr) -> int:
    """clock_settime(2): the host's clocks are not ours to set."""
    timespec(t, new)
    if clock != 0:
        raise SysErr(errno.EINVAL)
    raise SysErr(errno.EPERM)


def sys_gettimeofday(t: Task, tv: UserPtr, tz: UserPtr) -> int:
    ns = t.k.realtime_ns()
    if tv:
        t.copy_out(tv, struct.pack("<qq", ns // NSEC, ns % NSEC // 1000))
    if tz:
        t.copy_out(tz, bytes(8))
    return 0


def sys_time(t: Task, out: UserPtr) -> int:
    now = t.k.realtime_ns() // NSEC
    if out:
        t.copy_out(out, now.to_bytes(8, "little"))
    return now


def sys_times(t: Task, out: UserPtr) -> int:
    """times(2)."""
    if out:
        look(t)
        used, kids = group_usage(t.tg), t.tg.child_used
        times = (used.utime, used.stime, kids.utime, kids.stime)
        t.copy_out(out, struct.pack("<4q", *(ns // 10_000_000 for ns in times)))
    return (t.k.monotonic_ns() // 10_000_000) & 0x7FFF_FFFF_FFFF_FFFF


def _sleep_until(t: Task, deadline: int, rem: int, relative: bool) -> int:
    while t.k.monotonic_ns() < deadline:
        try:
            t.wait(deadline=deadline, soon=False)
        except Restart:
            left = deadline - t.k.monotonic_ns()
            if left <= 0:
                return 0
            if not relative:
                raise Restart(ERESTARTNOHAND) from None
            if rem:
                t.copy_out(rem, pack_ts(left))
            t.restart_fn = lambda u: _sleep_until(u, deadline, rem, True)
            raise Restart(ERESTART_RESTARTBLOCK) from None
    return 0


def sys_nanosleep(t: Task, req: UserPtr, rem: UserPtr) -> int:
    """nanosleep(2)."""
    return _sleep_until(t, t.k.monotonic_ns() + timespec(t, req), rem, True)


def sys_clock_nanosleep(t: Task, clock: CInt, flags: CInt, req: UserPtr, rem: UserPtr) -> int:
    """clock_nanosleep(2)."""
    if clock not in SLEEPABLE:
        known = clock in HOST_CLOCKS or clock == CLOCK_THREAD_CPUTIME_ID
        raise SysErr(errno.EOPNOTSUPP if known else errno.EINVAL)
    ns = timespec(t, req)
    if flags & TIMER_ABSTIME:
        return _sleep_until(t, ns - clock_ns(t, clock) + t.k.monotonic_ns(), 0, False)
    return _sleep_until(t, t.k.monotonic_ns() + ns, rem, True)


ITIMER_SIGNALS: Final = {0: sg.SIGALRM, 1: sg.SIGVTALRM, 2: sg.SIGPROF}


def _itimer(t: Task, which: int) -> SignalTimer:
    tg = t.tg
    timer = tg.itimers.get(which)
    if timer is None:
        sig = ITIMER_SIGNALS[which]
        cpu = (lambda: group_ns(tg)) if which else None
        timer = SignalTimer(t.k, CLOCK_MONOTONIC, lambda _s: tg.send_signal(sig), cpu)
        tg.itimers[which] = timer
    return timer


def _timeval(raw: bytes) -> int:
    sec, us = _pair(raw)
    if sec < 0 or not 0 <= us < 1_000_000:
        raise SysErr(errno.EINVAL)
    return min(sec, 1 << 33) * NSEC + us * 1000


def _pack_itimer(timer: SignalTimer) -> bytes:
    i, v = timer.interval, timer.left()
    return struct.pack("<qqqq", i // NSEC, i % NSEC // 1000, v // NSEC, v % NSEC // 1000)


def sys_setitimer(t: Task, which: CInt, new: UserPtr, old: UserPtr) -> int:
    """setitimer(2). The CPU-time kinds count user and system time alike."""
    if which not in ITIMER_SIGNALS:
        raise SysErr(errno.EINVAL)
    raw = t.copy_in(new, 32) if new else bytes(32)
    interval, value = _timeval(raw[:16]), _timeval(raw[16:])
    timer = _itimer(t, which)
    if old:
        t.copy_out(old, _pack_itimer(timer))
    timer.arm(value, interval)
    return 0


def sys_getitimer(t: Task, which: CInt, out: UserPtr) -> int:
    """getitimer(2)."""
    if which not in ITIMER_SIGNALS:
        raise SysErr(errno.EINVAL)
    t.copy_out(out, _pack_itimer(_itimer(t, which)))
    return 0


def sys_alarm(t: Task, seconds: CInt) -> int:
    """alarm(2)."""
    timer = _itimer(t, 0)
    left = (timer.left() + NSEC - 1) // NSEC
    timer.arm((seconds & 0xFFFFFFFF) * NSEC, 0)
    return left


def _posix_fire(tg: ThreadGroup, sig: int, value: int, target: Task | None) -> Any:
    def fire(timer: SignalTimer) -> None:
        queue = tg.pending if target is None else target.pending
        if timer.info is not None and timer.info in queue.infos:  # one signal at a time is queued
            timer.info.overrun = min(timer.info.overrun + 1 + timer.overrun, DELAYTIMER_MAX)
            return
        info = sg.SigInfo(sig, sg.SI_TIMER)
        info.timerid, info.overrun, info.value = timer.ident, timer.overrun, value
        timer.info = info
        if target is not None:
            target.send_signal(sig, info)
        else:
            tg.send_signal(sig, info)

    return fire


def sys_timer_create(t: Task, clock: CInt, sevp: UserPtr, out: UserPtr) -> int:
    """timer_create(2)."""
    if clock not in (0, 1, 2, 3, 7, 8, 9, 11) and clock >= 0:
        raise SysErr(errno.EINVAL)
    tg = t.tg
    if len(tg.posix_timers) >= MAX_TIMERS:
        raise SysErr(errno.EAGAIN)
    ident = tg.timer_ids
    value, sig, how, tid = ident, sg.SIGALRM, SIGEV_SIGNAL, 0
    if sevp:
        value, sig, how, tid = struct.unpack("<Qiii", t.copy_in(sevp, 64)[:20])
    target: Task | None = None
    if how & SIGEV_THREAD_ID:
        target = tg.tasks.get(tid)
        if target is None:
            raise SysErr(errno.EINVAL)
    if how & ~(SIGEV_THREAD_ID | SIGEV_NONE | 2):
        raise SysErr(errno.EINVAL)
    if how != SIGEV_NONE and not 1 <= sig <= 64:
        raise SysErr(errno.EINVAL)
    fire = (lambda _t: None) if how == SIGEV_NONE else _posix_fire(tg, sig, value, target)
    cpu = (lambda: group_ns(tg)) if clock in (2, 3) or clock < 0 else None
    timer = SignalTimer(t.k, clock, fire, cpu)
    timer.ident = ident
    tg.timer_ids += 1
    tg.posix_timers[ident] = timer
    t.copy_out(out, ident.to_bytes(4, "little"))
    return 0


def _timer(t: Task, ident: int) -> SignalTimer:
    timer = t.tg.posix_timers.get(ident)
    if timer is None:
        raise SysErr(errno.EINVAL)
    assert isinstance(timer, SignalTimer)
    return timer


def sys_timer_settime(t: Task, ident: CInt, flags: CInt, new: UserPtr, old: UserPtr) -> int:
    """timer_settime(2)."""
    if not new:
        raise SysErr(errno.EINVAL)
    raw = t.copy_in(new, 32)
    isec, ins, vsec, vns = struct.unpack("<qqqq", raw)
    if isec < 0 or vsec < 0 or not (0 <= ins < NSEC and 0 <= vns < NSEC):
        raise SysErr(errno.EINVAL)
    timer = _timer(t, ident)
    if old:
        t.copy_out(old, pack_ts(timer.interval) + pack_ts(timer.left()))
    value = min(vsec, 1 << 33) * NSEC + vns
    if flags & TIMER_ABSTIME and value:
        value = value - clock_ns(t, timer.clock) or 1
    timer.arm(value, min(isec, 1 << 33) * NSEC + ins)
    return 0


def sys_timer_gettime(t: Task, ident: CInt, out: UserPtr) -> int:
    timer = _timer(t, ident)
    t.copy_out(out, pack_ts(timer.interval) + pack_ts(timer.left()))
    return 0


def sys_timer_getoverrun(t: Task, ident: CInt) -> int:
    """timer_getoverrun(2): of the last signal."""
    return _timer(t, ident).delivered


def sys_timer_delete(t: Task, ident: CInt) -> int:
    _timer(t, ident).cancel()
    del t.tg.posix_timers[ident]
    return 0


def sys_adjtimex(t: Task, buf: UserPtr) -> int:
    """adjtimex(2): reading only."""
    modes = struct.unpack("<I", t.copy_in(buf, 208)[:4])[0]
    if modes:
        raise SysErr(errno.EPERM)
    now = t.k.realtime_ns()
    out = bytearray(208)
    struct.pack_into("<iqqqqiqqqqq", out, 0, 0, 0, 0, 16_000_000, 0, 0x40, 0, 1, 32_768_000, 0, 0)
    struct.pack_into("<qq", out, 72, now // NSEC, now % NSEC // 1000)
    t.copy_out(buf, bytes(out))
    return 5  # TIME_ERROR: not synchronised by us


def sys_clock_adjtime(t: Task, clock: CInt, buf: UserPtr) -> int:
    if clock != 0:
        raise SysErr(errno.EINVAL)
    return sys_adjtimex(t, buf)


TABLE: Final[Table] = {
    35: full("nanosleep", sys_nanosleep),
    36: full("getitimer", sys_getitimer),
    37: full("alarm", sys_alarm),
    38: partial("setitimer", sys_setitimer, "ITIMER_VIRTUAL counts system time too"),
    96: full("gettimeofday", sys_gettimeofday),
    100: full("times", sys_times),
    159: partial("adjtimex", sys_adjtimex, "read only"),
    201: full("time", sys_time),
    222: partial("timer_create", sys_timer_create, "a thread's CPU time is its process's"),
    223: full("timer_settime", sys_timer_settime),
    224: full("timer_gettime", sys_timer_gettime),
    225: full("timer_getoverrun", sys_timer_getoverrun),
    226: full("timer_delete", sys_timer_delete),
    227: partial("clock_settime", sys_clock_settime, "always EPERM"),
    228: full("clock_gettime", sys_clock_gettime),
    229: full("clock_getres", sys_clock_getres),
    230: full("clock_nanosleep", sys_clock_nanosleep),
    305: partial("clock_adjtime", sys_clock_adjtime, "read only"),
}
