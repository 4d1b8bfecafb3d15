"""Memory calls (Linux: mm/mmap.c, mprotect.c, mremap.c, madvise.c, mlock.c, msync.c, mincore.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ...platform.interface import DATA_LEN, DATA_OFF, OF_IGNORE, WIN_OFF
from ..abi.personality import READ_IMPLIES_EXEC
from ..errors import SysErr
from ..fs.dev_nodes import ZeroMappable
from ..kernel.creds import CAP_IPC_LOCK
from ..kernel.task import RLIMIT_MEMLOCK, Task
from ..mm import mm as m
from ..mm.mm import TASK_SIZE, page_up
from ..mm.promoted import Promoted
from ..mm.vma import (
    DONTDUMP,
    DONTFORK,
    LOCKED,
    PAGE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    STUB,
    VDSO,
    WIPEONFORK,
    Vma,
)
from ..mm.vma import GROWS as VMA_GROWS
from ..vfs.path import MS_NOEXEC
from .decode import CInt, CULong, Table, UserPtr, full, missing, partial

if TYPE_CHECKING:
    from ..vfs.file import FileDescription

MREMAP_MAYMOVE: Final = 1
MREMAP_FIXED: Final = 2
MREMAP_DONTUNMAP: Final = 4
MS_ASYNC: Final = 1
MS_INVALIDATE: Final = 2
MS_SYNC: Final = 4
MADV_DONTNEED: Final = 4
MADV_FREE: Final = 8
MADV_REMOVE: Final = 9
MADV_DONTFORK: Final = 10
MADV_DOFORK: Final = 11
MADV_DONTDUMP: Final = 16
MADV_DODUMP: Final = 17
MADV_WIPEONFORK: Final = 18
MADV_KEEPONFORK: Final = 19
MADV_KNOWN: Final = frozenset((*range(5), 8, 9, *range(10, 24)))
MADV_PASS: Final = frozenset((4, 8, 9, 10, 11, 14, 15, 18, 19, 20, 21, 22, 23))
LEGACY_FLAGS: Final = (
    0x1
    | 0x2
    | 0x10
    | 0x20
    | 0x40
    | 0x100
    | 0x800
    | 0x1000
    | 0x2000
    | 0x4000
    | 0x8000
    | 0x10000
    | 0x20000
    | 0x40000
    | 0x3F << 26  # huge page sizes
)
USER_BITS: Final = 7
ANONYMOUS: Final = -1  # instead of a descriptor: /dev/zero
GROWS: Final = 0x03000000  # PROT_GROWSDOWN | PROT_GROWSUP
PROT_GROWSUP: Final = 0x02000000
MADV_POPULATE_READ: Final = 22
MADV_POPULATE_WRITE: Final = 23


# Advice that is a flag of the area: (which, whether it is set)
MARKED: Final = {
    MADV_DONTFORK: (DONTFORK, True), MADV_DOFORK: (DONTFORK, False), MADV_DONTDUMP: (DONTDUMP, True),
    MADV_DODUMP: (DONTDUMP, False), MADV_WIPEONFORK: (WIPEONFORK, True), MADV_KEEPONFORK: (WIPEONFORK, False),
}  # fmt: skip


def _with_lock(t: Task) -> bool:
    """Takes the map's lock when several threads could change it; whether it did."""
    if t.mm.users > 1:
        t.mm.lock(t)
        return True
    return False


