"""TPACKET_V3 receive rings: blocks of frames of any size, handed over when they are full or a time has passed (Linux:
net/packet/af_packet.c, linux/if_packet.h).

The memory is shared with the application: of what stands in it only each block's status word is asked, never believed beyond that.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from .packet_ring import (
    ALIGN,
    PAGE,
    SOCKADDR_LL,
    STATUS_LOSING,
    STATUS_TS_SOFTWARE,
    STATUS_USER,
    Area,
    align,
)

if TYPE_CHECKING:
    from ..kernel.loop import EventLoop, Timer

TPACKET_V3: Final = 2
REQUEST3: Final = struct.Struct("<7I")  # struct tpacket_req3
# version, offset of the private area; status, packets, offset of the first, length; number; first and last time stamp
BLOCK: Final = struct.Struct("<IIIIIIQIIII")
# offset of the next, s, ns, captured, length, status, offsets of link-layer and network header; hash, VLAN
HEAD3: Final = struct.Struct("<IIIIIIHHIIHH8x")
HEADER: Final = 48  # of a block, and of a frame
HDRLEN3: Final = HEADER + 20
STATUS_AT: Final = 8
STATUS_TIMEOUT: Final = 1 << 5
DEFAULT_TIME: Final = 8 * 10**6  # ns, where the program leaves it to us
MAX_TIME: Final = 2**31  # ms


@final
class BlockRing:
    """``current``: the block that is filled; its frames lie in ``data`` until it is handed over. ``freezes``: how often the next was the
    program's."""

    __slots__ = (
        "area", "base", "block", "count", "current", "data", "due", "first", "freezes", "frozen", "last_at", "loop", "losing",
        "number", "packets", "private", "reserve", "retire", "started", "told",
    )  # fmt: skip

    def __init__(
        self, area: Area, data: bytes, reserve: int, loop: EventLoop, told: Callable[[], None]
    ) -> None:
        """``data``: struct tpacket_req3. ``told``: a block has been handed over because of its age. Raises EINVAL."""
        if len(data) < REQUEST3.size:
            raise SysErr(errno.EINVAL)
        self.block, self.count, frame, frames, tov, private, _features = REQUEST3.unpack_from(data)
        self.first = HEADER + ((private + 7) & ~7)
        least = HDRLEN3 + reserve
        if (
            not self.block or self.block % PAGE or frame < least or frame % ALIGN or frame > self.block
            or self.block < self.first + least or self.block // frame * self.count != frames
        ):  # fmt: skip
            raise SysErr(errno.EINVAL)
        self.area = area
        self.base = 0
        self.private = private
        self.reserve = reserve
        self.retire = min(tov, MAX_TIME) * 10**6 or DEFAULT_TIME
        self.loop = loop
        self.told = told
        self.current = 0
        self.number = 0
        self.freezes = 0
        self.frozen = self.losing = False
        self.data = bytearray()
        self.packets = 0
        self.last_at = 0
        self.started = (0, 0)
        self.due: Timer | None = None
        self._open()

    def size(self) -> int:
        n: int = self.block * self.count
        return n

    def _at(self, i: int) -> int:
        n: int = self.base + i * self.block
        return n

    def _status(self, i: int) -> int:
        raw = os.pread(self.area.fd, 4, self._at(i) + STATUS_AT)
        return int.from_bytes(raw, "little")

    def readable(self) -> bool:
        """Whether the block before the one that is filled is still the program's."""
        return self._status((self.current - 1) % self.count) != 0

    def _open(self) -> None:
        self.number += 1
        self.data = bytearray()
        self.packets = 0
        self.frozen = False
        self.started = divmod(time.time_ns(), 10**9)

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
        net = align(HDRLEN3) + 16 if not link_head else align(HDRLEN3 + max(link_head, 16))
        net += self.reserve
        start = net - link_head
        room: int = self.block - self.first
        if start >= room or net > 0xFFFF:
            return False
        if self.frozen or not self.packets:
            if self._status(self.current):  # all blocks are the program's
                self.freezes += not self.frozen
                self.frozen = self.losing = True
                return False
            if self.frozen:
                self._open()
        data = data[: room - start]
        if len(self.data) + start + len(data) > room:
            self._hand_over(0)
            if self._status(self.current):
                self.freezes += 1
                self.frozen = self.losing = True
                return False
        size = (start + len(data) + 7) & ~7
        sec, ns = divmod(time.time_ns(), 10**9)
        head = HEAD3.pack(
            size,
            sec,
            ns,
            len(data),
            whole,
            STATUS_USER | flags | STATUS_TS_SOFTWARE,
            start,
            net,
            0,
            0,
            0,
            0,
        )
        name = SOCKADDR_LL.pack(17, proto.to_bytes(2, "big"), index, 1, kind, len(mac), mac)
        self.last_at = len(self.data)
        self.data += ((head + name).ljust(start, b"\0") + data).ljust(size, b"\0")[
            : room - len(self.data)
        ]
        self.packets += 1
        if self.packets == 1:
            self.due = self.loop.call_at(time.monotonic_ns() + self.retire, self._old)
        return True

    def _old(self) -> None:
        self.due = None
        if self.packets:
            self._hand_over(STATUS_TIMEOUT)
            self.told()

    def _hand_over(self, why: int) -> None:
        """The block is the program's, its status last; the next is filled."""
        if self.due is not None:
            self.due.cancel()
            self.due = None
        sec, ns = struct.unpack_from("<II", self.data, self.last_at + 4)
        self.data[self.last_at : self.last_at + 4] = bytes(4)
        status = STATUS_USER | why | (STATUS_LOSING if self.losing else 0)
        self.losing = False
        head = BLOCK.pack(
            TPACKET_V3, HEADER, status, self.packets, self.first, self.first + len(self.data), self.number, *self.started, sec, ns,
        )  # fmt: skip
        at, fd = self._at(self.current), self.area.fd
        os.pwrite(fd, self.data, at + self.first)
        os.pwrite(fd, head[STATUS_AT + 4 :], at + STATUS_AT + 4)
        os.pwrite(fd, head[:STATUS_AT], at)
        os.pwrite(fd, head[STATUS_AT : STATUS_AT + 4], at + STATUS_AT)
        self.current = (self.current + 1) % self.count
        self._open()

    def close(self) -> None:
        if self.due is not None:
            self.due.cancel()
            self.due = None
