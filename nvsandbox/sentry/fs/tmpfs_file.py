"""Regular files in memory (Linux: mm/shmem.c).

Small content lives in a bytearray; content that is mapped, big or sealed lives in a host memory file of its own,
of which the Sentry holds a pair of descriptors. In the overlay content stays in the lower's host file until the
first write. ``size`` is the truth about the size; nothing but this module changes a host file's.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from ...platform.native._native import lib
from ...platform.native.hot import put
from ..errors import SysErr, from_oserror
from ..kernel.remote import remap_shared
from ..kernel.wait import WaitQueue
from ..vfs.inode import ATTR_SIZE, Attrs, Stat
from ..vfs.lent import take_all_back
from ..vfs.regular import (
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    RegMappable,
    open_regular,
)
from .hostio import read_host
from .tmpfs_inode import MemInode

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from ..vfs.path import Path
    from .memfd_pool import HostPair
    from .tmpfs_inode import MemFs

INLINE_MAX: Final = 64 << 10
CHUNK: Final = 1 << 20
ASK: Final = -1  # ``blocks``: the host file knows


def host_fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), which os has not."""
    r = lib.nv_fallocate(fd, mode, offset, length)
    if r < 0:
        raise SysErr(-r)


def _pages(size: int) -> int:
    return (size + 4095) & ~4095


