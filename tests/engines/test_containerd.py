"""containerd through ctr: run, task exec, pause, metrics; checkpoints are refused with words."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import NVSANDBOX, PATH, busybox_tar, sh

RUNC = "/usr/sbin/runc" if os.path.exists("/usr/sbin/runc") else "/usr/bin/runc"
BINARIES = {"nvsandbox": str(NVSANDBOX), "runc": RUNC}


class Containerd:
    """A private containerd."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.env = {**os.environ, "PATH": PATH}
        self.socket = base / "c.sock"
        (base / "config.toml").write_text(
            f'version = 2\nroot = "{base}/root"\nstate = "{base}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.socket}"\n'
        )
        with open(base / "log", "ab") as log:
            self.daemon = subprocess.Popen(
                ["containerd", "-c", base / "config.toml"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=self.env, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while self("version").returncode:
            assert time.monotonic() < deadline, (base / "log").read_text()[-2000:]
            time.sleep(0.1)

    def __call__(self, *args: str | Path, **kw: object):  # type: ignore[no-untyped-def]
        return sh(["ctr", "-a", self.socket, *args], env=self.env, **kw)

    def run(self, runtime: str, ident: str, *command: str, flags: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
        return self(
            "run", "--runtime", "io.containerd.runc.v2", "--runc-binary", BINARIES[runtime], *flags,
            "docker.io/library/busybox:latest", ident, *command,
        )  # fmt: skip


@pytest.fixture(scope="module")
def containerd(engines: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    c = Containerd(tmp_path_factory.mktemp("containerd"))
    try:
        tar = c.base / "image.tar"
        tar.write_bytes(oci_image(busybox_tar()))
        done = c("image", "import", tar)
        assert done.returncode == 0, done.stderr
        yield c
    finally:
        c.daemon.terminate()
        c.daemon.wait(30)


def oci_image(layer: bytes, command: list[str] | None = None) -> bytes:
    """A docker-archive of one layer."""
    import hashlib
    import io
    import json
    import tarfile

    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64", "os": "linux", "config": {"Cmd": command or ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()  # fmt: skip
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = [
        {"Config": name, "RepoTags": ["docker.io/library/busybox:latest"], "Layers": ["layer.tar"]}
    ]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, data in (
            ("layer.tar", layer),
            (name, config),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("runtime", BINARIES)
def test_run(containerd: Containerd, runtime: str) -> None:
    got = containerd.run(
        runtime, f"r-{runtime}", "sh", "-c", "echo hi; id -u; exit 3", flags=("--rm",)
    )
    assert (got.returncode, got.stdout) == (3, "hi\n0\n"), got.stderr
    got = containerd.run(runtime, f"m-{runtime}", "nosuch", flags=("--rm",))
    assert got.returncode == 1 and "executable file not found" in got.stderr
    got = containerd.run(
        runtime, f"h-{runtime}", "sh", "-c", "echo net", flags=("--rm", "--net-host")
    )
    assert got.stdout == "net\n", got.stderr


@pytest.mark.parametrize("runtime", BINARIES)
def test_task(containerd: Containerd, runtime: str) -> None:
    ident = f"t-{runtime}"
    assert containerd.run(runtime, ident, "sleep", "100", flags=("-d",)).returncode == 0
    try:
        got = containerd("task", "exec", "--exec-id", "e1", ident, "sh", "-c", "echo in; exit 4")
        assert (got.returncode, got.stdout) == (4, "in\n"), got.stderr
        assert containerd("task", "pause", ident).returncode == 0
        assert "PAUSED" in containerd("task", "ls").stdout
        assert containerd("task", "resume", ident).returncode == 0
        assert len(containerd("task", "ps", ident).stdout.splitlines()) == 2
        assert "memory" in containerd("task", "metrics", ident).stdout.lower()
        if runtime == "nvsandbox":
            got = containerd("task", "checkpoint", ident)
            assert got.returncode and "not yet supported" in got.stderr, got.stderr
        assert containerd("task", "kill", "-s", "SIGKILL", ident).returncode == 0
        deadline = time.monotonic() + 10
        while "STOPPED" not in containerd("task", "ls").stdout:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        containerd("task", "rm", "-f", ident)
        containerd("container", "rm", ident)
