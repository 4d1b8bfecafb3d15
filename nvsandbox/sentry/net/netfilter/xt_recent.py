"""Matches of iptables that remember addresses or look at rarer headers (linux/netfilter/xt_recent.h, xt_pkttype.h, xt_tcpmss.h,
linux/netfilter_ipv6/ip6t_rt.h)."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Final, final

from .nft_computed import option_at
from .rules import BREAK, CONTINUE, Op
from .skb import TCP, Skb
from .xt_context import Context, bad

if TYPE_CHECKING:
    from ..stack.stack import Stack

CHECK: Final = 1
SET: Final = 2
UPDATE: Final = 4
REMOVE: Final = 8
TTL: Final = 16
REAP: Final = 32
STAMPS: Final = 20  # ip_pkt_list_tot
ADDRESSES: Final = 100  # ip_list_tot
LISTS: Final = 64
S: Final = 1_000_000_000
ROUTING: Final = 43
EXTENSIONS: Final = (0, 43, 60)


@final
class Recent(Op):
    """Lists of addresses, by name, with when they were last seen; what is full forgets the oldest."""

    __slots__ = ("dest", "hits", "how", "inv", "mask", "name", "seconds", "stack")

    def __init__(
        self, stack: Stack | None, name: bytes, how: int, inv: bool, seconds: int, hits: int, dest: bool, mask: bytes
    ) -> None:  # fmt: skip
        self.stack = stack
        self.name = name
        self.how = how
        self.inv = inv
        self.seconds = seconds
        self.hits = hits
        self.dest = dest
        self.mask = int.from_bytes(mask, "big")

    def run(self, skb: Skb) -> int:
        nf = self.stack.nf if self.stack is not None else None
        if nf is None:
            return BREAK
        ip = skb.dst if self.dest else skb.src
        key = (int.from_bytes(ip, "big") & self.mask).to_bytes(len(ip), "big")
        if self.name not in nf.recent and len(nf.recent) >= LISTS:
            return BREAK
        seen = nf.recent.setdefault(self.name, {})
        return CONTINUE if self._look(seen, key, skb.ttl()) != self.inv else BREAK

    def _look(self, seen: dict[bytes, tuple[int, list[int]]], key: bytes, ttl: int) -> bool:
        now = time.monotonic_ns()
        found = seen.get(key)
        if found is not None and self.how & TTL and found[0] != ttl:
            found = None
        if found is None:
            if not self.how & SET:
                return False
            if len(seen) >= ADDRESSES:
                del seen[next(iter(seen))]
            seen.pop(key, None)
            seen[key] = (ttl, [now])
            return True
        hit = True
        if self.how & REMOVE:
            del seen[key]
        elif self.how & (CHECK | UPDATE):
            stamps = found[1]
            since = now - self.seconds * S if self.seconds else 0
            n = sum(t >= since for t in stamps)
            hit = n >= max(self.hits, 1)
            if self.how & REAP and self.seconds and not any(t >= since for t in stamps):
                del seen[key]
                return hit
        if self.how & SET or (self.how & UPDATE and hit != self.inv):
            del seen[key]
            seen[key] = (ttl, [*found[1][-STAMPS + 1 :], now])
        return hit


def recent(d: bytes, c: Context) -> Op:
    """Revisions 0 and 1."""
    seconds, hits, how, inv = struct.unpack_from("<IIBB", d)
    name = d[10:210].split(b"\0")[0]
    mask = d[212 : 212 + c.family] if len(d) > 216 else b"\xff" * c.family
    kinds = how & (CHECK | SET | UPDATE | REMOVE)
    if how & ~63 or kinds.bit_count() != 1 or not name or b"/" in name or hits > STAMPS:
        raise bad()
    if (hits and how & (SET | REMOVE)) or (how & REAP and not seconds):
        raise bad()
    return Recent(c.stack, name, how, bool(inv), seconds, hits, bool(d[210]), mask)


@final
class PacketType(Op):
    """PACKET_*: what comes this far was sent to us alone, but for what its address says."""

    __slots__ = ("inv", "kind")

    def __init__(self, kind: int, inv: bool) -> None:
        self.kind = kind
        self.inv = inv

    def run(self, skb: Skb) -> int:
        if len(skb.dst) == 4:
            kind = 1 if skb.dst == b"\xff" * 4 else 2 if skb.dst[0] & 0xF0 == 0xE0 else 0
        else:
            kind = 2 if skb.dst[0] == 0xFF else 0
        return BREAK if (kind == self.kind) == self.inv else CONTINUE


def packet_type(d: bytes, c: Context) -> Op:
    kind, inv = struct.unpack_from("<ii", d)
    return PacketType(kind, bool(inv))


@final
class MssRange(Op):
    __slots__ = ("high", "inv", "low")

    def __init__(self, low: int, high: int, inv: bool) -> None:
        self.low = low
        self.high = high
        self.inv = inv

    def run(self, skb: Skb) -> int:
        if skb.proto != TCP or skb.fragment or len(skb.l4) < 20:
            return BREAK
        at = option_at(skb.l4, 2)
        if at < 0 or skb.l4[at + 1] != 4:
            return CONTINUE if self.inv else BREAK
        mss = skb.l4[at + 2] << 8 | skb.l4[at + 3]
        return BREAK if (self.low <= mss <= self.high) == self.inv else CONTINUE


def mss(d: bytes, c: Context) -> Op:
    low, high, inv = struct.unpack_from("<HHB", d)
    if c.proto != TCP or c.inverted:
        raise bad()
    return MssRange(low, high, bool(inv))


@final
class RoutingHeader(Op):
    """``flags``: 1 its type is asked for, 2 its segments left, 4 its length."""

    __slots__ = ("flags", "inv", "kind", "length", "segments")

    def __init__(
        self, kind: int, segments: tuple[int, int], length: int, flags: int, inv: int
    ) -> None:
        self.kind = kind
        self.segments = segments
        self.length = length
        self.flags = flags
        self.inv = inv

    def run(self, skb: Skb) -> int:
        head = skb.head
        kind, at = head[6], 40
        while kind in EXTENSIONS and at + 8 <= len(head):
            size = (head[at + 1] + 1) * 8
            if kind == ROUTING:
                left, flags, inv = head[at + 3], self.flags, self.inv
                if flags & 1 and (head[at + 2] == self.kind) == bool(inv & 1):
                    return BREAK
                if flags & 2 and (self.segments[0] <= left <= self.segments[1]) == bool(inv & 2):
                    return BREAK
                if flags & 4 and (size == self.length) == bool(inv & 4):
                    return BREAK
                return CONTINUE
            kind, at = head[at], at + size
        return BREAK


def routing(d: bytes, c: Context) -> Op:
    kind, low, high, length, flags, inv = struct.unpack_from("<IIIIBB", d)
    if flags & ~7 or inv & ~7:  # addresses in it are not looked at
        raise bad()
    return RoutingHeader(kind, (low, high), length, flags, inv)
