"""Numbers that an attacker off the path must not guess: initial sequence numbers (RFC 6528), timestamp offsets
(RFC 7323 section 7.1), SYN cookies (RFC 4987 section 3.6)."""

from __future__ import annotations

from _blake2 import blake2s  # hashlib would load all of OpenSSL at every start
from typing import Final

MASK: Final = 0xFFFFFFFF
COOKIE_MSS: Final = (536, 1220, 1300, 1360, 1380, 1420, 1440, 1460)
COOKIE_PERIOD: Final = 64_000_000_000
COOKIE_AGE: Final = 2  # periods a cookie is good for


def _hash(secret: bytes, data: bytes) -> int:
    return int.from_bytes(blake2s(data, key=secret, digest_size=8).digest(), "big")


def initial_sequence(secret: bytes, key: bytes, now: int) -> int:
    """``key``: the four-tuple. A clock of 64 ns ticks (Linux's) plus a hash."""
    return (_hash(secret, b"i" + key) + (now >> 6)) & MASK


def timestamp_offset(secret: bytes, key: bytes, v6: bool) -> int:
    """The same for all connections of two addresses, so that timestamps tell old from new across them."""
    return _hash(secret, b"t" + key[: 32 if v6 else 8]) & MASK


def cookie(secret: bytes, key: bytes, irs: int, mss: int, now: int) -> int:
    """A sequence number that says everything about a SYN: 5 bits of time, 3 of MSS, 24 of hash."""
    count = now // COOKIE_PERIOD
    index = max(i for i, m in enumerate(COOKIE_MSS) if m <= mss or i == 0)
    return (count & 31) << 27 | index << 24 | _cookie_hash(secret, key, irs, count, index)


def _cookie_hash(secret: bytes, key: bytes, irs: int, count: int, index: int) -> int:
    data = b"c" + key + irs.to_bytes(4, "big") + count.to_bytes(8, "big") + bytes((index,))
    return _hash(secret, data) & 0xFFFFFF


def check_cookie(secret: bytes, key: bytes, irs: int, value: int, now: int) -> int:
    """The MSS in a cookie, 0: not ours or too old."""
    count = now // COOKIE_PERIOD
    age = (count - (value >> 27)) & 31
    index = value >> 24 & 7
    if age >= COOKIE_AGE or value & 0xFFFFFF != _cookie_hash(secret, key, irs, count - age, index):
        return 0
    return COOKIE_MSS[index]
