"""Kernel structures of stat(2), statx(2) and getdents(2) on x86-64."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from typing import Final

from .nodes import Node

_DEV: Final = 5  # what /dev's devtmpfs has on most machines; only ever compared
_BLOCK: Final = 4096
_STATX_BASIC: Final = 0x7FF
_STAT: Final = struct.Struct("<QQQIIIIQqqq6q3q")
_DT: Final = {stat.S_IFDIR: 4, stat.S_IFCHR: 2, stat.S_IFREG: 8, stat.S_IFLNK: 10}


def inode_of(path: str) -> int:
    """A stable inode number for a path."""
    return 1000 + zlib.crc32(path.encode(errors="surrogateescape"))


def stat_bytes(path: str, node: Node) -> bytes:
    """``struct stat``."""
    rdev = os.makedev(*node.rdev) if node.is_device else 0
    nlink = 2 if stat.S_ISDIR(node.mode) else 1
    return _STAT.pack(
        _DEV, inode_of(path), nlink, node.mode, 0, 0, 0, rdev, len(node.content), _BLOCK, 0,
        *[0] * 6, 0, 0, 0,
    )  # fmt: skip


def statx_bytes(path: str, node: Node) -> bytes:
    """``struct statx``."""
    out = bytearray(256)
    nlink = 2 if stat.S_ISDIR(node.mode) else 1
    struct.pack_into(
        "<IIQIIIH2xQQQ", out, 0, _STATX_BASIC, _BLOCK, 0, nlink, 0, 0, node.mode, inode_of(path),
        len(node.content), 0,
    )  # fmt: skip
    struct.pack_into("<IIII", out, 128, *node.rdev, 0, _DEV)
    return bytes(out)


def dirent(name: str, mode: int, offset: int, path: str, wide: bool = True) -> bytes:
    """``struct linux_dirent64``, or the older ``linux_dirent``."""
    raw = os.fsencode(name)
    kind = _DT.get(stat.S_IFMT(mode), 0)
    if wide:
        length = -(-(19 + len(raw) + 1) // 8) * 8
        head = struct.pack("<QqHB", inode_of(path), offset, length, kind)
        return (head + raw).ljust(length, b"\0")
    length = -(-(18 + len(raw) + 2) // 8) * 8
    head = struct.pack("<QqH", inode_of(path), offset, length)
    return (head + raw).ljust(length - 1, b"\0") + bytes((kind,))
