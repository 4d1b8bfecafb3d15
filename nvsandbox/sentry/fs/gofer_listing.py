"""A directory's entries as the gofer lists them: records that become attributes when somebody asks."""

from __future__ import annotations

import errno
import stat
import struct
from typing import Final, final

from ...gofer import protocol as p
from ...platform.native.hot import entries_ok, list_names
from ..errors import SysErr

KINDS: Final = frozenset(
    (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
)  # fmt: skip
_mode: Final = struct.Struct("<64xI").unpack_from
_lengths: Final = struct.Struct("<80xHHI").unpack_from
_dev_ino: Final = struct.Struct("<QQ").unpack_from
_entry: Final = p.ENTRY.unpack_from
_SIZE: Final = p.ENTRY.size
U63_MAX: Final = (1 << 63) - 1
OFFSET: Final = (1 << 32) - 1
UNSEEN: Final = 0xFFFF  # NV_UNSEEN of native/walk.h


def mode_ok(mode: int) -> bool:
    """Whether a file can have it."""
    return mode & 0o170000 in KINDS and mode <= 0o177777


@final
class Listing:
    """What is in one directory. An entry is a number: its part of the answer and, in the low 32 bits, where its record is in
    that. Names, modes, dev and ino were checked when they came (native/listing.c), the rest is when it is looked at."""

    __slots__ = ("count", "parts")

    def __init__(self) -> None:
        self.count = 0
        self.parts: list[tuple[bytes, bytes, int, int]] = []

    def add(self, records: bytes, text: bytes, at: int, count: int) -> bool:
        """Takes ``count`` entries in that were checked; False when they are too many."""
        if count:
            self.count += count
            self.parts.append((records, text, at, count))
        return self.count <= p.MAX_LISTING

    def add_answer(self, values: list[bytes]) -> bool:
        """Takes one answer to List in; False when it can't be."""
        if not values:
            return True  # an empty directory
        if len(values) != 2 or not entries_ok(values[0], values[1]):
            return False
        return self.add(values[0], values[1], 0, len(values[0]) // _SIZE)

    def names(self) -> tuple[dict[bytes, int], list[bytes], list[bytes]]:
        """All entries by name, the names of regular files, and those of directories."""
        names: dict[bytes, int] = {}
        files: list[bytes] = []
        dirs: list[bytes] = []
        base = 0
        for records, text, at, count in self.parts:
            list_names(records, text, at, count, base, names, files, dirs)
            base += 1 << 32
        return names, files, dirs

    def key(self, i: int) -> tuple[int, int]:
        """(dev, ino)."""
        k: tuple[int, int] = _dev_ino(self.parts[i >> 32][0], i & OFFSET)
        return k

    def mode(self, i: int) -> int:
        m: int = _mode(self.parts[i >> 32][0], i & OFFSET)[0]
        return m

    def known(self, i: int) -> bool:
        """Whether its attributes came: not with a brief walk."""
        u: bool = _lengths(self.parts[i >> 32][0], i & OFFSET)[1] != UNSEEN
        return u

    def attr(self, i: int) -> p.Attr:
        """All of them, which must be known. Raises EIO for what no file has."""
        records, text, _, _ = self.parts[i >> 32]
        f = _entry(records, i & OFFSET)
        if max(f[:5]) > U63_MAX:
            raise SysErr(errno.EIO)
        target = b""
        if f[13]:
            start: int = f[14] + f[12]
            end: int = start + f[13]
            target = text[start:end]
        return p.Attr(
            f[0], f[1], f[8], f[9], f[10], f[11], f[2], f[3], f[4], f[5], f[6], f[7], target
        )


def file_at(records: bytes, text: bytes, at: int) -> tuple[bytes, int, int] | None:
    """Name, dev and ino of a checked record if it is one of a regular file."""
    if _mode(records, at)[0] & 0o170000 != stat.S_IFREG:
        return None
    dev, ino = _dev_ino(records, at)
    name_len, _, start = _lengths(records, at)
    end: int = start + name_len
    return text[start:end], dev, ino
