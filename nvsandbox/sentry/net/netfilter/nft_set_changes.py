"""What messages to nftables change in sets and maps, as ``nft_changes.py`` for the rest (Linux: net/netfilter/nf_tables_api.c)."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

from ...errors import SysErr
from . import nft_actions as act
from . import nft_data as d
from . import nft_sets as sets
from .nft_rules import Scope, stateful
from .nft_sets import Element, Set
from .nft_tables import (
    MAX_SETS,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Ruleset,
    Table,
    table_of,
    userdata,
)

if TYPE_CHECKING:
    from ..stack.stack import Stack


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
    e.userdata = userdata(a, 6)
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
