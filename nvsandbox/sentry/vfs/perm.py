"""Permission rules beyond the mode bits (Linux: fs/namei.c may_delete, may_open; fs/attr.c setattr_prepare)."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.creds import CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID
from .inode import (
    ATTR_ATIME,
    ATTR_CTIME,
    ATTR_GID,
    ATTR_MODE,
    ATTR_MTIME,
    ATTR_SIZE,
    ATTR_UID,
    MAY_EXEC,
    MAY_READ,
    MAY_WRITE,
    Attrs,
    Inode,
)
from .path import MS_NOEXEC, Path

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .path import Dentry

MAY_WX: Final = MAY_WRITE | MAY_EXEC


@final
class Protection:
    """/proc/sys/fs/protected_*: what is refused in directories where everybody may write (proc_sys_fs(5)). The values are Debian's."""

    __slots__ = ("fifos", "hardlinks", "regular", "symlinks")

    def __init__(self) -> None:
        self.symlinks = self.hardlinks = self.fifos = 1
        self.regular = 2


PROTECTED: Final[Protection] = Protection()
STICKY_AND_OPEN: Final = 0o1002

OMIT: Final = -(1 << 100)  # a time that stays


def owner_or_capable(t: Task, i: Inode) -> bool:
    c = t.creds
    return c.fsuid == i.uid or (c.has(CAP_FOWNER) and c.userns.has_uid(i.uid))


def may_create(t: Task, dir: Dentry) -> None:
    """Raises ENOENT in a removed directory, EACCES, EOVERFLOW for an owner that the file system can't have."""
    if dir.unlinked:
        raise SysErr(errno.ENOENT)
    i = dir.node()
    c, users = t.creds, i.fs.owner
    if users.owner is not None and not (users.has_uid(c.fsuid) and users.has_gid(c.fsgid)):
        raise SysErr(errno.EOVERFLOW)
    i.permission(t, MAY_WX)


def may_delete(t: Task, dir: Dentry, victim: Inode, want_dir: bool) -> None:
    """Raises EACCES, EPERM (sticky), ENOTDIR, EISDIR."""
    di = dir.node()
    di.permission(t, MAY_WX)
    if di.mode & stat.S_ISVTX:
        c = t.creds
        mine = c.fsuid in (victim.uid, di.uid)
        if not mine and not c.capable_over(victim.uid, victim.gid, CAP_FOWNER):
            raise SysErr(errno.EPERM)
    if want_dir != victim.is_dir():
        raise SysErr(errno.ENOTDIR if want_dir else errno.EISDIR)
    if dir.unlinked:
        raise SysErr(errno.ENOENT)


def access_mask(flags: int) -> int:
    """What open(2)'s flags need of the file."""
    mask = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE)[flags & 3]
    return mask | MAY_WRITE if flags & os.O_TRUNC else mask


def may_open(t: Task, p: Path, flags: int, mask: int) -> None:
    """The checks on the file itself (Linux: may_open)."""
    i = p.inode
    kind = i.mode & 0o170000
    if kind == stat.S_IFLNK:
        raise SysErr(errno.ELOOP)
    if kind == stat.S_IFDIR:
        if mask & MAY_WRITE:
            raise SysErr(errno.EISDIR)
        if mask & MAY_EXEC:
            raise SysErr(errno.EACCES)
    elif (kind in (stat.S_IFCHR, stat.S_IFBLK) and p.mount.nodev) or (
        mask & MAY_EXEC and (kind != stat.S_IFREG or p.mount.flags & MS_NOEXEC)
    ):
        raise SysErr(errno.EACCES)
    if mask:
        i.permission(t, mask)
    if flags & os.O_NOATIME and not owner_or_capable(t, i):
        raise SysErr(errno.EPERM)


def may_follow_link(t: Task, dir: Inode, link: Inode) -> None:
    """A link at the end of a path, in ``dir``: in /tmp and its like only one's own, or the directory's owner's. Raises EACCES."""
    if (
        dir.mode & STICKY_AND_OPEN == STICKY_AND_OPEN
        and link.uid not in (t.creds.fsuid, dir.uid)
        and PROTECTED.symlinks
    ):
        raise SysErr(errno.EACCES)


def may_create_in_sticky(t: Task, dir: Inode, i: Inode) -> None:
    """O_CREAT met ``i`` in ``dir``, which somebody else may have put there in wait. Raises EACCES."""
    mode, kind = dir.mode, i.mode & 0o170000
    level = {stat.S_IFREG: PROTECTED.regular, stat.S_IFIFO: PROTECTED.fifos}.get(kind, 1)
    if not mode & stat.S_ISVTX or not level or i.uid in (dir.uid, t.creds.fsuid):
        return
    if mode & 0o002 or (mode & 0o020 and level >= 2):
        raise SysErr(errno.EACCES)


