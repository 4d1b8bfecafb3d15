"""Regular files and their descriptions (Linux: mm/filemap.c, fs/read_write.c generic_* functions).

The inode reads and writes at an offset and has host descriptors for mapping (``Inode.read_at`` and what follows
there). ``RegFile`` adds what an open file has: position, O_APPEND, limits, times, events.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Final

from ..abi.resource import RLIMIT_FSIZE
from ..errors import SysErr
from .file import FileDescription, Mappable
from .inode import Inode
from .leases import break_leases
from .lent import take_all_back, take_back
from .namei import touch_atime
from .notify import (
    IN_ACCESS,
    IN_CLOSE_NOWRITE,
    IN_CLOSE_WRITE,
    IN_MODIFY,
    active,
    notify,
)
from .perm import strip_on_write, truncate

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .path import Path

MAX_BYTES: Final = (1 << 63) - 1
FALLOC_FL_KEEP_SIZE: Final = 1
FALLOC_FL_PUNCH_HOLE: Final = 2


def open_regular(t: Task, path: Path, flags: int, i: Inode) -> FileDescription:
    """``Inode.open`` of a regular file."""
    if i.locks is not None:
        break_leases(t, i, bool(flags & (3 | os.O_TRUNC)), bool(flags & os.O_NONBLOCK))
    if flags & 3:
        get_write(t, i)
    try:
        i.opened(t, flags)
    except SysErr:
        if flags & 3:
            i.put_write()
        raise
    return RegFile(flags, path, i)


def get_write(t: Task, i: Inode) -> None:
    """``i`` is about to be written, until ``i.put_write``: text that is mapped from it has no patched call sites from here on. May
    suspend. Raises ETXTBSY while it is executed."""
    i.get_write()
    m = i.map
    if isinstance(m, RegMappable) and m.text is not None and t.k.patcher is not None:
        t.k.patcher.may_change(t, m)


class RegMappable(Mappable):
    """What mmap sees of a regular file. ``mapped``: it has been asked for, so that mappings may have to be made anew
    when the host file behind it is replaced (copy-up, hazard B22)."""

    __slots__ = ("mapped", "reg", "text")

    def __init__(self, reg: Inode) -> None:
        self.reg = reg
        self.mapped = False
        self.text: object | None = None  # its patched call sites (mm/patch.py)

    def host_fd(self, t: Task, writable: bool) -> int:
        self.mapped = True
        return self.reg.host_fd(t, writable)


def forget_map(reg: Inode) -> None:
    """A file that is deleted and closed must not keep itself alive."""
    if reg.nlink == 0 and reg.opens == 0:
        reg.map = None


class RegFile(FileDescription):
    """An open regular file."""

    __slots__ = ("reg",)

    def __init__(self, flags: int, path: Path | None, reg: Inode) -> None:
        super().__init__(flags, path)
        self.reg = reg
        reg.opens += 1

    @property
    def inode(self) -> Inode:
        return self.reg

    def pollable(self) -> bool:
        return False

    def read(self, t: Task, size: int) -> bytes | int:
        data = self.pread(t, size, self.offset)
        if isinstance(data, bytes):
            self.offset += len(data)
        return data

    def pread(self, t: Task, size: int, offset: int) -> bytes | int:
        data = self.reg.read_at(t, offset, size)
        self.accessed(t)
        return data

    def accessed(self, t: Task) -> None:
        if self.path is not None and not self.flags & os.O_NOATIME:
            touch_atime(t, self.path)
            if active():
                notify(self.path.dentry, IN_ACCESS)

    def write(self, t: Task, data: bytes) -> int:
        append = bool(self.flags & os.O_APPEND)
        n = self._write(t, data, -1 if append else self.offset)
        self.offset = (self.reg.end(t) if append else self.offset + n) if n > 0 else self.offset
        return n

    def pwrite(self, t: Task, data: bytes, offset: int) -> int:
        return self._write(t, data, -1 if self.flags & os.O_APPEND else offset)

    def overwrite(self, t: Task, addr: int, size: int, offset: int) -> bool:
        reg = self.reg
        if reg.lent is not None or reg.mode & 0o6000 or self.flags & os.O_APPEND or active():
            return False
        at = self.offset if offset < 0 else offset
        if at + size > t.tg.rlimit(RLIMIT_FSIZE) or not reg.overwrite(t, at, addr, size):
            return False
        if offset < 0:
            self.offset = at + size
        return True

    def _write(self, t: Task, data: bytes, offset: int) -> int:
        if not data:
            return 0
        reg = self.reg
        reg.prepare_write(t)
        if reg.lent is not None:
            take_all_back(reg)
        if reg.mode & 0o6000:
            strip_on_write(t, reg)
        data = limit_write(t, reg.end(t) if offset < 0 else offset, data)
        n = reg.write_at(t, offset, data)
        if self.path is not None and active():
            notify(self.path.dentry, IN_MODIFY)
        return n

    def seek(self, t: Task, offset: int, whence: int) -> int:
        if whence == os.SEEK_CUR:
            offset += self.offset
        elif whence == os.SEEK_END:
            offset += self.reg.end(t)
        elif whence in (os.SEEK_DATA, os.SEEK_HOLE):
            if offset < 0 or offset >= self.reg.end(t):
                raise SysErr(errno.ENXIO)
            offset = self.reg.seek_hole(t, offset, whence == os.SEEK_DATA)
        elif whence != os.SEEK_SET:
            raise SysErr(errno.EINVAL)
        if offset < 0 or offset > MAX_BYTES:
            raise SysErr(errno.EINVAL)
        self.offset = offset
        return offset

    def direct_fd(self, t: Task, writable: bool) -> int:
        return self.reg.direct_fd(t, writable)

    def mappable(self, t: Task) -> Mappable:
        reg = self.reg
        if (
            reg.map is None
        ):  # only now: they refer to each other, and a deleted file is to be gone at once
            reg.map = RegMappable(reg)
        return reg.map

    def fsync(self, t: Task, datasync: bool) -> None:
        self.reg.sync_data(t, datasync)

    def truncate(self, t: Task, size: int) -> None:
        truncate(t, self.reg, size)
        if self.path is not None and active():
            notify(self.path.dentry, IN_MODIFY)

    def fallocate(self, t: Task, mode: int, offset: int, length: int) -> None:
        end = offset + length
        if end > MAX_BYTES:
            raise SysErr(errno.EFBIG)
        grows = not mode & FALLOC_FL_PUNCH_HOLE and end > self.reg.end(t)
        if grows and end > t.tg.rlimit(RLIMIT_FSIZE):
            t.send_signal_self(signal.SIGXFSZ)
            raise SysErr(errno.EFBIG)
        self.reg.prepare_write(t)
        self.reg.allocate(t, mode, offset, length)

    def release(self) -> None:
        if self.lent:
            take_back(self)
        self.reg.opens -= 1
        forget_map(self.reg)
        if self.flags & 3:
            self.reg.put_write()
        self.reg.closed(self.flags)
        if self.path is not None and active():
            notify(self.path.dentry, IN_CLOSE_WRITE if self.flags & 3 else IN_CLOSE_NOWRITE)


def limit_write(t: Task, offset: int, data: bytes) -> bytes:
    """RLIMIT_FSIZE and the largest offset (Linux: generic_write_checks). Raises EFBIG, with SIGXFSZ."""
    limit = t.tg.rlimit(RLIMIT_FSIZE)
    if offset + len(data) <= limit and offset + len(data) <= MAX_BYTES:
        return data
    if offset >= limit:
        t.send_signal_self(signal.SIGXFSZ)
        raise SysErr(errno.EFBIG)
    if offset >= MAX_BYTES:
        raise SysErr(errno.EFBIG)
    return data[: min(limit, MAX_BYTES) - offset]
