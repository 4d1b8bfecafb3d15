"""Against Linux's own stack, over a veth: bytes arrive, and Linux and tshark find nothing wrong with our packets."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from nvsandbox.sentry.net.stack.ip import ANY4, ANY6
from nvsandbox.sentry.net.stack.tcp.connection import TcpConnection
from nvsandbox.sentry.net.stack.tcp.states import SYN_SENT

from .linux import OURS4, OURS6, THEIRS4, THEIRS6, World, world

pytestmark = pytest.mark.usefixtures("tools")
HOSTS = {4: ("10.77.0.1", "10.77.0.2", THEIRS4), 16: ("fd77::1", "fd77::2", THEIRS6)}
SIZE = 8_000_000


def mib(w: World, group: str, name: str) -> int:
    """One of Linux's counters in the namespace."""
    for file in ("snmp", "netstat"):
        lines = w.ns("cat", f"/proc/net/{file}").splitlines()
        for titles, values in zip(lines[::2], lines[1::2], strict=True):
            if titles.startswith(group + ":"):
                both = dict(zip(titles.split(), values.split(), strict=True))
                if name in both:
                    return int(both[name])
    raise KeyError(name)


def feed(w: World, c: TcpConnection, data: bytes) -> None:
    at = [0]

    def write(events: int = 0) -> None:
        while at[0] < len(data):
            n = c.send(data[at[0] : at[0] + 262144])
            assert n >= 0, n
            if n == 0:
                return
            at[0] += n
        c.shutdown_write()

    c.notify = write
    w.until(lambda: c.state != SYN_SENT, 5)
    write()
    w.until(lambda: at[0] == len(data))


def drink(w: World, c: TcpConnection) -> bytes:
    got: list[bytes] = []

    def read(events: int = 0) -> None:
        while chunk := c.recv(1 << 20):
            got.append(chunk)

    c.notify = read
    read()
    w.until(c.eof)
    return b"".join(got)


