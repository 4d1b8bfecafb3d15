"""Engines with GPUs on nvsim: Docker (by variable, and with --gpus all), podman with CDI, which it resolves itself, and containerd with
CDI, which is left to us (ctr by annotation, the CRI by its containers' annotations). All of them are children of the simulator."""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inside import REPO

from tests.engines.conftest import NVSANDBOX, Docker, engines, install, sh  # noqa: F401  a fixture
from tests.engines.test_containerd import oci_image
from tests.engines.test_cri import EXITED, IMAGE, Cri, container, pod_config
from tests.engines.test_cri import status as container_status
from tests.engines.test_podman import Podman

from .conftest import Inside, nvidia_libs
from .test_ladder import clean

QUERY = "--query-gpu=index,name,memory.total,compute_cap,pci.bus_id,serial,uuid"
LADDER = [
    ("nvidia-smi",), ("nvidia-smi", "-q"), ("nvidia-smi", "-q", "-x"), ("nvidia-smi", "topo", "-m"), ("nvidia-smi", "nvlink", "-s"),
    ("nvidia-smi", QUERY, "--format=csv"), ("/b/cuda_client",), ("/b/memory_client",), ("/b/memory_client", "kernel"),
    ("/b/memory_client", "fill"),
]  # fmt: skip
"""What nvsim answers natively and every engine's containers are to print, too (test_ladder.py has all of it, for ``do``)."""
LIBC = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1")


