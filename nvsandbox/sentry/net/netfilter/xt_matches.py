"""Matches of iptables, from their binary form (linux/netfilter/xt_*.h, linux/netfilter_ipv4/ipt_*.h; iptables-extensions(8)).

Each parser gets bytes of exactly the size that its revision has, and raises EINVAL for what Linux's checkentry refuses.
"""

from __future__ import annotations

import os
import struct
import time
from typing import Final, final

from ..stack.ip import is_loopback, is_multicast
from ..stack.stack import Stack
from . import xt_ct
from .rules import BREAK, CONTINUE, Op
from .skb import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Skb,
)
from .xt_context import Context, Parser, bad


def _need(c: Context, *protos: int) -> None:
    if c.proto not in protos or c.inverted:
        raise bad()


@final
class Nothing(Op):
    """Matches everything: a comment."""

    __slots__ = ()

    def run(self, skb: Skb) -> int:
        return CONTINUE


@final
class Ports(Op):
    """tcp and udp: both ports within (or not within) ranges; ``mask``, ``flags``: TCP's flags; ``option``: one that is there."""

    __slots__ = ("dst", "flags", "inv", "mask", "option", "proto", "src")

    def __init__(
        self, proto: int, src: tuple[int, int], dst: tuple[int, int], inv: int, mask: int = 0, flags: int = 0, option: int = 0
    ) -> None:  # fmt: skip
        self.proto = proto
        self.src = src
        self.dst = dst
        self.inv = inv
        self.mask = mask
        self.flags = flags
        self.option = option

    def run(self, skb: Skb) -> int:
        if skb.proto != self.proto or not skb.has_ports():
            return BREAK
        s, d = skb.sport(), skb.dport()
        if (self.src[0] <= s <= self.src[1]) == bool(self.inv & 1):
            return BREAK
        if (self.dst[0] <= d <= self.dst[1]) == bool(self.inv & 2):
            return BREAK
        if self.proto != TCP:
            return CONTINUE
        if len(skb.l4) < 20:
            return BREAK
        if self.mask and (skb.l4[13] & self.mask == self.flags) == bool(self.inv & 4):
            return BREAK
        if self.option and tcp_option(skb.l4, self.option) == bool(self.inv & 8):
            return BREAK
        return CONTINUE


def tcp_option(l4: bytes, kind: int) -> bool:
    """Whether a TCP header has an option."""
    end = min((l4[12] >> 4) * 4, len(l4))
    at = 20
    while at < end:
        if l4[at] == kind:
            return True
        if l4[at] < 2:
            at += 1
        elif at + 1 < end and l4[at + 1] >= 2:
            at += l4[at + 1]
        else:
            break
    return False


def _tcp(d: bytes, c: Context) -> Op:
    s0, s1, d0, d1, option, mask, flags, inv = struct.unpack_from("<4H4B", d)
    _need(c, TCP)
    if inv & ~15:
        raise bad()
    return Ports(TCP, (s0, s1), (d0, d1), inv, mask, flags, option)


def _udp(d: bytes, c: Context) -> Op:
    s0, s1, d0, d1, inv = struct.unpack_from("<4HB", d)
    _need(c, UDP)
    if inv & ~3:
        raise bad()
    return Ports(UDP, (s0, s1), (d0, d1), inv)


@final
class Icmp(Op):
    __slots__ = ("high", "inv", "kind", "low", "proto")

    def __init__(self, proto: int, kind: int, low: int, high: int, inv: bool) -> None:
        self.proto = proto
        self.kind = kind
        self.low = low
        self.high = high
        self.inv = inv

    def run(self, skb: Skb) -> int:
        if skb.proto != self.proto or len(skb.l4) < 4 or skb.fragment:
            return BREAK
        same = (self.kind == 255 and self.proto == ICMP) or (
            skb.l4[0] == self.kind and self.low <= skb.l4[1] <= self.high
        )
        return BREAK if same == self.inv else CONTINUE


