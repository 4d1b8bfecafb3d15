"""Where the tests run: a real GPU when there is one, else nvsim for what it can do; what is skipped is said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
CLI = [sys.executable, "-m", "nvsandbox.cli.main"]
REAL = Path("/proc/driver/nvidia/version").exists()
WHY = "no NVIDIA driver is loaded here: nvsim computes no kernels"


@dataclass(frozen=True)
class Machine:
    """Runs the same program natively and inside."""

    build: Path
    libs: str
    """The driver's user-space when it isn't the machine's own."""

    def run(
        self, argv: Sequence[str], inside: bool
    ) -> tuple[subprocess.CompletedProcess[str], float]:
        env = {**os.environ, "PYTHONPATH": str(REPO)}
        cmd = list(argv)
        if inside:
            root = ["--nvproxy-driver-root", self.libs] if self.libs else []
            # the host's own root: programs and libraries are where they are natively
            cmd = [
                *CLI,
                *root,
                "do",
                "--gpus",
                "all",
                "-v",
                f"{self.build}:{self.build}:ro",
                "--",
                *cmd,
            ]
        elif self.libs:
            env["LD_LIBRARY_PATH"] = f"{self.libs}/usr/lib/x86_64-linux-gnu/nvidia/current"
        if not REAL:
            cmd = [*CLI, "gpu", "sim", "--", *cmd]
        start = time.monotonic()
        done = subprocess.run(
            cmd, capture_output=True, text=True, env=env, timeout=600, check=False
        )
        return done, time.monotonic() - start

    def same(self, *argv: str) -> None:
        """Equal output and status; timings go to the terminal."""
        native, took = self.run(argv, False)
        inside, longer = self.run(argv, True)
        print(f"\n{' '.join(argv)}: native {took:.2f} s, inside {longer:.2f} s")
        assert native.returncode == 0, native.stdout + native.stderr
        assert (inside.returncode, inside.stdout) == (0, native.stdout), inside.stderr[-2000:]


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    if os.geteuid() != 0:
        pytest.skip("the sandbox needs root")
    build = tmp_path_factory.mktemp("gpu")
    subprocess.run(
        ["gcc", "-O1", "-o", build / "programs", HERE / "programs.c", "-ldl"], check=True
    )
    libs = ""
    if not REAL:
        done = subprocess.run(
            [sys.executable, REPO / "tools/nvidia_libs.py"],
            capture_output=True,
            text=True,
            check=True,
        )
        libs = done.stdout.strip().splitlines()[-1]
    return Machine(build, libs)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not REAL:
        terminalreporter.write_line(f"gpu-tests: {WHY}; on nvsim ran what needs none.")
