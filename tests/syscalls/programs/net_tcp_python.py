#!/usr/bin/env python3
"""TCP with several connections, selectors, half-closed ends, large transfers, refused and reset connections."""

import errno
import selectors
import socket
import threading

lst = socket.create_server(("127.0.0.1", 0), backlog=50)
port = lst.getsockname()[1]
N = 1 << 20


def serve():
    sel = selectors.DefaultSelector()
    lst.setblocking(False)
    sel.register(lst, selectors.EVENT_READ)
    left, bufs = 8, {}
    while left:
        for key, ev in sel.select(5):
            if key.fileobj is lst:
                c, _ = lst.accept()
                c.setblocking(False)
                bufs[c] = bytearray()
                sel.register(c, selectors.EVENT_READ)
            else:
                c = key.fileobj
                if ev & selectors.EVENT_READ:
                    d = c.recv(65536)
                    if d:
                        bufs[c] += d
                        continue
                    sel.modify(c, selectors.EVENT_WRITE)
                if ev & selectors.EVENT_WRITE:
                    n = c.send(bufs[c][:100000]) if bufs[c] else 0
                    del bufs[c][:n]
                    if not bufs[c]:
                        sel.unregister(c)
                        c.close()
                        left -= 1


t = threading.Thread(target=serve)
t.start()


def client(n, out):
    s = socket.create_connection(("127.0.0.1", port))
    data = bytes([n]) * (N + n)
    th = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
    th.start()
    got = 0
    while d := s.recv(1 << 16):
        assert d == bytes([n]) * len(d)
        got += len(d)
    th.join()
    out[n] = got == N + n


out = {}
cs = [threading.Thread(target=client, args=(i, out)) for i in range(8)]
[c.start() for c in cs], [c.join() for c in cs]
t.join()
print(sorted(out.items()))
lst.close()
for f in (
    lambda: socket.create_connection(("127.0.0.1", port), 2),
    lambda: socket.socket().connect(("127.0.0.1", 0)),
):
    try:
        f()
        print("connected")
    except OSError as e:
        print(errno.errorcode[e.errno])
a, b = socket.socketpair()
a.settimeout(0.05)
try:
    a.recv(1)
except TimeoutError:
    print("timed out")
b.close()
print(a.recv(1))
try:
    a.send(b"x")
    a.send(b"x")
except OSError as e:
    print(errno.errorcode[e.errno])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 0))
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in (0, 1, 1472, 1473, 60000, 65507, 65508):
    try:
        v.sendto(b"d" * size, u.getsockname())
        print(size, len(u.recv(70000)))
    except OSError as e:
        print(size, errno.errorcode[e.errno])
s = socket.socket()
s.setblocking(False)
print(errno.errorcode[s.connect_ex(u.getsockname())] in ("ECONNREFUSED", "EINPROGRESS"))
print(
    socket.getaddrinfo("127.0.0.1", 80, proto=socket.IPPROTO_TCP)[0][4],
    socket.inet_pton(socket.AF_INET6, "::1")[-1],
)
