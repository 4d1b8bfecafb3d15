"""iptables' socket options (Linux: net/ipv4/netfilter/ip_tables.c, net/ipv6/netfilter/ip6_tables.c; linux/netfilter_ipv4/ip_tables.h).

A table comes and goes whole, as a flat list of entries: rules with offsets to each other. What comes is checked as Linux does
(``load``) and turned into rules; the bytes are kept to be shown again, with counters as they are then.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, final

from ...errors import SysErr
from . import xt
from .filters import Filters, need_admin, of
from .hooks import (
    HOOKS,
    PRI_FILTER,
    PRI_MANGLE,
    PRI_NAT_DST,
    PRI_NAT_SRC,
    PRI_RAW,
    PRI_SECURITY,
    Base,
)
from .rules import ACCEPT, BREAK, CONTINUE, DROP, RETURN, Count, Jump, Op, Rule, Verdict
from .skb import Skb
from .xt_context import Context

if TYPE_CHECKING:
    from ...kernel.task import Task
    from ..stack.stack import Stack
    from ..state import NetState

SET_REPLACE: Final = 64
SET_COUNTERS: Final = 65
GET_INFO: Final = 64
GET_ENTRIES: Final = 65
REVISIONS: Final[dict[tuple[int, int], bool]] = {
    (4, 66): False, (4, 67): True, (16, 68): False, (16, 69): True,
}  # fmt: skip
MAX_SIZE: Final = 4 << 20  # bytes of a table
MAX_ENTRIES: Final = 16384
SUM_SIZE: Final = 16 << 20  # bytes of all tables of a namespace
REPLACE: Final = struct.Struct("<32sIII5I5IIQ")
ENTRY_HEAD: Final = 32  # struct xt_entry_match and xt_entry_target: size, name, revision
NO_HOOK: Final = 0xFFFFFFFF
NAMES: Final[dict[bytes, int]] = {
    b"filter": 0x0E, b"nat": 0x1B, b"mangle": 0x1F, b"raw": 0x09, b"security": 0x0E,
}  # fmt: skip
PRIORITIES: Final[dict[bytes, int]] = {
    b"filter": PRI_FILTER, b"mangle": PRI_MANGLE, b"raw": PRI_RAW, b"security": PRI_SECURITY,
}  # fmt: skip


def _bad() -> SysErr:
    return SysErr(errno.EINVAL)


@final
class Layout:
    """Where things are in struct ipt_entry and ip6t_entry."""

    __slots__ = (
        "addr",
        "counters",
        "entry",
        "family",
        "flags",
        "goto",
        "ifaces",
        "inv",
        "offsets",
        "proto",
    )

    def __init__(self, family: int) -> None:
        v4 = family == 4
        self.family = family
        self.addr = family
        self.ifaces = 4 * family
        self.proto = self.ifaces + 64
        self.flags = 82 if v4 else 131
        self.inv = 83 if v4 else 132
        self.goto = 2 if v4 else 4
        self.offsets = 88 if v4 else 140
        self.counters = 96 if v4 else 152
        self.entry = 112 if v4 else 168


LAYOUTS: Final[dict[int, Layout]] = {4: Layout(4), 16: Layout(16)}


@final
class Header(Op):
    """The entry's own part: addresses, interfaces, protocol. ``inv``: IPT_INV_*."""

    __slots__ = (
        "dst",
        "dst_mask",
        "fragment",
        "iif",
        "inv",
        "oif",
        "proto",
        "src",
        "src_mask",
        "tos",
    )

    def __init__(self, d: bytes, at: Layout) -> None:
        n = at.addr
        self.src_mask = int.from_bytes(d[2 * n : 3 * n], "big")
        self.dst_mask = int.from_bytes(d[3 * n : 4 * n], "big")
        self.src = int.from_bytes(d[:n], "big")
        self.dst = int.from_bytes(d[n : 2 * n], "big")
        i = at.ifaces
        self.iif = _iface(d[i : i + 16], d[i + 32 : i + 48])
        self.oif = _iface(d[i + 16 : i + 32], d[i + 48 : i + 64])
        self.proto = int.from_bytes(d[at.proto : at.proto + 2], "little")
        flags, self.inv = d[at.flags], d[at.inv]
        self.fragment = bool(n == 4 and flags & 1)
        self.tos = d[130] if n == 16 and flags & 2 else -1
        if n == 16 and not flags & 1:
            self.proto = 0
        if flags & (~3 if n == 4 else ~7) or self.inv & ~0x7F:
            raise _bad()

    def run(self, skb: Skb) -> int:
        inv = self.inv
        if self.src_mask or inv & 8:
            if (int.from_bytes(skb.src, "big") & self.src_mask == self.src) == bool(inv & 8):
                return BREAK
        if self.dst_mask or inv & 0x10:
            if (int.from_bytes(skb.dst, "big") & self.dst_mask == self.dst) == bool(inv & 0x10):
                return BREAK
        if self.iif is not None and _named(self.iif, skb.iif) == bool(inv & 1):
            return BREAK
        if self.oif is not None and _named(self.oif, skb.oif) == bool(inv & 2):
            return BREAK
        if self.proto and (skb.proto == self.proto) == bool(inv & 0x40):
            return BREAK
        if self.fragment and skb.fragment == bool(inv & 0x20):
            return BREAK
        if self.tos >= 0 and (skb.tos() == self.tos) == bool(inv & 4):
            return BREAK
        return CONTINUE


