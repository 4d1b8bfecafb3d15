"""Host descriptors the launcher gave us: the sandbox's stdin, stdout and stderr.

The host's description is shared with others, so its flags are never changed: reads and writes ask for no waiting
per call (RWF_NOWAIT, MSG_DONTWAIT) and, where the host can't do that (terminals), follow a poll. Readiness comes
from the event loop, armed one shot at a time while somebody waits.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from typing import TYPE_CHECKING, Final, TypeVar

from ..errors import SysErr, from_oserror
from ..kernel.wait import POLL_READ, POLL_WRITE, POLLERR, POLLHUP, POLLIN, POLLOUT, Waiter
from ..vfs.file import FileDescription, Mappable
from ..vfs.inode import Attrs, FileSystem, Inode, Stat
from .hostpoll import HostPoll, Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..kernel.task import Task

SAFE_WRITE: Final = 4096  # what POLLOUT promises not to block
T = TypeVar("T")
HOSTFS: Final = FileSystem("hostfs", "host")


class HostInode(Inode):
    """The inode of a donated descriptor: kind and size are the host's, the identity is ours."""

    __slots__ = ("fd", "label")

    def __init__(self, fd: int, st: os.stat_result) -> None:
        kind = stat.S_IFMT(st.st_mode)
        super().__init__(HOSTFS, kind | (0o620 if kind == stat.S_IFCHR else 0o600))
        self.fd = fd
        self.rdev = st.st_rdev
        self.label = b"host:[%d]" % self.ino

    def getattr(self, t: Task) -> Stat:
        st = os.fstat(self.fd)
        self.size = st.st_size
        self.atime, self.mtime, self.ctime = st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns
        s = Stat(self)
        s.blocks = st.st_blocks
        return s

    def end(self, t: Task) -> int:
        return os.fstat(self.fd).st_size

    def setattr(self, t: Task, a: Attrs) -> None:
        if a.valid & 8:
            try:
                os.ftruncate(self.fd, a.size)
            except OSError as e:
                raise from_oserror(e) from None
        # mode, owner and times of a file outside are not the application's to change


