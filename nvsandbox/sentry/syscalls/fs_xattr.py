"""Extended attributes (Linux: fs/xattr.c; xattr(7)).

``user.`` on files and directories, ``trusted.`` with CAP_SYS_ADMIN, ``security.``; ``system.`` (ACLs) is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from ..abi.fcntl import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from ..errors import SysErr
from ..kernel.creds import CAP_SETFCAP, CAP_SYS_ADMIN
from ..vfs.inode import MAY_READ, MAY_WRITE, Inode
from ..vfs.notify import IN_ATTRIB, notify_inode
from ..vfs.path import Path
from ..vfs.perm import owner_or_capable
from .decode import CInt, CULong, Table, UserPtr, full
from .fs_stat import find

if TYPE_CHECKING:
    from ..kernel.task import Task

XATTR_NAME_MAX: Final = 255
XATTR_SIZE_MAX: Final = 65536


def _name(t: Task, addr: UserPtr) -> bytes:
    try:
        name = t.copy_in_str(addr, XATTR_NAME_MAX + 1)
    except SysErr as e:
        raise SysErr(errno.ERANGE if e.errno == errno.ENAMETOOLONG else e.errno) from None
    if not name:
        raise SysErr(errno.ERANGE)
    return name


def _check(t: Task, i: Inode, name: bytes, write: bool) -> None:
    """Linux: xattr_permission, and which namespaces there are."""
    if name.startswith(b"user.") and len(name) > 5:
        if i.mode & 0o170000 not in (stat.S_IFREG, stat.S_IFDIR):
            raise SysErr(errno.EPERM if write else errno.ENODATA)
        if write and i.is_dir() and i.mode & stat.S_ISVTX and not owner_or_capable(t, i):
            raise SysErr(errno.EPERM)
        i.permission(t, MAY_WRITE if write else MAY_READ)
    elif name.startswith(b"trusted.") and len(name) > 8:
        if not t.creds.capable(CAP_SYS_ADMIN):
            raise SysErr(errno.EPERM if write else errno.ENODATA)
    elif name.startswith(b"security.") and len(name) > 9:
        if write:
            c = t.creds
            if name == b"security.capability":
                allowed = c.capable_over(i.uid, i.gid, CAP_SETFCAP)
            else:
                allowed = c.ns_capable(i.fs.owner, CAP_SYS_ADMIN)
            if not allowed:
                raise SysErr(errno.EPERM)
    elif name in (b"user.", b"trusted.", b"security."):
        raise SysErr(errno.EINVAL)
    else:
        raise SysErr(errno.EOPNOTSUPP)


def _at(t: Task, path: UserPtr, follow: bool) -> tuple[Inode, Path | None]:
    return find(t, AT_FDCWD, path, 0 if follow else AT_SYMLINK_NOFOLLOW)


def _fd(t: Task, fd: int) -> tuple[Inode, Path | None]:
    f = t.files.get(fd)
    return f.inode, f.path


Place = tuple[Inode, "Path | None"]


def _set(t: Task, place: Place, name: bytes, value: bytes, flags: int) -> int:
    i, p = place
    if p is not None:
        p.mount.want_write()
    _check(t, i, name, True)
    i.setxattr(t, name, value, flags)
    notify_inode(i, IN_ATTRIB)
    return 0


def _value(t: Task, name: UserPtr, addr: UserPtr, size: int, flags: int) -> tuple[bytes, bytes]:
    if flags & ~(os.XATTR_CREATE | os.XATTR_REPLACE):
        raise SysErr(errno.EINVAL)
    key = _name(t, name)
    if size > XATTR_SIZE_MAX:
        raise SysErr(errno.E2BIG)
    return key, t.copy_in(addr, size) if size else b""


def sys_setxattr(
    t: Task, path: UserPtr, name: UserPtr, value: UserPtr, size: CULong, flags: CInt
) -> int:
    """setxattr(2)."""
    key, data = _value(t, name, value, size, flags)
    return _set(t, _at(t, path, True), key, data, flags)


def sys_lsetxattr(
    t: Task, path: UserPtr, name: UserPtr, value: UserPtr, size: CULong, flags: CInt
) -> int:
    """lsetxattr(2)."""
    key, data = _value(t, name, value, size, flags)
    return _set(t, _at(t, path, False), key, data, flags)


def sys_fsetxattr(
    t: Task, fd: CInt, name: UserPtr, value: UserPtr, size: CULong, flags: CInt
) -> int:
    """fsetxattr(2)."""
    place = _fd(t, fd)
    key, data = _value(t, name, value, size, flags)
    return _set(t, place, key, data, flags)


def _get(t: Task, place: Place, name: bytes, addr: UserPtr, size: int) -> int:
    _check(t, place[0], name, False)
    value = place[0].getxattr(t, name)
    if size == 0:
        return len(value)
    if len(value) > size:
        raise SysErr(errno.ERANGE)
    t.copy_out(addr, value)
    return len(value)


def sys_getxattr(t: Task, path: UserPtr, name: UserPtr, value: UserPtr, size: CULong) -> int:
    """getxattr(2)."""
    place = _at(t, path, True)
    return _get(t, place, _name(t, name), value, size)


def sys_lgetxattr(t: Task, path: UserPtr, name: UserPtr, value: UserPtr, size: CULong) -> int:
    """lgetxattr(2)."""
    place = _at(t, path, False)
    return _get(t, place, _name(t, name), value, size)


def sys_fgetxattr(t: Task, fd: CInt, name: UserPtr, value: UserPtr, size: CULong) -> int:
    """fgetxattr(2)."""
    place = _fd(t, fd)
    return _get(t, place, _name(t, name), value, size)


def _list(t: Task, place: Place, addr: UserPtr, size: int) -> int:
    all_ok = t.creds.capable(CAP_SYS_ADMIN)
    names = [n for n in place[0].listxattr(t) if all_ok or not n.startswith(b"trusted.")]
    data = b"".join(n + b"\0" for n in names)
    if size == 0:
        return len(data)
    if len(data) > size:
        raise SysErr(errno.ERANGE)
    t.copy_out(addr, data)
    return len(data)


def sys_listxattr(t: Task, path: UserPtr, buf: UserPtr, size: CULong) -> int:
    """listxattr(2)."""
    return _list(t, _at(t, path, True), buf, size)


def sys_llistxattr(t: Task, path: UserPtr, buf: UserPtr, size: CULong) -> int:
    """llistxattr(2)."""
    return _list(t, _at(t, path, False), buf, size)


def sys_flistxattr(t: Task, fd: CInt, buf: UserPtr, size: CULong) -> int:
    """flistxattr(2)."""
    return _list(t, _fd(t, fd), buf, size)


def _remove(t: Task, place: Place, name: bytes) -> int:
    i, p = place
    if p is not None:
        p.mount.want_write()
    _check(t, i, name, True)
    i.removexattr(t, name)
    notify_inode(i, IN_ATTRIB)
    return 0


def sys_removexattr(t: Task, path: UserPtr, name: UserPtr) -> int:
    """removexattr(2)."""
    place = _at(t, path, True)
    return _remove(t, place, _name(t, name))


def sys_lremovexattr(t: Task, path: UserPtr, name: UserPtr) -> int:
    """lremovexattr(2)."""
    place = _at(t, path, False)
    return _remove(t, place, _name(t, name))


def sys_fremovexattr(t: Task, fd: CInt, name: UserPtr) -> int:
    """fremovexattr(2)."""
    place = _fd(t, fd)
    return _remove(t, place, _name(t, name))


TABLE: Final[Table] = {
    188: full("setxattr", sys_setxattr),
    189: full("lsetxattr", sys_lsetxattr),
    190: full("fsetxattr", sys_fsetxattr),
    191: full("getxattr", sys_getxattr),
    192: full("lgetxattr", sys_lgetxattr),
    193: full("fgetxattr", sys_fgetxattr),
    194: full("listxattr", sys_listxattr),
    195: full("llistxattr", sys_llistxattr),
    196: full("flistxattr", sys_flistxattr),
    197: full("removexattr", sys_removexattr),
    198: full("lremovexattr", sys_lremovexattr),
    199: full("fremovexattr", sys_fremovexattr),
}