def _iface(name: bytes, mask: bytes) -> tuple[bytes, bytes] | None:
    return (name, mask) if any(mask) else None


def _named(want: tuple[bytes, bytes], name: bytes) -> bool:
    padded = int.from_bytes(name.ljust(16, b"\0")[:16], "big")
    return not (padded ^ int.from_bytes(want[0], "big")) & int.from_bytes(want[1], "big")


@final
class Entry:
    """One of a table's; ``verdict`` of a standard target, else None. ``error``: the name of an ERROR target: a chain begins behind it."""

    __slots__ = (
        "at",
        "context",
        "count",
        "error",
        "goto",
        "header",
        "hooks",
        "matches",
        "rule",
        "size",
        "target",
        "verdict",
    )

    def __init__(self, at: int, size: int, header: Header, context: Context) -> None:
        self.at = at
        self.size = size
        self.header = header
        self.context = context
        self.count = Count()
        self.matches: list[tuple[bytes, int, bytes]] = []
        self.target: tuple[bytes, int, bytes] = (b"", 0, b"")
        self.verdict: int | None = None
        self.error = b""
        self.goto = False
        self.hooks = 0
        self.rule = Rule([])


@final
class Table:
    """``blob``: the entries as they came. ``hook_entry``, ``underflow``: offsets by hook, NO_HOOK where there is none. ``chains``: what the
    engine gets."""

    __slots__ = (
        "blob",
        "chains",
        "entries",
        "family",
        "hook_entry",
        "name",
        "tracks",
        "trivial",
        "underflow",
    )

    def __init__(
        self, family: int, name: bytes, blob: bytes, hook_entry: list[int], underflow: list[int], entries: list[Entry]
    ) -> None:  # fmt: skip
        self.family = family
        self.name = name
        self.blob = blob
        self.hook_entry = hook_entry
        self.underflow = underflow
        self.entries = entries
        self.chains: list[Base] = []
        self.tracks = False
        self.trivial = all(
            (e.verdict == -ACCEPT - 1 and not e.matches and e.at in underflow) or e.error
            for e in entries
        )

    def counters(self) -> bytes:
        return b"".join(struct.pack("<QQ", e.count.packets, e.count.bytes) for e in self.entries)

    def shown(self) -> bytes:
        """The entries with their counters."""
        out = bytearray(self.blob)
        at = LAYOUTS[self.family].counters
        for e in self.entries:
            struct.pack_into("<QQ", out, e.at + at, e.count.packets, e.count.bytes)
        return bytes(out)


