#!/usr/bin/env python3
"""Urgent data of TCP over loopback (RFC 6093, tcp(7)): MSG_OOB, the mark, SO_OOBINLINE, POLLPRI, SIGURG; a reset with data before it."""

import array
import errno
import fcntl
import os
import select
import signal
import socket
import struct

heard = []
signal.signal(signal.SIGURG, lambda *_: heard.append("SIGURG"))


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


def pair():
    s = socket.create_server(("127.0.0.1", 0))
    c = socket.create_connection(s.getsockname())
    a = s.accept()[0]
    s.close()
    return c, a


def mark(s):
    got = array.array("i", [0])
    fcntl.ioctl(s, 0x8905, got)
    return got[0]


def mask(s, wanted=select.POLLIN | select.POLLPRI, wait=0):
    p = select.poll()
    p.register(s, wanted)
    return [hex(e) for _, e in p.poll(wait)]


for inline in (0, 1):
    c, a = pair()
    a.setsockopt(1, 10, inline)
    fcntl.fcntl(a, fcntl.F_SETOWN, os.getpid())
    print("inline", inline, code(a.recv, 1, socket.MSG_OOB), mark(a), mask(a))
    print(
        c.send(b"abcX", socket.MSG_OOB),
        c.send(b"def"),
        mask(a, select.POLLPRI, 5000),
        mask(a),
        mark(a),
        heard,
    )
    heard.clear()
    print(a.recv(100), mark(a), mask(a))
    print(
        code(a.recv, 1, socket.MSG_OOB | socket.MSG_PEEK),
        code(a.recv, 9, socket.MSG_OOB),
        code(a.recv, 1, socket.MSG_OOB),
        mask(a),
    )
    print(mark(a), a.recv(100), mark(a), mask(a))
    print(
        c.send(b"!", socket.MSG_OOB),
        mask(a, select.POLLPRI if not inline else select.POLLIN, 5000),
        mark(a),
    )
    print(
        code(a.recv, 1, socket.MSG_OOB),
        code(a.recv, 9, socket.MSG_DONTWAIT),
        c.send(b"after"),
        a.recv(9),
    )
    print(
        c.send(b"one1", socket.MSG_OOB),
        c.send(b"two2", socket.MSG_OOB),
        mask(a, select.POLLPRI if not inline else select.POLLIN, 5000),
    )
    c.shutdown(socket.SHUT_WR)
    got = []
    while data := a.recv(100):
        got.append(data)
    print(b"".join(got), code(a.recv, 1, socket.MSG_OOB))
    r, w, x = select.select([a], [], [a], 0)
    print(len(r), len(x))
# Reset by the other side: what came before can still be read, the peer has no name any more
c, a = pair()
c.send(b"last words")
c.setsockopt(1, 13, struct.pack("ii", 1, 0))
c.close()
print(
    mask(a, select.POLLIN, 5000),
    code(a.getpeername),
    a.recv(4),
    code(a.getpeername),
    a.recv(100),
    code(a.recv, 1),
    code(a.recv, 1),
)