def path_permission(t: Task, p: Path, mask: int) -> None:
    """access(2)'s question, mount flags included."""
    i = p.inode
    kind = i.mode & 0o170000
    if mask & MAY_EXEC and kind == stat.S_IFREG and p.mount.flags & MS_NOEXEC:
        raise SysErr(errno.EACCES)
    i.permission(t, mask)
    if mask & MAY_WRITE and p.mount.readonly and kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise SysErr(errno.EROFS)


def kill_suid(i: Inode) -> int:
    """The mode without the set-id bits that a write or chown takes away."""
    mode = i.mode
    if mode & 0o170000 != stat.S_IFREG:
        return mode
    mode &= ~stat.S_ISUID
    if mode & stat.S_IXGRP:
        mode &= ~stat.S_ISGID
    return mode


def strip_on_write(t: Task, i: Inode) -> None:
    """A write by someone without CAP_FSETID takes the set-id bits away (Linux: file_remove_privs)."""
    if i.mode & 0o6000 and not t.creds.capable_over(i.uid, i.gid, CAP_FSETID):
        mode = kill_suid(i)
        if mode != i.mode:
            a = Attrs(ATTR_MODE)
            a.mode = mode & 0o7777
            i.setattr(t, a)


def chmod(t: Task, p: Path, mode: int) -> None:
    """chmod(2) on an inode. Raises EROFS, EPERM."""
    p.mount.want_write()
    i = p.inode
    if not owner_or_capable(t, i):
        raise SysErr(errno.EPERM)
    mode &= 0o7777
    if not t.creds.in_group(i.gid) and not t.creds.capable_over(i.uid, i.gid, CAP_FSETID):
        mode &= ~stat.S_ISGID
    a = Attrs(ATTR_MODE | ATTR_CTIME)
    a.mode = mode
    a.ctime = t.k.realtime_ns()
    i.setattr(t, a)


def chown(t: Task, p: Path, uid: int, gid: int) -> None:
    """chown(2); 0xffffffff leaves an id as it is. Raises EROFS, EPERM."""
    p.mount.want_write()
    i = p.inode
    c = t.creds
    privileged = c.capable_over(i.uid, i.gid, CAP_CHOWN)
    a = Attrs(ATTR_CTIME)
    a.ctime = t.k.realtime_ns()
    if uid != 0xFFFFFFFF:
        if not privileged and (c.fsuid != i.uid or uid != i.uid):
            raise SysErr(errno.EPERM)
        a.valid |= ATTR_UID
        a.uid = uid
    if gid != 0xFFFFFFFF:
        if not privileged and (c.fsuid != i.uid or (gid != i.gid and not c.in_group(gid))):
            raise SysErr(errno.EPERM)
        a.valid |= ATTR_GID
        a.gid = gid
    if i.mode & 0o6000 and not i.is_dir():
        mode = kill_suid(i)
        if mode != i.mode:
            a.valid |= ATTR_MODE
            a.mode = mode & 0o7777
    i.setattr(t, a)


def set_times(t: Task, p: Path, atime: int, mtime: int, now_only: bool) -> None:
    """utimensat(2): nanoseconds, OMIT for UTIME_OMIT; ``now_only``: both are "now", which writers may set."""
    p.mount.want_write()
    i = p.inode
    if not owner_or_capable(t, i):
        if not now_only:
            raise SysErr(errno.EPERM)
        if not t.creds.capable_over(i.uid, i.gid, CAP_DAC_OVERRIDE):
            i.permission(t, MAY_WRITE)
    a = Attrs(ATTR_CTIME)
    a.ctime = t.k.realtime_ns()
    if atime != OMIT:
        a.valid |= ATTR_ATIME
        a.atime = atime
    if mtime != OMIT:
        a.valid |= ATTR_MTIME
        a.mtime = mtime
    i.setattr(t, a)


def truncate(t: Task, i: Inode, size: int) -> None:
    """Sets the size, with the changes that go with it."""
    a = Attrs(ATTR_SIZE | ATTR_MTIME | ATTR_CTIME)
    a.size = size
    a.mtime = a.ctime = t.k.realtime_ns()
    if i.mode & 0o6000 and not t.creds.capable_over(i.uid, i.gid, CAP_FSETID):
        mode = kill_suid(i)
        if mode != i.mode:
            a.valid |= ATTR_MODE
            a.mode = mode & 0o7777
    i.setattr(t, a)
