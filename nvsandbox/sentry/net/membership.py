"""Options that join groups and choose whose packets are wanted (ip(7), ipv6(7), RFC 3678; linux/in.h)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ..abi.socket import AF_INET, AF_INET6, SOL_IP, SOL_IPV6
from ..errors import SysErr
from .ports import make_sockaddr, parse_sockaddr
from .stack.multicast import Filter
from .state import mapped, unmapped

if TYPE_CHECKING:
    from .inet import InetSocket

IP_ADD_MEMBERSHIP: Final = 35
IP_DROP_MEMBERSHIP: Final = 36
IP_MSFILTER: Final = 41
IPV6_JOIN_GROUP: Final = 20
IPV6_LEAVE_GROUP: Final = 21
IP_JOINS: Final = (IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP)
IPV6_JOINS: Final = (IPV6_JOIN_GROUP, IPV6_LEAVE_GROUP)
MCAST_JOIN_GROUP: Final = 42
MCAST_LEAVE_GROUP: Final = 45
MCAST_MSFILTER: Final = 48
FILTERS: Final = (IP_MSFILTER, MCAST_MSFILTER)
# Option: (add, include). IP_ADD_SOURCE_MEMBERSHIP and so on, MCAST_JOIN_SOURCE_GROUP and so on.
SOURCE4: Final = {39: (True, True), 40: (False, True), 38: (True, False), 37: (False, False)}
SOURCE: Final = {46: (True, True), 47: (False, True), 43: (True, False), 44: (False, False)}
MULTICAST: Final = frozenset((*FILTERS, *SOURCE, MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP))
STORAGE: Final = 128  # sizeof(struct sockaddr_storage)
INCLUDE: Final = 1  # MCAST_INCLUDE


def _ip(raw: bytes, level: int) -> bytes:
    try:
        return unmapped(parse_sockaddr(raw, AF_INET if level == SOL_IP else AF_INET6)[0])
    except SysErr:
        raise SysErr(errno.EINVAL if level == SOL_IP else errno.EADDRNOTAVAIL) from None


def _need(data: bytes, size: int) -> None:
    if len(data) < size:
        raise SysErr(errno.EINVAL)


def option(s: InetSocket, level: int, opt: int, data: bytes) -> bool:
    """False: the option is none of these. Raises EINVAL, ENODEV, EADDRNOTAVAIL, EADDRINUSE, ENOBUFS."""
    from .inet import by_address

    if not s.max_send() and opt in (IPV6_JOINS if level == SOL_IPV6 else IP_JOINS):
        if level == SOL_IPV6:
            _need(data, 20)
        raise SysErr(errno.EPROTO)  # streams have no groups
    if level == SOL_IP and opt in (IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP):
        _need(data, 8)
        s.group(opt == IP_ADD_MEMBERSHIP, data[:4], by_address(s.net, data[4:12]))
    elif level == SOL_IPV6 and opt in (IPV6_JOIN_GROUP, IPV6_LEAVE_GROUP):
        _need(data, 20)
        s.group(opt == IPV6_JOIN_GROUP, data[:16], struct.unpack_from("<I", data, 16)[0])
    elif not s.max_send() and (opt in MULTICAST or (level == SOL_IP and opt in SOURCE4)):
        raise SysErr(errno.EINVAL)
    elif level == SOL_IP and opt in SOURCE4:
        _need(data, 12)  # struct ip_mreq_source
        add, include = SOURCE4[opt]
        s.group_source(add, include, data[:4], data[8:12], by_address(s.net, data[4:8]))
    elif opt in (MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP):
        _need(data, 36)  # struct group_req
        index = struct.unpack_from("<I", data)[0]
        s.group(opt == MCAST_JOIN_GROUP, _ip(data[8:], level), index)
    elif opt in SOURCE:
        _need(data, 8 + 2 * STORAGE)  # struct group_source_req
        add, include = SOURCE[opt]
        index = struct.unpack_from("<I", data)[0]
        group, src = _ip(data[8:], level), _ip(data[8 + STORAGE :], level)
        s.group_source(add, include, group, src, index)
    elif opt == IP_MSFILTER and level == SOL_IP:
        _need(data, 16)
        mode, n = struct.unpack_from("<II", data, 8)
        if mode > INCLUDE or n > len(data) or len(data) < 16 + 4 * n:
            raise SysErr(errno.EINVAL)
        sources = frozenset(data[16 + 4 * i : 20 + 4 * i] for i in range(n))
        s.set_group_filter(data[:4], by_address(s.net, data[4:8]), Filter(mode == INCLUDE, sources))
    elif opt == MCAST_MSFILTER:
        _need(data, 16 + STORAGE)  # struct group_filter
        index = struct.unpack_from("<I", data)[0]
        mode, n = struct.unpack_from("<II", data, 8 + STORAGE)
        at = 16 + STORAGE
        if mode > INCLUDE or n > len(data) or len(data) < at + STORAGE * n:
            raise SysErr(errno.EINVAL)
        sources = frozenset(_ip(data[at + STORAGE * i :], level) for i in range(n))
        s.set_group_filter(_ip(data[8:], level), index, Filter(mode == INCLUDE, sources))
    else:
        return False
    return True


def filter_of(s: InetSocket, level: int, opt: int, data: bytes) -> bytes:
    """The answer of getsockopt for what the caller's buffer names. Raises EINVAL, EADDRNOTAVAIL."""
    from .inet import by_address

    if opt == IP_MSFILTER and level == SOL_IP:
        _need(data, 16)
        f = s.group_filter(data[:4], by_address(s.net, data[4:8]))
        room = struct.unpack_from("<I", data, 12)[0]
        found = sorted(f.sources)
        head = data[:8] + struct.pack("<II", int(f.include), len(found))
        return head + b"".join(found[:room])
    if opt != MCAST_MSFILTER:
        raise SysErr(errno.ENOPROTOOPT)
    _need(data, 16 + STORAGE)
    f = s.group_filter(_ip(data[8:], level), struct.unpack_from("<I", data)[0])
    room = struct.unpack_from("<I", data, 12 + STORAGE)[0]
    found = sorted(f.sources)
    head = data[: 8 + STORAGE] + struct.pack("<II", int(f.include), len(found))
    family = AF_INET if level == SOL_IP else AF_INET6
    return head + b"".join(
        make_sockaddr((mapped(a), 0), family).ljust(STORAGE, b"\0") for a in found[:room]
    )
