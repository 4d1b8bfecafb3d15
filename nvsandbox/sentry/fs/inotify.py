"""inotify (Linux: fs/notify/inotify; inotify(7)). The events come from ``vfs/notify.py``.

A watch hangs on an inode and keeps it alive. Identical events in a row are merged; beyond ``max_queued`` one
IN_Q_OVERFLOW tells that some are missing.
"""

from __future__ import annotations

import errno
import os
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.wait import POLLIN, POLLRDNORM
from ..vfs.inode import Inode
from ..vfs.notify import IN_DELETE_SELF, IN_EXCL_UNLINK, IN_ISDIR, IN_UNMOUNT, add_watch
from .anon import AnonFile

if TYPE_CHECKING:
    from ..kernel.task import Task

IN_ALL_EVENTS: Final = 0xFFF
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_MASK_CREATE: Final = 0x10000000
IN_MASK_ADD: Final = 0x20000000
IN_ONESHOT: Final = 0x80000000
SHOWN: Final = IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT
FIONREAD: Final = 0x541B
HEADER: Final = struct.Struct("<iIII")
HARD_MAX: Final = 1 << 20

max_queued = 16384  # /proc/sys/fs/inotify/*
max_instances = 128
max_watches = 65536
_instances = 0
_watches = 0


@final
class Watch:
    """One inode watched by one instance (vfs.inode.InodeWatch)."""

    __slots__ = ("inode", "mask", "owner", "wd")

    def __init__(self, owner: Inotify, wd: int, inode: Inode, mask: int) -> None:
        self.owner = owner
        self.wd = wd
        self.inode = inode
        self.mask = mask

    def event(self, mask: int, cookie: int, name: bytes) -> None:
        if mask & self.mask & IN_EXCL_UNLINK:
            return
        if mask & self.mask & IN_ALL_EVENTS or mask & IN_UNMOUNT:
            self.owner.push(self.wd, mask & (IN_ALL_EVENTS | IN_ISDIR | IN_UNMOUNT), cookie, name)
            if self.mask & IN_ONESHOT:
                self.owner.drop(self)
                return
        if mask & (IN_DELETE_SELF | IN_UNMOUNT):
            self.owner.drop(self)


@final
class Inotify(AnonFile):
    """An instance: its watches and the events not yet read."""

    __slots__ = ("events", "next_wd", "size", "watches")

    label = b"anon_inode:inotify"

    def __init__(self, flags: int) -> None:
        global _instances
        if _instances >= max_instances:
            raise SysErr(errno.EMFILE)
        super().__init__(flags)
        _instances += 1
        self.watches: dict[int, Watch] = {}
        self.events: deque[bytes] = deque()
        self.size = 0
        self.next_wd = 1

    def add(self, inode: Inode, mask: int) -> int:
        """The watch descriptor. Raises EEXIST (IN_MASK_CREATE), ENOSPC."""
        global _watches
        for w in inode.watches or ():
            if isinstance(w, Watch) and w.owner is self:
                if mask & IN_MASK_CREATE:
                    raise SysErr(errno.EEXIST)
                w.mask = w.mask | mask if mask & IN_MASK_ADD else mask
                return w.wd
        if _watches >= max_watches:
            raise SysErr(errno.ENOSPC)
        new = Watch(self, self.next_wd, inode, mask)
        self.next_wd += 1
        self.watches[new.wd] = new
        if inode.watches is None:
            inode.watches = []
        inode.watches.append(new)
        _watches += 1
        add_watch(1)
        return new.wd

    def remove(self, wd: int) -> None:
        """inotify_rm_watch. Raises EINVAL."""
        w = self.watches.get(wd)
        if w is None:
            raise SysErr(errno.EINVAL)
        self.drop(w)

    def drop(self, w: Watch, tell: bool = True) -> None:
        global _watches
        if self.watches.pop(w.wd, None) is None:
            return
        if w.inode.watches is not None and w in w.inode.watches:
            w.inode.watches.remove(w)
            if not w.inode.watches:
                w.inode.watches = None
        _watches -= 1
        add_watch(-1)
        if tell:
            self.push(w.wd, IN_IGNORED, 0, b"")

    def push(self, wd: int, mask: int, cookie: int, name: bytes) -> None:
        field = name + b"\0" * (16 - len(name) % 16) if name else b""
        raw = HEADER.pack(wd, mask, cookie, len(field)) + field
        if self.events and self.events[-1] == raw:
            return
        if len(self.events) >= max_queued:
            raw = HEADER.pack(-1, IN_Q_OVERFLOW, 0, 0)
            if self.events and self.events[-1] == raw:
                return
        self.events.append(raw)
        self.size += len(raw)
        self.queue.wake(POLLIN | POLLRDNORM)

    def read(self, t: Task, size: int) -> bytes | int:
        while not self.events:
            if self.flags & os.O_NONBLOCK:
                return -errno.EAGAIN
            t.wait(self.queue)
        out: list[bytes] = []
        got = 0
        while self.events and got + len(self.events[0]) <= size:
            raw = self.events.popleft()
            got += len(raw)
            out.append(raw)
        self.size -= got
        return b"".join(out) if out else -errno.EINVAL

    def can_async(self) -> bool:
        return True

    def poll(self, t: Task | None) -> int:
        return POLLIN | POLLRDNORM if self.events else 0

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        if cmd != FIONREAD:
            raise SysErr(errno.ENOTTY)
        t.copy_out(arg, struct.pack("<i", self.size))
        return 0

    def release(self) -> None:
        global _instances
        _instances -= 1
        for w in list(self.watches.values()):
            self.drop(w, tell=False)
        self.events.clear()

    def fdinfo(self) -> bytes:
        return b"".join(
            b"inotify wd:%x ino:%x sdev:%x mask:%x ignored_mask:0 \n"
            % (w.wd, w.inode.ino, w.inode.fs.dev, w.mask & SHOWN)
            for w in reversed(self.watches.values())
        )
