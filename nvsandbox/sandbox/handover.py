"""An order for a process of ours that was started before there was one: a pickle, and descriptors that keep their numbers.

Only between processes of the same program and user, over a socket pair that nobody else has.
"""

from __future__ import annotations

import fcntl
import os
import socket
from typing import Any, Final

MAX_FDS: Final = 253  # of one message (Linux: SCM_MAX_FD)


def give(sock: socket.socket, order: object, numbers: set[int]) -> None:
    """Raises OSError when the other side is gone."""
    import pickle

    descriptors = sorted(numbers - {-1})
    memory = os.memfd_create("nvsandbox-order", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(memory), "wb") as f:
            pickle.dump(order, f)
        text = b" ".join(b"%d" % n for n in descriptors)
        socket.send_fds(sock, [text or b" "], [memory, *descriptors])
    finally:
        os.close(memory)


def take(
    sock: socket.socket, *others: socket.socket
) -> tuple[Any, socket.socket, list[socket.socket]] | None:
    """The order, the connection and ``others``, which may have other numbers now; None when nobody will give one."""
    data, fds, _flags, _addr = socket.recv_fds(sock, 4096, MAX_FDS)
    if not fds:
        return None
    import pickle

    with os.fdopen(fds[0], "rb") as f:
        f.seek(0)
        order = pickle.load(f)
    numbers = [int(n) for n in data.split()]
    own = [s.detach() for s in (sock, *others)]
    moved = [socket.socket(fileno=fd) for fd in _place(own, fds[1:], numbers)]
    return order, moved[0], moved[1:]


def _place(own: list[int], fds: list[int], numbers: list[int]) -> list[int]:
    """Gives descriptors the numbers they have with the giver; the new ones of our own."""
    above = max(numbers, default=2) + 1
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in (*own, *fds)]
    for fd in (*own, *fds):
        os.close(fd)
    for fd, n in zip(high[len(own) :], numbers, strict=True):
        os.dup2(fd, n, inheritable=False)
        os.close(fd)
    return high[: len(own)]
