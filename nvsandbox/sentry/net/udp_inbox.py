"""Receiving of UDP sockets: the queue of datagrams, whoever they come from."""

from __future__ import annotations

import errno
import struct
from collections import deque
from typing import TYPE_CHECKING, Final

from ..abi.socket import MSG_PEEK, MSG_TRUNC, SHUT_RD, SO_RXQ_OVFL, SOL_SOCKET, SOL_UDP
from ..kernel.cbpf import run
from ..kernel.wait import POLLIN, POLLRDNORM
from . import ancillary, peek
from .ancillary import Packet
from .filter import View
from .inet import InetSocket
from .ports import is_v4, make_sockaddr
from .socket import Received

if TYPE_CHECKING:
    from ..kernel.cbpf import Insn
    from ..kernel.task import Task

OVERHEAD: Final = 768
UDP_GRO: Final = 104
MAX_SEGMENTS: Final = 128  # UDP_MAX_SEGMENTS


class UdpInbox(InetSocket):
    """``rx``: datagrams received; beyond SO_RCVBUF they are dropped, as the network may."""

    __slots__ = ("drops", "gone", "rx", "rx_cost")

    def __init__(self, t: Task, domain: int, type: int, protocol: int) -> None:
        super().__init__(t, domain, type, protocol)
        self.rx: deque[Packet] = deque()
        self.rx_cost = 0
        self.drops = 0
        self.gone = False

    def put(self, p: Packet) -> None:
        """One datagram for us."""
        if self.bpf is not None and not self._passes(self.bpf, p):
            return
        cost = len(p.data) + OVERHEAD
        if self.gone or self.shut & SHUT_RD:
            return
        if self.rx_cost + cost > self.rcvbuf:
            self.drops += 1
            return
        self.rx.append(p)
        self.rx_cost += cost
        self.queue.wake(POLLIN | POLLRDNORM)

    def filters(self) -> bool:
        return True

    def peeks(self) -> bool:
        return True

    def _passes(self, program: list[Insn], p: Packet) -> bool:
        """What the filter says; it sees the datagram with its header (RFC 768)."""
        head = struct.pack(">HHHH", p.src[1], self.local[1], 8 + len(p.data), 0)
        n = run(program, View(head + p.data, 0, 0x0800 if is_v4(p.dst) else 0x86DD, 0, p.index))
        if 0 < n < 8 + len(p.data):
            p.data = p.data[: max(n - 8, 0)]
        return n > 0

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        deadline = self.rcv_deadline(t)
        at, off = peek.find(self, flags, self.rx)
        while at < 0:
            if self.err:
                return -self.take_error()
            if self.dontwait(flags):
                return -errno.EAGAIN
            if self.shut & SHUT_RD:
                return Received()
            self.pause(t, self.queue, deadline, self.rcvtimeo is not None)
            at, off = peek.find(self, flags, self.rx)
        p = self.rx[at]
        if not flags & MSG_PEEK:
            self.rx.popleft()
            self.rx_cost -= len(p.data) + OVERHEAD
        data = p.data[off:] if off else p.data
        one = len(data)
        if self.opts and self.opts.get((SOL_UDP, UDP_GRO)) and not flags & MSG_PEEK:
            data = self._merge(p, size)
        out = Received(data[:size] if len(data) > size else data)
        out.length = len(data)
        if len(data) > size:
            out.flags |= MSG_TRUNC
        if self.peek_off >= 0:
            peek.moved(self, flags, len(data) if flags & MSG_TRUNC else len(out.data))
        out.addr = make_sockaddr(p.src, self.domain, p.index)
        if self.opts:
            out.control = ancillary.incoming(self, p)
            if self.drops and self.opts.get((SOL_SOCKET, SO_RXQ_OVFL)):
                out.control.append(
                    (SOL_SOCKET, SO_RXQ_OVFL, struct.pack("<I", self.drops & 0xFFFFFFFF))
                )
            if len(data) > one:
                out.control.append((SOL_UDP, UDP_GRO, struct.pack("<i", one)))
        return out

    def _merge(self, p: Packet, room: int) -> bytes:
        """UDP_GRO: with the datagrams behind it that are of one flow and size (the last may be shorter), as far as there is room."""
        parts = [p.data]
        size = total = len(p.data)
        while self.rx and size and len(parts) < MAX_SEGMENTS:
            q = self.rx[0]
            n = len(q.data)
            if (
                (q.src, q.dst, q.ttl, q.tos) != (p.src, p.dst, p.ttl, p.tos)
                or not 0 < n <= size
                or total + n > room
            ):
                break
            self.rx.popleft()
            self.rx_cost -= n + OVERHEAD
            parts.append(q.data)
            total += n
            if n < size:
                break
        return b"".join(parts)

    def queued(self) -> int:
        return len(self.rx[0].data) if self.rx else 0
