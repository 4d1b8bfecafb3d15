"""nftables' expressions that look elsewhere than at headers: routes, numbers, hashes, TCP's options (Linux: net/netfilter/nft_{fib,numgen,hash,exthdr,rt}.c)."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from typing import TYPE_CHECKING, final

from ...errors import SysErr
from . import nft_data as d
from .nft_exprs import little
from .rules import BREAK, CONTINUE, Op
from .skb import TCP, Skb
from .xt_matches import address_type, tcp_option

if TYPE_CHECKING:
    from ..stack.stack import Stack


@final
class Fib(Op):
    """Where an address leads: ``result`` 1 interface, 2 its name, 3 the address's type (RTN_*); ``present``: only whether it leads anywhere."""

    __slots__ = ("destination", "here", "present", "reg", "result", "stack")

    def __init__(self, result: int, flags: int, reg: int, stack: Stack | None) -> None:
        self.result = result
        self.destination = bool(flags & 2)
        self.here = bool(flags & 8)
        self.present = bool(flags & 32)
        self.reg = reg
        self.stack = stack

    def run(self, skb: Skb) -> int:
        ip = skb.dst if self.destination else skb.src
        if self.result == 3:
            kind = address_type(self.stack, ip).bit_length() - 1
            d.store(skb, self.reg, little(kind, 4))
            return CONTINUE
        index, name = 0, b""
        if self.stack is not None:
            if address_type(self.stack, ip) == 4:
                index, name = 1, b"lo"
                if self.here and skb.iindex:
                    index, name = skb.iindex, skb.iif
            else:
                r = self.stack.routes.lookup(ip)
                if r is not None and r.iface is not None:
                    index, name = r.iface.index, r.iface.name.encode("latin-1")
                    if self.here and index != skb.iindex:
                        index, name = 0, b""
        if self.present:
            d.store(skb, self.reg, bytes((index != 0,)))
        else:
            d.store(skb, self.reg, little(index, 4) if self.result == 1 else name.ljust(16, b"\0"))
        return CONTINUE


def fib(a: d.Attrs, stack: Stack | None) -> Op:
    result, flags = d.u32(a, 2), d.u32(a, 3)
    if not 1 <= result <= 3 or flags & ~63 or bool(flags & 1) == bool(flags & 2):
        raise d.bad()
    size = 1 if flags & 32 else 16 if result == 2 else 4
    return Fib(result, flags, d.register(d.u32(a, 1), size), stack)


@final
class Number(Op):
    """numgen: a counter or a random number below ``modulus``."""

    __slots__ = ("modulus", "next", "offset", "random", "reg")

    def __init__(self, reg: int, modulus: int, random: bool, offset: int) -> None:
        self.reg = reg
        self.modulus = modulus
        self.random = random
        self.offset = offset
        self.next = 0

    def run(self, skb: Skb) -> int:
        n = int.from_bytes(os.urandom(4), "little") % self.modulus if self.random else self.next
        self.next = (self.next + 1) % self.modulus
        d.store(skb, self.reg, little(n + self.offset, 4))
        return CONTINUE


def number(a: d.Attrs) -> Op:
    modulus, kind = d.u32(a, 2), d.u32(a, 3)
    if not modulus or kind > 1:
        raise SysErr(errno.ERANGE if not modulus else errno.EINVAL)
    return Number(d.register(d.u32(a, 1), 4), modulus, kind == 1, d.u32(a, 4, 0))


@final
class Hash(Op):
    """jhash of a register, below ``modulus``: the numbers are not Linux's."""

    __slots__ = ("modulus", "offset", "reg", "seed", "size", "source")

    def __init__(
        self, reg: int, source: int, size: int, modulus: int, seed: int, offset: int
    ) -> None:
        self.reg = reg
        self.source = source
        self.size = size
        self.modulus = modulus
        self.seed = seed
        self.offset = offset

    def run(self, skb: Skb) -> int:
        h = zlib.crc32(d.load(skb, self.source, self.size), self.seed)
        d.store(skb, self.reg, little(h % self.modulus + self.offset, 4))
        return CONTINUE


