#!/usr/bin/env python3
"""SO_ATTACH_FILTER on streams (socket(7)): TCP's segments pass it, those it drops come again once it is gone; Unix streams keep one and never ask it."""

import ctypes
import errno
import select
import socket
import struct

ATTACH, DETACH, LOCK = 26, 27, 44


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


def attach(s, *lines):
    raw = b"".join(struct.pack("<HBBI", *line) for line in lines)
    buf = ctypes.create_string_buffer(raw, len(raw))
    return code(s.setsockopt, 1, ATTACH, struct.pack("<H6xQ", len(lines), ctypes.addressof(buf)))


def ready(s, wait):
    return bool(select.select([s], [], [], wait)[0])


NOTHING = ((6, 0, 0, 0),)
ALL = ((6, 0, 0, 0xFFFFFFFF),)
# The first byte behind the header is "!": nothing of the segment
NO_BANG = ((0x30, 0, 0, 12), (0x74, 0, 0, 2), (0x54, 0, 0, 0x3C), (7, 0, 0, 0), (0x80, 0, 0, 0), (0x3D, 0, 3, 0), (0x50, 0, 0, 0), (0x15, 0, 1, 33), (6, 0, 0, 0), (6, 0, 0, 0xFFFFFFFF))  # fmt: skip
for host in ("127.0.0.1", "::1"):
    s = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    print(code(s.setsockopt, 1, DETACH, 0), attach(s, *NOTHING))
    print(attach(s, *ALL))
    c = socket.create_connection(s.getsockname()[:2])
    a = s.accept()[0]
    print(
        c.send(b"one"),
        a.recv(9),
        code(a.setsockopt, 1, DETACH, 0),
        code(a.setsockopt, 1, DETACH, 0),
    )
    print(attach(a, *NO_BANG), c.send(b"two"), a.recv(9), c.send(b"!three"), ready(a, 0.3))
    print(code(a.setsockopt, 1, DETACH, 0), ready(a, 20), a.recv(9))
    print(
        attach(a, *NOTHING),
        c.send(b"four"),
        ready(a, 0.2),
        attach(a, *ALL),
        ready(a, 20),
        a.recv(9),
    )
    print(
        code(a.setsockopt, 1, LOCK, 1),
        attach(a, *NOTHING),
        code(a.setsockopt, 1, DETACH, 0),
        code(a.setsockopt, 1, LOCK, 0),
    )
    print(a.getsockopt(1, LOCK), c.send(b"five"), a.recv(9))
    c.close(), print(a.recv(9))

for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    print(code(b.setsockopt, 1, DETACH, 0), attach(b, *NOTHING), a.send(b"x"), ready(b, 0))
    print(code(b.setsockopt, 1, DETACH, 0), a.send(b"y"), b.recv(9))
