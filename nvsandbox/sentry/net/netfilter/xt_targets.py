"""Targets of iptables, from their binary form (linux/netfilter/xt_*.h, nf_nat.h; iptables-extensions(8))."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final, final

from ...errors import SysErr
from . import reject
from .conntrack import DST_NAT_DONE, SRC_NAT_DONE
from .hooks import FORWARD, INPUT, OUTPUT, POSTROUTING, PREROUTING
from .nat import MAP_IPS, PROTO_SPECIFIED, RANGE_FLAGS, Nat, Range
from .rules import ACCEPT, CONTINUE, DROP, Op
from .skb import CT_UNTRACKED, TCP, Skb
from .xt_context import Context

if TYPE_CHECKING:
    from ..stack.stack import Stack

LOOPBACK4: Final = b"\x7f\0\0\1"
LOOPBACK6: Final = bytes(15) + b"\1"


def _bad() -> SysErr:
    return SysErr(errno.EINVAL)


def nat_of(stack: Stack | None) -> Nat | None:
    return stack.nf.nat if stack is not None and stack.nf is not None else None


def translate(stack: Stack | None, skb: Skb, r: Range, source: bool) -> int:
    """Has the packet's new connection translated. ACCEPT, or DROP when nothing is free."""
    nat = nat_of(stack)
    c = skb.ct
    if nat is None or c is None:
        return DROP if nat is not None else ACCEPT
    if c.status & (SRC_NAT_DONE if source else DST_NAT_DONE):
        return ACCEPT
    return ACCEPT if nat.setup(c, r, source) else DROP


def masquerade(stack: Stack | None, skb: Skb, r: Range) -> int:
    """SNAT to the address of the interface that the packet leaves by (Linux: nf_nat_masquerade.c)."""
    if skb.ct is None or stack is None:
        return ACCEPT
    if skb.ct.status & SRC_NAT_DONE:
        return ACCEPT
    if not any(skb.src):
        return ACCEPT
    # Loopback's own addresses are of its scope, so there is none to be had there.
    iface = stack.interface(skb.oindex) if skb.oindex != 1 else None
    ip = iface.address_for(skb.dst) if iface is not None else b""
    if not ip:
        return DROP
    whole = Range(r.flags | MAP_IPS, ip, ip, r.low_port, r.high_port)
    return translate(stack, skb, whole, True)


def redirect(stack: Stack | None, skb: Skb, r: Range) -> int:
    """DNAT to this host: loopback for its own packets, else the address of where they came in (Linux: nf_nat_redirect.c)."""
    ip = LOOPBACK4 if skb.v4() else LOOPBACK6
    if skb.hook == PREROUTING and skb.iindex != 1:
        ip = b""
        iface = stack.interface(skb.iindex) if stack is not None else None
        if iface is not None:
            ip = iface.address_for(skb.dst if skb.v4() else skb.src)
        if not ip:
            return DROP
    whole = Range(r.flags | MAP_IPS, ip, ip, r.low_port, r.high_port)
    return translate(stack, skb, whole, False)


@final
class NatTarget(Op):
    """``kind``: SNAT, DNAT, MASQUERADE, REDIRECT."""

    __slots__ = ("kind", "range", "stack")

    tracks: ClassVar[bool] = True

    def __init__(self, kind: bytes, r: Range, stack: Stack | None) -> None:
        self.kind = kind
        self.range = r
        self.stack = stack

    def run(self, skb: Skb) -> int:
        if self.kind == b"MASQUERADE":
            return masquerade(self.stack, skb, self.range)
        if self.kind == b"REDIRECT":
            return redirect(self.stack, skb, self.range)
        return translate(self.stack, skb, self.range, self.kind == b"SNAT")


def _range(flags: int, low: bytes, high: bytes, ports: bytes) -> Range:
    if flags & ~RANGE_FLAGS:
        raise _bad()
    p, q = int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:4], "big")
    if (flags & MAP_IPS and low > high) or (flags & PROTO_SPECIFIED and p > q):
        raise _bad()
    return Range(flags, low, high, p, q)


