"""An address space: the map, and the host calls that make the stub's real memory follow it (Linux: mm/mmap.c).

The map decides, the stub executes: every change queues host calls on the calling thread. With one thread they travel
with the reply; with several they are executed at once under the address space's lock, since another thread's change must
not overtake them (hazard B1). When a host call fails, the map goes back to the snapshot taken before.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, final

from ...platform.interface import (
    LOW_END,
    OF_FD0,
    OF_FD4,
    OF_IGNORE,
    OP_RECVFD,
    REGION_LEN,
    RSP,
    VDSO_OFF,
)
from ...platform.space import Space
from ..errors import SysErr
from ..kernel.creds import CAP_IPC_LOCK
from ..kernel.wait import WaitQueue
from .promoted import Promoted
from .vma import (
    DONTFORK,
    GROWS,
    HEAP,
    LOCKED,
    NORESERVE,
    PAGE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    STACK,
    STACK_GAP,
    STUB,
    VDSO,
    WRITTEN,
    SharedAnon,
    Vma,
    VmaMap,
)

if TYPE_CHECKING:
    from ..fs.aio import AioContext
    from ..kernel.remote import Visit
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from ..vfs.path import Path
    from .patch import Mapped

TASK_SIZE: Final = 0x7FFF_FFFF_F000
MMAP_MIN: Final = LOW_END  # vm.mmap_min_addr: below are the trampolines of patched call sites
HARD_MAP_COUNT: Final = 65530  # more the host would not do

MAP_SHARED: Final = 1
MAP_PRIVATE: Final = 2
MAP_SHARED_VALIDATE: Final = 3
MAP_TYPE: Final = 0xF
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_32BIT: Final = 0x40
MAP_GROWSDOWN: Final = 0x100
MAP_LOCKED: Final = 0x2000
MAP_NORESERVE: Final = 0x4000
MAP_POPULATE: Final = 0x8000
MAP_NONBLOCK: Final = 0x10000
MAP_STACK: Final = 0x20000
MAP_HUGETLB: Final = 0x40000
MAP_SYNC: Final = 0x80000
MAP_FIXED_NOREPLACE: Final = 0x100000

NR_MMAP: Final = 9
NR_CLOSE: Final = 3
NR_MPROTECT: Final = 10
NR_MUNMAP: Final = 11
NR_MREMAP: Final = 25
KEPT: Final = 1  # place of a kept descriptor in fdreg[]


def page_up(n: int) -> int:
    return (n + PAGE - 1) & ~(PAGE - 1)


@final
class Limits:
    """vm.max_map_count."""

    __slots__ = ("areas",)

    def __init__(self) -> None:
        self.areas = HARD_MAP_COUNT


LIMITS: Final[Limits] = Limits()


@final
class MM:
    """One address space, living in one host process (``space``)."""

    __slots__ = (
        "_busy", "_lock_queue", "_locked_by", "aio", "arg_end", "arg_start", "args", "auxv", "brk", "brk_start", "donated", "dumpable",
        "env_end", "env_start", "exe", "hold", "lock_new", "map", "membarrier", "mmap_base", "no_patch", "no_thp", "patch_late", "patches",
        "resident",
        "space", "stack_start", "users", "vdso", "visits",
    )  # fmt: skip

    def __init__(self, space: Space, inherited: VmaMap | None = None) -> None:
        self.space = space
        self.map = VmaMap() if inherited is None else inherited
        self.users = 0  # tasks
        self.brk_start = self.brk = 0
        self.mmap_base = TASK_SIZE
        self.stack_start = 0
        self.arg_start = self.arg_end = self.env_start = self.env_end = 0
        self.auxv = b""
        self.args = b""  # the argument and environment block as exec made it, from arg_start on
        self.exe: Path | None = None
        self.dumpable = 1
        self.membarrier = 0
        self.patches: list[Mapped] = []  # patched text (mm/patch.py)
        self.no_patch = False
        self.patch_late = False  # text that it maps itself: it may only want to read it
        self.donated = -1
        self.no_thp = False
        self.resident = (
            -1 << 62,
            0,
            0,
        )  # when, private and shared bytes: fs/proc_memory.py's last look
        self.lock_new = False  # mlockall(MCL_FUTURE)
        self.aio: dict[int, AioContext] = {}  # by the address of their rings
        self.visits: list[Visit] = []  # kernel/remote.py
        self._busy = False
        self._locked_by: Task | None = None
        self.hold: tuple[int, int] | None = (
            None  # being replaced underneath: whoever writes there waits
        )
        self._lock_queue = WaitQueue()
        vdso = space.base + VDSO_OFF
        self.vdso = space.vdso_base()
        if inherited is not None:
            return
        total = space.platform.vdso
        end = vdso + (total[-1][0] + total[-1][1] - total[0][0] if total else 0)
        self.map.replace(
            space.base,
            space.base + REGION_LEN,
            [
                Vma(space.base, vdso, 0, kind=STUB),
                Vma(vdso, self.vdso, PROT_READ, kind=VDSO, name=b"[vvar]"),
                Vma(self.vdso, end, PROT_READ | PROT_EXEC, kind=VDSO, name=b"[vdso]"),
                Vma(end, space.base + REGION_LEN, 0, kind=STUB),
            ],
        )

    def fork(self, space: Space) -> MM:
        """The child's copy; the stub's clone has copied the memory itself."""
        new = MM(space, self.map.copy())
        new.brk_start, new.brk, new.mmap_base = self.brk_start, self.brk, self.mmap_base
        new.stack_start = self.stack_start
        new.arg_start, new.arg_end = self.arg_start, self.arg_end
        new.env_start, new.env_end = self.env_start, self.env_end
        new.auxv, new.args = self.auxv, self.args
        new.exe, new.dumpable, new.membarrier = self.exe, self.dumpable, self.membarrier
        new.no_patch, new.patch_late = self.no_patch, self.patch_late
        new.patches = self.patches[:]
        drop = [v for v in new.map.vmas if v.flags & (DONTFORK | LOCKED)]
        if new.exe is not None:
            new.exe.inode.deny_write()
        for v in drop:
            keep = [] if v.flags & DONTFORK else [v.with_(flags=v.flags & ~LOCKED)]
            new.map.replace(v.start, v.end, keep)
        return new

    def set_exe(self, exe: Path) -> None:
        """The program it runs: nobody writes to the file until ``put_exe``. Raises ETXTBSY."""
        exe.inode.deny_write()
        self.exe = exe

    def put_exe(self) -> None:
        """The address space ends, or was never used."""
        if self.exe is not None:
            self.exe.inode.allow_write()
            self.exe = None

    def end_aio(self) -> None:
        """The address space ends: what it waits for in contexts of asynchronous I/O is given up."""
        for ctx in list(self.aio.values()):
            ctx.close()
        self.aio.clear()

    def shares_memory(self) -> bool:
        """Whether another process may see what is written here."""
        return any(v.shared and v.prot & PROT_WRITE for v in self.map.vmas)

    # Changes are made one at a time when several threads could make them
    def lock(self, t: Task) -> None:
        while self._busy:
            t.wait(self._lock_queue, interruptible=False)
        self._busy = True
        self._locked_by = t

    def is_locked_by(self, t: Task) -> bool:
        return self._busy and self._locked_by is t

    def unlock(self) -> None:
        self._busy = False
        self._locked_by = None
        self._lock_queue.wake()

    def held(self, t: Task, addr: int) -> bool:
        """Whether a fault at ``addr`` was because of ``hold``; if so, waits until that is over."""
        hold = self.hold
        if hold is None or not hold[0] <= addr < hold[1]:
            v = self.map.find(addr)  # it is over already, and writing works again
            return v is not None and bool(v.prot & PROT_WRITE) and isinstance(v.obj, Promoted)
        self.lock(t)
        self.unlock()
        return True

    def apply(self, t: Task, before: VmaMap) -> None:
        """Has the queued host calls executed: with the reply, or now when other threads share the map."""
        if self.users > 1:
            try:
                t.thread.run()
            except SysErr:
                self.map = before
                raise
        else:
            t.undo = (self, before)

    # Where things go
    def pick(self, t: Task, addr: int, size: int, flags: int) -> int:
        """The address of a new mapping. Raises ENOMEM, EEXIST, EINVAL."""
        if size > TASK_SIZE:
            raise SysErr(errno.ENOMEM)
        if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
            if addr & (PAGE - 1):
                raise SysErr(errno.EINVAL)
            if addr > TASK_SIZE - size:
                raise SysErr(errno.ENOMEM)
            if addr < MMAP_MIN:
                raise SysErr(errno.EPERM)
            over = self.map.overlapping(addr, addr + size)
            if flags & MAP_FIXED_NOREPLACE and over:
                raise SysErr(errno.EEXIST)
            if any(v.kind in (STUB, VDSO) for v in over):
                raise SysErr(errno.ENOMEM)
            return addr
        if flags & MAP_32BIT:
            at = self.map.find_gap_up(size, 0x4000_0000, 0x8000_0000)
            if at < 0:
                raise SysErr(errno.ENOMEM)
            return at
        if addr:
            addr = max(page_up(addr), MMAP_MIN)
            if addr <= TASK_SIZE - size and not self.map.overlapping(addr, addr + size):
                return addr
        at = self.map.find_gap(size, MMAP_MIN, self.mmap_base)
        if at < 0:
            at = self.map.find_gap_up(size, TASK_SIZE // 3, TASK_SIZE)
        if at < 0:
            raise SysErr(errno.ENOMEM)
        return at

    def total(self) -> int:
        """Bytes mapped, as RLIMIT_AS counts them."""
        return sum(v.end - v.start for v in self.map.vmas if v.kind != STUB)

    def data(self) -> int:
        """Bytes of private writable memory, as RLIMIT_DATA counts them."""
        return sum(
            v.end - v.start
            for v in self.map.vmas
            if v.prot & PROT_WRITE and not v.shared and v.kind not in (STACK, STUB)
        )

    def locked(self, start: int = 0, end: int = TASK_SIZE) -> int:
        """Bytes of [start, end) that are locked."""
        return sum(
            min(v.end, end) - max(v.start, start)
            for v in self.map.overlapping(start, end)
            if v.flags & LOCKED
        )

    def may_lock(self, t: Task, more: int) -> bool:
        """Whether RLIMIT_MEMLOCK allows ``more`` bytes on top."""
        limit = t.tg.rlimits[8][0]
        return limit > TASK_SIZE or self.locked() + more <= limit or t.creds.capable(CAP_IPC_LOCK)

    def check_limits(self, t: Task, more: int, data: bool) -> None:
        """Raises ENOMEM when ``more`` bytes would pass RLIMIT_AS or RLIMIT_DATA."""
        limit = t.tg.rlimits[9][0]
        if limit < TASK_SIZE and self.total() + more > limit:
            raise SysErr(errno.ENOMEM)
        limit = t.tg.rlimits[2][0]
        if data and limit < TASK_SIZE and self.data() + more > limit:
            raise SysErr(errno.ENOMEM)
        if len(self.map.vmas) >= LIMITS.areas:
            raise SysErr(errno.ENOMEM)

    # The calls. The caller holds the lock when the map is shared.
    def mmap(
        self, t: Task, addr: int, size: int, prot: int, flags: int, file: FileDescription | None,
        offset: int, fd: int = -1, maxprot: int = 7, kind: int = 0,
    ) -> int:  # fmt: skip
        """Maps ``size`` bytes (page-rounded). ``fd``: the Sentry's host descriptor for ``file``."""
        at = self.pick(t, addr, size, flags)
        shared = flags & MAP_TYPE != MAP_PRIVATE
        replaced = 0
        if flags & MAP_FIXED:
            replaced = sum(
                min(v.end, at + size) - max(v.start, at)
                for v in self.map.overlapping(at, at + size)
            )
        self.check_limits(t, size - replaced, bool(prot & PROT_WRITE) and not shared)
        before = self.map.copy()
        obj: object | None = None
        if shared:
            if file is not None:
                obj = file.inode
            else:
                obj = anon = SharedAnon(size)
                fd = anon.fd
        vflags = NORESERVE if flags & MAP_NORESERVE else 0
        if file is not None and not shared and prot & PROT_WRITE:
            vflags |= WRITTEN
        if self.lock_new or flags & MAP_LOCKED:
            if flags & MAP_LOCKED and not (t.tg.rlimits[8][0] or t.creds.capable(CAP_IPC_LOCK)):
                raise SysErr(errno.EPERM)
            if not self.may_lock(t, size):
                raise SysErr(errno.EAGAIN)
            vflags |= LOCKED
        if flags & MAP_GROWSDOWN and file is None:
            if shared:
                raise SysErr(errno.EINVAL)
            vflags |= GROWS
        self.map.replace(
            at,
            at + size,
            [Vma(at, at + size, prot, shared, file, offset, kind, vflags, maxprot, b"", obj)],
        )
        try:
            self.host_mmap(t, at, size, prot, flags, fd, offset)
        except SysErr:
            self.map = before
            raise
        patcher = t.k.patcher
        if patcher is not None and file is not None and prot & 7 == PROT_READ | PROT_EXEC:
            if not shared and not self.no_patch and not self.patch_late:
                with contextlib.suppress(SysErr):  # it can do without
                    patcher.mapped(t, self, at, size, offset, file, fd)
        self.apply(t, before)
        return at

    def host_mmap(
        self, t: Task, at: int, size: int, prot: int, flags: int, fd: int, offset: int
    ) -> None:
        """Queues the stub's mmap (its descriptor sent along and closed again)."""
        th = t.thread
        hflags = (flags & (MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK)) | MAP_FIXED
        hflags |= MAP_PRIVATE if flags & MAP_TYPE == MAP_PRIVATE else MAP_SHARED
        if fd < 0:
            th.host(NR_MMAP, at, size, prot, hflags | MAP_ANONYMOUS, -1, 0)
            return
        if fd == self.donated:
            th.host(NR_MMAP, at, size, prot, hflags, KEPT, offset, flags=OF_FD4)
            return
        th.give(fd)
        th.op(OP_RECVFD, 0, 0, 1)
        th.host(NR_MMAP, at, size, prot, hflags, 0, offset, flags=OF_FD4)
        th.host(NR_CLOSE, 0, flags=OF_FD0 | OF_IGNORE)

    def donate(self, t: Task, fd: int) -> None:
        """The stub keeps ``fd`` for several mappings, until ``take_back``."""
        t.thread.give(fd)
        t.thread.op(OP_RECVFD, 0, 0, 1, KEPT)
        self.donated = fd

    def take_back(self, t: Task) -> None:
        self.donated = -1
        t.thread.host(NR_CLOSE, KEPT, flags=OF_FD0 | OF_IGNORE)

    def munmap(self, t: Task, addr: int, size: int) -> None:
        """Unmaps whatever of ours is in the range; the stub's region stays."""
        before = self.map.copy()
        over = self.map.overlapping(addr, addr + size)
        if not over:
            return
        if all(v.kind not in (STUB, VDSO) for v in over):
            self.map.replace(addr, addr + size, [])
            t.thread.host(NR_MUNMAP, addr, size)
        else:
            for v in over:
                if v.kind in (STUB, VDSO):
                    continue
                lo, hi = max(v.start, addr), min(v.end, addr + size)
                self.map.replace(lo, hi, [])
                t.thread.host(NR_MUNMAP, lo, hi - lo)
        self.apply(t, before)

    def grow(self, t: Task, addr: int) -> bool:
        """An area that grows down is extended to ``addr`` (Linux: expand_downwards). May suspend; whether it was."""
        page = addr & ~(PAGE - 1)
        over = self.map.overlapping(page, TASK_SIZE)
        if not over or not over[0].flags & GROWS or over[0].start <= page or self._busy:
            return False
        v = over[0]
        if page < MMAP_MIN or v.end - page > t.tg.rlimits[3][0]:
            return False
        near = self.map.overlapping(max(page - STACK_GAP, 0), page)
        if any(u.prot and not u.flags & GROWS for u in near):
            return False
        before = self.map.copy()
        try:
            self.check_limits(t, v.start - page, False)
            grown = v.part(page, v.end)
            self.map.replace(page, v.end, [grown])
            self.host_mmap(t, page, v.start - page, v.prot, MAP_PRIVATE, -1, 0)
            t.thread.run()
        except SysErr:
            self.map = before
            return False
        return True

    def stack_limit(self, t: Task, limit: int) -> None:
        """RLIMIT_STACK was lowered. The stack is mapped ahead of its use here, so what may not be used any more goes."""
        v = self.map.find(self.stack_start)
        if v is None or v.kind != STACK or self.users > 1:
            return
        keep = min(v.end - limit, t.thread.regs[RSP] - PAGE) & ~(PAGE - 1)
        if v.start < keep < v.end:
            self.munmap(t, v.start, keep - v.start)

    def mprotect(self, t: Task, addr: int, size: int, prot: int) -> None:
        """Raises ENOMEM for a hole (what lies before it is changed, as Linux does), EACCES beyond maxprot."""
        before = self.map.copy()
        end = addr + size
        at = addr
        err = 0
        over = self.map.overlapping(addr, end)
        for v in over:
            if v.start > at or v.kind in (STUB, VDSO):
                err = errno.ENOMEM
                break
            if prot & ~v.maxprot:
                err = errno.EACCES
                break
            more = min(v.end, end) - max(v.start, addr)
            limit = t.tg.rlimits[2][0]
            if prot & ~v.prot & PROT_WRITE and not v.shared and limit < TASK_SIZE:
                if self.data() + more > limit:
                    err = errno.ENOMEM
                    break
            lo, hi = max(v.start, addr), min(v.end, end)
            nv = v.part(lo, hi)
            nv.prot = prot
            if prot & PROT_WRITE and v.file is not None and not v.shared:
                nv.flags |= WRITTEN
            self.map.replace(lo, hi, [nv])
            at = hi
        else:
            if at < end:
                err = errno.ENOMEM
        if at > addr:
            self.unpatch(t, before, addr, at)
            t.thread.host(NR_MPROTECT, addr, at - addr, prot)
            self.apply(t, before)
        if err:
            raise SysErr(err)

    def unpatch(self, t: Task, before: VmaMap, lo: int, hi: int) -> None:
        """Text in the range is about to get another protection or to move: queues its own bytes back (``before``: the map so far)."""
        if self.patches and t.k.patcher is not None:
            now, self.map = self.map, before
            try:
                t.k.patcher.restore(t, self, lo, hi)
            finally:
                self.map = now

    def set_brk(self, t: Task, want: int) -> int:
        """brk(2): the new break, or the old one when it can't be."""
        old_end, new_end = page_up(self.brk), page_up(want)
        if want < self.brk_start:
            return self.brk
        try:
            if new_end > old_end:
                if self.map.overlapping(old_end, new_end + PAGE) or new_end > TASK_SIZE:
                    return self.brk
                self.check_limits(t, new_end - old_end, True)
                before = self.map.copy()
                if self.lock_new and not self.may_lock(t, new_end - old_end):
                    return self.brk
                v = Vma(old_end, new_end, PROT_READ | PROT_WRITE, kind=HEAP)
                v.flags = LOCKED if self.lock_new else 0
                self.map.replace(old_end, new_end, [v])
                self.host_mmap(t, old_end, new_end - old_end, 3, MAP_PRIVATE, -1, 0)
                self.apply(t, before)
            elif new_end < old_end:
                self.munmap(t, new_end, old_end - new_end)
        except SysErr:
            return self.brk
        self.brk = want
        return want

    def maps(self) -> Iterator[tuple[int, int, int, bool, int, FileDescription | None, bytes]]:
        """(start, end, prot, shared, offset, file, name) of everything the application may see."""
        for v in self.map.vmas:
            if v.kind == STUB:
                continue
            name = v.name
            if v.kind == STACK and v.start <= self.stack_start < v.end:
                name = b"[stack]"
            elif v.kind == HEAP:
                name = b"[heap]"
            yield v.start, v.end, v.prot, v.shared, v.offset if v.file else 0, v.file, name


def no_chance(bits: int) -> int:
    """``random_pages`` for who wants none (ADDR_NO_RANDOMIZE)."""
    return 0


def random_pages(bits: int) -> int:
    """A random number of bytes below 2**bits pages."""
    return (int.from_bytes(os.urandom(8), "little") & ((1 << bits) - 1)) * PAGE
