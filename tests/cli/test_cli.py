"""The command line: exit codes, one-line errors, bundles, signals, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NVSANDBOX = Path(sys.executable).parent / "nvsandbox"


def nv(*args: str | Path, timeout: float = 60, **kw: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NVSANDBOX, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def bundle(tmp_path: Path, rootfs: Path) -> Callable[..., Path]:
    """Makes a bundle whose process is changed by keyword."""

    def make(**process: object) -> Path:
        r = nv("spec", "-b", tmp_path)
        assert r.returncode == 0, r.stderr
        path = tmp_path / "config.json"
        spec = json.loads(path.read_text())
        spec["process"]["terminal"] = False
        spec["process"].update(process)
        spec["root"]["path"] = str(rootfs)
        path.write_text(json.dumps(spec))
        return tmp_path

    return make


def one_line(r: subprocess.CompletedProcess[str]) -> str:
    assert r.stderr.count("\n") == 1 and r.stderr.startswith("nvsandbox: "), r.stderr
    return r.stderr


def test_do_passes_the_exit_status_on(rootfs: Path) -> None:
    assert nv("do", "--rootfs", rootfs, "--", "sh", "-c", "exit 7").returncode == 7


def test_a_signal_is_128_plus_its_number(rootfs: Path) -> None:
    assert nv("do", "--rootfs", rootfs, "--", "sh", "-c", "kill -TERM $$").returncode == 143


def test_the_root_file_system_stays_unchanged(rootfs: Path) -> None:
    script = "echo x >/etc/nv-test; rm /etc/hostname; cat /etc/nv-test"
    r = nv("do", "--rootfs", rootfs, "--", "sh", "-c", script)
    assert r.stdout == "x\n"
    assert not os.path.exists(f"{rootfs}/etc/nv-test")
    assert os.path.exists(f"{rootfs}/etc/hostname")


@pytest.mark.parametrize("value", ["-4", "4294967295", "99999999999999999999"])
def test_an_impossible_user_id_is_refused(rootfs: Path, value: str) -> None:
    r = nv("do", "--rootfs", rootfs, "--uid", value, "--", "true")
    assert r.returncode == 1 and f"`{value}`" in one_line(r)


def test_a_missing_command_is_127(rootfs: Path) -> None:
    r = nv("do", "--rootfs", rootfs, "--", "no-such-command")
    assert r.returncode == 127
    assert "executable file not found in $PATH" in one_line(r)


def test_a_file_that_is_not_executable_is_126(rootfs: Path) -> None:
    r = nv("do", "--rootfs", rootfs, "--", "/etc/passwd")
    assert r.returncode == 126
    assert "permission denied" in one_line(r)


def test_a_rootfs_that_is_not_there() -> None:
    r = nv("do", "--rootfs", "/no/such/dir", "--", "true")
    assert r.returncode == 1
    assert "/no/such/dir" in one_line(r)


def test_an_unknown_flag() -> None:
    r = nv("--no-such-flag", "do", "true")
    assert r.returncode == 1
    one_line(r)


def test_a_json_error_line_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    nv("--log", log, "--log-format", "json", "do", "--rootfs", "/no/such", "--", "true")
    lines = log.read_text().splitlines()
    assert len(lines) == 1
    entry = json.loads(lines[0])
    assert entry["level"] == "error" and "/no/such" in entry["msg"] and "time" in entry


def test_volumes(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host")
    rw = nv(
        "do",
        "--rootfs",
        rootfs,
        "-v",
        f"{tmp_path}:/v",
        "--",
        "sh",
        "-c",
        "cat /v/in; echo out >/v/out",
    )
    assert rw.stdout == "from the host"
    assert (tmp_path / "out").read_text() == "out\n"
    ro = nv("do", "--rootfs", rootfs, "-v", f"{tmp_path}:/v:ro", "--", "sh", "-c", "echo x >/v/no")
    assert ro.returncode != 0 and "Read-only file system" in ro.stderr
    assert not (tmp_path / "no").exists()


def test_run_a_bundle(bundle: Callable[..., Path]) -> None:
    b = bundle(args=["sh", "-c", "echo $$ $(id -u); exit 9"])
    r = nv("--root", b / "state", "run", "-b", b, "c1")
    assert (r.returncode, r.stdout) == (9, "1 0\n")
    assert os.listdir(b / "state") == []


def test_run_as_another_user_in_another_directory(bundle: Callable[..., Path]) -> None:
    b = bundle(
        args=["sh", "-c", "id -u; id -G; pwd; umask"],
        cwd="/usr",
        user={"uid": 1000, "gid": 1001, "additionalGids": [5], "umask": 63},
    )
    r = nv("--root", b / "state", "run", "-b", b, "c1")
    assert r.stdout == "1000\n1001 5\n/usr\n0077\n"


@pytest.mark.parametrize("ident", ["../x", "a/b", "", "."])
def test_a_bad_container_id(bundle: Callable[..., Path], ident: str) -> None:
    r = nv("--root", "/nonexistent", "run", "-b", bundle(), ident)
    assert r.returncode == 1
    one_line(r)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "config.json"),
        ("{", "config.json"),
        ("[]", "array"),
        ("{}", "ociVersion"),
        ('{"ociVersion": "1", "root": {"path": "x"}, "process": {"args": [], "cwd": "/"}}', "process.args"),
        ('{"ociVersion": "1", "root": {"path": "x"}, "process": {"args": ["a"], "cwd": "x"}}', "process.cwd"),
        ('{"ociVersion": "1", "root": {"path": 1}, "process": {"args": ["a"], "cwd": "/"}}', "$.root.path"),
        ("[" * 100000, "config.json"),
    ],
)  # fmt: skip
def test_a_malformed_config(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "config.json").write_text(text)
    r = nv("--root", tmp_path / "s", "run", "-b", tmp_path, "c1")
    assert r.returncode == 1
    assert where in one_line(r)
    assert not (tmp_path / "s").exists() or os.listdir(tmp_path / "s") == []


def test_a_missing_bundle(tmp_path: Path) -> None:
    assert nv("run", "-b", tmp_path / "nope", "c1").returncode == 1
    assert nv("run", "-b", tmp_path, "c1").returncode == 1


def test_spec_does_not_overwrite(tmp_path: Path) -> None:
    assert nv("spec", "-b", tmp_path).returncode == 0
    assert "exists" in one_line(nv("spec", "-b", tmp_path))


def test_version_and_completion() -> None:
    assert nv("--version").stdout.startswith("nvsandbox version ")
    assert "_NVSANDBOX_COMPLETE" in nv("completion", "bash").stdout


def test_sigterm_reaches_the_program_and_nothing_is_left(rootfs: Path) -> None:
    script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    p = subprocess.Popen(
        [NVSANDBOX, "do", "--rootfs", rootfs, "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert p.stdout is not None
    assert p.stdout.readline() == "ready\n"
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == 3
    assert p.stdout.read() == "got it\n"
    assert descendants_gone(p.pid)


def test_kill_9_of_the_launcher_ends_everything(rootfs: Path) -> None:
    p = subprocess.Popen(
        [NVSANDBOX, "do", "--rootfs", rootfs, "--", "sh", "-c", "echo ready; sleep 1000"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert p.stdout is not None
    assert p.stdout.readline() == "ready\n"
    family = tree(p.pid)
    assert len(family) > 2
    p.kill()
    p.wait(20)
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in family):
        assert time.monotonic() < deadline, [
            pid for pid in family if os.path.exists(f"/proc/{pid}")
        ]
        time.sleep(0.02)


def tree(root: int) -> set[int]:
    """All descendants of a process."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    parents[int(name)] = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found = {root}
    while True:
        more = {p for p, q in parents.items() if q in found} - found
        if not more:
            return found - {root}
        found |= more


