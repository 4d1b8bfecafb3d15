"""Descriptors: dup(2), fcntl(2), flock(2), ioctl(2)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING, Final

from ..abi.fcntl import F_LINUX_SPECIFIC
from ..abi.resource import RLIMIT_NOFILE
from ..errors import SysErr
from ..fs.pipe import pipe_of
from ..fs.tmpfs import add_seals, get_seals
from ..vfs import leases, locks, sigio
from ..vfs.perm import owner_or_capable
from .decode import CInt, CUInt, CULong, Table, full

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

F_DUPFD: Final = 0
F_GETFD: Final = 1
F_SETFD: Final = 2
F_GETFL: Final = 3
F_SETFL: Final = 4
F_GETLK: Final = 5
F_SETLK: Final = 6
F_SETLKW: Final = 7
F_SETOWN: Final = 8
F_GETOWN: Final = 9
F_SETSIG: Final = 10
F_GETSIG: Final = 11
F_SETOWN_EX: Final = 15
F_GETOWN_EX: Final = 16
F_OFD_GETLK: Final = 36
F_OFD_SETLK: Final = 37
F_OFD_SETLKW: Final = 38
F_SETLEASE: Final = F_LINUX_SPECIFIC
F_GETLEASE: Final = F_LINUX_SPECIFIC + 1
F_NOTIFY: Final = F_LINUX_SPECIFIC + 2
LOCK_MAND: Final = 32
F_DUPFD_QUERY: Final = F_LINUX_SPECIFIC + 3
F_DUPFD_CLOEXEC: Final = F_LINUX_SPECIFIC + 6
F_SETPIPE_SZ: Final = F_LINUX_SPECIFIC + 7
F_GETPIPE_SZ: Final = F_LINUX_SPECIFIC + 8
F_ADD_SEALS: Final = F_LINUX_SPECIFIC + 9
F_GET_SEALS: Final = F_LINUX_SPECIFIC + 10
F_GET_RW_HINT: Final = F_LINUX_SPECIFIC + 11
F_SET_RW_HINT: Final = F_LINUX_SPECIFIC + 12
PATH_OK: Final = frozenset((F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_QUERY))

O_ASYNC: Final = 0o20000
O_CHANGEABLE: Final = os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT | os.O_NOATIME | O_ASYNC

FIGETBSZ: Final = 2
FIONREAD: Final = 0x541B
FIONBIO: Final = 0x5421
FIONCLEX: Final = 0x5450
FIOCLEX: Final = 0x5451
FIOASYNC: Final = 0x5452
FIOSETOWN: Final = 0x8901
SIOCSPGRP: Final = 0x8902
FIOGETOWN: Final = 0x8903
SIOCGPGRP: Final = 0x8904
FIOQSIZE: Final = 0x5460
NO_CLONES: Final = frozenset(
    (0x40049409, 0x4020940D, 0xC0189436)
)  # FICLONE, FICLONERANGE, FIDEDUPERANGE

_FLOCK: Final = struct.Struct("<hh4xqqi4x")


def sys_dup(t: Task, fd: CUInt) -> int:
    """dup(2)."""
    return t.files.install(t.files.get_any(fd), t.tg.rlimit(RLIMIT_NOFILE))


def _dup_to(t: Task, old: int, new: int, cloexec: bool) -> int:
    if new >= t.tg.rlimit(RLIMIT_NOFILE):
        raise SysErr(errno.EBADF)
    before = t.files.replace(new, t.files.get_any(old), cloexec)
    if before is not None:
        try:
            before.flush(t)
        finally:
            before.decref()
    return new


def sys_dup2(t: Task, old: CUInt, new: CUInt) -> int:
    """dup2(2)."""
    if old == new:
        t.files.get_any(old)
        return new
    return _dup_to(t, old, new, False)


def sys_dup3(t: Task, old: CUInt, new: CUInt, flags: CInt) -> int:
    """dup3(2)."""
    if flags & ~os.O_CLOEXEC or old == new:
        raise SysErr(errno.EINVAL)
    return _dup_to(t, old, new, bool(flags & os.O_CLOEXEC))


def sys_fcntl(t: Task, fd: CUInt, cmd: CUInt, arg: CULong) -> int:
    """fcntl(2)."""
    f = t.files.get_any(fd)
    if f.flags & os.O_PATH and cmd not in PATH_OK:
        raise SysErr(errno.EBADF)
    if cmd in (F_DUPFD, F_DUPFD_CLOEXEC):
        limit = t.tg.rlimit(RLIMIT_NOFILE)
        least = arg & 0xFFFFFFFF
        if least >= limit:
            raise SysErr(errno.EINVAL)
        return t.files.install(f, limit, cmd == F_DUPFD_CLOEXEC, least)
    if cmd == F_GETFD:
        return int(fd in t.files.cloexec)
    if cmd == F_SETFD:
        (t.files.cloexec.add if arg & 1 else t.files.cloexec.discard)(fd)
        return 0
    if cmd == F_GETFL:
        return f.flags
    if cmd == F_SETFL:
        return _setfl(t, f, fd, arg)
    if cmd == F_DUPFD_QUERY:
        return int(t.files.get_any(arg & 0xFFFFFFFF) is f)
    if F_GETLK <= cmd <= F_SETLKW or F_OFD_GETLK <= cmd <= F_OFD_SETLKW:
        return _lock(t, f, cmd, arg)
    if F_SETOWN <= cmd <= F_GETOWN_EX:
        return _owner(t, f, cmd, arg)
    if cmd == F_SETLEASE:
        leases.set_lease(t, f, fd, arg & 0xFFFFFFFF)
        return 0
    if cmd == F_NOTIFY:
        leases.set_dir_notify(t, f, fd, arg)
        return 0
    return _special(t, f, cmd, arg)


def _setfl(t: Task, f: FileDescription, fd: int, arg: int) -> int:
    if arg & os.O_NOATIME and not f.flags & os.O_NOATIME and not owner_or_capable(t, f.inode):
        raise SysErr(errno.EPERM)
    if not f.can_async():
        arg &= ~O_ASYNC
    f.set_flags(t, f.flags & ~O_CHANGEABLE | arg & O_CHANGEABLE)
    sigio.set_async(f, fd, bool(arg & O_ASYNC))
    return 0


def _owner(t: Task, f: FileDescription, cmd: int, arg: int) -> int:
    if cmd == F_SETOWN:
        who = arg & 0xFFFFFFFF
        sigio.set_owner_number(t, f, who - (1 << 32) if who >> 31 else who)
        return 0
    if cmd == F_GETOWN:
        return _owner_number(t, f)
    if cmd == F_SETSIG:
        if arg > 64:
            raise SysErr(errno.EINVAL)
        f.owner_sig = arg
        return 0
    if cmd == F_GETSIG:
        return f.owner_sig
    if cmd == F_SETOWN_EX:
        kind, pid = struct.unpack("<ii", t.copy_in(arg, 8))
        if not 0 <= kind <= 2:
            raise SysErr(errno.EINVAL)
        sigio.set_owner(t, f, kind, pid)
        return 0
    if cmd == F_GETOWN_EX:
        t.copy_out(arg, struct.pack("<ii", *sigio.owner_of(t, f)))
        return 0
    raise SysErr(errno.EINVAL)


def _owner_number(t: Task, f: FileDescription) -> int:
    kind, ident = sigio.owner_of(t, f)
    return -ident if kind == sigio.F_OWNER_PGRP else ident


def _special(t: Task, f: FileDescription, cmd: int, arg: int) -> int:
    if cmd in (F_SETPIPE_SZ, F_GETPIPE_SZ):
        pipe = pipe_of(f)
        if pipe is None:
            raise SysErr(errno.EBADF)
        return pipe.size if cmd == F_GETPIPE_SZ else pipe.resize(t, arg & 0xFFFFFFFF)
    if cmd == F_GETLEASE:
        return leases.get_lease(f)
    if cmd == F_ADD_SEALS:
        get_seals(f.inode)  # EINVAL before EPERM
        if not f.writable():
            raise SysErr(errno.EPERM)
        if arg & ~0x3F:
            raise SysErr(errno.EINVAL)
        add_seals(t, f.inode, arg)
        return 0
    if cmd == F_GET_SEALS:
        return get_seals(f.inode)
    if cmd in (F_GET_RW_HINT, F_GET_RW_HINT + 2):
        t.copy_out(arg, bytes(8))
        return 0
    if cmd in (F_SET_RW_HINT, F_SET_RW_HINT + 2):
        if int.from_bytes(t.copy_in(arg, 8), "little") > 5:
            raise SysErr(errno.EINVAL)
        return 0
    raise SysErr(errno.EINVAL)


def _range(t: Task, f: FileDescription, whence: int, start: int, length: int) -> tuple[int, int]:
    """Absolute (first, last) of a struct flock (Linux: flock64_to_posix_lock)."""
    if whence == os.SEEK_CUR:
        start += f.offset
    elif whence == os.SEEK_END:
        start += f.inode.end(t)
    elif whence != os.SEEK_SET:
        raise SysErr(errno.EINVAL)
    if start > locks.OFFSET_MAX:
        raise SysErr(errno.EOVERFLOW)
    if start < 0:
        raise SysErr(errno.EINVAL)
    if length > 0:
        if start + length - 1 > locks.OFFSET_MAX:
            raise SysErr(errno.EOVERFLOW)
        return start, start + length - 1
    if length < 0:
        if start + length < 0:
            raise SysErr(errno.EINVAL)
        return start + length, start - 1
    return start, locks.OFFSET_MAX


def _lock(t: Task, f: FileDescription, cmd: int, arg: int) -> int:
    kind, whence, start, length, pid = _FLOCK.unpack(t.copy_in(arg, _FLOCK.size))
    ofd = cmd >= F_OFD_GETLK
    if ofd and pid != 0:
        raise SysErr(errno.EINVAL)
    get = cmd in (F_GETLK, F_OFD_GETLK)
    if kind not in ((0, 1) if get else (0, 1, 2)):
        raise SysErr(errno.EINVAL)
    first, last = _range(t, f, whence, start, length)
    owner: object = f if ofd else t.files
    want = locks.Lock(owner, -1 if ofd else t.tg.pid, kind, first, last)
    i = f.inode
    if get:
        c = locks.find_conflict(i, want)
        if c is None:
            out = _FLOCK.pack(locks.F_UNLCK, whence, start, length, pid)
        else:
            size = 0 if c.end == locks.OFFSET_MAX else c.end - c.start + 1
            pid = t.tg.pidns.number(c.pid) if c.pid > 0 else c.pid
            out = _FLOCK.pack(c.kind, os.SEEK_SET, c.start, size, pid)
        t.copy_out(arg, out)
        return 0
    if (kind == locks.F_RDLCK and not f.readable()) or (kind == locks.F_WRLCK and not f.writable()):
        raise SysErr(errno.EBADF)
    locks.set_lock(t, i, want, cmd in (F_SETLKW, F_OFD_SETLKW))
    return 0


def sys_flock(t: Task, fd: CUInt, op: CUInt) -> int:
    """flock(2)."""
    if op & LOCK_MAND:  # what is left of mandatory share locks: nothing happens
        return 0
    kinds = {
        fcntl.LOCK_SH: locks.F_RDLCK,
        fcntl.LOCK_EX: locks.F_WRLCK,
        fcntl.LOCK_UN: locks.F_UNLCK,
    }
    kind = kinds.get(op & ~fcntl.LOCK_NB)
    if kind is None:
        raise SysErr(errno.EINVAL)
    f = t.files.get(fd)
    locks.set_flock(t, f.inode, f, kind, not op & fcntl.LOCK_NB)
    return 0


def sys_ioctl(t: Task, fd: CUInt, cmd: CUInt, arg: CULong) -> int:
    """ioctl(2): what holds for every file here, the rest is the file's own."""
    f = t.files.get(fd)
    if cmd == FIOCLEX:
        t.files.cloexec.add(fd)
        return 0
    if cmd == FIONCLEX:
        t.files.cloexec.discard(fd)
        return 0
    if cmd in (FIONBIO, FIOASYNC):
        bit = os.O_NONBLOCK if cmd == FIONBIO else O_ASYNC
        on = any(t.copy_in(arg, 4))
        if cmd == FIOASYNC:
            if on == bool(f.flags & O_ASYNC):
                return 0
            if not f.can_async():
                raise SysErr(errno.ENOTTY)
            sigio.set_async(f, fd, on)
        f.set_flags(t, f.flags | bit if on else f.flags & ~bit)
        return 0
    i = f.inode
    if cmd == FIGETBSZ and f.path is not None:
        t.copy_out(arg, struct.pack("<i", i.fs.blksize))
        return 0
    if i.mode & 0o170000 == 0o140000:
        if cmd in (FIOSETOWN, SIOCSPGRP):
            sigio.set_owner_number(t, f, struct.unpack("<i", t.copy_in(arg, 4))[0])
            return 0
        if cmd in (FIOGETOWN, SIOCGPGRP):
            t.copy_out(arg, struct.pack("<i", _owner_number(t, f)))
            return 0
    if i.is_reg():
        if cmd == FIONREAD:
            left = i.end(t) - f.offset
            t.copy_out(arg, struct.pack("<i", max(-(1 << 31), min(left, 0x7FFFFFFF))))
            return 0
        if cmd in NO_CLONES:
            raise SysErr(errno.EOPNOTSUPP)
    if cmd == FIOQSIZE and i.mode & 0o170000 in (0o100000, 0o040000, 0o120000):
        t.copy_out(arg, struct.pack("<q", i.end(t)))
        return 0
    return f.ioctl(t, cmd, arg)


TABLE: Final[Table] = {
    16: full("ioctl", sys_ioctl),
    32: full("dup", sys_dup),
    33: full("dup2", sys_dup2),
    72: full("fcntl", sys_fcntl),
    73: full("flock", sys_flock),
    292: full("dup3", sys_dup3),
}
