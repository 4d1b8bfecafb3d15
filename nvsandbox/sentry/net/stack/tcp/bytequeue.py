"""A queue of bytes that keeps large pieces as they came and gathers small ones, so that its memory is near its size."""

from __future__ import annotations

from collections import deque
from typing import Final, final

SMALL: Final = 2048  # pieces below are gathered
GATHERED: Final = 32768


@final
class ByteQueue:
    """``size``: bytes in it. ``off``: bytes of the first piece that are taken already."""

    __slots__ = ("chunks", "off", "size", "tail")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.tail = bytearray()
        self.off = 0
        self.size = 0

    def append(self, data: bytes) -> None:
        n = len(data)
        if not n:
            return
        self.size += n
        if n < SMALL and (self.chunks or self.tail):
            self.tail += data
            if len(self.tail) >= GATHERED:
                self._flush()
            return
        if self.tail:
            self._flush()
        self.chunks.append(data)

    def _flush(self) -> None:
        self.chunks.append(bytes(self.tail))
        self.tail = bytearray()

    def take(self, n: int) -> bytes:
        """Removes and returns the first ``n`` bytes, or all there are."""
        if n >= self.size:
            n = self.size
            if self.tail:
                self._flush()
        if not n:
            return b""
        self.size -= n
        if not self.chunks:
            self._flush()
        first = self.chunks[0]
        left = len(first) - self.off
        if n < left:
            at = self.off
            self.off = at + n
            return first[at : at + n]
        if n == left:
            self.chunks.popleft()
            at, self.off = self.off, 0
            return first[at:] if at else first
        return self._gather(n)

    def _gather(self, n: int) -> bytes:
        parts: list[bytes] = []
        while n:
            if not self.chunks:
                self._flush()
            first = self.chunks[0]
            left = len(first) - self.off
            if n < left:
                parts.append(first[self.off : self.off + n])
                self.off += n
                break
            parts.append(first[self.off :] if self.off else first)
            self.chunks.popleft()
            self.off = 0
            n -= left
        return b"".join(parts)

    def peek(self, n: int, offset: int = 0) -> bytes:
        """Up to ``n`` bytes from ``offset`` on, which stay."""
        if self.tail:
            self._flush()
        parts: list[bytes] = []
        skip = offset + self.off
        for c in self.chunks:
            if skip >= len(c):
                skip -= len(c)
                continue
            piece = c[skip : skip + n]
            skip = 0
            parts.append(piece)
            n -= len(piece)
            if n <= 0:
                break
        return b"".join(parts)

    def clear(self) -> None:
        self.chunks.clear()
        self.tail = bytearray()
        self.off = self.size = 0
