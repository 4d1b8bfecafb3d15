"""NETLINK_NETFILTER: nftables' messages, in transactions, and its answers (Linux: net/netfilter/nfnetlink.c, nf_tables_api.c, nft_compat.c).

A batch is one datagram from NFNL_MSG_BATCH_BEGIN to NFNL_MSG_BATCH_END: all of it is done, or nothing.
"""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from ...errors import SysErr
from . import ct_netlink, xt
from . import nft_data as d
from .filters import Filters, need_admin, of
from .nft_changes import CHANGES, users
from .nft_set_changes import find_element
from .nft_sets import Set, show_element
from .nft_tables import Chain, NamedObject, NftRule, Ruleset, Table, table_of

if TYPE_CHECKING:
    from ...kernel.task import Task
    from ..state import NetState

NLMSG: Final = struct.Struct("<IHHII")
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_MULTI: Final = 2
NLM_F_ACK: Final = 4
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
BATCH_BEGIN: Final = 16
BATCH_END: Final = 17
CTNETLINK: Final = 1  # NFNL_SUBSYS_CTNETLINK
NFTABLES: Final = 10  # NFNL_SUBSYS_NFTABLES
COMPAT: Final = 11  # NFNL_SUBSYS_NFT_COMPAT
DATAGRAM: Final = 8192  # bytes that readers have room for
ELEMENTS: Final = 4096  # bytes of elements in one message
GETTABLE: Final = 1
GETCHAIN: Final = 4
GETRULE: Final = 7
GETSET: Final = 10
GETSETELEM: Final = 13
NEWGEN: Final = 15
GETGEN: Final = 16
GETOBJ: Final = 19
GETOBJ_RESET: Final = 21
GETFLOWTABLE: Final = 23
MAX_SAID: Final = 1 << 18  # bytes of messages that are given back with what is wrong with them
Body = tuple[int, int, bytes]  # message, family, attributes


def message(kind: int, flags: int, seq: int, port: int, body: bytes) -> bytes:
    return NLMSG.pack(16 + len(body), kind, flags, seq, port) + body


def error(err: int, seq: int, port: int, raw: bytes) -> bytes:
    """An acknowledgement, or with ``err`` what is wrong with the message ``raw``."""
    body = struct.pack("<i", -err) + (raw if err else raw[:16])
    return message(NLMSG_ERROR, 0, seq, port, body + bytes(-len(body) % 4))


def _head(family: int, generation: int) -> bytes:
    """struct nfgenmsg."""
    return struct.pack(">BBH", family, 0, generation & 0xFFFF)


