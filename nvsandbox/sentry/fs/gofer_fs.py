"""A gofer mount used directly: bind mounts, and the root when it is written through (Linux: fs/9p, fs/virtiofs).

``exclusive`` mounts are nobody else's: look-ups and attributes are cached for good. Others may change under us, so
directories are ``volatile`` (asked at each walk) and attributes are taken from the answer. Data of an open
file goes straight through the host descriptors the gofer donated; a read-only mount never gets a writable one.
One inode per (dev, ino), as long as anybody holds it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, ClassVar

from ...gofer import protocol as p
from ..errors import SysErr, from_oserror
from ..refs import Cache
from ..vfs.file import FileDescription
from ..vfs.inode import ATTR_CTIME, ATTR_SIZE, Attrs, FileSystem, Inode, Stat, StatFs, init_owner
from ..vfs.path import forget_walks
from ..vfs.regular import open_regular
from .gofer_node import Node
from .hostio import read_host
from .tmpfs_file import host_fallocate

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.path import Path

FRESH_NS = 100_000  # attributes this young need no second look within one system call
V9FS_MAGIC = 0x01021997


class GoferFs(FileSystem):
    """One gofer mount."""

    __slots__ = ("exclusive", "inodes", "inos", "node", "readonly", "root")

    magic: ClassVar[int] = V9FS_MAGIC

    def __init__(
        self,
        node: Node,
        readonly: bool,
        exclusive: bool = False,
        type_name: str = "9p",
        source: str = "none",
    ) -> None:
        super().__init__(type_name, source)
        self.node = node
        self.blksize = node.block_size()
        self.readonly = readonly
        self.exclusive = exclusive
        self.inodes: Cache[tuple[int, int], GoferInode] = Cache()
        self.inos: dict[tuple[int, int], int] = {}
        self.root = self.inode(node, node.attr())

    def inode(self, node: Node, a: p.Attr) -> GoferInode:
        """The inode of an object the gofer just described, its attributes brought up to date."""
        key = (a.dev, a.ino)
        i = self.inodes.get(key)
        if i is not None and (i.mode ^ a.mode) & 0o170000:
            i = None  # the number was used again for another kind of file
        if i is None:
            ino = a.ino if a.dev == self.node.dev else self.foreign(key)
            kind = VolatileInode if not self.exclusive else GoferInode
            i = kind(self, node, a, ino)
            self.inodes.put(key, i)
        else:
            i.found_at(node)
            i.update(a)
        return i

    def foreign(self, key: tuple[int, int]) -> int:
        """Objects of a file system mounted below ours: a number that can't be taken for one of ours."""
        return self.inos.setdefault(key, (1 << 62) + len(self.inos))

    def statfs(self, t: Task) -> StatFs:
        n = self.node.statfs()
        s = StatFs(n[0], n[1], n[2], n[3])
        s.bavail, s.files, s.ffree, s.namelen = n[4], n[5], n[6], n[7]
        return s

    def sync(self, t: Task) -> None:
        if not self.readonly:
            c = self.node.client
            c.call(p.Sync(c.new_id(), self.node.handle))


