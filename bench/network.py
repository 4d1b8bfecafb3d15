"""TCP rows: a program natively in a network namespace, and the same under an OCI runtime in that namespace. ``python -m bench.network``.

The other end is a second namespace behind a veth. Prints ``RUNTIME ROW VALUE``: ns per MiB of a bulk transfer (iperf3), ns per
round trip of one byte, ns per request (redis-benchmark), ns per datagram that arrives. The root file system is the host's, which has the programs.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NVSANDBOX = Path(sys.executable).parent / "nvsandbox"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("iperf3", "redis-server", "redis-benchmark")
PING = """
import socket, sys, time
if sys.argv[1] == "serve":
    s = socket.create_server(("", 7777)); c, _ = s.accept(); c.setsockopt(6, 1, 1)
    while (d := c.recv(1)): c.send(d)
else:
    for _ in range(100):
        try:
            c = socket.create_connection((sys.argv[1], 7777)); break
        except OSError: time.sleep(0.1)
    c.setsockopt(6, 1, 1)
    for _ in range(500): c.send(b"x"); c.recv(1)
    t = time.perf_counter_ns(); n = 3000
    for _ in range(n): c.send(b"x"); c.recv(1)
    print((time.perf_counter_ns() - t) / n)
"""
# Connections that nobody uses; who has the other ends waits for a signal.
IDLE = """
import resource, signal, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (9000, 9000))
kept = []
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
if sys.argv[1] == "take":
    s = socket.create_server(("", 7779), backlog=1024)
    while True: kept.append(s.accept()[0])
for _ in range(int(sys.argv[2])): kept.append(socket.create_connection((sys.argv[1], 7779)))
print("there", flush=True)
signal.pause()
"""
IDLE_COUNT = 1000

UDP = """
import socket, sys, time
# Who sends says how many and how large; who takes answers with how many of them came and how long that took.
def take():
    s = socket.create_server(("", 7779)); c, _ = s.accept()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.setsockopt(1, 8, 4 << 20); u.bind(("", 7778)); u.setsockopt(17, 104, 1)
    c.send(b"!"); u.settimeout(2); n = first = last = 0
    try:
        while True:
            n += len(u.recv(65536)); last = time.perf_counter_ns(); first = first or last
    except TimeoutError: pass
    c.send(b"%d %d" % (n, last - first))
def give(host, size, segments, seconds):
    for _ in range(100):
        try:
            c = socket.create_connection((host, 7779)); break
        except OSError: time.sleep(0.1)
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect((host, 7778)); c.recv(1)
    if segments > 1: u.setsockopt(17, 103, size)
    data = bytes(size * segments); n = 0; t = time.perf_counter()
    while time.perf_counter() - t < seconds:
        for _ in range(16): u.send(data)
        n += 16
    got, ns = map(int, c.recv(99).split())
    print(ns / max(got / size, 1))
