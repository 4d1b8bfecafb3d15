"""install, doctor, metrics."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

NVSANDBOX = Path(sys.executable).parent / "nvsandbox"


def nv(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NVSANDBOX, *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def install(conf: Path, engine: str, *more: str) -> subprocess.CompletedProcess[str]:
    return nv(
        "install", "--engine", engine, "--config", conf, "--bin-dir", conf.parent / "bin", *more
    )


def test_docker(tmp_path: Path) -> None:
    conf = tmp_path / "daemon.json"
    conf.write_text('{"log-level": "warn", "runtimes": {"other": {"path": "/x"}}}')
    conf.chmod(0o600)
    dry = install(conf, "docker", "--dry-run")
    assert (
        dry.returncode == 0
        and '+        "nvsandbox"' in dry.stdout
        and "nvsandbox" not in conf.read_text()
    )
    assert install(conf, "docker").returncode == 0
    got = json.loads(conf.read_text())
    program = tmp_path / "bin" / "nvsandbox-runtime"
    assert (
        got["runtimes"]["nvsandbox"] == {"path": str(program)}
        and got["log-level"] == "warn"
        and "other" in got["runtimes"]
    )
    assert conf.stat().st_mode & 0o777 == 0o600
    assert subprocess.run([program, "--version"], capture_output=True, text=True).stdout.startswith(
        "nvsandbox version"
    )
    assert "unchanged" in install(conf, "docker").stdout
    assert install(conf, "docker", "--uninstall").returncode == 0
    assert "nvsandbox" not in conf.read_text() and not program.exists()


def test_flags_go_into_the_launcher(tmp_path: Path) -> None:
    conf = tmp_path / "daemon.json"
    assert (
        install(
            conf, "docker", "--runtime-name", "nvhost", "--", "--network=host", "--overlay2=none"
        ).returncode
        == 0
    )
    assert (
        "'--network=host', '--overlay2=none'" in (tmp_path / "bin" / "nvhost-runtime").read_text()
    )
    bad = install(conf, "docker", "--", "--nonsense")
    assert bad.returncode == 1 and "no such option" in bad.stderr
    bad = install(conf, "docker", "--runtime-name", "../x")
    assert bad.returncode == 1 and bad.stderr.count("\n") == 1


TOML = {
    "podman": '# mine\n[engine]\n# keep\ncgroup_manager = "cgroupfs"\n[engine.runtimes]\nrunc = ["/usr/bin/runc"]\n',
    "containerd": 'version = 2 # two\n# keep\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "pause"\n',
    "containerd 2": "version = 3\n# keep\n[plugins.'io.containerd.cri.v1.runtime']\nmax = 1\n",
    "crio": "",
}


@pytest.mark.parametrize("kind", TOML)
def test_toml(tmp_path: Path, kind: str) -> None:
    engine = kind.split()[0]
    conf = tmp_path / "conf"
    if TOML[kind]:
        conf.write_text(TOML[kind])
    for _ in range(2):
        assert install(conf, engine).returncode == 0
        text = conf.read_text()
        tree = tomllib.loads(text)
        if kind == "containerd 2":
            runtimes = tree["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"]
            assert runtimes["nvsandbox"]["options"]["BinaryName"].endswith("nvsandbox-runtime")
        assert str(tmp_path / "bin" / "nvsandbox-runtime") in text and text.count("keep") == TOML[
            kind
        ].count("keep")
    assert install(conf, engine, "--uninstall").returncode == 0
    assert (conf.read_text() if conf.exists() else "").strip() == TOML[kind].strip()


def test_a_configuration_that_is_broken(tmp_path: Path) -> None:
    conf = tmp_path / "daemon.json"
    conf.write_text("{")
    got = install(conf, "docker")
    assert (
        got.returncode == 1
        and str(conf) in got.stderr
        and got.stderr.count("\n") == 1
        and conf.read_text() == "{"
    )


@pytest.mark.parametrize(
    ("engine", "text", "told"),
    [
        ("containerd", 'disabled_plugins = ["cri"]\n', "version 1, where 2 or 3 is expected"),
        ("containerd", "version = 1\n", "containerd config migrate"),
        ("containerd", 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n', "CRI plugin is disabled"),
        ("containerd", "version = [\n", "not TOML"),
        ("podman", '[engine]\nruntimes = {runc = ["/x"]}\n', "add `nvsandbox` by hand"),
        ("podman", "[engine\n", "not TOML"),
    ],
)  # fmt: skip
def test_configurations_that_are_left_alone(
    tmp_path: Path, engine: str, text: str, told: str
) -> None:
    conf = tmp_path / "conf"
    conf.write_text(text)
    got = install(conf, engine)
    assert got.returncode == 1 and got.stderr.count("\n") == 1 and told in got.stderr, got.stderr
    assert conf.read_text() == text and not (tmp_path / "bin").exists()


def test_doctor() -> None:
    got = nv("doctor")
    assert got.returncode == 0, got.stdout
    assert "platform systrap works" in got.stdout and "control groups" in got.stdout


def test_metrics(tmp_path: Path) -> None:
    got = nv("--root", tmp_path, "metrics", "print")
    assert got.returncode == 0 and "# TYPE nvsandbox_memory_bytes gauge" in got.stdout
    assert "ADDRESS:PORT" in nv("metrics", "serve", "--listen", "x").stderr
