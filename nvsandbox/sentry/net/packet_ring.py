"""Rings of packet sockets: frames in memory that the program maps (Linux: net/packet/af_packet.c, linux/if_packet.h; packet(7), PACKET_RX_RING
and PACKET_TX_RING).

TPACKET_V1 and V2: the memory is an array of frames of one size, each with a header whose first word says whose it is; V3: ``packet_blocks.py``,
frames to send excepted. It is shared with the application, so it is written and asked by descriptor, never believed beyond that word and, of a frame to
send, the length.
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
TPACKET_V3: Final = 2
# Header: status, length, captured, offset of the link-layer header, of the network header, seconds, µs or ns
HEAD1: Final = struct.Struct("<QIIHHII4x")
HEAD2: Final = struct.Struct("<IIIHHIIHH4x")
SOCKADDR_LL: Final = struct.Struct("<H2siHBB8s")
REQUEST: Final = struct.Struct("<IIII")  # struct tpacket_req
SIZES: Final = {TPACKET_V1: 32, TPACKET_V2: 32, TPACKET_V3: 48}  # of a header alone, PACKET_HDRLEN
HDRLEN: Final = 32 + 20  # with the address behind it: TPACKET_HDRLEN, TPACKET2_HDRLEN
ALIGN: Final = 16
STATUS_USER: Final = 1
STATUS_SEND_REQUEST: Final = 1
STATUS_WRONG_FORMAT: Final = 4
STATUS_LOSING: Final = 4
STATUS_TS_SOFTWARE: Final = 1 << 29
PAGE: Final = 4096
MAX_SIZE: Final = 64 << 20  # bytes of one ring; the memory is the sandbox's


@final
class Area(Mappable):
    """The memory of a socket's rings, and what mmap needs of it: that to receive comes first."""

    __slots__ = ("fd", "pair")

    def __init__(self, t: Task) -> None:
        """Raises ENFILE. May suspend."""
        self.pair: HostPair = shared_pool().take(t)
        self.fd = self.pair.rw

    def resize(self, size: int) -> None:
        """Zeroes it."""
        os.ftruncate(self.fd, 0)
        os.ftruncate(self.fd, size)

    def host_fd(self, t: Task, writable: bool) -> int:
        return self.pair.rw if writable else self.pair.ro


def align(n: int) -> int:
    return (n + ALIGN - 1) & ~(ALIGN - 1)


@final
class Ring:
    """``base``: where it is in the area. ``head``: the frame that is written, or sent, next."""

    __slots__ = (
        "area", "base", "block", "blocks", "count", "frame", "head", "head_size", "losing", "per_block", "reserve", "version",
    )  # fmt: skip

    def __init__(self, area: Area, data: bytes, version: int, reserve: int) -> None:
        """``data``: struct tpacket_req. Raises EINVAL."""
        self.block, self.blocks, self.frame, self.count = REQUEST.unpack_from(data)
        self.version = version
        self.reserve = reserve
        self.head_size = SIZES[version]
        if (
            not self.block
            or self.block % PAGE
            or self.frame < self.head_size + 20 + reserve
            or self.frame % ALIGN
            or self.frame > self.block
        ):
            raise SysErr(errno.EINVAL)
        self.per_block = self.block // self.frame
        if self.blocks * self.per_block != self.count:
            raise SysErr(errno.EINVAL)
        self.area = area
        self.base = 0
        self.head = 0
        self.losing = False

    def size(self) -> int:
        n: int = self.block * self.blocks
        return n

    def _at(self, i: int) -> int:
        n: int = self.base + i // self.per_block * self.block + i % self.per_block * self.frame
        return n

    def _status_at(self) -> int:
        return 20 if self.version == TPACKET_V3 else 0

    def _status(self, i: int) -> int:
        n: int = int.from_bytes(
            os.pread(self.area.fd, 4, self._at(i) + self._status_at()), "little"
        )
        return n

    def readable(self) -> bool:
        """Whether the newest frame is still the program's."""
        return self._status((self.head - 1) % self.count) != 0

    def put(
        self,
        data: bytes,
        mac: bytes,
        proto: int,
        kind: int,
        index: int,
        whole: int,
        link_head: int,
        flags: int,
    ) -> bool:
        """Stores a frame of which ``link_head`` bytes are the link layer's; ``flags``: TP_STATUS_* of its own. False: there is no room."""
        at = self._at(self.head)
        if self._status(self.head):
            self.losing = True
            return False
        net = align(HDRLEN) + 16 if not link_head else align(HDRLEN + max(link_head, 16))
        net += self.reserve
        start = net - link_head
        if start >= self.frame:
            return False
        data = data[: self.frame - start]
        sec, ns = divmod(time.time_ns(), 10**9)
        status = STATUS_USER | flags | STATUS_TS_SOFTWARE | (STATUS_LOSING if self.losing else 0)
        self.losing = False
        if self.version == TPACKET_V2:
            head = HEAD2.pack(status, whole, len(data), start, net, sec, ns, 0, 0)
        else:
            head = HEAD1.pack(status, whole, len(data), start, net, sec, ns // 1000)
        name = SOCKADDR_LL.pack(17, proto.to_bytes(2, "big"), index, 1, kind, len(mac), mac)
        # The status is the last to be written: from then on the frame is the program's.
        os.pwrite(self.area.fd, (head[4:] + name).ljust(start - 4, b"\0") + data, at + 4)
        os.pwrite(self.area.fd, head[:4], at)
        self.head = (self.head + 1) % self.count
        return True

    # To send
    def take(self, has_offset: bool, cooked: bool) -> bytes | int | None:
        """The next frame that is to be sent, None: there is none; -errno for one that is none. ``done`` or ``refuse`` must follow.

        ``has_offset``: the header says where it begins (PACKET_TX_HAS_OFF)."""
        at = self._at(self.head)
        raw = os.pread(self.area.fd, self.head_size, at)
        if int.from_bytes(raw[self._status_at() :][:4], "little") != STATUS_SEND_REQUEST:
            return None
        where = {TPACKET_V1: 8, TPACKET_V2: 4, TPACKET_V3: 16}[self.version]
        size = int.from_bytes(raw[where : where + 4], "little")
        start = self.head_size
        if has_offset:
            mac = {TPACKET_V1: 16, TPACKET_V2: 12, TPACKET_V3: 24}[self.version] + (
                2 if cooked else 0
            )
            start = int.from_bytes(raw[mac : mac + 2], "little")
            if not self.head_size <= start < self.frame:
                return -errno.EINVAL
        if size > self.frame - start:
            return -errno.EMSGSIZE
        return os.pread(self.area.fd, size, at + start)

    def done(self) -> None:
        """The frame is the program's again."""
        self._give(0)
        self.head = (self.head + 1) % self.count

    def refuse(self) -> None:
        """The frame stays where the next call looks; it is for the program to mend."""
        self._give(STATUS_WRONG_FORMAT)

    def _give(self, status: int) -> None:
        raw = status.to_bytes(4, "little")
        os.pwrite(self.area.fd, raw, self._at(self.head) + self._status_at())