class MemReg(MemInode):
    """A regular file."""

    __slots__ = ("buf", "charged", "copying", "loose", "pair", "sealable")

    def __init__(
        self, fs: MemFs, mode: int, uid: int = 0, gid: int = 0, ino: int = 0, now: int = 0
    ) -> None:
        super().__init__(fs, mode, uid, gid, ino, now)
        self.buf: bytearray | None = bytearray()
        self.pair: HostPair | None = None
        self.charged = 0
        self.loose = False  # others write to the host file: mappings, the host itself
        self.sealable = False
        self.copying: WaitQueue | None = None

    # Where the content is
    def _fd(self, t: Task) -> int:
        """The descriptor to read through when there is no ``buf``."""
        if self.pair is not None:
            return self.pair.rw
        if self.lower is None:
            raise SysErr(errno.EIO)
        return self.lower.fd(t)

    def prepare_write(self, t: Task) -> None:
        """Copies content up from the lower. May suspend."""
        while self.buf is None and self.pair is None:
            if self.copying is not None:
                t.wait(self.copying, interruptible=False)
                continue
            self.copying = WaitQueue()
            take_all_back(self)
            try:
                self._copy_up(t)
            finally:
                q, self.copying = self.copying, None
                q.wake()
            self._replaced(t)

    def _copy_up(self, t: Task) -> None:
        assert self.lower is not None
        size = self.size
        self._charge(size)
        try:
            if size <= INLINE_MAX:
                buf = bytearray(self._read_lower(t, 0, size))
                self.buf = buf.ljust(size, b"\0")
            else:
                pair = self.mem.pool.take(t)
                pos = 0
                while pos < size:
                    data = self._read_lower(t, pos, min(CHUNK, size - pos))
                    if not data:
                        break
                    pos += os.pwrite(pair.rw, data, pos)
                os.ftruncate(pair.rw, size)
                self._keep_in(pair)
        except OSError as e:
            self._charge(-size)
            raise from_oserror(e) from None
        except SysErr:
            self._charge(-size)
            raise

    def _read_lower(self, t: Task, offset: int, size: int) -> bytes:
        assert self.lower is not None
        return read_host(t, self.lower.fd(t), size, offset)

    def _replaced(self, t: Task) -> None:
        """Mappings of the lower see what is written from here on (hazard B22). May suspend."""
        if isinstance(self.map, RegMappable) and self.map.mapped:
            remap_shared(t, self, self.to_host(t).ro)

    def to_host(self, t: Task) -> HostPair:
        """Moves the content to a host file of its own. May suspend."""
        self.prepare_write(t)
        if self.pair is None:
            pair = self.mem.pool.take(t)
            if self.pair is None:
                try:
                    os.ftruncate(pair.rw, self.size)
                    if self.buf:
                        _pwrite_all(pair.rw, self.buf, 0)
                except OSError as e:
                    raise from_oserror(e) from None
                self._keep_in(pair)
        assert self.pair is not None
        return self.pair

    def _keep_in(self, pair: HostPair) -> None:
        """From now on the content is ``pair``'s."""
        self.pair = pair
        self.buf = None
        self.blocks = ASK

    def _changed(self, t: Task) -> None:
        """The content is another."""
        self.mtime = self.ctime = t.k.realtime_ns()
        self.blocks = ASK

    def _charge(self, size: int) -> None:
        """What the file system's limit counts: pages of what was written, not holes."""
        new = max(self.charged + size, 0)
        self.mem.charge(_pages(new) - _pages(self.charged))
        self.charged = new

    def _uneven(self) -> bool:
        """Whether its size doesn't say which pages it has: there are holes, or pages behind the end."""
        if self.pair is None or not self.mem.max_bytes:
            return False
        return not self.size <= self.charged <= _pages(self.size)

    def _holes(self, start: int, end: int) -> int:
        """Bytes in [start, end) without pages, whole pages at a time, as far as the file's size goes."""
        assert self.pair is not None
        fd = self.pair.rw
        pos, end = start & ~4095, _pages(min(end, self.size))
        missing = 0
        try:
            while pos < end:
                try:
                    data = min(os.lseek(fd, pos, os.SEEK_DATA), end)
                except OSError as e:
                    if e.errno != errno.ENXIO:
                        raise
                    data = end
                missing += data - pos
                pos = min(os.lseek(fd, data, os.SEEK_HOLE), end) if data < end else end
        except OSError as e:
            raise from_oserror(e) from None
        return missing

    def _need(self, start: int, end: int) -> int:
        """Bytes of new pages that filling [start, end) takes. Pages behind the file's end, set aside by fallocate, can't be
        found one by one: they are taken to begin there."""
        need = self._holes(start, end)
        size = _pages(self.size)
        behind = _pages(end) - max(size, start & ~4095)
        if behind > 0:
            aside = self._real() - (size - self._holes(0, size))
            need += max(behind - max(aside, 0), 0)
        return need

    def _real(self) -> int:
        assert self.pair is not None
        return os.fstat(self.pair.rw).st_blocks * 512

    def _fitting(self, offset: int, data: bytes) -> bytes:
        """What of ``data`` there is room for. Raises ENOSPC."""
        room = self.mem.max_bytes - self.mem.used_bytes
        if self._need(offset, offset + len(data)) <= room:
            return data
        if room <= 0:
            raise SysErr(errno.ENOSPC)
        return data[:room]

    def _recount(self) -> None:
        """The limit counts what the host file really has, after a change among holes."""
        real = self._real()
        self.mem.used_bytes += _pages(real) - _pages(self.charged)
        self.charged = real

    def __del__(self) -> None:
        self.mem.used_bytes -= _pages(self.charged)
        self.mem.used_inodes -= 1

    # Reading and writing
    def read_at(self, t: Task, offset: int, size: int) -> bytes:
        if self.buf is not None:
            return bytes(self.buf[offset : offset + size])
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        return read_host(t, self._fd(t), size, offset)

    def write_at(self, t: Task, offset: int, data: bytes) -> int:
        start = self.size if offset < 0 else offset
        if self.buf is not None and start + len(data) > INLINE_MAX:
            self.to_host(t)  # may suspend, so before anything depends on the size
        if offset < 0:
            offset = self.size
        end = offset + len(data)
        grow = end - self.size
        uneven = self._uneven()
        if uneven:
            data = self._fitting(offset, data)
            end = offset + len(data)
        elif grow > 0 and self.mem.max_bytes:
            room = self.mem.max_bytes - self.mem.used_bytes + _pages(self.charged) - self.charged
            if room < min(grow, len(data)):
                room += max(self.size - offset, 0)
                if room <= 0:
                    raise SysErr(errno.ENOSPC)
                data = data[:room]
                end = offset + len(data)
                grow = end - self.size
        if self.buf is not None:
            if offset == len(self.buf):
                self.buf.extend(data)
            else:
                if end > len(self.buf):
                    self.buf.extend(bytes(end - len(self.buf)))
                put(self.buf, offset, data)
            n = len(data)
        else:
            n = self._pwrite(data, offset)
        if grow > 0 and not uneven:
            self._charge(min(grow, n))
        if offset + n > self.size:
            self.size = offset + n
        if uneven:
            self._recount()
        self._changed(t)
        return n

    def overwrite(self, t: Task, offset: int, addr: int, size: int) -> bool:
        if offset + size > self.size or self.copying is not None:
            return False
        trap = t.thread.trap
        if self.buf is not None:
            done = trap.put(self.buf, offset, addr, size)
        else:
            done = (
                self.pair is not None
                and not self._uneven()
                and trap.pwrite(self.pair.rw, offset, addr, size)
            )
        if done:
            self._changed(t)
        return done

    def _pwrite(self, data: bytes, offset: int) -> int:
        assert self.pair is not None
        try:
            return os.pwrite(self.pair.rw, data, offset)
        except OSError as e:
            raise from_oserror(e) from None

    def setattr(self, t: Task, a: Attrs) -> None:
        if a.valid & ATTR_SIZE and a.size != self.size:
            self._resize(t, a.size)
        super().setattr(t, a)

    def _resize(self, t: Task, size: int) -> None:
        take_all_back(self)
        if size == 0 and self.pair is None:
            self.buf = bytearray()
            self._replaced(t)
        else:
            self.prepare_write(t)
            if self.buf is not None and size > INLINE_MAX:
                self.to_host(t)
            if self.buf is not None:
                del self.buf[size:]
                self.buf.extend(bytes(size - len(self.buf)))
            else:
                assert self.pair is not None
                try:
                    os.ftruncate(self.pair.rw, size)
                except OSError as e:
                    raise from_oserror(e) from None
        self.size = size
        self._changed(t)
        if self.charged > size:
            self._charge(size - self.charged)

    def getattr(self, t: Task) -> Stat:
        s = Stat(self)
        if self.buf is not None:
            s.blocks = (self.size + 4095) >> 12 << 3
            return s
        if self.pair is not None and (self.blocks == ASK or self.loose):
            self.blocks = os.fstat(self.pair.rw).st_blocks
        s.blocks = self.blocks
        return s

    def seek_hole(self, t: Task, offset: int, data: bool) -> int:
        if self.pair is None:
            return offset if data else self.size
        try:
            pos = os.lseek(self.pair.rw, offset, os.SEEK_DATA if data else os.SEEK_HOLE)
        except OSError as e:
            raise from_oserror(e) from None
        return min(pos, self.size)

    def allocate(self, t: Task, mode: int, offset: int, length: int) -> None:
        if mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE):
            raise SysErr(errno.EOPNOTSUPP)
        punch = bool(mode & FALLOC_FL_PUNCH_HOLE)
        end = offset + length
        if (
            self.buf is not None
            and (end <= INLINE_MAX or punch)
            and not self._frees(offset, end, punch)
        ):
            if punch:
                stop = min(end, len(self.buf))
                self.buf[offset:stop] = bytes(max(0, stop - offset))
            elif not mode & FALLOC_FL_KEEP_SIZE and end > self.size:
                self._check_room(end - self.size)
                grow = end - self.size
                self._resize(t, end)
                self._charge(grow)
        else:
            pair = self.to_host(t)
            if not punch and self.mem.max_bytes:
                self._check_room(self._need(offset, end))
            host_fallocate(pair.rw, mode | FALLOC_FL_KEEP_SIZE, offset, length)
            if not mode & FALLOC_FL_KEEP_SIZE and end > self.size:
                self._resize(t, end)
            self._recount()
        self._changed(t)

    def _frees(self, offset: int, end: int, punch: bool) -> bool:
        """Whether a hole makes a whole page go, which only a host file can show."""
        return punch and _pages(offset) + 4096 <= min(end, _pages(self.size))

    def _check_room(self, need: int) -> None:
        """Raises ENOSPC."""
        if self.mem.max_bytes and need and self.mem.used_bytes + need > self.mem.max_bytes:
            raise SysErr(errno.ENOSPC)

    # Mapping
    def host_fd(self, t: Task, writable: bool) -> int:
        if not writable and self.buf is None and self.pair is None and self.lower is not None:
            return self.lower.fd(t)
        pair = self.to_host(t)
        self.loose = self.loose or writable
        return pair.rw if writable else pair.ro

    def direct_fd(self, t: Task, writable: bool) -> int:
        if self.pair is not None:
            self.loose = self.loose or writable
            return self.pair.rw if writable else self.pair.ro
        if self.buf is not None or self.lower is None or writable:
            return -1
        return self.lower.fd(t)

    def make_direct(self, t: Task) -> None:
        if self.buf:
            self.to_host(t)

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        return open_regular(t, path, flags, self)


def _pwrite_all(fd: int, data: bytes | bytearray, offset: int) -> None:
    with memoryview(data) as view:
        pos = 0
        while pos < len(view):
            pos += os.pwrite(fd, view[pos:], offset + pos)
