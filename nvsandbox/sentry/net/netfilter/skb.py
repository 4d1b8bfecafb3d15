"""A packet at the hooks, with what rules look at and what they may change (Linux: struct sk_buff, struct nf_hook_state)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from ..stack.checksum import finish, ones_sum, pseudo_sum

if TYPE_CHECKING:
    from ..stack.owner import Owner
    from .conntrack import Conn
    from .rules import Rule

TCP: Final = 6
UDP: Final = 17
ICMP: Final = 1
ICMPV6: Final = 58
PORTS: Final = (6, 17, 33, 132, 136)  # TCP, UDP, DCCP, SCTP, UDP-Lite
CHECKSUM_AT: Final[dict[int, int]] = {6: 16, 17: 6, 136: 6, 58: 2, 1: 2}
CT_NEW: Final = 0
CT_ESTABLISHED: Final = 1
CT_RELATED: Final = 2
CT_UNTRACKED: Final = 3
CT_INVALID: Final = 4
REGISTERS: Final = 64  # bytes
FRAGMENT: Final = 44
EXTENSIONS: Final = (0, 43, 44, 60)  # hop-by-hop, routing, fragment, destination options
HEADERS: Final = 8


@final
class Skb:
    """``head``: the network header with options and extension headers, ``l4``: what follows, or its first part; ``more``: bytes
    behind that. ``src``, ``dst``: 4 or 16 bytes. ``fragment``: no transport header, or not all of the packet. ``partial``: the transport's
    checksum is still to be made, by whoever sends the packet on; otherwise changes keep it right.

    ``iif``, ``oif``: names of interfaces, empty where there is none, ``iindex``, ``oindex`` their numbers. ``ct``: the connection, ``state``: CT_*,
    ``reply``: in the direction of its answers. ``owner``: of a local socket's packet. ``budget``: rules that may still be looked at.
    ``jump``, ``jump_at``: where the verdict JUMP or GOTO leads. ``regs``: nftables' registers.
    """

    __slots__ = (
        "budget", "changed", "ct", "dst", "fragment", "head", "hook", "iif", "iindex", "jump", "jump_at", "l4", "looped", "mark", "more", "oif",
        "oindex", "owner", "partial", "proto", "regs", "reply", "src", "state", "tracked",
    )  # fmt: skip

    def __init__(
        self, head: bytes, l4: bytes, more: int, src: bytes, dst: bytes, proto: int, partial: bool
    ) -> None:
        self.head = head
        self.l4 = l4
        self.more = more
        self.src = src
        self.dst = dst
        self.proto = proto
        self.partial = partial and proto in (TCP, UDP)
        self.fragment = False
        self.changed = False
        self.looped = False
        self.hook = 0
        self.iif = self.oif = b""
        self.iindex = self.oindex = 0
        self.mark = 0
        self.ct: Conn | None = None
        self.state = CT_INVALID
        self.tracked = False
        self.reply = False
        self.owner: Owner | None = None
        self.budget = 0
        self.jump: list[Rule] = []
        self.jump_at = 0
        self.regs = bytearray()

    def v4(self) -> bool:
        return len(self.src) == 4

    def size(self) -> int:
        """Of the IP packet, in bytes."""
        return len(self.head) + len(self.l4) + self.more

    def has_ports(self) -> bool:
        return self.proto in PORTS and len(self.l4) >= 4 and not self.fragment

    def sport(self) -> int:
        return self.l4[0] << 8 | self.l4[1]

    def dport(self) -> int:
        return self.l4[2] << 8 | self.l4[3]

    def tos(self) -> int:
        if len(self.src) == 4:
            return self.head[1]
        return (self.head[0] & 15) << 4 | self.head[1] >> 4

    def ttl(self) -> int:
        return self.head[8] if len(self.src) == 4 else self.head[7]

    # Changes
    def _set_head(self, at: int, new: bytes) -> None:
        head = self.head[:at] + new + self.head[at + len(new) :]
        if len(self.src) == 4:
            head = head[:10] + b"\0\0" + head[12:]
            head = head[:10] + finish(ones_sum(head)) + head[12:]
        self.head = head
        self.changed = True

    def _adjust(self, old: bytes, new: bytes) -> None:
        """The transport's checksum after words that it covers have changed (RFC 1624)."""
        at = CHECKSUM_AT.get(self.proto, -1)
        if self.partial or self.fragment or at < 0 or at + 2 > len(self.l4):
            return
        field = self.l4[at] << 8 | self.l4[at + 1]
        if self.proto == UDP and field == 0 and len(self.src) == 4:
            return
        total = (65535 - field) + 65535 - ones_sum(old) + ones_sum(new)
        self.l4 = self.l4[:at] + finish(total) + self.l4[at + 2 :]

    def set_address(self, source: bool, ip: bytes) -> None:
        old = self.src if source else self.dst
        if ip == old or len(ip) != len(old):
            return
        v4 = len(ip) == 4
        at = (12 if source else 16) if v4 else (8 if source else 24)
        self._set_head(at, ip)
        if not v4 or self.proto != ICMP:
            self._adjust(old, ip)
        if source:
            self.src = ip
        else:
            self.dst = ip

    def set_port(self, source: bool, port: int) -> None:
        at = 0 if source else 2
        self.set_l4(at, port.to_bytes(2, "big"))

    def set_l4(self, at: int, new: bytes) -> None:
        """Writes an even number of bytes of the transport header, at an even offset."""
        old = self.l4[at : at + len(new)]
        if old == new or len(old) < len(new):
            return
        self.l4 = self.l4[:at] + new + self.l4[at + len(new) :]
        self._adjust(old, new)
        self.changed = True

    def set_tos(self, tos: int) -> None:
        if len(self.src) == 4:
            self._set_head(1, bytes((tos,)))
        else:
            word = (self.head[0] & 0xF0) << 8 | tos << 4 | self.head[1] & 15
            self._set_head(0, word.to_bytes(2, "big"))

    def set_ttl(self, ttl: int) -> None:
        self._set_head(8 if len(self.src) == 4 else 7, bytes((ttl,)))

    def finish_partial(self, length: int) -> None:
        """Puts the pseudo-header's sum where the link expects it. ``length``: of the transport header and payload."""
        at = CHECKSUM_AT[self.proto]
        if at + 2 <= len(self.l4):
            total = pseudo_sum(self.src, self.dst, self.proto, length)
            self.l4 = self.l4[:at] + total.to_bytes(2, "big") + self.l4[at + 2 :]


def of_packet(packet: bytes) -> Skb:
    """A whole packet whose header is well-formed, with complete checksums; IPv6's extension headers count for the network header (Linux:
    ipv6_find_hdr)."""
    if packet[0] >> 4 == 4:
        n = (packet[0] & 15) * 4
        skb = Skb(packet[:n], packet[n:], 0, packet[12:16], packet[16:20], packet[9], False)
        skb.fragment = bool(packet[6] & 0x1F or packet[7])
        return skb
    proto, at, later = packet[6], 40, False
    for _ in range(HEADERS):
        if proto not in EXTENSIONS or at + 8 > len(packet):
            break
        if proto == FRAGMENT:
            later = bool(packet[at + 2] or packet[at + 3] & 0xF8)
            proto, at = packet[at], at + 8
            if later:
                break
        else:
            proto, at = packet[at], at + (packet[at + 1] + 1) * 8
    at = min(at, len(packet))
    skb = Skb(packet[:at], packet[at:], 0, packet[8:24], packet[24:40], proto, False)
    skb.fragment = later
    return skb
