"""IP, ARP, NDP, ICMP, UDP: what comes in, what goes out, what is refused."""

from __future__ import annotations

import struct
from typing import Any

from nvsandbox.sentry.net.stack.checksum import finish, ones_sum, pseudo_sum
from nvsandbox.sentry.net.stack.output import header

from .script import PEER_MAC, Script
from .wire import A4, A6, B4, B6, MS, Pair, S


def icmp_to(s: Script, kind: int, code: int, quoted: bytes, mtu: int) -> None:
    """An ICMP error for the stack of a script."""
    body = struct.pack(">BBHHH", kind, code, 0, 0, mtu) + quoted
    body = body[:2] + finish(ones_sum(body)) + body[4:]
    packet = header(B4, A4, 1, len(body), 64, 0, 1, 0) + body
    s.s.receive(s.iface, s.link.mac + PEER_MAC + b"\x08\0" + packet, False, 0)


def inject4(
    p: Pair,
    proto: int,
    body: bytes,
    src: bytes = B4,
    dst: bytes = A4,
    ident: int = 7,
    flags: int = 0,
) -> None:
    packet = header(src, dst, proto, len(body), 64, 0, ident, flags) + body
    p.a.receive(p.ia, p.la.mac + p.lb.mac + b"\x08\0" + packet, False, 0)


def inject6(
    p: Pair, proto: int, body: bytes, src: bytes = B6, dst: bytes = A6, hop: int = 64
) -> None:
    packet = header(src, dst, proto, len(body), hop, 0, 0, 0) + body
    p.a.receive(p.ia, p.la.mac + p.lb.mac + b"\x86\xdd" + packet, False, 0)


def udp(sport: int, dport: int, data: bytes, src: bytes = B4, dst: bytes = A4) -> bytes:
    size = len(data) + 8
    head = struct.pack(">HHHH", sport, dport, size, 0)
    total = finish(pseudo_sum(src, dst, 17, size) + ones_sum(head + data))
    return head[:6] + total + data


def watch(p: Pair) -> list[bytes]:
    """What a sends from now on, instead of delivering it; its reports of groups are over."""
    p.net.run(11 * S)
    frames: list[bytes] = []

    def send(parts: list[bytes], offload: Any) -> bool:
        frames.append(b"".join(parts))
        return True

    p.la.send = send  # type: ignore[method-assign]
    return frames


def test_udp_both_ways() -> None:
    p = Pair()
    for ip in (B4, B6):
        u = p.a.udp_open((b"", 0))
        v = p.b.udp_open((b"", 53))
        for size in (0, 1, 1472, 1473, 9000, 65507):
            data = bytes(i & 255 for i in range(size))
            assert u.send_to(data, (ip, 53)) == size
            p.net.run(50 * MS)
            d = v.recv()
            assert d is not None and d.data == data and d.dst == (ip, 53), size
            v.send_to(d.data[:100], d.src)
            p.net.run(50 * MS)
            back = u.recv()
            assert back is not None and back.data == data[:100]
        assert u.send_to(bytes(65536), (ip, 53)) == -90
        v.close()
        u.connect((ip, 53))
        u.send_to(b"x", None)
        p.net.run(50 * MS)
        assert u.events() & 8 and u.take_error() == 111
        u.close()
    assert not p.a.udp_ports and not p.b.udp_ports


def test_errors_of_send_to() -> None:
    p = Pair()
    u = p.a.udp_open((b"", 0))
    assert u.send_to(b"x", None) == -89
    assert u.send_to(b"x", (bytes((8, 8, 8, 8)), 53)) == -101
    assert u.send_to(b"x", (B4, 0)) == -22
    assert u.send_to(b"x", (b"\xff" * 4, 9)) == -13
    u.broadcast = True
    assert u.send_to(b"x", (b"\x0a\0\0\xff", 9)) == 1
    u.pmtu_discover = 2
    assert u.send_to(bytes(3000), (B4, 9)) == -90


