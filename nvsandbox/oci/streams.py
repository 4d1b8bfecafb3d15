"""Standard streams that a caller hands over: more descriptors, and terminals through a console socket."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any, Final

from ..failure import Failure, reason

MAX_PRESERVED: Final = 200
TIOCGWINSZ: Final = 0x5413
TIOCSWINSZ: Final = 0x5414
DRAIN: Final = 2.0  # seconds for the last output
PATIENCE: Final = 10.0  # seconds for the console socket's owner


def preserved(n: int) -> list[int]:
    """Descriptors 3… of ours that the program gets as well. Raises Failure."""
    if not 0 <= n <= MAX_PRESERVED:
        raise Failure(f"--preserve-fds: between 0 and {MAX_PRESERVED}")
    for fd in range(3, 3 + n):
        try:
            os.fstat(fd)
        except OSError:
            raise Failure(f"--preserve-fds: descriptor {fd} is not open") from None
    return list(range(3, 3 + n))


def listen_fds() -> int:
    """How many sockets systemd's activation passed, from descriptor 3 on (sd_listen_fds(3)); those must be open."""
    text = os.environ.get("LISTEN_FDS", "")
    n = int(text) if text.isdigit() else 0
    for fd in range(3, 3 + min(n, MAX_PRESERVED)):
        try:
            os.fstat(fd)
        except OSError:
            return fd - 3
    return min(n, MAX_PRESERVED)


def console(path: str) -> int:
    """A new terminal, in raw mode (what it does is done inside); its master goes to the socket. The slave.

    Raises Failure.
    """
    import tty

    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise Failure(f"console socket `{path}`: not a socket")
        master, slave = os.openpty()
        tty.setraw(slave)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(path)
            socket.send_fds(sock, [b"/dev/ptmx"], [master])
        os.close(master)
    except OSError as e:
        raise Failure(f"console socket `{path}`: {reason(e)}") from None
    return slave


class Pump:
    """The caller's streams and a terminal made for the program: what runc does in the foreground with a terminal.

    Our own terminal, if stdin is one, is in raw mode between ``start`` and ``finish``.
    """

    def __init__(self) -> None:
        import tty

        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.saved: Any = None
        self.output: Any = None
        self.resize()

    def resize(self) -> None:
        """Our terminal's size becomes the program's."""
        import fcntl

        for fd in (0, 1):
            try:
                size = fcntl.ioctl(fd, TIOCGWINSZ, b"\0" * 8)
                fcntl.ioctl(self.master, TIOCSWINSZ, size)
                return
            except OSError:
                continue

    def start(self) -> None:
        """After forks: copying is done by threads."""
        import termios
        import threading
        import tty

        if os.isatty(0):
            self.saved = termios.tcgetattr(0)
            tty.setraw(0)
        threading.Thread(target=_copy, args=(0, self.master), daemon=True).start()
        self.output = threading.Thread(target=_copy, args=(self.master, 1), daemon=True)
        self.output.start()

    def finish(self) -> None:
        """The program is gone: what it has printed is written out."""
        os.close(self.slave)
        if self.output is not None:
            self.output.join(DRAIN)
        if self.saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)


def _copy(source: int, target: int) -> None:
    """Until either end is closed."""
    try:
        while data := os.read(source, 1 << 16):
            while data:
                data = data[os.write(target, data) :]
    except OSError:
        pass
