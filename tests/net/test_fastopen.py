"""TCP Fast Open (RFC 7413): cookies, data that goes with a SYN, what is left when it does not arrive, the listener's bound."""

from __future__ import annotations

import errno

from nvsandbox.sentry.net.stack.tcp import fastopen
from nvsandbox.sentry.net.stack.tcp.connection import TcpConnection
from nvsandbox.sentry.net.stack.tcp.listener import TcpListener
from nvsandbox.sentry.net.stack.tcp.states import ESTABLISHED, SYN_RECV, SYN_SENT

from .script import Script
from .wire import A4, B4

MSS = b"\2\4\x05\xb4"
COOKIE = b"12345678"


def option(cookie: bytes) -> bytes:
    return b"\x22" + bytes((2 + len(cookie),)) + cookie


def opens(s: Script, data: bytes) -> tuple[TcpConnection, int]:
    taken = 0

    def setup(c: TcpConnection) -> None:
        nonlocal taken
        taken = fastopen.begin(c, data)

    c = s.s.tcp_connect((b"", 0), (B4, s.pport), None, setup)
    return c, taken


def test_a_cookie_is_asked_for_and_used() -> None:
    s = Script()
    c, taken = opens(s, b"hello")
    assert taken == 0 and s.expect("S 0")[0].options[34] == b""
    s.inject("S.", 0, ack=1, options=MSS + option(COOKIE))
    s.expect(". 1 ack 1")
    assert c.state == ESTABLISHED and not c.syn_taken
    c.abort()
    s.seen()
    for acked in (6, 4, 1):  # all of it, some, nothing
        c, taken = opens(s, b"hello")
        syn = s.expect("S 0:5")[0]
        assert taken == 5 and syn.options[34] == COOKIE and syn.data == b"hello"
        c.send(b" world")
        s.inject("S.", 0, ack=acked, options=MSS)
        got = s.seen()
        assert b"".join(g.data for g in got) == b"hello world"[acked - 1 :] and c.syn_taken == (
            acked > 1
        )
        assert got[0].ack == 1 and c.unsent_bytes()[0] == 12 - acked
        s.inject(".", 1, ack=12)
        assert c.state == ESTABLISHED and c.unsent_bytes() == (0, 0) and c.bytes_acked >= 11
        c.abort()
        s.seen()
    c, taken = opens(s, bytes(9000))
    assert 1000 < taken < 1460 and len(s.seen()[0].data) == taken
    s.inject("S.", 0, ack=taken + 2, options=MSS)  # more than was sent
    s.expect(f"R {taken + 2}")
    assert c.state == SYN_SENT


def test_a_lost_syn_is_followed_by_a_plain_one() -> None:
    s = Script()
    s.s.tcp.fast.remember(B4, COOKIE, 1460)
    c, _ = opens(s, b"hello")
    s.expect("S 0:5")
    s.wait(1500)
    assert 34 not in s.expect("S 0 @1000")[0].options and s.s.tcp.fast.known(B4) is None
    s.inject("S.", 0, ack=1, options=MSS)
    assert b"".join(g.data for g in s.seen()) == b"hello"
    s.inject(".", 1, ack=6)
    assert c.unsent_bytes() == (0, 0)


def allow(s: Script, most: int) -> TcpListener:
    s.s.tcp.fast.flags = 3
    lst = s.listen()
    lst.fastopen = most
    return lst


def test_a_listener_gives_cookies_and_takes_data() -> None:
    s = Script()
    lst = allow(s, 2)
    s.inject("S", 0, options=MSS + option(b""))
    cookie = s.expect("S. 0 ack 1")[0].options[34]
    s.inject("R", 1)
    s.inject("S", 0, b"data", options=MSS + option(b"forgery!"))
    assert s.expect("S. 0 ack 1")[0].options[34] == cookie and lst.accept() is None
    s.inject("R", 1)
    s.inject("S", 0, b"data", options=MSS + option(cookie))
    assert 34 not in s.expect("S. 0 ack 5")[0].options
    c = lst.accept()
    assert c is not None and c.state == SYN_RECV and c.recv(100) == b"data" and lst.early == 1
    c.send(b"answer")  # before the handshake is over
    s.expect(". 1:7 ack 5")
    s.wait(1500)
    s.expect("S. 0 ack 5 @1000")
    s.inject(".", 5, ack=7)
    assert c.state == ESTABLISHED and lst.early == 0 and c.unsent_bytes() == (0, 0)
    s.silent()


def test_how_many_are_accepted_early_is_bounded() -> None:
    s = Script()
    lst = allow(s, 2)
    cookie = s.s.tcp.fast.cookie_for(B4, A4)
    early = []
    for port in range(10, 13):
        s.pport = port
        s.inject("S", 0, b"x", options=MSS + option(cookie))
        assert s.seen()[0].ack == (2 if port < 12 else 1)
        c = lst.accept()
        early += [c] if c is not None else []
    assert len(early) == 2 and lst.early == 2
    s.pport = 10
    s.inject("R", 2)
    assert early[0].take_error() == errno.ECONNRESET and lst.early == 1
    early[1].abort()
    assert lst.early == 0
    lst.fastopen = 0
    s.pport = 14
    s.inject("S", 0, b"x", options=MSS + option(cookie))
    s.seen()
    assert lst.accept() is None
    s.pport, lst.fastopen = 15, 5
    s.inject("S", 0, b"x", options=MSS + option(cookie))
    s.wait(200_000)  # nobody answers
    c = lst.accept()
    assert c is not None and c.dead and c.take_error() == errno.ETIMEDOUT and lst.early == 0
