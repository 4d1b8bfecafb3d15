"""POSIX message queues: mq_open(2), mq_timedsend(2), mq_timedreceive(2), mq_notify(2), mq_getsetattr(2)."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..ipc import mqueue as mq
from ..net.netlink import NetlinkSocket
from ..net.socket import Socket
from .decode import CInt, CUInt, CULong, Table, UserPtr, full
from .timeouts import timespec_in

if TYPE_CHECKING:
    from ..kernel.task import Task

NOTIFY_COOKIE_LEN: Final = 32
RLIMIT_NOFILE: Final = 7
PRIO_MAX: Final = 32768
FLAGS: Final = 3 | os.O_CREAT | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC


def _file(t: Task, fd: int) -> mq.MqFile:
    """Raises EBADF."""
    f = t.files.get(fd)
    if not isinstance(f, mq.MqFile):
        raise SysErr(errno.EBADF)
    return f


def _deadline(t: Task, addr: int) -> int | None:
    """An absolute CLOCK_REALTIME time as one of CLOCK_MONOTONIC."""
    if addr == 0:
        return None
    return max(timespec_in(t, addr) - t.k.realtime_ns() + t.k.monotonic_ns(), 0)


def sys_mq_open(t: Task, name: UserPtr, flags: CInt, mode: CUInt, attr: UserPtr) -> int:
    given = None
    if attr and flags & os.O_CREAT:
        _, maxmsg, msgsize, _ = mq.ATTR.unpack(t.copy_in(attr, 64))
        given = (maxmsg, msgsize)
    t.files.check_room(t.tg.rlimit(RLIMIT_NOFILE))  # before there is a new queue
    f = mq.mq_open(t, t.copy_in_path(name), flags & FLAGS, mode, given)
    return t.files.install(f, t.tg.rlimit(RLIMIT_NOFILE), bool(flags & os.O_CLOEXEC))


def sys_mq_unlink(t: Task, name: UserPtr) -> int:
    mq.mq_unlink(t, t.copy_in_path(name))
    return 0


def sys_mq_timedsend(
    t: Task, fd: CInt, buf: UserPtr, size: CULong, prio: CUInt, timeout: UserPtr
) -> int:
    if prio >= PRIO_MAX:
        raise SysErr(errno.EINVAL)
    deadline = _deadline(t, timeout)
    f = _file(t, fd)
    if not f.writable():
        raise SysErr(errno.EBADF)
    if size > f.mq.msgsize:
        raise SysErr(errno.EMSGSIZE)
    f.send(t, t.copy_in(buf, size), prio, deadline)
    return 0


def sys_mq_timedreceive(
    t: Task, fd: CInt, buf: UserPtr, size: CULong, prio: UserPtr, timeout: UserPtr
) -> int:
    deadline = _deadline(t, timeout)
    f = _file(t, fd)
    if not f.readable():
        raise SysErr(errno.EBADF)
    data, p = f.receive(t, size, deadline)
    t.copy_out(buf, data)
    if prio:
        t.copy_out(prio, struct.pack("<I", p))
    return len(data)


def sys_mq_notify(t: Task, fd: CInt, ev: UserPtr) -> int:
    want = None
    if ev:
        value, sig, method = struct.unpack("<Qii", t.copy_in(ev, 16))
        if method not in (mq.SIGEV_SIGNAL, mq.SIGEV_NONE, mq.SIGEV_THREAD):
            raise SysErr(errno.EINVAL)
        if method == mq.SIGEV_SIGNAL and not 0 < sig <= 64:
            raise SysErr(errno.EINVAL)
        told = _teller(t, sig, value) if method == mq.SIGEV_THREAD else None
        want = mq.Notification(t.tg, method, sig, value, told)
    q = _file(t, fd).mq
    if want is None:
        q.forget(t.tg)
    elif q.notify is not None and not q.notify.who.dead:
        raise SysErr(errno.EBUSY)
    else:
        q.notify = want
    return 0


def _teller(t: Task, fd: int, cookie: int) -> Callable[[int], None]:
    """SIGEV_THREAD is the C library's: its thread reads from a netlink socket the cookie with the event as last byte.

    Raises EFAULT, EBADF, ENOTSOCK, EINVAL."""
    raw = t.copy_in(cookie, NOTIFY_COOKIE_LEN)
    f = t.files.get(fd)
    if not isinstance(f, Socket):
        raise SysErr(errno.ENOTSOCK)
    if not isinstance(f, NetlinkSocket):
        raise SysErr(errno.EINVAL)
    to = f
    return lambda event: to.deliver(raw[:-1] + bytes((event,)))


def sys_mq_getsetattr(t: Task, fd: CInt, new: UserPtr, old: UserPtr) -> int:
    flags = -1
    if new:
        flags = mq.ATTR.unpack(t.copy_in(new, 64))[0]
        if flags & ~os.O_NONBLOCK:
            raise SysErr(errno.EINVAL)
    f = _file(t, fd)
    if old:
        q = f.mq
        t.copy_out(old, mq.ATTR.pack(f.flags & os.O_NONBLOCK, q.maxmsg, q.msgsize, len(q.messages)))
    if flags >= 0:
        f.flags = f.flags & ~os.O_NONBLOCK | flags
    return 0


TABLE: Final[Table] = {
    240: full("mq_open", sys_mq_open),
    241: full("mq_unlink", sys_mq_unlink),
    242: full("mq_timedsend", sys_mq_timedsend),
    243: full("mq_timedreceive", sys_mq_timedreceive),
    244: full("mq_notify", sys_mq_notify),
    245: full("mq_getsetattr", sys_mq_getsetattr),
}
