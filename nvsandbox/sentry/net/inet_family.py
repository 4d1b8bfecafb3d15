"""The AF_INET and AF_INET6 families: which socket(2) makes what."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..abi.socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
)
from ..errors import SysErr
from ..kernel.creds import CAP_NET_RAW
from .raw_socket import IPPROTO_ICMPV6, RawSocket
from .socket import Socket, register_family
from .tcp_local import TcpSocket
from .udp_local import UdpSocket

if TYPE_CHECKING:
    from ..kernel.task import Task


# net.ipv4.ping_group_range: nobody, until the container's configuration says otherwise.
PING_GROUPS: Final = [1, 0]


def create_inet(t: Task, domain: int, type: int, protocol: int) -> Socket:
    """Raises EPROTONOSUPPORT, ESOCKTNOSUPPORT, EPERM."""
    if not 0 <= protocol < 263:  # MPTCP is 262
        raise SysErr(errno.EINVAL)
    if type == SOCK_STREAM:
        if protocol not in (0, IPPROTO_TCP):
            raise SysErr(errno.EPROTONOSUPPORT)
        return TcpSocket(t, domain, type, IPPROTO_TCP)
    if type == SOCK_DGRAM:
        if protocol == (IPPROTO_ICMP if domain == AF_INET else IPPROTO_ICMPV6):
            low, high = PING_GROUPS
            if not any(low <= g <= high for g in (t.creds.egid, *t.creds.groups)):
                raise SysErr(errno.EACCES)
            return RawSocket(t, domain, type, protocol)
        if protocol not in (0, IPPROTO_UDP, IPPROTO_UDPLITE):
            raise SysErr(errno.EPROTONOSUPPORT)
        return UdpSocket(t, domain, type, protocol or IPPROTO_UDP)
    if type != SOCK_RAW:
        raise SysErr(errno.ESOCKTNOSUPPORT)
    if not t.creds.ns_capable(t.ns.net.administrator(), CAP_NET_RAW):
        raise SysErr(errno.EPERM)
    if protocol == 0:
        raise SysErr(errno.EPROTONOSUPPORT)
    return RawSocket(t, domain, type, protocol)


def _create4(t: Task, type: int, protocol: int) -> Socket:
    return create_inet(t, AF_INET, type, protocol)


def _create6(t: Task, type: int, protocol: int) -> Socket:
    return create_inet(t, AF_INET6, type, protocol)


register_family(AF_INET, _create4)
register_family(AF_INET6, _create6)
