"""inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..fs.inotify import (
    IN_ALL_EVENTS,
    IN_MASK_ADD,
    IN_MASK_CREATE,
    IN_ONESHOT,
    Inotify,
)
from ..vfs.inode import MAY_READ
from ..vfs.namei import AT_FDCWD, walk_at
from ..vfs.notify import IN_EXCL_UNLINK
from .decode import CInt, CUInt, Table, UserPtr, full

if TYPE_CHECKING:
    from ..kernel.task import Task

RLIMIT_NOFILE: Final = 7
IN_ONLYDIR: Final = 0x01000000
IN_DONT_FOLLOW: Final = 0x02000000
VALID: Final = (
    IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_MASK_ADD | IN_MASK_CREATE | IN_ONESHOT | IN_ONLYDIR
    | IN_DONT_FOLLOW | 0x2000 | 0x4000 | 0x8000 | 0x40000000
)  # fmt: skip


def sys_inotify_init1(t: Task, flags: CInt) -> int:
    if flags & ~(os.O_CLOEXEC | os.O_NONBLOCK):
        raise SysErr(errno.EINVAL)
    f = Inotify(flags & os.O_NONBLOCK).incref()
    try:
        return t.files.install(f, t.tg.rlimit(RLIMIT_NOFILE), bool(flags & os.O_CLOEXEC))
    finally:
        f.decref()


def sys_inotify_init(t: Task) -> int:
    return sys_inotify_init1(t, 0)


def sys_inotify_add_watch(t: Task, fd: CInt, path: UserPtr, mask: CUInt) -> int:
    if not mask & VALID or (mask & IN_MASK_ADD and mask & IN_MASK_CREATE):
        raise SysErr(errno.EINVAL)
    f = t.files.get(fd)
    if not isinstance(f, Inotify):
        raise SysErr(errno.EINVAL)
    p = walk_at(t, AT_FDCWD, t.copy_in_path(path), not mask & IN_DONT_FOLLOW)
    if mask & IN_ONLYDIR and not p.inode.is_dir():
        raise SysErr(errno.ENOTDIR)
    p.inode.permission(t, MAY_READ)
    return f.add(p.inode, mask)


def sys_inotify_rm_watch(t: Task, fd: CInt, wd: CInt) -> int:
    f = t.files.get(fd)
    if not isinstance(f, Inotify):
        raise SysErr(errno.EINVAL)
    f.remove(wd)
    return 0


TABLE: Final[Table] = {
    253: full("inotify_init", sys_inotify_init),
    254: full("inotify_add_watch", sys_inotify_add_watch),
    255: full("inotify_rm_watch", sys_inotify_rm_watch),
    294: full("inotify_init1", sys_inotify_init1),
}
