"""Multicast membership of interfaces: IGMPv3 (RFC 3376, RFC 9776) and MLDv2 (RFC 3810) reports, and what older queriers ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, final

from .checksum import finish, ones_sum, pseudo_sum
from .ip import (
    ALL_HOSTS4,
    ALL_NODES6,
    ALL_ROUTERS4,
    ALL_ROUTERS6,
    is_any,
    is_link_local,
    is_multicast,
)
from .output import Path, find_path, send
from .timers import Expiring, Timer

if TYPE_CHECKING:
    from .interface import Interface
    from .packet import Packet
    from .stack import Stack

QUERY4: Final = 0x11
REPORT4: Final = 0x16  # IGMPv2
LEAVE4: Final = 0x17
REPORT4_V3: Final = 0x22
REPORT6: Final = 131  # MLDv1
DONE6: Final = 132
REPORT6_V2: Final = 143
ROUTERS4_V3: Final = b"\xe0\0\0\x16"
ROUTERS6_V2: Final = b"\xff\2" + bytes(13) + b"\x16"
# Records of a report (RFC 3376 section 4.2.12)
IS_INCLUDE: Final = 1
IS_EXCLUDE: Final = 2
TO_INCLUDE: Final = 3
TO_EXCLUDE: Final = 4
ALLOW: Final = 5
BLOCK: Final = 6
S: Final = 1_000_000_000
UNSOLICITED_OLD: Final = 10 * S  # until an old version's report is repeated (RFC 2236 section 8.10)
UNSOLICITED: Final = S  # RFC 3376 section 8.11
OLD_QUERIER: Final = (
    260 * S
)  # how long an old querier is obeyed: two of its intervals and an answer (section 8.12)
ROUTER_ALERT4: Final = b"\x94\x04\0\0"
ROUTER_ALERT6: Final = b"\x3a\0\x05\x02\0\0\x01\0"
GROUPS: Final = 256  # of one interface (net.ipv4.igmp_max_memberships is 20 a socket)
SOURCES: Final = 64  # of one group, in a report

Record = tuple[int, tuple[bytes, ...]]  # type, sources


class Filter(NamedTuple):
    """Whose packets to a group are wanted: only these sources', or all but theirs."""

    include: bool
    sources: frozenset[bytes]

    def lets(self, src: bytes) -> bool:
        return (src in self.sources) == self.include


NOTHING: Final = Filter(True, frozenset())
EVERYTHING: Final = Filter(False, frozenset())


@final
class Group:
    """A group of an interface: who listens, and what follows for the interface (RFC 3376 section 3.2)."""

    __slots__ = ("holders", "state")

    def __init__(self) -> None:
        self.holders: dict[object, Filter] = {}
        self.state = NOTHING

    def merged(self) -> Filter:
        wanted: set[bytes] = set()
        unwanted: frozenset[bytes] | None = None
        for f in self.holders.values():
            if f.include:
                wanted |= f.sources
            else:
                unwanted = f.sources if unwanted is None else unwanted & f.sources
        if unwanted is None:
            return Filter(True, frozenset(wanted))
        return Filter(False, unwanted - wanted)


@final
class Report(Expiring):
    """A report that is due: changes a second time, or (``records`` empty) an answer to a query."""

    __slots__ = ("group", "iface", "records", "stack", "timer")

    def __init__(self, stack: Stack, iface: Interface, group: bytes, records: list[Record]) -> None:
        self.stack = stack
        self.iface = iface
        self.group = group
        self.records = records
        self.timer = Timer(self)

    def expire(self, now: int) -> None:
        self.iface.reports.pop(self.group, None)
        found = self.iface.groups.get(self.group)
        if self.records:
            _tell(self.stack, self.iface, self.group, self.records, found is not None)
        elif found is not None:
            kind = IS_INCLUDE if found.state.include else IS_EXCLUDE
            _tell(self.stack, self.iface, self.group, [(kind, _some(found.state.sources))], True)


def everybody() -> dict[bytes, Group]:
    """The groups that every host is in; nobody is told of them."""
    out = {}
    for address in (ALL_HOSTS4, ALL_NODES6):
        g = out[address] = Group()
        g.holders[None] = g.state = EVERYTHING
    return out


