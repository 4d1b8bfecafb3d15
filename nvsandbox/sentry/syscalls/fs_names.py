"""Making, removing and renaming names: mkdir(2), mknod(2), link(2), symlink(2), unlink(2), rmdir(2), rename(2)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..abi.fcntl import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
)
from ..errors import SysErr
from ..kernel.creds import CAP_DAC_READ_SEARCH
from ..vfs import dirops
from ..vfs.open import LINKABLE
from .decode import CInt, CUInt, Table, UserPtr, full
from .fs_stat import find_path

if TYPE_CHECKING:
    from ..kernel.task import Task


def sys_mkdir(t: Task, path: UserPtr, mode: CUInt) -> int:
    """mkdir(2)."""
    dirops.mkdir(t, AT_FDCWD, t.copy_in_path(path), mode)
    return 0


def sys_mkdirat(t: Task, dirfd: CInt, path: UserPtr, mode: CUInt) -> int:
    """mkdirat(2)."""
    dirops.mkdir(t, dirfd, t.copy_in_path(path), mode)
    return 0


def sys_mknod(t: Task, path: UserPtr, mode: CUInt, dev: CUInt) -> int:
    """mknod(2)."""
    return sys_mknodat(t, AT_FDCWD, path, mode, dev)


def sys_mknodat(t: Task, dirfd: CInt, path: UserPtr, mode: CUInt, dev: CUInt) -> int:
    """mknodat(2)."""
    dirops.mknod(t, dirfd, t.copy_in_path(path), mode & 0xFFFF, dirops.device_number(dev))
    return 0


def sys_symlink(t: Task, target: UserPtr, path: UserPtr) -> int:
    """symlink(2)."""
    return sys_symlinkat(t, target, AT_FDCWD, path)


def sys_symlinkat(t: Task, target: UserPtr, dirfd: CInt, path: UserPtr) -> int:
    """symlinkat(2)."""
    to = t.copy_in_path(target)
    dirops.symlink(t, to, dirfd, t.copy_in_path(path))
    return 0


def sys_link(t: Task, old: UserPtr, new: UserPtr) -> int:
    """link(2)."""
    return sys_linkat(t, AT_FDCWD, old, AT_FDCWD, new, 0)


def sys_linkat(t: Task, olddfd: CInt, old: UserPtr, newdfd: CInt, new: UserPtr, flags: CInt) -> int:
    """linkat(2); a link itself is linked unless AT_SYMLINK_FOLLOW."""
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise SysErr(errno.EINVAL)
    how = flags & AT_EMPTY_PATH
    if how and not t.creds.capable(CAP_DAC_READ_SEARCH):
        raise SysErr(errno.ENOENT)
    if not flags & AT_SYMLINK_FOLLOW:
        how |= AT_SYMLINK_NOFOLLOW
    src = find_path(t, olddfd, old, how)
    name = t.copy_in_path(new)
    if src.inode.nlink == 0 and src.inode.special is LINKABLE:
        dirops.link_tmpfile(t, src, newdfd, name)
    else:
        dirops.link(t, src, newdfd, name)
    return 0


def sys_unlink(t: Task, path: UserPtr) -> int:
    """unlink(2)."""
    dirops.unlink(t, AT_FDCWD, t.copy_in_path(path))
    return 0


def sys_rmdir(t: Task, path: UserPtr) -> int:
    """rmdir(2)."""
    dirops.rmdir(t, AT_FDCWD, t.copy_in_path(path))
    return 0


def sys_unlinkat(t: Task, dirfd: CInt, path: UserPtr, flags: CInt) -> int:
    """unlinkat(2)."""
    if flags & ~AT_REMOVEDIR:
        raise SysErr(errno.EINVAL)
    name = t.copy_in_path(path)
    if flags & AT_REMOVEDIR:
        dirops.rmdir(t, dirfd, name)
    else:
        dirops.unlink(t, dirfd, name)
    return 0


def sys_rename(t: Task, old: UserPtr, new: UserPtr) -> int:
    """rename(2)."""
    return sys_renameat2(t, AT_FDCWD, old, AT_FDCWD, new, 0)


def sys_renameat(t: Task, olddfd: CInt, old: UserPtr, newdfd: CInt, new: UserPtr) -> int:
    """renameat(2)."""
    return sys_renameat2(t, olddfd, old, newdfd, new, 0)


def sys_renameat2(
    t: Task, olddfd: CInt, old: UserPtr, newdfd: CInt, new: UserPtr, flags: CUInt
) -> int:
    """renameat2(2)."""
    src = t.copy_in_path(old)
    dirops.rename(t, olddfd, src, newdfd, t.copy_in_path(new), flags)
    return 0


TABLE: Final[Table] = {
    82: full("rename", sys_rename),
    83: full("mkdir", sys_mkdir),
    84: full("rmdir", sys_rmdir),
    86: full("link", sys_link),
    87: full("unlink", sys_unlink),
    88: full("symlink", sys_symlink),
    133: full("mknod", sys_mknod),
    258: full("mkdirat", sys_mkdirat),
    259: full("mknodat", sys_mknodat),
    263: full("unlinkat", sys_unlinkat),
    264: full("renameat", sys_renameat),
    265: full("linkat", sys_linkat),
    266: full("symlinkat", sys_symlinkat),
    316: full("renameat2", sys_renameat2),
}
