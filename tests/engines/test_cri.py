"""Kubernetes' interface: containerd's CRI plugin, asked over gRPC as kubelet asks it, runs a pod of two containers.

The few messages needed are encoded by hand (runtime.v1, k8s.io/cri-api): a field is its number and its value.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import PATH, REPO, busybox_tar, install, sh
from .test_containerd import oci_image

grpc = pytest.importorskip("grpc")

IMAGE = "docker.io/library/busybox:latest"
CREATED, RUNNING, EXITED = 0, 1, 2
NODE = 2  # NamespaceMode
Field = tuple[int, Any]


def varint(n: int) -> bytes:
    out = b""
    n &= (1 << 64) - 1
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def message(*fields: Field) -> bytes:
    """Protobuf's wire format: numbers as varints, all else length-delimited."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def fields(raw: bytes) -> dict[int, Any]:
    """The last value of each field, numbers and bytes."""
    out: dict[int, Any] = {}
    at = 0

    def number() -> int:
        nonlocal at
        n = shift = 0
        while True:
            b = raw[at]
            at += 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n

    while at < len(raw):
        key = number()
        if key & 7 == 0:
            out[key >> 3] = number()
        elif key & 7 == 2:
            size = number()
            out[key >> 3] = raw[at : at + size]
            at += size
        else:
            at += 8 if key & 7 == 1 else 4
    return out


