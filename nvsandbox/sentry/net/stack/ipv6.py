"""IPv6 coming in (RFC 8200)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .icmp import parameter_problem
from .ip import is_loopback, is_multicast
from .packet import Packet

if TYPE_CHECKING:
    from .interface import Interface
    from .stack import Stack

HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
NO_NEXT: Final = 59
DESTINATION: Final = 60
MAX_HEADERS: Final = 8  # extension headers followed in one packet (RFC 8504 section 5.3)
MAX_PADDING: Final = 7


def receive(
    stack: Stack, iface: Interface, frame: bytes, at: int, csum_ok: bool, gso_size: int
) -> None:
    """The packet that starts at ``at``. Jumbograms are not taken (RFC 2675)."""
    mib = stack.counters.ip6
    mib.InReceives += 1
    if len(frame) < at + 40:
        mib.InTruncatedPkts += 1
        return
    end = at + 40 + (frame[at + 4] << 8 | frame[at + 5])
    if frame[at] >> 4 != 6:
        mib.InHdrErrors += 1
        return
    if end > len(frame):
        mib.InTruncatedPkts += 1
        return
    mib.InOctets += end - at
    src = frame[at + 8 : at + 24]
    dst = frame[at + 24 : at + 40]
    local = dst in stack.own
    through = False
    if iface is stack.loop:
        local = local or is_loopback(dst)
        good = True
    elif iface is stack.lo:  # from another sandbox of the namespace
        local = local or is_loopback(dst)
        good = local and (is_loopback(src) or src in stack.own)
    else:
        good = not (src[0] == 0xFF or is_loopback(src) or is_loopback(dst) or src in stack.own)
    if not good:
        mib.InAddrErrors += 1
        return
    if not local:
        if is_multicast(dst):
            mib.InMcastPkts += 1
            group = iface.groups.get(dst)
            if group is None or not group.state.lets(src):
                return
        elif stack.forward6 or stack.nf is not None:
            through = True
        else:
            mib.InAddrErrors += 1
            return
    tos = (frame[at] & 15) << 4 | frame[at + 1] >> 4
    p = Packet(
        iface, frame, at, at + 40, end, src, dst, frame[at + 6], frame[at + 7], tos, local, csum_ok, gso_size,
    )  # fmt: skip
    p.through = through
    if p.proto in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, NO_NEXT):
        _extensions(stack, p, at + 6, True)
    else:
        _arrive(stack, p)


def _arrive(stack: Stack, p: Packet) -> None:
    if p.through or stack.nf is not None:
        stack.arrive(p)
    else:
        stack.deliver(p)


def _extensions(stack: Stack, p: Packet, next_at: int, first: bool) -> None:
    """Skips extension headers. ``next_at``: where the type of the header at ``p.start`` was said."""
    mib = stack.counters.ip6
    for _ in range(MAX_HEADERS):
        kind = p.proto
        if kind == NO_NEXT:
            return
        if kind not in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION):
            _arrive(stack, p)
            return
        if p.start + 8 > p.end:
            mib.InHdrErrors += 1
            return
        if kind == FRAGMENT:
            _fragment(stack, p)
            return
        size = (p.buf[p.start + 1] + 1) * 8
        if p.start + size > p.end:
            mib.InHdrErrors += 1
            return
        if kind == HOP_BY_HOP and not first:
            mib.InHdrErrors += 1
            parameter_problem(stack, p, 1, next_at - p.ip)
            return
        if kind == ROUTING:
            # Segments left: we route for nobody (RFC 5095).
            if p.buf[p.start + 3] != 0:
                mib.InHdrErrors += 1
                parameter_problem(stack, p, 0, p.start + 2 - p.ip)
                return
        elif not _options(stack, p, p.start + 2, p.start + size):
            mib.InHdrErrors += 1
            return
        if kind == HOP_BY_HOP:
            p.hop = p.buf[p.start : p.start + size]
        elif kind == DESTINATION:
            p.dest = p.buf[p.start : p.start + size]
        first = False
        p.proto = p.buf[p.start]
        next_at = p.start
        p.start += size
    mib.InHdrErrors += 1


def _options(stack: Stack, p: Packet, at: int, end: int) -> bool:
    """Checks the options of one header; False: the packet is to be dropped (RFC 8200 section 4.2)."""
    padding = 0
    while at < end:
        kind = p.buf[at]
        if kind == 0:
            at += 1
            padding += 1
        else:
            if at + 2 > end or at + 2 + p.buf[at + 1] > end:
                return False
            size = p.buf[at + 1] + 2
            if kind == 1:
                padding += size
            else:
                padding = 0
                # Router alert (RFC 2711) has its meaning for routers only.
                if kind != 5 and kind >> 6:
                    if kind >> 6 == 2 or (kind >> 6 == 3 and p.local):
                        parameter_problem(stack, p, 2, at - p.ip)
                    return False
            at += size
        if padding > MAX_PADDING:
            return False
    return True


def _fragment(stack: Stack, p: Packet) -> None:
    at = p.start
    word = p.buf[at + 2] << 8 | p.buf[at + 3]
    proto = p.buf[at]
    p.start += 8
    if word & 0xFFF9 == 0:
        # An atomic fragment stands alone (RFC 6946).
        data: bytes | None = p.payload()
        stack.counters.ip6.ReasmReqds += 1
    else:
        if word & 1 and (p.end - p.start) & 7:
            stack.counters.ip6.InHdrErrors += 1
            parameter_problem(stack, p, 0, 4)
            return
        ident = int.from_bytes(p.buf[at + 4 : at + 8], "big")
        key = (p.src, p.dst, ident, 44, p.iface.index)
        header = p.buf[p.ip : p.ip + 6] + bytes((proto,)) + p.buf[p.ip + 7 : p.ip + 40]
        data = stack.fragments.add(key, word & 0xFFF8, p.payload(), word & 1 != 0, header)
    if data is None:
        return
    head = p.buf[p.ip : p.ip + 4] + (len(data) & 0xFFFF).to_bytes(2, "big") + bytes((proto,))
    p.buf = head + p.buf[p.ip + 7 : p.ip + 40] + data
    p.ip, p.start, p.end = 0, 40, len(p.buf)
    p.proto = proto
    # What followed the header in front of the fragment's follows that one now
    if p.dest and p.dest[0] == FRAGMENT:
        p.dest = bytes((proto,)) + p.dest[1:]
    elif p.hop and p.hop[0] == FRAGMENT:
        p.hop = bytes((proto,)) + p.hop[1:]
    p.csum_ok = False
    p.gso_size = 0
    p.reassembled = True
    if proto in (ROUTING, DESTINATION, NO_NEXT):
        _extensions(stack, p, 6, False)
    elif proto not in (HOP_BY_HOP, FRAGMENT):
        _arrive(stack, p)
