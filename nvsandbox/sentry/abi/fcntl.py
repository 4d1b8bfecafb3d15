"""Flags of path and descriptor calls (linux/fcntl.h, asm-generic/fcntl.h)."""

from __future__ import annotations

from typing import Final

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EACCESS: Final = 0x200
AT_REMOVEDIR: Final = 0x200
AT_SYMLINK_FOLLOW: Final = 0x400
AT_NO_AUTOMOUNT: Final = 0x800
AT_EMPTY_PATH: Final = 0x1000
AT_STATX_FORCE_SYNC: Final = 0x2000
AT_STATX_DONT_SYNC: Final = 0x4000
AT_STATX_SYNC_TYPE: Final = 0x6000
AT_RECURSIVE: Final = 0x8000

O_LARGEFILE: Final = 0o100000
O_TMPFILE_BIT: Final = 0o20000000
FMODE_EXEC: Final = 0x20
VALID_OPEN_FLAGS: Final = (
    0o37777703  # access mode to __O_TMPFILE; see asm-generic/fcntl.h VALID_OPEN_FLAGS
)
F_LINUX_SPECIFIC: Final = 1024

MAX_RW_COUNT: Final = 0x7FFFF000
UIO_MAXIOV: Final = 1024
PATH_MAX: Final = 4096
USER_MAX: Final = 0x7FFFFFFFF000  # TASK_SIZE_MAX
