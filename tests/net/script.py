"""Scripts in packetdrill's manner: segments are injected into one stack, and what it sends is compared, with times.

The peer is 10.0.0.2:9 (or any port), the stack 10.0.0.1. Sequence numbers are relative to both sides' initial ones; the peer's is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nvsandbox.sentry.net.stack.checksum import finish, ones_sum, pseudo_sum
from nvsandbox.sentry.net.stack.output import header
from nvsandbox.sentry.net.stack.tcp.connection import TcpConnection
from nvsandbox.sentry.net.stack.tcp.listener import TcpListener
from nvsandbox.sentry.net.stack.tcp.segment import HEADER

from .wire import A4, B4, MS, Net, SimLink, segments

PEER_MAC = bytes((2, 0, 0, 0, 0, 9))
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32}
PEER_ISN = 1_000_000


@dataclass
class Seen:
    """A segment the stack sent; ``at``: ms since the last ``mark``."""

    flags: str
    seq: int
    data: bytes
    ack: int
    window: int
    options: dict[int, bytes] = field(default_factory=dict)
    at: float = 0.0
    sport: int = 0
    dport: int = 0
    urg: int = 0


def parse_options(o: bytes) -> dict[int, bytes]:
    out: dict[int, bytes] = {}
    at = 0
    while at < len(o) and o[at]:
        if o[at] == 1:
            at += 1
            continue
        out[o[at]] = o[at + 2 : at + o[at + 1]]
        at += o[at + 1]
    return out


class Script:
    """One stack, one peer of ours. ``isn``: the stack's initial sequence number, learnt from its SYN."""

    def __init__(self, sport: int = 9, mtu: int = 1500, gso: bool = False) -> None:
        self.net = Net(1)
        self.s = self.net.stack()
        self.link = SimLink(self.net, 1, mtu=mtu, gso=gso)
        self.iface = self.s.add_interface("eth0", 2, self.link)
        self.s.add_address(self.iface, A4, 24, announce=False)
        self.iface.neighbours.set_permanent(B4, PEER_MAC)
        self.out: list[tuple[int, bytes]] = []
        self.link.send = self._sent  # type: ignore[method-assign]
        self.isn = 0
        self.lport = 0
        self.pport = sport
        self.start = self.net.time
        self.ts = False
        self.ts_ours = 1000  # the peer's clock
        self.ts_theirs = 0
        self.peer_seq = 0

    def _sent(self, parts: list[bytes], offload: Any) -> bool:
        frame = b"".join(parts)
        for f in segments(frame, offload) if offload is not None else [frame]:
            if f[12:14] == b"\x08\0" and f[23] == 6:
                self.out.append((self.net.time, f))
        return True

    # The peer sends
    def inject(
        self, flags: str, seq: int, data: bytes = b"", ack: int = 0, window: int = 65535, options: bytes = b"",
        tsval: int | None = None, tsecr: int | None = None, urg: int = 0, raw_ack: int | None = None,
    ) -> None:  # fmt: skip
        f = sum(FLAGS[c] for c in flags)
        if self.ts and not options and "R" not in flags:
            self.ts_ours += tsval is None
            val = self.ts_ours if tsval is None else tsval
            ecr = self.ts_theirs if tsecr is None else tsecr
            options = (
                b"\1\1\x08\x0a" + (val & 0xFFFFFFFF).to_bytes(4, "big") + ecr.to_bytes(4, "big")
            )
        elif self.ts and "R" not in flags and options[:1] == b"\5":
            self.ts_ours += 1
            options = (
                b"\1\1\x08\x0a"
                + self.ts_ours.to_bytes(4, "big")
                + self.ts_theirs.to_bytes(4, "big")
                + b"\1\1"
                + options
            )
        options += b"\0" * (-len(options) % 4)
        ack_field = (self.isn + ack) & 0xFFFFFFFF if "." in flags else 0
        if raw_ack is not None:
            ack_field = raw_ack
        size = 20 + len(options)
        head = HEADER.pack(
            self.pport,
            self.lport,
            (PEER_ISN + seq) & 0xFFFFFFFF,
            ack_field,
            size << 10 | f,
            window,
            0,
            urg,
        )
        seg = head + options + data
        total = finish(pseudo_sum(B4, A4, 6, len(seg)) + ones_sum(seg))
        seg = seg[:16] + total + seg[18:]
        packet = header(B4, A4, 6, len(seg), 64, 0, 1, 0x4000) + seg
        self.s.receive(self.iface, self.link.mac + PEER_MAC + b"\x08\0" + packet, False, 0)

    def sack(self, ack: int, *blocks: tuple[int, int], window: int = 65535, peer: int = 1) -> None:
        """An ACK with SACK blocks."""
        o = b"\5" + bytes((2 + 8 * len(blocks),))
        for left, right in blocks:
            o += ((self.isn + left) & 0xFFFFFFFF).to_bytes(4, "big") + (
                (self.isn + right) & 0xFFFFFFFF
            ).to_bytes(4, "big")
        if not self.ts:
            o = b"\1\1" + o
        self.inject(".", peer, ack=ack, window=window, options=o)

    # The stack is expected to send
    def mark(self) -> None:
        self.start = self.net.time

    def seen(self) -> list[Seen]:
        """All that was sent since the last look."""
        out, self.out = self.out, []
        result = []
        for at, f in out:
            tcp = f[34:]
            sport, dport, seq, ack, word, window, _, urg = HEADER.unpack_from(tcp)
            src, dst = f[26:30], f[30:34]
            assert (pseudo_sum(src, dst, 6, len(tcp)) + ones_sum(tcp)) % 65535 == 0, "checksum"
            flags = "".join(c for c, bit in FLAGS.items() if word & bit)
            if "S" in flags:
                self.isn = seq
                self.lport = sport
            size = (word >> 12) * 4
            options = parse_options(tcp[20:size])
            if 8 in options:
                self.ts_theirs = int.from_bytes(options[8][:4], "big")
            relative = (ack - PEER_ISN) & 0xFFFFFFFF if "." in flags else 0
            offset = (seq - self.isn + 0x80000000) % 2**32 - 0x80000000
            result.append(
                Seen(
                    flags,
                    offset,
                    tcp[size:],
                    relative,
                    window,
                    options,
                    (at - self.start) / MS,
                    sport,
                    dport,
                    urg,
                )
            )
        return result

    def expect(self, *wanted: str, tolerance: float = 1.5) -> list[Seen]:
        """Each as ``flags seq:end(len) ack N @ms`` with ack and time optional, e.g. ``. 1:1461 ack 1 @200``."""
        got = self.seen()
        texts = [f"{g.flags} {g.seq}:{g.seq + len(g.data)} ack {g.ack} @{g.at:.1f}" for g in got]
        assert len(got) == len(wanted), f"wanted {wanted}, got {texts}"
        for w, g, text in zip(wanted, got, texts, strict=True):
            words = w.split()
            assert set(g.flags) - {"P"} == set(words[0]) - {"P"}, f"wanted {w}, got {text}"
            begin, _, end = words[1].partition(":")
            assert g.seq == int(begin) and g.seq + len(g.data) == int(end or begin), (
                f"wanted {w}, got {text}"
            )
            for key, value in zip(words[2:], [*words[3:], ""], strict=False):
                if key == "ack":
                    assert g.ack == int(value), f"wanted {w}, got {text}"
                elif key == "win":
                    assert g.window == int(value), f"wanted {w}, got window {g.window}"
                elif key.startswith("@"):
                    assert abs(g.at - float(key[1:])) <= tolerance, f"wanted {w}, got {text}"
        return got

    def silent(self) -> None:
        self.expect()

    def wait(self, ms: float) -> None:
        self.net.run(int(ms * MS))

    # Beginnings
    def connect(
        self,
        window: int = 65535,
        mss: int = 1460,
        sack: bool = True,
        ts: bool = False,
        wscale: int = -1,
        rtt: float = 0,
        **options: Any,
    ) -> TcpConnection:
        """An established active connection; the stack's sequence number and the peer's are at 1."""

        def setup(c: TcpConnection) -> None:
            for k, v in options.items():
                setattr(c, k, v)

        c = self.s.tcp_connect((b"", 0), (B4, self.pport), None, setup)
        self.expect("S 0")
        self.wait(rtt)
        self.synack(window, mss, sack, ts, wscale)
        self.expect(". 1:1 ack 1")
        assert c.state == 1
        return c

    def synack(self, window: int, mss: int, sack: bool, ts: bool, wscale: int) -> None:
        o = b"\2\4" + mss.to_bytes(2, "big")
        if sack:
            o += b"\1\1\4\2"
        if ts:
            o += (
                b"\1\1\x08\x0a"
                + self.ts_ours.to_bytes(4, "big")
                + self.ts_theirs.to_bytes(4, "big")
            )
        if wscale >= 0:
            o += b"\1\3\3" + bytes((wscale,))
        self.ts = ts
        self.inject("S.", 0, ack=1, window=window, options=o)

    def listen(self, port: int = 80) -> TcpListener:
        """A listener that segments are injected for from here on."""
        self.lport = port
        return self.s.tcp_listen((bytes(4), port), 8, 4)

    def accept(self, port: int = 80, options: bytes = b"\2\4\x05\xb4\1\1\4\2") -> TcpConnection:
        """An established passive connection."""
        lst = self.listen(port)
        self.inject("S", 0, options=options)
        self.expect("S. 0 ack 1")
        self.inject(".", 1, ack=1)
        c = lst.accept()
        assert c is not None and c.state == 1
        self.silent()
        return c