def test_the_best_match_gets_it() -> None:
    p = Pair()
    wild = p.a.udp_open((bytes(4), 53))
    exact = p.a.udp_open((A4, 53))
    joined = p.a.udp_open((A4, 53))
    joined.connect((B4, 99))
    inject4(p, 17, udp(1, 53, b"1"))
    inject4(p, 17, udp(99, 53, b"2"))
    assert (len(wild.queue), len(exact.queue), len(joined.queue)) == (0, 1, 1)
    six = p.a.udp_open((bytes(16), 54))
    only = p.a.udp_open((bytes(16), 55), v6only=True)
    inject4(p, 17, udp(1, 54, b"3"))
    inject4(p, 17, udp(1, 55, b"4"))
    assert (len(six.queue), len(only.queue)) == (1, 0)


def test_receive_buffer_is_bounded() -> None:
    p = Pair()
    u = p.a.udp_open((b"", 53))
    for _ in range(1000):
        inject4(p, 17, udp(1, 53, bytes(1000)))
    assert u.queued <= u.rcvbuf and p.a.counters.udp.RcvbufErrors > 500


def test_bad_packets_are_counted_and_dropped() -> None:
    p = Pair()
    u = p.a.udp_open((b"", 53))
    good = udp(1, 53, b"hello")
    eth = p.la.mac + p.lb.mac + b"\x08\0"
    head = header(B4, A4, 17, len(good), 64, 0, 1, 0)
    for frame in (
        eth, eth + head[:10], eth + b"\x55" + head[1:] + good, eth + b"\x43" + head[1:] + good,
        eth + head[:10] + b"\0\0" + head[12:] + good, eth + head + good[:-1], p.lb.mac + eth[6:] + head + good,
        eth + head + good[:6] + b"\1\2" + good[8:], eth[:12] + b"\x81\0" + head + good, b"", eth[:5],
    ):  # fmt: skip
        p.a.receive(p.ia, frame, False, 0)
    for src in (b"\x7f\0\0\1", b"\xe0\0\0\1", A4, b"\xff" * 4, b"\x0a\0\0\xff"):
        inject4(p, 17, udp(1, 53, b"spoofed", src), src)
    inject4(p, 17, udp(1, 53, b"not ours", B4, b"\x0a\0\0\x63"), dst=b"\x0a\0\0\x63")
    assert not u.queue
    inject4(p, 17, good)
    assert len(u.queue) == 1


