"""Control messages of datagrams (cmsg(3)): where they came from and how they are to be sent (ip(7), ipv6(7), socket(7))."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, NamedTuple, final

from ..abi.socket import (
    AF_INET,
    AF_INET6,
    MSG_ERRQUEUE,
    MSG_TRUNC,
    SO_TIMESTAMP,
    SO_TIMESTAMP_NEW,
    SO_TIMESTAMPING,
    SO_TIMESTAMPING_NEW,
    SO_TIMESTAMPNS,
    SO_TIMESTAMPNS_NEW,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    SOL_UDP,
)
from ..errors import SysErr
from . import inet
from .ports import Addr, is_any, is_v4, make_sockaddr
from .socket import Control, Received
from .stack.ip6headers import NONE, Headers
from .stack.ipoptions import IpOptions, answer, parse
from .state import NetState, mapped

if TYPE_CHECKING:
    from .inet import InetSocket
    from .stack.inbox import SocketError

RX_SOFTWARE: Final = 0x18  # SOF_TIMESTAMPING_RX_SOFTWARE, to be told by SOF_TIMESTAMPING_SOFTWARE
EXTENDED_ERROR: Final = struct.Struct("<IBBBxII")  # struct sock_extended_err, linux/errqueue.h


@final
class Packet:
    """A received datagram: ``dst`` 16 bytes, ``index`` the interface, ``when`` ns since the epoch."""

    __slots__ = ("data", "dest", "dst", "hop", "index", "options", "src", "tos", "ttl", "when")

    def __init__(
        self,
        data: bytes,
        src: Addr,
        dst: bytes,
        index: int,
        when: int,
        ttl: int,
        tos: int,
        options: bytes = b"",
    ) -> None:
        self.data = data
        self.src = src
        self.dst = dst
        self.index = index
        self.when = when
        self.ttl = ttl
        self.tos = tos
        self.hop = self.dest = b""  # IPv6's extension headers
        self.options = options  # IPv4's, as IP_RECVOPTS shows them


class Outgoing(NamedTuple):
    """``source``: 16 bytes or empty; ``iface``: its index, 0: by route; ``ttl``, ``tos``, ``segment``: -1: the socket's."""

    source: bytes
    iface: int
    ttl: int
    tos: int
    segment: int
    options: IpOptions | None = None
    headers: Headers | None = None


PLAIN: Final = Outgoing(b"", 0, -1, -1, -1)
UDP_SEGMENT: Final = 103


def outgoing(net: NetState, control: list[Control], permitted: bool) -> Outgoing:
    """How a datagram is to be sent; ``permitted``: by CAP_NET_RAW. Raises EINVAL, EADDRNOTAVAIL, EPERM."""
    source, index, ttl, tos, segment = b"", 0, -1, -1, -1
    options: IpOptions | None = None
    headers: Headers | None = None
    for level, kind, body in control:
        if level == SOL_IP and kind == inet.IP_PKTINFO:
            if len(body) != 12:
                raise SysErr(errno.EINVAL)
            index = struct.unpack_from("<I", body)[0]
            source = mapped(body[4:8]) if body[4:8] != bytes(4) else b""
        elif level == SOL_IPV6 and kind == inet.IPV6_PKTINFO:
            if len(body) != 20:
                raise SysErr(errno.EINVAL)
            source = body[:16] if not is_any(body[:16]) else b""
            index = struct.unpack_from("<I", body, 16)[0]
        elif (level, kind) in ((SOL_IP, inet.IP_TTL), (SOL_IPV6, inet.IPV6_HOPLIMIT)):
            ttl = _number(body)
            if not -1 <= ttl <= 255 or (level == SOL_IP and ttl < 1):
                raise SysErr(errno.EINVAL)
        elif (level, kind) in ((SOL_IP, inet.IP_TOS), (SOL_IPV6, inet.IPV6_TCLASS)):
            tos = body[0] if len(body) == 1 else _number(body)
            if not -1 <= tos <= 255:
                raise SysErr(errno.EINVAL)
        elif (level, kind) in ((SOL_IPV6, inet.IPV6_HOPOPTS), (SOL_IPV6, inet.IPV6_DSTOPTS)):
            n = (body[1] + 1) * 8 if len(body) >= 2 else 0
            if not 0 < n <= len(body) or not permitted:
                raise SysErr(errno.EINVAL if not 0 < n <= len(body) else errno.EPERM)
            now = headers or NONE
            headers = (
                Headers(body[:n], now.destination)
                if kind == inet.IPV6_HOPOPTS
                else Headers(now.hop, body[:n])
            )
        elif (level, kind) == (SOL_IP, inet.IP_RETOPTS):
            options = parse(body, False)
            if options is None:
                raise SysErr(errno.EINVAL)
        elif (level, kind) == (SOL_UDP, UDP_SEGMENT):
            if len(body) != 2:
                raise SysErr(errno.EINVAL)
            segment = int.from_bytes(body, "little")
        elif level in (SOL_IP, SOL_IPV6):
            raise SysErr(errno.EINVAL)
    if source and not net.is_local(source):
        raise SysErr(errno.EADDRNOTAVAIL if not is_v4(source) else errno.EINVAL)
    return Outgoing(source, index, ttl, tos, segment, options, headers)


