"""Leases and directory notification (Linux: fs/locks.c, fs/notify/dnotify; fcntl(2) F_SETLEASE, F_NOTIFY).

Both tell by a signal (F_SETSIG, else SIGIO): a lease, before somebody opens the file in a way that conflicts, who then waits
until the holder has given way or ``break_seconds`` have passed; F_NOTIFY, that an entry of the directory changed.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.creds import CAP_LEASE
from .locks import F_RDLCK, F_UNLCK, F_WRLCK, LockState, state
from .notify import (
    DN_RENAMED,
    IN_ACCESS,
    IN_ATTRIB,
    IN_CREATE,
    IN_DELETE,
    IN_MODIFY,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    add_watch,
)
from .sigio import POLL_MSG, own, tell

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .file import FileDescription
    from .inode import Inode

NS: Final = 1_000_000_000
FOREVER: Final = 1 << 62
DN_MULTISHOT: Final = 0x80000000
DN_EVENTS: Final = (
    (0x1, IN_ACCESS), (0x2, IN_MODIFY), (0x4, IN_CREATE | IN_MOVED_TO),
    (0x8, IN_DELETE | IN_MOVED_FROM), (0x10, DN_RENAMED), (0x20, IN_ATTRIB),
)  # fmt: skip

break_seconds = 45  # /proc/sys/fs/lease-break-time; 0: for ever


@final
class Lease:
    """One lease. ``pending``: what it is to become because somebody waits."""

    __slots__ = ("deadline", "fd", "file", "kind", "pending")

    def __init__(self, f: FileDescription, fd: int, kind: int) -> None:
        self.file = f
        self.fd = fd
        self.kind = kind
        self.pending = -1
        self.deadline = 0


def get_lease(f: FileDescription) -> int:
    """F_GETLEASE."""
    s = f.inode.locks
    for le in s.leases if isinstance(s, LockState) else ():
        if le.file is f:
            return int(le.kind if le.pending < 0 else le.pending)
    return F_UNLCK


def set_lease(t: Task, f: FileDescription, fd: int, kind: int) -> None:
    """F_SETLEASE. Raises EINVAL, EACCES, EAGAIN."""
    i = f.inode
    if kind not in (F_RDLCK, F_WRLCK, F_UNLCK):
        raise SysErr(errno.EINVAL)
    if t.creds.fsuid != i.uid and not t.creds.capable(CAP_LEASE):
        raise SysErr(errno.EACCES)
    if not i.is_reg():
        raise SysErr(errno.EINVAL)
    s = state(i)
    mine = next((le for le in s.leases if le.file is f), None)
    if kind == F_UNLCK:
        if mine is None:
            raise SysErr(errno.EAGAIN)
        s.leases.remove(mine)
        s.queue.wake()
        return
    if i.writers > 0 if kind == F_RDLCK else i.opens > 1:
        raise SysErr(errno.EAGAIN)
    if kind == F_RDLCK and any(le.pending == F_UNLCK for le in s.leases):
        raise SysErr(errno.EAGAIN)  # who waits to write counts already
    if any(
        le is not mine and (kind == F_WRLCK or le.kind == F_WRLCK or le.pending == F_UNLCK)
        for le in s.leases
    ):
        raise SysErr(errno.EAGAIN)
    if mine is None:
        own(t, f)
        s.leases.append(Lease(f, fd, kind))
        return
    mine.kind = kind
    if mine.pending == kind:
        mine.pending = -1
    s.queue.wake()


def break_leases(t: Task, i: Inode, write: bool, nonblock: bool) -> None:
    """Before an open or truncate(2). May suspend. Raises EAGAIN, Restart."""
    s = i.locks
    if not isinstance(s, LockState) or not s.leases:
        return
    to = F_UNLCK if write else F_RDLCK
    while True:
        now = t.k.monotonic_ns()
        for le in [le for le in s.leases if le.pending >= 0 and le.deadline <= now]:
            if le.pending == F_UNLCK:
                s.leases.remove(le)
            else:
                le.kind, le.pending = le.pending, -1
        left = [le for le in s.leases if write or le.kind == F_WRLCK]
        if not left:
            return
        for le in left:
            if le.pending < 0 or (write and le.pending != F_UNLCK):
                le.pending, le.deadline = to, now + (break_seconds * NS or FOREVER)
                tell(le.file, le.fd, POLL_MSG)
        if nonblock:
            raise SysErr(errno.EAGAIN)
        t.wait(s.queue, deadline=min(le.deadline for le in left))


@final
class DirNotify:
    """F_NOTIFY on one open directory (vfs.inode.InodeWatch)."""

    __slots__ = ("fd", "file", "inode", "mask", "once")

    def __init__(self, f: FileDescription, fd: int) -> None:
        self.file = f
        self.inode = f.inode
        self.fd = fd
        self.mask = 0
        self.once = True

    def event(self, mask: int, cookie: int, name: bytes) -> None:
        if mask & self.mask:
            tell(self.file, self.fd, POLL_MSG)
            if self.once:
                self.drop()

    def drop(self) -> None:
        watches = self.inode.watches
        if watches is not None and self in watches:
            watches.remove(self)
            add_watch(-1)
            if not watches:
                self.inode.watches = None


def _dir_notify(f: FileDescription) -> DirNotify | None:
    for w in f.inode.watches or ():
        if isinstance(w, DirNotify) and w.file is f:
            return w
    return None


def set_dir_notify(t: Task, f: FileDescription, fd: int, arg: int) -> None:
    """F_NOTIFY. Raises ENOTDIR, EINVAL."""
    i = f.inode
    old = _dir_notify(f)
    if not arg & ~DN_MULTISHOT & 0xFFFFFFFF:
        if old is not None:
            old.drop()
        return
    if not i.is_dir():
        raise SysErr(errno.ENOTDIR)
    mask = 0
    for bit, events in DN_EVENTS:
        if arg & bit:
            mask |= events
    own(t, f)
    if old is None:
        old = DirNotify(f, fd)
        if i.watches is None:
            i.watches = []
        i.watches.append(old)
        add_watch(1)
    old.mask |= mask
    old.once = not arg & DN_MULTISHOT


def closing(f: FileDescription) -> None:
    """A descriptor of ``f`` is closed: its F_NOTIFY ends."""
    w = _dir_notify(f)
    if w is not None:
        w.drop()
