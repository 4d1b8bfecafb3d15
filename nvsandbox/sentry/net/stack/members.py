"""What a socket has joined: multicast groups of interfaces, with whose packets it wants (ip(7); RFC 3678; Linux: ip_mc_source, ip_mc_msfilter)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from .ip import is_multicast
from .multicast import EVERYTHING, NOTHING, Filter, Group, hold, set_filter

if TYPE_CHECKING:
    from .stack import Stack

MEMBERSHIPS: Final = 20  # net.ipv4.igmp_max_memberships
SOURCES: Final = 10  # net.ipv4.igmp_max_msf
LOOPBACK: Final = 1  # the interface that needs no stack


@final
class Members:
    """``filters``: by group and interface. ``all``: groups that others have joined are heard too (IP_MULTICAST_ALL)."""

    __slots__ = ("all", "filters", "listed", "loopback", "stack")

    def __init__(self, stack: Stack | None, loopback: dict[bytes, Group]) -> None:
        """``loopback``: what sockets have joined there."""
        self.stack = stack
        self.loopback = loopback
        self.filters: dict[tuple[bytes, int], Filter] = {}
        self.listed: set[tuple[bytes, int]] = set()  # whose filters have named somebody
        self.all = True

    def hears(self, index: int, group: bytes, src: bytes) -> bool:
        """Whether a packet to a group that the interface is in is for this socket."""
        f = self.filters.get((group, index))
        return self.all if f is None else f.lets(src)

    def join(self, group: bytes, index: int) -> int:
        """0 or -EADDRINUSE, -EINVAL, -ENODEV, -ENOBUFS."""
        if not is_multicast(group):
            return -errno.EINVAL
        if (group, index) in self.filters:
            return -errno.EADDRINUSE
        return self._set(group, index, EVERYTHING)

    def leave(self, group: bytes, index: int) -> int:
        """``index`` 0: the interface it was joined on. 0 or -EADDRNOTAVAIL."""
        for g, i in self.filters:
            if g == group and index in (0, i):
                return self._set(g, i, NOTHING)
        return -errno.EADDRNOTAVAIL

    def source(self, add: bool, include: bool, group: bytes, src: bytes, index: int) -> int:
        """One source joined or left (``include``), or blocked or no longer so. 0 or -EINVAL, -EADDRNOTAVAIL, -ENODEV, -ENOBUFS."""
        if not is_multicast(group) or len(src) != len(group):
            return -errno.EINVAL
        f = self.filters.get((group, index))
        if f is None:
            if not (add and include):
                return -errno.EINVAL
            return self._set(group, index, Filter(True, frozenset((src,))))
        if f.include != include:
            if (group, index) in self.listed:
                return -errno.EINVAL
            f = Filter(include, frozenset())  # a filter that has named nobody yet may change sides
        if (src in f.sources) == add:
            return -errno.EADDRNOTAVAIL
        if add and len(f.sources) >= SOURCES:
            return -errno.ENOBUFS
        sources = f.sources | {src} if add else f.sources - {src}
        return self._set(group, index, Filter(include, sources))

    def replace(self, group: bytes, index: int, f: Filter) -> int:
        """The whole filter of a group that was joined. 0 or -EINVAL, -EADDRNOTAVAIL, -ENOBUFS."""
        if len(f.sources) > SOURCES:
            return -errno.ENOBUFS
        if f == NOTHING:
            return self.leave(group, index)
        if (group, index) not in self.filters:
            return -errno.EINVAL
        return self._set(group, index, f)

    def _set(self, group: bytes, index: int, f: Filter) -> int:
        """NOTHING: left."""
        there = (group, index) in self.filters
        if not there and len(self.filters) >= MEMBERSHIPS:
            return -errno.ENOBUFS
        if index == LOOPBACK:
            if hold(self.loopback, group, self, f) is None:
                return -errno.ENOBUFS
        else:
            iface = self.stack.interface(index) if self.stack is not None else None
            if iface is None and f != NOTHING:
                return -errno.ENODEV
            if iface is not None and not set_filter(iface.stack, iface, group, self, f):
                return -errno.ENOBUFS
        if f == NOTHING:
            del self.filters[group, index]
            self.listed.discard((group, index))
        else:
            self.filters[group, index] = f
            if f.sources:
                self.listed.add((group, index))
        return 0

    def close(self) -> None:
        for group, index in list(self.filters):
            self._set(group, index, NOTHING)
