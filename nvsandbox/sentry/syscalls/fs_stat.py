"""Asking about files: stat(2), statx(2), access(2), readlink(2), statfs(2)."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from ..abi.fcntl import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_STATX_SYNC_TYPE,
    AT_SYMLINK_NOFOLLOW,
)
from ..abi.stat import STATX_RESERVED, pack_statfs, pack_statx
from ..errors import SysErr
from ..vfs.device_rules import check_device
from ..vfs.inode import Inode
from ..vfs.namei import start_at, touch_atime, walk, walk_at
from ..vfs.path import (
    ANON_MOUNT_ID,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_STRICTATIME,
    Mount,
    Path,
)
from ..vfs.perm import path_permission
from .decode import CInt, CUInt, Table, UserPtr, full

if TYPE_CHECKING:
    from ..kernel.creds import Credentials
    from ..kernel.task import Task

_ST_FLAGS: Final = (
    (MS_NOSUID, 2), (MS_NODEV, 4), (MS_NOEXEC, 8), (MS_NOATIME, 1024), (MS_NODIRATIME, 2048), (MS_NOSYMFOLLOW, 8192),
)  # fmt: skip
ST_RELATIME: Final = 4096


def sys_stat(t: Task, path: UserPtr, buf: UserPtr) -> int:
    """stat(2)."""
    p = t.copy_in_path(path)
    i = walk(t, t.fs.cwd, p).inode
    t.stat_out(buf, i.getattr(t))
    return 0


def sys_lstat(t: Task, path: UserPtr, buf: UserPtr) -> int:
    """lstat(2)."""
    p = t.copy_in_path(path)
    i = walk(t, t.fs.cwd, p, False).inode
    t.stat_out(buf, i.getattr(t))
    return 0


def sys_fstat(t: Task, fd: CUInt, buf: UserPtr) -> int:
    """fstat(2)."""
    i = t.files.get_any(fd).inode
    t.stat_out(buf, i.getattr(t))
    return 0


def find(
    t: Task, dirfd: int, addr: UserPtr, flags: int, null_ok: bool = False
) -> tuple[Inode, Path | None]:
    """The object that (dirfd, path, AT_* flags) names. An open file without a path has no Path."""
    path = b"" if null_ok and addr == 0 and flags & AT_EMPTY_PATH else t.copy_in_path(addr)
    if not path and flags & AT_EMPTY_PATH:
        if dirfd == AT_FDCWD:
            return t.fs.cwd.inode, t.fs.cwd
        f = t.files.get_any(dirfd)
        return f.inode, f.path
    p = walk(t, start_at(t, dirfd, path), path, not flags & AT_SYMLINK_NOFOLLOW)
    return p.inode, p


def find_path(t: Task, dirfd: int, addr: UserPtr, flags: int) -> Path:
    """As ``find`` where a Path is needed. Raises EBADF for pipes and the like."""
    _, p = find(t, dirfd, addr, flags)
    if p is None:
        raise SysErr(errno.EBADF)
    return p


def sys_newfstatat(t: Task, dirfd: CInt, path: UserPtr, buf: UserPtr, flags: CInt) -> int:
    """fstatat(2)."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        raise SysErr(errno.EINVAL)
    i, _ = find(t, dirfd, path, flags, True)
    t.stat_out(buf, i.getattr(t))
    return 0


def sys_statx(t: Task, dirfd: CInt, path: UserPtr, flags: CUInt, mask: CUInt, buf: UserPtr) -> int:
    """statx(2)."""
    if mask & STATX_RESERVED or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE:
        raise SysErr(errno.EINVAL)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        raise SysErr(errno.EINVAL)
    i, p = find(t, dirfd, path, flags, True)
    at_root = p is not None and p.dentry is p.mount.root
    mount = p.mount.id if p is not None else ANON_MOUNT_ID
    t.copy_out(buf, pack_statx(i.getattr(t), t.creds.userns, mount, at_root))
    return 0


def _real_creds(c: Credentials) -> Credentials:
    """access(2) asks for the real ids (Linux: access_override_creds)."""
    caps = c.cap_effective
    if not c.securebits & 4:  # SECBIT_NO_SETUID_FIXUP
        caps = c.cap_permitted if c.uid == c.userns.uid_in(0) else 0
    if c.fsuid == c.uid and c.fsgid == c.gid and caps == c.cap_effective:
        return c
    return c.replace(fsuid=c.uid, fsgid=c.gid, cap_effective=caps)


