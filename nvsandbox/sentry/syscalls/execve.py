"""Running another program: execve(2), execveat(2) (Linux: fs/exec.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ..errors import NO_REPLY, SysErr
from ..kernel import ptrace
from ..loader.exec import close_program, exec_program, open_program
from ..vfs.namei import AT_FDCWD, start_at
from .decode import CInt, Table, UserPtr, full

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.path import Path

AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EMPTY_PATH: Final = 0x1000
ARG_BYTES: Final = 6 << 20


def _both(t: Task, argv: int, envp: int) -> tuple[list[bytes], list[bytes]]:
    """Arguments and environment. Raises E2BIG, EFAULT."""
    out: list[list[bytes]] = []
    for addr, (strings, whole) in zip(
        (argv, envp), t.thread.copy_in_lists(argv, envp), strict=True
    ):
        out.append(strings if whole or not addr else strings + _strings(t, addr + 8 * len(strings)))
    if sum(len(s) + 9 for strings in out for s in strings) > ARG_BYTES:
        raise SysErr(errno.E2BIG)
    return out[0], out[1]


def _strings(t: Task, addr: int) -> list[bytes]:
    """A NULL-terminated array of strings. Raises E2BIG, EFAULT."""
    out: list[bytes] = []
    if addr == 0:
        return out
    total = 0
    while True:
        chunk = t.thread.copy_in_some(addr, 4096 - (addr & 4095))
        if len(chunk) < 8:
            chunk = t.copy_in(addr, 8)
        n = len(chunk) // 8
        ptrs = struct.unpack_from(f"<{n}Q", chunk)
        stop = ptrs.index(0) if 0 in ptrs else n
        for p in ptrs[:stop]:
            s = _string(t, p)
            total += len(s) + 9
            if total > ARG_BYTES:
                raise SysErr(errno.E2BIG)
            out.append(s)
        if stop < n:
            return out
        addr += 8 * n


def _string(t: Task, p: int) -> bytes:
    try:
        return t.copy_in_str(p, 131072)
    except SysErr as e:
        raise SysErr(errno.E2BIG if e.errno == errno.ENAMETOOLONG else e.errno) from None


def sys_execve(t: Task, path: UserPtr, argv: UserPtr, envp: UserPtr) -> int:
    """execve(2)."""
    name = t.copy_in_path(path)
    if not name:
        raise SysErr(errno.ENOENT)
    return _exec(t, start_at(t, AT_FDCWD, name), name, argv, envp, True)


def sys_execveat(
    t: Task, dirfd: CInt, path: UserPtr, argv: UserPtr, envp: UserPtr, flags: CInt
) -> int:
    """execveat(2)."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise SysErr(errno.EINVAL)
    name = t.copy_in_path(path)
    follow = not flags & AT_SYMLINK_NOFOLLOW
    if not name:
        if not flags & AT_EMPTY_PATH:
            raise SysErr(errno.ENOENT)
        base = t.fs.cwd if dirfd == AT_FDCWD else t.files.get_any(dirfd).path
        if base is None:
            raise SysErr(errno.EACCES)
        hidden = dirfd in t.files.cloexec
        return _exec(t, base, b"", argv, envp, follow, b"/dev/fd/%d" % dirfd, hidden)
    shown = name if name[:1] == b"/" or dirfd == AT_FDCWD else b"/dev/fd/%d/%s" % (dirfd, name)
    hidden = shown is not name and dirfd in t.files.cloexec
    return _exec(t, start_at(t, dirfd, name), name, argv, envp, follow, shown, hidden)


def _exec(
    t: Task, base: Path, name: bytes, argv: int, envp: int, follow: bool, shown: bytes | None = None,
    hidden: bool = False,
) -> int:  # fmt: skip
    args, env = _both(t, argv, envp)
    if not args:
        args = [b""]
    tid = t.tid
    prog = open_program(t, base, name, args, env, follow, shown, hidden)
    try:
        exec_program(t, prog)
    finally:
        close_program(prog)
    if t.tracee is not None:
        ptrace.exec_stop(t, tid)
    return NO_REPLY


TABLE: Final[Table] = {59: full("execve", sys_execve), 322: full("execveat", sys_execveat)}
