"""Changing attributes: chmod(2), chown(2), utimensat(2), truncate(2), and their kin."""

from __future__ import annotations

import errno
import signal
import struct
from typing import TYPE_CHECKING, Final

from ..abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from ..abi.resource import RLIMIT_FSIZE
from ..errors import SysErr
from ..kernel.userns import INVALID
from ..vfs import perm
from ..vfs.inode import MAY_WRITE, Inode
from ..vfs.leases import break_leases
from ..vfs.namei import walk_at
from ..vfs.notify import IN_ATTRIB, IN_MODIFY, notify
from ..vfs.path import Dentry, Mount, Path
from ..vfs.regular import get_write
from .decode import CInt, CLong, CUInt, Table, UserPtr, full
from .fs_stat import find

if TYPE_CHECKING:
    from ..kernel.task import Task

UTIME_NOW: Final = (1 << 30) - 1
UTIME_OMIT: Final = (1 << 30) - 2
NS: Final = 1_000_000_000


def _place(i: Inode, p: Path | None) -> Path:
    """Where a file without a path (pipe, socket) is: nowhere, writable."""
    if p is not None:
        return p
    d = Dentry(b"", None, i)
    return Path(Mount(i.fs, d), d)


def _at(t: Task, dirfd: int, addr: UserPtr, flags: int) -> Path:
    i, p = find(t, dirfd, addr, flags)
    return _place(i, p)


def _of_fd(t: Task, fd: int) -> Path:
    f = t.files.get(fd)
    return _place(f.inode, f.path)


def _chmod(t: Task, p: Path, mode: int) -> int:
    if p.inode.is_lnk():
        p.mount.want_write()
        raise SysErr(errno.EOPNOTSUPP)
    perm.chmod(t, p, mode)
    notify(p.dentry, IN_ATTRIB)
    return 0


def sys_chmod(t: Task, path: UserPtr, mode: CUInt) -> int:
    """chmod(2)."""
    return _chmod(t, _at(t, AT_FDCWD, path, 0), mode)


def sys_fchmod(t: Task, fd: CUInt, mode: CUInt) -> int:
    """fchmod(2)."""
    return _chmod(t, _of_fd(t, fd), mode)


def sys_fchmodat(t: Task, dirfd: CInt, path: UserPtr, mode: CUInt) -> int:
    """fchmodat(2), the system call without flags."""
    return _chmod(t, _at(t, dirfd, path, 0), mode)


def sys_fchmodat2(t: Task, dirfd: CInt, path: UserPtr, mode: CUInt, flags: CUInt) -> int:
    """fchmodat2(2)."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise SysErr(errno.EINVAL)
    return _chmod(t, _at(t, dirfd, path, flags), mode)


def _chown(t: Task, p: Path, uid: int, gid: int) -> int:
    users = t.creds.userns
    for given, own in ((uid, users.uid_in(uid)), (gid, users.gid_in(gid))):
        if given != INVALID == own:
            raise SysErr(errno.EINVAL)
    perm.chown(t, p, users.uid_in(uid), users.gid_in(gid))
    notify(p.dentry, IN_ATTRIB)
    return 0


def sys_chown(t: Task, path: UserPtr, uid: CUInt, gid: CUInt) -> int:
    """chown(2)."""
    return _chown(t, _at(t, AT_FDCWD, path, 0), uid, gid)


def sys_lchown(t: Task, path: UserPtr, uid: CUInt, gid: CUInt) -> int:
    """lchown(2)."""
    return _chown(t, _at(t, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW), uid, gid)


def sys_fchown(t: Task, fd: CUInt, uid: CUInt, gid: CUInt) -> int:
    """fchown(2)."""
    return _chown(t, _of_fd(t, fd), uid, gid)


def sys_fchownat(t: Task, dirfd: CInt, path: UserPtr, uid: CUInt, gid: CUInt, flags: CInt) -> int:
    """fchownat(2)."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise SysErr(errno.EINVAL)
    return _chown(t, _at(t, dirfd, path, flags), uid, gid)


def _set_times(t: Task, p: Path, atime: int, mtime: int, now: bool) -> int:
    perm.set_times(t, p, atime, mtime, now)
    notify(p.dentry, IN_ATTRIB)
    return 0


