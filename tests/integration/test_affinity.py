"""A sandbox has the CPUs that its launcher may use, as a process started there would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from inside import REPO, cli

CPUS = sorted(os.sched_getaffinity(0))
PROGRAM = Path(sys.executable).parent / "nvsandbox"
SCRIPT = "nproc; python3 -c 'import os; print(len(os.sched_getaffinity(0)))'; grep -c ^processor /proc/cpuinfo"

pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")


def on(cpus: list[int], argv: list[str]) -> list[int]:
    """What SCRIPT prints, the launcher being bound to ``cpus``."""
    r = subprocess.run(
        ["taskset", "-c", ",".join(map(str, cpus)), *argv],
        capture_output=True, text=True, timeout=60, cwd=REPO, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (r.returncode, r.stderr) == (0, "")
    return [int(n) for n in r.stdout.split()]


def test_do(rootfs: Path, platform: str) -> None:
    argv = [*cli(platform, rootfs), "bash", "-c", SCRIPT]
    for cpus in ([CPUS[0]], [CPUS[1]], CPUS):
        assert on(cpus, argv) == [len(cpus)] * 3


def test_run(rootfs: Path, platform: str, tmp_path: Path) -> None:
    subprocess.run([PROGRAM, "spec", "--bundle", tmp_path], check=True)
    spec = json.loads((tmp_path / "config.json").read_text())
    spec["process"].update(terminal=False, args=["bash", "-c", SCRIPT])
    spec["root"]["path"] = str(rootfs)
    (tmp_path / "config.json").write_text(json.dumps(spec))
    for n, cpus in enumerate(([CPUS[1]], CPUS)):
        flags = [f"--platform={platform}", "--root", str(tmp_path / "state")]
        run = ["run", "--bundle", str(tmp_path), f"affinity-{os.getpid()}-{n}"]
        assert on(cpus, [str(PROGRAM), *flags, *run]) == [len(cpus)] * 3


@pytest.fixture
def keeper(rootfs: Path, tmp_path: Path, platform: str) -> Iterator[list[str]]:
    """A keeper that may use all CPUs; the flags it was started with."""
    flags = [f"--platform={platform}", "--root", str(tmp_path / "state")]
    subprocess.run([PROGRAM, *flags, "warm", "-n", "2", "--rootfs", rootfs], check=True, timeout=60)
    yield flags
    subprocess.run([PROGRAM, *flags, "warm", "--stop"], check=True)


@pytest.mark.parametrize("front", [[str(PROGRAM)], [sys.executable, "-m", "nvsandbox.cli.main"]])
def test_do_where_sandboxes_are_kept(keeper: list[str], rootfs: Path, front: list[str]) -> None:
    argv = [*front, *keeper, "do", "--rootfs", str(rootfs), "--", "bash", "-c", SCRIPT]
    for cpus in ([CPUS[0]], [CPUS[1]], CPUS):
        assert on(cpus, argv) == [len(cpus)] * 3
