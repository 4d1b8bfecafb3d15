"""ByteQueue, OutOfOrder and Timers against simple models."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from nvsandbox.sentry.net.stack.checksum import finish, ones_sum, parts_sum
from nvsandbox.sentry.net.stack.tcp.bytequeue import ByteQueue
from nvsandbox.sentry.net.stack.tcp.ooo import OVERHEAD, OutOfOrder
from nvsandbox.sentry.net.stack.timers import Expiring, Timer, Timers

DATA = random.Random(4).randbytes(200_000)


@given(
    st.lists(
        st.tuples(st.sampled_from("atp"), st.integers(0, 5000), st.integers(0, 3000)), max_size=60
    )
)
def test_byte_queue(steps: list[tuple[str, int, int]]) -> None:
    q = ByteQueue()
    model = b""
    for what, n, offset in steps:
        if what == "a":
            q.append(DATA[offset : offset + n])
            model += DATA[offset : offset + n]
        elif what == "t":
            assert q.take(n) == model[:n]
            model = model[n:]
        else:
            assert q.peek(n, offset) == model[offset : offset + n]
        assert q.size == len(model)
    assert q.take(1 << 30) == model and not q.size


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 60)), max_size=60), st.integers(0, 100)
)
def test_out_of_order(pieces: list[tuple[int, int]], start: int) -> None:
    o = OutOfOrder()
    have: set[int] = set()
    for at, n in pieces:
        new = set(range(at, at + n))
        old = have & new
        dup = o.add(at, DATA[at : at + n])
        assert bool(old) == (dup[1] > dup[0])
        assert set(range(*dup)) <= have
        have |= new
        blocks = o.blocks
        assert all(a.end < b.start for a, b in itertools.pairwise(blocks))
        assert {i for b in blocks for i in range(b.start, b.end)} == have
        assert o.cost == sum(len(p) + OVERHEAD for b in blocks for p in b.pieces)
        for b in blocks:
            assert b"".join(b.pieces) == DATA[b.start : b.end]
        newest = o.sacks()[0]
        assert newest[0] <= at and newest[1] >= at + n
    out = b"".join(o.pop(start))
    run = start
    while run in have:
        run += 1
    assert (
        out == DATA[start:run]
        if blocks_reach(have, start)
        else out == b"" or out == DATA[start : start + len(out)]
    )


def blocks_reach(have: set[int], start: int) -> bool:
    return start in have


class Owner(Expiring):
    def __init__(self, log: list[tuple[int, int]], n: int) -> None:
        self.log, self.n = log, n

    def expire(self, now: int) -> None:
        self.log.append((now, self.n))


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from("scfr"), st.integers(1, 1000)), max_size=200
    )
)
def test_timers(steps: list[tuple[int, str, int]]) -> None:
    timers = Timers()
    log: list[tuple[int, int]] = []
    all_of_them = [Timer(Owner(log, i)) for i in range(10)]
    due: dict[int, int] = {}
    freed: set[int] = set()
    now = 0
    told: list[int] = []
    timers.on_timer = told.append
    for i, what, n in steps:
        t = all_of_them[i]
        if what == "s" and i not in freed:
            timers.set(t, now + n)
            due[i] = now + n
            assert timers.next() is not None and timers.next() <= now + n  # type: ignore[operator]
        elif what == "c":
            timers.cancel(t)
            due.pop(i, None)
        elif what == "f":
            timers.free(t)
            freed.add(i)
            due.pop(i, None)
        else:
            now += n
            log.clear()
            timers.run(now)
            assert sorted(x for _, x in log) == sorted(k for k, v in due.items() if v <= now)
            due = {k: v for k, v in due.items() if v > now}


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_checksum(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    words = sum(
        int.from_bytes(whole[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(whole), 2)
    )
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    assert parts_sum(parts) == ones_sum(whole) == words % 65535
    if len(whole) % 2 == 0:
        assert ones_sum(whole + finish(ones_sum(whole))) == 0