def do_access(t: Task, dirfd: int, addr: UserPtr, mode: int, flags: int) -> int:
    if mode & ~7 or flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise SysErr(errno.EINVAL)
    old = t.creds
    if not flags & AT_EACCESS:
        t.creds = _real_creds(old)
    try:
        i, p = find(t, dirfd, addr, flags)
        if mode and p is not None:
            path_permission(t, p, mode)
        elif mode:
            i.permission(t, mode)
        if mode & 6 and i.mode & 0o170000 in (stat.S_IFCHR, stat.S_IFBLK):
            check_device(t, i, ("", "w", "r", "rw")[mode >> 1 & 3])
    finally:
        t.creds = old
    return 0


def sys_access(t: Task, path: UserPtr, mode: CInt) -> int:
    """access(2)."""
    return do_access(t, AT_FDCWD, path, mode, 0)


def sys_faccessat(t: Task, dirfd: CInt, path: UserPtr, mode: CInt) -> int:
    """faccessat(2), the system call without flags."""
    return do_access(t, dirfd, path, mode, 0)


def sys_faccessat2(t: Task, dirfd: CInt, path: UserPtr, mode: CInt, flags: CInt) -> int:
    """faccessat2(2)."""
    return do_access(t, dirfd, path, mode, flags)


def sys_readlink(t: Task, path: UserPtr, buf: UserPtr, size: CInt) -> int:
    """readlink(2)."""
    return sys_readlinkat(t, AT_FDCWD, path, buf, size)


def sys_readlinkat(t: Task, dirfd: CInt, path: UserPtr, buf: UserPtr, size: CInt) -> int:
    """readlinkat(2): no NUL, cut at ``size``."""
    if size <= 0:  # Linux checks the size before it reads the path.
        raise SysErr(errno.EINVAL)
    name = t.copy_in_path(path)
    if not name:
        if dirfd == AT_FDCWD:
            raise SysErr(errno.ENOENT)
        at = t.files.get_any(dirfd).path
        if at is None or not at.inode.is_lnk():
            raise SysErr(errno.ENOENT)
        p = at
    else:
        p = walk_at(t, dirfd, name, False)
    if not p.inode.is_lnk():
        raise SysErr(errno.EINVAL)
    target = p.inode.readlink(t)[:size]
    touch_atime(t, p)
    t.copy_out(buf, target)
    return len(target)


def _statfs(t: Task, i: Inode, m: Mount | None, buf: UserPtr) -> int:
    flags = 0
    if m is not None:
        for ms, st in _ST_FLAGS:
            if m.flags & ms:
                flags |= st
        if m.readonly:
            flags |= MS_RDONLY
        if not m.flags & (MS_NOATIME | MS_STRICTATIME):
            flags |= ST_RELATIME
    t.copy_out(buf, pack_statfs(i.fs.statfs(t), i.fs.dev, flags))
    return 0


def sys_statfs(t: Task, path: UserPtr, buf: UserPtr) -> int:
    """statfs(2)."""
    p = walk_at(t, AT_FDCWD, t.copy_in_path(path))
    return _statfs(t, p.inode, p.mount, buf)


def sys_fstatfs(t: Task, fd: CUInt, buf: UserPtr) -> int:
    """fstatfs(2)."""
    f = t.files.get_any(fd)
    return _statfs(t, f.inode, f.path.mount if f.path else None, buf)


TABLE: Final[Table] = {
    4: full("stat", sys_stat),
    5: full("fstat", sys_fstat),
    6: full("lstat", sys_lstat),
    21: full("access", sys_access),
    89: full("readlink", sys_readlink),
    137: full("statfs", sys_statfs),
    138: full("fstatfs", sys_fstatfs),
    262: full("newfstatat", sys_newfstatat),
    267: full("readlinkat", sys_readlinkat),
    269: full("faccessat", sys_faccessat),
    332: full("statx", sys_statx),
    439: full("faccessat2", sys_faccessat2),
}
