"""A simulated Ethernet between stacks, with a clock of its own: loss, delay, reordering, duplication, corruption."""

from __future__ import annotations

import heapq
import random
import struct
from collections.abc import Callable
from typing import Any

from nvsandbox.sentry.net.stack.checksum import finish, ones_sum, pseudo_sum
from nvsandbox.sentry.net.stack.interface import Interface
from nvsandbox.sentry.net.stack.link import Offload
from nvsandbox.sentry.net.stack.stack import Stack

MS = 1_000_000
S = 1_000_000_000


def complete(frame: bytes, o: Offload) -> bytes:
    """Fills in a partial checksum, as a link does (virtio 1.2 section 5.1.6.2)."""
    at = o.csum_start + o.csum_offset
    total = finish(ones_sum(frame[o.csum_start :]))
    return frame[:at] + total + frame[at + 2 :]


def segments(frame: bytes, o: Offload, eth: int = 14) -> list[bytes]:
    """What a link makes of a super-segment: packets with checksums of their own."""
    if not o.gso_type:
        return [complete(frame, o)]
    v4 = o.gso_type == 1
    payload = frame[o.hdr_len :]
    head = frame[: o.hdr_len]
    out = []
    for at in range(0, len(payload), o.gso_size):
        piece = payload[at : at + o.gso_size]
        h = bytearray(head)
        total = o.hdr_len - eth + len(piece)
        if v4:
            struct.pack_into(">H", h, eth + 2, total)
            struct.pack_into(">H", h, eth + 10, 0)
            struct.pack_into(">H", h, eth + 10, 65535 - ones_sum(bytes(h[eth : eth + 20])))
            src, dst = bytes(h[eth + 12 : eth + 16]), bytes(h[eth + 16 : eth + 20])
        else:
            struct.pack_into(">H", h, eth + 4, total - 40)
            src, dst = bytes(h[eth + 8 : eth + 24]), bytes(h[eth + 24 : eth + 40])
        tcp = o.csum_start
        seq = struct.unpack_from(">I", h, tcp + 4)[0]
        struct.pack_into(">I", h, tcp + 4, (seq + at) & 0xFFFFFFFF)
        if at + o.gso_size < len(payload):
            h[tcp + 13] &= ~0x09  # FIN and PSH belong to the last
        length = o.hdr_len - tcp + len(piece)
        struct.pack_into(">H", h, tcp + 16, pseudo_sum(src, dst, 6, length))
        out.append(complete(bytes(h) + piece, o))
    return out


class Net:
    """The clock and what is on its way."""

    def __init__(self, seed: int = 1) -> None:
        self.time = S
        self.rng = random.Random(seed)
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.serial = 0
        self.stacks: list[Stack] = []

    def stack(self) -> Stack:
        s = Stack(lambda: self.time, self.rng.randbytes)
        s.on_error = self._raise
        self.stacks.append(s)
        return s

    def _raise(self, e: Exception) -> None:
        raise e

    def later(self, delay: int, what: Callable[[], None]) -> None:
        self.serial += 1
        heapq.heappush(self.queue, (self.time + delay, self.serial, what))

    def step(self, until: int) -> bool:
        """The next thing that happens, at ``until`` the latest; False: nothing before."""
        times = [t for s in self.stacks if (t := s.next_timer()) is not None]
        if self.queue:
            times.append(self.queue[0][0])
        if not times or min(times) > until:
            self.time = max(self.time, until)
            return False
        self.time = max(self.time, min(times))
        while self.queue and self.queue[0][0] <= self.time:
            heapq.heappop(self.queue)[2]()
        for s in self.stacks:
            s.run_timers()
        return True

    def run(self, duration: int) -> None:
        until = self.time + duration
        while self.step(until):
            pass

    def until(self, condition: Callable[[], Any], limit: int = 600 * S) -> bool:
        end = self.time + limit
        while not condition():
            if not self.step(end):
                return bool(condition())
        return True


class SimLink:
    """One end of a cable. ``peer`` gets what is sent after ``delay``; probabilities are of a packet."""

    def __init__(
        self, net: Net, number: int, gso: bool = True, checksums: bool = True, mtu: int = 1500
    ) -> None:
        self.net = net
        self.mac = bytes((2, 0, 0, 0, 0, number))
        self.mtu = mtu
        self.max_gso = 65535 if gso else 0
        self.checksums = checksums
        self.peer: tuple[Stack, Interface] | None = None
        self.delay = 100_000
        self.jitter = 0
        self.loss = self.dup = self.corrupt = 0.0
        self.full = 0.0  # how often the queue is full
        self.merge = True
        self.frames: list[bytes] = []
        self.log = False
        self.drop: Callable[[bytes], bool] | None = None
        self.sent = 0

    def send(self, parts: list[bytes], offload: Offload | None) -> bool:
        frame = b"".join(parts)
        self.sent += 1
        if self.full and self.net.rng.random() < self.full:
            return False
        assert len(frame) - 14 <= (65535 if offload and offload.gso_type else self.mtu), len(frame)
        lossy = self.loss or self.dup or self.corrupt or self.jitter or self.drop
        if offload is not None and self.merge and not lossy:
            if self.log:
                self.frames += segments(frame, offload)
            self._deliver(frame, True, offload.gso_size if offload.gso_type else 0)
            return True
        for f in segments(frame, offload) if offload is not None else [frame]:
            if self.log:
                self.frames.append(f)
            self._maybe(f)
        return True

    def _maybe(self, f: bytes) -> None:
        rng = self.net.rng
        if self.drop is not None and self.drop(f):
            return
        if rng.random() < self.loss:
            return
        if rng.random() < self.corrupt:
            i = rng.randrange(len(f))
            f = f[:i] + bytes((f[i] ^ 1 << rng.randrange(8),)) + f[i + 1 :]
        self._deliver(f, False, 0)
        if rng.random() < self.dup:
            self._deliver(f, False, 0)

    def _deliver(self, f: bytes, ok: bool, gso: int) -> None:
        if self.peer is None:
            return
        stack, iface = self.peer
        extra = self.net.rng.randrange(self.jitter) if self.jitter else 0
        self.net.later(self.delay + extra, lambda: stack.receive(iface, f, ok, gso))


class Pair:
    """Two hosts on one cable: 10.0.0.1, fd00::1 and 10.0.0.2, fd00::2."""

    def __init__(self, seed: int = 1, **link: Any) -> None:
        self.net = Net(seed)
        self.a, self.b = self.net.stack(), self.net.stack()
        self.la, self.lb = SimLink(self.net, 1, **link), SimLink(self.net, 2, **link)
        self.ia = self.a.add_interface("eth0", 2, self.la)
        self.ib = self.b.add_interface("eth0", 2, self.lb)
        self.la.peer, self.lb.peer = (self.b, self.ib), (self.a, self.ia)
        for s, i, n in ((self.a, self.ia, 1), (self.b, self.ib, 2)):
            s.add_address(i, bytes((10, 0, 0, n)), 24)
            s.add_address(i, b"\xfd" + bytes(14) + bytes((n,)), 64)
            s.add_address(i, b"\xfe\x80" + bytes(13) + bytes((n,)), 64)

    def both(self, **what: Any) -> None:
        for k, v in what.items():
            setattr(self.la, k, v)
            setattr(self.lb, k, v)


A4, B4 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
A6, B6 = b"\xfd" + bytes(14) + b"\1", b"\xfd" + bytes(14) + b"\2"
