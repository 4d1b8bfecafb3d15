"""Which connections on loopback pass a set of iptables rules, and what the counters say then. Argument: iptables' name."""

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
-A INPUT -p tcp --dport 1234 -j DROP
-A INPUT -p tcp --dport 1235 -j REJECT
-A INPUT -p tcp --dport 1236 -j REJECT --reject-with tcp-reset
-A INPUT -p udp --dport 5354 -j DROP
-A OUTPUT -p udp --dport 5355 -j DROP
-A OUTPUT -p udp --dport 5356 -j REJECT
-A OUTPUT -p tcp --dport 5356 -j REJECT
-N own
-A own -p tcp -m multiport --dports 85,86 -m comment --comment "a chain" -j RETURN
-A own -p tcp -m mark --mark 7 -j DROP
-A OUTPUT -o lo -j own
-t mangle -A OUTPUT -p tcp --dport 1237 -j MARK --set-mark 7
-t raw -A OUTPUT -p udp --dport 5999 -j NOTRACK
-A INPUT -p tcp --dport 1238 -m conntrack --ctstate NEW -m recent --name r --set
-A INPUT -p tcp --dport 1238 -m conntrack --ctstate NEW -m recent --name r --update --seconds 600 --hitcount 3 -j REJECT
-A INPUT -m conntrack --ctstate ESTABLISHED
-A INPUT -m conntrack --ctstate UNTRACKED -m addrtype --dst-type LOCAL
-t nat -A OUTPUT -p tcp --dport 81 -j DNAT --to-destination 127.0.0.1:8080
-t nat -A OUTPUT -p tcp --dport 82 -m owner --uid-owner 1000 -j REDIRECT --to-ports 8080
-t nat -A OUTPUT -p tcp --dport 83 -m owner ! --uid-owner 1000 -j REDIRECT --to-ports 8080
-t nat -A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 5353
-t nat -A POSTROUTING -o lo -p tcp --dport 8081 -j MASQUERADE
-t nat -A POSTROUTING -o lo -p tcp --dport 8082 -j SNAT --to-source 127.0.0.9:7000-7010
-A INPUT -p icmp --icmp-type echo-request -m limit --limit 1/hour --limit-burst 1 -j ACCEPT
-A INPUT -p icmp --icmp-type echo-request -j DROP
"""


def sh(command: str) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    if done.returncode:
        print("failed:", command, done.returncode)
    return done.stdout


def server(port: int) -> None:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", port))
    s.listen(8)

    def run() -> None:
        while True:
            c, _ = s.accept()
            try:
                raw = c.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
                original = f"{socket.inet_ntoa(raw[4:8])}:{struct.unpack('>H', raw[2:4])[0]}"
            except OSError as e:
                original = str(e.strerror)
            peer = c.getpeername()
            known = "7000-7010" if 7000 <= peer[1] <= 7010 else "some"
            c.sendall(f"{c.getsockname()} from {peer[0]}:{known}, was to {original}".encode())
            c.close()

    threading.Thread(target=run, daemon=True).start()


def udp_server(port: int) -> None:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", port))

    def run() -> None:
        while True:
            data, who = s.recvfrom(999)
            s.sendto(b"re: " + data, who)

    threading.Thread(target=run, daemon=True).start()


def tcp(port: int) -> str:
    s = socket.socket()
    s.settimeout(2)
    try:
        s.connect(("127.0.0.1", port))
        data = b""
        while more := s.recv(100):
            data += more
        return f"{data.decode()}; peer {s.getpeername()}"
    except OSError as e:
        return e.strerror or repr(e)
    finally:
        s.close()


def udp(port: int) -> str:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(2)
    try:
        s.connect(("127.0.0.1", port))
        s.send(b"hello")
        return s.recv(100).decode()
    except OSError as e:
        return e.strerror or repr(e)


def main() -> None:
    for port in (8080, 8081, 8082, 1234, 1235, 1236, 1237, 1238):
        server(port)
    udp_server(5353)
    udp_server(5354)
    print("before", tcp(8080))
    for rule in RULES.strip().splitlines():
        sh(f"{IPTABLES} {rule}")
    for port in (
        8080,
        8081,
        8082,
        1234,
        1235,
        1236,
        1237,
        1238,
        1238,
        1238,
        1238,
        81,
        82,
        83,
        9999,
        5356,
    ):
        print("tcp", port, tcp(port))
    for port in (5353, 5354, 53, 5355, 5356, 5999):
        print("udp", port, udp(port))
    print(sh("ping -c2 -i0.2 -W1 127.0.0.1 | grep transmitted | cut -d, -f1,2"))
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.setuid(1000)
        for port in (82, 83):
            print("another user's", port, tcp(port))
        print("another user's rule:", os.system(f"{IPTABLES} -A INPUT -j DROP 2>/dev/null") >> 8)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    for line in sh(f"{IPTABLES}-save -c").splitlines():
        # Chains' counters, and those of rules that meet repeated segments, are not the same at each run.
        if line.startswith(":") or any(
            w in line for w in (" 1234 ", " 1237 ", "own", "8081", "ESTABLISHED")
        ):
            line = line.split(" [")[0].split("] ")[-1]
        if line[:1] != "#":
            print(line)
    print(sh(f"{IPTABLES} -t nat -L OUTPUT -n -v --line-numbers | tail -n +2"))
    print(sh(f"{IPTABLES} -C INPUT -p tcp --dport 1234 -j DROP; echo $?"))
    print(
        sh(
            f"{IPTABLES} -D INPUT -p tcp --dport 1234 -j DROP; {IPTABLES} -X own 2>/dev/null; echo $?"
        )
    )
    for table in ("filter", "nat", "mangle", "raw"):
        sh(f"{IPTABLES} -t {table} -F; {IPTABLES} -t {table} -X")
    print("after", tcp(1234))


main()
