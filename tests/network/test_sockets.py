"""What sockets do only when there is a network: lingering, segments and filters on packets that come over a wire."""

from __future__ import annotations

import re
import shlex

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


RINGS = """
import errno, mmap, select, socket, struct, time
def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]
PACKET = 263
def number(s):
    return struct.unpack("I", s.getsockopt(PACKET, 18, 4))[0]
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(10)
u.connect(("10.99.0.1", 7600))
def ask(data=b"x"):
    u.send(data); u.recv(10)
ask()
# Blocks of frames of any size
for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
    s = socket.socket(17, kind, socket.htons(0x800)); s.bind(("eth0", 0x800)); s.setsockopt(PACKET, 10, 2)
    for bad in ((4096, 4, 1024, 16), (4095, 4, 1024, 16, 0, 0, 0), (4096, 4, 1024, 15, 0, 0, 0), (4096, 4, 1024, 16, 0, 4090, 0), (4096, 4, 64, 256, 0, 0, 0)):
        print(code(s.setsockopt, PACKET, 5, struct.pack(f"{len(bad)}I", *bad)), end=" ")
    s.setsockopt(PACKET, 5, struct.pack("7I", 4096, 3, 2048, 6, 50, 10, 0)); m = mmap.mmap(s.fileno(), 12288)
    print(code(s.setsockopt, PACKET, 5, struct.pack("7I", 4096, 3, 2048, 6, 50, 10, 0)))
    block = 0
    for i in range(5):
        for j in range(3): ask(b"%03d" % i * 500)
        found = []
        while len(found) < 3:
            assert select.select([s], [], [], 10)[0]
            at = block * 4096
            version, private, status, n, first, size, seq = struct.unpack_from("<IIIIIIQ", m, at)
            if not status & 1:
                continue
            where = at + first
            for k in range(n):
                next, sec, ns, snap, whole, st, mac, net = struct.unpack_from("<IIIIIIHH", m, where)
                name = struct.unpack_from("<H2siHBB6s", m, where + 48)
                if m[where + net + 9] == 17:
                    found.append((snap, whole, st & 1, mac, net, name[0], name[1], name[3:6], m[where + net + 28 : where + net + 31], abs(sec - time.time()) < 60))
                where += next; last = next
            if i == 0: print(version, private, first, seq > 0, last, size == where + ((snap + mac + 7) & ~7) - at)
            m[at + 8 : at + 12] = bytes(4); block = (block + 1) % 3
        print(found)
    for i in range(30): ask(b"z" * 1200)
    seen, drops, freezes = struct.unpack("III", s.getsockopt(PACKET, 6, 12))
    print(drops > 0, freezes > 0, s.getsockopt(PACKET, 6, 12), code(s.getsockopt, PACKET, 11, 4))
    s.close()
# Frames to send
for version, head, status, size in ((0, 32, 0, 8), (1, 32, 0, 4), (2, 48, 20, 16)):
    s = socket.socket(17, socket.SOCK_RAW, 0); s.bind(("eth0", 0)); s.setsockopt(PACKET, 10, version)
    taps = socket.socket(17, socket.SOCK_RAW, socket.htons(3)); taps.bind(("eth0", 3)); taps.settimeout(10)
    own = s.getsockname()[4]
    req = struct.pack("IIII", 4096, 2, 2048, 4) + (bytes(12) if version == 2 else b"")
    if version == 2: print(code(s.setsockopt, PACKET, 13, struct.pack("7I", 4096, 2, 2048, 4, 1, 0, 0)))
    s.setsockopt(PACKET, 13, req); m = mmap.mmap(s.fileno(), 8192)
    print(s.send(b""), select.select([], [s], [], 0)[1] == [s])
    def fill(i, data, length=None):
        at = i * 2048
        m[at + head : at + head + len(data)] = data
        m[at + size : at + size + 4] = struct.pack("I", len(data) if length is None else length)
        m[at + status : at + status + 4] = struct.pack("I", 1)
    def statuses():
        return [struct.unpack_from("I", m, i * 2048 + status)[0] for i in range(4)]
    def wait():
        for _ in range(200):
            if not any(x & 3 for x in statuses()): break
            time.sleep(0.01)
        return [x & 7 for x in statuses()]
    frames = [b"\\xff" * 6 + own + b"\\x88\\xb5" + bytes([65 + i]) * (50 + 100 * i) for i in range(4)]
    for i in range(4): fill(i, frames[i])
    print(select.select([], [s], [], 0)[1] == [], s.send(b""), wait())
    got = []
    while len(got) < 4:
        data, addr = taps.recvfrom(2000)
        if addr[1] == 0x88b5: got.append((data == frames[len(got)], addr[2]))
    print(got)
    fill(0, frames[0], 2040); print(code(s.send, b""), wait())
    fill(1, b"short"); print(code(s.send, b""), wait())
    print(code(s.setsockopt, PACKET, 14, 1), code(s.setsockopt, PACKET, 19, 1), code(s.setsockopt, PACKET, 12, 0)); m.close(); s.close()
    s = socket.socket(17, socket.SOCK_RAW, 0); s.bind(("eth0", 0)); s.setsockopt(PACKET, 10, version); s.setsockopt(PACKET, 14, 1)
    s.setsockopt(PACKET, 13, req); m = mmap.mmap(s.fileno(), 8192)
    fill(0, b"short"); fill(1, frames[1]); print(code(s.send, b""), wait())
    s.close()
# Both in one mapping
s = socket.socket(17, socket.SOCK_RAW, socket.htons(0x800)); s.bind(("eth0", 0x800)); s.setsockopt(PACKET, 10, 1)
s.setsockopt(PACKET, 13, struct.pack("IIII", 4096, 1, 2048, 2)); s.setsockopt(PACKET, 5, struct.pack("IIII", 4096, 1, 2048, 2))
m = mmap.mmap(s.fileno(), 8192)
m[4096 + 32 : 4096 + 32 + 64] = b"\\xff" * 6 + own + b"\\x88\\xb5" + b"q" * 50; m[4100:4104] = struct.pack("I", 64); m[4096:4100] = struct.pack("I", 1)
print(s.send(b"")); ask(); select.select([s], [], [], 10); print(m[0] & 1); s.close()
# Groups
def members(kind, n, flags=0, ident=7):
    out = []
    for _ in range(n):
        s = socket.socket(17, socket.SOCK_DGRAM, 0); s.bind(("eth0", 0x800)); s.setblocking(False)
        s.setsockopt(PACKET, 18, struct.pack("I", ident | kind << 16 | flags << 24)); out.append(s)
    return out
def count(group):
    n = []
    for s in group:
        got = 0
        while True:
            try: data = s.recv(2000)
            except BlockingIOError: break
            got += data[9] == 17 and data[-2:] == b"gg"
        n.append(got)
    return sorted(n)
a = socket.socket(17, socket.SOCK_DGRAM, 0); print(code(a.setsockopt, PACKET, 18, struct.pack("I", 7)), number(a))
for kind, want in ((1, [6, 6]), (0, [0, 12])):
    group = members(kind, 2)
    print(hex(number(group[0])), code(group[0].setsockopt, PACKET, 18, struct.pack("I", 7 | kind << 16)), code(members, kind ^ 1, 1), code(group[0].bind, ("eth0", 0x800)))
    for _ in range(12): ask(b"gg")
    got = count(group); print(sum(got), kind or got == want)
    for s in group: s.close()
print(code(members, 9, 1), code(members, 7, 1, 0x20), hex(number(members(1, 1, 0x20, 0)[0])  >> 16))
"""


