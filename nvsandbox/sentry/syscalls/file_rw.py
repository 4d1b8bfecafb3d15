"""Reading and writing: read(2), pread(2), readv(2), preadv2(2) and the write family; lseek(2); getdents64(2).

Data moves in chunks. An error after the first chunk ends the call with what was done, as in Linux.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
from typing import TYPE_CHECKING, Final

from ...platform.interface import DATA_LEN, IN_MAXWRITE, OF_FD0, OF_IGNORE, OP_PIO, OP_RECVFD
from ..abi.fcntl import MAX_RW_COUNT, UIO_MAXIOV, USER_MAX
from ..abi.stat import pack_dirents
from ..errors import Restart, SysErr
from ..fs.pipe import pipe_of
from ..kernel.wait import POLL_READ, POLL_WRITE, POLLERR, POLLHUP, Waiter, WaitQueue
from ..mm.vma import PAGE, PROT_READ, PROT_WRITE
from ..vfs import lent
from .decode import CInt, CLong, CUInt, CULong, Table, UserPtr, full

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

CHUNK: Final = 1 << 20
DIRECT = (
    True  # files are read into the stub's window or, where that is too small, by the stub itself
)
NR_PREAD64: Final = 17
NR_CLOSE: Final = 3
MAX_OFFSET: Final = (1 << 63) - 1
CURRENT: Final = -1  # as an offset: the file's own position

RWF_HIPRI: Final = 0x01
RWF_DSYNC: Final = 0x02
RWF_SYNC: Final = 0x04
RWF_NOWAIT: Final = 0x08
RWF_APPEND: Final = 0x10
RWF_NOAPPEND: Final = 0x20
RWF_ALL: Final = 0x3F

Iov = list[tuple[int, int]]


def check_size(buf: int, size: int) -> int:
    """Bounds a single buffer. Raises EINVAL for a negative size, EFAULT for what no memory can be."""
    if size >> 63:
        raise SysErr(errno.EINVAL)
    if buf + size > USER_MAX and size:
        raise SysErr(errno.EFAULT)
    return min(size, MAX_RW_COUNT)


def copy_in_iov(t: Task, addr: int, count: int) -> Iov:
    """An iovec array (Linux: import_iovec). Raises EINVAL, EFAULT."""
    if count > UIO_MAXIOV:
        raise SysErr(errno.EINVAL)
    raw = t.copy_in(addr, 16 * count) if count else b""
    out: Iov = []
    left = MAX_RW_COUNT
    parts = list(struct.iter_unpack("<QQ", raw))
    if any(n >> 63 for _, n in parts):
        raise SysErr(errno.EINVAL)
    for a, n in parts:
        if n and a + n > USER_MAX:
            raise SysErr(errno.EFAULT)
        n = min(n, left)
        left -= n
        if n:
            out.append((a, n))
    return out


def readable(t: Task, fd: int) -> FileDescription:
    f = t.files.get(fd)
    if not f.readable():
        raise SysErr(errno.EBADF)
    return f


def writable(t: Task, fd: int) -> FileDescription:
    f = t.files.get(fd)
    if not f.writable():
        raise SysErr(errno.EBADF)
    return f


def _at(t: Task, fd: int, offset: int, write: bool) -> FileDescription:
    """For the calls with an offset. Raises EBADF, and ESPIPE before that where there are no offsets."""
    f = t.files.get(fd)
    if not (f.writable() if write else f.readable()):
        if offset >= 0:
            f.seek(t, 0, os.SEEK_CUR)
        raise SysErr(errno.EBADF)
    return f


def take(iov: Iov, want: int) -> tuple[Iov, Iov]:
    """Splits off the first ``want`` bytes."""
    head: Iov = []
    for n, (addr, size) in enumerate(iov):
        if size >= want:
            head.append((addr, want))
            rest = [(addr + want, size - want)] if size > want else []
            return head, rest + iov[n + 1 :]
        head.append((addr, size))
        want -= size
    return head, []


def _gather(t: Task, f: FileDescription, iov: Iov) -> bytes:
    """The bytes of ``iov``. Where a part isn't there, what a file of this kind takes of the rest; EFAULT if nothing."""
    whole = sum(n for _, n in iov)
    if f.ignores_data():
        return bytes(whole)
    came = t.thread.gathered(whole)
    if came is not None:
        return came
    try:
        if len(iov) == 1:
            return t.copy_in(*iov[0])
        return b"".join(t.copy_in(addr, size) for addr, size in iov)
    except SysErr:
        there = valid(t, iov, PROT_READ)
        if f.pollable():  # a pipe takes whole pages, a socket all or nothing
            there = there // PAGE * PAGE if pipe_of(f) is not None else 0
        if there == 0:
            raise
    return b"".join(t.copy_in(addr, size) for addr, size in take(iov, there)[0])


