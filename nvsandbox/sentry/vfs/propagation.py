"""What is mounted and unmounted in one place is so wherever that is heard of (Linux: fs/pnode.c, fs/namespace.c; mount_namespaces(7))."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..errors import SysErr
from .mount import copy_tree, lock_tree
from .path import Path
from .peers import PeerGroup, lives, make_private, make_shared, make_slave, subtree

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .mount import MountNamespace
    from .path import Dentry, Mount


def graft(ns: MountNamespace, m: Mount, at: Path) -> None:
    """``m`` with all below it is mounted on ``at``, in ``ns`` and wherever else it is heard of (Linux: attach_recursive_mnt)."""
    at = ns.top(at)
    g = at.mount.group
    if g is not None:
        for x in subtree(m):
            make_shared(x)
    ns.attach(m, at)
    if g is not None:
        _spread(g, at, m, at.mount, m)


def _spread(g: PeerGroup, at: Path, like: Mount, done: Mount | None, first: Mount) -> None:
    """Copies of ``like`` on every receiver of ``g`` but ``done``. ``first``: what was mounted by the program; nothing is mounted on
    itself, although it may be of the same group."""
    fresh = set(subtree(first))
    for p in list(g.peers):
        if p is not done and p not in fresh and _hears(p, at):
            _place(p, at.dentry, copy_tree(like), first)
    for s in list(g.slaves):
        if _hears(s, at):
            new = copy_tree(like)
            for x in subtree(new):
                make_slave(x)
            _place(s, at.dentry, new, first)
    for h in list(g.groups):
        there = [p for p in h.peers if _hears(p, at)]
        if not there:
            continue
        new = copy_tree(like)
        for x in subtree(new):
            make_slave(x)
            make_shared(x)
        _place(there[0], at.dentry, new, first)
        _spread(h, at, new, there[0], first)


def _hears(p: Mount, at: Path) -> bool:
    return lives(p) and at.dentry.is_below(p.root)


def _place(p: Mount, at: Dentry, m: Mount, first: Mount) -> None:
    """On ``p``, below what is mounted there already."""
    ns = p.ns
    assert ns is not None
    over = p.children.get(at)
    if over is not None:
        ns.unhook(over)
    ns.hook(m, p, at)
    if over is not None:
        ns.hook(over, m, m.root)
    if first.ns is not None and ns.owner is not first.ns.owner:
        lock_tree(m)
    ns.changed()


def _heard_of(m: Mount) -> list[Mount]:
    """What goes with ``m`` when it is unmounted: the mounts in its place on all that hear of it."""
    parent, at = m.parent, m.mountpoint
    if parent is None or at is None or parent.group is None:
        return []
    found = []
    for p in parent.group.receivers():
        c = p.children.get(at) if p is not parent else None
        if c is not None and c is not m and not c.children:
            found.append(c)
    return found


def copies_busy(m: Mount) -> bool:
    """Whether a copy that would go too is in use."""
    return any(c.ns is not None and c.ns.in_use(c) for c in _heard_of(m))


def unmount(ns: MountNamespace, m: Mount) -> None:
    """``m`` with all below it is gone, wherever that is heard of (Linux: umount_tree, propagate_umount)."""
    tree = list(subtree(m))
    for x in reversed(tree):
        for c in _heard_of(x):
            if c.ns is not None:
                c.ns.detach(c)
                make_private(c)
    ns.detach(m)
    for x in tree:
        make_private(x)
        # Who still stands in one of them sees nothing on top of it any more.
        if x.parent is not None and not x.locked:
            ns.unhook(x)


# Removing what is a mount point: in one's own namespace one may not, in others the mount goes.
def check_covered(t: Task, d: Dentry) -> None:
    """Raises EBUSY for a mount point of the caller's namespace (Linux: is_local_mountpoint)."""
    if d.mounts and any(m.mountpoint is d for m in t.fs.ns.mounts()):
        raise SysErr(errno.EBUSY)


def uncover(t: Task, d: Dentry) -> None:
    """``d`` is no more (Linux: detach_mounts)."""
    if not d.mounts:
        return
    for ns in {u.fs.ns for u in t.k.every_task()}:
        for m in [m for m in ns.mounts() if m.mountpoint is d]:
            if m.ns is ns:
                ns.detach(m)
                for x in subtree(m):
                    make_private(x)
