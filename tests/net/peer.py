"""Programs for Linux's side of the tests: ``sink``, ``source``, ``connect``, ``echo``, ``udp``. Prints "ready", then what it saw."""

from __future__ import annotations

import hashlib
import random
import socket
import sys


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listen(host: str, port: int) -> socket.socket:
    s = socket.socket(family(host), socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, port))
    s.listen(16)
    print("ready", flush=True)
    return s


def drain(c: socket.socket) -> str:
    h = hashlib.sha256()
    n = 0
    while data := c.recv(1 << 20):
        h.update(data)
        n += len(data)
    return f"{n} {h.hexdigest()}"


def main(what: str, host: str, port: int, *rest: str) -> None:
    if what == "sink":
        c, _ = listen(host, port).accept()
        print(drain(c))
    elif what == "source":
        c, _ = listen(host, port).accept()
        c.sendall(random.Random(1).randbytes(int(rest[0])))
        c.shutdown(socket.SHUT_WR)
        print(drain(c))
    elif what == "connect":
        print("ready", flush=True)
        c = socket.create_connection((host, port), timeout=20)
        c.settimeout(None)
        c.sendall(random.Random(1).randbytes(int(rest[0])))
        c.shutdown(socket.SHUT_WR)
        print(drain(c))
    elif what == "echo":
        c, _ = listen(host, port).accept()
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := c.recv(65536):
            c.sendall(data)
        print("end")
    elif what == "udp":
        s = socket.socket(family(host), socket.SOCK_DGRAM)
        s.bind((host, port))
        print("ready", flush=True)
        for _ in range(int(rest[0])):
            data, addr = s.recvfrom(65536)
            s.sendto(data, addr)
        print("end")


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
