"""Segments in, segments out: handshake, options, retransmission, RACK, windows, resets, closing, TIME-WAIT."""

from __future__ import annotations

import itertools

import pytest

from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.net.stack.tcp.states import (
    CLOSE,
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    SYN_RECV,
)

from .script import PEER_ISN, Script
from .wire import B4, MS, S

ONE = bytes(1460)


# Handshake
def test_syn_options_and_retries() -> None:
    s = Script()
    c = s.s.tcp_connect((b"", 0), (B4, 9))
    syn = s.expect("S 0 @0")[0]
    assert (
        syn.options[2] == (1460).to_bytes(2, "big")
        and syn.options[3] == b"\7"
        and 4 in syn.options
        and 8 in syn.options
    )
    s.wait(64_000)
    s.expect("S 0 @1000", "S 0 @3000", "S 0 @7000", "S 0 @15000", "S 0 @31000", "S 0 @63000")
    s.wait(64_000)
    assert c.dead and c.take_error() == 110


@pytest.mark.parametrize("ts", [False, True])
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("wscale", [-1, 0, 14])
def test_options_are_negotiated(ts: bool, sack: bool, wscale: int) -> None:
    s = Script()
    c = s.connect(ts=ts, sack=sack, wscale=wscale, mss=1000)
    assert c.ts_ok == ts and c.sack_ok == sack and c.mss == 1000 - 12 * ts
    assert c.snd_wscale == max(wscale, 0) and (c.rcv_wscale == 7) == (wscale >= 0)
    c.send(bytes(3000))
    got = s.seen()
    assert [len(g.data) for g in got] == [c.mss] * 3 + [3000 - 3 * c.mss][
        : 3 * c.mss < 3000
    ] or len(got) == 3
    assert all((8 in g.options) == ts for g in got)


def test_passive_open() -> None:
    s = Script()
    c = s.accept()
    assert c.local[1] == 80 and c.remote == (B4, 9)
    s.inject("P.", 1, b"hello", ack=1)
    s.expect(". 1 ack 6")
    assert c.recv(100) == b"hello"


def test_syn_ack_is_repeated_and_given_up() -> None:
    s = Script()
    lst = s.listen()
    s.inject("S", 0)
    s.expect("S. 0 ack 1")
    s.inject("S", 0)
    s.expect("S. 0 ack 1")
    s.wait(70_000)
    assert len(s.seen()) == 5
    assert not s.s.tcp.requests and lst.requests == 0


def test_bad_ack_in_syn_sent() -> None:
    s = Script()
    c = s.s.tcp_connect((b"", 0), (B4, 9))
    s.expect("S 0")
    s.inject("S.", 0, ack=77)
    s.expect("R 77")
    assert c.state == 2
    s.inject("R.", 0, ack=77)
    s.silent()
    s.inject("R", 0)
    assert c.state == 2
    s.inject("R.", 0, ack=1)
    assert c.dead and c.take_error() == 111


def test_simultaneous_open() -> None:
    s = Script()
    c = s.s.tcp_connect((b"", 0), (B4, 9))
    s.expect("S 0")
    s.inject("S", 0, options=b"\2\4\x05\xb4")
    s.expect("S. 0 ack 1")
    assert c.state == SYN_RECV
    s.inject("S.", 0, ack=1)
    assert c.state == ESTABLISHED
    s.seen()
    c.send(b"abc")
    s.expect(". 1:4 ack 1")


def test_listener_refuses() -> None:
    s = Script()
    s.listen()
    s.inject(".", 5, ack=9)
    assert s.seen()[0].flags == "R"
    s.inject("R", 5)
    s.inject("F", 5)
    s.inject("SF", 5)
    s.inject("", 5)
    assert [g.flags for g in s.seen()] in ([], ["R.", "R."], ["R.", "R.", "R."])
    s.lport = 81
    s.inject("S", 7)
    assert s.seen()[0].flags == "R." and not s.s.tcp.requests