def _nat4(kind: bytes) -> TargetParser:
    """struct nf_nat_ipv4_multi_range_compat with one range."""

    def parse(d: bytes, c: Context) -> Op:
        n, flags = struct.unpack_from("<II", d)
        if n != 1:
            raise _bad()
        return NatTarget(kind, _range(flags, d[8:12], d[12:16], d[16:20]), c.stack)

    return parse


def _nat(kind: bytes) -> TargetParser:
    """struct nf_nat_range, nf_nat_range2."""

    def parse(d: bytes, c: Context) -> Op:
        flags = struct.unpack_from("<I", d)[0]
        n = c.family
        return NatTarget(kind, _range(flags, d[4 : 4 + n], d[20 : 20 + n], d[36:40]), c.stack)

    return parse


@final
class Reject(Op):
    """``kind``, ``code``: ICMP's type and code; ``kind`` -1: a reset."""

    __slots__ = ("code", "kind", "stack")

    def __init__(self, kind: int, code: int, stack: Stack | None) -> None:
        self.kind = kind
        self.code = code
        self.stack = stack

    def run(self, skb: Skb) -> int:
        if self.stack is not None:
            if self.kind < 0:
                reject.reset(self.stack, skb)
            else:
                reject.unreachable(self.stack, skb, self.kind, self.code)
        return DROP


REJECT4: Final = {0: 0, 1: 1, 2: 2, 3: 3, 5: 9, 6: 10, 8: 13}
REJECT6: Final = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 7: 5, 8: 6}


def _reject4(d: bytes, c: Context) -> Op:
    how = struct.unpack_from("<I", d)[0]
    if how == 7:
        if c.proto != TCP or c.inverted:
            raise _bad()
        return Reject(-1, 0, c.stack)
    if how not in REJECT4:
        raise _bad()
    return Reject(3, REJECT4[how], c.stack)


def _reject6(d: bytes, c: Context) -> Op:
    how = struct.unpack_from("<I", d)[0]
    if how == 6:
        if c.proto != TCP or c.inverted:
            raise _bad()
        return Reject(-1, 0, c.stack)
    if how not in REJECT6:
        raise _bad()
    return Reject(1, REJECT6[how], c.stack)


@final
class SetMark(Op):
    """The packet's mark becomes (mark & ~mask) ^ value."""

    __slots__ = ("mark", "mask")

    def __init__(self, mark: int, mask: int) -> None:
        self.mark = mark
        self.mask = mask

    def run(self, skb: Skb) -> int:
        skb.mark = (skb.mark & ~self.mask) ^ self.mark
        return CONTINUE


def _mark(d: bytes, c: Context) -> Op:
    mark, mask = struct.unpack_from("<II", d)
    return SetMark(mark, mask)


@final
class ConnMark(Op):
    """``mode``: 0 sets the connection's mark, 1 saves the packet's there, 2 restores it from there."""

    __slots__ = ("mark", "mask", "mode", "nfmask")

    tracks: ClassVar[bool] = True

    def __init__(self, mark: int, mask: int, nfmask: int, mode: int) -> None:
        self.mark = mark
        self.mask = mask
        self.nfmask = nfmask
        self.mode = mode

    def run(self, skb: Skb) -> int:
        ct = skb.ct
        if ct is None:
            return CONTINUE
        if self.mode == 0:
            ct.mark = (ct.mark & ~self.mask) ^ self.mark
        elif self.mode == 1:
            ct.mark = (ct.mark & ~self.mask) ^ (skb.mark & self.nfmask)
        else:
            skb.mark = (skb.mark & ~self.nfmask) ^ (ct.mark & self.mask)
        return CONTINUE


def _connmark(d: bytes, c: Context) -> Op:
    mark, mask, nfmask, mode = struct.unpack_from("<IIIB", d)
    if mode > 2:
        raise _bad()
    return ConnMark(mark, mask, nfmask, mode)


