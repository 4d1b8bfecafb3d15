"""Sandboxes kept ready: `nvsandbox warm`, and pools of the Python library."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inside import REPO

from nvsandbox import Sandbox, SandboxError
from nvsandbox.sandbox.warm import MAX_SIZE

PYTHON = [sys.executable, "-m", "nvsandbox.cli.main"]
PROGRAM = Path(sys.executable).parent / "nvsandbox"
Nv = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["python", "program"])
def front(request: pytest.FixtureRequest) -> list[str]:
    """Both ways to a sandbox that is kept: the command line in Python, and the program before it."""
    return PYTHON if request.param == "python" else [str(PROGRAM)]


@pytest.fixture
def nv(tmp_path: Path, tree: Path, front: list[str]) -> Iterator[Nv]:
    state = tmp_path / "state"

    def run(*args: str, **kw: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*front, "--root", str(state), *args],
            **{
                "capture_output": True,
                "text": True,
                "timeout": 60,
                "cwd": REPO,
                "errors": "surrogateescape",
                **kw,
            },
        )

    yield run
    run("warm", "--stop")


def keepers() -> set[int]:
    found = subprocess.run(["pgrep", "-x", "nv-warm"], capture_output=True, text=True).stdout
    return {int(p) for p in found.split()}


def children(pid: int) -> set[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(p) for p in text.split()}


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@pytest.fixture
def keeper(nv: Nv, tree: Path) -> int:
    before = keepers()
    r = nv("warm", "-n", "2", "--rootfs", str(tree))
    assert (r.returncode, r.stderr) == (0, "")
    (pid,) = keepers() - before
    return pid


def test_do_takes_one_that_is_ready_and_another_takes_its_place(
    nv: Nv, tree: Path, keeper: int
) -> None:
    ready = {p for p in children(keeper) if comm(p) == "nv-sentry"}
    assert len(ready) == 2
    r = nv("do", "--rootfs", str(tree), "--", "sh", "-c", "cat /proc/uptime; echo err >&2; exit 7")
    assert (r.returncode, r.stderr) == (7, "err\n")
    deadline = time.monotonic() + 20
    now: set[int] = set()
    while (len(now) != 2 or now == ready) and time.monotonic() < deadline:
        now = {p for p in children(keeper) if comm(p) == "nv-sentry"}
    assert len(now) == 2
    assert len(now & ready) == 1


def test_more_at_once_than_are_ready(nv: Nv, tree: Path, front: list[str], keeper: int) -> None:
    argv = [*front, "--root", str(tree.parent / "state"), "do", "--rootfs", str(tree), "--", "echo"]
    procs = [
        subprocess.Popen([*argv, str(i)], stdout=subprocess.PIPE, text=True, cwd=REPO)
        for i in range(6)
    ]
    assert [p.communicate(timeout=60)[0] for p in procs] == [f"{i}\n" for i in range(6)]


def test_a_keeper_of_none_forks_one_when_it_is_asked(nv: Nv, tree: Path, front: list[str]) -> None:
    before = keepers()
    assert nv("warm", "-n", "0", "--rootfs", str(tree)).stdout.startswith("0 ready")
    (pid,) = keepers() - before
    assert not children(pid)
    argv = [
        *front,
        "--root",
        str(tree.parent / "state"),
        "do",
        "--rootfs",
        str(tree),
        "--",
        "sh",
        "-c",
        "echo up; read x",
    ]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO
    ) as p:
        assert p.stdout is not None and p.stdout.readline() == "up\n"
        assert "nv-sentry" in {comm(c) for c in children(pid)}
        p.communicate("\n", timeout=60)
    assert p.returncode == 0
    deadline = time.monotonic() + 20
    while children(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not children(pid)


def test_do_has_the_next_ones_kept(nv: Nv, tree: Path, front: list[str]) -> None:
    before = keepers()
    r = nv("do", "--keep", "1", "--rootfs", str(tree), "--", "sh", "-c", "echo one; exit 3")
    assert (r.returncode, r.stdout, r.stderr) == (3, "one\n", "")
    (pid,) = keepers() - before
    deadline = time.monotonic() + 20
    while (
        not (ready := {p for p in children(pid) if comm(p) == "nv-sentry"})
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert len(ready) == 1
    assert nv("do", "--keep", "1", "--rootfs", str(tree), "--", "echo", "two").stdout == "two\n"
    while ready & children(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not ready & children(pid)  # it was taken
    assert keepers() - before == {pid}
    assert nv("warm", "--stop").stdout == "1 stopped\n"


@pytest.mark.parametrize("flags", [("--keep", "-1"), ("--keep", "257"), ("--keep", "x")])
def test_keep_that_is_refused(nv: Nv, tree: Path, flags: tuple[str, ...]) -> None:
    before = keepers()
    r = nv("do", *flags, "--rootfs", str(tree), "--", "true")
    assert (r.returncode, len(r.stderr.splitlines())) == (1, 1)
    assert keepers() == before


def test_a_changed_root_is_seen(nv: Nv, tree: Path, keeper: int) -> None:
    (tree / "new").write_text("new")
    assert nv("do", "--rootfs", str(tree), "--", "cat", "/new").stdout == "new"
    (tree / "new").unlink()
    assert nv("do", "--rootfs", str(tree), "--", "cat", "/new").returncode == 1


def test_other_flags_are_served_by_another_sandbox(nv: Nv, tree: Path, keeper: int) -> None:
    assert nv("do", "--rootfs", str(tree), "--hostname", "x", "--", "uname", "-n").stdout == "x\n"


def test_a_keeper_that_dies_takes_what_is_ready_with_it_and_nothing_else(
    nv: Nv, tree: Path, front: list[str], keeper: int
) -> None:
    argv = [*front, "--root", str(tree.parent / "state"), "do", "--rootfs", str(tree), "--"]
    with subprocess.Popen(
        [*argv, "sh", "-c", "echo up; read x; echo $x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPO
    ) as p:  # fmt: skip
        assert p.stdin and p.stdout
        assert p.stdout.readline() == b"up\n"
        mine = children(keeper)
        os.kill(keeper, signal.SIGKILL)
        p.stdin.write(b"still here\n")
        p.stdin.close()
        assert p.stdout.read() == b"still here\n"
    deadline = time.monotonic() + 10
    while any(comm(q).startswith("nv-") for q in mine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(comm(q).startswith("nv-") for q in mine)
    assert nv("do", "--rootfs", str(tree), "--", "echo", "cold").stdout == "cold\n"
    assert nv("warm", "-n", "1", "--rootfs", str(tree)).returncode == 0  # in place of the dead one


def test_a_directory_others_may_enter_is_not_trusted(nv: Nv, tree: Path, keeper: int) -> None:
    where = tree.parent / "state" / "@warm"
    where.chmod(0o755)
    before = children(keeper)
    assert nv("do", "--rootfs", str(tree), "--", "echo", "x").stdout == "x\n"
    assert children(keeper) == before


def test_the_command_is_as_it_would_be_without_a_keeper(
    nv: Nv, tree: Path, tmp_path: Path, keeper: int
) -> None:
    """Input, output, arguments, environment, directory, users and exit codes, warm and cold (another host name keeps it cold)."""
    (tmp_path / "here").mkdir()
    for args, kw in [
        (["--", "cat"], {"input": "x" * 300_000}),
        (["--", "sh", "-c", 'printf "[%s]" "$@"', "-", "", " a\nb ", '"', "\\", "\u00fc", "\udcff"], {}),
        (["-e", "A=1=2", "-e", "B", "-e", "C=", "--", "env"], {"env": {**os.environ, "B": "b b"}}),
        (["--", "env"], {"env": {"TERM": "dumb", "X": "not passed"}}),
        (["-w", "/usr", "--", "pwd"], {"cwd": tmp_path / "here"}),
        (["--uid", "7", "--gid", "8", "--", "id", "-u"], {}),
        (["--", "sh", "-c", "exit 3"], {}),
        (["--", "sh", "-c", "kill -9 $$"], {}),
        (["--", "no such program"], {}),
        (["--", "/usr"], {}),
        (["-w", "/etc/passwd/x", "--", "true"], {}),
        (["--uid", "-5", "--", "true"], {}),
        (["--nonsense", "--", "true"], {}),
        (["--"], {}),
    ]:  # fmt: skip
        seen = []
        for flags in ([], ["--hostname", "cold"]):
            r = nv("do", "--rootfs", str(tree), *flags, *args, **kw)
            seen.append((r.returncode, r.stdout, r.stderr))
        assert seen[0] == seen[1], args


def test_a_signal_reaches_the_command(nv: Nv, tree: Path, front: list[str], keeper: int) -> None:
    argv = [*front, "--root", str(tree.parent / "state"), "do", "--rootfs", str(tree), "--"]
    script = "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 0.1; done"
    with subprocess.Popen([*argv, "sh", "-c", script], stdout=subprocess.PIPE, cwd=REPO) as p:
        assert p.stdout
        assert p.stdout.readline() == b"up\n"
        p.terminate()
        assert p.stdout.read() == b"got\n"
        assert p.wait(10) == 9


def test_a_sandbox_ends_with_its_client(nv: Nv, tree: Path, front: list[str], keeper: int) -> None:
    argv = [*front, "--root", str(tree.parent / "state"), "do", "--rootfs", str(tree), "--"]
    with subprocess.Popen([*argv, "sh", "-c", "echo up; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPO) as p:  # fmt: skip
        assert p.stdout
        assert p.stdout.readline() == b"up\n"
        p.kill()
        assert p.stdout.read() == b""  # nobody has it any more


def test_a_keeper_that_is_too_slow_runs_nothing_a_second_time(
    nv: Nv, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "v").mkdir()
    flags = ["--rootfs", str(tree), "-v", f"{tmp_path}/v:/tmp"]
    before = keepers()
    assert nv("warm", "-n", "1", *flags).returncode == 0
    (pid,) = keepers() - before
    append = ["do", *flags, "--", "sh", "-c", "echo once >>/tmp/f"]
    assert nv(*append).returncode == 0
    os.kill(pid, signal.SIGSTOP)
    try:
        assert nv(*append).returncode == 0
    finally:
        os.kill(pid, signal.SIGCONT)
    assert nv(*append).returncode == 0  # the keeper has come to it after what waited
    assert (tmp_path / "v" / "f").read_text() == "once\n" * 3


def test_no_interpreter_is_needed_where_a_sandbox_is_kept(
    tree: Path, tmp_path: Path, rootfs: Path
) -> None:
    alone = tmp_path / "nvsandbox"
    alone.write_bytes(PROGRAM.read_bytes())
    alone.chmod(0o755)
    state = ["--root", str(tmp_path / "state")]
    try:
        for expected in ((1, ""), (0, "hi\n")):
            r = subprocess.run(
                [alone, *state, "do", "--rootfs", tree, "--", "echo", "hi"],
                capture_output=True, text=True, timeout=60, env={"PATH": "/nowhere"},
            )  # fmt: skip
            assert (r.returncode, r.stdout) == expected, r.stderr
            if expected[0]:
                assert len(r.stderr.splitlines()) == 1
                warm = [PROGRAM, *state, "warm", "-n", "1", "--rootfs", tree]
                subprocess.run(warm, check=True, timeout=60, stdout=subprocess.DEVNULL)
    finally:
        subprocess.run([PROGRAM, *state, "warm", "--stop"], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("n", ["-1", str(MAX_SIZE + 1)])
def test_sizes_that_are_refused(nv: Nv, tree: Path, n: str) -> None:
    r = nv("warm", "-n", n, "--rootfs", str(tree))
    assert r.returncode == 1
    assert len(r.stderr.splitlines()) == 1
    assert "256" in r.stderr


def test_a_pool_of_the_library(rootfs: Path) -> None:
    with Sandbox.pool(2, rootfs=rootfs, env={"A": "b"}) as pool:
        for i in range(4):
            with pool.take() as sb:
                assert sb.run(["sh", "-c", f"echo {i} $A >/f; cat /f"]).stdout == b"%d b\n" % i
        one, two = pool.take(), pool.take()
        one.run(["touch", "/only"])
        assert two.run(["ls", "/only"]).returncode != 0
        one.close()
        two.close()
    with pytest.raises(SandboxError):
        Sandbox.pool(-1, rootfs=rootfs)


def test_a_pool_whose_root_changes(tree: Path) -> None:
    """What is changed while a sandbox waits is there when it is taken; what it has changed itself no other sees."""
    (tree / "kept").write_text("old")
    with Sandbox.pool(2, rootfs=tree) as pool:
        with pool.take() as sb:
            assert sb.run(["cat", "/kept"]).stdout == b"old"
        time.sleep(0.3)  # the next is ready
        (tree / "kept").write_text("newer")
        (tree / "added").mkdir()
        (tree / "added/file").write_text("x")
        with pool.take() as one, pool.take() as two:
            for sb in (one, two):
                assert sb.run(["cat", "/kept", "/added/file"]).stdout == b"newerx"
            one.run(["sh", "-c", "rm /added/file; echo own >/kept"])
            assert two.run(["cat", "/kept", "/added/file"]).stdout == b"newerx"
        assert (tree / "kept").read_text() == "newer"
