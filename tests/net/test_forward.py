"""Packets that are for others: what a router does with them (stack/forward.py)."""

from __future__ import annotations

from typing import Any

import pytest

from nvsandbox.sentry.net.stack.checksum import finish, ones_sum, pseudo_sum
from nvsandbox.sentry.net.stack.link import Offload
from nvsandbox.sentry.net.stack.output import header
from nvsandbox.sentry.net.stack.routes import Route
from nvsandbox.sentry.net.stack.stack import Stack

from .wire import Net, SimLink

HERE, THERE = bytes((10, 0, 0, 2)), bytes((10, 1, 0, 2))
HERE6, THERE6 = b"\xfd\1" + bytes(13) + b"\2", b"\xfd\2" + bytes(13) + b"\2"
MAC, PEER = bytes((2, 0, 0, 0, 0, 8)), bytes((2, 0, 0, 0, 0, 9))


class Router:
    """10.0.0.1 and 10.1.0.1, fd01::1 and fd02::1 on two interfaces; ``out``: what they sent, with what is left to the link."""

    def __init__(self, mtu: int = 1500) -> None:
        self.net = Net(1)
        self.s: Stack = self.net.stack()
        self.s.forward4 = self.s.forward6 = True
        self.out: list[tuple[int, bytes, Offload | None]] = []
        self.ifaces = []
        for n, prefix in enumerate((b"\x0a\0\0", b"\x0a\1\0")):
            link = SimLink(self.net, n + 1, mtu=1500 if not n else mtu)
            i = self.s.add_interface(f"eth{n}", n + 2, link)
            self.s.add_address(i, prefix + b"\1", 24, announce=False)
            self.s.add_address(i, bytes((0xFD, n + 1)) + bytes(13) + b"\1", 64, announce=False)
            for peer in (HERE, HERE6) if not n else (THERE, THERE6):
                i.neighbours.set_permanent(peer, PEER)
            self.ifaces.append(i)
            link.send = self._sender(n)  # type: ignore[method-assign]

    def _sender(self, n: int) -> Any:
        def send(parts: list[bytes], offload: Offload | None) -> bool:
            frame = b"".join(parts)
            if frame[12:14] in (b"\x08\0", b"\x86\xdd") and frame[:6] == PEER:
                self.out.append((n, frame[14:], offload))
            return True

        return send

    def send(
        self, packet: bytes, good: bool = False, gso: int = 0
    ) -> list[tuple[int, bytes, Offload | None]]:
        """A packet from here; what came of it."""
        self.out = []
        kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
        self.s.receive(self.ifaces[0], self.ifaces[0].link.mac + PEER + kind + packet, good, gso)
        return self.out


def udp(src: bytes, dst: bytes, data: bytes, ttl: int = 64, flags: int = 0) -> bytes:
    head = (5000).to_bytes(2, "big") + (53).to_bytes(2, "big") + (8 + len(data)).to_bytes(2, "big")
    total = ones_sum(head + data) + pseudo_sum(src, dst, 17, 8 + len(data))
    return header(src, dst, 17, 8 + len(data), ttl, 0, 7, flags) + head + finish(total) + data


def test_ttl_and_checksum() -> None:
    r = Router()
    ((n, p, offload),) = r.send(udp(HERE, THERE, b"hello"))
    assert (n, p[8], offload) == (1, 63, None) and ones_sum(p[:20]) % 65535 == 0
    assert p[20:] == udp(HERE, THERE, b"hello")[20:]
    ((n, p, _),) = r.send(udp(HERE6, THERE6, b"hello"))
    assert (n, p[7]) == (1, 63) and p[8:] == udp(HERE6, THERE6, b"hello")[8:]
    assert r.s.counters.ip.ForwDatagrams == r.s.counters.ip6.ForwDatagrams == 1


def test_not_unless_asked() -> None:
    r = Router()
    r.s.forward4 = r.s.forward6 = False
    assert r.send(udp(HERE, THERE, b"x")) == r.send(udp(HERE6, THERE6, b"x")) == []


def test_unfinished_checksums_are_left_to_the_link() -> None:
    r = Router()
    packet = udp(HERE, THERE, b"hello")
    ((_, p, offload),) = r.send(packet[:26] + b"\0\0" + packet[28:], good=True)
    assert offload is not None and (offload.csum_start, offload.csum_offset) == (14 + 20, 6)
    assert int.from_bytes(p[26:28], "big") == pseudo_sum(HERE, THERE, 17, 13)


