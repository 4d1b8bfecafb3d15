"""The Sentry as a child of the launcher: started early, it loads its modules while its configuration is being made.

It is pid 1 of a pid namespace of its own, and gets its configuration and descriptors over the control connection's
first message; from the launcher, whom it trusts as itself. Where the connection ends before, it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, final

from ..failure import Failure
from ..platform.native._native import lib
from . import handover, isolate

if TYPE_CHECKING:
    from .config import SandboxConfig

MAX_WORD: Final = 1024  # bytes


@final
class SentryProcess:
    """``ctl``: our end of the control connection; ``pid``: whom to wait for; ``loaded`` is called when it has imported what it needs and
    has no configuration yet."""

    def __init__(self, outlives: bool = False) -> None:
        """``outlives``: it ends with the control connection only, not with us. Raises Failure."""
        if os.geteuid() != 0:
            isolate.become_root()
        self.loaded: Callable[[], None] | None = None
        self.ctl, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        launcher = 0 if outlives else os.getpid()

        def child() -> NoReturn:
            try:
                if launcher:
                    isolate.die_with_parent(0)
                self.ctl.close()
                _wait_and_run(theirs)
            finally:
                os._exit(1)

        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A pid namespace is for the children of the process that unshares it: us for a moment, or a process in between where
            # the way back is not open to us
            if lib.nv_setns(own, isolate.CLONE_NEWPID) < 0:
                self.pid = _between(launcher, child)
            else:
                isolate.check("unshare", lib.nv_unshare(isolate.CLONE_NEWPID))
                self.pid = os.fork()
                if self.pid == 0:
                    child()
                isolate.check("setns", lib.nv_setns(own, isolate.CLONE_NEWPID))
        finally:
            os.close(own)
            theirs.close()

    def configure(
        self, config: SandboxConfig, gofer: int, log_fd: int, listener: int, ident: int
    ) -> None:
        """Lets it go on, with these descriptors of ours (-1: none) and those ``config`` names. ``ident``: a number no other
        sandbox has now, for its host uid. Raises Failure."""
        try:
            word = self.ctl.recv(MAX_WORD)
            if word != b"\n":
                raise Failure(word.decode("utf-8", "replace") or "the sentry did not start")
            if self.loaded is not None:
                self.loaded()
            numbers = {gofer, log_fd, listener} | config.descriptors()
            handover.give(self.ctl, (config, gofer, log_fd, listener, ident), numbers)
        except OSError:
            raise Failure("the sentry did not start") from None

    def drop(self) -> None:
        """Ends it: there is nothing to run."""
        self.ctl.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def _wait_and_run(ctl: socket.socket) -> None:
    try:
        from . import sentry_main
    except Exception as e:
        ctl.send(f"sentry: {type(e).__name__}: {e}".encode("utf-8", "replace")[:MAX_WORD])
        return
    ctl.send(b"\n")
    got = handover.take(ctl)
    if got is None:
        return
    (config, gofer, log_fd, listener, ident), ctl, _ = got
    sentry_main.run(config, gofer, ctl, ident, log_fd, listener)


def _between(launcher: int, child: Callable[[], NoReturn]) -> int:
    """Starts ``child`` as the child of a process that does nothing else and ends with it; that one's pid. Raises Failure."""
    r, w = os.pipe()
    middle = os.fork()
    if middle == 0:
        try:
            if launcher:
                isolate.die_with_parent(launcher)
            os.close(r)
            isolate.check("unshare", lib.nv_unshare(isolate.CLONE_NEWPID))
            pid = os.fork()
            if pid == 0:
                os.close(w)
                child()
            os.write(w, b"\n")
            isolate.close_others(set())
            isolate.set_name("nv-pidns")
            os.waitpid(pid, 0)
        except Failure as e:
            os.write(w, str(e).encode())
        finally:
            os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        word = f.read().decode()
    if word != "\n":
        raise Failure(word or "the sentry did not start")
    return middle