class HostFile(FileDescription):
    """A description over host descriptor ``fd``, which it owns. ``loop`` None: it never waits (tests, files)."""

    __slots__ = ("fd", "host", "kind", "loop", "nowait", "ready")

    def __init__(self, fd: int, flags: int, loop: Loop | None) -> None:
        super().__init__(flags)
        self.fd = fd
        self.host = HostInode(fd, os.fstat(fd))
        self.kind = self.host.mode & 0o170000
        self.loop = loop
        self.nowait = self.kind == stat.S_IFIFO
        self.ready = HostPoll(fd, self.queue, loop, POLLIN | POLLOUT, self._woken)

    @property
    def inode(self) -> Inode:
        return self.host

    def pollable(self) -> bool:
        return self.kind != stat.S_IFREG

    # Readiness
    def poll(self, t: Task | None) -> int:
        if self.kind == stat.S_IFREG:
            return POLL_READ | POLL_WRITE
        return self.ready.mask()

    def watch(self, w: Waiter) -> None:
        super().watch(w)
        self.poll(None)

    def unwatch(self, w: Waiter) -> None:
        super().unwatch(w)
        if not self.queue.waiters:
            self.ready.listen(0)

    def _woken(self, events: int) -> None:
        mask = events & 0xFFFF
        if mask & (POLLIN | POLLHUP | POLLERR):
            mask |= POLL_READ
        if mask & (POLLOUT | POLLERR):
            mask |= POLL_WRITE
        self.queue.wake(mask)

    def _wait(self, t: Task, events: int) -> bool:
        """Waits for readiness; False if it must not wait. The waiter comes from ``t.wait``, so arm by hand."""
        if self.nonblock or self.loop is None:
            return False
        self.ready.also(events)
        t.wait(self.queue)
        return True

    # Data
    def read(self, t: Task, size: int) -> bytes | int:
        while True:
            try:
                data = self._try_read(size)
            except InterruptedError:
                continue
            except BlockingIOError:
                data = None
            except OSError as e:
                raise from_oserror(e) from None
            if data is not None:
                if self.queue.waiters:
                    self.poll(None)
                return data
            if not self._wait(t, POLLIN):
                return -errno.EAGAIN

    def _ready_for(self, events: int) -> bool:
        return bool(self.ready.events() & (events | POLLHUP | POLLERR))

    def _try_read(self, size: int) -> bytes | None:
        """Data, or None when the host would have to wait."""
        if self.kind == stat.S_IFREG:
            return os.read(self.fd, size)
        if not self._ready_for(POLLIN):
            return None
        if self.kind == stat.S_IFSOCK:
            return _as_socket(self.fd, lambda s: s.recv(size, socket.MSG_DONTWAIT))
        if self.nowait:
            buf = bytearray(size)
            try:
                n = os.preadv(self.fd, [buf], -1, os.RWF_NOWAIT)
                return bytes(buf[:n])
            except OSError as e:
                if e.errno not in (errno.EOPNOTSUPP, errno.ESPIPE, errno.EINVAL):
                    raise
                self.nowait = False
        return os.read(self.fd, size)

    def write(self, t: Task, data: bytes) -> int:
        done = 0
        while True:
            try:
                n = self._try_write(data[done:] if done else data)
            except InterruptedError:
                continue
            except BlockingIOError:
                n = 0
            except OSError as e:
                if done:
                    return done
                raise from_oserror(e) from None
            done += n
            if done == len(data):
                return done
            if not n and not self._wait_write(t, done):
                return done or -errno.EAGAIN

    def _wait_write(self, t: Task, done: int) -> bool:
        if done and t.signal_pending():
            return False
        return self._wait(t, POLLOUT)

    def _try_write(self, data: bytes) -> int:
        """How much the host took without waiting."""
        if self.kind == stat.S_IFREG:
            return os.write(self.fd, data)
        if not self._ready_for(POLLOUT):
            return 0
        if self.kind == stat.S_IFSOCK:
            how = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
            return _as_socket(self.fd, lambda s: s.send(data, how))
        if self.nowait:
            try:
                return os.pwritev(self.fd, [data], -1, os.RWF_NOWAIT)
            except OSError as e:
                if e.errno not in (errno.EOPNOTSUPP, errno.ESPIPE, errno.EINVAL):
                    raise
                self.nowait = False
        return os.write(self.fd, data[:SAFE_WRITE])

    def pread(self, t: Task, size: int, offset: int) -> bytes | int:
        self._regular(errno.ESPIPE)
        try:
            return os.pread(self.fd, size, offset)
        except OSError as e:
            raise from_oserror(e) from None

    def pwrite(self, t: Task, data: bytes, offset: int) -> int:
        self._regular(errno.ESPIPE)
        try:
            return os.pwrite(self.fd, data, offset)
        except OSError as e:
            raise from_oserror(e) from None

    def seek(self, t: Task, offset: int, whence: int) -> int:
        try:
            return os.lseek(self.fd, offset, whence)
        except OSError as e:
            raise from_oserror(e) from None

    def _regular(self, err: int) -> None:
        if self.kind != stat.S_IFREG:
            raise SysErr(err)

    def truncate(self, t: Task, size: int) -> None:
        self._regular(errno.EINVAL)
        a = Attrs(8)
        a.size = size
        self.host.setattr(t, a)

    def fsync(self, t: Task, datasync: bool) -> None:
        self._regular(errno.EINVAL)
        t.k.loop.run_in_worker(lambda: os.fsync(self.fd))

    def mappable(self, t: Task) -> Mappable:
        self._regular(errno.ENODEV)
        raise SysErr(errno.ENODEV)

    def release(self) -> None:
        self.ready.close()
        os.close(self.fd)


def _as_socket(fd: int, fn: Callable[[socket.socket], T]) -> T:
    s = socket.socket(fileno=fd)
    try:
        return fn(s)
    finally:
        s.detach()


def open_host_fd(fd: int, loop: Loop | None) -> HostFile:
    """A description over ``fd``, with the access mode the host's has. Terminals: hostfd_tty.open_stdio."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND)
    return HostFile(fd, flags, loop)
