"""Many of everything: floods of SYNs, thousands of connections, what an idle one costs."""

from __future__ import annotations

import struct
import tracemalloc

from nvsandbox.sentry.net.stack.checksum import finish, ones_sum, pseudo_sum
from nvsandbox.sentry.net.stack.output import header
from nvsandbox.sentry.net.stack.tcp.segment import HEADER
from nvsandbox.sentry.net.stack.tcp.table import REQUESTS, TIME_WAITS

from .test_transfer import connect, pump
from .wire import A4, B4, MS, Pair, S


def syn(
    src: bytes, sport: int, dport: int = 80, seq: int = 1, options: bytes = b"", ack: int = 0
) -> bytes:
    flags = 0x10 if ack else 2
    size = 20 + len(options)
    seg = HEADER.pack(sport, dport, seq, ack, size << 10 | flags, 1000, 0, 0) + options
    seg = seg[:16] + finish(pseudo_sum(src, A4, 6, len(seg)) + ones_sum(seg)) + seg[18:]
    return header(src, A4, 6, len(seg), 64, 0, 1, 0) + seg


def flooder(p: Pair) -> list[bytes]:
    """What a answers to hosts that don't exist."""
    frames: list[bytes] = []

    def send(parts: list[bytes], offload: object) -> bool:
        frames.append(b"".join(parts))
        return True

    p.la.send = send  # type: ignore[method-assign]
    for n in range(200):
        p.ia.neighbours.set_permanent(bytes((10, 0, 0, 20 + n)), p.lb.mac)
    return frames


def test_syn_flood() -> None:
    p = Pair()
    honest, _ = connect_reverse(p)
    lst = p.a.tcp_listen((bytes(4), 80), 128, 4)
    real = p.la.send
    frames = flooder(p)
    eth = p.la.mac + p.lb.mac + b"\x08\0"
    for i in range(20_000):
        src = bytes((10, 0, 0, 20 + i % 200))
        p.a.receive(
            p.ia, eth + syn(src, 1000 + i // 200, options=b"\2\4\x05\xb4\1\1\4\2"), False, 0
        )
    assert lst.requests == 128 and len(p.a.tcp.requests) <= REQUESTS
    assert p.a.counters.tcpext.SyncookiesSent == 20_000 - 128
    assert len(frames) == 20_000
    # One of those whom only a cookie remembers goes on.
    cookie = next(f for f in reversed(frames) if f[34:36] == b"\0\x50")
    iss = struct.unpack_from(">I", cookie, 38)[0]
    src, port = cookie[30:34], struct.unpack_from(">H", cookie, 36)[0]
    p.a.receive(p.ia, eth + syn(src, port, seq=2, ack=(iss + 1) & 0xFFFFFFFF), False, 0)
    assert lst.pending() == 1 and p.a.counters.tcpext.SyncookiesRecv == 1
    c = lst.accept()
    assert c is not None and c.remote == (src, port) and c.mss == 1460
    p.a.receive(p.ia, eth + syn(src, port + 1, seq=2, ack=(iss + 1) & 0xFFFFFFFF), False, 0)
    assert lst.pending() == 0 and p.a.counters.tcpext.SyncookiesFailed == 1
    p.la.send = real  # type: ignore[method-assign]
    # A connection of before, and one made now, go on.
    honest.send(b"still here")
    d = p.b.tcp_connect((b"", 0), (A4, 80))
    assert p.net.until(lambda: d.state == 1, 5 * S)
    p.net.run(200 * S)
    assert not p.a.tcp.requests and lst.requests == 0


def connect_reverse(p: Pair) -> tuple[object, object]:
    """An established connection, a's end first."""
    return connect(p)


def test_cookies_keep_the_options() -> None:
    p = Pair()
    lst = p.a.tcp_listen((bytes(4), 80), 0, 4)
    lst.requests = 100  # full
    d = p.b.tcp_connect((b"", 0), (A4, 80))
    assert p.net.until(lst.pending, 5 * S)
    c = lst.accept()
    assert c is not None and c.sack_ok and c.ts_ok and c.snd_wscale == 7 and d.rcv_wscale == 7
    assert pump(p.net, d, c, bytes(300_000)) == bytes(300_000)


def test_accept_queue_is_bounded() -> None:
    p = Pair()
    lst = p.a.tcp_listen((bytes(4), 80), 4, 4)
    made = [p.b.tcp_connect((b"", 0), (A4, 80)) for _ in range(50)]
    p.net.run(300 * S)
    assert lst.pending() == 5
    assert len(p.a.tcp.conns) == 5 and not p.a.tcp.requests and len(made) == 50
    lst.close()
    p.net.run(5 * S)
    assert not p.a.tcp.conns and sum(c.dead for c in made) == 5


def test_ten_thousand_connections() -> None:
    p = Pair()
    p.both(delay=MS)
    lst = p.b.tcp_listen((bytes(4), 80), 20_000, 4)
    made = [p.a.tcp_connect((b"", 0), (B4, 80)) for _ in range(10_000)]
    assert p.net.until(lambda: lst.pending() == 10_000, 20 * S)
    ends = []
    while (d := lst.accept()) is not None:
        ends.append(d)
    for c in made:
        c.send(b"hello")
    p.net.run(S)
    assert all(d.recv(10) == b"hello" for d in ends)
    for c in made:
        c.close()
    p.net.run(S)
    for d in ends:
        d.close()
    p.net.run(S)
    assert len(p.a.tcp.waits) == 10_000 <= TIME_WAITS and not p.b.tcp.conns
    p.net.run(70 * S)
    assert not p.a.tcp.waits and len(p.a.timers.heap) < 2000


def test_idle_connections_are_small() -> None:
    p = Pair()
    lst = p.b.tcp_listen((bytes(4), 80), 1000, 4)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    made = [p.a.tcp_connect((b"", 0), (B4, 80)) for _ in range(500)]
    assert p.net.until(lambda: lst.pending() == 500, 20 * S)
    each = (tracemalloc.get_traced_memory()[0] - before) / 1000
    tracemalloc.stop()
    print(each)
    assert each < 8192 and len(made) == 500


def test_one_byte_segments_cost_little() -> None:
    p = Pair()
    c, d = connect(p)
    c.nodelay = True
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(40_000):
        c.send(b"x")
        p.net.run(1000)
    p.net.run(S)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert d.rx.size + c.unsent_bytes()[0] == 40_000
    assert used < 1 << 20, used


def test_unread_data_is_bounded_in_all() -> None:
    p = Pair()
    p.b.tcp.limit = 1 << 20
    pairs = [connect(p) for _ in range(60)]
    for c, _ in pairs:
        c.send(bytes(80_000))
    p.net.run(2 * S)
    first = p.b.tcp.queued  # the windows that were open already
    assert 1 << 20 < first == sum(d.rx.size for _, d in pairs)
    got = [len(d.recv(20_000)) for _, d in pairs]
    p.net.run(2 * S)
    assert p.b.tcp.queued == first - 60 * 20_000
    for _ in range(400):
        for i, (_, d) in enumerate(pairs):
            got[i] += len(d.recv(1 << 20))
        p.net.run(S)
        if got == [80_000] * 60:
            break
    assert got == [80_000] * 60 and p.b.tcp.queued == 0
    for c, _ in pairs:
        c.send(bytes(1000))
    p.net.run(S)
    assert p.b.tcp.queued == 60_000
    for c, _ in pairs:
        c.abort()
    p.net.run(S)
    for i, (_, d) in enumerate(pairs):
        d.close() if i % 2 else d.abort()
    assert p.b.tcp.queued == 0