def jhash(a: d.Attrs) -> Op:
    if d.u32(a, 7, 0):
        raise SysErr(errno.EOPNOTSUPP)
    size, modulus = d.u32(a, 3), d.u32(a, 4)
    if not modulus:
        raise SysErr(errno.ERANGE)
    to, source = d.register(d.u32(a, 2), 4), d.register(d.u32(a, 1), size)
    return Hash(to, source, size, modulus, d.u32(a, 5, 0), d.u32(a, 6, 0))


@final
class TcpOption(Op):
    """exthdr of TCP options: bytes of one, or whether it is there."""

    __slots__ = ("kind", "offset", "present", "reg", "size")

    def __init__(self, kind: int, offset: int, size: int, present: bool, reg: int) -> None:
        self.kind = kind
        self.offset = offset
        self.size = size
        self.present = present
        self.reg = reg

    def run(self, skb: Skb) -> int:
        if skb.proto != TCP or skb.fragment or len(skb.l4) < 20:
            if not self.present:
                return BREAK
            d.store(skb, self.reg, b"\0")
            return CONTINUE
        if self.present:
            d.store(skb, self.reg, bytes((tcp_option(skb.l4, self.kind),)))
            return CONTINUE
        at = option_at(skb.l4, self.kind)
        if at < 0 or self.offset + self.size > skb.l4[at + 1]:
            return BREAK
        data = skb.l4[at + self.offset : at + self.offset + self.size]
        if len(data) < self.size:
            return BREAK
        d.store(skb, self.reg, data)
        return CONTINUE


def option_at(l4: bytes, kind: int) -> int:
    """Where a TCP option begins, -1: it is not there."""
    at, end = 20, min((l4[12] >> 4) * 4, len(l4))
    while at + 1 < end and l4[at]:
        if l4[at] == 1:
            at += 1
            continue
        if l4[at + 1] < 2 or at + l4[at + 1] > end:
            return -1
        if l4[at] == kind:
            return at
        at += l4[at + 1]
    return -1


@final
class ClampMss(Op):
    """The MSS of a SYN becomes the register's number if that is smaller."""

    __slots__ = ("reg",)

    def __init__(self, reg: int) -> None:
        self.reg = reg

    def run(self, skb: Skb) -> int:
        if skb.proto != TCP or skb.fragment or len(skb.l4) < 20:
            return BREAK
        at = option_at(skb.l4, 2)
        if at < 0 or skb.l4[at + 1] != 4 or at & 1:
            return BREAK
        new = d.load(skb, self.reg, 2)
        if skb.l4[at + 2 : at + 4] > new:
            skb.set_l4(at + 2, new)
        return CONTINUE


def exthdr(a: d.Attrs) -> Op:
    op = d.u32(a, 6, 0)
    kind = a.get(2, b"")
    offset, size, flags = d.u32(a, 3), d.u32(a, 4), d.u32(a, 5, 0)
    if op != 1 or len(kind) != 1:
        raise SysErr(errno.EOPNOTSUPP)
    if offset > 255 or not 0 < size <= d.MAX_DATA or flags & ~1:
        raise d.bad()
    if 7 in a:
        if (kind[0], offset, size) != (2, 2, 2):
            raise SysErr(errno.EOPNOTSUPP)
        return ClampMss(d.register(d.u32(a, 7), 2))
    return TcpOption(kind[0], offset, size, bool(flags), d.register(d.u32(a, 1), size))


@final
class RouteMss(Op):
    """rt mtu: the MSS that the way out takes."""

    __slots__ = ("reg", "stack")

    def __init__(self, reg: int, stack: Stack | None) -> None:
        self.reg = reg
        self.stack = stack

    def run(self, skb: Skb) -> int:
        iface = self.stack.interface(skb.oindex) if self.stack is not None else None
        if iface is None:
            return BREAK
        mss = iface.link.mtu - (40 if skb.v4() else 60)
        d.store(skb, self.reg, struct.pack("<H", max(mss, 0)))
        return CONTINUE


def rt(a: d.Attrs, stack: Stack | None) -> Op:
    if d.u32(a, 2) != 3:
        raise SysErr(errno.EOPNOTSUPP)
    return RouteMss(d.register(d.u32(a, 1), 2), stack)
