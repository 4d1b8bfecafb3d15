"""Where the tests run: a real GPU when there is one, else nvsim for what it can do; what is skipped is said, and with
``--write-results`` all of it goes to ``docs/gpu-results.md``."""

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
RESULTS = REPO / "docs" / "gpu-results.md"
WHY = "no NVIDIA driver is loaded here: nvsim computes no kernels"


TIMES: dict[str, tuple[float, float]] = {}
"""Test -> seconds natively and inside."""


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
        name = os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0].rpartition("::")[2]
        TIMES[name] = (took, longer)
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-results", action="store_true", help=f"add a section to {RESULTS}")


def machine_line() -> str:
    """Cards and driver."""
    if not REAL:
        return "nvsim"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    rows = done.stdout.strip().splitlines()
    name, _, driver = rows[0].partition(", ") if rows else ("no card", "", "?")
    return f"{len(rows)} × {name}, driver {driver}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    lines = ["| test | outcome | native | inside |", "| --- | --- | --- | --- |"]
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            name = report.nodeid.rpartition("::")[2]
            why = f": {report.longrepr[2].removeprefix('Skipped: ')}" if outcome == "skipped" else ""  # fmt: skip
            times = TIMES.get(name)
            cells = [f"{t:.2f} s" for t in times] if times else ["", ""]
            lines.append(f"| {name} | {outcome}{why} | {cells[0]} | {cells[1]} |")
    if not REAL:
        terminalreporter.write_line(f"gpu-tests: {WHY}; on nvsim ran what needs none.")
    if config.getoption("--write-results"):
        head, sep, rest = RESULTS.read_text().partition("\n## ")
        section = "\n".join([f"{time.strftime('%Y-%m-%d')}: {machine_line()}", "", *lines, ""])
        RESULTS.write_text(f"{head.rstrip()}\n\n## {section}{sep}{rest}")
        terminalreporter.write_line(f"written: {RESULTS}")