def test_super_segments_stay_whole() -> None:
    r = Router()
    tcp = bytes((0, 80, 0, 81)) + bytes(8) + b"\x50\x10" + bytes(6) + bytes(4000)
    ((_, p, offload),) = r.send(
        header(HERE, THERE, 6, len(tcp), 64, 0, 1, 0x4000) + tcp, True, 1460
    )
    assert len(p) == 4040 and offload is not None
    assert (offload.gso_type, offload.gso_size, offload.hdr_len) == (1, 1460, 14 + 40)


@pytest.mark.parametrize(("src", "dst", "back"), [(HERE, THERE, (11, 0)), (HERE6, THERE6, (3, 0))])
def test_time_exceeded(src: bytes, dst: bytes, back: tuple[int, int]) -> None:
    r = Router()
    ((n, p, _),) = r.send(udp(src, dst, b"x", ttl=1))
    at = 20 if len(src) == 4 else 40
    assert n == 0 and (p[at], p[at + 1]) == back
    assert p[at + 8 :][:at] == udp(src, dst, b"x", ttl=1)[:at]


def test_unreachable_and_prohibited() -> None:
    r = Router()
    ((_, p, _),) = r.send(udp(HERE, bytes((10, 9, 0, 1)), b"x"))
    assert (p[20], p[21]) == (3, 0)
    r.s.routes.add(Route(bytes((10, 9, 0, 0)), 16, None, kind=8))
    ((_, p, _),) = r.send(udp(HERE, bytes((10, 9, 0, 1)), b"x"))
    assert (p[20], p[21]) == (3, 13)
    ((_, p, _),) = r.send(udp(HERE6, b"\xfd\\9" + bytes(14), b"x"))
    assert (p[40], p[41]) == (1, 0)


def test_path_mtu() -> None:
    r = Router(mtu=1280)
    ((n, p, _),) = r.send(udp(HERE, THERE, bytes(1400), flags=0x4000))
    assert n == 0 and (p[20], p[21]) == (3, 4) and int.from_bytes(p[26:28], "big") == 1280
    ((n, p, _),) = r.send(udp(HERE6, THERE6, bytes(1400)))
    assert n == 0 and (p[40], p[41]) == (2, 0) and int.from_bytes(p[44:48], "big") == 1280


def test_fragments() -> None:
    """What may be cut is; what has come in pieces goes on whole where it fits, else in new ones."""
    r = Router(mtu=1280)
    packet = udp(HERE, THERE, bytes(range(256)) * 5)
    first, second = r.send(packet)
    data = b""
    for _, p, _ in (first, second):
        assert len(p) <= 1280 and ones_sum(p[:20]) % 65535 == 0 and p[8] == 63
        assert (int.from_bytes(p[6:8], "big") & 0x1FFF) * 8 == len(data)
        data += p[20:]
    assert data == packet[20:] and second[1][6] & 0x20 == 0 != first[1][6] & 0x20
    halves = []
    for at, size, more in ((0, 640, 0x2000), (640, len(packet) - 660, 0)):
        piece = packet[20 + at : 20 + at + size]
        halves.append(header(HERE, THERE, 17, len(piece), 64, 0, 9, at >> 3 | more) + piece)
    assert r.send(halves[0]) == []
    again = r.send(halves[1])
    assert b"".join(p[20:] for _, p, _ in again) == packet[20:]


def test_redirect() -> None:
    r = Router()
    near = bytes((10, 0, 0, 7))
    r.ifaces[0].neighbours.set_permanent(near, PEER)
    r.s.routes.add(Route(bytes((10, 5, 0, 0)), 16, r.ifaces[0], near))
    (_, told, _), (_, p, _) = r.send(udp(HERE, bytes((10, 5, 0, 1)), b"x"))
    assert (told[20], told[21], told[24:28]) == (5, 1, near) and p[16:20] == bytes((10, 5, 0, 1))


def test_what_is_not_passed_on() -> None:
    r = Router()
    for src, dst in ((HERE, bytes((224, 0, 0, 9))), (HERE, b"\xff" * 4), (bytes((127, 0, 0, 1)), THERE), (HERE6, b"\xfe\x80" + bytes(13) + b"\7"), (HERE6, b"\xff\5" + bytes(13) + b"\7")):  # fmt: skip
        assert r.send(udp(src, dst, b"x")) == []
    frame = b"\xff" * 6 + PEER + b"\x08\0" + udp(HERE, THERE, b"x")
    r.s.receive(r.ifaces[0], frame, False, 0)
    assert r.out == []
