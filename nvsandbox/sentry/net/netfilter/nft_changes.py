"""What messages to nftables change: tables, chains, rules, sets, elements, objects (Linux: net/netfilter/nf_tables_api.c).

Each is one of a transaction: what it does is noted in ``Ruleset.undo``. All raise EINVAL, ENOENT, EEXIST, EBUSY, EOPNOTSUPP, ENOMEM and the like.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ...errors import SysErr
from . import nft_actions as act
from . import nft_data as d
from . import nft_sets as sets
from .hooks import FORWARD, HOOKS, INPUT, OUTPUT, POSTROUTING, PREROUTING
from .nft_actions import Refer
from .nft_rules import MAX_EXPRESSIONS, Scope, expression, show_quota, stateful
from .nft_sets import Element, Set
from .nft_tables import (
    CHAIN_BINDING,
    FAMILIES,
    MAX_CHAINS,
    MAX_OBJECTS,
    MAX_SETS,
    MAX_TABLES,
    TABLE_DORMANT,
    Chain,
    NamedObject,
    NftRule,
    Ruleset,
    Table,
)
from .rules import ACCEPT, DROP, Count, Op

if TYPE_CHECKING:
    from ..stack.stack import Stack

NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800
USERDATA_MAX: Final = 256
KINDS: Final[dict[bytes, tuple[int, ...]]] = {
    b"filter": (PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING), b"nat": (PREROUTING, INPUT, OUTPUT, POSTROUTING),
    b"route": (OUTPUT,),
}  # fmt: skip
OBJECT_COUNTER: Final = 1
OBJECT_QUOTA: Final = 2
OBJECT_LIMIT: Final = 4


def table_of(rs: Ruleset, family: int, a: d.Attrs) -> Table:
    """Raises ENOENT."""
    t = rs.tables.get((family, d.name(a, 1)))
    if t is None:
        raise SysErr(errno.ENOENT)
    return t


def _userdata(a: d.Attrs, kind: int) -> bytes:
    raw = a.get(kind, b"")
    if len(raw) > USERDATA_MAX:
        raise d.bad()
    return raw


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
    t.flags, t.userdata = wanted, _userdata(a, 6)
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
    c.flags, c.ident, c.userdata = chain_flags, d.u32(a, 11, 0), _userdata(a, 12)
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
    rule.userdata, rule.ident = _userdata(a, 7), d.u32(a, 9, 0)
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


# Sets
def new_set(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    t = table_of(rs, family, a)
    name, ident = d.name(a, 2), d.u32(a, 10, 0)
    if not name or 5 not in a or 10 not in a:
        raise d.bad()
    set_flags, key_len = d.u32(a, 3, 0), d.u32(a, 5)
    if set_flags & ~sets.SET_FLAGS:
        raise SysErr(errno.EOPNOTSUPP if set_flags & sets.OBJECT else errno.EINVAL)
    if not 0 < key_len <= d.MAX_DATA:
        raise d.bad()
    if b"%" in name:
        name = _free_name(t, name)
    if name in t.sets:
        if flags & NLM_F_EXCL:
            raise SysErr(errno.EEXIST)
        if flags & NLM_F_REPLACE:
            raise SysErr(errno.EOPNOTSUPP)
        return
    if not flags & NLM_F_CREATE:
        raise SysErr(errno.ENOENT)
    if sum(len(o.sets) for o in rs.tables.values()) >= MAX_SETS // rs.share:
        raise SysErr(errno.ENFILE)
    s = Set(t, name, t.next_handle(), set_flags)
    s.ident, s.key_len = ident, key_len
    data_type = d.u32(a, 6, 0)
    if bool(set_flags & sets.MAP) != (6 in a):
        raise d.bad()
    if set_flags & sets.MAP and data_type != sets.VERDICT_TYPE:
        s.data_len = d.u32(a, 7)
        if not 0 < s.data_len <= d.MAX_DATA:
            raise d.bad()
    s.timeout = d.u64(a, 11)
    if s.timeout and not set_flags & sets.TIMEOUT:
        raise d.bad()
    if s.timeout > 1 << 40:
        raise SysErr(errno.ERANGE)
    _describe(s, a)
    s.expr_raw = [a[17]] if 17 in a else d.items(a.get(18, b""))
    if len(s.expr_raw) > 2:
        raise SysErr(errno.E2BIG)
    stateful(Scope(t, None, stack, 0, False), s.expr_raw)
    keep = (3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 17, 18)
    nested = (9, 17, 18)
    s.raw = b"".join(
        d.nest(k, v) if k in nested else d.pack(k, v)
        for k, v in a.items()
        if k in keep and not (k in (3, 8) and not any(v))
    )
    if len(s.raw) > 4096:
        raise d.bad()
    t.sets[name] = s

    def back() -> None:
        t.sets.pop(name, None)

    rs.undo.append(back)


def _free_name(t: Table, name: bytes) -> bytes:
    """A name from a pattern with one %d."""
    if name.count(b"%") != 1 or b"%d" not in name:
        raise d.bad()
    for n in range(MAX_SETS + 1):
        one = name.replace(b"%d", b"%d" % n)
        if one not in t.sets:
            return one
    raise SysErr(errno.ENFILE)


def _describe(s: Set, a: d.Attrs) -> None:
    desc = d.attrs(a.get(9, b""))
    s.size = d.u32(desc, 1, 0)
    if 2 in desc:
        s.fields = [d.u32(d.attrs(f), 1) for f in d.items(desc[2])]
        total = sum((n + 3) & ~3 for n in s.fields)
        if (
            not all(0 < n <= d.MAX_DATA for n in s.fields)
            or len(s.fields) > 16
            or total != s.key_len
        ):
            raise d.bad()


def del_set(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    t = table_of(rs, family, a)
    if 16 in a and 2 not in a:
        s = next((s for s in t.sets.values() if s.handle == d.u64(a, 16)), None)
        if s is None:
            raise SysErr(errno.ENOENT)
    else:
        s = t.set_by(d.name(a, 2), 0)
    for c in t.chains.values():
        for r in c.rules:
            if any(one is s for one in r.sets):
                raise SysErr(errno.EBUSY)
    rs.drop_set(s)


def _elements(rs: Ruleset, family: int, a: d.Attrs) -> tuple[Set, list[bytes]]:
    t = table_of(rs, family, a)
    s = t.set_by(d.name(a, 2), d.u32(a, 4, 0))
    return s, d.items(a.get(3, b""))


def _save(rs: Ruleset, s: Set) -> None:
    before, catchall, total = dict(s.elements), s.catchall, rs.elements

    def back() -> None:
        s.elements, s.catchall, rs.elements = before, catchall, total
        s.changed()

    rs.undo.append(back)


def _parse_element(s: Set, raw: bytes, stack: Stack | None, new: bool) -> Element:
    a = d.attrs(raw)
    flags = d.u32(a, 3, 0)
    if flags & ~3 or (flags & sets.INTERVAL_END and not s.flags & sets.INTERVAL):
        raise d.bad()
    catchall = bool(flags & sets.CATCHALL)
    if catchall == (1 in a):
        raise d.bad()
    key = b"" if catchall else d.value(a.get(1), s.key_len)
    end = d.value(a.get(10), s.key_len) if 10 in a else b""
    if end and not s.flags & sets.INTERVAL:
        raise d.bad()
    e = Element(key, end, flags)
    if not new:
        return e
    if 9 in a:
        raise SysErr(errno.EOPNOTSUPP)  # maps of objects
    if s.flags & sets.MAP and not flags & sets.INTERVAL_END:
        if s.data_len:
            e.data = d.value(a.get(2), s.data_len)
        else:
            e.verdict, e.chain = act.verdict(a.get(2), s.table.chain_by)
    elif 2 in a:
        raise d.bad()
    if (4 in a or 5 in a) and not s.flags & sets.TIMEOUT:
        raise d.bad()
    e.timeout = d.u64(a, 4)
    lives = d.u64(a, 5) or e.timeout or s.timeout
    if lives > 1 << 40:
        raise SysErr(errno.ERANGE)
    if s.flags & sets.TIMEOUT and lives and not flags & sets.INTERVAL_END:
        e.expires = time.monotonic_ns() + lives * 1_000_000
    e.userdata = _userdata(a, 6)
    exprs = [a[7]] if 7 in a else d.items(a.get(11, b"")) or s.expr_raw
    if len(exprs) > 2:
        raise SysErr(errno.E2BIG)
    if not flags & sets.INTERVAL_END:
        e.exprs = stateful(Scope(s.table, None, stack, 0, False), exprs)
    return e


def new_elements(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    s, listed = _elements(rs, family, a)
    if not listed:
        raise d.bad()
    _save(rs, s)
    s.purge(time.monotonic_ns())
    for raw in listed:
        e = _parse_element(s, raw, stack, True)
        key = (e.key, e.flags & sets.INTERVAL_END, e.end)
        old = s.catchall if e.flags & sets.CATCHALL else s.elements.get(key)
        if old is not None:
            if flags & NLM_F_EXCL:
                raise SysErr(errno.EEXIST)
            if (old.data, old.verdict, old.chain) != (e.data, e.verdict, e.chain):
                raise SysErr(errno.EEXIST)
            continue
        if e.flags & sets.CATCHALL:
            s.catchall = e
            continue
        if len(s.elements) >= s.room(rs.element_limit) or not rs.take_element():
            raise sets.full()
        s.elements[key] = e
    s.changed()


def del_elements(rs: Ruleset, family: int, flags: int, a: d.Attrs, stack: Stack) -> None:
    s, listed = _elements(rs, family, a)
    _save(rs, s)
    if 3 not in a:
        s.elements, s.catchall = {}, None
    for raw in listed:
        e = _parse_element(s, raw, stack, False)
        if e.flags & sets.CATCHALL:
            if s.catchall is None:
                raise SysErr(errno.ENOENT)
            s.catchall = None
        elif s.elements.pop((e.key, e.flags & sets.INTERVAL_END, e.end), None) is None:
            raise SysErr(errno.ENOENT)
    s.changed()


def find_element(s: Set, raw: bytes) -> Element:
    """What ``nft get element`` asks for."""
    e = _parse_element(s, raw, None, False)
    if e.flags & sets.INTERVAL_END or not e.key:
        found = s.elements.get((e.key, e.flags & sets.INTERVAL_END, e.end))
    else:
        found = s.find(e.key, time.monotonic_ns())
    if found is None:
        raise SysErr(errno.ENOENT)
    return found


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
    o.userdata = _userdata(a, 8)
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
