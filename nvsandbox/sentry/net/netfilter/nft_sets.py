"""Sets and maps of nftables (Linux: net/netfilter/nft_set_hash.c, nft_set_rbtree.c, nft_set_pipapo.c)."""

from __future__ import annotations

import errno
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, final

from ...errors import SysErr
from . import nft_data as d
from .rules import Op
from .skb import Skb

if TYPE_CHECKING:
    from collections.abc import Callable

    from .nft_tables import Chain, Table

ANONYMOUS: Final = 1
CONSTANT: Final = 2
INTERVAL: Final = 4
MAP: Final = 8
TIMEOUT: Final = 0x10
EVAL: Final = 0x20
OBJECT: Final = 0x40
CONCAT: Final = 0x80
EXPR: Final = 0x100
SET_FLAGS: Final = 0x1FF & ~OBJECT
INTERVAL_END: Final = 1
CATCHALL: Final = 2
MAX_RANGES: Final = (
    4096  # elements of a set of ranges in several fields: they are gone through one by one
)
VERDICT_TYPE: Final = 0xFFFFFF00
NO_VERDICT: Final = 99


@final
class Expression:
    """``raw``: its attributes as they came; ``live``: as they are now, where that is not the same."""

    __slots__ = ("live", "name", "op", "raw")

    def __init__(self, name: bytes, raw: bytes, op: Op, live: Callable[[], bytes] | None) -> None:
        self.name = name
        self.raw = raw
        self.op = op
        self.live = live

    def shown(self) -> bytes:
        """NFTA_EXPR_NAME and NFTA_EXPR_DATA."""
        return d.text(1, self.name) + d.nest(2, self.raw if self.live is None else self.live())


@final
class Element:
    """``data``: of a map, ``verdict``, ``chain``: of a verdict map. ``expires``: ns, 0: never; ``timeout``: ms of its own."""

    __slots__ = (
        "chain",
        "data",
        "end",
        "expires",
        "exprs",
        "flags",
        "key",
        "timeout",
        "userdata",
        "verdict",
    )

    def __init__(self, key: bytes, end: bytes, flags: int) -> None:
        self.key = key
        self.end = end
        self.flags = flags
        self.data = b""
        self.verdict = NO_VERDICT
        self.chain: Chain | None = None
        self.exprs: list[Expression] = []
        self.expires = 0
        self.timeout = 0
        self.userdata = b""


def _key(e: Element) -> bytes:
    return e.key


@final
class Set:
    """``elements``: by key, end flag and end. ``fields``: lengths in bytes of a concatenation's, else empty. ``raw``: attributes that are shown as they
    came."""

    __slots__ = (
        "catchall", "data_len", "elements", "expr_raw", "fields", "flags", "handle", "ident", "key_len", "name", "order", "raw", "size", "sorted",
        "table", "timeout",
    )  # fmt: skip

    def __init__(self, table: Table, name: bytes, handle: int, flags: int) -> None:
        self.table = table
        self.name = name
        self.handle = handle
        self.flags = flags
        self.ident = 0
        self.key_len = 0
        self.data_len = 0  # 0 in a verdict map
        self.size = 0
        self.timeout = 0  # ms
        self.fields: list[int] = []
        self.raw = b""
        self.expr_raw: list[bytes] = []
        self.elements: dict[tuple[bytes, int, bytes], Element] = {}
        self.catchall: Element | None = None
        self.sorted = True
        self.order: list[Element] = []

    def changed(self) -> None:
        self.sorted = False

    def _live(self, e: Element | None, now: int) -> Element | None:
        return e if e is not None and (not e.expires or e.expires > now) else None

    def find(self, key: bytes, now: int, skb: Skb | None = None) -> Element | None:
        """The element that a packet's key is in."""
        found: Element | None = None
        if self.flags & INTERVAL and self.fields:
            if skb is not None:
                skb.budget -= len(self.elements) >> 1
            for e in self.elements.values():
                if self._within(e, key) and self._live(e, now) is not None:
                    found = e
                    break
        elif self.flags & INTERVAL:
            if not self.sorted:
                # An end and a start at one place: the start counts.
                self.order = sorted(self.elements.values(), key=lambda e: (e.key, not e.flags & INTERVAL_END))  # fmt: skip
                self.sorted = True
            i = bisect_right(self.order, key, key=_key)
            if i:
                e = self.order[i - 1]
                if not e.flags & INTERVAL_END:
                    found = self._live(e, now)
        else:
            found = self._live(self.elements.get((key, 0, b"")), now)
        return found or self._live(self.catchall, now)

    def _within(self, e: Element, key: bytes) -> bool:
        end = e.end or e.key
        at = 0
        for n in self.fields:
            if not e.key[at : at + n] <= key[at : at + n] <= end[at : at + n]:
                return False
            at += (n + 3) & ~3
        return True

    def room(self, limit: int) -> int:
        """How many elements it takes."""
        most = min(self.size or limit, limit)
        return min(most, MAX_RANGES) if self.flags & INTERVAL and self.fields else most

    def purge(self, now: int) -> None:
        for k in [k for k, e in self.elements.items() if e.expires and e.expires <= now]:
            del self.elements[k]
            self.sorted = False

    def shown(self) -> bytes:
        """As NFTA_SET_*."""
        return (
            d.text(1, self.table.name) + d.text(2, self.name) + d.be64(16, self.handle) + self.raw
        )


def show_element(e: Element, now: int) -> bytes:
    """As an element of NFTA_SET_ELEM_LIST_ELEMENTS."""
    parts: list[bytes] = []
    if e.key:
        parts.append(d.nest(1, d.pack(1, e.key)))
    if e.end:
        parts.append(d.nest(10, d.pack(1, e.end)))
    if e.data:
        parts.append(d.nest(2, d.pack(1, e.data)))
    elif e.verdict != NO_VERDICT:
        code = d.be32(1, e.verdict)
        chain = d.text(2, e.chain.name) if e.chain is not None else b""
        parts.append(d.nest(2, d.nest(2, code, chain)))
    if len(e.exprs) == 1:
        parts.append(d.nest(7, e.exprs[0].shown()))
    elif e.exprs:
        parts.append(d.nest(11, *(d.nest(1, x.shown()) for x in e.exprs)))
    if e.flags:
        parts.append(d.be32(3, e.flags))
    if e.timeout:
        parts.append(d.be64(4, e.timeout))
    if e.expires:
        parts.append(d.be64(5, max(e.expires - now, 0) // 1_000_000))
    if e.userdata:
        parts.append(d.pack(6, e.userdata))
    return d.nest(1, *parts)


def full() -> SysErr:
    return SysErr(errno.ENFILE)