def test_rings_of_all_kinds_and_groups(wire: Wire) -> None:
    """TPACKET_V3, rings to send with, PACKET_FANOUT."""
    wire.peer_start(f"exec python3 -c '{ECHO}'")
    wire.until("ss -lun | grep -q :7600")
    native = wire.on_peer(f"ip netns exec {wire.box} python3 -c '{RINGS}'")
    assert wire.run(f"python3 -c '{RINGS}'") == native


def test_a_dhcp_client(wire: Wire) -> None:
    """It is told which checksums are still to be filled in (PACKET_AUXDATA), or it would take the answers for damaged."""
    serve = "exec dnsmasq -d -u root -C /dev/null -p 0 -i eth0 --bind-interfaces --dhcp-range=10.99.0.50,10.99.0.60"
    wire.peer_start(f"{serve} --dhcp-leasefile={wire.base}/leases 2>/dev/null")
    wire.until("ss -lun | grep -q :67")
    say = "printf '#!/bin/sh\\necho $1 $ip\\n' >/tmp/say; chmod +x /tmp/say"
    got = wire.run(f"{say}; udhcpc -i eth0 -n -q -f -s /tmp/say -t 8 2>/dev/null")
    assert "bound 10.99.0." in got


def test_programs_with_packets_of_their_own(wire: Wire) -> None:
    wire.peer_start("cd /; exec python3 -m http.server 8000 >/dev/null 2>&1")
    wire.until("ss -ltn | grep -q :8000")
    got = wire.run("nmap -n -sS -p 7999-8001 10.99.0.1; arping -c 2 -I eth0 10.99.0.1")
    assert "8000/tcp open" in got and got.count("/tcp closed") == 2 and got.count("bytes from") == 2


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


