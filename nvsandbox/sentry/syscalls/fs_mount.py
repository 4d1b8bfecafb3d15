"""Working directory, root and mounts: chdir(2), chroot(2), getcwd(2), mount(2), umount2(2), pivot_root(2)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..fs.nsfs import NSFS
from ..kernel.creds import CAP_SYS_ADMIN, CAP_SYS_CHROOT
from ..kernel.userns import INIT_USER
from ..vfs.fstypes import FSTYPES, make_filesystem
from ..vfs.inode import MAY_EXEC
from ..vfs.mount import (
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    change_root,
    copy_mount,
    copy_tree,
    follow_mounts,
    is_busy,
    keep_hidden,
    mount_of,
)
from ..vfs.namei import AT_FDCWD, walk_at
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
    path_name,
)
from ..vfs.peers import make_private, make_shared, make_slave, subtree
from ..vfs.propagation import copies_busy, graft, unmount
from .decode import CInt, CUInt, CULong, Table, UserPtr, full, partial

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.inode import FileSystem, Inode

MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_MOVE: Final = 8192
MS_REC: Final = 16384
MS_SILENT: Final = 32768
MS_MGC_VAL: Final = 0xC0ED0000
MS_TYPES: Final = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE
PER_MOUNT: Final = (
    MS_RDONLY
    | MS_NOSUID
    | MS_NODEV
    | MS_NOEXEC
    | MS_NOSYMFOLLOW
    | MS_NOATIME
    | MS_NODIRATIME
    | MS_RELATIME
    | MS_STRICTATIME
)

ATIME_FLAGS: Final = MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME

MNT_FORCE: Final = 1
MNT_DETACH: Final = 2
MNT_EXPIRE: Final = 4
UMOUNT_NOFOLLOW: Final = 8

USERNS_MOUNT: Final = frozenset(
    (b"proc", b"sysfs", b"tmpfs", b"ramfs", b"devpts", b"mqueue", b"cgroup2", b"overlay")
)
OF_NAMESPACE: Final = (b"proc", b"mqueue", b"sysfs")


def sys_getcwd(t: Task, buf: UserPtr, size: CULong) -> int:
    """getcwd(2): returns the length with the NUL."""
    cwd = t.fs.cwd
    if cwd.dentry.unlinked:
        raise SysErr(errno.ENOENT)
    name = path_name(cwd, t.fs.root, True) + b"\0"
    if len(name) > 4096:
        raise SysErr(errno.ENAMETOOLONG)
    if len(name) > size:
        raise SysErr(errno.ERANGE)
    t.copy_out(buf, name)
    return len(name)


def _directory(t: Task, p: Path) -> Path:
    if not p.inode.is_dir():
        raise SysErr(errno.ENOTDIR)
    p.inode.permission(t, MAY_EXEC)
    return p


def sys_chdir(t: Task, path: UserPtr) -> int:
    """chdir(2)."""
    t.fs.cwd = _directory(t, walk_at(t, AT_FDCWD, t.copy_in_path(path)))
    return 0


def sys_fchdir(t: Task, fd: CUInt) -> int:
    """fchdir(2); an O_PATH descriptor will do."""
    p = t.files.get_any(fd).path
    if p is None:
        raise SysErr(errno.ENOTDIR)
    t.fs.cwd = _directory(t, p)
    return 0


def sys_chroot(t: Task, path: UserPtr) -> int:
    """chroot(2)."""
    p = _directory(t, walk_at(t, AT_FDCWD, t.copy_in_path(path)))
    if not t.creds.has(CAP_SYS_CHROOT):
        raise SysErr(errno.EPERM)
    t.fs.root = p
    return 0


def _string(t: Task, addr: int) -> bytes:
    return t.copy_in_path(addr) if addr else b""


def _per_mount(flags: int) -> int:
    out = flags & PER_MOUNT
    if flags & MS_STRICTATIME:
        out &= ~(MS_RELATIME | MS_NOATIME)
    elif not flags & MS_NOATIME:
        out |= MS_RELATIME
    return out


def sys_mount(
    t: Task, source: UserPtr, target: UserPtr, fstype: UserPtr, flags: CULong, data: UserPtr
) -> int:
    """mount(2)."""
    kind = _string(t, fstype)
    src = _string(t, source)
    options = _string(t, data) if data else b""
    if flags & 0xFFFF0000 == MS_MGC_VAL:
        flags &= 0xFFFF
    at = walk_at(t, AT_FDCWD, t.copy_in_path(target))
    may_mount(t)
    if flags & MS_REMOUNT:
        _remount(t, at, flags, options)
    elif flags & MS_BIND:
        _bind(t, src, at, bool(flags & MS_REC))
    elif flags & MS_TYPES:
        _propagation(at, flags)
    elif flags & MS_MOVE:
        _move(t, src, at)
    else:
        _new(t, kind, src, at, flags, options)
    return 0


def may_mount(t: Task) -> None:
    """Raises EPERM without CAP_SYS_ADMIN over the mount namespace."""
    owner = t.fs.ns.owner
    if owner is None or not t.creds.ns_capable(owner, CAP_SYS_ADMIN):
        raise SysErr(errno.EPERM)


def at_root(p: Path) -> Mount:
    """The mount whose root ``p`` is. Raises EINVAL."""
    if p.dentry is not p.mount.root:
        raise SysErr(errno.EINVAL)
    return p.mount


def _remount(t: Task, at: Path, flags: int, options: bytes) -> None:
    m = at_root(at)
    if m.ns is not t.fs.ns:
        raise SysErr(errno.EINVAL)
    if not flags & ATIME_FLAGS:  # they stay as they are then
        flags |= m.flags & ATIME_FLAGS
    new = _per_mount(flags)
    check_locked(m, new)
    if not flags & MS_BIND:
        reconfigure(t, m.fs, options, bool(flags & MS_RDONLY))
    elif flags & MS_RDONLY and not m.flags & MS_RDONLY and m.writers:
        raise SysErr(errno.EBUSY)
    m.flags = new
    t.fs.ns.changed()


def check_locked(m: Mount, new: int) -> None:
    """Raises EPERM if ``new`` flags lift what a more privileged namespace has restricted (Linux: can_change_locked_flags)."""
    kept = m.locked_flags
    if kept & ~new or (kept & ATIME_FLAGS and (new ^ m.flags) & ATIME_FLAGS):
        raise SysErr(errno.EPERM)


def reconfigure(t: Task, fs: FileSystem, options: bytes, readonly: bool) -> None:
    """Other options for a file system that is mounted (Linux: reconfigure_super). Raises EPERM, EINVAL, EBUSY while files are open for
    writing."""
    if not t.creds.ns_capable(fs.owner, CAP_SYS_ADMIN):
        raise SysErr(errno.EPERM)
    if readonly and not fs.readonly and fs.writers:
        raise SysErr(errno.EBUSY)
    fs.remount(t, options)
    fs.readonly = readonly


def check_bindable(t: Task, old: Path) -> None:
    """Raises EINVAL unless it may be bound elsewhere (Linux: may_copy_tree). A namespace's file (/proc/PID/ns/*) may, although it is in
    no mount namespace."""
    ns = old.mount.ns
    ours = ns is t.fs.ns or (ns is not None and ns.origin is t.fs.ns)
    if old.mount.unbindable or (not ours and old.inode.fs is not NSFS):
        raise SysErr(errno.EINVAL)


def _same_kind(a: Path, b: Path) -> None:
    if a.inode.is_dir() != b.inode.is_dir():
        raise SysErr(errno.ENOTDIR)


def _bind(t: Task, source: bytes, at: Path, recursive: bool) -> None:
    if not source:
        raise SysErr(errno.EINVAL)
    old = walk_at(t, AT_FDCWD, source)
    check_bindable(t, old)
    _same_kind(old, at)
    graft(t.fs.ns, copy_of(old, recursive), at)


def copy_of(old: Path, recursive: bool) -> Mount:
    """A mount of what is at ``old``, nowhere yet. Raises EINVAL where something hidden would be seen."""
    if recursive:
        return copy_tree(old.mount, None, old.dentry)
    if any(c.locked and d.is_below(old.dentry) for d, c in old.mount.children.items()):
        raise SysErr(errno.EINVAL)
    new = copy_mount(old.mount)
    new.root = old.dentry
    return new


def _propagation(at: Path, flags: int) -> None:
    kind = flags & MS_TYPES
    if kind & (kind - 1) or flags & ~(MS_TYPES | MS_REC | MS_SILENT):
        raise SysErr(errno.EINVAL)
    top = at_root(at)
    for m in subtree(top) if flags & MS_REC else [top]:
        set_type(m, kind)


def set_type(m: Mount, kind: int) -> None:
    """``kind``: MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE."""
    if kind == MS_SHARED:
        make_shared(m)
    elif kind == MS_SLAVE:
        make_slave(m)
    else:
        make_private(m, kind == MS_UNBINDABLE)


def _move(t: Task, source: bytes, at: Path) -> None:
    if not source:
        raise SysErr(errno.EINVAL)
    move(t, walk_at(t, AT_FDCWD, source), at)


def move(t: Task, old: Path, at: Path) -> None:
    """A mount, or a tree that is nowhere yet, is put on ``at`` (Linux: do_move_mount). Raises EINVAL, ELOOP."""
    m, ns = at_root(old), t.fs.ns
    if at.mount.ns is not ns or m.ns is None or m.locked:
        raise SysErr(errno.EINVAL)
    if m.parent is None if m.ns is ns else m.ns.origin is None or m.parent is not None:
        raise SysErr(errno.EINVAL)
    if m.parent is not None and m.parent.group is not None:
        raise SysErr(errno.EINVAL)
    if old.inode.is_dir() != at.inode.is_dir():
        raise SysErr(errno.EINVAL)
    if at.mount.group is not None and any(x.unbindable for x in subtree(m)):
        raise SysErr(errno.EINVAL)
    if at.mount in list(subtree(m)):
        raise SysErr(errno.ELOOP)
    if m.parent is not None:
        ns.detach(m)
    graft(ns, m, at)


def _new(t: Task, kind: bytes, source: bytes, at: Path, flags: int, options: bytes) -> None:
    if not kind:
        raise SysErr(errno.EINVAL)
    fs, root = new_filesystem(t, kind, source, options)
    if not at.inode.is_dir():
        raise SysErr(errno.ENOTDIR)
    if kind != b"mqueue":  # the namespace's one
        fs.readonly = bool(flags & MS_RDONLY)
    graft(t.fs.ns, first_mount(t, fs, root, _per_mount(flags)), at)


def new_filesystem(t: Task, kind: bytes, source: bytes, options: bytes) -> tuple[FileSystem, Inode]:
    """An instance of type ``kind`` and its root. Raises ENODEV, EINVAL, EPERM."""
    owner = t.creds.userns
    if owner is not INIT_USER and kind in FSTYPES and kind not in USERNS_MOUNT:
        raise SysErr(errno.EPERM)
    if kind in OF_NAMESPACE:  # shows a namespace: one must be its administrator
        of = t.tg.pidns if kind == b"proc" else t.ns.ipc if kind == b"mqueue" else t.ns.net
        if of.owner is None or not t.creds.ns_capable(of.owner, CAP_SYS_ADMIN):
            raise SysErr(errno.EPERM)
    fs, root = make_filesystem(t, kind, source, options)
    if kind not in OF_NAMESPACE:
        fs.owner = owner
        fs.nodev = owner is not INIT_USER
    return fs, root


def first_mount(t: Task, fs: FileSystem, root: Inode, flags: int) -> Mount:
    """A mount of a new file system, nowhere yet. Raises EPERM if it would show too much."""
    kept = keep_hidden(t.fs.ns, fs, flags)
    m = mount_of(fs, root, flags)
    m.locked_flags = kept
    return m


def sys_umount2(t: Task, target: UserPtr, flags: CInt) -> int:
    """umount2(2)."""
    if flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW):
        raise SysErr(errno.EINVAL)
    p = follow_mounts(walk_at(t, AT_FDCWD, t.copy_in_path(target), not flags & UMOUNT_NOFOLLOW))
    if p.dentry is not p.mount.root:
        raise SysErr(errno.EINVAL)
    may_mount(t)
    m = p.mount
    if flags & MNT_EXPIRE and flags & (MNT_FORCE | MNT_DETACH):
        raise SysErr(errno.EINVAL)
    if m.ns is not t.fs.ns or m.parent is None or m.locked:
        raise SysErr(errno.EINVAL)
    if not flags & MNT_DETACH and (is_busy(m, t.fs.ns) or copies_busy(m)):
        raise SysErr(errno.EBUSY)
    if flags & MNT_EXPIRE:  # it only ever was used a moment ago
        raise SysErr(errno.EAGAIN)
    unmount(t.fs.ns, m)
    t.k.namespaces_left()
    return 0


def sys_pivot_root(t: Task, new_root: UserPtr, put_old: UserPtr) -> int:
    """pivot_root(2). The checks are those of Linux's path_pivot_root, in its order."""
    may_mount(t)
    new = _directory(t, walk_at(t, AT_FDCWD, t.copy_in_path(new_root)))
    old = _directory(t, walk_at(t, AT_FDCWD, t.copy_in_path(put_old)))
    root = t.fs.root
    ns = t.fs.ns
    above = root.mount.parent or root.mount, new.mount.parent or new.mount
    if any(m.group is not None for m in (old.mount, *above)):
        raise SysErr(errno.EINVAL)
    if new.mount.ns is not ns or root.mount.ns is not ns or new.mount.locked:
        raise SysErr(errno.EINVAL)
    if new.dentry.unlinked:
        raise SysErr(errno.ENOENT)
    if root.mount in (new.mount, old.mount):
        raise SysErr(errno.EBUSY)
    if root.dentry is not root.mount.root or new.dentry is not new.mount.root:
        raise SysErr(errno.EINVAL)
    if new.mount.parent is None or not old.is_below(new) or not new.is_below(root):
        raise SysErr(errno.EINVAL)
    new_m, root_m = new.mount, root.mount
    parent, above_at = root_m.parent, root_m.mountpoint
    ns.detach(new_m)
    if parent is None or above_at is None:
        ns.root = new_m
    else:
        ns.detach(root_m)
        ns.attach(new_m, Path(parent, above_at))
    for m in subtree(new_m):
        m.ns = ns
    ns.attach(root_m, old)
    change_root(ns, root, new)
    return 0


TABLE: Final[Table] = {
    79: full("getcwd", sys_getcwd),
    80: full("chdir", sys_chdir),
    81: full("fchdir", sys_fchdir),
    155: full("pivot_root", sys_pivot_root),
    161: full("chroot", sys_chroot),
    165: full("mount", sys_mount),
    166: partial("umount2", sys_umount2, "MNT_EXPIRE"),
}
