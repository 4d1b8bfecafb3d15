"""Refusals: a reset or an ICMP error in answer to a packet (Linux: net/ipv4/netfilter/nf_reject_ipv4.c, nf_reject_ipv6.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..stack import output
from ..stack.checksum import finish, ones_sum, pseudo_sum
from ..stack.ip import is_any, is_multicast
from ..stack.output import find_path
from .skb import ICMP, ICMPV6, TCP, Skb

if TYPE_CHECKING:
    from ..stack.output import Path
    from ..stack.stack import Stack

RST: Final = 4
ACK: Final = 16


def _answerable(stack: Stack, skb: Skb) -> bool:
    if skb.fragment or is_any(skb.src) or is_multicast(skb.src) or is_multicast(skb.dst):
        return False
    return not (skb.v4() and any(i.is_broadcast(skb.dst) for i in stack.interfaces))


def _send(
    stack: Stack, about: Skb, path: Path, src: bytes, proto: int, data: bytes, tos: int
) -> None:
    """It belongs to the connection of the packet that is refused."""
    if stack.nf is not None:
        stack.nf.related = about
    output.send(stack, path, src, proto, [data], 64, tos, proto == TCP)


def reset(stack: Stack, skb: Skb) -> None:
    """RST as from where the segment was sent to."""
    l4 = skb.l4
    if skb.proto != TCP or len(l4) < 20 or l4[13] & RST or not _answerable(stack, skb):
        return
    path = find_path(stack, skb.src)
    if isinstance(path, int):
        return
    if l4[13] & ACK:
        seq, ack, flags = l4[8:12], bytes(4), RST
    else:
        length = len(l4) + skb.more - (l4[12] >> 4) * 4 + bool(l4[13] & 2) + (l4[13] & 1)
        number = (int.from_bytes(l4[4:8], "big") + length) & 0xFFFFFFFF
        seq, ack, flags = bytes(4), number.to_bytes(4, "big"), RST | ACK
    head = l4[2:4] + l4[:2] + seq + ack + bytes((0x50, flags)) + bytes(6)
    total = pseudo_sum(skb.dst, skb.src, TCP, 20) + ones_sum(head)
    head = head[:16] + finish(total) + head[18:]
    _send(stack, skb, path, skb.dst, TCP, head, 0)


def unreachable(stack: Stack, skb: Skb, kind: int, code: int) -> None:
    """ICMP's "destination unreachable" and its like, from the address that leads to the sender."""
    v4 = skb.v4()
    if not _answerable(stack, skb):
        return
    if skb.proto == (ICMP if v4 else ICMPV6):
        inner = skb.l4[0] if skb.l4 else 255
        if (inner not in (0, 8)) if v4 else inner < 128 or inner in (133, 134, 135, 136):
            return
    path = find_path(stack, skb.src)
    if isinstance(path, int) or not stack.icmp_limit.allow(stack.now(), skb.src):
        return
    src = skb.dst if skb.dst in stack.own else path.src
    if not src:
        return
    body = bytes((kind, code)) + bytes(6) + (skb.head + skb.l4)[: 548 if v4 else 1232]
    total = ones_sum(body) + (0 if v4 else pseudo_sum(src, skb.src, ICMPV6, len(body)))
    body = body[:2] + finish(total) + body[4:]
    _send(stack, skb, path, src, ICMP if v4 else ICMPV6, body, 0xC0 if v4 else 0)
