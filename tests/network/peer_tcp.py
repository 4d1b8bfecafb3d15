"""The other end of ``probe_tcp.py``: each connection begins with an order of 16 bytes."""

import contextlib
import socket
import struct
import sys
import threading
import time


def serve(s: socket.socket, addr: tuple[object, ...]) -> None:
    order = s.recv(16).decode().strip()
    s.sendall(b"ok")
    host = str(addr[0])
    if order == "echo":
        with contextlib.suppress(ConnectionError):
            while data := s.recv(65536):
                s.sendall(data)
        s.close()
    elif order == "close":
        s.close()
    elif order == "reset":
        time.sleep(0.1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    elif order in ("tell", "unread"):
        if order == "unread":
            s.sendall(b"data")
        try:
            told = f"{order} {s.recv(1)!r}"
        except OSError as e:
            told = f"{order} {e.strerror}"
        with open(sys.argv[1], "a") as f:
            f.write(told + "\n")
    elif order == "urgent":
        time.sleep(0.1)
        s.send(b"abc")
        s.send(b"U", socket.MSG_OOB)
        time.sleep(0.05)
        s.send(b"def")
        time.sleep(5)
    elif order == "stall":
        time.sleep(5)
    elif order.startswith("connect"):
        c = socket.create_connection((host, 7200))
        if order == "connect":
            c.sendall(b"hello")
            c.recv(10)
        else:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()


listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("::", 7100))
listener.listen(64)


while True:
    conn, address = listener.accept()
    address = (str(address[0]).removeprefix("::ffff:"), *address[1:])
    threading.Thread(target=serve, args=(conn, address), daemon=True).start()
