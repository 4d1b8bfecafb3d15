"""Packets that are for somebody else, passed on (RFC 1812 section 5.3, RFC 8200; Linux: net/ipv4/ip_forward.c, net/ipv6/ip6_output.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from . import icmp, output
from .checksum import finish, ones_sum, pseudo_sum
from .ip import is_link_local, is_multicast
from .link import GSO_TCPV4, GSO_TCPV6, Offload
from .output import Path, find_path
from .routes import masked

if TYPE_CHECKING:
    from ..netfilter.skb import Skb
    from .packet import Packet
    from .stack import Stack

CHECKSUM_AT: Final = {6: 16, 17: 6}


def forward(stack: Stack, p: Packet, skb: Skb | None) -> None:
    """Routes ``p``, whose destination is not ours. ``skb``: the same packet as it has come from PREROUTING, when there are rules."""
    v4 = len(p.src) == 4
    mib = stack.counters.ip if v4 else stack.counters.ip6
    if not (stack.forward4 if v4 else stack.forward6):
        mib.InAddrErrors += 1
        return
    if p.by_broadcast() or is_multicast(p.dst) or is_link_local(p.src) or is_link_local(p.dst):
        return
    if p.ttl <= 1:
        mib.InHdrErrors += 1
        _tell(stack, p, skb, 11 if v4 else 3, 0, 0)
        return
    path = find_path(stack, p.dst)
    if isinstance(path, int):
        mib.InAddrErrors += 1
        _unreachable(stack, p, skb, path, v4)
        return
    if skb is None and not stack.allowed(path.iface, p.proto, p.dst, p.payload()):
        return
    if path.iface is p.iface:
        _redirect(stack, p, skb, path)
    size = p.end - p.ip
    fits = size <= path.mtu
    if p.gso_size:
        fits = p.start - p.ip + 20 + p.gso_size <= path.mtu
    dont_fragment = not v4 or bool(p.buf[p.ip + 6] & 0x40)
    if not fits and dont_fragment and not (p.reassembled and not v4):
        mib.FragFails += 1
        _tell(stack, p, skb, 3 if v4 else 2, 4 if v4 else 0, path.mtu)
        return
    head = bytearray(p.buf[p.ip : p.start])
    body = p.buf[p.start : p.end]
    proto, src, dst = p.proto, p.src, p.dst
    nf = stack.nf
    if nf is not None and skb is not None:
        skb.set_ttl(p.ttl - 1)
        if not nf.through(p, skb, path):
            return
        head = bytearray(skb.head)
        body = skb.l4 + body[len(body) - skb.more :] if skb.more else skb.l4
        src, dst = skb.src, skb.dst
    elif v4:
        head[8] -= 1
        head[10:12] = b"\0\0"
        head[10:12] = finish(ones_sum(bytes(head)))
    else:
        head[7] -= 1
    mib.ForwDatagrams += 1
    mib.OutOctets += size
    if not fits and not p.gso_size:
        _pieces(stack, path, bytes(head), body, v4, proto)
        return
    offload: Offload | None = None
    at = CHECKSUM_AT.get(proto, -1)
    if p.csum_ok and at >= 0 and at + 2 <= len(body):
        # It may be unfinished (both ends are on one host), so it is made anew.
        total = pseudo_sum(src, dst, proto, len(body))
        if path.iface.link.checksums:
            offload = Offload(len(head), at)
            if p.gso_size and proto == 6:
                offload.gso_type = GSO_TCPV4 if v4 else GSO_TCPV6
                offload.gso_size = p.gso_size
                offload.hdr_len = len(head) + (body[12] >> 4) * 4
            field = total.to_bytes(2, "big")
        else:
            field = finish(total + ones_sum(body[:at] + b"\0\0" + body[at + 2 :]))
        body = body[:at] + field + body[at + 2 :]
    if not path.iface.neighbours.transmit(path.hop, [bytes(head), body], offload):
        mib.OutDiscards += 1


def _tell(stack: Stack, p: Packet, skb: Skb | None, kind: int, code: int, word: int) -> None:
    """An ICMP error to the sender; it belongs to the packet's connection."""
    if stack.nf is not None:
        stack.nf.related = skb
    icmp.send_error(stack, p, kind, code, word, True)
    if stack.nf is not None:
        stack.nf.related = None


def _unreachable(stack: Stack, p: Packet, skb: Skb | None, err: int, v4: bool) -> None:
    if v4:
        code = {-errno.ENETUNREACH: 0, -errno.EACCES: 13}.get(err, 1)
        _tell(stack, p, skb, 3, code, 0)
    elif err != -errno.EINVAL:
        _tell(stack, p, skb, 1, 1 if err == -errno.EACCES else 0, 0)


def _redirect(stack: Stack, p: Packet, skb: Skb | None, path: Path) -> None:
    """The sender could reach the next hop itself (RFC 1812 section 5.2.7.2)."""
    if len(p.src) != 4:
        return
    for a in p.iface.addresses:
        if len(a.ip) == 4 and masked(p.src, a.prefixlen) == a.network:
            if masked(path.hop, a.prefixlen) == a.network:
                _tell(stack, p, skb, 5, 1, int.from_bytes(path.hop, "big"))
                return


def _pieces(stack: Stack, path: Path, head: bytes, body: bytes, v4: bool, proto: int) -> None:
    """A packet larger than its path takes, that may be cut (RFC 791 section 3.2)."""
    mib = stack.counters.ip if v4 else stack.counters.ip6
    if not v4:
        src, dst = head[8:24], head[24:40]
        tos = (head[0] & 15) << 4 | head[1] >> 4
        path = Path(dst, path.iface, path.hop, src, path.mtu, path.generation)
        output.send_fragments(stack, path, src, proto, body, head[7], tos)
        return
    room = (path.mtu - len(head)) & ~7
    if room < 8:
        mib.FragFails += 1
        return
    first = (head[6] << 8 | head[7]) & 0x1FFF
    last = bool(head[6] & 0x20)
    for at in range(0, len(body), room):
        piece = body[at : at + room]
        more = at + room < len(body) or last
        h = bytearray(head)
        h[2:4] = (len(head) + len(piece)).to_bytes(2, "big")
        h[6:8] = ((first + (at >> 3)) | (0x2000 if more else 0)).to_bytes(2, "big")
        h[10:12] = b"\0\0"
        h[10:12] = finish(ones_sum(bytes(h)))
        mib.FragCreates += 1
        if not path.iface.neighbours.transmit(path.hop, [bytes(h), piece], None):
            mib.OutDiscards += 1
            return
    mib.FragOKs += 1
