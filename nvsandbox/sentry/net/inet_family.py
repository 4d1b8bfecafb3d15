"""The AF_INET and AF_INET6 families of a sandbox without a network: socket(2) for loopback-only TCP and UDP."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..abi.socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
)
from ..errors import SysErr
from ..kernel.creds import CAP_NET_RAW
from .socket import Socket, register_family
from .tcp_local import TcpSocket
from .udp_local import UdpSocket

if TYPE_CHECKING:
    from ..kernel.task import Task


def create_inet(t: Task, domain: int, type: int, protocol: int) -> Socket:
    """Raises EPROTONOSUPPORT, ESOCKTNOSUPPORT, EPERM."""
    if not 0 <= protocol < 256:
        raise SysErr(errno.EINVAL)
    if type == SOCK_STREAM:
        if protocol not in (0, IPPROTO_TCP):
            raise SysErr(errno.EPROTONOSUPPORT)
        return TcpSocket(t, domain, type, IPPROTO_TCP)
    if type == SOCK_DGRAM:
        if protocol not in (0, IPPROTO_UDP):
            raise SysErr(errno.EPROTONOSUPPORT)
        return UdpSocket(t, domain, type, IPPROTO_UDP)
    if type == SOCK_RAW and not t.creds.capable(CAP_NET_RAW):
        raise SysErr(errno.EPERM)
    raise SysErr(errno.EPROTONOSUPPORT if type == SOCK_RAW else errno.ESOCKTNOSUPPORT)


def _create4(t: Task, type: int, protocol: int) -> Socket:
    return create_inet(t, AF_INET, type, protocol)


def _create6(t: Task, type: int, protocol: int) -> Socket:
    return create_inet(t, AF_INET6, type, protocol)


register_family(AF_INET, _create4)
register_family(AF_INET6, _create6)
