"""The process of a pid file: lives exactly as long as a program in the sandbox, passes signals on, ends as it ended.

It is a child of whoever called us, reparented to the engine's shim, so that the engine's wait4 sees the program's end.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from ..failure import Failure
from ..sandbox import control

if TYPE_CHECKING:
    from ..sandbox.config import SandboxConfig

# SIGCHLD is the relay's own; the kernel sends SIGHUP and SIGWINCH for a terminal.
OWN: Final = frozenset((signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD))
MAX_TITLE: Final = 4096
PATIENCE: Final = 5.0  # seconds
TIOCSCTTY: Final = 0x540E
TIOCGWINSZ: Final = 0x5413


class Relay:
    """One program of one control connection."""

    def __init__(self, sock: socket.socket, ident: int, terminal: int = -1) -> None:
        """``terminal``: a descriptor of the slave whose size is the program's, or -1."""
        self.sock = sock
        self.ident = ident
        self.terminal = terminal
        self.window_changed: Callable[[], None] | None = None
        self.network: tuple[int, Callable[[], None]] | None = None
        self.disk = -1  # a directory on whose file system the Sentry gets files
        self.wake, self.wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self.wake_in, warn_on_full_buffer=False)
        for s in signal.valid_signals() - OWN:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(s, _noop)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def fds(self) -> set[int]:
        """Descriptors to keep open."""
        return {self.wake, self.wake_in}

    def follow(self, fd: int, tell: Callable[[], None]) -> None:
        """Has ``tell`` called when ``fd`` is readable, and when the Sentry asks for it: the network may have changed."""
        self.network = (fd, tell)

    def _changed(self) -> None:
        """What fails now is told by the next change; the sandbox goes on with what it had."""
        if self.network is not None:
            with contextlib.suppress(OSError, Failure):
                self.network[1]()

    def run(
        self, watched: Iterable[int] = (), pending: Iterable[control.Message] = ()
    ) -> int | None:
        """Until the program's end; its wait status, None when the sandbox died. ``watched``: more descriptors whose
        readability (pidfds) means its death."""
        for msg in pending:
            if msg.get("ev") == "exited" and msg.get("id") == self.ident:
                return int(msg["status"])
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        poller.register(self.wake, select.POLLIN)
        others = set(watched)
        for fd in others:
            poller.register(fd, select.POLLIN)
        self.sock.setblocking(False)
        changes = self.network[0] if self.network is not None else -1
        if changes >= 0:
            poller.register(changes, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if self.wake in ready:
                self._signals()
            if self.sock.fileno() in ready:
                done, status = self._message()
                if done:
                    return status
            if ready & others:
                return None
            if changes in ready:
                self._changed()

    def _message(self) -> tuple[bool, int | None]:
        try:
            got = control.receive(self.sock)
        except BlockingIOError:
            return False, None
        except (OSError, ValueError):
            got = None
        if got is None:
            return True, None
        msg, fds = got
        for fd in fds:
            os.close(fd)
        if msg.get("ev") == "exited" and msg.get("id") == self.ident:
            return True, int(msg["status"])
        if msg.get("ev") == "network":
            if self.network is None:  # nothing was taken over: there is no news
                self._send({"op": "network", "failed": ""})
            self._changed()
        if msg.get("ev") == "files":
            self._files()
        return msg.get("ev") == "dead", None

    def _files(self) -> None:
        """Files for the Sentry; none is an answer, too, so it must get there."""
        from ..sandbox import disk_files

        fds = disk_files.make(self.disk) if self.disk >= 0 else []
        self.sock.settimeout(PATIENCE)  # a Sentry that asks and doesn't listen must not hold us up
        with contextlib.suppress(OSError):
            control.send(self.sock, {"op": "files"}, tuple(fds))
        self.sock.setblocking(False)
        for fd in fds:
            os.close(fd)

    def _signals(self) -> None:
        try:
            numbers = os.read(self.wake, 4096)
        except BlockingIOError:
            return
        for n in numbers:
            if n == signal.SIGWINCH and self.terminal >= 0:
                if self.window_changed is not None:
                    self.window_changed()
                self.resize()
            elif n == signal.SIGHUP and self.terminal >= 0:
                continue  # the terminal is gone: the console inside hangs up by itself
            else:
                self._send({"op": "signal", "id": self.ident, "sig": n})

    def resize(self) -> None:
        rows, cols = window_size(self.terminal)
        if rows and cols:
            self._send({"op": "resize", "id": self.ident, "rows": rows, "cols": cols})

    def _send(self, msg: control.Message) -> None:
        with contextlib.suppress(OSError):
            control.send(self.sock, msg)


def _noop(_sig: int, _frame: Any) -> None:
    """The wake-up descriptor does the work."""


def window_size(fd: int) -> tuple[int, int]:
    """Rows and columns of a terminal, (0, 0) if unknown."""
    import fcntl

    try:
        raw = fcntl.ioctl(fd, TIOCGWINSZ, b"\0" * 8)
    except OSError:
        return 0, 0
    rows, cols, _x, _y = struct.unpack("<4H", raw)
    return rows, cols


def take_terminal(fd: int) -> None:
    """The terminal becomes ours (we lead a session), so that the engine's resize reaches us as SIGWINCH."""
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, TIOCSCTTY, 0)


