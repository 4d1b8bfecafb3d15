"""TCP segments on the wire (RFC 9293 section 3.1; options: RFC 7323, RFC 2018)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from ..packet import Packet

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20
HEADER: Final = struct.Struct(">HHIIHHHH")
FAST: Final = struct.Struct(">HHIIHHHHIII")  # with NOP NOP timestamps
MASK: Final = 0xFFFFFFFF


def unwrap(near: int, wire: int) -> int:
    """The sequence number closest to ``near`` that is ``wire`` modulo 2**32: inside the stack they don't wrap."""
    return near + ((wire - near + 0x80000000) & MASK) - 0x80000000


@final
class Segment:
    """A segment that came. ``seq`` and ``ack`` are as on the wire; ``mss`` 0, ``wscale`` -1: option absent."""

    __slots__ = (
        "ack", "data", "dport", "fastopen", "flags", "gso_size", "has_ts", "mss", "sack_ok", "sacks", "seq", "sport", "tsecr",
        "tsval", "urg", "window", "wscale",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sport = self.dport = self.seq = self.ack = self.flags = self.window = self.urg = 0
        self.data = b""
        self.gso_size = 0
        self.has_ts = self.sack_ok = False
        self.tsval = self.tsecr = self.mss = 0
        self.wscale = -1
        self.fastopen: bytes | None = None  # a cookie, empty: one is asked for
        self.sacks: list[tuple[int, int]] = []

    def length(self) -> int:
        """Sequence numbers it takes."""
        return len(self.data) + (self.flags & 1) + (self.flags >> 1 & 1)


def parse(p: Packet) -> Segment | None:
    """The segment in a packet of at least 20 bytes; None: malformed."""
    buf, start = p.buf, p.start
    s = Segment()
    s.sport, s.dport, s.seq, s.ack, word, s.window, _, s.urg = HEADER.unpack_from(buf, start)
    head = (word >> 12) * 4
    if head < 20 or start + head > p.end:
        return None
    s.flags = word & 0x3F
    s.gso_size = p.gso_size
    if (
        head == 32
        and FAST.size <= p.end - start
        and buf[start + 20 : start + 24] == b"\1\1\x08\x0a"
    ):
        s.has_ts = True
        s.tsval = int.from_bytes(buf[start + 24 : start + 28], "big")
        s.tsecr = int.from_bytes(buf[start + 28 : start + 32], "big")
    elif head > 20:
        _options(s, buf[start + 20 : start + head])
    s.data = buf[start + head : p.end]
    return s


def _options(s: Segment, o: bytes) -> None:
    """Options in any order; the rest is ignored from the first malformed one on, as Linux does."""
    at, n = 0, len(o)
    while at < n:
        kind = o[at]
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        if at + 1 >= n:
            return
        size = o[at + 1]
        if size < 2 or at + size > n:
            return
        if kind == 2 and size == 4 and s.flags & SYN:
            s.mss = o[at + 2] << 8 | o[at + 3]
        elif kind == 3 and size == 3 and s.flags & SYN:
            s.wscale = min(o[at + 2], 14)
        elif kind == 4 and size == 2 and s.flags & SYN:
            s.sack_ok = True
        elif kind == 5 and size >= 10 and (size - 2) % 8 == 0:
            for i in range(at + 2, at + size, 8):
                left = int.from_bytes(o[i : i + 4], "big")
                s.sacks.append((left, int.from_bytes(o[i + 4 : i + 8], "big")))
        elif kind == 8 and size == 10:
            s.has_ts = True
            s.tsval = int.from_bytes(o[at + 2 : at + 6], "big")
            s.tsecr = int.from_bytes(o[at + 6 : at + 10], "big")
        elif kind == 34 and s.flags & SYN and (size == 2 or (6 <= size <= 18 and not size & 1)):
            s.fastopen = o[at + 2 : at + size]
        at += size


def syn_options(
    mss: int,
    wscale: int,
    sack: bool,
    ts: bool,
    tsval: int,
    tsecr: int,
    fastopen: bytes | None = None,
) -> bytes:
    """The options of a SYN in Linux's order; ``wscale`` -1: none; ``fastopen``: a cookie (RFC 7413)."""
    o = b"\2\4" + mss.to_bytes(2, "big")
    if sack and ts:
        o += b"\4\2"
    elif sack:
        o += b"\1\1\4\2"
    if ts:
        o += (
            (b"" if sack else b"\1\1")
            + b"\x08\x0a"
            + tsval.to_bytes(4, "big")
            + tsecr.to_bytes(4, "big")
        )
    if wscale >= 0:
        o += b"\1\3\3" + bytes((wscale,))
    if fastopen is not None:
        o += b"\x22" + bytes((2 + len(fastopen),)) + fastopen
        o += b"\1" * (-len(o) % 4)
    return o


def sack_option(blocks: list[tuple[int, int]]) -> bytes:
    """NOP NOP SACK."""
    o = b"\1\1\5" + bytes((2 + 8 * len(blocks),))
    for left, right in blocks:
        o += (left & MASK).to_bytes(4, "big") + (right & MASK).to_bytes(4, "big")
    return o
