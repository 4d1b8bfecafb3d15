"""Podman as an ordinary user (newuidmap, a user namespace of podman's): the same outcomes as with runc."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import NVSANDBOX, PATH, REPO, busybox_tar, sh

RUNTIMES = ("nvsandbox", "runc")
USER = "nvtest"


class Rootless:
    """podman of a user of its own, with everything in that user's home directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        uid = pwd.getpwnam(USER).pw_uid
        (home / "containers.conf").write_text(
            f"""[containers]
default_ulimits=["nofile=1024:1024","nproc=1024:1024"]
[engine]
cgroup_manager="cgroupfs"
events_logger="file"
runtime_supports_json=["nvsandbox","runc"]
[engine.runtimes]
nvsandbox=["{NVSANDBOX}"]
"""
        )
        (home / "busybox.tar").write_bytes(busybox_tar())
        (home / "Dockerfile").write_text(
            "FROM busybox\nRUN echo built >/f; id -u >>/f\nCMD cat /f\n"
        )
        for d in ("run", "volume"):
            (home / d).mkdir(mode=0o700)
            os.chown(home / d, uid, uid)
        self.env = {
            "HOME": str(home), "XDG_RUNTIME_DIR": f"{home}/run", "CONTAINERS_CONF": f"{home}/containers.conf", "PATH": PATH,
            "USER": USER, **{k: v for k, v in os.environ.items() if k.startswith("NVSANDBOX_")},
        }  # fmt: skip

    def __call__(
        self, *args: str | Path, runtime: str = "nvsandbox", **kw: object
    ) -> subprocess.CompletedProcess[str]:
        flags = [
            "--root", self.home / "root", "--runroot", self.home / "run" / "rt", "--storage-driver", "overlay", "--runtime", runtime,
        ]  # fmt: skip
        kw.setdefault("timeout", 120)
        return sh(
            ["podman", *flags, *args], env=self.env, user=USER, group=USER, extra_groups=[], cwd=self.home, **kw
        )  # fmt: skip

    def ok(self, *args: str | Path, **kw: object) -> str:
        got = self(*args, **kw)
        assert got.returncode == 0, f"{args}: {got.returncode}\n{got.stdout}\n{got.stderr}"
        return got.stdout.strip()

    def close(self) -> None:
        """Nothing of the user's runs any more."""
        self("pod", "rm", "-af")
        self("rm", "-af", "-t", "0")
        self("system", "reset", "-f")
        for pause in self.home.rglob("pause.pid"):  # podman's process that keeps its namespace
            try:
                os.kill(int(pause.read_text()), signal.SIGKILL)
            except (ProcessLookupError, ValueError):
                pass


@pytest.fixture(scope="module")
def rootless(engines: None) -> Iterator[Rootless]:
    if any(shutil.which(p, path=PATH) is None for p in ("newuidmap", "slirp4netns")):
        done = sh([REPO / "tools" / "engines.sh"], timeout=600)
        assert done.returncode == 0, done.stderr
    home = Path("/home") / USER
    assert not home.exists(), f"{home} is there already"
    assert sh(["useradd", "-m", "-d", home, USER]).returncode == 0
    try:
        can = sh([NVSANDBOX, "--version"], user=USER, group=USER, extra_groups=[], cwd=home)
        if can.returncode:
            pytest.skip(f"{NVSANDBOX} is out of an ordinary user's reach: {can.stderr}")
        r = Rootless(home)
        r.ok(
            "import",
            "-c",
            'CMD=["/bin/sh"]',
            "-c",
            "ENV=PATH=/bin",
            home / "busybox.tar",
            "busybox:latest",
        )
        yield r
        r.close()
        assert not list((home / "run").glob("nvsandbox/*"))
    finally:
        sh(["userdel", "-r", USER])


