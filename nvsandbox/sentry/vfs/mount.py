"""The mount tree and mount namespaces (Linux: fs/namespace.c; mount_namespaces(7)).

A mount hangs in its parent's ``children`` by the dentry it covers, so crossing it costs the walk one dict
look-up on dentries with ``mounts`` set. Propagation types are stored and shown in mountinfo; events are not
propagated to peers.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.wait import WaitQueue
from .path import Dentry, Mount, Path

if TYPE_CHECKING:
    from .fs_context import FsContext
    from .inode import FileSystem, Inode

MS_SHARED: Final = 1 << 20
MS_SLAVE: Final = 1 << 19
MS_PRIVATE: Final = 1 << 18
MS_UNBINDABLE: Final = 1 << 17

_next_id = 20


def new_mount(fs: FileSystem, root: Dentry, flags: int) -> Mount:
    """A mount that is nowhere yet."""
    global _next_id
    _next_id += 1
    return Mount(fs, root, flags, _next_id)


def mount_of(fs: FileSystem, root: Inode, flags: int = 0) -> Mount:
    """The first mount of a new file system whose root directory is ``root``."""
    return new_mount(fs, Dentry(b"/", None, root), flags)


@final
class MountNamespace:
    """A tree of mounts."""

    __slots__ = ("contexts", "queue", "root", "version")

    def __init__(self, root: Mount) -> None:
        self.root = root
        self.version = 0  # of the tree: poll on /proc/mounts
        self.queue = WaitQueue()
        self.contexts: set[FsContext] = set()
        root.ns = self

    def root_path(self) -> Path:
        """The root directory, mounts on top of it included."""
        return follow_mounts(Path(self.root, self.root.root))

    def changed(self) -> None:
        self.version += 1
        self.queue.wake()

    def attach(self, m: Mount, at: Path) -> None:
        """Puts ``m`` on top of ``at`` (which lies in this namespace)."""
        at = follow_mounts(at)
        m.parent = at.mount
        m.mountpoint = at.dentry
        at.mount.children[at.dentry] = m
        at.dentry.mounts += 1
        for x in subtree(m):
            x.ns = self
        self.changed()

    def detach(self, m: Mount) -> None:
        """Takes ``m`` (with all below it) out of the tree."""
        parent, at = m.parent, m.mountpoint
        if parent is None or at is None:
            raise SysErr(errno.EINVAL)
        del parent.children[at]
        at.mounts -= 1
        m.parent = m.mountpoint = None
        for x in subtree(m):
            x.ns = None
        self.changed()

    def mounts(self) -> Iterator[Mount]:
        """All of them, parents first (mountinfo's order)."""
        return subtree(self.root)

    def clone(self) -> tuple[MountNamespace, dict[Mount, Mount]]:
        """A copy (CLONE_NEWNS) and which mount of it answers to which of ours."""
        pairs: dict[Mount, Mount] = {}
        new = MountNamespace(copy_tree(self.root, pairs))
        for m in pairs.values():
            m.ns = new
        return new, pairs


def subtree(m: Mount) -> Iterator[Mount]:
    """``m`` and all mounts below it."""
    yield m
    for c in list(m.children.values()):
        yield from subtree(c)


def copy_mount(m: Mount) -> Mount:
    new = new_mount(m.fs, m.root, m.flags)
    new.propagation, new.peer_group, new.master = m.propagation, m.peer_group, m.master
    return new


def copy_tree(
    m: Mount, pairs: dict[Mount, Mount] | None = None, root: Dentry | None = None
) -> Mount:
    """A copy of ``m`` and what is mounted below ``root`` in it (default: its root), unattached."""
    new = copy_mount(m)
    if root is not None:
        new.root = root
    if pairs is not None:
        pairs[m] = new
    for at, child in m.children.items():
        if root is not None and not at.is_below(root):
            continue
        c = copy_tree(child, pairs)
        c.parent = new
        c.mountpoint = at
        new.children[at] = c
        at.mounts += 1
    return new


def follow_mounts(p: Path) -> Path:
    """The root of the topmost mount on ``p``, or ``p`` itself (Linux: follow_down)."""
    m, d = p.mount, p.dentry
    while d.mounts:
        up = m.children.get(d)
        if up is None:
            break
        m, d = up, up.root
    return p if m is p.mount and d is p.dentry else Path(m, d)


def unshare_mounts(ctx: FsContext) -> None:
    """unshare(CLONE_NEWNS): a copy of the mount tree, with root and working directory in it."""
    new, pairs = ctx.ns.clone()
    ctx.ns.contexts.discard(ctx)
    ctx.ns = new
    new.contexts.add(ctx)
    root, cwd = pairs.get(ctx.root.mount), pairs.get(ctx.cwd.mount)
    if root is not None:
        ctx.root = Path(root, ctx.root.dentry)
    if cwd is not None:
        ctx.cwd = Path(cwd, ctx.cwd.dentry)


def is_busy(m: Mount, ns: MountNamespace) -> bool:
    """Whether a umount without MNT_DETACH must be refused."""
    if m.users or m.children:
        return True
    return any(c.cwd.mount is m or c.root.mount is m for c in ns.contexts)


def change_root(ns: MountNamespace, old: Path, new: Path) -> None:
    """Whoever stood at ``old`` stands at ``new`` (Linux: chroot_fs_refs)."""
    for c in list(ns.contexts):
        if c.root.same(old):
            c.root = new
        if c.cwd.same(old):
            c.cwd = new