def image(rootfs: Path) -> bytes:
    """busybox, and the C library that NVIDIA's programs need."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for d in (
            "bin",
            "usr/bin",
            "usr/lib/x86_64-linux-gnu",
            "lib64",
            "dev",
            "proc",
            "sys",
            "tmp",
            "etc",
        ):
            info = tarfile.TarInfo(d)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        tar.add(shutil.which("busybox") or "/bin/busybox", "bin/busybox")
        for a in ("sh", "ls", "cat", "grep", "true"):
            info = tarfile.TarInfo(f"bin/{a}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
        lib = rootfs / "usr/lib/x86_64-linux-gnu"
        for name in LIBC:
            tar.add(os.path.realpath(lib / name), f"usr/lib/x86_64-linux-gnu/{name}")
        tar.add(os.path.realpath(lib / "ld-linux-x86-64.so.2"), "lib64/ld-linux-x86-64.so.2")
        info = tarfile.TarInfo("lib")
        info.type, info.linkname = tarfile.SYMTYPE, "usr/lib"
        tar.addfile(info)
    return out.getvalue()


class GpuDocker(Docker):
    """dockerd under the simulator."""

    def __init__(self, base: Path, libs: Path) -> None:
        super().__init__(base)
        config = json.loads((base / "daemon.json").read_text())
        args = [
            "--nvproxy-driver-root",
            str(libs),
            "--debug",
            "--debug-log",
            str(base / "sentry.log"),
        ]
        config["runtimes"] = {"nvsandbox": {"path": str(NVSANDBOX), "runtimeArgs": args}}
        (base / "daemon.json").write_text(json.dumps(config))
        hook = base / "bin" / "nvidia-container-runtime-hook"
        hook.parent.mkdir(exist_ok=True)
        subprocess.run(
            [NVSANDBOX, "gpu", "install-hook", hook.parent], check=True, capture_output=True
        )
        wrapper = base / "bin" / "dockerd"
        real = shutil.which("dockerd")
        wrapper.write_text(
            f'#!/bin/sh\nexec {sys.executable} -m nvsandbox.cli.main gpu sim --count 2 -- {real} "$@"\n'
        )
        wrapper.chmod(0o755)
        self.env = {**self.env, "PATH": f"{base}/bin:{self.env['PATH']}", "PYTHONPATH": str(REPO)}
        os.environ["PATH"] = f"{base}/bin:{os.environ['PATH']}"


@pytest.fixture(scope="session")
def gpu_docker(
    engines: None,  # noqa: F811
    rootfs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GpuDocker]:
    path = os.environ["PATH"]
    d = GpuDocker(tmp_path_factory.mktemp("gpudocker"), nvidia_libs())
    try:
        d.start()
        tar = d.base / "image.tar"
        tar.write_bytes(image(rootfs))
        d.ok("import", "-c", "ENV PATH=/bin:/usr/bin", tar, "gpu:latest")
        yield d
    finally:
        os.environ["PATH"] = path
        ids = d("ps", "-aq").stdout.split()
        if ids:
            d("rm", "-f", *ids)
        if d.daemon is not None:
            d.stop()


@functools.cache
def rung(command: tuple[str, ...], programs: Path) -> tuple[int, bytes]:
    """Status and output of a command of LADDER without a sandbox."""
    machine = Inside(nvidia_libs(), Path("/"), "")
    first = machine.smi if command[0] == "nvidia-smi" else command[0].replace("/b", str(programs))
    done = machine.native([first, *command[1:]], ["--count", "2"])
    assert done.stdout
    return done.returncode, clean(done.stdout)


def native(args: list[str]) -> bytes:
    libs = nvidia_libs()
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": str(libs / "usr/lib/x86_64-linux-gnu/nvidia/current"),
        "PYTHONPATH": str(REPO),
    }
    cmd = [
        sys.executable,
        "-m",
        "nvsandbox.cli.main",
        "gpu",
        "sim",
        "--count",
        "2",
        "--",
        str(libs / "usr/lib/nvidia/current/nvidia-smi"),
    ]
    return subprocess.run([*cmd, *args], capture_output=True, env=env, timeout=60).stdout


def test_docker_by_variable(gpu_docker: GpuDocker) -> None:
    run = ("run", "--rm", "--runtime=nvsandbox", "--network=none")
    shown = gpu_docker.ok(*run, "-e", "NVIDIA_VISIBLE_DEVICES=all", "gpu", "nvidia-smi")
    assert clean(shown.encode() + b"\n") == clean(native([]))
    one = gpu_docker.ok(*run, "-e", "NVIDIA_VISIBLE_DEVICES=1", "gpu", "nvidia-smi", "-L")
    assert one.split("UUID")[1] == native(["-L"]).decode().splitlines()[1].split("UUID")[1]
    none = gpu_docker.ok(*run, "gpu", "sh", "-c", "ls /dev | grep -c nvidia; true")
    assert none == "0"


def test_docker_gpus_all(gpu_docker: GpuDocker) -> None:
    """The engine adds NVIDIA's hook, which is ours here, and a variable."""
    run = ("run", "--rm", "--runtime=nvsandbox", "--network=none")
    shown = gpu_docker.ok(*run, "--gpus", "all", "gpu", "nvidia-smi", "-L")
    assert shown.encode() + b"\n" == native(["-L"])
    shown = gpu_docker.ok(*run, "--gpus", "device=1", "gpu", "nvidia-smi", "-L")
    assert shown.count("\n") == 0 and "GPU 0" in shown
    look = ("gpu", "sh", "-c", "ls /dev | grep nvidia")
    shown = gpu_docker.ok(*run, "--gpus", '"device=0,1"', *look)
    assert shown.split() == ["nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia1", "nvidiactl"]
    shown = gpu_docker.ok(*run, "--gpus", "all,capabilities=utility", *look)
    assert shown.split() == ["nvidia0", "nvidia1", "nvidiactl"]


@pytest.mark.parametrize("command", LADDER, ids=" ".join)
def test_the_ladder_in_docker(
    gpu_docker: GpuDocker, clients: Path, command: tuple[str, ...]
) -> None:
    run = ("run", "--rm", "--runtime=nvsandbox", "--network=none", "--gpus", "all", "-v", f"{clients}:/b:ro", "gpu")  # fmt: skip
    got = gpu_docker(*run, *command)
    assert (got.returncode, clean(got.stdout.encode())) == rung(command, clients), got.stderr


