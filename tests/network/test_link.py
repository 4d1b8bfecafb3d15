"""Interfaces taken over: what a program sees of them, ping, UDP, changes while it runs; the host's stack keeps silent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

from .conftest import NVSANDBOX, Wire, sh


def _routes(text: str) -> set[tuple[str, str, str]]:
    return {(r["dst"], r.get("gateway", ""), r["dev"]) for r in json.loads(text)}


def test_addresses_and_routes_are_as_found(wire: Wire) -> None:
    outside = sh("ip", "-n", wire.box, "-j", "addr")
    inside = wire.run("ip -j addr")

    def plain(text: str) -> list[object]:
        return [
            (i["ifname"], i["mtu"], i["address"], i["operstate"],
             {(a["family"], a["local"], a["prefixlen"], a["scope"]) for a in i["addr_info"]})
            for i in json.loads(text)
        ]  # fmt: skip

    assert plain(inside) == plain(outside)
    for v in ("-4", "-6"):
        outside = sh("ip", "-n", wire.box, v, "-j", "route")
        assert _routes(wire.run(f"ip {v} -j route")) == _routes(outside)


def test_a_route_is_looked_up(wire: Wire) -> None:
    got = wire.run(
        "ip route get 8.8.8.8; ip route get 10.99.0.1; ip -6 route get fd99::1; ip route get 10.99.0.2"
    )
    lines = [x for x in got.splitlines() if "cache" not in x]
    assert "8.8.8.8 via 10.99.0.1 dev eth0 src 10.99.0.2" in lines[0]
    assert "10.99.0.1 dev eth0 src 10.99.0.2" in lines[1]
    assert "fd99::1" in lines[2] and "dev eth0" in lines[2] and "src fd99::2" in lines[2]
    assert "local 10.99.0.2 dev lo" in lines[3]
    failed = wire.run("ip -6 route get 2001:db8::1 2>&1 || echo status $?")
    assert "Network is unreachable" in failed and "status 2" in failed


def test_ping_from_inside(wire: Wire) -> None:
    got = wire.run(
        "ping -c 3 -i 0.2 10.99.0.1; ping -c 3 -i 0.2 fd99::1; ping -c 1 -s 20000 10.99.0.1; ip neigh; cat /proc/net/arp"
    )
    assert got.count("bytes from") == 7 and "DUP" not in got
    assert "10.99.0.1 dev eth0 lladdr" in got
    assert re.search(r"^10\.99\.0\.1 +0x1 +0x2 +[0-9a-f:]{17} +\* +eth0$", got, re.M)


def test_ping_from_outside_is_answered_once(wire: Wire) -> None:
    p = wire.start("echo up; sleep 60")
    assert wire.line(p) == "up"
    got = wire.on_peer("ping -c 4 -i 0.2 10.99.0.2; ping -c 4 -i 0.2 fd99::2")
    assert got.count("bytes from") == 8 and "DUP" not in got


UDP_ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 9000))
print("up", flush=True)
while True:
    data, addr = s.recvfrom(65536)
    s.sendto(data[::-1], addr)
"""
UDP_ASK = """
import socket, sys
for host, size in ((sys.argv[1], 5), (sys.argv[2], 5), (sys.argv[1], 1472), (sys.argv[1], 9000), (sys.argv[2], 30000)):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    data = (b"0123456789" * (size // 10 + 1))[:size]
    s.sendto(data, (host, 9000))
    got, addr = s.recvfrom(65536)
    assert got == data[::-1] and addr[:2] == (host, 9000), (len(got), addr)
    s.connect((host, 9001))
    s.send(b"x")
    try:
        print(s.recv(10))
    except ConnectionRefusedError:
        print("refused")
"""


def test_udp_to_a_server_inside(wire: Wire) -> None:
    p = wire.start(f"exec python3 -c '{UDP_ECHO}'")
    assert wire.line(p) == "up"
    assert wire.on_peer(f"python3 -c '{UDP_ASK}' 10.99.0.2 fd99::2") == "refused\n" * 5


def test_udp_from_inside(wire: Wire) -> None:
    wire.peer_start(f"exec python3 -c '{UDP_ECHO}'")
    wire.until("ss -lun | grep -q :9000")
    assert wire.run(f"python3 -c '{UDP_ASK}' 10.99.0.1 fd99::1") == "refused\n" * 5


def test_control_messages(wire: Wire) -> None:
    program = """
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(0, 8, 1); s.setsockopt(0, 12, 1); s.setsockopt(1, 35, 1)
s.bind(("", 9000))
print("up", flush=True)
data, anc, flags, addr = s.recvmsg(100, 1000)
kinds = {(l, t): d for l, t, d in anc}
index, spec, dst = struct.unpack("i4s4s", kinds[0, 8])
print(socket.if_indextoname(index), socket.inet_ntoa(dst), struct.unpack("i", kinds[0, 2])[0], len(kinds[1, 35]))
s.sendmsg([b"back"], [(0, 2, struct.pack("i", 33))], 0, addr)
"""
    p = wire.start(f"exec python3 -c '{program}'")
    assert wire.line(p) == "up"
    ask = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.setsockopt(0, 2, 77); s.setsockopt(0, 12, 1)
