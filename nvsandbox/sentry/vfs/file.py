"""Open file descriptions and descriptor tables (Linux: struct file, fs/file.c; open(2), fcntl(2)).

A ``FileDescription`` is what ``dup`` and ``fork`` share: offset and status flags. Subclasses implement what
their kind of file can do; the defaults fail as Linux does for a file without that operation. A method may
suspend the calling task (``t.wait``); it never does so holding half-changed state. ``read`` and ``write`` honour
``O_NONBLOCK`` themselves, by returning ``-EAGAIN`` or raising ``SysErr``.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Final, final

from ..errors import SysErr
from ..kernel.wait import POLL_READ, POLL_WRITE, Waiter, WaitQueue
from . import leases, lent, locks

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .inode import Inode
    from .path import Path
    from .sigio import Async, Owner

O_ACCMODE: Final = 3  # literals: they are compiled in
O_WRONLY: Final = 1
O_PATH: Final = 0o10000000
NR_OPEN_MAX: Final = 1 << 20


class Mappable:
    """What ``mmap`` needs of a file: host descriptors of the Sentry that may be sent to a stub.

    ``host_fd(writable)`` gives a host descriptor whose rights are no more than asked: an O_RDONLY one unless
    ``writable`` (a shared mapping of a file the application opened for writing). The descriptor stays
    the owner's; the caller neither closes nor keeps it past the call. May suspend. Raises SysErr(ENODEV).
    """

    __slots__ = ()

    def host_fd(self, t: Task, writable: bool) -> int:
        raise SysErr(errno.ENODEV)


class FileDescription:
    """One open file. ``flags`` are open(2)'s (access mode, O_NONBLOCK, O_APPEND, O_PATH…)."""

    __slots__ = (
        "asyncs", "flags", "lent", "native", "offset", "owner", "owner_sig", "path", "queue",
        "reads", "refs",
    )  # fmt: skip

    def __init__(self, flags: int, path: Path | None = None) -> None:
        self.flags = flags
        self.path = (
            path  # where it was opened (mount + dentry); None for pipes, sockets, anon inodes
        )
        self.offset = 0
        self.refs = 0
        self.queue = WaitQueue()
        self.owner: Owner | None = None  # F_SETOWN
        self.owner_sig = 0  # F_SETSIG
        self.asyncs: Async | None = None  # O_ASYNC
        self.lent = False  # the native module reads it (vfs/lent.py); ``offset`` is not true
        self.native: Any = None  # what it knows of it
        self.reads = 0  # in a row, more or less
        if path is not None:
            path.mount.users += 1
            if flags & 3 and self.writes_to_mount():
                path.mount.writers += 1
                path.mount.fs.writers += 1

    def writes_to_mount(self) -> bool:
        """Whether it is a file of the file system it was opened in, no device, FIFO or socket."""
        p = self.path
        i = p.dentry.inode if p is not None else None
        return i is not None and i.mode & 0o170000 == 0o100000

    # What kind of file it is
    @property
    def inode(self) -> Inode:
        """The inode behind it; anonymous kinds (eventfd, epoll…) have one of the anon file system."""
        raise NotImplementedError

    def readable(self) -> bool:
        return self.flags & O_ACCMODE != O_WRONLY and not self.flags & O_PATH

    def writable(self) -> bool:
        return self.flags & O_ACCMODE != 0 and not self.flags & O_PATH

    @property
    def nonblock(self) -> bool:
        return bool(self.flags & os.O_NONBLOCK)

    # Data. The syscall layer has checked readable()/writable() and bounded the sizes.
    def read(self, t: Task, size: int) -> bytes | int:
        """Up to ``size`` bytes at the file's own position (moved); b"" is end of file; or -errno."""
        raise SysErr(errno.EINVAL)

    def write(self, t: Task, data: bytes) -> int:
        """Bytes written at the file's own position (moved), or -errno."""
        raise SysErr(errno.EINVAL)

    def pread(self, t: Task, size: int, offset: int) -> bytes | int:
        raise SysErr(errno.ESPIPE)

    def overwrite(self, t: Task, addr: int, size: int, offset: int) -> bool:
        """``write`` (``offset`` negative) or ``pwrite`` of ``size`` bytes that came with the trap, over what is there: a regular
        file's short cut. False: it can't be taken."""
        return False

    def pwrite(self, t: Task, data: bytes, offset: int) -> int:
        raise SysErr(errno.ESPIPE)

    def ignores_data(self) -> bool:
        """Whether writes never look at what they are given (/dev/null, /dev/zero)."""
        return False

    def is_null(self) -> bool:
        """Whether nothing can be read and everything is taken (/dev/null)."""
        return False

    def can_splice(self, t: Task, write: bool) -> bool:
        """Whether sendfile and splice work with it (Linux: f_op->splice_read, splice_write)."""
        return True

    def direct_fd(self, t: Task, writable: bool) -> int:
        """Host descriptor for bulk transfers by the stub itself, or -1 (see Mappable for its rights)."""
        return -1

    def accessed(self, t: Task) -> None:
        """The stub has read from ``direct_fd``: what else a read does."""

    def seek(self, t: Task, offset: int, whence: int) -> int:
        raise SysErr(errno.ESPIPE)

    # Readiness
    def poll(self, t: Task | None) -> int:
        """The POLL* bits that hold now. Regular files are always ready."""
        return POLL_READ | POLL_WRITE

    def pollable(self) -> bool:
        """False for regular files and directories: epoll_ctl answers EPERM."""
        return True

    def can_async(self) -> bool:
        """Whether O_ASYNC means something for it (Linux: f_op->fasync)."""
        return self.pollable()

    def watch(self, w: Waiter) -> None:
        """Registers ``w`` for changes of ``poll()``."""
        self.queue.add(w)

    def unwatch(self, w: Waiter) -> None:
        self.queue.remove(w)

    # Control
    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        raise SysErr(errno.ENOTTY)

    def set_flags(self, t: Task, flags: int) -> None:
        """F_SETFL: ``flags`` is already masked to what may change."""
        self.flags = flags

    def fsync(self, t: Task, datasync: bool) -> None:
        raise SysErr(errno.EINVAL)

    def truncate(self, t: Task, size: int) -> None:
        raise SysErr(errno.EINVAL)

    def fallocate(self, t: Task, mode: int, offset: int, length: int) -> None:
        raise SysErr(errno.ENODEV)

    def readdir(self, t: Task) -> list[tuple[int, int, int, bytes]]:
        """Entries from the current offset on: (ino, next offset, d_type, name); moves nothing.

        getdents64 consumes as many as fit and stores the last one's next offset in ``self.offset``.
        """
        raise SysErr(errno.ENOTDIR)

    def dirents(self, t: Task, room: int) -> tuple[bytes, int] | None:
        """What getdents64(2) writes into ``room`` bytes, not empty, and its last entry's next offset; None: ask ``readdir``."""
        return None

    def mappable(self, t: Task) -> Mappable:
        raise SysErr(errno.ENODEV)

    def mmap(self, t: Task, addr: int, size: int, prot: int, flags: int, offset: int) -> int | None:
        """A device that makes its own mappings: the address. None: as for any file, through ``mappable``."""
        return None

    def flush(self, t: Task) -> None:
        """Called at each close(2) of a descriptor of it: the caller's POSIX locks go. Overriders call this too."""
        i = self.inode
        if i.locks is not None:
            locks.release(i, t.files)
        if i.watches is not None:
            leases.closing(self)

    def release(self) -> None:
        """Last reference gone. Must not suspend and must not fail."""

    # References
    def incref(self) -> FileDescription:
        self.refs += 1
        return self

    def decref(self) -> None:
        self.refs -= 1
        if self.refs == 0:
            i = self.inode
            if i.locks is not None:
                locks.release(i, self)
            if self.asyncs is not None:
                self.asyncs.stop()
            self.release()
            if self.path is not None:
                m = self.path.mount
                m.users -= 1
                if self.flags & 3 and self.writes_to_mount():
                    m.writers -= 1
                    m.fs.writers -= 1


