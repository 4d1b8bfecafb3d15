"""epoll_create(2), epoll_ctl(2), epoll_wait(2) and their variants (Linux: fs/eventpoll.c)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from ..abi.event import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLL_EVENT,
    EPOLLEXCLUSIVE,
    EPOLLWAKEUP,
)
from ..errors import Restart, SysErr
from ..fs.epoll import Epoll
from ..kernel.creds import CAP_BLOCK_SUSPEND
from .decode import CInt, CULong, Table, UserPtr, full
from .timeouts import after, deadline_in, sigmask_in

if TYPE_CHECKING:
    from ..kernel.task import Task

RLIMIT_NOFILE: Final = 7
MAX_EVENTS: Final = 0x7FFFFFFF // 12
BATCH: Final = 65536  # events of one answer: bounds what we hold, the rest comes with the next call


def sys_epoll_create1(t: Task, flags: CInt) -> int:
    if flags & ~os.O_CLOEXEC:
        raise SysErr(errno.EINVAL)
    return t.files.install(Epoll(), t.tg.rlimit(RLIMIT_NOFILE), bool(flags))


def sys_epoll_create(t: Task, size: CInt) -> int:
    if size <= 0:
        raise SysErr(errno.EINVAL)
    return sys_epoll_create1(t, 0)


def sys_epoll_ctl(t: Task, epfd: CInt, op: CInt, fd: CInt, event: UserPtr) -> int:
    events = data = 0
    if op != EPOLL_CTL_DEL:
        events, data = EPOLL_EVENT.unpack(t.copy_in(event, 12))
    ep = t.files.get(epfd)
    f = t.files.get(fd)
    if not f.pollable():
        raise SysErr(errno.EPERM)
    if events & EPOLLWAKEUP and not t.creds.capable(CAP_BLOCK_SUSPEND):
        events &= ~EPOLLWAKEUP
    if f is ep or not isinstance(ep, Epoll):
        raise SysErr(errno.EINVAL)
    if op == EPOLL_CTL_MOD and events & EPOLLEXCLUSIVE:
        raise SysErr(errno.EINVAL)
    if op == EPOLL_CTL_ADD:
        ep.add(t, fd, f, events, data)
    elif op == EPOLL_CTL_DEL:
        ep.delete(fd, f)
    elif op == EPOLL_CTL_MOD:
        ep.modify(t, fd, f, events, data)
    else:
        raise SysErr(errno.EINVAL)
    return 0


def _wait(t: Task, epfd: int, addr: int, maxevents: int, deadline: int | None) -> int:
    if not 0 < maxevents <= MAX_EVENTS:
        raise SysErr(errno.EINVAL)
    if not 0 <= addr <= 0x7FFF_FFFF_F000 - 12 * maxevents:
        raise SysErr(errno.EFAULT)
    ep = t.files.get(epfd)
    if not isinstance(ep, Epoll):
        raise SysErr(errno.EINVAL)
    limit = min(maxevents, BATCH)
    got = ep.harvest(t, limit)
    if not got and deadline != 0:
        ep.incref()
        try:
            alive = True
            while not got and alive:
                alive = t.wait(ep.queue, deadline=deadline)
                got = ep.harvest(t, limit)
        except Restart:
            raise SysErr(errno.EINTR) from None  # never restarted, signal(7)
        finally:
            ep.decref()
    if got:
        t.copy_out(addr, b"".join(got))
    return len(got)


def sys_epoll_wait(t: Task, epfd: CInt, events: UserPtr, maxevents: CInt, timeout: CInt) -> int:
    deadline = None if timeout < 0 else after(t, timeout * 1_000_000)
    return _wait(t, epfd, events, maxevents, deadline)


def sys_epoll_pwait(
    t: Task,
    epfd: CInt,
    events: UserPtr,
    maxevents: CInt,
    timeout: CInt,
    mask: UserPtr,
    size: CULong,
) -> int:
    sigmask_in(t, mask, size)
    return sys_epoll_wait(t, epfd, events, maxevents, timeout)


def sys_epoll_pwait2(
    t: Task, epfd: CInt, events: UserPtr, maxevents: CInt, tsp: UserPtr, mask: UserPtr, size: CULong
) -> int:
    deadline = deadline_in(t, tsp)
    sigmask_in(t, mask, size)
    return _wait(t, epfd, events, maxevents, deadline)


TABLE: Final[Table] = {
    213: full("epoll_create", sys_epoll_create),
    232: full("epoll_wait", sys_epoll_wait),
    233: full("epoll_ctl", sys_epoll_ctl),
    281: full("epoll_pwait", sys_epoll_pwait),
    291: full("epoll_create1", sys_epoll_create1),
    441: full("epoll_pwait2", sys_epoll_pwait2),
}