def test_data_with_the_third_ack() -> None:
    s = Script()
    lst = s.listen()
    s.inject("S", 0)
    s.expect("S. 0 ack 1")
    s.inject("FP.", 1, b"request", ack=1)
    c = lst.accept()
    assert c is not None and c.recv(99) == b"request" and c.eof() and c.state == CLOSE_WAIT
    s.expect(". 1 ack 9")


# Sending
def test_nagle_and_nodelay() -> None:
    s = Script()
    c = s.connect()
    c.send(b"a")
    c.send(b"b")
    c.send(b"c")
    s.expect(". 1:2")
    s.inject(".", 1, ack=2)
    s.expect(". 2:4")
    c.nodelay = True
    c.send(b"d")
    c.send(b"e")
    s.expect(". 4:5", ". 5:6")
    s.inject(".", 1, ack=6)
    c.cork = True
    c.send(ONE + b"tail")
    s.expect(". 6:1466")
    s.inject(".", 1, ack=1466)
    c.cork = False
    c.push()
    s.expect(". 1466:1470")


def test_cork_holds_no_longer_than_the_probe_timer() -> None:
    s = Script()
    c = s.connect(cork=True)
    s.mark()
    c.send(b"abc")
    s.silent()
    s.wait(1000)
    got = s.seen()
    assert [g.data for g in got][:1] == [b"abc"] and 150 < got[0].at < 450


def test_initial_window_is_ten_segments() -> None:
    s = Script()
    c = s.connect(ts=True, wscale=7)
    c.send(bytes(50_000))
    assert len(s.seen()) == 10


def test_slow_start() -> None:
    s = Script()
    c = s.connect(wscale=7)
    c.send(bytes(80_000))
    assert len(s.seen()) == 10
    s.wait(10)
    s.inject(".", 1, ack=1 + 2 * 1460)
    assert len(s.seen()) == 4
    s.inject(".", 1, ack=1 + 10 * 1460)
    assert len(s.seen()) == 16


def test_retransmission_timer_backs_off() -> None:
    s = Script()
    c = s.connect(sack=False)
    s.wait(1000)
    s.mark()
    c.send(b"abc")
    s.wait(7000)
    s.expect(
        ". 1:4 @0",
        ". 1:4 @200",
        ". 1:4 @600",
        ". 1:4 @1400",
        ". 1:4 @3000",
        ". 1:4 @6200",
        tolerance=10,
    )
    s.inject(".", 1, ack=4)
    s.wait(3000)
    s.silent()
    assert c.unsent_bytes() == (0, 0)


def test_tail_loss_probe() -> None:
    s = Script()
    c = s.connect(ts=True, wscale=7)
    s.wait(100)
    for at in (1, 2):
        c.send(bytes(1448))
        s.wait(50)
        s.inject(".", 1, ack=1 + 1448 * at)
    s.seen()
    srtt = c.srtt / MS
    s.mark()
    c.send(bytes(1448 * 3))
    s.wait(int(2 * srtt) + 20)
    got = s.seen()
    assert [g.seq for g in got] == [2897, 4345, 5793, 5793]
    assert abs(got[3].at - 2 * srtt) < 10
    s.sack(2897, (5793, 7241))
    s.wait(srtt)
    assert [g.seq for g in s.seen()] == [2897]
    s.sack(4345, (5793, 7241))
    assert [g.seq for g in s.seen()] == [4345]
    assert s.s.counters.tcpext.TCPTimeouts == 0


def lossy(s: Script, n: int = 10) -> None:
    """Ten segments in flight, round trip 100 ms."""
    c = s.connect(ts=True, wscale=7, rtt=100)
    c.send(bytes(100))
    s.wait(100)
    s.inject(".", 1, ack=101)
    s.seen()
    c.send(bytes(1448 * n))
    assert [g.seq for g in s.seen()] == [101 + 1448 * i for i in range(n)]
    s.wait(100)


def test_fast_retransmit_after_three_sacks() -> None:
    s = Script()
    lossy(s)
    s.sack(101, (1549, 2997))
    s.sack(101, (1549, 4445))
    s.silent()
    s.mark()
    s.sack(101, (1549, 5893))
    s.expect(". 101:1549 @0")


