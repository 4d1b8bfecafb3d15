"""Who may look into a process (Linux: kernel/ptrace.c __ptrace_may_access; proc(5))."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..errors import SysErr
from ..kernel.creds import CAP_SYS_PTRACE
from ..kernel.userns import INIT_USER

if TYPE_CHECKING:
    from ..kernel.creds import Credentials
    from ..kernel.task import Task, ThreadGroup
    from ..mm.mm import MM


def leader(tg: ThreadGroup) -> Task | None:
    """The leader, or any thread that is left; None for a zombie."""
    return tg.tasks.get(tg.pid) or next(iter(tg.tasks.values()), None)


def creds_of(tg: ThreadGroup) -> Credentials | None:
    u = leader(tg)
    return u.creds if u is not None else tg.leader_cred


def mm_of(tg: ThreadGroup) -> MM | None:
    u = leader(tg)
    return u.memory() if u is not None else None


def check_access(t: Task, tg: ThreadGroup) -> None:
    """ptrace's rule for looking into a process (Linux: __ptrace_may_access). Raises EACCES."""
    if t.tg is tg:
        return
    c, o = t.creds, creds_of(tg)
    if c.ns_capable(o.userns if o is not None else INIT_USER, CAP_SYS_PTRACE):
        return
    if (
        o is None
        or o.userns is not c.userns
        or {o.uid, o.euid, o.suid} != {c.fsuid}
        or {o.gid, o.egid, o.sgid} != {c.fsgid}
        or tg.dumpable != 1
    ):
        raise SysErr(errno.EACCES)
