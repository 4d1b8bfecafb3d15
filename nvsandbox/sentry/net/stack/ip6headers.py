"""IPv6 extension headers of a program's own (RFC 8200 section 4, RFC 3542; Linux: net/ipv6/exthdrs.c): hop-by-hop and destination options,
whose contents are the program's affair. Routing headers are not to be had.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from .output import Path, header, send_packet

if TYPE_CHECKING:
    from .owner import Owner
    from .stack import Stack

HOP_BY_HOP: Final = 0
DESTINATION: Final = 60
FRAGMENT: Final = 44
MOST: Final = 8 * 255


class Headers(NamedTuple):
    """Whole headers, or nothing; their first byte is filled in when they are sent."""

    hop: bytes = b""
    destination: bytes = b""

    def chain(self, proto: int) -> Headers:
        """With what follows each of them, in front of ``proto``."""
        dst = bytes((proto,)) + self.destination[1:] if self.destination else b""
        then = DESTINATION if dst else proto
        return Headers(bytes((then,)) + self.hop[1:] if self.hop else b"", dst)

    def size(self) -> int:
        return len(self.hop) + len(self.destination)


NONE: Final[Headers] = Headers()


def whole(data: bytes) -> bytes | None:
    """The header in a program's buffer; None: malformed (Linux: ipv6_set_opt_hdr)."""
    if len(data) < 2 or len(data) & 7 or len(data) > MOST:
        return None
    n = (data[1] + 1) * 8
    return data[:n] if n <= len(data) else None


def send(
    stack: Stack, path: Path, src: bytes, proto: int, parts: list[bytes], ttl: int, tos: int, headers: Headers, owner: Owner | None
) -> int:  # fmt: skip
    """A packet whose transport's checksum is complete; 0 or -errno as ``output.send``."""
    mib = stack.counters.ip6
    mib.OutRequests += 1
    linked = headers.chain(proto)
    data = linked.destination + b"".join(parts)
    after = DESTINATION if linked.destination else proto
    packets: list[bytes] = []
    first = HOP_BY_HOP if linked.hop else after
    if 40 + len(linked.hop) + len(data) <= path.mtu:
        body = linked.hop + data
        packets.append(header(src, path.dst, first, len(body), ttl, tos, 0, 0) + body)
    else:
        room = (path.mtu - 48 - len(linked.hop)) & ~7
        if room < 8 or len(data) > 65535:
            mib.FragFails += 1
            return -errno.EMSGSIZE
        hop = bytes((FRAGMENT,)) + linked.hop[1:] if linked.hop else b""
        ident = stack.ident(path.dst).to_bytes(4, "big")
        for at in range(0, len(data), room):
            piece = data[at : at + room]
            place = at | (at + room < len(data))
            body = hop + bytes((after, 0)) + place.to_bytes(2, "big") + ident + piece
            first = HOP_BY_HOP if hop else FRAGMENT
            packets.append(header(src, path.dst, first, len(body), ttl, tos, 0, 0) + body)
            mib.FragCreates += 1
        mib.FragOKs += 1
    for packet in packets:
        r = send_packet(stack, path, packet, owner)
        if r:
            return r
    return 0