class GoferInode(Inode):
    """A file of the gofer's."""

    __slots__ = ("blocks", "gfs", "names", "node", "ro", "rw", "seen", "target", "users")

    def __init__(self, fs: GoferFs, node: Node, a: p.Attr, ino: int) -> None:
        super().__init__(fs, a.mode, a.uid, a.gid, ino)
        self.gfs = fs
        self.node = node
        self.names: list[tuple[Node, bytes]] = []  # further places (hard links) it was seen at
        self.rdev = a.rdev
        self.ro = self.rw = -1  # host descriptors while the file is open
        self.users = 0
        self.seen = 0
        self.blocks = 0
        self.target = b""
        self.update(a)

    def update(self, a: p.Attr) -> None:
        if self.mode != a.mode:
            forget_walks()
        self.mode, self.uid, self.gid, self.nlink = a.mode, a.uid, a.gid, a.nlink
        self.size, self.blocks = a.size, a.blocks
        self.atime, self.mtime, self.ctime = a.atime, a.mtime, a.ctime
        self.target = a.target or self.target
        self.seen = -1

    # Names: requests go to ``node``'s place, so that must stay one where the object is
    def found_at(self, node: Node) -> None:
        """A look-up found it at ``node``'s place."""
        n = self.node
        if (
            node.parent is None
            or n.parent is None
            or (n.parent is node.parent and n.name == node.name)
        ):
            return
        if self.is_dir():  # moved by somebody else
            n.parent, n.name = node.parent, node.name
            return
        self.names = [k for k in self.names if k != (node.parent, node.name)]
        self.names.append((n.parent, n.name))
        n.parent, n.name = node.parent, node.name
        del self.names[:-8]

    def name_moved(self, parent: Node, name: bytes, to: tuple[Node, bytes] | None) -> None:
        """Its name there is now ``to``, or gone (None)."""
        n = self.node
        self.names = [k for k in self.names if k != (parent, name) and k != to]
        if n.parent is parent and n.name == name:
            if to is None and self.names:
                to = self.names.pop()
            if to is not None:
                n.parent, n.name = to
        elif to is not None:
            self.names.append(to)

    # Attributes
    def refresh(self, t: Task) -> None:
        """Brings attributes up to date. May suspend. An unlinked file keeps its last ones."""
        fd = max(self.ro, self.rw)
        if fd >= 0:
            self._from_host(fd)
            return
        now = t.k.monotonic_ns()
        if self.seen == -1:  # told by the look-up of this very walk
            self.seen = now
        elif not self.gfs.exclusive and now - self.seen > FRESH_NS:
            self.update(self.node.attr())
            self.seen = now

    def _from_host(self, fd: int) -> None:
        st = os.fstat(fd)
        self.set_mode(st.st_mode)
        self.uid, self.gid, self.nlink = st.st_uid, st.st_gid, st.st_nlink
        self.size, self.blocks = st.st_size, st.st_blocks
        self.mtime, self.ctime = st.st_mtime_ns, st.st_ctime_ns

    def getattr(self, t: Task) -> Stat:
        self.refresh(t)
        s = Stat(self)
        s.blocks = self.blocks
        return s

    def setattr(self, t: Task, a: Attrs) -> None:
        self._check_write()
        valid = a.valid & ~ATTR_CTIME
        if valid & ATTR_SIZE and self.rw >= 0:
            try:
                os.ftruncate(self.rw, a.size)
            except OSError as e:
                raise from_oserror(e) from None
            valid &= ~(ATTR_SIZE | 32)
            self.size = a.size
        if valid:
            self.update(
                self.node.setattr(valid, a.mode & 0o7777, a.uid, a.gid, a.size, a.atime, a.mtime)
            )

    def _check_write(self) -> None:
        if self.gfs.readonly:
            raise SysErr(errno.EROFS)

    # Directories
    def lookup(self, t: Task, name: bytes) -> Inode:
        if not self.is_dir():
            raise SysErr(errno.ENOTDIR)
        a = self.node.find(name)
        if a is None:
            raise SysErr(errno.ENOENT)
        return self._child(name, a)

    def _child(self, name: bytes, a: p.Attr) -> GoferInode:
        return self.gfs.inode(Node(self.node.client, self.node, name, a), a)

    def _make(self, t: Task, name: bytes, mode: int, rdev: int = 0, target: bytes = b"") -> Inode:
        self._check_write()
        uid, gid, mode = init_owner(t, self, mode)
        return self._child(name, self.node.create(name, mode, uid, gid, rdev, target))

    def create(self, t: Task, name: bytes, mode: int) -> Inode:
        return self._make(t, name, mode)

    def mkdir(self, t: Task, name: bytes, mode: int) -> Inode:
        return self._make(t, name, mode)

    def mknod(self, t: Task, name: bytes, mode: int, rdev: int) -> Inode:
        return self._make(t, name, mode, rdev)

    def symlink(self, t: Task, name: bytes, target: bytes) -> Inode:
        return self._make(t, name, stat.S_IFLNK | 0o777, 0, target)

    def _other(self, i: Inode) -> GoferInode:
        if not isinstance(i, GoferInode) or i.gfs is not self.gfs:
            raise SysErr(errno.EXDEV)
        return i

    def link(self, t: Task, name: bytes, inode: Inode) -> None:
        self._check_write()
        src = self._other(inode)
        c = self.node.client
        handle, old = src.node.at()
        if not old:
            raise SysErr(errno.EXDEV)
        c.call(p.Link(c.new_id(), handle, old, c.handle(self.node), name))
        src.nlink += 1
        src.names.append((self.node, name))

    def unlink(self, t: Task, name: bytes, inode: Inode) -> None:
        self._remove(name, inode, False)

    def rmdir(self, t: Task, name: bytes, inode: Inode) -> None:
        self._remove(name, inode, True)

    def _remove(self, name: bytes, inode: Inode, directory: bool) -> None:
        self._check_write()
        gone = self._other(inode)
        c = self.node.client
        c.call(p.Unlink(c.new_id(), c.handle(self.node), name, directory))
        gone.nlink = 0 if directory else max(0, gone.nlink - 1)
        gone.name_moved(self.node, name, None)
        if gone.nlink == 0:
            c.drop(gone.node)

    def rename(
        self, t: Task, name: bytes, inode: Inode, new_dir: Inode, new_name: bytes,
        target: Inode | None, flags: int,
    ) -> None:  # fmt: skip
        self._check_write()
        moved, to = self._other(inode), self._other(new_dir)
        c = self.node.client
        old_h, new_h = c.handle(self.node), c.handle(to.node)
        c.call(p.Rename(c.new_id(), old_h, name, new_h, new_name, flags))
        if isinstance(target, GoferInode):
            target.name_moved(to.node, new_name, (self.node, name) if flags & 2 else None)
            if not flags & 2:
                target.nlink = 0 if target.is_dir() else max(0, target.nlink - 1)
                if target.nlink == 0:
                    c.drop(target.node)
        moved.name_moved(self.node, name, (to.node, new_name))

    def readlink(self, t: Task) -> bytes:
        return self.target

    # Extended attributes
    def getxattr(self, t: Task, name: bytes) -> bytes:
        v = self.node.xattrs().get(name)
        if v is None:
            raise SysErr(errno.ENODATA)
        return v

    def listxattr(self, t: Task) -> list[bytes]:
        return [n for n in self.node.xattrs() if not n.startswith(b"system.")]

    def setxattr(self, t: Task, name: bytes, value: bytes, flags: int) -> None:
        self._check_write()
        c = self.node.client
        handle, own = self.node.at()
        c.call(p.SetXattr(c.new_id(), handle, own, name, value, flags & 3))

    def removexattr(self, t: Task, name: bytes) -> None:
        self._check_write()
        c = self.node.client
        handle, own = self.node.at()
        c.call(p.SetXattr(c.new_id(), handle, own, name, b"", p.REMOVE))

    # Content
    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        if self.is_dir():
            return GoferDirFile(flags, path, self)
        if self.is_reg():
            return open_regular(t, path, flags, self)
        return super().open(t, path, flags)

    def opened(self, t: Task, flags: int) -> None:
        self.users += 1
        try:
            self._fd(flags & 3 != 0)
        except SysErr:
            self.closed(flags)
            raise

    def closed(self, flags: int) -> None:
        self.users -= 1
        if self.users == 0:
            if self.rw >= 0:
                self._from_host(self.rw)
            for fd in (self.ro, self.rw):
                if fd >= 0:
                    os.close(fd)
            self.ro = self.rw = -1

    def __del__(self) -> None:
        for fd in (self.ro, self.rw):
            if fd >= 0:
                os.close(fd)

    def _fd(self, write: bool) -> int:
        """A host descriptor to read through, or also to write through. May suspend."""
        fd = self.rw if write else self.ro
        if fd < 0:
            if write:
                self._check_write()
            fd = self.node.open(write)
            have = self.rw if write else self.ro
            if have >= 0:
                os.close(fd)
                return have
            if write:
                self.rw = fd
            else:
                self.ro = fd
        return fd

    def _any_fd(self) -> int:
        return self.ro if self.ro >= 0 else self.rw if self.rw >= 0 else self._fd(False)

    def read_at(self, t: Task, offset: int, size: int) -> bytes:
        return read_host(t, self._any_fd(), size, offset)

    def write_at(self, t: Task, offset: int, data: bytes) -> int:
        fd = self._fd(True)
        try:
            if offset < 0:
                return os.pwritev(fd, [data], os.fstat(fd).st_size, os.RWF_APPEND)
            return os.pwrite(fd, data, offset)
        except OSError as e:
            raise from_oserror(e) from None

    def end(self, t: Task) -> int:
        if self.is_reg():
            self.refresh(t)
        return self.size

    def seek_hole(self, t: Task, offset: int, data: bool) -> int:
        try:
            return os.lseek(self._any_fd(), offset, os.SEEK_DATA if data else os.SEEK_HOLE)
        except OSError as e:
            raise from_oserror(e) from None

    def host_fd(self, t: Task, writable: bool) -> int:
        return self._fd(writable)

    def direct_fd(self, t: Task, writable: bool) -> int:
        return self.rw if writable else self.ro

    def allocate(self, t: Task, mode: int, offset: int, length: int) -> None:
        host_fallocate(self._fd(True), mode, offset, length)

    def sync_data(self, t: Task, datasync: bool) -> None:
        fd = self._any_fd()
        if not self.gfs.readonly:
            copy = os.dup(fd)  # ours may be closed while the worker waits for the disk
            try:
                t.k.loop.run_in_worker(lambda: os.fdatasync(copy) if datasync else os.fsync(copy))
            except OSError as e:
                raise from_oserror(e) from None
            finally:
                os.close(copy)


