"""eventfd(2), signalfd(2), timerfd_create(2) and kin."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from ..abi.event import (
    CLOCK_BOOTTIME,
    CLOCK_BOOTTIME_ALARM,
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    CLOCK_REALTIME_ALARM,
    ITIMERSPEC,
    NS,
)
from ..errors import SysErr
from ..fs.eventfd import EventFd
from ..fs.signalfd import SignalFd
from ..fs.timerfd import TimerFd
from ..kernel.creds import CAP_WAKE_ALARM
from ..kernel.signal import KILL_STOP
from .decode import CInt, CUInt, CULong, Table, UserPtr, full
from .timeouts import to_ns

if TYPE_CHECKING:
    from ..kernel.task import Task

RLIMIT_NOFILE: Final = 7
FLAGS: Final = os.O_CLOEXEC | os.O_NONBLOCK
EFD_SEMAPHORE: Final = 1
TFD_TIMER_ABSTIME: Final = 1
TFD_TIMER_CANCEL_ON_SET: Final = 2
CLOCKS: Final = (CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME)
ALARMS: Final = (CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM)


def sys_eventfd2(t: Task, count: CUInt, flags: CInt) -> int:
    if flags & ~(FLAGS | EFD_SEMAPHORE):
        raise SysErr(errno.EINVAL)
    f = EventFd(count, bool(flags & EFD_SEMAPHORE), flags & os.O_NONBLOCK)
    return t.files.install(f, t.tg.rlimit(RLIMIT_NOFILE), bool(flags & os.O_CLOEXEC))


def sys_eventfd(t: Task, count: CUInt) -> int:
    return sys_eventfd2(t, count, 0)


def sys_signalfd4(t: Task, fd: CInt, mask: UserPtr, size: CULong, flags: CInt) -> int:
    if size != 8:
        raise SysErr(errno.EINVAL)
    sigs = int.from_bytes(t.copy_in(mask, 8), "little") & ~KILL_STOP
    if flags & ~FLAGS:
        raise SysErr(errno.EINVAL)
    if fd == -1:
        f = SignalFd(t, sigs, flags & os.O_NONBLOCK)
        return t.files.install(f, t.tg.rlimit(RLIMIT_NOFILE), bool(flags & os.O_CLOEXEC))
    old = t.files.get(fd)
    if not isinstance(old, SignalFd):
        raise SysErr(errno.EINVAL)
    old.set_mask(sigs)
    return fd


def sys_signalfd(t: Task, fd: CInt, mask: UserPtr, size: CULong) -> int:
    return sys_signalfd4(t, fd, mask, size, 0)


def sys_timerfd_create(t: Task, clock: CInt, flags: CInt) -> int:
    if flags & ~FLAGS or clock not in CLOCKS + ALARMS:
        raise SysErr(errno.EINVAL)
    if clock in ALARMS and not t.creds.capable(CAP_WAKE_ALARM):
        raise SysErr(errno.EPERM)
    f = TimerFd(t.k, clock, flags & os.O_NONBLOCK)
    return t.files.install(f, t.tg.rlimit(RLIMIT_NOFILE), bool(flags & os.O_CLOEXEC))


def _timerfd(t: Task, fd: int) -> TimerFd:
    f = t.files.get(fd)
    if not isinstance(f, TimerFd):
        raise SysErr(errno.EINVAL)
    return f


def _pack(interval: int, left: int) -> bytes:
    return ITIMERSPEC.pack(*divmod(interval, NS), *divmod(left, NS))


def sys_timerfd_settime(t: Task, fd: CInt, flags: CInt, new: UserPtr, old: UserPtr) -> int:
    isec, insec, vsec, vnsec = ITIMERSPEC.unpack(t.copy_in(new, 32))
    if flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET):
        raise SysErr(errno.EINVAL)
    interval, value = to_ns(isec, insec), to_ns(vsec, vnsec)
    f = _timerfd(t, fd)
    before = f.get()
    f.set(value, interval, bool(flags & TFD_TIMER_ABSTIME))
    if old:
        t.copy_out(old, _pack(*before))
    return 0


def sys_timerfd_gettime(t: Task, fd: CInt, cur: UserPtr) -> int:
    t.copy_out(cur, _pack(*_timerfd(t, fd).get()))
    return 0


TABLE: Final[Table] = {
    282: full("signalfd", sys_signalfd),
    283: full("timerfd_create", sys_timerfd_create),
    284: full("eventfd", sys_eventfd),
    286: full("timerfd_settime", sys_timerfd_settime),
    287: full("timerfd_gettime", sys_timerfd_gettime),
    289: full("signalfd4", sys_signalfd4),
    290: full("eventfd2", sys_eventfd2),
}
