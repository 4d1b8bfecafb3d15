"""--network=sandbox without an engine: `nvsandbox do` and the library, connected by slirp4netns or pasta."""

from __future__ import annotations

import http.server
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvsandbox import Sandbox

from .conftest import NVSANDBOX, PATH, sh

HOST = "10.98.0.1"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A web server of the host's on an address that is not loopback; its URL."""

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello\n")

        def log_message(self, *_args: object) -> None:
            pass

    name = f"nvd{os.getpid()}"
    sh("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}b")
    try:
        sh("ip", "addr", "add", f"{HOST}/32", "dev", name)
        sh("ip", "link", "set", name, "up")
        s = http.server.ThreadingHTTPServer((HOST, 0), Hello)
        threading.Thread(target=s.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{s.server_port}/"
        s.shutdown()
    finally:
        sh("ip", "link", "del", name)


def slirps() -> set[str]:
    done = subprocess.run(["pgrep", "-x", "slirp4netns"], capture_output=True, text=True)
    return set(done.stdout.split())


def test_do(server: str) -> None:
    before = slirps()
    got = sh(
        NVSANDBOX,
        "--network=sandbox",
        "do",
        "--",
        "bash",
        "-c",
        f"curl -sf {server}; cat /etc/resolv.conf; ip -br addr",
    )
    assert (
        got.startswith("hello\nnameserver 10.0.2.3\n")
        and "eth0             UP             10.0.2.100/24" in got
    )
    assert slirps() <= before


def test_do_with_pasta(server: str, tmp_path: Path) -> None:
    """Where there is no slirp4netns."""
    (tmp_path / "pasta").symlink_to("/usr/bin/pasta")
    env = {**os.environ, "PATH": str(tmp_path)}
    script = f"PATH={PATH}; curl -sf {server}; cat /etc/resolv.conf; ip -br -4 addr show eth0; ip -4 route"
    argv = [NVSANDBOX, "--network=sandbox", "do", "--", "/bin/bash", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=240)
    if not sh("ip", "route", "show", "default"):
        assert done.stderr.endswith("(it needs a default route on the host)\n")
        return
    assert done.stdout.startswith("hello\nnameserver 10.0.2.3\neth0             UP "), done
    assert "default via" in done.stdout
    deadline = time.monotonic() + 30  # it ends a moment after its sandbox
    while subprocess.run(["pgrep", "-f", f"^{tmp_path}/pasta"], capture_output=True).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_library(server: str) -> None:
    before = slirps()
    with Sandbox(network="sandbox") as sb:
        assert len(slirps() - before) == 1
        for _ in range(2):
            assert sb.run(["curl", "-sf", server]).stdout == b"hello\n"
    assert slirps() <= before


def test_egress_by_name_is_refused_without_an_answer(server: str) -> None:
    argv = [
        NVSANDBOX,
        "--network=sandbox",
        "--egress=allow:example.org",
        "do",
        "--",
        "curl",
        "-s",
        server,
    ]
    done = subprocess.run(argv, capture_output=True, timeout=240)
    assert done.returncode == 7


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(
        [NVSANDBOX, "--network=sandbox", "do", "--", "/bin/true"],
        capture_output=True,
        text=True,
        env=env,
    )
    assert done.returncode and done.stderr == (
        "nvsandbox: --network=sandbox: neither slirp4netns nor pasta is installed (one connects the sandbox to the host's network)\n"
    )


def test_flags_that_need_it() -> None:
    for flag in ("--egress=allow:1.2.3.4", "--pcap=/tmp/x"):
        done = subprocess.run(
            [NVSANDBOX, flag, "do", "--", "/bin/true"],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": PATH},
        )
        assert (
            done.returncode
            and done.stderr == f"nvsandbox: {flag.partition('=')[0]}: needs --network=sandbox\n"
        )
