"""Clean stubs kept ready for exec, the zygote that they come from, and the model that most are cloned from.

The zygote's clone has to move to a base of its own and to lock itself down, which takes as long as a program's start takes
natively. So one such stub becomes a model, and the next ones are clones of it, at its base; after ``MODEL_USES`` another is made.

A sandbox has one zygote. Each further container of a pod gets one of its own, a clone of the first: whoever made the container
moves that process into the container's control group, and every stub of the container is born there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

from ...platform.native._native import lib
from ...platform.space import PlatformError, Space
from ..errors import SysErr, TaskExit

if TYPE_CHECKING:
    from .kernel import Kernel
    from .thread import HostThread

log = logging.getLogger("nvsandbox.sentry")

LOST_LOOKS: Final = 20  # for a process whose parent died while it was cloned
LOST_PAUSE: Final = 10_000_000  # ns
POOL: Final = 2  # clean stubs kept ready for exec
MODEL_USES: Final = 8  # so many programs share a base: not more, as each could tell an attacker where the others' stub lies


@final
class StubPool:
    """Of the sandbox, or of one container of a pod."""

    __slots__ = (
        "_making", "_model", "_model_uses", "_ready", "_waiters", "closed", "k", "zygote",
    )  # fmt: skip

    def __init__(self, k: Kernel) -> None:
        self.k = k
        self.zygote: HostThread | None = None  # until there is one, who wants a stub waits
        self.closed = False
        self._ready: list[tuple[Space, HostThread]] = []
        self._making = False
        self._model: HostThread | None = None
        self._model_uses = 0
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
        while True:
            while not self._ready:
                self._make(True)
            space, th = self._ready.pop()
            if not space.dead:
                break
            self.k.drop_thread(th)
        if not self._making:
            self.k.loop.later.append(lambda: self.k.loop.spawn(self.refill))
        return space, th

    def refill(self) -> None:
        """May suspend."""
        models = not self.k.platform.TRACES
        while not self.closed:
            try:
                if len(self._ready) < POOL:
                    self._make(False)
                elif models and self._model is None:
                    self._make_model()
                else:
                    return
            except (PlatformError, OSError, SysErr, TaskExit) as e:
                if not self.closed:
                    log.error("cannot make a clean stub: %r", e)
                return

    def close(self) -> None:
        """The container is gone."""
        self.closed = True
        self._drop_ready()
        self._drop_model()
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
            made = self._cloned(wanted) or self._moved(wanted)
            self._ready.append(made)
            if self.closed:
                self._drop_ready()
        finally:
            self._end()

    def _moved(self, wanted: bool) -> tuple[Space, HostThread]:
        """One from the zygote."""
        zygote = self.zygote
        assert zygote is not None
        run = zygote.run if wanted else zygote.run_patiently
        space = self.k.platform.prepare_clean(zygote.native, lambda _th: run())
        self._await_clean(space, 2)
        return space, self.k.adopt_thread(space.threads[0])

    def _cloned(self, wanted: bool) -> tuple[Space, HostThread] | None:
        """One from the model, if that can be had."""
        model = self._model
        if model is not None and model.native.space.dead:
            self._drop_model()
            model = None
        if model is None:
            return None
        run = model.run if wanted else model.run_patiently
        try:
            space = self._clone_of(model, run)
            self._await_clean(space, 1)
        except (PlatformError, OSError, SysErr, TaskExit) as e:
            if not self.closed:
                log.warning("the model of clean stubs is lost: %r", e)
            self._drop_model()
            return None
        self._model_uses += 1
        if self._model_uses == MODEL_USES:
            self._drop_model()
        return space, self.k.adopt_thread(space.threads[0])

    def _clone_of(self, model: HostThread, run: Callable[[], int]) -> Space:
        platform = self.k.platform
        space, th, shell = platform.fork_shell(model.native.space)
        th.trap.rest()  # it waits for an exec
        try:
            platform.clone(model.native, space, shell, lambda _th: run())
        except BaseException:
            space.kill()
            self.k.loop.spawn(lambda: find_lost(self.k, space))
            raise
        model.trap.rest()
        return space

    def _make_model(self) -> None:
        """May suspend. Raises as ``_make``."""
        if self._begin(False):
            return
        try:
            _, th = self._moved(False)
            self._model, self._model_uses = th, 0
            if self.closed:
                self._drop_model()
        finally:
            self._end()

    def _drop_model(self) -> None:
        model, self._model = self._model, None
        if model is not None:
            space = model.native.space
            self.k.drop_thread(model)
            space.kill()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for token in waiters:
            self.k.loop.resume(token)

    def _await_clean(self, space: Space, words: int) -> None:
        """Waits until the stub has said who it is ``words`` times: one that moves says so before and, locked down, after it."""
        token = self.k.loop.token()
        left = words
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


def find_lost(k: Kernel, space: Space) -> None:
    """The process that was to be cloned may be there all the same, when the parent died before it could say so. It says
    who it is on its own socket (hazard A4)."""
    token = k.loop.token()
    for _ in range(LOST_LOOKS):
        pid = lib.nv_recv_pid(space.sock)
        if pid > 0:
            with contextlib.suppress(PlatformError):
                space.set_pid(pid)  # kills it: the space is marked
                return
        if pid != 0:
            break
        k.loop.call_at(k.monotonic_ns() + LOST_PAUSE, lambda: k.loop.resume(token))
        k.loop.suspend()
    space.never_born()
