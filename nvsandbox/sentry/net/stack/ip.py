"""Addresses of IPv4 and IPv6 with a meaning of their own (RFC 6890, RFC 4291)."""

from __future__ import annotations

from typing import Final

ANY4: Final = bytes(4)
ANY6: Final = bytes(16)
BROADCAST4: Final = b"\xff\xff\xff\xff"
ALL_HOSTS4: Final = b"\xe0\0\0\1"
ALL_ROUTERS4: Final = b"\xe0\0\0\2"
ALL_NODES6: Final = b"\xff\2" + bytes(13) + b"\1"
ALL_ROUTERS6: Final = b"\xff\2" + bytes(13) + b"\2"


def is_any(ip: bytes) -> bool:
    """All zeroes, or not given."""
    return not ip or ip == ANY4 or ip == ANY6


def is_multicast(ip: bytes) -> bool:
    return (ip[0] & 0xF0) == 0xE0 if len(ip) == 4 else ip[0] == 0xFF


def is_loopback(ip: bytes) -> bool:
    if len(ip) == 4:
        return ip[0] == 127
    return ip[:15] == bytes(15) and ip[15] == 1


def is_link_local(ip: bytes) -> bool:
    """fe80::/10, which only means something together with an interface."""
    return len(ip) == 16 and ip[0] == 0xFE and ip[1] & 0xC0 == 0x80


def solicited_node(ip: bytes) -> bytes:
    """The group in which an IPv6 address is solicited (RFC 4291 section 2.7.1)."""
    return b"\xff\2" + bytes(9) + b"\1\xff" + ip[13:]


def multicast_mac(ip: bytes) -> bytes:
    """The Ethernet address of a group (RFC 1112 section 6.4, RFC 2464 section 7)."""
    if len(ip) == 4:
        return bytes((1, 0, 0x5E, ip[1] & 0x7F, ip[2], ip[3]))
    return b"\x33\x33" + ip[12:]