def test_ip_options() -> None:
    p = Pair()
    u = p.a.udp_open((b"", 53))
    body = udp(1, 53, b"x")
    for options, ok in (
        (b"\1\1\1\0", True), (b"\x94\4\0\0", True), (b"\x07\x07\4\0\0\0\0\0", True), (b"\x83\7\4\0\0\0\0\0", False),
        (b"\x89\3\4\0", False), (b"\x07\x01\0\0", False), (b"\x07\x09\0\0", False), (b"\x44\0\0\0", False),
    ):  # fmt: skip
        n = 20 + len(options)
        head = (
            bytes((0x40 | n // 4, 0))
            + struct.pack(">HHHBBH", n + len(body), 1, 0, 64, 17, 0)
            + B4
            + A4
            + options
        )
        head = head[:10] + finish(ones_sum(head)) + head[12:]
        before = len(u.queue)
        p.a.receive(p.ia, p.la.mac + p.lb.mac + b"\x08\0" + head + body, False, 0)
        assert (len(u.queue) > before) == ok, options


# Fragments
def test_fragments_in_any_order() -> None:
    p = Pair()
    u = p.a.udp_open((b"", 53))
    body = udp(1, 53, bytes(range(256)) * 10)
    pieces = [(at, body[at : at + 800]) for at in range(0, len(body), 800)]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 0, 3, 1]):
        for i in order:
            at, piece = pieces[i]
            inject4(p, 17, piece, flags=at // 8 | (0x2000 if i < 3 else 0), ident=len(order))
        d = u.recv()
        assert d is not None and len(d.data) == 2560
    assert not p.a.fragments.open and p.a.fragments.cost == 0


def test_overlapping_fragments_are_refused() -> None:
    p = Pair()
    u = p.a.udp_open((b"", 53))
    body = udp(1, 53, bytes(1592))
    inject4(p, 17, body[:800], flags=0x2000)
    inject4(p, 17, body[792:], flags=99)
    inject4(p, 17, body[800:], flags=100)
    assert not u.queue
    inject4(p, 17, body[:800], flags=0x2000, ident=8)
    inject4(p, 17, bytes(60000), flags=8000, ident=8)  # beyond 65535
    inject4(p, 17, body[800:], flags=100, ident=8)
    assert len(u.queue) == 1


def test_reassembly_is_bounded_and_times_out() -> None:
    p = Pair()
    frames = watch(p)
    p.ia.neighbours.set_permanent(B4, p.lb.mac)
    for i in range(20000):
        inject4(p, 17, bytes(1400), flags=0x2000, ident=i & 0xFFFF)
        assert p.a.fragments.cost < 5 << 20
    frames.clear()
    p.net.run(31 * S)
    assert not p.a.fragments.open and p.a.fragments.cost == 0
    assert frames and all(f[34:36] == b"\x0b\1" for f in frames) and len(frames) <= 50


def frag6(body: bytes, at: int, more: bool, ident: int = 5, proto: int = 17) -> bytes:
    return struct.pack(">BBHI", proto, 0, at | more, ident) + body


def test_fragments_of_ipv6() -> None:
    p = Pair()
    u = p.a.udp_open((b"", 53))
    body = udp(1, 53, bytes(2000), B6, A6)
    inject6(p, 44, frag6(body[1000:], 1000, False))
    inject6(p, 44, frag6(body[:1000], 0, True))
    inject6(p, 44, frag6(udp(1, 53, b"atomic", B6, A6), 0, False, 6))
    assert [len(d.data) for d in u.queue] == [2000, 6]
    inject6(p, 44, frag6(body[:1000], 0, True, 9))
    inject6(p, 44, frag6(body[992:], 992, False, 9))
    inject6(p, 44, frag6(body[1000:], 1000, False, 9))
    assert len(u.queue) == 2


# Extension headers
def test_extension_headers() -> None:
    p = Pair()
    frames = watch(p)
    p.ia.neighbours.set_permanent(B6, p.lb.mac)
    u = p.a.udp_open((b"", 53))
    body = udp(1, 53, b"x", B6, A6)
    pad = bytes((17, 0, 1, 4, 0, 0, 0, 0))
    inject6(p, 0, pad + body)
    inject6(p, 60, pad + body)
    inject6(p, 0, bytes((60, 0, 5, 2, 0, 0, 1, 0)) + pad + body)
    inject6(p, 43, bytes((17, 0, 0, 0, 0, 0, 0, 0)) + body)
    assert len(u.queue) == 4 and not frames
    inject6(p, 43, bytes((17, 2, 0, 1)) + bytes(20) + body)  # segments left
    inject6(p, 60, bytes((0, 0, 1, 4, 0, 0, 0, 0)) + pad + body)  # hop-by-hop not first
    inject6(p, 60, bytes((17, 0, 0x85, 4, 0, 0, 0, 0)) + body)  # unknown option: tell
    inject6(p, 60, bytes((17, 0, 0x45, 4, 0, 0, 0, 0)) + body)  # unknown option: drop
    inject6(p, 60, bytes((17, 9)) + body)
    inject6(p, 60, bytes((60, 0, 1, 4, 0, 0, 0, 0)) * 20 + body)
    inject6(p, 60, bytes((17, 1)) + bytes(14) + body)  # too much padding
    inject6(p, 59, b"")
    assert len(u.queue) == 4
    assert [f[54:56] for f in frames] == [b"\4\0", b"\4\1", b"\4\2"]


# Neighbours
def test_unknown_neighbour_fails_after_three_requests() -> None:
    p = Pair()
    frames = watch(p)
    u = p.a.udp_open((b"", 0))
    u.recverr = True
    nobody = b"\x0a\0\0\x09"
    for _ in range(500):
        u.send_to(bytes(1000), (nobody, 9))
    assert p.ia.neighbours.entries[nobody].pending_bytes <= 256 * 1024
    p.net.run(2900 * MS)
    assert len(frames) == 3 and all(f[12:14] == b"\x08\x06" for f in frames)
    p.net.run(S)
    e = u.recv_error()
    assert e is not None and e.errno == 113 and e.dst == (nobody, 9)
    p.net.run(5 * S)
    assert nobody not in p.ia.neighbours.entries


def test_arp_spoofing_is_limited() -> None:
    p = Pair()

    def arp(op: int, sha: bytes, spa: bytes, tpa: bytes) -> None:
        body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, op) + sha + spa + bytes(6) + tpa
        p.a.receive(p.ia, p.la.mac + sha + b"\x08\x06" + body, False, 0)

    evil = b"\2\xee\0\0\0\1"
    arp(2, evil, b"\x0a\0\0\x63", A4)
    assert b"\x0a\0\0\x63" not in p.ia.neighbours.entries
    arp(1, evil, A4, A4)
    assert A4 not in p.ia.neighbours.entries
    for i in range(5000):
        arp(1, evil, bytes((10, 0, i >> 8, i & 255)), A4)
    assert len(p.ia.neighbours.entries) <= 1024


