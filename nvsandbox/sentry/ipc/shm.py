"""System V shared memory (Linux: ipc/shm.c; shmget(2), shmop(2), shmctl(2)).

A segment is a host memory file, taken from the pool that tmpfs uses. An attached range is a shared mapping of a
``ShmFile``; how many there are is counted in the address spaces when somebody asks, so fork, exec and exit need not tell. A
destroyed segment lives on in those mappings only.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..fs import tmpfs
from ..fs.anon import ANONFS, AnonInode
from ..fs.tmpfs_inode import MemFs
from ..vfs.file import FileDescription, Mappable
from ..vfs.inode import Inode
from .ids import IPC_PRIVATE, IpcObject

if TYPE_CHECKING:
    from ..fs.memfd_pool import HostPair, MemfdPool
    from ..kernel.kernel import Kernel
    from ..kernel.task import Task

SHMMIN: Final = 1
SHMMAX: Final = (1 << 64) - 1 - (1 << 24)
SHMMNI: Final = 4096
SHM_DEST: Final = 0o1000
SHM_LOCKED: Final = 0o2000
SHM_HUGETLB: Final = 0o4000
TOTAL_MAX: Final = 1 << 46
DS: Final = struct.Struct("<QqqqiiQ16x")


@final
class Limits:
    """kernel.shmmax and kernel.shmall: bytes of a segment, pages of all."""

    __slots__ = ("pages", "size")

    def __init__(self) -> None:
        self.size = self.pages = SHMMAX


def shared_pool() -> MemfdPool:
    """Where host memory files come from: what ``tmpfs.register`` was given. Raises ENOMEM before that."""
    fs = tmpfs._shm[0].fs if tmpfs._shm else None
    if not isinstance(fs, MemFs):
        raise SysErr(errno.ENOMEM)
    return fs.pool


@final
class Segment(IpcObject):
    """One segment."""

    __slots__ = ("atime", "cpid", "dtime", "inode", "lpid", "pair", "size")

    def __init__(self, t: Task, key: int, mode: int, size: int) -> None:
        super().__init__(t, key, mode)
        self.size = size
        self.cpid = t.tg.pid
        self.lpid = 0
        self.atime = self.dtime = 0
        self.inode = AnonInode(ANONFS, 0o100000 | mode & 0o777, self.uid, self.gid)
        self.inode.label = b"/SYSV%08x (deleted)" % (key & 0xFFFFFFFF)
        self.pair: HostPair | None = None

    def host(self, t: Task) -> HostPair:
        """Its host file, made at the first need. May suspend. Raises ENOMEM."""
        if self.pair is None:
            pair = shared_pool().take(t)
            if self.pair is None:
                os.ftruncate(pair.rw, (self.size + 4095) & ~4095)
                self.pair = pair
        return self.pair

    def present(self) -> int:
        """Bytes of memory that it has."""
        return os.fstat(self.pair.rw).st_blocks * 512 if self.pair is not None else 0

    def pack(self, t: Task, nattch: int) -> bytes:
        """struct shmid64_ds, 112 bytes."""
        return self.pack_perm(t) + DS.pack(
            self.size,
            self.atime,
            self.dtime,
            self.ctime,
            t.tg.pidns.number(self.cpid),
            t.tg.pidns.number(self.lpid),
            nattch,
        )


@final
class ShmMappable(Mappable):
    """What mmap needs of a segment."""

    __slots__ = ("segment",)

    def __init__(self, segment: Segment) -> None:
        self.segment = segment

    def host_fd(self, t: Task, writable: bool) -> int:
        pair = self.segment.host(t)
        return pair.rw if writable else pair.ro


@final
class ShmFile(FileDescription):
    """The description that an attached range holds: one per segment is enough, its inode is the identity."""

    __slots__ = ("segment",)

    def __init__(self, segment: Segment, flags: int) -> None:
        super().__init__(flags)
        self.segment = segment

    @property
    def inode(self) -> Inode:
        return self.segment.inode

    def mappable(self, t: Task) -> Mappable:
        """For mappings beyond shmat's (remap_file_pages), which a removed segment doesn't get. Raises EIDRM."""
        if self.segment.dead:
            raise SysErr(errno.EIDRM)
        return ShmMappable(self.segment)


def find(t: Task, id: int) -> Segment:
    """Raises EINVAL, EIDRM."""
    ns = t.ns.ipc
    s = ns.dying.get(id)
    return s if s is not None else ns.shms.find(id)


def attachments(k: Kernel, s: Segment) -> int:
    """shm_nattch: attached ranges in all address spaces."""
    found: set[tuple[int, int]] = set()
    for u in k.every_task():
        mm = u.memory()
        if mm is None:
            continue
        for v in mm.map.vmas:
            if isinstance(v.file, ShmFile) and v.file.segment is s:
                found.add((id(mm), id(v.file)))
    return len(found)


def mark_destroyed(t: Task, s: Segment) -> None:
    """IPC_RMID: no key leads to it; it is gone with its last mapping."""
    if s.dead:
        return
    ns = t.ns.ipc
    ns.shms.remove(s)
    s.mode |= SHM_DEST
    s.key = IPC_PRIVATE
    ns.dying.put(s.id, s)
