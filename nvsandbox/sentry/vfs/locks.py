"""Advisory file locks (Linux: fs/locks.c; fcntl(2), flock(2)).

POSIX locks belong to a descriptor table (a process), OFD and flock locks to an open file description. All locks of
an inode hang in ``inode.locks``; whoever has to wait waits on its one queue. Leases are in leases.py.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final, final

from ..errors import SysErr
from ..kernel.wait import WaitQueue

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .inode import Inode

F_RDLCK: Final = 0
F_WRLCK: Final = 1
F_UNLCK: Final = 2
OFFSET_MAX: Final = (1 << 63) - 1
MAX_LOCKS: Final = 65536


@final
class Lock:
    """One range, ends included. ``pid`` is what F_GETLK reports (-1 for OFD)."""

    __slots__ = ("end", "kind", "owner", "pid", "start")

    def __init__(self, owner: object, pid: int, kind: int, start: int, end: int) -> None:
        self.owner = owner
        self.pid = pid
        self.kind = kind
        self.start = start
        self.end = end

    def conflicts(self, o: Lock) -> bool:
        return (
            self.owner is not o.owner
            and self.start <= o.end
            and o.start <= self.end
            and (self.kind == F_WRLCK or o.kind == F_WRLCK)
        )


@final
class LockState:
    """All locks of one inode."""

    __slots__ = ("flocks", "leases", "queue", "ranges")

    def __init__(self) -> None:
        self.ranges: list[Lock] = []  # POSIX and OFD
        self.flocks: dict[object, int] = {}  # description -> F_RDLCK / F_WRLCK
        self.leases: list[Any] = []  # vfs/leases.py
        self.queue = WaitQueue()


# Who waits for a lock of whom: owner -> the lock in its way. For deadlock detection among POSIX owners.
_waiting: Final[dict[int, Lock]] = {}


def state(i: Inode) -> LockState:
    if not isinstance(i.locks, LockState):
        i.locks = LockState()
    return i.locks


def find_conflict(i: Inode, want: Lock) -> Lock | None:
    if not isinstance(i.locks, LockState):
        return None
    for held in i.locks.ranges:
        if held.conflicts(want):
            return held
    return None


def _deadlock(want: Lock, blocker: Lock) -> bool:
    """Whether waiting for ``blocker`` would close a circle (Linux: posix_locks_deadlock)."""
    for _ in range(10):
        nxt = _waiting.get(id(blocker.owner))
        if nxt is None:
            return False
        if nxt.owner is want.owner:
            return True
        blocker = nxt
    return False


def set_lock(t: Task, i: Inode, want: Lock, wait: bool) -> None:
    """F_SETLK(W), F_OFD_SETLK(W). May suspend. Raises EAGAIN, EDEADLK, ENOLCK, Restart."""
    s = state(i)
    if want.kind != F_UNLCK:
        while True:
            blocker = find_conflict(i, want)
            if blocker is None:
                break
            if not wait:
                raise SysErr(errno.EAGAIN)
            if want.pid >= 0:
                if blocker.owner is want.owner or _deadlock(want, blocker):
                    raise SysErr(errno.EDEADLK)
                _waiting[id(want.owner)] = blocker
            try:
                t.wait(s.queue)
            finally:
                _waiting.pop(id(want.owner), None)
    _apply(s, want)


def _apply(s: LockState, want: Lock) -> None:
    """Cuts the range out of the owner's locks, adds the new one, joins neighbours."""
    mine: list[Lock] = []
    rest: list[Lock] = []
    for held in s.ranges:
        if held.owner is not want.owner:
            rest.append(held)
            continue
        if held.end < want.start or held.start > want.end:
            mine.append(held)
            continue
        if held.start < want.start:
            mine.append(Lock(held.owner, held.pid, held.kind, held.start, want.start - 1))
        if held.end > want.end:
            mine.append(Lock(held.owner, held.pid, held.kind, want.end + 1, held.end))
    if want.kind != F_UNLCK:
        if len(s.ranges) >= MAX_LOCKS:
            raise SysErr(errno.ENOLCK)
        mine.append(want)
    mine.sort(key=lambda k: k.start)
    joined: list[Lock] = []
    for k in mine:
        last = joined[-1] if joined else None
        if last is not None and last.kind == k.kind and last.end + 1 >= k.start:
            last.end = max(last.end, k.end)
        else:
            joined.append(k)
    s.ranges = rest + joined
    s.queue.wake()


def set_flock(t: Task, i: Inode, owner: object, kind: int, wait: bool) -> None:
    """flock(2). May suspend. Raises EAGAIN, Restart."""
    s = state(i)
    if kind == F_UNLCK:
        if s.flocks.pop(owner, None) is not None:
            s.queue.wake()
        return
    if s.flocks.get(owner) == kind:
        return
    if s.flocks.pop(owner, None) is not None:  # a conversion is not atomic in Linux either
        s.queue.wake()
    while any(kind == F_WRLCK or k == F_WRLCK for o, k in s.flocks.items() if o is not owner):
        if not wait:
            raise SysErr(errno.EAGAIN)
        t.wait(s.queue)
    s.flocks[owner] = kind


def release(i: Inode, owner: object) -> None:
    """All locks of ``owner`` (a descriptor table or description) on ``i`` go."""
    s = i.locks
    if not isinstance(s, LockState):
        return
    before = len(s.ranges) + len(s.leases)
    s.leases = [k for k in s.leases if k.file is not owner]
    s.ranges = [k for k in s.ranges if k.owner is not owner]
    if s.flocks.pop(owner, None) is not None or len(s.ranges) + len(s.leases) != before:
        s.queue.wake()