def _icmp(d: bytes, c: Context) -> Op:
    _need(c, ICMP)
    if d[3] & ~1:
        raise bad()
    return Icmp(ICMP, d[0], d[1], d[2], bool(d[3]))


def _icmp6(d: bytes, c: Context) -> Op:
    _need(c, ICMPV6)
    if d[3] & ~1:
        raise bad()
    return Icmp(ICMPV6, d[0], d[1], d[2], bool(d[3]))


@final
class Multiport(Op):
    __slots__ = ("inv", "ranges", "which")

    def __init__(self, which: int, ranges: list[tuple[int, int]], inv: bool) -> None:
        self.which = which
        self.ranges = ranges
        self.inv = inv

    def run(self, skb: Skb) -> int:
        if not skb.has_ports():
            return BREAK
        s, d = skb.sport(), skb.dport()
        hit = False
        for low, high in self.ranges:
            if (self.which != 1 and low <= s <= high) or (self.which != 0 and low <= d <= high):
                hit = True
                break
        return BREAK if hit == self.inv else CONTINUE


def _multiport0(d: bytes, c: Context) -> Op:
    return _ports(c, d[0], list(struct.unpack_from("<15H", d, 2)), bytes(15), d[1], False)


def _multiport(d: bytes, c: Context) -> Op:
    flags, count, inv = d[0], d[1], d[47]
    return _ports(c, flags, list(struct.unpack_from("<15H", d, 2)), d[32:47], count, bool(inv))


def _ports(c: Context, flags: int, ports: list[int], more: bytes, count: int, inv: bool) -> Op:
    _need(c, 6, 17, 33, 132, 136)
    if flags > 2 or count > 15:
        raise bad()
    ranges: list[tuple[int, int]] = []
    i = 0
    while i < count:
        low = high = ports[i]
        if more[i] and i + 1 < count:
            i += 1
            high = ports[i]
        ranges.append((low, high))
        i += 1
    return Multiport(flags, ranges, inv)


def _comment(d: bytes, c: Context) -> Op:
    return Nothing()


@final
class OwnerMatch(Op):
    __slots__ = ("gids", "inv", "match", "uids")

    def __init__(self, uids: tuple[int, int], gids: tuple[int, int], match: int, inv: int) -> None:
        self.uids = uids
        self.gids = gids
        self.match = match
        self.inv = inv

    def run(self, skb: Skb) -> int:
        o = skb.owner
        match, inv = self.match, self.inv
        if o is None:
            return CONTINUE if not (match ^ inv) & match else BREAK
        if match & inv & 4:
            return BREAK
        if match & 1 and (self.uids[0] <= o.uid <= self.uids[1]) == bool(inv & 1):
            return BREAK
        if match & 2 and (self.gids[0] <= o.gid <= self.gids[1]) == bool(inv & 2):
            return BREAK
        return CONTINUE


def _owner(d: bytes, c: Context) -> Op:
    u0, u1, g0, g1, match, inv = struct.unpack_from("<4IBB", d)
    if match & ~0xF:
        raise bad()
    return OwnerMatch((u0, u1), (g0, g1), match, inv)


def address_type(stack: Stack | None, ip: bytes) -> int:
    """The bit of an address's type (XT_ADDRTYPE_*): unicast 2, local 4, broadcast 8, multicast 0x20, by its route others."""
    if is_multicast(ip):
        return 0x20
    if is_loopback(ip):
        return 4
    if stack is None:
        return 2
    if ip in stack.own:
        return 4
    if len(ip) == 4 and (ip == b"\xff" * 4 or any(i.is_broadcast(ip) for i in stack.interfaces)):
        return 8
    if not any(ip):
        return 8 if len(ip) == 4 else 1
    r = stack.routes.lookup(ip)
    if r is not None and r.kind in (6, 7, 8):
        return 1 << r.kind
    return 2


