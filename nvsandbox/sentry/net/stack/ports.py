"""Ephemeral ports (RFC 6056 section 3.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

EPHEMERAL: Final = (32768, 60999)


def free_port(random: Callable[[int], bytes], taken: Container[int]) -> int:
    """A port of the ephemeral range that is not ``taken``, from a random one on; 0: all are."""
    low, high = EPHEMERAL
    n = high - low + 1
    start = int.from_bytes(random(4), "little") % n
    for i in range(n):
        port = low + (start + i) % n
        if port not in taken:
            return port
    return 0
