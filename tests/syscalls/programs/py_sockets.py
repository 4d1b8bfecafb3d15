#!/usr/bin/python3
"""Loopback TCP and UDP."""

import errno
import select
import socket

s = socket.create_server(("127.0.0.1", 0))
c = socket.create_connection(s.getsockname())
d, a = s.accept()
print(a[0], c.getpeername() == s.getsockname())
c.sendall(b"x" * 100000)
n = 0
while n < 100000:
    n += len(d.recv(65536))
print(n)
c.shutdown(socket.SHUT_WR)
print(d.recv(1), select.select([d], [], [], 0)[0] == [d])
d.close()
c.close()
u, v = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 0))
v.connect(u.getsockname())
v.send(b"one")
v.send(b"")
print(u.recv(10), u.recv(10), select.select([u], [], [], 0)[0])
port = s.getsockname()[1]
s.close()
for host, p in (("127.0.0.1", port), ("127.0.0.1", 0)):
    try:
        socket.create_connection((host, p), 2)
    except OSError as e:
        print(errno.errorcode[e.errno])
t = socket.socket()
t.settimeout(0.05)
t.bind(("127.0.0.1", 0))
t.listen()
try:
    t.accept()
except TimeoutError:
    print("timeout")
b = socket.socket()
try:
    b.bind(t.getsockname())
except OSError as e:
    print(errno.errorcode[e.errno])
print(
    t.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
    t.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
)