def _parse(blob: bytes, family: int, stack: Stack | None) -> list[Entry]:
    """The entries, each within its bounds (Linux: translate_table, check_entry_size_and_hooks). Raises EINVAL."""
    at = LAYOUTS[family]
    entries: list[Entry] = []
    here = 0
    while here < len(blob):
        if here + at.entry + ENTRY_HEAD > len(blob):
            raise _bad()
        target, size = struct.unpack_from("<HH", blob, here + at.offsets)
        if size < at.entry + ENTRY_HEAD or size % 8 or here + size > len(blob):
            raise _bad()
        if target < at.entry or target % 8 or target + ENTRY_HEAD > size:
            raise _bad()
        raw = blob[here : here + size]
        header = Header(raw, at)
        context = Context(family, header.proto, bool(header.inv & 0x40), stack)
        e = Entry(here, size, header, context)
        e.goto = bool(raw[at.flags] & at.goto)
        m = at.entry
        while m < target:
            if m + ENTRY_HEAD > target:
                raise _bad()
            length = struct.unpack_from("<H", raw, m)[0]
            if length < ENTRY_HEAD or length % 8 or m + length > target:
                raise _bad()
            e.matches.append((_name(raw[m + 2 : m + 31]), raw[m + 31], raw[m + ENTRY_HEAD : m + length]))  # fmt: skip
            m += length
        length = struct.unpack_from("<H", raw, target)[0]
        if length < ENTRY_HEAD or target + length > size:
            raise _bad()
        name, data = (
            _name(raw[target + 2 : target + 31]),
            raw[target + ENTRY_HEAD : target + length],
        )
        e.target = (name, raw[target + 31], data)
        if not name:
            if len(data) != 8 or target + length != size:
                raise _bad()
            e.verdict = struct.unpack_from("<i", data)[0]
        elif name == b"ERROR":
            if len(data) != 32:
                raise _bad()
            e.error = _name(data[:30]) or b"ERROR"
        e.count.packets, e.count.bytes = struct.unpack_from("<QQ", raw, at.counters)
        entries.append(e)
        if len(entries) > MAX_ENTRIES:
            raise SysErr(errno.ENOMEM)
        here += size
    return entries


def _name(raw: bytes) -> bytes:
    return raw.split(b"\0")[0]


def _reach(entries: list[Entry], index: dict[int, int], starts: dict[int, int]) -> None:
    """Which hooks lead to which entries; none may lead to itself (Linux: mark_source_chains). Raises ELOOP, EINVAL."""
    for hook, start in starts.items():
        colour = [0] * len(entries)  # 1: on the way to where we are, 2: done
        stack = [start]
        while stack:
            i = stack[-1]
            if colour[i]:
                colour[i] = 2
                stack.pop()
                continue
            colour[i] = 1
            entries[i].hooks |= 1 << hook
            for to in _next(entries, index, i):
                if colour[to] == 1:
                    raise SysErr(errno.ELOOP)
                if not colour[to]:
                    stack.append(to)


def _next(entries: list[Entry], index: dict[int, int], i: int) -> list[int]:
    """Where a packet may go from an entry. Raises EINVAL."""
    e = entries[i]
    v = e.verdict
    always = v is not None and not e.matches and _unconditional(e)
    out: list[int] = []
    if v is not None and v >= 0:
        to = index.get(v)
        if to is None:
            raise _bad()
        out.append(to)
        always = always and e.goto
    if not always and not e.error:
        if i + 1 >= len(entries):
            raise _bad()
        if i + 1 not in out:
            out.append(i + 1)
    return out


def _unconditional(e: Entry) -> bool:
    h = e.header
    return not (
        h.src_mask or h.dst_mask or h.inv or h.proto or h.fragment or h.tos >= 0 or h.iif or h.oif
    )


