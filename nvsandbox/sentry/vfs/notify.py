"""File-system events for inotify (Linux: fs/notify/fsnotify.c).

The VFS calls these at each change; a watch (fs/inotify.py) hangs in ``Inode.watches``. Nothing here suspends and
nothing is done when nobody watches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...platform.native._native import lib
from .inode import Inode

if TYPE_CHECKING:
    from .path import Dentry

IN_ACCESS: Final = 0x1
IN_MODIFY: Final = 0x2
IN_ATTRIB: Final = 0x4
IN_CLOSE_WRITE: Final = 0x8
IN_CLOSE_NOWRITE: Final = 0x10
IN_OPEN: Final = 0x20
IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_UNMOUNT: Final = 0x2000
IN_EXCL_UNLINK: Final = 0x04000000  # of an event: its file has no name left
DN_RENAMED: Final = 0x10000000  # of an event: the other half is in the same directory
IN_ISDIR: Final = 0x40000000

# How many watches there are in all: the fast way out. fs/inotify.py keeps it through add_watch/del_watch.
_watching = 0
_cookie = 0


def add_watch(delta: int) -> None:
    """fs/inotify.py: ``delta`` watches more (or fewer, negative) exist."""
    global _watching
    _watching += delta
    lib.nv_files_stop()  # who reads what is lent tells nobody


def active() -> bool:
    return _watching > 0


def next_cookie() -> int:
    """Ties the two halves of a rename together."""
    global _cookie
    _cookie = (_cookie + 1) & 0xFFFFFFFF or 1
    return _cookie


def notify_inode(i: Inode, mask: int, cookie: int = 0, name: bytes = b"") -> None:
    """An event on ``i`` itself, or on its entry ``name``."""
    if i.watches:
        for w in list(i.watches):
            w.event(mask, cookie, name)


def notify(d: Dentry, mask: int) -> None:
    """An event on the file at ``d``: its own watches and, with the name it has or last had, those of its directory."""
    if not _watching:
        return
    i = d.inode
    if i is None:
        return
    if i.is_dir():
        mask |= IN_ISDIR
    parent = d.parent.inode
    if parent is not None and d.parent is not d and parent.watches:
        notify_inode(parent, mask | IN_EXCL_UNLINK if d.unlinked else mask, 0, d.name)
    notify_inode(i, mask)
