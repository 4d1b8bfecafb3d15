"""Docker with --network=sandbox: published ports, names on user-defined networks, a shared namespace, networks connected later."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Docker

HTTPD = "echo hello > /tmp/index.html; httpd -f -p 80 -h /tmp"
RUNTIME = "--runtime=nvnet"


@pytest.fixture
def network(docker: Docker) -> Iterator[str]:
    docker.ok("network", "create", "nvtest")
    yield "nvtest"
    docker("network", "rm", "nvtest")


@contextlib.contextmanager
def running(docker: Docker, *args: str) -> Iterator[str]:
    """A detached container; its id."""
    ident = docker.ok("run", "-d", RUNTIME, *args)
    try:
        yield ident
    finally:
        docker("rm", "-f", ident)


def fetch(url: str) -> bytes:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as r:
                return bytes(r.read())
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_published_port(docker: Docker) -> None:
    port = free_port()
    with running(docker, "-p", f"127.0.0.1:{port}:80", "busybox", "sh", "-c", HTTPD) as c:
        assert fetch(f"http://127.0.0.1:{port}/index.html") == b"hello\n"
        ip = docker.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", c)
        assert fetch(f"http://{ip}/index.html") == b"hello\n"
        assert "0% packet loss" in docker.ok("exec", c, "ping", "-c", "1", docker.ok(
            "inspect", "-f", "{{.NetworkSettings.Gateway}}", c))  # fmt: skip


def test_names_of_a_network(docker: Docker, network: str) -> None:
    """As compose does: two services, one finds the other by its name."""
    with running(docker, "--name", "nvweb", "--network", network, "busybox", "sh", "-c", HTTPD):
        ask = "wget -qO- http://nvweb/index.html; nslookup nvweb >/dev/null && echo found; nslookup nobody >/dev/null 2>&1 || echo missing"
        got = docker.ok("run", "--rm", RUNTIME, "--network", network, "busybox", "sh", "-c", ask)
        assert got.split() == ["hello", "found", "missing"]
        # and from a container of another runtime, to this one's
        got = docker.ok(
            "run",
            "--rm",
            "--network",
            network,
            "busybox",
            "wget",
            "-qO-",
            "http://nvweb/index.html",
        )
        assert got == "hello"


def test_names_of_the_world_come_through_the_resolver(docker: Docker, network: str) -> None:
    """The engine's resolver asks from within the namespace, where the host's stack is otherwise deaf."""
    gateway = docker.ok("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", network)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((gateway, 53))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                q, addr = s.recvfrom(512)
                end = q.index(b"\0", 12) + 5
                ok = q[end - 4 : end - 2] == b"\0\1"
                head = q[:2] + struct.pack(">HHHHH", 0x8180, 1, int(ok), 0, 0)
                record = (
                    b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes((192, 0, 2, 9))
                    if ok
                    else b""
                )
                s.sendto(head + q[12:end] + record, addr)

    t = threading.Thread(target=serve, daemon=True)
    t.start()
    try:
        got = docker.ok("run", "--rm", RUNTIME, "--network", network, "--dns", gateway, "busybox", "nslookup", "some.example.org")  # fmt: skip
        assert "192.0.2.9" in got
    finally:
        s.close()


def test_a_network_connected_later(docker: Docker, network: str) -> None:
    with running(docker, "busybox", "sleep", "100") as c:
        assert "eth1" not in docker.ok("exec", c, "ip", "addr")
        docker.ok("network", "connect", network, c)
        gateway = docker.ok(
            "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", network
        )
        assert "eth1" in docker.ok("exec", c, "ip", "addr")
        assert "0% packet loss" in docker.ok("exec", c, "ping", "-c", "1", gateway)
        docker.ok("network", "disconnect", network, c)
        assert "eth1" not in docker.ok("exec", c, "ip", "addr")


def test_network_of_another_container(docker: Docker) -> None:
    with running(docker, "--name", "nvfirst", "busybox", "sh", "-c", HTTPD) as c:
        ip = docker.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", c)
        with running(
            docker,
            "--network",
            "container:nvfirst",
            "busybox",
            "sh",
            "-c",
            HTTPD.replace("80", "81").replace("hello", "second"),
        ) as second:
            assert fetch(f"http://{ip}/index.html") == b"hello\n"
            assert fetch(f"http://{ip}:81/index.html") == b"second\n"
            # One loopback for both, and a port that neither has is refused
            get = ("wget", "-qO-")
            assert docker.ok("exec", c, *get, "http://127.0.0.1:81/index.html") == "second"
            assert docker.ok("exec", second, *get, "http://127.0.0.1/index.html") == "hello"
            assert "refused" in docker("exec", second, *get, "http://127.0.0.1:82/").stderr
            with pytest.raises(OSError, match="refused"):
                urllib.request.urlopen(f"http://{ip}:82/", timeout=20)


APT = (
    "/etc/apt",
    "/usr/share/keyrings",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
)


@pytest.fixture(scope="module")
def debian(docker: Docker, rootfs: Path) -> Iterator[str]:
    """An image of the Debian root file system that other tests use."""
    with subprocess.Popen(["tar", "-C", rootfs, "-c", "."], stdout=subprocess.PIPE) as tar:
        docker.ok("import", "-", "nvdebian:latest", stdin=tar.stdout, timeout=300)
    yield "nvdebian"
    docker("rmi", "nvdebian")


PYTHON = """
import http.server, sys, threading, urllib.request
if sys.argv[1] == "serve":
    http.server.ThreadingHTTPServer(("", 80), http.server.SimpleHTTPRequestHandler).serve_forever()
