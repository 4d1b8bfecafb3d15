"""Mounts by descriptor: fsopen(2), fsconfig(2), fsmount(2), fspick(2), open_tree(2), move_mount(2), mount_setattr(2)
(Linux: fs/fsopen.c, fs/namespace.c). What they do is done in ``fs_mount.py``."""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..fs.fscontext import AWAITING_MOUNT, CREATE_PARAMS, FAILED, FsConfig, TreeFile
from ..kernel.creds import CAP_SYS_ADMIN
from ..kernel.userns import Namespace
from ..vfs.fstypes import FSTYPES
from ..vfs.mount import (
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    MountNamespace,
    follow_mounts,
)
from ..vfs.namei import AT_FDCWD, start_at, walk
from ..vfs.open import PathFile
from ..vfs.path import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_RELATIME,
    MS_STRICTATIME,
    Mount,
    Path,
)
from ..vfs.peers import copy_type, subtree
from .decode import CInt, CUInt, CULong, Table, UserPtr, full, partial
from .fs_mount import (
    at_root,
    check_bindable,
    check_locked,
    copy_of,
    first_mount,
    may_mount,
    move,
    new_filesystem,
    reconfigure,
    set_type,
)
from .fs_open import install

if TYPE_CHECKING:
    from ..kernel.task import Task

FSOPEN_CLOEXEC: Final = 1
FSMOUNT_CLOEXEC: Final = 1
FSPICK_CLOEXEC, FSPICK_SYMLINK_NOFOLLOW, FSPICK_NO_AUTOMOUNT, FSPICK_EMPTY_PATH = 1, 2, 4, 8
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_SET_BINARY = 0, 1, 2
FSCONFIG_SET_PATH, FSCONFIG_SET_PATH_EMPTY, FSCONFIG_SET_FD = 3, 4, 5
FSCONFIG_CMD_CREATE, FSCONFIG_CMD_RECONFIGURE = 6, 7
STRING_MAX: Final = 256  # with the NUL
BINARY_MAX: Final = 1 << 20

AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_NO_AUTOMOUNT: Final = 0x800
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000
OPEN_TREE_CLONE: Final = 1
OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC

MOVE_MOUNT_F_SYMLINKS, MOVE_MOUNT_F_EMPTY_PATH = 1, 4
MOVE_MOUNT_T_SYMLINKS, MOVE_MOUNT_T_EMPTY_PATH = 0x10, 0x40
MOVE_MOUNT_SET_GROUP: Final = 0x100
MOVE_MOUNT_FLAGS: Final = 0x177

ATTRS: Final = {
    1: MS_RDONLY, 2: MS_NOSUID, 4: MS_NODEV, 8: MS_NOEXEC, 0x80: MS_NODIRATIME, 0x200000: MS_NOSYMFOLLOW,
}  # fmt: skip
ATTR_ATIME: Final = 0x70
ATTR_IDMAP: Final = 0x100000
ATTR_PLAIN: Final = 0x20008F | ATTR_ATIME
ATIMES: Final = {0: MS_RELATIME, 0x10: MS_NOATIME, 0x20: MS_STRICTATIME}
ATIME_FLAGS: Final = MS_RELATIME | MS_NOATIME | MS_STRICTATIME
TYPES: Final = (0, MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE)
ATTR_SIZE: Final = 32  # of the structure's first version


def sys_fsopen(t: Task, fsname: UserPtr, flags: CUInt) -> int:
    """fsopen(2). Raises EPERM, EINVAL, ENODEV."""
    may_mount(t)
    if flags & ~FSOPEN_CLOEXEC:
        raise SysErr(errno.EINVAL)
    kind = _short(t, fsname, 4096)
    if kind not in FSTYPES:
        raise SysErr(errno.ENODEV)
    return install(t, FsConfig(kind), bool(flags & FSOPEN_CLOEXEC))


def sys_fspick(t: Task, dirfd: CInt, path: UserPtr, flags: CUInt) -> int:
    """fspick(2). Raises EPERM, EINVAL for what is not a mount's root."""
    may_mount(t)
    if flags & ~0xF:
        raise SysErr(errno.EINVAL)
    p = _place(t, dirfd, path, not flags & FSPICK_SYMLINK_NOFOLLOW, bool(flags & FSPICK_EMPTY_PATH))
    fs = at_root(p).fs
    return install(t, FsConfig(fs.type_name.encode(), fs, p.inode), bool(flags & FSPICK_CLOEXEC))


def _short(t: Task, addr: int, limit: int) -> bytes:
    """A string with its NUL within ``limit`` bytes (Linux: strndup_user). Raises EINVAL, EFAULT."""
    try:
        return t.copy_in_str(addr, limit)
    except SysErr as e:
        raise SysErr(errno.EINVAL if e.errno == errno.ENAMETOOLONG else e.errno) from None


def _place(t: Task, dirfd: int, addr: int, follow: bool, empty: bool) -> Path:
    """A path argument. Raises ENOENT for an empty one unless ``empty`` says that it means ``dirfd`` itself."""
    name = t.copy_in_path(addr)
    if name or not empty:
        return walk(t, start_at(t, dirfd, name), name, follow)
    if dirfd == AT_FDCWD:
        return follow_mounts(t.fs.cwd)
    p = t.files.get_any(dirfd).path
    if p is None:
        raise SysErr(errno.EINVAL)
    return p


