"""The memory devices: null, zero, full, random, urandom (Linux: drivers/char/mem.c, random.c; null(4), random(4))."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.wait import POLL_READ, POLL_WRITE
from ..vfs.file import FileDescription, Mappable
from ..vfs.inode import Inode
from ..vfs.special import register_chrdev

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.path import Path

MEM_MAJOR: Final = 1
NULL: Final = 3
ZERO: Final = 5
FULL: Final = 7
RANDOM: Final = 8
URANDOM: Final = 9
RNDGETENTCNT: Final = 0x80045200
MAX_READ: Final = 32 << 20

# (name, minor): what a /dev of ours holds
NODES: Final = ((b"null", NULL), (b"zero", ZERO), (b"full", FULL), (b"random", RANDOM), (b"urandom", URANDOM))  # fmt: skip


@final
class ZeroMappable(Mappable):
    """/dev/zero: mm/ maps anonymous memory instead, private or shared as asked."""

    __slots__ = ()


ZERO_MAPPABLE: Final = ZeroMappable()


@final
class MemDevice(FileDescription):
    """An open memory device."""

    __slots__ = ("kind", "node")

    def __init__(self, flags: int, path: Path, node: Inode, kind: int) -> None:
        super().__init__(flags, path)
        self.node = node
        self.kind = kind

    @property
    def inode(self) -> Inode:
        return self.node

    def read(self, t: Task, size: int) -> bytes | int:
        size = min(size, MAX_READ)
        if self.kind == NULL:
            return b""
        if self.kind in (ZERO, FULL):
            return bytes(size)
        return os.urandom(size)

    def pread(self, t: Task, size: int, offset: int) -> bytes | int:
        return self.read(t, size)

    def write(self, t: Task, data: bytes) -> int:
        return -errno.ENOSPC if self.kind == FULL else len(data)

    def ignores_data(self) -> bool:
        return self.kind in (NULL, ZERO)

    def is_null(self) -> bool:
        return self.kind == NULL

    def can_splice(self, t: Task, write: bool) -> bool:
        return self.kind != (FULL if write else NULL)

    def pwrite(self, t: Task, data: bytes, offset: int) -> int:
        return self.write(t, data)

    def seek(self, t: Task, offset: int, whence: int) -> int:
        return 0

    def poll(self, t: Task | None) -> int:
        return POLL_READ | POLL_WRITE

    def pollable(self) -> bool:
        # epoll takes random and urandom, which have a poll operation; the others it refuses.
        return self.kind in (RANDOM, URANDOM)

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        if cmd == RNDGETENTCNT and self.kind in (RANDOM, URANDOM):
            t.copy_out(arg, (256).to_bytes(4, "little"))
            return 0
        raise SysErr(errno.ENOTTY)

    def mappable(self, t: Task) -> Mappable:
        if self.kind != ZERO:
            raise SysErr(errno.ENODEV)
        return ZERO_MAPPABLE


def _open(t: Task, path: Path, flags: int) -> FileDescription:
    i = path.inode
    return MemDevice(flags, path, i, os.minor(i.rdev))


def mode_and_rdev(minor: int) -> tuple[int, int]:
    """(mode, rdev) of the node in /dev."""
    return stat.S_IFCHR | 0o666, os.makedev(MEM_MAJOR, minor)


for _, _minor in NODES:
    register_chrdev(MEM_MAJOR, _minor, _open)
