"""Builds the programs of ``programs/`` and runs all of them in one world: on the host or in a sandbox.

A shell script inside runs each program in a fresh directory with a time-out and prints, for each, one header line and its output
by length, so that one sandbox serves many programs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from inside import plain

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "programs"
BUILD = HERE.parent.parent / "build" / "syscalls"
LIMIT = 30  # seconds one program may take
FLAGS = ["-std=gnu11", "-O1", "-g0", "-w", "-pthread"]
MARK = b"\n@@ "

DRIVER = r"""
bin=$1; work=$2; shift 2
ulimit -c 0; ulimit -n 1000; umask 022
for p in "$@"; do
  mkdir -p "$work/$p.d" && cd "$work/$p.d"
  timeout -k 2 LIMIT "$bin/$p" </dev/null >"$work/out" 2>"$work/err"; status=$?
  cd "$work"
  printf '\n@@ %s %d %d %d\n' "$p" $status $(stat -c %s out) $(stat -c %s err)
  cat out err
  rm -rf "$work/$p.d" out err
done 2>/dev/null
""".replace("LIMIT", str(LIMIT))


@dataclass(frozen=True)
class Result:
    """What a program did: exit status as a shell shows it, both outputs."""

    status: int
    out: str
    err: str


def programs() -> list[str]:
    """The programs' names, without their endings."""
    return sorted(p.name for p in SOURCES.iterdir() if p.suffix in (".c", ".py"))


def build(names: Sequence[str]) -> Path:
    """A directory with every program, compiled when its source or the header changed."""
    BUILD.mkdir(parents=True, exist_ok=True)
    header = (SOURCES / "t.h").read_bytes()

    def one(name: str) -> None:
        src, exe = SOURCES / name, BUILD / name
        if src.suffix == ".py":
            if not exe.exists() or exe.read_bytes() != src.read_bytes():
                shutil.copyfile(src, exe)
                exe.chmod(0o755)
            return
        text = src.read_bytes()
        key = hashlib.sha256(header + text + " ".join(FLAGS).encode()).hexdigest()
        stamp = BUILD / (name + ".key")
        if exe.exists() and stamp.exists() and stamp.read_text() == key:
            return
        extra = text.split(b"\n", 1)[0].partition(b"gcc:")[2].decode().split()
        subprocess.run(["gcc", *FLAGS, str(src), "-o", str(exe), *extra], check=True)
        stamp.write_text(key)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, names))
    return BUILD


def _parse(data: bytes) -> Iterator[tuple[str, Result]]:
    pos = 0
    while (pos := data.find(MARK, pos)) >= 0:
        end = data.index(b"\n", pos + 1)
        name, status, out, err = data[pos + len(MARK) : end].split()
        a = end + 1
        b = a + int(out)
        pos = b + int(err)
        texts = (data[a:b].decode("utf-8", "replace"), data[b:pos].decode("utf-8", "replace"))
        yield name.decode(), Result(int(status), *texts)


def run_host(names: Sequence[str], env: dict[str, str]) -> dict[str, Result]:
    bin_ = build(names)
    work = tempfile.mkdtemp(prefix="nvsandbox-test-")
    try:
        os.chmod(work, 0o755)
        done = subprocess.run(
            ["bash", "-c", DRIVER, "driver", str(bin_), work, *names], env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
            preexec_fn=plain,
        )  # fmt: skip
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return dict(_parse(done.stdout))


def run_sandbox(names: Sequence[str], start: list[str]) -> dict[str, Result]:
    """``start``: the command line before ``--``."""
    bin_ = build(names)
    argv = [*start[:-1], "-v", f"{bin_}:/t:ro", "--", "bash", "-c", DRIVER, "driver", "/t", "/tmp"]
    done = subprocess.run(
        [*argv, *names], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=HERE, timeout=LIMIT * 20,
    )  # fmt: skip
    got = dict(_parse(done.stdout))
    missing = [n for n in names if n not in got]
    lost = Result(-1, "", f"the sandbox ended before it, status {done.returncode}\n")
    for n in missing:
        got[n] = Result(-1, "", lost.err + done.stderr.decode("utf-8", "replace")[-4000:])
    return got
