"""Tracked connections over NETLINK_NETFILTER: listed, counted, forgotten (Linux: net/netfilter/nf_conntrack_netlink.c)."""

from __future__ import annotations

import errno
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ...errors import SysErr
from . import nft_data as d
from .conntrack import LIMIT, Conn, ConnTable, Key, S
from .skb import ICMP, ICMPV6, PORTS, TCP

if TYPE_CHECKING:
    from .filters import Filters

NEW: Final = 0  # IPCTNL_MSG_CT_*
GET: Final = 1
DELETE: Final = 2
GET_STATS: Final = 5
DATAGRAM: Final = 4096  # bytes that conntrack(8) has room for
AF_SIZES: Final = {2: 4, 10: 16}
Body = tuple[int, int, bytes]  # message, family, attributes


def _table(f: Filters) -> ConnTable | None:
    return f.engine.table if f.engine is not None else None


def listed(f: Filters, family: int) -> Iterator[Body]:
    """All of a family's (AF_UNSPEC: of both)."""
    t = _table(f)
    if t is None:
        return
    size = AF_SIZES.get(family, 0)
    for c in t.all():
        if c.expires > t.now() and size in (0, len(c.orig[1])):
            yield NEW, _family(c), show(c, t.now())


def _family(c: Conn) -> int:
    return 2 if len(c.orig[1]) == 4 else 10


def ident(c: Conn) -> int:
    return zlib.crc32(repr(c.orig).encode())


def show(c: Conn, now: int) -> bytes:
    """CTA_*."""
    out = d.nest(1, _tuple(c.orig)) + d.nest(2, _tuple(c.answer)) + d.be32(3, c.status)
    if c.orig[0] == TCP:
        out += d.nest(4, d.nest(1, d.pack(1, bytes((c.state,)))))
    out += d.be32(7, max(c.expires - now, 0) // S) + d.be32(8, c.mark)
    return out + d.be32(12, ident(c)) + d.be32(11, 1)


def _tuple(k: Key) -> bytes:
    proto, src, dst, a, b = k
    v4 = len(src) == 4
    ips = d.pack(1 if v4 else 3, src) + d.pack(2 if v4 else 4, dst)
    parts = d.pack(1, bytes((proto,)))
    if proto in PORTS:
        parts += d.pack(2, a.to_bytes(2, "big")) + d.pack(3, b.to_bytes(2, "big"))
    elif proto == ICMP:
        parts += d.pack(4, a.to_bytes(2, "big")) + d.pack(5, bytes((b,))) + d.pack(6, b"\0")
    elif proto == ICMPV6:
        parts += d.pack(7, a.to_bytes(2, "big")) + d.pack(8, bytes((b,))) + d.pack(9, b"\0")
    return d.nest(1, ips) + d.nest(2, parts)


def _key(raw: bytes) -> Key:
    """The reverse of ``_tuple``. Raises EINVAL."""
    a = d.attrs(raw)
    ips, parts = d.attrs(a.get(1, b"")), d.attrs(a.get(2, b""))
    src, dst = ips.get(1) or ips.get(3, b""), ips.get(2) or ips.get(4, b"")
    if len(src) != len(dst) or len(src) not in (4, 16) or len(parts.get(1, b"")) != 1:
        raise d.bad()
    proto = parts[1][0]
    kinds = {ICMP: (4, 5), ICMPV6: (7, 8)}.get(proto, (2, 3))
    low, high = (int.from_bytes(parts.get(k, b"")[:2], "big") for k in kinds)
    return proto, src, dst, low, high


def _find(t: ConnTable | None, a: d.Attrs) -> Conn:
    """Raises ENOENT, EINVAL."""
    raw = a.get(1) or a.get(2)
    if raw is None:
        raise d.bad()
    c = t.find(_key(raw)) if t is not None else None
    if c is None or (12 in a and d.u32(a, 12) != ident(c)):
        raise SysErr(errno.ENOENT)
    return c


def request(f: Filters, kind: int, raw: bytes) -> Body | None:
    """One that is no listing; None: there is no answer but an acknowledgement. Raises ENOENT, EINVAL, EOPNOTSUPP."""
    t, a, family = _table(f), d.attrs(raw[20:]), raw[16]
    if kind == GET_STATS:
        return (
            GET_STATS,
            0,
            d.be32(1, t.count if t is not None else 0) + d.be32(2, LIMIT // f.share),
        )
    if kind == GET:
        c = _find(t, a)
        return NEW, _family(c), show(c, t.now() if t is not None else 0)
    if kind != DELETE:
        raise SysErr(errno.EOPNOTSUPP)
    if 1 in a or 2 in a:
        c = _find(t, a)
        if t is not None:
            t.forget(c)
        return None
    size = AF_SIZES.get(family, 0)
    for c in t.all() if t is not None else []:
        if size in (0, len(c.orig[1])) and t is not None:
            t.forget(c)
    return None