def test_rack_waits_for_reordering() -> None:
    s = Script()
    lossy(s)
    s.sack(101, (1549, 2997))
    s.silent()
    s.mark()
    s.wait(100)
    got = s.seen()
    assert got and got[0].seq == 101 and 5 < got[0].at < 40  # a quarter of the round trip


def test_reordering_is_no_loss() -> None:
    s = Script()
    lossy(s)
    s.sack(101, (1549, 2997))
    s.wait(2)
    s.inject(".", 1, ack=2997)
    s.sack(2997, (4445, 5893), (5893, 7341))
    s.wait(2)
    s.inject(".", 1, ack=101 + 1448 * 10)
    s.wait(500)
    s.silent()
    assert s.s.counters.tcp.RetransSegs == 0


def test_lost_retransmission_is_found() -> None:
    s = Script()
    lossy(s)
    s.sack(101, (1549, 5893))
    s.expect(". 101:1549")
    s.wait(50)
    c = s.s.tcp_connections()[0]
    c.send(bytes(1448 * 4))
    s.sack(101, (1549, 101 + 1448 * 10))
    assert [g.seq for g in s.seen()] == [101 + 1448 * i for i in range(10, 14)]
    s.wait(100)
    s.sack(101, (1549, 101 + 1448 * 12))
    s.wait(60)
    assert 101 in [g.seq for g in s.seen()]
    assert s.s.counters.tcpext.TCPTimeouts == 0 and s.s.counters.tcpext.TCPLostRetransmit == 1


def test_spurious_recovery_is_undone() -> None:
    s = Script()
    lossy(s)
    c = s.s.tcp_connections()[0]
    before = c.cwnd
    old = s.ts_theirs
    s.sack(101, (1549, 5893))
    s.expect(". 101:1549")
    assert c.cwnd < before
    s.wait(5)
    s.inject(".", 1, ack=101 + 1448 * 10, tsecr=old)
    assert s.s.counters.tcpext.TCPFullUndo == 1 and c.cwnd >= before


@pytest.mark.parametrize("sack", [False, True])
def test_spurious_timeout_without_timestamps(sack: bool) -> None:
    """RFC 5682: ACKs of what was sent first come late; nothing but the first segment goes out again."""
    s = Script()
    c = s.connect(sack=sack, ts=False)
    c.send(bytes(1460 * 20))
    assert len(s.seen()) == 10
    before = c.cwnd
    s.wait(1500)
    probe = 1 + 1460 * 10 if sack else 1  # a loss probe takes new data
    assert {g.seq for g in s.seen()} == {1, probe} and c.ca_state == 4
    s.inject(".", 1, ack=1 + 1460)
    new = 1 + 1460 * (11 if sack else 10)
    assert [g.seq for g in s.seen()] == [new, new + 1460]
    s.inject(".", 1, ack=1 + 1460 * 2)
    assert c.ca_state == 0 and c.cwnd >= before
    assert s.s.counters.tcpext.TCPSpuriousRTOs == 1
    s.inject(".", 1, ack=1 + 1460 * 10)
    assert all(g.seq > 1 + 1460 * 10 for g in s.seen())


def test_a_real_loss_after_a_timeout() -> None:
    """The same, but the second ACK repeats the first: what is taken for lost is sent again."""
    s = Script()
    c = s.connect(sack=False, ts=False)
    c.send(bytes(1460 * 20))
    s.wait(1500)
    s.seen()
    s.inject(".", 1, ack=1 + 1460)
    assert [g.seq for g in s.seen()] == [1 + 1460 * 10, 1 + 1460 * 11]
    s.inject(".", 1, ack=1 + 1460)
    assert c.ca_state == 4
    s.inject(".", 1, ack=1 + 1460)
    s.wait(3000)
    assert 1 + 1460 in [g.seq for g in s.seen()]
    assert s.s.counters.tcpext.TCPSpuriousRTOs == 0


