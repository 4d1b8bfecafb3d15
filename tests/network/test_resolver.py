"""An engine's resolver on 127.0.0.11 of the namespace, as Docker has it: reached by datagrams and by connections."""

from __future__ import annotations

import subprocess

from .conftest import Wire

SERVER = """
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.11", 53))
print("up", flush=True)
while True:
    q, addr = s.recvfrom(4096)
    end = q.index(0, 12) + 5
    room = 512
    if q[10:12] != bytes(2):
        room = struct.unpack_from(">H", q, end + 3)[0]
    text = bytes([200]) + b"x" * 200
    record = bytes.fromhex("c00c00100001") + struct.pack(">IH", 60, 10 * len(text)) + text * 10
    opt = bytes.fromhex("00002904d0000000000000") if q[10:12] != bytes(2) else b""
    if room < len(record) + end + len(opt):
        s.sendto(q[:2] + struct.pack(">HHHHH", 0x8380, 1, 0, 0, bool(opt)) + q[12:end] + opt, addr)
    else:
        s.sendto(q[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, bool(opt)) + q[12:end] + record + opt, addr)
"""
MANY = """
import socket, struct
c = socket.create_connection(("127.0.0.11", 53)); c.settimeout(20)
def query(n, name):
    q = struct.pack(">HHHHHH", n, 0x100, 1, 0, 0, 0) + bytes([len(name)]) + name + bytes.fromhex("0000100001")
    return struct.pack(">H", len(q)) + q
c.sendall(query(1, b"one") + query(2, b"two")[:9]); c.sendall(query(2, b"two")[9:] + query(3, b"three"))
seen = set()
f = c.makefile("rb")
for _ in range(3):
    n = struct.unpack(">H", f.read(2))[0]
    a = f.read(n)
    seen.add((struct.unpack_from(">H", a)[0], struct.unpack_from(">H", a, 10)[0], n > 2000))
print(sorted(seen), c.getpeername())
c.sendall(struct.pack(">H", 3) + b"bad")
print(f.read())
"""


def test_resolver_over_tcp(wire: Wire) -> None:
    p = subprocess.Popen(
        ["ip", "netns", "exec", wire.box, "python3", "-c", SERVER], stdout=subprocess.PIPE
    )
    wire.running.append(p)
    assert wire.line(p) == "up"
    dig = "dig +time=10 +tries=1 +short @127.0.0.11 big.example TXT"
    got = wire.run(
        f"{dig} +noedns | wc -w; {dig} +tcp +noedns | wc -w; {dig} +tcp | wc -w; {dig} +bufsize=4096 | wc -w"
    )
    assert got.split() == ["10"] * 4
    assert wire.run(f"python3 -c '{MANY}'") == (
        "[(1, 0, True), (2, 0, True), (3, 0, True)] ('127.0.0.11', 53)\nb''\n"
    )
    # A server that is not configured is asked nothing with --egress, by connection neither
    got = wire.run(f"{dig} +tcp | grep -c xxx || true", "--egress=allow:big.example")
    assert got == "0\n"
