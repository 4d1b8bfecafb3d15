"""The Sentry as a child of the launcher: started early, it loads its modules while its configuration is being made.

It is pid 1 of a pid namespace of its own, and gets its configuration and descriptors over the control connection's
first message; from the launcher, whom it trusts as itself. Where the connection ends before, it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, final

from ..failure import Failure
from ..platform.native._native import lib
from . import isolate

if TYPE_CHECKING:
    from .config import SandboxConfig


@final
class SentryProcess:
    """``ctl``: our end of the control connection; ``pid``: whom to wait for."""

    def __init__(self, outlives: bool = False) -> None:
        """``outlives``: it ends with the control connection only, not with us. Raises Failure."""
        if os.geteuid() != 0:
            isolate.become_root()
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
        import pickle

        numbers = sorted(({gofer, log_fd, listener} | config.descriptors()) - {-1})
        order = pickle.dumps((config, gofer, log_fd, listener, ident))
        memory = os.memfd_create("nvsandbox-config", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(memory), "wb") as f:
                f.write(order)
            socket.send_fds(self.ctl, [b" ".join(b"%d" % n for n in numbers)], [memory, *numbers])
        except OSError:
            raise Failure("the sentry did not start") from None
        finally:
            os.close(memory)

    def drop(self) -> None:
        """Ends it: there is nothing to run."""
        self.ctl.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _wait_and_run(ctl: socket.socket) -> None:
    from . import sentry_main

    data, fds, _flags, _addr = socket.recv_fds(ctl, 4096, 16)
    if not fds:
        return
    import pickle

    numbers = [int(n) for n in data.split()]
    with os.fdopen(fds[0], "rb") as f:
        f.seek(0)
        config, gofer, log_fd, listener, ident = pickle.load(f)
    ctl = socket.socket(fileno=_place(ctl.detach(), fds[1:], numbers))
    sentry_main.run(config, gofer, ctl, ident, log_fd, listener)


def _place(ctl: int, fds: list[int], numbers: list[int]) -> int:
    """Gives descriptors the numbers they have in the launcher; the control connection's new one."""
    above = max(numbers) + 1
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in (ctl, *fds)]
    for fd in (ctl, *fds):
        os.close(fd)
    for fd, n in zip(high[1:], numbers, strict=True):
        os.dup2(fd, n, inheritable=False)
        os.close(fd)
    return high[0]


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
