"""Internet sockets: what TCP, UDP and raw ones share (Linux: net/ipv4/af_inet.c, net/ipv6/af_inet6.c).

Between two sockets of one sandbox, over loopback or an own address, bytes are exchanged directly and no packet is built. What
goes elsewhere goes through the stack (``stack/``), if there is one; each socket decides by destination. Ports are given out in
one place for both (``ports.py``). Addresses here are 16 bytes, IPv4 mapped; the stack's have 4 for IPv4.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ..abi.socket import (
    AF_INET,
    AF_INET6,
    SO_BINDTODEVICE,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_STREAM,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
)
from ..errors import SysErr
from ..kernel.creds import CAP_NET_RAW
from . import membership
from .ports import (
    ANY4,
    ANY6,
    LO6,
    Addr,
    Ports,
    is_any,
    is_link_local,
    is_multicast,
    is_v4,
    make_sockaddr,
    parse_sockaddr,
)
from .socket import Socket
from .stack.members import Members
from .stack.output import find_path
from .state import unmapped

__all__ = ["ANY4", "ANY6", "LO6", "InetSocket"]

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .stack.interface import Interface
    from .stack.multicast import Filter
    from .state import NetState

IP_TOS: Final = 1
IP_TTL: Final = 2
IP_PKTINFO: Final = 8
IP_MTU_DISCOVER: Final = 10
IP_RECVERR: Final = 11
IP_RECVTTL: Final = 12
IP_RECVTOS: Final = 13
IP_MTU: Final = 14
IP_MULTICAST_ALL: Final = 49
IP_MULTICAST_IF: Final = 32
IP_MULTICAST_TTL: Final = 33
IP_MULTICAST_LOOP: Final = 34
IPV6_ADDRFORM: Final = 1
IPV6_MULTICAST_ALL: Final = 29
IPV6_UNICAST_HOPS: Final = 16
IPV6_MULTICAST_IF: Final = 17
IPV6_MULTICAST_HOPS: Final = 18
IPV6_MULTICAST_LOOP: Final = 19
IPV6_MTU_DISCOVER: Final = 23
IPV6_MTU: Final = 24
IPV6_RECVERR: Final = 25
IPV6_V6ONLY: Final = 26
IPV6_RECVPKTINFO: Final = 49
IPV6_PKTINFO: Final = 50
IPV6_RECVHOPLIMIT: Final = 51
IPV6_HOPLIMIT: Final = 52
IPV6_RECVRTHDR: Final = 56
IPV6_RTHDR: Final = 57
IPV6_RECVTCLASS: Final = 66
IPV6_TCLASS: Final = 67
SO_MARK: Final = 36
# Options that are a number kept and read back, with their defaults; which of them do something see ``Far``.
IP_KEPT: Final = {
    IP_TOS: 0, IP_TTL: 64, IP_PKTINFO: 0, IP_MTU_DISCOVER: 1, IP_RECVERR: 0, IP_RECVTTL: 0, IP_RECVTOS: 0,
    IP_MULTICAST_TTL: 1, IP_MULTICAST_LOOP: 1, IP_MULTICAST_ALL: 1, 24: 0, 15: 0, 6: 0, 7: 0,
}  # fmt: skip
IP6_KEPT: Final = {
    IPV6_UNICAST_HOPS: 64, IPV6_MULTICAST_HOPS: 1, IPV6_MULTICAST_LOOP: 1, IPV6_MTU_DISCOVER: 1, IPV6_TCLASS: 0,
    IPV6_MULTICAST_IF: 0, IPV6_RECVERR: 0, IPV6_RECVPKTINFO: 0, IPV6_RECVHOPLIMIT: 0, IPV6_RECVTCLASS: 0, 62: 0,
    70: 1, 72: 2, 78: 0, IPV6_MULTICAST_ALL: 1, 53: 0, IPV6_RECVRTHDR: 0, 58: 0,
}  # fmt: skip


class InetSocket(Socket):
    """An AF_INET or AF_INET6 socket; ``local`` and ``remote`` are (ip, port), port 0 while unset. ``device``: the interface it
    is bound to, or 0."""

    __slots__ = ("device", "local", "mcast_if", "members", "owner_uid", "remote", "v6only")

    def __init__(self, t: Task, domain: int, type: int, protocol: int) -> None:
        super().__init__(t, domain, type, protocol)
        any_ip = ANY4 if domain == AF_INET else ANY6
        self.local: Addr = (any_ip, 0)
        self.remote: Addr = (any_ip, 0)
        self.v6only = False
        self.device = 0
        self.members: Members | None = None
        self.mcast_if = 0  # interface that multicast leaves by, 0: by route
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
        if self.local[1] and self.domain == AF_INET6:
            raise SysErr(errno.EINVAL)
        if not is_any(ip) and not self.net.is_local(ip) and not self._may_bind(ip):
            raise SysErr(errno.EADDRNOTAVAIL)
        if self.local[1]:  # IPv4 looks at the address first
            raise SysErr(errno.EINVAL)
        self.ports().bind(t, self, ip, port)
        if is_link_local(ip) and self.domain == AF_INET6 and not self.device:
            self.device = struct.unpack_from("<I", addr.ljust(28, b"\0"), 24)[0]

    def _may_bind(self, ip: bytes) -> bool:
        """Datagram sockets are bound to groups and broadcast addresses too."""
        if not self.max_send():
            return False
        return is_multicast(ip) or any(
            a.broadcast == ip[12:] for a in self.net.addresses if a.broadcast
        )

    def autobind(self, t: Task, ip: bytes) -> None:
        """A free port, before the first use without bind."""
        if self.local[1] == 0:
            self.ports().bind(t, self, ip, 0)

    def destination(self, addr: bytes) -> Addr:
        """Where ``addr`` leads: an own address, or one for the stack. Raises ENETUNREACH, EINVAL, EAFNOSUPPORT."""
        ip, port = parse_sockaddr(addr, self.domain)
        if is_any(ip):  # Linux takes it for loopback
            ip = self.net.source_for(ip)
        if self.domain == AF_INET6 and is_v4(ip) and self.v6only:
            raise SysErr(errno.ENETUNREACH)
        if not self.net.is_local(ip) and self.net.stack is None:
            if not is_multicast(ip) or self.way_index(addr, ip) != 1:
                raise SysErr(errno.ENETUNREACH)
        if (
            ip[0] == 0xFF and self.way_index(addr, ip) == 1
        ):  # loopback has no route for groups of IPv6
            raise SysErr(errno.ENETUNREACH)
        return ip, port

    def interface(self, index: int) -> Interface | None:
        """The stack's, None for 0. Raises ENODEV."""
        return self.net.interface(index)

    def way(self, addr: bytes | None, ip: bytes) -> Interface | None:
        """The interface a destination is bound to: by its scope, by the socket, or none. Raises EINVAL, ENODEV."""
        return self.interface(self.way_index(addr, ip))

    def way_index(self, addr: bytes | None, ip: bytes) -> int:
        """Its index, 0: none. Raises EINVAL."""
        index = 0
        if is_link_local(ip) and addr is not None and len(addr) >= 28:
            index = struct.unpack_from("<I", addr, 24)[0]
        if index and self.device and index != self.device:
            raise SysErr(errno.EINVAL)
        return index or self.device or (self.mcast_if if is_multicast(ip) else 0)

    def source(self, ip: bytes, via: Interface | None) -> bytes:
        """The own address towards a destination elsewhere. Raises ENETUNREACH."""
        stack = self.net.stack
        src = stack.source_for(unmapped(ip), via) if stack is not None else b""
        if not src:
            raise SysErr(errno.ENETUNREACH)
        return src

    def may_send(self, protocol: str, dst: Addr, data: bytes | None = None) -> None:
        """Raises EPERM for a destination elsewhere that --egress does not allow."""
        if self.net.egress is not None and not self.net.egress.allows(
            protocol, dst[0], dst[1], data
        ):
            raise SysErr(errno.EPERM)

    def any_ip(self) -> bytes:
        return ANY4 if self.domain == AF_INET else ANY6

    def sockname(self) -> bytes:
        return make_sockaddr(self.local, self.domain, self.device)

    def peername(self) -> bytes:
        if not self.remote[1]:
            raise SysErr(errno.ENOTCONN)
        return make_sockaddr(self.remote, self.domain, self.device)

    # Options
    def value(self, level: int, opt: int) -> int:
        """A kept option."""
        table = IP_KEPT if level == SOL_IP else IP6_KEPT
        return self.opts.get((level, opt), table.get(opt, 0))

    def option_set(self, level: int, opt: int, value: int) -> None:
        """Told of each option that was set to a number."""
        everything = ((SOL_IP, IP_MULTICAST_ALL), (SOL_IPV6, IPV6_MULTICAST_ALL))
        if (level, opt) in everything and self.max_send():
            self.joined().all = value != 0

    def joined(self) -> Members:
        """What the socket has joined. Raises ENOPROTOOPT for streams."""
        if not self.max_send():
            raise SysErr(errno.ENOPROTOOPT)
        if self.members is None:
            self.members = Members(self.net.stack, self.net.groups)
        return self.members

    def leave_groups(self) -> None:
        """The socket is closed."""
        if self.members is not None:
            self.members.close()

    def group(self, join: bool, ip: bytes, index: int) -> None:
        """Joins or leaves a multicast group (4 or 16 bytes) on an interface, 0: by route. Raises EINVAL, ENODEV…"""
        if not join:
            _check(self.joined().leave(ip, index))
            return
        _check(self.joined().join(ip, index or self.group_interface(ip)))

    def group_source(self, add: bool, include: bool, ip: bytes, src: bytes, index: int) -> None:
        """One source of a group: joined or left (``include``), blocked or not. Raises EINVAL, EADDRNOTAVAIL, ENODEV, ENOBUFS."""
        _check(self.joined().source(add, include, ip, src, index or self.group_interface(ip)))

    def group_filter(self, ip: bytes, index: int) -> Filter:
        """Raises EADDRNOTAVAIL."""
        f = self.joined().filters.get((ip, index or self.group_interface(ip)))
        if f is None:
            raise SysErr(errno.EADDRNOTAVAIL)
        return f

    def set_group_filter(self, ip: bytes, index: int, f: Filter) -> None:
        """Raises EINVAL, EADDRNOTAVAIL, ENOBUFS."""
        _check(self.joined().replace(ip, index or self.group_interface(ip), f))

    def group_interface(self, ip: bytes) -> int:
        """Where a group is joined that names no interface. Raises ENODEV."""
        stack = self.net.stack
        path = find_path(stack, ip, None) if stack is not None else -errno.ENODEV
        if isinstance(path, int):
            raise SysErr(errno.ENODEV)
        return path.iface.index

    def path_mtu(self) -> int:
        """IP_MTU. Raises ENOTCONN."""
        if not self.remote[1]:
            raise SysErr(errno.ENOTCONN)
        if self.net.is_local(self.remote[0]):
            return 65536
        via = self.interface(self.device)
        stack = self.net.stack
        route = stack.routes.lookup(unmapped(self.remote[0]), via) if stack is not None else None
        if route is None or route.iface is None:
            return 1500
        return route.mtu or route.iface.link.mtu

    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if level == SOL_SOCKET and opt == SO_BINDTODEVICE:
            i = self.net.ifaces.get(self.device)
            return i.name.encode("latin-1") + b"\0" if i is not None else b""
        if level == SOL_IP and opt == IP_MULTICAST_IF:
            a = self.net.primary(self.mcast_if)
            return a.ip if a is not None else bytes(4)
        if (level, opt) in ((SOL_IP, IP_MTU), (SOL_IPV6, IPV6_MTU)):
            return struct.pack("<i", self.path_mtu())
        if level == SOL_IP and opt in IP_KEPT:
            return struct.pack("<i", self.value(level, opt))
        if level == SOL_IPV6 and self.domain == AF_INET6:
            if opt == IPV6_ADDRFORM:
                if not self.remote[1]:
                    raise SysErr(errno.ENOTCONN)
                return struct.pack("<i", self.domain)
            if opt == IPV6_RTHDR:
                return b""
            if opt == IPV6_V6ONLY:
                return struct.pack("<i", int(self.v6only))
            if opt in IP6_KEPT:
                return struct.pack("<i", self.value(level, opt))
        if level == SOL_IPV6 and self.domain == AF_INET:
            raise SysErr(errno.EOPNOTSUPP)
        if level in (SOL_IP, SOL_IPV6):
            raise SysErr(errno.ENOPROTOOPT)
        return super().getsockopt(t, level, opt)

    def getsockopt_from(self, t: Task, level: int, opt: int, val: int, room: int) -> bytes:
        if level in (SOL_IP, SOL_IPV6) and opt in membership.FILTERS:
            return membership.filter_of(self, level, opt, t.copy_in(val, min(room, 144)))
        return super().getsockopt_from(t, level, opt, val, room)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level == SOL_SOCKET and opt == SO_BINDTODEVICE:
            self._bind_device(t, data)
            return
        if level not in (SOL_IP, SOL_IPV6):
            super().setsockopt(t, level, opt, data)
            if level == SOL_SOCKET and (level, opt) in self.opts:
                self.option_set(level, opt, self.opts[level, opt])
            return
        if level == SOL_IPV6 and opt == IPV6_RTHDR and self.domain == AF_INET6:
            self._routing_header(t, data)
            return
        if not data:
            raise SysErr(errno.EINVAL)
        if level == SOL_IPV6 and opt == IPV6_ADDRFORM and self.domain == AF_INET6:
            self._to_ipv4(data)
            return
        if self._membership(level, opt, data):
            return
        value = struct.unpack("<i", data[:4])[0] if len(data) >= 4 else data[0]
        if level == SOL_IPV6 and self.domain == AF_INET6 and opt == IPV6_V6ONLY:
            if len(data) < 4 or self.local[1]:
                raise SysErr(errno.EINVAL)
            self.v6only = value != 0
            return
        kept = IP_KEPT if level == SOL_IP else IP6_KEPT
        if opt not in kept or (level == SOL_IPV6 and self.domain != AF_INET6):
            raise SysErr(errno.ENOPROTOOPT)
        if (level, opt) == (SOL_IPV6, IPV6_MULTICAST_IF):
            if value and value not in self.net.ifaces:
                raise SysErr(errno.ENODEV)
            self.mcast_if = value
        elif not -1 <= value <= 255 or (value == 0 and (level, opt) == (SOL_IP, IP_TTL)):
            raise SysErr(errno.EINVAL)
        if value != -1 and (level, opt) in ((SOL_IP, IP_TOS), (SOL_IPV6, IPV6_TCLASS)):
            value &= 0xFC if self.type == SOCK_STREAM else 0xFF  # ECN's bits are TCP's own
        self.opts[level, opt] = kept[opt] if value == -1 else value
        self.option_set(level, opt, self.opts[level, opt])

    def _to_ipv4(self, data: bytes) -> None:
        """IPV6_ADDRFORM: a socket that talks to an IPv4 address becomes one of IPv4 (ipv6(7)). Raises EINVAL, ENOTCONN, EADDRNOTAVAIL."""
        if len(data) < 4 or struct.unpack_from("<i", data)[0] != AF_INET or not self.may_be_ipv4():
            raise SysErr(errno.EINVAL)
        if not self.remote[1]:
            raise SysErr(errno.ENOTCONN)
        if self.v6only or not is_v4(self.remote[0]):
            raise SysErr(errno.EADDRNOTAVAIL)
        self.domain = AF_INET

    def may_be_ipv4(self) -> bool:
        """Whether IPV6_ADDRFORM is for this kind."""
        return True

    def _routing_header(self, t: Task, data: bytes) -> None:
        """IPV6_RTHDR (RFC 3542 section 7.5): there is none, so it can be taken away only. Raises EPERM, EINVAL."""
        if data and not t.creds.ns_capable(self.net.administrator(), CAP_NET_RAW):
            raise SysErr(errno.EPERM)
        if data:  # type 0 is refused by Linux too (RFC 5095); others need routers that know them
            raise SysErr(errno.EINVAL)

    def _bind_device(self, t: Task, data: bytes) -> None:
        if self.device and not t.creds.ns_capable(self.net.administrator(), CAP_NET_RAW):
            raise SysErr(errno.EPERM)
        name = data[:15].split(b"\0")[0].decode("latin-1")
        i = self.net.by_name(name)
        if name and i is None:
            raise SysErr(errno.ENODEV)
        self.device = i.index if i is not None else 0
        self.device_set()

    def device_set(self) -> None:
        """Told when SO_BINDTODEVICE was set."""

    def _membership(self, level: int, opt: int, data: bytes) -> bool:
        """The multicast options that are structures; False: it is none of them. Raises EINVAL, ENODEV, EADDRNOTAVAIL…"""
        if level == SOL_IP and opt == IP_MULTICAST_IF:
            self.mcast_if = by_address(self.net, data)
            return True
        return membership.option(self, level, opt, data)


def by_address(net: NetState, data: bytes) -> int:
    """The interface that IP_MULTICAST_IF and struct ip_mreqn name: by index, by an address of its, or 0. Raises EINVAL…"""
    if len(data) >= 12:  # struct ip_mreqn
        data = data[4:]
    if len(data) >= 8:
        index: int = struct.unpack_from("<i", data, 4)[0]
        if index:
            if index not in net.ifaces:
                raise SysErr(errno.ENODEV)
            return index
    if len(data) < 4:
        raise SysErr(errno.EINVAL)
    ip = data[:4]
    if ip == bytes(4):
        return 0
    for a in net.addresses:
        if a.ip == ip:
            return a.index
    raise SysErr(errno.EADDRNOTAVAIL)


def _check(r: int) -> None:
    if r < 0:
        raise SysErr(-r)
