"""Signals of descriptors (Linux: fs/fcntl.c; fcntl(2) F_SETOWN, F_SETSIG, O_ASYNC).

A description has an owner, a thread, a process or a group, that hears by SIGIO or what F_SETSIG chose: with O_ASYNC that it can be
read or written again, besides what ``leases.py`` has to tell.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel import signal as sg
from ..kernel.wait import POLL_READ, POLL_WRITE, POLLERR, POLLHUP, POLLPRI, Waiter

if TYPE_CHECKING:
    from ..kernel.pids import PidNamespace
    from ..kernel.task import Task, ThreadGroup
    from .file import FileDescription

F_OWNER_TID: Final = 0
F_OWNER_PID: Final = 1
F_OWNER_PGRP: Final = 2
INT_MIN: Final = -(1 << 31)
# si_code and si_band (asm-generic/siginfo.h, fs/fcntl.c band_table)
POLL_IN: Final = 1
POLL_OUT: Final = 2
POLL_MSG: Final = 3
POLL_ERR: Final = 4
POLL_PRI: Final = 5
POLL_HUP: Final = 6
BANDS: Final = {
    POLL_IN: 0x041, POLL_OUT: 0x304, POLL_MSG: 0x441, POLL_ERR: 0x008, POLL_PRI: 0x082, POLL_HUP: 0x018,
}  # fmt: skip


@final
class Owner:
    """Who hears, and on whose behalf: ``uid`` and ``euid`` are those of whoever said so."""

    __slots__ = ("euid", "ident", "kind", "pids", "uid")

    def __init__(self, t: Task, kind: int, ident: int) -> None:
        self.kind = kind
        self.ident = ident
        self.pids: PidNamespace = t.tg.pids
        self.uid = t.creds.uid
        self.euid = t.creds.euid

    def groups(self) -> list[ThreadGroup]:
        if self.kind == F_OWNER_PGRP:
            return list(self.pids.group(self.ident))
        if self.kind == F_OWNER_TID:
            u = self.pids.tasks.get(self.ident)
            return [u.tg] if u is not None else []
        tg = self.pids.procs.get(self.ident)
        return [tg] if tg is not None else []

    def alive(self) -> bool:
        return any(not tg.dead for tg in self.groups())

    def may_tell(self, u: Task) -> bool:
        c = u.creds
        return self.euid == 0 or bool({self.euid, self.uid} & {c.uid, c.suid})


def set_owner(t: Task, f: FileDescription, kind: int, ident: int) -> None:
    """F_SETOWN, F_SETOWN_EX. Raises ESRCH."""
    new = Owner(t, kind, t.tg.pidns.outer(ident) if ident > 0 else ident)
    if ident and not new.groups():
        raise SysErr(errno.ESRCH)
    f.owner = new


def set_owner_number(t: Task, f: FileDescription, who: int) -> None:
    """F_SETOWN: a process, or a group as a negative number. Raises ESRCH, EINVAL."""
    if who == INT_MIN:
        raise SysErr(errno.EINVAL)
    if who < 0:
        set_owner(t, f, F_OWNER_PGRP, -who)
    else:
        set_owner(t, f, F_OWNER_PID, who)


def owner_of(t: Task, f: FileDescription) -> tuple[int, int]:
    """(kind, number); the number is 0 when there is no owner, or it is gone."""
    o = f.owner
    if o is None:
        return F_OWNER_TID, 0
    return o.kind, t.tg.pidns.number(o.ident) if o.alive() else 0


def own(t: Task, f: FileDescription) -> None:
    """Who takes a lease or watches a directory is the owner, unless somebody is."""
    if f.owner is None or not f.owner.ident:
        f.owner = Owner(t, F_OWNER_PID, t.tg.pid)


def _hearers(f: FileDescription) -> list[tuple[ThreadGroup, Task | None]]:
    """Whom a signal about ``f`` goes to: process, and the thread if the owner is one."""
    o = f.owner
    if o is None or not o.ident:
        return []
    out: list[tuple[ThreadGroup, Task | None]] = []
    for tg in o.groups():
        target = o.pids.tasks.get(o.ident) if o.kind == F_OWNER_TID else None
        u = target or next(iter(tg.tasks.values()), None)
        if u is not None and o.may_tell(u):
            out.append((tg, target))
    return out


def tell(f: FileDescription, fd: int, what: int) -> None:
    """The signal (Linux: send_sigio): queued with what happened if F_SETSIG chose one, else a plain SIGIO."""
    for tg, target in _hearers(f):
        info = sg.SigInfo(f.owner_sig or sg.SIGIO)
        if f.owner_sig:
            info.code, info.band, info.fd = what, BANDS[what], fd
        sg.send(tg, target, info)


def urgent(f: FileDescription) -> None:
    """SIGURG to a socket's owner (Linux: sk_send_sigurg)."""
    for tg, target in _hearers(f):
        sg.send(tg, target, sg.SigInfo(sg.SIGURG))


@final
class Async:
    """O_ASYNC on one description; ``fd``: the number it was asked for with."""

    __slots__ = ("fd", "file", "waiter")

    def __init__(self, f: FileDescription, fd: int) -> None:
        self.file = f
        self.fd = fd
        self.waiter = Waiter(self.wake)
        f.watch(self.waiter)

    def wake(self, events: int) -> None:
        now = self.file.poll(None) & events
        if now & POLLPRI:
            tell(self.file, self.fd, POLL_PRI)
        if now & (POLL_READ | POLLHUP | POLLERR):
            tell(self.file, self.fd, POLL_IN)
        elif now & POLL_WRITE:
            tell(self.file, self.fd, POLL_OUT)

    def stop(self) -> None:
        self.file.unwatch(self.waiter)


def set_async(f: FileDescription, fd: int, on: bool) -> None:
    """O_ASYNC comes or goes."""
    if not on:
        if f.asyncs is not None:
            f.asyncs.stop()
            f.asyncs = None
    elif f.asyncs is None:
        f.asyncs = Async(f, fd)
    else:
        f.asyncs.fd = fd
