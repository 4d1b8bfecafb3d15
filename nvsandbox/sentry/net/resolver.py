"""Docker's embedded resolver, which listens on 127.0.0.11:53 of the namespace's own loopback, out of our stack's reach.

Queries over UDP to that address leave through one host socket, connected before the Sentry was locked down. Many sockets inside
share it: each query gets a number of ours (RFC 1035 section 4.1.1), the answer its own again.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from .ports import V4

if TYPE_CHECKING:
    from ..kernel.loop import EventLoop

ADDRESS: Final = (V4 + b"\x7f\0\0\x0b", 53)
MAX_WAITING: Final = 1024
PATIENCE: Final = 30 * 10**9  # ns; resolvers inside have given up by then
MAX_ANSWER: Final = 65535
BATCH: Final = 32
Deliver = Callable[[bytes], None]


@final
class Resolver:
    """``waiting``: number of ours: (deadline, the query's own number, who gets the answer)."""

    __slots__ = ("sock", "waiting")

    def __init__(self, loop: EventLoop, sock: socket.socket) -> None:
        self.sock = sock
        self.waiting: dict[int, tuple[int, bytes, Deliver]] = {}
        loop.watch_fd(sock.fileno(), select.EPOLLIN, self._answers)

    def query(self, data: bytes, deliver: Deliver) -> bool:
        """Sends a query; False: it can't be one, or nobody listens there (``deliver`` is not called)."""
        if len(data) < 12:
            return False
        if len(self.waiting) >= MAX_WAITING:
            now = time.monotonic_ns()
            self.waiting = {n: w for n, w in self.waiting.items() if w[0] > now}
            if len(self.waiting) >= MAX_WAITING:
                return True  # lost, as datagrams may be
        number = int.from_bytes(os.urandom(2), "big")
        while number in self.waiting:
            number = (number + 1) & 0xFFFF
        try:
            self.sock.send(number.to_bytes(2, "big") + data[2:])
        except BlockingIOError:
            return True
        except OSError:  # the previous one was refused, or this is
            return False
        self.waiting[number] = (time.monotonic_ns() + PATIENCE, data[:2], deliver)
        return True

    def _answers(self, _events: int) -> None:
        for _ in range(BATCH):
            try:
                data = self.sock.recv(MAX_ANSWER)
            except BlockingIOError:
                return
            except OSError:  # refused: nobody listens, told at the next query
                continue
            if len(data) < 12:
                continue
            found = self.waiting.pop(int.from_bytes(data[:2], "big"), None)
            if found is not None:
                found[2](found[1] + data[2:])
