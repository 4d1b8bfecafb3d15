"""System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..ipc import shm
from ..ipc.ids import IPC_64, IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, PERM, READ, WRITE
from ..kernel.creds import CAP_IPC_LOCK
from ..mm import mm as m
from .decode import CInt, CULong, Table, UserPtr, full, partial

if TYPE_CHECKING:
    from ..kernel.task import Task

SHM_RDONLY: Final = 0o10000
SHM_RND: Final = 0o20000
SHM_REMAP: Final = 0o40000
SHM_EXEC: Final = 0o100000
SHM_LOCK: Final = 11
SHM_UNLOCK: Final = 12
SHM_STAT: Final = 13
SHM_INFO: Final = 14
SHM_STAT_ANY: Final = 15
PAGE: Final = 4096


def sys_shmget(t: Task, key: CInt, size: CULong, flags: CInt) -> int:
    def make() -> shm.Segment:
        if not shm.SHMMIN <= size <= t.ns.ipc.shm_limits.size:
            raise SysErr(errno.EINVAL)
        if flags & shm.SHM_HUGETLB or size > t.tg.container.memory:
            raise SysErr(errno.ENOMEM)
        if t.ns.ipc.shared_bytes() + m.page_up(size) > min(
            shm.TOTAL_MAX, t.ns.ipc.shm_limits.pages * PAGE
        ):
            raise SysErr(errno.ENOSPC)
        return shm.Segment(t, key, flags, size)

    def check(s: shm.Segment) -> None:
        if size > s.size:
            raise SysErr(errno.EINVAL)

    return t.ns.ipc.shms.get(t, key, flags, make, check)


def _find(t: Task, id: int) -> shm.Segment:
    """A destroyed segment is there as long as it is attached; the memory of an undone change may hold it longer."""
    s = shm.find(t, id)
    if s.dead and not shm.attachments(t.k, s):
        raise SysErr(errno.EINVAL)
    return s


def _place(t: Task, addr: int, size: int, flags: int) -> tuple[int, int]:
    """(address, MAP_FIXED or 0). Raises EINVAL."""
    if addr == 0:
        if flags & SHM_REMAP:
            raise SysErr(errno.EINVAL)
        return 0, 0
    if addr % PAGE:
        if not flags & SHM_RND:
            raise SysErr(errno.EINVAL)
        addr -= addr % PAGE
        if addr == 0 and flags & SHM_REMAP:
            raise SysErr(errno.EINVAL)
    if not flags & SHM_REMAP and t.mm.map.overlapping(addr, addr + size):
        raise SysErr(errno.EINVAL)
    return addr, m.MAP_FIXED


def sys_shmat(t: Task, id: CInt, addr: CULong, flags: CInt) -> int:
    if id < 0:
        raise SysErr(errno.EINVAL)
    s = _find(t, id)
    prot, want = (1, READ) if flags & SHM_RDONLY else (3, READ | WRITE)
    if flags & SHM_EXEC:
        prot, want = prot | 4, want | 0o111
    s.check(t, want)
    size = m.page_up(s.size)
    f = shm.ShmFile(s, 0 if flags & SHM_RDONLY else 2)
    fd = shm.ShmMappable(s).host_fd(t, not flags & SHM_RDONLY)
    mm = t.mm
    locked = mm.users > 1
    if locked:
        mm.lock(t)
    try:
        at, fixed = _place(t, addr, size, flags)
        maxprot = 5 if flags & SHM_RDONLY else 7
        got = mm.mmap(t, at, size, prot, m.MAP_SHARED | fixed, f, 0, fd, maxprot)
    finally:
        if locked:
            mm.unlock()
    s.lpid = t.tg.pid
    s.atime = t.k.realtime_ns() // 10**9
    return got


def sys_shmdt(t: Task, addr: CULong) -> int:
    if addr % PAGE:
        raise SysErr(errno.EINVAL)
    mm = t.mm
    locked = mm.users > 1
    if locked:
        mm.lock(t)
    try:
        # The range may have been split, or lost its beginning: pieces know their offset.
        first = next(
            (
                v.file
                for v in mm.map.vmas
                if v.start >= addr
                and isinstance(v.file, shm.ShmFile)
                and v.start - v.offset == addr
            ),
            None,
        )
        if not isinstance(first, shm.ShmFile):
            raise SysErr(errno.EINVAL)
        pieces = [(v.start, v.end) for v in mm.map.vmas if v.file is first]
        for start, end in pieces:
            mm.munmap(t, start, end - start)
    finally:
        if locked:
            mm.unlock()
    s = first.segment
    s.lpid = t.tg.pid
    s.dtime = t.k.realtime_ns() // 10**9
    return 0


def sys_shmctl(t: Task, id: CInt, cmd: CInt, buf: UserPtr) -> int:
    cmd &= ~IPC_64
    if id < 0 or cmd < 0:
        raise SysErr(errno.EINVAL)
    if cmd == IPC_INFO:
        most, ids = t.ns.ipc.shm_limits, t.ns.ipc.shms.limit
        t.copy_out(buf, struct.pack("<QQQQQ32x", most.size, 1, ids, ids, most.pages))
        return t.ns.ipc.shms.highest()
    if cmd == SHM_INFO:
        pages = t.ns.ipc.shared_bytes() // PAGE
        segments = t.ns.ipc.shms.by_index.values()
        present = sum(s.present() for s in segments) // PAGE
        t.copy_out(buf, struct.pack("<i4xQQQQQ", len(segments), pages, present, 0, 0, 0))
        return t.ns.ipc.shms.highest()
    if cmd in (IPC_STAT, SHM_STAT, SHM_STAT_ANY):
        s = _find(t, id) if cmd == IPC_STAT else t.ns.ipc.shms.at_index(id)
        if cmd != SHM_STAT_ANY:
            s.check(t, READ)
        t.copy_out(buf, s.pack(t, shm.attachments(t.k, s)))
        return 0 if cmd == IPC_STAT else s.id
    if cmd == IPC_SET:
        raw = t.copy_in(buf, 112)
        s = _find(t, id)
        s.check_owner(t)
        s.set_perm(t, raw[: PERM.size])
        return 0
    if cmd == IPC_RMID:
        s = _find(t, id)
        s.check_owner(t)
        shm.mark_destroyed(t, s)
        return 0
    if cmd in (SHM_LOCK, SHM_UNLOCK):
        s = _find(t, id)
        if not t.creds.ns_capable(t.ns.ipc.administrator(), CAP_IPC_LOCK) and t.creds.euid not in (
            s.uid,
            s.cuid,
        ):
            raise SysErr(errno.EPERM)
        s.mode = s.mode & ~shm.SHM_LOCKED | (shm.SHM_LOCKED if cmd == SHM_LOCK else 0)
        return 0
    raise SysErr(errno.EINVAL)


TABLE: Final[Table] = {
    29: partial("shmget", sys_shmget, "SHM_HUGETLB"),
    30: full("shmat", sys_shmat),
    31: partial("shmctl", sys_shmctl, "SHM_LOCK only marks the segment"),
    67: full("shmdt", sys_shmdt),
}