def valid(t: Task, iov: Iov, prot: int) -> int:
    """How many bytes of ``iov`` from its start are mapped so that they can be read or written."""
    vmas = t.mm.map
    total = 0
    for addr, size in iov:
        n = vmas.span(addr, addr + size, prot)
        if n < size and t.mm.grow(t, addr):
            n = vmas.span(addr, addr + size, prot)
        total += n
        if n < size:
            break
    return total


def _scatter(t: Task, iov: Iov, data: bytes) -> None:
    pos = 0
    for addr, size in iov:
        if pos >= len(data):
            return
        t.copy_out(addr, data[pos : pos + size])
        pos += size


def _none_fits(t: Task, f: FileDescription, offset: int) -> int:
    """A read into nothing: EFAULT, unless there is nothing to read."""
    if not f.pollable():
        data = f.pread(t, 1, f.offset if offset < 0 else offset)
        if isinstance(data, int):
            return data
        if not data:
            return 0
    else:
        while not f.poll(t) & (POLL_READ | POLLHUP | POLLERR):
            if f.nonblock:
                raise SysErr(errno.EAGAIN)
            wait_for(t, f)
        p = pipe_of(f)
        if p is not None and not p.slots:
            return 0
    raise SysErr(errno.EFAULT)


def wait_for(t: Task, f: FileDescription) -> None:
    """Until something happens to ``f``. May suspend."""
    queue = WaitQueue()
    w = Waiter(lambda _e: queue.wake())
    f.watch(w)
    try:
        t.wait(queue)
    finally:
        f.unwatch(w)


def _room(t: Task, f: FileDescription, iov: Iov) -> int:
    """How much a read may take out of ``f`` for buffers that are there only in part."""
    there = valid(t, iov, PROT_WRITE)
    p = pipe_of(f)
    if p is not None and there < sum(n for _, n in iov):
        fits = 0  # a pipe's pages are copied whole or stay
        for s in p.slots:
            if fits + s.end - s.off > there:
                break
            fits += s.end - s.off
        return min(there, fits)
    return there


def do_read(t: Task, f: FileDescription, iov: Iov, offset: int) -> int:
    """Reads into ``iov`` from ``offset`` or CURRENT. This is where a big read could be left to the stub."""
    total = 0
    several = not f.pollable()
    room = sum(n for _, n in iov)
    if offset + room > MAX_OFFSET:
        raise SysErr(errno.EINVAL)
    if valid(t, iov, PROT_WRITE) < room:
        room = _room(t, f, iov)
        if room == 0:
            return _none_fits(t, f, offset)
    while True:
        want = min(room - total, CHUNK)
        try:
            data = f.read(t, want) if offset < 0 else f.pread(t, want, offset + total)
            if isinstance(data, int):
                return total or data
            if data:
                head, iov = take(iov, len(data))
                _scatter(t, head, data)
        except (SysErr, Restart):
            if total:
                return total
            raise
        total += len(data)
        if len(data) < want or total >= room or not several:
            return total


def do_write(t: Task, f: FileDescription, iov: Iov, offset: int) -> int:
    """Writes ``iov`` at ``offset`` or CURRENT."""
    total = 0
    size = sum(n for _, n in iov)
    if offset + size > MAX_OFFSET:
        raise SysErr(errno.EINVAL)
    while True:
        want = min(size - total, CHUNK)
        try:
            head, iov = take(iov, want)
            data = _gather(t, f, head)
            n = f.write(t, data) if offset < 0 else f.pwrite(t, data, offset + total)
        except SysErr as e:
            if total:
                return total
            if e.errno == errno.EPIPE:
                t.send_signal_self(signal.SIGPIPE)
            raise
        except Restart:
            if total:
                return total
            raise
        if n < 0:
            if n == -errno.EPIPE and not total:
                t.send_signal_self(signal.SIGPIPE)
            return total or n
        total += n
        if n < want or total >= size:
            return total


def _read(t: Task, f: FileDescription, fd: int, buf: int, size: int, offset: int) -> int:
    """One buffer of ``f``, which is ``fd``, in the usual case without lists. ``offset``: or CURRENT."""
    size = check_size(buf, size)
    if t.mm.map.span(buf, buf + size, PROT_WRITE) == size:
        if DIRECT and size and (host := f.direct_fd(t, False)) >= 0:
            at = f.offset if offset < 0 else offset
            n = t.thread.read_out(host, buf, size, at)
            if n >= 0:
                if offset < 0:
                    f.offset = at + n
                f.accessed(t)
                f.reads += 1
                if f.reads >= lent.AFTER:
                    lent.lend(t, f, fd, host)
                return n
            if size > DATA_LEN:
                return stub_read(t, f, host, buf, size, offset)
        if size <= CHUNK:
            data = f.read(t, size) if offset < 0 else f.pread(t, size, offset)
            if isinstance(data, int):
                return data
            t.copy_out(buf, data)
            if DIRECT:
                lent.count(t, f, fd)
            return len(data)
    return do_read(t, f, [(buf, size)], offset)


