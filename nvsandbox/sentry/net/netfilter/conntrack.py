"""Connections (Linux: net/netfilter/nf_conntrack_core.c, nf_conntrack_proto_*.c).

TCP's states follow flags; windows are not checked. No helpers: of RELATED there are ICMP errors only.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final, final

from .skb import (
    CT_ESTABLISHED,
    CT_INVALID,
    CT_NEW,
    CT_RELATED,
    CT_UNTRACKED,
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Skb,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Key = tuple[
    int, bytes, bytes, int, int
]  # protocol, source, destination, port or ICMP ident of each
S: Final = 1_000_000_000
LIMIT: Final = 16384  # connections of a namespace
SWEEP: Final = 5 * S
# IPS_* (linux/netfilter/nf_conntrack_common.h)
SEEN_REPLY: Final = 2
ASSURED: Final = 4
CONFIRMED: Final = 8
SRC_NAT: Final = 0x10
DST_NAT: Final = 0x20
SRC_NAT_DONE: Final = 0x80
DST_NAT_DONE: Final = 0x100
# What TCP's handshakes come to; the time-outs are Linux's defaults.
NONE: Final = 0
SYN_SENT: Final = 1
SYN_RECV: Final = 2
ESTABLISHED: Final = 3
FIN_WAIT: Final = 4
CLOSE_WAIT: Final = 5
LAST_ACK: Final = 6
TIME_WAIT: Final = 7
CLOSE: Final = 8
TCP_TIMES: Final = (120 * S, 120 * S, 60 * S, 432000 * S, 120 * S, 60 * S, 30 * S, 120 * S, 10 * S)
UDP_TIME: Final = 30 * S
UDP_STREAM: Final = 120 * S
ICMP_TIME: Final = 30 * S
GENERIC_TIME: Final = 600 * S
FIN: Final = 1
SYN: Final = 2
RST: Final = 4
ACK: Final = 16
ECHO4: Final = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
ECHO6: Final = {128: 129, 129: 128}
REQUESTS4: Final = (8, 13, 15, 17)
NDP: Final = (130, 131, 132, 133, 134, 135, 136, 137, 143)
TCP_GOOD: Final = frozenset((2, 18, 4, 20, 17, 16, 10, 26, 1 | 16 | 8, 16 | 8, 4 | 16 | 8))


@final
class Conn:
    """``orig``: as the first packet had it, ``answer``: what answers to it look like on the wire."""

    __slots__ = (
        "answer",
        "bytes",
        "closing",
        "expires",
        "mark",
        "orig",
        "outside",
        "packets",
        "start",
        "state",
        "status",
    )

    def __init__(self, orig: Key, answer: Key) -> None:
        self.orig = orig
        self.answer = answer
        self.status = 0
        self.state = NONE
        self.closing = False  # the original direction has sent FIN
        self.outside = False  # it began with a packet from outside the sandbox
        self.expires = 0
        self.start = 0
        self.mark = 0
        self.packets = [0, 0]
        self.bytes = [0, 0]


def inverse(k: Key) -> Key:
    """The same flow's other direction."""
    proto, src, dst, a, b = k
    if proto == ICMP or proto == ICMPV6:
        kinds = ECHO4 if proto == ICMP else ECHO6
        return proto, dst, src, a, kinds.get(b, b)
    return proto, dst, src, b, a


def key_of(proto: int, src: bytes, dst: bytes, l4: bytes) -> Key | None:
    """None: it belongs to no flow."""
    if proto == ICMP or proto == ICMPV6:
        if len(l4) < 8 or l4[0] not in (ECHO4 if proto == ICMP else ECHO6):
            return None
        return proto, src, dst, l4[4] << 8 | l4[5], l4[0]
    if proto == TCP or proto == UDP or proto in (33, 132, 136):
        if len(l4) < 8:
            return None
        return proto, src, dst, l4[0] << 8 | l4[1], l4[2] << 8 | l4[3]
    return proto, src, dst, 0, 0


