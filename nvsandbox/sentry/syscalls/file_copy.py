"""Moving data between descriptors: sendfile(2), splice(2), tee(2), vmsplice(2), copy_file_range(2).

All of it copies through the Sentry: what Linux does by moving pages is only faster, not different, except that data
in a pipe does not change when its source file does.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
from typing import TYPE_CHECKING, Final

from ..abi.fcntl import MAX_RW_COUNT
from ..errors import Restart, SysErr
from ..fs.pipe import PAGE, Pipe, pipe_of
from ..kernel.wait import POLL_READ, POLL_WRITE, POLLERR, POLLHUP
from ..mm.vma import PROT_READ
from .decode import CInt, CUInt, CULong, Table, UserPtr, full
from .file_rw import Iov, copy_in_iov, do_read, do_write, readable, take, valid, writable

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

CHUNK: Final = 256 << 10
SPLICE_F_NONBLOCK: Final = 2
SPLICE_ALL: Final = 0x0F
NO_OFFSET: Final = -1


def _in_offset(t: Task, addr: int, count: int = 0) -> int:
    """An optional ``loff_t *``. Raises EFAULT, EINVAL, EOVERFLOW when a range from there would wrap."""
    if addr == 0:
        return NO_OFFSET
    (pos,) = struct.unpack("<q", t.copy_in(addr, 8))
    if count and pos % (1 << 64) + count >= 1 << 64:
        raise SysErr(errno.EOVERFLOW)
    if pos < 0:
        raise SysErr(errno.EINVAL)
    return int(pos)


def _out_offset(t: Task, addr: int, pos: int) -> None:
    if addr:
        t.copy_out(addr, struct.pack("<q", pos))


def _seekable(f: FileDescription) -> bool:
    return not f.pollable()


def _can_seek(t: Task, f: FileDescription) -> bool:
    try:
        f.seek(t, 0, os.SEEK_CUR)
    except SysErr:
        return False
    return True


def sys_sendfile(t: Task, out_fd: CInt, in_fd: CInt, offset: UserPtr, count: CULong) -> int:
    """sendfile(2)."""
    pos = _in_offset(t, offset)
    src = readable(t, in_fd & 0xFFFFFFFF)
    if pos != NO_OFFSET and not _seekable(src):
        raise SysErr(errno.ESPIPE)
    dst = writable(t, out_fd & 0xFFFFFFFF)
    if (dst.flags & os.O_APPEND and _seekable(dst)) or src.inode.is_dir():
        raise SysErr(errno.EINVAL)
    if not src.can_splice(t, False):
        raise SysErr(errno.EINVAL)
    if pipe_of(src) is not None or (pipe_of(dst) is None and not _can_seek(t, src)):
        raise SysErr(errno.EINVAL)  # what was read and could not be written would be lost
    if count >> 63:
        raise SysErr(errno.EINVAL)
    total = _pump(t, src, dst, pos, min(count, MAX_RW_COUNT))
    if total >= 0 and pos != NO_OFFSET:
        _out_offset(t, offset, pos + total)
    return total


def _pump(t: Task, src: FileDescription, dst: FileDescription, pos: int, count: int) -> int:
    """Copies from ``pos`` (or the current position) to the current position of ``dst``."""
    total = 0
    while total < count:
        want = min(CHUNK, count - total)
        try:
            if _seekable(src):
                at = src.offset if pos == NO_OFFSET else pos + total
                data = src.pread(t, want, at)
            else:
                data = src.read(t, want)
            if isinstance(data, int):
                return total or data
            if not data:
                break
            if not dst.can_splice(t, True):
                raise SysErr(errno.EINVAL)
            n = dst.write(t, data)
        except (SysErr, Restart) as e:
            if total:
                return total
            if isinstance(e, SysErr) and e.errno == errno.EPIPE:
                t.send_signal_self(signal.SIGPIPE)
            raise
        if n < 0:
            return total or n
        if _seekable(src) and pos == NO_OFFSET:
            src.offset += n
        total += n
        if n < len(data):
            break
    return total


def _wait_data(t: Task, p: Pipe, nonblock: bool) -> bool:
    """Until ``p`` has data; False at end of file. Raises EAGAIN, Restart."""
    while not p.slots:
        if p.writers == 0:
            return False
        if nonblock:
            raise SysErr(errno.EAGAIN)
        t.wait(p.rd_queue)
    return True


def _wait_room(t: Task, p: Pipe, nonblock: bool) -> int:
    """Until ``p`` takes data; how many bytes for certain. Raises EPIPE, EAGAIN, Restart."""
    while True:
        if p.readers == 0:
            t.send_signal_self(signal.SIGPIPE)
            raise SysErr(errno.EPIPE)
        if not p.full():
            return (p.max_slots - len(p.slots)) * PAGE
        if nonblock:
            raise SysErr(errno.EAGAIN)
        t.wait(p.wr_queue)


def _took(p: Pipe) -> None:
    p.wr_queue.wake(POLL_WRITE)


def _gave(p: Pipe) -> None:
    p.rd_queue.wake(POLL_READ)


def sys_splice(
    t: Task,
    in_fd: CInt,
    in_off: UserPtr,
    out_fd: CInt,
    out_off: UserPtr,
    size: CULong,
    flags: CUInt,
) -> int:
    """splice(2)."""
    if size == 0:
        return 0
    if flags & ~SPLICE_ALL:
        raise SysErr(errno.EINVAL)
    src = readable(t, in_fd & 0xFFFFFFFF)
    dst = writable(t, out_fd & 0xFFFFFFFF)
    a, b = pipe_of(src), pipe_of(dst)
    if (a is not None and in_off) or (b is not None and out_off):
        raise SysErr(errno.ESPIPE)
    if (a is None and b is None) or a is b:
        raise SysErr(errno.EINVAL)
    size = min(size, MAX_RW_COUNT)
    wait_not = bool(flags & SPLICE_F_NONBLOCK)
    if a is not None and b is not None:
        wait_not = wait_not or src.nonblock or dst.nonblock
        return _pipe_to_pipe(t, a, b, size, wait_not, False)
    if a is not None:
        if not dst.can_splice(t, True):
            raise SysErr(errno.EINVAL)
        return _pipe_to_file(t, a, dst, out_off, size, wait_not or src.nonblock)
    assert b is not None
    if src.inode.is_dir() or not src.can_splice(t, False):
        raise SysErr(errno.EINVAL)
    if wait_not and not _seekable(src) and not src.poll(t) & (POLL_READ | POLLHUP | POLLERR):
        raise SysErr(errno.EAGAIN)
    return _file_to_pipe(t, src, in_off, b, size, wait_not or dst.nonblock)


def _pipe_to_pipe(t: Task, a: Pipe, b: Pipe, size: int, nonblock: bool, tee: bool) -> int:
    while True:
        if not _wait_data(t, a, nonblock):
            return 0
        room = _wait_room(t, b, nonblock)
        if a.slots:
            break
    want = min(size, room)
    data = a.peek(want) if tee else a.take(want)
    b.put(data)
    _gave(b)
    if not tee:
        _took(a)
    return len(data)


def _pipe_to_file(
    t: Task, a: Pipe, dst: FileDescription, off_addr: int, size: int, nonblock: bool
) -> int:
    pos = _in_offset(t, off_addr)
    if pos != NO_OFFSET and not _seekable(dst):
        raise SysErr(errno.EINVAL)
    if dst.flags & os.O_APPEND and _seekable(dst):
        raise SysErr(errno.EINVAL)
    total = 0
    while total < size:
        try:
            if not _wait_data(t, a, nonblock or total > 0):
                break
            data = a.take(min(size - total, CHUNK))
            n = dst.write(t, data) if pos == NO_OFFSET else dst.pwrite(t, data, pos + total)
        except (SysErr, Restart):
            if total:
                break
            raise
        if n < len(data):  # what was not taken goes back to where it was
            a.give_back(data[max(n, 0) :])
        _took(a)
        if n < 0:
            return total or n
        total += n
        if n < len(data):
            break
    if pos != NO_OFFSET:
        _out_offset(t, off_addr, pos + total)
    return total


def _file_to_pipe(
    t: Task, src: FileDescription, off_addr: int, b: Pipe, size: int, nonblock: bool
) -> int:
    pos = _in_offset(t, off_addr)
    if pos != NO_OFFSET and not _seekable(src):
        raise SysErr(errno.EINVAL)
    room = _wait_room(t, b, nonblock)
    want = min(size, room)
    if not _seekable(src):
        data = src.read(t, want)
    else:
        data = src.pread(t, want, src.offset if pos == NO_OFFSET else pos)
    if isinstance(data, int):
        return data
    done = 0
    while done < len(data):  # the pipe may have filled up while a socket was read
        done += b.put(data[done:])
        _gave(b)
        if done < len(data):
            _wait_room(t, b, False)
    if pos != NO_OFFSET:
        _out_offset(t, off_addr, pos + done)
    elif _seekable(src):
        src.offset += done
    return done


def sys_tee(t: Task, in_fd: CInt, out_fd: CInt, size: CULong, flags: CUInt) -> int:
    """tee(2)."""
    if flags & ~SPLICE_ALL:
        raise SysErr(errno.EINVAL)
    if size == 0:
        return 0
    src = readable(t, in_fd & 0xFFFFFFFF)
    dst = writable(t, out_fd & 0xFFFFFFFF)
    a, b = pipe_of(src), pipe_of(dst)
    if a is None or b is None or a is b:
        raise SysErr(errno.EINVAL)
    nonblock = bool(flags & SPLICE_F_NONBLOCK) or src.nonblock or dst.nonblock
    return _pipe_to_pipe(t, a, b, min(size, MAX_RW_COUNT), nonblock, True)


def _paged(vec: Iov, slots: int) -> int:
    """How many bytes of ``vec`` go into so many slots of a pipe, a piece of a page each."""
    total = 0
    for addr, size in vec:
        n = min((addr % PAGE + size + PAGE - 1) // PAGE, slots)
        total += min(size, n * PAGE - addr % PAGE)
        slots -= n
        if not slots:
            break
    return total


def sys_vmsplice(t: Task, fd: CInt, iov: UserPtr, count: CULong, flags: CUInt) -> int:
    """vmsplice(2): copies, both ways."""
    if flags & ~SPLICE_ALL:
        raise SysErr(errno.EINVAL)
    f = t.files.get(fd & 0xFFFFFFFF)
    p = pipe_of(f)
    if p is None:
        raise SysErr(errno.EBADF)
    vec = copy_in_iov(t, iov, count)
    if not vec:
        return 0
    nonblock = bool(flags & SPLICE_F_NONBLOCK)
    if f.writable():
        room = _wait_room(t, p, nonblock)  # it waits for room once, not until all has found some
        there = valid(t, vec, PROT_READ)
        if there == 0:
            raise SysErr(errno.EFAULT)
        return do_write(t, f, take(vec, min(there, _paged(vec, room // PAGE)))[0], NO_OFFSET)
    if nonblock:
        _wait_data(t, p, True)
    return do_read(t, f, vec, NO_OFFSET)


def sys_copy_file_range(
    t: Task,
    in_fd: CInt,
    in_off: UserPtr,
    out_fd: CInt,
    out_off: UserPtr,
    size: CULong,
    flags: CUInt,
) -> int:
    """copy_file_range(2)."""
    src = t.files.get(in_fd & 0xFFFFFFFF)
    dst = t.files.get(out_fd & 0xFFFFFFFF)
    pos_in = _in_offset(t, in_off, size)
    pos_out = _in_offset(t, out_off, size)
    if flags:
        raise SysErr(errno.EINVAL)
    a, b = src.inode, dst.inode
    if a.is_dir() or b.is_dir():
        raise SysErr(errno.EISDIR)
    if not a.is_reg() or not b.is_reg():
        raise SysErr(errno.EINVAL)
    if not src.readable() or not dst.writable() or dst.flags & os.O_APPEND:
        raise SysErr(errno.EBADF)
    if a.fs is not b.fs:
        raise SysErr(errno.EXDEV)
    start = src.offset if pos_in == NO_OFFSET else pos_in
    to = dst.offset if pos_out == NO_OFFSET else pos_out
    size = min(size, MAX_RW_COUNT, max(0, a.end(t) - start))
    if a is b and start < to + size and to < start + size:
        raise SysErr(errno.EINVAL)
    total = 0
    while total < size:
        data = src.pread(t, min(CHUNK, size - total), start + total)
        if isinstance(data, int) or not data:
            break
        try:
            n = dst.pwrite(t, data, to + total)
        except SysErr:
            if total:
                break
            raise
        total += n
        if n < len(data):
            break
    if pos_in == NO_OFFSET:
        src.offset += total
    else:
        _out_offset(t, in_off, start + total)
    if pos_out == NO_OFFSET:
        dst.offset += total
    else:
        _out_offset(t, out_off, to + total)
    return total


TABLE: Final[Table] = {
    40: full("sendfile", sys_sendfile),
    275: full("splice", sys_splice),
    276: full("tee", sys_tee),
    278: full("vmsplice", sys_vmsplice),
    326: full("copy_file_range", sys_copy_file_range),
}
