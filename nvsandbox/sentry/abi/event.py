"""Layouts of the event calls (linux/eventpoll.h, signalfd.h, time_types.h, poll.h) on x86-64."""

from __future__ import annotations

import struct
from typing import Final

TIMESPEC: Final = struct.Struct("<qq")
ITIMERSPEC: Final = struct.Struct("<qqqq")
POLLFD: Final = struct.Struct("<ihh")
EPOLL_EVENT: Final = struct.Struct("<IQ")  # packed on x86-64: 12 bytes
SIGNALFD_SIGINFO: Final = struct.Struct("<IiiIIiIIIIiiQQQQHHiQI28x")
assert EPOLL_EVENT.size == 12 and SIGNALFD_SIGINFO.size == 128

NS: Final = 1_000_000_000
NS_MAX: Final = (1 << 63) - 1

CLOCK_REALTIME: Final = 0
CLOCK_MONOTONIC: Final = 1
CLOCK_BOOTTIME: Final = 7
CLOCK_REALTIME_ALARM: Final = 8
CLOCK_BOOTTIME_ALARM: Final = 9

EPOLLEXCLUSIVE: Final = 1 << 28
EPOLLWAKEUP: Final = 1 << 29
EPOLLONESHOT: Final = 1 << 30
EPOLLET: Final = 1 << 31
EPOLL_CTL_ADD: Final = 1
EPOLL_CTL_DEL: Final = 2
EPOLL_CTL_MOD: Final = 3
