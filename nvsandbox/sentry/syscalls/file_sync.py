"""Syncing, allocating, advising; memory files."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..fs import tmpfs
from ..vfs.file import FileDescription
from .decode import CInt, CLong, CUInt, CULong, Table, UserPtr, full
from .fs_open import install

if TYPE_CHECKING:
    from ..kernel.task import Task

FALLOC_KNOWN: Final = 0x7F
FALLOC_FL_KEEP_SIZE: Final = 0x01
FALLOC_FL_PUNCH_HOLE: Final = 0x02
FALLOC_FL_COLLAPSE_RANGE: Final = 0x08
FALLOC_FL_ZERO_RANGE: Final = 0x10
FALLOC_FL_INSERT_RANGE: Final = 0x20
MFD_CLOEXEC: Final = 1
MFD_ALLOW_SEALING: Final = 2
MFD_HUGETLB: Final = 4
MFD_HUGE_SIZES: Final = 0x3F << 26
MFD_NOEXEC_SEAL: Final = 8
MFD_EXEC: Final = 16
MFD_NAME_MAX: Final = 250  # with the NUL


def sys_sync(t: Task) -> int:
    """sync(2)."""
    for m in list(t.fs.ns.mounts()):
        try:
            m.fs.sync(t)
        except SysErr:
            pass  # sync(2) never fails
    return 0


def sys_syncfs(t: Task, fd: CInt) -> int:
    """syncfs(2)."""
    t.files.get(fd).inode.fs.sync(t)
    return 0


def sys_fsync(t: Task, fd: CUInt) -> int:
    """fsync(2)."""
    t.files.get(fd).fsync(t, False)
    return 0


def sys_fdatasync(t: Task, fd: CUInt) -> int:
    """fdatasync(2)."""
    t.files.get(fd).fsync(t, True)
    return 0


def sys_sync_file_range(t: Task, fd: CInt, offset: CLong, length: CLong, flags: CUInt) -> int:
    """sync_file_range(2): syncs the whole file."""
    f = t.files.get(fd)
    if flags & ~7 or offset < 0 or length < 0 or offset + length >= 1 << 63:
        raise SysErr(errno.EINVAL)
    kind = f.inode.mode & 0o170000
    if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFBLK, stat.S_IFLNK):
        raise SysErr(errno.ESPIPE)
    if flags:
        f.fsync(t, True)
    return 0


def sys_fallocate(t: Task, fd: CInt, mode: CInt, offset: CLong, length: CLong) -> int:
    """fallocate(2)."""
    f = t.files.get(fd)
    if offset < 0 or length <= 0:
        raise SysErr(errno.EINVAL)
    if mode & ~FALLOC_KNOWN:
        raise SysErr(errno.EOPNOTSUPP)
    if mode & FALLOC_FL_PUNCH_HOLE and not mode & FALLOC_FL_KEEP_SIZE:
        raise SysErr(errno.EOPNOTSUPP)
    if not f.writable():
        raise SysErr(errno.EBADF)
    kind = f.inode.mode & 0o170000
    if kind == stat.S_IFIFO:
        raise SysErr(errno.ESPIPE)
    if kind == stat.S_IFDIR:
        raise SysErr(errno.EISDIR)
    if kind not in (stat.S_IFREG, stat.S_IFBLK):
        raise SysErr(errno.ENODEV)
    if offset + length > (1 << 63) - 1:
        raise SysErr(errno.EFBIG)
    f.fallocate(t, mode, offset, length)
    return 0


def sys_fadvise64(t: Task, fd: CInt, offset: CLong, length: CLong, advice: CInt) -> int:
    """posix_fadvise(2): the host reads ahead as it likes."""
    f = t.files.get(fd)
    if f.inode.mode & 0o170000 == stat.S_IFIFO:
        raise SysErr(errno.ESPIPE)
    if length < 0 or not 0 <= advice <= 5:
        raise SysErr(errno.EINVAL)
    return 0


def sys_readahead(t: Task, fd: CInt, offset: CLong, count: CULong) -> int:
    """readahead(2)."""
    f = t.files.get(fd)
    if not f.readable():
        raise SysErr(errno.EBADF)
    if not f.inode.is_reg():
        raise SysErr(errno.EINVAL)
    return 0


def sys_memfd_create(t: Task, name: UserPtr, flags: CUInt) -> int:
    """memfd_create(2)."""
    if flags & ~0x1F and not (flags & MFD_HUGETLB and not flags & ~0x1F & ~MFD_HUGE_SIZES):
        raise SysErr(errno.EINVAL)
    if flags & MFD_EXEC and flags & MFD_NOEXEC_SEAL:
        raise SysErr(errno.EINVAL)
    try:
        label = t.copy_in_str(name, MFD_NAME_MAX)
    except SysErr as e:
        raise SysErr(errno.EINVAL if e.errno == errno.ENAMETOOLONG else e.errno) from None
    if flags & MFD_HUGETLB:
        raise SysErr(errno.ENODEV)  # no size of huge pages is there
    f: FileDescription = tmpfs.open_memfd(
        t, label, bool(flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL)), bool(flags & MFD_NOEXEC_SEAL)
    )
    return install(t, f, bool(flags & MFD_CLOEXEC))


TABLE: Final[Table] = {
    74: full("fsync", sys_fsync),
    75: full("fdatasync", sys_fdatasync),
    162: full("sync", sys_sync),
    187: full("readahead", sys_readahead),
    221: full("fadvise64", sys_fadvise64),
    277: full("sync_file_range", sys_sync_file_range),
    285: full("fallocate", sys_fallocate),
    306: full("syncfs", sys_syncfs),
    319: full("memfd_create", sys_memfd_create),
}
