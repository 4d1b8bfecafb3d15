#!/usr/bin/env python3
"""Random calls on sockets of all kinds: options of all levels and sizes, addresses true and mutilated, control messages, filters.

sockets.py SECONDS SEED; whatever the kernel answers, this program lives to the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
import select
import socket
import struct
import sys
import time

KINDS = (
    (2, 1, 0), (2, 2, 0), (2, 2, 136), (10, 1, 0), (10, 2, 0), (10, 2, 136), (1, 1, 0), (1, 2, 0), (1, 5, 0), (2, 3, 1), (2, 3, 200),
    (10, 3, 58), (10, 3, 200), (17, 3, 0x300), (17, 2, 0x800), (16, 3, 0), (2, 2, 1), (16, 3, 4), (16, 3, 12),
)  # fmt: skip
LEVELS = (0, 1, 6, 17, 41, 58, 136, 255, 263, 270)
FLAGS = (0, 0, 0, 1, 2, 0x20, 0x40, 0x100, 0x2000, 0x4000, 0x8000, 0x10000, 0x4000000, 0x20000000)
DONTWAIT_NOSIGNAL = 0x4040
IOCTLS = (0x541B, 0x5411, 0x8905, 0x8906, 0x8912, 0x8915, 0x8927, 0x8933)
V4 = (b"\x7f\0\0\1", bytes(4), b"\xe0\0\0\5", b"\xff" * 4, b"\x0a\x63\0\1")
V6 = (
    bytes(15) + b"\1",
    bytes(16),
    b"\xff\2" + bytes(13) + b"\1",
    bytes(10) + b"\xff\xff\x7f\0\0\1",
)
PATHS = (b"/tmp/fuzz0", b"/tmp/fuzz1", b"\0fuzz", b"")
rng = random.Random(int(sys.argv[2]))
libc = ctypes.CDLL(None)
kept: list[object] = []  # programs that an option's value points to


def address() -> bytes:
    port = rng.choice((0, 1, 5000, 5001, 5002)).to_bytes(2, "big")
    made = rng.choice(
        (
            struct.pack("<H", 2) + port + rng.choice((*V4, rng.randbytes(4))) + bytes(8),
            struct.pack("<H", 10) + port + bytes(4) + rng.choice((*V6, b"\xfe\x80" + rng.randbytes(14)))
            + struct.pack("<I", rng.choice((0, 1, 2, 99))),
            struct.pack("<H", 1) + rng.choice(PATHS) + b"\0",
            struct.pack("<HHiHBB8s", 17, rng.choice((0, 8, 0x300)), rng.choice((0, 1, 2, 99)), 1, 0, 6, rng.randbytes(8)),
            struct.pack("<HHII", 16, 0, 0, rng.choice((0, 1))),
            rng.randbytes(rng.randrange(130)),
        )
    )  # fmt: skip
    return made[: rng.randrange(len(made) + 1)] if rng.random() < 0.15 else made


def program() -> bytes:
    lines = [(6, 0, 0, 0), (6, 0, 0, 0xFFFFFFFF), (0x20, 0, 0, rng.randrange(60)), (0x15, rng.randrange(3), 0, rng.randrange(9)), (0x30, 0, 0, 0xFFFFF000 + rng.randrange(64))]  # fmt: skip
    chosen = [rng.choice(lines) for _ in range(rng.randrange(1, 5))]
    raw = b"".join(struct.pack("<HBBI", *x) for x in [*chosen, (6, 0, 0, rng.choice((0, 1, 20)))])
    buf = ctypes.create_string_buffer(raw, len(raw))
    kept.append(buf)
    del kept[:-50]
    return struct.pack("<H6xQ", len(raw) // 8, ctypes.addressof(buf))


def value() -> bytes:
    kind = rng.randrange(8)
    if kind < 3:
        numbers = (0, 1, -1, 2, 5, 7, 8, 20, 77, 255, 256, 65535, 1 << 30, rng.getrandbits(31))
        return struct.pack("<i", rng.choice(numbers))
    if kind == 3:
        return rng.randbytes(rng.choice((0, 1, 2, 3, 4, 5, 8, 12, 16, 20, 28, 40, 64, 136, 144, 216, 260)))  # fmt: skip
    if kind == 4:
        return bytes(rng.choice((0, 1, 4, 8, 12, 16, 20, 40, 128, 144, 216)))
    if kind == 5:  # IPv4's options
        head = (rng.choice((7, 68, 148, 131, 1, 0)), rng.choice((3, 7, 8, 11, 15, 40)), rng.choice((4, 5, 8)))  # fmt: skip
        return bytes(head) + bytes(rng.randrange(37))
    if kind == 6:  # a header of IPv6's
        return bytes((0, rng.randrange(4))) + rng.randbytes(8 * rng.randrange(1, 5) - 2)
    return program()


def message(s: socket.socket) -> None:
    kinds = (1, 2, 7, 8, 50, 52, 54, 55, 57, 59, 67, 103, rng.randrange(80))
    control = [(rng.choice((0, 1, 17, 41, 136)), rng.choice(kinds), value()) for _ in range(rng.randrange(3))]  # fmt: skip
    s.sendmsg([rng.randbytes(rng.randrange(50))], control, rng.choice(FLAGS) | DONTWAIT_NOSIGNAL)


def call(s: socket.socket, others: list[socket.socket]) -> None:
    fd, a = s.fileno(), address()
    kind = rng.randrange(14)
    if kind < 4:
        v = value()
        libc.setsockopt(fd, rng.choice(LEVELS), rng.randrange(rng.choice((80, 110))), v, len(v))
    elif kind == 4:
        buf, size = ctypes.create_string_buffer(300), ctypes.c_uint(rng.choice((0, 1, 4, 8, 40, 300)))  # fmt: skip
        libc.getsockopt(fd, rng.choice(LEVELS), rng.randrange(110), buf, ctypes.byref(size))
    elif kind == 5:
        libc.bind(fd, a, len(a))
    elif kind == 6:
        libc.connect(fd, a, len(a))
    elif kind == 7:
        libc.listen(fd, rng.choice((0, 1, 5, -1)))
    elif kind == 8:
        others.append(s.accept()[0])
        others[-1].setblocking(False)
    elif kind <= 10:
        data = rng.randbytes(rng.choice((0, 1, 5, 100, 1400, 5000, 66000)))
        to = a if rng.random() < 0.6 else None
        libc.sendto(fd, data, len(data), rng.choice(FLAGS) | DONTWAIT_NOSIGNAL, to, len(to or b""))
    elif kind == 11:
        message(s)
    elif kind == 12:
        flags = rng.choice((0, 1, 2, 0x20, 0x100, 0x2000)) | 0x40
        s.recvmsg(rng.choice((0, 1, 10, 70000)), rng.choice((0, 20, 500)), flags)
    else:
        s.shutdown(rng.randrange(3)) if rng.random() < 0.3 else select.select([s], [s], [s], 0)
        libc.ioctl(fd, rng.choice(IOCTLS), ctypes.create_string_buffer(64))


def main() -> None:
    end = time.monotonic() + float(sys.argv[1])
    socks: list[socket.socket] = []
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, OverflowError):
            if len(socks) < 6 or rng.random() < 0.03:
                new = [socket.socket(*rng.choice(KINDS))]
                if rng.random() < 0.3:
                    new += socket.socketpair(1, rng.choice((1, 2, 5)))
                for s in new:
                    s.setblocking(False)
                socks += new
                while len(socks) > 24:
                    socks.pop(rng.randrange(len(socks))).close()
            else:
                call(rng.choice(socks), socks)
    print("alive")


main()
