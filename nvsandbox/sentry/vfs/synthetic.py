"""Building blocks of synthetic trees: procfs, sysfs and the like (Linux: fs/libfs.c, fs/seq_file.c, kernfs).

``StaticDir`` holds fixed entries; ``DynDir`` asks a subclass at every look-up; ``GenFile`` makes its whole
content when reading starts at offset 0 (as seq_file does for one open file); ``WriteFile`` also takes writes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..errors import SysErr
from .file import FileDescription
from .inode import ATTR_GID, ATTR_MODE, ATTR_UID, Attrs, FileSystem, Inode

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .path import Path

DirEntry = tuple[int, int, int, bytes]  # ino, next offset, d_type, name


class SynthInode(Inode):
    """Attributes may be changed, in memory only; never any atime."""

    __slots__ = ()
    noatime: ClassVar[bool] = True

    def setattr(self, t: Task, a: Attrs) -> None:
        if a.valid & ATTR_MODE:
            self.set_mode(a.mode)
        if a.valid & ATTR_UID:
            self.uid = a.uid
        if a.valid & ATTR_GID:
            self.gid = a.gid


class SynthDir(SynthInode):
    """A directory whose subclass says what is in it."""

    __slots__ = ()

    def __init__(self, fs: FileSystem, mode: int = 0o555, uid: int = 0, gid: int = 0) -> None:
        super().__init__(fs, stat.S_IFDIR | mode, uid, gid)
        self.nlink = 2

    def lookup(self, t: Task, name: bytes) -> Inode:
        raise SysErr(errno.ENOENT)

    def names(self, t: Task) -> list[tuple[bytes, int, int]]:
        """(name, ino, S_IF* mode) of every entry but ``.`` and ``..``, in a stable order."""
        return []

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        return SynthDirFile(flags, path, self)

    def create(self, t: Task, name: bytes, mode: int) -> Inode:
        raise SysErr(errno.EACCES)


class StaticDir(SynthDir):
    """Fixed entries."""

    __slots__ = ("entries",)

    def __init__(self, fs: FileSystem, mode: int = 0o555, uid: int = 0, gid: int = 0) -> None:
        super().__init__(fs, mode, uid, gid)
        self.entries: dict[bytes, Inode] = {}

    def add(self, name: bytes, inode: Inode) -> None:
        self.entries[name] = inode
        if inode.is_dir():
            self.nlink += 1

    def lookup(self, t: Task, name: bytes) -> Inode:
        i = self.entries.get(name)
        if i is None:
            raise SysErr(errno.ENOENT)
        return i

    def names(self, t: Task) -> list[tuple[bytes, int, int]]:
        return [(n, i.ino, i.mode) for n, i in self.entries.items()]


@final
class MountPointDir(SynthDir):
    """Nothing is ever in it: a file system is mounted there (Linux: make_empty_dir_inode)."""

    __slots__ = ()
    always_empty: ClassVar[bool] = True


class DynDir(SynthDir):
    """Entries that come and go (/proc, /proc/PID/fd). ``lookup`` must return the same inode object for the
    same thing as long as that exists, or mounts on it and dentries of it are lost."""

    __slots__ = ()
    volatile: ClassVar[bool] = True


NUMBERED: Final = 1 << 20  # offsets of numbers start here


class SynthDirFile(FileDescription):
    """An open synthetic directory. Offsets: 0 ``.``, 1 ``..``, then the entries in ``names`` order; those of a directory
    whose entries come and go and are numbers follow the number, so that one that goes hides no other."""

    __slots__ = ("dir",)

    def __init__(self, flags: int, path: Path, dir: SynthDir) -> None:
        super().__init__(flags, path)
        self.dir = dir

    @property
    def inode(self) -> Inode:
        return self.dir

    def pollable(self) -> bool:
        return False

    def read(self, t: Task, size: int) -> bytes | int:
        return -errno.EISDIR

    def readdir(self, t: Task) -> list[DirEntry]:
        assert self.path is not None
        up = self.path.dentry.parent.inode
        out: list[DirEntry] = [
            (self.dir.ino, 1, 4, b"."),
            (up.ino if up is not None else self.dir.ino, 2, 4, b".."),
        ]
        numbered: list[DirEntry] = []
        for name, ino, mode in self.dir.names(t):
            kind = mode >> 12 & 15
            if self.dir.volatile and name.isdigit():
                numbered.append((ino, NUMBERED + int(name) + 1, kind, name))
            else:
                out.append((ino, len(out) + 1, kind, name))
        numbered.sort(key=lambda e: e[1])
        at = self.offset
        return [e for e in (*out, *numbered) if e[1] > at]

    def seek(self, t: Task, offset: int, whence: int) -> int:
        if whence == os.SEEK_CUR:
            offset += self.offset
        elif whence != os.SEEK_SET:
            raise SysErr(errno.EINVAL)
        if offset < 0:
            raise SysErr(errno.EINVAL)
        self.offset = offset
        return offset

    def fsync(self, t: Task, datasync: bool) -> None:
        pass


class SynthLink(SynthInode):
    """A symbolic link; override ``readlink`` (and ``get_link`` for a magic one) where the target is dynamic."""

    __slots__ = ("target",)

    def __init__(self, fs: FileSystem, target: bytes = b"", mode: int = 0o777) -> None:
        super().__init__(fs, stat.S_IFLNK | mode)
        self.target = target
        self.size = len(target)

    def readlink(self, t: Task) -> bytes:
        return self.target


class SynthNode(SynthInode):
    """A device node, FIFO or socket; opening it goes through ``vfs/special.py``."""

    __slots__ = ()

    def __init__(
        self, fs: FileSystem, mode: int, rdev: int = 0, uid: int = 0, gid: int = 0
    ) -> None:
        super().__init__(fs, mode, uid, gid)
        self.rdev = rdev


class GenFile(SynthInode):
    """A regular file whose content is generated; override ``generate`` or pass a function."""

    __slots__ = ("fn", "fn_write")

    def __init__(
        self,
        fs: FileSystem,
        fn: Callable[[Task], bytes] | None = None,
        mode: int = 0o444,
        uid: int = 0,
        gid: int = 0,
        fn_write: Callable[[Task, bytes], int] | None = None,
    ) -> None:
        super().__init__(fs, stat.S_IFREG | mode, uid, gid)
        self.fn = fn
        self.fn_write = fn_write

    def generate(self, t: Task) -> bytes:
        """The whole content now. May suspend."""
        if self.fn is None:
            raise SysErr(errno.EINVAL)
        return self.fn(t)

    def store(self, t: Task, data: bytes) -> int:
        """One write(2). Returns how much it took, or raises SysErr."""
        if self.fn_write is None:
            raise SysErr(errno.EIO)
        return self.fn_write(t, data)

    def setattr(self, t: Task, a: Attrs) -> None:
        super().setattr(t, a)  # O_TRUNC and truncate(2) succeed and change nothing

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        return GenFileDesc(flags, path, self)


class GenFileDesc(FileDescription):
    """An open generated file: the content is made anew whenever reading starts at offset 0."""

    __slots__ = ("content", "gen")

    def __init__(self, flags: int, path: Path, gen: GenFile) -> None:
        super().__init__(flags, path)
        self.gen = gen
        self.content: bytes | None = None

    @property
    def inode(self) -> Inode:
        return self.gen

    def pollable(self) -> bool:
        return False

    def read(self, t: Task, size: int) -> bytes | int:
        data = self.pread(t, size, self.offset)
        if isinstance(data, bytes):
            self.offset += len(data)
        return data

    def pread(self, t: Task, size: int, offset: int) -> bytes | int:
        if offset == 0 or self.content is None:
            self.content = self.gen.generate(t)
        return self.content[offset : offset + size]

    def write(self, t: Task, data: bytes) -> int:
        n = self.gen.store(t, data)
        self.offset += n
        return n

    def pwrite(self, t: Task, data: bytes, offset: int) -> int:
        return self.gen.store(t, data)

    def seek(self, t: Task, offset: int, whence: int) -> int:
        if whence == os.SEEK_CUR:
            offset += self.offset
        elif whence != os.SEEK_SET:
            raise SysErr(errno.EINVAL)
        if offset < 0:
            raise SysErr(errno.EINVAL)
        self.offset = offset
        return offset

    def truncate(self, t: Task, size: int) -> None:
        pass
