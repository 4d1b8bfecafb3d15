"""nftables' expressions by name: from the attributes of a message to operations, and back (Linux: net/netfilter/nf_tables_api.c, nft_compat.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ...errors import SysErr
from . import nft_actions as act
from . import nft_computed as more
from . import nft_data as d
from . import nft_exprs as ex
from . import xt
from .nft_actions import Decide, Quota, Refer
from .nft_sets import Expression, Set
from .rules import CONTINUE, Op
from .skb import Skb
from .xt_context import Context

if TYPE_CHECKING:
    from ..stack.stack import Stack
    from .nft_tables import Chain, Table

MAX_EXPRESSIONS: Final = 128  # NFT_RULE_MAXEXPRS
STATEFUL: Final = (b"counter", b"limit", b"quota", b"last")  # what elements of sets may have


@final
class Scope:
    """Where a rule is to be. ``proto``, ``inverted``: what it says for compatibility (NFTA_RULE_COMPAT)."""

    __slots__ = ("chain", "inverted", "proto", "stack", "table")

    def __init__(
        self, table: Table, chain: Chain | None, stack: Stack | None, proto: int, inverted: bool
    ) -> None:
        self.table = table
        self.chain = chain
        self.stack = stack
        self.proto = proto
        self.inverted = inverted


@final
class Nothing(Op):
    """log: nobody reads it."""

    __slots__ = ()

    def run(self, skb: Skb) -> int:
        return CONTINUE


SIMPLE: Final[dict[bytes, Callable[[d.Attrs], Op]]] = {
    b"payload": ex.payload, b"meta": ex.meta, b"ct": ex.ct, b"cmp": ex.compare, b"range": ex.within, b"bitwise": ex.bitwise,
    b"byteorder": ex.byteorder, b"numgen": more.number, b"hash": more.jhash, b"exthdr": more.exthdr, b"limit": act.limit,
}  # fmt: skip
WITH_STACK: Final[dict[bytes, Callable[[d.Attrs, Stack | None], Op]]] = {
    b"fib": more.fib, b"rt": more.rt, b"nat": act.nat, b"masq": act.masquerade, b"redir": act.redirect, b"reject": act.refuse,
}  # fmt: skip


def expression(scope: Scope, raw: bytes) -> Expression:
    """One of a list's. Raises ENOENT for what is not known here, EINVAL, ERANGE, EOPNOTSUPP."""
    outer = d.attrs(raw)
    name, body = d.name(outer, 1), outer.get(2, b"")
    a = d.attrs(body)
    simple, with_stack = SIMPLE.get(name), WITH_STACK.get(name)
    if simple is not None:
        return Expression(name, body, simple(a), None)
    if with_stack is not None:
        return Expression(name, body, with_stack(a, scope.stack), None)
    if name == b"immediate":
        return _immediate(scope, name, body, a)
    if name == b"counter":
        count = act.counter(a)
        return Expression(
            name, body, count, lambda: d.be64(1, count.bytes) + d.be64(2, count.packets)
        )
    if name == b"quota":
        q = act.quota(a)
        return Expression(name, body, q, lambda: show_quota(q))
    if name == b"lookup":
        s = scope.table.set_by(d.name(a, 1), d.u32(a, 4, 0))
        return Expression(name, body, act.lookup(a, s), lambda: _with_name(body, 1, 4, s) + (b"" if 5 in a else d.be32(5, 0)))  # fmt: skip
    if name == b"dynset":
        return _dynset(scope, name, body, a)
    if name == b"objref":
        return _objref(scope, name, body, a)
    if name == b"notrack":
        return Expression(name, body, ex.Untrack(), None)
    if name == b"log":
        rest = b"".join(d.pack(k, v) for k, v in d.pairs(body) if k != 2)
        prefix = d.text(2, d.name(a, 2)) if 2 in a else b""
        return Expression(name, body, Nothing(), lambda: prefix + rest)
    if name == b"last":
        return Expression(name, body, Nothing(), None)
    if name in (b"match", b"target"):
        return Expression(name, body, _compat(scope, name, a), None)
    raise SysErr(errno.ENOENT)


def _immediate(scope: Scope, name: bytes, body: bytes, a: d.Attrs) -> Expression:
    number = d.u32(a, 1)
    if number:
        data = d.value(a.get(2))
        return Expression(name, body, act.Store(d.register(number, len(data)), data), None)
    code, chain = act.verdict(a.get(2), scope.table.chain_by)
    op = Decide(code, chain)
    if chain is None:
        return Expression(name, body, op, None)
    to = chain

    def live() -> bytes:
        return d.be32(1, 0) + d.nest(2, d.nest(2, d.be32(1, code), d.text(2, to.name)))

    return Expression(name, body, op, live)


def show_quota(q: Quota) -> bytes:
    return d.be64(1, q.bytes) + d.be32(2, q.inv) + d.be64(4, q.used)


def _with_name(body: bytes, kind: int, ident: int, s: Set) -> bytes:
    """Attributes with the set's real name, in the place of the one by which the transaction knew it."""
    rest = b"".join(d.pack(k, v) for k, v in d.pairs(body) if k not in (kind, ident))
    return d.text(kind, s.name) + rest


def stateful(scope: Scope, raw: list[bytes]) -> list[Expression]:
    """What an element has of its own. Raises EOPNOTSUPP."""
    out = [expression(scope, r) for r in raw]
    if any(x.name not in STATEFUL for x in out):
        raise SysErr(errno.EOPNOTSUPP)
    return out


def _dynset(scope: Scope, name: bytes, body: bytes, a: d.Attrs) -> Expression:
    s = scope.table.set_by(d.name(a, 1), d.u32(a, 2, 0))
    raw = [a[7]] if 7 in a else d.items(a.get(10, b""))
    if len(raw) > 2:
        raise SysErr(errno.E2BIG)
    stateful(scope, raw)
    own = raw or s.expr_raw
    op = act.dynset(a, s, lambda: stateful(scope, own))
    return Expression(name, body, op, lambda: _with_name(body, 1, 2, s))


def _objref(scope: Scope, name: bytes, body: bytes, a: d.Attrs) -> Expression:
    if 2 not in a:  # maps of objects
        raise SysErr(errno.EOPNOTSUPP)
    obj = scope.table.objects.get((d.u32(a, 1), d.name(a, 2)))
    if obj is None:
        raise SysErr(errno.ENOENT)
    kind, called = obj.kind, obj.name
    return Expression(
        name, body, Refer(obj.op, obj.name), lambda: d.be32(1, kind) + d.text(2, called)
    )


def _compat(scope: Scope, kind: bytes, a: d.Attrs) -> Op:
    """iptables' matches and targets (linux/netfilter/nf_tables_compat.h)."""
    name, revision, info = d.name(a, 1), d.u32(a, 2), a.get(3)
    if info is None or revision > 255:
        raise d.bad()
    family = scope.table.sizes()[0]
    context = Context(family, scope.proto, scope.inverted, scope.stack)
    info = info.ljust(xt.align(len(info)), b"\0")
    if kind == b"match":
        return xt.match(name, revision, info, context)
    hooks = scope.chain.hooks() if scope.chain is not None else 0
    return xt.target(name, revision, info, context, scope.table.name, hooks)