def detach_stdio() -> None:
    """0–2 become /dev/null: the program's pipes must end with the program."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def close_except(keep: set[int]) -> None:
    """Closes every descriptor above 2 but ``keep``."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in keep:
            with contextlib.suppress(OSError):
                os.close(fd)


def set_title(argv: list[bytes]) -> None:
    """The command line `ps` shows (docker top): the program's, as far as the room of ours lets it."""
    try:
        with open("/proc/self/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        title = b"\0".join(argv)[: min(end - start, MAX_TITLE) - 1].ljust(end - start, b"\0")
        fd = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, title, start)
        finally:
            os.close(fd)
        name = os.path.basename(argv[0])[:15]
        with open("/proc/self/comm", "wb") as f:
            f.write(name or b"nv-init")
    except (OSError, IndexError, ValueError):
        pass  # only cosmetics


def end_as(status: int | None, before: Callable[[], None] | None = None) -> None:
    """Never returns: exits, or dies by the signal, as the program did; SIGKILL if nobody knows."""
    if before is not None:
        with contextlib.suppress(Exception):
            before()
    if status is not None and not os.WIFSIGNALED(status):
        os._exit(os.WEXITSTATUS(status))
    sig = signal.SIGKILL if status is None else os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sig != signal.SIGKILL:
        signal.signal(sig, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [sig])
    os.kill(os.getpid(), sig)
    os._exit(128 + sig)


def exit_code(status: int) -> int:
    """A shell's: 128 + signal for a program killed."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def open_disk(config: SandboxConfig) -> int:
    """The directory for ``Relay.disk``; -1 if files of the root's overlay are to be in memory."""
    if not config.root.on_disk:
        return -1
    try:
        return os.open(config.root.source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1


def note_exit(directory: str, status: int | None) -> None:
    """For `nvsandbox wait`."""
    code = 137 if status is None else exit_code(status)
    fd = os.open(f"{directory}/exit", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(fd, b"%d" % code)
    os.close(fd)


def prepare_terminal(process: control.Message, terminal: int) -> None:
    """Takes the terminal, if there is one, and tells the program its size."""
    if terminal < 0:
        return
    take_terminal(terminal)
    rows, cols = window_size(terminal)
    if rows and cols:
        process["rows"], process["cols"] = rows, cols


def write_pid_file(path: str, pid: int) -> None:
    """Raises Failure."""
    from .state import write_file

    write_file(path, str(pid), 0o644)
