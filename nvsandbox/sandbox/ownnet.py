"""A network namespace for a sandbox that no engine has made one for (`nvsandbox do`, the Python library).

A helper process makes it; slirp4netns or pasta, ordinary programs of the host's, are its way out: a TAP device inside, sockets of the user
who started it outside. Nothing of the host's configuration is changed, and no privilege is needed. The helper tells the launcher what
the namespace then has (``takeover.py``), and ends: packet sockets and the way out keep the namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from typing import Final, final

from ..failure import Failure, reason
from ..platform.native._native import lib
from . import control, isolate
from .takeover import Takeover
from .wirefilter import PORT_RANGE

NAMESERVER: Final = "10.0.2.3"  # slirp4netns's own, which asks the host's; pasta gets the same one
RESOLVER: Final = f"nameserver {NAMESERVER}\n".encode()
PATIENCE: Final = 10.0  # seconds
MTU: Final = "65520"


@final
class OwnNetwork:
    """``order``: for the Sentry, with its descriptors. ``close`` ends the way out, as the launcher's death does."""

    def __init__(self) -> None:
        """Raises Failure."""
        slirp = shutil.which("slirp4netns")
        pasta = shutil.which("pasta") if slirp is None else None
        if slirp is None and pasta is None:
            raise Failure(
                "--network=sandbox: neither slirp4netns nor pasta is installed (one connects the sandbox to the host's network)"
            )
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise Failure("--network=sandbox: `/dev/net/tun` can't be opened")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stays, self._stays = os.pipe()  # the way out ends when our end is closed
        pid = os.fork()
        if pid == 0:
            for fd in (ours.detach(), stays, self._stays):
                os.close(fd)
            _helper(theirs)
        theirs.close()
        self._way = 0
        try:
            ours.settimeout(PATIENCE)
            door = int(str(_expect(ours, "made")[0]["made"]))
            if slirp is not None:
                self._way = _slirp(slirp, pid, stays)
            elif pasta is not None:
                self._way = _start(_pasta_argv(pasta, door), {stays}, stays)
                _wait_for_route(pid)
            control.send(ours, {})
            self.order, self.fds = _expect(ours, "")
        except TimeoutError:
            raise Failure("--network=sandbox: the network namespace was not made in time") from None
        except BaseException:
            self.close()
            raise
        finally:
            ours.close()
            os.close(stays)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def close(self) -> None:
        """Ends slirp4netns or pasta."""
        if self._stays >= 0:
            os.close(self._stays)
            self._stays = -1
        if self._way:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._way, 0)
            self._way = 0


def _slirp(program: str, pid: int, stays: int) -> int:
    """Starts slirp4netns for a process's namespace; its process, when it is ready. Raises Failure."""
    ready, ready_in = os.pipe()
    argv = [
        program, "--configure", f"--mtu={MTU}", "--disable-host-loopback", f"--ready-fd={ready_in}",
        f"--exit-fd={stays}", str(pid), "eth0",
    ]  # fmt: skip
    way = _start(argv, {ready_in, stays})
    os.close(ready_in)
    with os.fdopen(ready, "rb") as f:
        if f.read(1) != b"1":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(way, 0)
            raise Failure("--network=sandbox: slirp4netns did not start")
    return way


def _pasta_argv(program: str, pid: int) -> list[str]:
    """No port is forwarded either way, and the host's loopback is out of reach (pasta(1)). ``pid``: a process of the namespace."""
    none = [x for option in ("-t", "-u", "-T", "-U") for x in (option, "none")]
    return [
        program, "--foreground", "--quiet", "--config-net", "-I", "eth0", *none, "--no-map-gw", "--dns-forward", NAMESERVER, "--runas", "0",
        "--netns-only", "--netns", f"/proc/{pid}/ns/net",
    ]  # fmt: skip


def _wait_for_route(pid: int) -> None:
    """pasta tells nobody that it is ready: its default route does. Raises Failure."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for name in ("route", "ipv6_route"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{name}") as f:
                if any("eth0" in line for line in f):
                    return
        time.sleep(0.01)
    raise Failure("--network=sandbox: pasta did not start (it needs a default route on the host)")


def _expect(sock: socket.socket, key: str) -> tuple[control.Message, list[int]]:
    """The helper's next message. Raises the Failure it tells, TimeoutError."""
    got = control.receive(sock)
    if got is None:
        raise Failure("--network=sandbox: the network namespace could not be made")
    msg, fds = got
    if "failed" in msg or (key and key not in msg):
        raise Failure(str(msg.get("failed", "--network=sandbox: the helper is confused")))
    return msg, fds


def _start(argv: list[str], keep: set[int], until: int = -1) -> int:
    """Starts a program with these descriptors besides 0–2. ``until``: a pipe whose end of file ends it, which a process of its own
    watches."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        isolate.reset_signals()
        signal.signal(
            signal.SIGPIPE, signal.SIG_DFL
        )  # Python ignores it; pasta wants to find it untouched
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
        if until >= 0:
            child = os.fork()
            if child:
                os.read(until, 1)
                os.kill(child, signal.SIGTERM)
                os.waitpid(child, 0)
                os._exit(0)
            keep = keep - {until}
            os.close(until)
        for fd in keep:
            os.set_inheritable(fd, True)
        os.execv(argv[0], argv)
    finally:
        os._exit(127)


def _door() -> int:
    """A process of the namespace without capabilities, by which pasta, which has given up its own, may enter; it ends with this one."""
    stays, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        lib.nv_set_caps(0)
        os.read(stays, 1)
        os._exit(0)
    os.close(stays)
    return pid


def _helper(sock: socket.socket) -> None:
    """In a child: makes the namespace, waits until it is connected, tells what it has. Never returns."""
    try:
        isolate.check("network namespace", lib.nv_unshare(isolate.CLONE_NEWNET))
        for name, value in PORT_RANGE.items():
            with open("/proc/sys/" + name.replace(".", "/"), "w") as f:
                f.write(value)
        from ..oci.namespaces import loopback_up

        loopback_up()
        control.send(sock, {"made": _door()})
        if control.receive(sock) is None:
            os._exit(1)
        order, sockets = Takeover(alone=True).order()
        control.send(sock, order, tuple(s.fileno() for s in sockets))
    except Failure as e:
        control.send(sock, {"failed": str(e)})
    except OSError as e:
        with contextlib.suppress(OSError):
            control.send(sock, {"failed": f"--network=sandbox: {reason(e)}"})
    finally:
        os._exit(0)
