"""Pipes and FIFOs (Linux: fs/pipe.c; pipe(7), fifo(7)).

A pipe is a ring of page-sized slots, as in Linux, so that it is full at exactly the same point: a write's part beyond
whole pages goes into the last slot if it fits there, everything else starts slots of its own. A write of up to PIPE_BUF
bytes is therefore always one piece. With O_DIRECT every slot is a packet.

Left out: splice's zero-copy of pages (vfs code that splices uses ``take``, ``peek`` and ``put``).
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Final, final

from ...platform.interface import DATA_LEN
from ..errors import Restart, SysErr
from ..kernel.creds import CAP_SYS_RESOURCE
from ..kernel.wait import POLL_READ, POLL_WRITE, POLLERR, POLLHUP, Waiter, WaitQueue
from ..vfs.file import O_ACCMODE, FileDescription
from ..vfs.inode import Inode
from ..vfs.special import register_fifo
from .anon import AnonInode, pipe_inode

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.path import Path

PAGE: Final = 4096
DEF_SLOTS: Final = 16
MIN_SLOTS: Final = 2
SIGPIPE: Final = 13
FIONREAD: Final = 0x541B
# A writer that has not waited for anything since so many writes doesn't take turns with the reader.
STREAM: Final = 8
# Pages all pipes of the sandbox may be sized to: beyond the first, what is unprivileged gets small pipes
# (Linux: pipe-user-pages-soft), beyond the second nobody gets more.
SOFT_PAGES: Final = 1 << 17
HARD_PAGES: Final = 1 << 19

max_size = 1 << 20  # /proc/sys/fs/pipe-max-size
_pages = 0


def _account(delta: int) -> None:
    global _pages
    _pages += delta


@final
class Slot:
    """One page's worth of data: a part, from ``off`` to ``end``, of what was written at once. The page begins at ``begin``."""

    __slots__ = ("begin", "data", "end", "off", "packet")

    def __init__(self, data: bytes, off: int, end: int, packet: bool) -> None:
        self.data = data
        self.begin = self.off = off
        self.end = end
        self.packet = packet


