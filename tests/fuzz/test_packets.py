"""Mutated packets thrown at the TCP/IP stack: no exception, bounded memory, and it still works afterwards.

``FUZZ_SECONDS`` lengthens it, ``FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

import os
import random
import struct
import time
from typing import Any

import pytest
from net.test_ip import frag6, udp
from net.test_transfer import connect, pump
from net.wire import A4, A6, B4, B6, MS, Pair, S

from nvsandbox.sentry.net.stack.checksum import finish, ones_sum, pseudo_sum
from nvsandbox.sentry.net.stack.output import header
from nvsandbox.sentry.net.stack.tcp.segment import HEADER

SECONDS = int(os.environ.get("FUZZ_SECONDS", "6"))
SEED = int(os.environ.get("FUZZ_SEED") or (1 if os.environ.get("CI") else time.time()))
GROUPS4 = (bytes(4), b"\xe8\1\2\3", b"\xe8\1\2\4")
GROUPS6 = (b"\xff\2" + bytes(13) + b"\1", bytes(16), b"\xff\x35" + bytes(13) + b"\3")
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 4, 5, 0x40, 0x45, 0x60, 20, 40, 60)


def tcp(rng: random.Random, v6: bool, sport: int, dport: int, seq: int, ack: int) -> bytes:
    src, dst = (B6, A6) if v6 else (B4, A4)
    flags = rng.choice((0x10, 0x18, 0x11, 2, 0x12, 4, 0x14, 0x30, 0, 0x3F, rng.randrange(64)))
    options = rng.choice(
        (b"", b"\1\1\x08\x0a" + rng.randbytes(8), b"\2\4\x05\xb4\1\3\3\7\4\2\1\1", b"\1\1\5\x0a" + rng.randbytes(8),
         b"\1\1\5\x0a" + struct.pack(">II", (ack + 100) & 0xFFFFFFFF, (ack + 3000) & 0xFFFFFFFF), rng.randbytes(12))
    )  # fmt: skip
    data = rng.randbytes(rng.choice((0, 0, 1, 10, 1000)))
    size = 20 + len(options)
    head = HEADER.pack(
        sport,
        dport,
        seq & 0xFFFFFFFF,
        ack & 0xFFFFFFFF,
        size << 10 | flags,
        rng.randrange(65536),
        0,
        rng.randrange(20),
    )
    seg = head + options + data
    return seg[:16] + finish(pseudo_sum(src, dst, 6, len(seg)) + ones_sum(seg)) + seg[18:]


def base(rng: random.Random, p: Pair, conns: list[Any]) -> bytes:
    """A packet that makes some sense."""
    eth = p.la.mac + p.lb.mac
    v6 = rng.random() < 0.4
    src, dst = (B6, A6) if v6 else (B4, A4)
    kind = rng.randrange(10)
    if kind == 0:
        op = rng.choice((1, 2))
        body = (
            struct.pack(">HHBBH", 1, 0x0800, 6, 4, op)
            + p.lb.mac
            + bytes((10, 0, 0, rng.randrange(256)))
            + bytes(6)
            + A4
        )
        return rng.choice((p.la.mac, b"\xff" * 6)) + p.lb.mac + b"\x08\x06" + body
    if kind <= 4:
        live = [c for c in conns if (len(c.remote[0]) == 16) == v6]
        if live and rng.random() < 0.8:
            c = rng.choice(live)
            near = rng.choice((0, 0, 1, -1, 1000, rng.randrange(-70000, 70000)))
            back = rng.choice((0, 0, -1, 1, c.snd_nxt - c.snd_una, rng.randrange(-5000, 5000)))
            body = tcp(rng, v6, c.remote[1], c.local[1], c.rcv_nxt + near, c.snd_una + back)
        else:
            body = tcp(
                rng,
                v6,
                rng.randrange(65536),
                rng.choice((80, 81)),
                rng.getrandbits(32),
                rng.getrandbits(32),
            )
        proto = 6
    elif kind == 5:
        body, proto = (
            udp(
                rng.randrange(65536),
                rng.choice((53, 54)),
                rng.randbytes(rng.randrange(50)),
                src,
                dst,
            ),
            17,
        )
    elif kind == 6:
        proto = 58 if v6 else 1
        types = (1, 2, 3, 4, 128, 129, 130, 135, 136) if v6 else (0, 3, 4, 5, 8, 11, 12, 13)
        inner = header(dst, src, rng.choice((6, 17)), 30, 64, 0, 0, 0) + rng.randbytes(30)
        if conns and rng.random() < 0.5:
            c = rng.choice(conns)
            quoted = struct.pack(">HHI", c.local[1], c.remote[1], c.snd_una & 0xFFFFFFFF)
            inner = header(c.local[0], c.remote[0], 6, 28, 64, 0, 0, 0) + quoted + bytes(20)
        body = (
            bytes((rng.choice(types), rng.randrange(6), 0, 0))
            + rng.randbytes(2)
            + rng.randrange(2000).to_bytes(2, "big")
            + inner
        )
        extra = pseudo_sum(src, dst, 58, len(body)) if v6 else 0
        body = body[:2] + finish(extra + ones_sum(body)) + body[4:]
    elif kind == 7:
        whole = udp(1, 53, bytes(100), src, dst)
        at = rng.randrange(0, 13) * 8
        if v6:
            proto, body = 44, frag6(whole[at : at + 32], at, rng.random() < 0.7, rng.randrange(50))
        else:
            flags = at // 8 | (0x2000 if rng.random() < 0.7 else 0)
            body = header(src, dst, 17, 32, 64, 0, rng.randrange(50), flags) + whole[at : at + 32]
            return eth + b"\x08\0" + body
    elif kind == 8:
        group = rng.choice(GROUPS6 if v6 else GROUPS4)
        more = rng.randbytes(4) + b"".join(rng.choice((src, dst)) for _ in range(rng.randrange(4)))
        tail = group + (more if rng.random() < 0.6 else b"")
        if v6:
            body = bytes((rng.choice((130, 131, 132, 143)), 0, 0, 0)) + rng.randbytes(4) + tail
            src, dst = b"\xfe\x80" + bytes(13) + b"\2", rng.choice((group, GROUPS6[0], A6))
        else:
            body = bytes((rng.choice((0x11, 0x16, 0x17, 0x22)), rng.randrange(256), 0, 0)) + tail
            dst = rng.choice((group, b"\xe0\0\0\1", A4))
        extra = pseudo_sum(src, dst, 58, len(body)) if v6 else 0
        body = body[:2] + finish(extra + ones_sum(body)) + body[4:]
        proto = 58 if v6 else 2
    else:
        proto = rng.choice((0, 43, 60, 59, 2, 255))
        body = bytes((rng.choice((0, 6, 17, 43, 44, 58, 60)), rng.randrange(3))) + rng.randbytes(30)
    hop = rng.choice((64, 255, 1))
    return (
        eth
        + (b"\x86\xdd" if v6 else b"\x08\0")
        + header(src, dst, proto, len(body), hop, 0, 1, 0)
        + body
    )


def mutate(rng: random.Random, f: bytes) -> bytes:
    b = bytearray(f)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        if not b:
            break
        i = rng.randrange(min(len(b), 90))
        how = rng.randrange(5)
        if how == 0:
            b[i] = rng.choice(INTERESTING)
        elif how == 1:
            b[i] ^= 1 << rng.randrange(8)
        elif how == 2:
            del b[rng.randrange(len(b)) :]
        elif how == 3:
            b[i:i] = rng.randbytes(rng.randrange(9))
        else:
            b += rng.randbytes(rng.randrange(60))
    return bytes(b)


def memory(p: Pair) -> int:
    """Bytes and objects that the stack holds for others, weighed roughly."""
    t = p.a.tcp
    total = (
        p.a.fragments.cost
        + 300 * len(p.ia.neighbours.entries)
        + 500 * (len(t.requests) + len(t.waits))
    )
    total += sum(n.pending_bytes for n in p.ia.neighbours.entries.values())
    for c in t.conns.values():
        total += 4000 + c.rx.size + c.tx.size + (c.ooo.cost if c.ooo is not None else 0)
        total += sum(len(s.data) + 120 for s in c.rtxq)
    total += 100 * (len(p.a.pmtu) + len(p.a.icmp_limit.peers) + len(p.a.timers.heap))
    return total


@pytest.mark.parametrize("part", range(3))
@pytest.mark.timeout(SECONDS * 2 + 60)
def test_mutated_packets(part: int) -> None:
    seed = SEED * 3 + part
    print("seed", SEED, part)
    p = Pair(seed)
    rng = random.Random(seed)
    lst = p.a.tcp_listen((bytes(16), 80), 64, 16)
    lst.fastopen = 10
    p.a.tcp.fast.flags = p.b.tcp.fast.flags = 0x203
    p.a.udp_open((b"", 53), lite=True)
    udp_end = p.a.udp_open((b"", 53))
    raws = [p.a.raw_open(4, 1), p.a.raw_open(16, 58), p.a.packet_open(3, False)]
    end = time.monotonic() + SECONDS / 3
    worst = n = 0
    while time.monotonic() < end:
        for _ in range(100):
            f = base(rng, p, list(p.a.tcp.conns.values())[:8])
            ok = rng.random() < 0.3
            p.a.receive(p.ia, mutate(rng, f), ok, rng.choice((0, 0, 1, 1448)) if ok else 0)
            n += 1
        if len(p.a.tcp.conns) < 6:
            for ip in (B4, B6):
                p.a.tcp_connect((b"", 0), (ip, 99))
            p.b.tcp_listen((bytes(16), 99), 64, 16) if 99 not in p.b.tcp.listeners else None
        p.net.run(rng.choice((1, 10, 300)) * MS)
        for c in list(p.a.tcp.conns.values()):
            if rng.random() < 0.3:
                c.send(rng.randbytes(rng.randrange(20000)))
            if rng.random() < 0.3:
                c.recv(rng.randrange(1, 100000))
        while (c := lst.accept()) is not None:
            if rng.random() < 0.5:
                c.close()
        for g in (*GROUPS4[1:], GROUPS6[2]):
            if rng.random() < 0.2:
                src = rng.choice((B4, b"\x0a\0\0\x63") if len(g) == 4 else (B6, A6))
                udp_end.members.source(rng.random() < 0.5, rng.random() < 0.5, g, src, p.ia.index)
        if rng.random() < 0.1:
            worst = max(worst, memory(p))
        while udp_end.recv() or any(r.recv() for r in raws):
            pass
    assert p.a.counters.errors == p.b.counters.errors == 0
    assert n > 1000 and worst < 64 << 20
    for c in p.a.tcp.connections():
        c.abort()
    lst.close()
    for r in raws:
        r.close()
    p.net.run(200 * S)
    assert (
        not p.a.tcp.conns and not p.a.tcp.requests and not p.a.tcp.waits and not p.a.fragments.open
    )
    p.a.pmtu.clear()
    x, y = connect(p)
    assert pump(p.net, x, y, bytes(100_000)) == bytes(100_000)
