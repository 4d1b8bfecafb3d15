"""Loopback as packets: once a namespace has rules (``netfilter/``), what goes to own addresses passes its stack like everything else
(Linux: drivers/net/loopback.c). Without rules sockets of one sandbox reach each other directly.

A packet that somebody else waits for goes on to the namespace's ``lo`` (``siblings.py``).
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final, final

from . import raw_socket, udp_local, veth
from .netfilter.filters import ATTACH
from .stack.interface import Interface
from .state import mapped

if TYPE_CHECKING:
    from .netfilter.hooks import Netfilter
    from .netfilter.skb import Skb
    from .siblings import Siblings
    from .stack.link import Offload
    from .stack.stack import Stack
    from .state import NetState

QUEUE: Final = 8 << 20
BATCH: Final = 32
MTU: Final = 65535
SYN: Final = 2
RST: Final = 4
ACK: Final = 16


@final
class LoopLink:
    """Implements the stack's ``Link``; IP packets without a link-layer header wait for the loop's next turn."""

    __slots__ = ("bytes", "checksums", "due", "mac", "max_gso", "mtu", "net", "stack", "waiting")

    def __init__(self, net: NetState, stack: Stack) -> None:
        self.net = net
        self.stack = stack
        self.mac = b""
        self.mtu = MTU
        self.max_gso = MTU
        self.checksums = True
        self.waiting: deque[tuple[bytes, int, Skb | None]] = deque()
        self.bytes = 0
        self.due = False

    def send(self, parts: list[bytes], offload: Offload | None) -> bool:
        skb: Skb | None = None
        nf = self.stack.nf
        if nf is not None:
            skb, nf.carried = nf.carried, None
        if self.bytes > QUEUE or not self.net.loopback_up():
            return False
        packet = b"".join(parts)
        gso = offload.gso_size if offload is not None and offload.gso_type else 0
        self.waiting.append((packet, gso, skb))
        self.bytes += len(packet)
        self._soon()
        return True

    def _soon(self) -> None:
        if not self.due:
            self.due = True
            veth.LOOP[0].call_at(time.monotonic_ns(), self._deliver)

    def _deliver(self) -> None:
        self.due = False
        stack = self.stack
        loop = stack.loop
        assert loop is not None
        stack.begin_batch()
        for _ in range(min(BATCH, len(self.waiting))):
            packet, gso, skb = self.waiting.popleft()
            self.bytes -= len(packet)
            others = self.net.siblings
            if others is not None and elsewhere(stack, others, packet):
                stack.transmit(others.under, [packet], None)
                continue
            if stack.nf is not None:
                stack.nf.carried = skb
            stack.receive(loop, packet, True, gso)
        stack.end_batch()
        if self.waiting:
            self._soon()


def elsewhere(stack: Stack, siblings: Siblings, packet: bytes) -> bool:
    """Whether a packet is for another sandbox of the namespace, or for a process that has entered it."""
    v4 = packet[:1] < b"\x60"
    at = (packet[0] & 15) * 4 if v4 else 40
    proto = packet[9] if v4 else packet[6]
    if proto not in (6, 17) or len(packet) < at + 8 or (v4 and (packet[6] & 0x3F or packet[7])):
        return False
    src, dst = (packet[12:16], packet[16:20]) if v4 else (packet[8:24], packet[24:40])
    ports = packet[at : at + 4]
    dport = ports[2] << 8 | ports[3]
    if proto == 6:
        if dport in stack.tcp.listeners or stack.tcp.has(src + dst + ports):
            return False
        opens = len(packet) > at + 13 and packet[at + 13] & (SYN | ACK | RST) == SYN
        return not opens or siblings.taken(6, mapped(dst), dport)
    loop = stack.loop
    if loop is None or stack.udp_receivers(loop, src, ports[0] << 8 | ports[1], dst, dport):
        return False
    return siblings.knows((mapped(dst), dport))


def stack_for(net: NetState) -> Stack:
    """The namespace's stack, with loopback in it: sockets there are reached through it from now on."""
    stack = veth.stack_of(net)
    if stack.loop is None:
        stack.loop = Interface(stack, "lo", 1, LoopLink(net, stack))
        stack.routes.changed()
    for u in udp_local.sockets(net) + udp_local.sockets(net, True):
        u.meet_rules()
    for r in list(raw_socket.ALL):
        if r.net is net:
            r.meet_stack()
    return stack


def attach(net: NetState, engine: Netfilter | None) -> Stack:
    """Has the namespace's packets pass ``engine``, or nothing."""
    stack = stack_for(net) if engine is not None else veth.stack_of(net)
    stack.nf = engine
    return stack


def register() -> None:
    """Has rule sets find their stacks here."""
    ATTACH[:] = [attach]
