"""Clean stubs kept ready for exec, and the zygote they are cloned from.

A sandbox has one zygote. Each further container of a pod gets one of its own, a clone of the first: whoever made the container
moves that process into the container's control group, and every stub of the container is born there.
"""

from __future__ import annotations

import logging
import os
import select
from typing import TYPE_CHECKING, Any, Final, final

from ...platform.native._native import lib
from ...platform.space import PlatformError, Space
from ..errors import SysErr, TaskExit

if TYPE_CHECKING:
    from .kernel import Kernel
    from .thread import HostThread

log = logging.getLogger("nvsandbox.sentry")

POOL: Final = 2  # clean stubs kept ready for exec


@final
class StubPool:
    """Of the sandbox, or of one container of a pod."""

    __slots__ = ("_making", "_ready", "_waiters", "closed", "k", "zygote")

    def __init__(self, k: Kernel) -> None:
        self.k = k
        self.zygote: HostThread | None = None  # until there is one, who wants a stub waits
        self.closed = False
        self._ready: list[tuple[Space, HostThread]] = []
        self._making = False
        self._waiters: list[Any] = []

    def start(self, zygote: HostThread) -> None:
        self.zygote = zygote
        self._wake()

    def another(self) -> StubPool:
        """A pool with a zygote of its own, and nothing in it until a stub is wanted. May suspend. Raises PlatformError, OSError,
        SysErr, TaskExit."""
        self._begin(False)
        try:
            zygote = self.zygote
            assert zygote is not None
            native = self.k.platform.fork_zygote(lambda _th: zygote.run())
            pool = StubPool(self.k)
            pool.zygote = self.k.adopt_thread(native)
            return pool
        finally:
            self._end()

    def pidfd(self) -> int:
        """The zygote's."""
        assert self.zygote is not None
        return self.zygote.native.space.pidfd

    def take(self) -> tuple[Space, HostThread]:
        """A clean stub; makes one when there is none. May suspend. Raises PlatformError, OSError."""
        while not self._ready:
            self._make(True)
        got = self._ready.pop()
        if not self._making:
            self.k.loop.spawn(self.refill)
        return got

    def refill(self) -> None:
        """May suspend."""
        while len(self._ready) < POOL and not self.closed:
            try:
                self._make(False)
            except (PlatformError, OSError, SysErr, TaskExit) as e:
                if not self.closed:
                    log.error("cannot make a clean stub: %r", e)
                return

    def close(self) -> None:
        """The container is gone."""
        self.closed = True
        self._drop_ready()
        if self.zygote is not None:
            space = self.zygote.native.space
            self.k.drop_thread(self.zygote)
            space.kill()
        self._wake()

    def _drop_ready(self) -> None:
        for space, th in self._ready:
            self.k.drop_thread(th)
            space.kill()
        self._ready.clear()

    def _begin(self, enough: bool) -> bool:
        """Waits until the zygote is free, and takes it. ``enough``: a stub that comes meanwhile will do; then True, and the zygote
        is not taken. May suspend. Raises PlatformError once the pool is closed."""
        while self._making or self.zygote is None:
            if self.closed:
                raise PlatformError("the container is gone")
            self._waiters.append(self.k.loop.token())
            self.k.loop.suspend()
            if enough and self._ready:
                return True
        if self.closed:
            raise PlatformError("the container is gone")
        self._making = True
        return False

    def _end(self) -> None:
        self._making = False
        self._wake()

    def _make(self, wanted: bool) -> None:
        """One more. ``wanted``: somebody waits for it."""
        if self._begin(True):
            return
        try:
            zygote = self.zygote
            assert zygote is not None
            run = zygote.run if wanted else zygote.run_patiently
            space = self.k.platform.prepare_clean(zygote.native, lambda _th: run())
            self._await_clean(space)
            self._ready.append((space, self.k.adopt_thread(space.threads[0])))
            if self.closed:
                self._drop_ready()
        finally:
            self._end()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for token in waiters:
            self.k.loop.resume(token)

    def _await_clean(self, space: Space) -> None:
        """Waits until the stub has said its second word: it has moved and is locked down."""
        token = self.k.loop.token()
        left = 2
        while left:
            pid = lib.nv_recv_pid(space.sock)
            if pid > 0:
                if pid != space.pid:
                    raise PlatformError("clean stub has another pid")
                left -= 1
                continue
            if pid < 0:
                raise PlatformError(f"clean stub died: {os.strerror(-pid)}")
            self.k.loop.watch_fd(space.sock, select.EPOLLIN, lambda _e: self._once(space, token))
            self.k.loop.suspend()
        space.identified = 1
        self.k.platform.clean_ready(space)

    def _once(self, space: Space, token: Any) -> None:
        self.k.loop.unwatch_fd(space.sock)
        self.k.loop.resume(token)
