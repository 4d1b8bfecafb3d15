"""Packet endpoints that share what comes (packet(7), PACKET_FANOUT; Linux: net/packet/af_packet.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from .raw import PacketEndpoint

HASH: Final = 0
LB: Final = 1
CPU: Final = 2
ROLLOVER: Final = 3
RND: Final = 4
QM: Final = 5
CBPF: Final = 6
FLAG_ROLLOVER: Final = 0x10
FLAG_UNIQUEID: Final = 0x20
FLAG_IGNORE_OUTGOING: Final = 0x40
FLAG_DEFRAG: Final = 0x80
MAX_MEMBERS: Final = 256


@final
class Fanout:
    """A group. The first member is asked for each frame, and gives it to who gets it."""

    __slots__ = ("chooses", "flags", "ident", "kind", "members", "random", "turn")

    def __init__(self, ident: int, kind: int, flags: int, random: Callable[[int], bytes]) -> None:
        self.ident = ident
        self.kind = kind
        self.flags = flags
        self.random = random
        self.members: list[PacketEndpoint] = []
        self.turn = 0
        self.chooses: Callable[[bytes], int] | None = None  # PACKET_FANOUT_CBPF

    def pick(self, frame: bytes, head: int) -> PacketEndpoint:
        """Who gets a frame with ``head`` bytes of link-layer header."""
        n = len(self.members)
        i = 0
        if self.kind in (
            LB,
            CPU,
        ):  # there is one processor that frames come to: it would be one member's all
            i = self.turn
            self.turn = (i + 1) % n
        elif self.kind == HASH:
            i = flow(frame, head) % n
        elif self.kind == RND:
            i = int.from_bytes(self.random(4), "little") % n
        elif self.kind == ROLLOVER:
            i = self.turn % n
        elif self.kind == CBPF and self.chooses is not None:
            i = self.chooses(frame) % n
        if self.kind == ROLLOVER or self.flags & FLAG_ROLLOVER:
            for k in range(n):
                if self.members[(i + k) % n].has_room():
                    i = (i + k) % n
                    break
            self.turn = i
        return self.members[i]


def flow(frame: bytes, head: int) -> int:
    """The same number for the packets of a flow, both ways."""
    v4 = frame[head : head + 1] < b"\x60"
    a, b = (
        (frame[head + 12 : head + 16], frame[head + 16 : head + 20])
        if v4
        else (frame[head + 8 : head + 24], frame[head + 24 : head + 40])
    )
    proto = frame[head + 9 : head + 10] if v4 else frame[head + 6 : head + 7]
    at = head + ((frame[head] & 15) * 4 if v4 and len(frame) > head else 40)
    ports = b""
    if proto in (b"\x06", b"\x11") and not (v4 and frame[head + 6] & 0x3F | frame[head + 7]):
        p, q = frame[at : at + 2], frame[at + 2 : at + 4]
        ports = min(p, q) + max(p, q)
    return hash((min(a, b), max(a, b), proto, ports))