@final
class FdTable:
    """Descriptors of a process (files_struct), shared by CLONE_FILES."""

    __slots__ = ("cloexec", "files", "hint", "native", "refs")

    def __init__(self) -> None:
        self.files: dict[int, FileDescription] = {}
        self.cloexec: set[int] = set()
        self.hint = 0  # no free descriptor below
        self.native: Any = None  # what of it is lent (lent.py)
        self.refs = 1

    def get(self, fd: int) -> FileDescription:
        """The description behind ``fd``, O_PATH ones refused. Raises EBADF."""
        f = self.files.get(fd)
        if f is None or f.flags & O_PATH:
            raise SysErr(errno.EBADF)
        if f.lent:
            lent.take_back(f)
        return f

    def get_any(self, fd: int) -> FileDescription:
        """As ``get`` but O_PATH descriptors too."""
        f = self.files.get(fd)
        if f is None:
            raise SysErr(errno.EBADF)
        if f.lent:
            lent.take_back(f)
        return f

    def install(self, f: FileDescription, limit: int, cloexec: bool = False, least: int = 0) -> int:
        """Puts ``f`` at the lowest free number >= ``least``. Raises EMFILE at ``limit`` (RLIMIT_NOFILE)."""
        n = max(self.hint, least)
        files = self.files
        while n in files:
            n += 1
        if n >= limit:
            raise SysErr(errno.EMFILE)
        if least <= self.hint:
            self.hint = n + 1
        files[n] = f.incref()
        if cloexec:
            self.cloexec.add(n)
        return n

    def check_room(self, limit: int) -> None:
        """Raises EMFILE as ``install`` would: for a call that makes something before it has a number for it."""
        n = self.hint
        while n in self.files:
            n += 1
        self.hint = n
        if n >= limit:
            raise SysErr(errno.EMFILE)

    def replace(self, fd: int, f: FileDescription, cloexec: bool) -> FileDescription | None:
        """dup2: puts ``f`` at ``fd``; returns what was there, for the caller to flush and decref."""
        old = self.files.get(fd)
        if self.native is not None:
            lent.forget_number(self.native, fd)
        self.files[fd] = f.incref()
        self.cloexec.discard(fd)
        if cloexec:
            self.cloexec.add(fd)
        return old

    def remove(self, fd: int) -> FileDescription:
        """Takes ``fd`` out; the caller flushes and decrefs. Raises EBADF."""
        f = self.files.pop(fd, None)
        if f is None:
            raise SysErr(errno.EBADF)
        if self.native is not None:
            lent.forget_number(self.native, fd)
        self.cloexec.discard(fd)
        if fd < self.hint:
            self.hint = fd
        return f

    def fork(self) -> FdTable:
        new = FdTable()
        new.files = dict(self.files)
        for f in new.files.values():
            f.refs += 1
        new.cloexec = set(self.cloexec)
        new.hint = self.hint
        return new

    def drop_cloexec(self, t: Task) -> None:
        for fd in sorted(self.cloexec):
            f = self.remove(fd)
            f.flush(t)
            f.decref()

    def put(self, t: Task) -> None:
        """A process lets go of the table; the last one closes everything."""
        self.refs -= 1
        if self.refs == 0:
            for fd in sorted(self.files):
                f = self.remove(fd)
                f.flush(t)
                f.decref()
            self.cloexec.clear()
