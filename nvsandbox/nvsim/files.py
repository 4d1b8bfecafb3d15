"""Open device files: what the driver keeps for each ``struct file``.

An open device is a memfd of its own, recognised by the inode behind ``/proc/PID/fd/N``, so that
dup, fork, exec and SCM_RIGHTS need no tracking. It is 2^47 bytes long and sparse, because UVM maps
at offsets equal to addresses. inotify says when the kernel has dropped the last reference.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from .seccomp import libc

SPARSE: Final = 1 << 47
_IN_NONBLOCK: Final = 0o4000
_IN_CLOEXEC: Final = 0o2000000
_IN_DELETE_SELF: Final = 0x400
_IN_IGNORED: Final = 0x8000
MAX_OPEN: Final = 8192


@dataclass(slots=True, eq=False)
class OpenFile:
    """State of one open of a device node, a fake file or a fake directory."""

    path: str
    kind: str
    """ctl, gpu, uvm, uvm-tools, caps, file or dir."""
    minor: int = 0
    control: OpenFile | None = None
    """The nvidiactl file REGISTER_FD tied it to."""
    events: deque[tuple[int, int, int]] = field(default_factory=deque)
    """Pending OS events: object, notify index, info."""
    os_event: bool = False
    eventfd: int = -1
    initialized: bool = False
    references: int = 0

    def owners(self) -> set[object]:
        """Open files whose clients may be used through this one."""
        return {self} if self.control is None else {self, self.control}

    def notify(self, item: tuple[int, int, int]) -> None:
        """An event arrived for whoever polls this file."""
        if len(self.events) < 1024:
            self.events.append(item)
        if self.eventfd >= 0:
            os.eventfd_write(self.eventfd, 1)


class FileTable:
    """All open files by the inode of their memfd."""

    def __init__(self, on_close: Callable[[OpenFile], None]) -> None:
        self._by_inode: dict[tuple[int, int], OpenFile] = {}
        self._by_watch: dict[int, tuple[int, int]] = {}
        self._on_close = on_close
        self.inotify = int(libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
        if self.inotify < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")

    def __len__(self) -> int:
        return len(self._by_inode)

    def __iter__(self) -> Iterator[OpenFile]:
        return iter(set(self._by_inode.values()))

    def find(self, inode: tuple[int, int] | None) -> OpenFile | None:
        """The open file with this inode."""
        return self._by_inode.get(inode) if inode else None

    def attach(self, file: OpenFile, fd: int) -> None:
        """Recognise the file behind ``fd`` (ours) as ``file`` until it goes away."""
        st = os.fstat(fd)
        key = (st.st_dev, st.st_ino)
        watch = int(
            libc.inotify_add_watch(self.inotify, f"/proc/self/fd/{fd}".encode(), _IN_DELETE_SELF)
        )
        if watch < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")
        old = self._by_inode.get(key)
        if old is not file:
            file.references += 1
            if old is not None:
                self._drop(old)
        self._by_inode[key] = file
        self._by_watch[watch] = key

    def open(self, file: OpenFile, content: bytes | None = None) -> int:
        """A new memfd for ``file``; the caller of this closes it once it is handed over."""
        fd = os.memfd_create(file.path.rsplit("/", 1)[-1][:200], os.MFD_CLOEXEC)
        try:
            if content is None:
                os.ftruncate(fd, SPARSE)
            elif content:
                os.write(fd, content)
                os.lseek(fd, 0, os.SEEK_SET)
            if len(self) < MAX_OPEN:
                self.attach(file, fd)
        except OSError:
            os.close(fd)
            raise
        return fd

    def drain(self) -> None:
        """Read which files the kernel has dropped."""
        try:
            data = os.read(self.inotify, 65536)
        except BlockingIOError:
            return
        at = 0
        while at + 16 <= len(data):
            watch, mask, _, length = struct.unpack_from("<iIII", data, at)
            at += 16 + length
            key = self._by_watch.pop(watch, None) if mask & _IN_IGNORED else None
            file = self._by_inode.pop(key, None) if key else None
            if file is not None:
                self._drop(file)

    def _drop(self, file: OpenFile) -> None:
        file.references -= 1
        if file.references == 0:
            if file.eventfd >= 0:
                os.close(file.eventfd)
                file.eventfd = -1
            self._on_close(file)
