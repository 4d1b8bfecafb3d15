"""Internet sockets within one sandbox: what TCP and UDP share (Linux: net/ipv4/af_inet.c, net/ipv6/af_inet6.c).

The only interface is loopback: 127.0.0.0/8 and ::1. Two sockets exchange bytes directly; no packet is built. A real
stack takes over by registering AF_INET and AF_INET6 in ``net/socket.py``'s table.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ..abi.socket import (
    AF_INET,
    AF_INET6,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
)
from ..errors import SysErr
from .ports import (
    ANY4,
    ANY6,
    Addr,
    Ports,
    is_any,
    is_local,
    is_v4,
    make_sockaddr,
    parse_sockaddr,
    source_for,
)
from .socket import Socket

if TYPE_CHECKING:
    from ..kernel.task import Task

IPV6_V6ONLY: Final = 26
# Options that are kept and read back; on loopback nothing else depends on them.
IP_KEPT: Final = {1: 0, 2: 64, 10: 1, 33: 1, 34: 1, 49: 1, 24: 0, 15: 0}  # TOS TTL MTU_DISCOVER…
IP6_KEPT: Final = {16: 64, 18: 1, 19: 1, 23: 1, 67: 0, 17: 0}  # hops, multicast, MTU, TCLASS


class InetSocket(Socket):
    """An AF_INET or AF_INET6 socket; ``local`` and ``remote`` are (ip, port), port 0 while unset."""

    __slots__ = ("local", "owner_uid", "remote", "v6only")

    def __init__(self, t: Task, domain: int, type: int, protocol: int) -> None:
        super().__init__(t, domain, type, protocol)
        any_ip = ANY4 if domain == AF_INET else ANY6
        self.local: Addr = (any_ip, 0)
        self.remote: Addr = (any_ip, 0)
        self.v6only = False
        self.owner_uid = t.creds.euid

    def ports(self) -> Ports:
        raise NotImplementedError

    def may_share(self) -> tuple[bool, bool]:
        return (
            bool(self.opts.get((SOL_SOCKET, SO_REUSEADDR))) and not self.listening(),
            bool(self.opts.get((SOL_SOCKET, SO_REUSEPORT))),
        )

    # Names
    def bind(self, t: Task, addr: bytes) -> None:
        ip, port = parse_sockaddr(addr, self.domain)
        if self.domain == AF_INET6 and self.v6only and is_v4(ip):
            raise SysErr(errno.EINVAL)
        if not is_any(ip) and not is_local(ip):
            raise SysErr(errno.EADDRNOTAVAIL)
        if self.local[1]:
            raise SysErr(errno.EINVAL)
        self.ports().bind(t, self, ip, port)

    def autobind(self, t: Task, ip: bytes) -> None:
        """A free port, before the first use without bind."""
        if self.local[1] == 0:
            self.ports().bind(t, self, ip, 0)

    def destination(self, addr: bytes) -> Addr:
        """Where ``addr`` leads. Raises ENETUNREACH for everything but loopback, EINVAL, EAFNOSUPPORT."""
        ip, port = parse_sockaddr(addr, self.domain)
        if is_any(ip):  # Linux takes it for loopback
            ip = source_for(ip)
        if self.domain == AF_INET6 and is_v4(ip) and self.v6only:
            raise SysErr(errno.ENETUNREACH)
        if not is_local(ip):
            raise SysErr(errno.ENETUNREACH)
        return ip, port

    def any_ip(self) -> bytes:
        return ANY4 if self.domain == AF_INET else ANY6

    def sockname(self) -> bytes:
        return make_sockaddr(self.local, self.domain)

    def peername(self) -> bytes:
        if not self.remote[1]:
            raise SysErr(errno.ENOTCONN)
        return make_sockaddr(self.remote, self.domain)

    # Options
    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if level == SOL_IP and opt in IP_KEPT:
            return struct.pack("<i", self.opts.get((level, opt), IP_KEPT[opt]))
        if level == SOL_IPV6 and self.domain == AF_INET6:
            if opt == IPV6_V6ONLY:
                return struct.pack("<i", int(self.v6only))
            if opt in IP6_KEPT:
                return struct.pack("<i", self.opts.get((level, opt), IP6_KEPT[opt]))
        if level in (SOL_IP, SOL_IPV6):
            raise SysErr(errno.ENOPROTOOPT)
        return super().getsockopt(t, level, opt)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level not in (SOL_IP, SOL_IPV6):
            super().setsockopt(t, level, opt, data)
            return
        if not data:
            raise SysErr(errno.EINVAL)
        value = struct.unpack("<i", data[:4])[0] if len(data) >= 4 else data[0]
        if level == SOL_IPV6 and self.domain == AF_INET6 and opt == IPV6_V6ONLY:
            if len(data) < 4 or self.local[1]:
                raise SysErr(errno.EINVAL)
            self.v6only = value != 0
            return
        kept = IP_KEPT if level == SOL_IP else IP6_KEPT
        if opt not in kept or (level == SOL_IPV6 and self.domain != AF_INET6):
            raise SysErr(errno.ENOPROTOOPT)
        if not -1 <= value <= 255:
            raise SysErr(errno.EINVAL)
        self.opts[level, opt] = kept[opt] if value == -1 else value
