"""/proc/PID/fd and fdinfo (Linux: fs/proc/fd.c)."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..vfs.file import FileDescription
from ..vfs.inode import FileSystem, Inode
from ..vfs.lent import take_back
from ..vfs.mount import mount_of
from ..vfs.path import ANON_MOUNT_ID, Dentry, Path, path_name
from ..vfs.synthetic import DynDir, GenFile, SynthLink
from .anon import ANONFS, AnonFile, AnonInode, fd_label
from .proc_pid import check_access, leader

if TYPE_CHECKING:
    from ..kernel.task import Task, ThreadGroup
    from ..vfs.file import FdTable

_ROOT: Final = AnonInode(ANONFS, stat.S_IFDIR | 0o555)
_MOUNT: Final = mount_of(ANONFS, _ROOT)
O_CLOEXEC: Final = 0o2000000


@final
class Reopened(Inode):
    """The target of a descriptor link without a path: opening it gives the same description again."""

    __slots__ = ("file",)

    def __init__(self, f: FileDescription) -> None:
        i = f.inode
        super().__init__(i.fs, i.mode, i.uid, i.gid, i.ino)
        self.rdev = i.rdev
        self.file = f

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        kind = self.mode & 0o170000
        if isinstance(self.file, AnonFile) or kind == stat.S_IFSOCK:
            raise SysErr(errno.ENXIO)
        return self.file


def label_of(t: Task, f: FileDescription) -> bytes:
    """What the link shows."""
    if f.path is not None:
        return path_name(f.path, t.fs.root)
    i = f.inode
    if isinstance(f, AnonFile) or isinstance(i, AnonInode):
        return fd_label(f)
    kind = i.mode & 0o170000
    if kind == stat.S_IFIFO:
        return b"pipe:[%d]" % i.ino
    if kind == stat.S_IFSOCK:
        return b"socket:[%d]" % i.ino
    if kind == stat.S_IFCHR:
        return b"/dev/console" if i.rdev >> 8 & 0xFFF in (5, 136) else b"/dev/null"
    return b"/host:[%d]" % i.ino


def target_of(f: FileDescription) -> Path:
    """Where following the link leads."""
    if f.path is not None:
        return f.path
    i = f.inode
    node: Inode = (
        i if isinstance(i, AnonInode) and i.mode & 0o170000 == stat.S_IFIFO else Reopened(f)
    )
    return Path(_MOUNT, Dentry(fd_label(f), _MOUNT.root, node))


@final
class FdLink(SynthLink):
    """/proc/PID/fd/N."""

    __slots__ = ("fd", "tg")

    def __init__(self, fs: FileSystem, tg: ThreadGroup, fd: int, f: FileDescription) -> None:
        mode = 0o100 | (0o400 if f.readable() else 0) | (0o200 if f.writable() else 0)
        super().__init__(fs, b"", mode)
        self.size = 64
        self.tg = tg
        self.fd = fd

    def _file(self, t: Task) -> FileDescription:
        check_access(t, self.tg)
        table = files_of(self.tg)
        f = table.files.get(self.fd) if table is not None else None
        if f is None:
            raise SysErr(errno.ENOENT)
        if f.lent:
            take_back(f)
        return f

    def readlink(self, t: Task) -> bytes:
        return label_of(t, self._file(t))

    def get_link(self, t: Task) -> bytes | Path:
        return target_of(self._file(t))


def files_of(tg: ThreadGroup) -> FdTable | None:
    u = leader(tg)
    return u.files if u is not None else None


class FdDir(DynDir):
    """/proc/PID/fd."""

    __slots__ = ("cache", "tg")

    def __init__(self, fs: FileSystem, tg: ThreadGroup) -> None:
        super().__init__(fs, 0o500)
        self.tg = tg
        self.cache: dict[int, tuple[FileDescription, Inode]] = {}

    def permission(self, t: Task, mask: int) -> None:
        if t.tg is not self.tg:
            super().permission(t, mask)

    def make(self, fd: int, f: FileDescription) -> Inode:
        return FdLink(self.fs, self.tg, fd, f)

    def lookup(self, t: Task, name: bytes) -> Inode:
        check_access(t, self.tg)
        if not name.isdigit() or len(name) > 9 or (name[0] == 48 and name != b"0"):
            raise SysErr(errno.ENOENT)
        fd = int(name)
        table = files_of(self.tg)
        f = table.files.get(fd) if table is not None else None
        if f is None:
            self.cache.pop(fd, None)
            raise SysErr(errno.ENOENT)
        have = self.cache.get(fd)
        if have is None or have[0] is not f:
            if len(self.cache) > 1024:
                self.cache.clear()
            have = self.cache[fd] = (f, self.make(fd, f))
            have[1].uid, have[1].gid = self.uid, self.gid
        return have[1]

    def names(self, t: Task) -> list[tuple[bytes, int, int]]:
        check_access(t, self.tg)
        table = files_of(self.tg)
        kind = stat.S_IFLNK if type(self) is FdDir else stat.S_IFREG
        fds = sorted(table.files) if table is not None else []
        return [(b"%d" % fd, 0x100000 + fd, kind) for fd in fds]


@final
class FdInfoDir(FdDir):
    """/proc/PID/fdinfo."""

    __slots__ = ()

    def make(self, fd: int, f: FileDescription) -> Inode:
        return GenFile(self.fs, lambda t: fdinfo(self.tg, fd, f), 0o400)


def fdinfo(tg: ThreadGroup, fd: int, f: FileDescription) -> bytes:
    table = files_of(tg)
    flags = f.flags | (O_CLOEXEC if table is not None and fd in table.cloexec else 0)
    mnt = f.path.mount.id if f.path is not None else ANON_MOUNT_ID
    head = b"pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n" % (f.offset, flags, mnt, f.inode.ino)
    return head + (f.fdinfo() if isinstance(f, AnonFile) else b"")
