#!/usr/bin/env python3
"""UDP over loopback: segments cut and merged (UDP_SEGMENT, UDP_GRO), socket filters (SO_ATTACH_FILTER)."""

import ctypes
import errno
import select
import socket
import struct

SEGMENT, GRO, ATTACH, DETACH, LOCK = 103, 104, 26, 27, 44


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


def pair(family=socket.AF_INET, host="127.0.0.1"):
    a, b = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    b.bind((host, 0))
    a.connect(b.getsockname())
    b.settimeout(5)
    return a, b


for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    a, b = pair(family, host)
    print(
        a.getsockopt(17, SEGMENT),
        code(a.setsockopt, 17, SEGMENT, 1 << 16),
        code(a.setsockopt, 17, SEGMENT, -1),
    )
    a.setsockopt(17, SEGMENT, 100)
    print(a.getsockopt(17, SEGMENT), a.send(bytes(250)), [len(b.recv(1000)) for _ in range(3)])
    print(a.send(bytes(100)), len(b.recv(1000)), a.send(b""), len(b.recv(1000)))
    print(code(a.send, bytes(100 * 128 + 1)))
    one = [(17, SEGMENT, struct.pack("H", 7))]
    print(a.sendmsg([b"0123456", b"789"], one), b.recv(100), b.recv(100))
    print(
        code(a.sendmsg, [b"x" * 10], [(17, SEGMENT, b"1234")]),
        a.sendmsg([b"y" * 200], [(17, SEGMENT, b"\0\0")]),
        len(b.recv(1000)),
    )
    b.setsockopt(17, GRO, 1)
    print(b.getsockopt(17, GRO), a.send(bytes(250)))
    data, anc, flags, _ = b.recvmsg(65536, 100)
    print(
        len(data), [(level, kind, struct.unpack("i", body)[0]) for level, kind, body in anc], flags
    )
    a.setsockopt(17, SEGMENT, 0)
    a.send(b"single")
    print(b.recvmsg(100, 100)[:2])

keep = []


def fprog(*lines):
    raw = b"".join(struct.pack("<HBBI", *line) for line in lines)
    buf = ctypes.create_string_buffer(raw, len(raw))
    keep.append(buf)
    return struct.pack("<H6xQ", len(lines), ctypes.addressof(buf))


RET, RET_A = 0x06, 0x16
a, b = pair()
print(code(b.setsockopt, 1, DETACH, 0))
for bad in (
    (),
    ((0x30, 0, 0, 0),),
    ((0xFF, 0, 0, 0), (RET, 0, 0, 1)),
    ((0x15, 9, 0, 0), (RET, 0, 0, 1)),
    ((0x60, 0, 0, 3), (RET, 0, 0, 1)),
    ((0x34, 0, 0, 0), (RET, 0, 0, 0)),
):
    print(code(b.setsockopt, 1, ATTACH, fprog(*bad)))
print(
    code(b.setsockopt, 1, ATTACH, struct.pack("<H6xQ", 1, 8)),
    code(b.setsockopt, 1, ATTACH, b"12345678"),
)


def heard(*messages):
    for m in messages:
        a.send(m)
    out = []
    while select.select([b], [], [], 0)[0]:
        out.append(b.recv(100))
    return out


# The first byte of the payload, behind the UDP header
b.setsockopt(
    1, ATTACH, fprog((0x30, 0, 0, 8), (0x15, 0, 1, ord("y")), (RET, 0, 0, 0xFFFF), (RET, 0, 0, 0))
)
print(heard(b"yes", b"no", b"", b"yet"))
# Cut after twelve bytes
b.setsockopt(1, ATTACH, fprog((RET, 0, 0, 12)))
print(heard(b"abcdefgh", b"ab"))
# Length, ports and loads relative to X; arithmetic; memory
b.setsockopt(
    1,
    ATTACH,
    fprog(
        (0x80, 0, 0, 0),
        (0x02, 0, 0, 5),
        (0x28, 0, 0, 4),
        (0x61, 0, 0, 5),
        (0x1D, 0, 1, 0),
        (RET, 0, 0, 99),
        (RET, 0, 0, 0),
    ),
)
print(heard(b"as long as it says"))
b.setsockopt(
    1,
    ATTACH,
    fprog((0x01, 0, 0, 6), (0x50, 0, 0, 2), (0x94, 0, 0, 10), (0x04, 0, 0, 8), (RET_A, 0, 0, 0)),
)
print(heard(b"abcdefghij", b"\x33" * 5))
# Beside the packet: protocol, and what is beyond its end
b.setsockopt(
    1, ATTACH, fprog((0x28, 0, 0, 0xFFFFF000), (0x15, 0, 1, 0x800), (RET, 0, 0, 99), (RET, 0, 0, 0))
)
print(heard(b"ip"))
b.setsockopt(1, ATTACH, fprog((0x20, 0, 0, 100), (RET, 0, 0, 99)))
print(heard(b"short"), heard(bytes(200)) != [])
b.setsockopt(1, DETACH, 0)
print(heard(b"all"))
b.setsockopt(1, ATTACH, fprog((RET, 0, 0, 99)))
b.setsockopt(1, LOCK, 1)
print(
    b.getsockopt(1, LOCK),
    code(b.setsockopt, 1, LOCK, 0),
    code(b.setsockopt, 1, DETACH, 0),
    code(b.setsockopt, 1, ATTACH, fprog((RET, 0, 0, 0))),
)
