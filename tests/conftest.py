"""What every test of the sandbox shares: the root file system, the platforms, and a way to run a command inside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from inside import PLATFORMS, REPO, Ran, SandboxRun, cli

from nvsandbox import compiled

# This process runs the kernel's sources, since unit tests have stand-ins that compiled code does not take; commands run as installed.
compiled.fresh = lambda: False

# In CI the same examples every time: a find of the random search belongs to a developer's run, pinned with @example.
# No example has a deadline: the machine may be busy with others.
settings.register_profile("ours", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "ours")


@pytest.fixture(scope="session")
def rootfs() -> Path:
    """A Debian root with python3, gcc, make, git and the rest of what tools/mkrootfs.sh lists."""
    given = os.environ.get("NVSANDBOX_ROOTFS")
    if given:
        return Path(given)
    done = subprocess.run(
        [REPO / "tools" / "mkrootfs.sh"], stdout=subprocess.PIPE, check=True, text=True
    )
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session", params=PLATFORMS)
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sandbox_run(rootfs: Path, platform: str) -> SandboxRun:
    """Runs a command in a fresh sandbox: ``sandbox_run(argv, flags=(), stdin=b"", timeout=60)``."""

    def run(
        argv: Sequence[str], flags: Sequence[str] = (), stdin: bytes = b"", timeout: float = 60
    ) -> Ran:
        done = subprocess.run(
            [*cli(platform, rootfs, *flags), *argv], input=stdin, capture_output=True,
            timeout=timeout, cwd=REPO,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def bash(sandbox_run: SandboxRun) -> Callable[..., str]:
    """Runs a bash script inside and returns what it printed; a failing script fails the test."""

    def run(
        script: str, *, flags: Sequence[str] = (), stdin: bytes = b"", timeout: float = 60
    ) -> str:
        got = sandbox_run(["bash", "-c", script], flags, stdin, timeout)
        assert got.status == 0, f"status {got.status}\n{got.text}\n{got.err.decode()}"
        return got.text

    return run
