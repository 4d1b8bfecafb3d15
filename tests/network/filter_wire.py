"""A proxy for all that goes out and comes in, as service meshes set one up: connections are led to it by rules, except its own (user 1337)."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading

IPTABLES = sys.argv[1]
SO_ORIGINAL_DST = 80
RULES = """
-t nat -N OUT
-t nat -A OUTPUT -p tcp -j OUT
-t nat -A OUT -d 127.0.0.1/32 -j RETURN
-t nat -A OUT -m owner --uid-owner 1337 -j RETURN
-t nat -A OUT -p tcp -j REDIRECT --to-ports 15001
-t nat -A PREROUTING -p tcp --dport 81 -j RETURN
-t nat -A PREROUTING -p tcp --dport 82 -j RETURN
-t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 15006
-A INPUT -p tcp --dport 82 -j DROP
"""


def proxy(port: int) -> None:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", port))
    s.listen(8)

    def run() -> None:
        while True:
            c, _ = s.accept()
            c.recv(1000)
            raw = c.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            to = f"{socket.inet_ntoa(raw[4:8])}:{struct.unpack('>H', raw[2:4])[0]}"
            c.sendall(f"HTTP/1.0 200 OK\r\n\r\nto {to} by {port}\n".encode())
            c.close()

    threading.Thread(target=run, daemon=True).start()


def get(address: str) -> str:
    return subprocess.run(
        ["curl", "-sm", "20", f"http://{address}/"], capture_output=True, text=True
    ).stdout.strip()


proxy(15001)
proxy(15006)
for rule in RULES.strip().splitlines():
    subprocess.run(f"{IPTABLES} {rule}", shell=True, check=True)
print("ready", flush=True)
print(get("10.99.0.1:8000"), flush=True)
print(get("10.200.0.1:99"), flush=True)  # by the default route, and not there
if os.fork() == 0:
    os.setuid(1337)
    print(get("10.99.0.1:8000"), flush=True)
    os._exit(0)
os.wait()
input()
