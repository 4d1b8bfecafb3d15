"""TCP rows: a program natively in a network namespace, and the same under an OCI runtime in that namespace. ``python -m bench.network``.

The other end is a second namespace behind a veth. Prints ``RUNTIME ROW VALUE``: ns per MiB of a bulk transfer (iperf3), ns per
round trip of one byte, ns per request (redis-benchmark), ns per datagram that arrives. The root file system is the host's, which has the programs.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .results import Failed, one_line
from .runtimes import NVSANDBOX, end_in_order, output

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("iperf3", "redis-server", "redis-benchmark")
ROWS = (
    "net_send_mib", "net_recv_mib", "net_loop_mib", "net_pingpong", "net_redis_set", "net_redis_get", "net_idle_1000_kib",
    "net_udp_send_64", "net_udp_recv_64", "net_udp_send_bulk", "net_udp_recv_bulk", "net_redis_set_inside", "net_redis_get_inside",
)  # fmt: skip
WITHIN = (("net_loop_mib",), ("net_redis_set_inside", "net_redis_get_inside"))
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
        self.made: list[list[str]] = []  # how to remove the containers

    def setup(self) -> None:
        for ns in (self.peer, self.box):
            sh("ip", "netns", "add", ns)
            sh("ip", "-n", ns, "link", "set", "lo", "up")
        sh("ip", "-n", self.peer, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.box)  # fmt: skip
        for ns, last in ((self.peer, 1), (self.box, 2)):
            sh("ip", "-n", ns, "addr", "add", f"10.97.0.{last}/24", "dev", "eth0")
            sh("ip", "-n", ns, "link", "set", "eth0", "up")

    def close(self) -> None:
        for delete in self.made:
            subprocess.run(delete, check=False, capture_output=True)
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
            subprocess.run([NVSANDBOX, "spec", "--bundle", bundle], check=True)
            spec = json.loads((bundle / "config.json").read_text())
            spec["process"].update(terminal=False, args=["bash", "-c", script], env=[PATH])
            spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 9000, "soft": 9000}]
            spec["mounts"] = [m for m in spec["mounts"] if m["type"] != "cgroup"]
            spec["root"].update(path="/", readonly=False)
            spec["linux"]["namespaces"] = [
                {"type": t, "path": f"/run/netns/{self.box}"} if t == "network" else {"type": t}
                for t in ("pid", "network", "ipc", "uts", "mount")
            ]
            (bundle / "config.json").write_text(json.dumps(spec))
            ident = f"nvbench{os.getpid()}-{self.count}"
            self.made.append([*runtime, "delete", "--force", ident])
            return [*runtime, "run", "--bundle", str(bundle), ident]

        return argv

    @contextlib.contextmanager
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
                try:
                    p.wait(10)
                except subprocess.TimeoutExpired:  # pid 1 of a container has not heard it
                    p.kill()

    def rows(
        self, name: str, inside: Callable[[str], list[str]], wanted: set[str]
    ) -> Iterator[tuple[str, float | str]]:
        """Row and value, or why there is none."""
        parts: dict[tuple[str, ...], Callable[[], list[float]]] = {
            ("net_send_mib",): lambda: self._bulk(inside, ""),
            ("net_recv_mib",): lambda: self._bulk(inside, "-R"),
            ("net_loop_mib",): lambda: self._loop(inside),
            ("net_pingpong",): lambda: self._pingpong(inside),
            ("net_redis_set", "net_redis_get"): lambda: self._redis_over(inside),
            ("net_idle_1000_kib",): lambda: self._idle_beside(inside),
            ("net_udp_send_64",): lambda: self._udp_send(inside, 64, 1),
            ("net_udp_recv_64",): lambda: self._udp_recv(inside, 64, 1),
            ("net_udp_send_bulk",): lambda: self._udp_send(inside, 1400, 40),
            ("net_udp_recv_bulk",): lambda: self._udp_recv(inside, 1400, 40),
            ("net_redis_set_inside", "net_redis_get_inside"): lambda: self._redis_within(inside),
        }
        reached = False
        for names, part in parts.items():
            if not wanted & set(names):
                continue
            if names == ("net_idle_1000_kib",) and not name.startswith(("nvsandbox", "runsc")):
                continue  # they are the host kernel's, and nobody's process
            try:
                if names not in WITHIN and not reached:
                    self._reach(inside)  # else every row would wait for all its time
                    reached = True
                yield from zip(names, part(), strict=True)
            except Failed as e:
                yield from ((name, f"! {e}") for name in names)
            except (OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
                yield from ((name, f"! {one_line(str(e), 'failed')}") for name in names)

    def _reach(self, inside: Callable[[str], list[str]]) -> None:
        """Nobody listens at the other end, and the answer says so. Raises Failed."""
        script = "echo >/dev/tcp/10.97.0.1/9"
        r = subprocess.run(
            inside(script), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
        )
        if "refused" not in r.stderr:
            raise Failed(f"no way out: {one_line(r.stderr, 'no answer')}")

    def _bulk(self, inside: Callable[[str], list[str]], flags: str) -> list[float]:
        wait = self.on_peer("ss -ltn | grep -q :5201")
        with self.server(self.on_peer("exec iperf3 -s -1"), wait):
            return [_iperf(_out(inside(f"iperf3 -J -c 10.97.0.1 -t {self.seconds} {flags}")))]

    def _loop(self, inside: Callable[[str], list[str]]) -> list[float]:
        script = f"iperf3 -s -1 >/dev/null & sleep 0.5; iperf3 -J -c 127.0.0.1 -t {self.seconds}"
        return [_iperf(_out(inside(script)))]

    def _pingpong(self, inside: Callable[[str], list[str]]) -> list[float]:
        with self.server(self.on_peer(f"exec python3 -c '{PING}' serve"), ["true"]):
            return [float(_out(inside(f"python3 -c '{PING}' 10.97.0.1")))]

    def _redis_over(self, inside: Callable[[str], list[str]]) -> list[float]:
        redis = "exec redis-server --save '' --protected-mode no >/dev/null"
        ask = "redis-benchmark -h 10.97.0.2 --csv -n 20000 -c 50 -t set,get"
        with self.server(inside(redis), self.on_peer("redis-cli -h 10.97.0.2 ping")):
            return _redis(_out(self.on_peer(ask)))

    def _redis_within(self, inside: Callable[[str], list[str]]) -> list[float]:
        script = "redis-server --save '' >/dev/null & sleep 1; redis-benchmark --csv -n 20000 -c 50 -t set,get; kill %1"
        return _redis(_out(inside(script)))

    def _udp_send(self, inside: Callable[[str], list[str]], size: int, many: int) -> list[float]:
        ask = f"{size} {many} {self.seconds}"
        with self.server(self.on_peer(f"exec python3 -c '{UDP}' take"), ["true"]):
            return [float(_out(inside(f"python3 -c '{UDP}' 10.97.0.1 {ask}")))]

    def _udp_recv(self, inside: Callable[[str], list[str]], size: int, many: int) -> list[float]:
        ask = f"{size} {many} {self.seconds}"
        with self.server(inside(f"exec python3 -c '{UDP}' take"), ["true"]):
            return [float(_out(self.on_peer(f"python3 -c '{UDP}' 10.97.0.2 {ask}")))]

    def _idle_beside(self, inside: Callable[[str], list[str]]) -> list[float]:
        with self.server(inside(f"exec python3 -c '{IDLE}' take"), self.on_peer("ss -ltn")):
            return [self._idle()]

    def _idle(self) -> float:
        """What connections cost the Sentry's memory, in KiB."""

        def join(n: int) -> subprocess.Popen[bytes]:
            script = f"exec python3 -c '{IDLE}' 10.97.0.2 {n}"
            p = subprocess.Popen(self.on_peer(script), stdout=subprocess.PIPE)
            assert p.stdout is not None
            if p.stdout.readline() != b"there\n":
                p.kill()
                raise Failed("the connections were not made")
            return p

        deadline = time.monotonic() + 20
        while subprocess.run(self.on_peer("echo >/dev/tcp/10.97.0.2/7779"), capture_output=True).returncode:  # fmt: skip
            if time.monotonic() > deadline:
                raise Failed("nobody listens")
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
    return output(argv, 120)


def _iperf(text: str) -> float:
    done = json.loads(text[text.index("{") :])["end"]["sum_received"]
    return float(done["seconds"] * 1e9 / (done["bytes"] / (1 << 20)))


def _redis(text: str) -> list[float]:
    """ns a request, of SET and GET."""
    rates = {r[0]: r[1] for r in csv.reader(text.splitlines()) if len(r) > 1}
    return [1e9 / float(rates[name]) for name in ("SET", "GET")]


def main() -> int:
    end_in_order()
    p = argparse.ArgumentParser(prog="bench.network", description=__doc__)
    p.add_argument("--seconds", type=float, default=2, help="of a bulk transfer")
    p.add_argument("--runtime", action="append", default=[], metavar="NAME=COMMAND")
    p.add_argument("--rows", default=",".join(ROWS), metavar="NAME,…")
    args = p.parse_args()
    wanted = set(args.rows.split(","))
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
                for row, value in b.rows(name, inside, wanted):
                    print(name, row, value, flush=True)
        finally:
            b.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
