"""IP going out: the way to a destination, headers, fragments (RFC 791, RFC 8200, RFC 1191, RFC 8201)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, final

from .checksum import finish, ones_sum
from .ip import BROADCAST4, is_link_local, is_loopback, is_multicast
from .ipoptions import of_fragment
from .link import Offload

if TYPE_CHECKING:
    from .interface import Interface
    from .owner import Owner
    from .stack import Stack

HEADER4: Final = struct.Struct(">BBHHHBBH4s4s")
PMTU_LIMIT: Final = 1024
PMTU_TIME: Final = 600_000_000_000
MIN_PMTU4: Final = 552  # net.ipv4.route.min_pmtu
MIN_PMTU6: Final = 1280
RTN_UNICAST: Final = 1
LOOPBACK4: Final = b"\x7f\0\0\1"


@final
class Path:
    """How a destination is reached: valid while ``generation`` is that of the routes and until ``expires`` (0: no
    end). ``src``: address to use."""

    __slots__ = ("dst", "expires", "generation", "hop", "iface", "mtu", "src")

    def __init__(
        self, dst: bytes, iface: Interface, hop: bytes, src: bytes, mtu: int, generation: int
    ) -> None:
        self.dst = dst
        self.iface = iface
        self.hop = hop
        self.src = src
        self.mtu = mtu
        self.generation = generation
        self.expires = 0

    def valid(self, stack: Stack) -> bool:
        if self.generation != stack.routes.generation or not self.iface.up:
            return False
        return not self.expires or stack.now() < self.expires


def find_path(stack: Stack, dst: bytes, iface: Interface | None = None) -> Path | int:
    """The way to ``dst``, over ``iface`` when given; -errno: ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL."""
    lo = stack.loop or stack.lo
    if lo is not None and (dst in stack.own or is_loopback(dst)):
        src = LOOPBACK4 if dst[0] == 127 and len(dst) == 4 else dst
        return Path(dst, lo, dst, src, lo.link.mtu, stack.routes.generation)
    hop = dst
    src = b""
    mtu = 0
    if dst == BROADCAST4 or is_multicast(dst) or is_link_local(dst):
        r = stack.routes.lookup(dst, iface)
        if iface is None:
            iface = r.iface if r is not None else None
        if iface is None and is_link_local(dst):
            return -errno.EINVAL
        if iface is None:
            iface = next((i for i in stack.interfaces if i.up and i is not lo), None)
    else:
        r = stack.routes.lookup(dst, iface)
        if r is None:
            mib = stack.counters.ip if len(dst) == 4 else stack.counters.ip6
            mib.OutNoRoutes += 1
            return -errno.ENETUNREACH
        if r.kind != RTN_UNICAST or r.iface is None:
            return {6: -errno.EINVAL, 8: -errno.EACCES}.get(r.kind, -errno.EHOSTUNREACH)
        iface = r.iface
        hop = r.gateway or dst
        src = r.prefsrc
        mtu = r.mtu
    if iface is None or not iface.up:
        return -errno.ENETUNREACH
    src = src or iface.address_for(hop if len(dst) == 4 else dst) or stack.any_address(len(dst))
    mtu = min(mtu or iface.link.mtu, iface.link.mtu)
    path = Path(dst, iface, hop, src, mtu, stack.routes.generation)
    learnt = stack.pmtu.get(dst)
    if learnt is not None:
        if learnt[1] > stack.now():
            path.mtu = min(mtu, learnt[0])
            path.expires = learnt[1]
        else:
            del stack.pmtu[dst]
    return path


def learn_mtu(stack: Stack, dst: bytes, mtu: int) -> bool:
    """A router said that packets to ``dst`` must not be larger; False: that is no news (RFC 1191 section 6.3)."""
    mtu = max(mtu, MIN_PMTU4 if len(dst) == 4 else MIN_PMTU6)
    p = find_path(stack, dst)
    if isinstance(p, int) or mtu >= p.mtu:
        return False
    if len(stack.pmtu) >= PMTU_LIMIT:
        del stack.pmtu[next(iter(stack.pmtu))]
    stack.pmtu[dst] = (mtu, stack.now() + PMTU_TIME)
    stack.routes.generation += 1  # whoever remembers a path asks again
    return True


def header(
    src: bytes,
    dst: bytes,
    proto: int,
    length: int,
    ttl: int,
    tos: int,
    ident: int,
    flags: int,
    label: int = 0,
) -> bytes:
    """An IP header for ``length`` bytes of payload; ``ident``, ``flags`` (with the fragment's offset): IPv4's."""
    if len(dst) == 4:
        head = HEADER4.pack(
            0x45, tos, (length + 20) & 0xFFFF, ident, flags, ttl, proto, 0, src, dst
        )
        return head[:10] + (65535 - ones_sum(head)).to_bytes(2, "big") + head[12:]
    word = 6 << 28 | tos << 20 | label
    return struct.pack(">IHBB", word, length & 0xFFFF, proto, ttl) + src + dst


def send(
    stack: Stack, path: Path, src: bytes, proto: int, parts: list[bytes], ttl: int, tos: int, dont_fragment: bool,
    offload: Offload | None = None, exthdr: bytes = b"", owner: Owner | None = None,
) -> int:  # fmt: skip
    """Sends a transport's packet, in fragments when it has to; 0 or -errno (EMSGSIZE, ENOBUFS; with rules EPERM and no route).

    ``offload`` counts from the transport's header and is for packets that need no fragments. ``exthdr``: IPv6 extension header
    whose first byte is ``proto``, announced as hop-by-hop. ``owner``: whose socket it is from.
    """
    mib = stack.counters.ip if len(path.dst) == 4 else stack.counters.ip6
    mib.OutRequests += 1
    if exthdr:
        parts = [exthdr, *parts]
        proto = 0
    elif stack.nf is not None:
        return stack.nf.output(path, src, proto, parts, ttl, tos, dont_fragment, offload, owner)
    return emit(stack, path, src, proto, parts, ttl, tos, dont_fragment, offload)


def send_with_options(
    stack: Stack, path: Path, src: bytes, proto: int, parts: list[bytes], ttl: int, tos: int, dont_fragment: bool,
    options: bytes, owner: Owner | None,
) -> int:  # fmt: skip
    """An IPv4 packet with options (a multiple of four bytes), whose transport's checksum is complete; 0 or -errno as ``send``."""
    mib = stack.counters.ip
    mib.OutRequests += 1
    data = b"".join(parts)
    head = 20 + len(options)
    if len(data) + head > 65535:
        return -errno.EMSGSIZE
    ident = stack.ident(path.dst)
    room = len(data)
    if len(data) + head > path.mtu:
        if dont_fragment:
            mib.FragFails += 1
            return -errno.EMSGSIZE
        room = (path.mtu - head) & ~7
    for at in range(0, max(len(data), 1), max(room, 8)):
        piece = data[at : at + room]
        more = at + room < len(data)
        flags = (0x4000 if dont_fragment else 0) | (0x2000 if more else 0) | at >> 3
        ip = HEADER4.pack(
            0x40 | head >> 2, tos, head + len(piece), ident, flags, ttl, proto, 0, src, path.dst
        )
        ip += options if not at else of_fragment(options)
        packet = ip[:10] + finish(ones_sum(ip)) + ip[12:] + piece
        r = send_packet(stack, path, packet, owner)
        if r:
            return r
    return 0


def send_packet(stack: Stack, path: Path, packet: bytes, owner: Owner | None) -> int:
    """A packet that is whole; 0 or -errno as ``send``."""
    mib = stack.counters.ip if len(path.dst) == 4 else stack.counters.ip6
    mib.OutOctets += len(packet)
    if stack.nf is not None:
        done = stack.nf.output_packet(path, packet, owner)
        if isinstance(done, int):
            return done
        packet = done
    if not path.iface.neighbours.transmit(path.hop, [packet], None):
        mib.OutDiscards += 1
        return -errno.ENOBUFS
    return 0


def emit(
    stack: Stack, path: Path, src: bytes, proto: int, parts: list[bytes], ttl: int, tos: int, dont_fragment: bool,
    offload: Offload | None,
) -> int:  # fmt: skip
    """As ``send``, past all rules."""
    dst = path.dst
    v4 = len(dst) == 4
    mib = stack.counters.ip if v4 else stack.counters.ip6
    size = sum(map(len, parts))
    head = 20 if v4 else 40
    if size + head > path.mtu and (offload is None or not offload.gso_type):
        if dont_fragment and v4:
            mib.FragFails += 1
            return -errno.EMSGSIZE
        return send_fragments(stack, path, src, proto, b"".join(parts), ttl, tos)
    flags = 0x4000 if dont_fragment else 0
    ip = header(src, dst, proto, size, ttl, tos, stack.ident(dst) if v4 else 0, flags)
    if offload is not None:
        offload.csum_start += head
        offload.hdr_len += head
    mib.OutOctets += size + head
    if is_multicast(dst):
        mib.OutMcastPkts += 1
    if not path.iface.neighbours.transmit(path.hop, [ip, *parts], offload):
        mib.OutDiscards += 1
        return -errno.ENOBUFS
    return 0


def send_fragments(
    stack: Stack, path: Path, src: bytes, proto: int, data: bytes, ttl: int, tos: int
) -> int:
    dst = path.dst
    v4 = len(dst) == 4
    mib = stack.counters.ip if v4 else stack.counters.ip6
    ident = stack.ident(dst)
    room = (path.mtu - (20 if v4 else 48)) & ~7
    if room < 8 or len(data) > 65535:
        mib.FragFails += 1
        return -errno.EMSGSIZE
    for at in range(0, len(data), room):
        piece = data[at : at + room]
        more = at + room < len(data)
        mib.FragCreates += 1
        if v4:
            flags = at >> 3 | (0x2000 if more else 0)
            packet = header(src, dst, proto, len(piece), ttl, tos, ident, flags) + piece
        else:
            ext = struct.pack(">BBHI", proto, 0, at | more, ident)
            packet = header(src, dst, 44, len(piece) + 8, ttl, tos, 0, 0) + ext + piece
        mib.OutOctets += len(packet)
        if not path.iface.neighbours.transmit(path.hop, [packet], None):
            mib.OutDiscards += 1
            return -errno.ENOBUFS
    mib.FragOKs += 1
    return 0
