"""The Address Resolution Protocol over Ethernet (RFC 826, RFC 5227)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from .ip import is_any, is_multicast

if TYPE_CHECKING:
    from .interface import Interface
    from .stack import Stack

REQUEST: Final = 1
REPLY: Final = 2
HEADER: Final = struct.Struct(">HHBBH")  # hardware type, protocol, their lengths, operation
ETHERTYPE: Final = b"\x08\x06"


def _send(
    stack: Stack, iface: Interface, to: bytes, op: int, src: bytes, tha: bytes, dst: bytes
) -> None:
    mac = iface.link.mac
    body = HEADER.pack(1, 0x0800, 6, 4, op) + mac + src + tha + dst
    stack.transmit(iface, [to + mac + ETHERTYPE + body], None)


def send_request(stack: Stack, iface: Interface, ip: bytes, to: bytes) -> None:
    """Asks who has ``ip``: all, or only ``to``."""
    src = iface.address_for(ip) or bytes(4)
    _send(stack, iface, to or b"\xff" * 6, REQUEST, src, bytes(6), ip)


def announce(stack: Stack, iface: Interface, ip: bytes) -> None:
    """Tells all that ``ip`` is here (RFC 5227 section 2.3)."""
    _send(stack, iface, b"\xff" * 6, REQUEST, ip, bytes(6), ip)


def receive(stack: Stack, iface: Interface, frame: bytes, at: int) -> None:
    """An ARP packet; anything odd is ignored."""
    if len(frame) < at + 28:
        return
    hw, proto, hlen, plen, op = HEADER.unpack_from(frame, at)
    if hw not in (1, 6) or proto != 0x0800 or hlen != 6 or plen != 4:
        return
    sha = frame[at + 8 : at + 14]
    spa = frame[at + 14 : at + 18]
    tpa = frame[at + 24 : at + 28]
    if sha[0] & 1 or is_multicast(spa) or spa[0] == 127 or is_multicast(tpa) or tpa[0] == 127:
        return
    if sha == iface.link.mac or stack.is_own(spa):
        return
    mine = any(a.ip == tpa for a in iface.addresses)
    if op == REQUEST:
        if mine:
            if not is_any(spa):
                iface.neighbours.heard(spa, sha, True)
            _send(stack, iface, sha, REPLY, tpa, sha, spa)
        else:
            iface.neighbours.heard(spa, sha, False)
    elif op == REPLY and not is_any(spa):
        iface.neighbours.answered(spa, sha, mine, True)
