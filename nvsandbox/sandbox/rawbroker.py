"""The process that opens raw and packet sockets for --network=host with --net-raw, in the network namespace that the sandbox uses.

It has CAP_NET_RAW there and nothing else; its filter lets it call socket(2) for these families and types only.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final

from ..platform.bpf import allow, eq
from . import brokers

REQUEST: Final = struct.Struct("<III")  # family, type, protocol
CAP_NET_RAW: Final = 13
AF_PACKET: Final = 17
_RAW: Final = socket.SOCK_RAW | socket.SOCK_CLOEXEC
_COOKED: Final = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC


def _open(request: bytes) -> int:
    if len(request) != REQUEST.size:
        return -errno.EINVAL
    family, kind, protocol = REQUEST.unpack(request)
    try:
        return socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol).detach()
    except (OSError, OverflowError) as e:
        return -(getattr(e, "errno", 0) or errno.EINVAL)


def _serve(sock: socket.socket) -> None:
    os.strerror(errno.EPERM)  # its text is loaded before the filter
    brokers.install_filter(
        [
            allow(41, eq(0, socket.AF_INET, socket.AF_INET6), eq(1, _RAW)),
            allow(41, eq(0, AF_PACKET), eq(1, _RAW, _COOKED)),
            *(allow(nr) for nr in (51, 55)),  # getsockname, getsockopt: Python asks
        ]
    )
    brokers.answer(sock, _open)


def start() -> tuple[int, int]:
    """(descriptor of the Sentry's end, pid)."""
    return brokers.start("nv-rawbroker", 1 << CAP_NET_RAW, _serve)