@final
class ConnTable:
    """All of a namespace's connections; both keys of each are in ``known``."""

    __slots__ = ("count", "known", "limit", "now", "swept")

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self.known: dict[Key, Conn] = {}
        self.count = 0
        self.limit = LIMIT
        self.swept = 0

    def find(self, key: Key) -> Conn | None:
        c = self.known.get(key)
        if c is not None and c.expires <= self.now():
            self.forget(c)
            return None
        return c

    def forget(self, c: Conn) -> None:
        gone = False
        for k in (c.orig, c.answer):
            if self.known.get(k) is c:
                del self.known[k]
                gone = True
        if gone:
            self.count -= 1

    def all(self) -> list[Conn]:
        return [c for k, c in self.known.items() if k == c.orig]

    def _room(self) -> bool:
        """Whether one more may be noted; one that may be lost makes room if need be (Linux: early_drop)."""
        now = self.now()
        if now - self.swept >= SWEEP:
            self.swept = now
            for c in [c for c in self.known.values() if c.expires <= now]:
                self.forget(c)
        if self.count < self.limit:
            return True
        for n, c in enumerate(self.known.values()):
            if not c.status & ASSURED:
                self.forget(c)
                return True
            if n >= 256:
                break
        return False

    def track(self, skb: Skb) -> bool:
        """Finds or makes the packet's connection; False: drop it."""
        if skb.tracked:
            return True
        skb.tracked = True
        skb.ct, skb.state, skb.reply = None, CT_INVALID, False
        if skb.fragment:
            return True
        proto, l4 = skb.proto, skb.l4
        if proto == ICMPV6 and len(l4) >= 1 and l4[0] in NDP:
            skb.state = CT_UNTRACKED
            return True
        key = key_of(proto, skb.src, skb.dst, l4)
        if key is None:
            if proto == ICMP or proto == ICMPV6:
                self._error(skb)
            return True
        c = self.find(key)
        if c is None:
            c = self._new(key, skb)
            if c is None:
                return True
        skb.ct = c
        skb.reply = key != c.orig
        if skb.reply:
            skb.state = CT_ESTABLISHED
        else:
            skb.state = CT_ESTABLISHED if c.status & SEEN_REPLY else CT_NEW
        if not self._advance(c, skb):
            skb.ct, skb.state = None, CT_INVALID
        return True

    def _new(self, key: Key, skb: Skb) -> Conn | None:
        proto, l4 = skb.proto, skb.l4
        if proto == TCP:
            if len(l4) < 20 or l4[13] & (SYN | ACK) == SYN | ACK or l4[13] & RST:
                return None
        elif proto == ICMP:
            if l4[0] not in REQUESTS4:
                return None
        elif proto == ICMPV6 and l4[0] != 128:
            return None
        c = Conn(key, inverse(key))
        c.start = self.now()
        return c

    def _error(self, skb: Skb) -> None:
        """An ICMP error belongs to the connection of the packet that it quotes (Linux: nf_conntrack_inet_error)."""
        found = quoted(skb)
        if found is None:
            return
        c = self.find(inverse(found[0]))
        if c is None:
            return
        skb.ct = c
        skb.state = CT_RELATED
        skb.reply = inverse(found[0]) != c.orig

    def _advance(self, c: Conn, skb: Skb) -> bool:
        """Notes what a packet says of its connection; False: it makes no sense there."""
        now = self.now()
        proto = skb.proto
        if proto == TCP:
            if not self._tcp(c, skb):
                return False
            time = TCP_TIMES[c.state]
        elif skb.reply:
            c.status |= SEEN_REPLY
            time = UDP_TIME
        elif proto == UDP or proto == 136:
            time = UDP_TIME
            if c.status & SEEN_REPLY and now - c.start > 2 * S:
                c.status |= ASSURED
                time = UDP_STREAM
        else:
            time = ICMP_TIME if proto in (ICMP, ICMPV6) else GENERIC_TIME
        c.expires = now + time
        c.packets[skb.reply] += 1
        c.bytes[skb.reply] += skb.size()
        return True

    def _tcp(self, c: Conn, skb: Skb) -> bool:
        if len(skb.l4) < 20:
            return False
        flags = skb.l4[13] & 0x1F
        if (
            (flags & SYN and flags & FIN)
            or not flags & (SYN | FIN | RST | ACK)
            or (flags & FIN and not flags & ACK)
        ):
            return False
        if flags & RST:
            c.state = CLOSE
            if skb.reply:
                c.status |= SEEN_REPLY
            return True
        if not c.status & CONFIRMED and c.state == NONE:
            c.state = SYN_SENT if flags & SYN else ESTABLISHED
            return True
        if flags & SYN:
            if flags & ACK:
                if not skb.reply:
                    return False
                if c.state == SYN_SENT:
                    c.state = SYN_RECV
            elif not skb.reply and c.state in (TIME_WAIT, CLOSE, LAST_ACK):
                c.state = SYN_SENT
                c.status &= ~(SEEN_REPLY | ASSURED)
                skb.state = CT_NEW
                return True
            elif skb.reply and c.state != SYN_SENT:
                return False
        elif flags & FIN:
            if c.state in (SYN_RECV, ESTABLISHED):
                c.state = FIN_WAIT
                c.closing = not skb.reply
            elif c.state in (FIN_WAIT, CLOSE_WAIT) and c.closing == skb.reply:
                c.state = LAST_ACK
        elif c.state == SYN_RECV and not skb.reply:
            c.state = ESTABLISHED
            c.status |= ASSURED
        elif c.state == FIN_WAIT and c.closing == skb.reply:
            c.state = CLOSE_WAIT
        elif c.state == LAST_ACK and c.closing != skb.reply:
            c.state = TIME_WAIT
        elif c.state == SYN_SENT and skb.reply:
            return False
        if skb.reply:
            c.status |= SEEN_REPLY
        return True

    def confirm(self, skb: Skb) -> bool:
        """The packet leaves, or reaches its socket: its connection counts from now on. False: drop it, another has its addresses."""
        c = skb.ct
        if c is None or skb.reply or c.status & CONFIRMED:
            return True
        if self.find(c.orig) is not None or self.find(c.answer) is not None:
            return False
        if not self._room():
            return False
        c.status |= CONFIRMED
        self.known[c.orig] = c
        self.known[c.answer] = c
        self.count += 1
        return True

    def used(self, answer: Key) -> bool:
        """Whether answers that look so are another connection's."""
        return self.find(answer) is not None


