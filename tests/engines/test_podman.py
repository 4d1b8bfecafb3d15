"""podman: run, exec, pods, build, with the same outcomes as with runc."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import PATH, busybox_tar, install, sh

RUNTIMES = ("nvsandbox", "runc")


class Podman:
    """podman with storage, networks and configuration of its own."""

    def __init__(self, base: Path) -> None:
        conf = base / "containers.conf"
        conf.write_text(
            f"""[containers]
default_ulimits=["nofile=1024:1024","nproc=1024:1024"]
[engine]
cgroup_manager="cgroupfs"
events_logger="file"
tmp_dir="{base}/tmp"
runtime_supports_json=["nvsandbox","runc"]
"""
        )
        install(base, "podman", conf, "nvsandbox")
        install(base, "podman", conf, "nvhost", "--network=host")
        self.through = install(base, "podman", conf, "nvthrough", "--overlay2=none")
        self.env = {**os.environ, "CONTAINERS_CONF": str(conf), "PATH": PATH}
        self.flags = [
            "--root",
            base / "root",
            "--runroot",
            base / "run",
            "--storage-driver",
            "overlay",
        ]

    def __call__(self, *args: str | Path, runtime: str = "nvsandbox", **kw: object):  # type: ignore[no-untyped-def]
        return sh(["podman", *self.flags, "--runtime", runtime, *args], env=self.env, **kw)

    def ok(self, *args: str | Path, **kw: object) -> str:
        got = self(*args, **kw)
        assert got.returncode == 0, f"{args}: {got.returncode}\n{got.stdout}\n{got.stderr}"
        return str(got.stdout).strip()


@pytest.fixture(scope="module")
def podman(engines: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    p = Podman(tmp_path_factory.mktemp("podman"))
    tar = tmp_path_factory.mktemp("image") / "busybox.tar"
    tar.write_bytes(busybox_tar())
    p.ok("import", "-c", 'CMD=["/bin/sh"]', "-c", "ENV=PATH=/bin", tar, "busybox:latest")
    yield p
    p("pod", "rm", "-af", timeout=120)
    p("rm", "-af", timeout=120)
    p("system", "reset", "-f", timeout=120)


CASES = [
    ("plain", [], "echo hi; exit 3"),
    ("environment", ["-e", "A=1", "-w", "/etc"], "echo $A; pwd"),
    ("user", ["-u", "1000:10"], "id -u; id -g"),
    ("network none", ["--network", "none"], "echo up"),
    ("network host", ["--network", "host"], "echo up"),
    ("read-only", ["--read-only", "--tmpfs", "/t"], "echo x >/x; echo $?; echo y >/t/y; cat /t/y"),
    ("limits", ["-m", "80m", "--pids-limit", "50", "--cpus", "0.7"], "echo fine"),
    ("capabilities", ["--cap-drop", "all", "--cap-add", "kill"], "grep Cap /proc/self/status"),
    ("hostname", ["--hostname", "box"], "hostname; cat /proc/sys/kernel/hostname"),
    (
        "ulimit",
        ["--ulimit", "nofile=100:200", "--ulimit", "nproc=1000:1000"],
        "ulimit -n; ulimit -Hn",
    ),
    ("missing program", [], None),
    ("systemd", ["--systemd=always"], "echo $container; mount | grep -c 'tmpfs on /run '"),
    ("init", ["--init"], "cat /proc/1/comm; exit 3"),
    ("preserved descriptors", ["--preserve-fds", "0", "--tz", "UTC"], "date +%Z"),
    ("mask and unmask", ["--security-opt", "mask=/etc/group"], "wc -c </etc/group"),
    ("sysctl", ["--sysctl", "net.core.somaxconn=99"], "cat /proc/sys/net/core/somaxconn"),
]


@pytest.mark.parametrize(("name", "flags", "script"), CASES, ids=[c[0] for c in CASES])
def test_run(podman: Podman, name: str, flags: list[str], script: str | None) -> None:
    command = ["sh", "-c", script] if script is not None else ["/no/such"]
    ours, theirs = (podman("run", "--rm", *flags, "busybox", *command, runtime=r) for r in RUNTIMES)
    assert ours.returncode == theirs.returncode, (ours, theirs)
    assert ours.stdout == theirs.stdout


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_life(podman: Podman, runtime: str) -> None:
    c = podman.ok(
        "run",
        "-d",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 4' TERM; echo up; while :; do sleep 0.1; done",
        runtime=runtime,
    )
    try:
        deadline = time.monotonic() + 10
        while podman("logs", c).stdout != "up\n":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert podman.ok("exec", "-e", "X=y", c, "sh", "-c", "echo $X") == "y"
        assert podman("exec", c, "sh", "-c", "exit 6").returncode == 6
        assert podman("exec", c, "nosuch").returncode == 127
        podman.ok("pause", c)
        assert podman.ok("inspect", "-f", "{{.State.Status}}", c) == "paused"
        podman.ok("unpause", c)
        podman.ok("update", "-m", "90m", c) if podman("update", "--help").returncode == 0 else None
        podman.ok("stop", c)
        assert podman.ok("inspect", "-f", "{{.State.ExitCode}}", c) == "4"
        podman.ok("start", c)
        podman.ok("kill", c)
    finally:
        podman("rm", "-f", c)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_terminal(podman: Podman, runtime: str) -> None:
    got = podman(
        "run", "--rm", "-t", "busybox", "sh", "-c", "tty; test -t 1 && echo tty", runtime=runtime
    )
    assert got.returncode == 0 and "tty\r\n" in got.stdout.replace("\n", "\r\n").replace(
        "\r\r", "\r"
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_pod(podman: Podman, runtime: str) -> None:
    """An infra container and two more, which share its network namespace."""
    pod = podman.ok(
        "pod",
        "create",
        "--name",
        f"p-{runtime}",
        "--infra-image",
        "busybox",
        "--infra-command",
        "sleep 1000",
        "--share",
        "net,uts",
        runtime=runtime,
    )
    try:
        a = podman.ok("run", "-d", "--pod", pod, "busybox", "sleep", "100", runtime=runtime)
        assert (
            podman.ok("run", "--rm", "--pod", pod, "busybox", "echo", "second", runtime=runtime)
            == "second"
        )
        assert podman.ok("exec", a, "echo", "in") == "in"
        podman.ok("pod", "stop", "-t", "1", pod)
    finally:
        podman("pod", "rm", "-f", pod, timeout=120)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_pod_without_infra(podman: Podman, runtime: str) -> None:
    name = f"bare-{runtime}"
    podman.ok("pod", "create", "--name", name, "--infra=false", runtime=runtime)
    try:
        assert podman.ok("run", "--rm", "--pod", name, "busybox", "echo", "in", runtime=runtime) == "in"  # fmt: skip
    finally:
        podman("pod", "rm", "-f", name, runtime=runtime)


def test_what_is_refused_says_so(podman: Podman) -> None:
    c = podman.ok("run", "-d", "busybox", "sleep", "100")
    try:
        for flags in (["--pid", f"container:{c}"], ["--ipc", f"container:{c}"]):
            got = podman("run", "--rm", *flags, "busybox", "true")
            assert got.returncode == 126 and "supported in pods only" in got.stderr
        got = podman("container", "checkpoint", c)
        assert got.returncode == 125 and len(got.stderr.splitlines()) == 1, got.stderr
    finally:
        podman("rm", "-f", "-t", "0", c)


def test_build(podman: Podman, tmp_path: Path) -> None:
    """RUN steps need --overlay2=none: what they write must reach the image."""
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nRUN echo built >/built && mkdir /dir\nRUN cat /built\nCMD cat /built\n"
    )
    got = podman(
        "build",
        "--isolation",
        "oci",
        "--runtime",
        podman.through,
        "-t",
        "nvbuilt",
        tmp_path,
    )
    assert got.returncode == 0, got.stdout + got.stderr
    assert podman.ok("run", "--rm", "nvbuilt") == "built"


def test_network_of_the_host_stack(podman: Podman) -> None:
    """With --network=host of ours, the address netavark gave is there and answers."""
    script = "ip -4 addr show eth0 | grep -c inet; ip route | grep -c default"
    assert podman.ok("run", "--rm", "busybox", "sh", "-c", script, runtime="nvhost") == "1\n1"


def test_network_of_netavark(podman: Podman) -> None:
    """By default our own stack is on the interface that netavark made; a published port and a pod's shared namespace."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    script = "echo hello > /tmp/index.html; httpd -f -p 80 -h /tmp"
    c = podman.ok("run", "-d", "-p", f"127.0.0.1:{port}:80", "busybox", "sh", "-c", script)
    try:
        ip = podman.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", c)
        deadline = time.monotonic() + 20
        while sh(["curl", "-sf", f"http://{ip}/index.html"]).stdout != "hello\n":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert sh(["curl", "-sf", f"http://127.0.0.1:{port}/index.html"]).stdout == "hello\n"
        got = podman.ok(
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            f"wget -qO- http://{ip}/index.html; ping -c 1 {ip} | grep -c ' 0% '",
        )
        assert got.split() == ["hello", "1"]
    finally:
        podman.ok("rm", "-f", "-t", "0", c)
