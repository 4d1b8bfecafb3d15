"""What procfs needs of other processes' memory.

Reading the memory of a process that runs is the kernel's business; it registers a reader. Without one only the caller's
own memory is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import SysErr

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..mm.mm import MM

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
