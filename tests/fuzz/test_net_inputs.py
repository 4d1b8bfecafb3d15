"""What programs and neighbours hand to the network's own parsers: anything may come, and nothing but an errno may come of it.

``FUZZ_SECONDS`` lengthens it, ``FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from nvsandbox.rtattr import pack as attr
from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.kernel import cbpf
from nvsandbox.sentry.net import configure, dummy, filter, membership, resolver_tcp, siblings, veth
from nvsandbox.sentry.net.link import split_udp
from nvsandbox.sentry.net.packet_ring import Ring
from nvsandbox.sentry.net.stack import ipoptions
from nvsandbox.sentry.net.stack.stack import Stack
from nvsandbox.sentry.net.state import NET, Address

SECONDS = int(os.environ.get("FUZZ_SECONDS", "6")) / 6
SEED = int(os.environ.get("FUZZ_SEED") or (1 if os.environ.get("CI") else time.time()))
pytestmark = pytest.mark.timeout(SECONDS * 2 + 60)


def rounds(name: str) -> Iterator[random.Random]:
    """Generators of numbers until the time is over."""
    print("seed", SEED)
    rng = random.Random(f"{SEED} {name}")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for _ in range(50):
            yield rng


def test_filters() -> None:
    codes = sorted(cbpf.KNOWN | cbpf.PACKET)
    accepted = 0
    for rng in rounds("filters"):
        program = b""
        n = rng.randrange(1, 20)
        for i in range(n):
            code = rng.choice(codes) if rng.random() < 0.95 else rng.randrange(65536)
            k = rng.choice((rng.randrange(70), rng.getrandbits(32), filter.SKF_AD_OFF + rng.randrange(70), filter.SKF_NET_OFF + rng.randrange(90), 0xFFFFFFFF))  # fmt: skip
            if code & 7 in (2, 3) or code & 0xE0 == 0x60:
                k = rng.randrange(17)
            left = n - i
            program += struct.pack("<HBBI", code, rng.randrange(left), rng.randrange(left), k)
        program += struct.pack("<HBBI", rng.choice((6, 0x16)), 0, 0, rng.getrandbits(16))
        try:
            insns = cbpf.parse(program, True)
        except SysErr:
            continue
        accepted += 1
        data = rng.randbytes(rng.randrange(100))
        kept = cbpf.run(insns, filter.View(data, rng.choice((0, 14)), 0x800, rng.randrange(5), 3))
        assert 0 <= kept <= 0xFFFFFFFF
    assert accepted > 10


class Task:
    """What the ring asks of the thread that makes it: nothing, as every size is refused before."""


def test_rings() -> None:
    for rng in rounds("rings"):
        numbers = [
            rng.choice((0, 1, 16, 4096, 65536, 0xFFFFFFFF, rng.getrandbits(32))) for _ in range(4)
        ]
        if numbers[0] * numbers[1] <= 64 << 20:
            numbers[1] = 0xFFFFFFFF
        with suppress(SysErr):
            Ring(Task(), struct.pack("<IIII", *numbers), rng.randrange(3), rng.getrandbits(31))  # type: ignore[arg-type]


def _attributes(rng: random.Random) -> bytes:
    out = b""
    for _ in range(rng.randrange(6)):
        body = rng.choice((rng.randbytes(rng.randrange(20)), struct.pack("<I", rng.randrange(6)), bytes((10, 0, 0, rng.randrange(9))), b"lo\0", b"eth0\0"))  # fmt: skip
        size = len(body) + 4 if rng.random() < 0.9 else rng.randrange(65536)
        out += (
            struct.pack("<HH", size, rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 15, rng.randrange(70))))
            + body
        )
        out += bytes(-len(body) % 4)
    return out


class Asker:
    """The thread that sends the message: it has no descriptors, and knows no other process."""

    def __getattr__(self, name: str) -> Asker:
        return self

    def get(self, fd: int) -> object:
        raise SysErr(errno.EBADF)

    def task(self, pid: int) -> None:
        return None


class Loop:
    """Timers that never come."""

    def call_at(self, when: int, what: object) -> Loop:
        return self

    def cancel(self) -> None:
        pass


def test_netlink_changes() -> None:
    before = list(NET.addresses)
    veth.LOOP[:] = [Loop()]  # type: ignore[list-item]
    for rng in rounds("netlink"):
        kind = rng.choice((16, 17, 19, 20, 21, 24, 25, 28, 29, 32, 36))
        head = {16: 16, 19: 16, 20: 8, 21: 8, 28: 12, 29: 12}.get(kind, 12)
        fixed = bytearray(rng.randbytes(head))
        if rng.random() < 0.8:
            fixed[0] = rng.choice((2, 10))
            fixed[1:4] = bytes((rng.choice((0, 8, 24, 32, 64, 128, 200)), 0, rng.choice((0, 254))))
            fixed[4:8] = struct.pack("<I", rng.randrange(3))
        raw = bytes(16) + bytes(fixed) + _attributes(rng)
        if kind == 16 and rng.random() < 0.3:  # a pair
            peer = attr(1, bytes(16) + _attributes(rng)) if rng.random() < 0.8 else b""
            raw += attr(
                18, attr(1, rng.choice((b"veth\0", b"dummy\0", b"bridge\0"))) + attr(2, peer)
            )
        raw = raw[: rng.randrange(len(raw))] if rng.random() < 0.1 else raw
        with suppress(SysErr):
            configure.request(Asker(), NET, kind, rng.choice((0x400, 0x600, 0x100, 0, 0x500)), raw)  # type: ignore[arg-type]
        assert len(NET.addresses) <= 2 * configure.LIMIT
        assert len(NET.ifaces) <= dummy.MOST + 2
    for i in [i for i in NET.ifaces if i >= dummy.FIRST]:
        del NET.ifaces[i]
    NET.stack = None
    veth.LOOP.clear()
    NET.config = None
    configure.of(NET).settle()
    assert [a.ip for a in NET.addresses] == [a.ip for a in before]


class Group:
    """A socket that remembers nothing."""

    net = NET

    def max_send(self) -> int:
        return 65507

    def group(self, *a: Any) -> None: ...
    def group_source(self, *a: Any) -> None: ...
    def set_group_filter(self, *a: Any) -> None: ...
    def group_filter(self, *a: Any) -> Any:
        raise SysErr(99)


def test_group_options() -> None:
    options = (20, 21, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48)
    for rng in rounds("groups"):
        data = bytearray(rng.randbytes(rng.choice((0, 4, 12, 16, 20, 36, 144, 264, 280, 400))))
        if len(data) > 10 and rng.random() < 0.7:
            data[8:10] = struct.pack("<H", rng.choice((2, 10)))
        if len(data) > 138 and rng.random() < 0.7:
            data[136:138] = struct.pack("<H", rng.choice((2, 10, 1)))
        level, opt = rng.choice((0, 41)), rng.choice(options)
        with suppress(SysErr):
            membership.option(Group(), level, opt, bytes(data))  # type: ignore[arg-type]
        with suppress(SysErr):
            membership.filter_of(Group(), level, opt, bytes(data))  # type: ignore[arg-type]


def test_datagrams_that_were_merged() -> None:
    for rng in rounds("merged"):
        frame = bytearray(rng.randbytes(rng.randrange(200)))
        if len(frame) > 24:
            frame[12:15] = rng.choice((b"\x08\0\x45", b"\x86\xdd\x60", b"\x08\0\x4f"))
            frame[20] = 17
        for one in split_udp(bytes(frame), rng.randrange(-1, 40)):
            assert len(one) <= len(frame)


def test_siblings() -> None:
    """Frames of other sandboxes of the namespace and of the host's stack, true and mutated; what is kept of them is bounded."""
    errors: list[Exception] = []
    stack = Stack(time.monotonic_ns, os.urandom)
    stack.on_error = errors.append
    NET.stack = stack
    NET.put_addresses([Address(2, b"\x0a\0\0\1", 24, 0)])
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    s = siblings.Siblings(ours)
    s.changed(True, True)
    try:
        for rng in rounds("siblings"):
            while True:
                try:
                    theirs.recv(70000)
                except BlockingIOError:
                    break
            rows = b"".join(siblings.ROW.pack(rng.choice((6, 17)), rng.choice((bytes(16), b"\0" * 10 + b"\xff\xff\x7f\0\0\1")), rng.randrange(65536)) for _ in range(rng.randrange(20)))  # fmt: skip
            n = len(rows) // siblings.ROW.size if rng.random() < 0.8 else rng.randrange(65536)
            claims = siblings.HEAD.pack(siblings.MAGIC, rng.randrange(6), 0, n) + rows
            packet = struct.pack(">BBHHHBBH4s4s", 0x45, 0, rng.choice((40, 28, 60)), 1, 0, 64, rng.choice((1, 6, 17)), 0, b"\x7f\0\0\1", b"\x7f\0\0\1") + rng.randbytes(40)  # fmt: skip
            body = rng.choice((siblings.ETH_CLAIMS + claims, b"\x08\0" + packet, rng.randbytes(30)))
            frame = bytearray(siblings.GROUP + b"\2" + bytes((rng.randrange(90),)) * 5 + body)
            if rng.random() < 0.4:  # of the host's stack
                frame[:12] = bytes(12)
            s.shared = rng.random() < 0.8
            for _ in range(rng.randrange(3)):
                frame[rng.randrange(len(frame))] = rng.randrange(256)
            theirs.send(rng.choice((bytes(10), rng.randbytes(10))) + frame)
            s.receive()
            s.has(6, bytes(16), rng.randrange(65536))
            s.refuses(6, b"\x0a\0\0\1", rng.randrange(65536))
            assert len(s.claims) <= siblings.MAX_SIBLINGS
            assert all(len(c) <= siblings.MAX_ROWS for c in s.claims.values())
        assert not errors and not stack.counters.errors
        assert s.claims
    finally:
        NET.stack = None
        NET.put_addresses([])
        ours.close()
        theirs.close()