def load(
    family: int, name: bytes, valid: int, count: int, blob: bytes, hook_entry: list[int], underflow: list[int],
    stack: Stack | None,
) -> Table:  # fmt: skip
    """A table from its entries. Raises EINVAL, ELOOP, ENOENT (a match or target that isn't there), ENOMEM."""
    if name not in NAMES:
        raise SysErr(errno.ENOENT)
    if valid != NAMES[name]:
        raise _bad()
    entries = _parse(blob, family, stack)
    if len(entries) != count:
        raise _bad()
    index = {e.at: i for i, e in enumerate(entries)}
    starts: dict[int, int] = {}
    for hook in range(HOOKS):
        if not valid >> hook & 1:
            hook_entry[hook] = underflow[hook] = NO_HOOK
            continue
        first, last = index.get(hook_entry[hook]), index.get(underflow[hook])
        if first is None or last is None or first > last:
            raise _bad()
        policy = entries[last]
        if policy.matches or not _unconditional(policy):
            raise _bad()
        if policy.verdict not in (-ACCEPT - 1, -DROP - 1):
            raise _bad()
        starts[hook] = first
    for e in entries:
        if e.verdict is not None and e.verdict < 0 and e.verdict not in (-1, -2, -4, RETURN):
            raise _bad()
    if not entries or entries[-1].error == b"":
        raise _bad()
    _reach(entries, index, starts)
    table = Table(family, name, blob, hook_entry, underflow, entries)
    rules = [e.rule for e in entries]
    for e in entries:
        e.rule.set_ops(_ops(e, rules, index, name))
        table.tracks = table.tracks or any(op.tracks for op in e.rule.ops)
    for hook, start in starts.items():
        priority = PRIORITIES.get(name, PRI_NAT_SRC if hook in (1, 4) else PRI_NAT_DST)
        if name == b"nat" and table.trivial:
            continue
        end = index[underflow[hook]]
        table.chains.append(Base((family,), hook, priority, rules, start, end, nat=name == b"nat"))
    return table


def _ops(e: Entry, rules: list[Rule], index: dict[int, int], table: bytes) -> list[Op]:
    ops: list[Op] = [] if _unconditional(e) else [e.header]
    for name, revision, data in e.matches:
        ops.append(xt.match(name, revision, data, e.context))
    ops.append(e.count)
    v = e.verdict
    if e.error:
        ops.append(Verdict(DROP))
    elif v is None:
        name, revision, data = e.target
        ops.append(xt.target(name, revision, data, e.context, table, e.hooks))
    elif v < 0:
        # Linux counts QUEUE for a drop where nobody listens.
        ops.append(Verdict(RETURN if v == RETURN else ACCEPT if v == -ACCEPT - 1 else DROP))
    elif index.get(v) is None:
        raise _bad()
    else:
        # A jump to the entry behind it is none that comes back.
        ops.append(Jump(rules, index[v], e.goto or v == e.at + e.size))
    return ops


def empty(family: int, name: bytes) -> Table:
    """What a table is before the first rule: chains that accept."""
    at = LAYOUTS[family]
    size, last = at.entry + 40, at.entry + 64
    blob = b""
    hook_entry, underflow = [NO_HOOK] * HOOKS, [NO_HOOK] * HOOKS
    count = 1
    for hook in range(HOOKS):
        if NAMES[name] >> hook & 1:
            hook_entry[hook] = underflow[hook] = len(blob)
            blob += bytes(at.offsets) + struct.pack("<HH", at.entry, size) + bytes(at.entry - at.offsets - 4)  # fmt: skip
            blob += struct.pack("<H29sBi4x", 40, b"", 0, -ACCEPT - 1)
            count += 1
    blob += (
        bytes(at.offsets) + struct.pack("<HH", at.entry, last) + bytes(at.entry - at.offsets - 4)
    )
    blob += struct.pack("<H29sB30s2x", 64, b"ERROR", 0, b"ERROR")
    return load(family, name, NAMES[name], count, blob, hook_entry, underflow, None)


def table(f: Filters, family: int, name: bytes) -> Table:
    """Raises ENOENT."""
    if name not in NAMES:
        raise SysErr(errno.ENOENT)
    found = f.tables.get((family, name))
    if found is None:
        found = f.tables[family, name] = empty(family, name)
    return found


