"""Opening and closing: open(2), openat2(2), close(2), close_range(2), umask(2)."""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from ..abi.fcntl import AT_FDCWD, MAX_RW_COUNT, O_TMPFILE_BIT, VALID_OPEN_FLAGS
from ..abi.resource import RLIMIT_NOFILE
from ..errors import SysErr
from ..vfs.file import FdTable
from ..vfs.lent import forget_thread
from ..vfs.namei import (
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    Scope,
    start_at,
)
from ..vfs.open import O_PATH_KEEPS, open_path
from .decode import CInt, CUInt, CULong, Table, UserPtr, full

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

RESOLVE_ALL: Final = 0x3F
CLOSE_RANGE_UNSHARE: Final = 2
CLOSE_RANGE_CLOEXEC: Final = 4


def check_flags(flags: int, mode: int, strict: bool) -> int:
    """build_open_flags: what openat2 refuses and open(2) forgives."""
    if strict:
        if flags & ~VALID_OPEN_FLAGS:
            raise SysErr(errno.EINVAL)
        if mode & ~0o7777 or (mode and not flags & (os.O_CREAT | O_TMPFILE_BIT)):
            raise SysErr(errno.EINVAL)
        if flags & os.O_PATH and flags & ~O_PATH_KEEPS:
            raise SysErr(errno.EINVAL)
    flags &= VALID_OPEN_FLAGS
    if flags & os.O_PATH:
        return flags & O_PATH_KEEPS
    if flags & os.O_CREAT and flags & os.O_DIRECTORY:
        raise SysErr(errno.EINVAL)
    if flags & O_TMPFILE_BIT and (
        not flags & os.O_DIRECTORY or flags & os.O_CREAT or not flags & 3
    ):
        raise SysErr(errno.EINVAL)
    return flags


def install(t: Task, f: FileDescription, cloexec: bool) -> int:
    """A descriptor for a new description, which goes away again if there is no room. Raises EMFILE."""
    try:
        return t.files.install(f, t.tg.rlimit(RLIMIT_NOFILE), cloexec)
    except SysErr:
        f.incref().decref()
        raise


def do_open(t: Task, dirfd: int, path: bytes, flags: int, mode: int, resolve: int = 0) -> int:
    """The common end of the open family; ``flags`` are checked."""
    if not path:
        raise SysErr(errno.ENOENT)
    t.files.check_room(t.tg.rlimit(RLIMIT_NOFILE))  # before anything is created
    base = start_at(t, dirfd, path)
    scope = None
    if resolve:
        if resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT) and dirfd != AT_FDCWD:
            base = start_at(t, dirfd, b".")
        elif resolve & RESOLVE_IN_ROOT:
            base = t.fs.cwd
        inside = resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)
        scope = Scope(base if inside else t.fs.root, resolve)
    f = open_path(t, base, path, flags, mode, scope)
    return install(t, f, bool(flags & os.O_CLOEXEC))


def sys_open(t: Task, path: UserPtr, flags: CInt, mode: CUInt) -> int:
    """open(2)."""
    return sys_openat(t, AT_FDCWD, path, flags, mode)


def sys_creat(t: Task, path: UserPtr, mode: CUInt) -> int:
    """creat(2)."""
    return sys_openat(t, AT_FDCWD, path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)


def sys_openat(t: Task, dirfd: CInt, path: UserPtr, flags: CInt, mode: CUInt) -> int:
    """openat(2)."""
    flags = check_flags(flags, 0, False)
    return do_open(t, dirfd, t.copy_in_path(path), flags, mode & 0o7777)


def sys_openat2(t: Task, dirfd: CInt, path: UserPtr, how: UserPtr, size: CULong) -> int:
    """openat2(2)."""
    if size < 24:
        raise SysErr(errno.EINVAL)
    if size > 4096:
        raise SysErr(errno.E2BIG)
    raw = t.copy_in(how, size)
    if any(raw[24:]):
        raise SysErr(errno.E2BIG)
    flags, mode, resolve = struct.unpack_from("<QQQ", raw)
    if resolve & ~RESOLVE_ALL or (resolve & RESOLVE_BENEATH and resolve & RESOLVE_IN_ROOT):
        raise SysErr(errno.EINVAL)
    flags = check_flags(flags, mode, True)
    if resolve & RESOLVE_CACHED and flags & (os.O_TRUNC | os.O_CREAT | O_TMPFILE_BIT):
        raise SysErr(errno.EAGAIN)
    walk_bits = (
        RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
        | RESOLVE_BENEATH | RESOLVE_IN_ROOT
    )  # fmt: skip
    return do_open(t, dirfd, t.copy_in_path(path), flags, mode, resolve & walk_bits)


def close_fd(t: Task, fd: int) -> None:
    """Takes a descriptor away, with all that close(2) does."""
    f = t.files.remove(fd)
    try:
        f.flush(t)
    finally:  # a flush that waits may end with the task
        f.decref()


def sys_close(t: Task, fd: CUInt) -> int:
    """close(2)."""
    close_fd(t, fd)
    return 0


def sys_close_range(t: Task, first: CUInt, last: CUInt, flags: CUInt) -> int:
    """close_range(2)."""
    if flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) or first > last:
        raise SysErr(errno.EINVAL)
    if flags & CLOSE_RANGE_UNSHARE and t.files.refs > 1:
        unshare_files(t)
    for fd in sorted(n for n in t.files.files if first <= n <= last):
        if flags & CLOSE_RANGE_CLOEXEC:
            t.files.cloexec.add(fd)
        elif fd in t.files.files:
            close_fd(t, fd)
    return 0


def unshare_files(t: Task) -> None:
    """A descriptor table of its own (unshare(CLONE_FILES), execve)."""
    old: FdTable = t.files
    t.files = old.fork()
    forget_thread(t.thread.cdata)
    old.put(t)


def sys_umask(t: Task, mask: CInt) -> int:
    """umask(2)."""
    old = t.fs.umask
    t.fs.umask = mask & 0o777
    return old


assert MAX_RW_COUNT % 4096 == 0
TABLE: Final[Table] = {
    2: full("open", sys_open),
    3: full("close", sys_close),
    85: full("creat", sys_creat),
    95: full("umask", sys_umask),
    257: full("openat", sys_openat),
    436: full("close_range", sys_close_range),
    437: full("openat2", sys_openat2),
}