@final
class AddressType(Op):
    __slots__ = ("dst", "inv", "src", "stack")

    def __init__(self, stack: Stack | None, src: int, dst: int, inv: int) -> None:
        self.stack = stack
        self.src = src
        self.dst = dst
        self.inv = inv

    def run(self, skb: Skb) -> int:
        if self.src and bool(address_type(self.stack, skb.src) & self.src) == bool(self.inv & 1):
            return BREAK
        if self.dst and bool(address_type(self.stack, skb.dst) & self.dst) == bool(self.inv & 2):
            return BREAK
        return CONTINUE


def _addrtype(d: bytes, c: Context) -> Op:
    src, dst, flags = struct.unpack_from("<HHI", d)
    if flags & 12 == 12:
        raise bad()
    return AddressType(c.stack, src, dst, flags & 3)


def _addrtype0(d: bytes, c: Context) -> Op:
    src, dst, inv_src, inv_dst = struct.unpack_from("<HHII", d)
    return AddressType(c.stack, src, dst, bool(inv_src) | bool(inv_dst) << 1)


@final
class Limit(Op):
    """A token bucket: ``cost`` ns a packet, up to ``burst`` packets at once."""

    __slots__ = ("cost", "credit", "full", "stamp")

    def __init__(self, cost: int, burst: int) -> None:
        self.cost = cost
        self.full = cost * burst
        self.credit = self.full
        self.stamp = time.monotonic_ns()

    def run(self, skb: Skb) -> int:
        now = time.monotonic_ns()
        self.credit = min(self.full, self.credit + now - self.stamp)
        self.stamp = now
        if self.credit < self.cost:
            return BREAK
        self.credit -= self.cost
        return CONTINUE


def _limit(d: bytes, c: Context) -> Op:
    average, burst = struct.unpack_from("<II", d)
    if not average or not burst:
        raise bad()
    return Limit(average * 100_000, burst)  # XT_LIMIT_SCALE is 10 000 a second


@final
class Size(Op):
    __slots__ = ("high", "inv", "low")

    def __init__(self, low: int, high: int, inv: bool) -> None:
        self.low = low
        self.high = high
        self.inv = inv

    def run(self, skb: Skb) -> int:
        return BREAK if (self.low <= skb.size() <= self.high) == self.inv else CONTINUE


def _length(d: bytes, c: Context) -> Op:
    low, high, inv = struct.unpack_from("<HHB", d)
    return Size(low, high, bool(inv))


@final
class Ttl(Op):
    """Modes: equal, not equal, less, greater."""

    __slots__ = ("mode", "ttl")

    def __init__(self, mode: int, ttl: int) -> None:
        self.mode = mode
        self.ttl = ttl

    def run(self, skb: Skb) -> int:
        n = skb.ttl()
        hit = (n == self.ttl, n != self.ttl, n < self.ttl, n > self.ttl)[self.mode]
        return CONTINUE if hit else BREAK


def _ttl(d: bytes, c: Context) -> Op:
    if d[0] > 3:
        raise bad()
    return Ttl(d[0], d[1])


@final
class IpRange(Op):
    """``flags``: 1 source, 2 destination, 0x10 and 0x20 not so."""

    __slots__ = ("dst", "flags", "src")

    def __init__(self, src: tuple[bytes, bytes], dst: tuple[bytes, bytes], flags: int) -> None:
        self.src = src
        self.dst = dst
        self.flags = flags

    def run(self, skb: Skb) -> int:
        f = self.flags
        if f & 1 and (self.src[0] <= skb.src <= self.src[1]) == bool(f & 0x10):
            return BREAK
        if f & 2 and (self.dst[0] <= skb.dst <= self.dst[1]) == bool(f & 0x20):
            return BREAK
        return CONTINUE


def _iprange(d: bytes, c: Context) -> Op:
    n = c.family
    return IpRange((d[:n], d[16 : 16 + n]), (d[32 : 32 + n], d[48 : 48 + n]), d[64])