def test_ndp_wants_hop_limit_255() -> None:
    p = Pair()
    frames = watch(p)
    for hop in (64, 255):
        body = bytes((135, 0, 0, 0)) + bytes(4) + A6 + bytes((1, 1)) + p.lb.mac
        body = body[:2] + finish(pseudo_sum(B6, A6, 58, len(body)) + ones_sum(body)) + body[4:]
        inject6(p, 58, body, hop=hop)
    assert len(frames) == 1 and frames[0][54] == 136


def test_neighbour_is_probed_again() -> None:
    p = Pair()
    u = p.a.udp_open((b"", 0))
    p.b.udp_open((b"", 53))
    u.send_to(b"x", (B4, 53))
    p.net.run(100 * MS)
    assert p.ia.neighbours.entries[B4].state == 2
    p.net.run(40 * S)
    u.send_to(b"x", (B4, 53))
    assert p.ia.neighbours.entries[B4].state == 8
    p.net.run(6 * S)
    assert p.ia.neighbours.entries[B4].state == 2
    p.lb.peer = None
    p.net.run(40 * S)
    u.send_to(b"x", (B4, 53))
    p.net.run(15 * S)
    assert B4 not in p.ia.neighbours.entries


# ICMP
def test_errors_are_rate_limited() -> None:
    p = Pair()
    frames = watch(p)
    p.ia.neighbours.set_permanent(B4, p.lb.mac)
    for _ in range(100):
        inject4(p, 17, udp(1, 9999, b"x"))
    assert 0 < len(frames) <= 6
    frames.clear()
    p.net.run(3 * S)
    inject4(p, 17, udp(1, 9999, b"x"))
    assert len(frames) == 1 and frames[0][34:36] == b"\3\3"
    frames.clear()
    p.net.run(9 * S)
    inject4(p, 17, udp(1, 9999, b"x"), dst=b"\x0a\0\0\xff")
    inject4(p, 1, b"\3\3\xfc\xfc" + bytes(4) + header(A4, B4, 17, 8, 1, 0, 0, 0) + bytes(8))
    assert not frames
    inject4(p, 200, b"unknown protocol")
    assert len(frames) == 1 and frames[0][34:36] == b"\3\2"