def sys_mmap(
    t: Task, addr: CULong, length: CULong, prot: CULong, flags: CULong, fd: CInt, offset: CULong
) -> int:
    """mmap(2)."""
    if offset & (PAGE - 1):
        raise SysErr(errno.EINVAL)
    file: FileDescription | None = None
    if not flags & m.MAP_ANONYMOUS:
        file = t.files.get(fd)
        if flags & m.MAP_HUGETLB:
            raise SysErr(errno.EINVAL)
    elif flags & m.MAP_HUGETLB:
        raise SysErr(errno.ENOMEM)  # no huge pages are reserved here
    if length == 0:
        raise SysErr(errno.EINVAL)
    size = page_up(length)
    if size == 0 or size > TASK_SIZE:
        raise SysErr(errno.ENOMEM)
    kind = flags & m.MAP_TYPE
    if kind == m.MAP_SHARED_VALIDATE:
        if flags & ~LEGACY_FLAGS & ~m.MAP_SHARED_VALIDATE & 0xFFFFFFFF & ~m.MAP_FIXED_NOREPLACE:
            raise SysErr(errno.EOPNOTSUPP)
    elif kind not in (m.MAP_SHARED, m.MAP_PRIVATE):
        raise SysErr(errno.EINVAL)
    prot &= USER_BITS
    if t.personality & READ_IMPLIES_EXEC and prot & PROT_READ and not _noexec(file):
        prot |= PROT_EXEC
    if offset + size > 1 << 63:
        raise SysErr(errno.EOVERFLOW)
    host_fd, maxprot = -1, 7
    if file is not None:
        own = file.mmap(t, addr, size, prot, flags, offset)
        if own is not None:
            return own
        host_fd, maxprot = _file_rights(t, file, prot, kind != m.MAP_PRIVATE)
        if host_fd == ANONYMOUS:
            file, flags = None, flags | m.MAP_ANONYMOUS
    locked = _with_lock(t)
    try:
        at = t.mm.mmap(t, addr, size, prot, flags, file, offset if file else 0, host_fd, maxprot)
    finally:
        if locked:
            t.mm.unlock()
    if flags & m.MAP_LOCKED or t.mm.lock_new:
        _populate(t, at, at + size)
    return at


def _noexec(file: FileDescription | None) -> bool:
    return file is not None and file.path is not None and bool(file.path.mount.flags & MS_NOEXEC)


def _file_rights(t: Task, file: FileDescription, prot: int, shared: bool) -> tuple[int, int]:
    """(host descriptor or ANONYMOUS, the most mprotect may give). Raises EACCES, EPERM, ENODEV as mmap(2) says."""
    if not file.readable():
        raise SysErr(errno.EACCES)
    maxprot = 7
    if shared and not file.writable():
        if prot & 2:
            raise SysErr(errno.EACCES)
        maxprot &= ~2
    if _noexec(file):
        if prot & 4:
            raise SysErr(errno.EPERM)
        maxprot &= ~4
    what = file.mappable(t)
    if isinstance(what, ZeroMappable):
        return ANONYMOUS, maxprot
    return what.host_fd(t, shared and file.writable()), maxprot


def sys_remap_file_pages(
    t: Task, start: CULong, length: CULong, prot: CULong, pgoff: CULong, flags: CULong
) -> int:
    """remap_file_pages(2), as Linux has emulated it since 4.0: a mapping of its own at another offset of the file."""
    start &= ~(PAGE - 1)
    size = length & ~(PAGE - 1)
    end = start + size
    if prot or not size or end > TASK_SIZE or pgoff * PAGE + size > 1 << 63:
        raise SysErr(errno.EINVAL)
    locked = _with_lock(t)
    try:
        v = t.mm.map.find(start)
        if v is None or not v.shared or v.file is None or not t.mm.map.covered(start, end):
            raise SysErr(errno.EINVAL)
        over = t.mm.map.overlapping(start, end)
        if any(u.file is not v.file or u.prot != v.prot or u.flags != v.flags for u in over):
            raise SysErr(errno.EINVAL)
        fd = v.file.mappable(t).host_fd(t, v.file.writable())
        how = m.MAP_SHARED | m.MAP_FIXED | flags & m.MAP_NONBLOCK
        how |= m.MAP_LOCKED if v.flags & LOCKED else 0
        t.mm.mmap(t, start, size, v.prot, how, v.file, pgoff * PAGE, fd, v.maxprot)
    finally:
        if locked:
            t.mm.unlock()
    if v.flags & LOCKED:
        _populate(t, start, end)
    return 0


def sys_munmap(t: Task, addr: CULong, length: CULong) -> int:
    """munmap(2)."""
    if addr & (PAGE - 1) or length == 0 or length > TASK_SIZE or addr > TASK_SIZE - length:
        raise SysErr(errno.EINVAL)
    locked = _with_lock(t)
    try:
        t.mm.munmap(t, addr, page_up(length))
    finally:
        if locked:
            t.mm.unlock()
    return 0


