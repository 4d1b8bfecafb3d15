"""--network=host: what a program gets of the host's stack, as it gets it natively."""

from __future__ import annotations

import pytest

from .conftest import Wire

PROGRAM = """
import errno, select, socket, struct
def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]
for family, host, level, info, ttl, tos in ((socket.AF_INET, "127.0.0.1", 0, 8, 12, 13), (socket.AF_INET6, "::1", 41, 49, 51, 66)):
    a, b = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    b.bind((host, 0))
    for opt in (info, ttl, tos):
        b.setsockopt(level, opt, 1)
    b.setsockopt(1, 35, 1)
    send_ttl, send_tos = ((0, 2), (0, 1)) if level == 0 else ((41, 52), (41, 67))
    print(a.sendmsg([b"hello ", b"you"], [(*send_ttl, struct.pack("i", 33)), (*send_tos, struct.pack("i", 0x20))], 0, b.getsockname()))
    data, anc, flags, addr = b.recvmsg(100, 1000)
    print(data, sorted((l, k, len(d) if (l, k) == (1, 35) else d) for l, k, d in anc), flags, addr[0])
    print(code(a.sendmsg, [b"x"], [(level, 9999, bytes(4))], 0, b.getsockname()))
    # The error queue
    a.setsockopt(level, 11 if level == 0 else 25, 1)
    dead = b.getsockname(); b.close()
    a.connect(dead); a.send(b"nobody")
    p = select.poll(); p.register(a, 0)
    print([hex(e) for _, e in p.poll(5000)])
    data, anc, flags, addr = a.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
    l, k, body = anc[0]
    print(data, l, k, struct.unpack_from("IBBB", body), hex(flags), addr[:2] == dead[:2])
    print(code(a.recvmsg, 100, 1000, socket.MSG_ERRQUEUE))
a, b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b.bind(("127.0.0.1", 0)); b.setsockopt(17, 104, 1)
a.connect(b.getsockname())
print(a.sendmsg([bytes(250)], [(17, 103, struct.pack("H", 100))]))
data, anc, flags, _ = b.recvmsg(1000, 100)
print(len(data), anc)
g = socket.inet_aton("239.7.7.7")
lo = socket.inet_aton("127.0.0.1")
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); c.bind(("", 0))
print(code(c.setsockopt, 0, 39, g + lo + lo), code(c.setsockopt, 0, 39, g + lo + lo))
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.setsockopt(0, 32, lo); a.bind(("127.0.0.1", 0))
a.sendto(b"from a source", ("239.7.7.7", c.getsockname()[1]))
print(c.recv(100))
"""


@pytest.mark.parametrize("platform", ["systrap", "ptrace"])
def test_control_messages_and_errors(wire: Wire, platform: str) -> None:
    native = wire.on_peer(f"ip netns exec {wire.box} python3 -c '{PROGRAM}'")
    flags = ("--network=host", f"--platform={platform}")
    assert wire.run(f"python3 -c '{PROGRAM}'", *flags) == native


EDGES = """
import select, socket
def told(ep, wait=10):
    return [hex(e) for _, e in ep.poll(wait)]
s = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(s.getsockname()); a = s.accept()[0]
ep = select.epoll(); ep.register(a, select.EPOLLIN | select.EPOLLET | select.EPOLLRDHUP)
for _ in range(3):
    c.send(b"x"); print(told(ep), told(ep, 0))
print(a.recv(1), told(ep, 0))
c.send(b"y"); print(told(ep), a.recv(100))
c.shutdown(1); print(told(ep), told(ep, 0))
u, v = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
v.bind(("127.0.0.1", 0)); ep.register(v, select.EPOLLIN | select.EPOLLET)
for _ in range(3):
    u.sendto(b"x", v.getsockname()); print(told(ep), told(ep, 0))
ep.register(s, select.EPOLLIN | select.EPOLLET); kept = []
for _ in range(3):
    kept.append(socket.create_connection(s.getsockname())); print(told(ep), told(ep, 0))
"""


@pytest.mark.parametrize("network", ["host", "sandbox"])
def test_edges(wire: Wire, network: str) -> None:
    """An edge-triggered epoll is told of each arrival, whether or not what came before was read."""
    native = wire.on_peer(f"ip netns exec {wire.box} python3 -c '{EDGES}'")
    assert wire.run(f"python3 -c '{EDGES}'", f"--network={network}") == native


