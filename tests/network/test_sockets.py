"""What sockets do only when there is a network: lingering, segments and filters on packets that come over a wire."""

from __future__ import annotations

import re

from .conftest import Wire

LINGER = """
import socket, struct, sys, time
s = socket.create_connection(("10.99.0.1", 7300))
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, int(sys.argv[1])))
s.settimeout(1)
try:  # more than the other end has room for
    while True:
        s.send(bytes(65536))
except TimeoutError:
    pass
start = time.monotonic()
s.close()
print(time.monotonic() - start >= 1)
"""


def test_close_lingers(wire: Wire) -> None:
    """As long as it may while the other end does not read; until everything has arrived when it does."""
    wire.peer_start(
        'exec python3 -c \'import socket, time; s = socket.create_server(("", 7300)); a = s.accept(); time.sleep(4)\n'
        "b = s.accept(); time.sleep(2); print(len(b[0].recv(1)))\nwhile b[0].recv(1 << 20): pass\ntime.sleep(60)'"
    )
    wire.until("ss -ltn | grep -q :7300")
    assert wire.run(f"python3 -c '{LINGER}' 1; python3 -c '{LINGER}' 50") == "True\nTrue\n"


SEGMENTS = """
import socket, struct, sys
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.connect((sys.argv[1], 7400)); a.settimeout(5)
a.setsockopt(17, 103, 1000)
print(a.send(bytes(4500)), a.recv(100))
try:
    a.setsockopt(17, 103, 1473); a.send(bytes(2000))
except OSError as e:
    print(e.strerror)
"""
MERGED = """
import socket, struct
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); b.bind(("", 7400)); b.settimeout(20)
print("up", flush=True)
sizes = []
while sum(sizes) < 4500:
    data, addr = b.recvfrom(65536)
    sizes.append(len(data))
b.sendto(b"got them", addr)
print(sizes, flush=True)
"""


def test_segments_of_datagrams(wire: Wire) -> None:
    p = wire.start(f"exec python3 -c '{MERGED}'")
    assert wire.line(p) == "up"
    sent = "4500 b'got them'\nMessage too long\n"
    assert wire.on_peer(f"python3 -c '{SEGMENTS}' 10.99.0.2") == sent
    assert wire.line(p) == "[1000, 1000, 1000, 1000, 500]"
    wire.peer_start(f"exec python3 -c '{MERGED}' >{wire.base}/sizes")
    wire.until("ss -lun | grep -q :7400")
    assert wire.run(f"python3 -c '{SEGMENTS}' 10.99.0.1") == sent
    wire.until(f"grep -q '1000, 1000, 1000, 1000, 500' {wire.base}/sizes")


def test_tcpdump_filters(wire: Wire) -> None:
    got = wire.run(
        "tcpdump -nn -c 2 -i eth0 'icmp[0] = 8 and dst host 10.99.0.1' 2>/dev/null > /tmp/out & sleep 1;"
        "ping -c 1 -i 0.2 -6 fd99::1 >/dev/null; ping -c 2 -i 0.2 10.99.0.1 >/dev/null; wait; cat /tmp/out"
    )
    assert len(re.findall("ICMP echo request", got)) == 2 and got.count("\n") == 2


FILTERED = """
import ctypes, socket, struct
def program(*lines):
    raw = b"".join(struct.pack("<HBBI", *line) for line in lines)
    buf = ctypes.create_string_buffer(raw, len(raw))
    return buf, struct.pack("<H6xQ", len(lines), ctypes.addressof(buf))
s = socket.socket(17, socket.SOCK_RAW, socket.htons(3)); s.bind(("eth0", 3)); s.settimeout(10)
# UDP to port 7500, outgoing or not; 50 bytes of it
buf, prog = program((0x28, 0, 0, 12), (0x15, 0, 5, 0x800), (0x30, 0, 0, 23), (0x15, 0, 3, 17), (0xB1, 0, 0, 14), (0x48, 0, 0, 16), (0x15, 1, 0, 7500), (6, 0, 0, 0), (6, 0, 0, 50))
s.setsockopt(1, 26, prog)
s.setsockopt(263, 8, 1)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in (7499, 7500, 7501):
    u.sendto(b"x" * 100, ("10.99.0.1", port))
data, anc, flags, addr = s.recvmsg(1000, 1000)
status, whole, kept = struct.unpack_from("<III", anc[0][2])
print(len(data), whole, kept, addr[0], addr[2], struct.unpack_from(">H", data, 36)[0])
s.settimeout(0)
try:
    s.recv(1000)
except BlockingIOError:
    print("nothing else")
print(struct.unpack("<II", s.getsockopt(263, 6, 8)), struct.unpack("<II", s.getsockopt(263, 6, 8)))
"""


