"""Inodes and file systems (Linux: struct inode, inode_operations, super_block; fs/inode.c, inode(7)).

An ``Inode`` is one file object of one file system. The defaults fail as Linux does for an operation that a
file system lacks. The path walk and permission checks have been done by the caller (``vfs/namei.py``,
``vfs/dirops.py``): an operation here only has to be right for its own directory. Attributes the walk needs
(``mode``, ``uid``, ``gid``) are plain fields, so that a cached walk never calls a method.

``volatile`` directories (procfs, revalidating bind mounts) are asked again at every walk; the cached dentry
lives on as long as ``lookup`` returns the same inode object, which is what keeps mounts on it in place.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, final

from mypy_extensions import mypyc_attr

from ..errors import SysErr
from ..kernel.creds import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FSETID
from ..kernel.userns import INIT_USER, UserNamespace
from .path import forget_walks

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .file import FileDescription, Mappable
    from .path import Path

MAY_EXEC: Final = 1
MAY_WRITE: Final = 2
MAY_READ: Final = 4

S_IFMT: Final = 0o170000
NAME_MAX: Final = 255

# setattr's ``valid`` bits (linux/fs.h ATTR_*).
ATTR_MODE: Final = 1
ATTR_UID: Final = 2
ATTR_GID: Final = 4
ATTR_SIZE: Final = 8
ATTR_ATIME: Final = 16
ATTR_MTIME: Final = 32
ATTR_CTIME: Final = 64

RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2
RENAME_WHITEOUT: Final = 4


@final
@mypyc_attr(free_list_len=1)
class Stat:
    """What stat(2) and statx(2) report. Times in nanoseconds."""

    __slots__ = (
        "atime", "blksize", "blocks", "btime", "ctime", "dev", "gid", "ino", "mode", "mtime",
        "nlink", "rdev", "size", "uid",
    )  # fmt: skip

    def __init__(self, i: Inode) -> None:
        self.dev = i.fs.dev
        self.ino = i.ino
        self.mode = i.mode
        self.nlink = i.nlink
        self.uid = i.uid
        self.gid = i.gid
        self.rdev = i.rdev
        self.size = i.size
        self.blksize = i.fs.blksize
        self.blocks = (i.size + 511) >> 9
        self.atime = i.atime
        self.mtime = i.mtime
        self.ctime = i.ctime
        self.btime = i.btime  # 0: not known


@final
class StatFs:
    """What statfs(2) reports; ``flags`` (ST_*) are added from the mount."""

    __slots__ = ("bavail", "bfree", "blocks", "bsize", "ffree", "files", "namelen", "type")

    def __init__(self, type: int, bsize: int = 4096, blocks: int = 0, bfree: int = 0) -> None:
        self.type = type
        self.bsize = bsize
        self.blocks = blocks
        self.bfree = bfree
        self.bavail = bfree
        self.files = 0
        self.ffree = 0
        self.namelen = NAME_MAX


@final
class Attrs:
    """The change setattr makes: the fields named in ``valid``."""

    __slots__ = ("atime", "ctime", "gid", "mode", "mtime", "size", "uid", "valid")

    def __init__(self, valid: int = 0) -> None:
        self.valid = valid
        self.mode = self.uid = self.gid = self.size = 0
        self.atime = self.mtime = self.ctime = 0


class InodeWatch(Protocol):
    """An inotify watch on one inode; called by ``vfs/notify.py``, must not suspend."""

    def event(self, mask: int, cookie: int, name: bytes) -> None: ...


_next_dev = 0x10


def alloc_dev() -> int:
    """An anonymous device number (major 0), as Linux gives file systems without a block device."""
    global _next_dev
    _next_dev += 1
    return os.makedev(0, _next_dev)


class FileSystem:
    """A mounted file system instance (super block)."""

    __slots__ = (
        "blksize",
        "dev",
        "next_ino",
        "nodev",
        "options",
        "owner",
        "readonly",
        "source",
        "type_name",
        "writers",
    )

    magic: ClassVar[int] = 0
    xattr_user_ok: ClassVar[bool] = True

    def __init__(self, type_name: str, source: str = "none", options: str = "") -> None:
        self.type_name = type_name  # as /proc/filesystems and mountinfo call it
        self.source = source
        self.options = options  # super-block options for mountinfo, without rw/ro
        self.dev = alloc_dev()
        self.next_ino = 0
        self.blksize = 4096
        self.nodev = False
        self.readonly = False  # wherever it is mounted
        self.writers = 0  # descriptions that may write to a file of it
        self.owner: UserNamespace = INIT_USER  # who may administer it

    def new_ino(self) -> int:
        self.next_ino += 1
        return self.next_ino

    def statfs(self, t: Task) -> StatFs:
        return StatFs(self.magic)

    def sync(self, t: Task) -> None:
        """syncfs(2). May suspend."""

    def remount(self, t: Task, data: bytes) -> None:
        """mount(2) with MS_REMOUNT and options ``data``. Raises EINVAL for what it does not know."""

    def detach(self) -> None:
        """The last mount of it is gone."""


class Inode:
    """One file object; see the module's docstring."""

    __slots__ = (
        "atime", "btime", "ctime", "fs", "gid", "ino", "lent", "locks", "map", "mode", "mtime",
        "nlink", "opens", "rdev", "size", "special", "uid", "watches", "writers",
    )  # fmt: skip

    volatile: ClassVar[bool] = False
    noatime: ClassVar[bool] = False  # reads never touch atime (procfs, sysfs, pipes)
    always_empty: ClassVar[bool] = False  # a directory that is there to be mounted on

    def __init__(self, fs: FileSystem, mode: int, uid: int = 0, gid: int = 0, ino: int = 0) -> None:
        self.fs = fs
        self.ino = ino if ino else fs.new_ino()
        self.mode = mode  # with the S_IFMT bits
        self.uid = uid
        self.gid = gid
        self.nlink = 1
        self.rdev = 0
        self.size = 0
        self.atime = self.mtime = self.ctime = self.btime = 0
        self.writers = 0  # > 0: open for writing so often; < 0: being executed (ETXTBSY)
        self.opens = 0  # descriptions of a regular file
        self.lent: list[Any] | None = None  # of these, those that vfs/lent.py has lent
        self.locks: object | None = None  # vfs/locks.py
        self.watches: list[InodeWatch] | None = None  # inotify
        self.map: Mappable | None = (
            None  # of a regular file, one per inode: what mmap and futexes compare
        )
        self.special: object | None = None  # pipe of a FIFO, bound socket of an S_IFSOCK

    def set_times(self, now: int) -> None:
        """All four timestamps of a new inode."""
        self.atime = self.mtime = self.ctime = self.btime = now

    def set_mode(self, mode: int) -> None:
        """The permission bits are ``mode``'s."""
        new = self.mode & S_IFMT | mode & 0o7777
        if new != self.mode:
            if self.is_dir():
                forget_walks()
            self.mode = new

    # Kind
    def is_dir(self) -> bool:
        return self.mode & S_IFMT == stat.S_IFDIR

    def is_reg(self) -> bool:
        return self.mode & S_IFMT == stat.S_IFREG

    def is_lnk(self) -> bool:
        return self.mode & S_IFMT == stat.S_IFLNK

    # Attributes
    def getattr(self, t: Task) -> Stat:
        """May suspend (a revalidating file system asks its server)."""
        return Stat(self)

    def setattr(self, t: Task, a: Attrs) -> None:
        """Applies ``a``; permission checks and the derived changes (set-id bits, ctime) are already in it."""
        raise SysErr(errno.EPERM)

    def permission(self, t: Task, mask: int) -> None:
        """Raises EACCES unless ``mask`` (MAY_*) is allowed to the task's file-system ids."""
        generic_permission(t, self, mask)

    # Directory operations
    def lookup(self, t: Task, name: bytes) -> Inode:
        """The entry ``name`` (never ``.`` or ``..``). Raises ENOENT. May suspend."""
        raise SysErr(errno.ENOTDIR)

    def lookup_on(self, t: Task, name: bytes, rest: list[bytes], opens: bool) -> Inode:
        """As ``lookup``, for a walk that goes on below with ``rest``, the next component last, and with ``opens`` is to read the
        file it comes to: what can be had in the same round trip may be fetched too."""
        return self.lookup(t, name)

    def create(self, t: Task, name: bytes, mode: int) -> Inode:
        """A new regular file; the umask is applied to ``mode`` already (so too below)."""
        raise SysErr(errno.EACCES)

    def mkdir(self, t: Task, name: bytes, mode: int) -> Inode:
        raise SysErr(errno.EPERM)

    def mknod(self, t: Task, name: bytes, mode: int, rdev: int) -> Inode:
        raise SysErr(errno.EPERM)

    def symlink(self, t: Task, name: bytes, target: bytes) -> Inode:
        raise SysErr(errno.EPERM)

    def link(self, t: Task, name: bytes, inode: Inode) -> None:
        raise SysErr(errno.EPERM)

    def unlink(self, t: Task, name: bytes, inode: Inode) -> None:
        raise SysErr(errno.EPERM)

    def rmdir(self, t: Task, name: bytes, inode: Inode) -> None:
        """Raises ENOTEMPTY."""
        raise SysErr(errno.EPERM)

    def rename(
        self, t: Task, name: bytes, inode: Inode, new_dir: Inode, new_name: bytes,
        target: Inode | None, flags: int,
    ) -> None:  # fmt: skip
        """Moves ``inode`` over ``target`` (or swaps them, RENAME_EXCHANGE)."""
        raise SysErr(errno.EPERM)

    def tmpfile(self, t: Task, mode: int) -> Inode:
        """An unnamed regular file (O_TMPFILE), nlink 0."""
        raise SysErr(errno.EOPNOTSUPP)

    # Symbolic links
    def readlink(self, t: Task) -> bytes:
        raise SysErr(errno.EINVAL)

    def get_link(self, t: Task) -> bytes | Path:
        """Where the walk goes on: a path to walk, or (magic links of procfs) the place itself."""
        return self.readlink(t)

    # Opening
    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        """A description of it; permissions are checked, O_TRUNC is the caller's. May suspend."""
        from .special import open_special

        return open_special(t, path, flags)

    # Content of regular files (vfs/regular.py)
    def prepare_write(self, t: Task) -> None:
        """Makes the content writable (copy-up). May suspend."""

    def read_at(self, t: Task, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes; b"" at or past the end. May suspend."""
        raise SysErr(errno.EINVAL)

    def overwrite(self, t: Task, offset: int, addr: int, size: int) -> bool:
        """As ``write_at`` of application memory that came with the trap; False where that isn't plain, and then nothing has
        happened that ``write_at`` does not do again."""
        return False

    def write_at(self, t: Task, offset: int, data: bytes) -> int:
        """Writes at ``offset`` (at the end of file if negative) after ``prepare_write``; returns how much.

        May suspend, but finds the end of file after that.
        """
        raise SysErr(errno.EINVAL)

    def end(self, t: Task) -> int:
        """The size now."""
        return self.size

    def seek_hole(self, t: Task, offset: int, data: bool) -> int:
        """SEEK_DATA / SEEK_HOLE for an ``offset`` inside the file."""
        return offset if data else self.size

    def host_fd(self, t: Task, writable: bool) -> int:
        """See Mappable. May suspend."""
        raise SysErr(errno.ENODEV)

    def direct_fd(self, t: Task, writable: bool) -> int:
        """See FileDescription; never more work than a look."""
        return -1

    def make_direct(self, t: Task) -> None:
        """It is read often: what can be done for ``direct_fd`` to have an answer. May suspend."""

    def allocate(self, t: Task, mode: int, offset: int, length: int) -> None:
        """fallocate(2), after ``prepare_write``."""
        raise SysErr(errno.EOPNOTSUPP)

    def sync_data(self, t: Task, datasync: bool) -> None:
        """fsync(2). May suspend."""

    def opened(self, t: Task, flags: int) -> None:
        """A description of a regular file is about to be made. May suspend."""

    def closed(self, flags: int) -> None:
        """One is gone."""

    # Extended attributes; names are whole ("user.x"), checks by namespace are done.
    def getxattr(self, t: Task, name: bytes) -> bytes:
        raise SysErr(errno.EOPNOTSUPP)

    def setxattr(self, t: Task, name: bytes, value: bytes, flags: int) -> None:
        raise SysErr(errno.EOPNOTSUPP)

    def removexattr(self, t: Task, name: bytes) -> None:
        raise SysErr(errno.EOPNOTSUPP)

    def listxattr(self, t: Task) -> list[bytes]:
        return []

    # Writers against execution (Linux: i_writecount)
    def get_write(self) -> None:
        """An open for writing begins. Raises ETXTBSY while the file is executed."""
        if self.writers < 0:
            raise SysErr(errno.ETXTBSY)
        self.writers += 1

    def put_write(self) -> None:
        self.writers -= 1

    def deny_write(self) -> None:
        """execve(2) maps it: raises ETXTBSY while someone has it open for writing."""
        if self.writers > 0:
            raise SysErr(errno.ETXTBSY)
        self.writers -= 1

    def allow_write(self) -> None:
        self.writers += 1


def generic_permission(t: Task, i: Inode, mask: int) -> None:
    """The classic check of mode bits and capabilities (Linux: fs/namei.c generic_permission)."""
    c = t.creds
    mode = i.mode
    if c.fsuid == i.uid:
        bits = mode >> 6
    elif (mode >> 3 ^ mode) & mask and c.in_group(i.gid):
        bits = mode >> 3
    else:
        bits = mode
    if mask & ~bits & 7 == 0:
        return
    if mode & S_IFMT == stat.S_IFDIR:
        if c.capable_over(i.uid, i.gid, CAP_DAC_OVERRIDE):
            return
        if not mask & MAY_WRITE and c.capable_over(i.uid, i.gid, CAP_DAC_READ_SEARCH):
            return
    else:
        if mask == MAY_READ and c.capable_over(i.uid, i.gid, CAP_DAC_READ_SEARCH):
            return
        if (not mask & MAY_EXEC or mode & 0o111) and c.capable_over(i.uid, i.gid, CAP_DAC_OVERRIDE):
            return
    raise SysErr(errno.EACCES)


def creation_mode(t: Task, parent: Inode, mode: int) -> int:
    """The permission bits of a new file asked for with ``mode``: set-group-id is judged before the umask takes the group's bit
    to execute away (Linux: vfs_prepare_mode)."""
    if parent.mode & stat.S_ISGID and _strips_gid(t, parent, mode):
        mode &= ~stat.S_ISGID
    return mode & 0o7777 & ~t.fs.umask


def _strips_gid(t: Task, parent: Inode, mode: int) -> bool:
    return (
        mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID | stat.S_IXGRP
        and not t.creds.in_group(parent.gid)
        and not t.creds.capable_over(parent.uid, parent.gid, CAP_FSETID)
    )


def init_owner(t: Task, parent: Inode, mode: int) -> tuple[int, int, int]:
    """(uid, gid, mode) of an inode ``t`` makes in ``parent`` (Linux: inode_init_owner): set-group-id."""
    c = t.creds
    if not parent.mode & stat.S_ISGID:
        return c.fsuid, c.fsgid, mode
    gid = parent.gid
    if mode & S_IFMT == stat.S_IFDIR:
        mode |= stat.S_ISGID
    elif _strips_gid(t, parent, mode):
        mode &= ~stat.S_ISGID
    return c.fsuid, gid, mode
