"""nftables' expressions that look at packets (Linux: net/netfilter/nft_{payload,meta,ct,cmp,bitwise,byteorder,range}.c).

Each has a parser from its attributes, which raises EINVAL, ERANGE and EOPNOTSUPP; how they are shown again is ``nft_rules.py``'s.
"""

from __future__ import annotations

import errno
import os
import time
import zlib
from typing import ClassVar, Final, final

from ...errors import SysErr
from . import nft_data as d
from .conntrack import S
from .rules import BREAK, CONTINUE, Op
from .skb import (
    CT_ESTABLISHED,
    CT_INVALID,
    CT_NEW,
    CT_RELATED,
    CT_UNTRACKED,
    Skb,
)

ETHERTYPES: Final = {4: b"\x08\0", 16: b"\x86\xdd"}


def little(value: int, size: int) -> bytes:
    return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


@final
class Payload(Op):
    """Bytes of the packet into a register. ``base``: 1 network header, 2 transport header."""

    __slots__ = ("base", "offset", "reg", "size")

    def __init__(self, base: int, offset: int, size: int, reg: int) -> None:
        self.base = base
        self.offset = offset
        self.size = size
        self.reg = reg

    def run(self, skb: Skb) -> int:
        if self.base == 1:
            source = skb.head
            if self.offset + self.size > len(source):
                source += skb.l4
        elif self.base == 2 and not skb.fragment:
            source = skb.l4
        else:
            return BREAK
        data = source[self.offset : self.offset + self.size]
        if len(data) < self.size:
            return BREAK
        d.store(skb, self.reg, data)
        return CONTINUE


@final
class SetPayload(Op):
    """The reverse: addresses, TOS, hop limit, and the transport header, whose checksums stay right."""

    __slots__ = ("base", "offset", "reg", "size")

    def __init__(self, base: int, offset: int, size: int, reg: int) -> None:
        self.base = base
        self.offset = offset
        self.size = size
        self.reg = reg

    def run(self, skb: Skb) -> int:
        data = d.load(skb, self.reg, self.size)
        at, n = self.offset, self.size
        if self.base == 2:
            if skb.fragment or at + n > len(skb.l4):
                return BREAK
            start, end = at & ~1, (at + n + 1) & ~1
            if end > len(skb.l4):
                return BREAK
            skb.set_l4(start, skb.l4[start:at] + data + skb.l4[at + n : end])
            return CONTINUE
        size = len(skb.src)
        places = (12, 16) if size == 4 else (8, 24)
        if n == size and at in places:
            skb.set_address(at == places[0], data)
        elif size == 4 and (at, n) == (1, 1):
            skb.set_tos(data[0])
        elif (at, n) == (8 if size == 4 else 7, 1):
            skb.set_ttl(data[0])
        elif size == 16 and (at, n) == (0, 2) and data[0] >> 4 == 6:
            skb.set_tos((data[0] & 15) << 4 | data[1] >> 4)
        else:
            return BREAK
        return CONTINUE


def payload(a: d.Attrs) -> Op:
    base, offset, size = d.u32(a, 2), d.u32(a, 3), d.u32(a, 4)
    if base > 3 or not 0 < size <= d.MAX_DATA or offset > 0xFFFF:
        raise SysErr(errno.EOPNOTSUPP if base > 3 else errno.EINVAL)
    if 5 in a:
        return SetPayload(base, offset, size, d.register(d.u32(a, 5), size))
    return Payload(base, offset, size, d.register(d.u32(a, 1), size))


# linux/netfilter/nf_tables.h, enum nft_meta_keys: bytes of each that is there
META_SIZES: Final[dict[int, int]] = {
    0: 4, 1: 2, 2: 4, 3: 4, 4: 4, 5: 4, 6: 16, 7: 16, 8: 2, 9: 2, 10: 4, 11: 4, 15: 1, 16: 1, 19: 1, 20: 4, 21: 4, 22: 4, 24: 4, 30: 8, 31: 1,
    32: 4,
}  # fmt: skip
SETTABLE: Final = (2, 3, 12, 19)  # priority, mark, nftrace, pkttype