# The socket options
def room(family: int, opt: int) -> int:
    """How many bytes of an option are read; 0: it is none of ours."""
    return {SET_REPLACE: MAX_SIZE + REPLACE.size, SET_COUNTERS: 40 + 16 * MAX_ENTRIES}.get(opt, 0)


def set_option(t: Task, net: NetState, family: int, opt: int, data: bytes) -> None:
    """Raises EPERM, EINVAL, ENOENT, ELOOP, ENOMEM, EAGAIN, EFAULT."""
    need_admin(t, net)
    if opt == SET_REPLACE:
        where, counters = replace(net, family, data)
        t.copy_out(where, counters)
    else:
        add_counters(net, family, data)


def replace(net: NetState, family: int, data: bytes) -> tuple[int, bytes]:
    """IPT_SO_SET_REPLACE: where the caller wants the old table's counters, and those."""
    if len(data) < REPLACE.size:
        raise _bad()
    head = REPLACE.unpack_from(data)
    raw_name, valid, count, size = head[:4]
    hook_entry, underflow = list(head[4:9]), list(head[9:14])
    wanted, where = head[14], head[15]
    f = of(net)
    if size > MAX_SIZE or count > MAX_ENTRIES // f.share or wanted > MAX_ENTRIES:
        raise SysErr(errno.ENOMEM)
    if not wanted or len(data) != REPLACE.size + size:
        raise _bad()
    name = _name(raw_name)
    old = table(f, family, name)
    others = sum(len(o.blob) for k, o in f.tables.items() if k != (family, name))
    if others + size > SUM_SIZE // f.share:
        raise SysErr(errno.ENOMEM)
    new = load(family, name, valid, count, data[REPLACE.size :], hook_entry, underflow, f.stack())
    if wanted != len(old.entries):
        raise SysErr(errno.EAGAIN)
    counters = old.counters()
    f.tables[family, name] = new
    f.changed()
    return where, counters


def add_counters(net: NetState, family: int, data: bytes) -> None:
    if len(data) < 40:
        raise _bad()
    name, count = _name(data[:32]), struct.unpack_from("<I", data, 32)[0]
    if len(data) != 40 + 16 * count:
        raise _bad()
    here = table(of(net), family, name)
    if count != len(here.entries):
        raise _bad()
    for e, (packets, size) in zip(here.entries, struct.iter_unpack("<QQ", data[40:]), strict=True):
        e.count.packets = (e.count.packets + packets) & 0xFFFFFFFFFFFFFFFF
        e.count.bytes = (e.count.bytes + size) & 0xFFFFFFFFFFFFFFFF


def reads(family: int, opt: int) -> bool:
    return opt in (GET_INFO, GET_ENTRIES) or (family, opt) in REVISIONS


def get_option(t: Task, net: NetState, family: int, opt: int, data: bytes, size: int) -> bytes:
    """``data``: the first bytes of the caller's buffer of ``size``. Raises EPERM, EINVAL, ENOENT, EAGAIN, EPROTONOSUPPORT."""
    need_admin(t, net)
    return answer(net, family, opt, data, size)


def answer(net: NetState, family: int, opt: int, data: bytes, size: int) -> bytes:
    is_target = REVISIONS.get((family, opt))
    if is_target is not None:
        if size != 30:
            raise _bad()
        xt.revision(_name(data[:29]), data[29], is_target, family)
        return data[:30]
    f = of(net)
    if opt == GET_INFO:
        if size != 84:
            raise _bad()
        here = table(f, family, _name(data[:32]))
        return struct.pack(
            "<32sI5I5III", here.name, NAMES[here.name], *_offsets(here.hook_entry), *_offsets(here.underflow),
            len(here.entries), len(here.blob),
        )  # fmt: skip
    if size < 40:
        raise _bad()
    name, wanted = _name(data[:32]), struct.unpack_from("<I", data, 32)[0]
    if size != 40 + wanted:
        raise _bad()
    here = table(f, family, name)
    if wanted != len(here.blob):
        raise SysErr(errno.EAGAIN)
    return data[:40] + here.shown()


def _offsets(offsets: list[int]) -> list[int]:
    return [0 if o == NO_HOOK else o for o in offsets]
