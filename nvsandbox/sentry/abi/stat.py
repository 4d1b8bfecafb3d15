"""struct statx, statfs and linux_dirent64 (asm/stat.h, linux/stat.h, asm-generic/statfs.h)."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..kernel.userns import UserNamespace
    from ..vfs.inode import Stat, StatFs

_STATX: Final = struct.Struct("<IIQIIIH2xQQQQ" + "qI4x" * 4 + "IIIIQII96x")
_STATFS: Final = struct.Struct("<QqQQQQQiiqqq32x")
_DIRENT: Final = struct.Struct("<QqHB")
_DIRENT_OLD: Final = struct.Struct("<QqH")
assert _STATX.size == 256 and _STATFS.size == 120

NS: Final = 1_000_000_000
STATX_BASIC_STATS: Final = 0x7FF
STATX_BTIME: Final = 0x800
STATX_MNT_ID: Final = 0x1000
STATX_RESERVED: Final = 0x80000000
STATX_ATTR_MOUNT_ROOT: Final = 0x2000


def pack_statx(s: Stat, users: UserNamespace, mnt_id: int, mount_root: bool) -> bytes:
    """``struct statx`` with all that we know, whatever was asked for."""
    mask = STATX_BASIC_STATS | STATX_MNT_ID | (STATX_BTIME if s.btime else 0)
    attr = STATX_ATTR_MOUNT_ROOT if mount_root else 0
    times: list[int] = []
    for ns in (s.atime, s.btime, s.ctime, s.mtime):
        times += [ns // NS, ns % NS]
    return _STATX.pack(
        mask, s.blksize, attr, s.nlink, users.uid_out(s.uid), users.gid_out(s.gid), s.mode, s.ino, s.size, s.blocks,
        STATX_ATTR_MOUNT_ROOT, *times, os.major(s.rdev), os.minor(s.rdev),
        os.major(s.dev), os.minor(s.dev), mnt_id, 0, 0,
    )  # fmt: skip


def pack_statfs(s: StatFs, dev: int, flags: int) -> bytes:
    """``struct statfs``; ``flags`` are ST_*."""
    return _STATFS.pack(
        s.type, s.bsize, s.blocks, s.bfree, s.bavail, s.files, s.ffree, dev & 0x7FFFFFFF, 0,
        s.namelen, s.bsize, flags | 0x20,
    )  # fmt: skip


def pack_dirents(
    entries: list[tuple[int, int, int, bytes]], room: int, old: bool
) -> tuple[bytes, int]:
    """As many entries as fit, and the last one's next offset (-1: not one fitted)."""
    out: list[bytes] = []
    used = 0
    last = -1
    for ino, nxt, kind, name in entries:
        size = (19 + len(name) + 1 + 7) & ~7
        if old:
            size = (18 + len(name) + 2 + 7) & ~7
        if used + size > room:
            break
        if old:
            rec = (_DIRENT_OLD.pack(ino, nxt, size) + name).ljust(size - 1, b"\0") + bytes([kind])
        else:
            rec = (_DIRENT.pack(ino, nxt, size, kind) + name).ljust(size, b"\0")
        out.append(rec)
        used += size
        last = nxt
    return b"".join(out), last