def sys_utimensat(t: Task, dirfd: CInt, path: UserPtr, times: UserPtr, flags: CInt) -> int:
    """utimensat(2); without a path it is futimens(3)."""
    now = t.k.realtime_ns()
    atime = mtime = now
    both_now = True
    if times:
        asec, ansec, msec, mnsec = struct.unpack("<qqqq", t.copy_in(times, 32))
        if ansec == UTIME_OMIT and mnsec == UTIME_OMIT:
            return 0  # Linux does not even look at the path
        for ns in (ansec, mnsec):
            if ns not in (UTIME_NOW, UTIME_OMIT) and not 0 <= ns < NS:
                raise SysErr(errno.EINVAL)
        atime = _time(asec, ansec, now)
        mtime = _time(msec, mnsec, now)
        both_now = ansec == UTIME_NOW and mnsec == UTIME_NOW
    if path == 0 and dirfd != AT_FDCWD:
        if flags:
            raise SysErr(errno.EINVAL)
        return _set_times(t, _of_fd(t, dirfd), atime, mtime, both_now)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise SysErr(errno.EINVAL)
    return _set_times(t, _at(t, dirfd, path, flags), atime, mtime, both_now)


def _time(sec: int, nsec: int, now: int) -> int:
    if nsec == UTIME_NOW:
        return now
    if nsec == UTIME_OMIT:
        return perm.OMIT
    return sec * NS + nsec


def _utimes(t: Task, dirfd: int, path: UserPtr, times: UserPtr) -> int:
    now = t.k.realtime_ns()
    atime = mtime = now
    if times:
        asec, ausec, msec, musec = struct.unpack("<qqqq", t.copy_in(times, 32))
        if not (0 <= ausec < 1_000_000 and 0 <= musec < 1_000_000):
            raise SysErr(errno.EINVAL)
        atime, mtime = asec * NS + ausec * 1000, msec * NS + musec * 1000
    p = _of_fd(t, dirfd) if path == 0 and dirfd != AT_FDCWD else _at(t, dirfd, path, 0)
    return _set_times(t, p, atime, mtime, not times)


def sys_futimesat(t: Task, dirfd: CInt, path: UserPtr, times: UserPtr) -> int:
    """futimesat(2)."""
    return _utimes(t, dirfd, path, times)


def sys_utimes(t: Task, path: UserPtr, times: UserPtr) -> int:
    """utimes(2)."""
    return _utimes(t, AT_FDCWD, path, times)


def sys_utime(t: Task, path: UserPtr, times: UserPtr) -> int:
    """utime(2)."""
    atime = mtime = t.k.realtime_ns()
    if times:
        a, m = struct.unpack("<qq", t.copy_in(times, 16))
        atime, mtime = a * NS, m * NS
    return _set_times(t, _at(t, AT_FDCWD, path, 0), atime, mtime, not times)


def _check_limit(t: Task, i: Inode, size: int) -> None:
    if size > i.end(t) and size > t.tg.rlimit(RLIMIT_FSIZE):
        t.send_signal_self(signal.SIGXFSZ)
        raise SysErr(errno.EFBIG)


def sys_truncate(t: Task, path: UserPtr, size: CLong) -> int:
    """truncate(2)."""
    if size < 0:
        raise SysErr(errno.EINVAL)
    p = walk_at(t, AT_FDCWD, t.copy_in_path(path))
    i = p.inode
    if i.is_dir():
        raise SysErr(errno.EISDIR)
    if not i.is_reg():
        raise SysErr(errno.EINVAL)
    p.mount.want_write()
    i.permission(t, MAY_WRITE)
    _check_limit(t, i, size)
    break_leases(t, i, True, False)
    get_write(t, i)
    try:
        perm.truncate(t, i, size)
    finally:
        i.put_write()
    notify(p.dentry, IN_MODIFY)
    return 0


def sys_ftruncate(t: Task, fd: CUInt, size: CLong) -> int:
    """ftruncate(2)."""
    if size < 0:
        raise SysErr(errno.EINVAL)
    f = t.files.get(fd)
    if not f.inode.is_reg() or not f.writable():
        raise SysErr(errno.EINVAL)
    _check_limit(t, f.inode, size)
    f.truncate(t, size)
    return 0


TABLE: Final[Table] = {
    76: full("truncate", sys_truncate),
    77: full("ftruncate", sys_ftruncate),
    90: full("chmod", sys_chmod),
    91: full("fchmod", sys_fchmod),
    92: full("chown", sys_chown),
    93: full("fchown", sys_fchown),
    94: full("lchown", sys_lchown),
    132: full("utime", sys_utime),
    235: full("utimes", sys_utimes),
    260: full("fchownat", sys_fchownat),
    261: full("futimesat", sys_futimesat),
    268: full("fchmodat", sys_fchmodat),
    280: full("utimensat", sys_utimensat),
    452: full("fchmodat2", sys_fchmodat2),
}