@final
class Pipe:
    """The buffer between the ends, and who holds them."""

    __slots__ = (
        "asleep", "bytes", "inode", "last", "max_slots", "r_counter", "rd_queue", "readers", "slots", "streak",
        "w_counter", "waits", "want", "wr_queue", "writer", "writers",
    )  # fmt: skip

    def __init__(self, t: Task, inode: Inode) -> None:
        self.inode = inode
        self.slots: deque[Slot] = deque()
        self.bytes = 0
        self.max_slots = DEF_SLOTS if _pages < SOFT_PAGES else MIN_SLOTS
        if self.size > max_size and not t.creds.capable(CAP_SYS_RESOURCE):
            self.max_slots = max_size // PAGE
        if _pages >= HARD_PAGES:
            raise SysErr(errno.ENFILE)
        _account(self.max_slots)
        self.readers = self.writers = 0
        self.r_counter = self.w_counter = 0
        self.rd_queue = WaitQueue()  # becomes readable, or a writer comes
        self.wr_queue = WaitQueue()
        self.asleep = 0  # readers in read(2)
        self.want = 0  # how much the last of them takes without a round trip
        self.writer: Task | None = None  # who wrote last
        self.waits = 0  # how often that one had waited then
        self.streak = 0  # how often it had written since it waited
        self.last = 0  # bytes it wrote at last

    @property
    def size(self) -> int:
        """F_GETPIPE_SZ."""
        return self.max_slots * PAGE

    def resize(self, t: Task, size: int) -> int:
        """F_SETPIPE_SZ. Raises EINVAL, EPERM, EBUSY."""
        if not 0 <= size <= 1 << 31:
            raise SysErr(errno.EINVAL)
        slots = 1
        while slots * PAGE < size:
            slots <<= 1
        if slots > self.max_slots:
            privileged = t.creds.capable(CAP_SYS_RESOURCE)
            if slots * PAGE > max_size and not privileged:
                raise SysErr(errno.EPERM)
            limit = HARD_PAGES if privileged else SOFT_PAGES
            if _pages + slots - self.max_slots > limit:
                raise SysErr(errno.EPERM)
        if slots < len(self.slots):
            raise SysErr(errno.EBUSY)
        _account(slots - self.max_slots)
        self.max_slots = slots
        self.wr_queue.wake(POLL_WRITE)
        return slots * PAGE

    def full(self) -> bool:
        return len(self.slots) >= self.max_slots

    def put(self, data: bytes, packet: bool = False) -> int:
        """Stores as much of ``data`` as there is room for; returns how much. Wakes nobody."""
        n = len(data)
        slots = self.slots
        done = 0
        part = n & (PAGE - 1)
        if part and slots and not packet:
            last = slots[-1]
            if not last.packet and last.end - last.begin + part <= PAGE:
                last.data = last.data[last.off : last.end] + data[:part]
                last.begin -= last.off
                last.end += part - last.off
                last.off = 0
                done = part
        fits = done + (self.max_slots - len(slots)) * PAGE
        if fits < n:  # of what does not fit nothing is kept
            data = data[:fits]
            n = fits
        while done < n:
            end = min(done + PAGE, n)
            slots.append(Slot(data, done, end, packet))
            done = end
        self.bytes += done
        return done

    def take(self, size: int) -> bytes:
        """Removes up to ``size`` bytes (one packet in packet mode). Wakes nobody."""
        slots = self.slots
        parts: list[bytes] = []
        got = 0
        data, start, end = b"", 0, 0  # what is taken of one write
        while slots and got < size:
            s = slots[0]
            if s.packet and got:
                break
            if s.data is not data or s.off != end:
                if end:
                    parts.append(data[start:end])
                data, start = s.data, s.off
            n = s.end - s.off
            if n <= size - got:
                slots.popleft()
            else:
                if s.packet:
                    slots.popleft()
                    self.bytes -= n - (size - got)
                n = size - got
            end = s.off = s.off + n
            got += n
            if s.packet:
                break
        self.bytes -= got
        if not parts:
            return data[start:end]
        parts.append(data[start:end])
        return b"".join(parts)

    def give_back(self, data: bytes) -> None:
        """Puts what ``take`` gave back to where it was."""
        self.slots.appendleft(Slot(data, 0, len(data), False))
        self.bytes += len(data)

    def peek(self, size: int) -> bytes:
        """What ``take`` would give, left in place (tee)."""
        parts: list[bytes] = []
        for s in self.slots:
            if size <= 0:
                break
            parts.append(s.data[s.off : min(s.end, s.off + size)])
            size -= len(parts[-1])
        return b"".join(parts)

    def wake_reader(self, t: Task, n: int) -> None:
        """After ``t`` has written ``n`` bytes. In the midst of a stream the wake is put off until there is more: who reads
        would sleep again at once, and a wake costs more than the copy. Not for poll and its like, which are told of
        changes only."""
        if t is not self.writer or t.waits != self.waits:
            self.writer, self.waits, self.streak = t, t.waits, 0
        else:
            self.streak += 1
        self.last = n
        queue = self.rd_queue
        if not queue.waiters:
            return
        if self.more_comes() and self.asleep == len(queue.waiters):
            t.k.loop.hold(queue)
        else:
            t.k.loop.wake_now(queue)

    def more_comes(self) -> bool:
        """Whether a reader had better wait for more of a stream: as much again would fit, and is likely to come at once."""
        w = self.writer
        return (
            self.streak >= STREAM
            and self.bytes + self.last <= self.want
            and 4 * len(self.slots) < 3 * self.max_slots
            and w is not None
            and w.waits == self.waits
        )

    def drop(self) -> None:
        """Nobody holds an end any more."""
        self.slots.clear()
        self.bytes = 0
        _account(-self.max_slots)
        self.max_slots = 0


