"""UDP sockets (Linux: net/ipv4/udp.c as programs see it): datagrams within the sandbox, and through the stack's endpoint."""

from __future__ import annotations

import errno
import struct
import time
from typing import TYPE_CHECKING, Final, final

from ..abi.socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_UDPLITE,
    MSG_MORE,
    MSG_OOB,
    SHUT_RD,
    SHUT_WR,
    SO_BROADCAST,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    SOL_UDP,
    SOL_UDPLITE,
)
from ..errors import SysErr
from ..kernel.wait import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)
from . import ancillary, inet, notes, resolver, udplite
from .ancillary import Packet
from .ports import (
    V4,
    Addr,
    Ports,
    as_ipv6,
    is_any,
    is_multicast,
    is_v4,
    parse_sockaddr,
)
from .socket import Control, Received, Ucred
from .stack.ipoptions import received
from .state import STACK_MADE, NetState, mapped, unmapped
from .udp_inbox import MAX_SEGMENTS, UDP_GRO, UdpInbox

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from .siblings import Siblings
    from .stack.udp import UdpEndpoint

MAX_PAYLOAD: Final = 65507
LOOPBACK_BROADCAST: Final = V4 + b"\x7f\xff\xff\xff"
WAKE_ALL: Final = POLLIN | POLLRDNORM | POLLOUT | POLLHUP | POLLRDHUP | POLLERR
MAX_HEARD: Final = 1024
UDP_CORK: Final = 1
UDP_NO_CHECK6_TX: Final = 101
UDP_NO_CHECK6_RX: Final = 102
UDP_ENCAP: Final = 100
UDP_SEGMENT: Final = 103


@final
class Held:
    """A datagram that grows (MSG_MORE, UDP_CORK); where it goes was settled when it began."""

    __slots__ = ("addr", "data", "dst", "how")

    def __init__(self, data: bytes, addr: bytes | None, dst: Addr, how: ancillary.Outgoing) -> None:
        self.data = data
        self.addr = addr
        self.dst = dst
        self.how = how


