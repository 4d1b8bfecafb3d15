#!/usr/bin/env python3
"""What options do beyond being read back: time stamps, original addresses, lost datagrams, filters, choosers among a port's sockets."""

import ctypes
import errno
import os
import socket
import struct
import tempfile
import time


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


def program(*insns):
    """struct sock_fprog, and what it points to (to be kept alive)."""
    raw = b"".join(struct.pack("HBBI", *i) for i in insns)
    held = ctypes.create_string_buffer(raw, len(raw))
    return struct.pack("HxxxxxxQ", len(insns), ctypes.addressof(held)), held


def udp(host="127.0.0.1", family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((host, 0))
    s.settimeout(10)
    return s


# Linux begins to stamp a moment after the first socket asks for it, and goes on while there is one
stamping = udp()
stamping.setsockopt(1, 29, 1)
time.sleep(0.2)

# Time stamps: one form at a time, the new ones as the old
for opts in ((29,), (35,), (63,), (64,), (29, 35), (35, 63), (64, 29), (35, 0)):
    b, a = udp(), udp()
    for o in opts:
        b.setsockopt(1, o or 35, 1 if o else 0)
    a.sendto(b"x", b.getsockname())
    print(
        opts,
        [b.getsockopt(1, o) for o in (29, 35, 64)],
        [(lv, k, len(d)) for lv, k, d in b.recvmsg(9, 200)[1]],
    )
for flags in (0x18, 0x08):
    b, a = udp(), udp()
    b.setsockopt(1, 37, flags)
    a.sendto(b"x", b.getsockname())
    got = b.recvmsg(9, 200)[1]
    print(
        "timestamping",
        hex(flags),
        [(lv, k, len(d), [v != 0 for v in struct.unpack("6q", d)][2:]) for lv, k, d in got],
    )
# Where a datagram was sent to
b, a = udp("0.0.0.0"), udp()
b.setsockopt(0, 20, 1)
a.sendto(b"x", ("127.0.0.9", b.getsockname()[1]))
((lv, k, d),) = b.recvmsg(9, 200)[1]
print("original", lv, k, d[:2], d[2:4] == struct.pack("!H", b.getsockname()[1]), d[4:8], len(d))
b, a = udp("::1", socket.AF_INET6), udp("::1", socket.AF_INET6)
b.setsockopt(41, 74, 1)
a.sendto(b"x", b.getsockname())
((lv, k, d),) = b.recvmsg(9, 200)[1]
print("original", lv, k, d[:2], d[8:24], len(d))
# How many were lost
b, a = udp(), udp()
b.setsockopt(1, 40, 1)
b.setsockopt(1, 8, 2304)
for _ in range(200):
    a.sendto(bytes(1000), b.getsockname())
b.recvmsg(2000, 200)
b.setblocking(False)
while True:
    try:
        b.recv(2000, socket.MSG_DONTWAIT)
    except BlockingIOError:
        break
b.settimeout(10)
a.sendto(b"after", b.getsockname())
print(
    "lost",
    [(lv, k, len(d), int.from_bytes(d, "little") > 100) for lv, k, d in b.recvmsg(9, 200)[1]],
)
# Addresses that are not ours
for opt in (15, 19):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    print("elsewhere", code(s.bind, ("203.0.113.7", 0)))
    if opt == 15 or os.geteuid() == 0:
        print(code(s.setsockopt, 0, opt, 1), code(s.bind, ("203.0.113.7", 0)), s.getsockname()[0])
# The interface by its number
s = udp()
print(
    code(s.setsockopt, 1, 62, 1),
    s.getsockopt(1, 62),
    s.getsockopt(1, 25, 16),
    code(s.setsockopt, 1, 62, -1),
)
# Who of those that share a port
group = []
for _ in range(4):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(1, 15, 1)
    s.bind(group[0].getsockname() if group else ("127.0.0.1", 0))
    s.settimeout(10)
    group.append(s)
first_byte, held = program((0x30, 0, 0, 0), (0x16, 0, 0, 0))  # ldb [0]; ret a
print("cbpf", code(group[1].setsockopt, 1, 51, first_byte))
a = udp()
for n in (2, 0, 3, 1, 2):
    a.sendto(bytes((n,)) + b"!", group[0].getsockname())
    print(n, group[n].recv(9))
print(code(group[0].setsockopt, 1, 68, 0), code(group[0].setsockopt, 1, 68, 0))
print(code(udp().setsockopt, 1, 51, first_byte), code(udp().setsockopt, 1, 68, 0))
# Without one they share: each flow stays with one socket
senders = [udp() for _ in range(40)]
for s in senders:
    for _ in range(2):
        s.sendto(b"x", group[0].getsockname())
seen = []
for s in group:
    s.setblocking(False)
    flows = []
    while True:
        try:
            flows.append(s.recvfrom(9)[1])
        except BlockingIOError:
            break
    seen.append(flows)
print(
    sum(map(len, seen)),
    sum(1 for f in seen if f) > 1,
    all(f.count(x) == 2 for f in seen for x in f),
)
# Filters where there are no packets
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
two, held2 = program(
    (0x30, 0, 0, 0), (0x15, 0, 1, 65), (0x06, 0, 0, 2), (0x06, 0, 0, 0)
)  # 'A…': two bytes of it
print(
    code(b.setsockopt, 1, 26, two),
    a.send(b"ABCD"),
    a.send(b"BCD"),
    a.send(b"AX"),
    b.recv(9),
    b.recv(9),
)
print(
    code(b.recv, 9, socket.MSG_DONTWAIT),
    code(b.setsockopt, 1, 27, 0),
    a.send(b"BCD"),
    b.recv(9),
    code(b.setsockopt, 1, 27, 0),
)
with tempfile.TemporaryDirectory() as d:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(d + "/s")
    s.setsockopt(1, 29, 1)
    a.connect(d + "/s")
    a.send(b"x")
    print([(lv, k, len(v)) for lv, k, v in s.recvmsg(9, 200)[1]])
# Sockets that know each other, and their numbers
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
print(
    struct.unpack("iii", a.getsockopt(1, 17, 12))[0] == os.getpid(),
    len(a.getsockopt(1, 57, 8)),
    code(a.getsockopt, 1, 57, 4),
)
print(
    a.getsockopt(1, 57, 8) != b.getsockopt(1, 57, 8),
    a.getsockopt(1, 57, 8) == a.getsockopt(1, 57, 8),
)
t = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
print(t.getsockopt(1, 7), t.getsockopt(1, 8), struct.unpack("iII", t.getsockopt(1, 17, 12)))
# What a datagram carries: the socket's hop limit and traffic class, or a message's own
for family, host, level, ttl, tos in (
    (socket.AF_INET, "127.0.0.1", 0, (12, 2, 2), (13, 1, 1)),
    (socket.AF_INET6, "::1", 41, (51, 16, 52), (66, 67, 67)),
):
    a, b = udp(host, family), udp(host, family)
    b.setsockopt(level, ttl[0], 1)
    b.setsockopt(level, tos[0], 1)
    a.sendto(b"x", b.getsockname())
    print(b.recvmsg(9, 200)[1])
    a.setsockopt(level, ttl[1], 7)
    a.setsockopt(level, tos[1], 8)
    a.sendto(b"x", b.getsockname())
    print(b.recvmsg(9, 200)[1])
    own = [(level, ttl[2], struct.pack("i", 3)), (level, tos[2], struct.pack("i", 0x20))]
    a.sendmsg([b"x"], own, 0, b.getsockname())
    print(b.recvmsg(9, 200)[1])