class VolatileInode(GoferInode):
    """One of a mount that others change too."""

    __slots__ = ()
    volatile: ClassVar[bool] = True


class GoferDirFile(FileDescription):
    """An open directory: the listing of when reading started."""

    __slots__ = ("dir", "listing")

    def __init__(self, flags: int, path: Path, dir: GoferInode) -> None:
        super().__init__(flags, path)
        self.dir = dir
        self.listing: list[tuple[int, int, int, bytes]] | None = None

    @property
    def inode(self) -> Inode:
        return self.dir

    def pollable(self) -> bool:
        return False

    def read(self, t: Task, size: int) -> bytes | int:
        return -errno.EISDIR

    def pread(self, t: Task, size: int, offset: int) -> bytes | int:
        return -errno.EISDIR

    def readdir(self, t: Task) -> list[tuple[int, int, int, bytes]]:
        if self.listing is None or self.offset == 0:
            d = self.dir
            up = self.path.dentry.parent.inode if self.path is not None else None
            out = [(d.ino, 1, 4, b"."), ((up or d).ino, 2, 4, b"..")]
            fs = d.gfs
            listing, names = d.node.list_dir(not fs.exclusive)
            for name, i in names.items():
                key = listing.key(i)
                ino = key[1] if key[0] == fs.node.dev else fs.foreign(key)
                out.append((ino, len(out) + 1, listing.mode(i) >> 12 & 15, name))
            self.listing = out
        return self.listing[self.offset : self.offset + 1024]

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