def join(stack: Stack, iface: Interface, group: bytes, holder: object) -> bool:
    """``holder`` listens to all sources; False: too many groups."""
    return set_filter(stack, iface, group, holder, EVERYTHING)


def leave(stack: Stack, iface: Interface, group: bytes, holder: object) -> None:
    set_filter(stack, iface, group, holder, NOTHING)


def set_filter(stack: Stack, iface: Interface, group: bytes, holder: object, f: Filter) -> bool:
    """What ``holder`` wants of a group from now on, NOTHING: it has left. False: too many groups."""
    change = hold(iface.groups, group, holder, f)
    if change is None:
        return False
    old, new = change
    if old == new or group in (ALL_HOSTS4, ALL_NODES6):
        return True
    records = _changes(old, new)
    member = group in iface.groups
    _tell(stack, iface, group, records, member)
    if _old(stack, iface, group):
        if member:
            _schedule(stack, iface, group, UNSOLICITED_OLD, [])
        else:
            _cancel(stack, iface, group)
    else:
        _schedule(stack, iface, group, UNSOLICITED, records)
    return True


def hold(
    groups: dict[bytes, Group], group: bytes, holder: object, f: Filter
) -> tuple[Filter, Filter] | None:
    """What ``groups`` wanted of one before and what they want after the change; None: too many groups."""
    found = groups.get(group)
    if found is None:
        if f == NOTHING:
            return NOTHING, NOTHING
        if len(groups) >= GROUPS:
            return None
        found = groups[group] = Group()
    if f == NOTHING:
        found.holders.pop(holder, None)
    else:
        found.holders[holder] = f
    old, new = found.state, found.merged()
    found.state = new
    if not found.holders:
        del groups[group]
    return old, new


