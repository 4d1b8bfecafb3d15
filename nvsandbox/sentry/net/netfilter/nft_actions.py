"""nftables' expressions that decide or do something (Linux: net/netfilter/nft_{immediate,lookup,counter,limit,quota,nat,masq,redir,reject,dynset,objref}.c)."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, ClassVar, Final, final

from ...errors import SysErr
from . import nft_data as d
from . import reject, xt_targets
from .hooks import POSTROUTING
from .nat import MAP_IPS, PROTO_SPECIFIED, RANGE_FLAGS, Range
from .nft_sets import INTERVAL, MAP, NO_VERDICT, Element, Expression, Set
from .rules import ACCEPT, BREAK, CONTINUE, DROP, GOTO, JUMP, RETURN, Count, Op
from .skb import TCP, Skb

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..stack.stack import Stack
    from .nft_tables import Chain

VERDICTS: Final = (ACCEPT, DROP, CONTINUE, BREAK, RETURN)
S: Final = 1_000_000_000


class Leading(Op):
    """An expression that can lead to other chains."""

    __slots__ = ()

    def leads(self) -> list[Chain]:
        raise NotImplementedError


@final
class Store(Op):
    """immediate with a value."""

    __slots__ = ("data", "reg")

    def __init__(self, reg: int, data: bytes) -> None:
        self.reg = reg
        self.data = data

    def run(self, skb: Skb) -> int:
        d.store(skb, self.reg, self.data)
        return CONTINUE


@final
class Decide(Leading):
    """immediate with a verdict."""

    __slots__ = ("chain", "verdict")

    def __init__(self, verdict: int, chain: Chain | None) -> None:
        self.verdict = verdict
        self.chain = chain

    def run(self, skb: Skb) -> int:
        if self.chain is not None:
            skb.jump, skb.jump_at = self.chain.flat, 0
        return self.verdict

    def leads(self) -> list[Chain]:
        return [self.chain] if self.chain is not None else []


def verdict(raw: bytes | None, chain: Callable[[d.Attrs], Chain]) -> tuple[int, Chain | None]:
    """What a verdict's attribute says. Raises EINVAL, ENOENT, EOPNOTSUPP."""
    if raw is None:
        raise d.bad()
    a = d.attrs(raw)
    if 2 not in a:
        raise d.bad()
    v = d.attrs(a[2])
    code = d.u32(v, 1)
    code = code - (1 << 32) if code & 0x80000000 else code
    if code in VERDICTS:
        return code, None
    if code not in (JUMP, GOTO):
        raise d.bad()
    to = chain(v)
    if to.base:
        raise SysErr(errno.EOPNOTSUPP)
    return code, to


@final
class Lookup(Leading):
    """Whether a register is in a set; of a map, what is there goes into ``to`` (-1: none) or is the verdict."""

    __slots__ = ("inv", "reg", "set", "size", "to")

    def __init__(self, s: Set, reg: int, size: int, to: int, inv: bool) -> None:
        self.set = s
        self.reg = reg
        self.size = size
        self.to = to
        self.inv = inv

    def run(self, skb: Skb) -> int:
        now = time.monotonic_ns()
        e = self.set.find(bytes(skb.regs[self.reg : self.reg + self.size]), now, skb)
        if (e is None) != self.inv:
            return BREAK
        if e is None:
            return CONTINUE
        for x in e.exprs:
            v = x.op.run(skb)
            if v != CONTINUE:
                return v
        if e.verdict != NO_VERDICT:
            if e.chain is not None:
                skb.jump, skb.jump_at = e.chain.flat, 0
            return e.verdict
        if self.to >= 0:
            d.store(skb, self.to, e.data)
        return CONTINUE

    def leads(self) -> list[Chain]:
        every = list(self.set.elements.values())
        if self.set.catchall is not None:
            every.append(self.set.catchall)
        return [e.chain for e in every if e.chain is not None]


def lookup(a: d.Attrs, s: Set) -> Op:
    flags = d.u32(a, 5, 0)
    if flags & ~1:
        raise d.bad()
    reg, to = d.register(d.u32(a, 2), s.key_len), -1
    if 3 in a:
        if flags or not s.flags & MAP:
            raise d.bad()
        number = d.u32(a, 3)
        if number == 0:
            if s.data_len:
                raise d.bad()
        else:
            if not s.data_len:
                raise d.bad()
            to = d.register(number, s.data_len)
    elif s.flags & MAP:
        raise d.bad()
    return Lookup(s, reg, s.key_len, to, bool(flags))