def sys_mprotect(t: Task, addr: CULong, length: CULong, prot: CULong) -> int:
    """mprotect(2)."""
    if addr & (PAGE - 1) or prot & GROWS == GROWS:
        raise SysErr(errno.EINVAL)
    if length == 0:
        return 0
    size = page_up(length)
    if size == 0 or addr > TASK_SIZE - size:
        raise SysErr(errno.ENOMEM)
    if prot & ~(USER_BITS | 8 | GROWS):
        raise SysErr(errno.EINVAL)
    if prot & GROWS:
        v = t.mm.map.find(addr)
        if v is None:
            raise SysErr(errno.ENOMEM)
        if prot & PROT_GROWSUP or not v.flags & VMA_GROWS:
            raise SysErr(errno.EINVAL)
        addr, size = v.start, size + addr - v.start
    if t.personality & READ_IMPLIES_EXEC and prot & PROT_READ:
        if all(v.maxprot & PROT_EXEC for v in t.mm.map.overlapping(addr, addr + size)):
            prot |= PROT_EXEC
    locked = _with_lock(t)
    try:
        t.mm.mprotect(t, addr, size, prot & USER_BITS)
    finally:
        if locked:
            t.mm.unlock()
    return 0


def sys_brk(t: Task, addr: CULong) -> int:
    """brk(2): the system call returns the break."""
    locked = _with_lock(t)
    try:
        return t.mm.set_brk(t, addr)
    finally:
        if locked:
            t.mm.unlock()


def sys_mremap(
    t: Task, old: CULong, old_len: CULong, new_len: CULong, flags: CULong, new: CULong
) -> int:
    """mremap(2)."""
    if flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP):
        raise SysErr(errno.EINVAL)
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) and not flags & MREMAP_MAYMOVE:
        raise SysErr(errno.EINVAL)
    if flags & MREMAP_DONTUNMAP and page_up(old_len) != page_up(new_len):
        raise SysErr(errno.EINVAL)
    if old & (PAGE - 1) or new_len == 0 or new_len > TASK_SIZE:
        raise SysErr(errno.EINVAL)
    locked = _with_lock(t)
    try:
        return _mremap(t, old, page_up(old_len), page_up(new_len), flags, new)
    finally:
        if locked:
            t.mm.unlock()


def _mremap(t: Task, old: int, osize: int, nsize: int, flags: int, new: int) -> int:
    mm = t.mm
    v = mm.map.find(old)
    if v is None or v.kind in (STUB, VDSO):
        raise SysErr(errno.EFAULT)
    if flags & MREMAP_FIXED:
        if new & (PAGE - 1) or new > TASK_SIZE - nsize or (new < old + osize and old < new + nsize):
            raise SysErr(errno.EINVAL)
        if new < m.MMAP_MIN:
            raise SysErr(errno.EPERM)
    if osize == 0:
        if not v.shared:
            raise SysErr(errno.EINVAL)
        if not flags & MREMAP_MAYMOVE:
            raise SysErr(errno.ENOMEM)
        return _move(t, v, old, 0, nsize, flags, new)
    if nsize < osize and not flags & MREMAP_FIXED:
        mm.munmap(t, old + nsize, osize - nsize)
        return old
    if old + osize > v.end:
        raise SysErr(errno.EFAULT)
    if nsize == osize and not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        return old
    if nsize > osize and v.flags & LOCKED and not mm.may_lock(t, nsize - osize):
        raise SysErr(errno.EAGAIN)
    mm.check_limits(t, max(nsize - osize, 0), bool(v.prot & 2) and not v.shared)
    if not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) and old + osize == v.end:
        if old + nsize <= TASK_SIZE and not mm.map.overlapping(v.end, old + nsize):
            before = mm.map.copy()
            grown = v.part(old, v.end)
            grown.end = old + nsize
            mm.map.replace(old, old + nsize, [grown])
            t.thread.host(m.NR_MREMAP, old, osize, nsize, 0, 0)
            mm.apply(t, before)
            return old
    if not flags & MREMAP_MAYMOVE:
        raise SysErr(errno.ENOMEM)
    return _move(t, v, old, osize, nsize, flags, new)


def _move(t: Task, v: Vma, old: int, osize: int, nsize: int, flags: int, new: int) -> int:
    mm = t.mm
    at = mm.pick(t, new, nsize, m.MAP_FIXED if flags & MREMAP_FIXED else 0)
    before = mm.map.copy()
    if nsize < osize:
        mm.map.replace(old + nsize, old + osize, [])
    moved = v.part(old, min(v.end, old + max(osize, PAGE)))
    moved.start, moved.end = at, at + nsize
    if osize and not flags & MREMAP_DONTUNMAP:
        mm.map.replace(old, old + osize, [])
    mm.map.replace(at, at + nsize, [moved])
    mm.unpatch(t, before, old, old + osize)
    hflags = MREMAP_MAYMOVE | MREMAP_FIXED | (flags & MREMAP_DONTUNMAP)
    t.thread.host(m.NR_MREMAP, old, osize, nsize, hflags, at)
    mm.apply(t, before)
    return at


