"""What the stack asks of a network device (Linux: struct net_device, linux/virtio_net.h)."""

from __future__ import annotations

from typing import Final, Protocol, final

GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4


@final
class Offload:
    """What the link still has to do with a frame: the fields of ``struct virtio_net_hdr``.

    ``csum_start`` and ``csum_offset`` count from the frame's first byte; -1: the checksum is complete. ``gso_type``
    0: the frame is one packet. ``gso_size``: payload bytes of each packet. ``hdr_len``: bytes in front of the payload.
    """

    __slots__ = ("csum_offset", "csum_start", "gso_size", "gso_type", "hdr_len")

    def __init__(
        self,
        csum_start: int,
        csum_offset: int,
        gso_type: int = 0,
        gso_size: int = 0,
        hdr_len: int = 0,
    ) -> None:
        self.csum_start = csum_start
        self.csum_offset = csum_offset
        self.gso_type = gso_type
        self.gso_size = gso_size
        self.hdr_len = hdr_len


class Link(Protocol):
    """A device. All of these may be read at any time; ``mtu`` is the largest IP packet in bytes.

    ``mac``: 6 bytes, ``b""`` when frames have no link-layer header (TUN). ``max_gso``: largest IP packet taken with
    ``gso_type`` set, 0: none. ``checksums``: the link completes partial checksums.
    """

    mac: bytes
    mtu: int
    max_gso: int
    checksums: bool

    def send(self, parts: list[bytes], offload: Offload | None) -> bool:
        """Sends one frame, given in pieces; False: dropped because the queue is full. Must not call the stack."""
        ...
