"""A directory's entries as the gofer lists them: records that become attributes when somebody asks."""

from __future__ import annotations

import errno
import stat
import struct
from typing import Final, final

from ...gofer import protocol as p
from ..errors import SysErr

KINDS: Final = frozenset(
    (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
)  # fmt: skip
MODE_OFFSET: Final = 64  # of ENTRY's field
_mode_and_lengths: Final = struct.Struct("<I12xHH").unpack_from
_dev_ino: Final = struct.Struct("<QQ").unpack_from
_entry: Final = p.ENTRY.unpack_from
_SIZE: Final = p.ENTRY.size
U63_MAX: Final = (1 << 63) - 1


def mode_ok(mode: int) -> bool:
    """Whether a file can have it."""
    return mode & 0o170000 in KINDS and mode <= 0o177777


@final
class Entry:
    """One entry. ``mode`` is checked; the other attributes are when they are looked at."""

    __slots__ = ("at", "mode", "records", "target")

    def __init__(self, records: bytes, at: int, mode: int, target: bytes) -> None:
        self.records = records
        self.at = at
        self.mode = mode
        self.target = target

    def key(self) -> tuple[int, int]:
        """(dev, ino)."""
        k: tuple[int, int] = _dev_ino(self.records, self.at)
        return k

    def attr(self) -> p.Attr:
        """All of them. Raises EIO for what no file has."""
        f = _entry(self.records, self.at)
        if max(f[:5]) > U63_MAX:
            raise SysErr(errno.EIO)
        return p.Attr(
            f[0], f[1], f[8], f[9], f[10], f[11], f[2], f[3], f[4], f[5], f[6], f[7], self.target
        )


def parse(values: list[bytes], into: dict[bytes, Entry]) -> bool:
    """Adds one reply's entries; False when they can't be (see protocol.List)."""
    if not values:
        return True  # an empty directory
    if len(values) != 2:
        return False
    records, text = values
    size = len(records)
    if size % _SIZE or len(into) > p.MAX_LISTING:
        return False
    pos = 0
    for at in range(0, size, _SIZE):
        mode, name_len, target_len = _mode_and_lengths(records, at + MODE_OFFSET)
        end: int = pos + name_len
        name = text[pos:end]
        pos = end + target_len
        if name_len > 255 or target_len > 4096 or not p.name_ok(name) or not mode_ok(mode):
            return False
        into[name] = Entry(records, at, mode, text[end:pos] if target_len else b"")
    return pos == len(text)
