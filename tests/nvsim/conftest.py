"""Fixtures: NVIDIA's own user-space and a way to run it under the simulator."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Sim:
    """Runs programs under ``nvsandbox gpu sim``."""

    libs: Path

    @property
    def smi(self) -> str:
        return str(self.libs / "usr/lib/nvidia/current/nvidia-smi")

    def readable_by_all(self) -> Sim:
        """The same with NVML where any user can read it; the cache may be in a private home."""
        copy = Path(tempfile.mkdtemp(prefix="nvlibs"))
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        for pattern in ("usr/lib/nvidia/current/*", "usr/lib/*/nvidia/current/libnvidia-ml*"):
            for path in self.libs.glob(pattern):
                target = copy / path.relative_to(self.libs)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target, follow_symlinks=True)
        copy.chmod(0o755)
        return Sim(copy)

    def env(self) -> dict[str, str]:
        path = self.libs / "usr/lib/x86_64-linux-gnu/nvidia/current"
        return os.environ | {"LD_LIBRARY_PATH": str(path), "PYTHONPATH": str(ROOT)}

    def gpu(
        self, *args: str, timeout: float = 60, check: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """``nvsandbox gpu ARGS``."""
        done = subprocess.run(
            [sys.executable, "-m", "nvsandbox.cli.gpu", *args],
            capture_output=True, text=True, env=self.env(), timeout=timeout, check=False,
        )  # fmt: skip
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    def run(
        self, *cmd: str, opts: Sequence[str] = (), check: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """``cmd`` under a simulator."""
        return self.gpu("sim", *opts, "--", *cmd, check=check)

    def python(
        self, code: str, opts: Sequence[str] = (), check: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """A Python program under a simulator."""
        return self.run(sys.executable, "-c", code, opts=opts, check=check)


@pytest.fixture(scope="session")
def sim() -> Sim:
    """The libraries are fetched by the set-up script when they aren't there yet."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/nvidia_libs.py")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Sim(Path(done.stdout.strip()))


@pytest.fixture(scope="session")
def cc(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The C client of libcuda and of bare system calls, compiled."""
    out = tmp_path_factory.mktemp("bin")
    for name in ("cuda_client", "calls_client", "memory_client"):
        source = Path(__file__).with_name(f"{name}.c")
        subprocess.run(["gcc", "-O1", "-o", str(out / name), str(source), "-ldl", "-lpthread"],
                       check=True)  # fmt: skip
    return str(out)
