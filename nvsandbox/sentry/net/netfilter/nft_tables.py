"""nftables' tables, chains, rules and objects of a network namespace, changed in transactions (Linux: net/netfilter/nf_tables_api.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final, final

from ...errors import SysErr
from . import nft_data as d
from .hooks import Base
from .nft_actions import Dynset, Leading, Lookup, Translation
from .nft_sets import ANONYMOUS, Expression, Set
from .rules import ACCEPT, Count, Op, Rule

FAMILIES: Final[dict[int, tuple[int, ...]]] = {
    1: (4, 16),
    2: (4,),
    10: (16,),
}  # NFPROTO_INET, IPV4, IPV6
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
USERDATA_MAX: Final = 256
MAX_TABLES: Final = 256
MAX_CHAINS: Final = 4096
MAX_SETS: Final = 4096
MAX_RULES: Final = 16384
MAX_ELEMENTS: Final = 65536
MAX_OBJECTS: Final = 4096
MAX_BYTES: Final = 16 << 20  # of rules as they came
MAX_DEPTH: Final = 16  # NFT_JUMP_STACK_SIZE
TABLE_DORMANT: Final = 1
CHAIN_BINDING: Final = 4


@final
class NftRule:
    """``userdata``: the tool's comment. ``ident``: the transaction's number for it. ``leading``: what in it leads to other chains, ``sets``: what it looks
    things up in, ``hooks``: where it may be translating (bit 5: it doesn't), ``tracks``: it needs connections."""

    __slots__ = (
        "chain",
        "exprs",
        "handle",
        "hooks",
        "ident",
        "leading",
        "rule",
        "sets",
        "size",
        "tracks",
        "userdata",
    )

    def __init__(self, chain: Chain, handle: int, exprs: list[Expression], size: int) -> None:
        self.chain = chain
        self.handle = handle
        self.exprs = exprs
        self.size = size
        self.userdata = b""
        self.ident = 0
        ops = [x.op for x in exprs]
        self.rule = Rule(ops)
        self.leading = [op for op in ops if isinstance(op, Leading)]
        self.sets = [op.set for op in ops if isinstance(op, (Lookup, Dynset))]
        self.tracks = any(op.tracks for op in ops)
        self.hooks = 0x3F
        for op in ops:
            if isinstance(op, Translation):
                self.hooks &= op.hooks

    def leads(self) -> list[Chain]:
        return [to for op in self.leading for to in op.leads()] if self.leading else []


@final
class Chain:
    """``base``: it has a hook. ``flat``: its rules as the engine has them. ``count``: of what its policy has decided, if asked for."""

    __slots__ = (
        "base", "count", "flags", "flat", "handle", "hook", "ident", "kind", "name", "policy", "priority", "rules", "table", "userdata",
    )  # fmt: skip

    def __init__(self, table: Table, name: bytes, handle: int) -> None:
        self.table = table
        self.name = name
        self.handle = handle
        self.flags = 0
        self.ident = 0
        self.base = False
        self.hook = 0
        self.priority = 0
        self.kind = b"filter"
        self.policy = ACCEPT
        self.count: Count | None = None
        self.userdata = b""
        self.rules: list[NftRule] = []
        self.flat: list[Rule] = []

    def hooks(self) -> int:
        """A bit for the hook, none for a chain that only others lead to."""
        return 1 << self.hook if self.base else 0


@final
class NamedObject:
    """A counter, quota or limit that rules refer to by name; ``kind``: NFT_OBJECT_*."""

    __slots__ = ("handle", "kind", "name", "op", "raw", "show", "table", "userdata")

    def __init__(
        self, table: Table, kind: int, name: bytes, handle: int, op: Op, show: Callable[[], bytes]
    ) -> None:  # fmt: skip
        self.table = table
        self.kind = kind
        self.name = name
        self.handle = handle
        self.op = op
        self.show = show
        self.userdata = b""


@final
class Table:
    """``family``: NFPROTO_*. ``handles``: the last that was given out."""

    __slots__ = (
        "chains",
        "family",
        "flags",
        "handle",
        "handles",
        "name",
        "objects",
        "ruleset",
        "sets",
        "userdata",
    )

    def __init__(self, ruleset: Ruleset, family: int, name: bytes, handle: int) -> None:
        self.ruleset = ruleset
        self.family = family
        self.name = name
        self.handle = handle
        self.handles = 0
        self.flags = 0
        self.userdata = b""
        self.chains: dict[bytes, Chain] = {}
        self.sets: dict[bytes, Set] = {}
        self.objects: dict[tuple[int, bytes], NamedObject] = {}

    def sizes(self) -> tuple[int, ...]:
        """The lengths of addresses that it is about."""
        return FAMILIES[self.family]

    def next_handle(self) -> int:
        self.handles += 1
        return self.handles

    def set_by(self, name: bytes, ident: int) -> Set:
        """By its name, or by its number in this transaction. Raises ENOENT."""
        s = self.sets.get(name)
        if s is None and ident:
            s = next((s for s in self.sets.values() if s.ident == ident), None)
        if s is None:
            raise SysErr(errno.ENOENT)
        return s

    def chain_by(self, a: d.Attrs) -> Chain:
        """The chain of a verdict: by name (2) or by its number in this transaction (3). Raises ENOENT, EINVAL."""
        c: Chain | None = None
        if 2 in a:
            c = self.chains.get(d.name(a, 2))
        elif 3 in a:
            ident = d.u32(a, 3)
            c = next((c for c in self.chains.values() if c.ident == ident), None)
        else:
            raise d.bad()
        if c is None:
            raise SysErr(errno.ENOENT)
        return c


@final
class Ruleset:
    """``generation``: changes with each transaction. During one, ``undo`` has what takes it back, the last first."""

    __slots__ = (
        "bytes",
        "chains",
        "element_limit",
        "elements",
        "generation",
        "handles",
        "rules",
        "share",
        "tables",
        "touched",
        "undo",
    )

    def __init__(self, share: int = 1) -> None:
        """``share``: the limits are this part of what they are for the sandbox's own namespace."""
        self.share = share
        self.tables: dict[tuple[int, bytes], Table] = {}
        self.generation = 1
        self.handles = 0
        self.undo: list[Callable[[], None]] = []
        self.touched: dict[Chain, None] = {}
        self.rules = self.bytes = self.chains = self.elements = 0
        self.element_limit = MAX_ELEMENTS // share

    def take_element(self) -> bool:
        """Whether the namespace may have one more element."""
        if self.elements >= self.element_limit:
            self.recount()
        if self.elements >= self.element_limit:
            return False
        self.elements += 1
        return True

    def recount(self) -> None:
        """Elements that time has taken, or that packets have put in and taken out."""
        self.elements = sum(len(s.elements) for t in self.tables.values() for s in t.sets.values())

    def all_chains(self) -> list[Chain]:
        return [c for t in self.tables.values() for c in t.chains.values()]

    # Changes
    def touch(self, chain: Chain) -> None:
        """The chain's rules are about to change."""
        if chain in self.touched:
            return
        self.touched[chain] = None
        before = list(chain.rules)

        def back() -> None:
            chain.rules = before

        self.undo.append(back)

    def count_rule(self, rule: NftRule, sign: int) -> None:
        """Raises ENOMEM."""
        if sign > 0 and (
            self.rules >= MAX_RULES // self.share
            or self.bytes + rule.size > MAX_BYTES // self.share
        ):
            raise SysErr(errno.ENOMEM)
        self.rules += sign
        self.bytes += sign * rule.size

        def back() -> None:
            self.rules -= sign
            self.bytes -= sign * rule.size

        self.undo.append(back)

    def begin(self) -> None:
        self.undo, self.touched = [], {}

    def abort(self) -> None:
        """Takes everything back."""
        for back in reversed(self.undo):
            back()
        for c in self.touched:
            c.flat[:] = [r.rule for r in c.rules]
        self.begin()

    def commit(self) -> None:
        """Raises ELOOP, EMLINK, EOPNOTSUPP; then nothing is changed yet."""
        for c in self.touched:
            c.flat[:] = [r.rule for r in c.rules]
        self._drop_unbound()
        self.check()
        for t in self.tables.values():
            for s in t.sets.values():
                s.ident = 0
            for c in t.chains.values():
                c.ident = 0
                for r in c.rules:
                    r.ident = 0
        self.begin()
        self.generation = (self.generation + 1) & 0xFFFFFFFF or 1
        self.recount()

    def _drop_unbound(self) -> None:
        """Anonymous sets and bound chains go with the last rule that uses them."""
        for t in self.tables.values():
            loose = [s for s in t.sets.values() if s.flags & ANONYMOUS]
            bound = [c for c in t.chains.values() if c.flags & CHAIN_BINDING]
            if not loose and not bound:
                continue
            used: set[int] = set()
            for c in t.chains.values():
                for r in c.rules:
                    used.update(id(s) for s in r.sets)
                    used.update(id(to) for to in r.leads())
            for s in loose:
                if id(s) not in used:
                    self.drop_set(s)
            for c in bound:
                if id(c) not in used:
                    self.drop_chain(c)

    def drop_set(self, s: Set) -> None:
        sets = s.table.sets
        before = dict(sets)
        del sets[s.name]

        def back() -> None:
            sets.clear()
            sets.update(before)  # in the order in which they were

        self.undo.append(back)

    def drop_chain(self, c: Chain) -> None:
        chains = c.table.chains
        before = dict(chains)
        self.touch(c)
        for r in c.rules:
            self.count_rule(r, -1)
        c.rules = []
        del chains[c.name]
        self.chains -= 1

        def back() -> None:
            chains.clear()
            chains.update(before)
            self.chains += 1

        self.undo.append(back)

    def drop_table(self, t: Table) -> None:
        """With all that is in it, which nothing outside leads to."""
        tables = self.tables
        before = dict(tables)
        rules = [r for c in t.chains.values() for r in c.rules]
        size, chains = sum(r.size for r in rules), len(t.chains)
        del tables[t.family, t.name]
        self.rules -= len(rules)
        self.bytes -= size
        self.chains -= chains

        def back() -> None:
            tables.clear()
            tables.update(before)
            self.rules += len(rules)
            self.bytes += size
            self.chains += chains

        self.undo.append(back)

    def check(self) -> None:
        """From a hook chains lead to each other at most MAX_DEPTH deep, never to themselves, and translate where that is possible. Raises ELOOP,
        EMLINK, EOPNOTSUPP."""
        depth: dict[Chain, int] = {}
        nats: dict[Chain, int] = {}  # hooks where all of a chain's translations may be
        leads = {c: [to for r in c.rules for to in r.leads()] for c in self.all_chains()}
        for start in [c for c in leads if c.base]:
            stack = [start]
            while stack:
                c = stack[-1]
                if c not in depth:
                    depth[c] = -1  # on the way
                    for to in leads.get(c, []):
                        if depth.get(to, 0) == -1:
                            raise SysErr(errno.ELOOP)
                        if to not in depth:
                            stack.append(to)
                    continue
                stack.pop()
                if depth[c] >= 0:
                    continue
                below = leads.get(c, [])
                depth[c] = 1 + max((depth[to] for to in below), default=0)
                if depth[c] > MAX_DEPTH:
                    raise SysErr(errno.EMLINK)
                mask = 0x3F  # bit 5: nothing is translated
                for r in c.rules:
                    mask &= r.hooks
                for to in below:
                    mask &= nats[to]
                nats[c] = mask
        for c, mask in nats.items():
            if c.base and not mask & 32 and not (c.kind == b"nat" and mask >> c.hook & 1):
                raise SysErr(errno.EOPNOTSUPP)

    # What the engine gets
    def bases(self) -> list[Base]:
        out: list[Base] = []
        for t in self.tables.values():
            for c in t.chains.values():
                if (
                    c.base
                    and not t.flags & TABLE_DORMANT
                    and (c.rules or c.policy != ACCEPT or c.count is not None)
                ):
                    nat = c.kind == b"nat"
                    b = Base(t.sizes(), c.hook, c.priority, c.flat, policy=c.policy, nat=nat)
                    b.count, b.registers = c.count, True
                    out.append(b)
        return out

    def tracks(self) -> bool:
        return any(r.tracks for c in self.all_chains() for r in c.rules)


def table_of(rs: Ruleset, family: int, a: d.Attrs) -> Table:
    """Raises ENOENT."""
    t = rs.tables.get((family, d.name(a, 1)))
    if t is None:
        raise SysErr(errno.ENOENT)
    return t


def userdata(a: d.Attrs, kind: int) -> bytes:
    raw = a.get(kind, b"")
    if len(raw) > USERDATA_MAX:
        raise d.bad()
    return raw