UDPLITE = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, socket.SOCK_DGRAM, 136); s.settimeout(1)
if sys.argv[1] == "serve":
    s.bind((sys.argv[2], 7450)); s.settimeout(60); print("up", flush=True)
    s.setsockopt(136, 11, 20)
    while True:
        data, addr = s.recvfrom(9000); s.sendto(data.upper(), addr)
s.connect((sys.argv[2], 7450))
def ask(data):
    s.send(data)
    try: return len(s.recv(9000))
    except OSError as e: return type(e).__name__
for coverage in (0, 12, 20, 500, 2000):
    s.setsockopt(136, 10, coverage)
    print([ask(b"x" * n) for n in (0, 4, 9, 12, 13, 1000, 3000)])
s.setsockopt(136, 11, 9000); print(ask(b"whole"))
s.connect((sys.argv[2], 7451)); print(ask(b"nobody"))
"""


def test_udplite(wire: Wire) -> None:
    """Both ways: who covers too little of a datagram gets no answer; fragments; a port that nobody has."""
    wire.peer_start(f"exec python3 -c '{UDPLITE}' serve 10.99.0.1 >/dev/null")
    wire.peer_start(f"exec python3 -c '{UDPLITE}' serve fd99::1 >/dev/null")
    wire.until("[ $(cat /proc/net/udplite /proc/net/udplite6 | grep -c :1D1A) = 2 ]")
    ask = f"python3 -c '{UDPLITE}' ask"
    wire.peer_start(f"tcpdump -i eth0 -U -w {wire.base}/pcap proto 136 2>/dev/null")
    native = wire.on_peer(f"ip netns exec {wire.box} {ask} 10.99.0.1")
    assert native.count("TimeoutError") == 5 and "ConnectionRefused" in native
    assert wire.run(f"{ask} 10.99.0.1; {ask} fd99::1") == native * 2
    p = wire.start(
        f"python3 -c '{UDPLITE}' serve 10.99.0.2 & exec python3 -c '{UDPLITE}' serve fd99::2"
    )
    assert wire.line(p) == wire.line(p) == "up"
    assert wire.on_peer(f"{ask} 10.99.0.2; {ask} fd99::2") == native * 2
    shown = wire.on_peer(f"tshark -r {wire.base}/pcap -o udplite.checksum:TRUE -Y udp.checksum.bad 2>/dev/null | wc -l; tshark -r {wire.base}/pcap 2>/dev/null | wc -l")  # fmt: skip
    assert shown.split()[0] == "0" and int(shown.split()[1]) > 50


STREAM_FILTER = """
import ctypes, select, socket, struct, sys
def attach(s, *lines):
    raw = b"".join(struct.pack("<HBBI", *line) for line in lines)
    buf = ctypes.create_string_buffer(raw, len(raw))
    s.setsockopt(1, 26, struct.pack("<H6xQ", len(lines), ctypes.addressof(buf)))
