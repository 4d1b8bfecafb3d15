"""The container's root: the gofer's tree below, changes kept in the Sentry's memory.

Made of tmpfs inodes whose ``lower`` is an object of the gofer's (see fs/tmpfs_inode.py for what that means). The
lower tree is taken to be ours alone ("exclusive"): nothing is revalidated, and a directory that is looked at more than
a little is listed once with all attributes, after which look-ups in it never leave the Sentry.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..errors import SysErr
from ..vfs.inode import NAME_MAX, StatFs
from .gofer_listing import Listing
from .gofer_node import Node
from .memfd_pool import MemfdPool
from .tmpfs_file import MemReg
from .tmpfs_inode import Lower, LowerEntry, LowerListing, MemDir, MemFs, MemInode, MemLink, MemNode

if TYPE_CHECKING:
    from ...gofer.protocol import Attr
    from ..kernel.task import Task

OVERLAYFS_MAGIC: Final = 0x794C7630
AHEAD: Final = 16  # components of a path looked up at once
OWN_INO: Final = 1 << 40  # inode numbers of new files and of what can't keep its own start here


@final
class GoferLower(Lower):
    """A gofer object as the lower of an inode."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def find(self, t: Task, name: bytes, rest: list[bytes], opens: bool) -> LowerEntry | None:
        names = [name]
        for later in reversed(rest):
            if len(names) == AHEAD or later == b"." or later == b".." or len(later) > NAME_MAX:
                opens = False
                break
            if later:
                names.append(later)
        try:
            found, gone = self.node.client.find(self.node, names, opens)
        except SysErr as e:
            if e.errno == errno.ENOENT:
                return None
            raise
        entry: FoundEntry | None = None
        missing = names[len(found)] if gone else b""
        for node, a in reversed(found):
            entry = FoundEntry(node, a, entry, missing)
            missing = b""
        return entry

    def list_dir(self, t: Task, known: bool) -> tuple[LowerListing, dict[bytes, int]]:
        listing, names = self.node.list_dir(known)
        return GoferListing(self.node, listing), names

    def xattrs(self, t: Task) -> dict[bytes, bytes]:
        return self.node.xattrs()

    def fd(self, t: Task) -> int:
        return self.node.client.read_fd(self.node)


@final
class GoferListing(LowerListing):
    """The entries of a gofer's directory; most of them never become inodes."""

    __slots__ = ("listing", "node")

    def __init__(self, node: Node, listing: Listing) -> None:
        self.node = node
        self.listing = listing

    def known(self, i: int) -> bool:
        return self.listing.known(i)

    def records(self) -> list[tuple[bytes, bytes, int, int]]:
        return self.listing.parts

    def make(self, fs: MemFs, name: bytes, i: int) -> MemInode:
        assert isinstance(fs, OverlayFs)
        a = self.listing.attr(i)
        if a.mode & 0o170000 != stat.S_IFDIR:
            self.node.client.ahead.looked()
        return fs.make(Node(self.node.client, self.node, name, a), a)

    def brief(self, fs: MemFs, i: int) -> tuple[int, int]:
        assert isinstance(fs, OverlayFs)
        return fs.ino_of(self.listing.key(i)), self.listing.mode(i)


@final
class FoundEntry(LowerEntry):
    """An entry that was asked for by its name, and what was found ``below`` it on the way, or is ``missing`` there."""

    __slots__ = ("attr", "below", "missing", "node")

    def __init__(self, node: Node, attr: Attr, below: FoundEntry | None, missing: bytes) -> None:
        self.node = node
        self.attr = attr
        self.below = below
        self.missing = missing

    def make(self, fs: MemFs) -> MemInode:
        assert isinstance(fs, OverlayFs)
        i = fs.make(self.node, self.attr)
        if isinstance(i, MemDir):
            if self.below is not None:
                i.found(self.below.node.name, self.below)
            elif self.missing:
                i.found(self.missing, None)
        return i

    def brief(self, fs: MemFs) -> tuple[int, int]:
        assert isinstance(fs, OverlayFs)
        return fs.ino_of((self.attr.dev, self.attr.ino)), self.attr.mode


class OverlayFs(MemFs):
    """One overlay over one gofer mount."""

    __slots__ = ("inos", "linked", "lower_root")

    magic: ClassVar[int] = OVERLAYFS_MAGIC

    def __init__(self, root: Node, attr: Attr, pool: MemfdPool, max_bytes: int = 0) -> None:
        super().__init__(pool, "overlay", "overlay", "", max_bytes)
        self.next_ino = self.own_ino = OWN_INO
        self.lower_dev = attr.dev
        self.blksize = root.block_size()
        self.lower_root = root
        self.inos: dict[tuple[int, int], int] = {}
        self.linked: dict[tuple[int, int], MemInode] = {}
        made = self.make(root, attr)
        assert isinstance(made, MemDir)
        self.root = made

    def ino_of(self, key: tuple[int, int]) -> int:
        """The inode number of the lower's (dev, ino): its own where that is unambiguous, else one of ours that stays."""
        if key[0] == self.lower_dev and key[1] < OWN_INO:
            return key[1]
        ino = self.inos.get(key)
        if ino is None:
            ino = self.inos[key] = self.new_ino()
        return ino

    def make(self, node: Node, a: Attr) -> MemInode:
        """The inode of a lower object; hard links of one object share it."""
        kind = a.mode & 0o170000
        key = (a.dev, a.ino)
        shared = a.nlink > 1 and kind != stat.S_IFDIR
        if shared:
            known = self.linked.get(key)
            if known is not None:
                return known
        ino = self.ino_of(key)
        i: MemInode
        if kind == stat.S_IFDIR:
            d = MemDir(self, a.mode & 0o7777, a.uid, a.gid, ino)
            d.loaded = False
            i = d
        elif kind == stat.S_IFREG:
            f = MemReg(self, a.mode, a.uid, a.gid, ino)
            f.buf = None
            i = f
        elif kind == stat.S_IFLNK:
            i = MemLink(self, a.target, a.uid, a.gid, ino)
        else:
            i = MemNode(self, a.mode, a.uid, a.gid, ino)
            i.rdev = a.rdev
        i.lower = GoferLower(node)
        i.size, i.blocks = a.size, a.blocks
        i.nlink = a.nlink
        i.atime, i.mtime, i.ctime = a.atime, a.mtime, a.ctime
        if shared:
            self.linked[key] = i
        return i

    def statfs(self, t: Task) -> StatFs:
        n = self.lower_root.statfs()
        s = StatFs(self.magic, n[1], n[2], n[3])
        s.bavail, s.files, s.ffree, s.namelen = n[4], n[5], n[6], n[7]
        return s


def make_overlay(root: Node, pool: MemfdPool, max_bytes: int = 0) -> OverlayFs:
    """The overlay over gofer mount ``root`` (one of ``GoferClient.roots``)."""
    return OverlayFs(root, root.attr(), pool, max_bytes)