def test_docker_says_what_is_wrong(gpu_docker: GpuDocker) -> None:
    run = ("run", "--rm", "--runtime=nvsandbox", "--network=none")
    got = gpu_docker(*run, "-e", "NVIDIA_VISIBLE_DEVICES=9", "gpu", "true")
    assert got.returncode != 0 and "there is no GPU 9" in got.stderr


def bundle(tmp_path: Path, rootfs: Path, args: list[str]) -> dict[str, Any]:
    """What an engine makes of a CDI device ``nvidia.com/gpu=1``: nodes, mounts, hooks."""
    libs = nvidia_libs()
    lib = libs / "usr/lib/x86_64-linux-gnu/nvidia/current"
    inside = "/usr/lib/x86_64-linux-gnu"
    mounts = [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
              {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}]  # fmt: skip
    for f in lib.glob("*.so.535*"):
        mounts.append(
            {
                "destination": f"{inside}/{f.name}",
                "type": "bind",
                "source": str(f.resolve()),
                "options": ["bind", "ro"],
            }
        )
    smi = (libs / "usr/lib/nvidia/current/nvidia-smi").resolve()
    mounts.append(
        {
            "destination": "/usr/bin/nvidia-smi",
            "type": "bind",
            "source": str(smi),
            "options": ["bind", "ro"],
        }
    )
    hook = {"path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", "create-symlinks",
            "--link", f"libnvidia-ml.so.535.261.03::{inside}/libnvidia-ml.so.1"]}  # fmt: skip
    return {
        "ociVersion": "1.0.2",
        "process": {
            "cwd": "/",
            "args": args,
            "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/usr/bin:/bin"],
        },
        "root": {"path": str(rootfs), "readonly": False},
        "mounts": mounts,
        "hooks": {"createContainer": [hook]},
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}],
            "devices": [
                {"path": "/dev/nvidia1", "type": "c", "major": 195, "minor": 1},
                {"path": "/dev/nvidiactl", "type": "c", "major": 195, "minor": 255},
            ],
        },
    }


def test_a_bundle_with_cdi_nodes(first: Inside, tmp_path: Path) -> None:
    config = bundle(tmp_path, first.rootfs, ["nvidia-smi", "-L"])
    (tmp_path / "config.json").write_text(json.dumps(config))
    cmd = [sys.executable, "-m", "nvsandbox.cli.main"]
    run = [*cmd, "--root", str(tmp_path / "state"), "run", "--bundle", str(tmp_path), "cdi-test"]
    done = subprocess.run(
        [*cmd, "gpu", "sim", "--count", "2", "--", *run],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    want = native(["-L"]).decode().splitlines()[1].replace("GPU 1:", "GPU 0:")
    assert done.stdout.decode().splitlines() == [want], done.stderr.decode()[-2000:]


def test_annotations_narrow_and_choose(first: Inside, tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "nameless.toml").write_text(
        'deny = ["NV2080_CTRL_CMD_GPU_GET_NAME_STRING"]\n'
    )
    cmd = [sys.executable, "-m", "nvsandbox.cli.main"]
    shown = {}
    for what, value in (
        ("deny", "NV2080_CTRL_CMD_GPU_GET_NAME_*"), ("policy", "nameless"), ("policy", "none"), ("", ""), ("memry", "1g"),
    ):  # fmt: skip
        config = bundle(tmp_path, first.rootfs, ["nvidia-smi", "--query-gpu=name", "--format=csv"])
        config["annotations"] = {f"dev.nvsandbox.gpu.{what}": value} if what else {}
        (tmp_path / "config.json").write_text(json.dumps(config))
        flags = ["--root", str(tmp_path / "state"), "--nvproxy-policy", str(tmp_path / "policies")]
        done = subprocess.run(
            [*cmd, "gpu", "sim", "--count", "2", "--", *cmd, *flags, "run", "--bundle", str(tmp_path), "policy-test"],
            capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(REPO)},
        )  # fmt: skip
        shown[value] = done.stdout + done.stderr
    assert "H100" in shown[""]
    assert "H100" not in shown["nameless"] and "H100" not in shown["NV2080_CTRL_CMD_GPU_GET_NAME_*"]
    assert "annotation dev.nvsandbox.gpu.policy `none`: there are nameless" in shown["none"]
    assert "annotation dev.nvsandbox.gpu.memry: there are memory, " in shown["1g"]


