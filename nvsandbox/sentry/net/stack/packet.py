"""A received IP packet on its way up."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from .checksum import ones_sum, pseudo_sum

if TYPE_CHECKING:
    from .interface import Interface


@final
class Packet:
    """Lies in ``buf``: IP header from ``ip``, transport from ``start`` to ``end``. ``proto``: of the transport.

    ``local``: sent to an address of ours, not to many; ``through``: for somebody else. ``reassembled``: it has come in fragments. ``csum_ok``, ``gso_size``: see ``Stack.receive``.
    """

    __slots__ = (
        "buf", "csum_ok", "dest", "dst", "end", "gso_size", "hop", "iface", "ip", "local", "proto", "reassembled", "src", "start", "through", "tos", "ttl",
    )  # fmt: skip

    def __init__(
        self, iface: Interface, buf: bytes, ip: int, start: int, end: int, src: bytes, dst: bytes, proto: int,
        ttl: int, tos: int, local: bool, csum_ok: bool, gso_size: int,
    ) -> None:  # fmt: skip
        self.iface = iface
        self.buf = buf
        self.ip = ip
        self.start = start
        self.end = end
        self.src = src
        self.dst = dst
        self.proto = proto
        self.ttl = ttl
        self.tos = tos
        self.local = local
        self.csum_ok = csum_ok
        self.gso_size = gso_size
        self.hop = self.dest = b""  # IPv6: its options, hop by hop and for the destination
        self.through = self.reassembled = False

    def by_broadcast(self) -> bool:
        """Whether its frame went to many, whatever its IP address says (RFC 1122 section 3.3.6)."""
        return self.ip == 14 and self.buf[0] & 1 != 0

    def options(self) -> bytes:
        """Of IPv4's header."""
        if len(self.src) != 4 or self.buf[self.ip] & 15 == 5:
            return b""
        return self.buf[self.ip + 20 : self.ip + (self.buf[self.ip] & 15) * 4]

    def payload(self) -> bytes:
        return self.buf[self.start : self.end]

    def checksum_holds(self) -> bool:
        """Whether the transport's checksum with a pseudo-header is right."""
        if self.csum_ok:
            return True
        length = self.end - self.start
        total = pseudo_sum(self.src, self.dst, self.proto, length) + ones_sum(self.payload())
        return total % 65535 == 0