class Cri:
    """containerd with its CRI plugin, two runtime handlers. ``program`` starts it, ``flags`` are our runtime's."""

    def __init__(
        self, base: Path, program: tuple[str | Path, ...] = ("containerd",), flags: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.base = base
        self.env = {**os.environ, "PATH": PATH, "PYTHONPATH": str(REPO)}
        (base / "cni").mkdir()
        conf = {
            "cniVersion": "0.4.0", "name": "nvcri",
            "plugins": [
                {
                    "type": "bridge", "bridge": "nvcri0", "isGateway": True,
                    "ipam": {"type": "host-local", "subnet": "10.99.0.0/24", "dataDir": str(base / "ipam")},
                },
                {"type": "loopback"},
            ],
        }  # fmt: skip
        (base / "cni" / "10-nvcri.conflist").write_text(json.dumps(conf))
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        (base / "config.toml").write_text(
            f"""version = 2
root = "{base}/root"
state = "{base}/state"
[grpc]
address = "{base}/c.sock"
[{cri}]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
disable_hugetlb_controller = true
disable_apparmor = true
[{cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{base}/cni"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
        )
        self.runtime = install(base, "containerd", base / "config.toml", "nvsandbox", *flags)
        with open(base / "log", "ab") as log:
            self.daemon = subprocess.Popen(
                [*program, "-c", base / "config.toml"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=self.env, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while self.ctr("version").returncode:
            assert time.monotonic() < deadline, (base / "log").read_text()[-2000:]
            time.sleep(0.1)
        self.channel = grpc.insecure_channel(f"unix:{base}/c.sock")

    def ctr(self, *args: str | Path) -> subprocess.CompletedProcess[str]:
        return sh(["ctr", "-a", self.base / "c.sock", "-n", "k8s.io", *args], env=self.env)

    def call(self, method: str, *request: Field, timeout: float = 60) -> dict[int, Any]:
        """One call of the runtime service."""
        fn = self.channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}",
            request_serializer=bytes,
            response_deserializer=bytes,
        )
        return fields(fn(message(*request), timeout=timeout, wait_for_ready=True))


@pytest.fixture(scope="module")
def cri(engines: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cri]:
    c = Cri(tmp_path_factory.mktemp("cri"))
    try:
        tar = c.base / "image.tar"
        tar.write_bytes(oci_image(busybox_tar(), ["sleep", "1000000"]))
        assert c.ctr("image", "import", tar).returncode == 0
        yield c
    finally:
        c.channel.close()
        c.daemon.terminate()
        c.daemon.wait(30)
        sh(["ip", "link", "del", "nvcri0"])


def pod_config(name: str, logs: str = "") -> bytes:
    return message(
        (1, message((1, name), (2, f"uid-{name}"), (3, "default"))), (2, name), (3, logs or f"/tmp/{name}-logs"),
        (8, message((1, "/nvtest"))),
    )  # fmt: skip


def container(
    c: Cri, pod: str, config: bytes, name: str, *command: str, memory: int = 0, annotations: dict[str, str] | None = None,
    log: str = "",
) -> str:  # fmt: skip
    linux = message((1, message((4, memory)))) if memory else b""
    conf = message(
        (1, message((1, name))), (2, message((1, IMAGE))), *((3, w) for w in command), (6, message((1, "WHO"), (2, name))),
        *((10, message((1, k), (2, v))) for k, v in (annotations or {}).items()), *(((11, log),) if log else ()), (15, linux),
    )  # fmt: skip
    ident = str(c.call("CreateContainer", (1, pod), (2, conf), (3, config))[1], "ascii")
    c.call("StartContainer", (1, ident))
    return ident


def status(c: Cri, ident: str) -> dict[int, Any]:
    return fields(c.call("ContainerStatus", (1, ident))[1])


def execute(c: Cri, ident: str, *command: str) -> tuple[str, int]:
    got = c.call("ExecSync", (1, ident), *((2, w) for w in command), (3, 20))
    return got.get(1, b"").decode(), got.get(3, 0)


@pytest.mark.parametrize("runtime", ["nvsandbox", "runc"])
def test_a_pod_of_two(cri: Cri, runtime: str) -> None:
    config = pod_config(f"pod-{runtime}")
    pod = str(cri.call("RunPodSandbox", (1, config), (2, runtime))[1], "ascii")
    try:
        a = container(
            cri, pod, config, "a", "sh", "-c", "echo mine >/tmp/f; sleep 1000", memory=128 << 20
        )
        b = container(
            cri, pod, config, "b", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"
        )
        assert status(cri, a).get(3, 0) == RUNNING and status(cri, b).get(3, 0) == RUNNING
        assert execute(cri, a, "sh", "-c", "echo $WHO; cat /tmp/f; hostname") == (
            f"a\nmine\npod-{runtime}\n",
            0,
        )
        assert execute(cri, b, "sh", "-c", "cat /tmp/f 2>/dev/null; exit 4") == ("", 4)
        with pytest.raises(grpc.RpcError, match="timeout 1s exceeded"):
            cri.call("ExecSync", (1, a), *((2, w) for w in ("sleep", "54321")), (3, 1))
        ps = execute(cri, a, "ps", "-o", "args")[0]
        assert "sleep 1000" in ps and "54321" not in ps
        stats = fields(cri.call("ContainerStats", (1, a))[1])
        assert 2 in stats and 3 in stats
        cri.call("UpdateContainerResources", (1, a), (2, message((4, 200 << 20))))
        cri.call("StopContainer", (1, b), (2, 5))
        after = status(cri, b)
        assert after.get(3) == EXITED and after.get(7, 0) == 7
        assert status(cri, a).get(3, 0) == RUNNING
        cri.call("RemoveContainer", (1, b))
        again = container(cri, pod, config, "c", "sh", "-c", "exit 9")
        deadline = time.monotonic() + 10
        while status(cri, again).get(3, 0) != EXITED:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert status(cri, again).get(7) == 9
        with pytest.raises(grpc.RpcError, match="executable file not found"):
            container(cri, pod, config, "d", "nosuchprogram")
    finally:
        cri.call("StopPodSandbox", (1, pod))
        cri.call("RemovePodSandbox", (1, pod))


@pytest.mark.parametrize("runtime", ["nvsandbox", "runc"])
def test_figures_and_memory_are_a_containers_own(cri: Cri, runtime: str) -> None:
    """CPU time is counted for who used it; who runs out of memory is OOMKilled, the pod goes on."""
    config = pod_config(f"own-{runtime}")
    pod = str(cri.call("RunPodSandbox", (1, config), (2, runtime))[1], "ascii")
    try:
        idle = container(cri, pod, config, "idle", "sleep", "1000")
        busy = container(cri, pod, config, "busy", "sh", "-c", "while :; do :; done")
        hungry = container(
            cri,
            pod,
            config,
            "hungry",
            "sh",
            "-c",
            "sleep 1; cat /dev/zero | tail -n 1",
            memory=64 << 20,
        )

        def cpu(ident: str) -> int:
            stats = fields(cri.call("ContainerStats", (1, ident))[1])
            return int(fields(fields(stats[2])[2])[1])

        deadline = time.monotonic() + 30
        while status(cri, hungry).get(3, 0) != EXITED or cpu(busy) < 10**9:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        ended = status(cri, hungry)
        assert (ended.get(7), ended.get(10)) == (137, b"OOMKilled")
        assert cpu(idle) < cpu(busy) / 2
        assert execute(cri, idle, "echo", "on") == ("on\n", 0)
    finally:
        cri.call("StopPodSandbox", (1, pod))
        cri.call("RemovePodSandbox", (1, pod))


def test_its_containers_share_a_sentry(cri: Cri) -> None:
    config = pod_config("shared")
    pod = str(cri.call("RunPodSandbox", (1, config), (2, "nvsandbox"))[1], "ascii")
    try:
        for name in "ab":
            container(cri, pod, config, name, "sleep", "1000")
        sentries = 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if (
                    Path(f"/proc/{pid}/comm").read_text() == "nv-sentry\n"
                    and "/nvtest/" in Path(f"/proc/{pid}/cgroup").read_text()
                ):
                    sentries += 1
            except OSError:
                continue
        assert sentries == 1
    finally:
        cri.call("StopPodSandbox", (1, pod))
        cri.call("RemovePodSandbox", (1, pod))
