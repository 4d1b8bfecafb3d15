"""Socket options that are a number: their first value, what may be set, and by whom (socket(7), ip(7), ipv6(7), tcp(7)).

Most need no more than to be kept and read back; what the others do is said where they are used.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from ..abi.socket import SOL_IP, SOL_IPV6, SOL_SOCKET, SOL_TCP
from ..errors import SysErr
from ..kernel.creds import CAP_NET_ADMIN, CAP_NET_RAW

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .state import NetState

INT_MIN: Final = -(1 << 31)
INT_MAX: Final = (1 << 31) - 1


class Rule(NamedTuple):
    """``low`` to ``high`` may be set, anything else is EINVAL; a flag becomes 0 or 1. ``caps``: one of these is needed, ``free``
    is a value that needs none."""

    default: int = 0
    low: int = INT_MIN
    high: int = INT_MAX
    flag: bool = False
    caps: tuple[int, ...] = ()
    free: int = -1


FLAG: Final = Rule(flag=True)
BIT: Final = Rule(low=0, high=1)
ANY: Final = Rule()
ADMIN: Final = (CAP_NET_ADMIN,)
EITHER: Final = (CAP_NET_ADMIN, CAP_NET_RAW)

# SO_NO_CHECK MARK TIMESTAMPING RXQ_OVFL WIFI_STATUS NOFCS SELECT_ERR_QUEUE BUSY_POLL INCOMING_CPU
# TIMESTAMPING_NEW PREFER_BUSY_POLL BUSY_POLL_BUDGET BUF_LOCK RCVMARK
SOCKET_RULES: Final[dict[int, Rule]] = {
    11: FLAG, 36: Rule(caps=EITHER), 37: Rule(low=0, high=(1 << 16) - 1), 40: FLAG, 41: FLAG, 43: FLAG, 45: FLAG,
    46: Rule(low=0, caps=ADMIN, free=0), 49: Rule(default=-1), 65: Rule(low=0, high=(1 << 16) - 1),
    69: Rule(flag=True, caps=ADMIN, free=0), 70: Rule(low=0, high=65535, caps=ADMIN, free=0), 72: Rule(low=0, high=3), 75: FLAG,
}  # fmt: skip

# TOS TTL RECVOPTS RETOPTS PKTINFO MTU_DISCOVER RECVERR RECVTTL RECVTOS FREEBIND PASSSEC TRANSPARENT RECVORIGDSTADDR MINTTL
# CHECKSUM BIND_ADDRESS_NO_PORT RECVFRAGSIZE RECVERR_RFC4884 MULTICAST_TTL MULTICAST_LOOP MULTICAST_ALL LOCAL_PORT_RANGE
IP_RULES: Final[dict[int, Rule]] = {
    1: ANY, 2: Rule(default=64, low=1, high=255), 6: FLAG, 7: FLAG, 8: FLAG, 10: Rule(default=1, low=0, high=5), 11: FLAG,
    12: FLAG, 13: FLAG, 15: FLAG, 18: FLAG, 19: Rule(flag=True, caps=EITHER, free=0), 20: FLAG, 21: Rule(low=0, high=255),
    23: FLAG, 24: FLAG, 25: FLAG, 26: BIT, 33: Rule(default=1, low=0, high=255), 34: Rule(default=1, flag=True),
    49: Rule(default=1, low=0, high=1),
}  # fmt: skip
# Options of IP that a byte, or nothing, is not enough for, and those that take -1 for "the default again".
IP_NEED_SOME: Final = frozenset({2, 15, 19, 21, 33, 34, 49})
IP_DEFAULT: Final = frozenset({2, 33})
IP_DATAGRAM: Final = frozenset({25, 33})  # not for streams (EINVAL)

# 2292PKTINFO 2292HOPOPTS 2292DSTOPTS 2292RTHDR 2292HOPLIMIT FLOWINFO UNICAST_HOPS MULTICAST_HOPS MULTICAST_LOOP MTU_DISCOVER
# RECVERR MULTICAST_ALL ROUTER_ALERT_ISOLATE RECVERR_RFC4884 FLOWINFO_SEND RECVPKTINFO RECVHOPLIMIT RECVHOPOPTS RECVRTHDR
# RECVDSTOPTS RECVPATHMTU DONTFRAG RECVTCLASS TCLASS AUTOFLOWLABEL MINHOPCOUNT ORIGDSTADDR TRANSPARENT RECVFRAGSIZE FREEBIND
IPV6_RULES: Final[dict[int, Rule]] = {
    2: FLAG, 3: FLAG, 4: FLAG, 5: FLAG, 8: FLAG, 11: FLAG, 16: Rule(default=64, low=0, high=255),
    18: Rule(default=1, low=0, high=255), 19: Rule(default=1, low=0, high=1), 23: Rule(default=1, low=0, high=5), 25: FLAG,
    29: Rule(default=1, flag=True), 30: FLAG, 31: BIT, 33: FLAG, 49: FLAG, 51: FLAG, 53: FLAG, 56: FLAG, 58: FLAG, 60: FLAG,
    62: FLAG, 66: FLAG, 67: Rule(low=0, high=255), 70: Rule(default=1, flag=True), 72: Rule(default=0x500),
    73: Rule(low=0, high=255), 74: FLAG, 75: Rule(flag=True, caps=EITHER, free=0), 77: FLAG, 78: FLAG,
}  # fmt: skip
IPV6_SHORT: Final = frozenset({62, 70, 77})  # read as 0 when there are less than four bytes
IPV6_DEFAULT: Final = frozenset({16, 18, 67})
IPV6_DATAGRAM: Final = frozenset({18})  # not for streams (ENOPROTOOPT)

# NODELAY CORK KEEPIDLE KEEPINTVL KEEPCNT SYNCNT LINGER2 DEFER_ACCEPT WINDOW_CLAMP QUICKACK THIN_LINEAR THIN_DUPACK USER_TIMEOUT
# FASTOPEN NOTSENT_LOWAT SAVE_SYN FASTOPEN_CONNECT FASTOPEN_NO_COOKIE INQ TX_DELAY
TCP_RULES: Final[dict[int, Rule]] = {
    1: FLAG, 3: FLAG, 4: Rule(default=7200, low=1, high=32767), 5: Rule(default=75, low=1, high=32767),
    6: Rule(default=9, low=1, high=127), 7: Rule(default=6, low=1, high=127), 8: Rule(default=60), 9: ANY, 10: ANY,
    12: Rule(default=1, flag=True), 16: BIT, 17: BIT, 18: Rule(low=0), 23: Rule(low=0), 25: ANY, 27: Rule(low=0, high=2), 30: BIT, 34: BIT,
    36: BIT, 37: Rule(low=0),
}  # fmt: skip

# What an option's value means where it is more than a flag.
PREFER: Final = (1, 2, 0x100)  # IPV6_PREFER_SRC_TMP, PUBLIC, PUBTMP_DEFAULT (RFC 5014): one of them
TABLES: Final[dict[int, dict[int, Rule]]] = {
    SOL_SOCKET: SOCKET_RULES, SOL_IP: IP_RULES, SOL_IPV6: IPV6_RULES, SOL_TCP: TCP_RULES,
}  # fmt: skip


def rule(level: int, opt: int) -> Rule | None:
    table = TABLES.get(level)
    return table.get(opt) if table is not None else None


def first(level: int, opt: int) -> int:
    """What an option is before it is set."""
    r = rule(level, opt)
    return r.default if r is not None else 0


def number(level: int, opt: int, data: bytes) -> int:
    """What is to be set. Raises EINVAL where there are too few bytes."""
    if len(data) >= 4:
        n: int = struct.unpack_from("<i", data)[0]
        return n
    if level == SOL_IP and (data or opt not in IP_NEED_SOME):
        return data[0] if data else 0
    if level == SOL_IPV6 and opt in IPV6_SHORT:
        return 0
    raise SysErr(errno.EINVAL)


def checked(t: Task, net: NetState, level: int, opt: int, value: int) -> int:
    """A value as it is kept. Raises EINVAL, EPERM, ENOPROTOOPT."""
    r = rule(level, opt)
    if r is None:
        raise SysErr(errno.ENOPROTOOPT)
    if r.flag:
        value = int(value != 0)
    elif value == -1 and (
        (level == SOL_IP and opt in IP_DEFAULT) or (level == SOL_IPV6 and opt in IPV6_DEFAULT)
    ):
        value = r.default
    elif not r.low <= value <= r.high:
        raise SysErr(errno.EINVAL)
    if r.caps and value != r.free:
        owner = net.administrator()
        if not any(t.creds.ns_capable(owner, c) for c in r.caps):
            raise SysErr(errno.EPERM)
    if (level, opt) == (SOL_IPV6, 72):
        value = _preferences(value)
    return value


def _preferences(value: int) -> int:
    """IPV6_ADDR_PREFERENCES as it is read back (RFC 5014). Raises EINVAL."""
    chosen = [p for p in PREFER if value & p]
    if len(chosen) > 1 or value & 0x404 == 0x404 or value & 0x808 == 0x808:
        raise SysErr(errno.EINVAL)
    return (chosen[0] if chosen else 0x100) | (4 if value & 4 else 0x400)
