"""What a network namespace has: interfaces, addresses, routes (Linux: net/core/dev.c, net/ipv4/devinet.c, fib).

The sandbox's own has a loopback interface that is up from the start. With --network=sandbox the launcher says what else there is
(``sandbox/takeover.py``); the stack behind the interfaces is ``stack``. What programs change in it: ``configure.py``. Namespaces that
programs make have a loopback interface, which is down, and what programs put there (``veth.py``).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..abi.socket import AF_INET, AF_INET6
from ..errors import SysErr
from ..kernel.namespaces import register_kind
from ..kernel.userns import INIT_USER, Namespace, UserNamespace
from .ports import LO4, LO6, V4, Ports, is_v4

if TYPE_CHECKING:
    from .bridge import Bridge
    from .configure import Configuration
    from .egress import Egress
    from .link import PacketLink
    from .netfilter.filters import Filters
    from .resolver import Resolver
    from .siblings import Siblings
    from .stack.interface import Interface
    from .stack.multicast import Group
    from .stack.neighbours import NeighbourInfo
    from .stack.stack import Stack
    from .unix import UnixSocket
    from .veth import VethLink

IFF_UP: Final = 0x1
IFF_BROADCAST: Final = 0x2
IFF_LOOPBACK: Final = 0x8
IFF_RUNNING: Final = 0x40
IFF_MULTICAST: Final = 0x1000
IFF_LOWER_UP: Final = 0x10000
ARPHRD_ETHER: Final = 1
ARPHRD_LOOPBACK: Final = 772
RT_SCOPE_HOST: Final = 254
RT_SCOPE_LINK: Final = 253
IFA_F_PERMANENT: Final = 0x80
IFA_F_TENTATIVE: Final = 0x40
RTN_UNICAST: Final = 1


@final
class Iface:
    """An interface; ``link`` and ``under`` (the stack's) are None for loopback and for what can't be used."""

    __slots__ = (
        "bridge",
        "flags",
        "index",
        "kind",
        "link",
        "mac",
        "mtu",
        "name",
        "pair",
        "qlen",
        "type",
        "under",
    )

    def __init__(
        self, index: int, name: str, type: int, mac: bytes, mtu: int, flags: int, qlen: int
    ) -> None:
        self.index = index
        self.name = name
        self.type = type
        self.mac = mac
        self.mtu = mtu
        self.flags = flags
        self.qlen = qlen
        self.kind = b""  # of one made inside: IFLA_INFO_KIND
        self.link: PacketLink | None = None
        self.pair: VethLink | None = None  # in the place of ``link``
        self.bridge: Bridge | None = None  # the same
        self.under: Interface | None = None

    def counters(self) -> tuple[int, int, int, int, int]:
        """Received packets and bytes, sent packets and bytes, packets not sent."""
        x = self.link
        if x is None:
            p = self.pair
            if p is None:
                return 0, 0, 0, 0, 0
            return p.rx_packets, p.rx_bytes, p.tx_packets, p.tx_bytes, p.drops
        return x.rx_packets, x.rx_bytes, x.tx_packets, x.tx_bytes, x.drops


@final
class Address:
    """``ip`` and ``broadcast``: 4 or 16 bytes, the latter empty where there is none."""

    __slots__ = ("broadcast", "family", "flags", "index", "ip", "label", "prefix", "scope")

    def __init__(
        self, index: int, ip: bytes, prefix: int, scope: int, flags: int = IFA_F_PERMANENT,
        broadcast: bytes = b"", label: str = "",
    ) -> None:  # fmt: skip
        self.index = index
        self.family = AF_INET if len(ip) == 4 else AF_INET6
        self.ip = ip
        self.prefix = prefix
        self.scope = scope
        self.flags = flags
        self.broadcast = broadcast
        self.label = label


@final
class Route:
    """``dst``, ``gateway``, ``source``: 4 or 16 bytes, empty where there is none."""

    __slots__ = ("dst", "family", "gateway", "index", "metric", "prefix", "proto", "scope", "source", "type")  # fmt: skip

    def __init__(
        self, family: int, dst: bytes, prefix: int, gateway: bytes, source: bytes, index: int, metric: int,
        proto: int, scope: int, type: int,
    ) -> None:  # fmt: skip
        self.family = family
        self.dst = dst
        self.prefix = prefix
        self.gateway = gateway
        self.source = source
        self.index = index
        self.metric = metric
        self.proto = proto
        self.scope = scope
        self.type = type


def mapped(ip: bytes) -> bytes:
    """16 bytes; IPv4 as ::ffff:a.b.c.d."""
    return V4 + ip if len(ip) == 4 else ip


def unmapped(ip: bytes) -> bytes:
    """4 bytes for IPv4, as the stack has it."""
    return ip[12:] if ip[:12] == V4 else ip


LOOPBACK_UP: Final = IFF_UP | IFF_RUNNING | IFF_LOWER_UP
LOOPBACK_ADDRESSES: Final = (
    Address(1, b"\x7f\0\0\1", 8, RT_SCOPE_HOST, label="lo"),
    Address(1, bytes(15) + b"\1", 128, RT_SCOPE_HOST),
)


def _loopback() -> Iface:
    return Iface(1, "lo", ARPHRD_LOOPBACK, bytes(6), 65536, IFF_LOOPBACK, 1000)


@final
class NetState(Namespace):
    """``local``: own addresses, mapped, without 127.0.0.0/8. ``changed`` are told after each change."""

    kind: ClassVar[bytes] = b"net"
    flag: ClassVar[int] = 0x40000000

    def __init__(self, owner: UserNamespace, ino: int = 0) -> None:
        super().__init__(owner, ino)
        self.stack: Stack | None = None
        self.resolver: Resolver | None = None
        self.egress: Egress | None = None
        self.siblings: Siblings | None = None
        self.ifaces: dict[int, Iface] = {1: _loopback()}
        self.addresses: list[Address] = []
        self.routes: list[Route] = []
        self.local: set[bytes] = set()
        self.changed: list[Callable[[], None]] = []
        self.neighbour_changed: Callable[[int, bytes, bytes, int], None] | None = None
        self.config: Configuration | None = None  # once a program has changed something
        self.loopback: list[Address] = []  # own addresses of lo, there since it was first up
        self.filters: Filters | None = None  # once a program has asked for rules
        # net.ipv4.ip_forward, net.ipv6.conf.all.forwarding, net.ipv4.conf.all.route_localnet
        self.forward4 = self.forward6 = self.route_localnet = 0
        self.groups: dict[bytes, Group] = {}  # what sockets have joined on lo
        self.fastopen = 1  # net.ipv4.tcp_fastopen
        self.tcp = Ports(6)
        self.udp = Ports(17)
        self.udplite = Ports(136)
        self.abstract: dict[bytes, UnixSocket] = {}  # Unix sockets' names that are no paths

    def ports(self, protocol: int) -> Ports:
        """Who has which port of TCP, UDP or UDP-Lite."""
        return self.tcp if protocol == 6 else self.udp if protocol == 17 else self.udplite

    def put_addresses(self, more: list[Address]) -> None:
        """Loopback's and these."""
        self.addresses = sorted([*self.loopback, *more], key=lambda a: a.family)
        up = self.loopback_up()
        self.local = {mapped(a.ip) for a in self.addresses if a.index != 1 or up}

    def loopback_up(self) -> bool:
        return bool(self.ifaces[1].flags & IFF_UP)

    def set_loopback(self, up: bool) -> None:
        """``ip link set lo up`` and down: its addresses come with the first, that of IPv6 goes with the second."""
        lo = self.ifaces[1]
        if up:
            lo.flags |= LOOPBACK_UP
            self.loopback += [
                a for a in LOOPBACK_ADDRESSES if all(b.ip != a.ip for b in self.addresses)
            ]
        else:
            lo.flags &= ~LOOPBACK_UP
            self.loopback = [a for a in self.loopback if a.family == AF_INET]
        own = list(self.loopback)
        self.put_addresses([a for a in self.addresses if a not in own and a.index != 1])

    def is_local(self, ip: bytes) -> bool:
        """Whether it is an own address: loopback's or another interface's."""
        return ip in self.local or (ip[:12] == V4 and ip[12] == 127 and self.loopback_up())

    def tell_stack(self) -> None:
        """Has the stack obey the namespace's parameters."""
        s = self.stack
        if s is not None:
            s.forward4, s.forward6 = self.forward4 != 0, self.forward6 != 0
            s.route_localnet = self.route_localnet != 0
            s.tcp.fast.flags = self.fastopen

    def filtered(self, ip: bytes) -> bool:
        """Whether what goes to an own address is to pass the stack, since there are rules."""
        s = self.stack
        if s is None or s.nf is None:
            return False
        return unmapped(ip) in s.own or (ip[:12] == V4 and ip[12] == 127) or ip == LO6

    def source_for(self, dst: bytes) -> bytes:
        """The address from which an own address, or loopback, is reached."""
        if dst in self.local:
            return dst
        return LO4 if is_v4(dst) else LO6

    def interface(self, index: int) -> Interface | None:
        """The stack's, None for 0. Raises ENODEV."""
        if not index:
            return None
        if index == 1 and self.stack is not None and self.stack.loop is not None:
            return self.stack.loop
        i = self.ifaces.get(index)
        if i is None or i.under is None:
            raise SysErr(errno.ENODEV)
        return i.under

    def by_name(self, name: str) -> Iface | None:
        for i in self.ifaces.values():
            if i.name == name:
                return i
        return None

    def primary(self, index: int) -> Address | None:
        """An interface's first IPv4 address, for the ioctls."""
        for a in self.addresses:
            if a.index == index and a.family == AF_INET:
                return a
        return None


# Told when a namespace has got a stack: the kinds of sockets that may be there before it.
STACK_MADE: Final[list[Callable[[NetState], None]]] = []
NET: Final[NetState] = NetState(INIT_USER, 0xEFFFFFF9)
NET.set_loopback(True)
register_kind(NET, NetState)


def neighbours(net: NetState) -> list[tuple[int, NeighbourInfo]]:
    """Rows of ``ip neigh`` with the interface's index."""
    if net.stack is None:
        return []
    return [(i.index, n) for i in net.stack.interfaces for n in i.neighbours.dump()]


def packed(ip: str) -> bytes:
    """The reverse of ``text``. Raises OSError."""
    return socket.inet_pton(AF_INET6 if ":" in ip else AF_INET, ip)


def text(ip: bytes) -> str:
    """An address for people."""
    return socket.inet_ntop(AF_INET if len(ip) == 4 else AF_INET6, ip)
