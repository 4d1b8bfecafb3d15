"""The runtime commands one by one, called as engines call them."""

from __future__ import annotations

import array
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import Runtime, traces


def gone(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
        except OSError:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_life_of_a_container(rt: Runtime) -> None:
    b = rt.bundle("sh", "-c", "echo started; sleep 100")
    assert rt.create("c1", b).returncode == 0
    pid = int((rt.base / "c1.pid").read_text())
    s = rt.state("c1")
    assert (s["status"], s["pid"], s["bundle"], s["id"]) == ("created", pid, str(b), "c1")
    assert (rt.base / "out").read_text() == ""
    rt.ok("start", "c1")
    assert rt.state("c1")["status"] == "running"
    assert "running state" in rt.failure(rt("start", "c1"))
    assert "not stopped" in rt.failure(rt("delete", "c1"))
    rt.ok("kill", "c1", "KILL")
    gone(pid)
    assert rt.state("c1")["status"] == "stopped" and rt.state("c1")["pid"] == 0
    assert "not running" in rt.failure(rt("kill", "c1", "KILL"))
    rt.ok("delete", "c1")
    assert "does not exist" in rt.failure(rt("state", "c1"))
    assert "does not exist" in rt.failure(rt("delete", "c1"))
    rt.ok("delete", "--force", "c1")
    assert not traces("c1") and (rt.base / "out").read_text() == "started\n"


def test_the_pid_file_process_ends_as_the_program(rt: Runtime) -> None:
    """A subreaper (as the shim is) sees the program's status through wait4."""
    code = f"""
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
def call(*a):
    subprocess.run({rt.argv()!r} + list(a), check=True, stdin=subprocess.DEVNULL)
call("create", "-b", sys.argv[1], "--pid-file", "pid", "s1")
pid = int(open("pid").read())
call("start", "s1")
print(os.waitpid(pid, 0)[1])
call("delete", "s1")
"""
    for script, status in (("exit 7", 7 << 8), ("kill -TERM $$; sleep 1", 0), ("exit 0", 0)):
        b = rt.bundle("bash", "-c", f"bash -c '{script}'; exit $?" if "kill" in script else script)
        done = subprocess.run(
            ["python3", "-c", code, b],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=rt.base,
            stdin=subprocess.DEVNULL,
        )
        expected = 143 << 8 if "kill" in script else status
        assert int(done.stdout.split()[-1]) == expected, done


def test_kill_by_name_number_and_all(rt: Runtime) -> None:
    b = rt.bundle("bash", "-c", "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done")
    rt.create("k1", b)
    rt.ok("start", "k1")
    out = rt.base / "out"
    wait_for(lambda: out.read_text() == "up\n")
    for how in (["SIGUSR1"], ["usr1"], ["10"], ["--all", "10"]):
        before = out.read_text()
        rt.ok("kill", *how[:-1], "k1", how[-1])
        wait_for(lambda: len(out.read_text()) > len(before))  # noqa: B023
    assert "unknown signal" in rt.failure(rt("kill", "k1", "SIGWRONG"))
    assert "unknown signal" in rt.failure(rt("kill", "k1", "999"))
    rt.ok("kill", "--all", "k1", "9")
    wait_for(lambda: rt.state("k1")["status"] == "stopped")
    rt.ok("kill", "--all", "k1", "9")


def wait_for(what, seconds: float = 10) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_created_container_dies_by_a_signal(rt: Runtime) -> None:
    rt.create("k2", rt.bundle())
    pid = rt.state("k2")["pid"]
    rt.ok("kill", "k2", "TERM")
    gone(pid)
    assert rt.state("k2")["status"] == "stopped"
    rt.ok("delete", "k2")


def test_delete_of_a_created_container(rt: Runtime) -> None:
    rt.create("k3", rt.bundle())
    rt.ok("delete", "k3")
    assert not traces("k3")


def test_exec_flags(rt: Runtime) -> None:
    rt.create("e1", rt.bundle())
    rt.ok("start", "e1")
    show = "echo $A; pwd; id -u; id -g; id -G; umask"
    got = rt.ok(
        "exec", "-e", "A=b", "--cwd", "/usr", "-u", "12:34", "-g", "56", "e1", "sh", "-c", show
    )
    assert got == "b\n/usr\n12\n34\n34 56\n0022\n"
    assert rt.ok("exec", "e1", "cat", input="fed") == "fed"
    assert rt("exec", "e1", "sh", "-c", "exit 11").returncode == 11
    assert rt("exec", "e1", "sh", "-c", "kill -9 $$").returncode == 137
    got = rt("exec", "e1", "nosuch")
    assert got.returncode == 255 and "executable file not found in $PATH" in rt.failure(got)
    caps = rt.ok("exec", "--cap", "CAP_SYS_ADMIN", "e1", "grep", "CapPrm", "/proc/self/status")
    assert int(caps.split()[1], 16) >> 21 & 1
    assert "NoNewPrivs:\t1" in rt.ok(
        "exec", "--no-new-privs", "e1", "grep", "NoNewPrivs", "/proc/self/status"
    )
    assert (
        rt.ok("exec", "--cap", "CAP_X", "-e", "A=1", "-e", "A=2", "e1", "sh", "-c", "echo $A")
        == "2\n"
    )
    assert "not a number" in rt.failure(rt("exec", "-u", "root", "e1", "true"))
    missing = rt.failure(rt("exec", "--cwd", "/no/such", "e1", "true"))
    assert missing == "exec failed: chdir to `/no/such`: no such file or directory"
    assert rt("exec", "e1", "ls", "/no").returncode != 0  # nor is it made


def test_exec_detached_with_a_process_file(rt: Runtime) -> None:
    rt.create("e2", rt.bundle())
    rt.ok("start", "e2")
    process = {
        "args": ["sh", "-c", "echo $$ $X >/tmp/made; sleep 100"],
        "cwd": "/",
        "env": ["PATH=/bin:/usr/bin", "X=y"],
    }
    (rt.base / "p.json").write_text(json.dumps(process))
    with open("/dev/null", "wb") as null:
        argv = rt.argv(
            "exec", "-p", rt.base / "p.json", "-d", "--pid-file", rt.base / "x.pid", "e2"
        )
        assert (
            subprocess.run(argv, stdin=null, stdout=null, stderr=null, timeout=30).returncode == 0
        )
    pid = int((rt.base / "x.pid").read_text())
    wait_for(lambda: " y" in rt("exec", "e2", "cat", "/tmp/made").stdout)
    inside = rt.ok("exec", "e2", "cat", "/tmp/made").split()[0]
    assert pid in json.loads(rt.ok("ps", "--format", "json", "e2"))
    assert str(pid) in rt.ok("ps", "e2")
    os.kill(pid, signal.SIGKILL)  # as the shim does
    wait_for(lambda: rt("exec", "e2", "kill", "-0", inside).returncode != 0)


def test_exec_passes_signals_on(rt: Runtime) -> None:
    rt.create("e3", rt.bundle())
    rt.ok("start", "e3")
    script = "trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    p = subprocess.Popen(
        rt.argv("exec", "e3", "bash", "-c", script), stdout=subprocess.PIPE, text=True
    )
    assert p.stdout is not None and p.stdout.readline() == "up\n"
    p.terminate()
    assert p.wait(20) == 5 and p.stdout.read() == "term\n"