def _config(t: Task, fd: int) -> FsConfig:
    f = t.files.get(fd)
    if not isinstance(f, FsConfig):
        raise SysErr(errno.EINVAL)
    return f


def sys_fsconfig(t: Task, fd: CInt, cmd: CUInt, key: UserPtr, value: UserPtr, aux: CInt) -> int:
    """fsconfig(2). Raises EINVAL, EBUSY, EOPNOTSUPP, EPERM and what making the file system raises."""
    if fd < 0:
        raise SysErr(errno.EINVAL)
    if cmd > FSCONFIG_CMD_RECONFIGURE:
        raise SysErr(errno.EOPNOTSUPP)
    if cmd >= FSCONFIG_CMD_CREATE:
        if key or value or aux:
            raise SysErr(errno.EINVAL)
        c = _config(t, fd)
        if cmd == FSCONFIG_CMD_CREATE:
            _create(t, c)
        else:
            _reconfigure(t, c)
        return 0
    _check_arguments(cmd, key, value, aux)
    c = _config(t, fd)
    name = _short(t, key, STRING_MAX)
    if cmd == FSCONFIG_SET_FLAG:
        c.set(name, None, True)
    elif cmd == FSCONFIG_SET_STRING:
        c.set(name, _short(t, value, STRING_MAX), True)
    elif cmd == FSCONFIG_SET_BINARY:
        c.set(name, t.copy_in(value, min(aux, 256)), False)
    elif cmd == FSCONFIG_SET_FD:
        t.files.get(aux)
        c.set(name, b"", False)
    else:
        text = t.copy_in_path(value)
        if not text and cmd == FSCONFIG_SET_PATH:
            raise SysErr(errno.ENOENT)
        c.set(name, text, False)
    return 0


def _check_arguments(cmd: int, key: int, value: int, aux: int) -> None:
    wrong = not key
    if cmd == FSCONFIG_SET_FLAG:
        wrong |= bool(value or aux)
    elif cmd == FSCONFIG_SET_STRING:
        wrong |= bool(not value or aux)
    elif cmd == FSCONFIG_SET_BINARY:
        wrong |= not value or not 0 < aux <= BINARY_MAX
    elif cmd == FSCONFIG_SET_FD:
        wrong |= bool(value) or aux < 0
    else:
        wrong |= not value or (aux < 0 and aux != AT_FDCWD)
    if wrong:
        raise SysErr(errno.EINVAL)


def _create(t: Task, c: FsConfig) -> None:
    if c.phase != CREATE_PARAMS:
        raise SysErr(errno.EBUSY)
    try:
        c.fs, c.root = new_filesystem(t, c.kind, c.source or b"none", c.text())
    except SysErr as e:
        if e.errno != errno.EPERM:
            c.phase = FAILED
        raise
    if c.readonly is not None:
        c.fs.readonly = c.readonly
    c.phase = AWAITING_MOUNT


def _reconfigure(t: Task, c: FsConfig) -> None:
    fs = c.fs
    if fs is None or not c.may_reconfigure():
        raise SysErr(errno.EBUSY)
    try:
        reconfigure(t, fs, c.text(), fs.readonly if c.readonly is None else c.readonly)
    except SysErr:
        c.phase = FAILED
        raise
    c.start_over()


def sys_fsmount(t: Task, fd: CInt, flags: CUInt, attr_flags: CUInt) -> int:
    """fsmount(2). Raises EPERM, EINVAL, EBUSY."""
    may_mount(t)
    if flags & ~FSMOUNT_CLOEXEC or attr_flags & ~ATTR_PLAIN:
        raise SysErr(errno.EINVAL)
    atime = ATIMES.get(attr_flags & ATTR_ATIME)
    if atime is None:
        raise SysErr(errno.EINVAL)
    c = _config(t, fd)
    fs, root = c.fs, c.root
    if fs is None or root is None:
        raise SysErr(errno.EINVAL)
    m = first_mount(t, fs, root, _mount_flags(attr_flags) | atime)
    if c.phase != AWAITING_MOUNT:
        raise SysErr(errno.EBUSY)
    c.start_over()
    return _nowhere(t, m, bool(flags & FSMOUNT_CLOEXEC))


def _mount_flags(attrs: int) -> int:
    out = 0
    for attr, flag in ATTRS.items():
        if attrs & attr:
            out |= flag
    return out


def _nowhere(t: Task, m: Mount, cloexec: bool) -> int:
    tree = MountNamespace.nowhere(m, t.fs.ns)
    return install(t, TreeFile(Path(m, m.root), tree), cloexec)


