#!/usr/bin/env python3
"""IP_OPTIONS, IP_RECVOPTS, IP_RETOPTS (ip(7), RFC 791): what may be set, what is read back, what arrives over loopback."""

import errno
import os
import socket

OPTIONS, RECVOPTS, RETOPTS = 4, 6, 7
RR = bytes((7, 15, 4)) + bytes(12)
TS = bytes((68, 12, 5, 0)) + bytes(8)
TS_ADDR = bytes((68, 20, 5, 1)) + bytes(16)
TS_PRE = bytes((68, 20, 5, 3)) + b"\x7f\0\0\1" + bytes(4) + b"\x0a\1\2\3" + bytes(4)


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    return s


def shown(options):
    """Without the times, which differ from run to run: a word that is neither an address of loopback nor zero behind a time stamp's head."""
    at, out = 0, []
    while at < len(options) and options[at]:
        n = 1 if options[at] == 1 else options[at + 1]
        body = options[at : at + n]
        if body[0] == 68:
            words = [body[i : i + 4] for i in range(4, n, 4)]
            body = body[:4] + b"".join(
                w if w[:1] in (b"\x7f", b"\0") and w[3:] < b"\2" else b"TIME" for w in words
            )
        out.append(body)
        at += n
    return out


a, b = udp(), udp()
b.bind(("127.0.0.1", 0))
a.connect(b.getsockname())
print(a.getsockopt(0, OPTIONS, 40), a.getsockopt(0, RECVOPTS), a.getsockopt(0, RETOPTS))
bad = [bytes(41), b"\7", b"\7\1", b"\7\2", b"\7\3\3", b"\7\4\4\0", bytes((7, 7, 5)) + bytes(4), RR[:11] + RR[:11], b"\x44\3\5", b"\x44\4\4\0",
       bytes((68, 7, 5, 0)) + bytes(3), bytes((68, 8, 5, 1)) + bytes(4), bytes((68, 4, 5, 0xF0)), b"\x94\3\0", b"\x94\4\0", b"\x83\3\4", b"\x83\7\5\1\1\1\1", b"\1\1\7"]  # fmt: skip
print([code(a.setsockopt, 0, OPTIONS, x) for x in bad])
good = [b"", b"\0", b"\1", b"\1\1\1\1\1", b"\0\7\7\7\7", RR, bytes((7, 3, 4)), bytes((7, 39, 4)) + bytes(36), RR[:2] + b"\x10" + RR[3:], b"\x94\4\0\0", b"\x94\4\0\1", b"\x94\5\0\0\0",
        TS, TS_ADDR, TS_PRE, b"\x44\4\5\x10", b"\x44\4\5\0", RR + b"\1" + TS, bytes((68, 12, 13, 0)) + bytes(8)]  # fmt: skip
b.setsockopt(0, RECVOPTS, 1)
b.setsockopt(0, RETOPTS, 1)
for x in good:
    print(
        x.hex(),
        code(a.setsockopt, 0, OPTIONS, x),
        a.getsockopt(0, OPTIONS, 40).hex(),
        len(a.getsockopt(0, OPTIONS, 6)),
        end=" ",
    )
    print(a.send(b"data"), end=" ")
    data, control, flags, addr = b.recvmsg(100, 400)
    print(data, [(level, kind, shown(body), len(body)) for level, kind, body in control])
    print(code(a.sendmsg, [b"more"], [(0, RETOPTS, x)]), end=" ")
    data, control, flags, addr = b.recvmsg(100, 400)
    print([(level, kind, shown(body)) for level, kind, body in control])
a.setsockopt(0, OPTIONS, b"")
print(
    code(a.sendmsg, [b"bad"], [(0, RETOPTS, b"\7\2")]),
    a.send(b"plain"),
    b.recvmsg(100, 400)[:2],
    a.getsockopt(0, OPTIONS, 40),
)
t = socket.socket()
print(
    t.getsockopt(0, OPTIONS, 40),
    code(t.setsockopt, 0, OPTIONS, b"\1\1"),
    t.getsockopt(0, OPTIONS, 40),
    code(t.setsockopt, 0, OPTIONS, b"\7\2"),
)
if os.getuid() == 0:
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 200)
    r = socket.socket(socket.AF_INET, socket.SOCK_RAW, 200)
    s.setsockopt(0, OPTIONS, RR)
    s.sendto(b"raw", ("127.0.0.1", 0))
    got = r.recv(100)
    print(got[:2], got[20:])
