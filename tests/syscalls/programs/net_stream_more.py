#!/usr/bin/env python3
"""TCP over loopback: MSG_MORE and TCP_CORK, Fast Open's calls, an IPv6 socket that becomes one of IPv4, options nobody has."""

import errno
import select
import socket
import struct

MSG_MORE, MSG_FASTOPEN = 0x8000, 0x20000000


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


def pair():
    s = socket.create_server(("127.0.0.1", 0))
    a = socket.create_connection(s.getsockname())
    return a, s.accept()[0]


def there(s, ms):
    return bool(select.select([s], [], [], ms / 1000)[0])


# What is held comes with the next, or by itself
a, b = pair()
a.send(b"one ", MSG_MORE)
print("held", there(b, 0))
a.send(b"two")
print(b.recv(100))
a.send(b"alone", MSG_MORE)
print(there(b, 5000), b.recv(100))
a.setsockopt(6, socket.TCP_CORK, 1)
a.send(b"x")
a.send(b"y")
print("corked", there(b, 0))
a.setsockopt(6, socket.TCP_CORK, 0)
print(b.recv(100))
a.setsockopt(6, socket.TCP_CORK, 1)
a.send(bytes(200000))
print("more than a segment", there(b, 5000))
a.send(b"end")
a.shutdown(socket.SHUT_WR)
got = b""
while data := b.recv(1 << 20):
    got += data
print(len(got), got[-3:])
a, b = pair()
a.send(b"last words", MSG_MORE)
a.close()
print(b.recv(100), b.recv(100))

# Fast Open without a cookie is an ordinary handshake
s = socket.create_server(("127.0.0.1", 0))
print(code(s.setsockopt, 6, 23, 5), code(s.setsockopt, 6, 23, -1))
c = socket.socket()
print(c.sendto(b"hello", MSG_FASTOPEN, s.getsockname()))
print(s.accept()[0].recv(100))
print(code(c.sendto, b"x", MSG_FASTOPEN, s.getsockname()))
c = socket.socket()
print(
    c.getsockopt(6, 30),
    code(c.setsockopt, 6, 30, 2),
    code(c.setsockopt, 6, 30, 1),
    c.getsockopt(6, 30),
)

# IPV6_ADDRFORM
six = socket.socket(socket.AF_INET6)
form = (socket.IPPROTO_IPV6, 1)
print(
    code(six.getsockopt, *form),
    code(six.setsockopt, *form, socket.AF_INET),
    code(six.setsockopt, *form, 99),
)
six.connect(("::ffff:127.0.0.1", s.getsockname()[1]))
print(six.getsockopt(*form) == socket.AF_INET6, six.getpeername()[0])
six.setsockopt(*form, struct.pack("i", socket.AF_INET))
print(six.getsockopt(1, socket.SO_DOMAIN) == socket.AF_INET, code(six.getsockopt, *form))
again = socket.socket(fileno=six.detach())
print(again.family, again.getpeername()[0])
other = socket.create_server(("::1", 0), family=socket.AF_INET6)
six = socket.create_connection(("::1", other.getsockname()[1]))
print(code(six.setsockopt, *form, socket.AF_INET))

# Routing headers
print(
    six.getsockopt(41, 56),
    code(six.setsockopt, 41, 56, 1),
    six.getsockopt(41, 56),
    code(six.setsockopt, 41, 57, b""),
)
print(code(six.setsockopt, 41, 57, bytes([6, 2, 0, 1]) + bytes(20)))
# To a peer that has closed: as much as the buffer holds, then the error that its reset made
s = socket.create_server(("127.0.0.1", 0))
c = socket.create_connection(s.getsockname())
c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
s.accept()[0].close()
n = c.send(bytes(1 << 22))
try:
    print(0 < n < 1 << 22, c.send(bytes(1 << 22)))
except ConnectionError:
    print(0 < n < 1 << 22, "broken", c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
