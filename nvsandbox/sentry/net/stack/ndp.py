"""Neighbour discovery for IPv6 (RFC 4861): solicitations and advertisements of neighbours.

Duplicate address detection is left to whoever gave us the address; routers' advertisements are not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .checksum import finish, ones_sum, pseudo_sum
from .ip import is_any, is_multicast, multicast_mac, solicited_node

if TYPE_CHECKING:
    from .interface import Interface
    from .packet import Packet
    from .stack import Stack

SOLICITATION: Final = 135
ADVERTISEMENT: Final = 136
SOURCE_LLA: Final = 1
TARGET_LLA: Final = 2
SOLICITED: Final = 0x40
OVERRIDE: Final = 0x20


def _send(stack: Stack, iface: Interface, mac: bytes, src: bytes, dst: bytes, body: bytes) -> None:
    total = pseudo_sum(src, dst, 58, len(body)) + ones_sum(body)
    body = body[:2] + finish(total) + body[4:]
    head = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\xff" + src + dst
    stack.counters.icmp6.OutMsgs += 1
    stack.counters.ip6.OutRequests += 1
    stack.transmit(iface, [mac + iface.link.mac + b"\x86\xdd" + head + body], None)


def send_solicitation(stack: Stack, iface: Interface, ip: bytes, to: bytes) -> None:
    """Asks for the link-layer address of ``ip``: its group, or only ``to`` (section 4.3)."""
    dst = ip if to else solicited_node(ip)
    src = iface.address_for(ip)
    body = bytes((SOLICITATION, 0, 0, 0)) + bytes(4) + ip
    if src:
        body += bytes((SOURCE_LLA, 1)) + iface.link.mac
    _send(stack, iface, to or multicast_mac(dst), src or bytes(16), dst, body)


def announce(stack: Stack, iface: Interface, ip: bytes) -> None:
    """Tells all nodes that ``ip`` is here (section 7.2.6)."""
    dst = b"\xff\2" + bytes(13) + b"\1"
    _advertise(stack, iface, multicast_mac(dst), ip, dst, OVERRIDE)


def _advertise(
    stack: Stack, iface: Interface, mac: bytes, ip: bytes, dst: bytes, flags: int
) -> None:
    body = bytes((ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0)) + ip + bytes((TARGET_LLA, 1))
    _send(stack, iface, mac, ip, dst, body + iface.link.mac)


def _option(body: bytes, kind: int) -> bytes | None:
    """A link-layer address option's value, ``b""`` when absent; None: the options are malformed (section 4.6)."""
    at = 24
    found = b""
    while at < len(body):
        if at + 2 > len(body):
            return None
        size = body[at + 1] * 8
        if size == 0 or at + size > len(body):
            return None
        if body[at] == kind and size == 8:
            found = body[at + 2 : at + 8]
        at += size
    return found


def receive(stack: Stack, p: Packet) -> None:
    """An ICMPv6 message of type 135 or 136 whose checksum has been verified (validation: sections 7.1.1, 7.1.2)."""
    body = p.payload()
    if p.ttl != 255 or len(body) < 24 or body[1] != 0 or not p.iface.link.mac:
        return
    target = body[8:24]
    if is_multicast(target):
        return
    if body[0] == SOLICITATION:
        _solicited(stack, p, body, target)
    else:
        lla = _option(body, TARGET_LLA)
        flags = body[4]
        if lla is None or (is_multicast(p.dst) and flags & SOLICITED) or (lla and lla[0] & 1):
            return
        override = flags & OVERRIDE != 0
        p.iface.neighbours.answered(target, lla, flags & SOLICITED != 0, override)


def _solicited(stack: Stack, p: Packet, body: bytes, target: bytes) -> None:
    lla = _option(body, SOURCE_LLA)
    if lla is None or (lla and lla[0] & 1):
        return
    iface = p.iface
    if not any(a.ip == target for a in iface.addresses):
        return
    if is_any(p.src):
        # Somebody checks for duplicates: all are told that the address is taken (section 7.2.4).
        if not lla:
            announce(stack, iface, target)
        return
    if lla:
        iface.neighbours.heard(p.src, lla, True)
        _advertise(stack, iface, lla, target, p.src, SOLICITED | OVERRIDE)
        return
    n = iface.neighbours.entries.get(p.src)
    if n is not None and n.mac:
        _advertise(stack, iface, n.mac, target, p.src, SOLICITED | OVERRIDE)
