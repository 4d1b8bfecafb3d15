"""Rings of packet sockets: frames in memory that the program maps (Linux: net/packet/af_packet.c, linux/if_packet.h; packet(7), PACKET_RX_RING).

TPACKET_V1 and V2: the memory is an array of frames of one size, each with a header whose first word says whose it is. It is
shared with the application, so it is written and asked by descriptor, never believed beyond that word.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..fs.memfd_pool import HostPair
from ..ipc.shm import shared_pool
from ..vfs.file import Mappable

if TYPE_CHECKING:
    from ..kernel.task import Task

TPACKET_V1: Final = 0
TPACKET_V2: Final = 1
# Header: status, length, captured, offset of the link-layer header, of the network header, seconds, µs or ns
HEAD1: Final = struct.Struct("<QIIHHII4x")
HEAD2: Final = struct.Struct("<IIIHHIIHH4x")
SOCKADDR_LL: Final = struct.Struct("<H2siHBB8s")
REQUEST: Final = struct.Struct("<IIII")  # struct tpacket_req
SIZES: Final = {TPACKET_V1: 32, TPACKET_V2: 32}  # of a header alone, PACKET_HDRLEN
HDRLEN: Final = 32 + 20  # with the address behind it: TPACKET_HDRLEN, TPACKET2_HDRLEN
ALIGN: Final = 16
STATUS_USER: Final = 1
STATUS_LOSING: Final = 4
STATUS_TS_SOFTWARE: Final = 1 << 29
PAGE: Final = 4096
MAX_SIZE: Final = 64 << 20  # bytes of one ring; the memory is the sandbox's


@final
class RingMappable(Mappable):
    """What mmap needs of a ring."""

    __slots__ = ("pair",)

    def __init__(self, pair: HostPair) -> None:
        self.pair = pair

    def host_fd(self, t: Task, writable: bool) -> int:
        return self.pair.rw if writable else self.pair.ro


def _align(n: int) -> int:
    return (n + ALIGN - 1) & ~(ALIGN - 1)


@final
class Ring:
    """``head``: the frame that is written next."""

    __slots__ = (
        "block", "count", "fd", "frame", "head", "losing", "pair", "per_block", "reserve", "size", "version",
    )  # fmt: skip

    def __init__(self, t: Task, data: bytes, version: int, reserve: int) -> None:
        """``data``: struct tpacket_req. Raises EINVAL, ENOMEM, ENFILE. May suspend."""
        self.block, blocks, self.frame, self.count = REQUEST.unpack_from(data)
        self.version = version
        self.reserve = reserve
        if (
            not self.block
            or self.block % PAGE
            or self.frame < HDRLEN + reserve
            or self.frame % ALIGN
            or self.frame > self.block
        ):
            raise SysErr(errno.EINVAL)
        self.per_block = self.block // self.frame
        if blocks * self.per_block != self.count:
            raise SysErr(errno.EINVAL)
        self.size = self.block * blocks
        if self.size > MAX_SIZE:
            raise SysErr(errno.ENOMEM)
        self.pair = shared_pool().take(t)
        self.fd = self.pair.rw
        os.ftruncate(self.fd, self.size)
        self.head = 0
        self.losing = False

    def _at(self, i: int) -> int:
        n: int = i // self.per_block * self.block + i % self.per_block * self.frame
        return n

    def _status(self, i: int) -> int:
        n: int = int.from_bytes(os.pread(self.fd, 4, self._at(i)), "little")
        return n

    def readable(self) -> bool:
        """Whether the newest frame is still the program's."""
        return self._status((self.head - 1) % self.count) != 0

    def put(
        self, data: bytes, mac: bytes, proto: int, kind: int, index: int, whole: int, link_head: int
    ) -> bool:
        """Stores a frame of which ``link_head`` bytes are the link layer's; False: there is no room."""
        at = self._at(self.head)
        if self._status(self.head):
            self.losing = True
            return False
        net = _align(HDRLEN) + 16 if not link_head else _align(HDRLEN + max(link_head, 16))
        net += self.reserve
        start = net - link_head
        if start >= self.frame:
            return False
        data = data[: self.frame - start]
        sec, ns = divmod(time.time_ns(), 10**9)
        status = STATUS_USER | STATUS_TS_SOFTWARE | (STATUS_LOSING if self.losing else 0)
        self.losing = False
        if self.version == TPACKET_V2:
            head = HEAD2.pack(status, whole, len(data), start, net, sec, ns, 0, 0)
        else:
            head = HEAD1.pack(status, whole, len(data), start, net, sec, ns // 1000)
        name = SOCKADDR_LL.pack(17, proto.to_bytes(2, "big"), index, 1, kind, len(mac), mac)
        # The status is the last to be written: from then on the frame is the program's.
        os.pwrite(self.fd, (head[4:] + name).ljust(start - 4, b"\0") + data, at + 4)
        os.pwrite(self.fd, head[:4], at)
        self.head = (self.head + 1) % self.count
        return True
