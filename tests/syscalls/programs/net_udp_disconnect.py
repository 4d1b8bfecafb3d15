#!/usr/bin/env python3
"""A UDP socket without its peer again: what it keeps of its own address; then a peer of the other family, as getaddrinfo has it."""

import ctypes
import socket
import struct

libc = ctypes.CDLL(None, use_errno=True)
NOBODY = struct.pack("<H14x", 0)


def connect(s, addr):
    r = libc.connect(s.fileno(), addr, len(addr))
    return r and -ctypes.get_errno()


def name(s):
    a = s.getsockname()
    return a[0], a[1] != 0


for family, lo, every in (
    (socket.AF_INET, "127.0.0.1", "0.0.0.0"),
    (socket.AF_INET6, "::1", "::"),
):
    for bind in (None, (every, 0), (lo, 0), (every, 5555), (lo, 5556)):
        s = socket.socket(family, socket.SOCK_DGRAM)
        if bind:
            s.bind(bind)
        seen = [name(s)]
        s.connect((lo, 9))
        seen += [name(s), connect(s, NOBODY), name(s)]
        s.connect((lo, 9))
        seen += [name(s), connect(s, NOBODY)]
        s.sendto(b"x", (lo, 9))
        print(family.name, bind, seen, name(s))

for first in (None, "::1"):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    if first:
        s.connect((first, 9))
    four = struct.pack("<H", 2) + struct.pack("!H", 9) + socket.inet_aton("127.0.0.1") + bytes(8)
    print(connect(s, NOBODY), connect(s, four), s.getsockname()[0], s.getpeername()[:2])
