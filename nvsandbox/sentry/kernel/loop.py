"""The Sentry's event loop: one host thread, any number of suspended handlers.

Handlers are plain code. The loop runs inside whatever greenlet is current; when a handler suspends, another greenlet
takes the loop over, and when it is resumed it simply returns into the loop that called it. So a call that never waits pays
nothing for being able to, and no lock is needed anywhere: code runs until it suspends.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar, final

from greenlet import getcurrent, greenlet

from ...platform.native._native import ffi, lib
from ...platform.native.hot import Event, Trap, hold, wait, work
from .garbage import Garbage
from .wait import POLL_READ, WaitQueue

T = TypeVar("T")
WORKERS: Final = 4
NONE: Final = -1
MOST_LATER: Final = 8
QUIET: Final = 10_000  # ns without an event
STEPS: Final = 256  # between looks at how much garbage there can be


@final
class Timer:
    """A callback at a time of CLOCK_MONOTONIC (ns)."""

    __slots__ = ("callback", "when")

    def __init__(self, when: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


@final
class EventLoop:
    """Events of stub threads, host descriptors, timers and worker results, one at a time."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self.on_event = on_event
        self.epoll = select.epoll()
        self.fds: dict[int, Callable[[int], None]] = {}
        self.timers: list[tuple[int, int, Timer]] = []
        self._seq = itertools.count()
        self.ready: deque[tuple[greenlet, Any]] = deque()
        # done as soon as a reply is out, while applications run; must not suspend
        self.chores: deque[Callable[[], None]] = deque()
        # done one at a time when there is no event for a moment, or too many of them; must not suspend
        self.later: deque[Callable[[], None]] = deque()
        self.held: dict[WaitQueue, None] = {}  # whose readers are woken a little later
        self._idle: list[greenlet] = []
        self._root = getcurrent()
        self._factory = greenlet(self._make_loops, self._root)
        self._pool: ThreadPoolExecutor | None = None
        self._done: deque[tuple[greenlet, Future[Any]]] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ready_buf = ffi.new("int32_t[128]")
        self._owed: Trap | None = (
            None  # the thread whose reply goes out with the next wait: one native call less
        )
        self._owed_rax = 0
        self.stopped = False
        self._steps = 0
        self._garbage: Garbage | None = None
        self._looks = False  # for garbage, soon
        self.watch_fd(self._wake_fd, select.EPOLLIN, self._worker_done)

    # Suspending and resuming
    def token(self) -> greenlet:
        """What ``resume`` needs to bring the caller back."""
        return getcurrent()

    def suspend(self) -> Any:
        """Gives the loop to another greenlet until ``resume``; returns its value."""
        nxt = self._idle.pop() if self._idle else self._factory
        return nxt.switch()

    def _make_loops(self) -> None:
        """Starts another loop each time it is switched to. A greenlet begins at the recursion depth of whoever
        starts it, so all are started from here: from inside handlers the depth would add up."""
        while True:
            greenlet(self._run, self._root).switch()

    def resume(self, token: greenlet, value: Any = None) -> None:
        """Makes a suspended caller runnable; it runs after the current handler."""
        self.ready.append((token, value))

    def spawn(self, fn: Callable[[], None]) -> None:
        """Runs ``fn`` (which may suspend) soon, outside any task."""
        self.ready.append((greenlet(lambda _=None: self._run_then_loop(fn), self._root), None))

    def _run_then_loop(self, fn: Callable[[], None]) -> None:
        fn()
        if self._idle:  # it ends, and a waiting loop goes on in its place
            getcurrent().parent = self._idle.pop()
        else:
            self._run()

    def run(self) -> None:
        """Runs until ``stop``. Call once, from the greenlet that made the loop."""
        self._root = getcurrent()
        while not self.stopped:
            self.suspend()

    def stop(self) -> None:
        self.stopped = True

    def reply(self, trap: Trap, rax: int) -> None:
        """Lets an application thread go on, at the latest when the loop has nothing else to do."""
        self._settle()
        self._owed, self._owed_rax = trap, rax

    def _settle(self) -> None:
        """The reply that is owed goes out now: something else is to run before the next wait."""
        if self._owed is not None:
            owed, self._owed = self._owed, None
            owed.reply(self._owed_rax)

    def _run(self, _start: Any = None) -> None:
        ready, chores = self.ready, self.chores
        while not self.stopped:
            if ready or chores:
                self._settle()
            while chores:
                chores.popleft()()
            while ready:
                g, value = ready.popleft()
                self._idle.append(getcurrent())
                g.switch(value)
                if self.stopped:
                    break
            if self.stopped:
                break
            self._step()
        self._root.switch()

    def watch_garbage(self) -> None:
        """From now on cycles are looked for when there is a quiet moment."""
        self._garbage = Garbage()

    def _look(self) -> None:
        """Adds a look for garbage to what is done later, if it is time for one."""
        self._steps = 0
        if self._garbage is not None and not self._looks and self._garbage.due():
            self._looks = True
            self.later.append(self._collect)

    def _collect(self) -> None:
        self._looks = False
        if self._garbage is not None:
            self._garbage.collect()

    def _step(self) -> None:
        self._steps += 1
        if self._steps > STEPS:
            self._look()
        timers = self.timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        deadline = timers[0][0] if timers else NONE
        later = self.later
        if later:
            soon = time.monotonic_ns() + QUIET
            deadline = min(deadline, soon) if timers else soon
            if len(later) > MOST_LATER:
                self._settle()
                later.popleft()()
        if self._owed is not None:
            owed, self._owed = self._owed, None
            ev = owed.reply_wait(self._owed_rax, deadline)
        else:
            ev = wait(deadline)
        if ev is not None:
            self.on_event(ev)
        else:
            if self.held:
                self.wake_held()
            self._poll_done()
            if later and not self.ready:
                later.popleft()()

    # Wakes that are put off
    def hold(self, queue: WaitQueue) -> None:
        """Wakes the readers on ``queue`` soon: when a task waits, when no events come for a moment, after 150 µs at the latest."""
        if not self.held:
            hold(True)
        self.held[queue] = None

    def wake_held(self) -> None:
        """Wakes all who were to be woken later."""
        hold(False)
        queues, self.held = self.held, {}
        for q in queues:
            q.wake(POLL_READ)

    def wake_now(self, queue: WaitQueue) -> None:
        """Wakes the readers on ``queue``, whether or not that was put off."""
        if queue in self.held:
            del self.held[queue]
            if not self.held:
                hold(False)
        queue.wake(POLL_READ)

    def _poll_done(self) -> None:
        """Descriptors and timers that nv_wait stopped for."""
        n = lib.nv_ready(self._ready_buf, 128)
        buf = self._ready_buf
        for fd, events in [(buf[2 * i], buf[2 * i + 1]) for i in range(n)]:
            cb = self.fds.get(fd)
            if cb is not None:
                cb(events)
        now = time.monotonic_ns()
        timers = self.timers
        while timers and timers[0][0] <= now:
            t = heapq.heappop(timers)[2]
            cb_t = t.callback
            if cb_t is not None:
                t.callback = None
                cb_t()

    # Sources of events
    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Calls ``callback`` (which must not suspend) once ``when`` (CLOCK_MONOTONIC ns) has passed."""
        t = Timer(when, callback)
        heapq.heappush(self.timers, (when, next(self._seq), t))
        return t

    def watch_fd(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Calls ``callback(epoll events)`` whenever host descriptor ``fd`` is ready (level-triggered)."""
        if fd in self.fds:
            self.epoll.modify(fd, events)
        else:
            self.epoll.register(fd, events)
        self.fds[fd] = callback

    def unwatch_fd(self, fd: int) -> None:
        if self.fds.pop(fd, None) is not None:
            try:
                self.epoll.unregister(fd)
            except OSError:
                pass  # already closed

    def run_in_worker(self, fn: Callable[[], T], pool: ThreadPoolExecutor | None = None) -> T:
        """Runs ``fn`` in a worker thread (of ``pool``) while the caller is suspended; returns or raises what it does."""
        if pool is None:
            pool = self._pool = self._pool or ThreadPoolExecutor(WORKERS)
        token = self.token()
        work(1)
        fut = pool.submit(fn)
        fut.add_done_callback(lambda f: self._post_done(token, f))
        self.suspend()
        return fut.result()

    def _post_done(self, token: greenlet, f: Future[Any]) -> None:
        """In the worker: the deque is the one place where two threads meet; append and popleft are atomic."""
        self._done.append((token, f))
        os.eventfd_write(self._wake_fd, 1)

    def _worker_done(self, _events: int) -> None:
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            pass
        while self._done:
            token, _ = self._done.popleft()
            work(-1)
            self.resume(token)
