"""What procfs needs of other processes' memory.

Reading the memory of a process that runs is the kernel's business; it registers a reader. Without one only the caller's
own memory is seen.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.remote import read_remote, write_forced
from ..vfs.file import FileDescription
from ..vfs.inode import FileSystem, Inode
from ..vfs.synthetic import SynthInode
from .proc_access import check_access

if TYPE_CHECKING:
    from ..kernel.task import Task, ThreadGroup
    from ..mm.mm import MM
    from ..vfs.path import Path

Reader = Callable[["Task", "MM", int, int], bytes]
_READER: Final[list[Reader]] = []
MAX_ARGS: Final = 1 << 21


def register_reader(fn: Reader) -> None:
    """``fn(t, mm, addr, size)`` gives what can be read of ``mm``; it may suspend ``t``."""
    _READER[:] = [fn]


def read_mm(t: Task, mm: MM, addr: int, size: int) -> bytes:
    """Up to ``size`` bytes at ``addr``; b"" when nothing can be read. May suspend."""
    size = min(size, MAX_ARGS)
    if size <= 0:
        return b""
    if t.mm is mm:
        try:
            return t.copy_in(addr, size)
        except SysErr:
            return b""
    return _READER[0](t, mm, addr, size) if _READER else b""


def arguments(t: Task, mm: MM) -> bytes:
    """/proc/PID/cmdline: the argument block, or up to the first NUL behind it if the program rewrote it."""
    raw = read_mm(t, mm, mm.arg_start, mm.arg_end - mm.arg_start)
    if raw and raw[-1] != 0:
        more = read_mm(t, mm, mm.env_start, mm.env_end - mm.env_start)
        raw = (raw + more).split(b"\0", 1)[0] + b"\0"
    return raw


def environment(t: Task, mm: MM) -> bytes:
    return read_mm(t, mm, mm.env_start, mm.env_end - mm.env_start)


@final
class MemFile(SynthInode):
    """/proc/PID/mem: the memory of the process as it is when the file is opened (Linux: fs/proc/base.c mem_open)."""

    __slots__ = ("tg",)

    def __init__(self, fs: FileSystem, tg: ThreadGroup) -> None:
        super().__init__(fs, stat.S_IFREG | 0o600)
        self.tg = tg

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        check_access(t, self.tg)
        mm = self.tg.mm
        return MemDesc(flags, path, self, mm)


@final
class MemDesc(FileDescription):
    """Reads and writes past protections, as debuggers need it (FOLL_FORCE, hazard B19)."""

    __slots__ = ("mem", "mm")

    def __init__(self, flags: int, path: Path, mem: MemFile, mm: MM | None) -> None:
        super().__init__(flags, path)
        self.mem = mem
        self.mm = mm

    @property
    def inode(self) -> Inode:
        return self.mem

    def pollable(self) -> bool:
        return False

    def _alive(self) -> MM | None:
        mm = self.mm
        return mm if mm is not None and mm.users > 0 else None

    def read(self, t: Task, size: int) -> bytes | int:
        data = self.pread(t, size, self.offset)
        if isinstance(data, bytes):
            self.offset += len(data)
        return data

    def pread(self, t: Task, size: int, offset: int) -> bytes | int:
        mm = self._alive()
        if mm is None or size == 0:
            return b""
        data = read_remote(t, mm, offset, size, True)
        return data or -errno.EIO

    def write(self, t: Task, data: bytes) -> int:
        n = self.pwrite(t, data, self.offset)
        if n > 0:
            self.offset += n
        return n

    def pwrite(self, t: Task, data: bytes, offset: int) -> int:
        mm = self._alive()
        if mm is None:
            return 0
        return write_forced(t, mm, offset, data) or -errno.EIO

    def seek(self, t: Task, offset: int, whence: int) -> int:
        if whence == os.SEEK_CUR:
            offset += self.offset
        elif whence != os.SEEK_SET:
            raise SysErr(errno.EINVAL)
        self.offset = offset
        return offset
