"""Execution domains and their flags (linux/personality.h; personality(2))."""

from __future__ import annotations

from typing import Final

PER_MASK: Final = 0xFF
PER_LINUX32: Final = 8
UNAME26: Final = 0x0020000
ADDR_NO_RANDOMIZE: Final = 0x0040000
READ_IMPLIES_EXEC: Final = 0x0400000
STICKY_TIMEOUTS: Final = 0x4000000
# Gone when a set-user-id program starts: READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE, ADDR_COMPAT_LAYOUT, MMAP_PAGE_ZERO.
CLEAR_ON_SETID: Final = READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE | 0x0200000 | 0x0100000
