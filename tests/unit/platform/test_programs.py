"""One program through everything a platform must get right, on each platform."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from inside import cli

HERE = Path(__file__).resolve().parent
WANT = """\
threads 8000
fork 7
spawn 0
signal 1, avx kept 1, result 0
fault 0x1238 code 1 trap 14
kicked
exit_group 9
efault -2
exec from a thread
"""


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["systrap", "ptrace"])
def test_program(platform: str, rootfs: Path) -> None:
    script = "cat >/tmp/p.c; gcc -O1 -mavx2 -pthread -o /tmp/p /tmp/p.c && /tmp/p"
    done = subprocess.run(
        [*cli(platform, rootfs), "bash", "-c", script], capture_output=True, timeout=60,
        input=(HERE / "probe_prog.c").read_bytes(),
    )  # fmt: skip
    assert done.stdout.decode() == WANT, done.stderr.decode()
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["systrap", "ptrace"])
def test_the_variable_names_the_platform(platform: str, rootfs: Path) -> None:
    start = [a for a in cli("x", rootfs) if not a.startswith("--platform")]
    done = subprocess.run(
        [*start, "echo", "ok"], capture_output=True, timeout=30,
        env={"PATH": "/usr/bin:/bin", "NVSANDBOX_PLATFORM": platform},
    )  # fmt: skip
    assert done.stdout == b"ok\n", done.stderr
