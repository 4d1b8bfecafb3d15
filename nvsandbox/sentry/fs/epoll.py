"""epoll (Linux: fs/eventpoll.c; epoll(7)).

An item is known by (descriptor number, description). Wake-ups of the watched file put it on the ready list; a wait
looks at each ready item again and reports what still holds. A description that has died is found by ``refs == 0`` and
dropped when next met, which no program can tell from Linux's removal at once.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, final

from ..abi.event import EPOLL_EVENT, EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, EPOLLWAKEUP
from ..errors import SysErr
from ..kernel.wait import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, Waiter
from ..vfs.file import FileDescription
from .anon import AnonFile

if TYPE_CHECKING:
    from ..kernel.task import Task

MAX_NESTS: Final = 4
MAX_ITEMS: Final = 1 << 18  # /proc/sys/fs/epoll/max_user_watches, for the whole sandbox
PRIVATE: Final = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE
EXCLUSIVE_OK: Final = POLLIN | POLLOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE

_items = 0


def _count(delta: int) -> None:
    global _items
    _items += delta


@final
class EpItem:
    """One registration."""

    __slots__ = ("data", "ep", "events", "fd", "file", "waiter")

    def __init__(self, ep: Epoll, fd: int, file: FileDescription, events: int, data: int) -> None:
        self.ep = ep
        self.fd = fd
        self.file = file
        self.events = events
        self.data = data
        mask = 0xFFFF  # what counts is decided in wake(), since EPOLL_CTL_MOD changes it
        self.waiter = Waiter(self.wake, mask, bool(events & EPOLLEXCLUSIVE))

    def wake(self, events: int) -> None:
        wanted = self.events & ~PRIVATE and events & (self.events | POLLERR | POLLHUP)
        if self.events & EPOLLEXCLUSIVE:  # with nobody waiting here it is the next one's
            self.waiter.took = bool(wanted and self.ep.queue.waiters)
        if wanted:
            self.ep.ready[self] = None
            self.ep.queue.wake(POLLIN | POLLRDNORM)

    def current(self, t: Task | None) -> int:
        """The events to report now."""
        if not self.events & ~PRIVATE:
            return 0
        return self.file.poll(t) & (self.events | POLLERR | POLLHUP)


@final
class Epoll(AnonFile):
    """An interest list and its ready list (in order of readiness)."""

    __slots__ = ("items", "ready", "sweep_at")

    label = b"anon_inode:[eventpoll]"

    def __init__(self) -> None:
        super().__init__(os.O_RDWR)
        self.items: dict[tuple[int, FileDescription], EpItem] = {}
        self.ready: dict[EpItem, None] = {}
        self.sweep_at = 64

    # The interest list
    def add(self, t: Task, fd: int, f: FileDescription, events: int, data: int) -> None:
        """Raises EEXIST, ENOSPC, ELOOP, EINVAL."""
        if events & EPOLLEXCLUSIVE and (events & ~EXCLUSIVE_OK or isinstance(f, Epoll)):
            raise SysErr(errno.EINVAL)
        if isinstance(f, Epoll) and (f.reaches(self, 0) or f.depth(0) + self.height() > MAX_NESTS):
            raise SysErr(errno.ELOOP)
        if (fd, f) in self.items:
            raise SysErr(errno.EEXIST)
        if len(self.items) >= self.sweep_at:
            self._sweep()
        if _items >= MAX_ITEMS:
            raise SysErr(errno.ENOSPC)
        it = EpItem(self, fd, f, events | POLLERR | POLLHUP, data)
        self.items[fd, f] = it
        _count(1)
        if isinstance(f, Epoll):
            PARENTS.setdefault(f, {})[self] = None
        f.watch(it.waiter)
        if it.current(t):
            it.wake(0xFFFF)

    def modify(self, t: Task, fd: int, f: FileDescription, events: int, data: int) -> None:
        """Raises ENOENT, EINVAL."""
        it = self.items.get((fd, f))
        if it is None:
            raise SysErr(errno.ENOENT)
        if (events | it.events) & EPOLLEXCLUSIVE:
            raise SysErr(errno.EINVAL)
        it.events = events | POLLERR | POLLHUP
        it.data = data
        if it.current(t):
            it.wake(0xFFFF)

    def delete(self, fd: int, f: FileDescription) -> None:
        """Raises ENOENT."""
        it = self.items.get((fd, f))
        if it is None:
            raise SysErr(errno.ENOENT)
        self._drop(it)

    def _drop(self, it: EpItem) -> None:
        if self.items.pop((it.fd, it.file), None) is None:
            return
        it.file.unwatch(it.waiter)
        self.ready.pop(it, None)
        _count(-1)
        if isinstance(it.file, Epoll) and not any(f is it.file for _, f in self.items):
            up = PARENTS.get(it.file)
            if up is not None:
                up.pop(self, None)
                if not up:
                    del PARENTS[it.file]

    def _sweep(self) -> None:
        """Drops what has died; the list may then grow to twice what is left before the next time."""
        for it in [i for i in self.items.values() if i.file.refs == 0]:
            self._drop(it)
        self.sweep_at = max(64, 2 * len(self.items))

    # Nesting
    def depth(self, seen: int) -> int:
        """The longest chain of epolls below, itself included."""
        if seen > MAX_NESTS:
            return seen
        below = 0
        for _, f in self.items:
            if isinstance(f, Epoll) and f.refs:
                below = max(below, f.depth(seen + 1))
        return below + 1

    def height(self) -> int:
        """The longest chain of epolls above."""
        up = PARENTS.get(self)
        return 1 + max((p.height() for p in up), default=0) if up else 0

    def reaches(self, other: Epoll, level: int) -> bool:
        """Whether ``other`` is it or below it."""
        if self is other or level > MAX_NESTS:
            return True
        return any(
            isinstance(f, Epoll) and f.refs and f.reaches(other, level + 1) for _, f in self.items
        )

    # Waiting
    def harvest(self, t: Task, limit: int) -> list[bytes]:
        """Up to ``limit`` struct epoll_event of what is ready now."""
        out: list[bytes] = []
        again: list[EpItem] = []
        ready = self.ready
        for it in list(ready):
            if len(out) >= limit:
                break
            del ready[it]
            if it.file.refs == 0:
                self._drop(it)
                continue
            got = it.current(t)
            if not got:
                continue
            out.append(EPOLL_EVENT.pack(got, it.data))
            if it.events & EPOLLONESHOT:
                it.events &= PRIVATE
            elif not it.events & EPOLLET:
                again.append(it)
        for it in again:
            ready[it] = None
        return out

    def poll(self, t: Task | None) -> int:
        for it in list(self.ready):
            if it.file.refs == 0:
                self._drop(it)
            elif it.current(t):
                return POLLIN | POLLRDNORM
            else:
                del self.ready[it]
        return 0

    def release(self) -> None:
        for it in list(self.items.values()):
            self._drop(it)

    def fdinfo(self) -> bytes:
        return b"".join(
            b"tfd: %8d events: %8x data: %16x  pos:%d ino:%x sdev:%x\n"
            % (
                i.fd,
                i.events & 0xFFFFFFFF,
                i.data,
                i.file.offset,
                i.file.inode.ino,
                i.file.inode.fs.dev,
            )
            for i in self.items.values()
            if i.file.refs
        )


# Which epolls watch an epoll, for the depth limit.
PARENTS: Final[dict[Epoll, dict[Epoll, None]]] = {}
