"""pipe(2), pipe2(2)."""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..fs.pipe import make_pipe
from .decode import CInt, Table, UserPtr, full

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

RLIMIT_NOFILE: Final = 7
PIPE_FLAGS: Final = os.O_CLOEXEC | os.O_NONBLOCK | os.O_DIRECT


def install_pair(t: Task, addr: int, a: FileDescription, b: FileDescription, cloexec: bool) -> None:
    """Two descriptors, written to ``addr``; neither stays when something fails."""
    limit = t.tg.rlimit(RLIMIT_NOFILE)
    a.incref()
    b.incref()
    try:
        fa = t.files.install(a, limit, cloexec)
        try:
            fb = t.files.install(b, limit, cloexec)
            try:
                t.copy_out(addr, struct.pack("<ii", fa, fb))
            except SysErr:
                t.files.remove(fb).decref()
                raise
        except SysErr:
            t.files.remove(fa).decref()
            raise
    finally:
        a.decref()
        b.decref()


def sys_pipe2(t: Task, fds: UserPtr, flags: CInt) -> int:
    if flags & ~PIPE_FLAGS:
        raise SysErr(errno.EINVAL)
    r, w = make_pipe(t, flags & ~os.O_CLOEXEC)
    install_pair(t, fds, r, w, bool(flags & os.O_CLOEXEC))
    return 0


def sys_pipe(t: Task, fds: UserPtr) -> int:
    return sys_pipe2(t, fds, 0)


TABLE: Final[Table] = {
    22: full("pipe", sys_pipe),
    293: full("pipe2", sys_pipe2),
}