def test_newreno_without_sack() -> None:
    s = Script()
    c = s.connect(sack=False)
    c.send(bytes(1460 * 8))
    s.seen()
    s.wait(50)
    for _ in range(2):
        s.inject(".", 1, ack=1)
    s.silent()
    s.inject(".", 1, ack=1)
    s.expect(". 1:1461")
    s.wait(50)
    s.inject(".", 1, ack=1 + 1460 * 3)
    assert s.seen()[0].seq == 1 + 1460 * 3
    s.inject(".", 1, ack=1 + 1460 * 8)
    assert c.ca_state == 0


def test_reneging_peer() -> None:
    s = Script()
    lossy(s)
    s.sack(101, (1549, 14581))
    s.seen()
    s.wait(100)
    s.inject(".", 1, ack=1549)
    s.seen()
    s.wait(1500)
    assert next(g.seq for g in s.seen()) == 1549
    s.inject(".", 1, ack=2997)
    assert {g.seq for g in s.seen()} >= {2997}


def test_nonsense_in_sack_is_ignored() -> None:
    s = Script()
    lossy(s)
    c = s.s.tcp_connections()[0]
    s.sack(101, (50_000, 60_000), (3000, 2000), (2**31, 2**31 + 5))
    assert c.sacked_out == 0 and not s.seen()
    for k in range(40):
        s.sack(101, (1549 + k, 1550 + k))
    assert len(c.rtxq) < 30 and c.sacked_out == 0


# Zero window, user timeout, keepalive
def test_zero_window_probes() -> None:
    s = Script()
    c = s.connect(window=2000)
    s.inject(".", 1, ack=1, window=0)
    s.mark()
    c.send(b"abc")
    s.silent()
    s.wait(3200)
    got = s.seen()
    assert len(got) >= 3 and all(g.seq == 0 and not g.data for g in got)
    gaps = [b.at - a.at for a, b in itertools.pairwise(got)]
    assert gaps[1] > 1.8 * gaps[0]
    s.inject(".", 1, ack=1, window=100)
    s.expect(". 1:4")


def test_silly_window() -> None:
    s = Script()
    c = s.connect(window=10_000)
    c.send(bytes(20_000))
    got = s.seen()
    assert all(len(g.data) == 1460 for g in got) and len(got) == 6
    s.inject(".", 1, ack=1 + 1460 * 6, window=100)
    s.silent()


def test_user_timeout() -> None:
    s = Script()
    c = s.connect(user_timeout=3 * S)
    c.send(b"abc")
    s.wait(10_000)
    assert c.dead and c.take_error() == 110
    assert (s.net.time / MS) >= 3000 and len(s.seen()) <= 6


def test_keepalive() -> None:
    s = Script()
    c = s.connect(keepalive=True, keep_idle=2 * S, keep_intvl=S, keep_cnt=3)
    s.mark()
    s.wait(2100)
    s.expect(". 0 @2000", tolerance=50)
    s.inject(".", 1, ack=1)
    s.wait(1900)
    s.silent()
    s.wait(10_000)
    got = s.seen()
    assert [g.flags for g in got] == [".", ".", ".", "R."]
    assert c.take_error() == 110


# Receiving
def test_delayed_and_immediate_acks() -> None:
    s = Script()
    c = s.connect()
    c.quickack = 0
    s.mark()
    s.inject(".", 1, bytes(1460), ack=1)
    s.silent()
    s.wait(100)
    s.expect(". 1 ack 1461 @40")
    s.inject(".", 1461, bytes(1460), ack=1)
    s.inject(".", 2921, bytes(1460), ack=1)
    s.expect(". 1 ack 4381")


def test_frames_of_a_batch_are_acknowledged_together() -> None:
    s = Script()
    s.connect()
    s.s.begin_batch()
    for i in range(8):
        s.inject(".", 1 + 1460 * i, bytes(1460), ack=1)
    s.silent()
    s.s.end_batch()
    s.expect(f". 1 ack {1 + 1460 * 8}")
    # Not when that would hold up the peer, nor when something is out of order
    s.s.begin_batch()
    for i in range(8, 20):
        s.inject(".", 1 + 1460 * i, bytes(1460), ack=1)
    s.expect(f". 1 ack {1 + 1460 * 20}")
    s.inject(".", 1 + 1460 * 21, bytes(1460), ack=1)
    s.expect(f". 1 ack {1 + 1460 * 20}")
    s.s.end_batch()
    s.silent()


