"""Address translation (Linux: net/netfilter/nf_nat_core.c, nf_nat_proto.c).

A connection is given its translation by its first packet; all of its packets, and ICMP errors about them, are then changed alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, final

from ..stack.checksum import finish, ones_sum
from .conntrack import (
    CONFIRMED,
    DST_NAT,
    DST_NAT_DONE,
    SRC_NAT,
    SRC_NAT_DONE,
    Conn,
    ConnTable,
    Key,
    inverse,
    quoted,
)
from .skb import CT_RELATED, ICMP, ICMPV6, PORTS, Skb

if TYPE_CHECKING:
    from collections.abc import Callable

# NF_NAT_RANGE_* (linux/netfilter/nf_nat.h)
MAP_IPS: Final = 1
PROTO_SPECIFIED: Final = 2
PROTO_RANDOM: Final = 4
PERSISTENT: Final = 8
PROTO_FULLY_RANDOM: Final = 0x10
RANGE_FLAGS: Final = 0x7F
TRIES: Final = 128


class Range(NamedTuple):
    """What may be chosen from: addresses and ports from low to high."""

    flags: int
    low: bytes
    high: bytes
    low_port: int
    high_port: int


NOTHING: Final[Range] = Range(0, b"", b"", 0, 0)


@final
class Nat:
    """``random``: n random bytes."""

    __slots__ = ("random", "table")

    def __init__(self, table: ConnTable, random: Callable[[int], bytes]) -> None:
        self.table = table
        self.random = random

    def setup(self, c: Conn, r: Range, source: bool) -> bool:
        """Fixes what becomes of a new connection's source or destination; False: nothing is free."""
        done = SRC_NAT_DONE if source else DST_NAT_DONE
        if c.status & done or c.status & CONFIRMED:
            return True
        now = inverse(c.answer)  # what the first packet looks like so far
        new = self._unique(now, r, source)
        if new is None:
            return False
        if new != now:
            c.answer = inverse(new)
            c.status |= SRC_NAT if source else DST_NAT
        c.status |= done
        return True

    def _unique(self, now: Key, r: Range, source: bool) -> Key | None:
        proto, src, dst, a, b = now
        ip = src if source else dst
        if r.flags & MAP_IPS and len(r.low) == len(ip) and not r.low <= ip <= r.high:
            low, high = int.from_bytes(r.low, "big"), int.from_bytes(r.high, "big")
            n = hash((src, dst if not r.flags & PERSISTENT else b"")) % (high - low + 1)
            ip = (low + n).to_bytes(len(ip), "big")
        if source:
            src = ip
        else:
            dst = ip
        new = (proto, src, dst, a, b)
        numbered = proto in PORTS or (proto in (ICMP, ICMPV6) and source)
        port = a if source else b
        within = not r.flags & PROTO_SPECIFIED or r.low_port <= port <= r.high_port
        anew = r.flags & (PROTO_RANDOM | PROTO_FULLY_RANDOM)
        if not numbered or (within and not anew and not self.table.used(inverse(new))):
            return new
        if r.flags & PROTO_SPECIFIED:
            low, high = r.low_port, r.high_port
        elif not source:
            return new
        elif proto in (ICMP, ICMPV6):
            low, high = 0, 65535
        elif port < 512:
            low, high = 1, 511
        elif port < 1024:
            low, high = 600, 1023
        else:
            low, high = 1024, 65535
        count = high - low + 1
        if count <= 0:
            return None
        if count == 1 and not source:
            return (proto, src, dst, a, low)
        start = int.from_bytes(self.random(2), "big") if anew or source else 0
        for k in range(min(count, TRIES)):
            p = low + (start + k) % count
            new = (proto, src, dst, p, b) if source else (proto, src, dst, a, p)
            if not self.table.used(inverse(new)):
                return new
        return None if source else new

    def apply(self, skb: Skb, source: bool) -> None:
        """Changes a packet as its connection has it, at a hook where sources (else destinations) are changed."""
        c = skb.ct
        if c is None:
            return
        which = source != skb.reply  # answers are changed back at the other end
        if not c.status & (SRC_NAT if which else DST_NAT):
            return
        want = inverse(c.orig if skb.reply else c.answer)
        about = skb.state == CT_RELATED and skb.proto in (ICMP, ICMPV6)
        if about:
            self._error(skb, c, source)
        skb.set_address(source, want[1] if source else want[2])
        if about:
            return
        if skb.proto in PORTS:
            if skb.has_ports():
                skb.set_port(source, want[3] if source else want[4])
        elif skb.proto in (ICMP, ICMPV6) and len(skb.l4) >= 6:
            skb.set_l4(4, want[3].to_bytes(2, "big"))

    def _error(self, skb: Skb, c: Conn, source: bool) -> None:
        """The packet that an ICMP error quotes is changed to what its sender knows."""
        found = quoted(skb)
        if found is None:
            return
        key, at = found
        want = c.orig if skb.reply else c.answer
        ip, port = (want[2], want[4]) if source else (want[1], want[3])
        body = bytearray(skb.l4)
        if len(ip) == 4:
            where = 24 if source else 20
            body[where : where + 4] = ip
            head = 8 + (body[8] & 15) * 4
            body[18:20] = b"\0\0"
            body[18:20] = finish(ones_sum(bytes(body[8:head])))
        else:
            where = 32 if source else 16
            body[where : where + 16] = ip
        if key[0] in PORTS:
            where = at + (2 if source else 0)
            body[where : where + 2] = port.to_bytes(2, "big")
        elif key[0] in (ICMP, ICMPV6):
            body[at + 4 : at + 6] = want[3].to_bytes(2, "big")
        old, new = skb.l4, bytes(body)
        skb.l4 = new
        skb._adjust(old[4:], new[4:])
        skb.changed = True
