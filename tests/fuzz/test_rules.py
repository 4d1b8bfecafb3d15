"""Rules that programs hand to the packet filter: anything may come, and nothing but an errno may come of it; what is taken must end for every packet.

``FUZZ_SECONDS`` lengthens it, ``FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

import os
import random
import re
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from nvsandbox.rtattr import pack as attr
from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.kernel.userns import INIT_USER
from nvsandbox.sentry.net.netfilter import filters, hooks, legacy, nft_netlink, xt, xt_targets
from nvsandbox.sentry.net.netfilter.skb import Skb
from nvsandbox.sentry.net.netfilter.xt import align
from nvsandbox.sentry.net.stack.stack import Stack
from nvsandbox.sentry.net.state import NetState

SECONDS = int(os.environ.get("FUZZ_SECONDS", "6")) / 6
SEED = int(os.environ.get("FUZZ_SEED") or (1 if os.environ.get("CI") else time.time()))
pytestmark = pytest.mark.timeout(SECONDS * 2 + 60)

NAMES = sorted(legacy.NAMES)


def rounds(name: str) -> Iterator[random.Random]:
    """Generators of numbers until the time is over."""
    print("seed", SEED)
    rng = random.Random(f"{SEED} {name}")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for _ in range(50):
            yield rng


def packet(rng: random.Random, family: int) -> Skb:
    proto = rng.choice((1, 6, 17, 58, 132, rng.randrange(256)))
    src, dst = (rng.choice((bytes(family), b"\x7f" + bytes(family - 1), rng.randbytes(family))) for _ in "ab")  # fmt: skip
    head = b"\x45" + rng.randbytes(19) if family == 4 else b"\x60" + rng.randbytes(39)
    p = Skb(head, rng.randbytes(rng.randrange(90)), rng.randrange(3) * 1000, src, dst, proto, rng.random() < 0.5)  # fmt: skip
    p.iif, p.oif = rng.choice((b"", b"lo", b"eth0")), rng.choice((b"", b"lo", b"eth0"))
    p.fragment = rng.random() < 0.1
    return p


def piece(rng: random.Random, table: dict[tuple[bytes, int], list[Any]]) -> bytes:  # type: ignore[type-arg]
    """A struct xt_entry_match or xt_entry_target, often of the right size."""
    name, revision = rng.choice(list(table))
    size = align(table[name, revision][0].size)
    if rng.random() < 0.1:
        size = rng.randrange(0, 200, 8)
    data = rng.choice((bytes(size), bytes(rng.choice((0, 0, 0, 1, 2, 255)) for _ in range(size)), rng.randbytes(size)))  # fmt: skip
    length = 32 + size if rng.random() < 0.97 else rng.randrange(65536)
    return struct.pack("<H29sB", length, name, revision) + data


def table(rng: random.Random, family: int) -> tuple[bytes, int]:
    at = legacy.LAYOUTS[family]
    blob = b""
    n = rng.randrange(1, 12)
    offsets = [0]
    for i in range(n):
        raw = bytearray(at.entry)
        raw[at.proto] = rng.choice((0, 6, 17, 1, 58))
        if family == 16 and raw[at.proto]:
            raw[at.flags] = 1
        if rng.random() < 0.2:
            raw[rng.randrange(at.offsets)] = rng.randrange(256)
        matches = b"".join(piece(rng, xt.MATCHES) for _ in range(rng.choice((0, 0, 1, 1, 2))))  # type: ignore[arg-type]
        if i == n - 1:
            target = struct.pack("<H29sB30s2x", 64, b"ERROR", 0, b"ERROR")
        elif rng.random() < 0.5:
            verdict = rng.choice((-1, -2, -4, -5, rng.choice(offsets), rng.randrange(4000)))
            target = struct.pack("<H29sBi4x", 40, b"", 0, verdict)
        elif rng.random() < 0.1:
            target = struct.pack("<H29sB30s2x", 64, b"ERROR", 0, b"chain")
        else:
            target = piece(rng, xt_targets.TARGETS)  # type: ignore[arg-type]
        size = at.entry + len(matches) + len(target)
        struct.pack_into("<HH", raw, at.offsets, at.entry + len(matches), size)
        blob += bytes(raw) + matches + target
        offsets.append(len(blob))
    if rng.random() < 0.2:
        bad = bytearray(blob)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        blob = bytes(bad)
    return blob, n


def test_tables() -> None:
    now = 10**12

    def clock() -> int:
        return now

    stack = Stack(clock, random.Random(1).randbytes)
    nf = stack.nf = hooks.Netfilter(stack)
    taken = 0
    for rng in rounds("tables"):
        family = rng.choice((4, 16))
        name = rng.choice(NAMES)
        blob, n = table(rng, family)
        if rng.random() < 0.5:  # one that has the form of a table, with rules put in front
            base = legacy.empty(family, name)
            at = legacy.LAYOUTS[family]
            ones = b""
            for _ in range(rng.randrange(1, 4)):
                one, _n = table(rng, family)
                size = struct.unpack_from("<H", one, at.offsets + 2)[0]
                ones += one[:size]
            blob = ones + base.blob
            starts = [0 if o != legacy.NO_HOOK else o for o in base.hook_entry]
            ends = [o + len(ones) if o != legacy.NO_HOOK else o for o in base.underflow]
            n = len(_entries(blob, at))
        else:
            starts = [rng.choice((0, 0, 152, rng.randrange(3000))) for _ in range(5)]
            ends = [rng.choice((0, 0, 152, rng.randrange(3000))) for _ in range(5)]
        try:
            t = legacy.load(family, name, legacy.NAMES[name], n, blob, starts, ends, stack)
        except SysErr:
            continue
        taken += 1
        nf.load(t.chains, t.tracks)
        now += 10**9
        for _ in range(4):
            p = packet(rng, family)
            for hook in rng.sample(range(5), 3):
                assert nf.run(p, hook) in range(4)
        assert len(t.shown()) == len(blob)
    assert taken > 10


def _entries(blob: bytes, at: legacy.Layout) -> list[int]:
    out, here = [], 0
    while here + at.entry <= len(blob):
        out.append(here)
        here += max(struct.unpack_from("<H", blob, here + at.offsets + 2)[0], 8)
    return out


def quiet() -> Stack:
    return Stack(lambda: 10**12, random.Random(1).randbytes)


def test_options() -> None:
    """What getsockopt and setsockopt look at before there is a table."""
    stack = quiet()
    filters.ATTACH[:] = [lambda net, engine: stack]
    net = NetState(INIT_USER)
    for rng in rounds("options"):
        data = rng.choice((b"filter", b"nat", b"mangle\0x", rng.randbytes(8))).ljust(32, b"\0")
        data += b"".join(struct.pack("<I", rng.choice((0, 1, 4, 152, 632, 1 << 31, 0xFFFFFFFF))) for _ in range(rng.randrange(30)))  # fmt: skip
        family, opt = rng.choice((4, 16)), rng.choice((64, 65, 66, 67, 68, 69))
        with suppress(SysErr):
            legacy.replace(net, family, data)
        with suppress(SysErr):
            legacy.add_counters(net, family, data)
        data = data.ljust(84, b"\0")
        if legacy.reads(family, opt):
            with suppress(SysErr):
                size = rng.choice((30, 40, 84, len(data), 672))
                legacy.answer(net, family, opt, data[:84], size)


def nested(rng: random.Random, kind: int, *parts: bytes) -> bytes:
    return attr(kind | (0x8000 if rng.random() < 0.9 else 0), b"".join(parts))


def number(rng: random.Random, kind: int, *usual: int) -> bytes:
    n = rng.choice(usual) if rng.random() < 0.9 else rng.getrandbits(32)
    size = 4 if rng.random() < 0.98 else rng.randrange(9)
    return attr(kind, (n & 0xFFFFFFFF).to_bytes(4, "big")[:size])


def value(rng: random.Random, kind: int, *sizes: int) -> bytes:
    n = rng.choice(sizes) if rng.random() < 0.95 else rng.randrange(70)
    return nested(rng, kind, attr(1, rng.choice((bytes(n), rng.randbytes(n)))))


def verdict(rng: random.Random, kind: int) -> bytes:
    code = number(rng, 1, 0, 1, -1, -3, -4, -5)
    chain = attr(2, rng.choice((b"a\0", b"b\0", b"c\0"))) if rng.random() < 0.7 else b""
    return nested(rng, kind, nested(rng, 2, code, chain))


REGS = (1, 1, 1, 2, 3, 8, 9, 11, 23)


def one_expression(rng: random.Random) -> bytes:
    name = rng.choice(("payload", "meta", "ct", "cmp", "immediate", "bitwise", "byteorder", "range", "lookup", "counter", "limit", "quota", "nat", "masq", "redir", "reject", "fib", "numgen", "hash", "exthdr", "rt", "log", "notrack", "dynset", "objref", "match", "target", "nosuch"))  # fmt: skip
    r = lambda kind: number(rng, kind, *REGS)  # noqa: E731
    n = lambda kind, *usual: number(rng, kind, *usual)  # noqa: E731
    small = rng.randrange(24)
    bodies = {
        "payload": r(rng.choice((1, 5))) + n(2, 0, 1, 2) + n(3, 0, 2, 8, 12, 16, 24) + n(4, 1, 2, 4, 16) + n(6, 0, 1) + n(7, 0, 6, 10),
        "meta": r(rng.choice((1, 3))) + n(2, *range(34)), "ct": r(rng.choice((1, 4))) + n(2, *range(24)) + (attr(3, bytes((rng.randrange(3),))) if small % 2 else b""),
        "cmp": r(1) + n(2, *range(6)) + value(rng, 3, 1, 2, 4, 16), "immediate": verdict(rng, 2) + n(1, 0) if small % 2 else r(1) + value(rng, 2, 2, 4, 16),
        "bitwise": r(1) + r(2) + n(3, 4, 2, 16) + value(rng, 4, 4) + value(rng, 5, 4) + (n(6, 1, 2) + value(rng, 7, 4) if small % 2 else b""),
        "byteorder": r(1) + r(2) + n(3, 0, 1) + n(4, 2, 4, 8) + n(5, 2, 4, 8), "range": r(1) + n(2, 0, 1) + value(rng, 3, 2) + value(rng, 4, 2),
        "lookup": attr(1, rng.choice((b"s\0", b"m\0", b"v\0", b"i\0", b"j\0"))) + (r(2) if small else n(2, 8)) + (r(3) if small % 3 else n(3, 0)) + n(5, 0, 1),
        "counter": attr(1, rng.randbytes(8)), "limit": attr(1, bytes(7) + b"\1") + attr(2, bytes(7) + b"\1") + n(3, 0, 5) + n(4, 0, 1) + n(5, 0, 1),
        "quota": attr(1, rng.randbytes(8)) + n(2, 0, 1), "nat": n(1, 0, 1) + n(2, 2, 10) + r(3) + r(5) + n(7, 0, 3), "masq": n(1, 0, 4) + r(2), "redir": r(1) + n(3, 0),
        "reject": n(1, 0, 1, 2) + attr(2, bytes((rng.randrange(5),))), "fib": r(1) + n(2, 1, 2, 3) + n(3, 1, 2, 33, 10), "numgen": r(1) + n(2, 0, 1, 5) + n(3, 0, 1) + n(4, 0, 7),
        "hash": r(1) + r(2) + n(3, 4, 8) + n(4, 2, 0) + n(5, 1) + n(7, 0), "exthdr": r(rng.choice((1, 7))) + attr(2, bytes((small % 9,))) + n(3, 0, 2) + n(4, 1, 2) + n(5, 0, 1) + n(6, 1, 0),
        "rt": r(1) + n(2, 3, 1), "log": attr(2, rng.randbytes(9)), "notrack": b"", "objref": n(1, 1) + attr(2, b"o\0"),
        "dynset": attr(1, rng.choice((b"s\0", b"m\0"))) + n(3, 0, 1, 2) + r(4) + (r(5) if small % 2 else b"") + attr(6, bytes(6) + b"\1\1") + nested(rng, 7, attr(1, b"counter\0"), nested(rng, 2)),
        "nosuch": b"",
    }  # fmt: skip
    if name in ("match", "target"):
        raw = piece(rng, xt.MATCHES if name == "match" else xt_targets.TARGETS)  # type: ignore[arg-type]
        body = attr(1, raw[2:31].rstrip(b"\0") + b"\0") + n(2, raw[31]) + attr(3, raw[32:])
    else:
        body = bodies[name]
    return nested(rng, 1, attr(1, name.encode() + b"\0"), nested(rng, 2, body))


def one_message(rng: random.Random, seq: int) -> bytes:
    kind = rng.choice((0, 3, 6, 6, 6, 6, 6, 6, 9, 12, 12, 14, 18, rng.randrange(26)))
    n = lambda kind, *usual: number(rng, kind, *usual)  # noqa: E731
    chain = rng.choice((b"a\0", b"b\0", b"c\0"))
    bodies = {
        0: n(2, 0, 0, 1), 3: attr(3, chain) + (nested(rng, 4, n(1, 0, 1, 2, 3, 4), n(2, 0, -100, 100)) + n(5, 0, 1) + attr(7, rng.choice((b"filter\0", b"nat\0", b"route\0"))) if rng.random() < 0.7 else b""),
        5: attr(3, chain), 6: attr(2, chain) + nested(rng, 4, *(one_expression(rng) for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3))))) + nested(rng, 5, n(1, 0, 6, 17), n(2, 0, 2)) + attr(7, b"note") + n(9, 1),
        8: attr(2, chain) + (attr(3, bytes(7) + bytes((rng.randrange(9),))) if rng.random() < 0.5 else b""),
        9: attr(2, rng.choice((b"s\0", b"m\0", b"v\0", b"i\0", b"__set%d\0"))) + n(3, 0, 4, 8, 0x10, 0x18, 0x84, 1) + n(4, 7) + n(5, 4, 2, 8) + rng.choice((b"", n(6, 7, 0xFFFFFF00) + n(7, 4))) + n(10, 1) + rng.choice((b"", nested(rng, 9, n(1, 3), nested(rng, 2, nested(rng, 1, n(1, 4)), nested(rng, 1, n(1, 4)))))),
        11: attr(2, b"s\0"), 12: attr(2, rng.choice((b"s\0", b"m\0", b"v\0", b"i\0", b"j\0"))) + nested(rng, 3, *(element(rng) for _ in range(rng.randrange(4)))),
        14: attr(2, rng.choice((b"s\0", b"i\0"))) + nested(rng, 3, *(element(rng) for _ in range(rng.randrange(3)))),
        18: attr(2, b"o\0") + n(3, 1, 2, 4) + nested(rng, 4, attr(1, bytes(7) + b"\1"), attr(2, bytes(7) + b"\1")), 20: attr(2, b"o\0") + n(3, 1),
    }  # fmt: skip
    body = bytes((1 if rng.random() < 0.95 else rng.choice((2, 10, rng.randrange(9))), 0, 0, 0)) + attr(1, b"t\0" if rng.random() < 0.95 else b"u\0") + bodies.get(kind, rng.randbytes(20))  # fmt: skip
    flags = rng.choice((0x400, 0xC00, 0x600, 0xC00, 0x500, 0))
    return struct.pack("<IHHII", 16 + len(body), 10 << 8 | kind, 1 | 4 | flags, seq, 0) + body


def element(rng: random.Random) -> bytes:
    out = value(rng, 1, 4, 2, 8) + number(rng, 3, 0, 0, 1, 2)
    out += rng.choice((b"", value(rng, 10, 4, 8), value(rng, 2, 4), verdict(rng, 2), attr(4, bytes(6) + b"\1\1"), nested(rng, 7, attr(1, b"counter\0"), nested(rng, 2))))  # fmt: skip
    return nested(rng, 1, out)


def prelude() -> bytes:
    """A table with chains and sets for the rest to be about."""

    def be(kind: int, n: int) -> bytes:
        return attr(kind, (n & 0xFFFFFFFF).to_bytes(4, "big"))

    def base(hook: int, priority: int, kind: bytes) -> bytes:
        return attr(4, be(1, hook) + be(2, priority)) + attr(7, kind + b"\0")

    def made(name: bytes, flags: int, more: bytes = b"", size: int = 4) -> tuple[int, bytes]:
        return 9, attr(2, name + b"\0") + be(3, flags) + be(4, 7) + be(5, size) + be(10, 1) + more

    data = struct.pack("<IHHIIBBH", 20, 16, 1, 0, 0, 0, 0, 10 << 8)
    mapped = be(6, 7) + be(7, 4)
    messages = [
        (0, b""), (3, attr(3, b"a\0") + base(3, -100, b"nat")), (3, attr(3, b"b\0") + base(1, 0, b"filter")), (3, attr(3, b"c\0")),
        made(b"s", 0x10), made(b"m", 8, mapped), made(b"v", 8, be(6, 0xFFFFFF00)), made(b"i", 4),
        made(b"j", 0x84, attr(9, attr(2, attr(1, be(1, 4)) + attr(1, be(1, 2)))), 8), (18, attr(2, b"o\0") + be(3, 1) + attr(4, b"")),
    ]  # fmt: skip
    for kind, more in messages:
        body = bytes((1, 0, 0, 0)) + attr(1, b"t\0") + more
        data += struct.pack("<IHHII", 16 + len(body), 10 << 8 | kind, 0x401, 1, 0) + body
    return data + struct.pack("<IHHIIBBH", 20, 17, 1, 9, 0, 0, 0, 10 << 8)


def listing(f: filters.Filters) -> list[bytes]:
    """Everything there is, as it is listed."""
    out: list[bytes] = []
    for kind in (1, 4, 7, 10, 19):
        ask = struct.pack("<IHHII", 20, 10 << 8 | kind, 0x301, 1, 0) + bytes(4)
        out += nft_netlink.requests(f, 1, nft_netlink.split(ask))
    for (family, table), t in f.nft.tables.items():
        for name in t.sets:
            body = bytes((family, 0, 0, 0)) + attr(1, table + b"\0") + attr(2, name + b"\0")
            ask = struct.pack("<IHHII", 16 + len(body), 10 << 8 | 13, 0x301, 1, 0) + body
            out += nft_netlink.requests(f, 1, nft_netlink.split(ask))
    return out


def timeless(messages: list[bytes]) -> list[bytes]:
    """Without how long elements have left (NFTA_SET_ELEM_EXPIRATION)."""
    return [re.sub(rb"\x0c\0\x05\0.{8}", b"", m, flags=re.DOTALL) for m in messages]


def test_messages() -> None:
    stack = quiet()

    def attach(net: NetState, engine: hooks.Netfilter | None) -> Stack:
        stack.nf = engine
        net.stack = stack
        return stack

    filters.ATTACH[:] = [attach]
    done = refused = 0
    for rng in rounds("messages"):
        net = NetState(INIT_USER)
        stack.nf = None
        f = net.filters = filters.Filters(net)
        nft_netlink.batch(f, 1, nft_netlink.split(prelude()))
        assert len(f.nft.tables) == 1
        for _ in range(12):
            begin = struct.pack("<IHHIIBBH", 20, 16, 1, 0, 0, 0, 0, 10 << 8)
            end = struct.pack("<IHHIIBBH", 20, 17, 1, 9, 0, 0, 0, 10 << 8)
            data = begin + b"".join(m + bytes(-len(m) % 4) for m in (one_message(rng, i + 1) for i in range(rng.choice((1, 1, 1, 2))))) + (end if rng.random() < 0.95 else b"")  # fmt: skip
            if rng.random() < 0.1:
                bad = bytearray(data)
                for _ in range(rng.randrange(1, 5)):
                    bad[rng.randrange(20, len(bad))] = rng.randrange(256)
                data = bytes(bad)
            before = (f.nft.generation, f.nft.rules, f.nft.bytes, f.nft.chains)
            was = listing(f) if rng.random() < 0.2 else None
            nft_netlink.batch(f, 1, nft_netlink.split(data))
            if f.nft.generation != before[0]:
                done += 1
            else:
                refused += 1
                assert (f.nft.rules, f.nft.bytes, f.nft.chains) == before[1:]
                now = listing(f)
                assert was is None or timeless(now) == timeless(was)
            rules = [r for c in f.nft.all_chains() for r in c.rules]
            assert f.nft.rules == len(rules) and f.nft.bytes == sum(r.size for r in rules)
            nf = stack.nf
            for _ in range(3 if nf is not None else 0):
                assert nf is not None
                p = packet(rng, rng.choice((4, 16)))
                for hook in rng.sample(range(5), 3):
                    assert nf.run(p, hook) in range(4)
    assert done > 20 and refused > 20


def test_connections() -> None:
    """Messages about tracked connections."""
    stack = quiet()
    filters.ATTACH[:] = [lambda net, engine: stack]
    f = filters.Filters(NetState(INIT_USER))
    e = f.engine = hooks.Netfilter(stack)
    forgotten = 0
    for rng in rounds("connections"):
        p = packet(rng, rng.choice((4, 16)))
        p.src, p.dst = bytes(len(p.src)), rng.randbytes(1).rjust(len(p.dst), b"\x0a")
        e.table.track(p)
        e.table.confirm(p)
        size = rng.choice((4, 16))
        kinds = (1, 2) if size == 4 else (3, 4)
        ips = attr(kinds[0], bytes(size)) + attr(kinds[1], rng.randbytes(1).rjust(size, b"\x0a"))
        parts = attr(1, bytes((rng.choice((1, 6, 17, 58, 99)),))) + b"".join(attr(k, rng.randbytes(rng.choice((1, 2, 2, 0)))) for k in rng.sample(range(2, 10), 3))  # fmt: skip
        body = bytes((rng.choice((0, 2, 10)), 0, 0, 0))
        if rng.random() < 0.9:
            body += nested(rng, rng.choice((1, 2)), nested(rng, 1, ips), nested(rng, 2, parts))
        raw = struct.pack("<IHHII", 16 + len(body), 1 << 8 | rng.randrange(8), rng.choice((1, 5, 0x301)), 1, 0) + body  # fmt: skip
        raw = raw[: rng.randrange(16, len(raw) + 1)] if rng.random() < 0.1 else raw
        before = e.table.count
        for answer in nft_netlink.requests(f, 1, [(raw[4] | raw[5] << 8, raw[6] | raw[7] << 8, 1, raw)]):  # fmt: skip
            assert len(answer) >= 20
        forgotten += before - e.table.count
        assert 0 <= e.table.count <= e.table.limit
    assert forgotten > 0