def test_out_of_order_is_reported() -> None:
    s = Script()
    c = s.connect()
    s.inject(".", 101, bytes(100), ack=1)
    s.inject(".", 301, bytes(100), ack=1)
    got = s.expect(". 1 ack 1", ". 1 ack 1")
    n = PEER_ISN
    assert got[0].options[5] == (n + 101).to_bytes(4, "big") + (n + 201).to_bytes(4, "big")
    assert got[1].options[5][:4] == (n + 301).to_bytes(4, "big") and len(got[1].options[5]) == 16
    s.inject(".", 101, bytes(100), ack=1)  # a duplicate: RFC 2883
    assert s.seen()[0].options[5][:8] == got[0].options[5][:8]
    s.inject(".", 1, b"x" * 100, ack=1)
    s.inject(".", 201, b"y" * 100, ack=1)
    s.inject("F.", 401, ack=1)
    assert [g.ack for g in s.seen()] == [201, 401, 402]
    assert c.recv(1000) == b"x" * 100 + bytes(100) + b"y" * 100 + bytes(100) and c.eof()


def test_fin_ahead_of_its_data() -> None:
    s = Script()
    c = s.connect()
    s.inject("F.", 4, ack=1)
    assert not c.eof()
    s.inject(".", 1, b"abc", ack=1)
    assert c.recv(9) == b"abc" and c.eof() and s.seen()[-1].ack == 5


def test_window_closes_and_opens() -> None:
    s = Script()
    c = s.connect(wscale=-1)
    c.set_rcvbuf(8000)
    at = 1
    while True:
        s.inject(".", at, bytes(1000), ack=1)
        at += 1000
        got = s.seen()
        if got and got[-1].window < 1000:
            break
        assert at < 100_000
    edge = c.rcv_adv
    s.inject(".", at, bytes(5000), ack=1)
    assert c.rcv_nxt <= edge
    s.seen()
    while c.rx.size:
        c.recv(1000)
    got = s.seen()
    assert got and got[-1].window >= 4000


def test_urgent_data() -> None:
    s = Script()
    c = s.connect()
    s.inject("U.", 1, b"abX", ack=1, urg=3)
    s.inject(".", 4, b"cd", ack=1)
    assert c.events() & 2
    assert (
        c.recv_urgent(True) == ord("X") and c.recv_urgent() == ord("X") and c.recv_urgent() == -22
    )
    assert c.recv(100) == b"ab" and c.at_mark()
    assert c.recv(100) == b"cd" and not c.at_mark()
    s.seen()
    c.send_urgent(b"yZ")
    got = s.seen()[0]
    assert "U" in got.flags and got.urg == 2 and got.data == b"yZ"


# RFC 5961 and PAWS
def test_only_the_exact_reset_resets() -> None:
    s = Script()
    c = s.connect()
    s.inject("R", 100)
    s.expect(". 1 ack 1")
    assert c.state == ESTABLISHED
    s.inject("R", 100_000)
    s.silent()
    s.inject("R", 1)
    assert c.dead and c.take_error() == 104


def test_syn_in_the_window_is_challenged() -> None:
    s = Script()
    c = s.connect()
    s.inject("S", 1)
    s.expect(". 1 ack 1")
    s.inject("S", 1)
    s.silent()  # once in half a second
    s.wait(600)
    s.inject("S", 5000)
    s.expect(". 1 ack 1")
    assert c.state == ESTABLISHED


def test_acks_of_what_was_never_sent() -> None:
    s = Script()
    c = s.connect()
    s.inject("P.", 1, b"evil", ack=100)
    assert c.rx.size == 0
    s.expect(". 1 ack 1")
    s.wait(600)
    s.inject("P.", 1, b"evil", ack=-2_000_000)
    assert c.rx.size == 0
    s.expect(". 1 ack 1")


