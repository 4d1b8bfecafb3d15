#!/usr/bin/env python3
"""SO_ATTACH_REUSEPORT_CBPF and SO_DETACH_REUSEPORT_BPF on each kind of inet socket, bound or not, with SO_REUSEPORT or without."""

import ctypes
import errno
import socket
import struct

DETACH, ATTACH, REUSEPORT = 68, 51, 15
program = struct.pack("<HBBI", 6, 0, 0, 0)
buf = ctypes.create_string_buffer(program, 8)
FILTER = struct.pack("<H6xQ", 1, ctypes.addressof(buf))


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


for kind in ((2, 3, 1), (2, 3, 200), (10, 3, 58), (10, 3, 200), (2, 2, 0), (2, 1, 0), (2, 2, 136)):
    try:
        s = socket.socket(*kind)
    except PermissionError:
        print(kind, "not for us")
        continue
    print(kind, code(s.setsockopt, 1, DETACH, 0), code(s.setsockopt, 1, ATTACH, FILTER), end=" ")
    print(code(s.setsockopt, 1, REUSEPORT, 1), code(s.setsockopt, 1, DETACH, 0))
    if kind[0] == 2:
        print(code(s.bind, ("127.0.0.1", 0)), code(s.setsockopt, 1, DETACH, 0), end=" ")
        print(code(s.setsockopt, 1, ATTACH, FILTER), code(s.setsockopt, 1, DETACH, 0))