@pytest.mark.parametrize("family", [4, 16])
@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_send(family: int, offload: bool, loss: float) -> None:
    data = random.Random(3).randbytes(SIZE if offload and not loss else SIZE // 8)
    with world(offload=offload) as w:
        _, host, ip = HOSTS[family]
        p = w.peer("sink", host, "5000")
        w.link.loss = loss
        c = w.stack.tcp_connect((b"", 0), (ip, 5000))
        feed(w, c, data)
        assert w.output(p) == f"{len(data)} {hashlib.sha256(data).hexdigest()}"
        w.until(lambda: c.dead)
        assert c.take_error() == 0
        assert mib(w, "Tcp", "InCsumErrors") == 0
        assert mib(w, "Tcp", "InErrs") == 0


@pytest.mark.parametrize("family", [4, 16])
@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_receive(family: int, offload: bool, loss: float) -> None:
    n = SIZE if not loss else SIZE // 8
    with world(offload=offload, gso_peer=offload) as w:
        _, host, ip = HOSTS[family]
        p = w.peer("source", host, "5000", str(n))
        w.link.loss = loss
        c = w.stack.tcp_connect((b"", 0), (ip, 5000))
        assert drink(w, c) == random.Random(1).randbytes(n)
        c.shutdown_write()
        assert w.output(p).startswith("0 ")
        w.until(lambda: c.dead)
        assert w.stack.counters.tcp.InCsumErrors == 0


@pytest.mark.parametrize("family", [4, 16])
def test_accept(family: int) -> None:
    with world() as w:
        host = HOSTS[family][0]
        lst = w.stack.tcp_listen((ANY6, 7000), 8, 16)
        p = w.peer("connect", host, "7000", "300000")
        w.until(lst.pending, 10)
        c = lst.accept()
        assert c is not None and c.remote[0] == HOSTS[family][2]
        assert drink(w, c) == random.Random(1).randbytes(300000)
        feed(w, c, bytes(100_000))
        w.until(lambda: c.unsent_bytes()[0] == 0)
        c.close()
        assert w.output(p).startswith("100000 ")


def test_refused() -> None:
    with world() as w:
        c = w.stack.tcp_connect((b"", 0), (THEIRS4, 9))
        w.until(lambda: c.dead, 5)
        assert c.take_error() == 111
        nobody = w.stack.tcp_connect((b"", 0), (bytes((10, 77, 0, 99)), 9))
        w.until(lambda: nobody.dead, 10)
        assert nobody.take_error() == 113
        r = subprocess.run(
            [
                "ip",
                "netns",
                "exec",
                w.name,
                "bash",
                "-c",
                "(exec 3<>/dev/tcp/127.0.0.1/1) 2>&1; true",
            ],
            capture_output=True,
        )
        assert b"refused" in r.stdout


@pytest.mark.parametrize("family", [4, 16])
def test_udp(family: int) -> None:
    with world() as w:
        _, host, ip = HOSTS[family]
        p = w.peer("udp", host, "5353", "3")
        u = w.stack.udp_open((ANY4 if family == 4 else ANY6, 0))
        for size in (0, 1000, 20000):
            data = os.urandom(size)
            assert u.send_to(data, (ip, 5353)) == size
            w.until(lambda: u.queue)
            d = u.recv()
            assert d is not None and d.data == data and d.src == (ip, 5353)
        assert w.output(p) == "end"
        assert u.connect((ip, 9)) == 0
        u.send_to(b"x", None)
        w.until(lambda: u.soft_error)
        assert u.take_error() == 111


@pytest.mark.parametrize("host", ["10.77.0.1", "fd77::1"])
def test_ping(host: str) -> None:
    with world() as w:
        for size in ("56", "3000"):
            p = subprocess.Popen(
                [
                    "ip",
                    "netns",
                    "exec",
                    w.name,
                    "ping",
                    "-q",
                    "-c",
                    "3",
                    "-i",
                    "0.1",
                    "-s",
                    size,
                    host,
                ],
                stdout=subprocess.PIPE,
            )
            w.until(lambda p=p: p.poll() is not None, 15)
            assert p.stdout is not None
            assert b" 0% packet loss" in p.stdout.read()
            p.stdout.close()


def test_captures_are_well_formed(tmp_path: Path) -> None:
    with world() as w:
        path = tmp_path / "x.pcap"
        dump = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                w.name,
                "tshark",
                "-q",
                "-i",
                w.inner,
                "-w",
                str(path),
                "-s",
                "200",
            ],
            stderr=subprocess.PIPE,
        )
        assert dump.stderr is not None
        while b"Capturing" not in dump.stderr.readline():
            assert dump.poll() is None
        probe = w.stack.udp_open((b"", 0))
        empty = 0

        def captures() -> bool:
            """It says so before it does: it does when the file grows."""
            nonlocal empty
            size = path.stat().st_size if path.exists() else 0
            empty = empty or size
            probe.send_to(b"x", (HOSTS[4][2], 9))
            return size > empty

        w.until(captures, 30)
        for family in (4, 16):
            _, host, ip = HOSTS[family]
            p = w.peer("sink", host, "5000")
            c = w.stack.tcp_connect((b"", 0), (ip, 5000))
            feed(w, c, bytes(200_000))
            w.output(p)
            p = w.peer("udp", host, "5353", "1")
            u = w.stack.udp_open((b"", 0))
            u.send_to(bytes(5000), (ip, 5353))
            w.until(lambda u=u: u.queue)
            r = w.stack.udp_open((b"", 0))
            r.join(b"\xe0\0\1\7" if family == 4 else b"\xff\x05" + bytes(13) + b"\7", w.iface)
            w.turn(0.1)
        end = time.monotonic() + 1  # the capture is written twice a second
        w.until(lambda: time.monotonic() > end)
        dump.terminate()
        dump.wait()
        dump.stderr.close()
        bad = subprocess.run(
            ["tshark", "-r", str(path), "-o", "ip.check_checksum:TRUE", "-Y",
             "_ws.malformed || ip.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert bad.stdout == ""
        all_of_it = subprocess.run(
            ["tshark", "-r", str(path)], capture_output=True, text=True, check=True
        ).stdout
        assert "TCP" in all_of_it and "UDP" in all_of_it and "IGMP" in all_of_it
        assert OURS4 and OURS6
