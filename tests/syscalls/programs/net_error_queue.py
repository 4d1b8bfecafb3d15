#!/usr/bin/env python3
"""SO_PEEK_OFF, MSG_ZEROCOPY and transmit time stamps, over loopback."""

import errno
import select
import socket
import struct
import time

PEEK, ERRQUEUE, TRUNC, ZERO = socket.MSG_PEEK, socket.MSG_ERRQUEUE, socket.MSG_TRUNC, 0x4000000
DONTWAIT = socket.MSG_DONTWAIT
SOL = socket.SOL_SOCKET


def code(f, *a):  # type: ignore[no-untyped-def]
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno or 0]


def tcp(family: int = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as s:
        a = socket.create_connection(s.getsockname()[:2])
        return a, s.accept()[0]


def udp() -> tuple[socket.socket, socket.socket]:
    a, b = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    b.bind(("127.0.0.1", 0))
    a.connect(b.getsockname())
    return a, b


def peeks(name: str, a: socket.socket, b: socket.socket) -> None:
    print("==", name, b.getsockopt(SOL, 42), code(b.recv, 1, PEEK | DONTWAIT))
    for piece in (b"abcdef", b"ghij", b"klmnopq"):
        a.send(piece)
    print(b.recv(4, PEEK), b.recv(4, PEEK))
    b.setsockopt(SOL, 42, 0)
    for size in (2, 3, 4, 9, 30, 30):
        print(code(b.recv, size, PEEK | DONTWAIT), b.getsockopt(SOL, 42))
    print(code(b.recv, 3, PEEK | DONTWAIT | TRUNC), b.getsockopt(SOL, 42))
    b.setsockopt(SOL, 42, 7)
    print(b.recv(3), b.getsockopt(SOL, 42), b.recv(2, PEEK), b.getsockopt(SOL, 42))
    b.setsockopt(SOL, 42, -1)
    print(b.recv(2, PEEK), b.getsockopt(SOL, 42))
    b.setsockopt(SOL, 42, 5)
    print(b.recv(20), b.getsockopt(SOL, 42))


for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    peeks(f"unix {kind}", *socket.socketpair(socket.AF_UNIX, kind))
peeks("udp", *udp())
peeks("tcp", *tcp())
raw = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
print("netlink", code(raw.setsockopt, SOL, 42, 0), code(raw.getsockopt, SOL, 42))


def message(s: socket.socket, stamps: bool = False) -> object:
    p = select.poll()
    p.register(s, select.POLLERR)
    if not p.poll(0 if not stamps else 10000):
        return code(s.recvmsg, 100, 500, ERRQUEUE | DONTWAIT)
    data, control, flags, addr = s.recvmsg(2000, 500, ERRQUEUE)
    out: list[object] = [len(data) if stamps else data, hex(flags), addr]
    for level, kind, body in control:
        if (level, kind) in ((0, 11), (41, 25)):
            out.append((level, kind, struct.unpack("<IBBBxII", body[:16]), body[16:].strip(b"\0")))
        else:
            v = struct.unpack("<6q", body)
            out.append((level, kind, abs(v[0] - time.time()) < 100, v[2:]))
    return out


for family in (socket.AF_INET, socket.AF_INET6):
    a, b = tcp(family)
    print("== zero copy", a.getsockopt(SOL, 60), code(a.setsockopt, SOL, 60, 2))
    a.send(b"not asked for", ZERO)
    print(message(a))
    a.setsockopt(SOL, 60, 1)
    print(a.getsockopt(SOL, 60), a.send(b"one", ZERO), a.send(b"plain"))
    print(b.recv(100), message(a), message(a))
    for _ in range(3):
        a.send(b"x", ZERO)
        b.recv(100)
    print(message(a), message(a))
a, b = udp()
a.setsockopt(SOL, 60, 1)
print(a.send(b"datagram", ZERO), a.send(b"another", ZERO), b.recv(100), b.recv(100))
print(message(a), message(a))
u, v = socket.socketpair()
print(code(u.setsockopt, SOL, 60, 1), code(u.getsockopt, SOL, 60), u.send(b"x", ZERO), v.recv(9))

SCHED, SOFT, ACK, TELL, ID, ONLY = 1 << 8, 1 << 1, 1 << 9, 1 << 4, 1 << 7, 1 << 11
a, b = udp()
for bits in (
    SOFT | ONLY | TELL,
    SOFT | ONLY | ID | TELL,
    SCHED | SOFT | ONLY | ID | TELL,
    SOFT | ID | ONLY,
):
    a.setsockopt(SOL, 37, bits)
    for _ in range(2):
        a.send(b"hello")
        b.recv(9)
        print("stamp", bits, [message(a, True) for _ in range(2 if bits & SCHED else 1)])
print(message(a))
a.setsockopt(SOL, 37, 0)
a.send(b"x")
print(message(a))
a, b = tcp()
fresh = socket.socket()
print(
    "== tcp",
    code(fresh.setsockopt, SOL, 37, ID),
    code(a.setsockopt, SOL, 37, SOFT | ACK | ONLY | ID | TELL),
)
for size in (1, 10, 100):
    a.send(bytes(size))
    b.recv(size, socket.MSG_WAITALL)
    print([message(a, True) for _ in range(2)])