def test_preserved_descriptors(rt: Runtime) -> None:
    rt.create("e4", rt.bundle())
    rt.ok("start", "e4")
    r, w = os.pipe()
    line = f"exec 3<&{r}; exec {' '.join(rt.argv('exec', '--preserve-fds', '1', 'e4', 'sh', '-c'))} 'cat <&3'"
    os.write(w, b"through three")
    os.close(w)
    done = subprocess.run(
        ["bash", "-c", line], pass_fds=[r], capture_output=True, text=True, timeout=30
    )
    os.close(r)
    assert done.stdout == "through three", done
    assert "not open" in rt.failure(rt("exec", "--preserve-fds", "5", "e4", "true"))


def test_console_socket(rt: Runtime) -> None:
    """The terminal's master comes through the socket; its size reaches the program."""
    path = rt.base / "console"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def edit(s):  # type: ignore[no-untyped-def]
        s["process"]["terminal"] = True

    b = rt.bundle("bash", "-c", "tty; stty size; read x; echo got $x; exit 3", edit=edit)
    assert rt.create("t1", b, "--console-socket", path).returncode == 0
    conn, _ = server.accept()
    _, fds, _, _ = socket.recv_fds(conn, 100, 1)
    import fcntl
    import termios

    fcntl.ioctl(fds[0], termios.TIOCSWINSZ, array.array("H", [33, 77, 0, 0]))
    time.sleep(0.1)
    rt.ok("start", "t1")
    out = read_until(fds[0], b"33 77")
    assert b"/dev/pts/0" in out
    os.write(fds[0], b"word\n")
    read_until(fds[0], b"got word")
    assert rt.ok("wait", "t1") == "3\n"
    assert rt.create("t2", b, "--console-socket", rt.base / "out").returncode == 1
    assert "not a socket" in (rt.base / "err").read_text()


def read_until(fd: int, word: bytes) -> bytes:
    import select

    got = b""
    deadline = time.monotonic() + 15
    while word not in got:
        assert select.select([fd], [], [], deadline - time.monotonic())[0], got
        got += os.read(fd, 4096)
    return got


