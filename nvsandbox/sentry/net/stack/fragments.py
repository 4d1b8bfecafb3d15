"""Reassembly of fragmented packets (RFC 791, RFC 8200 section 4.5; overlaps are refused: RFC 5722, RFC 8200).

Bounded: ``LIMIT`` bytes in all (Linux: net.ipv4.ipfrag_high_thresh), ``PIECES`` fragments a packet; the oldest makes room.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, final

from .timers import Expiring, Timer

if TYPE_CHECKING:
    from .counters import IpCounters
    from .stack import Stack

LIMIT: Final = 4 << 20
OVERHEAD: Final = 200  # what a fragment costs beside its bytes
PIECES: Final = 128
TIMEOUT: Final = 30_000_000_000
MAX_PACKET: Final = 65535

Key = tuple[bytes, bytes, int, int, int]  # source, destination, identification, protocol, interface


@final
class Reassembly(Expiring):
    """One packet. ``starts``, ``pieces``: sorted by offset. ``first``: the header of fragment 0 with 8 bytes more, for
    an ICMP error. ``total``: the payload's length, -1: the last fragment is missing."""

    __slots__ = (
        "buffer",
        "cost",
        "first",
        "have",
        "header",
        "key",
        "pieces",
        "starts",
        "timer",
        "total",
    )

    def __init__(self, buffer: Fragments, key: Key) -> None:
        self.buffer = buffer
        self.key = key
        self.starts: list[int] = []
        self.pieces: list[bytes] = []
        self.have = 0
        self.cost = 0
        self.total = -1
        self.first = self.header = b""
        self.timer = Timer(self)

    def expire(self, now: int) -> None:
        self.buffer.expired(self)


@final
class Fragments:
    """All packets being put together. ``header``: of the fragment 0 of the one that was completed last."""

    __slots__ = ("cost", "header", "open", "stack")

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.open: dict[Key, Reassembly] = {}
        self.cost = 0
        self.header = b""

    def _mib(self, key: Key) -> IpCounters:
        c = self.stack.counters
        return c.ip if len(key[0]) == 4 else c.ip6

    def add(self, key: Key, offset: int, data: bytes, more: bool, header: bytes) -> bytes | None:
        """Takes a fragment: the payload when that completes it. ``header``: the packet's IP header, kept from fragment 0."""
        mib = self._mib(key)
        mib.ReasmReqds += 1
        end = offset + len(data)
        if end > MAX_PACKET or not data or (more and len(data) & 7):
            mib.ReasmFails += 1
            return None
        r = self.open.get(key)
        if r is None:
            r = self.open[key] = Reassembly(self, key)
            self.stack.timers.set(r.timer, self.stack.now() + TIMEOUT)
        if not self._place(r, offset, data, more):
            self._drop(r)
            mib.ReasmFails += 1
            return None
        if offset == 0:
            r.first = header + data[:8]
            r.header = header
        if r.have == r.total:
            self._drop(r)
            self.header = r.header
            mib.ReasmOKs += 1
            return b"".join(r.pieces)
        while self.cost > LIMIT:
            self._drop(next(iter(self.open.values())))
            mib.ReasmFails += 1
        return None

    def _place(self, r: Reassembly, offset: int, data: bytes, more: bool) -> bool:
        """False: it overlaps or contradicts what is there. An exact duplicate is ignored."""
        end = offset + len(data)
        if not more:
            if r.total not in (-1, end) or (r.starts and r.starts[-1] + len(r.pieces[-1]) > end):
                return False
            r.total = end
        elif r.total != -1 and end >= r.total:
            return False
        i = bisect_left(r.starts, offset)
        if i < len(r.starts) and r.starts[i] == offset and r.pieces[i] == data:
            return True
        if i and r.starts[i - 1] + len(r.pieces[i - 1]) > offset:
            return False
        if i < len(r.starts) and r.starts[i] < end:
            return False
        if len(r.starts) >= PIECES:
            return False
        r.starts.insert(i, offset)
        r.pieces.insert(i, data)
        r.have += len(data)
        r.cost += len(data) + OVERHEAD
        self.cost += len(data) + OVERHEAD
        return True

    def _drop(self, r: Reassembly) -> None:
        del self.open[r.key]
        self.cost -= r.cost
        self.stack.timers.free(r.timer)

    def expired(self, r: Reassembly) -> None:
        """Time is up: the sender is told when fragment 0 was here."""
        self._drop(r)
        mib = self._mib(r.key)
        mib.ReasmTimeout += 1
        mib.ReasmFails += 1
        if r.first:
            self.stack.fragment_timeout(r.key, r.first)