# Nothing of segments that are longer than their header by one byte to four
SHORT = ((0x30, 0, 0, 12), (0x74, 0, 0, 2), (0x54, 0, 0, 0x3C), (7, 0, 0, 0), (0x80, 0, 0, 0), (0x1C, 0, 0, 0), (0x15, 2, 0, 0), (0x25, 1, 0, 4), (6, 0, 0, 0), (6, 0, 0, 0xFFFFFFFF))
def ready(s, wait):
    return bool(select.select([s], [], [], wait)[0])
s = socket.create_connection((sys.argv[1], 7470)); s.settimeout(20)
print(s.send(b"first"), s.recv(9)); attach(s, *SHORT)
print(s.send(b"longer"), s.recv(9), s.send(b"x"), ready(s, 0.5)); s.setsockopt(1, 27, 0); print(s.recv(9))
# A listener whose filter takes nothing has no connections; those that come once it does have its filter
if len(sys.argv) > 2:
    l = socket.create_server((sys.argv[2], 7471)); attach(l, (6, 0, 0, 0)); s.send(b"connect!"); print(s.recv(9), ready(l, 0.7)); attach(l, *SHORT)
    a = l.accept()[0]; print(ready(a, 0.7)); a.setsockopt(1, 27, 0); print(a.recv(9))
"""
ECHOES = """
import socket
l = socket.create_server(("", 7470))
while True:
    s, addr = l.accept()
    while data := s.recv(100):
        s.sendall(data)
        if data == b"connect!":
            kept = socket.create_connection((addr[0], 7471)); kept.send(b"hi"); break
"""


def test_filters_on_streams(wire: Wire) -> None:
    wire.peer_start(f"exec python3 -c '{ECHOES}'")
    wire.until("ss -ltn | grep -q :7470")
    ask = f"python3 -c '{STREAM_FILTER}' 10.99.0.1 10.99.0.2"
    native = wire.on_peer(f"ip netns exec {wire.box} {ask}")
    assert native.endswith("b'connect!' False\nFalse\nb'hi'\n")
    assert wire.run(ask) == native


IP_OPTIONS = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); s.setsockopt(0, 6, 1); s.setsockopt(0, 7, 1)
if sys.argv[1] == "serve":
    s.bind(("", 7480)); print("up", flush=True)
    s.settimeout(None)
    while True:
        data, control, flags, addr = s.recvmsg(5000, 400)
        s.setsockopt(0, 4, max((body for _, kind, body in control if kind == 7), default=b""))
        s.sendto(repr((len(data), control)).encode(), addr)
s.connect((sys.argv[1], 7480))
for x in (b"", bytes((7, 15, 4)) + bytes(12), b"\\1\\x94\\4\\0\\0" + bytes((7, 7, 4)) + bytes(4)):
    s.setsockopt(0, 4, x)
    for n in (1, 1400, 1465, 4000):
        s.send(bytes(n)); print(*s.recvmsg(1000, 400)[:2])
"""


