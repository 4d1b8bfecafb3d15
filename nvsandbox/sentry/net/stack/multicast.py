"""Multicast membership of interfaces: IGMPv2 (RFC 2236) and MLDv1 (RFC 2710) reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

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
REPORT4: Final = 0x16
LEAVE4: Final = 0x17
REPORT6: Final = 131
DONE6: Final = 132
UNSOLICITED: Final = 10_000_000_000  # until the report is repeated (RFC 2236 section 8.10)
ROUTER_ALERT4: Final = b"\x94\x04\0\0"
ROUTER_ALERT6: Final = b"\x3a\0\x05\x02\0\0\x01\0"
GROUPS: Final = 256  # of one interface (net.ipv4.igmp_max_memberships is 20 a socket)


@final
class Report(Expiring):
    """A report that is due."""

    __slots__ = ("group", "iface", "stack", "timer")

    def __init__(self, stack: Stack, iface: Interface, group: bytes) -> None:
        self.stack = stack
        self.iface = iface
        self.group = group
        self.timer = Timer(self)

    def expire(self, now: int) -> None:
        self.iface.reports.pop(self.group, None)
        if self.group in self.iface.groups:
            _tell(self.stack, self.iface, self.group, True)


def join(stack: Stack, iface: Interface, group: bytes) -> bool:
    """One more listener; False: too many groups."""
    count = iface.groups.get(group, 0)
    if not count and len(iface.groups) >= GROUPS:
        return False
    iface.groups[group] = count + 1
    if not count and group not in (ALL_HOSTS4, ALL_NODES6):
        _tell(stack, iface, group, True)
        _schedule(stack, iface, group, UNSOLICITED)
    return True


def leave(stack: Stack, iface: Interface, group: bytes) -> None:
    """One listener less."""
    count = iface.groups.get(group, 0)
    if count > 1:
        iface.groups[group] = count - 1
    elif count == 1:
        del iface.groups[group]
        r = iface.reports.pop(group, None)
        if r is not None:
            stack.timers.free(r.timer)
        _tell(stack, iface, group, False)


def _schedule(stack: Stack, iface: Interface, group: bytes, most: int) -> None:
    """A report within ``most`` ns, unless an earlier one is due."""
    at = stack.now() + int.from_bytes(stack.random(4), "big") * most // 0xFFFFFFFF
    r = iface.reports.get(group)
    if r is None:
        r = iface.reports[group] = Report(stack, iface, group)
    elif r.timer.deadline and r.timer.deadline <= at:
        return
    stack.timers.set(r.timer, at)


def _tell(stack: Stack, iface: Interface, group: bytes, member: bool) -> None:
    if not iface.up:
        return
    if len(group) == 4:
        dst = group if member else ALL_ROUTERS4
        body = bytes((REPORT4 if member else LEAVE4, 0, 0, 0)) + group
        body = body[:2] + finish(ones_sum(body)) + body[4:]
        path = find_path(stack, dst, iface)
        if not isinstance(path, int) and path.src:
            _send_igmp(stack, path, body)
        return
    if group[1] & 15 < 2:
        return
    dst = group if member else ALL_ROUTERS6
    path = find_path(stack, dst, iface)
    if isinstance(path, int):
        return
    # The source is link-local or, while there is none, unspecified (RFC 3590).
    src = path.src if is_link_local(path.src) else bytes(16)
    body = bytes((REPORT6 if member else DONE6, 0, 0, 0)) + bytes(4) + group
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
    """IGMP: queries are answered, other members' reports cancel ours (RFC 2236 section 3)."""
    body = p.payload()
    if len(body) < 8 or ones_sum(body):
        return
    group = body[4:8]
    if body[0] == QUERY4:
        _queried(stack, p.iface, group, max(body[1], 1) * 100_000_000)
    elif body[0] == REPORT4 and is_multicast(group):
        _cancel(stack, p.iface, group)


def receive_mld(stack: Stack, p: Packet, body: bytes) -> None:
    """A Multicast Listener Query (RFC 2710 section 4)."""
    if len(body) < 24 or p.ttl != 1 or not is_link_local(p.src):
        return
    _queried(stack, p.iface, body[8:24], max(int.from_bytes(body[4:6], "big"), 1) * 1_000_000)


def _queried(stack: Stack, iface: Interface, group: bytes, most: int) -> None:
    for g in list(iface.groups):
        if (
            len(g) == len(group)
            and g not in (ALL_HOSTS4, ALL_NODES6)
            and (is_any(group) or g == group)
        ):
            _schedule(stack, iface, g, most)


def _cancel(stack: Stack, iface: Interface, group: bytes) -> None:
    r = iface.reports.pop(group, None)
    if r is not None:
        stack.timers.free(r.timer)
