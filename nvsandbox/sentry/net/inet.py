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
    SO_ATTACH_REUSEPORT_CBPF,
    SO_BROADCAST,
    SO_DETACH_REUSEPORT_BPF,
    SO_MARK,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_TIMESTAMPING,
    SO_TIMESTAMPING_NEW,
    SO_ZEROCOPY,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
)
from ..errors import SysErr
from ..kernel.creds import CAP_NET_RAW
from . import membership, notes, options
from .filter import attach
from .netfilter import legacy
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
from .socket import Received, Socket
from .stack.ip6headers import Headers, whole
from .stack.ipoptions import IpOptions, parse
from .stack.members import Members
from .stack.output import find_path
from .stack.owner import Owner
from .state import mapped, unmapped

__all__ = ["ANY4", "ANY6", "LO6", "InetSocket"]

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .notes import Notes
    from .stack.interface import Interface
    from .stack.multicast import Filter
    from .state import NetState

IP_TOS: Final = 1
SO_ORIGINAL_DST: Final = 80  # linux/netfilter_ipv4.h
IP_TTL: Final = 2
IP_PKTINFO: Final = 8
IP_HDRINCL: Final = 3
IP_OPTIONS: Final = 4
IP_ROUTER_ALERT: Final = 5
IP_RECVOPTS: Final = 6
IP_RETOPTS: Final = 7
IP_PKTOPTIONS: Final = 9
IP_MTU_DISCOVER: Final = 10
IP_RECVORIGDSTADDR: Final = 20
IP_NODEFRAG: Final = 22
IPV6_RECVORIGDSTADDR: Final = 74
IP_UNICAST_IF: Final = 50
IPV6_PATHMTU: Final = 61
IPV6_UNICAST_IF: Final = 76
EXTENSION_HEADERS: Final = (54, 55, 57, 59)  # IPV6_HOPOPTS, RTHDRDSTOPTS, RTHDR, DSTOPTS
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
IPV6_HOPOPTS: Final = 54
IPV6_DSTOPTS: Final = 59
IPV6_RTHDR: Final = 57
IPV6_RECVRTHDR: Final = 56
IPV6_RECVTCLASS: Final = 66
IPV6_TCLASS: Final = 67

NONLOCAL: Final = (
    (SOL_IP, 15),
    (SOL_IP, 19),
    (SOL_IPV6, 75),
    (SOL_IPV6, 78),
)  # FREEBIND, TRANSPARENT