def sys_read(t: Task, fd: CUInt, buf: UserPtr, size: CULong) -> int:
    """read(2)."""
    return _read(t, readable(t, fd), fd, buf, size, CURRENT)


def stub_read(t: Task, f: FileDescription, host: int, buf: int, size: int, offset: int) -> int:
    """A large read of a file whose host descriptor may be donated: the stub's own pread (hazard C2). Where it reads and what the
    position becomes stays with us; the descriptor gives no more than a mapping would."""
    at = f.offset if offset < 0 else offset
    th = t.thread
    th.give(host)
    th.op(OP_RECVFD, 0, 0, 1)
    th.op(OP_PIO, 0, 0, NR_PREAD64, 0, buf, size, at)
    th.host(NR_CLOSE, 0, flags=OF_FD0 | OF_IGNORE)
    n = min(th.run(), size)
    if n < 0:
        return max(n, -4095)
    if offset < 0:
        f.offset = at + n
    f.accessed(t)
    return n


def _write(t: Task, f: FileDescription, fd: int, buf: int, size: int, offset: int) -> int:
    """One buffer to ``f``, which is ``fd``, without lists when it came with the trap. ``offset``: or CURRENT."""
    if not 0 < size <= IN_MAXWRITE:
        return do_write(t, f, [(buf, size)], offset)
    if DIRECT and f.overwrite(t, buf, size, offset):
        return size
    try:
        data = bytes(size) if f.ignores_data() else t.copy_in(buf, size)
    except SysErr:
        return do_write(t, f, [(buf, size)], offset)
    try:
        n = f.write(t, data) if offset < 0 else f.pwrite(t, data, offset)
    except SysErr as e:
        if e.errno == errno.EPIPE:
            t.send_signal_self(signal.SIGPIPE)
        raise
    if n == -errno.EPIPE:
        t.send_signal_self(signal.SIGPIPE)
    if DIRECT and f.is_null():
        f.reads += 1
        if f.reads >= lent.AFTER:
            lent.lend(t, f, fd, -1)
    return n


def sys_write(t: Task, fd: CUInt, buf: UserPtr, size: CULong) -> int:
    """write(2)."""
    f = writable(t, fd)
    return _write(t, f, fd, buf, check_size(buf, size), CURRENT)


def sys_pread64(t: Task, fd: CUInt, buf: UserPtr, size: CULong, offset: CLong) -> int:
    """pread(2)."""
    if offset < 0:
        raise SysErr(errno.EINVAL)
    return _read(t, _at(t, fd, offset, False), fd, buf, size, offset)


def sys_pwrite64(t: Task, fd: CUInt, buf: UserPtr, size: CULong, offset: CLong) -> int:
    """pwrite(2)."""
    if offset < 0:
        raise SysErr(errno.EINVAL)
    f = _at(t, fd, offset, True)
    size = check_size(buf, size)
    if offset + size > MAX_OFFSET:
        raise SysErr(errno.EINVAL)
    return _write(t, f, fd, buf, size, offset)


def sys_readv(t: Task, fd: CULong, iov: UserPtr, count: CULong) -> int:
    """readv(2)."""
    f = readable(t, fd & 0xFFFFFFFF)
    return do_read(t, f, copy_in_iov(t, iov, count), CURRENT)


def sys_writev(t: Task, fd: CULong, iov: UserPtr, count: CULong) -> int:
    """writev(2)."""
    f = writable(t, fd & 0xFFFFFFFF)
    return do_write(t, f, copy_in_iov(t, iov, count), CURRENT)


def sys_preadv(t: Task, fd: CULong, iov: UserPtr, count: CULong, offset: CLong) -> int:
    """preadv(2)."""
    if offset < 0:
        raise SysErr(errno.EINVAL)
    f = _at(t, fd & 0xFFFFFFFF, offset, False)
    return do_read(t, f, copy_in_iov(t, iov, count), offset)


def sys_pwritev(t: Task, fd: CULong, iov: UserPtr, count: CULong, offset: CLong) -> int:
    """pwritev(2)."""
    if offset < 0:
        raise SysErr(errno.EINVAL)
    f = _at(t, fd & 0xFFFFFFFF, offset, True)
    return do_write(t, f, copy_in_iov(t, iov, count), offset)


