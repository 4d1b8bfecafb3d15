"""/dev/kmsg, where a container has the node (Linux: kernel/printk/printk.c, kmsg_fops)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.creds import CAP_SYS_ADMIN, CAP_SYSLOG
from ..kernel.klog import MAX_LINE, KernelLog, extended
from ..kernel.wait import POLL_READ
from ..vfs.file import O_ACCMODE, O_WRONLY, FileDescription
from ..vfs.inode import Inode
from ..vfs.special import register_chrdev

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.path import Path

MEM_MAJOR: Final = 1
KMSG: Final = 11
SEEK_DATA: Final = 3


@final
class KmsgFile(FileDescription):
    """One reader's place in the log of the container that opened it."""

    __slots__ = ("log", "node", "seq")

    def __init__(self, flags: int, path: Path, log: KernelLog) -> None:
        super().__init__(flags, path)
        self.node = path.inode
        self.log = log
        self.queue = log.queue
        self.seq = log.first_seq

    @property
    def inode(self) -> Inode:
        return self.node

    def read(self, t: Task, size: int) -> bytes | int:
        """One record a call."""
        log = self.log
        while self.seq >= log.next_seq:
            if self.nonblock:
                return -errno.EAGAIN
            t.wait(log.queue)
        if self.seq < log.first_seq:
            self.seq = log.first_seq
            return -errno.EPIPE  # some are lost
        text = extended(log.at(self.seq))
        if len(text) > size:
            return -errno.EINVAL
        self.seq += 1
        return text

    def write(self, t: Task, data: bytes) -> int:
        if len(data) > MAX_LINE:
            return -errno.EINVAL
        self.log.write(data)
        return len(data)

    def seek(self, t: Task, offset: int, whence: int) -> int:
        if offset:
            raise SysErr(errno.ESPIPE)
        if whence == os.SEEK_SET:
            self.seq = self.log.first_seq
        elif whence == SEEK_DATA:
            self.seq = self.log.clear_seq
        elif whence == os.SEEK_END:
            self.seq = self.log.next_seq
        else:
            raise SysErr(errno.EINVAL)
        return 0

    def poll(self, t: Task | None) -> int:
        return POLL_READ if self.seq < self.log.next_seq else 0


def may_read(t: Task) -> bool:
    """As with kernel.dmesg_restrict=1."""
    return t.creds.capable(CAP_SYSLOG) or t.creds.capable(CAP_SYS_ADMIN)


def _open(t: Task, path: Path, flags: int) -> FileDescription:
    if flags & O_ACCMODE != O_WRONLY and not may_read(t):
        raise SysErr(errno.EPERM)
    return KmsgFile(flags, path, t.tg.container.log())


register_chrdev(MEM_MAJOR, KMSG, _open)
