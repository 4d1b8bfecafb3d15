"""What messages to nftables change: tables, chains, rules, sets, elements, objects (Linux: net/netfilter/nf_tables_api.c).

Each is one of a transaction: what it does is noted in ``Ruleset.undo``. All raise EINVAL, ENOENT, EEXIST, EBUSY, EOPNOTSUPP, ENOMEM and the like.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ...errors import SysErr
from . import nft_actions as act
from . import nft_data as d
from .hooks import FORWARD, HOOKS, INPUT, OUTPUT, POSTROUTING, PREROUTING
from .nft_actions import Refer
from .nft_rules import MAX_EXPRESSIONS, Scope, expression, show_quota
from .nft_set_changes import del_elements, del_set, new_elements, new_set
from .nft_tables import (
    CHAIN_BINDING,
    FAMILIES,
    MAX_CHAINS,
    MAX_OBJECTS,
    MAX_TABLES,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    TABLE_DORMANT,
    Chain,
    NamedObject,
    NftRule,
    Ruleset,
    Table,
    table_of,
    userdata,
)
from .rules import ACCEPT, DROP, Count, Op

if TYPE_CHECKING:
    from ..stack.stack import Stack

NLM_F_APPEND: Final = 0x800
KINDS: Final[dict[bytes, tuple[int, ...]]] = {
    b"filter": (PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING), b"nat": (PREROUTING, INPUT, OUTPUT, POSTROUTING),
    b"route": (OUTPUT,),
}  # fmt: skip
OBJECT_COUNTER: Final = 1
OBJECT_QUOTA: Final = 2
OBJECT_LIMIT: Final = 4


# Tables
def new_table(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    if family not in FAMILIES:
        raise SysErr(errno.EOPNOTSUPP)
    name, wanted = d.name(a, 1), d.u32(a, 2, 0)
    if not name:
        raise d.bad()
    if wanted & ~TABLE_DORMANT:
        raise SysErr(errno.EOPNOTSUPP if wanted & 2 else errno.EINVAL)
    t = rs.tables.get((family, name))
    if t is not None:
        if flags & NLM_F_EXCL:
            raise SysErr(errno.EEXIST)
        if flags & NLM_F_REPLACE:
            raise SysErr(errno.EOPNOTSUPP)
        old, same = t.flags, t
        t.flags = wanted if 2 in a else old

        def back() -> None:
            same.flags = old

        rs.undo.append(back)
        return
    if len(rs.tables) >= MAX_TABLES:
        raise SysErr(errno.ENOMEM)
    rs.handles += 1
    t = Table(rs, family, name, rs.handles)
    t.flags, t.userdata = wanted, userdata(a, 6)
    rs.tables[family, name] = t

    def gone() -> None:
        rs.tables.pop((family, name), None)

    rs.undo.append(gone)


def del_table(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    if 1 in a:
        rs.drop_table(table_of(rs, family, a))
        return
    if 4 in a:
        handle = d.u64(a, 4)
        for t in list(rs.tables.values()):
            if t.handle == handle and t.family == family:
                rs.drop_table(t)
                return
        raise SysErr(errno.ENOENT)
    for t in list(rs.tables.values()):
        if family in (0, t.family):
            rs.drop_table(t)


# Chains
def _chain(t: Table, a: d.Attrs, name: int, handle: int) -> Chain:
    if name in a:
        c = t.chains.get(d.name(a, name))
    else:
        number = d.u64(a, handle, -1)
        c = next((c for c in t.chains.values() if c.handle == number), None)
    if c is None:
        raise SysErr(errno.ENOENT)
    return c


def _policy(a: d.Attrs, default: int) -> int:
    policy = d.u32(a, 5, default)
    if policy not in (DROP, ACCEPT):
        raise d.bad()
    return policy


def _counters(a: d.Attrs) -> Count | None:
    if 8 not in a:
        return None
    n = d.attrs(a[8])
    return Count(d.u64(n, 2), d.u64(n, 1))


def new_chain(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    t = table_of(rs, family, a)
    c: Chain | None = None
    if 2 in a:
        c = next((x for x in t.chains.values() if x.handle == d.u64(a, 2)), None)
        if c is None:
            raise SysErr(errno.ENOENT)
    elif 3 in a:
        c = t.chains.get(d.name(a, 3))
    if c is not None:
        if flags & NLM_F_EXCL:
            raise SysErr(errno.EEXIST)
        if flags & NLM_F_REPLACE:
            raise SysErr(errno.EOPNOTSUPP)
        _change_chain(rs, t, c, a)
        return
    chain_flags = d.u32(a, 10, 0)
    name = d.name(a, 3)
    if not name and chain_flags & CHAIN_BINDING:
        name = b"__chain%d" % (t.handles + 1)
    if not name or name in t.chains or chain_flags & ~(1 | CHAIN_BINDING):
        raise d.bad()
    if rs.chains >= MAX_CHAINS // rs.share:
        raise SysErr(errno.EOVERFLOW)
    c = Chain(t, name, t.next_handle())
    c.flags, c.ident, c.userdata = chain_flags, d.u32(a, 11, 0), userdata(a, 12)
    if 4 in a:
        _hook(c, t, a)
        c.policy, c.count = _policy(a, ACCEPT), _counters(a)
    elif 5 in a:
        raise SysErr(errno.EOPNOTSUPP)
    t.chains[name] = c
    rs.chains += 1

    def back() -> None:
        t.chains.pop(name, None)
        rs.chains -= 1

    rs.undo.append(back)


def _hook(c: Chain, t: Table, a: d.Attrs) -> None:
    h = d.attrs(a[4])
    hook, priority = d.u32(h, 1), d.u32(h, 2)
    kind = d.name(a, 7) or b"filter"
    if 3 in h or 4 in h or hook >= HOOKS:
        raise SysErr(errno.EOPNOTSUPP)  # ingress
    if kind not in KINDS:
        raise SysErr(errno.ENOENT)
    if hook not in KINDS[kind] or (kind == b"route" and t.family == 1):
        raise SysErr(errno.EOPNOTSUPP)
    c.base, c.hook, c.kind = True, hook, kind
    c.priority = priority - (1 << 32) if priority & 0x80000000 else priority
    if kind == b"nat" and c.priority <= -200:
        raise SysErr(errno.EOPNOTSUPP)
    c.flags |= 1


def _change_chain(rs: Ruleset, t: Table, c: Chain, a: d.Attrs) -> None:
    """A new policy, new counters, a new name."""
    if 4 in a:
        if not c.base:
            raise SysErr(errno.EEXIST)
        other = Chain(t, c.name, 0)
        _hook(other, t, a)
        if (other.hook, other.priority, other.kind) != (c.hook, c.priority, c.kind):
            raise SysErr(errno.EEXIST)
    if 5 in a and not c.base:
        raise SysErr(errno.EOPNOTSUPP)
    policy, count, name = c.policy, c.count, c.name
    c.policy = _policy(a, policy)
    if 8 in a:
        if not c.base:
            raise SysErr(errno.EOPNOTSUPP)
        c.count = _counters(a)
    if 2 in a and 3 in a:
        new = d.name(a, 3)
        if new != name:
            if new in t.chains or c.base:
                raise SysErr(errno.EEXIST)
            _rename(t, c, new)

    def back() -> None:
        c.policy, c.count = policy, count
        if c.name != name:
            _rename(t, c, name)

    rs.undo.append(back)


def _rename(t: Table, c: Chain, new: bytes) -> None:
    """It stays in its place among the others."""
    c.name = new
    chains = {x.name: x for x in t.chains.values()}
    t.chains.clear()
    t.chains.update(chains)


def del_chain(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    t = table_of(rs, family, a)
    c = _chain(t, a, 3, 2)
    if _led_to(t, c):
        raise SysErr(errno.EBUSY)
    rs.drop_chain(c)


def _led_to(t: Table, c: Chain) -> bool:
    if any(to is c for o in t.chains.values() if o is not c for r in o.rules for to in r.leads()):
        return True
    return any(e.chain is c for s in t.sets.values() for e in s.elements.values())


# Rules
def new_rule(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    t = table_of(rs, family, a)
    if 2 in a:
        c = _chain(t, a, 2, 0)
    elif 11 in a:
        c = t.chain_by({3: a[11]})
    else:
        raise d.bad()
    old: NftRule | None = None
    at = len(c.rules) if flags & NLM_F_APPEND else 0
    if 3 in a:
        old = next((r for r in c.rules if r.handle == d.u64(a, 3)), None)
        if old is None:
            raise SysErr(errno.ENOENT)
        if flags & NLM_F_EXCL:
            raise SysErr(errno.EEXIST)
        if not flags & NLM_F_REPLACE:
            raise SysErr(errno.EOPNOTSUPP)
        at = c.rules.index(old)
    else:
        if not flags & NLM_F_CREATE or flags & NLM_F_REPLACE:
            raise d.bad()
        at = _place(c, flags, a, at)
    raw = a.get(4, b"")
    listed = d.items(raw)
    if len(listed) > MAX_EXPRESSIONS:
        raise d.bad()
    compat = d.attrs(a[5]) if 5 in a else {}
    proto, inv = (d.u32(compat, 1), d.u32(compat, 2)) if compat else (0, 0)
    if proto > 255 or inv & ~3:
        raise d.bad()
    scope = Scope(t, c, stack, proto, bool(inv & 2))
    handle = old.handle if old is not None else t.next_handle()
    rule = NftRule(c, handle, [expression(scope, x) for x in listed], len(raw) + 256)
    rule.userdata, rule.ident = userdata(a, 7), d.u32(a, 9, 0)
    rs.count_rule(rule, 1)
    rs.touch(c)
    if old is not None:
        rs.count_rule(old, -1)
        c.rules[at] = rule
    else:
        c.rules.insert(at, rule)


def _place(c: Chain, flags: int, a: d.Attrs, default: int) -> int:
    """Behind a rule that is named (with NLM_F_APPEND), or in front of it."""
    if 6 in a:
        place = d.u64(a, 6)
        at = next((i for i, r in enumerate(c.rules) if r.handle == place), -1)
    elif 10 in a:
        ident = d.u32(a, 10)
        at = next((i for i, r in enumerate(c.rules) if r.ident == ident), -1)
    else:
        return default
    if at < 0:
        raise SysErr(errno.ENOENT)
    return at + 1 if flags & NLM_F_APPEND else at


def del_rule(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    t = table_of(rs, family, a)
    if 2 not in a:
        for c in list(t.chains.values()):
            _drop_rules(rs, c, list(c.rules))
        return
    c = _chain(t, a, 2, 0)
    rules = list(c.rules)
    if 3 in a:
        handle = d.u64(a, 3)
        rules = [r for r in rules if r.handle == handle]
    elif 9 in a:
        ident = d.u32(a, 9)
        rules = [r for r in rules if r.ident == ident]
    if not rules and (3 in a or 9 in a):
        raise SysErr(errno.ENOENT)
    _drop_rules(rs, c, rules)


def _drop_rules(rs: Ruleset, c: Chain, gone: list[NftRule]) -> None:
    if not gone:
        return
    rs.touch(c)
    for r in gone:
        rs.count_rule(r, -1)
    if len(gone) == len(c.rules):
        c.rules = []
    else:
        c.rules = [r for r in c.rules if r not in gone]


# Named objects
def new_object(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    t = table_of(rs, family, a)
    name, kind = d.name(a, 2), d.u32(a, 3)
    if not name or 4 not in a:
        raise d.bad()
    if (kind, name) in t.objects:
        if flags & NLM_F_EXCL:
            raise SysErr(errno.EEXIST)
        if flags & NLM_F_REPLACE:
            raise SysErr(errno.EOPNOTSUPP)
        return
    if sum(len(o.objects) for o in rs.tables.values()) >= MAX_OBJECTS // rs.share:
        raise SysErr(errno.ENOMEM)
    op, show = _object(kind, a[4])
    o = NamedObject(t, kind, name, t.next_handle(), op, show)
    o.userdata = userdata(a, 8)
    t.objects[kind, name] = o

    def back() -> None:
        t.objects.pop((kind, name), None)

    rs.undo.append(back)


def _object(kind: int, raw: bytes) -> tuple[Op, Callable[[], bytes]]:
    a = d.attrs(raw)
    if kind == OBJECT_COUNTER:
        c = act.counter(a)
        return c, lambda: d.be64(1, c.bytes) + d.be64(2, c.packets)
    if kind == OBJECT_QUOTA:
        q = act.quota(a)
        return q, lambda: show_quota(q)
    if kind == OBJECT_LIMIT:
        return act.limit(a), lambda: raw
    raise SysErr(errno.EOPNOTSUPP)


def users(o: NamedObject) -> int:
    """How many rules refer to an object."""
    return sum(
        isinstance(x.op, Refer) and x.op.op is o.op
        for c in o.table.chains.values()
        for r in c.rules
        for x in r.exprs
    )


def del_object(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    t = table_of(rs, family, a)
    kind = d.u32(a, 3)
    if 6 in a and 2 not in a:
        o = next((o for o in t.objects.values() if o.handle == d.u64(a, 6)), None)
    else:
        o = t.objects.get((kind, d.name(a, 2)))
    if o is None:
        raise SysErr(errno.ENOENT)
    if users(o):
        raise SysErr(errno.EBUSY)
    before = dict(t.objects)
    del t.objects[o.kind, o.name]

    def back() -> None:
        t.objects.clear()
        t.objects.update(before)  # in the order in which they were

    rs.undo.append(back)


Change = Callable[[Ruleset, int, int, d.Attrs, "Stack"], None]
CHANGES: Final[dict[int, Change]] = {
    0: new_table, 2: del_table, 3: new_chain, 5: del_chain, 6: new_rule, 8: del_rule, 9: new_set, 11: del_set, 12: new_elements,
    14: del_elements, 18: new_object, 20: del_object,
}  # fmt: skip
