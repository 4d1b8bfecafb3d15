#!/usr/bin/env python3
"""Urgent data of Unix stream sockets (Linux 5.15 on): MSG_OOB, the mark, SO_OOBINLINE, POLLPRI, SIGURG, what closing tells the peer."""

import array
import errno
import fcntl
import os
import select
import signal
import socket

OOB, PEEK, NOW = socket.MSG_OOB, socket.MSG_PEEK, socket.MSG_DONTWAIT
heard = []
signal.signal(signal.SIGURG, lambda *_: heard.append("SIGURG"))


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


def mark(s):
    got = array.array("i", [-1])
    r = code(fcntl.ioctl, s, 0x8905, got)
    return got[0] if r == 0 else r


def waiting(s):
    got = array.array("i", [-1])
    fcntl.ioctl(s, 0x541B, got)
    return got[0]


def ready(s):
    p = select.poll()
    p.register(s, select.POLLIN | select.POLLPRI)
    e = select.epoll()
    e.register(s, select.EPOLLIN | select.EPOLLPRI)
    return [hex(m) for _, m in p.poll(0)], [hex(m) for _, m in e.poll(0)]


def take(n, flags=0, s=None):
    return code((s or b).recv, n, flags | NOW)


def state(s):
    return mark(s), *ready(s)


def got_fds(flags):
    try:
        data, control, flags, _ = b.recvmsg(9, 64, flags | NOW)
    except OSError as e:
        return errno.errorcode[e.errno]
    for _, _, raw in control:
        os.close(int.from_bytes(raw, "little"))
    return data, len(control), flags


for inline in (0, 1):
    a, b = socket.socketpair()
    b.setsockopt(1, 10, inline)
    fcntl.fcntl(b, fcntl.F_SETOWN, os.getpid())
    print("inline", inline, take(1, OOB), state(b))
    heard.clear()
    print(code(a.send, b"", OOB), a.send(b"abcX", OOB), heard, waiting(b), state(b))
    heard.clear()
    print(
        take(9, OOB | PEEK), take(9, PEEK), take(2, PEEK), code(b.recvmsg, 9, 0, OOB), take(9, OOB)
    )
    print(state(b), a.send(b"def"), take(2), state(b), take(9), state(b))
    print(take(9), state(b))
    # Several: the older ones become bytes like others
    print([a.send(x, OOB) for x in (b"1", b"22", b"333")], heard, state(b), take(9, PEEK))
    heard.clear()
    print(take(9), state(b), take(9, OOB), state(b), take(9), state(b))
    # Not asked for: skipped; more behind it
    for asked in (False, True):
        a.send(b"hello", OOB), a.send(b"world")
        print(
            asked and take(1, OOB),
            take(3),
            take(9),
            mark(b),
            take(9, PEEK),
            state(b),
            take(9),
            state(b),
        )
    # All at once, with MSG_WAITALL, and marks behind marks
    a.send(b"x", OOB), take(1, OOB), a.send(b"y", OOB), print(state(b), take(1, OOB), state(b))
    a.send(b"z"), print(state(b), take(9, PEEK), take(9, socket.MSG_WAITALL), state(b))
    a.send(b"ab", OOB), a.send(b"cd"), print(take(4, socket.MSG_WAITALL), take(4), take(4))
    (
        a.send(b"pq", OOB),
        a.send(b"rs", OOB),
        a.send(b"t"),
        print(take(1, OOB) if not inline else "", take(9), take(9)),
    )
    # A call that peeks at an offset
    (
        a.send(b"0123", OOB),
        a.send(b"4567"),
        print(
            b.setsockopt(1, 42, 1),
            take(9, PEEK),
            take(9, PEEK),
            b.setsockopt(1, 42, -1),
            take(9),
            take(9),
        ),
    )
    (
        a.send(b"end", OOB),
        print(
            a.shutdown(socket.SHUT_WR),
            code(a.send, b"e", OOB | socket.MSG_NOSIGNAL),
            take(9),
            take(9),
            take(9),
            state(b),
        ),
    )
    a.close(), b.close()

for what in (b"", b"u", b"xu"):  # whether the reader's end resets
    for taken in (False, True):
        a, b = socket.socketpair()
        if what:
            a.send(what, OOB)
            if taken:
                take(1, OOB)
        b.close()
        print(
            what, taken, take(1, 0, a), take(1, 0, a), code(a.send, b"z", OOB | socket.MSG_NOSIGNAL)
        )

# With descriptors, which go where the byte goes; lost with a byte that is skipped
a, b = socket.socketpair()
r, w = os.pipe()
for peek in (0, PEEK):
    a.sendmsg([b"go"], [(1, 1, w.to_bytes(4, "little"))], OOB)
    print(got_fds(peek))
    print(got_fds(OOB), take(9))

for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    print(
        code(a.send, b"x", OOB),
        take(1, OOB),
        mark(b),
        a.send(b""),
        mark(b),
        a.send(b"x"),
        mark(b),
        take(9),
        mark(b),
    )
s = socket.socket(socket.AF_UNIX)
print(code(s.send, b"x", OOB), take(1, OOB, s), code(s.send, b"", OOB), mark(s))
s.bind("listening"), s.listen(), print(code(s.send, b"x", OOB), take(1, OOB, s), mark(s))
