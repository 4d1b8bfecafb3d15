"""The Sentry's end of a broker, which opens what the Sentry must not be able to open itself (sandbox/brokers.py)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import final


@final
class BrokerClient:
    """Asks one broker. An answer is an errno (i32) and, when that is 0, a descriptor."""

    def __init__(self, fd: int) -> None:
        self._sock = socket.socket(fileno=fd)

    def close(self) -> None:
        """The broker ends."""
        self._sock.close()

    def ask(self, request: bytes) -> int:
        """A new descriptor. Blocks. Raises OSError."""
        self._sock.send(request)
        data, fds, _flags, _addr = socket.recv_fds(self._sock, 4, 1)
        err = struct.unpack("<i", data)[0] if len(data) == 4 else errno.EIO
        if err or not fds:
            for fd in fds:
                os.close(fd)
            raise OSError(err or errno.EIO, os.strerror(err or errno.EIO))
        return fds[0]
