"""Inodes kept in the Sentry's memory: directories, links, nodes (Linux: mm/shmem.c; tmpfs(5)).

tmpfs is made of these alone. The overlay root is made of the same inodes with a ``lower``: a read-only object that a
directory is filled from, or that a file's content and attributes come from, until the application changes them.
That is the whole of "copy-up": nothing is copied but a file's content, at its first write, and renames, hard
links and inode numbers behave as on any local file system.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from ...platform.native.hot import dirents
from ..errors import SysErr
from ..vfs.file import FileDescription
from ..vfs.inode import (
    ATTR_ATIME,
    ATTR_CTIME,
    ATTR_GID,
    ATTR_MODE,
    ATTR_MTIME,
    ATTR_UID,
    RENAME_EXCHANGE,
    Attrs,
    FileSystem,
    Inode,
    Stat,
    StatFs,
    init_owner,
)
from ..vfs.namei import touch_atime

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.path import Path
    from .memfd_pool import MemfdPool

TMPFS_MAGIC: Final = 0x01021994
PAGE: Final = 4096
READDIR_BATCH: Final = 1024
DIRENTS_MAX: Final = 64 << 10
MAX_INODES: Final = 1 << 24
NO_NAMES: Final[list[bytes]] = []
NO_PARTS: Final[list[tuple[bytes, bytes, int, int]]] = []
ALL_INOS: Final = (1 << 64) - 1
SHORT_LINK: Final = 128  # a shorter target needs no page (SHORT_SYMLINK_LEN of mm/shmem.c)
ABSENT_MAX: Final = 256
LOOKUPS_BEFORE_LISTING: Final = 3


class LowerListing(Protocol):
    """All entries of a lower directory, each with a number."""

    def known(self, i: int) -> bool:
        """Whether its attributes are: only then can it be made an inode."""
        ...

    def make(self, fs: MemFs, name: bytes, i: int) -> MemInode: ...

    def records(self) -> list[tuple[bytes, bytes, int, int]]:
        """What native/listing.c reads."""
        ...

    def brief(self, fs: MemFs, i: int) -> tuple[int, int]:
        """(inode number, mode)."""
        ...


class LowerEntry(Protocol):
    """One that was asked for alone, not yet an inode of ours."""

    def make(self, fs: MemFs) -> MemInode: ...

    def brief(self, fs: MemFs) -> tuple[int, int]: ...


class Lower(Protocol):
    """The read-only object below an inode of the overlay. All may suspend."""

    def find(self, t: Task, name: bytes, rest: list[bytes], opens: bool) -> LowerEntry | None:
        """As ``Inode.lookup_on``."""
        ...

    def list_dir(self, t: Task, known: bool) -> tuple[LowerListing, dict[bytes, int]]:
        """``known``: with all attributes."""
        ...

    def xattrs(self, t: Task) -> dict[bytes, bytes]: ...

    def fd(self, t: Task) -> int:
        """A read-only host descriptor of the content; stays the lower's, and valid until the next call."""
        ...


