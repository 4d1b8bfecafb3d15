"""The Internet checksum (RFC 1071).

One's complement addition of 16-bit words is addition modulo 65535, so a whole buffer is one big number modulo 65535: far quicker in
Python than word by word. Sums here are of 0…65534.
"""

from __future__ import annotations


def ones_sum(data: bytes) -> int:
    """The sum of the 16-bit words, an odd last byte padded with zero."""
    n = int.from_bytes(data, "big")
    if len(data) & 1:
        n <<= 8
    return n % 65535


def finish(total: int) -> bytes:
    """The checksum field for a sum: never zero, which UDP over IPv6 forbids and all others don't need."""
    return (65535 - total % 65535).to_bytes(2, "big")


def pseudo_sum(src: bytes, dst: bytes, proto: int, length: int) -> int:
    """The pseudo-header's sum (RFC 9293 section 3.1, RFC 8200 section 8.1)."""
    n = int.from_bytes(src + dst, "big")
    return (n + proto + length + (length >> 16)) % 65535


def parts_sum(parts: list[bytes]) -> int:
    """The sum of a buffer in pieces, odd ones too."""
    total = 0
    odd = False
    for p in parts:
        s = ones_sum(p)
        if odd:
            s = (s << 8) % 65535
        total += s
        if len(p) & 1:
            odd = not odd
    return total % 65535