if sys.argv[1] == "take": take()
else: give(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
"""


def sh(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


class Bench:
    def __init__(self, base: Path, seconds: float) -> None:
        self.base, self.seconds = base, seconds
        self.peer, self.box = f"nvb-p{os.getpid()}", f"nvb-b{os.getpid()}"
        self.count = 0

    def setup(self) -> None:
        for ns in (self.peer, self.box):
            sh("ip", "netns", "add", ns)
            sh("ip", "-n", ns, "link", "set", "lo", "up")
        sh("ip", "-n", self.peer, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.box)  # fmt: skip
        for ns, last in ((self.peer, 1), (self.box, 2)):
            sh("ip", "-n", ns, "addr", "add", f"10.97.0.{last}/24", "dev", "eth0")
            sh("ip", "-n", ns, "link", "set", "eth0", "up")

    def close(self) -> None:
        for ns in (self.peer, self.box):
            subprocess.run(["ip", "netns", "del", ns], check=False)

    def on_peer(self, script: str) -> list[str]:
        return ["ip", "netns", "exec", self.peer, "bash", "-c", script]

    def native(self, script: str) -> list[str]:
        return ["ip", "netns", "exec", self.box, "bash", "-c", script]

    def contained(self, runtime: list[str]) -> Callable[[str], list[str]]:
        """How a script is run by an OCI runtime (its command line) in the namespace."""

        def argv(script: str) -> list[str]:
            self.count += 1
            bundle = self.base / f"b{self.count}"
            bundle.mkdir()
            subprocess.run([*runtime, "spec"], cwd=bundle, check=True)
            spec = json.loads((bundle / "config.json").read_text())
            spec["process"].update(terminal=False, args=["bash", "-c", script], env=[PATH])
            spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 9000, "soft": 9000}]
            spec["root"].update(path="/", readonly=False)
            spec["linux"]["namespaces"] = [
                {"type": t, "path": f"/run/netns/{self.box}"} if t == "network" else {"type": t}
                for t in ("pid", "network", "ipc", "uts", "mount")
            ]
            (bundle / "config.json").write_text(json.dumps(spec))
            return [*runtime, "run", "-b", str(bundle), f"nvbench{os.getpid()}-{self.count}"]

        return argv

    @contextmanager
    def server(self, argv: list[str], ready: list[str]) -> Iterator[None]:
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as p:
            try:
                for _ in range(100):
                    if subprocess.run(ready, capture_output=True).returncode == 0:
                        break
                    time.sleep(0.1)
                yield
            finally:
                p.terminate()
                p.wait()

    def rows(self, inside: Callable[[str], list[str]]) -> Iterator[tuple[str, float]]:
        """Row and value."""
        t = self.seconds
        wait = self.on_peer("ss -ltn | grep -q :5201")
        for row, flags in (("net_send_mib", ""), ("net_recv_mib", "-R")):
            with self.server(self.on_peer("exec iperf3 -s -1"), wait):
                yield row, _iperf(_out(inside(f"iperf3 -J -c 10.97.0.1 -t {t} {flags}")))
        loop = f"iperf3 -s -1 >/dev/null & sleep 0.5; iperf3 -J -c 127.0.0.1 -t {t}"
        yield "net_loop_mib", _iperf(_out(inside(loop)))
        with self.server(self.on_peer(f"exec python3 -c '{PING}' serve"), ["true"]):
            yield "net_pingpong", float(_out(inside(f"python3 -c '{PING}' 10.97.0.1")))
        redis = "exec redis-server --save '' --protected-mode no >/dev/null"
        with self.server(inside(redis), self.on_peer("redis-cli -h 10.97.0.2 ping")):
            yield from _redis(
                _out(self.on_peer("redis-benchmark -h 10.97.0.2 --csv -n 20000 -c 50 -t set,get"))
            )
        if inside != self.native:  # natively they are the host kernel's, and nobody's process
            with self.server(inside(f"exec python3 -c '{IDLE}' take"), self.on_peer("ss -ltn")):
                yield "net_idle_1000_kib", self._idle()
        for row, size, many in (("64", 64, 1), ("bulk", 1400, 40)):
            ask = f"{size} {many} {t}"
            with self.server(self.on_peer(f"exec python3 -c '{UDP}' take"), ["true"]):
                yield (
                    f"net_udp_send_{row}",
                    float(_out(inside(f"python3 -c '{UDP}' 10.97.0.1 {ask}"))),
                )
            with self.server(inside(f"exec python3 -c '{UDP}' take"), ["true"]):
                yield f"net_udp_recv_{row}", float(_out(self.on_peer(f"python3 -c '{UDP}' 10.97.0.2 {ask}")))  # fmt: skip
        inner = "redis-server --save '' >/dev/null & sleep 1; redis-benchmark --csv -n 20000 -c 50 -t set,get; kill %1"
        for row, value in _redis(_out(inside(inner))):
            yield f"{row}_inside", value

    def _idle(self) -> float:
        """What connections cost the Sentry's memory, in KiB."""

        def join(n: int) -> subprocess.Popen[bytes]:
            script = f"exec python3 -c '{IDLE}' 10.97.0.2 {n}"
            p = subprocess.Popen(self.on_peer(script), stdout=subprocess.PIPE)
            assert p.stdout is not None and p.stdout.readline() == b"there\n"
            return p

        deadline = time.monotonic() + 20
        while subprocess.run(self.on_peer("echo >/dev/tcp/10.97.0.2/7779"), capture_output=True).returncode:  # fmt: skip
            if time.monotonic() > deadline:
                raise RuntimeError("nobody listens")
            time.sleep(0.1)
        first = join(50)  # what is allocated once is there
        before = _sentry_kib()
        second = join(IDLE_COUNT)
        time.sleep(1)
        after = _sentry_kib()
        for p in (first, second):
            p.kill()
            p.wait()
        return after - before


def _sentry_kib() -> float:
    """Private memory of the newest Sentry, or runsc's."""
    found = [
        pid for pid in filter(str.isdigit, os.listdir("/proc")) if _text(f"/proc/{pid}/comm") in ("nv-sentry", "exe")
    ]  # fmt: skip
    rows = _text(f"/proc/{max(found, key=int)}/smaps_rollup").splitlines()
    return float(sum(int(r.split()[1]) for r in rows if r.startswith("Private_")))


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _out(argv: list[str]) -> str:
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    ).stdout


def _iperf(text: str) -> float:
    done = json.loads(text[text.index("{") :])["end"]["sum_received"]
    return float(done["seconds"] * 1e9 / (done["bytes"] / (1 << 20)))


def _redis(text: str) -> Iterator[tuple[str, float]]:
    for line in csv.reader(text.splitlines()):
        if len(line) > 1 and re.fullmatch(r"[0-9.]+", line[1]):
            yield f"net_redis_{line[0].lower()}", 1e9 / float(line[1])


def main() -> int:
    p = argparse.ArgumentParser(prog="bench.network", description=__doc__)
    p.add_argument("--seconds", type=float, default=2, help="of a bulk transfer")
    p.add_argument("--runtime", action="append", default=[], metavar="NAME=COMMAND")
    args = p.parse_args()
    missing = [x for x in PROGRAMS if shutil.which(x) is None]
    if os.geteuid() or missing:
        print(f"network rows need root and {' '.join(PROGRAMS)}", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as d:
        b = Bench(Path(d), args.seconds)
        try:
            b.setup()
            ways: dict[str, Callable[[str], list[str]]] = {"native": b.native}
            for spec in args.runtime or [
                f"nvsandbox-systrap={NVSANDBOX} --root {d}/state --network=sandbox"
            ]:
                name, _, command = spec.partition("=")
                ways[name] = b.contained(command.split())
            for name, inside in ways.items():
                for row, value in b.rows(inside):
                    print(name, row, value, flush=True)
        finally:
            b.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
