"""devpts and the terminal devices: /dev/ptmx, /dev/pts/N, /dev/tty, /dev/console (Linux: fs/devpts/inode.c, tty_io.c)."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..errors import SysErr
from ..vfs.file import FileDescription
from ..vfs.fstypes import register_filesystem
from ..vfs.inode import FileSystem, Inode
from ..vfs.mount import mount_of
from ..vfs.namei import walk
from ..vfs.path import Dentry, Path
from ..vfs.special import ANY_MINOR, register_chrdev
from ..vfs.synthetic import DynDir, SynthNode
from .tty import Tty
from .tty_pty import MasterFile, Pty, SlaveFile

if TYPE_CHECKING:
    from ..kernel.kernel import Kernel
    from ..kernel.task import Task

MAX_PTYS: Final = 4096
PTS_MAJOR: Final = 136
O_NOCTTY: Final = os.O_NOCTTY


@final
class PtsDir(DynDir):
    """The root: ``ptmx`` and the terminals there are."""

    __slots__ = ("pts",)

    def __init__(self, fs: DevPts) -> None:
        super().__init__(fs, 0o755)
        self.pts = fs

    def lookup(self, t: Task, name: bytes) -> Inode:
        if name == b"ptmx":
            return self.pts.ptmx
        i = self.pts.nodes.get(int(name)) if name.isdigit() and len(name) < 8 else None
        if i is None:
            raise SysErr(errno.ENOENT)
        return i

    def names(self, t: Task) -> list[tuple[bytes, int, int]]:
        nodes = sorted(self.pts.nodes.items())
        out = [(b"%d" % n, i.ino, i.mode) for n, i in nodes]
        return [*out, (b"ptmx", self.pts.ptmx.ino, self.pts.ptmx.mode)]


@final
class DevPts(FileSystem):
    """One instance; terminals are numbered within it."""

    __slots__ = ("gid", "mode", "nodes", "ptmx", "ptys", "root")

    magic: ClassVar[int] = 0x1CD1

    def __init__(self, data: bytes = b"") -> None:
        super().__init__("devpts", "devpts", data.decode("ascii", "replace"))
        o = _options(data)
        self.gid = o.get(b"gid", -1)
        self.mode = o.get(b"mode", 0o600)
        self.ptys: dict[int, Pty] = {}
        self.nodes: dict[int, SynthNode] = {}
        self.root = PtsDir(self)
        self.ptmx = SynthNode(self, stat.S_IFCHR | o.get(b"ptmxmode", 0o666), os.makedev(5, 2))

    def new_pty(self, t: Task) -> Pty:
        """Raises ENOSPC."""
        n = 0
        while n in self.ptys:
            n += 1
        if n >= MAX_PTYS:
            raise SysErr(errno.ENOSPC)
        p = self.ptys[n] = Pty(t.k, n, self)
        gid = self.gid if self.gid >= 0 else t.creds.fsgid
        node = SynthNode(
            self, stat.S_IFCHR | self.mode, os.makedev(PTS_MAJOR, n), t.creds.fsuid, gid
        )
        node.set_times(t.k.realtime_ns())
        self.nodes[n] = node
        return p

    def remove(self, index: int) -> None:
        self.ptys.pop(index, None)
        self.nodes.pop(index, None)

    def open_peer(self, t: Task, p: Pty, flags: int) -> FileDescription:
        """TIOCGPTPEER: the slave without a path walk."""
        node = self.nodes.get(p.index)
        if node is None:
            raise SysErr(errno.EIO)
        path = peer_path(t, self, p.index, node)
        return open_slave(t, path, flags, p)


def peer_path(t: Task, fs: DevPts, index: int, node: SynthNode) -> Path:
    """Where the slave lies: on a mount of ``fs`` the caller has, or on one of nobody's."""
    ns = t.fs.ns
    for m in ns.mounts():
        if m.fs is fs:
            d = m.root.children.get(b"%d" % index)
            if d is None or d.inode is not node:
                d = m.root.set_child(b"%d" % index, node)
            return Path(m, d)
    m = mount_of(fs, fs.root)
    return Path(m, Dentry(b"%d" % index, m.root, node))


def _options(data: bytes) -> dict[bytes, int]:
    """mount(2) options. Raises EINVAL."""
    out: dict[bytes, int] = {}
    for item in data.split(b","):
        key, _, v = item.partition(b"=")
        if key in (b"", b"newinstance"):
            continue
        try:
            if key in (b"mode", b"ptmxmode"):
                out[key] = int(v, 8) & 0o777
            elif key in (b"uid", b"gid", b"max"):
                out[key] = int(v)
            else:
                raise ValueError
        except ValueError:
            raise SysErr(errno.EINVAL) from None
    return out


def make_devpts(data: bytes = b"") -> DevPts:
    """A new instance; its root inode is ``.root``."""
    return DevPts(data)


def open_ptmx(t: Task, path: Path, flags: int) -> FileDescription:
    """A new pseudo-terminal: of the instance the node lies in, or of ``pts`` beside it."""
    fs = path.inode.fs
    if not isinstance(fs, DevPts):
        try:
            fs = walk(t, Path(path.mount, path.dentry.parent), b"pts/ptmx").inode.fs
        except SysErr:
            raise SysErr(errno.ENODEV) from None
        if not isinstance(fs, DevPts):
            raise SysErr(errno.ENODEV)
    return MasterFile(flags, path, fs.new_pty(t))


def open_slave(t: Task, path: Path, flags: int, y: Pty) -> FileDescription:
    """Raises EIO (locked, or its master is gone), EBUSY (TIOCEXCL)."""
    if y.locked or not y.master_open:
        raise SysErr(errno.EIO)
    if y.exclusive and y.count and not t.creds.capable(21):
        raise SysErr(errno.EBUSY)
    f = SlaveFile(flags & ~O_NOCTTY, path, y)
    if not flags & O_NOCTTY and f.readable() and y.may_acquire(t):
        y.set_controlling(t)
    return f


def open_pts(t: Task, path: Path, flags: int) -> FileDescription:
    """/dev/pts/N. A node of that number on another file system leads nowhere."""
    fs = path.inode.fs
    y = fs.ptys.get(os.minor(path.inode.rdev)) if isinstance(fs, DevPts) else None
    if y is None:
        raise SysErr(errno.EIO)
    return open_slave(t, path, flags, y)


def open_tty(t: Task, path: Path, flags: int) -> FileDescription:
    """/dev/tty: the controlling terminal."""
    y = t.tg.tty
    if isinstance(y, FileDescription):  # the launcher's own terminal (fs/hostfd_tty.py)
        return y
    if not isinstance(y, Tty):
        raise SysErr(errno.ENXIO)
    if y.master_closed():
        raise SysErr(errno.EIO)
    return SlaveFile(flags & ~O_NOCTTY, path, y)


register_chrdev(5, 0, open_tty)
register_chrdev(5, 2, open_ptmx)
register_chrdev(PTS_MAJOR, ANY_MINOR, open_pts)


def console_pty(k: Kernel, fs: DevPts, t: Task) -> Pty:
    """A terminal for the sandbox's own console, unlocked (the master is the caller's to drive)."""
    p = fs.new_pty(t)
    p.locked = False
    return p


def _factory(t: Task, source: bytes, data: bytes) -> tuple[FileSystem, Inode]:
    fs = DevPts(data)
    return fs, fs.root


register_filesystem(
    b"devpts", _factory, (b"uid", b"gid", b"mode", b"ptmxmode", b"newinstance", b"max"), _options
)