def sys_open_tree(t: Task, dirfd: CInt, path: UserPtr, flags: CUInt) -> int:
    """open_tree(2). Raises EINVAL, EPERM."""
    known = AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW
    if flags & ~(known | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC):
        raise SysErr(errno.EINVAL)
    if flags & (AT_RECURSIVE | OPEN_TREE_CLONE) == AT_RECURSIVE:
        raise SysErr(errno.EINVAL)
    if flags & OPEN_TREE_CLONE:
        may_mount(t)
    p = _place(t, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH))
    cloexec = bool(flags & OPEN_TREE_CLOEXEC)
    if not flags & OPEN_TREE_CLONE:
        return install(t, PathFile(os.O_PATH, p), cloexec)
    check_bindable(t, p)
    m = copy_of(p, bool(flags & AT_RECURSIVE))
    m.locked = False
    return _nowhere(t, m, cloexec)


def sys_move_mount(
    t: Task, from_dirfd: CInt, from_path: UserPtr, to_dirfd: CInt, to_path: UserPtr, flags: CUInt
) -> int:
    """move_mount(2). Raises EPERM, EINVAL, ELOOP."""
    may_mount(t)
    if flags & ~MOVE_MOUNT_FLAGS:
        raise SysErr(errno.EINVAL)
    empty = bool(flags & MOVE_MOUNT_F_EMPTY_PATH)
    old = _place(t, from_dirfd, from_path, bool(flags & MOVE_MOUNT_F_SYMLINKS), empty)
    empty = bool(flags & MOVE_MOUNT_T_EMPTY_PATH)
    at = _place(t, to_dirfd, to_path, bool(flags & MOVE_MOUNT_T_SYMLINKS), empty)
    if flags & MOVE_MOUNT_SET_GROUP:
        _same_group(t, old, at)
    else:
        move(t, old, at)
    return 0


def _same_group(t: Task, old: Path, at: Path) -> None:
    """The mount at ``at`` hears and is heard as the one at ``old`` (Linux: do_set_group). Raises EINVAL, EPERM."""
    a, b = at_root(old), at_root(at)
    for m in (a, b):
        if m.ns is None or not _administrates(t, m.ns):
            raise SysErr(errno.EINVAL if m.ns is None else errno.EPERM)
    if a.fs is not b.fs or not b.root.is_below(a.root):
        raise SysErr(errno.EINVAL)
    if any(c.locked and d.is_below(b.root) for d, c in a.children.items()):
        raise SysErr(errno.EINVAL)
    if b.group is not None or b.master is not None or (a.group is None and a.master is None):
        raise SysErr(errno.EINVAL)
    copy_type(a, b)


def _administrates(t: Task, ns: Namespace) -> bool:
    return t.creds.ns_capable(ns.administrator(), CAP_SYS_ADMIN)


def sys_mount_setattr(
    t: Task, dirfd: CInt, path: UserPtr, flags: CUInt, attr: UserPtr, size: CULong
) -> int:
    """mount_setattr(2); no id-mapped mounts. Raises EINVAL, E2BIG, EPERM, EBUSY."""
    if flags & ~(AT_EMPTY_PATH | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT):
        raise SysErr(errno.EINVAL)
    if size > 4096:
        raise SysErr(errno.E2BIG)
    if size < ATTR_SIZE:
        raise SysErr(errno.EINVAL)
    may_mount(t)
    raw = t.copy_in(attr, size)
    if any(raw[ATTR_SIZE:]):
        raise SysErr(errno.E2BIG)
    on, off, kind, _users = struct.unpack("<4Q", raw[:ATTR_SIZE])
    if not on and not off and not kind:
        return 0
    if kind not in TYPES or (on | off) & ~ATTR_PLAIN:
        raise SysErr(errno.EINVAL)
    p = _place(t, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH))
    if off & ATTR_ATIME:
        atime = ATIMES.get(on & ATTR_ATIME)
        if off & ATTR_ATIME != ATTR_ATIME or atime is None:
            raise SysErr(errno.EINVAL)
        clear, put = _mount_flags(off) | ATIME_FLAGS, _mount_flags(on) | atime
    elif on & ATTR_ATIME:
        raise SysErr(errno.EINVAL)
    else:
        clear, put = _mount_flags(off), _mount_flags(on)
    top = at_root(p)
    if top.ns is not t.fs.ns and (
        top.ns is None or top.ns.origin is None or top.parent is not None
    ):
        raise SysErr(errno.EINVAL)
    tree = list(subtree(top)) if flags & AT_RECURSIVE else [top]
    for m in tree:
        check_locked(m, m.flags & ~clear | put)
        if put & MS_RDONLY and not m.flags & MS_RDONLY and m.writers:
            raise SysErr(errno.EBUSY)
    for m in tree:
        m.flags = m.flags & ~clear | put
        if kind:
            set_type(m, kind)
    t.fs.ns.changed()
    return 0


TABLE: Final[Table] = {
    428: full("open_tree", sys_open_tree),
    429: partial("move_mount", sys_move_mount, "MOVE_MOUNT_BENEATH"),
    430: full("fsopen", sys_fsopen),
    431: full("fsconfig", sys_fsconfig),
    432: full("fsmount", sys_fsmount),
    433: full("fspick", sys_fspick),
    442: partial("mount_setattr", sys_mount_setattr, "id-mapped mounts"),
}
