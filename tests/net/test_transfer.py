"""Two stacks on a simulated wire: every byte arrives once and in order, whatever the wire does."""

from __future__ import annotations

import random

import pytest

from nvsandbox.sentry.net.stack.tcp.connection import TcpConnection
from nvsandbox.sentry.net.stack.tcp.states import CLOSE

from .wire import A4, A6, B4, B6, MS, Net, Pair, S


def connect(p: Pair, v6: bool = False) -> tuple[TcpConnection, TcpConnection]:
    lst = p.b.tcp_listen((bytes(16 if v6 else 4), 80), 16, 16 if v6 else 4)
    c = p.a.tcp_connect((b"", 0), (B6 if v6 else B4, 80))
    assert p.net.until(lst.pending, 60 * S)
    d = lst.accept()
    assert d is not None
    lst.close()
    return c, d


def pump(net: Net, c: TcpConnection, d: TcpConnection, data: bytes, limit: int = 3600 * S) -> bytes:
    """Sends ``data`` from c to d and closes that direction; what d got."""
    got: list[bytes] = []
    at = [0]

    def write(events: int = 0) -> None:
        while at[0] < len(data):
            n = c.send(data[at[0] : at[0] + 65536])
            assert n >= 0, n
            if n == 0:
                return
            at[0] += n
        c.shutdown_write()

    def read(events: int = 0) -> None:
        while chunk := d.recv(1 << 20):
            got.append(chunk)

    c.notify, d.notify = write, read
    write()
    net.until(d.eof, limit)
    return b"".join(got)


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("offload", ["all", "checksums", "none"])
def test_transfer(v6: bool, offload: str) -> None:
    p = Pair(gso=offload == "all", checksums=offload != "none")
    c, d = connect(p, v6)
    data = random.Random(1).randbytes(3_000_000)
    assert pump(p.net, c, d, data) == data
    back = data[:500_000]
    assert pump(p.net, d, c, back) == back
    assert p.net.until(lambda: c.dead and d.dead)
    assert (c.take_error(), d.take_error()) == (0, 0)
    assert p.a.counters.tcp.RetransSegs == p.b.counters.tcp.RetransSegs == 0
    assert len(p.a.tcp.waits) == 1 and not p.b.tcp.waits
    p.net.run(61 * S)
    assert not p.a.tcp.waits and not p.a.tcp.conns and not p.b.tcp.conns


@pytest.mark.parametrize("rate", [2_000, 100_000, 5_000_000])
@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_pacing(rate: int, loss: float) -> None:
    """SO_MAX_PACING_RATE: no more than the rate, and of an untroubled wire not less."""
    p = Pair()
    p.la.loss = loss
    c, d = connect(p)
    c.pace = rate
    data = random.Random(1).randbytes(rate * 4)
    started = p.net.time
    assert pump(p.net, c, d, data) == data
    took = (p.net.time - started) / S
    ahead = max(rate >> 10, 2 * 1460) / rate  # the last piece goes at once
    assert took > (4 - ahead) * 0.98
    assert loss or took < 4.5


LOSSES = [0.001, 0.01, 0.05, 0.1, 0.2]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mode", ["loss", "reorder", "dup", "corrupt", "all"])
@pytest.mark.parametrize("gso", [True, False])
def test_bad_wire(loss: float, mode: str, gso: bool) -> None:
    p = Pair(seed=int(loss * 1000) + gso, gso=gso)
    p.both(delay=5 * MS)
    if mode in ("loss", "all"):
        p.both(loss=loss)
    if mode in ("reorder", "all"):
        p.both(jitter=int(loss * 100) * MS + MS)
    if mode in ("dup", "all"):
        p.both(dup=loss)
    if mode in ("corrupt", "all"):
        p.both(corrupt=loss)
    c, d = connect(p)
    data = random.Random(2).randbytes(200_000 if loss < 0.1 else 60_000)
    assert pump(p.net, c, d, data) == data
    assert pump(p.net, d, c, data[:30_000]) == data[:30_000]
    p.both(loss=0.0, corrupt=0.0)
    assert p.net.until(lambda: c.state == CLOSE and d.state == CLOSE)


@pytest.mark.parametrize("gso", [True, False])
def test_full_queue(gso: bool) -> None:
    p = Pair(gso=gso)
    c, d = connect(p)
    p.both(delay=5 * MS, full=0.05)
    data = random.Random(2).randbytes(1_000_000)
    assert pump(p.net, c, d, data) == data
    assert p.ia.tx_dropped and p.a.counters.tcpext.TCPTimeouts <= 2


def test_addresses() -> None:
    p = Pair()
    c, d = connect(p, True)
    assert c.local[0] == A6 and d.remote == c.local and d.local == (B6, 80)
    c4, _ = connect(p)
    assert c4.local[0] == A4
