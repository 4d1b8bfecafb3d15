"""The systemd driver against a real systemd, in a machine of its own (systemd_world.sh), and the word where there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nvsandbox.oci import limits, systemd
from nvsandbox.oci.spec import Cpu, Memory, Pids, Resources

from .conftest import NVSANDBOX, Runtime

REPO = Path(__file__).resolve().parents[2]
SCOPE = "machine-nv.slice/nv-one.scope"


def groups(name: str) -> list[Path]:
    return [p for p in Path("/sys/fs/cgroup").glob(f"*/{name}") if (p / "cgroup.procs").exists()]


class World:
    """A machine whose init is systemd."""

    def __init__(self, base: Path, rootfs: Path) -> None:
        self.rootfs = rootfs
        self.name = f"nvworld{os.getpid()}"
        self.process = subprocess.Popen(
            [REPO / "tests" / "oci" / "systemd_world.sh", self.name, base, REPO, rootfs],
            stdin=subprocess.DEVNULL, stdout=open(base.parent / "log", "wb"), stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.init = 0
        deadline = time.monotonic() + 30
        while self.sh("systemctl is-system-running", check=False).strip() != "running":
            assert time.monotonic() < deadline and self.process.poll() is None, (base.parent / "log").read_text()  # fmt: skip
            time.sleep(0.1)

    def sh(self, script: str, check: bool = True) -> str:
        """A shell's output, both streams, in there."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            self.init = int(children.read_text().split()[0])
        except (OSError, IndexError):
            return ""
        env = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/root",
            "NV": f"{NVSANDBOX} --root /run/state --systemd-cgroup",
        }
        env |= {k: v for k, v in os.environ.items() if k.startswith("NVSANDBOX_")}
        done = subprocess.run(
            ["nsenter", "-t", str(self.init), "-a", "bash", "-c", script], capture_output=True, text=True, timeout=60, env=env,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done
        return done.stdout + done.stderr

    def bundle(self, script: str, path: str = "machine-nv.slice:nv:one", **resources: Any) -> None:
        self.sh("rm -rf /run/b; mkdir /run/b; $NV spec -b /run/b")
        spec = json.loads(self.sh("cat /run/b/config.json"))
        spec["process"].update(terminal=False, args=["sh", "-c", script])
        spec["root"].update(path=str(self.rootfs), readonly=False)
        spec["linux"].update(cgroupsPath=path, resources=resources)
        self.sh(f"cat >/run/b/config.json <<'X'\n{json.dumps(spec)}\nX")

    def show(self, *names: str) -> dict[str, str]:
        text = self.sh(f"systemctl show nv-one.scope -p {','.join(names)}")
        return dict(line.split("=", 1) for line in text.splitlines())

    def close(self) -> None:
        self.process.kill()  # its init, and all there, dies with it
        self.process.wait()
        deadline = time.monotonic() + 10
        while any((g / "cgroup.procs").read_text() for g in groups(self.name)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for g in groups(self.name):
            for d, _dirs, _files in os.walk(g, topdown=False):
                os.rmdir(d)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, rootfs: Path) -> Iterator[World]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not os.path.exists("/usr/lib/systemd/systemd") or shutil.which("nsenter") is None:
        done = subprocess.run([REPO / "tools" / "apt.sh", "systemd", "util-linux"], check=False)
        assert done.returncode == 0
    base = tmp_path_factory.mktemp("systemd") / "root"
    base.mkdir()
    w = World(base, rootfs)
    try:
        yield w
    finally:
        w.close()


def test_a_container_is_a_scope(world: World) -> None:
    world.bundle(
        "cat /sys/fs/cgroup/memory.max; sleep 100", memory={"limit": 200 << 20}, pids={"limit": 50},
        cpu={"quota": 50000, "period": 100000, "shares": 512},
    )  # fmt: skip
    world.sh("cd /run && $NV create -b b --pid-file p one >out 2>&1 </dev/null; cat out; test -s p")
    got = world.show(
        "ActiveState", "Slice", "Delegate", "MemoryLimit", "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "CPUShares", "Description"
    )  # fmt: skip
    assert (got["ActiveState"], got["Slice"], got["Delegate"]) == (
        "active",
        "machine-nv.slice",
        "yes",
    )
    assert str(200 << 20) in (got["MemoryLimit"], got["MemoryMax"])
    assert got["TasksMax"] == str(50 + limits.OWN_TASKS) and got["CPUQuotaPerSecUSec"] == "500ms"
    assert got["Description"] == "nvsandbox container one"
    inside = world.sh("cat /proc/$(cat /run/p)/cgroup")
    assert all(
        line.endswith(f"/{SCOPE}")
        for line in inside.splitlines()
        if "memory" in line or "name=systemd" in line
    ), inside
    world.sh("$NV start one")
    # a reload of its units does not give systemd other ideas
    world.sh(
        f"$NV update --memory {300 << 20} --memory-swap -1 --pids-limit 60 one; systemctl daemon-reload"
    )
    got = world.show("MemoryLimit", "MemoryMax", "TasksMax")
    assert str(300 << 20) in (got["MemoryLimit"], got["MemoryMax"])
    assert got["TasksMax"] == str(60 + limits.OWN_TASKS)
    assert world.sh("$NV exec one cat /sys/fs/cgroup/memory.max") == f"{300 << 20}\n"
    procs = world.sh(
        f"cat $(find /sys/fs/cgroup -path '*/{SCOPE}/cgroup.procs' | grep memory) | wc -l"
    )
    assert int(procs) >= 3  # nobody who stood in is among them: all are the sandbox's
    assert "pause" not in world.sh("ps -eo wchan:30,args | grep -v grep | grep do_sys_pause; true")
    world.sh("$NV kill one KILL; until $NV state one | grep -q stopped; do :; done; $NV delete one")
    assert world.sh("systemctl list-units --all --no-legend --no-pager 'nv-*'") == ""
    assert world.sh("find /sys/fs/cgroup -name 'nv-one*'") == ""


def test_every_first_call_is_answered(world: World) -> None:
    """systemd lets a message lie that comes together with the end of the authentication."""
    script = """
from nvsandbox.oci.systemd import Manager
for _ in range(100):
    with Manager() as m:
        m._call("Subscribe")
"""
    assert world.sh(f"cd {REPO} && {sys.executable} -c '{script}'") == ""


def test_what_fails_leaves_no_scope(world: World) -> None:
    world.bundle("true")
    world.sh('sed -i \'s/"sh"/"nosuch"/\' /run/b/config.json')
    assert "executable file not found" in world.sh("$NV run -b /run/b one", check=False)
    assert world.sh("systemctl list-units --all --no-legend --no-pager 'nv-*'") == ""
    assert world.sh("find /sys/fs/cgroup -name 'nv-one*'") == ""
    world.bundle("true", path="notaslice:nv:one")
    got = world.sh("$NV run -b /run/b one", check=False)
    assert "invalid slice name `notaslice`" in got and got.count("\n") == 1
    world.bundle("exit 4")
    assert world.sh("$NV run -b /run/b one; echo $?").endswith("4\n")


def test_without_systemd(rt: Runtime) -> None:
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd is this machine's init")
    b = rt.bundle(edit=lambda s: s["linux"].update(cgroupsPath="system.slice:nv:x"))
    got = rt("--systemd-cgroup", "create", "-b", b, "x")
    assert "--systemd-cgroup: systemd does not run here" in rt.failure(got)
    assert not rt.root.is_dir() or os.listdir(rt.root) == []


def test_limits_as_properties() -> None:
    r = Resources(
        memory=Memory(100), pids=Pids(5), cpu=Cpu(shares=1024, quota=33333, period=100000)
    )
    v1, v2 = (dict(systemd.properties_of(r, v)) for v in (False, True))
    assert v1["MemoryLimit"] == ("t", 100) and v2["MemoryMax"] == ("t", 100)
    assert v1["CPUShares"] == ("t", 1024) and v2["CPUWeight"] == ("t", 39)
    assert v1["CPUQuotaPerSecUSec"] == ("t", 340_000) and v1["TasksMax"] == ("t", 5 + limits.OWN_TASKS)  # fmt: skip
    r = Resources(memory=Memory(-1), pids=Pids(-1), cpu=Cpu(quota=-1))
    assert {v for _, (_, v) in systemd.properties_of(r, True)} == {(1 << 64) - 1, 100_000}