def sys_madvise(t: Task, addr: CULong, length: CULong, advice: CInt) -> int:
    """madvise(2)."""
    if addr & (PAGE - 1) or advice not in MADV_KNOWN:
        raise SysErr(errno.EINVAL)
    size = page_up(length)
    if (length and not size) or addr + size > 1 << 64:
        raise SysErr(errno.EINVAL)
    if size == 0:
        return 0
    beyond = addr + size > TASK_SIZE  # applied to what is there, then ENOMEM as for any hole
    size = max(min(addr + size, TASK_SIZE) - addr, 0)
    over = t.mm.map.overlapping(addr, addr + size)
    hole = beyond or not t.mm.map.covered(addr, addr + size)
    for v in over:
        if v.kind in (STUB, VDSO):
            continue
        lo, hi = max(v.start, addr), min(v.end, addr + size)
        if v.flags & LOCKED and advice in (MADV_DONTNEED, MADV_FREE, MADV_REMOVE):
            raise SysErr(errno.EINVAL)
        if advice in MARKED:
            if advice == MADV_WIPEONFORK and (v.file is not None or v.shared):
                raise SysErr(errno.EINVAL)
            bit, on = MARKED[advice]
            nv = v.part(lo, hi)
            nv.flags = v.flags | bit if on else v.flags & ~bit
            t.mm.map.replace(lo, hi, [nv])
        if isinstance(v.obj, Promoted) and advice in (MADV_DONTNEED, MADV_FREE):
            if advice == MADV_DONTNEED:
                t.thread.host(28, lo, hi - lo, MADV_REMOVE)  # private to the application: zeroes
        elif advice in MADV_PASS:
            t.thread.host(28, lo, hi - lo, advice)
    if t.mm.users > 1 or hole:
        t.thread.run()
    if hole:
        raise SysErr(errno.ENOMEM)
    return 0


def sys_msync(t: Task, addr: CULong, length: CULong, flags: CInt) -> int:
    """msync(2): shared file pages are the host's page cache, so there is nothing to write back."""
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or addr & (PAGE - 1):
        raise SysErr(errno.EINVAL)
    if flags & MS_ASYNC and flags & MS_SYNC:
        raise SysErr(errno.EINVAL)
    size = page_up(length)
    if (length and not size) or addr > TASK_SIZE - size:
        raise SysErr(errno.ENOMEM)
    if size and flags & MS_INVALIDATE and t.mm.locked(addr, addr + size):
        raise SysErr(errno.EBUSY)
    if size and not t.mm.map.covered(addr, addr + size):
        raise SysErr(errno.ENOMEM)
    return 0


