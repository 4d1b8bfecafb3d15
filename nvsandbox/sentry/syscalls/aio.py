"""Asynchronous I/O: io_setup(2), io_submit(2), io_getevents(2), io_cancel(2), io_destroy(2) (Linux: fs/aio.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ..abi.event import TIMESPEC
from ..errors import Restart, SysErr
from ..fs.aio import EVENT, AioContext, AioPoll, destroy, setup
from ..fs.eventfd import EventFd
from ..kernel.wait import POLLERR, POLLHUP
from .decode import CLong, CUInt, Table, UserPtr, full, partial
from .file_rw import CURRENT, Iov, check_size, copy_in_iov, read_flags, write_flags
from .timeouts import after, sigmask_in

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

PREAD: Final = 0
PWRITE: Final = 1
FSYNC: Final = 2
FDSYNC: Final = 3
POLL: Final = 5
PREADV: Final = 7
PWRITEV: Final = 8
FLAG_RESFD: Final = 1
KEY: Final = 0  # what Linux leaves in aio_key
KEY_OFFSET: Final = 8
NS: Final = 1_000_000_000
# struct iocb: data, key, rw_flags, opcode, reqprio, fildes, buf, nbytes, offset, reserved2, flags, resfd
IOCB: Final = struct.Struct("<QIIHhIQQqQII")
assert IOCB.size == 64


def _context(t: Task, ident: int) -> AioContext:
    ctx = t.mm.aio.get(ident)
    if ctx is None:
        raise SysErr(errno.EINVAL)
    return ctx


def sys_io_setup(t: Task, count: CUInt, out: UserPtr) -> int:
    """io_setup(2)."""
    if any(t.copy_in(out, 8)) or count == 0:
        raise SysErr(errno.EINVAL)
    ctx = setup(t, count)
    try:
        t.copy_out_now(out, ctx.ident.to_bytes(8, "little"))
    except SysErr:
        destroy(t, ctx)
        raise
    return 0


def sys_io_destroy(t: Task, ident: UserPtr) -> int:
    """io_destroy(2): pending polls are cancelled."""
    destroy(t, _context(t, ident))
    return 0


def sys_io_submit(t: Task, ident: UserPtr, count: CLong, iocbs: UserPtr) -> int:
    """io_submit(2): how many were taken; an error only if it was the first that failed."""
    if count < 0:
        raise SysErr(errno.EINVAL)
    ctx = _context(t, ident)
    n = 0
    try:
        while n < min(count, ctx.capacity) and not ctx.dead:
            obj = int.from_bytes(t.copy_in(iocbs + 8 * n, 8), "little")
            _submit(t, ctx, obj)
            n += 1
    except SysErr:
        if n == 0:
            raise
    return n


def _submit(t: Task, ctx: AioContext, obj: int) -> None:
    """One struct iocb at ``obj``. What is wrong with it raises; what goes wrong with the I/O is its result."""
    data, _, rw, op, _, fd, buf, size, offset, reserved, flags, resfd = IOCB.unpack(
        t.copy_in(obj, IOCB.size)
    )
    if reserved or size >> 63:
        raise SysErr(errno.EINVAL)
    if not ctx.room():
        raise SysErr(errno.EAGAIN)
    f = t.files.get(fd)
    notify: EventFd | None = None
    if flags & FLAG_RESFD:
        e = t.files.get(resfd)
        if not isinstance(e, EventFd):
            raise SysErr(errno.EINVAL)
        notify = e
    f.incref()  # another thread may close it
    if notify is not None:
        notify.incref()
    try:
        t.copy_out_now(obj + KEY_OFFSET, KEY.to_bytes(4, "little"))
        if op == POLL:
            _poll(t, ctx, f, (data, obj, buf), (size, offset, rw), notify)
            return
        if op in (FSYNC, FDSYNC) and (buf or offset or size or rw):
            raise SysErr(errno.EINVAL)
        result = _transfer(t, f, op, (buf, size), offset, rw)
        if not ctx.dead:
            ctx.complete(data, obj, result, notify)
    finally:
        f.decref()
        if notify is not None:
            notify.decref()


def _transfer(t: Task, f: FileDescription, op: int, area: tuple[int, int], at: int, rw: int) -> int:
    """Does it; the result that the event tells. Raises what io_submit itself fails with."""
    if op in (FSYNC, FDSYNC):
        try:
            f.fsync(t, op == FDSYNC)
        except SysErr as e:
            if e.errno == errno.EINVAL:  # no such operation
                raise
            return -e.errno
        return 0
    if op not in (PREAD, PWRITE, PREADV, PWRITEV):
        raise SysErr(errno.EINVAL)
    reads = op in (PREAD, PREADV)
    if not (f.readable() if reads else f.writable()):
        raise SysErr(errno.EBADF)
    if f.inode.is_dir() or at < 0:
        raise SysErr(errno.EINVAL)
    buf, size = area
    iov: Iov
    if op in (PREADV, PWRITEV):
        iov = copy_in_iov(t, buf, size)
    else:
        size = check_size(buf, size)
        iov = [(buf, size)] if size else []
    if f.pollable():  # a stream has no positions
        at = CURRENT
    try:
        return (read_flags if reads else write_flags)(t, f, iov, at, rw)
    except SysErr as e2:
        if e2.errno == errno.EOPNOTSUPP and rw:
            raise
        return -e2.errno
    except Restart:
        return -errno.EINTR


def _poll(
    t: Task, ctx: AioContext, f: FileDescription, what: tuple[int, int, int],
    unused: tuple[int, int, int], notify: EventFd | None,
) -> None:  # fmt: skip
    """IOCB_CMD_POLL: ``what`` is data, iocb and events; the other fields must be 0."""
    data, obj, events = what
    if any(unused) or events >> 16 or obj in ctx.polls:
        raise SysErr(errno.EINVAL)
    events |= POLLERR | POLLHUP
    got = f.poll(t) & events
    if got:
        ctx.complete(data, obj, got, notify)
    elif not ctx.dead:
        AioPoll(ctx, f, events, data, obj, notify)


def sys_io_cancel(t: Task, ident: UserPtr, iocb: UserPtr, result: UserPtr) -> int:
    """io_cancel(2): EINPROGRESS when it worked, for the event comes all the same; EINVAL when there is nothing to cancel."""
    key = int.from_bytes(t.copy_in(iocb + KEY_OFFSET, 4), "little")
    if key != KEY:
        raise SysErr(errno.EINVAL)
    poll = _context(t, ident).polls.get(iocb)
    if poll is None:
        raise SysErr(errno.EINVAL)
    poll.end(0)
    return -errno.EINPROGRESS


def _get(t: Task, ident: int, least: int, most: int, out: int, timeout: int) -> int:
    deadline = None
    if timeout:
        sec, ns = TIMESPEC.unpack(t.copy_in(timeout, 16))
        deadline = after(t, max(sec * NS + ns, 0))
    ctx = _context(t, ident)
    if not 0 <= least <= most:
        raise SysErr(errno.EINVAL)
    n = 0
    while True:
        while ctx.done and n < most:
            event = ctx.done.popleft()
            try:
                t.copy_out_now(out + EVENT.size * n, event)
            except SysErr:
                ctx.done.appendleft(event)
                if n:
                    return n
                raise
            n += 1
        if n >= least or ctx.dead or deadline == 0:
            return n
        try:
            if not t.wait(ctx.queue, deadline=deadline):
                deadline = 0
        except Restart:
            if n:
                return n
            raise SysErr(errno.EINTR) from None


def sys_io_getevents(
    t: Task, ident: UserPtr, least: CLong, most: CLong, out: UserPtr, timeout: UserPtr
) -> int:
    """io_getevents(2)."""
    return _get(t, ident, least, most, out, timeout)


def sys_io_pgetevents(
    t: Task, ident: UserPtr, least: CLong, most: CLong, out: UserPtr, timeout: UserPtr, sig: UserPtr
) -> int:
    """io_pgetevents(2): with a temporary signal mask."""
    if sig:
        mask, size = struct.unpack("<QQ", t.copy_in(sig, 16))
        sigmask_in(t, mask, size)
    return _get(t, ident, least, most, out, timeout)


TABLE: Final[Table] = {
    206: partial("io_setup", sys_io_setup, "the ring in memory stays empty"),
    207: full("io_destroy", sys_io_destroy),
    208: full("io_getevents", sys_io_getevents),
    209: partial("io_submit", sys_io_submit, "all but polls are done at once"),
    210: full("io_cancel", sys_io_cancel),
    333: full("io_pgetevents", sys_io_pgetevents),
}