def test_error_queue_and_path_mtu_of_udp() -> None:
    p = Pair()
    frames = watch(p)
    p.ia.neighbours.set_permanent(B4, p.lb.mac)
    u = p.a.udp_open((b"", 4000))
    u.recverr = True
    u.send_to(bytes(1400), (B4, 9))
    quoted = frames[-1][14 : 14 + 48]
    body = struct.pack(">BBHHH", 3, 4, 0, 0, 1000) + quoted
    inject4(p, 1, body[:2] + finish(ones_sum(body)) + body[4:])
    e = u.recv_error()
    assert e is not None and (e.errno, e.origin, e.type, e.code, e.info) == (90, 2, 3, 4, 1000)
    assert e.offender == B4 and e.dst == (B4, 9) and u.recv_error() is None
    frames.clear()
    u.send_to(bytes(1400), (B4, 9))
    assert len(frames) == 2 and max(map(len, frames)) <= 1014
    p.net.run(601 * S)
    frames.clear()
    u.send_to(bytes(1400), (B4, 9))
    assert len(frames) == 1


# Routes, multicast, raw, packet
def test_routes() -> None:
    from nvsandbox.sentry.net.stack.routes import Route

    p = Pair()
    p.a.routes.add(Route(bytes(4), 0, p.ia, b"\x0a\0\0\xfe"))
    p.a.routes.add(Route(b"\xc0\xa8\0\0", 16, p.ia, b"\x0a\0\0\xfd", metric=10))
    p.a.routes.add(Route(b"\xc0\xa8\0\0", 16, p.ia, b"\x0a\0\0\xfc", metric=5))
    p.a.routes.add(Route(b"\xc0\xa8\1\0", 24, None, kind=7))
    get = p.a.routes.lookup
    assert get(b"\x08\x08\x08\x08").gateway == b"\x0a\0\0\xfe"  # type: ignore[union-attr]
    assert get(b"\xc0\xa8\5\5").gateway == b"\x0a\0\0\xfc"  # type: ignore[union-attr]
    assert not p.a.routes.add(Route(b"\xc0\xa8\0\0", 16, p.ia, b"\x0a\0\0\xfc", metric=5))
    u = p.a.udp_open((b"", 0))
    assert u.send_to(b"x", (b"\xc0\xa8\1\1", 9)) == -113
    p.a.set_up(p.ia, False)
    assert u.send_to(b"x", (B4, 9)) == -101
    p.a.set_up(p.ia, True)
    p.a.remove_interface(p.ia)
    assert not p.a.routes.dump() or all(r.iface is None for r in p.a.routes.dump())
    assert not p.a.own and u.send_to(b"x", (B4, 9)) == -101


def test_multicast() -> None:
    p = Pair()
    for group in (b"\xe0\1\2\3", b"\xff\x15" + bytes(13) + b"\3"):
        frames: list[bytes] = []
        p.la.log, p.la.frames = True, frames
        u, v = p.a.udp_open((b"", 5000)), p.b.udp_open((b"", 5000))
        assert u.join(group, p.ia) == 0 and u.join(group, p.ia) == -98
        p.net.run(15 * S)
        v.send_to(b"all", (group, 5000), iface=p.ib)
        p.net.run(S)
        d = u.recv()
        assert d is not None and d.data == b"all" and d.dst == (group, 5000) and d.ttl == 1
        assert u.send_to(b"loop", (group, 5000), iface=p.ia) == 4 and u.queue.pop().data == b"loop"
        assert u.leave(group, p.ia) == 0 and u.leave(group, None) == -99
        p.net.run(S)
        v.send_to(b"none", (group, 5000), iface=p.ib)
        p.net.run(S)
        assert not u.queue
        u.close()
        v.close()
    assert not p.ia.reports


def test_raw_and_packet() -> None:
    p = Pair()
    r = p.a.raw_open(4, 1)
    k = p.a.packet_open(3, False)
    echo = b"\x08\0\0\0\0\1\0\1ping"
    echo = echo[:2] + finish(ones_sum(echo)) + echo[4:]
    assert r.send_to(echo, B4) == len(echo)
    p.net.run(S)
    d = r.recv()
    assert d is not None and d.data[20:22] == b"\0\0" and d.data[28:] == b"ping" and d.src[0] == B4
    seen = []
    while f := k.recv():
        seen.append((f[2], f[3]))
    assert (0x0800, 4) in seen and (0x0800, 0) in seen and (0x0806, 4) in seen
    r6 = p.a.raw_open(16, 58)
    assert r6.send_to(b"\x80\0\0\0\0\1\0\1ping", B6) == 12
    p.net.run(S)
    got = [d.data for d in iter(r6.recv, None)]
    assert any(g[0] == 129 and g[8:] == b"ping" for g in got)
    hdr = p.a.raw_open(4, 255)
    assert hdr.send_to(header(bytes(4), B4, 1, len(echo), 9, 0, 0, 0) + echo, B4) == 20 + len(echo)
    p.net.run(S)
    assert r.recv() is not None and hdr.send_to(b"short", B4) == -22
    for e in (r, r6, hdr, k):
        e.close()
    assert not p.a.raws and not p.a.packets