@final
class Dynset(Op):
    """Packets put elements into a set, keep them there, or take them away."""

    __slots__ = ("data", "inv", "make", "op", "reg", "set", "timeout")

    def __init__(
        self, s: Set, op: int, reg: int, data: int, timeout: int, inv: bool,
        make: Callable[[], list[Expression]],
    ) -> None:  # fmt: skip
        self.set = s
        self.op = op
        self.reg = reg
        self.data = data
        self.timeout = timeout
        self.inv = inv
        self.make = make

    def run(self, skb: Skb) -> int:
        s, now = self.set, time.monotonic_ns()
        key = d.load(skb, self.reg, s.key_len)
        at = (key, 0, b"")
        e = s.elements.get(at)
        if e is not None and e.expires and e.expires <= now:
            del s.elements[at]
            e = None
        if self.op == 2:
            s.elements.pop(at, None)
            return BREAK if self.inv else CONTINUE
        if e is None:
            ruleset = s.table.ruleset
            if len(s.elements) >= s.room(ruleset.element_limit) or not ruleset.take_element():
                s.purge(now)
                if len(s.elements) >= s.room(ruleset.element_limit):
                    return CONTINUE if self.inv else BREAK
            e = s.elements[at] = Element(key, b"", 0)
            e.timeout = self.timeout if self.timeout != s.timeout else 0
            e.expires = now + self.timeout * 1_000_000 if self.timeout else 0
            if self.data >= 0:
                e.data = d.load(skb, self.data, s.data_len)
            e.exprs = self.make()
        elif self.op == 1 and self.timeout:
            e.expires = now + self.timeout * 1_000_000
        for x in e.exprs:
            v = x.op.run(skb)
            if v != CONTINUE:
                return CONTINUE if self.inv else v
        return BREAK if self.inv else CONTINUE


def dynset(a: d.Attrs, s: Set, make: Callable[[], list[Expression]]) -> Op:
    op, flags = d.u32(a, 3), d.u32(a, 9, 0)
    if op > 2 or flags & ~3:
        raise SysErr(errno.EOPNOTSUPP)
    if s.flags & INTERVAL:
        raise SysErr(errno.EOPNOTSUPP)
    reg, data = d.register(d.u32(a, 4), s.key_len), -1
    if 5 in a:
        if not s.flags & MAP or not s.data_len:
            raise d.bad()
        data = d.register(d.u32(a, 5), s.data_len)
    elif s.flags & MAP:
        raise d.bad()
    return Dynset(s, op, reg, data, d.u64(a, 6) or s.timeout, bool(flags & 1), make)


