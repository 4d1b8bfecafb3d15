"""What bind(2), connect(2) and sendto(2) answer to addresses of every family, kind and length, and other calls to bad pointers."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import struct
import tempfile

libc = ctypes.CDLL(None, use_errno=True)


def call(f, *a):
    r = f(*a)
    return r if r >= 0 else errno.errorcode.get(ctypes.get_errno())


def tidy(path):
    """Takes away a socket that was bound."""
    if path and os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        os.unlink(path)


os.chdir(tempfile.mkdtemp())
KINDS = {
    "tcp4": (2, 1, 0),
    "udp4": (2, 2, 0),
    "raw4": (2, 3, 1),
    "tcp6": (10, 1, 0),
    "udp6": (10, 2, 0),
    "unixs": (1, 1, 0),
    "unixd": (1, 2, 0),
    "unixq": (1, 5, 0),
    "nl": (16, 3, 0),
}
BODIES = {
    2: [
        b"\0\0" + bytes(12),
        b"\x27\x0f\x7f\0\0\1" + bytes(8),
        b"\0\0\x0a\x63\0\x02" + bytes(8),
        b"\x27\x10\x08\x08\x08\x08" + bytes(8),
        b"\x27\x10\xff\xff\xff\xff" + bytes(8),
        b"\x27\x10\xe0\0\0\1" + bytes(8),
    ],
    10: [
        bytes(26),
        b"\x27\x0f" + bytes(4) + bytes(15) + b"\1" + bytes(4),
        b"\x27\x10" + bytes(4) + bytes.fromhex("fe80000000000000000000000000" + "0009") + bytes(4),
        b"\x27\x10" + bytes(4) + bytes(10) + b"\xff\xff\x7f\0\0\1" + bytes(4),
        b"\x27\x10" + bytes(4) + bytes.fromhex("20010db8" + "00" * 11 + "07") + bytes(4),
    ],
    1: [b"", b"\0", b"\0abc", b"/tmp/nope/x\0", b"/tmp\0", b"x" * 108],
    16: [bytes(10), b"\0\0" + struct.pack("II", 77, 0), b"\0\0" + struct.pack("II", 0, 0xFFFFFFFF)],
    17: [b"\0\3" + struct.pack("i", 0) + bytes(12), b"\0\3" + struct.pack("i", 999) + bytes(12)],
    0: [bytes(30)],
    99: [bytes(30)],
}
LENS = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    11,
    12,
    15,
    16,
    17,
    19,
    20,
    23,
    24,
    25,
    27,
    28,
    29,
    64,
    109,
    110,
    111,
    128,
    129,
    -1,
]
for k, how in KINDS.items():
    for fam, bodies in BODIES.items():
        if fam not in (how[0], 0, 99, 1, 2, 10):
            continue
        for bi, b in enumerate(bodies):
            raw = struct.pack("H", fam) + b
            for op in ("bind", "connect", "sendto"):
                if (
                    (k, fam, op) == ("udp6", 0, "sendto")
                    or (k, fam, bi) == ("nl", 16, 1)
                    or (k, fam, op) == ("nl", 0, "connect")
                ):
                    continue  # known to differ
                out = []
                for n in LENS:
                    with socket.socket(*how) as s:
                        s.setblocking(False)
                        buf = ctypes.create_string_buffer(raw.ljust(200, b"\0"))
                        if op == "sendto":
                            r = call(libc.sendto, s.fileno(), b"x" * 20, 20, 0x4000, buf, n)
                        else:
                            r = call(getattr(libc, op), s.fileno(), buf, n)
                    if k.startswith("unix") and op == "bind":
                        tidy(b[: max(0, n - 2)].split(b"\0")[0])
                    out.append(str(r))
                # compress
                res = []
                for n, r in zip(LENS, out, strict=True):
                    if not res or res[-1][1] != r:
                        res.append([n, r])
                print(k, fam, bi, op, " ".join(f"{a}:{b}" for a, b in res))
for k, how in KINDS.items():
    with socket.socket(*how) as s:
        for f in ("getsockname", "getpeername", "accept"):
            for n in (-1, 0, 1, 2, 8, 64):
                s.setblocking(False)
                buf = ctypes.create_string_buffer(200)
                ln = ctypes.c_int(n)
                print(
                    k,
                    f,
                    n,
                    call(getattr(libc, f), s.fileno(), buf, ctypes.byref(ln)),
                    ln.value,
                    call(
                        getattr(libc, f),
                        s.fileno(),
                        ctypes.c_void_p(1),
                        ctypes.byref(ctypes.c_int(16)),
                    ),
                    call(getattr(libc, f), s.fileno(), buf, ctypes.c_void_p(8)),
                )
        for lv in (-1, 0, 5):
            print(k, "listen", call(libc.listen, s.fileno(), lv))
        for how_ in (0,):
            print(k, "shutdown", call(libc.shutdown, s.fileno(), how_))
