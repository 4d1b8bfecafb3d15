"""The fuzzers, a short round each; ``FUZZ_SECONDS`` for a longer one. A failure prints the seed that shows it again (``FUZZ_SEED``)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from inside import REPO, cli

HERE = Path(__file__).resolve().parent
BUILD = REPO / "build" / "fuzz"
NATIVE = REPO / "nvsandbox" / "platform" / "native"
SECONDS = int(os.environ.get("FUZZ_SECONDS", "6"))
# The same rounds every time where a change is judged; elsewhere others each time.
SEED = int(os.environ.get("FUZZ_SEED") or (1 if os.environ.get("CI") else time.time()))


def compile(name: str, *args: str) -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    exe = BUILD / name
    subprocess.run(["gcc", *args, "-o", str(exe)], check=True)
    return exe


@pytest.mark.timeout(SECONDS + 120)
def test_slots_full_of_anything() -> None:
    exe = compile(
        "trap", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
        "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", f"-I{NATIVE}",
        str(HERE / "trap.c"), str(NATIVE / "lent.c"), str(NATIVE / "space.c"), str(NATIVE / "ptrace.c"),
    )  # fmt: skip
    done = subprocess.run(
        [exe, str(SECONDS), str(SEED)], capture_output=True, text=True, timeout=SECONDS + 60
    )
    assert done.returncode == 0, f"seed {SEED}\n{done.stderr[-4000:]}"
    assert int(done.stdout.split()[0]) > 1000


@pytest.mark.timeout(SECONDS + 120)
def test_random_system_calls(rootfs: Path, platform: str, tmp_path: Path) -> None:
    """Children do random calls; the Sentry outlives them, and none of its handlers fails in a way that nobody foresaw."""
    exe = compile("syscalls", "-w", "-O1", "-static", str(HERE / "syscalls.c"))
    log = tmp_path / "log"
    start = cli(platform, rootfs, "-v", f"{exe}:/fuzz:ro", "-w", "/tmp")
    at = next(i for i, a in enumerate(start) if a.startswith("--platform="))
    argv = [*start[: at + 1], "--log", str(log), "--debug", *start[at + 1 :]]
    done = subprocess.run(
        [*argv, "sh", "-c", f"/fuzz {SECONDS} {SEED}; echo alive"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=REPO, timeout=SECONDS + 60,
    )  # fmt: skip
    text = log.read_text(errors="replace") if log.exists() else ""
    assert done.stdout.endswith("alive\n"), f"seed {SEED}\n{done.stdout}{done.stderr[-3000:]}"
    failed = text.find("Traceback")
    assert failed < 0, f"seed {SEED}\n{text[max(failed - 300, 0) : failed + 3000]}"


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("network", ["none", "sandbox"])
def test_random_calls_on_sockets(network: str, tmp_path: Path) -> None:
    """One program does them, as root: none of the Sentry's handlers fails in a way that nobody foresaw."""
    if network == "sandbox" and not (shutil.which("slirp4netns") or shutil.which("pasta")):
        pytest.skip("needs slirp4netns or pasta")
    log = tmp_path / "log"
    nvsandbox = Path(sys.executable).parent / "nvsandbox"
    argv = [nvsandbox, f"--network={network}", "--log", log, "--debug", "do", "--"]
    done = subprocess.run(
        [*argv, "python3", HERE / "sockets.py", str(SECONDS), str(SEED)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=REPO, timeout=SECONDS + 60,
    )  # fmt: skip
    text = log.read_text(errors="replace") if log.exists() else ""
    failed = text.find("Traceback")
    assert failed < 0, f"seed {SEED}\n{text[max(failed - 300, 0) : failed + 3000]}"
    assert done.stdout.endswith("alive\n"), f"seed {SEED}\n{done.stdout}{done.stderr[-3000:]}"