s.sendto(b"x", ("10.99.0.2", 9000))
print(s.recvmsg(100, 100)[:2])
"""
    got = wire.on_peer(f"python3 -c '{ask}'")
    assert got == "(b'back', [(0, 2, b'!\\x00\\x00\\x00')])\n"
    assert wire.line(p) == "eth0 10.99.0.2 77 16"


def test_changes_are_followed(wire: Wire) -> None:
    p = wire.start(
        "echo up; while read -t 20 x < <(sleep 0.1; echo); do ip -br addr show eth0; done"
    )
    assert wire.line(p) == "up"

    def until(word: str, there: bool = True) -> None:
        for _ in range(900):
            if (word in wire.line(p)) == there:
                return
        raise AssertionError(word)

    until("10.99.0.2/24")
    sh("ip", "-n", wire.box, "addr", "add", "10.99.0.77/24", "dev", "eth0")
    until("10.99.0.77/24")
    wire.until("ping -c 1 -W 1 10.99.0.77")
    sh("ip", "-n", wire.box, "addr", "del", "10.99.0.77/24", "dev", "eth0")
    until("10.99.0.77", False)
    assert subprocess.run(["ip", "netns", "exec", wire.peer, "ping", "-c1", "-W1", "10.99.0.77"], capture_output=True).returncode  # fmt: skip
    sh("ip", "-n", wire.box, "link", "set", "eth0", "down")
    until("DOWN")
    sh("ip", "-n", wire.box, "link", "set", "eth0", "up")
    until("UP")
    wire.until("ping -c 1 -W 1 10.99.0.2")


def test_ports_of_the_namespace_are_restored(wire: Wire) -> None:
    """The host's own sockets keep to few ports while there is a sandbox."""
    ports = ("ip", "netns", "exec", wire.box, "cat", "/proc/sys/net/ipv4/ip_local_port_range")
    before = sh(*ports)
    first, second = wire.start("echo up; sleep 60"), wire.start("echo up; sleep 60")
    assert wire.line(first) == wire.line(second) == "up"
    for n in (1, 2):
        assert sh(*ports).split() == ["65024", "65535"]
        sh(NVSANDBOX, "--root", wire.base / "state", "kill", f"nvt{os.getpid()}-{n}", "KILL")
        wire.running[n - 1].wait(20)
    assert sh(*ports) == before


def test_capture_file(wire: Wire, tmp_path: Path) -> None:
    file = tmp_path / "x.pcap"
    wire.run("ping -c 2 -i 0.2 10.99.0.1", f"--pcap={file}")
    got = sh("tcpdump", "-nr", file, "icmp")
    assert got.count("ICMP echo request") == 2 and got.count("ICMP echo reply") == 2


def test_raw_socket_needs_the_capability(wire: Wire) -> None:
    program = (
        "import os, socket; os.setuid(1000); socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"
    )
    assert "PermissionError" in wire.run(f"python3 -c '{program}' 2>&1 || true")
    program = "import os, socket; os.setuid(1000); socket.socket(17, socket.SOCK_RAW, 0)"
    assert "PermissionError" in wire.run(f"python3 -c '{program}' 2>&1 || true")


def test_packet_socket_sees_frames(wire: Wire) -> None:
    program = """
import socket, subprocess
s = socket.socket(17, socket.SOCK_RAW, socket.htons(0x0800))
s.bind(("eth0", 0x0800)); s.settimeout(5)
p = subprocess.Popen(["ping", "-c", "1", "10.99.0.1"], stdout=subprocess.DEVNULL)
while True:
    data, addr = s.recvfrom(2000)
    if data[23] == 1:
        break
print(addr[0], hex(addr[1]), data[12:14].hex(), socket.inet_ntoa(data[26:30]))
p.wait()
"""
    assert wire.run(f"python3 -c '{program}'") == "eth0 0x800 0800 10.99.0.1\n"


def test_what_is_in_use_where_there_is_no_namespace(wire: Wire, tmp_path: Path) -> None:
    argv = wire.argv("true")
    config = Path(argv[argv.index("-b") + 1]) / "config.json"
    spec = json.loads(config.read_text())
    spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "network"]
    config.write_text(json.dumps(spec))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240)
    assert done.returncode != 0
    assert "no network namespace of its own" in done.stderr and done.stderr.count("\n") == 1


def test_monitors_are_told(wire: Wire) -> None:
    p = wire.start("(ip -o monitor link address route & echo up; sleep 100)")
    assert wire.line(p) == "up"
    sh("sleep", "0.5")
    sh("ip", "-n", wire.box, "addr", "add", "10.99.0.77/24", "dev", "eth0")
    seen = wire.line(p)
    while "10.99.0.77" not in seen:
        seen = wire.line(p)
    sh("ip", "-n", wire.box, "addr", "del", "10.99.0.77/24", "dev", "eth0")
    while "Deleted" not in seen:
        seen = wire.line(p)
    assert "10.99.0.77" in seen
    sh("ip", "-n", wire.box, "route", "add", "10.5.0.0/16", "via", "10.99.0.1")
    while "10.5.0.0/16 via 10.99.0.1 dev eth0" not in seen:
        seen = wire.line(p)
    sh("ip", "-n", wire.box, "link", "set", "eth0", "down")
    while "state DOWN" not in seen:
        seen = wire.line(p)


def test_nothing_is_left_of_it_in_the_hosts_namespace(wire: Wire) -> None:
    """Packet sockets are given to the host's collector when the sandbox ends, and it closes them."""
    wire.run("true")
    end = time.monotonic() + 20
    while (
        len(left := sh("ip", "netns", "exec", wire.box, "cat", "/proc/net/packet").splitlines()) > 1
    ):
        assert time.monotonic() < end, left
        time.sleep(0.02)
