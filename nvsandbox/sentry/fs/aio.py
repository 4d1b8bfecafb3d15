"""Asynchronous I/O contexts (Linux: fs/aio.c; io_setup(2), linux/aio_abi.h).

Reads, writes and syncs are done while they are submitted, as Linux does them for files that are cached, so only polls are ever
pending. A context is known by the address of its ring, as in Linux; events aren't put there but kept here, and the ring's
magic number is 0, which tells libraries to call io_getevents.
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.wait import POLL_READ, POLL_WRITE, Waiter, WaitQueue
from ..mm.mm import MAP_ANONYMOUS, MAP_PRIVATE, page_up
from ..mm.vma import PROT_READ, PROT_WRITE
from .eventfd import EventFd

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

MAX_NR: Final = 65536  # /proc/sys/fs/aio-max-nr
MAX_EVENTS: Final = 0x10000000 // 32  # of one ring
EVENT: Final = struct.Struct("<QQqq")  # struct io_event: data, obj, res, res2
RING_HEADER: Final = 32
RING_NAME: Final = b"/[aio] (deleted)"

_total = 0


def total() -> int:
    """Requests that all contexts may have under way: /proc/sys/fs/aio-nr."""
    return _total


@final
class AioPoll:
    """An IOCB_CMD_POLL that waits for its file."""

    __slots__ = ("ctx", "data", "events", "file", "notify", "obj", "waiter")

    def __init__(
        self, ctx: AioContext, f: FileDescription, events: int, data: int, obj: int,
        notify: EventFd | None,
    ) -> None:  # fmt: skip
        self.ctx = ctx
        self.file = f.incref()
        self.events = events
        self.data = data
        self.obj = obj
        self.notify = notify
        if notify is not None:
            notify.incref()
        self.waiter = Waiter(self.wake)
        ctx.polls[obj] = self
        f.watch(self.waiter)

    def wake(self, _events: int) -> None:
        now = self.file.poll(None)
        if now & self.events:  # told is what it was woken for, asked for or not
            sides = (POLL_READ if self.events & POLL_READ else 0) | (
                POLL_WRITE if self.events & POLL_WRITE else 0
            )
            self.end(now & (self.events | sides))

    def end(self, result: int) -> None:
        """It is over, with ``result``."""
        if self.ctx.polls.get(self.obj) is not self:
            return
        del self.ctx.polls[self.obj]
        self.file.unwatch(self.waiter)
        self.ctx.complete(self.data, self.obj, result, self.notify)
        self.file.decref()
        if self.notify is not None:
            self.notify.decref()


@final
class AioContext:
    """One io_setup(2): its finished requests and its pending polls, by the address of their iocb."""

    __slots__ = ("capacity", "dead", "done", "ident", "polls", "queue", "reserved")

    def __init__(self, ident: int, reserved: int, capacity: int) -> None:
        self.ident = ident
        self.reserved = reserved  # what it counts for against MAX_NR
        self.capacity = capacity
        self.done: deque[bytes] = deque()
        self.polls: dict[int, AioPoll] = {}
        self.queue = WaitQueue()
        self.dead = False

    def room(self) -> bool:
        return len(self.done) + len(self.polls) < self.capacity

    def complete(self, data: int, obj: int, result: int, notify: EventFd | None) -> None:
        self.done.append(EVENT.pack(data, obj, result, 0))
        if notify is not None:
            notify.signal()
        self.queue.wake()

    def close(self) -> None:
        """What is pending is given up; who waits for events goes home."""
        global _total
        _total -= self.reserved
        self.dead = True
        for p in list(self.polls.values()):
            p.end(0)
        self.done.clear()
        self.queue.wake()


def setup(t: Task, wanted: int) -> AioContext:
    """A context for ``wanted`` requests and its ring. Raises EINVAL, EAGAIN, ENOMEM. May suspend."""
    global _total
    size = max(wanted, 4 * t.k.ncpu) * 2
    if size > MAX_EVENTS:
        raise SysErr(errno.EINVAL)
    if _total + wanted > MAX_NR:
        raise SysErr(errno.EAGAIN)
    length = page_up(RING_HEADER + (size + 2) * EVENT.size)
    _total += wanted
    try:
        at = _map(t, length)
    except BaseException:
        _total -= wanted
        raise
    ctx = AioContext(at, wanted, (length - RING_HEADER) // EVENT.size - 1)
    t.mm.aio[at] = ctx
    return ctx


def _map(t: Task, length: int) -> int:
    mm = t.mm
    mm.lock(t)
    try:
        at = mm.mmap(t, 0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, None, 0)
        ring = mm.map.find(at)
        if ring is not None:
            named = ring.part(at, at + length)
            named.name = RING_NAME
            mm.map.replace(at, at + length, [named])
        return at
    finally:
        mm.unlock()


def destroy(t: Task, ctx: AioContext) -> None:
    """io_destroy(2). May suspend."""
    mm = t.mm
    mm.aio.pop(ctx.ident, None)
    ctx.close()
    mm.lock(t)
    try:
        ring = mm.map.find(ctx.ident)
        if ring is not None and ring.name == RING_NAME:
            mm.munmap(t, ring.start, ring.end - ring.start)
    finally:
        mm.unlock()