def _connmark2(d: bytes, c: Context) -> Op:
    mark, mask, nfmask, _direction, shift, mode = struct.unpack_from("<IIIBBB", d)
    if mode > 2 or shift:
        raise _bad()
    return ConnMark(mark, mask, nfmask, mode)


@final
class Ignored(Op):
    """LOG, NFLOG: accepted, and nobody reads it."""

    __slots__ = ()

    def run(self, skb: Skb) -> int:
        return CONTINUE


def _log(d: bytes, c: Context) -> Op:
    if d[0] > 7 or b"\0" not in d[2:32]:
        raise _bad()
    return Ignored()


def _ignored(d: bytes, c: Context) -> Op:
    return Ignored()


@final
class Untrack(Op):
    __slots__ = ()

    def run(self, skb: Skb) -> int:
        if not skb.tracked:
            skb.tracked = True
            skb.ct, skb.state, skb.reply = None, CT_UNTRACKED, False
        return CONTINUE


def _ct(d: bytes, c: Context) -> Op:
    flags, zone = struct.unpack_from("<HH", d)
    if flags & ~3 or zone or any(d[12:28]):  # no zones, no helpers
        raise _bad()
    return Untrack() if flags & 1 else Ignored()


def _notrack(d: bytes, c: Context) -> Op:
    return Untrack()


@final
class SetTtl(Op):
    """``mode``: 0 sets, 1 adds, 2 subtracts."""

    __slots__ = ("mode", "ttl")

    def __init__(self, mode: int, ttl: int) -> None:
        self.mode = mode
        self.ttl = ttl

    def run(self, skb: Skb) -> int:
        n = (self.ttl, min(skb.ttl() + self.ttl, 255), max(skb.ttl() - self.ttl, 0))[self.mode]
        if n != skb.ttl():
            skb.set_ttl(n)
        return CONTINUE


def _ttl(d: bytes, c: Context) -> Op:
    if d[0] > 2 or (d[0] and not d[1]):
        raise _bad()
    return SetTtl(d[0], d[1])


@final
class SetTos(Op):
    """TOS becomes (TOS & ~mask) ^ value."""

    __slots__ = ("mask", "value")

    def __init__(self, value: int, mask: int) -> None:
        self.value = value
        self.mask = mask

    def run(self, skb: Skb) -> int:
        n = (skb.tos() & ~self.mask & 255) ^ self.value
        if n != skb.tos():
            skb.set_tos(n)
        return CONTINUE


def _tos(d: bytes, c: Context) -> Op:
    return SetTos(d[0], d[1])


def _dscp(d: bytes, c: Context) -> Op:
    if d[0] > 63:
        raise _bad()
    return SetTos(d[0] << 2, 0xFC)


@final
class Mss(Op):
    """TCPMSS: a SYN's MSS is made no larger than ``mss``; 0: than the path takes."""

    __slots__ = ("mss", "stack")

    def __init__(self, mss: int, stack: Stack | None) -> None:
        self.mss = mss
        self.stack = stack

    def run(self, skb: Skb) -> int:
        if skb.proto != TCP or len(skb.l4) < 20 or not skb.l4[13] & 2:
            return CONTINUE
        most = self.mss
        if not most:
            iface = self.stack.interface(skb.oindex) if self.stack is not None else None
            if iface is None:
                return CONTINUE
            most = iface.link.mtu - len(skb.head) - 20
        at, end = 20, min((skb.l4[12] >> 4) * 4, len(skb.l4))
        while at + 1 < end and skb.l4[at]:
            kind, size = skb.l4[at], skb.l4[at + 1]
            if kind == 1:
                at += 1
                continue
            if size < 2:
                break
            if kind == 2 and size == 4 and at + 4 <= end and not at & 1:
                if (skb.l4[at + 2] << 8 | skb.l4[at + 3]) > most:
                    skb.set_l4(at + 2, most.to_bytes(2, "big"))
                break
            at += size
        return CONTINUE


