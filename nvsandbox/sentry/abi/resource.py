"""Resource limits (asm-generic/resource.h)."""

from __future__ import annotations

from typing import Final

RLIMIT_FSIZE: Final = 1
RLIMIT_NOFILE: Final = 7
RLIM_INFINITY: Final = (1 << 64) - 1
