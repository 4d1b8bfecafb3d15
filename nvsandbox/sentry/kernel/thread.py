"""Host threads as the kernel uses them: queued operations, and the application's memory reached through them.

The Sentry never touches application memory itself: the stub copies between it and the thread's window (hazard C1).
What travels with a reply costs nothing extra; what the handler must know at once costs a round trip, during which other tasks
may run.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

from ...platform.interface import (
    DATA_LEN,
    DATA_OFF,
    E_CRET,
    E_FPOFF,
    E_INLEN0,
    E_KIND,
    EV_CMDFAIL,
    IN_MAXBUF,
    OF_EFAULT,
    OP_CMPXCHG,
    OP_COPYIN,
    OP_COPYOUT,
    OP_COPYSTR,
    OP_STRINGS,
    OP_SYSCALL,
    OP_XSAVE,
    SLOT_OFF,
    SLOT_SIZE,
    STRINGS_ALL,
    WIN_DATA,
    WIN_OFF,
)
from ...platform.native._native import lib
from ...platform.space import Thread
from ..errors import SysErr, TaskExit

if TYPE_CHECKING:
    from ..vfs.inode import Stat
    from .loop import EventLoop
    from .task import Task

USER_TOP: Final = 0x7FFF_FFFF_F000
SPINS: Final = 3000  # pauses to wait for an acknowledgement before another task runs
PATH_MAX: Final = 4096
STAT_SIZE: Final = 144
LIST_ROOM: Final = DATA_LEN // 2 & ~15

StringList = tuple[list[bytes], bool]  # strings; whether these are all


@final
class HostThread:
    """One host thread of a stub and the task that it runs."""

    __slots__ = (
        "cdata",
        "ev",
        "loop",
        "mem",
        "native",
        "ntid",
        "regs",
        "task",
        "token",
        "trap",
        "used",
    )

    def __init__(self, native: Thread, loop: EventLoop, ntid: int) -> None:
        self.native = native
        self.cdata = native.cdata
        self.trap = native.trap
        self.ev = native.ev
        self.regs = native.regs
        self.mem = native.mem
        self.loop = loop
        self.ntid = ntid
        self.task: Task | None = None
        self.token: Any = None  # who waits for an acknowledgement
        self.used = 0  # bytes of the window's data area taken by queued copies

    # Operations
    def op(
        self, op: int, flags: int, nr: int, a0: int = 0, a1: int = 0, a2: int = 0, a3: int = 0,
        a4: int = 0, a5: int = 0,
    ) -> None:  # fmt: skip
        """Queues an operation; runs the full list first. Numbers are taken as 64 bits."""
        if self.trap.op(op, flags, nr, a0, a1, a2, a3, a4, a5):
            self.run()
            self.trap.op(op, flags, nr, a0, a1, a2, a3, a4, a5)

    def host(
        self, nr: int, a0: int = 0, a1: int = 0, a2: int = 0, a3: int = 0, a4: int = 0, a5: int = 0,
        flags: int = 0,
    ) -> None:  # fmt: skip
        """Queues a host system call of the stub."""
        if self.task is not None:
            self.task.undo = None  # an earlier call's: not for this one's failure
        self.op(OP_SYSCALL, flags, nr, a0, a1, a2, a3, a4, a5)

    def give(self, fd: int) -> None:
        """Sends a descriptor for a RECVFD that is queued next. Raises TaskExit when the stub is dead or dying, SysErr(ENOMEM)
        when the host holds too many that are on their way."""
        space = self.native.space
        r = -errno.EPIPE if space.killed else space.try_send(fd)
        if r < 0:
            if r in (-errno.EAGAIN, -errno.ETOOMANYREFS, -errno.ENOMEM, -errno.ENOBUFS):
                raise SysErr(errno.ENOMEM)
            raise TaskExit

    def run(self) -> int:
        """Executes the queued operations now; the last result. Raises SysErr with the host's errno. May suspend."""
        return self.run_with(None)

    def run_patiently(self) -> int:
        """As ``run``, but others go on while the stub works."""
        return self._wait(self.trap.run(0))

    def run_with(self, meanwhile: Callable[[], None] | None) -> int:
        """As ``run``; ``meanwhile`` (which must not suspend) is done while the stub works."""
        if self.native.space.killed:
            raise TaskExit
        if meanwhile is None:
            done = self.trap.run(SPINS)
        else:
            done = self.trap.run(0)  # it looks a little all the same when cores are few
            meanwhile()
            done = done or self.trap.done(SPINS)
        return self._wait(done)

    def _wait(self, done: bool) -> int:
        if not done:
            self.token = self.loop.token()
            alive = self.loop.suspend()
            self.token = None
            if not alive:
                raise TaskExit
        self.used = 0
        if self.ev[E_KIND] == EV_CMDFAIL:
            raise SysErr(min(max(-self.ev[E_CRET], 1), 4095))
        return self.ev[E_CRET]

    def window(self) -> int:
        """The stub's address of the window's data area: where its own host calls may put results."""
        space = self.native.space
        return space.base + SLOT_OFF + self.native.index * SLOT_SIZE + WIN_DATA

    # Extended state, at ev[E_FPOFF] of the slot
    def load_fp(self) -> None:
        """Fetches it; where the host's own signal frame holds it, it is there already. May suspend."""
        if self.ev[E_FPOFF] or self.native.space.platform.tracing:
            lib.nv_fp_load(self.cdata)
            return
        self.op(OP_XSAVE, 0, 0, WIN_OFF)  # it waits in a trampoline: no frame
        self.run()
        lib.nv_fp_saved(self.cdata)

    def store_fp(self) -> None:
        """The slot's copy was changed: it is the application's from its next instruction on."""
        lib.nv_fp_store(self.cdata)

    # Memory
    def copy_in(self, addr: int, size: int) -> bytes:
        """``size`` bytes at ``addr``. Raises SysErr(EFAULT). May suspend."""
        if size == 0:
            return b""
        came = self.trap.copy_in(addr, size)
        if came is not None:
            return came
        if not 0 < addr <= USER_TOP - size:
            raise SysErr(errno.EFAULT)
        if size <= DATA_LEN:
            try:
                return self._fetch(OP_COPYIN, addr, size, size)
            except SysErr:
                if not self._grow(addr):
                    raise
                return self._fetch(OP_COPYIN, addr, size, size)
        parts = []
        for off in range(0, size, DATA_LEN):
            n = min(DATA_LEN, size - off)
            parts.append(self._fetch(OP_COPYIN, addr + off, n, n))
        return b"".join(parts)

    def gathered(self, size: int) -> bytes | None:
        """What this call's iovec array points to, if it came with the trap."""
        return self.trap.gathered(size)

    def _grow(self, addr: int) -> bool:
        """Whether ``addr`` lay below an area that grows, as of now is part of it."""
        t = self.task
        return t is not None and t.mm.grow(t, addr)

    def copy_in_some(self, addr: int, size: int) -> bytes:
        """As ``copy_in`` but up to the first fault; b"" when nothing is there."""
        if not 0 < addr < USER_TOP:
            return b""
        return self._fetch(OP_COPYIN, addr, min(size, DATA_LEN, USER_TOP - addr), 0)

    def _fetch(self, op: int, addr: int, size: int, least: int) -> bytes:
        if self.ev[E_INLEN0] > IN_MAXBUF:
            self.ev[E_INLEN0] = 0  # it reaches into where this goes
        if self.used:
            self.run()
        self.op(op, 0, 0, DATA_OFF, addr, size)
        n = self.run()
        if 0 <= n < size and self._shows(addr + n, size - n):
            self.op(op, 0, 0, DATA_OFF, addr, size)
            n = self.run()
        if not least <= n <= size:
            raise SysErr(errno.EFAULT)
        return bytes(self.mem[WIN_DATA : WIN_DATA + n])

    def _shows(self, addr: int, size: int) -> bool:
        """Whether it was patched text that could not be read at ``addr``, and now the program's own can be."""
        t = self.task
        if t is None or not t.mm.patches or t.k.patcher is None:
            return False
        # A string that ends before its limit is short too
        return t.k.patcher.hides(t.mm, addr) and t.k.patcher.show(t, addr, addr + size)

    def copy_in_str(self, addr: int, limit: int) -> bytes:
        """A string without its NUL; ENAMETOOLONG when there is none in ``limit`` bytes. May suspend."""
        came = self.trap.copy_in_str(addr)
        if came is not None and len(came) < limit:
            return came
        out = b""
        while len(out) < limit:
            at = addr + len(out)
            if not 0 < at < USER_TOP:
                raise SysErr(errno.EFAULT)
            want = min(limit - len(out), PATH_MAX, USER_TOP - at)
            part = self._fetch(OP_COPYSTR, at, want, 0)
            end = part.find(0)
            if end >= 0:
                return out + part[:end]
            out += part
            if len(part) < want:
                raise SysErr(errno.EFAULT)
        raise SysErr(errno.ENAMETOOLONG)

    def copy_in_lists(self, first: int, second: int) -> tuple[StringList, StringList]:
        """Two NULL-terminated arrays of strings in one round trip, each as far as it can be read and fits. May suspend."""
        if self.ev[E_INLEN0] > IN_MAXBUF:
            self.ev[E_INLEN0] = 0  # it reaches into where this goes
        if self.used:
            self.run()
        self.op(OP_STRINGS, 0, 0, first, DATA_OFF, LIST_ROOM - 8)
        self.op(OP_STRINGS, 0, 0, second, DATA_OFF + LIST_ROOM, LIST_ROOM - 8)
        self.run()
        return self._list(WIN_DATA), self._list(WIN_DATA + LIST_ROOM)

    def _list(self, at: int) -> StringList:
        word = int.from_bytes(self.mem[at : at + 8], "little")
        n = word & (STRINGS_ALL - 1)
        if n > LIST_ROOM - 8:
            return [], False
        data = bytes(self.mem[at + 8 : at + 8 + n])
        if data[-1:] not in (b"", b"\0"):
            return [], False
        return data.split(b"\0")[:-1], word & STRINGS_ALL != 0

    def copy_out(self, addr: int, data: bytes | memoryview, on_fault: int = OF_EFAULT) -> None:
        """Queues a write that travels with the reply (EFAULT then becomes the result); large ones run now."""
        n = len(data)
        if n == 0:
            return
        if not 0 < addr <= USER_TOP - n:
            raise SysErr(errno.EFAULT)
        used = self.used
        if used + n > DATA_LEN:
            if n > DATA_LEN:
                view = memoryview(data)
                for off in range(0, n, DATA_LEN):
                    self.copy_out(addr + off, view[off : off + DATA_LEN])
                return
            self.run()
            used = 0
        if isinstance(data, bytes):
            if not self.trap.copy_out(addr, DATA_OFF + used, data, on_fault):
                self.used = (used + n + 15) & ~15
                return
        self.mem[WIN_DATA + used : WIN_DATA + used + n] = data
        self.op(OP_COPYOUT, on_fault, 0, addr, DATA_OFF + used, n)
        self.used = (used + n + 15) & ~15

    def stat_out(self, addr: int, s: Stat, uid: int, gid: int) -> None:
        """As ``copy_out`` of a ``struct stat``, which shows ``uid`` and ``gid``."""
        if not 0 < addr <= USER_TOP - STAT_SIZE:
            raise SysErr(errno.EFAULT)
        used = self.used
        if used + STAT_SIZE > DATA_LEN:
            self.run()
            used = 0
        if self.trap.stat_out(
            addr, DATA_OFF + used, OF_EFAULT, s.dev, s.ino, s.nlink, s.mode, uid, gid, s.rdev, s.size, s.blksize,
            s.blocks, s.atime, s.mtime, s.ctime,
        ):  # fmt: skip
            self.op(OP_COPYOUT, OF_EFAULT, 0, addr, DATA_OFF + used, STAT_SIZE)
        self.used = used + STAT_SIZE

    def read_out(self, fd: int, addr: int, size: int, offset: int) -> int:
        """Reads a host file, up to ``size`` bytes at ``offset``, so that they get to ``addr`` with the reply. The number of
        bytes; negative: they have to be waited for, are more than DATA_LEN, or the host says why not when it is asked in another way."""
        if self.used:
            return -errno.EAGAIN
        n = self.trap.read_out(fd, addr, size, offset)
        if n > 0:
            self.used = (n + 15) & ~15
        return n

    def read_u32(self, addr: int) -> int:
        """A futex word, read in one piece. Raises EFAULT. May suspend."""
        self.op(OP_COPYIN, 0, 0, DATA_OFF, addr, 4)
        if self.run() != 4:
            raise SysErr(errno.EFAULT)
        return int.from_bytes(self.mem[WIN_DATA : WIN_DATA + 4], "little")

    def cmpxchg(self, addr: int, old: int, new: int) -> int:
        """Atomic compare-and-exchange of a 32-bit word; the value found. Raises EFAULT. May suspend."""
        self.op(OP_CMPXCHG, 0, 0, addr, old, new)
        return self.run()