for _ in range(100):
    try:
        data = urllib.request.urlopen("http://nvweb/big", timeout=5).read()
        break
    except OSError:
        import time; time.sleep(0.2)
print(len(data), data == bytes(5_000_000))
"""


@pytest.mark.timeout(600)
def test_debian_services(docker: Docker, network: str, debian: str) -> None:
    """Two services of a Debian image, by name; the same with a published port."""
    port = free_port()
    serve = f"cd /srv; head -c 5000000 /dev/zero > big; exec python3 -c '{PYTHON}' serve"
    with running(docker, "--name", "nvweb", "--network", network, "-p", f"127.0.0.1:{port}:80", debian, "sh", "-c", serve):  # fmt: skip
        ask = ("--network", network, debian, "python3", "-c", PYTHON, "ask")
        assert docker.ok("run", "--rm", RUNTIME, *ask, timeout=120) == "5000000 True"
        assert fetch(f"http://127.0.0.1:{port}/big") == bytes(5_000_000)


@pytest.mark.timeout(900)
def test_debian_package_lists(docker: Docker, debian: str) -> None:
    """What runc gets from the configured mirrors through a bridge, we get."""
    binds = [f"-v={p}:{p}:ro" for p in APT if os.path.exists(p)]
    # The machine's own settings of names and proxies
    env = [f"-e={k}" for k in os.environ if k.lower().endswith("_proxy")]
    update = ("sh", "-c", "apt-get -q -o Acquire::Retries=0 -o Acquire::http::Timeout=20 update && ls /var/lib/apt/lists | grep -c Packages")  # fmt: skip
    rest = ("--rm", *binds, *env, debian, *update)
    native = docker("run", "--runtime=runc", *rest, timeout=300)
    if native.returncode:
        pytest.skip("the mirrors can't be reached through a bridge here")
    assert docker.ok("run", RUNTIME, *rest, timeout=300).splitlines()[-1] == native.stdout.splitlines()[-1]  # fmt: skip


def test_none_and_host(docker: Docker) -> None:
    got = docker.ok("run", "--rm", RUNTIME, "--network", "none", "busybox", "ip", "-o", "link")
    assert "lo" in got and "eth0" not in got
    failed = docker("run", "--rm", RUNTIME, "--network", "host", "busybox", "true")
    assert failed.returncode and "no network namespace of its own" in failed.stderr


def test_sysctls_are_obeyed(docker: Docker) -> None:
    got = docker.ok(
        "run", "--rm", RUNTIME, "--sysctl", "net.ipv4.ip_local_port_range=40000 40003", "busybox", "sh", "-c",
        "cat /proc/sys/net/ipv4/ip_local_port_range; echo x | nc -u -w 1 127.0.0.1 9; true",
    )  # fmt: skip
    assert got.split()[:2] == ["40000", "40003"]