@final
class Meta(Op):
    __slots__ = ("key", "reg")

    def __init__(self, key: int, reg: int) -> None:
        self.key = key
        self.reg = reg

    def run(self, skb: Skb) -> int:
        key = self.key
        if key in (10, 11):
            if skb.owner is None:
                return BREAK
            data = little(skb.owner.uid if key == 10 else skb.owner.gid, 4)
        elif key in (6, 7):
            data = (skb.iif if key == 6 else skb.oif).ljust(16, b"\0")
        elif key == 16:
            data = bytes((skb.proto,))
        elif key in (8, 9):
            index = skb.iindex if key == 8 else skb.oindex
            if not index:
                return BREAK
            data = little(772 if index == 1 else 1, 2)  # ARPHRD_LOOPBACK, ARPHRD_ETHER
        else:
            data = self._number(key, skb)
        d.store(skb, self.reg, data)
        return CONTINUE

    def _number(self, key: int, skb: Skb) -> bytes:
        if key == 3:
            return little(skb.mark, 4)
        if key == 15:
            return b"\2" if skb.v4() else b"\x0a"
        if key == 1:
            return ETHERTYPES[len(skb.src)]
        if key == 0:
            return little(skb.size(), 4)
        if key in (4, 5):
            return little(skb.iindex if key == 4 else skb.oindex, 4)
        if key == 24:
            return os.urandom(4)
        if key == 30:
            return little(time.time_ns(), 8)
        if key == 31:
            return bytes(((time.time_ns() // (86400 * S) + 4) % 7,))
        if key == 32:
            return little(time.time_ns() // S % 86400, 4)
        return bytes(META_SIZES[key])


@final
class SetMeta(Op):
    __slots__ = ("key", "reg")

    def __init__(self, key: int, reg: int) -> None:
        self.key = key
        self.reg = reg

    def run(self, skb: Skb) -> int:
        if self.key == 3:
            skb.mark = int.from_bytes(skb.regs[self.reg : self.reg + 4], "little")
        return CONTINUE


def meta(a: d.Attrs) -> Op:
    key = d.u32(a, 2)
    if 3 in a:
        if key not in SETTABLE:
            raise SysErr(errno.EOPNOTSUPP)
        return SetMeta(key, d.register(d.u32(a, 3), 4 if key < 4 else 1))
    size = META_SIZES.get(key)
    if size is None:
        raise SysErr(errno.EOPNOTSUPP)
    return Meta(key, d.register(d.u32(a, 1), size))


def ct_state(skb: Skb) -> int:
    """NF_CT_STATE_BIT's mask."""
    if skb.state == CT_UNTRACKED:
        return 64
    if skb.ct is None or skb.state == CT_INVALID:
        return 1
    return {CT_ESTABLISHED: 2, CT_RELATED: 4, CT_NEW: 8}.get(skb.state, 1)


CT_SIZES: Final[dict[int, int]] = {
    0: 4, 1: 1, 2: 4, 3: 4, 5: 4, 7: 1, 8: 0, 9: 0, 10: 1, 11: 2, 12: 2, 14: 8, 15: 8, 16: 8, 17: 2, 19: 4, 20: 4, 21: 16, 22: 16, 23: 4,
}  # fmt: skip


@final
class Ct(Op):
    """``direction``: 0 original, 1 reply, -1: none asked for."""

    __slots__ = ("direction", "key", "reg", "size")

    tracks: ClassVar[bool] = True

    def __init__(self, key: int, direction: int, reg: int, size: int) -> None:
        self.key = key
        self.direction = direction
        self.reg = reg
        self.size = size

    def run(self, skb: Skb) -> int:
        if self.key == 0:
            d.store(skb, self.reg, little(ct_state(skb), 4))
            return CONTINUE
        data = self._value(skb)
        if not data:
            return BREAK
        d.store(skb, self.reg, data)
        return CONTINUE

    def _value(self, skb: Skb) -> bytes:
        ct, key, way = skb.ct, self.key, self.direction
        if ct is None:
            return b""
        if key == 1:
            return bytes((skb.reply,))
        if key == 2:
            return little(ct.status, 4)
        if key == 3:
            return little(ct.mark, 4)
        if key == 5:
            return little(max(ct.expires - time.monotonic_ns(), 0) // 1_000_000, 4)
        if key in (14, 15, 16):
            sides = (0, 1) if way < 0 else (way,)
            packets, size = sum(ct.packets[i] for i in sides), sum(ct.bytes[i] for i in sides)
            n = packets if key == 14 else size if key == 15 else size // max(packets, 1)
            return little(n, 8)
        if key == 17:
            return bytes(2)
        if key == 23:
            return little(zlib.crc32(repr(ct.orig).encode()), 4)
        proto, src, dst, a, b = ct.answer if way == 1 else ct.orig
        if key == 7:
            return b"\2" if len(src) == 4 else b"\x0a"
        if key == 10:
            return bytes((proto,))
        if key in (11, 12):
            return (a if key == 11 else b).to_bytes(2, "big")
        ip = src if key in (8, 19, 21) else dst
        return ip if len(ip) == self.size or not CT_SIZES[key] else b""


@final
class SetCt(Op):
    __slots__ = ("reg",)

    tracks: ClassVar[bool] = True

    def __init__(self, reg: int) -> None:
        self.reg = reg

    def run(self, skb: Skb) -> int:
        if skb.ct is None:
            return BREAK
        skb.ct.mark = int.from_bytes(skb.regs[self.reg : self.reg + 4], "little")
        return CONTINUE


def ct(a: d.Attrs) -> Op:
    key = d.u32(a, 2)
    if 4 in a:
        if key != 3:
            raise SysErr(errno.EOPNOTSUPP)
        return SetCt(d.register(d.u32(a, 4), 4))
    size = CT_SIZES.get(key)
    if size is None:
        raise SysErr(errno.EOPNOTSUPP)
    direction = -1
    if 3 in a:
        if len(a[3]) != 1 or a[3][0] > 1:
            raise d.bad()
        direction = a[3][0]
    elif key in (8, 9, 11, 12, 19, 20, 21, 22):
        raise d.bad()
    size = size or 16
    return Ct(key, direction, d.register(d.u32(a, 1), size), size)


@final
class Untrack(Op):
    __slots__ = ()

    def run(self, skb: Skb) -> int:
        if not skb.tracked:
            skb.tracked = True
            skb.ct, skb.state, skb.reply = None, CT_UNTRACKED, False
        return CONTINUE


@final
class Compare(Op):
    """NFT_CMP_*: bytes in network order."""

    __slots__ = ("data", "op", "reg")

    def __init__(self, op: int, reg: int, data: bytes) -> None:
        self.op = op
        self.reg = reg
        self.data = data

    def run(self, skb: Skb) -> int:
        have = skb.regs[self.reg : self.reg + len(self.data)]
        op, data = self.op, self.data
        if op == 0:
            hit = have == data
        elif op == 1:
            hit = have != data
        elif op == 2:
            hit = have < data
        elif op == 3:
            hit = have <= data
        elif op == 4:
            hit = have > data
        else:
            hit = have >= data
        return CONTINUE if hit else BREAK


def compare(a: d.Attrs) -> Op:
    data = d.value(a.get(3))
    op = d.u32(a, 2)
    if op > 5:
        raise d.bad()
    return Compare(op, d.register(d.u32(a, 1), len(data)), data)


@final
class Within(Op):
    """range"""

    __slots__ = ("high", "inv", "low", "reg")

    def __init__(self, reg: int, low: bytes, high: bytes, inv: bool) -> None:
        self.reg = reg
        self.low = low
        self.high = high
        self.inv = inv

    def run(self, skb: Skb) -> int:
        have = skb.regs[self.reg : self.reg + len(self.low)]
        return BREAK if (self.low <= have <= self.high) == self.inv else CONTINUE


def within(a: d.Attrs) -> Op:
    low = d.value(a.get(3))
    high = d.value(a.get(4), len(low))
    op = d.u32(a, 2)
    if op > 1:
        raise d.bad()
    return Within(d.register(d.u32(a, 1), len(low)), low, high, op == 1)


@final
class Bitwise(Op):
    """``shift``: bits to the left, negative: to the right; 0: and with ``mask``, then exclusive or."""

    __slots__ = ("mask", "shift", "size", "source", "to", "xor")

    def __init__(self, source: int, to: int, size: int, mask: int, xor: int, shift: int) -> None:
        self.source = source
        self.to = to
        self.size = size
        self.mask = mask
        self.xor = xor
        self.shift = shift

    def run(self, skb: Skb) -> int:
        n = int.from_bytes(skb.regs[self.source : self.source + self.size], "big")
        if self.shift > 0:
            n = n << self.shift & ((1 << 8 * self.size) - 1)
        elif self.shift < 0:
            n >>= -self.shift
        else:
            n = n & self.mask ^ self.xor
        d.store(skb, self.to, n.to_bytes(self.size, "big"))
        return CONTINUE


def bitwise(a: d.Attrs) -> Op:
    size, op = d.u32(a, 3), d.u32(a, 6, 0)
    source, to = d.register(d.u32(a, 1), size), d.register(d.u32(a, 2), size)
    if op == 0:
        mask, xor = d.value(a.get(4), size), d.value(a.get(5), size)
        return Bitwise(source, to, size, int.from_bytes(mask, "big"), int.from_bytes(xor, "big"), 0)
    bits = int.from_bytes(d.value(a.get(7), 4), "little")
    if op > 2 or not 0 < bits < 32:
        raise d.bad()
    return Bitwise(source, to, size, 0, 0, bits if op == 1 else -bits)


@final
class Swap(Op):
    """byteorder: words of ``width`` bytes are turned round."""

    __slots__ = ("size", "source", "to", "width")

    def __init__(self, source: int, to: int, size: int, width: int) -> None:
        self.source = source
        self.to = to
        self.size = size
        self.width = width

    def run(self, skb: Skb) -> int:
        have, w = d.load(skb, self.source, self.size), self.width
        out = b"".join(have[i : i + w][::-1] for i in range(0, self.size, w))
        d.store(skb, self.to, out)
        return CONTINUE


def byteorder(a: d.Attrs) -> Op:
    size, width = d.u32(a, 4), d.u32(a, 5)
    if width not in (2, 4, 8) or d.u32(a, 3) > 1:
        raise d.bad()
    return Swap(d.register(d.u32(a, 1), size), d.register(d.u32(a, 2), size), size, width)
