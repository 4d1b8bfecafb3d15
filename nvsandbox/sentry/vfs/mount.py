"""The mount tree and mount namespaces (Linux: fs/namespace.c; mount_namespaces(7)).

A mount hangs in its parent's ``children`` by the dentry it covers, so crossing it costs the walk one dict
look-up on dentries with ``mounts`` set. What ``attach`` and ``detach`` do in one namespace, ``propagation.py`` does
wherever it is heard of.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..errors import SysErr
from ..kernel.userns import INIT_USER, Namespace, UserNamespace
from ..kernel.wait import WaitQueue
from .path import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_RELATIME,
    Dentry,
    Mount,
    Path,
    forget_walks,
)
from .peers import copy_type, make_private, make_slave, subtree

if TYPE_CHECKING:
    from .fs_context import FsContext
    from .inode import FileSystem, Inode

MS_SHARED: Final = 1 << 20
MS_SLAVE: Final = 1 << 19
MS_PRIVATE: Final = 1 << 18
MS_UNBINDABLE: Final = 1 << 17
ATIME_FLAGS: Final = MS_NOATIME | MS_NODIRATIME | MS_RELATIME
LOCKABLE: Final = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | ATIME_FLAGS
RESTRICTED: Final = ("proc", "sysfs")

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
class MountNamespace(Namespace):
    """A tree of mounts."""

    __slots__ = ("contexts", "origin", "queue", "root", "version")

    kind: ClassVar[bytes] = b"mnt"
    flag: ClassVar[int] = 0x00020000

    def __init__(self, root: Mount, owner: UserNamespace = INIT_USER) -> None:
        super().__init__(owner)
        self.root = root
        self.version = 0  # of the tree: poll on /proc/mounts
        self.queue = WaitQueue()
        self.contexts: set[FsContext] = set()
        self.origin: MountNamespace | None = None  # of a tree that is nowhere yet: who made it
        root.ns = self

    @staticmethod
    def nowhere(root: Mount, origin: MountNamespace) -> MountNamespace:
        """The namespace of a tree that no process can be in (Linux: alloc_mnt_ns, anonymous): of fsmount(2) and open_tree(2)."""
        ns = MountNamespace(root, origin.owner or INIT_USER)
        ns.origin = origin
        for m in subtree(root):
            m.ns = ns
        return ns

    def dissolve(self) -> None:
        """Nobody can reach a tree that is nowhere any more; one that has been moved somewhere stays."""
        if self.root.ns is self:
            for m in subtree(self.root):
                m.ns = None
                make_private(m)

    def root_path(self) -> Path:
        """The root directory, mounts on top of it included."""
        return follow_mounts(Path(self.root, self.root.root))

    def leave(self, ctx: FsContext) -> None:
        """A process is in another one from now on, or in none."""
        self.contexts.discard(ctx)
        if not self.contexts:
            forget_walks()

    def changed(self) -> None:
        self.version += 1
        self.queue.wake()

    def attach(self, m: Mount, at: Path) -> None:
        """Puts ``m`` on top of ``at`` (which lies in this namespace)."""
        at = follow_mounts(at)
        m.locked = False
        self.hook(m, at.mount, at.dentry)
        self.changed()

    def hook(self, m: Mount, parent: Mount, at: Dentry) -> None:
        """``m`` with all below it hangs in ``parent``, which has nothing there."""
        forget_walks()
        m.parent = parent
        m.mountpoint = at
        parent.children[at] = m
        at.mounts += 1
        for x in subtree(m):
            x.ns = self

    @staticmethod
    def unhook(m: Mount) -> None:
        parent, at = m.parent, m.mountpoint
        if parent is None or at is None:
            raise SysErr(errno.EINVAL)
        forget_walks()
        del parent.children[at]
        at.mounts -= 1
        m.parent = m.mountpoint = None

    @staticmethod
    def top(p: Path) -> Path:
        """The root of the topmost mount on ``p``, or ``p`` itself."""
        return follow_mounts(p)

    def in_use(self, m: Mount) -> bool:
        """Whether a file of ``m`` is open, or somebody stands there."""
        return bool(m.users) or any(c.cwd.mount is m or c.root.mount is m for c in self.contexts)

    def detach(self, m: Mount) -> None:
        """Takes ``m`` (with all below it) out of the tree."""
        self.unhook(m)
        for x in subtree(m):
            x.ns = None
        self.changed()

    def mounts(self) -> Iterator[Mount]:
        """All of them, parents first (mountinfo's order)."""
        return subtree(self.root)

    def clone(self, owner: UserNamespace) -> tuple[MountNamespace, dict[Mount, Mount]]:
        """A copy (CLONE_NEWNS) and which mount of it answers to which of ours. Another owner may not look below what is mounted, nor
        lift restrictions, nor be heard by us (mount_namespaces(7), "Restrictions on mount namespaces")."""
        pairs: dict[Mount, Mount] = {}
        new = MountNamespace(copy_tree(self.root, pairs), owner)
        for m in pairs.values():
            m.ns = new
            if owner is not self.owner:
                make_slave(m)
        if owner is not self.owner:
            lock_tree(new.root)
        return new, pairs


def lock_tree(top: Mount) -> None:
    """What came from a more privileged namespace stays covered and restricted; ``top`` itself may be unmounted."""
    for m in subtree(top):
        m.locked = m is not top
        m.locked_flags = m.flags & LOCKABLE


def keep_hidden(ns: MountNamespace, fs: FileSystem, flags: int) -> int:
    """The per-mount flags that a new mount of ``fs`` with ``flags`` must keep, in a namespace of a less privileged owner (Linux:
    mount_too_revealing): proc and sysfs show no more than what is mounted there already. Raises EPERM."""
    if ns.owner is INIT_USER or fs.type_name not in RESTRICTED:
        return 0
    for m in ns.mounts():
        if m.fs.type_name == fs.type_name and m.root.parent is m.root and not _hides(m):
            kept = m.locked_flags | (MS_RDONLY if m.fs.readonly else 0)
            atime = (m.flags ^ flags) & ATIME_FLAGS and kept & ATIME_FLAGS
            if not (kept & MS_RDONLY and not flags & MS_RDONLY) and not atime:
                return kept & (MS_RDONLY | ATIME_FLAGS)
    raise SysErr(errno.EPERM)


def _hides(m: Mount) -> bool:
    """Whether something of it is covered for good."""
    return any(c.locked and not at.node().always_empty for at, c in m.children.items())


def copy_mount(m: Mount) -> Mount:
    new = new_mount(m.fs, m.root, m.flags)
    copy_type(m, new)
    new.locked, new.locked_flags = m.locked, m.locked_flags
    return new


def copy_tree(
    m: Mount, pairs: dict[Mount, Mount] | None = None, root: Dentry | None = None
) -> Mount:
    """A copy of ``m`` and what is mounted below ``root`` in it (default: its root), unattached. Unbindable mounts are left out but
    of the copy of a namespace, which asks for ``pairs``."""
    new = copy_mount(m)
    if root is not None:
        new.root = root
    if pairs is not None:
        pairs[m] = new
    for at, child in m.children.items():
        if (root is not None and not at.is_below(root)) or (pairs is None and child.unbindable):
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


def unshare_mounts(ctx: FsContext, owner: UserNamespace) -> None:
    """unshare(CLONE_NEWNS): a copy of the mount tree, with root and working directory in it."""
    new, pairs = ctx.ns.clone(owner)
    ctx.ns.leave(ctx)
    ctx.ns = new
    new.contexts.add(ctx)
    root, cwd = pairs.get(ctx.root.mount), pairs.get(ctx.cwd.mount)
    if root is not None:
        ctx.root = Path(root, ctx.root.dentry)
    if cwd is not None:
        ctx.cwd = Path(cwd, ctx.cwd.dentry)


def is_busy(m: Mount, ns: MountNamespace) -> bool:
    """Whether a umount without MNT_DETACH must be refused."""
    return bool(m.children) or ns.in_use(m)


def change_root(ns: MountNamespace, old: Path, new: Path) -> None:
    """Whoever stood at ``old`` stands at ``new`` (Linux: chroot_fs_refs)."""
    for c in list(ns.contexts):
        if c.root.same(old):
            c.root = new
        if c.cwd.same(old):
            c.cwd = new