@final
class Statistic(Op):
    """Random, or each so many packets."""

    __slots__ = ("count", "every", "inv", "mode", "value")

    def __init__(self, mode: int, inv: bool, value: int, every: int, packet: int) -> None:
        self.mode = mode
        self.inv = inv
        self.value = value
        self.every = every
        self.count = max(every - packet, 0)

    def run(self, skb: Skb) -> int:
        hit = self.inv
        if self.mode == 0:
            if int.from_bytes(os.urandom(4), "little") & 0x7FFFFFFF < self.value:
                hit = not hit
        else:
            if self.count == self.every:
                self.count = 0
                hit = not hit
            else:
                self.count += 1
        return CONTINUE if hit else BREAK


def _statistic(d: bytes, c: Context) -> Op:
    mode, flags, every, packet = struct.unpack_from("<HHII", d)
    if mode > 1 or flags & ~1:
        raise bad()
    return Statistic(mode, bool(flags & 1), every, every, packet)


@final
class Dscp(Op):
    __slots__ = ("inv", "mask", "value")

    def __init__(self, value: int, mask: int, inv: bool) -> None:
        self.value = value
        self.mask = mask
        self.inv = inv

    def run(self, skb: Skb) -> int:
        return BREAK if (skb.tos() & self.mask == self.value) == self.inv else CONTINUE


def _dscp(d: bytes, c: Context) -> Op:
    if d[0] > 63:
        raise bad()
    return Dscp(d[0] << 2, 0xFC, bool(d[1]))


def _tos(d: bytes, c: Context) -> Op:
    return Dscp(d[1] & d[0], d[0], bool(d[2]))


@final
class Mac(Op):
    """No link-layer header comes this far, so no address matches."""

    __slots__ = ("inv",)

    def __init__(self, inv: bool) -> None:
        self.inv = inv

    def run(self, skb: Skb) -> int:
        return CONTINUE if self.inv else BREAK


@final
class Kind:
    """``size``: bytes of the structure; ``family``: 0 any, else the length of addresses."""

    __slots__ = ("family", "parse", "size")

    def __init__(self, size: int, family: int, parse: Parser) -> None:
        self.size = size
        self.family = family
        self.parse: Parser = parse


MATCHES: Final[dict[tuple[bytes, int], list[Kind]]] = {
    (b"tcp", 0): [Kind(12, 0, _tcp)], (b"udp", 0): [Kind(10, 0, _udp)], (b"icmp", 0): [Kind(4, 4, _icmp)],
    (b"icmp6", 0): [Kind(4, 16, _icmp6)], (b"multiport", 1): [Kind(48, 0, _multiport)],
    (b"multiport", 0): [Kind(32, 0, _multiport0)], (b"comment", 0): [Kind(256, 0, _comment)], (b"state", 0): [Kind(4, 0, xt_ct.state)],
    (b"conntrack", 1): [Kind(152, 0, xt_ct.conntrack)], (b"conntrack", 2): [Kind(156, 0, xt_ct.conntrack)],
    (b"conntrack", 3): [Kind(164, 0, xt_ct.conntrack)], (b"owner", 1): [Kind(18, 0, _owner)],
    (b"addrtype", 1): [Kind(8, 0, _addrtype)], (b"addrtype", 0): [Kind(12, 4, _addrtype0)], (b"mark", 1): [Kind(9, 0, xt_ct.mark)],
    (b"connmark", 1): [Kind(9, 0, xt_ct.connmark)], (b"limit", 0): [Kind(40, 0, _limit)], (b"length", 0): [Kind(5, 0, _length)],
    (b"ttl", 0): [Kind(2, 4, _ttl)], (b"hl", 0): [Kind(2, 16, _ttl)], (b"iprange", 1): [Kind(65, 0, _iprange)],
    (b"statistic", 0): [Kind(24, 0, _statistic)], (b"dscp", 0): [Kind(2, 0, _dscp)], (b"tos", 1): [Kind(3, 0, _tos)],
}  # fmt: skip
