"""Private memory that a device driver pins through the Sentry: a shared mapping of a memory file underneath (hazard B9).

To the application it stays private: a child of fork gets a copy, MADV_DONTNEED zeroes it.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, ClassVar, Final, final

from ...platform.interface import MAX_OPS, OF_FD0, OF_IGNORE, OP_RECVFD
from ..errors import SysErr

if TYPE_CHECKING:
    from ..kernel.thread import HostThread
    from .mm import MM
    from .vma import Vma

NR_PREAD64: Final = 17
NR_MMAP: Final = 9
NR_MPROTECT: Final = 10
NR_CLOSE: Final = 3
RW: Final = 3
PRIVATE_FIXED_ANON: Final = 0x2 | 0x10 | 0x20
MAX_AREA: Final = 1 << 30
"""What one pread can copy."""
MAX_LIVE: Final = 4096
MAX_AREAS: Final = (MAX_OPS - 10) // 3
"""A child's first operations must fit one list."""


@final
class Promoted:
    """The memory file of a promoted area; what the area's ``obj`` is. Closed with the last area that has it."""

    __slots__ = ("fd",)

    live: ClassVar[int] = 0
    """How many there are: each is a descriptor of the Sentry."""

    def __init__(self, size: int) -> None:
        self.fd = -1
        if Promoted.live >= MAX_LIVE:
            raise SysErr(errno.ENOMEM)
        Promoted.live += 1
        self.fd = os.memfd_create("nv-pinned", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            Promoted.live -= 1

    def copy(self, offset: int, size: int, fd: int, at: int) -> None:
        """Writes ``size`` bytes from ``offset`` on to ``fd`` at ``at``."""
        done = 0
        while done < size:
            n = os.copy_file_range(self.fd, fd, size - done, offset + done, at + done)
            if n == 0:
                return
            done += n


def copy_at_fork(mm: MM, th: HostThread) -> None:
    """``mm`` is a child's, made by fork; its first operations make private copies of what is promoted. Raises SysErr(ENOMEM)."""
    areas = [v for v in mm.map.vmas if isinstance(v.obj, Promoted)]
    if not areas:
        return
    if len(areas) > MAX_AREAS:
        raise SysErr(errno.ENOMEM)
    fd = os.memfd_create("nv-copy", os.MFD_CLOEXEC)
    try:
        th.give(fd)
        th.op(OP_RECVFD, 0, 0, 1)
        at = 0
        for v in areas:
            _copy(mm, th, v, fd, at)
            at += v.end - v.start
        th.host(NR_CLOSE, 0, flags=OF_FD0 | OF_IGNORE)
    finally:
        os.close(fd)


def _copy(mm: MM, th: HostThread, v: Vma, fd: int, at: int) -> None:
    assert isinstance(v.obj, Promoted)
    size = v.end - v.start
    if size > MAX_AREA:
        raise SysErr(errno.ENOMEM)
    v.obj.copy(v.offset, size, fd, at)
    th.host(NR_MMAP, v.start, size, RW, PRIVATE_FIXED_ANON, -1, 0)
    th.host(NR_PREAD64, 0, v.start, size, at, flags=OF_FD0)
    if v.prot & RW != RW:
        th.host(NR_MPROTECT, v.start, size, v.prot)
    own = v.part(v.start, v.end)
    own.obj, own.offset = None, 0
    mm.map.replace(v.start, v.end, [own])