def test_run_gpus(first: Inside, tmp_path: Path) -> None:
    config = bundle(tmp_path, first.rootfs, ["nvidia-smi", "-L"])
    config["linux"]["devices"] = []
    (tmp_path / "config.json").write_text(json.dumps(config))
    cmd = [sys.executable, "-m", "nvsandbox.cli.main"]
    run = [
        *cmd,
        "--root",
        str(tmp_path / "state"),
        "run",
        "--gpus",
        "all",
        "--bundle",
        str(tmp_path),
        "gpus-test",
    ]
    done = subprocess.run(
        [*cmd, "gpu", "sim", "--count", "2", "--", *run],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    assert done.stdout == native(["-L"]), done.stderr.decode()[-2000:]


def test_a_container_can_be_watched(first: Inside, tmp_path: Path) -> None:
    """gpu trace ID and gpu stats ID on a running container."""
    config = bundle(
        tmp_path, first.rootfs, ["sh", "-c", "while true; do nvidia-smi -L >/dev/null; done"]
    )
    (tmp_path / "config.json").write_text(json.dumps(config))
    root = ["--root", str(tmp_path / "state")]
    script = f"""
import json, subprocess, sys, time
cmd = [sys.executable, "-m", "nvsandbox.cli.main", *{root!r}]
a = subprocess.Popen([*cmd, "run", "--bundle", {str(tmp_path)!r}, "watched"])
time.sleep(2)
t = subprocess.Popen([*cmd, "gpu", "trace", "watched"], stdout=subprocess.PIPE)
rows = [json.loads(t.stdout.readline()) for _ in range(40)]
t.kill()
stats = json.loads(subprocess.run([*cmd, "gpu", "stats", "watched"], capture_output=True).stdout)
figures = subprocess.run([*cmd, "metrics", "print"], capture_output=True, text=True).stdout
subprocess.run([*cmd, "kill", "watched", "KILL"])
a.wait()
print(json.dumps([rows, stats, figures]))
"""
    done = subprocess.run(
        [sys.executable, "-m", "nvsandbox.cli.main", "gpu", "sim", "--count", "2", "--", sys.executable, "-c", script],
        capture_output=True, timeout=90, env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip
    rows, stats, figures = json.loads(done.stdout)
    assert {"NV_ESC_CHECK_VERSION_STR", "NV0000_CTRL_CMD_GPU_GET_ID_INFO"} <= {
        r["name"] for r in rows if r["ev"] == "call"
    }
    assert stats["calls"]["NV_ESC_CHECK_VERSION_STR"]["calls"] > 1
    assert stats["calls"]["NV0000_CTRL_CMD_GPU_GET_ID_INFO"]["ns"] > 0
    assert (
        'nvsandbox_gpu_calls_total{container="watched",name="NV_ESC_CHECK_VERSION_STR"}' in figures
    )
    row = stats["calls"]["NV0000_CTRL_CMD_GPU_GET_ID_INFO"]
    assert sum(row["buckets"]) == row["calls"] and len(row["buckets"]) == 12
    times = [
        (line.split('le="')[1].split('"')[0], float(line.split()[-1]))
        for line in figures.splitlines()
        if line.startswith("nvsandbox_gpu_call_seconds_bucket") and 'GPU_GET_ID_INFO"' in line
    ]
    assert times[-1][0] == "+Inf" and times[0][0] == "4.096e-06" and len(times) == 12
    assert [n for _, n in times] == sorted(n for _, n in times) and times[-1][1] >= row["calls"]
    assert 'nvsandbox_gpu_memory_bytes{container="watched",gpu="1"} 0.0' in figures


class GpuPodman(Podman):
    """podman under the simulator, with the driver's libraries from the test root."""

    def __call__(self, *args: str | Path, runtime: str = "nvgpu", **kw: object):  # type: ignore[no-untyped-def]
        cli = [sys.executable, "-m", "nvsandbox.cli.main", "gpu", "sim", "--count", "2", "--"]
        return sh([*cli, "podman", *self.flags, "--runtime", runtime, *args], env=self.env, **kw)


@pytest.fixture(scope="module")
def gpu_podman(
    engines: None,  # noqa: F811
    rootfs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GpuPodman]:
    """podman, and the specification that `nvsandbox gpu cdi` makes where it looks for one."""
    tmp_path = tmp_path_factory.mktemp("pm")
    p = GpuPodman(tmp_path)
    install(
        tmp_path,
        "podman",
        tmp_path / "containers.conf",
        "nvgpu",
        "--nvproxy-driver-root",
        str(nvidia_libs()),
    )
    p.env["PYTHONPATH"] = str(REPO)
    tar = tmp_path / "image.tar"
    tar.write_bytes(image(rootfs))
    p.ok("import", "-c", "ENV=PATH=/bin:/usr/bin", tar, "gpu:latest", timeout=120)
    spec = Path("/var/run/cdi/nvsandbox-test.json")
    there = spec.parent.exists()
    try:
        cli = [sys.executable, "-m", "nvsandbox.cli.main"]
        subprocess.run(
            [*cli, "gpu", "sim", "--count", "2", "--", *cli, "gpu", "cdi", "-o", str(spec)],
            check=True,
            env=p.env,
        )
        yield p
    finally:
        spec.unlink(missing_ok=True)
        if not there and spec.parent.exists():
            spec.parent.rmdir()


def test_podman_with_cdi(gpu_podman: GpuPodman) -> None:
    p = gpu_podman
    run = ("run", "--rm", "--network=none")
    every = p.ok(*run, "--device", "nvidia.com/gpu=all", "gpu", "nvidia-smi", "-L")
    assert every.encode() + b"\n" == native(["-L"])
    one = p.ok(*run, "--device", "nvidia.com/gpu=1", "gpu", "nvidia-smi", "-L")
    assert one == native(["-L"]).decode().splitlines()[1].replace("GPU 1:", "GPU 0:")
    assert p.ok(*run, "gpu", "sh", "-c", "ls /dev | grep -c nvidia; true") == "0"


@pytest.mark.parametrize("command", LADDER, ids=" ".join)
def test_the_ladder_in_podman(
    gpu_podman: GpuPodman, clients: Path, command: tuple[str, ...]
) -> None:
    run = ("run", "--rm", "--network=none", "--device", "nvidia.com/gpu=all", "-v", f"{clients}:/b:ro", "gpu")  # fmt: skip
    got = gpu_podman(*run, *command)
    assert (got.returncode, clean(got.stdout.encode())) == rung(command, clients), got.stderr


@pytest.fixture(scope="module")
def gpu_containerd(
    engines: None,  # noqa: F811
    rootfs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cri]:
    """containerd under the simulator; the specification is in a directory that only our runtime looks into."""
    base = tmp_path_factory.mktemp("gpucri")
    cli = [sys.executable, "-m", "nvsandbox.cli.main"]
    sim = (*cli, "gpu", "sim", "--count", "2", "--")
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    spec = base / "cdi" / "nvidia.json"
    subprocess.run([*sim, *cli, "gpu", "cdi", "-o", spec], check=True, env=env)
    flags = ("--nvproxy-driver-root", str(nvidia_libs()), "--cdi-spec-dirs", str(spec.parent))
    c = Cri(base, (*sim, "containerd"), flags)
    try:
        tar = base / "image.tar"
        tar.write_bytes(oci_image(image(rootfs), ["busybox", "sleep", "1000000"]))
        done = c.ctr("image", "import", tar)
        assert done.returncode == 0, done.stderr
        yield c
    finally:
        c.channel.close()
        c.daemon.terminate()
        c.daemon.wait(30)
        sh(["ip", "link", "del", "nvcri0"])


def test_containerd_with_cdi(gpu_containerd: Cri) -> None:
    """ctr of this containerd has no CDI of its own: it hands the annotation on."""

    def run(name: str, device: str, *command: str) -> subprocess.CompletedProcess[str]:
        return gpu_containerd.ctr(
            "run", "--rm", "--runtime", "io.containerd.runc.v2", "--runc-binary", gpu_containerd.runtime,
            "--env", "PATH=/bin:/usr/bin", *(("--annotation", f"cdi.k8s.io/test={device}") if device else ()),
            IMAGE, name, *command,
        )  # fmt: skip

    got = run("cdi-all", "nvidia.com/gpu=all", "nvidia-smi", "-L")
    assert got.stdout.encode() == native(["-L"]), got.stderr
    got = run("cdi-whole", "nvidia.com/gpu=all", "nvidia-smi")
    assert clean(got.stdout.encode()) == clean(native([])), got.stderr
    got = run("cdi-one", "nvidia.com/gpu=1", "nvidia-smi", "-L")
    want = native(["-L"]).decode().splitlines()[1].replace("GPU 1:", "GPU 0:")
    assert got.stdout.splitlines() == [want], got.stderr
    assert run("cdi-none", "", "sh", "-c", "ls /dev | grep -c nvidia; true").stdout == "0\n"
    got = run("cdi-bad", "nvidia.com/gpu=7", "true")
    assert got.returncode != 0 and "CDI device `nvidia.com/gpu=7`: not in" in got.stderr


@pytest.mark.parametrize("command", LADDER, ids=" ".join)
def test_the_ladder_in_containerd(
    gpu_containerd: Cri, clients: Path, command: tuple[str, ...]
) -> None:
    got = gpu_containerd.ctr(
        "run", "--rm", "--runtime", "io.containerd.runc.v2", "--runc-binary", gpu_containerd.runtime,
        "--env", "PATH=/bin:/usr/bin", "--annotation", "cdi.k8s.io/test=nvidia.com/gpu=all",
        "--mount", f"type=bind,src={clients},dst=/b,options=rbind:ro", IMAGE, "ladder", *command,
    )  # fmt: skip
    assert (got.returncode, clean(got.stdout.encode())) == rung(command, clients), got.stderr


def test_a_pod_with_cdi(gpu_containerd: Cri) -> None:
    """Two containers of a pod, a card each by annotation, as a device plugin asks for them."""
    c = gpu_containerd
    logs = c.base / "logs"
    logs.mkdir()
    config = pod_config("gpus", str(logs))
    pod = str(c.call("RunPodSandbox", (1, config), (2, "nvsandbox"))[1], "ascii")
    try:
        shown = {}
        for name, device in (("a", "0"), ("b", "1"), ("none", "")):
            more = {"cdi.k8s.io/nvidia-plugin_x": f"nvidia.com/gpu={device}"} if device else {}
            script = "ls /dev | grep nvidia[0-9]; nvidia-smi -L"
            ident = container(
                c, pod, config, name, "/bin/sh", "-c", f"PATH=/bin:/usr/bin; {script}", annotations=more, log=f"{name}.log"
            )  # fmt: skip
            deadline = time.monotonic() + 20
            while container_status(c, ident).get(3, 0) != EXITED:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            lines = (logs / f"{name}.log").read_text().splitlines()
            shown[name] = [line.split(" ", 3)[3] for line in lines]
        cards = native(["-L"]).decode().splitlines()
        assert shown["a"] == ["nvidia0", cards[0]]
        assert shown["b"] == ["nvidia1", cards[1].replace("GPU 1:", "GPU 0:")]
        assert len(shown["none"]) == 1 and "not found" in shown["none"][0]
    finally:
        c.call("StopPodSandbox", (1, pod))
        c.call("RemovePodSandbox", (1, pod))
