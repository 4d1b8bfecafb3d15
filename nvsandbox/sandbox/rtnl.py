"""A small client of routing netlink (netlink(7), rtnetlink(7); linux/rtnetlink.h): dumps, one request at a time, notifications."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

NLMSG: Final = struct.Struct("<IHHII")
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 1
NLM_F_ACK: Final = 4
NLM_F_DUMP: Final = 0x300
NLM_F_CREATE: Final = 0x400
NLM_F_EXCL: Final = 0x200
RTM_GETLINK: Final = 18
RTM_GETADDR: Final = 22
RTM_GETROUTE: Final = 26
RTM_GETNEIGH: Final = 30
RTM_NEWQDISC: Final = 36
RTM_NEWTFILTER: Final = 44
RTM_DELTFILTER: Final = 45
# RTMGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE
CHANGES: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
ROOM: Final = 1 << 17


class Netlink:
    """A socket in the network namespace in which it was made."""

    def __init__(self, groups: int = 0) -> None:
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self.sock.bind((0, groups))
        self.seq = 0

    def close(self) -> None:
        self.sock.close()

    def dump(self, kind: int, head: bytes) -> Iterator[tuple[int, bytes]]:
        """Answers of a dump: message type and body. Raises OSError."""
        yield from self._talk(kind, NLM_F_REQUEST | NLM_F_DUMP, head)

    def change(self, kind: int, flags: int, body: bytes) -> None:
        """Raises OSError with what the kernel answers."""
        for _ in self._talk(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body):
            pass

    def _talk(self, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
        self.seq += 1
        self.sock.send(NLMSG.pack(16 + len(body), kind, flags, self.seq, 0) + body)
        while True:
            data = self.sock.recv(ROOM)
            at = 0
            while at + 16 <= len(data):
                size, answer, _flags, seq, _port = NLMSG.unpack_from(data, at)
                if size < 16:
                    break
                raw = data[at + 16 : at + size]
                at += (size + 3) & ~3
                if seq != self.seq:
                    continue
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    err = -struct.unpack_from("<i", raw)[0]
                    if err:
                        raise OSError(err, os.strerror(err))
                    return
                yield answer, raw

    def drain(self) -> None:
        """Forgets the notifications that have come: they only say that something has changed."""
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    self.sock.recv(ROOM, socket.MSG_DONTWAIT)
                except OSError as e:
                    if e.errno != errno.ENOBUFS:
                        raise