def _mss(d: bytes, c: Context) -> Op:
    if c.proto != TCP or c.inverted:
        raise _bad()
    mss = struct.unpack_from("<H", d)[0]
    return Mss(0 if mss == 0xFFFF else mss, c.stack)


TargetParser = Callable[[bytes, Context], Op]
ANYWHERE: Final = 0x1F


@final
class Target:
    """``size``: bytes of the structure; ``family``: 0 any; ``table``: the only one where it may be, or empty; ``hooks``: a bit each."""

    __slots__ = ("family", "hooks", "parse", "size", "table")

    def __init__(
        self, size: int, family: int, table: bytes, hooks: int, parse: TargetParser
    ) -> None:
        self.size = size
        self.family = family
        self.table = table
        self.hooks = hooks
        self.parse: TargetParser = parse


IN_SNAT: Final = 1 << POSTROUTING | 1 << INPUT
IN_DNAT: Final = 1 << PREROUTING | 1 << OUTPUT
IN_REJECT: Final = 1 << INPUT | 1 << FORWARD | 1 << OUTPUT
TARGETS: Final[dict[tuple[bytes, int], list[Target]]] = {
    (b"SNAT", 0): [Target(20, 4, b"nat", IN_SNAT, _nat4(b"SNAT"))], (b"DNAT", 0): [Target(20, 4, b"nat", IN_DNAT, _nat4(b"DNAT"))],
    (b"SNAT", 1): [Target(40, 0, b"nat", IN_SNAT, _nat(b"SNAT"))], (b"DNAT", 1): [Target(40, 0, b"nat", IN_DNAT, _nat(b"DNAT"))],
    (b"SNAT", 2): [Target(44, 0, b"nat", IN_SNAT, _nat(b"SNAT"))], (b"DNAT", 2): [Target(44, 0, b"nat", IN_DNAT, _nat(b"DNAT"))],
    (b"MASQUERADE", 0): [Target(20, 4, b"nat", 1 << POSTROUTING, _nat4(b"MASQUERADE")), Target(40, 16, b"nat", 1 << POSTROUTING, _nat(b"MASQUERADE"))],
    (b"REDIRECT", 0): [Target(20, 4, b"nat", IN_DNAT, _nat4(b"REDIRECT")), Target(40, 16, b"nat", IN_DNAT, _nat(b"REDIRECT"))],
    (b"REJECT", 0): [Target(4, 4, b"filter", IN_REJECT, _reject4), Target(4, 16, b"filter", IN_REJECT, _reject6)],
    (b"MARK", 2): [Target(8, 0, b"", ANYWHERE, _mark)], (b"CONNMARK", 1): [Target(16, 0, b"", ANYWHERE, _connmark)],
    (b"CONNMARK", 2): [Target(16, 0, b"", ANYWHERE, _connmark2)], (b"LOG", 0): [Target(32, 0, b"", ANYWHERE, _log)],
    (b"NFLOG", 0): [Target(76, 0, b"", ANYWHERE, _ignored)], (b"CT", 0): [Target(40, 0, b"raw", ANYWHERE, _ct)],
    (b"CT", 1): [Target(72, 0, b"raw", ANYWHERE, _ct)], (b"CT", 2): [Target(72, 0, b"raw", ANYWHERE, _ct)],
    (b"NOTRACK", 0): [Target(0, 0, b"raw", ANYWHERE, _notrack)], (b"TTL", 0): [Target(2, 4, b"mangle", ANYWHERE, _ttl)],
    (b"HL", 0): [Target(2, 16, b"mangle", ANYWHERE, _ttl)], (b"TOS", 1): [Target(2, 0, b"mangle", ANYWHERE, _tos)],
    (b"DSCP", 0): [Target(1, 0, b"mangle", ANYWHERE, _dscp)],
    (b"TCPMSS", 0): [Target(2, 0, b"", 1 << FORWARD | 1 << OUTPUT | 1 << POSTROUTING, _mss)],
    (b"CHECKSUM", 0): [Target(1, 0, b"mangle", ANYWHERE, _ignored)],
}  # fmt: skip
