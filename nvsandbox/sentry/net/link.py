"""A network interface of the host's under our stack: a packet socket with virtio-net headers (packet(7), linux/virtio_net.h).

A frame travels with a 10-byte header: which checksum is still to be completed, and whether it is one super-segment of up to
64 KiB that the device cuts. The socket is bound to its interface before the Sentry has it; here it is only read and written.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from .stack.link import Offload

if TYPE_CHECKING:
    from .pcap import Pcap
    from .shaper import Shaper

VNET: Final = struct.Struct("<BBHHHH")  # flags gso_type hdr_len gso_size csum_start csum_offset
NEEDS_CSUM: Final = 1
DATA_VALID: Final = 2
GSO_ECN: Final = 0x80
GSO_UDP_L4: Final = 5
COMPLETE: Final = bytes(10)
ROOM: Final = 10 + 18 + 65536  # header, Ethernet with a VLAN tag, the largest packet
SMALL: Final = 4096
BATCH: Final = 32  # frames a turn: others must get theirs
Frame = Callable[[bytes, bool, int], None]  # frame, checksum known good, gso_size


@final
class PacketLink:
    """Implements the stack's ``Link``. ``drops``: frames that the queue had no room for."""

    __slots__ = (
        "_room",
        "_view",
        "checksums",
        "down",
        "drops",
        "mac",
        "max_gso",
        "mtu",
        "pcap",
        "rx_bytes",
        "rx_packets",
        "shaper",
        "sock",
        "tx_bytes",
        "tx_packets",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, mac: bytes, mtu: int) -> None:
        self.sock = sock
        self.mac = mac
        self.mtu = mtu
        self.checksums = True
        self.max_gso = 65535
        self.pcap: Pcap | None = None
        self.shaper: Shaper | None = None
        self.down = False
        self.drops = self.rx_bytes = self.rx_packets = self.tx_bytes = self.tx_packets = 0
        self._room = bytearray(ROOM)
        self._view = memoryview(self._room)

    def send(self, parts: list[bytes], offload: Offload | None) -> bool:
        """A frame in pieces, with its Ethernet header; False: dropped."""
        if self.down:
            return False
        if offload is None:
            head = COMPLETE
        else:
            needs = offload.csum_start >= 0
            head = VNET.pack(
                NEEDS_CSUM if needs else 0, offload.gso_type, offload.hdr_len, offload.gso_size,
                offload.csum_start if needs else 0, offload.csum_offset if needs else 0,
            )  # fmt: skip
        if self.shaper is not None:
            return self.shaper.send(self._write, [head, *parts], sum(map(len, parts)))
        return self._write([head, *parts])

    def _write(self, parts: list[bytes]) -> bool:
        """A frame with its virtio-net header."""
        try:
            if len(parts[-1]) < SMALL:  # joining them costs less than sendmsg's list of buffers
                n = self.sock.send(b"".join(parts))
            else:
                n = self.sock.sendmsg(parts)
        except OSError:  # no room, or the interface is going down: the network may lose frames
            self.drops += 1
            return False
        self.tx_packets += 1
        self.tx_bytes += n - 10
        if self.pcap is not None:
            self.pcap.write(b"".join(parts[1:]))
        return True

    def receive(self, deliver: Frame) -> bool:
        """Hands over what has come, at most BATCH frames; False: the interface is gone."""
        view = self._view
        sock = self.sock
        for _ in range(BATCH):
            try:
                n = sock.recv_into(self._room)
            except BlockingIOError:
                return True
            except OSError as e:
                return e.errno == errno.ENETDOWN  # told once, when it goes down
            if n <= 10 or (self.shaper is not None and not self.shaper.admits(n - 10)):
                continue
            flags, gso_type, _hdr, gso_size, _start, _off = VNET.unpack_from(view)
            frame = bytes(view[10:n])
            self.rx_packets += 1
            self.rx_bytes += n - 10
            if self.pcap is not None:
                self.pcap.write(frame)
            if gso_type & ~GSO_ECN == GSO_UDP_L4:
                for one in split_udp(frame, gso_size):
                    deliver(one, True, 0)
            else:
                deliver(frame, flags & (NEEDS_CSUM | DATA_VALID) != 0, gso_size if gso_type else 0)
        return True

    def close(self) -> None:
        self.down = True
        self.sock.close()


def split_udp(frame: bytes, size: int) -> list[bytes]:
    """The datagrams of a UDP super-segment (UDP_SEGMENT, udp(7)): ``size`` bytes of payload each, the last may be shorter.
    Checksums are left as they are. Nothing for what is no such thing."""
    kind = frame[12:14]
    if size <= 0 or len(frame) < 42:
        return []
    if kind == b"\x08\0":
        ip = 14
        udp = ip + (frame[14] & 15) * 4
    elif kind == b"\x86\xdd" and frame[20] == 17:
        ip, udp = 14, 54
    else:
        return []
    data = frame[udp + 8 :]
    out = []
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        head = bytearray(frame[: udp + 8])
        head[udp + 4 : udp + 6] = (8 + len(piece)).to_bytes(2, "big")
        if kind == b"\x08\0":
            head[ip + 2 : ip + 4] = (udp - ip + 8 + len(piece)).to_bytes(2, "big")
            head[ip + 10 : ip + 12] = b"\0\0"
            total = sum(struct.unpack_from(f">{(udp - ip) // 2}H", head, ip))
            total = (total >> 16) + (total & 0xFFFF)
            total = (total >> 16) + (total & 0xFFFF)
            head[ip + 10 : ip + 12] = (~total & 0xFFFF).to_bytes(2, "big")
        else:
            head[ip + 4 : ip + 6] = (8 + len(piece)).to_bytes(2, "big")
        out.append(bytes(head) + piece)
    return out