def test_data_outside_the_window() -> None:
    s = Script()
    c = s.connect()
    s.inject("P.", 1_000_000, b"x", ack=1)
    s.expect(". 1 ack 1")
    s.inject("P.", -10, b"12345", ack=1)
    s.expect(". 1 ack 1")
    s.inject("P.", -4, b"12345678", ack=1)
    assert c.recv(10) == b"678"


def test_old_timestamps_are_refused() -> None:
    s = Script()
    c = s.connect(ts=True, wscale=7)
    s.inject("P.", 1, b"a", ack=1)
    s.expect(". 1 ack 2")
    s.inject("P.", 2, b"old", ack=1, tsval=s.ts_ours - 5)
    s.expect(". 1 ack 2")
    assert c.readable_bytes() == 1 and s.s.counters.tcpext.PAWSEstab == 1


# Closing
def test_active_close() -> None:
    s = Script()
    c = s.connect()
    c.send(b"bye")
    c.close()
    s.expect(". 1:4", "F. 4") if len(s.out) == 2 else s.expect("F. 1:4")
    assert c.state == FIN_WAIT1
    s.inject(".", 1, ack=5)
    assert c.state == FIN_WAIT2
    s.inject("F.", 1, ack=5)
    s.expect(". 5 ack 2")
    assert c.state == CLOSE and len(s.s.tcp.waits) == 1
    s.inject("F.", 1, ack=5)
    s.expect(". 5 ack 2")
    s.wait(61_000)
    assert not s.s.tcp.waits
    assert s.s.next_timer() is None


def test_passive_close() -> None:
    s = Script()
    c = s.connect()
    s.inject("F.", 1, ack=1)
    s.expect(". 1 ack 2")
    assert c.state == CLOSE_WAIT and c.eof()
    c.send(b"rest")
    s.expect(". 1:5")
    s.inject(".", 2, ack=5)
    c.close()
    s.expect("F. 5 ack 2")
    s.inject(".", 2, ack=6)
    assert c.dead and not s.s.tcp.waits and not s.s.tcp.conns


def test_simultaneous_close() -> None:
    s = Script()
    c = s.connect()
    c.close()
    s.expect("F. 1")
    s.inject("F.", 1, ack=1)
    s.expect(". 2 ack 2")
    assert c.state == CLOSING
    s.inject(".", 2, ack=2)
    assert len(s.s.tcp.waits) == 1


def test_close_with_unread_data_resets() -> None:
    s = Script()
    c = s.connect()
    s.inject("P.", 1, b"unread", ack=1)
    s.seen()
    c.close()
    s.expect("R. 1")


def test_data_for_nobody_resets() -> None:
    s = Script()
    c = s.connect()
    c.close()
    s.expect("F. 1")
    s.inject("P.", 1, b"late", ack=2)
    assert s.seen()[-1].flags.startswith("R") and c.dead


def test_linger_zero_resets() -> None:
    s = Script()
    c = s.connect()
    c.send(b"x")
    c.close(0)
    s.expect(". 1:2", "R. 2")


def test_orphan_in_fin_wait2_ends() -> None:
    s = Script()
    c = s.connect(linger2=5 * S)
    c.close()
    s.inject(".", 1, ack=2)
    assert c.state == FIN_WAIT2
    s.wait(6000)
    assert c.dead and not s.s.tcp.conns


def test_time_wait_gives_way() -> None:
    s = Script()
    lst = s.listen()
    s.inject("S", 0)
    s.expect("S. 0 ack 1")
    s.inject(".", 1, ack=1)
    c = lst.accept()
    assert c is not None
    c.close()
    s.seen()
    s.inject("F.", 1, ack=2)
    s.expect(". 2 ack 2")
    assert len(s.s.tcp.waits) == 1
    s.inject("R", 500)
    assert len(s.s.tcp.waits) == 1
    old = s.isn
    s.inject("S", 0)  # an old SYN: answered with an ACK
    assert s.seen()[0].flags == "."
    s.inject("S", 1000)
    got = s.seen()[0]
    assert got.flags == "S." and got.ack == 1001 and not s.s.tcp.waits
    assert (s.isn - old) & 0xFFFFFFFF < 1 << 31
    s.inject(".", 1001, ack=1)
    assert lst.pending() == 1