def descendants_gone(pid: int) -> bool:
    return not tree(pid)


def as_user(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line as an ordinary user runs it."""
    user = [
        "setpriv",
        "--reuid",
        "1000",
        "--regid",
        "1000",
        "--clear-groups",
        "env",
        "-i",
        "PATH=/usr/bin:/bin",
    ]
    return subprocess.run(
        [*user, NVSANDBOX, *args],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def user_dir() -> Iterator[Path]:
    """A directory that an ordinary user may use, with a root file system of a static shell in it."""
    if (
        os.geteuid() != 0
        or not os.access("/bin/busybox", os.X_OK)
        or not os.access(sys.executable, os.X_OK)
    ):
        pytest.skip("needs root and busybox")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        base = Path(name)
        (base / "root" / "bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", base / "root" / "bin" / "sh")
        for p in (base, *base.rglob("*")):
            os.chown(p, 1000, 1000)
        yield base


def test_an_ordinary_user(user_dir: Path) -> None:
    """do and run without privilege: root inside is the user outside."""
    probe = as_user("--version")
    if probe.returncode:
        pytest.skip("the build is not readable for others")
    script = "echo $$; echo x >/v/made; echo $(cat /v/made)"
    got = as_user(
        "do", "--rootfs", user_dir / "root", "-v", f"{user_dir}:/v", "--", "sh", "-c", script
    )
    assert got.returncode == 0 and got.stdout.endswith("x\n"), got
    assert (user_dir / "made").stat().st_uid == 1000
    assert as_user("spec", "--rootless", "--bundle", user_dir).returncode == 0
    spec = json.loads((user_dir / "config.json").read_text())
    spec["process"].update(terminal=False, args=["sh", "-c", "echo in a bundle; exit 4"])
    spec["root"]["path"] = "root"
    (user_dir / "config.json").write_text(json.dumps(spec))
    got = as_user("--root", user_dir / "state", "run", "-b", user_dir, "c1")
    assert (got.returncode, got.stdout) == (4, "in a bundle\n"), got
    assert os.listdir(user_dir / "state") == []


def test_the_processors_latency_is_held_while_the_sandbox_lives(rootfs: Path) -> None:
    there = os.path.exists("/dev/cpu_dma_latency")
    argv = [NVSANDBOX, "--cpu-dma-latency=0", "do", "--rootfs", rootfs, "--", "sh", "-c"]
    with subprocess.Popen(
        [*argv, "echo up; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as p:  # fmt: skip
        assert p.stdout and p.stdin and p.stderr
        if there:
            assert p.stdout.readline() == b"up\n"
            found = subprocess.run(["pgrep", "-P", str(p.pid)], capture_output=True, text=True).stdout  # fmt: skip
            held = [
                os.readlink(f"/proc/{pid}/fd/{fd}")
                for pid in found.split()
                for fd in os.listdir(f"/proc/{pid}/fd")
            ]
            assert held.count("/dev/cpu_dma_latency") == 1
            p.stdin.close()
            assert p.wait(10) == 1  # read's end of file
        else:
            assert b"/dev/cpu_dma_latency" in p.stderr.read()
    r = nv("--cpu-dma-latency=-1", "do", "--rootfs", rootfs, "--", "true")
    assert r.returncode == 1
    assert "--cpu-dma-latency" in one_line(r)
