"""Futexes (Linux: kernel/futex/; futex(2)).

A waiter is enqueued first and then the word is read (by the stub, in one piece): a wake that comes in between finds the
waiter, so none is lost (hazard B6). Keys are (address space, address) for private memory, and (object, offset) for shared
memory, so that processes meet.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Final, final

from ..errors import ERESTARTNOINTR, Restart, SysErr
from ..mm.vma import PROT_READ, PROT_WRITE
from .wait import WaitQueue

if TYPE_CHECKING:
    from .task import Task

FUTEX_TID_MASK: Final = 0x3FFF_FFFF
FUTEX_OWNER_DIED: Final = 0x4000_0000
FUTEX_WAITERS: Final = 0x8000_0000
ANY: Final = 0xFFFF_FFFF

Key = tuple[int, int]
WAIT: Final = 1


@final
class FutexWaiter:
    __slots__ = ("bitset", "key", "lock", "queue", "task", "woken")

    def __init__(self, key: Key, bitset: int, task: Task) -> None:
        self.key = key
        self.bitset = bitset
        self.task = task
        self.lock: Key | None = None  # the PI futex it is to own when it is woken
        self.woken = False
        self.queue = WaitQueue()


@final
class FutexTable:
    """All waiters of the sandbox."""

    __slots__ = ("_keep", "busy", "queues")

    def __init__(self) -> None:
        self.busy: dict[Key, WaitQueue] = {}  # PI futexes that somebody is at
        self.queues: dict[Key, deque[FutexWaiter]] = {}

    def key(self, t: Task, addr: int, private: bool) -> Key:
        """Raises EINVAL for an unaligned address; unless ``private``, EFAULT for one that can't be read or never changes."""
        if addr & 3:
            raise SysErr(errno.EINVAL)
        if not private:
            v = t.mm.map.find(addr)
            if v is None or not v.prot & PROT_READ:
                raise SysErr(errno.EFAULT)
            if not (v.shared or v.file is not None or v.prot & PROT_WRITE):
                raise SysErr(errno.EFAULT)
            if v.obj is not None:
                return (id(v.obj), v.offset + addr - v.start)
        return (id(t.mm), addr)

    def enqueue(self, w: FutexWaiter) -> None:
        self.queues.setdefault(w.key, deque()).append(w)

    def dequeue(self, w: FutexWaiter) -> None:
        q = self.queues.get(w.key)
        if q is not None and w in q:
            q.remove(w)
            if not q:
                del self.queues[w.key]

    def wait(
        self, t: Task, addr: int, value: int, bitset: int, deadline: int | None, private: bool
    ) -> int:
        """Sleeps while the word is ``value``. 0, -EAGAIN, -ETIMEDOUT; raises Restart, EFAULT. May suspend."""
        return self._sleep(
            t, FutexWaiter(self.key(t, addr, private), bitset, t), addr, value, deadline
        )

    def _sleep(self, t: Task, w: FutexWaiter, addr: int, value: int, deadline: int | None) -> int:
        """``w`` waits while the word is ``value``, as ``wait``."""
        self.enqueue(w)
        try:
            if t.thread.read_u32(addr) != value and not w.woken:
                return -errno.EAGAIN
            while not w.woken:
                try:
                    if not t.wait(w.queue, deadline=deadline) and not w.woken:
                        return -errno.ETIMEDOUT
                except Restart:
                    if w.woken:
                        return 0
                    raise
            return 0
        finally:
            if not w.woken:
                self.dequeue(w)

    def wait_any(self, t: Task, words: list[tuple[int, int, bool]], deadline: int | None) -> int:
        """Sleeps while every (address, value, private) holds; the index of the one that was woken. -EAGAIN, -ETIMEDOUT;
        raises Restart, EFAULT. May suspend."""
        queue = WaitQueue()
        ws = [FutexWaiter(self.key(t, addr, private), ANY, t) for addr, _, private in words]
        for w in ws:
            w.queue = queue
            self.enqueue(w)
        try:
            for addr, value, _ in words:
                if t.thread.read_u32(addr) != value:
                    return next((i for i, w in enumerate(ws) if w.woken), -errno.EAGAIN)
            while True:
                for i, w in enumerate(ws):
                    if w.woken:
                        return i
                try:
                    if not t.wait(queue, deadline=deadline) and not any(w.woken for w in ws):
                        return -errno.ETIMEDOUT
                except Restart:
                    if not any(w.woken for w in ws):
                        raise
        finally:
            for w in ws:
                if not w.woken:
                    self.dequeue(w)

    def wake(self, key: Key, count: int, bitset: int = ANY) -> int:
        """Wakes up to ``count`` waiters that share a bit with ``bitset``; how many."""
        q = self.queues.get(key)
        if not q:
            return 0
        n = 0
        for w in [w for w in q if w.bitset & bitset]:
            if n >= count:
                break
            q.remove(w)
            w.woken = True
            w.queue.wake()
            n += 1
        if not q:
            self.queues.pop(key, None)
        return n

    def wake_addr(self, t: Task, addr: int, count: int) -> None:
        """As FUTEX_WAKE for a word whose sharing isn't known (thread exit): both keys."""
        try:
            shared = self.key(t, addr, False)
        except SysErr:
            return
        private = (id(t.mm), addr)
        self.wake(private, count)
        if shared != private:
            self.wake(shared, count)

    def requeue(self, src: Key, dst: Key, wake: int, move: int) -> int:
        """Wakes ``wake`` waiters of ``src`` and moves ``move`` of the others to ``dst``; how many in all."""
        n = self.wake(src, wake)
        q = self.queues.get(src)
        moved = 0
        while q and moved < move:
            w = q.popleft()
            w.key = dst
            self.enqueue(w)
            moved += 1
        if q is not None and not q:
            self.queues.pop(src, None)
        return n + moved

    # Priority inheritance: correct ownership, no priorities. Looking at the word, changing it and the queue is one step for others
    # of the kernel (Linux: the lock of the hash bucket); the application's own changes are found out by compare-and-exchange.
    def _hold(self, t: Task, lock: Key) -> None:
        while lock in self.busy:
            t.wait(self.busy[lock], interruptible=False)
        self.busy[lock] = WaitQueue()

    def _release(self, lock: Key) -> None:
        self.busy.pop(lock).wake()

    def lock_pi(
        self, t: Task, addr: int, deadline: int | None, private: bool, trylock: bool
    ) -> int:
        """FUTEX_LOCK_PI and FUTEX_TRYLOCK_PI. Raises Restart, EFAULT. May suspend."""
        w = FutexWaiter(self.key(t, addr, private), ANY, t)
        w.lock = w.key
        r = self._try_pi(t, w, addr, trylock)
        while r == WAIT:
            try:
                while not w.woken:
                    if not t.wait(w.queue, deadline=deadline) and not w.woken:
                        if self._gave_up(t, w, addr):
                            return 0
                        return -errno.ETIMEDOUT
            except Restart:
                if self._gave_up(t, w, addr):
                    return 0
                raise
            finally:
                self.dequeue(w)
            w.woken = False
            if t.thread.read_u32(addr) & FUTEX_TID_MASK == t.tid:
                return 0
            r = self._try_pi(t, w, addr, trylock)
        return r

    def _try_pi(self, t: Task, w: FutexWaiter, addr: int, trylock: bool) -> int:
        """Takes the lock (0), or has ``w`` wait for it (WAIT), or fails. May suspend."""
        key = w.key
        self._hold(t, key)
        try:
            while True:
                word = t.thread.read_u32(addr)
                owner = word & FUTEX_TID_MASK
                if owner == t.tid:
                    return -errno.EDEADLK
                if owner == 0:
                    waiters = FUTEX_WAITERS if self.queues.get(key) else 0
                    new = t.tid | (word & FUTEX_OWNER_DIED) | waiters
                    if t.thread.cmpxchg(addr, word, new) == word:
                        return 0
                    continue
                if trylock:
                    return -errno.EAGAIN
                if owner not in t.tg.pids.tasks:
                    return -errno.ESRCH
                if t.thread.cmpxchg(addr, word, word | FUTEX_WAITERS) == word:
                    self.enqueue(w)
                    return WAIT
        finally:
            self._release(key)

    def _gave_up(self, t: Task, w: FutexWaiter, addr: int) -> bool:
        """``w`` waits no longer. Whether it has become the owner meanwhile. May suspend."""
        lock = w.lock
        assert lock is not None
        self._hold(t, lock)
        try:
            self.dequeue(w)
            return t.thread.read_u32(addr) & FUTEX_TID_MASK == t.tid
        finally:
            self._release(lock)

    def unlock_pi(self, t: Task, addr: int, private: bool) -> int:
        """FUTEX_UNLOCK_PI: the first who waits becomes the owner. Raises EFAULT. May suspend."""
        key = self.key(t, addr, private)
        self._hold(t, key)
        try:
            while True:
                word = t.thread.read_u32(addr)
                if word & FUTEX_TID_MASK != t.tid:
                    return -errno.EPERM
                q = self.queues.get(key)
                nxt = q[0] if q else None
                new = 0
                if nxt is not None and q is not None:
                    new = nxt.task.tid | (FUTEX_WAITERS if len(q) > 1 else 0)
                if t.thread.cmpxchg(addr, word, new) == word:
                    if (
                        nxt is not None
                    ):  # if it has given up meanwhile, it finds that it is the owner
                        self.dequeue(nxt)
                        nxt.woken = True
                        nxt.queue.wake()
                    return 0
        finally:
            self._release(key)

    def has_pi(self, key: Key) -> bool:
        """Whether somebody waits there who is to own a PI futex: others must not wake or move him."""
        return any(w.lock is not None for w in self.queues.get(key, ()))

    def wait_requeue_pi(
        self, t: Task, addr: int, value: int, deadline: int | None, lock: int, private: bool
    ) -> int:
        """FUTEX_WAIT_REQUEUE_PI: sleeps while the word is ``value``, until ``cmp_requeue_pi`` and an unlock have made it the
        owner of ``lock``. 0, -EAGAIN, -ETIMEDOUT. Raises Restart, EINVAL, EFAULT. May suspend."""
        w = FutexWaiter(self.key(t, addr, private), ANY, t)
        first = w.key
        w.lock = self.key(t, lock, private)
        if w.lock == w.key:
            raise SysErr(errno.EINVAL)
        try:
            r = self._sleep(t, w, addr, value, deadline)
        except Restart:
            if w.key == first:
                raise Restart(ERESTARTNOINTR) from None
            r = -errno.EAGAIN
        if r < 0 and w.key != first and self._gave_up(t, w, lock):
            return 0
        return r

    def cmp_requeue_pi(
        self, t: Task, addr: int, lock: int, value: int, move: int, private: bool
    ) -> int:
        """FUTEX_CMP_REQUEUE_PI: the first waiter gets ``lock`` if it is free, all others wait for it. How many. May suspend."""
        src, dst = self.key(t, addr, private), self.key(t, lock, private)
        if src == dst:
            raise SysErr(errno.EINVAL)
        self._hold(t, dst)
        try:
            return self._requeue_pi(t, addr, lock, value, 1 + move, src, dst)
        finally:
            self._release(dst)

    def _requeue_pi(
        self, t: Task, addr: int, lock: int, value: int, most: int, src: Key, dst: Key
    ) -> int:
        if t.thread.read_u32(addr) != value:
            return -errno.EAGAIN
        n = 0
        while n < most:
            q = self.queues.get(src)
            if not q:
                break
            w = q[0]
            if w.lock != dst:
                raise SysErr(errno.EINVAL)
            word = t.thread.read_u32(lock)
            owner = word & FUTEX_TID_MASK
            if owner and t.tg.pidns.task(owner) is None:
                raise SysErr(errno.ESRCH)
            more = FUTEX_WAITERS if owner or len(q) > 1 or self.queues.get(dst) else 0
            new = (owner or w.task.nr) | (word & FUTEX_OWNER_DIED) | more
            if t.thread.cmpxchg(lock, word, new) != word:
                continue
            if w.woken or w.key != src or q is not self.queues.get(src) or q[0] is not w:
                if not owner:  # it has given up meanwhile, and owns nothing
                    t.thread.cmpxchg(lock, new, word)
                continue
            q.popleft()
            if not q:
                self.queues.pop(src, None)
            if owner:
                w.key = dst
                self.enqueue(w)
            else:
                w.woken = True
                w.queue.wake()
            n += 1
        return n
