"""Inodes of files without a name: pipes, sockets, eventfd and their like (Linux: fs/anon_inodes.c, pipefs, sockfs).

``label`` is what readlink(2) of /proc/PID/fd/N shows. The one-of-a-kind descriptors share a single inode, as in
Linux; pipes and sockets have one each.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final, final

from ..vfs.file import FileDescription
from ..vfs.inode import FileSystem, Inode

if TYPE_CHECKING:
    from ..kernel.task import Task

PIPEFS: Final = FileSystem("pipefs", "pipefs")
SOCKFS: Final = FileSystem("sockfs", "sockfs")
SOCKFS.next_ino = 4096  # netstat(8) takes no number of one digit for a socket's
ANONFS: Final = FileSystem("anon_inodefs", "anon_inodefs")


@final
class AnonInode(Inode):
    """The inode of an unnamed file."""

    __slots__ = ("label",)

    def __init__(self, fs: FileSystem, mode: int, uid: int = 0, gid: int = 0) -> None:
        super().__init__(fs, mode, uid, gid)
        self.label = b""


def pipe_inode(uid: int, gid: int) -> AnonInode:
    i = AnonInode(PIPEFS, stat.S_IFIFO | 0o600, uid, gid)
    i.label = b"pipe:[%d]" % i.ino
    return i


def socket_inode(uid: int, gid: int) -> AnonInode:
    i = AnonInode(SOCKFS, stat.S_IFSOCK | 0o777, uid, gid)
    i.label = b"socket:[%d]" % i.ino
    return i


_ANON: Final = AnonInode(ANONFS, 0o600)


class AnonFile(FileDescription):
    """A description on the shared anonymous inode; ``label`` names its kind."""

    __slots__ = ()

    label = b"anon_inode:[unknown]"

    @property
    def inode(self) -> Inode:
        return _ANON

    def seek(self, t: Task, offset: int, whence: int) -> int:
        return 0  # Linux: noop_llseek

    def can_splice(self, t: Task, write: bool) -> bool:
        return False

    def can_async(self) -> bool:
        return False

    def fdinfo(self) -> bytes:
        """The lines of its own in /proc/PID/fdinfo/N."""
        return b""


def fd_label(f: FileDescription) -> bytes:
    """What /proc/PID/fd/N links to when ``f`` has no path."""
    if isinstance(f, AnonFile):
        return f.label
    i = f.inode
    return i.label if isinstance(i, AnonInode) else b"anon_inode:[%d]" % i.ino