def sys_mincore(t: Task, addr: CULong, length: CULong, vec: UserPtr) -> int:
    """mincore(2), answered by the stub's own host call."""
    if addr & (PAGE - 1):
        raise SysErr(errno.EINVAL)
    size = page_up(length)
    if size == 0:
        return 0
    if addr > TASK_SIZE - size or not t.mm.map.covered(addr, addr + size):
        raise SysErr(errno.ENOMEM)
    th = t.thread
    win = th.window()
    for off in range(0, size // PAGE, DATA_LEN):
        n = min(DATA_LEN, size // PAGE - off)
        th.host(27, addr + off * PAGE, n * PAGE, win)
        th.run()
        t.copy_out(vec + off, bytes(th.mem[WIN_OFF + DATA_OFF : WIN_OFF + DATA_OFF + n]))
        t.flush()
    return 0


def _mark_locked(t: Task, addr: int, size: int, on: bool = True) -> None:
    for v in t.mm.map.overlapping(addr, addr + size):
        if v.kind in (STUB, VDSO):
            continue
        lo, hi = max(v.start, addr), min(v.end, addr + size)
        nv = v.part(lo, hi)
        nv.flags = v.flags | LOCKED if on else v.flags & ~LOCKED
        t.mm.map.replace(lo, hi, [nv])


def sys_mlock(t: Task, addr: CULong, length: CULong) -> int:
    """mlock(2): accounted here; the host may still page, nothing of the application can tell."""
    return _mlock(t, addr, length, True)


def sys_mlock2(t: Task, addr: CULong, length: CULong, flags: CInt) -> int:
    """mlock2(2)."""
    if flags & ~1:
        raise SysErr(errno.EINVAL)
    return _mlock(t, addr, length, not flags)


def _populate(t: Task, start: int, end: int) -> None:
    """Makes the pages present, as far as the host can."""
    for v in t.mm.map.overlapping(start, end):
        if v.kind in (STUB, VDSO) or not v.prot & (PROT_READ | PROT_WRITE):
            continue
        lo, hi = max(v.start, start), min(v.end, end)
        write = v.prot & PROT_WRITE and (not v.shared or not v.prot & PROT_READ)
        how = MADV_POPULATE_WRITE if write else MADV_POPULATE_READ
        t.thread.host(28, lo, hi - lo, how, flags=OF_IGNORE)


def _mlock(t: Task, addr: int, length: int, populate: bool) -> int:
    start = addr & ~(PAGE - 1)
    size = page_up(length + (addr - start))
    if size == 0:
        return 0
    if t.tg.rlimit(RLIMIT_MEMLOCK) == 0 and not t.creds.capable(CAP_IPC_LOCK):
        raise SysErr(errno.EPERM)
    if not t.mm.may_lock(t, size - t.mm.locked(start, start + size)):
        raise SysErr(errno.ENOMEM)
    whole, size = _lockable(t, start, size)
    _mark_locked(t, start, size)
    if populate:
        _populate(t, start, start + size)
    if not whole:
        raise SysErr(errno.ENOMEM)
    return 0


def _lockable(t: Task, start: int, size: int) -> tuple[bool, int]:
    """Whether the range has no hole, and how far it goes without one. Raises EINVAL when it wraps."""
    if start + size > 1 << 64:
        raise SysErr(errno.EINVAL)
    there = t.mm.map.span(start, min(start + size, TASK_SIZE), 0) if start < TASK_SIZE else 0
    return there == size, there


def sys_munlock(t: Task, addr: CULong, length: CULong) -> int:
    start = addr & ~(PAGE - 1)
    size = page_up(length + (addr - start))
    whole, size = _lockable(t, start, size)
    _mark_locked(t, start, size, False)
    if not whole:
        raise SysErr(errno.ENOMEM)
    return 0


def sys_mlockall(t: Task, flags: CInt) -> int:
    if not flags or flags & ~7 or flags == 4:
        raise SysErr(errno.EINVAL)
    limit = t.tg.rlimit(RLIMIT_MEMLOCK)
    if not t.creds.capable(CAP_IPC_LOCK):
        if limit == 0:
            raise SysErr(errno.EPERM)
        if flags & 1 and t.mm.total() > limit:
            raise SysErr(errno.ENOMEM)
    t.mm.lock_new = bool(flags & 2)
    if flags & 1:
        _mark_locked(t, 0, TASK_SIZE)
        if not flags & 4:
            _populate(t, 0, TASK_SIZE)
    return 0


def sys_munlockall(t: Task) -> int:
    t.mm.lock_new = False
    _mark_locked(t, 0, TASK_SIZE, False)
    return 0


def sys_membarrier(t: Task, cmd: CInt, flags: CInt, cpu: CInt) -> int:
    """membarrier(2): private expedited by the stub's own host call; the global one is a promise we keep trivially."""
    known = {0, 1, 8, 16, 32, 64}
    if flags or cmd not in known:
        raise SysErr(errno.EINVAL)
    if cmd == 0:
        return 1 | 8 | 16 | 32 | 64
    if cmd == 1:
        return 0
    if cmd in (8, 32) and not t.mm.membarrier & (cmd << 1):
        raise SysErr(errno.EPERM)
    if cmd in (16, 64):
        t.mm.membarrier |= cmd
    t.thread.host(324, cmd, 0, 0)
    t.thread.run()
    return 0


TABLE: Final[Table] = {
    9: partial("mmap", sys_mmap, "huge pages"),
    10: full("mprotect", sys_mprotect),
    11: full("munmap", sys_munmap),
    12: full("brk", sys_brk),
    25: full("mremap", sys_mremap),
    26: full("msync", sys_msync),
    27: full("mincore", sys_mincore),
    28: full("madvise", sys_madvise),
    149: full("mlock", sys_mlock),
    150: full("munlock", sys_munlock),
    151: full("mlockall", sys_mlockall),
    152: full("munlockall", sys_munlockall),
    216: partial("remap_file_pages", sys_remap_file_pages, "anonymous shared memory"),
    324: partial("membarrier", sys_membarrier, "expedited rseq and global forms"),
    325: full("mlock2", sys_mlock2),
    329: missing("pkey_mprotect"),
    330: missing("pkey_alloc"),
    331: missing("pkey_free"),
    447: missing("memfd_secret"),
}
