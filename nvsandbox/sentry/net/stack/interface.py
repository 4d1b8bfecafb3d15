"""A network interface: its link, addresses and multicast groups (Linux: struct net_device, in_device, inet6_dev)."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from .multicast import everybody
from .neighbours import Neighbours
from .routes import masked

if TYPE_CHECKING:
    from .link import Link
    from .multicast import Group, Report
    from .stack import Stack


@final
class Address:
    """One address of an interface. ``broadcast``: IPv4's directed broadcast, ``b""`` with prefixes over 30."""

    __slots__ = ("broadcast", "ip", "network", "prefixlen")

    def __init__(self, ip: bytes, prefixlen: int) -> None:
        self.ip = ip
        self.prefixlen = prefixlen
        self.network = masked(ip, prefixlen)
        self.broadcast = b""
        if len(ip) == 4 and prefixlen < 31:
            host = (1 << (32 - prefixlen)) - 1
            self.broadcast = (int.from_bytes(self.network, "big") | host).to_bytes(4, "big")


@final
class Interface:
    """``groups``: multicast groups with who listens. ``old_querier*``: until when routers want reports of the version before.
    ``rx_*``, ``tx_*``: as in /proc/net/dev."""

    __slots__ = (
        "addresses", "groups", "index", "link", "name", "neighbours", "old_querier4", "old_querier6", "reports", "rx_bytes",
        "rx_dropped", "rx_packets", "stack", "tx_bytes", "tx_dropped", "tx_packets", "up",
    )  # fmt: skip

    def __init__(self, stack: Stack, name: str, index: int, link: Link) -> None:
        self.stack = stack
        self.name = name
        self.index = index
        self.link = link
        self.up = True
        self.addresses: list[Address] = []
        self.groups: dict[bytes, Group] = everybody()
        self.old_querier4 = self.old_querier6 = 0
        self.neighbours = Neighbours(stack, self)
        self.reports: dict[bytes, Report] = {}
        self.rx_packets = self.rx_bytes = self.rx_dropped = 0
        self.tx_packets = self.tx_bytes = self.tx_dropped = 0

    def address_for(self, dst: bytes) -> bytes:
        """The source address to use towards ``dst``: one of its network, else the first of its scope; ``b""``: none.

        A reduced RFC 6724: rules 1 (same), 2 (scope) and 8 (longest matching prefix).
        """
        best = b""
        best_rank = -1
        n = len(dst)
        number = int.from_bytes(dst, "big")
        local = n == 16 and dst[0] == 0xFE and dst[1] & 0xC0 == 0x80
        if n == 16 and dst[0] == 0xFF:
            local = dst[1] & 15 <= 2
        for a in self.addresses:
            if len(a.ip) != n:
                continue
            rank = n * 8 - (int.from_bytes(a.ip, "big") ^ number).bit_length()
            if n == 16:
                if (a.ip[0] == 0xFE and a.ip[1] & 0xC0 == 0x80) == local:
                    rank += 1000
            elif a.network == masked(dst, a.prefixlen):
                rank += 1000
            else:
                rank = 0
            if rank > best_rank:
                best, best_rank = a.ip, rank
        return best

    def is_broadcast(self, ip: bytes) -> bool:
        """Whether an IPv4 address is the limited or one of its directed broadcasts."""
        if ip == b"\xff\xff\xff\xff":
            return True
        return any(a.broadcast == ip for a in self.addresses)