def test_ip_options(wire: Wire) -> None:
    """Recorded routes, what fragments have of options, and what ping prints, both ways."""
    ask, serve = (
        f"python3 -c '{IP_OPTIONS}' {{0}}; ping -n -c 1 -R {{0}}; ping -n -c 1 -T tsandaddr {{0}}",
        f"exec python3 -c '{IP_OPTIONS}' serve",
    )
    wire.peer_start(serve)
    wire.until("ss -lun | grep -q :7480")

    def plain(text: str) -> str:
        text = re.sub(r"(time[ =]|rtt ).*", "", text)
        return re.sub(r"[-\d]+ absolute( not-standard)?|\t[-\d]+$", "TIME", text, flags=re.M)

    wire.peer_start(f"exec tcpdump -i eth0 -U -w {wire.base}/pcap ip 2>/dev/null")
    native = plain(
        wire.on_peer(
            f"echo {shlex.quote(ask.format('10.99.0.1'))} | ip netns exec {wire.box} bash -e"
        )
    )
    assert native.count("10.99.0.1\n") >= 2 and "RR:" in native and "TS:" in native
    assert plain(wire.run(ask.format("10.99.0.1"))) == native
    p = wire.start(serve)
    assert wire.line(p) == "up"
    swapped = native.replace("10.99.0.1", "x").replace("10.99.0.2", "10.99.0.1").replace("x", "10.99.0.2")  # fmt: skip
    inside = plain(wire.on_peer(ask.format("10.99.0.2")))
    assert [line for line in inside.split("\n") if "b'" not in line] == [line for line in swapped.split("\n") if "b'" not in line]  # fmt: skip
    assert inside.count("b'") == native.count("b'")
    wire.until(f"[ $(tshark -r {wire.base}/pcap 2>/dev/null | wc -l) -gt 40 ]")
    assert wire.on_peer(f"tshark -r {wire.base}/pcap -o ip.check_checksum:TRUE -Y '_ws.malformed or ip.checksum.status == 0' 2>/dev/null") == ""  # fmt: skip


FAST_OPEN = """
import errno, select, socket, struct, sys
FASTOPEN, CONNECT, MSG = 23, 30, 0x20000000
def code(f, *a):
    try: return f(*a)
    except OSError as e: return errno.errorcode[e.errno]
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
def new(): return socket.socket(family)
if sys.argv[1] == "serve":
    s = new(); s.bind((sys.argv[2], int(sys.argv[3]))); s.setsockopt(6, FASTOPEN, int(sys.argv[4])); s.listen(20); print("up", flush=True)
    while True:
        c = s.accept()[0]; early = c.getsockopt(6, 11, 8)[5] & 32
        data = b""
        while not data.endswith(b"!"): data += c.recv(9000)
        c.sendall(b"%d %d" % (early, len(data))); c.close()
to = (sys.argv[2], int(sys.argv[3]))
def ends(s):
    s.setblocking(True); s.settimeout(20); got = b""
    while data := s.recv(100): got += data
    return got, s.getsockopt(6, 11, 8)[5] & 32
s = new(); print(s.sendto(b"hello!", MSG, to), ends(s))  # asks for a cookie
for n in (0, 1, 500, 1300):
    s = new(); print(n, s.sendto(b"a" * n + b"!", MSG, to), ends(s))
s = new(); print(s.sendto(b"a" * 5000 + b"!", MSG, to), ends(s)[0])
s = new(); s.setblocking(False); print(s.sendto(b"quick!", MSG, to), ends(s))
s = new(); print(s.sendto(b"one", MSG, to), s.sendall(b"two!"), ends(s), code(s.sendto, b"x", MSG, to))
s = new(); print(s.setsockopt(6, CONNECT, 1), s.getsockopt(6, CONNECT), s.connect(to), code(s.getpeername), select.select([s], [s], [], 0)[1] == [s])
print(code(s.recv, 1, socket.MSG_DONTWAIT), s.send(b"later!"), ends(s), code(s.setsockopt, 6, CONNECT, 1), code(s.setsockopt, 6, FASTOPEN, 1))
s = new(); s.setsockopt(6, CONNECT, 1); s.connect(to); s.close()
s = new(); print(code(s.setsockopt, 6, FASTOPEN, -1), code(s.setsockopt, 6, CONNECT, 2), code(s.sendto, b"x", MSG, (sys.argv[2], 1)))
"""