@final
class UdpSocket(UdpInbox):
    """``far``: the stack's endpoint, once the socket has to do with something outside."""

    __slots__ = (
        "asked",
        "cork",
        "far",
        "heard",
        "held",
        "lite",
        "named",
    )

    def __init__(self, t: Task, domain: int, type: int, protocol: int) -> None:
        super().__init__(t, domain, type, protocol)
        self.lite = protocol == IPPROTO_UDPLITE
        self.far: UdpEndpoint | None = None
        self.named = False  # bound by bind(2), so others may know the port
        self.asked: Addr = self.local  # for which address and port
        self.cork = False
        self.held: Held | None = None
        self.heard: set[Addr] = set()  # with --egress: who has sent to us

    def ports(self) -> Ports:
        return self.net.ports(self.protocol)

    # The stack's side
    def bind(self, t: Task, addr: bytes) -> None:
        super().bind(t, addr)
        self.asked = self.local[0], parse_sockaddr(addr, self.domain)[1]
        self.named = True
        if self.net.stack is not None:
            self._open()
        others = self.others()
        if others is not None:
            others.claim(17, self.local)

    def others(self) -> Siblings | None:
        """Other sandboxes of the namespace, who share ports of UDP alone."""
        return None if self.lite else self.net.siblings

    def meet_stack(self) -> None:
        """The namespace has a stack from now on."""
        if self.named:
            self._open()

    def meet_rules(self) -> None:
        """What goes between sockets of the sandbox passes the stack from now on."""
        if self.local[1]:
            far = self._open()
            if self.remote[1]:
                far.connect((unmapped(self.remote[0]), self.remote[1]))

    def _open(self) -> UdpEndpoint:
        """The endpoint on our address and port. Raises ENODEV, ENETUNREACH."""
        if self.far is not None:
            return self.far
        stack = self.net.stack
        if stack is None:
            raise SysErr(errno.ENETUNREACH)
        ip, port = self.local
        address = b"" if ip == inet.ANY6 and not self.v6only else unmapped(ip)
        far = stack.udp_open(
            (address, port),
            self.interface(self.device),
            self.v6only,
            self.joined(),
            True,
            self.lite,
        )
        self.far = far
        far.owner = self.sender
        far.notify = self._from_stack
        far.options = self.ip_options
        far.headers = self.sticky()
        udplite.tell_far(self)
        for level, opt in list(self.opts):
            self.option_set(level, opt, self.opts[level, opt])
        return far

    def _close_far(self) -> None:
        far, self.far = self.far, None
        if far is not None:
            far.close()

    def _from_stack(self, events: int) -> None:
        far = self.far
        if far is None:
            return
        if events & POLLIN:
            while True:
                d = far.recv()
                if d is None:
                    break
                src = (mapped(d.src[0]), d.src[1])
                if d.ifindex == 1:
                    if self.net.siblings is not None:
                        self.net.siblings.hears(src)
                elif self.net.egress is not None:
                    self._hears(src, d.data)
                to = mapped(d.dst[0])
                p = Packet(d.data, src, to, d.ifindex, time.time_ns(), d.ttl, d.tos, d.options)
                p.hop, p.dest = d.hop, d.dest
                self.put(p)
        if events & POLLERR:
            self.err = far.take_error() or self.err
            self.queue.wake(POLLERR | (WAKE_ALL if self.err else 0))
        if events & POLLOUT:
            self.queue.wake(POLLOUT | POLLWRNORM)

    def _hears(self, src: Addr, data: bytes) -> None:
        """Who has sent to us is answered, whatever --egress says."""
        if self.net.egress is not None:
            self.net.egress.hears(src[0], src[1], data)
        if len(self.heard) >= MAX_HEARD:
            self.heard.clear()
        self.heard.add(src)

    def option_set(self, level: int, opt: int, value: int) -> None:
        super().option_set(level, opt, value)
        far = self.far
        if far is None:
            return
        if level == SOL_SOCKET:
            if opt == SO_BROADCAST:
                far.broadcast = value != 0
        elif level == SOL_IP or level == SOL_IPV6:
            self._ip_option(far, level, opt, value)

    def _ip_option(self, far: UdpEndpoint, level: int, opt: int, value: int) -> None:
        if (level, opt) in ((SOL_IP, inet.IP_TTL), (SOL_IPV6, inet.IPV6_UNICAST_HOPS)):
            far.ttl = value
        elif (level, opt) in ((SOL_IP, inet.IP_TOS), (SOL_IPV6, inet.IPV6_TCLASS)):
            far.tos = value
        elif (level, opt) in (
            (SOL_IP, inet.IP_MULTICAST_TTL),
            (SOL_IPV6, inet.IPV6_MULTICAST_HOPS),
        ):
            far.mcast_ttl = value
        elif (level, opt) in (
            (SOL_IP, inet.IP_MULTICAST_LOOP),
            (SOL_IPV6, inet.IPV6_MULTICAST_LOOP),
        ):
            far.mcast_loop = value != 0
        elif (level, opt) in ((SOL_IP, inet.IP_MTU_DISCOVER), (SOL_IPV6, inet.IPV6_MTU_DISCOVER)):
            far.pmtu_discover = value
        elif (level, opt) == (SOL_IP, inet.IP_RECVERR):
            far.recverr = value != 0
        elif (level, opt) == (SOL_IPV6, inet.IPV6_RECVERR):
            far.recverr6 = value != 0

    def ip_options_set(self) -> None:
        if self.far is not None:
            self.far.options = self.ip_options

    def headers_set(self) -> None:
        if self.far is not None:
            self.far.headers = self.sticky()

    def device_set(self) -> None:
        if self.far is not None:
            self.far.iface = self.interface(self.device)

    # Calls
    def connect(self, t: Task, addr: bytes) -> None:
        if len(addr) >= 2 and addr[:2] == b"\0\0":
            self._disconnect()
            return
        if self.domain != AF_INET and not self.v6only:
            addr = as_ipv6(addr)
        dst = self.destination(addr)
        self.check_scope(addr, dst[0])
        self.may_broadcast(dst[0])
        if self.net.is_local(dst[0]):
            self.autobind(t, self.net.source_for(dst[0]))
            if is_any(self.local[0]):
                self.local = (self.net.source_for(dst[0]), self.local[1])
            others = self.others()
            if self.net.filtered(dst[0]) or (
                others is not None and (others.shared or dst in others.heard)
            ):
                # Whoever answers may be another's.
                self._open().connect((unmapped(dst[0]), dst[1]))
            else:
                self._close_far()
        else:
            via = self.way(addr, dst[0])
            src = mapped(self.source(dst[0], via))
            self.autobind(t, self.any_ip())
            far = self._open()
            r = far.connect((unmapped(dst[0]), dst[1]))
            if r < 0:
                raise SysErr(-r)
            if is_any(self.local[0]):
                self.local = (src, self.local[1])
        self.remote = dst

    def _disconnect(self) -> None:
        """What the program has not asked for goes with the peer: the address, and a port that was any (Linux: __udp_disconnect)."""
        self.remote = (self.any_ip(), 0)
        ip, port = self.asked
        if port:
            self.local = (ip, port)
            if self.far is not None:
                self.far.connect((b"", 0))
            return
        others = self.others()
        if self.named and others is not None:
            others.disclaim(17, self.local)
        self.named = False
        self._close_far()
        self.ports().release(self)
        self.local = (ip, 0)

    def shutdown(self, t: Task, how: int) -> None:
        self.shut |= how  # Linux notes it also where it answers ENOTCONN
        self.queue.wake(WAKE_ALL)
        if not self.remote[1]:
            raise SysErr(errno.ENOTCONN)

    def max_send(self) -> int:
        return MAX_PAYLOAD

    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        return self.send_with(t, data, addr, flags, [])

    def send_with(
        self, t: Task, data: bytes, addr: bytes | None, flags: int, control: list[Control]
    ) -> int:
        if len(data) > MAX_PAYLOAD:
            return -errno.EMSGSIZE
        if flags & MSG_OOB and self.domain == AF_INET:  # IPv6 does not look
            return -errno.EOPNOTSUPP
        if self.held is not None:
            return self._grow(t, self.held, data, flags)
        if addr is not None:
            if self.domain != AF_INET and not self.v6only:
                addr = as_ipv6(addr)
            if self.domain != AF_INET and addr[:2] != AF_INET6.to_bytes(2, "little"):
                return -errno.EINVAL
            dst = self.destination(addr)
            if dst[1] == 0:
                return -errno.EINVAL
        else:
            dst = self.remote
            if not dst[1]:
                return -errno.EDESTADDRREQ
        if self.err:
            return -self.take_error()
        if self.shut & SHUT_WR:
            return self.broken_pipe(t, flags)
        how = (
            ancillary.outgoing(self.net, control, self.permitted(t)) if control else ancillary.PLAIN
        )
        self.autobind(t, self.any_ip())
        size = how.segment if how.segment >= 0 else self.opts.get((SOL_UDP, UDP_SEGMENT), 0)
        if size and self.lite:
            return -errno.EIO
        if size and len(data) > size:
            return self._send_segments(t, data, addr, dst, flags, how, size)
        if flags & MSG_MORE or self.cork:
            self.held = Held(data, addr, dst, how)
            return len(data)
        return self._send_now(t, data, addr, dst, flags, how)

    def _send_segments(
        self, t: Task, data: bytes, addr: bytes | None, dst: Addr, flags: int, how: ancillary.Outgoing, size: int
    ) -> int:  # fmt: skip
        """UDP_SEGMENT: datagrams of ``size`` bytes, the last may be shorter; none is cut further (Linux: udp_send_skb)."""
        head = 28 if is_v4(dst[0]) else 48
        mtu = 65536
        if not self.net.is_local(dst[0]):
            via = self.interface(how.iface) if how.iface else self.way(addr, dst[0])
            stack = self.net.stack
            route = stack.routes.lookup(unmapped(dst[0]), via) if stack is not None else None
            if route is not None and route.iface is not None:
                mtu = route.mtu or route.iface.link.mtu
        if len(data) > size * MAX_SEGMENTS:
            return -errno.EINVAL
        if size + head > mtu:
            return -errno.EMSGSIZE
        for at in range(0, len(data), size):
            r = self._send_now(t, data[at : at + size], addr, dst, flags, how)
            if r < 0:
                return at or r
        return len(data)

    def _grow(self, t: Task, h: Held, data: bytes, flags: int) -> int:
        """One more piece of ``held``, and the whole on its way when it is the last."""
        if len(h.data) + len(data) > MAX_PAYLOAD:
            self.held = None
            return -errno.EMSGSIZE
        h.data += data
        if flags & MSG_MORE or self.cork:
            return len(data)
        self.held = None
        r = self._send_now(t, h.data, h.addr, h.dst, flags, h.how)
        return len(data) if r >= 0 else r

    def _send_now(
        self, t: Task, data: bytes, addr: bytes | None, dst: Addr, flags: int, how: ancillary.Outgoing
    ) -> int:  # fmt: skip
        if self._on_loopback(addr, dst[0], how):
            self._to_many(data, dst)
            return len(data)
        if not self.net.is_local(dst[0]):
            return self._send_far(t, data, addr, dst, flags, how)
        if dst[0] == LOOPBACK_BROADCAST:
            if not self.opts.get((SOL_SOCKET, SO_BROADCAST)):
                return -errno.EACCES
            self._to_many(data, dst)
            return len(data)
        if self.net.filtered(dst[0]):
            return self._send_inside(data, dst, how)
        src = how.source or (
            self.local[0] if not is_any(self.local[0]) else self.net.source_for(dst[0])
        )
        self._deliver(data, (src, self.local[1]), dst, how)
        return len(data)

    def _marks(self, dst: bytes, how: ancillary.Outgoing) -> tuple[int, int]:
        """TTL or hop limit, and TOS or traffic class, of what is sent within the sandbox."""
        if not self.opts and how is ancillary.PLAIN:
            return 64, 0
        if is_v4(dst):
            ttl, tos = self.value(SOL_IP, inet.IP_TTL), self.value(SOL_IP, inet.IP_TOS)
        else:
            ttl, tos = (
                self.value(SOL_IPV6, inet.IPV6_UNICAST_HOPS),
                self.value(SOL_IPV6, inet.IPV6_TCLASS),
            )
        return how.ttl if how.ttl >= 0 else ttl, how.tos if how.tos >= 0 else tos

    def _on_loopback(self, addr: bytes | None, ip: bytes, how: ancillary.Outgoing) -> bool:
        """Whether a datagram to a group goes by loopback."""
        return is_multicast(ip) and (how.iface or self.way_index(addr, ip)) == 1

    def _to_many(self, data: bytes, dst: Addr) -> None:
        """To all who listen on loopback: to a group, or to everybody."""
        group = unmapped(dst[0]) if is_multicast(dst[0]) else b""
        ip = self.local[0] if not is_any(self.local[0]) else self.net.source_for(dst[0])
        if group and (
            group not in self.net.groups or not self.net.groups[group].state.lets(unmapped(ip))
        ):
            return
        when = time.time_ns()
        for o in self.ports().lookup(*dst):
            if isinstance(o, UdpSocket) and o.remote[1] in (0, self.local[1]):
                if self.lite and not udplite.passes(self, o, len(data)):
                    continue
                if not group or o.joined().hears(1, group, unmapped(ip)):
                    o.put(Packet(data, (ip, self.local[1]), dst[0], 1, when, 64, 0))

    def _send_far(
        self,
        t: Task,
        data: bytes,
        addr: bytes | None,
        dst: Addr,
        flags: int,
        how: ancillary.Outgoing,
    ) -> int:
        if dst not in self.heard:
            self.may_send("udp", dst, data)
        if _loopback(self.local[0]):
            return -errno.EINVAL
        far = self._open()
        via = self.interface(how.iface) if how.iface else self.way(addr, dst[0])
        return far.send_to(
            data, (unmapped(dst[0]), dst[1]), unmapped(how.source) if how.source else b"", via, how.ttl, how.tos, how.options, how.headers,
        )  # fmt: skip

    def _send_inside(self, data: bytes, dst: Addr, how: ancillary.Outgoing) -> int:
        """To an own address, by way of the rules."""
        if (
            dst == resolver.ADDRESS
            and self.net.resolver is not None
            and not self.ports().lookup(*dst)
        ):
            self._deliver(data, (self.net.source_for(dst[0]), self.local[1]), dst, how)
            return len(data)
        src = unmapped(how.source) if how.source else b""
        return self._open().send_to(
            data, (unmapped(dst[0]), dst[1]), src, None, how.ttl, how.tos, how.options, how.headers
        )

    def _deliver(self, data: bytes, src: Addr, dst: Addr, how: ancillary.Outgoing) -> None:
        best: UdpSocket | None = None
        equals: list[UdpSocket] = []
        for o in self.ports().lookup(*dst):
            if not isinstance(o, UdpSocket):
                continue
            if o.remote[1]:
                if o.remote == src:
                    best = o
                    break
            elif not equals or o.local == equals[0].local:
                equals.append(o)
        if best is None and equals:
            n = len(equals)
            best = equals[self.ports().pick(dst[1], data, n, hash(src)) if n > 1 else 0]
        if best is not None:
            if self.lite and not udplite.passes(self, best, len(data)):
                return
            p = Packet(data, src, dst[0], 1, time.time_ns(), *self._marks(dst[0], how))
            options = how.options or self.ip_options
            if options is not None and is_v4(dst[0]):
                p.options = received(options.build(unmapped(src[0])), unmapped(dst[0]))
            elif self.headers or how.headers is not None:
                linked = (how.headers or self.sticky()).chain(self.protocol)
                p.hop, p.dest = linked.hop, linked.destination
            best.put(p)
            return
        others = self.others()
        if others is not None and others.knows(dst):
            self._open().send_to(data, (unmapped(dst[0]), dst[1]), unmapped(src[0]))
            return
        if dst == resolver.ADDRESS and self.net.resolver is not None and not self.lite:
            self.may_send("udp", dst, data)
            if self.net.resolver.query(data, self._answer):
                return
        if self.remote[1]:  # ICMP port unreachable reaches only connected sockets
            self.err = errno.ECONNREFUSED
            self.queue.wake(WAKE_ALL)

    def _answer(self, data: bytes) -> None:
        if self.net.egress is not None:
            self.net.egress.hears(*resolver.ADDRESS, data)
        self.put(Packet(data, resolver.ADDRESS, self.local[0], 1, time.time_ns(), 64, 0))

    def recv_error(self, t: Task, size: int) -> Received | int:
        e = self.far.recv_error() if self.far is not None else None
        if e is None or self.far is None:
            return notes.take(self)
        self.err = self.far.take_error()  # of the next one
        return ancillary.error_message(e, size, self.domain)

    def poll(self, t: Task | None) -> int:
        mask = POLLOUT | POLLWRNORM | POLLWRBAND
        if self.err or self.noted() or (self.far is not None and self.far.events() & POLLERR):
            mask |= POLLERR
        if self.rx:
            mask |= POLLIN | POLLRDNORM
        if self.shut & SHUT_RD:
            mask |= POLLIN | POLLRDNORM | POLLRDHUP
        if self.shut == SHUT_RD | SHUT_WR:
            mask |= POLLHUP
        return mask

    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if level in (SOL_UDP, SOL_UDPLITE):
            if opt in udplite.OPTIONS:
                return struct.pack("<i", udplite.value(self, opt))
            if opt == UDP_CORK:
                return struct.pack("<i", int(self.cork))
            if opt in (UDP_ENCAP, UDP_SEGMENT, UDP_GRO, UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX):
                return struct.pack("<i", self.opts.get((SOL_UDP, opt), 0))
            raise SysErr(errno.ENOPROTOOPT)
        return super().getsockopt(t, level, opt)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level in (SOL_UDP, SOL_UDPLITE):
            if len(data) < 4:
                raise SysErr(errno.EINVAL)
            if opt != UDP_CORK:
                self._udp_option(opt, struct.unpack_from("<i", data)[0])
                return
            self.cork = data[:4] != bytes(4)
            h = self.held
            if h is not None and not self.cork:
                self.held = None
                self._send_now(t, h.data, h.addr, h.dst, 0, h.how)
            return
        super().setsockopt(t, level, opt, data)

    def _udp_option(self, opt: int, value: int) -> None:
        if opt in udplite.OPTIONS:
            udplite.set_option(self, opt, value)
            return
        if opt == UDP_SEGMENT:
            if not 0 <= value <= 0xFFFF:
                raise SysErr(errno.EINVAL)
        elif opt in (UDP_GRO, UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX):
            value = int(value != 0)
        elif opt != UDP_ENCAP or value:  # no IPsec, no L2TP
            raise SysErr(errno.ENOPROTOOPT)
        self.opts[SOL_UDP, opt] = value

    def release(self) -> None:
        self.gone = True
        self._close_far()
        self.leave_groups()
        others = self.others()
        if self.named and others is not None:
            others.disclaim(17, self.local)
        self.ports().release(self)
        self.rx.clear()
        self.queue.wake(WAKE_ALL)


def _loopback(ip: bytes) -> bool:
    """Whether only the sandbox itself is reached from it."""
    return (is_v4(ip) and ip[12] == 127) or ip == inet.LO6


def sockets(net: NetState, lite: bool = False) -> list[UdpSocket]:
    """All bound ones, for /proc/net/udp or udplite."""
    bound = (net.udplite if lite else net.udp).bound
    return [s for here in bound.values() for s in here if isinstance(s, UdpSocket)]


def _stack_made(net: NetState) -> None:
    for s in sockets(net) + sockets(net, True):
        s.meet_stack()


STACK_MADE.append(_stack_made)
