"""name_to_handle_at(2), open_by_handle_at(2) (Linux: fs/fhandle.c), for tmpfs and control groups.

A handle is made of the inode's number. To open one the tree is searched: seldom done, and nothing has to be kept for it.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from ..abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_FOLLOW
from ..errors import SysErr
from ..fs.tmpfs_inode import MemDir
from ..kernel.creds import CAP_DAC_READ_SEARCH
from ..vfs.inode import FileSystem, Inode
from ..vfs.mount import follow_mounts
from ..vfs.namei import lookup_slow, start_at, walk
from ..vfs.open import PathFile, open_found
from ..vfs.path import Dentry, Path
from ..vfs.synthetic import StaticDir
from .decode import CInt, Table, UserPtr, full
from .fs_open import check_flags, install

if TYPE_CHECKING:
    from ..kernel.task import Task

MAX_HANDLE_SZ: Final = 128
FILEID_INO32_GEN: Final = 1  # as tmpfs has it: generation, inode number
FILEID_KERNFS: Final = 0xFE


def _encode(fs: FileSystem, i: Inode) -> tuple[int, bytes]:
    """Type and content of a handle. Raises EOPNOTSUPP."""
    if fs.type_name == "tmpfs":
        return FILEID_INO32_GEN, struct.pack("<IQ", fs.dev & 0xFFFFFFFF, i.ino)
    if fs.type_name == "cgroup2":
        return FILEID_KERNFS, struct.pack("<Q", i.ino)
    raise SysErr(errno.EOPNOTSUPP)


def _place(t: Task, dirfd: int, name: bytes, flags: int) -> Path:
    if name or not flags & AT_EMPTY_PATH:
        return walk(t, start_at(t, dirfd, name), name, bool(flags & AT_SYMLINK_FOLLOW))
    return _at(t, dirfd, errno.EOPNOTSUPP)


def _at(t: Task, fd: int, nowhere: int) -> Path:
    """What a descriptor stands for. Raises EBADF, and ``nowhere`` for a pipe and its like."""
    if fd == AT_FDCWD:
        return follow_mounts(t.fs.cwd)
    p = t.files.get_any(fd).path
    if p is None:
        raise SysErr(nowhere)
    return p


def sys_name_to_handle_at(
    t: Task, dirfd: CInt, path: UserPtr, handle: UserPtr, mount_id: UserPtr, flags: CInt
) -> int:
    """name_to_handle_at(2). Raises EINVAL, EOPNOTSUPP, EOVERFLOW with the size that is needed."""
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise SysErr(errno.EINVAL)
    p = _place(t, dirfd, t.copy_in_path(path), flags)
    kind, raw = _encode(p.inode.fs, p.inode)
    (room,) = struct.unpack("<I", t.copy_in(handle, 8)[:4])
    if room > MAX_HANDLE_SZ:
        raise SysErr(errno.EINVAL)
    t.copy_out_now(mount_id, struct.pack("<i", p.mount.id))
    if room < len(raw):
        t.copy_out_now(handle, struct.pack("<I", len(raw)))
        raise SysErr(errno.EOVERFLOW)
    t.copy_out(handle, struct.pack("<Ii", len(raw), kind) + raw)
    return 0


def sys_open_by_handle_at(t: Task, mount_fd: CInt, handle: UserPtr, flags: CInt) -> int:
    """open_by_handle_at(2). Raises EPERM, EINVAL, ESTALE and what opening raises."""
    if not t.creds.capable(CAP_DAC_READ_SEARCH):
        raise SysErr(errno.EPERM)
    at = _at(t, mount_fd, errno.ESTALE)
    size, kind = struct.unpack("<Ii", t.copy_in(handle, 8))
    if not 0 < size <= MAX_HANDLE_SZ:
        raise SysErr(errno.EINVAL)
    raw = t.copy_in(handle + 8, size)
    p = Path(at.mount, _find(t, at, kind, raw))
    flags = check_flags(flags, 0, False)
    if flags & os.O_PATH:
        return install(t, PathFile(flags & ~os.O_CLOEXEC, p), bool(flags & os.O_CLOEXEC))
    if p.inode.is_lnk():
        raise SysErr(errno.ELOOP)
    return install(t, open_found(t, p, flags, False), bool(flags & os.O_CLOEXEC))


def _find(t: Task, at: Path, kind: int, raw: bytes) -> Dentry:
    """The dentry a handle means, in the file system of ``at``. Raises ESTALE."""
    top = at.mount.root
    while top.parent is not top:
        top = top.parent
    todo: list[tuple[Inode, tuple[bytes, ...]]] = [(top.node(), ())]
    while todo:
        i, names = todo.pop()
        try:
            own, content = _encode(at.mount.fs, i)
        except SysErr:
            raise SysErr(errno.ESTALE) from None
        if raw[: len(content)] == content and (
            kind == own or own == FILEID_INO32_GEN
        ):  # tmpfs doesn't look
            return _walk(t, top, names)
        if isinstance(i, (MemDir, StaticDir)):
            todo += [(e, (*names, n)) for n, e in i.entries.items() if isinstance(e, Inode)]
    raise SysErr(errno.ESTALE)


def _walk(t: Task, d: Dentry, names: tuple[bytes, ...]) -> Dentry:
    for n in names:
        d = d.children.get(n) or lookup_slow(t, d, n)
    return d


TABLE: Final[Table] = {
    303: full("name_to_handle_at", sys_name_to_handle_at),
    304: full("open_by_handle_at", sys_open_by_handle_at),
}
