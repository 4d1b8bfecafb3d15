"""Data that came ahead of its turn (RFC 9293 section 3.10.7.4), and the SACK blocks that tell of it (RFC 2018)."""

from __future__ import annotations

from typing import Final, final

OVERHEAD: Final = 96  # what a piece costs beside its bytes
MAX_BLOCKS: Final = 4


@final
class Block:
    """A stretch without holes. ``stamp``: when it grew last, in order of arrival."""

    __slots__ = ("end", "pieces", "stamp", "start")

    def __init__(self, start: int, data: bytes, stamp: int) -> None:
        self.start = start
        self.end = start + len(data)
        self.pieces = [data]
        self.stamp = stamp


@final
class OutOfOrder:
    """Blocks sorted by sequence number; they never touch. ``cost``: memory, roughly, for the caller's limit."""

    __slots__ = ("blocks", "cost", "stamp")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.cost = 0
        self.stamp = 0

    def add(self, seq: int, data: bytes) -> tuple[int, int]:
        """Adds what is new of ``data``; (start, end) of what was there already, (0, 0): nothing was."""
        blocks = self.blocks
        end = seq + len(data)
        self.stamp += 1
        lo, hi = 0, len(blocks)
        while lo < hi:
            mid = (lo + hi) // 2
            if blocks[mid].end < seq:
                lo = mid + 1
            else:
                hi = mid
        dup = (0, 0)
        i = lo
        if i < len(blocks) and blocks[i].start <= seq:
            b = blocks[i]
            b.stamp = self.stamp
            if b.end >= end:
                return seq, end
            if b.end > seq:
                dup = (seq, b.end)
                data = data[b.end - seq :]
            b.pieces.append(data)
            b.end = end
        else:
            b = Block(seq, data, self.stamp)
            blocks.insert(i, b)
        self.cost += len(data) + OVERHEAD
        while i + 1 < len(blocks) and blocks[i + 1].start <= b.end:
            dup = self._merge(b, blocks.pop(i + 1), dup)
        return dup

    def _merge(self, b: Block, nxt: Block, dup: tuple[int, int]) -> tuple[int, int]:
        """Appends a block that ``b`` now reaches."""
        over = b.end - nxt.start
        if over:
            dup = (nxt.start, min(b.end, nxt.end))
        if nxt.end <= b.end:
            for p in nxt.pieces:
                self.cost -= len(p) + OVERHEAD
            return dup
        for p in nxt.pieces:
            if over >= len(p):
                over -= len(p)
                self.cost -= len(p) + OVERHEAD
            else:
                b.pieces.append(p[over:] if over else p)
                self.cost -= over
                over = 0
        b.end = nxt.end
        return dup

    def pop(self, nxt: int) -> list[bytes]:
        """What continues at ``nxt``, in pieces; blocks before it are forgotten."""
        out: list[bytes] = []
        while self.blocks and self.blocks[0].start <= nxt:
            b = self.blocks.pop(0)
            skip = nxt - b.start
            for p in b.pieces:
                self.cost -= len(p) + OVERHEAD
                if skip >= len(p):
                    skip -= len(p)
                    continue
                out.append(p[skip:] if skip else p)
                skip = 0
            nxt = max(nxt, b.end)
        return out

    def sacks(self) -> list[tuple[int, int]]:
        """The blocks to report, the one that grew last first (RFC 2018 section 4)."""
        if len(self.blocks) == 1:
            return [(self.blocks[0].start, self.blocks[0].end)]
        recent = sorted(self.blocks, key=_by_stamp)[:MAX_BLOCKS]
        return [(b.start, b.end) for b in recent]


def _by_stamp(b: Block) -> int:
    return -b.stamp