CASES = [
    ("plain", [], "echo hi; id; exit 3"),
    ("user", ["-u", "1000:10"], "id -u; id -g; touch /tmp/f; ls -ln /tmp/f | cut -d' ' -f3-9 | cut -c1-12"),
    ("owners", [], "touch /x; chown 5:6 /x; ls -ln /x | grep -c ' 5  *6 '"),
    ("keep-id", ["--userns", "keep-id"], "id -u >/dev/null; echo ok"),
    ("maps", ["--uidmap", "0:1:1000", "--gidmap", "0:1:1000"], "id -u; touch /x; ls -ln /x | grep -c ' 0  *0 '"),
    ("host network", ["--network", "host"], "echo up"),
    ("network", ["--network", "slirp4netns"], "echo up"),
    ("read-only", ["--read-only", "--tmpfs", "/t"], "echo x >/x; echo $?; echo y >/t/y; cat /t/y"),
    ("limits", ["-m", "80m", "--pids-limit", "50"], "echo fine"),
    ("capabilities", ["--cap-drop", "all", "--cap-add", "kill"], "grep Cap /proc/self/status"),
    ("hostname", ["--hostname", "box"], "hostname"),
    ("missing", [], None),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "script"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_run(rootless: Rootless, flags: list[str], script: str | None) -> None:
    network = [] if "--network" in flags else ["--network", "none"]
    command = ["sh", "-c", script] if script is not None else ["nosuchprogram"]
    got = {}
    for runtime in RUNTIMES:
        done = rootless("run", "--rm", *network, *flags, "busybox", *command, runtime=runtime)
        got[runtime] = (done.returncode, done.stdout)
        if script is None:
            assert done.returncode == 127 and "executable file not found" in done.stderr
    assert got["nvsandbox"] == got["runc"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_volume_has_the_users_ids(rootless: Rootless, runtime: str) -> None:
    """Container's root is the user, its user 5 is the user's fifth subordinate id."""
    v = rootless.home / "volume"
    rootless.ok(
        "run", "--rm", "--network", "none", "-v", f"{v}:/v", "busybox", "sh", "-c",
        f"echo a >/v/root-{runtime}; echo b >/v/five-{runtime}; chown 5:6 /v/five-{runtime}", runtime=runtime,
    )  # fmt: skip
    me = pwd.getpwnam(USER)
    first = next(int(x.split(":")[1]) for x in open("/etc/subuid") if x.startswith(f"{USER}:"))
    a, b = (v / f"root-{runtime}").stat(), (v / f"five-{runtime}").stat()
    assert (a.st_uid, a.st_gid) == (me.pw_uid, me.pw_gid) and b.st_uid == first + 4
    assert (v / f"five-{runtime}").read_text() == "b\n"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_life(rootless: Rootless, runtime: str) -> None:
    name = f"life-{runtime}"
    rootless.ok("run", "-d", "--name", name, "--network", "none", "busybox", "sh", "-c",
                "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done", runtime=runtime)  # fmt: skip
    assert rootless("exec", name, "sh", "-c", "echo in; exit 4", runtime=runtime).returncode == 4
    assert rootless.ok("exec", "-u", "1000", name, "id", "-u", runtime=runtime) == "1000"
    assert rootless.ok("inspect", "-f", "{{.State.Status}}", name) == "running"
    rootless.ok("stop", "-t", "20", name, runtime=runtime)
    assert rootless.ok("inspect", "-f", "{{.State.ExitCode}}", name) == "5"
    assert rootless.ok("logs", name) == "ready"
    rootless.ok("start", name, runtime=runtime)
    rootless.ok("kill", "-s", "KILL", name, runtime=runtime)
    assert rootless.ok("wait", name) == "137"
    rootless.ok("rm", name, runtime=runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_pod(rootless: Rootless, runtime: str) -> None:
    pod = f"pod-{runtime}"
    rootless.ok("pod", "create", "--name", pod, "--infra=false", runtime=runtime)
    rootless.ok(
        "run",
        "-d",
        "--pod",
        pod,
        "--network",
        "none",
        "--name",
        f"{pod}-a",
        "busybox",
        "sleep",
        "1000",
        runtime=runtime,
    )
    assert rootless.ok("exec", f"{pod}-a", "echo", "hi", runtime=runtime) == "hi"
    rootless.ok("pod", "rm", "-f", "-t", "0", pod, runtime=runtime)


def test_build(rootless: Rootless) -> None:
    """RUN steps; what they write is in the image: nothing may stay in the Sentry's memory."""
    got = {}
    for runtime in ("runc", f"{NVSANDBOX} --overlay2=none"):
        program = rootless.home / f"oci-{runtime.split('/')[-1].split()[0]}"
        program.write_text(f'#!/bin/sh\nexec {runtime} "$@"\n')
        program.chmod(0o755)
        tag = program.name
        rootless.ok(
            "build", "-q", "--runtime", program, "--isolation", "oci", "--network", "none", "-t", tag, "-f",
            rootless.home / "Dockerfile", rootless.home,
        )  # fmt: skip
        got[tag] = rootless.ok("run", "--rm", "--network", "none", tag, runtime="runc")
    assert set(got.values()) == {"built\n0"}, got
