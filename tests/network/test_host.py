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
