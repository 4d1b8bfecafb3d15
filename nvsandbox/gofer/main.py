"""Entry of the gofer process.

The launcher forks, puts the child where the container's mounts are its root, and calls ``main``. Everything is imported
before; ``main`` opens each mount's root and /proc/self/fd, then serves. ``ready`` is called in between, for the
launcher to drop what only the start needed (chroot, capabilities, seccomp).
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .server import Mount, Server


class MountSpec(NamedTuple):
    """A tree to serve: its path as the gofer sees it at start; a file is allowed (bind mount of a file)."""

    path: str
    readonly: bool


def main(
    sock_fd: int,
    mounts: Sequence[MountSpec],
    ready: Callable[[], None] | None = None,
    proc_fd_dir: str = "/proc/self/fd",
) -> None:
    """Serves until the Sentry's end of ``sock_fd`` is closed. Raises OSError if a mount can't be opened."""
    os.umask(0)
    proc_fd = os.open(proc_fd_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    roots = [
        Mount(os.open(m.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC), m.readonly) for m in mounts
    ]
    sock = socket.socket(fileno=sock_fd)
    sock.setblocking(True)
    if ready is not None:
        ready()
    gc.disable()
    try:
        Server(sock, roots, proc_fd).serve()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the Sentry is gone
    finally:
        sock.close()
