"""Interface ioctls as far as a loopback interface answers them (Linux: net/core/dev_ioctl.c; netdevice(7))."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import SysErr

if TYPE_CHECKING:
    from ..kernel.task import Task

SIOCGIFNAME: Final = 0x8910
SIOCGIFCONF: Final = 0x8912
SIOCGIFFLAGS: Final = 0x8913
SIOCGIFADDR: Final = 0x8915
SIOCGIFBRDADDR: Final = 0x8919
SIOCGIFNETMASK: Final = 0x891B
SIOCGIFMETRIC: Final = 0x891D
SIOCGIFMTU: Final = 0x8921
SIOCGIFHWADDR: Final = 0x8927
SIOCGIFINDEX: Final = 0x8933
SIOCGIFTXQLEN: Final = 0x8942
LO_FLAGS: Final = 0x49  # UP, LOOPBACK, RUNNING
LO_MTU: Final = 65536
SIN_LO: Final = struct.pack("<HH4s8x", 2, 0, b"\x7f\0\0\1")
SIN_MASK: Final = struct.pack("<HH4s8x", 2, 0, b"\xff\0\0\0")
SIN_ZERO: Final = struct.pack("<HH4s8x", 2, 0, bytes(4))


# Set where interfaces are the host's (net/host.py): it answers instead, None for what it does not know.
forward: list[Callable[[Task, int, int], int | None]] = []


def if_ioctl(t: Task, cmd: int, arg: int) -> int:
    """Answers for ``lo``. Raises ENODEV for other names, EPERM for changes, ENOTTY for what is no such ioctl."""
    for answer in forward:
        r = answer(t, cmd, arg)
        if r is not None:
            return r
    if cmd == SIOCGIFCONF:
        return _ifconf(t, arg)
    answers = {
        SIOCGIFFLAGS: struct.pack("<h", LO_FLAGS),
        SIOCGIFADDR: SIN_LO,
        SIOCGIFBRDADDR: SIN_ZERO,
        SIOCGIFNETMASK: SIN_MASK,
        SIOCGIFMETRIC: struct.pack("<i", 0),
        SIOCGIFMTU: struct.pack("<i", LO_MTU),
        SIOCGIFHWADDR: struct.pack("<H14x", 772),
        SIOCGIFINDEX: struct.pack("<i", 1),
        SIOCGIFTXQLEN: struct.pack("<i", 1000),
    }
    if cmd == SIOCGIFNAME:
        if struct.unpack("<i", t.copy_in(arg + 16, 4))[0] != 1:
            raise SysErr(errno.ENODEV)
        t.copy_out(arg, b"lo".ljust(16, b"\0"))
        return 0
    if cmd in answers:
        if t.copy_in(arg, 16).split(b"\0")[0] != b"lo":
            raise SysErr(errno.ENODEV)
        t.copy_out(arg + 16, answers[cmd].ljust(16, b"\0"))
        return 0
    if 0x8914 <= cmd <= 0x8943:
        raise SysErr(errno.EPERM)
    raise SysErr(errno.ENOTTY)


def _ifconf(t: Task, arg: int) -> int:
    size, buf = struct.unpack("<i4xQ", t.copy_in(arg, 16))
    if buf == 0:
        t.copy_out(arg, struct.pack("<i", 40))
        return 0
    if size < 40:
        t.copy_out(arg, struct.pack("<i", 0))
        return 0
    t.copy_out(buf, b"lo".ljust(16, b"\0") + SIN_LO.ljust(24, b"\0"))
    t.copy_out(arg, struct.pack("<i", 40))
    return 0