def quoted(skb: Skb) -> tuple[Key, int] | None:
    """The flow of the packet in an ICMP error, and where its transport header is in ``l4``; None: there is none."""
    l4 = skb.l4
    v4 = len(skb.src) == 4
    if v4:
        if skb.proto != ICMP or len(l4) < 36 or l4[0] not in (3, 4, 5, 11, 12):
            return None
        head = (l4[8] & 15) * 4
        if l4[8] >> 4 != 4 or head < 20 or len(l4) < 8 + head + 8 or l4[14] & 0x1F or l4[15]:
            return None
        proto, src, dst, at = l4[17], l4[20:24], l4[24:28], 8 + head
    else:
        if skb.proto != ICMPV6 or len(l4) < 56 or l4[0] >= 128 or l4[8] >> 4 != 6:
            return None
        proto, src, dst, at = l4[14], l4[16:32], l4[32:48], 48
    key = key_of(proto, src, dst, l4[at : at + 8])
    return None if key is None else (key, at)


NAMES: Final[dict[int, str]] = {
    1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "icmpv6", 132: "sctp", 136: "udplite",
}  # fmt: skip
TCP_NAMES: Final = ("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE")  # fmt: skip


def show(table: ConnTable) -> bytes:
    """/proc/net/nf_conntrack."""
    now = table.now()
    return b"".join(_row(c, now) for c in table.all() if c.expires > now)


def _row(c: Conn, now: int) -> bytes:
    proto = c.orig[0]
    family = "ipv4     2" if len(c.orig[1]) == 4 else "ipv6     10"
    parts = [family, f"{NAMES.get(proto, 'unknown'):<8} {proto}", str((c.expires - now) // S)]
    if proto == TCP:
        parts.append(TCP_NAMES[c.state])
    parts.append(_tuple(c.orig))
    if not c.status & SEEN_REPLY:
        parts.append("[UNREPLIED]")
    parts.append(_tuple(c.answer))
    if c.status & ASSURED:
        parts.append("[ASSURED]")
    return (" ".join(parts) + f" mark={c.mark} zone=0 use=2\n").encode()


def _tuple(k: Key) -> str:
    af = socket.AF_INET if len(k[1]) == 4 else socket.AF_INET6
    out = f"src={socket.inet_ntop(af, k[1])} dst={socket.inet_ntop(af, k[2])}"
    if k[0] in (ICMP, ICMPV6):
        return out + f" type={k[4]} code=0 id={k[3]}"
    return out + f" sport={k[3]} dport={k[4]}"
