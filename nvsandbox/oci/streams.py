"""Standard streams that a caller hands over: more descriptors, and terminals through a console socket."""

from __future__ import annotations

import os
import socket
import stat
from typing import Final

from ..failure import Failure, reason

MAX_PRESERVED: Final = 200
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