@final
class PipeFile(FileDescription):
    """One end of a pipe, or a FIFO opened in any mode."""

    __slots__ = ("pipe", "seen")

    def __init__(self, pipe: Pipe, flags: int, path: Path | None = None) -> None:
        super().__init__(flags, path)
        self.pipe = pipe
        self.seen = -1  # FIFO opened without a writer: no POLLHUP until one has come and gone
        if self.readable():
            pipe.readers += 1
            pipe.r_counter += 1
        if self.writable():
            pipe.writers += 1
            pipe.w_counter += 1

    @property
    def inode(self) -> Inode:
        return self.pipe.inode

    def read(self, t: Task, size: int) -> bytes | int:
        p = self.pipe
        if size == 0:
            return b""
        stream = p.streak >= STREAM
        p.want = min(size, DATA_LEN)
        if (
            stream
            and p.slots
            and p.writer is not t
            and not self.flags & os.O_NONBLOCK
            and p.more_comes()
        ):
            self._sleep(t, False, True)
        while not p.slots:
            if p.writers == 0:
                return b""
            if self.flags & os.O_NONBLOCK:
                return -errno.EAGAIN
            self._sleep(t, not stream, False)
        was_full = len(p.slots) >= p.max_slots
        data = p.take(size)
        if was_full and len(p.slots) < p.max_slots:
            p.wr_queue.wake(POLL_WRITE)
        return data

    def _sleep(self, t: Task, soon: bool, held: bool) -> None:
        p = self.pipe
        p.asleep += 1
        try:
            t.wait(p.rd_queue, soon=soon, held=held)
        except Restart:
            if not p.slots:  # else it is read: the wake was only put off
                raise
        finally:
            p.asleep -= 1

    def write(self, t: Task, data: bytes) -> int:
        p = self.pipe
        if not data:
            return 0
        packet = bool(self.flags & os.O_DIRECT)
        done = 0
        n = len(data)
        while True:
            if p.readers == 0:
                t.send_signal_self(SIGPIPE)
                return done or -errno.EPIPE
            got = p.put(data[done:] if done else data, packet)
            if got:
                done += got
                p.wake_reader(t, got)
                if done == n:
                    return n
            if self.flags & os.O_NONBLOCK:
                return done or -errno.EAGAIN
            try:
                while p.full() and p.readers:
                    t.wait(p.wr_queue)
                    if p.writer is t:
                        p.waits += 1  # for the reader of a stream: no turn taken
            except Restart:
                if done:
                    return done
                raise

    def poll(self, t: Task | None) -> int:
        p = self.pipe
        mask = 0
        if self.readable():
            if p.slots:
                mask |= POLL_READ
            if p.writers == 0 and self.seen != p.w_counter:
                mask |= POLLHUP
        if self.writable():
            if len(p.slots) < p.max_slots:
                mask |= POLL_WRITE
            if p.readers == 0:
                mask |= POLLERR
        return mask

    def watch(self, w: Waiter) -> None:
        if self.readable():
            self.pipe.rd_queue.add(w)
        if self.writable():
            self.pipe.wr_queue.add(w)

    def unwatch(self, w: Waiter) -> None:
        self.pipe.rd_queue.remove(w)
        self.pipe.wr_queue.remove(w)

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        if cmd == FIONREAD:
            t.copy_out(arg, min(self.pipe.bytes, 0x7FFFFFFF).to_bytes(4, "little"))
            return 0
        raise SysErr(errno.ENOTTY)

    def release(self) -> None:
        p = self.pipe
        if self.readable():
            p.readers -= 1
        if self.writable():
            p.writers -= 1
        if p.writers == 0:
            p.writer = None
        if p.readers == 0 and p.writers == 0:
            if p.inode.special is p:
                p.inode.special = None
            p.drop()
        elif p.readers == 0 or p.writers == 0:
            p.rd_queue.wake(POLL_READ | POLLHUP | POLLERR)
            p.wr_queue.wake(POLL_WRITE | POLLERR | POLLHUP)


def pipe_of(f: FileDescription) -> Pipe | None:
    """The pipe behind a description, for F_SETPIPE_SZ, splice and tee."""
    return f.pipe if isinstance(f, PipeFile) else None


def make_pipe(t: Task, flags: int = 0) -> tuple[PipeFile, PipeFile]:
    """(read end, write end) of a new pipe; ``flags``: O_NONBLOCK, O_DIRECT."""
    i = pipe_inode(t.creds.fsuid, t.creds.fsgid)
    i.set_times(t.k.realtime_ns())
    p = Pipe(t, i)
    i.special = p  # opening /proc/self/fd/N opens the pipe again
    return PipeFile(p, os.O_RDONLY | flags & ~os.O_DIRECT), PipeFile(p, os.O_WRONLY | flags)


def open_fifo(t: Task, path: Path, flags: int) -> FileDescription:
    """open(2) of a FIFO: waits for the other side. Raises ENXIO; interruptible."""
    i = path.inode
    p = i.special
    if not isinstance(p, Pipe) or p.max_slots == 0:
        p = i.special = Pipe(t, i)
    mode = flags & O_ACCMODE
    named = not isinstance(i, AnonInode)
    if named and mode == os.O_WRONLY and flags & os.O_NONBLOCK and p.readers == 0:
        if p.writers == 0:
            p.drop()
            i.special = None
        raise SysErr(errno.ENXIO)
    f = PipeFile(p, flags, path)
    f.refs += 1  # ours while it waits
    if mode != os.O_WRONLY:
        p.wr_queue.wake(POLL_WRITE)
    if mode != os.O_RDONLY:
        p.rd_queue.wake(POLL_READ)
    try:
        # /proc/self/fd/N of a pipe never waits.
        if named and mode == os.O_RDONLY and p.writers == 0:
            if flags & os.O_NONBLOCK:
                f.seen = p.w_counter
            else:
                came = p.w_counter
                while came == p.w_counter:
                    t.wait(p.rd_queue)
        elif named and mode == os.O_WRONLY and p.readers == 0:
            came = p.r_counter
            while came == p.r_counter:
                t.wait(p.wr_queue)
    except BaseException:
        f.decref()
        raise
    f.refs -= 1
    return f


register_fifo(open_fifo)
