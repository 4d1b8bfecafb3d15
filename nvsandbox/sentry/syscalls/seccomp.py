"""seccomp(2) and prctl(2)'s PR_SET_SECCOMP (Linux: kernel/seccomp.c)."""

from __future__ import annotations

import errno
import struct
from typing import Final

from ..errors import SysErr
from ..kernel import seccomp as sc
from ..kernel.cbpf import INSN, MAX_INSNS, parse
from ..kernel.creds import CAP_SYS_ADMIN
from ..kernel.task import Task
from .decode import CUInt, Table, UserPtr, partial

SET_MODE_STRICT: Final = 0
SET_MODE_FILTER: Final = 1
GET_ACTION_AVAIL: Final = 2
FLAG_TSYNC: Final = 1
FLAG_LOG: Final = 2
FLAG_SPEC_ALLOW: Final = 4  # the host's mitigations are not the application's to switch off
FLAG_TSYNC_ESRCH: Final = 16
FLAGS: Final = FLAG_TSYNC | FLAG_LOG | FLAG_SPEC_ALLOW | FLAG_TSYNC_ESRCH
FPROG: Final = struct.Struct("<H6xQ")  # struct sock_fprog


def _may_assign(t: Task, mode: int) -> None:
    """Raises EINVAL: a task that has a mode keeps it."""
    if t.seccomp not in (0, mode):
        raise SysErr(errno.EINVAL)


def _strict(t: Task) -> int:
    _may_assign(t, sc.MODE_STRICT)
    t.seccomp = sc.MODE_STRICT
    t.publish()
    return 0


def _add_filter(t: Task, flags: int, fprog: int) -> int:
    """Returns 0, or the thread that can't be made to follow."""
    if flags & ~FLAGS:
        raise SysErr(errno.EINVAL)
    n, addr = FPROG.unpack(t.copy_in(fprog, FPROG.size))
    if not 0 < n <= MAX_INSNS:
        raise SysErr(errno.EINVAL)
    if not t.creds.no_new_privs and not t.creds.has(CAP_SYS_ADMIN):
        raise SysErr(errno.EACCES)
    program = parse(t.copy_in(addr, n * INSN.size), False)
    _may_assign(t, sc.MODE_FILTER)
    others = [u for u in t.tg.tasks.values() if u is not t and not u.exiting]
    if flags & FLAG_TSYNC:
        for u in others:
            if u.seccomp == sc.MODE_STRICT or (
                u.filter is not None and not u.filter.is_ancestor_of(t.filter)
            ):
                if flags & FLAG_TSYNC_ESRCH:
                    raise SysErr(errno.ESRCH)
                return t.tg.pidns.number(u.tid)
    new = sc.Filter(program, t.filter, bool(flags & FLAG_LOG))
    if new.total > sc.MAX_TOTAL:
        raise SysErr(errno.ENOMEM)
    for u in [t, *others] if flags & FLAG_TSYNC else [t]:
        u.filter, u.seccomp = new, sc.MODE_FILTER
        if t.creds.no_new_privs and not u.creds.no_new_privs:
            u.creds = u.creds.replace(no_new_privs=True)
        if u.has_thread():
            u.publish()
    return 0


def sys_seccomp(t: Task, op: CUInt, flags: CUInt, arg: UserPtr) -> int:
    """seccomp(2)."""
    if op == SET_MODE_STRICT:
        if flags or arg:
            raise SysErr(errno.EINVAL)
        return _strict(t)
    if op == SET_MODE_FILTER:
        return _add_filter(t, flags, arg)
    if op == GET_ACTION_AVAIL:
        if flags:
            raise SysErr(errno.EINVAL)
        action = int.from_bytes(t.copy_in(arg, 4), "little")
        if action not in sc.ACTIONS:
            raise SysErr(errno.EOPNOTSUPP)
        return 0
    raise SysErr(errno.EINVAL)


def pr_set_seccomp(t: Task, mode: int, fprog: int, c: int, d: int) -> int:
    """PR_SET_SECCOMP."""
    if mode == sc.MODE_STRICT:
        return _strict(t)
    if mode == sc.MODE_FILTER:
        return _add_filter(t, 0, fprog)
    raise SysErr(errno.EINVAL)


def pr_get_seccomp(t: Task, a: int, b: int, c: int, d: int) -> int:
    """PR_GET_SECCOMP; who is in strict mode doesn't live to hear it."""
    return max(t.seccomp, t.tg.container.seccomp_mode)


TABLE: Final[Table] = {
    317: partial("seccomp", sys_seccomp, "listeners"),
}
