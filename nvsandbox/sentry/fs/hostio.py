"""Reading donated host files without stopping the Sentry: what is cached at once, the rest in a worker (preadv2(2), RWF_NOWAIT)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ..errors import from_oserror

if TYPE_CHECKING:
    from ..kernel.task import Task


def read_host(t: Task, fd: int, size: int, offset: int) -> bytes:
    """Up to ``size`` bytes at ``offset``; short only at the end of the file. May suspend. Raises SysErr."""
    try:
        buf = bytearray(size)
        try:
            n = os.preadv(fd, [buf], offset, os.RWF_NOWAIT)
        except OSError as e:
            if e.errno == errno.EOPNOTSUPP:  # a memory file: always there
                return os.pread(fd, size, offset)
            if e.errno != errno.EAGAIN:
                raise
            n = -1
        if n == size:
            return bytes(buf)
        if n == 0:
            return b""
        if n > 0 and offset + n >= os.fstat(fd).st_size:  # short because that is all
            return bytes(memoryview(buf)[:n])
        return t.k.loop.run_in_worker(lambda: os.pread(fd, size, offset))
    except OSError as e:
        raise from_oserror(e) from None
