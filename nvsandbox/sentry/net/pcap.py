"""--pcap FILE: what crosses the interfaces, for tcpdump and Wireshark (the classic format, nanoseconds; draft-ietf-opsawg-pcap)."""

from __future__ import annotations

import os
import struct
import time
from typing import Final, final

MAGIC_NS: Final = 0xA1B23C4D
SNAPLEN: Final = 1 << 18
LINKTYPE_ETHERNET: Final = 1
RECORD: Final = struct.Struct("<IIII")


@final
class Pcap:
    """``fd``: a file opened for writing before the lock-down. A full disk ends the capture, not the sandbox."""

    __slots__ = ("fd", "written")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.written = 0
        self._put(struct.pack("<IHHiIII", MAGIC_NS, 2, 4, 0, 0, SNAPLEN, LINKTYPE_ETHERNET))

    def write(self, frame: bytes) -> None:
        """One frame, with its Ethernet header."""
        if self.fd < 0:
            return
        sec, nsec = divmod(time.time_ns(), 10**9)
        self._put(RECORD.pack(sec & 0xFFFFFFFF, nsec, len(frame), len(frame)) + frame)
        self.written += 1

    def _put(self, data: bytes) -> None:
        try:
            n = os.write(self.fd, data)
        except OSError:
            n = 0
        if n < len(data):
            os.close(self.fd)
            self.fd = -1
