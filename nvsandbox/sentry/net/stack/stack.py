"""The stack: interfaces, routes, endpoints, timers."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ...errors import SysErr
from . import arp, forward, icmp, ipv4, ipv6, ndp, udp
from .counters import Counters
from .fanout import Fanout
from .fragments import Fragments, Key
from .interface import Address, Interface
from .ip import is_any, is_loopback, is_multicast, solicited_node
from .multicast import join, leave, receive_igmp
from .output import find_path, learn_mtu
from .packet import Packet
from .ports import free_port
from .raw import PacketEndpoint, RawEndpoint
from .routes import Route, Routes
from .shared import Others
from .tcp.table import TcpTable
from .timers import Timers
from .udp import UdpEndpoint

if TYPE_CHECKING:
    from ..netfilter.hooks import Netfilter
    from .link import Link, Offload
    from .members import Members
    from .tcp.connection import Addr, TcpConnection
    from .tcp.listener import TcpListener

IDENTS: Final = 256


def _by_hash(protocol: int, port: int, data: bytes, count: int, spread: int) -> int:
    return spread % count


def _let(iface: Interface, proto: int, dst: bytes, l4: bytes) -> bool:
    return True


def _ignore_error(e: Exception) -> None:
    pass


@final
class Stack:
    """``now``: monotonic ns. ``random``: n random bytes. ``on_error``: told of an exception that handling a frame or a
    timer raised (a bug of ours, also counted). ``choose``: asked (protocol, port, payload, how many, a hash) which of several endpoints
    of a port gets a packet.

    ``nf``: the rules that packets pass, None: there are none. ``loop``: once there have been some, where packets from and to own
    addresses go. ``forward4``, ``forward6``: packets for others are passed on. ``allowed``: asked (interface, protocol, destination, transport
    header and payload) about packets that no socket sends to this destination; ``outside``: whether an interface leads there where that counts.

    ``own``: addresses of all interfaces and how many have each. ``pmtu``: what routers said, by destination, with when
    it ends. ``lo``: leads to other stacks with the same addresses (``siblings.py``), which ``others`` knows. ``notify`` callbacks of
    endpoints are called from within ``receive``, ``run_timers`` and the endpoints' methods; they may call endpoints.
    """

    __slots__ = (
        "allowed", "choose", "counters", "fanouts", "forward4", "forward6", "fragments", "icmp_limit", "idents", "interfaces", "lo", "loop", "nf", "now",
        "on_error", "others", "outside", "own", "packets", "pmtu",
        "random", "raws", "route_localnet", "routes", "secret", "tcp", "timers", "udp_ports",
    )  # fmt: skip

    def __init__(self, now: Callable[[], int], random: Callable[[int], bytes]) -> None:
        self.now = now
        self.random = random
        self.on_error: Callable[[Exception], None] = _ignore_error
        self.choose: Callable[[int, int, bytes, int, int], int] = _by_hash
        self.allowed: Callable[[Interface, int, bytes, bytes], bool] = _let
        self.outside: Callable[[Interface], bool] | None = None
        self.nf: Netfilter | None = None
        self.forward4 = self.forward6 = self.route_localnet = False
        self.lo: Interface | None = None
        self.loop: Interface | None = None
        self.others: Others | None = None
        self.interfaces: list[Interface] = []
        self.own: dict[bytes, int] = {}
        self.routes = Routes()
        self.pmtu: dict[bytes, tuple[int, int]] = {}
        self.counters = Counters()
        self.timers = Timers()
        self.fragments = Fragments(self)
        self.icmp_limit = icmp.RateLimit()
        self.secret = random(16)
        seed = random(2 * IDENTS)
        self.idents = [seed[i] << 8 | seed[i + IDENTS] for i in range(IDENTS)]
        self.tcp = TcpTable(self)
        self.udp_ports: dict[int, list[UdpEndpoint]] = {}
        self.raws: dict[tuple[int, int], list[RawEndpoint]] = {}
        self.packets: list[PacketEndpoint] = []
        self.fanouts: dict[int, Fanout] = {}

    # Interfaces and addresses
    def add_interface(self, name: str, index: int, link: Link) -> Interface:
        """Adds an interface, up and without addresses. ``index``: its number, unique."""
        iface = Interface(self, name, index, link)
        self.interfaces.append(iface)
        return iface

    def remove_interface(self, iface: Interface) -> None:
        """Its addresses, routes and neighbours go with it; connections over it end when they time out."""
        self.set_up(iface, False)
        for a in list(iface.addresses):
            self.remove_address(iface, a.ip)
        for r in self.routes.dump():
            if r.iface is iface:
                self.routes.remove(r)
        for report in iface.reports.values():
            self.timers.free(report.timer)
        iface.reports.clear()
        iface.neighbours.clear()
        if iface in self.interfaces:
            self.interfaces.remove(iface)

    def interface(self, index: int) -> Interface | None:
        return next((i for i in self.interfaces if i.index == index), None)

    def set_up(self, iface: Interface, up: bool) -> None:
        """Down: nothing is sent or taken."""
        iface.up = up
        self.routes.changed()

    def add_address(
        self, iface: Interface, ip: bytes, prefixlen: int, announce: bool = True
    ) -> bool:
        """Adds an address and the route of its prefix; False: it is there already."""
        if any(a.ip == ip for a in iface.addresses):
            return False
        a = Address(ip, prefixlen)
        iface.addresses.append(a)
        self.own[ip] = self.own.get(ip, 0) + 1
        v4 = len(ip) == 4
        if prefixlen < len(ip) * 8:
            prefsrc = ip if v4 else b""
            metric = 0 if v4 else 256
            self.routes.add(
                Route(a.network, prefixlen, iface, b"", metric, prefsrc, scope=253, protocol=2)
            )
        self.routes.changed()
        if not v4:
            join(self, iface, solicited_node(ip), ip)
        if announce and iface.up and iface.link.mac:
            if v4:
                arp.announce(self, iface, ip)
            else:
                ndp.announce(self, iface, ip)
        return True

    def remove_address(self, iface: Interface, ip: bytes) -> bool:
        """Removes it and its prefix's route; False: it is not there."""
        a = next((a for a in iface.addresses if a.ip == ip), None)
        if a is None:
            return False
        iface.addresses.remove(a)
        self.own[ip] -= 1
        if not self.own[ip]:
            del self.own[ip]
        for r in self.routes.dump():
            mine = r.iface is iface and r.protocol == 2 and not r.gateway
            if mine and r.dst == a.network and r.prefixlen == a.prefixlen:
                if not any(
                    o.network == a.network and o.prefixlen == a.prefixlen for o in iface.addresses
                ):
                    self.routes.remove(r)
        if len(ip) == 16:
            leave(self, iface, solicited_node(ip), ip)
        self.routes.changed()
        return True

    def answers(self, iface: Interface) -> bool:
        """Whether we are who answers for all stacks that have these addresses."""
        return iface is not self.lo and (self.others is None or self.others.leads())

    def refuses(self, iface: Interface | None, proto: int, ip: bytes, port: int) -> bool:
        """Whether it is on us to say that nobody is at a port."""
        if iface is not None and iface is self.lo:
            return False
        return self.others is None or self.others.refuses(proto, ip, port)

    def is_own(self, ip: bytes) -> bool:
        """Whether an interface has this address (loopback not among them)."""
        return ip in self.own

    def any_address(self, family: int) -> bytes:
        """An address of any interface, not link-local; ``b""``: there is none."""
        for i in self.interfaces:
            for a in i.addresses:
                if len(a.ip) == family and (family == 4 or a.ip[0] != 0xFE):
                    return a.ip
        return b""

    def source_for(self, dst: bytes, iface: Interface | None = None) -> bytes:
        """The source address towards ``dst``; ``b""``: no route."""
        path = find_path(self, dst, iface)
        return b"" if isinstance(path, int) else path.src

    def set_on_timer(self, on_timer: Callable[[int], None]) -> None:
        """``on_timer`` is told of each deadline that is earlier than all others."""
        self.timers.on_timer = on_timer

    # The wire and the clock
    def receive(self, iface: Interface, frame: bytes, csum_ok: bool, gso_size: int) -> None:
        """A frame has come. ``csum_ok``: the transport's checksum is known to be good (or still partial, from the same
        host); ``gso_size``: payload bytes per packet when the host has merged several, else 0. Never raises."""
        try:
            self._receive(iface, frame, csum_ok, gso_size)
        except Exception as e:
            self.counters.errors += 1
            self.on_error(e)

    def begin_batch(self) -> None:
        """Frames that have come together follow; ``end_batch`` answers what can be answered together."""
        self.tcp.begin_batch()

    def end_batch(self) -> None:
        """Never raises."""
        try:
            self.tcp.end_batch()
        except Exception as e:
            self.counters.errors += 1
            self.on_error(e)

    def _receive(self, iface: Interface, frame: bytes, csum_ok: bool, gso_size: int) -> None:
        if not iface.up:
            return
        iface.rx_packets += 1
        iface.rx_bytes += len(frame)
        mac = iface.link.mac
        if not mac:
            if self.packets and frame:
                self._tap(iface, frame, False, csum_ok)
            if frame[:1] >= b"\x60":
                ipv6.receive(self, iface, frame, 0, csum_ok, gso_size)
            else:
                ipv4.receive(self, iface, frame, 0, csum_ok, gso_size)
            return
        if len(frame) < 14:
            iface.rx_dropped += 1
            return
        if self.packets:
            self._tap(iface, frame, False, csum_ok)
        if not frame[0] & 1 and frame[:6] != mac:
            return
        kind = frame[12] << 8 | frame[13]
        if kind == 0x0800:
            ipv4.receive(self, iface, frame, 14, csum_ok, gso_size)
        elif kind == 0x86DD:
            ipv6.receive(self, iface, frame, 14, csum_ok, gso_size)
        elif kind == 0x0806:
            arp.receive(self, iface, frame, 14)
        else:
            iface.rx_dropped += 1

    def _tap(self, iface: Interface, frame: bytes, outgoing: bool, unfinished: bool) -> None:
        """``unfinished``: the transport's checksum may be still to be filled in."""
        for e in list(self.packets):
            e.take(iface, frame, outgoing, unfinished)

    def transmit(self, iface: Interface, parts: list[bytes], offload: Offload | None) -> bool:
        """A whole frame goes to the link; False: dropped."""
        if not iface.up:
            return False
        if self.packets:
            self._tap(iface, b"".join(parts), True, offload is not None and offload.csum_start >= 0)
        if not iface.link.send(parts, offload):
            iface.tx_dropped += 1
            return False
        iface.tx_packets += 1
        for p in parts:
            iface.tx_bytes += len(p)
        return True

    def arrive(self, p: Packet) -> None:
        """A whole packet that rules may be about, or that is for somebody else."""
        if self.nf is not None:
            self.nf.arrived(p)
        else:
            forward.forward(self, p, None)

    def deliver(self, p: Packet) -> None:
        """A whole packet goes to whoever wants it."""
        v4 = len(p.src) == 4
        mib = self.counters.ip if v4 else self.counters.ip6
        proto = p.proto
        if proto == 6:
            mib.InDelivers += 1
            if self.raws:
                self._raw(p)
            self.tcp.receive(p)
            return
        taken = self._raw(p) if self.raws else False
        if proto == 17 or proto == 136:
            mib.InDelivers += 1
            if not udp.receive(self, p):
                icmp.unreachable_port(self, p)
        elif proto == 1 and v4:
            mib.InDelivers += 1
            icmp.receive(self, p)
        elif proto == 58 and not v4:
            mib.InDelivers += 1
            icmp.receive6(self, p)
        elif proto == 2 and v4:
            mib.InDelivers += 1
            receive_igmp(self, p)
        elif taken:
            mib.InDelivers += 1
        else:
            mib.InUnknownProtos += 1
            icmp.unreachable_protocol(self, p)

    def _raw(self, p: Packet) -> bool:
        taken = False
        for e in list(self.raws.get((len(p.src), p.proto), ())):
            if e.wants(p):
                e.take(p)
                taken = True
        return taken

    def icmp_error(self, e: icmp.IcmpError) -> None:
        """An error about a packet that claims to be ours goes to the endpoint that can tell whether it is."""
        if e.src not in self.own and not is_loopback(e.src):
            return
        for r in list(self.raws.get((len(e.src), e.proto), ())):
            if r.remote in (b"", bytes(len(e.dst)), e.dst) and (
                is_any(r.local) or r.local == e.src
            ):
                r.icmp(e)
        if e.proto == 6:
            self.tcp.icmp_error(e)
        elif e.proto == 17 or e.proto == 136:
            sport = e.inner[0] << 8 | e.inner[1]
            dport = e.inner[2] << 8 | e.inner[3]
            for iface in (
                [*self.interfaces, self.loop] if self.loop is not None else self.interfaces
            ):
                found = self.udp_receivers(iface, e.dst, dport, e.src, sport, e.proto == 136)
                if found:
                    if e.mtu:
                        learn_mtu(self, e.dst, e.mtu)
                    found[0].icmp(e, dport)
                    return
        elif e.mtu and self.raws.get((len(e.src), e.proto)):
            learn_mtu(self, e.dst, e.mtu)

    def undeliverable(self, iface: Interface, parts: list[bytes]) -> None:
        """A packet's next hop did not answer: its endpoint is told as if by a router."""
        data = b"".join(parts[:2])
        v4 = data[0] >> 4 == 4
        body = data[(data[0] & 15) * 4 :] if v4 else data[40:]
        if len(body) < 8 or (v4 and (data[6] & 0x1F or data[7])):
            return
        src, dst = (data[12:16], data[16:20]) if v4 else (data[8:24], data[24:40])
        kind, code = (3, 1) if v4 else (1, 3)
        proto = data[9] if v4 else data[6]
        self.icmp_error(
            icmp.IcmpError(v4, kind, code, errno.EHOSTUNREACH, False, 0, src, src, dst, proto, body)
        )

    def fragment_timeout(self, key: Key, first: bytes) -> None:
        """Time exceeded during reassembly (RFC 792, RFC 4443 section 3.3). ``first``: header of fragment 0 and 8 bytes."""
        iface = self.interface(key[4])
        if iface is None:
            return
        v4 = len(key[0]) == 4
        head = (first[0] & 15) * 4 if v4 else 40
        local = key[1] in self.own
        proto = first[9] if v4 else first[6]
        p = Packet(iface, first, 0, head, len(first), key[0], key[1], proto, 0, 0, local, True, 0)
        icmp.send_error(self, p, 11 if v4 else 3, 1)

    def next_timer(self) -> int | None:
        """When ``run_timers`` has something to do, absolute ns."""
        return self.timers.next()

    def run_timers(self) -> None:
        """Does what is due. Never raises."""
        for _ in range(1000):
            try:
                self.timers.run(self.now())
                return
            except Exception as e:
                self.counters.errors += 1
                self.on_error(e)

    def ident(self, dst: bytes) -> int:
        """An identification for a packet to ``dst`` (RFC 6864): a counter shared by few destinations."""
        i = hash(dst) % IDENTS
        self.idents[i] = (self.idents[i] + 1) & 0xFFFF
        return self.idents[i]

    # Endpoints
    def tcp_connect(
        self, local: Addr, remote: Addr, iface: Interface | None = None,
        setup: Callable[[TcpConnection], None] | None = None,
    ) -> TcpConnection:  # fmt: skip
        """Sends the SYN. ``local``: ip ``b""`` or zeroes: by route; port 0: any free one. ``setup`` sets options before
        the SYN is built. Raises SysErr: ENETUNREACH, EADDRNOTAVAIL (four-tuple taken, no port free), EINVAL."""
        return self.tcp.connect(local, remote, iface, setup)

    def tcp_listen(
        self, local: Addr, backlog: int, family: int, v6only: bool = False, iface: Interface | None = None,
    ) -> TcpListener:  # fmt: skip
        """Listens. ``local`` all zeroes: any address; of IPv6 (``family`` 16) and not ``v6only``: IPv4's too.

        Several listeners on one address share its connections by hash (SO_REUSEPORT): who may is the caller's to say.
        """
        return self.tcp.listen(local, backlog, family, v6only, iface)

    def tcp_connections(self) -> list[TcpConnection]:
        """For /proc/net/tcp and ``ss``; TIME_WAIT ones are in ``tcp.time_waits()``."""
        return self.tcp.connections()

    def udp_open(
        self, local: Addr, iface: Interface | None = None, v6only: bool = False, members: Members | None = None,
        checked: bool = False, lite: bool = False,
    ) -> UdpEndpoint:  # fmt: skip
        """An endpoint on a local address (``b""``: both families, 4 or 16 zeroes: any) and port (0: any free one). ``members``: what
        its socket has joined. ``checked``: the address may be bound to, whosever it is.

        Raises SysErr: EADDRNOTAVAIL, EADDRINUSE (no port free).
        """
        ip, port = local
        if not checked and not (
            is_any(ip) or ip in self.own or is_multicast(ip) or is_loopback(ip)
        ):
            raise SysErr(errno.EADDRNOTAVAIL)
        if port == 0:
            port = free_port(self.random, self.udp_ports)
            if not port:
                raise SysErr(errno.EADDRINUSE)
        e = UdpEndpoint(self, (ip, port), iface, v6only, members, lite)
        self.udp_ports.setdefault(udp.slot(port, lite), []).append(e)
        return e

    def udp_forget(self, e: UdpEndpoint) -> None:
        key = udp.slot(e.local[1], e.lite)
        here = self.udp_ports.get(key)
        if here is not None and e in here:
            here.remove(e)
            if not here:
                del self.udp_ports[key]

    def udp_receivers(
        self, iface: Interface, src: bytes, sport: int, dst: bytes, dport: int, lite: bool = False
    ) -> list[UdpEndpoint]:
        """Who gets a datagram: to many: all that match, to one: the best matches, of which one is to be picked."""
        here = self.udp_ports.get(udp.slot(dport, lite))
        if here is None:
            return []
        if is_multicast(dst):
            found = [e for e in here if udp.score(e, iface, src, sport, dst) >= 0]
            return [e for e in found if e.members.hears(iface.index, dst, src)]
        if len(dst) == 4 and iface.is_broadcast(dst):
            return [e for e in here if udp.score(e, iface, src, sport, dst) >= 0]
        best: list[UdpEndpoint] = []
        most = -1
        for e in here:
            s = udp.score(e, iface, src, sport, dst)
            if s > most:
                best, most = [e], s
            elif s == most and s >= 0:
                best.append(e)
        return best

    def raw_open(self, family: int, protocol: int) -> RawEndpoint:
        """``family``: 4 or 16, the addresses' length."""
        e = RawEndpoint(self, family, protocol)
        self.raws.setdefault((family, protocol), []).append(e)
        return e

    def raw_forget(self, e: RawEndpoint) -> None:
        here = self.raws.get((e.family, e.protocol))
        if here is not None and e in here:
            here.remove(e)
            if not here:
                del self.raws[(e.family, e.protocol)]

    def packet_open(
        self, protocol: int, cooked: bool, iface: Interface | None = None
    ) -> PacketEndpoint:
        """Frames of one interface or all."""
        e = PacketEndpoint(self, protocol, cooked, iface)
        self.packets.append(e)
        return e

    def packet_forget(self, e: PacketEndpoint) -> None:
        if e in self.packets:
            self.packets.remove(e)