def test_connect_reuses_time_wait_with_timestamps() -> None:
    s = Script()
    c = s.connect(ts=True, wscale=7)
    local = c.local
    c.close()
    s.seen()
    s.inject("F.", 1, ack=2)
    s.seen()
    with pytest.raises(SysErr):
        s.s.tcp_connect(local, c.remote)
    s.wait(1500)
    again = s.s.tcp_connect(local, c.remote)
    assert again.local == local and s.seen()[0].flags == "S"


# ICMP
def test_path_mtu(mtu: int = 1000) -> None:
    from .test_ip import icmp_to

    s = Script()
    c = s.connect()
    c.send(bytes(2920))
    frames = [f for _, f in s.out]
    s.seen()
    icmp_to(s, 3, 4, frames[0][14:42], mtu)
    assert c.mss == mtu - 40
    got = s.seen()
    assert got and all(len(g.data) <= mtu - 40 for g in got)
    spoofed = bytearray(frames[0][14:42])
    spoofed[24] ^= 0x55  # another sequence number
    icmp_to(s, 3, 4, bytes(spoofed), 600)
    assert c.mss == mtu - 40


def test_unreachable_ends_an_attempt_only() -> None:
    from .test_ip import icmp_to

    s = Script()
    c = s.connect()
    c.send(b"abc")
    frame = s.out[-1][1]
    icmp_to(s, 3, 1, frame[14:42], 0)
    assert not c.dead
    s.seen()
    d = s.s.tcp_connect((b"", 0), (B4, 10))
    icmp_to(s, 3, 1, s.out[-1][1][14:42], 0)
    assert d.dead and d.take_error() == 113


# The rest
def test_half_open_is_reset_and_challenged() -> None:
    s = Script()
    lst = s.listen()
    s.inject("S", 0)
    s.expect("S. 0 ack 1")
    s.inject("R", 50)
    assert lst.requests == 1
    s.inject(".", 1, ack=99)
    assert s.seen()[0].flags == "R" and lst.requests == 1
    s.inject(".", 900_000, ack=1)
    s.expect("S. 0 ack 1")
    s.inject("R", 1)
    assert lst.requests == 0 and s.s.counters.tcpext.EmbryonicRsts == 1


def test_reset_while_waiting_to_be_accepted() -> None:
    s = Script()
    lst = s.listen()
    s.inject("S", 0)
    s.expect("S. 0 ack 1")
    s.inject(".", 1, ack=1)
    s.inject("R", 1)
    c = lst.accept()
    assert c is not None and c.dead and c.take_error() == 104


def test_listener_gives_its_options() -> None:
    s = Script()
    lst = s.s.tcp_listen((bytes(4), 80), 8, 4)
    lst.nodelay, lst.keepalive, lst.sndbuf, lst.rcvbuf, lst.congestion, lst.maxseg = (
        True,
        True,
        5000,
        6000,
        "reno",
        700,
    )
    s.lport = 80
    s.inject("S", 0)
    assert s.expect("S. 0 ack 1 win 6000")[0].options[2] == (700).to_bytes(2, "big")
    s.inject(".", 1, ack=1)
    c = lst.accept()
    assert c is not None and c.nodelay and c.keepalive and c.sndbuf == 5000 and c.rcvbuf == 6000
    assert not c.ca.cubic and c.t_keep and c.mss == 536


def test_tcp_info() -> None:
    import struct

    s = Script()
    lossy(s)
    c = s.s.tcp_connections()[0]
    info = c.info()
    assert len(info) == 232
    state, _, _, _, _, options, scales = struct.unpack_from("<7B", info)
    assert (state, options, scales) == (1, 7, 0x77)
    snd_mss, _, unacked = struct.unpack_from("<3I", info, 16)
    assert (snd_mss, unacked) == (1448, 10)
    rtt, _, ssthresh, cwnd = struct.unpack_from("<4I", info, 68)
    assert 90_000 < rtt < 110_000 and ssthresh == 0x7FFFFFFF and cwnd == c.cwnd // 1448
    assert struct.unpack_from("<Q", info, 200)[0] == 100 + 14480
    assert struct.unpack_from("<I", info, 228)[0] == c.snd_wnd


