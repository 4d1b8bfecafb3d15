"""The benchmark of forwarded ioctls runs: what it measures is forwarded, and nothing but its figures is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from inside import PLATFORMS, REPO

from .conftest import Inside


@pytest.mark.parametrize("platform", PLATFORMS)
def test_forwarded_ioctls_are_measured(first: Inside, platform: str) -> None:
    cmd = [sys.executable, "-m", "bench.nvproxy", "--calls=50"]
    ran = subprocess.run(
        [*cmd, "--rootfs", str(first.rootfs), f"--platform={platform}"],
        cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    names = ["nvproxy_trap", "nvproxy_rm_control", "nvproxy_added"]
    assert re.fullmatch("".join(rf"{n} -?\d+\n" for n in names), ran.stdout), ran.stdout
