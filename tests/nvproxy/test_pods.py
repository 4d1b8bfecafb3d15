"""Containers of a pod with GPUs of their own, in one Sentry, on nvsim."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inside import REPO

NVSANDBOX = Path(sys.executable).parent / "nvsandbox"
KIND, SANDBOX = "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"
# Everything as children of one simulator: the state of its driver is theirs together.
DRIVE = """
set -e
nv() { "$NV" --root "$BASE/state" --nvproxy-driver-root "$LIBS" "$@"; }
start() { nv create -b "$BASE/$1" --pid-file "$BASE/$1.pid" "$1" >"$BASE/$1.out" 2>&1 </dev/null; nv start "$1"; }
start pod
for c in "$@"; do
    sed -i "s/INFRA/$(cat $BASE/pod.pid)/g" "$BASE/$c/config.json"
    if ! start $c; then echo "$c: not created"; cat "$BASE/$c.out"; continue; fi
    echo "$c: $(nv wait $c)"
done
for c in "$@" pod; do nv delete --force $c; done
"""


class Pod:
    """Bundles of a pod, and the run of all."""

    def __init__(self, base: Path, rootfs: Path, libs: Path) -> None:
        self.base, self.rootfs, self.libs = base, rootfs, libs
        self.bundle("pod", ["sleep", "1000"], {KIND: "sandbox"})

    def bundle(
        self, name: str, args: list[str], annotations: dict[str, str], env: tuple[str, ...] = ()
    ) -> None:
        b = self.base / name
        b.mkdir()
        subprocess.run([NVSANDBOX, "spec", "-b", b], check=True)
        spec: dict[str, Any] = json.loads((b / "config.json").read_text())
        spec["process"].update(terminal=False, args=args)
        spec["process"]["env"] += env
        spec["process"]["capabilities"] = {
            k: ["CAP_MKNOD"] for k in ("bounding", "effective", "permitted")
        }
        spec["root"].update(path=str(self.rootfs), readonly=False)
        spec["annotations"] = annotations
        if name != "pod":
            spec["linux"]["namespaces"] = [
                {"type": "pid"}, {"type": "mount"},
                *({"type": t, "path": f"/proc/INFRA/ns/{f}"} for t, f in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"))),
            ]  # fmt: skip
        (b / "config.json").write_text(json.dumps(spec))

    def member(self, name: str, script: str, gpus: str = "", **annotations: str) -> None:
        env = (f"NVIDIA_VISIBLE_DEVICES={gpus}",) if gpus else ()
        extra = {f"dev.nvsandbox.gpu.{k}": v for k, v in annotations.items()}
        self.bundle(name, ["bash", "-c", script], {KIND: "container", SANDBOX: "pod", **extra}, env)

    def run(self, *members: str, opts: tuple[str, ...] = ("--count", "2")) -> dict[str, str]:
        env = {"NV": str(NVSANDBOX), "BASE": str(self.base), "LIBS": str(self.libs), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}  # fmt: skip
        done = subprocess.run(
            [NVSANDBOX, "gpu", "sim", *opts, "--", "bash", "-c", DRIVE, "drive", *members],
            capture_output=True, text=True, timeout=100, env=env, cwd=REPO,
        )  # fmt: skip
        assert done.returncode == 0, done
        out = {m: (self.base / f"{m}.out").read_text() for m in members}
        out["drive"] = done.stdout
        return out


@pytest.fixture
def pod(tmp_path: Path, rootfs: Path, libs: Path) -> Pod:
    return Pod(tmp_path, rootfs, libs)


def test_each_container_has_its_own_cards(pod: Pod) -> None:
    pod.member("one", "nvidia-smi -L; ls /dev", "0")
    pod.member("two", "nvidia-smi -L; ls /dev; sleep 0.1", "1")
    pod.member("both", "nvidia-smi -L; ls /dev", "all")
    out = pod.run("one", "two", "both")
    assert out["drive"].splitlines()[:3] == ["one: 0", "two: 0", "both: 0"]
    cards = {m: [k for k in out[m].splitlines() if "UUID" in k] for m in ("one", "two", "both")}
    uuids = {m: [k.split("UUID: ")[1] for k in cards[m]] for m in cards}
    assert len(uuids["one"]) == len(uuids["two"]) == 1
    assert uuids["both"] == uuids["one"] + uuids["two"]
    assert "nvidia0\n" in out["one"] and "nvidia1\n" not in out["one"]
    assert "nvidia1\n" in out["two"] and "nvidia0\n" not in out["two"]


def test_procfs_and_sysfs_show_a_containers_own(pod: Pod) -> None:
    """/proc/driver/nvidia, /proc/devices and the PCI devices, while the pod's other containers have other cards."""
    look = "ls /proc/driver/nvidia/gpus /sys/bus/pci/devices 2>&1; grep -c nvidia /proc/devices; sleep 0.2"
    pod.member("one", look, "0")
    pod.member("two", look, "1")
    pod.member("none", look)
    out = pod.run("one", "two", "none")
    for name, card in (("one", "0000:01:00.0"), ("two", "0000:02:00.0")):
        found = [w for w in out[name].split() if w.startswith("0000:")]
        assert found == [card, card], out[name]
        assert int(out[name].split()[-1]) > 0
    assert "0000:" not in out["none"] and out["none"].split()[-1] == "0", out["none"]


def test_a_container_without_gpus_cannot_open_the_pods(pod: Pod) -> None:
    look = (
        "import os, stat\n"
        "for name, minor in (('ctl', 255), ('0', 0)):\n"
        "    os.mknod('/tmp/nv' + name, stat.S_IFCHR | 0o666, os.makedev(195, minor))\n"
        "    try:\n"
        "        os.open('/tmp/nv' + name, os.O_RDWR); print('open')\n"
        "    except OSError as e:\n"
        "        print(e.strerror)\n"
    )
    pod.member("one", "nvidia-smi -L", "0")
    pod.member("none", f'ls /dev; python3 -c "{look}"')
    out = pod.run("one", "none")
    assert out["drive"].splitlines()[:2] == ["one: 0", "none: 0"]
    assert "nvidia" not in out["none"].split("Operation")[0]
    assert out["none"].count("Operation not permitted") == 2


def test_a_container_that_is_started_again(pod: Pod) -> None:
    for n in range(3):
        pod.member(f"m{n}", "nvidia-smi -L", "0")
    out = pod.run("m0", "m1", "m2")
    assert len({out[f"m{n}"] for n in range(3)}) == 1
    assert "UUID" in out["m0"]


def test_quotas_are_a_containers(pod: Pod) -> None:
    ask = "nvidia-smi --query-gpu=memory.total --format=csv,noheader"
    pod.member("small", ask, "0", memory="2g")
    pod.member("big", ask, "0")
    out = pod.run("small", "big")
    assert out["small"] == "2048 MiB\n"
    assert int(out["big"].split()[0]) > 2048


def test_what_cannot_be_is_said(pod: Pod) -> None:
    pod.member("far", "true", "7")
    pod.member("one", "nvidia-smi -L", "0")
    out = pod.run("far", "one")
    assert "far: not created" in out["drive"]
    assert len(out["far"].splitlines()) == 1 and "7" in out["far"]
    assert "UUID" in out["one"]