@final
class Rate(Op):
    """limit: a token bucket of packets, or of bytes. ``cost``: ns of one."""

    __slots__ = ("bytes", "cost", "credit", "full", "inv", "stamp")

    def __init__(self, rate: int, unit: int, burst: int, by_bytes: bool, inv: bool) -> None:
        self.cost = max(unit * S // rate, 1)
        self.full = self.cost * (rate + burst if by_bytes else burst)
        self.credit = self.full
        self.bytes = by_bytes
        self.inv = inv
        self.stamp = time.monotonic_ns()

    def run(self, skb: Skb) -> int:
        now = time.monotonic_ns()
        self.credit = min(self.full, self.credit + now - self.stamp)
        self.stamp = now
        cost = self.cost * skb.size() if self.bytes else self.cost
        over = self.credit < cost
        if not over:
            self.credit -= cost
        return BREAK if over != self.inv else CONTINUE


def limit(a: d.Attrs) -> Op:
    rate, unit, burst = d.u64(a, 1), d.u64(a, 2), d.u32(a, 3, 0)
    kind, flags = d.u32(a, 4, 0), d.u32(a, 5, 0)
    if not rate or not unit or kind > 1 or flags & ~1 or unit > 1 << 40:
        raise d.bad()
    return Rate(rate, unit, burst or (5 if not kind else 0), kind == 1, bool(flags))


@final
class Quota(Op):
    __slots__ = ("bytes", "inv", "used")

    def __init__(self, size: int, used: int, inv: bool) -> None:
        self.bytes = size
        self.used = used
        self.inv = inv

    def run(self, skb: Skb) -> int:
        self.used += skb.size()
        return CONTINUE if (self.used >= self.bytes) == self.inv else BREAK


def quota(a: d.Attrs) -> Quota:
    size, flags = d.u64(a, 1), d.u32(a, 2, 0)
    if flags & ~1 or size >= 1 << 63:
        raise d.bad()
    return Quota(size, d.u64(a, 4), bool(flags & 1))


def counter(a: d.Attrs) -> Count:
    return Count(d.u64(a, 2), d.u64(a, 1))


@final
class Refer(Op):
    """objref: a named counter, limit or quota."""

    __slots__ = ("name", "op")

    def __init__(self, op: Op, name: bytes) -> None:
        self.op = op
        self.name = name

    def run(self, skb: Skb) -> int:
        return self.op.run(skb)


class Translation(Op):
    """What belongs into nat chains. ``hooks``: a bit each."""

    __slots__ = ("hooks",)

    tracks: ClassVar[bool] = True

    def __init__(self, hooks: int) -> None:
        self.hooks = hooks


def _range(skb: Skb, flags: int, low: int, high: int, port: int, last: int, size: int) -> Range:
    """A range from registers, each -1 where there is none."""
    a = d.load(skb, low, size) if low >= 0 else b""
    b = d.load(skb, high, size) if high >= 0 else a
    p = int.from_bytes(skb.regs[port : port + 2], "big") if port >= 0 else 0
    q = int.from_bytes(skb.regs[last : last + 2], "big") if last >= 0 else p
    if a and a <= b:
        flags |= MAP_IPS
    if port >= 0 and p <= q:
        flags |= PROTO_SPECIFIED
    return Range(flags & RANGE_FLAGS, a, b, p, q)


def _port_registers(a: d.Attrs, first: int) -> tuple[int, int]:
    low = d.register(d.u32(a, first), 2) if first in a else -1
    high = d.register(d.u32(a, first + 1), 2) if first + 1 in a else -1
    if high >= 0 > low:
        raise d.bad()
    return low, high


@final
class NatTo(Translation):
    """snat and dnat."""

    __slots__ = ("flags", "high", "last", "low", "port", "size", "source", "stack")

    def __init__(
        self, source: bool, size: int, flags: int, low: int, high: int, port: int, last: int, stack: Stack | None
    ) -> None:  # fmt: skip
        super().__init__(xt_targets.IN_SNAT if source else xt_targets.IN_DNAT)
        self.source = source
        self.size = size
        self.flags = flags
        self.low = low
        self.high = high
        self.port = port
        self.last = last
        self.stack = stack

    def run(self, skb: Skb) -> int:
        if self.low >= 0 and self.size != len(skb.src):
            return BREAK
        r = _range(skb, self.flags, self.low, self.high, self.port, self.last, self.size)
        return xt_targets.translate(self.stack, skb, r, self.source)


def nat(a: d.Attrs, stack: Stack | None) -> Op:
    kind, family, flags = d.u32(a, 1), d.u32(a, 2), d.u32(a, 7, 0)
    if kind > 1:
        raise d.bad()
    if family not in (1, 2, 10):
        raise SysErr(errno.EAFNOSUPPORT)
    if flags & ~RANGE_FLAGS:
        raise SysErr(errno.EOPNOTSUPP)
    size = 16 if family == 10 else 4
    low = d.register(d.u32(a, 3), size) if 3 in a else -1
    high = d.register(d.u32(a, 4), size) if 4 in a else -1
    if high >= 0 > low:
        raise d.bad()
    port, last = _port_registers(a, 5)
    return NatTo(kind == 0, size, flags, low, high, port, last, stack)


@final
class Hide(Translation):
    """masquerade, and with ``here`` redirect."""

    __slots__ = ("flags", "here", "last", "port", "stack")

    def __init__(self, here: bool, flags: int, port: int, last: int, stack: Stack | None) -> None:
        super().__init__(xt_targets.IN_DNAT if here else 1 << POSTROUTING)
        self.here = here
        self.flags = flags
        self.port = port
        self.last = last
        self.stack = stack

    def run(self, skb: Skb) -> int:
        r = _range(skb, self.flags, -1, -1, self.port, self.last, 0)
        if self.here:
            return xt_targets.redirect(self.stack, skb, r)
        return xt_targets.masquerade(self.stack, skb, r)


def masquerade(a: d.Attrs, stack: Stack | None) -> Op:
    flags = d.u32(a, 1, 0)
    if flags & ~RANGE_FLAGS:
        raise d.bad()
    return Hide(False, flags, *_port_registers(a, 2), stack)


def redirect(a: d.Attrs, stack: Stack | None) -> Op:
    flags = d.u32(a, 3, 0)
    if flags & ~RANGE_FLAGS:
        raise d.bad()
    return Hide(True, flags, *_port_registers(a, 1), stack)


ICMPX: Final = {4: {0: 0, 1: 3, 2: 1, 3: 13}, 16: {0: 0, 1: 4, 2: 3, 3: 1}}


@final
class Refuse(Op):
    """reject. ``kind``: 0 an ICMP error, 1 a reset, 2 an ICMP error of either family."""

    __slots__ = ("code", "kind", "stack")

    def __init__(self, kind: int, code: int, stack: Stack | None) -> None:
        self.kind = kind
        self.code = code
        self.stack = stack

    def run(self, skb: Skb) -> int:
        if self.stack is None:
            return DROP
        if self.kind == 1:
            if skb.proto == TCP:
                reject.reset(self.stack, skb)
            return DROP
        code = self.code if self.kind == 0 else ICMPX[len(skb.src)][self.code]
        reject.unreachable(self.stack, skb, 3 if skb.v4() else 1, code)
        return DROP


def refuse(a: d.Attrs, stack: Stack | None) -> Op:
    kind = d.u32(a, 1)
    code = 0
    if kind not in (0, 1, 2):
        raise d.bad()
    if kind != 1:
        raw = a.get(2, b"")
        if len(raw) != 1 or (kind == 2 and raw[0] > 3):
            raise d.bad()
        code = raw[0]
    return Refuse(kind, code, stack)