def test_fast_open(wire: Wire) -> None:
    """Data in the SYN (RFC 7413): to Linux's stack and from it; a server that allows none; what the wire shows."""
    allow = "sysctl -qw net.ipv4.tcp_fastopen=3"
    wire.on_peer(allow)
    wire.more_caps = ["CAP_SYS_ADMIN"]
    for host in ("10.99.0.1", "fd99::1"):
        wire.peer_start(f"exec python3 -c '{FAST_OPEN}' serve {host} 7490 10 >/dev/null")
        wire.peer_start(f"exec python3 -c '{FAST_OPEN}' serve {host} 7491 0 >/dev/null")
    wire.until("[ $(ss -Hltn | grep -c ':749[01]') = 4 ]")

    def ask(a: str) -> str:
        return f"for p in 7490 7491; do python3 -c '{FAST_OPEN}' ask {a} $p; done"

    for host in ("10.99.0.1", "fd99::1"):
        script = wire.base / "ask.sh"
        script.write_text(ask(host))
        native = wire.on_peer(f"ip netns exec {wire.box} bash {script}")
        assert native.count("32 ") > 4 and native.count(", 32)") > 4
        pcap = wire.base / f"pcap{len(host)}"
        wire.peer_start(f"exec tcpdump -i eth0 -U -w {pcap} tcp 2>/dev/null")
        wire.until(f"[ -s {pcap} ]")
        assert wire.run(f"bash {script}") == native
        syns = "tcp.flags.syn == 1 and tcp.flags.ack == 0 and tcp.len > 0"
        wire.until(f"[ $(tshark -r {pcap} -Y '{syns}' 2>/dev/null | wc -l) -ge 6 ]")
        assert wire.on_peer(f"tshark -r {pcap} -Y _ws.malformed 2>/dev/null") == ""
        here = host.replace("::1", "::2").replace("0.1", "0.2")
        p = wire.start(
            f"cat /proc/sys/net/ipv4/tcp_fastopen; mount -o remount,rw /proc/sys; echo 3 >/proc/sys/net/ipv4/tcp_fastopen;"
            f"python3 -c '{FAST_OPEN}' serve {here} 7490 10 & exec python3 -c '{FAST_OPEN}' serve {here} 7491 0"
        )
        assert [wire.line(p) for _ in range(3)] == ["1", "up", "up"]
        script.write_text(ask(here))
        assert wire.on_peer(f"bash {script}") == native


IP6_HEADERS = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(20); s.setsockopt(41, 53, 1); s.setsockopt(41, 58, 1)
if sys.argv[1] == "serve":
    s.bind(("::", 7485)); print("up", flush=True); s.settimeout(None)
    while True:
        data, control, flags, addr = s.recvmsg(9000, 4000)
        s.sendmsg([repr((len(data), control)).encode()], [c for c in control if c[1] == 59], 0, addr)
s.connect((sys.argv[1], 7485))
PAD, LONG = bytes((0, 0, 1, 4)) + bytes(4), bytes((0, 1, 0x1E, 12)) + b"experimental"
for hop, dst in ((b"", b""), (PAD, b""), (b"", LONG), (LONG, PAD)):
    s.setsockopt(41, 54, hop); s.setsockopt(41, 59, dst)
    for n in (1, 1430, 1440, 4000):
        s.send(bytes(n)); print(*s.recvmsg(1000, 400)[:2])
"""


def test_extension_headers(wire: Wire) -> None:
    """IPv6 options with datagrams and their fragments, both ways."""
    serve = f"exec python3 -c '{IP6_HEADERS}' serve"
    wire.peer_start(serve)
    wire.until("ss -lun | grep -q :7485")
    wire.peer_start(f"exec tcpdump -i eth0 -U -w {wire.base}/pcap ip6 2>/dev/null")
    ask = f"python3 -c '{IP6_HEADERS}' {{0}}"
    native = wire.on_peer(f"ip netns exec {wire.box} {ask.format('fd99::1')}")
    assert native.count("(41, 54") == 8 and native.count("(41, 59") == 16
    assert wire.run(ask.format("fd99::1")) == native
    p = wire.start(serve)
    assert wire.line(p) == "up"
    assert wire.on_peer(ask.format("fd99::2")) == native
    wire.until(f"[ $(tshark -r {wire.base}/pcap -Y udp.dstport==7485 2>/dev/null | wc -l) -ge 48 ]")
    assert wire.on_peer(f"tshark -r {wire.base}/pcap -Y _ws.malformed 2>/dev/null") == ""  # fmt: skip
