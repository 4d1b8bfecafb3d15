"""Making, removing and moving names (Linux: fs/namei.c do_mkdirat … do_renameat2).

The order of the checks, and so which errno wins, is Linux's. After each change the dentry tree and inotify are
told; nothing here keeps half-changed state while the file system's own operation is suspended.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ..errors import SysErr
from ..kernel.creds import CAP_DAC_OVERRIDE, CAP_MKNOD
from .inode import (
    MAY_READ,
    MAY_WRITE,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    Inode,
    creation_mode,
)
from .namei import (
    LAST_DOT,
    LAST_DOTDOT,
    LAST_NORM,
    Last,
    lookup_last,
    start_at,
    walk_parent,
)
from .notify import (
    DN_RENAMED,
    IN_ATTRIB,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_ISDIR,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    active,
    next_cookie,
    notify_inode,
)
from .path import Dentry, Path
from .perm import PROTECTED, may_create, may_delete, owner_or_capable
from .propagation import check_covered, uncover
from .regular import forget_map

if TYPE_CHECKING:
    from ..kernel.task import Task


def prepare_create(t: Task, dirfd: int, path: bytes, is_dir: bool) -> Last:
    """Where a new name goes (Linux: filename_create). Raises EEXIST, ENOENT, EROFS, EACCES."""
    last = walk_parent(t, start_at(t, dirfd, path), path)
    if last.kind != LAST_NORM:
        raise SysErr(errno.EEXIST)
    if lookup_last(t, last).inode is not None:
        raise SysErr(errno.EEXIST)
    if last.slash and not is_dir:
        raise SysErr(errno.ENOENT)
    last.dir.mount.want_write()
    return last


def created(last: Last, i: Inode) -> Dentry:
    """Tells the dentry tree and the watchers."""
    d = last.dir.dentry.set_child(last.name, i)
    if active():
        mask = IN_CREATE | (IN_ISDIR if i.is_dir() else 0)
        notify_inode(last.dir.inode, mask, 0, last.name)
    return d


def mkdir(t: Task, dirfd: int, path: bytes, mode: int) -> None:
    last = prepare_create(t, dirfd, path, True)
    may_create(t, last.dir.dentry)
    mode = mode & 0o1777 & ~t.fs.umask
    created(last, last.dir.inode.mkdir(t, last.name, stat.S_IFDIR | mode))


def mknod(t: Task, dirfd: int, path: bytes, mode: int, rdev: int) -> None:
    kind = mode & 0o170000
    if kind == stat.S_IFDIR:
        raise SysErr(errno.EPERM)
    if kind not in (0, stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK):
        raise SysErr(errno.EINVAL)
    last = prepare_create(t, dirfd, path, False)
    mknod_at(t, last, mode, rdev)


def mknod_at(t: Task, last: Last, mode: int, rdev: int) -> Dentry:
    """The second half of mknod; bind(2) of a Unix socket uses it too."""
    kind = mode & 0o170000 or stat.S_IFREG
    may_create(t, last.dir.dentry)
    i = last.dir.inode
    mode = kind | creation_mode(t, i, mode)
    if kind == stat.S_IFREG:
        return created(last, i.create(t, last.name, mode))
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        if not t.creds.capable(CAP_MKNOD) and (kind == stat.S_IFBLK or rdev != 0):
            raise SysErr(errno.EPERM)
    else:
        rdev = 0
    return created(last, i.mknod(t, last.name, mode, rdev))


def symlink(t: Task, target: bytes, dirfd: int, path: bytes) -> None:
    if not target:
        raise SysErr(errno.ENOENT)
    last = prepare_create(t, dirfd, path, False)
    may_create(t, last.dir.dentry)
    created(last, last.dir.inode.symlink(t, last.name, target))


def link(t: Task, old: Path, dirfd: int, path: bytes) -> None:
    last = prepare_create(t, dirfd, path, False)
    i = old.inode
    if old.mount is not last.dir.mount:
        raise SysErr(errno.EXDEV)
    _protected_hardlink(t, i)
    may_create(t, last.dir.dentry)
    if i.is_dir():
        raise SysErr(errno.EPERM)
    if i.nlink == 0:
        raise SysErr(errno.ENOENT)
    last.dir.inode.link(t, last.name, i)
    notify_inode(i, IN_ATTRIB)
    created(last, i)


def link_tmpfile(t: Task, old: Path, dirfd: int, path: bytes) -> None:
    """linkat on an O_TMPFILE: the one case where nlink 0 may rise again."""
    last = prepare_create(t, dirfd, path, False)
    if old.mount is not last.dir.mount:
        raise SysErr(errno.EXDEV)
    may_create(t, last.dir.dentry)
    last.dir.inode.link(t, last.name, old.inode)
    created(last, old.inode)


def _protected_hardlink(t: Task, i: Inode) -> None:
    """Others' files only if they are plain and writable (Linux: may_linkat)."""
    if not PROTECTED.hardlinks or owner_or_capable(t, i):
        return
    if not i.is_reg() or i.mode & stat.S_ISUID or i.mode & 0o2010 == 0o2010:
        raise SysErr(errno.EPERM)
    try:
        i.permission(t, MAY_READ | MAY_WRITE)
    except SysErr:
        raise SysErr(errno.EPERM) from None