def split(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """The messages of a datagram: type, flags, sequence number, all of it."""
    out: list[tuple[int, int, int, bytes]] = []
    at = 0
    while at + 16 <= len(data):
        size, kind, flags, seq, _ = NLMSG.unpack_from(data, at)
        if size < 16 or at + size > len(data):
            break
        out.append((kind, flags, seq, data[at : at + size]))
        at += (size + 3) & ~3
    return out


def receive(t: Task, net: NetState, port: int, data: bytes) -> Iterator[bytes]:
    """Does what a datagram asks for; the datagrams of the answer, made when they are read. ``port``: the sender's number."""
    found = split(data)
    if not found:
        return iter(())
    kind, _flags, seq, raw = found[0]
    try:
        need_admin(t, net)
    except SysErr as e:
        return iter([error(e.errno, seq, port, raw)])
    f = of(net)
    if kind == BATCH_BEGIN:
        return iter(batch(f, port, found))
    return requests(f, port, found)


# Transactions
def batch(f: Filters, port: int, found: list[tuple[int, int, int, bytes]]) -> list[bytes]:
    kind, flags, seq, first = found[0]
    if len(first) < 20:
        return [error(errno.EINVAL, seq, port, first)]
    if struct.unpack_from(">H", first, 18)[0] != NFTABLES:
        return [error(errno.EOPNOTSUPP, seq, port, first)]
    try:
        wanted = d.u32(d.attrs(first[20:]), 1, 0)
    except SysErr as stale:
        return [error(stale.errno, seq, port, first)]
    if wanted and wanted != f.nft.generation:
        return [error(errno.ERESTART, seq, port, first)]
    answers = [error(0, seq, port, first)] if flags & NLM_F_ACK else []
    stack = f.stack()
    rs = f.nft
    rs.begin()
    failed = ended = False
    said = 0
    for kind, flags, seq, raw in found[1:]:
        if kind == BATCH_END:
            ended = True
            break
        try:
            _change(rs, kind, flags, raw, f)
        except SysErr as wrong:
            failed = True
            said += len(raw)
            if said > MAX_SAID:
                break
            answers.append(error(wrong.errno, seq, port, raw))
            if wrong.errno == errno.ENOMEM:
                break
            continue
        if flags & NLM_F_ACK:
            answers.append(error(0, seq, port, raw))
    if failed or not ended:
        rs.abort()
        return answers
    try:
        rs.commit()
    except SysErr as refused:
        rs.abort()
        kind, _flags, seq, raw = found[1]
        return [error(refused.errno, seq, port, raw)]
    assert stack is f.net.stack
    f.changed()
    return answers


def _change(rs: Ruleset, kind: int, flags: int, raw: bytes, f: Filters) -> None:
    if kind >> 8 != NFTABLES or len(raw) < 20:
        raise SysErr(errno.EINVAL)
    change = CHANGES.get(kind & 0xFF)
    if change is None:
        raise SysErr(errno.EOPNOTSUPP if kind & 0xFF in (22, 24) else errno.EINVAL)
    stack = f.net.stack
    assert stack is not None
    change(rs, raw[16], flags, d.attrs(raw[20:]), stack)


# Questions
def requests(f: Filters, port: int, found: list[tuple[int, int, int, bytes]]) -> Iterator[bytes]:
    """Each message's answer. Lists are made when they are read, all else is done at once."""
    return chain.from_iterable([_request(f, port, *m) for m in found])


def _request(f: Filters, port: int, kind: int, flags: int, seq: int, raw: bytes) -> Iterator[bytes]:
    acknowledge = [error(0, seq, port, raw)] if flags & NLM_F_ACK else []
    if kind < 16:
        return iter(acknowledge)
    subsystem, what = kind >> 8, kind & 0xFF
    try:
        if len(raw) < 20 or subsystem not in (NFTABLES, CTNETLINK, COMPAT):
            raise SysErr(errno.EINVAL)
        if subsystem == COMPAT:
            return iter([_compat(kind, seq, port, raw)])
        if flags & NLM_F_DUMP == NLM_F_DUMP:
            if subsystem == NFTABLES:
                bodies, room = _listed(f.nft, what, raw[16], d.attrs(raw[20:])), DATAGRAM
            elif what == ct_netlink.GET:
                bodies, room = ct_netlink.listed(f, raw[16]), ct_netlink.DATAGRAM
            else:
                raise SysErr(errno.EOPNOTSUPP)
            return _dump(f.nft, subsystem, bodies, room, seq, port, raw)
        answer = _one(f, what, raw) if subsystem == NFTABLES else ct_netlink.request(f, what, raw)
    except SysErr as e:
        return iter([error(e.errno, seq, port, raw)])
    if answer is None:
        return iter(acknowledge)
    kind, family, body = answer
    head = _head(family, f.nft.generation if subsystem == NFTABLES else 0)
    return iter([message(subsystem << 8 | kind, 0, seq, port, head + body), *acknowledge])


def _compat(kind: int, seq: int, port: int, raw: bytes) -> bytes:
    """Which revisions of a match or target there are: none is as bad as another (Linux: nfnl_compat_get_rcu)."""
    a = d.attrs(raw[20:])
    name, revision, is_target = d.name(a, 1), d.u32(a, 2), d.u32(a, 3)
    family = {2: 4, 10: 16}.get(raw[16], 0)
    if not name or revision > 255 or not family:
        raise SysErr(errno.EINVAL)
    xt.revision(name, revision, is_target == 1, family)
    body = struct.pack(">BBH", raw[16], 0, 0) + d.text(1, name) + d.be32(2, revision) + d.be32(3, is_target)  # fmt: skip
    return message(kind, NLM_F_MULTI, seq, port, body)


def _dump(
    rs: Ruleset, subsystem: int, bodies: Iterator[Body], room: int, seq: int, port: int, raw: bytes
) -> Iterator[bytes]:
    """Messages packed into datagrams, and the end. A change of the rules in between is told of (NLM_F_DUMP_INTR)."""
    generation = rs.generation
    out: list[bytes] = []
    size = 0
    flags = NLM_F_MULTI
    failed = 0
    try:
        for what, family, body in bodies:
            if subsystem == NFTABLES and rs.generation != generation:
                flags |= NLM_F_DUMP_INTR
            head = _head(family, generation if subsystem == NFTABLES else 0)
            m = message(subsystem << 8 | what, flags, seq, port, head + body)
            if out and size + len(m) > room:
                yield b"".join(out)
                out, size = [], 0
            out.append(m)
            size += len(m)
    except SysErr as e:
        failed = e.errno
    if failed:
        yield error(failed, seq, port, raw)
        return
    done = message(NLMSG_DONE, flags, seq, port, bytes(4))
    yield b"".join([*out, done])


def _tables(rs: Ruleset, family: int, a: d.Attrs) -> list[Table]:
    """Of a family (0: all), and of a name if one is given."""
    name = d.name(a, 1)
    return [t for t in list(rs.tables.values()) if family in (0, t.family) and name in (b"", t.name)]  # fmt: skip


def _listed(rs: Ruleset, kind: int, family: int, a: d.Attrs) -> Iterator[Body]:
    """Raises ENOENT, EOPNOTSUPP."""
    if kind == GETSETELEM:
        t = table_of(rs, family, a)
        s = t.set_by(d.name(a, 2), 0)
        for body in _elements(s):
            yield 12, t.family, body
        return
    if kind == GETFLOWTABLE:
        return
    if kind not in (GETTABLE, GETCHAIN, GETRULE, GETSET, GETOBJ, GETOBJ_RESET):
        raise SysErr(errno.EOPNOTSUPP)
    if kind == GETTABLE:
        a = {}
    for t in _tables(rs, family, a):
        if kind == GETTABLE:
            yield 0, t.family, show_table(t)
        elif kind == GETCHAIN:
            for c in list(t.chains.values()):
                yield 3, t.family, show_chain(c)
        elif kind == GETRULE:
            wanted = d.name(a, 2)
            for c in list(t.chains.values()):
                if wanted in (b"", c.name):
                    before = 0
                    for r in list(c.rules):
                        yield 6, t.family, show_rule(r, before)
                        before = r.handle
        elif kind == GETSET:
            for s in list(t.sets.values()):
                yield 9, t.family, s.shown()
        else:
            number = d.u32(a, 3, 0)
            for o in list(t.objects.values()):
                if number in (0, o.kind):
                    yield 18, t.family, show_object(o)


def _elements(s: Set) -> Iterator[bytes]:
    """The elements that are alive, some to a message."""
    head = d.text(1, s.table.name) + d.text(2, s.name)
    now = time.monotonic_ns()
    every = list(s.elements.values())
    if s.catchall is not None:
        every.append(s.catchall)
    out: list[bytes] = []
    size = 0
    for e in every:
        if e.expires and e.expires <= now:
            continue
        one = show_element(e, now)
        if out and size + len(one) > ELEMENTS:
            yield head + d.nest(3, *out)
            out, size = [], 0
        out.append(one)
        size += len(one)
    yield head + d.nest(3, *out)


def _one(f: Filters, kind: int, raw: bytes) -> Body:
    """The answer about one thing. Raises ENOENT, EINVAL, EOPNOTSUPP."""
    rs, family, a = f.nft, raw[16], d.attrs(raw[20:])
    if kind == GETGEN:
        return NEWGEN, 0, d.be32(1, rs.generation) + d.be32(2, 0) + d.text(3, b"nft")
    t = table_of(rs, family, a)
    if kind == GETTABLE:
        return 0, t.family, show_table(t)
    if kind == GETCHAIN:
        c = t.chains.get(d.name(a, 3))
        if c is None:
            raise SysErr(errno.ENOENT)
        return 3, t.family, show_chain(c)
    if kind == GETRULE:
        return _one_rule(t, a)
    if kind == GETSET:
        return 9, t.family, t.set_by(d.name(a, 2), 0).shown()
    if kind == GETSETELEM:
        s = t.set_by(d.name(a, 2), 0)
        now = time.monotonic_ns()
        shown = [show_element(find_element(s, e), now) for e in d.items(a.get(3, b""))]
        return 12, t.family, d.text(1, t.name) + d.text(2, s.name) + d.nest(3, *shown)
    if kind in (GETOBJ, GETOBJ_RESET):
        o = t.objects.get((d.u32(a, 3), d.name(a, 2)))
        if o is None:
            raise SysErr(errno.ENOENT)
        return 18, t.family, show_object(o)
    raise SysErr(errno.EINVAL if kind != GETFLOWTABLE else errno.ENOENT)


def _one_rule(t: Table, a: d.Attrs) -> Body:
    c = t.chains.get(d.name(a, 2))
    handle = d.u64(a, 3, -1)
    r = next((r for r in c.rules if r.handle == handle), None) if c is not None else None
    if r is None:
        raise SysErr(errno.ENOENT)
    return 6, t.family, show_rule(r, 0)


# How things are shown
def show_table(t: Table) -> bytes:
    out = d.text(1, t.name) + d.be32(2, t.flags) + d.be32(3, len(t.chains) + len(t.sets) + len(t.objects))  # fmt: skip
    return out + d.be64(4, t.handle) + (d.pack(6, t.userdata) if t.userdata else b"")


def show_chain(c: Chain) -> bytes:
    out = d.text(1, c.table.name) + d.be64(2, c.handle) + d.text(3, c.name)
    if c.base:
        out += d.nest(4, d.be32(1, c.hook), d.be32(2, c.priority)) + d.be32(5, c.policy)
        out += d.text(7, c.kind)
        if c.count is not None:
            out += d.nest(8, d.be64(2, c.count.packets), d.be64(1, c.count.bytes))
    if c.flags:
        out += d.be32(10, c.flags)
    out += d.be32(6, len(c.rules))
    return out + (d.pack(12, c.userdata) if c.userdata else b"")


def show_rule(r: NftRule, before: int) -> bytes:
    out = d.text(1, r.chain.table.name) + d.text(2, r.chain.name) + d.be64(3, r.handle)
    if before:
        out += d.be64(6, before)
    out += d.nest(4, *(d.nest(1, x.shown()) for x in r.exprs))
    return out + (d.pack(7, r.userdata) if r.userdata else b"")


def show_object(o: NamedObject) -> bytes:
    out = d.text(1, o.table.name) + d.text(2, o.name) + d.be32(3, o.kind) + d.be32(5, users(o))
    out += d.nest(4, o.show()) + d.be64(6, o.handle)
    return out + (d.pack(8, o.userdata) if o.userdata else b"")