class MemFs(FileSystem):
    """A file system of memory inodes, with limits (0: none)."""

    __slots__ = (
        "lower_dev",
        "max_bytes",
        "max_inodes",
        "own_ino",
        "pool",
        "reconfigure",
        "root",
        "used_bytes",
        "used_inodes",
    )

    magic: ClassVar[int] = TMPFS_MAGIC

    def __init__(
        self,
        pool: MemfdPool,
        type_name: str = "tmpfs",
        source: str = "tmpfs",
        options: str = "",
        max_bytes: int = 0,
        max_inodes: int = 0,
        reconfigure: Callable[[MemFs, bytes], None] | None = None,
    ) -> None:
        super().__init__(type_name, source, options)
        self.pool = pool
        self.max_bytes = max_bytes
        self.max_inodes = max_inodes
        self.reconfigure = reconfigure
        self.used_bytes = 0
        self.used_inodes = 0
        self.lower_dev = 0  # whose inode numbers are kept, below own_ino
        self.own_ino = ALL_INOS
        self.root: MemDir | None = None

    def remount(self, t: Task, data: bytes) -> None:
        if self.reconfigure is not None:
            self.reconfigure(self, data)

    def charge(self, size: int) -> None:
        """``size`` bytes more (or fewer). Raises ENOSPC."""
        if size > 0 and self.max_bytes and self.used_bytes + size > self.max_bytes:
            raise SysErr(errno.ENOSPC)
        self.used_bytes += size

    def check_inodes(self) -> None:
        if self.max_inodes and self.used_inodes >= self.max_inodes:
            raise SysErr(errno.ENOSPC)

    def statfs(self, t: Task) -> StatFs:
        total = self.max_bytes
        s = StatFs(self.magic, PAGE, total // PAGE, max(0, total - self.used_bytes) // PAGE)
        s.files = self.max_inodes
        s.ffree = max(0, self.max_inodes - self.used_inodes)
        return s


class MemInode(Inode):
    """What all of them share: attributes that just change, extended attributes."""

    __slots__ = ("blocks", "lower", "mem", "xattrs")

    def __init__(
        self, fs: MemFs, mode: int, uid: int = 0, gid: int = 0, ino: int = 0, now: int = 0
    ) -> None:
        super().__init__(fs, mode, uid, gid, ino)
        self.mem = fs
        self.lower: Lower | None = None
        self.blocks = 0  # of 512 bytes; with a lower, the lower's
        self.xattrs: dict[bytes, bytes] | None = None
        fs.used_inodes += 1
        self.set_times(now)

    def __del__(self) -> None:
        self.mem.used_inodes -= 1

    def getattr(self, t: Task) -> Stat:
        s = Stat(self)
        s.blocks = self.blocks
        return s

    def setattr(self, t: Task, a: Attrs) -> None:
        valid = a.valid
        if valid & ATTR_MODE:
            self.set_mode(a.mode)
        if valid & ATTR_UID:
            self.uid = a.uid
        if valid & ATTR_GID:
            self.gid = a.gid
        if valid & ATTR_ATIME:
            self.atime = a.atime
        if valid & ATTR_MTIME:
            self.mtime = a.mtime
        if valid & ATTR_CTIME:
            self.ctime = a.ctime

    def _xattrs(self, t: Task) -> dict[bytes, bytes]:
        if self.xattrs is None:
            found = {} if self.lower is None else self.lower.xattrs(t)
            if self.xattrs is None:
                self.xattrs = found
        return self.xattrs

    def getxattr(self, t: Task, name: bytes) -> bytes:
        v = self._xattrs(t).get(name)
        if v is None:
            raise SysErr(errno.ENODATA)
        return v

    def setxattr(self, t: Task, name: bytes, value: bytes, flags: int) -> None:
        x = self._xattrs(t)
        if flags & os.XATTR_CREATE and name in x:
            raise SysErr(errno.EEXIST)
        if flags & os.XATTR_REPLACE and name not in x:
            raise SysErr(errno.ENODATA)
        total = sum(len(n) + len(v) for n, v in x.items() if n != name)
        if total + len(name) + len(value) > 65536:
            raise SysErr(errno.ENOSPC)
        x[name] = value
        self.ctime = t.k.realtime_ns()

    def removexattr(self, t: Task, name: bytes) -> None:
        if self._xattrs(t).pop(name, None) is None:
            raise SysErr(errno.ENODATA)
        self.ctime = t.k.realtime_ns()

    def listxattr(self, t: Task) -> list[bytes]:
        return list(self._xattrs(t))


class MemLink(MemInode):
    """A symbolic link."""

    __slots__ = ("target",)

    def __init__(
        self, fs: MemFs, target: bytes, uid: int = 0, gid: int = 0, ino: int = 0, now: int = 0
    ) -> None:
        super().__init__(fs, stat.S_IFLNK | 0o777, uid, gid, ino, now)
        self.target = target
        self.size = len(target)
        if self.size >= SHORT_LINK:
            self.blocks = PAGE >> 9

    def readlink(self, t: Task) -> bytes:
        return self.target


class MemNode(MemInode):
    """A device, FIFO or socket; opening is ``Inode.open``'s dispatch."""

    __slots__ = ()


class MemDir(MemInode):
    """A directory. ``entries`` are what is known of it; with a ``lower`` not ``loaded`` yet, others may be there
    except the names in ``absent`` (looked for in vain, or removed: a whiteout). A number is an entry of ``listing`` that
    nobody has asked for yet."""

    __slots__ = ("absent", "entries", "listing", "loaded", "misses")

    def __init__(
        self, fs: MemFs, mode: int, uid: int = 0, gid: int = 0, ino: int = 0, now: int = 0
    ) -> None:
        super().__init__(fs, stat.S_IFDIR | mode, uid, gid, ino, now)
        self.nlink = 2
        self.entries: dict[bytes, MemInode | LowerEntry | int] = {}
        self.listing: LowerListing | None = None
        self.absent: set[bytes] = set()
        self.loaded = True
        self.misses = 0

    # Reading
    def child(self, name: bytes) -> MemInode | None:
        """An entry of which everything is known."""
        e = self.entries.get(name)
        if e is None or isinstance(e, MemInode):
            return e
        if isinstance(e, int):
            if self.listing is None or not self.listing.known(e):
                return None
            made = self.listing.make(self.mem, name, e)
        else:
            made = e.make(self.mem)
        self.entries[name] = made
        return made

    def found(self, name: bytes, e: LowerEntry | None) -> None:
        """For a directory just made: what the lower has as ``name``."""
        self.misses = 1
        if e is None:
            self.absent.add(name)
        else:
            self.entries[name] = e

    def lookup(self, t: Task, name: bytes) -> Inode:
        return self.lookup_on(t, name, NO_NAMES, False)

    def lookup_on(self, t: Task, name: bytes, rest: list[bytes], opens: bool) -> Inode:
        i = self.child(name)
        if i is None and (name in self.entries or (not self.loaded and name not in self.absent)):
            if name in self.entries:
                self._look_closer(t)
            else:
                self._ask_lower(t, name, rest, opens)
            i = self.child(name)
            if i is None and name in self.entries:
                raise SysErr(errno.EIO)
        if i is None:
            raise SysErr(errno.ENOENT)
        return i

    def _ask_lower(self, t: Task, name: bytes, rest: list[bytes], opens: bool) -> None:
        """A few names are asked for one by one; a directory looked at more is listed at once."""
        self.misses += 1
        if self.misses > LOOKUPS_BEFORE_LISTING or self.lower is None:
            self.load(t)
            return
        found = self.lower.find(t, name, rest, opens)
        if self.loaded or name in self.entries or name in self.absent:
            return  # the world moved on while we waited
        if found is None:
            self.absent.add(name)
        else:
            self.entries[name] = found

    def load(self, t: Task) -> None:
        """Makes ``entries`` complete. May suspend."""
        if self.loaded:
            return
        lower = self.lower
        if lower is not None:
            listing, names = lower.list_dir(t, False)
            if self.loaded:
                return
            self.listing = listing
            if self.entries or self.absent:
                for name, e in names.items():
                    if name not in self.entries and name not in self.absent:
                        self.entries[name] = e
            else:
                self.entries = names  # type: ignore[assignment]  # nobody else has it
        self.loaded = True
        self.absent.clear()

    def _look_closer(self, t: Task) -> None:
        """Fetches the attributes of entries that were listed without. May suspend."""
        assert self.lower is not None
        listing, names = self.lower.list_dir(t, True)
        for name, e in list(self.entries.items()):
            if isinstance(e, int):
                if name in names:
                    self.entries[name] = names[name]
                else:
                    del self.entries[name]  # gone since
        self.listing = listing

    # Changing. ``_add`` and ``_del`` never suspend.
    def _add(self, t: Task, name: bytes, i: MemInode) -> None:
        self.entries[name] = i
        self.absent.discard(name)
        if i.is_dir():
            self.nlink += 1
        self._changed(t)

    def _del(self, t: Task, name: bytes) -> None:
        e = self.entries.pop(name, None)
        if not self.loaded:
            self.absent.add(name)
        if isinstance(e, MemInode) and e.is_dir() and self.nlink > 2:
            self.nlink -= 1
        self._changed(t)

    def _changed(self, t: Task) -> None:
        self.mtime = self.ctime = t.k.realtime_ns()

    def add(self, name: bytes, i: MemInode) -> None:
        """For whoever builds a tree before there are tasks."""
        self.entries[name] = i
        if i.is_dir():
            self.nlink += 1

    def _free(self, name: bytes) -> None:
        if name in self.entries:
            raise SysErr(errno.EEXIST)
        if self.nlink == 0:
            raise SysErr(errno.ENOENT)
        self.mem.check_inodes()

    def create(self, t: Task, name: bytes, mode: int) -> Inode:
        from .tmpfs_file import MemReg

        self._free(name)
        uid, gid, mode = init_owner(t, self, mode)
        i = MemReg(self.mem, mode, uid, gid, 0, t.k.realtime_ns())
        self._add(t, name, i)
        return i

    def tmpfile(self, t: Task, mode: int) -> Inode:
        from .tmpfs_file import MemReg

        self.mem.check_inodes()
        uid, gid, mode = init_owner(t, self, mode)
        i = MemReg(self.mem, mode, uid, gid, 0, t.k.realtime_ns())
        i.nlink = 0
        return i

    def mkdir(self, t: Task, name: bytes, mode: int) -> Inode:
        self._free(name)
        uid, gid, mode = init_owner(t, self, mode)
        i = MemDir(self.mem, mode & 0o7777, uid, gid, 0, t.k.realtime_ns())
        self._add(t, name, i)
        return i

    def mknod(self, t: Task, name: bytes, mode: int, rdev: int) -> Inode:
        self._free(name)
        uid, gid, mode = init_owner(t, self, mode)
        i = MemNode(self.mem, mode, uid, gid, 0, t.k.realtime_ns())
        i.rdev = rdev
        self._add(t, name, i)
        return i

    def symlink(self, t: Task, name: bytes, target: bytes) -> Inode:
        self._free(name)
        uid, gid, _ = init_owner(t, self, stat.S_IFLNK)
        i = MemLink(self.mem, target, uid, gid, 0, t.k.realtime_ns())
        self._add(t, name, i)
        return i

    def link(self, t: Task, name: bytes, inode: Inode) -> None:
        self._free(name)
        if not isinstance(inode, MemInode) or inode.mem is not self.mem:
            raise SysErr(errno.EXDEV)
        inode.nlink += 1
        inode.ctime = t.k.realtime_ns()
        self._add(t, name, inode)

    def unlink(self, t: Task, name: bytes, inode: Inode) -> None:
        if self.child(name) is not inode:
            raise SysErr(errno.ENOENT)
        self._drop(t, inode)
        self._del(t, name)

    def _drop(self, t: Task, inode: Inode) -> None:
        inode.nlink = 0 if inode.is_dir() else max(0, inode.nlink - 1)
        inode.ctime = t.k.realtime_ns()

    def rmdir(self, t: Task, name: bytes, inode: Inode) -> None:
        if not isinstance(inode, MemDir):
            raise SysErr(errno.ENOTDIR)
        inode.load(t)
        if inode.entries:
            raise SysErr(errno.ENOTEMPTY)
        if self.child(name) is not inode:
            raise SysErr(errno.ENOENT)
        self._drop(t, inode)
        self._del(t, name)

    def rename(
        self, t: Task, name: bytes, inode: Inode, new_dir: Inode, new_name: bytes,
        target: Inode | None, flags: int,
    ) -> None:  # fmt: skip
        if not isinstance(new_dir, MemDir) or not isinstance(inode, MemInode):
            raise SysErr(errno.EXDEV)
        if isinstance(target, MemDir) and not flags & RENAME_EXCHANGE:
            target.load(t)
            if target.entries:
                raise SysErr(errno.ENOTEMPTY)
        if self.child(name) is not inode or new_dir.child(new_name) is not target:
            raise SysErr(errno.ENOENT)
        if target is None and new_dir.nlink == 0:
            raise SysErr(errno.ENOENT)
        now = t.k.realtime_ns()
        self._del(t, name)
        if isinstance(target, MemInode):
            new_dir._del(t, new_name)
            if flags & RENAME_EXCHANGE:
                self._add(t, name, target)
                target.ctime = now
            else:
                self._drop(t, target)
        new_dir._add(t, new_name, inode)
        inode.ctime = now

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        return MemDirFile(flags, path, self)


class MemDirFile(FileDescription):
    """An open directory: the names as they were when reading started, less those removed since."""

    __slots__ = ("dir", "names")

    def __init__(self, flags: int, path: Path, dir: MemDir) -> None:
        super().__init__(flags, path)
        self.dir = dir
        self.names: list[bytes] | None = None

    @property
    def inode(self) -> Inode:
        return self.dir

    def pollable(self) -> bool:
        return False

    def read(self, t: Task, size: int) -> bytes | int:
        return -errno.EISDIR

    def pread(self, t: Task, size: int, offset: int) -> bytes | int:
        return -errno.EISDIR

    def _begin(self, t: Task) -> list[bytes]:
        """The names to read from."""
        d = self.dir
        if self.path is None or (d.nlink == 0 and self.path.dentry.unlinked):
            raise SysErr(errno.ENOENT)
        d.load(t)
        if self.names is None or self.offset == 0:
            self.names = list(d.entries)
        return self.names

    def dirents(self, t: Task, room: int) -> tuple[bytes, int] | None:
        names = self._begin(t)
        d = self.dir
        p = self.path
        if p is None or self.offset >= len(names) + 2:
            return None
        up = p.dentry.parent.inode
        parts = d.listing.records() if d.listing is not None else NO_PARTS
        fs = d.mem
        data, last, _ = dirents(
            names, self.offset, d.entries, parts, (d.ino, (up or d).ino), fs.lower_dev, fs.own_ino, min(room, DIRENTS_MAX)
        )  # fmt: skip
        if not data:
            return None
        touch_atime(t, p)
        return data, last

    def readdir(self, t: Task) -> list[tuple[int, int, int, bytes]]:
        names = self._begin(t)
        d = self.dir
        assert self.path is not None
        pos = self.offset
        out: list[tuple[int, int, int, bytes]] = []
        if pos == 0:
            out.append((d.ino, 1, 4, b"."))
            pos = 1
        if pos == 1:
            up = self.path.dentry.parent.inode
            out.append(((up or d).ino, 2, 4, b".."))
            pos = 2
        entries = d.entries
        while len(out) < READDIR_BATCH and pos - 2 < len(names):
            name = names[pos - 2]
            pos += 1
            e = entries.get(name)
            if e is None:
                continue
            if isinstance(e, MemInode):
                ino, mode = e.ino, e.mode
            elif isinstance(e, int):
                assert d.listing is not None
                ino, mode = d.listing.brief(d.mem, e)
            else:
                ino, mode = e.brief(d.mem)
            out.append((ino, pos, mode >> 12 & 15, name))
        touch_atime(t, self.path)
        return out

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