def unlink(t: Task, dirfd: int, path: bytes) -> None:
    last = walk_parent(t, start_at(t, dirfd, path), path)
    if last.kind != LAST_NORM:
        raise SysErr(errno.EISDIR)
    last.dir.mount.want_write()
    d = lookup_last(t, last)
    i = d.inode
    if i is None:
        raise SysErr(errno.ENOENT)
    if last.slash:
        raise SysErr(errno.EISDIR if i.is_dir() else errno.ENOTDIR)
    unlink_dentry(t, last.dir, d)


def unlink_dentry(t: Task, dir: Path, d: Dentry) -> None:
    i = d.node()
    may_delete(t, dir.dentry, i, False)
    check_covered(t, d)
    dir.inode.unlink(t, d.name, i)
    _removed(t, dir, d, i, 0)


def rmdir(t: Task, dirfd: int, path: bytes) -> None:
    last = walk_parent(t, start_at(t, dirfd, path), path)
    if last.kind != LAST_NORM:
        if last.kind == LAST_DOTDOT:
            raise SysErr(errno.ENOTEMPTY)
        raise SysErr(errno.EINVAL if last.kind == LAST_DOT else errno.EBUSY)
    last.dir.mount.want_write()
    d = lookup_last(t, last)
    i = d.inode
    if i is None:
        raise SysErr(errno.ENOENT)
    may_delete(t, last.dir.dentry, i, True)
    check_covered(t, d)
    last.dir.inode.rmdir(t, d.name, i)
    _removed(t, last.dir, d, i, IN_ISDIR)


def _removed(t: Task, dir: Path, d: Dentry, i: Inode, isdir: int) -> None:
    dir.dentry.drop_child(d.name)
    d.unlinked = True
    uncover(t, d)
    forget_map(i)
    if active():
        if not isdir:
            notify_inode(i, IN_ATTRIB)  # its link count
        if i.nlink == 0 or isdir:
            notify_inode(i, IN_DELETE_SELF)
        notify_inode(dir.inode, IN_DELETE | isdir, 0, d.name)


def rename(
    t: Task, olddfd: int, old: bytes, newdfd: int, new: bytes, flags: int
) -> None:  # Linux: do_renameat2
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) or (
        flags & RENAME_EXCHANGE and flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)
    ):
        raise SysErr(errno.EINVAL)
    src = walk_parent(t, start_at(t, olddfd, old), old)
    dst = walk_parent(t, start_at(t, newdfd, new), new)
    if src.dir.mount is not dst.dir.mount:
        raise SysErr(errno.EXDEV)
    if src.kind != LAST_NORM:
        raise SysErr(errno.EBUSY)
    if dst.kind != LAST_NORM:
        raise SysErr(errno.EEXIST if flags & RENAME_NOREPLACE else errno.EBUSY)
    src.dir.mount.want_write()
    if flags & RENAME_WHITEOUT:
        raise SysErr(errno.EINVAL)
    od = lookup_last(t, src)
    oi = od.inode
    if oi is None:
        raise SysErr(errno.ENOENT)
    nd = lookup_last(t, dst)
    ni = nd.inode
    _rename_checks(src, dst, od, nd, flags)
    if oi is ni:
        return
    _rename_permissions(t, src, dst, oi, ni, flags)
    check_covered(t, od)
    check_covered(t, nd)
    sd, dd = src.dir.inode, dst.dir.inode
    sd.rename(t, src.name, oi, dd, dst.name, ni, flags)
    if ni is not None and not flags & RENAME_EXCHANGE:
        uncover(t, nd)
    _renamed(src, dst, od, nd, flags)


