"""What nftables' messages are made of: attributes in network byte order, registers, values and verdicts (linux/netfilter/nf_tables.h)."""

from __future__ import annotations

import errno
import struct
from typing import Final

from ....rtattr import pack as pack
from ...errors import SysErr
from .skb import REGISTERS, Skb

NESTED: Final = 0x8000
TYPE_MASK: Final = 0x3FFF
NAME_MAX: Final = 256
MAX_DATA: Final = 64
Attrs = dict[int, bytes]


def bad() -> SysErr:
    return SysErr(errno.EINVAL)


def pairs(raw: bytes) -> list[tuple[int, bytes]]:
    """Attributes in their order. Raises EINVAL for what is cut off."""
    out: list[tuple[int, bytes]] = []
    at = 0
    while at + 4 <= len(raw):
        size, kind = struct.unpack_from("<HH", raw, at)
        if size < 4 or at + size > len(raw):
            raise bad()
        out.append((kind & TYPE_MASK, raw[at + 4 : at + size]))
        at += (size + 3) & ~3
    return out


def attrs(raw: bytes) -> Attrs:
    return dict(pairs(raw))


def items(raw: bytes) -> list[bytes]:
    """A list's elements: tools number them, or all are NFTA_LIST_ELEM."""
    return [body for _kind, body in pairs(raw)]


def u32(a: Attrs, kind: int, default: int | None = None) -> int:
    """Raises EINVAL."""
    raw = a.get(kind)
    if raw is None:
        if default is None:
            raise bad()
        return default
    if len(raw) != 4:
        raise bad()
    return int.from_bytes(raw, "big")


def u64(a: Attrs, kind: int, default: int = 0) -> int:
    raw = a.get(kind)
    if raw is None:
        return default
    if len(raw) != 8:
        raise bad()
    return int.from_bytes(raw, "big")


def name(a: Attrs, kind: int) -> bytes:
    """A string, empty where there is none. Raises ENAMETOOLONG, EINVAL."""
    raw = a.get(kind, b"")
    if len(raw) > NAME_MAX:
        raise SysErr(errno.ENAMETOOLONG)
    text = raw.split(b"\0")[0]
    if raw and not text:
        raise bad()
    return text


def nest(kind: int, *parts: bytes) -> bytes:
    return pack(kind | NESTED, b"".join(parts))


def be32(kind: int, value: int) -> bytes:
    return pack(kind, (value & 0xFFFFFFFF).to_bytes(4, "big"))


def be64(kind: int, value: int) -> bytes:
    return pack(kind, (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big"))


def text(kind: int, value: bytes) -> bytes:
    return pack(kind, value + b"\0")


def register(number: int, size: int) -> int:
    """Where a register's ``size`` bytes are. Raises EINVAL, ERANGE."""
    if 1 <= number <= 4:
        at = (number - 1) * 16
    elif 8 <= number <= 23:
        at = (number - 8) * 4
    else:
        raise bad()
    if not size > 0 or at + size > REGISTERS:
        raise SysErr(errno.ERANGE)
    return at


def value(raw: bytes | None, size: int = 0) -> bytes:
    """The bytes in a struct nft_data's attribute; ``size``: as many it must be. Raises EINVAL."""
    if raw is None:
        raise bad()
    data = attrs(raw).get(1)
    if data is None or not 0 < len(data) <= MAX_DATA or (size and len(data) != size):
        raise bad()
    return data


def load(skb: Skb, at: int, size: int) -> bytes:
    return bytes(skb.regs[at : at + size])


def store(skb: Skb, at: int, data: bytes) -> None:
    """Into a register, with zeroes up to the next word."""
    padded = data + bytes(-len(data) % 4)
    skb.regs[at : at + len(padded)] = padded[: REGISTERS - at]
