"""Bits of poll and epoll (linux/eventpoll.h)."""

from __future__ import annotations

from typing import Final

EPOLLIN: Final = 0x001
EPOLLPRI: Final = 0x002
EPOLLOUT: Final = 0x004
EPOLLERR: Final = 0x008
EPOLLHUP: Final = 0x010
EPOLLRDNORM: Final = 0x040
EPOLLWRNORM: Final = 0x100
EPOLLRDHUP: Final = 0x2000