def test_errors_of_raw_endpoints() -> None:
    p = Pair()
    frames = watch(p)
    p.ia.neighbours.set_permanent(B4, p.lb.mac)
    r = p.a.raw_open(4, 99)
    assert r.send_to(b"x", b"") == -89 and r.send_to(b"x", B6) == -22
    assert r.send_to(b"x", b"\xff" * 4) == -13 and r.send_to(bytes(65536), B4) == -90
    assert r.send_to(b"x", b"\x08" * 4) == -101
    assert r.send_to(bytes(4000), B4) == 4000 and len(frames) == 3  # fragments
    r.local = bytes(4)
    assert r.send_to(b"x", B4) == 1 and frames[-1][26:30] == A4
    r.hdrincl = True
    head = header(bytes(4), B4, 99, 4, 9, 0, 0, 0) + b"data"
    for bad, err in (
        (head[:19], 22),
        (b"\x44" + head[1:], 22),
        (b"\x4f" + head[1:], 22),
        (bytes(1501), 90),
    ):
        assert r.send_to(bad, B4) == -err
    assert (
        r.send_to(head, B4) == 24 and ones_sum(frames[-1][14:34]) == 0 and frames[-1][26:30] == A4
    )
    six = p.a.raw_open(16, 200)
    six.checksum = 4
    assert six.send_to(b"short", B6) == -22 and six.send_to(b"longer", B6) == 6
    f6 = p.a.raw_open(16, 58)
    f6.icmp_filter = (1 << 256) - 1 - (1 << 129)
    for kind in (128, 129):
        body = bytes((kind, 0, 0, 0)) + bytes(8)
        body = body[:2] + finish(pseudo_sum(B6, A6, 58, len(body)) + ones_sum(body)) + body[4:]
        inject6(p, 58, body)
    assert [d.data[0] for d in f6.queue] == [129]
    f6.remote = A6
    inject6(p, 58, body)
    assert len(f6.queue) == 1
    cooked = p.a.packet_open(0x1234, True, p.ia)
    assert cooked.send(b"payload", p.ia) == -22
    assert cooked.send(b"payload", p.ia, p.lb.mac) == 7 and frames[-1][12:] == b"\x12\x34payload"
    assert cooked.send(bytes(1501), p.ia, p.lb.mac) == -90
    p.a.receive(p.ia, p.la.mac + p.lb.mac + b"\x12\x34hello", False, 0)
    got = cooked.recv()
    assert got is not None and got[:4] == (b"hello", p.lb.mac, 0x1234, 0)


