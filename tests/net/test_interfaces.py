"""Several interfaces; interfaces that go down, change their address or MTU, come and go."""

from __future__ import annotations

import random
import struct

from nvsandbox.sentry.net.stack.checksum import finish, ones_sum, pseudo_sum
from nvsandbox.sentry.net.stack.output import find_path
from nvsandbox.sentry.net.stack.routes import Route

from .test_ip import inject6, udp
from .test_transfer import connect, pump
from .wire import A4, A6, B4, B6, MS, Pair, S, SimLink

C4 = bytes((10, 1, 0, 1))
D4 = bytes((10, 1, 0, 2))


def second_cable(p: Pair) -> None:
    """10.1.0.1 and 10.1.0.2 on interfaces of their own."""
    for number, (s, ip) in enumerate(((p.a, C4), (p.b, D4))):
        link = SimLink(p.net, 11 + number)
        s.add_address(s.add_interface("eth1", 3, link), ip, 24)
    x, y = p.a.interfaces[1], p.b.interfaces[1]
    x.link.peer, y.link.peer = (p.b, y), (p.a, x)  # type: ignore[attr-defined]


def test_the_route_picks_the_interface() -> None:
    p = Pair()
    second_cable(p)
    u = p.a.udp_open((b"", 0))
    v = p.b.udp_open((bytes(4), 53))
    for dst, src, index in ((B4, A4, 2), (D4, C4, 3)):
        u.send_to(b"x", (dst, 53))
        p.net.run(10 * MS)
        d = v.recv()
        assert d is not None and d.src[0] == src and d.dst[0] == dst and d.ifindex == index
    # Another host's address behind the second interface, by a better metric.
    far = bytes((10, 9, 9, 9))
    p.a.routes.add(Route(far, 32, p.a.interfaces[0], B4, metric=20))
    p.a.routes.add(Route(far, 32, p.a.interfaces[1], D4, metric=10))
    path = find_path(p.a, far)
    assert not isinstance(path, int) and (path.iface.index, path.hop, path.src) == (3, D4, C4)
    p.a.set_up(p.a.interfaces[1], False)
    path = find_path(p.a, far)
    assert not isinstance(path, int) and (path.iface.index, path.hop, path.src) == (2, B4, A4)


def test_bound_to_a_device() -> None:
    p = Pair()
    second_cable(p)
    first, second = p.b.interfaces
    on1 = p.b.udp_open((bytes(4), 53), first)
    on2 = p.b.udp_open((bytes(4), 53), second)
    lst = p.b.tcp_listen((bytes(4), 80), 8, 4, False, second)
    u = p.a.udp_open((b"", 0))
    u.send_to(b"1", (B4, 53))
    u.send_to(b"2", (D4, 53))
    good = p.a.tcp_connect((b"", 0), (D4, 80))
    bad = p.a.tcp_connect((b"", 0), (B4, 80))
    p.net.run(S)
    assert [d.data for d in on1.queue] == [b"1"] and [d.data for d in on2.queue] == [b"2"]
    assert good.state == 1 and bad.take_error() == 111 and lst.pending() == 1
    tied = p.a.udp_open((b"", 0), p.a.interfaces[1])
    assert tied.send_to(b"x", (B4, 53)) == -101


def test_nothing_is_forwarded() -> None:
    p = Pair()
    second_cable(p)
    sent = p.a.interfaces[1].tx_packets
    body = udp(1, 53, b"through", B4, D4)
    from .test_ip import inject4

    inject4(p, 17, body, B4, D4)
    p.net.run(S)
    assert p.a.counters.ip.InAddrErrors == 1 and p.a.interfaces[1].tx_packets == sent


def test_down_and_up_again() -> None:
    p = Pair()
    c, d = connect(p)
    p.a.set_up(p.ia, False)
    c.send(b"while it is down")
    assert p.a.udp_open((b"", 0)).send_to(b"x", (B4, 9)) == -101
    p.net.run(5 * S)
    assert not c.dead and not d.rx.size
    p.a.set_up(p.ia, True)
    p.net.run(10 * S)
    assert d.recv(100) == b"while it is down"


def test_address_is_taken_away() -> None:
    p = Pair()
    c, d = connect(p)
    p.a.remove_address(p.ia, A4)
    assert not p.a.remove_address(p.ia, A4)
    d.send(b"to nobody")
    p.net.run(2000 * S)
    assert d.dead and d.take_error() in (110, 113)
    assert not c.rx.size and A4 not in p.a.own
    assert p.a.add_address(p.ia, A4, 24) and not p.a.add_address(p.ia, A4, 24)
    e, f = connect(p)
    assert pump(p.net, e, f, b"again") == b"again"


def test_smaller_mtu() -> None:
    p = Pair()
    c, d = connect(p)
    p.la.mtu = 1000
    p.a.routes.changed()
    data = random.Random(1).randbytes(100_000)
    p.la.log = True
    assert pump(p.net, c, d, data) == data
    assert max(len(f) for f in p.la.frames) == 1014


def test_path_mtu_of_ipv6() -> None:
    p = Pair(gso=False)
    c, d = connect(p, True)
    p.la.log = True
    c.send(bytes(5000))
    quoted = next(f for f in p.la.frames if len(f) > 1400)[14:114]
    body = struct.pack(">BBHI", 2, 0, 0, 1300) + quoted
    body = body[:2] + finish(pseudo_sum(B6, A6, 58, len(body)) + ones_sum(body)) + body[4:]
    inject6(p, 58, body)
    assert c.mss == 1300 - 60 - 12 and c.path.mtu == 1300
    p.la.frames.clear()
    p.net.run(S)
    assert d.rx.size == 5000 and all(len(f) <= 1314 for f in p.la.frames)


def test_interfaces_come_and_go() -> None:
    p = Pair()
    for n in range(50):
        i = p.a.add_interface("eth9", 100 + n, SimLink(p.net, 50))
        p.a.add_address(i, bytes((10, 50, 0, 1)), 24)
        p.a.add_address(i, b"\xfd\x50" + bytes(13) + b"\1", 64)
        u = p.a.udp_open((b"", 0), i)
        u.join(b"\xe0\1\1\1", i)
        u.send_to(b"x", (bytes((10, 50, 0, 2)), 9))
        p.a.remove_interface(i)
        u.close()
    assert len(p.a.interfaces) == 1 and len(p.a.own) == 3 and len(p.a.routes.dump()) == 3
    p.net.run(100 * S)
    assert p.a.next_timer() is None
