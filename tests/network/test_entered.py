"""Processes of the host that enter a sandbox's network namespace reach it there: kubectl port-forward, nsenter."""

from __future__ import annotations

from .conftest import Wire, sh

SERVER = """
import hashlib, socket, threading
def take(c):
    data = b"".join(iter(lambda: c.recv(65536), b""))
    c.sendall(hashlib.sha256(data).hexdigest().encode() + data); c.close()
def serve(s):
    while True:
        take(s.accept()[0])
def echo(u):
    while True:
        data, addr = u.recvfrom(65536)
        u.sendto(data[::-1], addr)
s4 = socket.create_server(("127.0.0.1", %(p)d))
s6 = socket.create_server(("::", %(p)d + 1), family=socket.AF_INET6, dualstack_ipv6=True)
u4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u4.bind(("127.0.0.1", %(p)d))
u6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u6.bind(("::", %(p)d + 1))
threads = [threading.Thread(target=f, args=(s,)) for f, s in ((serve, s4), (serve, s6), (echo, u4), (echo, u6))]
for t in threads: t.start()
print("up", flush=True)
for t in threads: t.join()
"""
CLIENT = """
import errno, hashlib, os, socket, sys, threading
base = int(sys.argv[1])
data = os.urandom(4 << 20)
def code(f, *a):
    try:
        f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]
for host, port in (("127.0.0.1", 0), ("127.0.0.1", 1), ("::1", 1), ("10.99.0.2", 1), ("fd99::2", 1)):
    c = socket.create_connection((host, base + port), 30)
    t = threading.Thread(target=lambda: (c.sendall(data), c.shutdown(1))); t.start()
    got = b"".join(iter(lambda: c.recv(65536), b"")); t.join()
    ok = got[64:] == data and got[:64].decode() == hashlib.sha256(data).hexdigest()
    u = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(20)
    u.connect((host, base + port)); u.send(b"abc"); answer = u.recv(9)
    big = bytes(range(256)) * 200; u.send(big)
    print(host, ok, answer, u.recv(65536) == big[::-1])
for host in ("127.0.0.1", "::1", "10.99.0.2", "fd99::2"):
    u = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(20)
    u.connect((host, 9)); u.send(b"x")
    print(host, code(socket.create_connection, (host, 9), 20), code(u.recv, 1))
print(code(socket.create_connection, ("10.99.0.2", base), 20))
"""
WANTED = [
    *(f"{h} True b'cba' True" for h in ("127.0.0.1", "127.0.0.1", "::1", "10.99.0.2", "fd99::2")),
    *(f"{h} ECONNREFUSED ECONNREFUSED" for h in ("127.0.0.1", "::1", "10.99.0.2", "fd99::2")),
    "ECONNREFUSED",
]


def entered(wire: Wire, script: str, *argv: str) -> list[str]:
    return sh(
        "ip", "netns", "exec", wire.box, "timeout", "120", "python3", "-c", script, *argv
    ).splitlines()


def test_a_process_in_the_namespace_reaches_the_sandbox(wire: Wire) -> None:
    p = wire.start(f"exec python3 -c '{SERVER % {'p': 9300}}'")
    assert wire.line(p) == "up"
    assert entered(wire, CLIENT, "9300") == WANTED
    other = wire.start(f"exec python3 -c '{SERVER % {'p': 9400}}'")
    assert wire.line(other) == "up"
    for base in ("9300", "9400", "9300"):
        assert entered(wire, CLIENT, base) == WANTED


HOSTS = """
import errno, socket
s = socket.create_server(("127.0.0.1", 9500)); s6 = socket.create_server(("::1", 9500), family=socket.AF_INET6)
for host, l in (("127.0.0.1", s), ("::1", s6)):
    c = socket.create_connection((host, 9500), 20); d = l.accept()[0]
    c.sendall(b"hello"); print(d.recv(9)); d.sendall(b"ok"); print(c.recv(9))
    d.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0"); d.close()
    try: print(c.recv(9))
    except OSError as e: print(errno.errorcode[e.errno])
    c = socket.create_connection((host, 9500), 20); d = l.accept()[0]; l.close(); d.close(); c.recv(1); c.send(b"x")
    import time; time.sleep(0.3)
    try: c.send(b"y"); print("sent")
    except OSError as e: print(errno.errorcode[e.errno])
    try: print(socket.create_connection((host, 9500), 20))
    except OSError as e: print(errno.errorcode[e.errno])
"""


def test_hosts_processes_there_have_each_other(wire: Wire) -> None:
    """What processes outside of sandboxes do among themselves is as before, refusals and resets too."""
    wanted = entered(wire, HOSTS)
    assert "ECONNRESET" in wanted and "EPIPE" in wanted and wanted.count("ECONNREFUSED") == 2
    p = wire.start("echo up; sleep 60")
    assert wire.line(p) == "up"
    assert entered(wire, HOSTS) == wanted


def test_the_namespace_is_left_as_it_was(wire: Wire) -> None:
    look = f"cat /proc/sys/net/ipv4/conf/lo/{{accept_local,route_localnet}}; tc -n {wire.box} filter show dev lo ingress"
    before = sh("ip", "netns", "exec", wire.box, "bash", "-c", look)
    assert wire.run("echo done") == "done\n"
    assert sh("ip", "netns", "exec", wire.box, "bash", "-c", look) == before
