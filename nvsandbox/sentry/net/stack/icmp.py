"""ICMP and ICMPv6: echo, errors out (rate limited) and in (RFC 792, RFC 1122 section 3.2.2, RFC 4443, RFC 1812 section 4.3.2.8)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from . import ndp
from .checksum import finish, ones_sum, pseudo_sum
from .ip import is_any, is_multicast
from .ipoptions import answer, received
from .multicast import receive_mld
from .output import MIN_PMTU4, MIN_PMTU6, find_path, send, send_with_options

if TYPE_CHECKING:
    from .packet import Packet
    from .stack import Stack

S: Final = 1_000_000_000
BURST: Final = 50  # net.ipv4.icmp_msgs_burst
PER_SECOND: Final = 1000  # net.ipv4.icmp_msgs_per_sec
PEER_BURST: Final = 6
PEERS: Final = 512
# What an ICMP destination unreachable of each code means: (errno, whether it ends a connection attempt); RFC 1122 section 4.2.3.9.
UNREACHABLE4: Final = (
    (errno.ENETUNREACH, False), (errno.EHOSTUNREACH, False), (errno.ENOPROTOOPT, True), (errno.ECONNREFUSED, True),
    (errno.EMSGSIZE, False), (errno.EOPNOTSUPP, False), (errno.ENETUNREACH, True), (errno.EHOSTDOWN, True),
    (errno.ENONET, True), (errno.ENETUNREACH, True), (errno.EHOSTUNREACH, True), (errno.ENETUNREACH, False),
    (errno.EHOSTUNREACH, False), (errno.EHOSTUNREACH, True), (errno.EHOSTUNREACH, True), (errno.EHOSTUNREACH, True),
)  # fmt: skip
UNREACHABLE6: Final = (
    (errno.ENETUNREACH, False), (errno.EACCES, True), (errno.EHOSTUNREACH, False), (errno.EHOSTUNREACH, False),
    (errno.ECONNREFUSED, True), (errno.EACCES, True), (errno.EACCES, True),
)  # fmt: skip


@final
class RateLimit:
    """Token buckets for errors: one for all, one for each destination."""

    __slots__ = ("peers", "stamp", "tokens")

    def __init__(self) -> None:
        self.tokens = float(BURST)
        self.stamp = 0
        self.peers: dict[bytes, tuple[float, int]] = {}

    def allow(self, now: int, dst: bytes) -> bool:
        tokens, stamp = self.peers.get(dst, (float(PEER_BURST), now))
        tokens = min(float(PEER_BURST), tokens + (now - stamp) / S)
        self.tokens = min(float(BURST), self.tokens + (now - self.stamp) * PER_SECOND / S)
        self.stamp = now
        if tokens < 1 or self.tokens < 1:
            return False
        self.tokens -= 1
        if len(self.peers) >= PEERS and dst not in self.peers:
            del self.peers[next(iter(self.peers))]
        self.peers[dst] = (tokens - 1, now)
        return True


@final
class IcmpError:
    """An error that came in about a packet of ours: what it says, and that packet's addresses and transport header.

    ``errno``, ``fatal``: as for sockets. ``mtu``: of "packet too big", else 0. ``inner``: the quoted transport header and payload.
    """

    __slots__ = (
        "code",
        "dst",
        "errno",
        "fatal",
        "inner",
        "mtu",
        "offender",
        "proto",
        "src",
        "type",
        "v4",
    )

    def __init__(
        self, v4: bool, type: int, code: int, err: int, fatal: bool, mtu: int, offender: bytes, src: bytes, dst: bytes,
        proto: int, inner: bytes,
    ) -> None:  # fmt: skip
        self.v4 = v4
        self.type = type
        self.code = code
        self.errno = err
        self.fatal = fatal
        self.mtu = mtu
        self.offender = offender
        self.src = src
        self.dst = dst
        self.proto = proto
        self.inner = inner


def send_error(
    stack: Stack, p: Packet, type: int, code: int, word: int = 0, forwarding: bool = False
) -> None:
    """Tells the sender of ``p`` about an error, unless it must not be told (RFC 1122 section 3.2.2, RFC 4443 section 2.4)."""
    v4 = len(p.src) == 4
    if is_any(p.src) or is_multicast(p.src) or (v4 and p.iface.is_broadcast(p.src)):
        return
    if (
        not forwarding
        and (not p.local or p.by_broadcast())
        and (v4 or not (type == 2 or (type == 4 and code == 2)))
    ):
        return
    if p.proto == (1 if v4 else 58) and p.start < p.end:
        inner = p.buf[p.start]
        if (inner not in (0, 8)) if v4 else inner < 128:
            return
    mib = stack.counters.icmp if v4 else stack.counters.icmp6
    if not stack.icmp_limit.allow(stack.now(), p.src):
        mib.OutRateLimitHost += 1
        return
    room = (576 if v4 else 1280) - (28 if v4 else 48)
    body = (
        bytes((type, code, 0, 0)) + word.to_bytes(4, "big") + p.buf[p.ip : min(p.end, p.ip + room)]
    )
    if v4:
        mib.OutDestUnreachs += type == 3
        mib.OutTimeExcds += type == 11
        mib.OutParmProbs += type == 12
    else:
        mib.OutDestUnreachs += type == 1
        mib.OutTimeExcds += type == 3
        mib.OutParmProbs += type == 4
    reply(stack, p, body, 0xC0 if v4 else 0)


def parameter_problem(stack: Stack, p: Packet, code: int, pointer: int) -> None:
    """ICMPv6 type 4 (RFC 4443 section 3.4)."""
    send_error(stack, p, 4, code, pointer)


def unreachable_port(stack: Stack, p: Packet) -> None:
    if stack.refuses(p.iface, 17, p.dst, p.buf[p.start + 2] << 8 | p.buf[p.start + 3]):
        send_error(stack, p, 3 if len(p.src) == 4 else 1, 3 if len(p.src) == 4 else 4)


def unreachable_protocol(stack: Stack, p: Packet) -> None:
    if not stack.answers(p.iface):
        return
    if len(p.src) == 4:
        send_error(stack, p, 3, 2)
    else:
        parameter_problem(stack, p, 1, 6)


def reply(stack: Stack, p: Packet, body: bytes, tos: int) -> None:
    """Sends an ICMP message, its checksum still to be filled in, back to where ``p`` came from."""
    v4 = len(p.src) == 4
    path = find_path(stack, p.src, p.iface if p.src[0] == 0xFE else None)
    if isinstance(path, int):
        return
    src = p.dst if p.local else path.src
    if not src:
        return
    total = ones_sum(body) + (0 if v4 else pseudo_sum(src, p.src, 58, len(body)))
    body = body[:2] + finish(total) + body[4:]
    mib = stack.counters.icmp if v4 else stack.counters.icmp6
    mib.OutMsgs += 1
    options = answer(received(p.options(), src)) if v4 and body[0] == 0 else None
    if options is not None:
        send_with_options(stack, path, src, 1, [body], 64, tos, False, options.build(src), None)
        return
    send(stack, path, src, 1 if v4 else 58, [body], 64, tos, False)


def receive(stack: Stack, p: Packet) -> None:
    """An ICMP message."""
    mib = stack.counters.icmp
    mib.InMsgs += 1
    body = p.payload()
    if len(body) < 8:
        mib.InErrors += 1
        return
    if not p.csum_ok and ones_sum(body):
        mib.InCsumErrors += 1
        mib.InErrors += 1
        return
    kind = body[0]
    if kind == 8:
        mib.InEchos += 1
        if p.local and stack.answers(p.iface):
            mib.OutEchoReps += 1
            reply(stack, p, b"\0\0\0\0" + body[4:], p.tos)
    elif kind == 0:
        mib.InEchoReps += 1
    elif kind in (3, 4, 11, 12):
        mib.InDestUnreachs += kind == 3
        mib.InSrcQuenchs += kind == 4
        mib.InTimeExcds += kind == 11
        mib.InParmProbs += kind == 12
        _error4(stack, p, body)


def _error4(stack: Stack, p: Packet, body: bytes) -> None:
    kind, code = body[0], body[1]
    quoted = body[8:]
    if len(quoted) < 28 or quoted[0] >> 4 != 4:
        return
    head = (quoted[0] & 15) * 4
    if head < 20 or len(quoted) < head + 8 or quoted[6] & 0x1F or quoted[7]:
        return
    err, fatal, mtu = errno.EHOSTUNREACH, False, 0
    if kind == 3:
        if code >= len(UNREACHABLE4):
            return
        err, fatal = UNREACHABLE4[code]
        if code == 4:
            mtu = max(body[6] << 8 | body[7], MIN_PMTU4)
    elif kind == 12:
        err, fatal = errno.EPROTO, True
    elif kind == 4:
        return
    e = IcmpError(
        True, kind, code, err, fatal, mtu, p.src, quoted[12:16], quoted[16:20], quoted[9], quoted[head:],
    )  # fmt: skip
    stack.icmp_error(e)


def receive6(stack: Stack, p: Packet) -> None:
    """An ICMPv6 message (its checksum is never left to the link: it is short)."""
    mib = stack.counters.icmp6
    mib.InMsgs += 1
    body = p.payload()
    if len(body) < 8:
        mib.InErrors += 1
        return
    if not p.checksum_holds():
        mib.InCsumErrors += 1
        mib.InErrors += 1
        return
    kind = body[0]
    if kind == 128:
        mib.InEchos += 1
        if stack.answers(p.iface):
            mib.OutEchoReps += 1
            reply(stack, p, b"\x81\0\0\0" + body[4:], p.tos)
    elif kind == 129:
        mib.InEchoReps += 1
    elif kind in (ndp.SOLICITATION, ndp.ADVERTISEMENT):
        ndp.receive(stack, p)
    elif kind == 130:
        receive_mld(stack, p, body)
    elif 1 <= kind <= 4:
        mib.InDestUnreachs += kind == 1
        mib.InPktTooBigs += kind == 2
        mib.InTimeExcds += kind == 3
        mib.InParmProbs += kind == 4
        _error6(stack, p, body)


def _error6(stack: Stack, p: Packet, body: bytes) -> None:
    kind, code = body[0], body[1]
    quoted = body[8:]
    if len(quoted) < 48 or quoted[0] >> 4 != 6:
        return
    proto, at = quoted[6], 40
    for _ in range(4):
        if proto not in (0, 43, 44, 60):
            break
        if at + 8 > len(quoted) or (proto == 44 and (quoted[at + 2] or quoted[at + 3] & 0xF8)):
            return
        size = 8 if proto == 44 else (quoted[at + 1] + 1) * 8
        proto, at = quoted[at], at + size
    if at + 8 > len(quoted):
        return
    err, fatal, mtu = errno.EHOSTUNREACH, False, 0
    if kind == 1:
        if code >= len(UNREACHABLE6):
            return
        err, fatal = UNREACHABLE6[code]
    elif kind == 2:
        err = errno.EMSGSIZE
        mtu = max(int.from_bytes(body[4:8], "big"), MIN_PMTU6)
    elif kind == 4:
        err, fatal = errno.EPROTO, True
    e = IcmpError(
        False, kind, code, err, fatal, mtu, p.src, quoted[8:24], quoted[24:40], proto, quoted[at:],
    )  # fmt: skip
    stack.icmp_error(e)
