"""Dentries, mounts and paths (Linux: struct dentry, vfsmount, path; fs/dcache.c, fs/mount.h).

A ``Dentry`` is a name in a directory as far as it is known; one with ``inode`` None (absent) is what a look-up
returned, never kept: file systems whose look-ups cost something remember absences themselves. The tree of
dentries is a cache above the file systems, never the truth about them. A ``Path`` is a place: a dentry seen
through a mount. Python's reference counts do what dget/dput do in Linux.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import mypyc_attr

from ..errors import SysErr

if TYPE_CHECKING:
    from .inode import FileSystem, Inode
    from .mount import MountNamespace
    from .peers import PeerGroup

# Per-mount flags (mount(2) MS_*).
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_NOSYMFOLLOW: Final = 256
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_RELATIME: Final = 1 << 21
MS_STRICTATIME: Final = 1 << 24
ANON_MOUNT_ID: Final = 15  # of files that are nowhere: pipes, sockets, eventfds


@final
class Dentry:
    """A name in a directory; the root of a file system is its own parent."""

    __slots__ = ("children", "inode", "mounts", "name", "parent", "seq", "unlinked")

    def __init__(self, name: bytes, parent: Dentry | None, inode: Inode | None) -> None:
        self.name = name
        self.parent: Dentry = self if parent is None else parent
        self.inode = inode
        self.children: dict[bytes, Dentry] = {}
        self.mounts = 0  # so many mounts lie on it, in all namespaces
        self.seq = (
            0  # bumped at each change made through this directory: a lookup in flight is redone
        )
        self.unlinked = False

    def node(self) -> Inode:
        """The inode of a dentry that the walk returned. Raises ENOENT for a negative one."""
        i = self.inode
        if i is None:
            raise SysErr(errno.ENOENT)
        return i

    def set_child(self, name: bytes, inode: Inode) -> Dentry:
        """``name`` was made."""
        self.seq += 1
        d = Dentry(name, self, inode)
        if name in self.children:
            forget_walks()
        self.children[name] = d
        return d

    def drop_child(self, name: bytes) -> None:
        """``name`` was removed. Whoever still holds the old dentry sees it unlinked."""
        self.seq += 1
        old = self.children.pop(name, None)
        if old is not None:
            old.unlinked = True
            forget_walks()

    def move(self, new_parent: Dentry, new_name: bytes) -> None:
        """rename(2) (Linux: d_move): open files and working directories below follow."""
        forget_walks()
        old = self.parent
        old.seq += 1
        if old.children.get(self.name) is self:
            del old.children[self.name]
        new_parent.seq += 1
        gone = new_parent.children.get(new_name)
        if gone is not None and gone is not self:
            gone.unlinked = True
        self.parent, self.name = new_parent, new_name
        new_parent.children[new_name] = self

    def is_below(self, top: Dentry) -> bool:
        """Whether it is ``top`` or a descendant of it."""
        d = self
        while d is not top:
            if d.parent is d:
                return False
            d = d.parent
        return True


@final
class Mount:
    """One mount of a file system (or of a part of one: a bind mount)."""

    __slots__ = (
        "children", "flags", "fs", "group", "id", "locked", "locked_flags", "master", "mountpoint", "ns", "parent",
        "root", "unbindable", "users", "writers",
    )  # fmt: skip

    def __init__(self, fs: FileSystem, root: Dentry, flags: int = 0, mnt_id: int = 0) -> None:
        self.fs = fs
        self.root = root
        self.flags = flags
        self.id = mnt_id
        self.parent: Mount | None = None
        self.mountpoint: Dentry | None = None  # in the parent
        self.children: dict[Dentry, Mount] = {}  # the top mount on each mount point
        self.ns: MountNamespace | None = None
        self.users = 0  # open files; umount without MNT_DETACH is refused while there are any
        self.writers = 0  # of these, those that may write: it can't be made read-only
        self.group: PeerGroup | None = None  # of a shared mount
        self.master: PeerGroup | None = None  # of a slave that is not shared
        self.unbindable = False
        self.locked = False  # what it covers must stay covered: its tree came from a more privileged namespace
        self.locked_flags = 0  # that the namespace may not take away

    def want_write(self) -> None:
        """Raises EROFS on a read-only mount."""
        if self.readonly:
            raise SysErr(errno.EROFS)

    @property
    def readonly(self) -> bool:
        """Here, or the whole file system."""
        return bool(self.flags & MS_RDONLY) or self.fs.readonly

    @property
    def nodev(self) -> bool:
        """Here, or the whole file system."""
        return bool(self.flags & MS_NODEV) or self.fs.nodev


@final
@mypyc_attr(free_list_len=1)
class Path:
    """A place in the tree of mounts. Immutable."""

    __slots__ = ("dentry", "mount")

    def __init__(self, mount: Mount, dentry: Dentry) -> None:
        self.mount = mount
        self.dentry = dentry

    @property
    def inode(self) -> Inode:
        """Raises ENOENT for a negative dentry."""
        return self.dentry.node()

    def same(self, other: Path) -> bool:
        return self.mount is other.mount and self.dentry is other.dentry

    def is_below(self, top: Path) -> bool:
        """Whether it is ``top`` or lies under it, mounts crossed."""
        m, d = self.mount, self.dentry
        while True:
            if m is top.mount and d.is_below(top.dentry):
                return True
            at = m.mountpoint
            if m.parent is None or at is None:
                return False
            m, d = m.parent, at


@final
class Walk:
    """What a walk has found: ``to``, from ``mount`` and ``dentry``."""

    __slots__ = ("dentry", "mount", "to")

    def __init__(self, mount: Mount, dentry: Dentry, to: Path) -> None:
        self.mount = mount
        self.dentry = dentry
        self.to = to


# Walks that all tasks would find the same, by the path that was asked for (``namei.walk``): through directories that everybody may
# search and nobody has to be asked about. Forgotten as soon as anything changes that they have seen.
WALKS: Final[dict[bytes, Walk]] = {}


def forget_walks() -> None:
    """A name, a mount or a directory's permissions are about to be others."""
    if WALKS:
        WALKS.clear()


def path_name(path: Path, root: Path | None = None, mark: bool = False) -> bytes:
    """Its absolute name as seen from ``root`` (Linux: d_path): getcwd, /proc/PID/{cwd,exe,fd,maps}.

    " (deleted)" is appended when it was unlinked, "(unreachable)" put before it when
    ``mark`` is set (getcwd) and it is not under ``root``.
    """
    parts: list[bytes] = []
    m, d = path.mount, path.dentry
    deleted = d.unlinked
    reached = False
    while True:
        if root is not None and m is root.mount and d is root.dentry:
            reached = True
            break
        if d is m.root or d.parent is d:
            at = m.mountpoint
            if m.parent is None or at is None or d is not m.root:
                break
            m, d = m.parent, at
            continue
        parts.append(d.name)
        d = d.parent
    parts.reverse()
    name = b"/" + b"/".join(parts)
    if mark and root is not None and not reached:
        name = b"(unreachable)" + name
    return name + b" (deleted)" if deleted else name
