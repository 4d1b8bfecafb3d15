"""Rules that programs hand to the packet filter: anything may come, and nothing but an errno may come of it; what is taken must end for every packet.

``FUZZ_SECONDS`` lengthens it, ``FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.net.netfilter import filters, hooks, legacy, xt_matches, xt_targets
from nvsandbox.sentry.net.netfilter.skb import Skb
from nvsandbox.sentry.net.netfilter.xt import align
from nvsandbox.sentry.net.stack.stack import Stack

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


def piece(rng: random.Random, table: dict[tuple[bytes, int], list[tuple[int, ...]]]) -> bytes:  # type: ignore[type-arg]
    """A struct xt_entry_match or xt_entry_target, often of the right size."""
    name, revision = rng.choice(list(table))
    size = align(table[name, revision][0][0])
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
        matches = b"".join(
            piece(rng, xt_matches.MATCHES) for _ in range(rng.choice((0, 0, 1, 1, 2)))
        )  # type: ignore[arg-type]
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


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """What getsockopt and setsockopt look at before there is a table."""

    class Asker:
        def __getattr__(self, name: str) -> object:
            return lambda *a: True

        creds = property(lambda self: self)

    class Net:
        filters = stack = None

        def administrator(self) -> None:
            return None

    stack = Stack(lambda: 10**12, random.Random(1).randbytes)
    monkeypatch.setattr(filters, "ATTACH", [lambda net, engine: stack])
    for rng in rounds("options"):
        data = rng.choice((b"filter", b"nat", b"mangle\0x", rng.randbytes(8))).ljust(32, b"\0")
        data += b"".join(struct.pack("<I", rng.choice((0, 1, 4, 152, 632, 1 << 31, 0xFFFFFFFF))) for _ in range(rng.randrange(30)))  # fmt: skip
        family, opt = rng.choice((4, 16)), rng.choice((64, 65, 66, 67, 68, 69))
        with suppress(SysErr):
            legacy.set_option(Asker(), Net(), family, rng.choice((64, 65)), data)  # type: ignore[arg-type]
        data = data.ljust(84, b"\0")
        if legacy.reads(family, opt):
            with suppress(SysErr):
                legacy.get_option(
                    Asker(), Net(), family, opt, data[:84], rng.choice((30, 40, 84, len(data), 672))
                )  # type: ignore[arg-type]
