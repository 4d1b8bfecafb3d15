"""A network namespace as an engine would make it, with a sandbox in it, and another at the other end of the wire."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
NVSANDBOX = Path(sys.executable).parent / "nvsandbox"
PACKAGES = {
    "ping": "iputils-ping", "iperf3": "iperf3", "curl": "curl", "dig": "dnsutils", "traceroute": "traceroute",
    "redis-server": "redis-server", "redis-benchmark": "redis-tools", "nginx": "nginx-light", "wrk": "wrk", "rsync": "rsync",
    "sshd": "openssh-server", "ssh": "openssh-client", "tcpdump": "tcpdump", "slirp4netns": "slirp4netns", "pasta": "passt", "wget": "wget",
    "git": "git", "ip": "iproute2", "iptables": "iptables", "nft": "nftables", "conntrack": "conntrack", "netstat": "net-tools", "pg_lsclusters": "postgresql",
    "udhcpc": "udhcpc", "dnsmasq": "dnsmasq-base", "nmap": "nmap", "arping": "arping",
}  # fmt: skip
PATIENCE = 600  # seconds a test may take: the machine may be busy with others
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """What the tests run, on both sides: the sandbox's root is the host's."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    missing = [p for program, p in PACKAGES.items() if shutil.which(program, path=PATH) is None]
    if missing:
        subprocess.run([REPO / "tools" / "apt.sh", *missing], check=True, timeout=900)


def sh(*argv: str | Path, timeout: float = 240) -> str:
    """A command that must succeed; what it printed."""
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done.stdout


def same(native: Callable[[], str], inside: Callable[[], str]) -> None:
    """Both print the same. They run at once: such scripts wait most of the time."""
    with ThreadPoolExecutor(1) as pool:
        outside = pool.submit(native)
        got = inside()
        assert got == outside.result()


class Wire:
    """``peer`` (10.99.0.1, fd99::1) and ``box`` (10.99.0.2, fd99::2): two namespaces with a veth between them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.peer, self.box = f"nvt-p{os.getpid()}", f"nvt-b{os.getpid()}"
        self.count = 0
        self.more_caps: list[str] = []  # what a test's programs need beside the usual
        self.running: list[subprocess.Popen[bytes]] = []
        for ns in (self.peer, self.box):
            sh("ip", "netns", "add", ns)
            sh("ip", "-n", ns, "link", "set", "lo", "up")
            sh("ip", "netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        sh(
            "ip",
            "-n",
            self.peer,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.box,
        )
        for ns, last in ((self.peer, 1), (self.box, 2)):
            sh("ip", "-n", ns, "addr", "add", f"10.99.0.{last}/24", "dev", "eth0")
            sh("ip", "-n", ns, "addr", "add", f"fd99::{last}/64", "dev", "eth0", "nodad")
            sh("ip", "-n", ns, "link", "set", "eth0", "up")
        sh("ip", "-n", self.box, "route", "add", "default", "via", "10.99.0.1")
        for ns in (
            self.peer,
            self.box,
        ):  # the kernel gives carrier and link-local address when it comes to it
            self.until(
                f"ip -n {ns} addr show dev eth0 | tr '\\n' ' ' | grep 'state UP.*fe80::' | grep -qv tentative"
            )

    def close(self) -> None:
        for p in self.running:
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(p.pid) == p.pid:  # what a script has started goes with it
                    os.killpg(p.pid, signal.SIGKILL)
            p.kill()
            p.wait()
        for i in range(1, self.count + 1):
            subprocess.run(
                [
                    NVSANDBOX,
                    "--root",
                    self.base / "state",
                    "delete",
                    "--force",
                    f"nvt{os.getpid()}-{i}",
                ],
                capture_output=True,
            )
        for ns in (self.peer, self.box):
            subprocess.run(["ip", "netns", "del", ns], check=False)

    def on_peer(self, script: str, timeout: float = 240) -> str:
        """A shell script at the other end; it must succeed."""
        return sh("ip", "netns", "exec", self.peer, "bash", "-ec", script, timeout=timeout)

    def peer_start(self, script: str) -> subprocess.Popen[bytes]:
        p = subprocess.Popen(
            ["ip", "netns", "exec", self.peer, "bash", "-ec", script], stdin=subprocess.DEVNULL,
            process_group=0,
        )  # fmt: skip
        self.running.append(p)
        return p

    def argv(self, script: str, *flags: str) -> list[str | Path]:
        """The command line of a new sandbox in ``box`` that runs a shell script."""
        self.count += 1
        bundle = self.base / f"bundle{self.count}"
        bundle.mkdir()
        sh(NVSANDBOX, "spec", "-b", bundle)
        spec = json.loads((bundle / "config.json").read_text())
        spec["process"].update(
            terminal=False, args=["bash", "-ec", script], env=[f"PATH={PATH}", "HOME=/root"]
        )
        caps = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SYS_CHROOT", "CAP_KILL", *self.more_caps]  # fmt: skip
        for kind in ("bounding", "effective", "permitted"):
            spec["process"]["capabilities"][kind] = caps
        spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 16384, "soft": 16384}]
        spec["root"].update(path="/", readonly=False)
        spec["linux"]["namespaces"] = [
            {"type": t} if t != "network" else {"type": t, "path": f"/run/netns/{self.box}"}
            for t in ("pid", "network", "ipc", "uts", "mount")
        ]
        (bundle / "config.json").write_text(json.dumps(spec))
        return [
            NVSANDBOX, "--root", self.base / "state", "--network=sandbox", *flags, "run", "-b", bundle, f"nvt{os.getpid()}-{self.count}",
        ]  # fmt: skip

    def run(self, script: str, *flags: str, timeout: float = 240) -> str:
        """A shell script in the sandbox; it must succeed."""
        return sh(*self.argv(script, *flags), timeout=timeout)

    def start(self, script: str, *flags: str) -> subprocess.Popen[bytes]:
        """The same, going on."""
        p = subprocess.Popen(
            self.argv(script, *flags), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        self.running.append(p)
        return p

    def line(self, p: subprocess.Popen[bytes]) -> str:
        """The next line that a started one prints."""
        assert p.stdout is not None
        return p.stdout.readline().decode().strip()

    def until(self, script: str, timeout: float = 90) -> None:
        """Repeats a script at the other end until it succeeds."""
        deadline = time.monotonic() + timeout
        while True:
            done = subprocess.run(
                ["ip", "netns", "exec", self.peer, "bash", "-ec", script], capture_output=True
            )
            if done.returncode == 0:
                return
            assert time.monotonic() < deadline, done
            time.sleep(0.1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PATIENCE))


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    w = Wire(tmp_path)
    try:
        yield w
    finally:
        w.close()