def test_reno() -> None:
    s = Script()
    c = s.connect(rtt=50, wscale=7)
    assert c.set_congestion("reno") and not c.set_congestion("bbr")
    c.ssthresh = c.cwnd
    c.send(bytes(80_000))
    s.seen()
    s.wait(50)
    before = c.cwnd
    s.inject(".", 1, ack=1 + 14600)
    assert before < c.cwnd <= before + 1460


def test_segment_limit_shrinks_with_data_in_flight() -> None:
    s = Script(gso=True)
    c = s.connect(wscale=7)
    c.send(bytes(14600))
    s.seen()
    s.link.max_gso = 0
    c.set_maxseg(500)
    s.wait(300)
    s.wait(3000)
    got = s.seen()
    assert got and all(len(g.data) <= 500 for g in got)


def test_peer_closes_while_we_send() -> None:
    s = Script()
    c = s.connect()
    s.inject("F.", 1, ack=1)
    c.send(b"abc")
    s.seen()
    s.inject("R", 2)
    assert c.dead and c.take_error() == 32
    assert c.send(b"x") == -32
    assert c.events() & 0x2011 == 0x2011


def test_shutdown_read_and_double_close() -> None:
    s = Script()
    c = s.connect()
    c.shutdown_read()
    assert c.eof() and c.events() & 1
    c.shutdown_write()
    c.shutdown_write()
    c.close()
    c.close()
    c.abort()
    c.abort()
    assert [g.flags for g in s.seen()] == ["F.", "R."]
    assert not s.s.tcp.conns


def test_close_while_connecting() -> None:
    s = Script()
    c = s.s.tcp_connect((b"", 0), (B4, 9))
    assert c.send(b"early") == 5 and c.events() == 0
    c.close()
    assert c.dead and not s.s.tcp.conns
    d = s.s.tcp_connect((b"", 0), (B4, 9))
    d.shutdown_write()
    assert d.dead


def test_early_data_is_sent_after_the_handshake() -> None:
    s = Script()
    c = s.s.tcp_connect((b"", 0), (B4, 9))
    c.send(b"early")
    s.expect("S 0")
    s.synack(65535, 1460, True, False, -1)
    s.expect(". 1:6 ack 1")


def test_ports_run_out() -> None:
    s = Script()
    local = (bytes((10, 0, 0, 1)), 5555)
    s.s.tcp_connect(local, (B4, 9))
    with pytest.raises(SysErr) as e:
        s.s.tcp_connect(local, (B4, 9))
    assert e.value.errno == 99
    for bad, err in (
        ((bytes((10, 0, 0, 2)), 0), 22),
        ((bytes(4), 5), 22),
        ((b"\xe0\0\0\1", 5), 101),
        ((b"\x08" * 4, 5), 101),
    ):
        with pytest.raises(SysErr) as e:
            s.s.tcp_connect((b"", 0), bad)
        assert e.value.errno == err


def test_user_timeout_of_a_closed_window_and_of_a_syn() -> None:
    s = Script()
    c = s.connect(user_timeout=2 * S)
    s.inject(".", 1, ack=1, window=0)
    c.send(b"x")
    for _ in range(6):
        s.wait(1000)
        if not c.dead:
            s.seen()
    assert c.dead and c.take_error() == 110
    d = s.s.tcp_connect((b"", 0), (B4, 9), None, lambda c: setattr(c, "user_timeout", 4 * S))
    s.wait(8000)
    assert d.dead and d.take_error() == 110


def test_peer_that_answers_probes_is_waited_for() -> None:
    s = Script()
    c = s.connect()
    s.inject(".", 1, ack=1, window=0)
    c.send(b"x")
    for _ in range(40):
        s.wait(130_000)
        assert s.seen()
        s.inject(".", 1, ack=1, window=0)
    assert not c.dead
    s.inject(".", 1, ack=1, window=10)
    assert s.seen()[-1].data == b"x"
