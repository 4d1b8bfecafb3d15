"""Attributes of routing netlink messages (linux/rtnetlink.h, struct rtattr; rtnetlink(3)): for us as a client and as the kernel."""

from __future__ import annotations

import struct
from typing import Final

_HEAD: Final = struct.Struct("<HH")
TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED, NLA_F_NET_BYTEORDER


def pack(kind: int, value: bytes) -> bytes:
    """One attribute with its padding."""
    raw = _HEAD.pack(_HEAD.size + len(value), kind) + value
    return raw.ljust((len(raw) + 3) & ~3, b"\0")


def parse(raw: bytes) -> dict[int, bytes]:
    """Attributes by type; of several of one type the last. What follows a bad length is left out."""
    out: dict[int, bytes] = {}
    at = 0
    while at + _HEAD.size <= len(raw):
        size, kind = _HEAD.unpack_from(raw, at)
        if size < _HEAD.size or at + size > len(raw):
            break
        out[kind & TYPE_MASK] = raw[at + _HEAD.size : at + size]
        at += (size + 3) & ~3
    return out