def _rwf(t: Task, f: FileDescription, flags: int, ready: int) -> None:
    if flags & ~RWF_ALL:
        raise SysErr(errno.EOPNOTSUPP)
    if flags & RWF_APPEND and flags & RWF_NOAPPEND:
        raise SysErr(errno.EINVAL)
    if flags & RWF_NOWAIT and not f.poll(t) & ready:
        raise SysErr(errno.EAGAIN)


def read_flags(t: Task, f: FileDescription, vec: Iov, offset: int, flags: int) -> int:
    """``do_read`` with RWF_* flags. Raises EOPNOTSUPP."""
    if flags & (RWF_APPEND | RWF_NOAPPEND):
        raise SysErr(errno.EOPNOTSUPP)
    _rwf(t, f, flags, POLL_READ)
    return do_read(t, f, vec, offset)


def write_flags(t: Task, f: FileDescription, vec: Iov, offset: int, flags: int) -> int:
    """``do_write`` with RWF_* flags. Raises EOPNOTSUPP."""
    _rwf(t, f, flags, POLL_WRITE)
    old = f.flags
    if flags & RWF_APPEND:
        f.flags |= os.O_APPEND
    elif flags & RWF_NOAPPEND:
        f.flags &= ~os.O_APPEND
    try:
        n = do_write(t, f, vec, offset)
    finally:
        f.flags = f.flags & ~os.O_APPEND | old & os.O_APPEND
    if n > 0 and flags & (RWF_DSYNC | RWF_SYNC):
        f.fsync(t, not flags & RWF_SYNC)
    return n


def sys_preadv2(
    t: Task, fd: CULong, iov: UserPtr, count: CULong, offset: CLong, _high: CULong, flags: CInt
) -> int:
    """preadv2(2); on 64 bits the whole offset is in the first half."""
    if offset < -1:
        raise SysErr(errno.EINVAL)
    f = _at(t, fd & 0xFFFFFFFF, offset, False)
    return read_flags(t, f, copy_in_iov(t, iov, count), offset, flags)


def sys_pwritev2(
    t: Task, fd: CULong, iov: UserPtr, count: CULong, offset: CLong, _high: CULong, flags: CInt
) -> int:
    """pwritev2(2)."""
    if offset < -1:
        raise SysErr(errno.EINVAL)
    f = _at(t, fd & 0xFFFFFFFF, offset, True)
    return write_flags(t, f, copy_in_iov(t, iov, count), offset, flags)


def sys_lseek(t: Task, fd: CUInt, offset: CLong, whence: CUInt) -> int:
    """lseek(2)."""
    f = t.files.get(fd)
    if whence > os.SEEK_HOLE:
        raise SysErr(errno.EINVAL)
    return f.seek(t, offset, whence)


def _getdents(t: Task, fd: int, buf: UserPtr, size: int, old: bool) -> int:
    f = t.files.get(fd)
    if not f.inode.is_dir():
        raise SysErr(errno.ENOTDIR)
    room = min(size, 1 << 20)
    done = 0
    if not old:
        packed = f.dirents(t, room)
        if packed is not None:
            if not t.mm.map.span(buf, buf + min(room, 24), PROT_WRITE):
                raise SysErr(errno.EFAULT)
            t.copy_out(buf, packed[0])
            f.offset = packed[1]
            return len(packed[0])
    while True:
        entries = f.readdir(t)
        if not entries:
            return done
        if not done and not t.mm.map.span(buf, buf + min(room, 24), PROT_WRITE):
            raise SysErr(errno.EFAULT)
        data, last = pack_dirents(entries, room - done, old)
        if last < 0:
            if done:
                return done
            raise SysErr(errno.EINVAL)
        t.copy_out(buf + done, data)
        f.offset = last
        done += len(data)
        if last != entries[-1][1]:
            return done


def sys_getdents64(t: Task, fd: CUInt, buf: UserPtr, size: CUInt) -> int:
    """getdents64(2)."""
    return _getdents(t, fd, buf, size, False)


def sys_getdents(t: Task, fd: CUInt, buf: UserPtr, size: CUInt) -> int:
    """getdents(2): the old record, with the type in its last byte."""
    return _getdents(t, fd, buf, size, True)


TABLE: Final[Table] = {
    0: full("read", sys_read),
    1: full("write", sys_write),
    8: full("lseek", sys_lseek),
    17: full("pread64", sys_pread64),
    18: full("pwrite64", sys_pwrite64),
    19: full("readv", sys_readv),
    20: full("writev", sys_writev),
    78: full("getdents", sys_getdents),
    217: full("getdents64", sys_getdents64),
    295: full("preadv", sys_preadv),
    296: full("pwritev", sys_pwritev),
    327: full("preadv2", sys_preadv2),
    328: full("pwritev2", sys_pwritev2),
}
