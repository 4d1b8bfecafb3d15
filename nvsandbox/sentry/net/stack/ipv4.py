"""IPv4 coming in (RFC 791, RFC 1122 section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .checksum import finish, ones_sum
from .ip import BROADCAST4, is_multicast
from .packet import Packet

if TYPE_CHECKING:
    from .interface import Interface
    from .stack import Stack

OPTION_END: Final = 0
OPTION_NOP: Final = 1
SOURCE_ROUTES: Final = (131, 137)  # loose, strict


def options_hold(options: bytes) -> bool:
    """Whether options are well-formed and harmless: source routes are refused, as by Linux's default."""
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == OPTION_END:
            return True
        if kind == OPTION_NOP:
            at += 1
            continue
        if at + 1 >= len(options) or options[at + 1] < 2 or at + options[at + 1] > len(options):
            return False
        if kind in SOURCE_ROUTES:
            return False
        at += options[at + 1]
    return True


def whole(header: bytes, size: int) -> bytes:
    """A fragment's header as that of the packet with ``size`` bytes of payload."""
    head = header[:2] + (len(header) + size & 0xFFFF).to_bytes(2, "big") + header[4:6] + b"\0\0" + header[8:10] + b"\0\0" + header[12:]  # fmt: skip
    return head[:10] + finish(ones_sum(head)) + head[12:]


def receive(
    stack: Stack, iface: Interface, frame: bytes, at: int, csum_ok: bool, gso_size: int
) -> None:
    """The packet that starts at ``at``."""
    mib = stack.counters.ip
    mib.InReceives += 1
    n = len(frame) - at
    if n < 20:
        mib.InTruncatedPkts += 1
        return
    head = (frame[at] & 15) * 4
    total = frame[at + 2] << 8 | frame[at + 3]
    if frame[at] >> 4 != 4 or head < 20 or n < head or total < head:
        mib.InHdrErrors += 1
        return
    if total > n:
        mib.InTruncatedPkts += 1
        return
    mib.InOctets += total
    if int.from_bytes(frame[at : at + head], "big") % 65535:
        mib.InHdrErrors += 1
        return
    src = frame[at + 12 : at + 16]
    dst = frame[at + 16 : at + 20]
    local = dst in stack.own
    through = False
    if iface is stack.loop:
        local = local or dst[0] == 127
        good = True
    elif iface is stack.lo:  # from another sandbox of the namespace
        local = local or dst[0] == 127
        good = local and (src[0] == 127 or src in stack.own)
    else:
        good = not (
            src[0] >= 224
            or src[0] == 127
            or dst[0] == 127
            or src in stack.own
            or iface.is_broadcast(src)
        )
    if not good:
        mib.InAddrErrors += 1
        return
    if not local:
        if is_multicast(dst):
            mib.InMcastPkts += 1
            group = iface.groups.get(dst)
            if group is None or not group.state.lets(src):
                return
        elif dst == BROADCAST4 or iface.is_broadcast(dst):
            mib.InBcastPkts += 1
        elif stack.forward4 or stack.nf is not None:
            through = True
        elif iface.addresses or frame[at + 9] != 17:
            # DHCP's answers come before there is an address.
            mib.InAddrErrors += 1
            return
    if head > 20 and not options_hold(frame[at + 20 : at + head]):
        mib.InHdrErrors += 1
        return
    frag = (frame[at + 6] << 8 | frame[at + 7]) & 0x3FFF
    p = Packet(
        iface, frame, at, at + head, at + total, src, dst, frame[at + 9], frame[at + 8], frame[at + 1], local, csum_ok,
        gso_size,
    )  # fmt: skip
    p.through = through
    if frag:
        ident = frame[at + 4] << 8 | frame[at + 5]
        key = (src, dst, ident, p.proto, iface.index)
        header = frame[at : at + head]
        data = stack.fragments.add(
            key, (frag & 0x1FFF) * 8, p.payload(), frag & 0x2000 != 0, header
        )
        if data is None:
            return
        header = stack.fragments.header
        head = len(header)
        p.buf = whole(header, len(data)) + data
        p.reassembled = True
        p.ip, p.start, p.end = 0, head, len(p.buf)
        p.csum_ok = False
        p.gso_size = 0
    if through or stack.nf is not None:
        stack.arrive(p)
    else:
        stack.deliver(p)