def test_queries_are_answered() -> None:
    p = Pair()
    u = p.a.udp_open((b"", 5000))
    g4, g6 = b"\xe0\1\2\3", b"\xff\x15" + bytes(13) + b"\3"
    u.join(g4, p.ia)
    u.join(g6, p.ia)
    frames = watch(p)
    igmp = bytes((0x11, 10, 0, 0)) + bytes(4)
    inject4(p, 2, igmp[:2] + finish(ones_sum(igmp)) + igmp[4:], dst=b"\xe0\0\0\1")
    src = b"\xfe\x80" + bytes(13) + b"\2"
    all_nodes = b"\xff\2" + bytes(13) + b"\1"
    mld = bytes((130, 0, 0, 0)) + (1000).to_bytes(2, "big") + bytes(18)
    mld = mld[:2] + finish(pseudo_sum(src, all_nodes, 58, len(mld)) + ones_sum(mld)) + mld[4:]
    inject6(p, 58, mld, src, all_nodes, 1)
    p.net.run(1100 * MS)
    reports4 = [f for f in frames if f[12:14] == b"\x08\0"]
    reports6 = [f for f in frames if f[12:14] == b"\x86\xdd"]
    assert len(reports4) == 1 and reports4[0][38:39] == b"\x16" and reports4[0][42:46] == g4
    assert g6 in [f[70:86] for f in reports6]
    frames.clear()
    inject4(p, 2, igmp[:2] + finish(ones_sum(igmp)) + igmp[4:], dst=b"\xe0\0\0\1")
    other = bytes((0x16, 0, 0, 0)) + g4
    inject4(p, 2, other[:2] + finish(ones_sum(other)) + other[4:], dst=g4)
    p.net.run(1100 * MS)
    assert not frames  # somebody else has reported
    u.close()
    assert b"\x17" in [f[38:39] for f in frames] and b"\x84" in [f[62:63] for f in frames]


def test_duplicate_address_detection_of_others() -> None:
    p = Pair()
    frames = watch(p)
    target = A6
    dst = b"\xff\2" + bytes(9) + b"\1\xff" + target[13:]
    body = bytes((135, 0, 0, 0)) + bytes(4) + target
    body = body[:2] + finish(pseudo_sum(bytes(16), dst, 58, len(body)) + ones_sum(body)) + body[4:]
    inject6(p, 58, body, bytes(16), dst, 255)
    assert (
        len(frames) == 1
        and frames[0][54] == 136
        and frames[0][38:54] == b"\xff\2" + bytes(13) + b"\1"
    )


def test_tun_has_no_ethernet() -> None:
    p = Pair()
    p.both(mac=b"")
    u, v = p.a.udp_open((b"", 0)), p.b.udp_open((b"", 53))
    for ip in (B4, B6):
        u.send_to(b"over tun", (ip, 53))
        p.net.run(10 * MS)
        d = v.recv()
        assert d is not None and d.data == b"over tun"


def test_errors_about_ipv6() -> None:
    p = Pair()
    frames = watch(p)
    p.ia.neighbours.set_permanent(B6, p.lb.mac)
    u = p.a.udp_open((b"", 4000))
    u.recverr6 = True
    u.send_to(bytes(1400), (B6, 9))
    quoted = frames[-1][14:142]
    for kind, code, word, err, info in (
        (2, 0, 1300, 90, 1300),
        (1, 4, 0, 111, 0),
        (3, 0, 0, 113, 0),
        (4, 1, 6, 71, 0),
    ):
        body = bytes((kind, code, 0, 0)) + word.to_bytes(4, "big") + quoted
        body = body[:2] + finish(pseudo_sum(B6, A6, 58, len(body)) + ones_sum(body)) + body[4:]
        inject6(p, 58, body)
        e = u.recv_error()
        assert e is not None and (e.errno, e.origin, e.type, e.code, e.info) == (
            err,
            3,
            kind,
            code,
            info,
        )
    frames.clear()
    u.send_to(bytes(1400), (B6, 9))
    assert len(frames) == 2 and frames[0][20] == 44
    inject6(p, 17, udp(9, 9999, b"nobody", B6, A6))
    inject6(p, 200, b"12345678")
    assert [f[54:56] for f in frames[2:]] == [b"\1\4", b"\4\1"]


def test_counters_have_proc_names() -> None:
    p = Pair()
    dump = p.a.counters.dump()
    assert (
        dump["Tcp"]["InSegs"] == 0
        and dump["TcpExt"]["TCPTimeouts"] == 0
        and set(dump) >= {"Ip", "Udp6", "Icmp6"}
    )


