"""SO_PEEK_OFF: where the next MSG_PEEK looks (socket(7); Linux: sk_peek_offset_fwd, sk_peek_offset_bwd).

Peeking moves it on, reading moves it back; negative: it is off, and every MSG_PEEK sees the beginning.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

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


def find(s: Socket, flags: int, rx: Collection[Any]) -> tuple[int, int]:
    """Which of the queued messages is received, -1: none, and from where on."""
    if s.peek_off < 0:
        return 0 if rx else -1, 0
    off = skip(s, flags)
    for i, m in enumerate(rx):
        size = len(m.data)
        if off < size or (not size and not off):
            return i, off
        off -= size
    return -1, 0
