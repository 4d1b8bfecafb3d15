"""Words of a pushbuffer into methods (``NVC56F_DMA_*`` of ``clc56f.h``, Pascal and newer)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_INC, _NON_INC, _IMMEDIATE, _ONE_INC, _END = 1, 3, 4, 5, 7
MAX_WORDS: Final = 1 << 21


def methods(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(subchannel, method, argument) of a segment; what follows a malformed header is dropped."""
    words = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
    at = 0
    while at < len(words):
        head = words[at]
        at += 1
        op, count, sub, method = head >> 29, head >> 16 & 0x1FFF, head >> 13 & 7, (head & 0xFFF) * 4
        if op == _IMMEDIATE:
            yield sub, method, count
        elif op in (_INC, _NON_INC, _ONE_INC):
            for i in range(min(count, len(words) - at)):
                step = {_INC: i, _NON_INC: 0, _ONE_INC: min(i, 1)}[op]
                yield sub, method + 4 * step, words[at + i]
            at += count
        elif op == _END or head:
            return
