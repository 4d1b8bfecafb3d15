"""Raw and ping sockets (Linux: net/ipv4/raw.c, net/ipv6/raw.c, net/ipv4/ping.c; raw(7), icmp(7)).

Echo requests to the sandbox's own addresses are answered here; everything else to them reaches raw sockets only.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from ..abi.socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SHUT_RD,
    SO_BROADCAST,
    SO_REUSEADDR,
    SOCK_DGRAM,
    SOCK_RAW,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
)
from ..errors import SysErr
from ..kernel.cbpf import run
from ..kernel.wait import POLLERR, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from . import ancillary, inet, options
from .ancillary import Packet
from .filter import View
from .inet import InetSocket
from .ports import is_any, is_multicast, is_v4, make_sockaddr, parse_sockaddr
from .socket import Control, Received, Ucred
from .stack.ip6headers import NONE, Headers
from .stack.ipoptions import IpOptions, received
from .stack.ipoptions import answer as recorded
from .state import NetState, mapped, unmapped

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from .stack.raw import RawEndpoint

IPPROTO_ICMPV6: Final = 58
IPPROTO_RAW: Final = 255
IP_HDRINCL: Final = 3
SOL_RAW: Final = 255
SOL_ICMPV6: Final = 58
FILTER: Final = 1  # ICMP_FILTER and ICMPV6_FILTER
IPV6_CHECKSUM: Final = 7
MAX_PAYLOAD: Final = 65507
OVERHEAD: Final = 768
ECHO4: Final = (8, 0)  # request, reply
ECHO6: Final = (128, 129)
ALL: Final[dict[RawSocket, None]] = {}


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


class RawSocket(InetSocket):
    """SOCK_RAW, or with ``ident`` set a ping socket: SOCK_DGRAM of ICMP, whose requests all have that identifier."""

    __slots__ = ("far", "filter", "ident", "rx", "rx_cost")

    def __init__(self, t: Task, domain: int, type: int, protocol: int) -> None:
        super().__init__(t, domain, type, protocol)
        self.rx: deque[Packet] = deque()
        self.rx_cost = 0
        self.filter = 0  # types not wanted, a bit each
        self.ident = 0
        self.far: RawEndpoint | None = None
        self.meet_stack()
        ALL[self] = None

    def meet_stack(self) -> None:
        """The namespace has a stack, or may have one from now on."""
        if self.far is None and self.net.stack is not None:
            self.far = self.net.stack.raw_open(4 if self.domain == AF_INET else 16, self.protocol)
            self.far.notify = self._from_stack
            self.far.owner = self.sender
            self.far.options = self.ip_options
            self.far.headers = self.sticky()
            if (SOL_IP, IP_HDRINCL) in self.opts:
                self.far.hdrincl = bool(self.opts[SOL_IP, IP_HDRINCL])
            for (level, opt), value in list(self.opts.items()):
                self.option_set(level, opt, value)

    def ip_options_set(self) -> None:
        if self.far is not None:
            self.far.options = self.ip_options

    def headers_set(self) -> None:
        if self.far is not None:
            self.far.headers = self.sticky()

    def _ping(self) -> bool:
        return self.type == SOCK_DGRAM

    def _from_stack(self, events: int) -> None:
        far = self.far
        if far is None:
            return
        while events & POLLIN:
            d = far.recv()
            if d is None:
                break
            src = (mapped(d.src[0]), 0)
            to = mapped(d.dst[0])
            p = Packet(d.data, src, to, d.ifindex, time.time_ns(), d.ttl, d.tos, d.options)
            p.hop, p.dest = d.hop, d.dest
            self.put(p)
        if events & POLLERR:
            self.err = far.take_error() or self.err
            self.queue.wake(POLLERR)
        if events & POLLOUT:
            self.queue.wake(POLLOUT | POLLWRNORM)

    def put(self, p: Packet) -> None:
        """A packet (IPv4: with its header) for us, unless it is filtered."""
        if self.remote[0] != self.any_ip() and p.src[0] != self.remote[0]:
            return
        if not is_any(self.local[0]) and p.dst != self.local[0]:
            return
        if is_multicast(p.dst) and not self.joined().hears(
            p.index, unmapped(p.dst), unmapped(p.src[0])
        ):
            return
        if self.protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6):
            at = (p.data[0] & 15) * 4 if self.domain == AF_INET and p.data else 0
            if len(p.data) < at + 8 or self.filter >> p.data[at] & 1:
                return
            if self._ping():
                reply = (ECHO4 if self.domain == AF_INET else ECHO6)[1]
                if p.data[at] != reply or p.data[at + 4 : at + 6] != self.ident.to_bytes(2, "big"):
                    return
                p.data = p.data[at:]
        if self.bpf is not None:
            n = run(
                self.bpf, View(p.data, 0, 0x0800 if self.domain == AF_INET else 0x86DD, 0, p.index)
            )
            if not n:
                return
            p.data = p.data[:n]
        cost = len(p.data) + OVERHEAD
        if self.rx_cost + cost > self.rcvbuf or self.shut & SHUT_RD:
            return
        self.rx.append(p)
        self.rx_cost += cost
        self.queue.wake(POLLIN | POLLRDNORM)

    # Names
    def bind(self, t: Task, addr: bytes) -> None:
        if self.domain == AF_INET and self.type == SOCK_RAW and len(addr) >= 16:
            addr = AF_INET.to_bytes(2, "little") + addr[2:]  # no family is asked for
        elif self.domain == AF_INET6 and addr[:2] != AF_INET6.to_bytes(2, "little"):
            raise SysErr(errno.EINVAL)
        ip, port = parse_sockaddr(addr, self.domain)
        if not is_any(ip) and not self.net.is_local(ip) and not self._may_bind(ip):
            raise SysErr(errno.EADDRNOTAVAIL)
        self.local = (ip, 0)
        if self._ping():
            self._identify(port)

    def _identify(self, wanted: int) -> None:
        taken = {s.ident for s in ALL if s is not self}
        if wanted and wanted in taken:
            raise SysErr(errno.EADDRINUSE)
        while not wanted or wanted in taken:
            wanted = int.from_bytes(os.urandom(2), "big")
        self.ident = wanted
        self.local = (self.local[0], wanted)

    def connect(self, t: Task, addr: bytes) -> None:
        if len(addr) >= 2 and addr[:2] == b"\0\0":
            self.remote = (self.any_ip(), 0)
            return
        ip, port = self.destination(addr)
        self.may_broadcast(ip)
        if is_any(self.local[0]):
            src = (
                self.net.source_for(ip)
                if self.net.is_local(ip)
                else mapped(self.source(ip, self.way(addr, ip)))
            )
            self.local = (src, self.local[1])
        self.remote = (ip, port or 1)  # a port says that it is connected

    def shutdown(self, t: Task, how: int) -> None:
        """Raises ENOTCONN."""
        if not self.remote[1]:
            raise SysErr(errno.ENOTCONN)
        self.shut |= how
        self.queue.wake(POLLIN | POLLRDNORM)

    def max_send(self) -> int:
        return MAX_PAYLOAD + 28

    # Data
    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        return self.send_with(t, data, addr, flags, [])

    def send_with(
        self, t: Task, data: bytes, addr: bytes | None, flags: int, control: list[Control]
    ) -> int:
        if len(data) > 65535:
            return -errno.EMSGSIZE
        if flags & MSG_OOB:
            return -errno.EOPNOTSUPP
        if addr == b"" and self.domain == AF_INET:
            addr = None
        if addr is None and not self.remote[1]:
            return -errno.EDESTADDRREQ
        if self.domain == AF_INET6 and self.type == SOCK_RAW and addr is not None:
            if int.from_bytes(addr[2:4], "big") not in (0, self.protocol):
                return -errno.EINVAL
        ip = self.destination(addr)[0] if addr is not None else self.remote[0]
        if self.err and self.opts.get((SOL_IP, IP_HDRINCL)):
            return -self.take_error()  # others don't look (Linux: ip_append_data)
        how = (
            ancillary.outgoing(self.net, control, self.permitted(t)) if control else ancillary.PLAIN
        )
        body = data
        if self._ping():
            body = self._echo(data)
        if self.net.is_local(ip) and not self.net.filtered(ip):
            options = how.options or self.ip_options if is_v4(ip) else None
            linked = (how.headers or self.sticky()).chain(self.protocol) if not is_v4(ip) else NONE
            self._loop(body, how.source or (self.net.source_for(ip)), ip, options, linked)
            return len(data)
        far = self.far
        if far is None:
            return -errno.ENETUNREACH
        if not self.net.is_local(ip):
            self.may_send("raw", (ip, 0))
        via = self.interface(how.iface) if how.iface else self.way(addr, ip)
        src = how.source or (self.local[0] if not is_any(self.local[0]) else b"")
        r = far.send_to(
            body,
            unmapped(ip),
            unmapped(src) if src else b"",
            via,
            how.ttl,
            how.tos,
            how.options,
            how.headers,
        )
        return len(data) if r >= 0 else r

    def _echo(self, data: bytes) -> bytes:
        """A ping socket's message with our identifier and, for IPv4, its checksum. Raises EINVAL."""
        if not self.ident:
            self._identify(0)
        request = (ECHO4 if self.domain == AF_INET else ECHO6)[0]
        if len(data) < 8 or data[0] != request or data[1]:
            raise SysErr(errno.EINVAL)
        body = data[:2] + b"\0\0" + self.ident.to_bytes(2, "big") + data[6:]
        if self.domain == AF_INET:
            body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
        return body

    def _loop(
        self, body: bytes, src: bytes, dst: bytes, options: IpOptions | None, headers: Headers
    ) -> None:
        """To ourselves: raw sockets of the protocol hear it, and an echo request is answered."""
        v4 = is_v4(dst)
        if self.opts.get((SOL_IP, IP_HDRINCL)) and v4:
            body = body[(body[0] & 15) * 4 :] if body else b""
        there = b"" if options is None else received(options.build(src[12:]), dst[12:])
        deliver(self.net, self.domain, self.protocol, body, src, dst, there, headers)
        request, reply = ECHO4 if v4 else ECHO6
        if (
            self.protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6)
            and len(body) >= 8
            and body[0] == request
        ):
            answer = bytes((reply, 0, 0, 0)) + body[4:]
            if v4:
                answer = answer[:2] + checksum(answer).to_bytes(2, "big") + answer[4:]
            back = recorded(there) if there else None
            here = b"" if back is None else received(back.build(dst[12:]), src[12:])
            deliver(self.net, self.domain, self.protocol, answer, dst, src, here)

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        deadline = self.rcv_deadline(t)
        while not self.rx:
            if self.err:
                return -self.take_error()
            if self.shut & SHUT_RD:
                return Received()
            if self.dontwait(flags):
                return -errno.EAGAIN
            self.pause(t, self.queue, deadline, self.rcvtimeo is not None)
        p = self.rx[0]
        if not flags & MSG_PEEK:
            self.rx.popleft()
            self.rx_cost -= len(p.data) + OVERHEAD
        out = Received(p.data[:size])
        out.length = len(p.data)
        if len(p.data) > size:
            out.flags |= MSG_TRUNC
        out.addr = make_sockaddr(p.src, self.domain, p.index)
        if self.opts:
            out.control = ancillary.incoming(self, p)
        return out

    def recv_error(self, t: Task, size: int) -> Received | int:
        while self.far is not None:
            e = self.far.recv_error()
            if e is None:
                break
            self.err = self.far.take_error()  # of the next one
            if not self._ping() or e.data[4:6] == self.ident.to_bytes(2, "big"):
                return ancillary.error_message(e, size, self.domain)
        return super().recv_error(t, size)

    def may_be_ipv4(self) -> bool:
        return False

    def filters(self) -> bool:
        return True

    def queued(self) -> int:
        return len(self.rx[0].data) if self.rx else 0

    def poll(self, t: Task | None) -> int:
        mask = POLLOUT | POLLWRNORM
        if self.err or (self.far is not None and self.far.events() & POLLERR):
            mask |= POLLERR
        if self.rx:
            mask |= POLLIN | POLLRDNORM
        return mask

    # Options
    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if level == SOL_IP and self.domain == AF_INET6:
            raise SysErr(errno.ENOPROTOOPT)
        if level == self._filter_level() and opt == FILTER:
            return self.filter.to_bytes(4 if self.domain == AF_INET else 32, "little")
        if level == SOL_IP and opt == IP_HDRINCL and self.type == SOCK_RAW:
            return struct.pack("<i", self.opts.get((level, opt), int(self.protocol == IPPROTO_RAW)))
        if opt == IPV6_CHECKSUM and level in (SOL_IPV6, SOL_RAW) and self.domain == AF_INET6:
            return struct.pack("<i", self.far.checksum if self.far is not None else -1)
        if level == SOL_SOCKET and opt == SO_REUSEADDR:
            return struct.pack("<i", self.opts.get((level, opt), 1))
        if level == SOL_RAW and opt == FILTER and self.type == SOCK_RAW and self.domain == AF_INET:
            raise SysErr(errno.EOPNOTSUPP)  # ICMP's only
        if level in (SOL_RAW, SOL_ICMPV6):
            raise SysErr(errno.ENOPROTOOPT)
        return super().getsockopt(t, level, opt)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level == SOL_IP and self.domain == AF_INET6:
            raise SysErr(errno.ENOPROTOOPT)
        if level == self._filter_level() and opt == FILTER and self.type == SOCK_RAW:
            self.filter = int.from_bytes(data[: 4 if self.domain == AF_INET else 32], "little")
        elif (
            level == SOL_IP
            and opt == IP_HDRINCL
            and self.type == SOCK_RAW
            and self.domain == AF_INET
        ):
            value = options.number(level, opt, data)
            self.opts[level, opt] = int(value != 0)
            if self.far is not None:
                self.far.hdrincl = value != 0
        elif (level, opt) == (SOL_IP, inet.IP_NODEFRAG) and self.type == SOCK_RAW:
            self.opts[level, opt] = int(options.number(level, opt, data) != 0)
        elif level == SOL_RAW and opt == FILTER and self.domain == AF_INET:
            raise SysErr(errno.EOPNOTSUPP)
        elif opt == IPV6_CHECKSUM and level in (SOL_IPV6, SOL_RAW) and self.domain == AF_INET6:
            if self.protocol == IPPROTO_ICMPV6 and level == SOL_IPV6:
                raise SysErr(errno.EINVAL)  # RFC 3542 section 3.1
            value = options.number(level, opt, data)
            if value > 0 and value % 2:
                raise SysErr(errno.EINVAL)
            if self.far is not None and self.protocol != IPPROTO_ICMPV6:
                self.far.checksum = value
        else:
            super().setsockopt(t, level, opt, data)

    def _filter_level(self) -> int:
        if self.protocol == IPPROTO_ICMP and self.domain == AF_INET:
            return SOL_RAW
        return SOL_ICMPV6 if self.protocol == IPPROTO_ICMPV6 else -1

    def option_set(self, level: int, opt: int, value: int) -> None:
        super().option_set(level, opt, value)
        far = self.far
        if far is None:
            return
        if (level, opt) in ((SOL_IP, inet.IP_RECVERR), (SOL_IPV6, inet.IPV6_RECVERR)):
            far.recverr = value != 0
        elif (level, opt) in (
            (SOL_IP, inet.IP_MTU_DISCOVER),
            (SOL_IPV6, inet.IPV6_MTU_DISCOVER),
        ):
            far.dont_fragment = value in (2, 3)  # IP_PMTUDISC_DO, PROBE
        elif (level, opt) in ((SOL_IP, inet.IP_TTL), (SOL_IPV6, inet.IPV6_UNICAST_HOPS)):
            far.ttl = value
        elif (level, opt) in ((SOL_IP, inet.IP_TOS), (SOL_IPV6, inet.IPV6_TCLASS)):
            far.tos = value
        elif (level, opt) == (SOL_SOCKET, SO_BROADCAST):
            far.broadcast = value != 0

    def device_set(self) -> None:
        if self.far is not None:
            self.far.iface = self.interface(self.device)

    def release(self) -> None:
        ALL.pop(self, None)
        self.leave_groups()
        if self.far is not None:
            self.far.close()
            self.far = None
        self.rx.clear()


def deliver(
    net: NetState,
    domain: int,
    protocol: int,
    body: bytes,
    src: bytes,
    dst: bytes,
    options: bytes = b"",
    headers: Headers = NONE,
) -> None:
    """A packet within the sandbox, to the raw and ping sockets it concerns."""
    data = body
    if domain == AF_INET:
        head = (
            struct.pack(
                ">BBHHHBBH4s4s",
                0x45 + (len(options) >> 2),
                0,
                20 + len(options) + len(body),
                0,
                0x4000,
                64,
                protocol,
                0,
                src[12:],
                dst[12:],
            )
            + options
        )
        data = head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body
    for s in list(ALL):
        if s.net is net and s.domain == domain and s.protocol == protocol:
            p = Packet(data, (src, 0), dst, 1, time.time_ns(), 64, 0, options)
            p.hop, p.dest = headers.hop, headers.destination
            s.put(p)