class InetSocket(Socket):
    """An AF_INET or AF_INET6 socket; ``local`` and ``remote`` are (ip, port), port 0 while unset."""

    __slots__ = (
        "headers",
        "ip_options",
        "local",
        "mcast_if",
        "members",
        "notes",
        "owner_uid",
        "remote",
        "sender",
        "v6only",
    )

    def __init__(self, t: Task, domain: int, type: int, protocol: int) -> None:
        super().__init__(t, domain, type, protocol)
        any_ip = ANY4 if domain == AF_INET else ANY6
        self.local: Addr = (any_ip, 0)
        self.remote: Addr = (any_ip, 0)
        self.v6only = False
        self.members: Members | None = None
        self.notes: Notes | None = None
        self.headers: dict[int, bytes] = {}  # IPV6_HOPOPTS, RTHDRDSTOPTS, DSTOPTS
        self.ip_options: IpOptions | None = None  # IP_OPTIONS
        self.mcast_if = 0  # interface that multicast leaves by, 0: by route
        self.owner_uid = t.creds.euid
        self.sender = Owner(t.creds.fsuid, t.creds.fsgid)

    def ports(self) -> Ports:
        raise NotImplementedError

    def shares_ports(self) -> bool:
        return True

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
        self.check_scope(addr, ip)
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
        """Groups and broadcast addresses are taken too, with IP_FREEBIND or IP_TRANSPARENT all to any."""
        if self.opts and any(self.opts.get(o) for o in NONLOCAL):
            return True
        if is_v4(ip):
            return is_multicast(ip) or self.is_broadcast(ip)
        return is_multicast(ip) and bool(self.max_send())

    def check_scope(self, addr: bytes, ip: bytes) -> None:
        """A link-local address of IPv6 needs an interface to be bound or connected to. Raises EINVAL."""
        if ip[0] == 0xFE and is_link_local(ip) and not self.way_index(addr, ip):
            raise SysErr(errno.EINVAL)

    def is_broadcast(self, ip: bytes) -> bool:
        """Whether it is IPv4's limited broadcast or one of an interface."""
        return is_v4(ip) and (
            ip[12:] == b"\xff" * 4
            or any(a.broadcast == ip[12:] for a in self.net.addresses if a.broadcast)
        )

    def may_broadcast(self, ip: bytes) -> None:
        """Raises EACCES for a broadcast address without SO_BROADCAST."""
        if self.is_broadcast(ip) and not self.opts.get((SOL_SOCKET, SO_BROADCAST)):
            raise SysErr(errno.EACCES)

    def autobind(self, t: Task, ip: bytes) -> None:
        """A free port, before the first use without bind, on ``ip`` if no address was asked for."""
        if self.local[1] == 0:
            self.ports().bind(t, self, ip if is_any(self.local[0]) else self.local[0], 0)

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
        index = index or self.device or (self.mcast_if if is_multicast(ip) else 0)
        if not index and self.opts:
            level, opt = (SOL_IP, IP_UNICAST_IF) if is_v4(ip) else (SOL_IPV6, IPV6_UNICAST_IF)
            index = self.opts.get((level, opt), 0)
        return index

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
        return self.opts.get((level, opt), options.first(level, opt))

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
        if level == SOL_IP:
            return self._ip_option_value(opt)
        if level == SOL_IPV6 and self.domain == AF_INET6:
            return self._ipv6_option_value(opt)
        if level != SOL_SOCKET:
            raise SysErr(errno.EOPNOTSUPP if self.domain == AF_INET else errno.ENOPROTOOPT)
        return super().getsockopt(t, level, opt)

    def _original_destination(self, family: int, room: int) -> bytes:
        """SO_ORIGINAL_DST: where the other side's connection was to, before it was translated. Raises ENOENT, EINVAL."""
        if room < (16 if family == AF_INET else 28):
            raise SysErr(errno.EINVAL)
        filters = self.net.filters
        engine = filters.engine if filters is not None else None
        here, there = unmapped(self.local[0]), unmapped(self.remote[0])
        if engine is None or (len(here) == 4) != (family == AF_INET) or not self.remote[1]:
            raise SysErr(errno.ENOENT)
        c = engine.table.find((6, here, there, self.local[1], self.remote[1]))
        if c is None:
            raise SysErr(errno.ENOENT)
        return make_sockaddr((mapped(c.orig[2]), c.orig[4]), family)

    def _ip_option_value(self, opt: int) -> bytes:
        """Raises ENOPROTOOPT, ENOTCONN."""
        if opt == IP_MULTICAST_IF:
            a = self.net.primary(self.mcast_if)
            return a.ip if a is not None else bytes(4)
        if opt == IP_MTU:
            return struct.pack("<i", self.path_mtu())
        if opt == IP_UNICAST_IF:
            return struct.pack(">I", self.opts.get((SOL_IP, opt), 0))
        if opt == IP_OPTIONS:
            return self.ip_options.raw if self.ip_options is not None else b""
        if opt == IP_PKTOPTIONS and not self.max_send():
            return b""
        if opt in options.IP_RULES or opt in (IP_HDRINCL, IP_ROUTER_ALERT, IP_NODEFRAG):
            return struct.pack("<i", self.value(SOL_IP, opt))
        raise SysErr(errno.ENOPROTOOPT)

    def _ipv6_option_value(self, opt: int) -> bytes:
        """Raises ENOPROTOOPT, ENOTCONN."""
        if opt in (IPV6_MTU, IPV6_PATHMTU):
            mtu = self.path_mtu()
            if opt == IPV6_MTU:
                return struct.pack("<i", mtu)
            return make_sockaddr(self.remote, AF_INET6, self.device) + struct.pack("<I", mtu)
        if opt == IPV6_ADDRFORM:
            if not self.may_be_ipv4():
                raise SysErr(errno.ENOPROTOOPT)
            if not self.remote[1]:
                raise SysErr(errno.ENOTCONN)
            return struct.pack("<i", self.domain)
        if opt in EXTENSION_HEADERS:
            return self.headers.get(opt, b"")
        if opt == IPV6_V6ONLY:
            return struct.pack("<i", int(self.v6only))
        if opt == IPV6_MULTICAST_IF:
            return struct.pack("<i", self.mcast_if)
        if opt == IPV6_UNICAST_IF:
            return struct.pack(">I", self.opts.get((SOL_IPV6, opt), 0))
        if opt in options.IPV6_RULES:
            return struct.pack("<i", self.value(SOL_IPV6, opt))
        raise SysErr(errno.ENOPROTOOPT)

    def option_room(self, level: int, opt: int) -> int:
        if level == (SOL_IP if self.domain == AF_INET else SOL_IPV6):
            return legacy.room(self.address_size(), opt) or super().option_room(level, opt)
        return super().option_room(level, opt)

    def address_size(self) -> int:
        """Of the family: 4 or 16 bytes."""
        return 4 if self.domain == AF_INET else 16

    def getsockopt_from(self, t: Task, level: int, opt: int, val: int, room: int) -> bytes:
        if level == (SOL_IP if self.domain == AF_INET else SOL_IPV6):
            family = self.address_size()
            if legacy.reads(family, opt):
                data = t.copy_in(val, min(room, 84))
                return legacy.get_option(t, self.net, family, opt, data, room)
        if opt == SO_ORIGINAL_DST and self.type == SOCK_STREAM and level in (SOL_IP, SOL_IPV6):
            return self._original_destination(AF_INET if level == SOL_IP else self.domain, room)
        if level == SOL_IPV6 and opt == IPV6_PATHMTU and room < 32 and self.domain == AF_INET6:
            raise SysErr(errno.EINVAL)
        if opt in membership.FILTERS and level == (SOL_IP if self.domain == AF_INET else SOL_IPV6):
            return membership.filter_of(self, level, opt, t.copy_in(val, min(room, 144)))
        return super().getsockopt_from(t, level, opt, val, room)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level == SOL_SOCKET:
            self._socket_option(t, opt, data)
            return
        if level == (SOL_IP if self.domain == AF_INET else SOL_IPV6):
            if legacy.room(self.address_size(), opt):
                legacy.set_option(t, self.net, self.address_size(), opt, data)
                return
        if level == SOL_IPV6 and self.domain != AF_INET6:
            raise SysErr(errno.ENOPROTOOPT)
        if level == SOL_IPV6 and opt in EXTENSION_HEADERS:
            self._extension_header(t, opt, data)
            return
        if level == SOL_IPV6 and opt == IPV6_ADDRFORM:
            self._to_ipv4(data)
            return
        if level in (SOL_IP, SOL_IPV6) and self._structured(t, level, opt, data):
            return
        stream = not self.max_send()
        if level == SOL_IP and opt in options.IP_RULES:
            if stream and opt in options.IP_DATAGRAM:
                raise SysErr(errno.EINVAL)
        elif level == SOL_IPV6 and opt in options.IPV6_RULES:
            if stream and opt in options.IPV6_DATAGRAM:
                raise SysErr(errno.ENOPROTOOPT)
        else:
            raise SysErr(errno.ENOPROTOOPT)
        value = options.number(level, opt, data)
        if (level, opt) == (SOL_IPV6, IPV6_TCLASS) and value == -1:
            value = 0
        value = options.checked(t, self.net, level, opt, value)
        if (level, opt) in ((SOL_IP, IP_TOS), (SOL_IPV6, IPV6_TCLASS)):
            value &= 0xFC if self.type == SOCK_STREAM else 0xFF  # ECN's bits are TCP's own
        self.opts[level, opt] = value
        self.option_set(level, opt, value)

    def _socket_option(self, t: Task, opt: int, data: bytes) -> None:
        if opt in (SO_ATTACH_REUSEPORT_CBPF, SO_DETACH_REUSEPORT_BPF):
            self._reuseport_filter(t, opt, data)
        elif opt == SO_ZEROCOPY and self.type != SOCK_RAW and self.protocol not in (1, 58):
            value = options.number(SOL_SOCKET, opt, data)
            if not 0 <= value <= 1:
                raise SysErr(errno.EINVAL)
            self.opts[SOL_SOCKET, opt] = value
            self.noting = notes.wanted(self)
        elif opt in (SO_TIMESTAMPING, SO_TIMESTAMPING_NEW):
            self._timestamping(t, opt, data)
        else:
            super().setsockopt(t, SOL_SOCKET, opt, data)
            if opt == SO_MARK:
                self.sender.mark = self.opts[SOL_SOCKET, opt] & 0xFFFFFFFF
            if (SOL_SOCKET, opt) in self.opts:
                self.option_set(SOL_SOCKET, opt, self.opts[SOL_SOCKET, opt])

    def _timestamping(self, t: Task, opt: int, data: bytes) -> None:
        """SO_TIMESTAMPING: numbers begin when OPT_ID is set. Raises EINVAL."""
        before = notes.flags(self)
        value = options.number(SOL_SOCKET, opt, data)
        fresh = value & ~before & notes.OPT_ID
        if fresh and self.type == SOCK_STREAM and not self.remote[1]:
            raise SysErr(errno.EINVAL)
        super().setsockopt(t, SOL_SOCKET, opt, data)
        other = SO_TIMESTAMPING_NEW if opt == SO_TIMESTAMPING else SO_TIMESTAMPING
        self.opts.pop((SOL_SOCKET, other), None)
        if fresh and self.notes is not None:
            self.notes.key = 0
        self.noting = notes.wanted(self)

    def sent(self, flags: int, size: int) -> None:
        notes.sent(self, flags, size)

    def recv_error(self, t: Task, size: int) -> Received | int:
        return notes.take(self)

    def noted(self) -> bool:
        """Whether the error queue has something of this kind."""
        return self.notes is not None and bool(self.notes.queue)

    def _structured(self, t: Task, level: int, opt: int, data: bytes) -> bool:
        """Options that are no plain number; False: it is none of them. Raises EINVAL, ENODEV, EADDRNOTAVAIL, EPERM…"""
        if opt == (IP_UNICAST_IF if level == SOL_IP else IPV6_UNICAST_IF):
            if len(data) != 4:
                raise SysErr(errno.EINVAL)
            index = int.from_bytes(data, "big")
            if index and index not in self.net.ifaces:
                raise SysErr(errno.EADDRNOTAVAIL)
            self.opts[level, opt] = index
        elif level == SOL_IP and opt == IP_OPTIONS:
            self._ip_options(t, data)
        elif level == SOL_IP and opt == IP_ROUTER_ALERT:
            raise SysErr(errno.EINVAL)
        elif level == SOL_IPV6 and opt == IPV6_MULTICAST_IF:
            if not self.max_send():
                raise SysErr(errno.ENOPROTOOPT)
            index = options.number(level, opt, data)
            if index and index not in self.net.ifaces:
                raise SysErr(errno.ENODEV)
            self.mcast_if = index
        elif level == SOL_IPV6 and opt == IPV6_V6ONLY:
            if len(data) < 4 or self.local[1] or self.type == SOCK_RAW:
                raise SysErr(errno.EINVAL)
            self.v6only = data[:4] != bytes(4)
        elif level == SOL_IPV6 and opt == IPV6_MTU:
            value = options.number(level, opt, data)
            if value and value < 1280:
                raise SysErr(errno.EINVAL)
        elif level == SOL_IPV6 and opt == IPV6_PKTINFO:
            self._default_source(data)
        elif level == SOL_IP and opt == IP_MULTICAST_IF:
            if not self.max_send():
                raise SysErr(errno.EINVAL)
            self.mcast_if = by_address(self.net, data[4:12] if len(data) >= 8 else data)
        else:
            return membership.option(self, level, opt, data)
        return True

    def _ip_options(self, t: Task, data: bytes) -> None:
        """IP_OPTIONS; of TCP's nothing but padding can be asked for. Raises EINVAL."""
        own = frozenset(a.ip for a in self.net.addresses if a.family == AF_INET)
        o = parse(data, t.creds.ns_capable(self.net.administrator(), CAP_NET_RAW), own)
        if o is None or (not self.max_send() and any(o.raw.split(b"\0")[0].strip(b"\1"))):
            raise SysErr(errno.EINVAL)
        self.ip_options = o if data else None
        self.ip_options_set()

    def ip_options_set(self) -> None:
        """Told of IP_OPTIONS."""

    def _default_source(self, data: bytes) -> None:
        """IPV6_PKTINFO as an option: the interface for what is sent (RFC 3542 section 6.2). Raises EINVAL, ENODEV."""
        if len(data) < 20:
            raise SysErr(errno.EINVAL)
        index = struct.unpack_from("<I", data, 16)[0]
        if index and index not in self.net.ifaces:
            raise SysErr(errno.ENODEV)
        self.opts[SOL_IPV6, IPV6_UNICAST_IF] = index

    def _reuseport_filter(self, t: Task, opt: int, data: bytes) -> None:
        """SO_ATTACH_REUSEPORT_CBPF: the program chooses among the sockets of a port. Raises EINVAL, ENOENT."""
        if len(data) < 4:
            raise SysErr(errno.EINVAL)
        bound = self.local[1] != 0 and self.type != SOCK_RAW and self.protocol not in (1, 58)
        if opt == SO_DETACH_REUSEPORT_BPF:
            if not self.opts.get((SOL_SOCKET, SO_REUSEPORT)):
                raise SysErr(errno.EINVAL)
            if not bound or not self.ports().choose(self.local[1], None):
                raise SysErr(errno.ENOENT)
            return
        if len(data) != 16:
            raise SysErr(errno.EINVAL)
        program = attach(t, data)
        if not self.opts.get((SOL_SOCKET, SO_REUSEPORT)):
            raise SysErr(errno.EINVAL)
        if not bound:  # Linux makes a group of one; it is this socket's until others join
            raise SysErr(errno.EINVAL)
        self.ports().choose(self.local[1], program)

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

    def _extension_header(self, t: Task, opt: int, data: bytes) -> None:
        """IPV6_HOPOPTS, RTHDRDSTOPTS, DSTOPTS, RTHDR (RFC 3542): none for an empty one; of routing headers and of TCP there is none to be had.
        Raises EPERM, EINVAL."""
        if opt != IPV6_RTHDR and not self.permitted(t):
            raise SysErr(errno.EPERM)
        if not data:
            self.headers.pop(opt, None)
        else:
            header = whole(data)
            if header is None or opt == IPV6_RTHDR or not self.max_send():
                raise SysErr(errno.EINVAL)
            self.headers[opt] = header
        self.headers_set()

    def permitted(self, t: Task) -> bool:
        return t.creds.ns_capable(self.net.administrator(), CAP_NET_RAW)

    def sticky(self) -> Headers:
        """What goes with each packet; RTHDRDSTOPTS only with a routing header (RFC 3542 section 7)."""
        return Headers(self.headers.get(IPV6_HOPOPTS, b""), self.headers.get(IPV6_DSTOPTS, b""))

    def headers_set(self) -> None:
        """Told of these."""


def by_address(net: NetState, data: bytes) -> int:
    """The interface that the second half of struct ip_mreqn, or an address alone, names: its index, or 0. Raises EINVAL…"""
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
