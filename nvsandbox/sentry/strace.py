"""``--strace``: the application's system calls, one line each, as strace(1) prints them.

Decoding is built from the table's own argument names and widths: paths are read back from what the call already copied in,
so tracing never changes what a program does. Lines go to the log.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Final, final

from .errors import NO_REPLY, Restart, SysErr, TaskExit

if TYPE_CHECKING:
    from .kernel.task import Task
    from .syscalls.decode import Row

log = logging.getLogger("nvsandbox.strace")

PATHS: Final = frozenset(
    ("path", "pathname", "name", "oldpath", "newpath", "old", "new", "target", "linkpath", "source")
)
PATH_CALLS: Final = frozenset(
    (
        "open", "openat", "openat2", "creat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat",
        "faccessat2", "execve", "execveat", "readlink", "readlinkat", "unlink", "unlinkat", "mkdir", "mkdirat",
        "rmdir", "rename", "renameat", "renameat2", "chdir", "chroot", "symlink", "symlinkat", "link", "linkat",
        "chmod", "fchmodat", "chown", "lchown", "fchownat", "truncate", "statfs", "mount", "umount2", "utimensat",
    )
)  # fmt: skip
ENTER_ONLY: Final = frozenset(("exit", "exit_group"))


@final
class Strace:
    """Wraps every handler call."""

    __slots__ = ()

    def call(self, t: Task, row: Row, a: list[int]) -> int:
        fn = row.handler
        assert fn is not None
        args = a[: len(row.widths)]
        shown = self._arguments(t, row, args)
        if row.name in ENTER_ONLY:
            self._line(t, row, shown, "?")
        try:
            r = fn(t, *args)
        except SysErr as e:
            self._line(
                t, row, shown, f"-1 {errno.errorcode.get(e.errno, e.errno)} ({_text(e.errno)})"
            )
            raise
        except Restart as again:
            self._line(t, row, shown, f"? ERESTART {again.code}")
            raise
        except TaskExit:
            raise
        if r == NO_REPLY:
            self._line(t, row, shown, "0")
        elif -4096 < r < 0:
            self._line(t, row, shown, f"-1 {errno.errorcode.get(-r, -r)} ({_text(-r)})")
        else:
            self._line(t, row, shown, hex(r) if row.name in ("mmap", "brk", "mremap") else str(r))
        return r

    def _arguments(self, t: Task, row: Row, args: list[int]) -> str:
        out = []
        for i, v in enumerate(args):
            name = row.args[i]
            if row.name in PATH_CALLS and name in PATHS:
                out.append(_string(t, v))
            elif name in ("flags", "prot", "mode") or (row.widths[i] == 0 and v > 0xFFFF):
                out.append(hex(v))
            else:
                out.append("AT_FDCWD" if name == "dirfd" and v == -100 else str(v))
        return ", ".join(out)

    def _line(self, t: Task, row: Row, shown: str, result: str) -> None:
        log.info("[%5d] %s %s(%s) = %s", t.tid, t.comm.decode("latin1"), row.name, shown, result)


def _text(e: int) -> str:
    import os

    return os.strerror(e)


def _string(t: Task, addr: int) -> str:
    try:
        s = t.thread.copy_in_str(addr, 4096)
    except SysErr:
        return hex(addr)
    return '"' + s.decode("utf-8", "backslashreplace") + '"'