def _number(body: bytes) -> int:
    if len(body) != 4:
        raise SysErr(errno.EINVAL)
    n: int = struct.unpack("<i", body)[0]
    return n


def incoming(s: InetSocket, p: Packet) -> list[Control]:
    """What the socket's options ask for about a datagram."""
    opts = s.opts
    out = stamps(opts, p.when)
    v4 = is_v4(p.dst)
    if v4:
        if opts.get((SOL_IP, inet.IP_PKTINFO)):
            own = p.dst[12:]
            out.append((SOL_IP, inet.IP_PKTINFO, struct.pack("<i", p.index) + own + own))
        if opts.get((SOL_IP, inet.IP_RECVTTL)):
            out.append((SOL_IP, inet.IP_TTL, struct.pack("<i", p.ttl)))
        if opts.get((SOL_IP, inet.IP_RECVTOS)):
            out.append((SOL_IP, inet.IP_TOS, bytes((p.tos,))))
        if p.options and opts.get((SOL_IP, inet.IP_RECVOPTS)):
            out.append((SOL_IP, inet.IP_RECVOPTS, p.options))
        if p.options and opts.get((SOL_IP, inet.IP_RETOPTS)):
            back = answer(p.options)
            out.append((SOL_IP, inet.IP_RETOPTS, back.raw if back is not None else b""))
        if opts.get((SOL_IP, inet.IP_RECVORIGDSTADDR)):
            to = make_sockaddr((p.dst, s.local[1]), AF_INET)
            out.append((SOL_IP, inet.IP_RECVORIGDSTADDR, to))
    if s.domain == AF_INET6:
        if opts.get((SOL_IPV6, inet.IPV6_RECVPKTINFO)):
            out.append((SOL_IPV6, inet.IPV6_PKTINFO, p.dst + struct.pack("<I", p.index)))
        if opts.get((SOL_IPV6, inet.IPV6_RECVHOPLIMIT)):
            out.append((SOL_IPV6, inet.IPV6_HOPLIMIT, struct.pack("<i", p.ttl)))
        if opts.get((SOL_IPV6, inet.IPV6_RECVTCLASS)):
            out.append((SOL_IPV6, inet.IPV6_TCLASS, struct.pack("<i", p.tos)))
        # RFC 3542's, and RFC 2292's from before it
        for opt, kind, body in ((53, 54, p.hop), (58, 59, p.dest), (3, 3, p.hop), (4, 4, p.dest)):
            if body and opts.get((SOL_IPV6, opt)):
                out.append((SOL_IPV6, kind, body))
        if opts.get((SOL_IPV6, inet.IPV6_RECVORIGDSTADDR)):
            to = make_sockaddr((p.dst, s.local[1]), AF_INET6, p.index)
            out.append((SOL_IPV6, inet.IPV6_RECVORIGDSTADDR, to))
    return out


def stamps(opts: dict[tuple[int, int], int], when: int) -> list[Control]:
    """When something was received (ns since the epoch), in the forms asked for (socket(7); the kernel's timestamping.rst)."""
    out: list[Control] = []
    sec, nsec = divmod(when, 10**9)
    for opt in (SO_TIMESTAMP, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW):
        if opts.get((SOL_SOCKET, opt)):
            part = nsec // 1000 if opt in (SO_TIMESTAMP, SO_TIMESTAMP_NEW) else nsec
            out.append((SOL_SOCKET, opt, struct.pack("<qq", sec, part)))
    for opt in (SO_TIMESTAMPING, SO_TIMESTAMPING_NEW):
        if opts.get((SOL_SOCKET, opt), 0) & RX_SOFTWARE == RX_SOFTWARE:
            out.append((SOL_SOCKET, opt, struct.pack("<6q", sec, nsec, 0, 0, 0, 0)))
    return out


def error_message(e: SocketError, size: int, domain: int) -> Received:
    """An entry of the error queue as recvmsg(2) gives it with MSG_ERRQUEUE."""
    out = Received(e.data[:size])
    out.length = len(e.data)
    out.flags = MSG_ERRQUEUE | (MSG_TRUNC if len(e.data) > size else 0)
    out.addr = make_sockaddr((mapped(e.dst[0]), e.dst[1]), domain)
    v6 = len(e.dst[0]) == 16
    body = EXTENDED_ERROR.pack(e.errno, e.origin, e.type, e.code, e.info & 0xFFFFFFFF, 0)
    if e.offender:
        body += make_sockaddr(
            (mapped(e.offender), 0), AF_INET6 if len(e.offender) == 16 else AF_INET
        )
    else:
        body += bytes(28 if v6 else 16)
    level, kind = (SOL_IPV6, inet.IPV6_RECVERR) if v6 else (SOL_IP, inet.IP_RECVERR)
    out.control = [(level, kind, body)]
    return out
