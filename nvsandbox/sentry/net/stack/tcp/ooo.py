"""Data that came ahead of its turn (RFC 9293 section 3.10.7.4), and the SACK blocks that tell of it (RFC 2018)."""

from __future__ import annotations

from typing import Final, final

OVERHEAD: Final = 512  # what a piece costs beside its bytes, time to handle it included
MAX_BLOCKS: Final = 4


@final
class Block:
    """A stretch without holes."""

    __slots__ = ("end", "pieces", "start")

    def __init__(self, start: int, data: bytes) -> None:
        self.start = start
        self.end = start + len(data)
        self.pieces = [data]


@final
class OutOfOrder:
    """Blocks sorted by sequence number; they never touch. ``recent``: those that grew last, the last first. ``cost``:
    memory, roughly, for the caller's limit."""

    __slots__ = ("blocks", "cost", "recent")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.cost = 0
        self.recent: list[Block] = []

    def add(self, seq: int, data: bytes) -> tuple[int, int]:
        """Adds what is new of ``data``; (start, end) of what was there already, (0, 0): nothing was."""
        blocks = self.blocks
        end = seq + len(data)
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
            self._touch(b)
            if b.end >= end:
                return seq, end
            if b.end > seq:
                dup = (seq, b.end)
                data = data[b.end - seq :]
            b.pieces.append(data)
            b.end = end
        else:
            b = Block(seq, data)
            blocks.insert(i, b)
            self._touch(b)
        self.cost += len(data) + OVERHEAD
        while i + 1 < len(blocks) and blocks[i + 1].start <= b.end:
            dup = self._merge(b, blocks.pop(i + 1), dup)
        return dup

    def _touch(self, b: Block) -> None:
        """It is the first to be reported now."""
        if b in self.recent:
            self.recent.remove(b)
        elif len(self.recent) == MAX_BLOCKS:
            self.recent.pop()
        self.recent.insert(0, b)

    def _merge(self, b: Block, nxt: Block, dup: tuple[int, int]) -> tuple[int, int]:
        """Appends a block that ``b`` now reaches."""
        if nxt in self.recent:
            self.recent.remove(nxt)
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
            if b in self.recent:
                self.recent.remove(b)
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
        return [(b.start, b.end) for b in self.recent]