def _records(body: bytes, size: int) -> list[tuple[int, bytes, list[bytes]]]:
    """Records of an IGMPv3 or MLDv2 report, addresses of ``size`` bytes."""
    out, at = [], 8
    for _ in range(body[6] << 8 | body[7]):
        n = body[at + 2] << 8 | body[at + 3]
        group, rest = body[at + 4 : at + 4 + size], body[at + 4 + size : at + 4 + size * (1 + n)]
        out.append((body[at], group, [rest[i : i + size] for i in range(0, len(rest), size)]))
        at += 4 + size * (1 + n)
    assert at == len(body)
    return out


def test_sources_of_groups() -> None:
    """RFC 3376 section 5.1, RFC 3810 section 6.1: what routers are told when filters change; section 6.2: what they ask for."""
    p = Pair()
    u, v = p.a.udp_open((b"", 5000)), p.a.udp_open((b"", 5000))
    frames = watch(p)
    g4, g6 = b"\xe8\1\2\3", b"\xff\x35" + bytes(13) + b"\3"
    one = {4: b"\x0a\0\0\7", 16: b"\xfd" + bytes(14) + b"\7"}
    two = {4: b"\x0a\0\0\x08", 16: b"\xfd" + bytes(14) + b"\x08"}

    def reports() -> list[tuple[int, bytes, list[bytes]]]:
        """What is told now; it is told once more within a second."""
        out = []
        for f in frames:
            if f[12:14] == b"\x08\0":
                assert (
                    f[30:34] == b"\xe0\0\0\x16" and f[38] == 0x22 and not ones_sum(f[38:]) % 65535
                )
                out += _records(f[38:], 4)
            else:
                assert f[38:54] == b"\xff\2" + bytes(13) + b"\x16" and f[62] == 143
                out += _records(f[62:], 16)
        frames.clear()
        return out

    for g in (g4, g6):
        n = len(g)
        index = p.ia.index
        assert u.members.source(True, True, g, one[n], index) == 0
        assert reports() == [(5, g, [one[n]])]
        p.net.run(1100 * MS)
        assert reports() == [(5, g, [one[n]])]
        assert u.members.source(True, True, g, two[n], index) == 0
        assert v.members.source(True, True, g, two[n], index) == 0
        assert reports() == [(5, g, [two[n]])]
        assert u.members.source(False, True, g, one[n], index) == 0
        assert reports() == [(6, g, [one[n]])]
        p.net.run(1100 * MS)
        frames.clear()
        # Somebody who wants everything but one source, which another wants
        assert v.leave(g, p.ia) == 0 and v.join(g, p.ia) == 0
        assert reports() == [(4, g, [])]
        assert v.members.source(True, False, g, one[n], index) == 0
        assert reports() == [(6, g, [one[n]])]
        assert v.members.source(True, False, g, two[n], index) == 0
        assert reports() == []
        p.net.run(1100 * MS)
        frames.clear()
        if n == 4:
            query = bytes((0x11, 10, 0, 0)) + bytes(8)
            inject4(p, 2, query[:2] + finish(ones_sum(query)) + query[4:], dst=b"\xe0\0\0\1")
        else:
            src, everybody = b"\xfe\x80" + bytes(13) + b"\2", b"\xff\2" + bytes(13) + b"\1"
            query = bytes((130, 0, 0, 0)) + (1000).to_bytes(2, "big") + bytes(22)
            query = (
                query[:2]
                + finish(pseudo_sum(src, everybody, 58, len(query)) + ones_sum(query))
                + query[4:]
            )
            inject6(p, 58, query, src, everybody, 1)
        p.net.run(1100 * MS)
        assert (2, g, [one[n]]) in reports()
        # Only what is wanted arrives
        u.queue.clear()
        v.queue.clear()
        for src in (one[n], two[n]):
            if n == 4:
                inject4(p, 17, udp(9, 5000, b"x", src, g), src=src, dst=g)
            else:
                inject6(p, 17, udp(9, 5000, b"x", src, g), src, g, 1)
        assert [d.src[0] for d in u.queue] == [two[n]] and not v.queue
        assert v.leave(g, p.ia) == 0
        assert reports() == [(3, g, [two[n]])]
        u.members.close()
        assert reports() == [(6, g, [two[n]])]
        p.net.run(1100 * MS)
        frames.clear()