def test_packet_socket_with_a_filter(wire: Wire) -> None:
    want = "50 142 50 eth0 4 7500\nnothing else\n(1, 0) (0, 0)\n"
    assert wire.on_peer(f"ip netns exec {wire.box} python3 -c '{FILTERED}'") == want
    assert wire.run(f"python3 -c '{FILTERED}'") == want


RING = """
import errno, mmap, select, socket, struct
def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]
PACKET = 263
def ring(version, kind):
    s = socket.socket(17, kind, socket.htons(0x800)); s.bind(("eth0", 0x800))
    s.setsockopt(PACKET, 10, version)
    print(s.getsockopt(PACKET, 10), code(s.setsockopt, PACKET, 10, 9))
    for bad in ((4095, 4, 1024, 16), (4096, 4, 1024, 15), (4096, 4, 1000, 16), (4096, 4, 16, 1024), (0, 1, 1024, 1), (4096, 0, 0, 1)):
        print(code(s.setsockopt, PACKET, 5, struct.pack("IIII", *bad)), end=" ")
    s.setsockopt(PACKET, 5, struct.pack("IIII", 4096, 2, 2048, 4))
    print(code(s.setsockopt, PACKET, 5, struct.pack("IIII", 4096, 2, 2048, 4)), code(s.setsockopt, PACKET, 10, 0))
    return s, mmap.mmap(s.fileno(), 8192)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(10)
u.connect(("10.99.0.1", 7600))
u.send(b"first"); u.recv(10)  # neighbours know each other
for version, kind in ((1, socket.SOCK_RAW), (1, socket.SOCK_DGRAM), (0, socket.SOCK_RAW)):
    s, m = ring(version, kind)
    at = 0
    for i in range(6):
        u.send(b"%03d" % i * 700); u.recv(10)
        print(bool(select.select([s], [], [], 10)[0]), end=" ")
        while True:
            if version:
                status, whole, snap, mac, net = struct.unpack_from("<IIIHH", m, at)
            else:
                status, whole, snap, mac, net = struct.unpack_from("<QIIHH", m, at)
            if not status & 1:
                break
            name = struct.unpack_from("<H2siHBB6s", m, at + 32)
            if m[at + net + 9] == 17:
                print(whole, snap, mac, net, name[0], name[1], name[3:6], m[at + net + 28 : at + net + 31], end=" ")
            m[at : at + 4] = bytes(4)
            at = (at + 2048) % 8192
        print(bool(select.select([s], [], [], 0)[0]))
    for i in range(9):
        u.send(b"x"); u.recv(10)
    seen, drops = struct.unpack("<II", s.getsockopt(PACKET, 6, 8))
    print(drops > 0, seen >= 15)
"""
ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 7600))
while True:
    data, addr = s.recvfrom(10000)
    s.sendto(data[:5], addr)
"""


def test_packet_ring(wire: Wire) -> None:
    wire.peer_start(f"exec python3 -c '{ECHO}'")
    wire.until("ss -lun | grep -q :7600")
    native = wire.on_peer(f"ip netns exec {wire.box} python3 -c '{RING}'")
    assert wire.run(f"python3 -c '{RING}'") == native


RAW_GROUP = """
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 200)
other = socket.socket(socket.AF_INET, socket.SOCK_RAW, 200); other.setsockopt(0, 49, 0); other.settimeout(0)
s.settimeout(20)
s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4si", socket.inet_aton("239.1.2.3"), bytes(4), socket.if_nametoindex("eth0")))
print("up", flush=True)
data, addr = s.recvfrom(1000)
print(data[20:], addr[0], flush=True)
try:
    other.recv(100)
except BlockingIOError:
    print("not the other", flush=True)
"""


def test_raw_socket_in_a_group(wire: Wire) -> None:
    p = wire.start(f"exec python3 -c '{RAW_GROUP}'")
    assert wire.line(p) == "up"
    send = 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 200); s.setsockopt(0, 32, socket.inet_aton("10.99.0.1")); s.sendto(b"to routers", ("239.1.2.3", 0))'
    wire.on_peer(f"python3 -c '{send}'")
    assert wire.line(p) == "b'to routers' 10.99.0.1"
    assert wire.line(p) == "not the other"