def _rename_checks(src: Last, dst: Last, od: Dentry, nd: Dentry, flags: int) -> None:
    oi, ni = od.node(), nd.inode
    exchange = flags & RENAME_EXCHANGE
    if flags & RENAME_NOREPLACE and ni is not None:
        raise SysErr(errno.EEXIST)
    if exchange:
        if ni is None:
            raise SysErr(errno.ENOENT)
        if dst.slash and not ni.is_dir():
            raise SysErr(errno.ENOTDIR)
    if not oi.is_dir() and (src.slash or (dst.slash and not exchange)):
        raise SysErr(errno.ENOTDIR)
    if dst.dir.dentry.is_below(od):
        raise SysErr(errno.EINVAL)
    if ni is not None and src.dir.dentry.is_below(nd):
        raise SysErr(errno.EINVAL if exchange else errno.ENOTEMPTY)


def _rename_permissions(
    t: Task, src: Last, dst: Last, oi: Inode, ni: Inode | None, flags: int
) -> None:
    is_dir = oi.is_dir()
    may_delete(t, src.dir.dentry, oi, is_dir)
    if ni is None:
        may_create(t, dst.dir.dentry)
    elif flags & RENAME_EXCHANGE:
        may_delete(t, dst.dir.dentry, ni, ni.is_dir())
    else:
        may_delete(t, dst.dir.dentry, ni, is_dir)
    if src.dir.dentry is dst.dir.dentry or t.creds.capable(CAP_DAC_OVERRIDE):
        return
    if is_dir:
        oi.permission(t, MAY_WRITE)
    if flags & RENAME_EXCHANGE and ni is not None and ni.is_dir():
        ni.permission(t, MAY_WRITE)


def _renamed(src: Last, dst: Last, od: Dentry, nd: Dentry, flags: int) -> None:
    oi, ni = od.node(), nd.inode
    if flags & RENAME_EXCHANGE and ni is not None:
        src.dir.dentry.seq += 1
        od.move(dst.dir.dentry, dst.name)
        nd.unlinked = False
        nd.parent, nd.name = src.dir.dentry, src.name
        src.dir.dentry.children[src.name] = nd
    else:
        od.move(dst.dir.dentry, dst.name)
        if ni is not None:
            nd.unlinked = True
            forget_map(ni)
    if not active():
        return
    _notify_move(src.dir.inode, src.name, dst.dir.inode, dst.name, oi)
    if flags & RENAME_EXCHANGE and ni is not None:
        _notify_move(dst.dir.inode, dst.name, src.dir.inode, src.name, ni)
    elif ni is not None:
        notify_inode(ni, IN_DELETE_SELF if ni.nlink == 0 or ni.is_dir() else IN_ATTRIB)


def _notify_move(sd: Inode, sname: bytes, dd: Inode, dname: bytes, i: Inode) -> None:
    cookie = next_cookie()
    isdir = IN_ISDIR if i.is_dir() else 0
    inside = DN_RENAMED if sd is dd else 0
    notify_inode(sd, IN_MOVED_FROM | inside | isdir, cookie, sname)
    notify_inode(dd, IN_MOVED_TO | isdir, cookie, dname)
    notify_inode(i, IN_MOVE_SELF)


def device_number(dev: int) -> int:
    """mknod's ``dev`` argument (linux/kdev_t.h new_decode_dev) as os.makedev has it."""
    return os.makedev((dev & 0xFFF00) >> 8, (dev & 0xFF) | ((dev >> 12) & 0xFFF00))