def test_proc_net_is_the_namespaces(wire: Wire) -> None:
    script = (
        "cat /proc/net/route /proc/net/if_inet6 /proc/net/dev_mcast; awk '{print $1}' /proc/net/dev;"
        'python3 -c \'import socket; s = socket.create_server(("10.99.0.2", 8123)); print(":1FBB 00000000:0000 0A" in open("/proc/net/tcp").read())\''
    )
    native = wire.on_peer(
        f"ip netns exec {wire.box} bash -ec '{script.replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}'"
    )
    assert "True" in native and wire.run(script, "--network=host") == native


RAW = """
import errno, socket, struct, sys, threading
def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]
def sum16(b):
    n = sum(struct.unpack(f">{len(b) // 2}H", b)); n = (n >> 16) + (n & 65535); return ~((n >> 16) + n) & 65535
echo = b"\\x08\\0\\0\\0\\x12\\x34\\0\\1hello..."; echo = echo[:2] + struct.pack(">H", sum16(echo)) + echo[4:]
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); s.settimeout(10)
s.setsockopt(255, 1, struct.pack("<I", ~1 & 0xffffffff)); print(s.getsockopt(255, 1, 4))
s.sendto(echo, ("10.99.0.1", 0)); data, addr = s.recvfrom(1000); print(data[0], data[9], data[20:], addr)
s6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58); s6.settimeout(10); s6.connect(("fd99::1", 0))
s6.setsockopt(58, 1, b"\\xff" * 16 + b"\\xfd" + b"\\xff" * 15)
s6.send(b"\\x80\\0\\0\\0\\x12\\x34\\0\\1hello"); print(s6.recv(1000)[4:])
h = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255); print(h.getsockopt(0, 3))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("10.99.0.2", 0)); u.settimeout(10)
body = struct.pack(">HHHH", 5555, u.getsockname()[1], 12, 0) + b"abcd"
h.sendto(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 9, 17, 0, socket.inet_aton("10.99.0.1"), socket.inet_aton("10.99.0.2")) + body, ("10.99.0.2", 0))
print(code(u.recvfrom, 100))
p = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5)); p.bind(("eth0", 0x88b5)); p.settimeout(10)
q = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0); q.bind(("eth0", 0))
a = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)); a.bind(("eth0", 3)); a.settimeout(10)
print(p.getsockname()[:3], code(p.bind, ("lo", 0x88b5)), p.getsockname()[:4]); p.bind(("eth0", 0x88b5))
print(q.sendto(b"x" * 50, ("eth0", 0x88b5, 0, 0, b"\\xff" * 6)))
while True:
    data, addr = a.recvfrom(100)
    if addr[1] == 0x88b5: break
print(data, addr[:4])
mac = p.getsockname()[4]
print(p.send(b"\\xff" * 6 + mac + b"\\x88\\xb5" + b"y" * 50), code(p.send, b"short"))
print(code(q.sendto, b"x", ("nope0", 1)), code(p.setsockopt, 263, 5, b"123"))
print(code(socket.socket, socket.AF_INET, socket.SOCK_RAW, 0), code(socket.socket, socket.AF_PACKET, socket.SOCK_STREAM, 0))
"""


@pytest.mark.parametrize("platform", ["systrap", "ptrace"])
def test_raw_and_packet_sockets(wire: Wire, platform: str) -> None:
    native = wire.on_peer(f"ip netns exec {wire.box} python3 -c '{RAW}'")
    flags = ("--network=host", "--net-raw", f"--platform={platform}")
    assert wire.run(f"python3 -c '{RAW}'", *flags) == native


def test_raw_sockets_need_flag_and_capability(wire: Wire) -> None:
    ask = (
        "import socket\nfor a in ((2, 3, 1), (10, 3, 58), (17, 3, 768)):\n"
        "    try: print(socket.socket(*a))\n    except OSError as e: print(e.errno)"
    )
    assert wire.run(f'python3 -c "{ask}"', "--network=host") == "1\n1\n1\n"
    dropped = f"setpriv --bounding-set -net_raw --inh-caps -net_raw --reuid 1000 --clear-groups python3 -c '{ask}'"
    assert wire.run(dropped, "--network=host", "--net-raw") == "1\n1\n1\n"


def test_programs_with_raw_sockets(wire: Wire) -> None:
    flags = ("--network=host", "--net-raw")
    got = wire.run(
        "ping -c 2 -i 0.2 10.99.0.1; ping -c 1 fd99::1; traceroute -n -I 10.99.0.1", *flags
    )
    assert got.count("bytes from") == 3 and " 1  10.99.0.1" in got
    got = wire.run(
        "tcpdump -nn -c 4 -i eth0 icmp & sleep 2; ping -q -c 8 -i 0.3 10.99.0.1 >/dev/null; wait",
        *flags,
    )
    assert got.count("ICMP echo request") == 2 and got.count("ICMP echo reply") == 2