def test_pause_and_resume(rt: Runtime) -> None:
    rt.create("p1", rt.bundle())
    rt.ok("start", "p1")
    rt.ok("pause", "p1")
    assert rt.state("p1")["status"] == "paused"
    assert "paused" in rt.failure(rt("exec", "p1", "true"))
    assert "paused state" in rt.failure(rt("pause", "p1"))
    rt.ok("resume", "p1")
    assert "not paused" in rt.failure(rt("resume", "p1"))
    rt.ok("exec", "p1", "true")
    rt.ok("pause", "p1")
    rt.ok("delete", "--force", "p1")


def test_list(rt: Runtime) -> None:
    assert rt.ok("list", "--format", "json") == "null\n"
    rt.create("l1", rt.bundle())
    rows = json.loads(rt.ok("list", "-f", "json"))
    assert [(r["id"], r["status"], r["owner"]) for r in rows] == [("l1", "created", "root")]
    assert rt.ok("list", "-q") == "l1\n"
    head, row = rt.ok("list").splitlines()
    assert re.split(" +", head) == [
        "ID",
        "PID",
        "STATUS",
        "BUNDLE",
        "CREATED",
        "OWNER",
    ] and row.startswith("l1 ")


def test_update_and_events(rt: Runtime) -> None:
    rt.create("u1", rt.bundle())
    rt.ok("start", "u1")
    rt.ok("update", "u1", "--memory", str(200 << 20))
    stats = json.loads(rt.ok("events", "--stats", "u1"))
    assert stats["type"] == "stats" and stats["id"] == "u1"
    assert (
        stats["data"]["memory"]["usage"]["limit"] == 200 << 20
        and stats["data"]["cpu"]["usage"]["total"] > 0
    )
    assert rt.ok("exec", "u1", "grep", "MemTotal", "/proc/meminfo").split()[1] == str(200 << 10)
    rt.ok(
        "update",
        "--resources",
        "-",
        "u1",
        input='{"memory": {"limit": 314572800}, "cpu": {"shares": 512}, "blockIO": null}',
    )
    assert (
        json.loads(rt.ok("events", "--stats", "u1"))["data"]["memory"]["usage"]["limit"]
        == 300 << 20
    )
    rt.ok("update", "u1", "--cpu-quota", "150000", "--cpu-period", "100000", "--pids-limit", "77")
    show = ("sh", "-c", "cd /sys/fs/cgroup; cat cpu.max pids.max memory.max")
    assert rt.ok("exec", "u1", *show).split() == ["150000", "100000", "77", str(300 << 20)]
    assert "stdin" in rt.failure(rt("update", "--resources", "-", "u1", input='{"memory": 1}'))
    assert "duration" in rt.failure(rt("events", "--interval", "x", "u1"))


def test_wait_features_checkpoint(rt: Runtime) -> None:
    rt.create("w1", rt.bundle("sh", "-c", "exit 6"))
    rt.ok("start", "w1")
    assert rt.ok("wait", "w1") == "6\n"
    f = json.loads(rt.ok("features"))
    assert f["ociVersionMin"] == "1.0.0" and "poststop" in f["hooks"]
    for c in ("checkpoint", "restore"):
        assert "not yet supported" in rt.failure(rt(c, "--image-path", "/x", "w1"))


def test_run_detached_and_keep(rt: Runtime) -> None:
    with open("/dev/null", "wb") as null:
        done = subprocess.run(
            rt.argv("run", "-d", "-b", rt.bundle(), "--pid-file", rt.base / "pid", "r1"),
            stdin=null,
            stdout=null,
            stderr=null,
        )
    assert done.returncode == 0 and rt.state("r1")["status"] == "running"
    assert rt("run", "--keep", "-b", rt.bundle("sh", "-c", "exit 4"), "r2").returncode == 4
    assert rt.state("r2")["status"] == "stopped"
    rt.ok("delete", "r2")
    assert rt("run", "-b", rt.bundle("sh", "-c", "exit 5"), "r3").returncode == 5
    rt.failure(rt("state", "r3"))


def test_a_signal_to_run_reaches_the_program(rt: Runtime) -> None:
    b = rt.bundle("bash", "-c", "trap 'exit 8' TERM; echo up; while :; do sleep 0.05; done")
    p = subprocess.Popen(
        rt.argv("run", "-b", b, "r4"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert p.stdout is not None and p.stdout.readline() == b"up\n"
    p.terminate()
    assert p.wait(20) == 8


@pytest.mark.parametrize(
    "command", [["state", "x"], ["list"], ["kill", "x"], ["delete", "--force", "x"], ["ps", "x"]]
)
def test_short_commands_are_fast(rt: Runtime, command: list[str]) -> None:
    """60 ms each on a machine that does nothing else; the best of some, with room for one that does."""
    best = 1.0
    for _ in range(8):
        start = time.monotonic()
        rt(*command)
        best = min(best, time.monotonic() - start)
    assert best < 0.12
