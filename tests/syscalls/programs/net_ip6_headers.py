#!/usr/bin/env python3
"""IPv6 extension headers of a program's own (RFC 3542): sticky and with a message, what is read back, what arrives over loopback."""

import errno
import os
import socket

V6 = 41
RECVHOP, HOP, RTHDRDST, RECVRT, RT, RECVDST, DST = 53, 54, 55, 56, 57, 58, 59
PAD = bytes((0, 0, 1, 4)) + bytes(4)
ALERT = bytes((0, 0, 5, 2, 0, 0, 1, 0))
LONG = bytes((0, 1, 0x1E, 12)) + b"experimental"


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


def udp():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.settimeout(5)
    return s


a, b = udp(), udp()
b.bind(("::1", 0))
a.connect(b.getsockname())
print([a.getsockopt(V6, o, 40) for o in (HOP, RTHDRDST, RT, DST)])
for o in (HOP, RTHDRDST, DST):
    print(
        o,
        [
            code(a.setsockopt, V6, o, x)
            for x in (
                b"\0",
                b"\0\0",
                bytes(7),
                bytes(8),
                PAD + b"\0",
                LONG[:8],
                LONG,
                LONG + bytes(8),
                bytes(2048),
                bytes((0, 254)) + bytes(2038),
                b"",
            )
        ],
        a.getsockopt(V6, o, 40),
    )
print(
    [code(a.setsockopt, V6, RT, x) for x in (b"", b"\0", bytes(8), bytes((0, 2, 0, 1)) + bytes(20))]
)
for o in (RECVHOP, RECVDST, RECVRT):
    print(b.getsockopt(V6, o), b.setsockopt(V6, o, 1), b.getsockopt(V6, o))


def ask(control=(), data=b"data"):
    r = code(a.sendmsg, [data], control)
    if r != len(data):
        return r
    data, control = b.recvmsg(70000, 4000)[:2]
    return len(data), control


for o in (HOP, DST, RTHDRDST):
    for x in (PAD, ALERT, LONG):
        print(
            o,
            x.hex(),
            a.setsockopt(V6, o, x),
            a.getsockopt(V6, o, 40).hex(),
            ask(),
            a.setsockopt(V6, o, b""),
            ask(),
        )
a.setsockopt(V6, HOP, PAD)
a.setsockopt(V6, DST, LONG)
print(
    ask(),
    ask(data=bytes(60000)),
    ask([(V6, DST, PAD)]),
    ask([(V6, HOP, LONG)]),
    ask([(V6, HOP, LONG), (V6, DST, PAD)]),
)
a.setsockopt(V6, HOP, b"")
a.setsockopt(V6, DST, b"")
print(
    ask([(V6, HOP, PAD)]),
    ask([(V6, DST, PAD)]),
    ask([(V6, HOP, b"\0")]),
    ask([(V6, DST, b"\0\1" + bytes(6))]),
    ask([(V6, DST, PAD + PAD)]),
    ask(),
)
b.setsockopt(V6, RECVHOP, 0)
b.setsockopt(V6, 3, 1)  # IPV6_2292HOPOPTS
b.setsockopt(V6, 4, 1)
print(ask([(V6, HOP, PAD), (V6, DST, LONG)]))
t = socket.socket(socket.AF_INET6)
print(
    t.getsockopt(V6, HOP, 40),
    code(t.setsockopt, V6, HOP, b""),
    code(socket.socket().setsockopt, V6, HOP, PAD),
)
if os.getuid() == 0:
    r = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 200)
    r.settimeout(5)
    r.setsockopt(V6, HOP, PAD)
    r.setsockopt(V6, RECVHOP, 1)
    print(r.sendto(b"raw", ("::1", 0)), r.recvmsg(100, 100)[:2])
