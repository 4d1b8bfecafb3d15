"""--network=host: the texts of /proc/net, from the host's own files of the network namespace.

They are opened before the lock-down and read anew each time: such a file belongs to the namespace it was opened in.
"""

from __future__ import annotations

import os
from typing import Final

# What tells of interfaces, routes and internet sockets; Unix and netlink sockets are the sandbox's own.
NAMES: Final = (
    "arp", "dev", "dev_mcast", "if_inet6", "igmp", "igmp6", "ipv6_route", "mcast_filter", "netstat", "packet", "ptype", "raw", "raw6",
    "route", "snmp", "snmp6", "sockstat", "sockstat6", "tcp", "tcp6", "udp", "udp6", "udplite", "udplite6",
)  # fmt: skip
MOST: Final = 1 << 24  # bytes of one
CHUNK: Final = 1 << 16
FILES: Final[dict[bytes, int]] = {}


def open_files() -> None:
    """Those that the host has."""
    for name in NAMES:
        try:
            FILES[name.encode()] = os.open(f"/proc/self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue


def read(fd: int) -> bytes:
    parts, at = [], 0
    while at < MOST:
        piece = os.pread(fd, CHUNK, at)
        if not piece:
            break
        parts.append(piece)
        at += len(piece)
    return b"".join(parts)
