"""SO_PEEK_OFF: where the next MSG_PEEK looks (socket(7); Linux: sk_peek_offset_fwd, sk_peek_offset_bwd).

Peeking moves it on, reading moves it back; negative: it is off, and every MSG_PEEK sees the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..abi.socket import MSG_PEEK

if TYPE_CHECKING:
    from .socket import Socket


def skip(s: Socket, flags: int) -> int:
    """How much of a stream is passed over."""
    return s.peek_off if s.peek_off > 0 and flags & MSG_PEEK else 0


def moved(s: Socket, flags: int, n: int) -> None:
    """``n`` bytes were received."""
    if s.peek_off >= 0:
        s.peek_off = s.peek_off + n if flags & MSG_PEEK else max(s.peek_off - n, 0)


def find(s: Socket, flags: int, sizes: Iterable[int]) -> tuple[int, int]:
    """Which of the queued messages is received, -1: none, and from where on."""
    off = skip(s, flags)
    for i, size in enumerate(sizes):
        if off < size or (not size and not off):
            return i, off
        off -= size
    return -1, 0
