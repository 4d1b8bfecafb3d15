"""Application memory that the driver pins (host registration): the driver pins pages of the *calling* process, the Sentry.

The range is turned into a mapping of a memory file that the Sentry maps as well ("promotion"); the application keeps its addresses and
contents, the driver gets the Sentry's address.
"""

from __future__ import annotations

import ctypes
import errno
import mmap as pymmap
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..platform.interface import OF_FD0, OF_FD4, OF_IGNORE, OP_RECVFD
from ..sentry.errors import SysErr
from ..sentry.mm import mm as m
from ..sentry.mm.promoted import Promoted
from ..sentry.mm.vma import PAGE, STUB, VDSO, SharedAnon, Vma
from . import status

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task

MAX_PIN: Final = 1 << 38
MAX_PINNED: Final = 8192
_NR_PWRITE: Final = 18
_CHUNK: Final = 1 << 30
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
)  # fmt: skip
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED: Final = (1 << 64) - 1


@final
class Pinned:
    """A range of the application's memory that the Sentry maps too, for as long as a driver object needs it."""

    __slots__ = ("_base", "_size", "_user", "address", "files")

    live: ClassVar[int] = 0
    """How many there are: each is a mapping of the Sentry's."""

    def __init__(self, user: int, base: int, size: int, skew: int, files: list[object]) -> None:
        self._user = user
        self._base = base
        self._size = size
        self.address = base + skew
        self.files = files
        Pinned.live += 1

    def outside(self, address: int) -> int:
        """The application's address for one of the Sentry's."""
        if self._base <= address < self._base + self._size:
            return self._user + address - self._base
        return address

    def inside(self, address: int) -> int:
        """The reverse."""
        if self._user <= address < self._user + self._size:
            return self._base + address - self._user
        return address

    def close(self) -> None:
        """The driver has let go of the pages."""
        if self._base:
            _libc.munmap(self._base, self._size)
            self._base = 0
            Pinned.live -= 1

    __del__ = close


def pin(t: Task, addr: int, size: int, guard: int = 0) -> Pinned:
    """Promote ``size`` bytes at ``addr`` and map them here, with at least ``guard`` bytes behind that nobody can touch. May suspend.
    Raises Refused."""
    start = addr & ~(PAGE - 1)
    end = (addr + size + PAGE - 1) & ~(PAGE - 1)
    if Pinned.live >= MAX_PINNED:
        raise status.Refused(status.INSUFFICIENT_RESOURCES)
    if size <= 0 or size > MAX_PIN or end > m.TASK_SIZE or not start:
        raise status.Refused(status.INVALID_ADDRESS)
    mm = t.mm
    shared = mm.users > 1
    if shared:
        mm.lock(t)
    try:
        if not mm.map.covered(start, end):
            raise status.Refused(status.INVALID_ADDRESS)
        parts = [_backing(t, v, max(v.start, start), min(v.end, end)) for v in mm.map.overlapping(start, end)]  # fmt: skip
        return _map_here(start, end, addr - start, parts, guard)
    except (SysErr, OSError):
        raise status.Refused(status.INVALID_ADDRESS) from None
    finally:
        if shared:
            mm.unlock()


Part = tuple[int, int, int, bool, object]
"""Host descriptor, offset in it, bytes, writable, what keeps it."""


def _backing(t: Task, v: Vma, lo: int, hi: int) -> Part:
    """A file that holds what the area has between ``lo`` and ``hi``, after promotion if need be. Raises Refused."""
    if v.kind in (STUB, VDSO) or getattr(v.file, "kind", "") in ("ctl", "gpu", "uvm"):
        raise status.Refused(status.INVALID_ADDRESS)
    if isinstance(v.obj, Promoted):
        return v.obj.fd, v.offset + lo - v.start, hi - lo, True, v.obj
    if isinstance(v.obj, SharedAnon) and v.obj.fd >= 0:
        return v.obj.fd, v.offset + lo - v.start, hi - lo, True, v.obj
    if v.shared:
        if v.file is None:
            raise status.Refused(
                status.NOT_SUPPORTED
            )  # anonymous and shared: no file of the Sentry's
        writable = v.file.writable()
        fd = v.file.mappable(t).host_fd(t, writable)
        return fd, v.offset + lo - v.start, hi - lo, writable, v.file
    if not v.prot & 1:
        raise status.Refused(status.INVALID_ADDRESS)
    made = _promote(t, v, lo, hi)
    return made.fd, 0, hi - lo, True, made


def _promote(t: Task, v: Vma, lo: int, hi: int) -> Promoted:
    """Private memory becomes a shared mapping of a memory file with the same contents. Other threads that write to it meanwhile
    fault, and wait (``MM.held``)."""
    made = Promoted(hi - lo)
    mm, th = t.mm, t.thread
    threads = mm.users > 1 and bool(v.prot & 2)
    mm.space.send_fds(made.fd)
    th.op(OP_RECVFD, 0, 0, 1)
    try:
        if threads:
            mm.hold = (lo, hi)
            th.host(m.NR_MPROTECT, lo, hi - lo, v.prot & ~2)
        for off in range(0, hi - lo, _CHUNK):
            n = min(_CHUNK, hi - lo - off)
            th.host(_NR_PWRITE, 0, lo + off, n, off, flags=OF_FD0)
            if th.run() != n:
                raise SysErr(errno.EFAULT)
        th.host(m.NR_MMAP, lo, hi - lo, v.prot, m.MAP_SHARED | m.MAP_FIXED, 0, 0, flags=OF_FD4)
        th.run()
    except SysErr:
        if threads:
            th.host(m.NR_MPROTECT, lo, hi - lo, v.prot, flags=OF_IGNORE)
        raise
    finally:
        th.host(m.NR_CLOSE, 0, flags=OF_FD0 | OF_IGNORE)
        th.run()
        mm.hold = None
    nv = v.part(lo, hi)
    nv.obj, nv.offset, nv.file = made, 0, None
    mm.map.replace(lo, hi, [nv])
    return made


def _map_here(start: int, end: int, skew: int, parts: list[Part], guard: int) -> Pinned:
    """One contiguous mapping in the Sentry of all the parts. Raises OSError."""
    size = end - start + (guard + PAGE - 1 & ~(PAGE - 1))
    anonymous = pymmap.MAP_PRIVATE | pymmap.MAP_ANONYMOUS
    base = _libc.mmap(None, size, 0, anonymous, -1, 0)
    if base in (None, _FAILED):
        raise OSError(ctypes.get_errno(), "mmap")
    pinned = Pinned(start, base, size, skew, [p[4] for p in parts])
    at = base
    for fd, offset, n, writable, _ in parts:
        prot = pymmap.PROT_READ | (pymmap.PROT_WRITE if writable else 0)
        got = _libc.mmap(at, n, prot, pymmap.MAP_SHARED | 0x10, fd, offset)
        if got != at:
            pinned.close()
            raise OSError(ctypes.get_errno(), "mmap")
        at += n
    return pinned
