"""Matches of iptables about tracked connections and marks (linux/netfilter/xt_conntrack.h, xt_state.h, xt_connmark.h, xt_mark.h)."""

from __future__ import annotations

import struct
import time
from typing import ClassVar, final

from .conntrack import DST_NAT, SRC_NAT
from .rules import BREAK, CONTINUE, Op
from .skb import CT_ESTABLISHED, CT_INVALID, CT_NEW, CT_RELATED, CT_UNTRACKED, Skb
from .xt_context import Context


def ct_bit(skb: Skb) -> int:
    """The packet's bit in XT_CONNTRACK_STATE_BIT's masks."""
    if skb.state == CT_UNTRACKED:
        return 1 << 8
    if skb.ct is None or skb.state == CT_INVALID:
        return 1
    return {CT_ESTABLISHED: 2, CT_RELATED: 4, CT_NEW: 8}.get(skb.state, 1)


@final
class State(Op):
    """state, revision 0."""

    __slots__ = ("mask",)

    tracks: ClassVar[bool] = True

    def __init__(self, mask: int) -> None:
        self.mask = mask

    def run(self, skb: Skb) -> int:
        bit = ct_bit(skb)
        return CONTINUE if self.mask & (64 if bit == 256 else bit) else BREAK


def state(d: bytes, c: Context) -> Op:
    return State(struct.unpack_from("<I", d)[0])


@final
class Conntrack(Op):
    """``addresses``: bit in the flags, tuple's index in (orig, answer), index in it, address, mask. ``ports``: the same with low and high."""

    __slots__ = ("addresses", "expires", "flags", "inv", "ports", "proto", "states", "statuses")

    tracks: ClassVar[bool] = True

    def __init__(
        self, flags: int, inv: int, states: int, statuses: int, proto: int, expires: tuple[int, int],
        addresses: list[tuple[int, bool, int, int, int]], ports: list[tuple[int, bool, int, int, int]],
    ) -> None:  # fmt: skip
        self.flags = flags
        self.inv = inv
        self.states = states
        self.statuses = statuses
        self.proto = proto
        self.expires = expires
        self.addresses = addresses
        self.ports = ports

    def run(self, skb: Skb) -> int:
        ct = skb.ct
        flags, inv = self.flags, self.inv
        if flags & 1:
            bits = ct_bit(skb)
            if ct is not None and ct.status & SRC_NAT:
                bits |= 64
            if ct is not None and ct.status & DST_NAT:
                bits |= 128
            if bool(self.states & bits) == bool(inv & 1):
                return BREAK
        if ct is None:
            return CONTINUE if not flags & ~0x2001 else BREAK
        if flags & 0x1000 and skb.reply != bool(inv & 0x1000):
            return BREAK
        if flags & 2 and (ct.orig[0] == self.proto) == bool(inv & 2):
            return BREAK
        if flags & 0x40 and bool(ct.status & self.statuses) == bool(inv & 0x40):
            return BREAK
        if flags & 0x80:
            left = max(ct.expires - time.monotonic_ns(), 0) // 10**9
            if (self.expires[0] <= left <= self.expires[1]) == bool(inv & 0x80):
                return BREAK
        for bit, answer, at, address, mask in self.addresses:
            k = ct.answer if answer else ct.orig
            ip = int.from_bytes(k[1] if at == 1 else k[2], "big")
            if (ip & mask == address) == bool(inv & bit):
                return BREAK
        for bit, answer, at, low, high in self.ports:
            k = ct.answer if answer else ct.orig
            if (low <= (k[3] if at == 3 else k[4]) <= high) == bool(inv & bit):
                return BREAK
        return CONTINUE


def conntrack(d: bytes, c: Context) -> Op:
    """Revisions 1 to 3 (struct xt_conntrack_mtinfo*)."""
    low_exp, high_exp, proto = struct.unpack_from("<IIH", d, 128)
    ports = [int.from_bytes(d[138 + 2 * i : 140 + 2 * i], "big") for i in range(4)]
    highs = ports
    flags, inv = struct.unpack_from("<HH", d, 146)
    if len(d) == 152:
        states, statuses = d[150], d[151]
    else:
        states, statuses = struct.unpack_from("<HH", d, 150)
    if len(d) == 164:
        ports = list(struct.unpack_from("<4H", d, 138))
        highs = list(struct.unpack_from("<4H", d, 154))
    if len(d) == 152 and states & 64:  # UNTRACKED's bit of then
        states |= 256
    addresses = []
    places = ((4, False, 1), (8, False, 2), (0x10, True, 1), (0x20, True, 2))
    for i, (bit, answer, at) in enumerate(places):
        if flags & bit:
            mask = int.from_bytes(d[32 * i + 16 : 32 * i + 16 + c.family], "big")
            address = int.from_bytes(d[32 * i : 32 * i + c.family], "big") & mask
            addresses.append((bit, answer, at, address, mask))
    places = ((0x100, False, 3), (0x200, False, 4), (0x400, True, 3), (0x800, True, 4))
    found = [(bit, answer, at, ports[i], highs[i]) for i, (bit, answer, at) in enumerate(places) if flags & bit]  # fmt: skip
    return Conntrack(flags, inv, states, statuses, proto, (low_exp, high_exp), addresses, found)


@final
class Mark(Op):
    __slots__ = ("connection", "inv", "mark", "mask")

    def __init__(self, mark: int, mask: int, inv: bool, connection: bool) -> None:
        self.mark = mark
        self.mask = mask
        self.inv = inv
        self.connection = connection

    def run(self, skb: Skb) -> int:
        mark = skb.mark
        if self.connection:
            if skb.ct is None:
                return BREAK
            mark = skb.ct.mark
        return BREAK if (mark & self.mask == self.mark) == self.inv else CONTINUE


def mark(d: bytes, c: Context) -> Op:
    mark, mask, inv = struct.unpack_from("<IIB", d)
    return Mark(mark, mask, bool(inv), False)


@final
class ConnMark(Op):
    __slots__ = ("match",)

    tracks: ClassVar[bool] = True

    def __init__(self, match: Mark) -> None:
        self.match = match

    def run(self, skb: Skb) -> int:
        return self.match.run(skb)


def connmark(d: bytes, c: Context) -> Op:
    mark, mask, inv = struct.unpack_from("<IIB", d)
    return ConnMark(Mark(mark, mask, bool(inv), True))
