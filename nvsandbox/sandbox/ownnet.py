"""A network namespace for a sandbox that no engine has made one for (`nvsandbox do`, the Python library).

A helper process makes it; slirp4netns, an ordinary program of the host's, is its way out: a TAP device inside, sockets of the user who
started it outside. Nothing of the host's configuration is changed, and no privilege is needed. The helper tells the launcher what
the namespace then has (``takeover.py``), and ends: packet sockets and slirp4netns keep the namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from typing import Final, final

from ..failure import Failure, reason
from ..platform.native._native import lib
from . import control, isolate
from .takeover import PORT_RANGE, Takeover

RESOLVER: Final = b"nameserver 10.0.2.3\n"  # slirp4netns's own, which asks the host's
PATIENCE: Final = 10.0  # seconds
MTU: Final = "65520"


@final
class OwnNetwork:
    """``order``: for the Sentry, with its descriptors. ``close`` ends slirp4netns, as the launcher's death does."""

    def __init__(self) -> None:
        """Raises Failure."""
        program = shutil.which("slirp4netns")
        if program is None:
            raise Failure(
                "--network=sandbox: slirp4netns is not installed (it connects the sandbox to the host's network)"
            )
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise Failure("--network=sandbox: `/dev/net/tun` can't be opened")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ready, ready_in = os.pipe()
        stays, self._stays = os.pipe()  # slirp4netns ends when our end is closed
        pid = os.fork()
        if pid == 0:
            for fd in (ours.detach(), ready, ready_in, stays, self._stays):
                os.close(fd)
            _helper(theirs)
        theirs.close()
        self._slirp = 0
        try:
            ours.settimeout(PATIENCE)
            _expect(ours, "made")
            argv = [
                program, "--configure", f"--mtu={MTU}", "--disable-host-loopback", f"--ready-fd={ready_in}",
                f"--exit-fd={stays}", str(pid), "eth0",
            ]  # fmt: skip
            self._slirp = _start(argv, {ready_in, stays})
            os.close(ready_in)
            ready_in = -1
            with os.fdopen(ready, "rb") as f:
                ready = -1
                if f.read(1) != b"1":
                    raise Failure("--network=sandbox: slirp4netns did not start")
            control.send(ours, {})
            self.order, self.fds = _expect(ours, "")
        except TimeoutError:
            raise Failure("--network=sandbox: the network namespace was not made in time") from None
        except BaseException:
            self.close()
            raise
        finally:
            ours.close()
            for fd in (ready, ready_in, stays):
                if fd >= 0:
                    os.close(fd)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def close(self) -> None:
        """Ends slirp4netns."""
        if self._stays >= 0:
            os.close(self._stays)
            self._stays = -1
        if self._slirp:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._slirp, 0)
            self._slirp = 0


def _expect(sock: socket.socket, key: str) -> tuple[control.Message, list[int]]:
    """The helper's next message. Raises the Failure it tells, TimeoutError."""
    got = control.receive(sock)
    if got is None:
        raise Failure("--network=sandbox: the network namespace could not be made")
    msg, fds = got
    if "failed" in msg or (key and key not in msg):
        raise Failure(str(msg.get("failed", "--network=sandbox: the helper is confused")))
    return msg, fds


def _start(argv: list[str], keep: set[int]) -> int:
    """Starts a program with these descriptors besides 0–2."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        isolate.reset_signals()
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        if not os.environ.get("NVSANDBOX_SLIRP_LOG"):
            os.dup2(null, 2)
        for name in os.listdir("/proc/self/fd"):
            fd = int(name)
            if fd > 2 and fd not in keep:
                with contextlib.suppress(OSError):
                    os.close(fd)
        for fd in keep:
            os.set_inheritable(fd, True)
        os.execv(argv[0], argv)
    finally:
        os._exit(127)


def _helper(sock: socket.socket) -> None:
    """In a child: makes the namespace, waits until it is connected, tells what it has. Never returns."""
    try:
        isolate.check("network namespace", lib.nv_unshare(isolate.CLONE_NEWNET))
        for name, value in PORT_RANGE.items():
            with open("/proc/sys/" + name.replace(".", "/"), "w") as f:
                f.write(value)
        from ..oci.namespaces import loopback_up

        loopback_up()
        control.send(sock, {"made": True})
        if control.receive(sock) is None:
            os._exit(1)
        order, sockets = Takeover(resolver=False).order()
        control.send(sock, order, tuple(s.fileno() for s in sockets))
    except Failure as e:
        control.send(sock, {"failed": str(e)})
    except OSError as e:
        with contextlib.suppress(OSError):
            control.send(sock, {"failed": f"--network=sandbox: {reason(e)}"})
    finally:
        os._exit(0)
