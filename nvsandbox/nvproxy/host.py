"""Host ioctls on device descriptors: parameters laid out in an arena, one system call, no Python object in the driver's reach.

An arena is anonymous memory of our own; every pointer that the driver gets points into one. Arenas are reused, and
what a call puts there is overwritten by the next, so nothing of one process reaches another: only lengths that were
filled are copied out.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
from typing import Final, final

from ..sentry.errors import SysErr

_libc: Final = ctypes.CDLL(None, use_errno=True)
_ioctl: Final = _libc.ioctl
_ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
_ioctl.restype = ctypes.c_int
ARENA: Final = 4 << 20
KEEP: Final = 16


@final
class Arena:
    """Memory of one host call. ``take`` hands out 16-byte aligned pieces."""

    __slots__ = ("_map", "addr", "buf", "top")

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, ARENA)
        self.buf = memoryview(self._map)
        self.addr = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.top = 0

    def take(self, size: int) -> int:
        """Offset of ``size`` zeroed bytes. Raises SysErr(ENOMEM)."""
        at = self.top
        end = at + ((size + 15) & ~15)
        if end > ARENA:
            raise SysErr(errno.ENOMEM)
        self.top = end
        self.buf[at:end] = bytes(end - at)
        return at

    def put(self, data: bytes | bytearray | memoryview) -> int:
        """As ``take``, filled with ``data``."""
        n = len(data)
        at = self.top
        end = at + ((n + 15) & ~15)
        if end > ARENA:
            raise SysErr(errno.ENOMEM)
        self.top = end
        self.buf[at : at + n] = data
        return at


@final
class Arenas:
    """A pool: one arena a call in flight."""

    __slots__ = ("_free",)

    def __init__(self) -> None:
        self._free: list[Arena] = [Arena()]

    def get(self) -> Arena:
        """An arena that nobody uses."""
        if self._free:
            a = self._free.pop()
            a.top = 0
            return a
        return Arena()

    def put(self, a: Arena) -> None:
        """Give it back."""
        if len(self._free) < KEEP:
            self._free.append(a)


def ioctl(fd: int, cmd: int, addr: int) -> int:
    """ioctl(2): 0 or more, or a negative errno. Releases the interpreter's lock."""
    r: int = _ioctl(fd, cmd, addr)
    return r if r >= 0 else -ctypes.get_errno()