def _some(sources: frozenset[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(sources)[:SOURCES])


def _changes(old: Filter, new: Filter) -> list[Record]:
    """RFC 3376 section 5.1."""
    if old.include != new.include:
        return [(TO_INCLUDE if new.include else TO_EXCLUDE, _some(new.sources))]
    more, less = new.sources - old.sources, old.sources - new.sources
    allow, block = (more, less) if new.include else (less, more)
    return [(kind, _some(who)) for kind, who in ((ALLOW, allow), (BLOCK, block)) if who]


def _old(stack: Stack, iface: Interface, group: bytes) -> bool:
    """Whether a querier of the version before has been heard lately."""
    return stack.now() < (iface.old_querier4 if len(group) == 4 else iface.old_querier6)


def _schedule(
    stack: Stack, iface: Interface, group: bytes, most: int, records: list[Record]
) -> None:
    """A report within ``most`` ns. Changes replace what was due; an answer to a query comes no later than what is due."""
    at = stack.now() + int.from_bytes(stack.random(4), "big") * most // 0xFFFFFFFF
    r = iface.reports.get(group)
    if r is None:
        r = iface.reports[group] = Report(stack, iface, group, records)
    elif records:
        r.records = records
    elif r.timer.deadline and r.timer.deadline <= at:
        return
    stack.timers.set(r.timer, at)


def _tell(
    stack: Stack, iface: Interface, group: bytes, records: list[Record], member: bool
) -> None:
    """A report to the routers; with old ones only membership as such."""
    if not iface.up:
        return
    if len(group) == 4:
        _tell4(stack, iface, group, records, member)
    elif group[1] & 15 >= 2:
        _tell6(stack, iface, group, records, member)


def _records(group: bytes, records: list[Record]) -> bytes:
    parts = [len(records).to_bytes(2, "big")]
    for kind, sources in records:
        parts += [bytes((kind, 0)), len(sources).to_bytes(2, "big"), group, *sources]
    return b"".join(parts)


def _tell4(
    stack: Stack, iface: Interface, group: bytes, records: list[Record], member: bool
) -> None:
    if _old(stack, iface, group):
        dst = group if member else ALL_ROUTERS4
        body = bytes((REPORT4 if member else LEAVE4, 0, 0, 0)) + group
    else:
        dst = ROUTERS4_V3
        body = bytes((REPORT4_V3, 0, 0, 0, 0, 0)) + _records(group, records)
    body = body[:2] + finish(ones_sum(body)) + body[4:]
    path = find_path(stack, dst, iface)
    if not isinstance(path, int) and path.src:
        _send_igmp(stack, path, body)


def _tell6(
    stack: Stack, iface: Interface, group: bytes, records: list[Record], member: bool
) -> None:
    if _old(stack, iface, group):
        dst = group if member else ALL_ROUTERS6
        body = bytes((REPORT6 if member else DONE6, 0, 0, 0)) + bytes(4) + group
    else:
        dst = ROUTERS6_V2
        body = bytes((REPORT6_V2, 0, 0, 0, 0, 0)) + _records(group, records)
    path = find_path(stack, dst, iface)
    if isinstance(path, int):
        return
    # The source is link-local or, while there is none, unspecified (RFC 3590).
    src = path.src if is_link_local(path.src) else bytes(16)
    body = body[:2] + finish(pseudo_sum(src, dst, 58, len(body)) + ones_sum(body)) + body[4:]
    stack.counters.icmp6.OutMsgs += 1
    send(stack, path, src, 58, [body], 1, 0, False, None, ROUTER_ALERT6)


def _send_igmp(stack: Stack, path: Path, body: bytes) -> None:
    """With the router alert option, so in a header of 24 bytes (RFC 2113)."""
    head = (
        b"\x46\xc0" + (24 + len(body)).to_bytes(2, "big") + stack.ident(path.dst).to_bytes(2, "big")
    )
    head += b"\x40\0\1\2\0\0" + path.src + path.dst + ROUTER_ALERT4
    head = head[:10] + finish(ones_sum(head)) + head[12:]
    stack.counters.ip.OutRequests += 1
    path.iface.neighbours.transmit(path.dst, [head + body], None)


def receive_igmp(stack: Stack, p: Packet) -> None:
    """IGMP: queries are answered; where the querier is old, other members' reports cancel ours (RFC 2236 section 3)."""
    body = p.payload()
    if len(body) < 8 or ones_sum(body):
        return
    group = body[4:8]
    if body[0] == QUERY4:
        if len(body) < 12:  # of version 2, or of 1 with a fixed time to answer
            p.iface.old_querier4 = stack.now() + OLD_QUERIER
            _queried(stack, p.iface, group, (body[1] or 100) * S // 10)
        else:
            _queried(stack, p.iface, group, _time(body[1], 4) * S // 10)
    elif body[0] == REPORT4 and is_multicast(group) and _old(stack, p.iface, group):
        _cancel(stack, p.iface, group)


def receive_mld(stack: Stack, p: Packet, body: bytes) -> None:
    """A Multicast Listener Query (RFC 2710 section 4, RFC 3810 section 5.1)."""
    if len(body) < 24 or p.ttl != 1 or not is_link_local(p.src):
        return
    code = body[4] << 8 | body[5]
    if len(body) < 28:
        p.iface.old_querier6 = stack.now() + OLD_QUERIER
        _queried(stack, p.iface, body[8:24], max(code, 1) * S // 1000)
    else:
        _queried(stack, p.iface, body[8:24], _time(code, 12) * S // 1000)


def _time(code: int, bits: int) -> int:
    """A maximum response code: a number, or a small floating-point one (RFC 3376 section 4.1.1, RFC 3810 section 5.1.3)."""
    if not code >> (bits + 3):
        return max(code, 1)
    mantissa = code & (1 << bits) - 1
    return (mantissa | 1 << bits) << ((code >> bits & 7) + 3)


def _queried(stack: Stack, iface: Interface, group: bytes, most: int) -> None:
    for g in list(iface.groups):
        if (
            len(g) == len(group)
            and g not in (ALL_HOSTS4, ALL_NODES6)
            and (is_any(group) or g == group)
        ):
            _schedule(stack, iface, g, most, [])


def _cancel(stack: Stack, iface: Interface, group: bytes) -> None:
    r = iface.reports.pop(group, None)
    if r is not None:
        stack.timers.free(r.timer)