def test_resolver_messages() -> None:
    for rng in rounds("resolver"):
        name = bytes((rng.randrange(5),)) + rng.randbytes(rng.randrange(6))
        head = rng.randbytes(4) + struct.pack(">HHHH", rng.randrange(3), 0, 0, rng.randrange(3))
        tail = rng.choice((b"", resolver_tcp.OPT, rng.randbytes(rng.randrange(30))))
        query = head + name + rng.choice((b"\0", b"")) + bytes(4) + tail
        query = query[: rng.randrange(len(query) + 1)] if rng.random() < 0.3 else query
        bigger, added = resolver_tcp.enlarge(query)
        assert len(bigger) - len(query) == (len(resolver_tcp.OPT) if added else 0)
        if added:
            assert resolver_tcp.without_option(bigger) == query
        resolver_tcp.without_option(rng.randbytes(12) + tail)


def test_options_of_packets() -> None:
    """IPv4's options, as programs set them and as packets bring them: all that is made of them has its length and stays within the header."""
    here, there = b"\x0a\0\0\1", b"\x0a\0\0\2"
    accepted = 0
    for rng in rounds("options"):
        raw = b""
        while len(raw) < 40 and rng.random() < 0.9:
            kind = rng.choice((0, 1, 7, 68, 148, 131, 130, rng.randrange(256)))
            if kind < 2:
                raw += bytes((kind,))
                continue
            n = rng.choice((0, 1, 2, 3, 4, 7, 8, 11, 12, 20, 39, 40, rng.randrange(256)))
            pointer = rng.choice((0, 3, 4, 5, 8, 9, 12, n, (n + 1) & 255, 255, rng.randrange(256)))
            raw += bytes((kind, n, pointer, rng.randrange(256))) + rng.randbytes(max(n - 4, 0))
        raw = raw[: rng.choice((40, 40, rng.randrange(41)))]
        o = ipoptions.parse(raw, rng.random() < 0.5, frozenset((here,)))
        if o is not None:
            sent = o.build(here)
            assert len(sent) == len(o.raw) == (len(raw) + 3) & ~3
            assert len(ipoptions.of_fragment(sent)) == len(sent)
            accepted += 1
        came = raw + bytes(-len(raw) % 4)
        seen = ipoptions.received(came, there)
        assert len(seen) == len(came)
        back = ipoptions.answer(seen)
        assert back is None or len(back.build(there)) <= len(came)
    assert accepted
