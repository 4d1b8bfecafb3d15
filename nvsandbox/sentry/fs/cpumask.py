"""Sets of processors as files in proc, sys and cgroup show them (Documentation/core-api/printk-formats.rst, %*pb and %*pbl)."""

from __future__ import annotations


def mask_words(mask: int, n: int) -> str:
    """A mask of ``n`` processors: words of 32 bits in hexadecimal, the highest first and as short as ``n`` allows."""
    words: list[str] = []
    for low in range(0, n, 32):
        digits = (min(n - low, 32) + 3) // 4
        words.append(f"{mask >> low & 0xFFFFFFFF:0{digits}x}")
    return ",".join(reversed(words))


def mask_list(mask: int) -> str:
    """The same mask as ranges of numbers."""
    ranges: list[str] = []
    low = 0
    while mask >> low:
        if not mask >> low & 1:
            low += 1
            continue
        high = low
        while mask >> high + 1 & 1:
            high += 1
        ranges.append(str(low) if low == high else f"{low}-{high}")
        low = high + 1
    return ",".join(ranges)


def every_cpu(n: int) -> int:
    """The mask of all of ``n`` processors."""
    return (1 << n) - 1
