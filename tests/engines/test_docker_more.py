"""docker: what a terminal, a stream and the engine's own events see of a container; flags that take files."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from .conftest import Docker
from .test_docker_life import until

RUNTIMES = ("nvsandbox", "runc")


def test_events(docker: Docker) -> None:
    """The same events in the same order, with the same exit status."""
    seen = {}
    for which in RUNTIMES:
        since = f"{time.time():.6f}"
        c = docker.ok("run", "-d", f"--runtime={which}", "--network=none", "busybox", "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done")  # fmt: skip
        docker.ok("exec", c, "true")
        docker.ok("pause", c)
        docker.ok("unpause", c)
        docker.ok("stop", "-t", "20", c)
        docker.ok("rm", c)
        got = docker.ok("events", "--since", since, "--until", f"{time.time() + 1:.6f}", "--filter", f"container={c}", "--format", "{{json .}}")  # fmt: skip
        rows = [json.loads(line) for line in got.splitlines()]
        seen[which] = [(r["Action"], r["Actor"]["Attributes"].get("exitCode", "")) for r in rows]
    assert seen["nvsandbox"] == seen["runc"]
    assert ("die", "5") in seen["nvsandbox"]


def test_an_out_of_memory_event(docker: Docker) -> None:
    actions = {}
    for which in RUNTIMES:
        since = f"{time.time():.6f}"
        c = docker.ok(
            "run", "-d", f"--runtime={which}", "--network=none", "-m", "64m", "--memory-swap", "64m", "busybox", "sh", "-c",
            "dd if=/dev/zero of=/dev/null bs=300M count=1",
        )  # fmt: skip
        docker.ok("wait", c)
        state = docker.ok("inspect", "-f", "{{.State.OOMKilled}}", c)
        got = docker.ok("events", "--since", since, "--until", f"{time.time() + 1:.6f}", "--filter", f"container={c}", "--format", "{{.Action}}")  # fmt: skip
        actions[which] = (state, "oom" in got.split(), "die" in got.split())
        docker.ok("rm", c)
    assert actions["nvsandbox"] == actions["runc"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_standard_input(docker: Docker, runtime: str) -> None:
    data = "x" * 300_000 + "\nend\n"
    got = docker(
        "run", "--rm", "-i", f"--runtime={runtime}", "busybox", "sh", "-c", "wc -c; cat >&2; echo closed", input=data
    )  # fmt: skip
    assert (got.returncode, got.stdout) == (0, f"{len(data)}\nclosed\n"), got.stderr


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("command", ["run", "exec", "attach"])
def test_a_terminal_is_resized_and_left(docker: Docker, runtime: str, command: str) -> None:
    """Window sizes reach the program as SIGWINCH; ^P^Q leaves it running."""
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    name = f"nvtty-{runtime}-{command}"
    if command == "run":
        args = ["run", "-it", "--name", name, f"--runtime={runtime}", "busybox", "sh", "-c", script]
    else:
        docker.ok("run", "-dit", "--name", name, f"--runtime={runtime}", "busybox", "sh", "-c", script)  # fmt: skip
        args = ["exec", "-it", name, "sh", "-c", script] if command == "exec" else ["attach", name]
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    p = subprocess.Popen(
        ["setsid", "-c", docker.program, *args], stdin=slave, stdout=slave, stderr=slave, env=docker.env,
    )  # fmt: skip
    os.close(slave)
    os.set_blocking(master, False)
    shown = b""

    def shows(text: bytes) -> bool:
        nonlocal shown
        try:
            shown += os.read(master, 4096)
        except (BlockingIOError, OSError):
            pass
        return text in shown

    try:
        if command != "attach":  # what was printed before is not shown again
            until(lambda: shows(b"ready"))
        size = 30

        def resized() -> bool:
            nonlocal size
            size += 1  # again: an attach may have come too late for the first
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size, 100, 0, 0))
            p.send_signal(signal.SIGWINCH)
            time.sleep(0.1)
            return shows(b" 100")

        until(resized)
        os.write(master, b"\x10\x11")
        until(lambda: p.poll() is not None)
        assert docker.ok("inspect", "-f", "{{.State.Running}}", name) == "true"
    finally:
        p.kill()
        p.wait()
        os.close(master)
        docker("rm", "-f", name)


PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}


def test_a_seccomp_profile(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(PROFILE))
    got = []
    for which in RUNTIMES:
        flags = ["--rm", f"--runtime={which}", "--security-opt", f"seccomp={tmp_path}/p.json"]
        done = docker("run", *flags, "busybox", "sh", "-c", "mkdir /tmp/x; echo $?; grep Seccomp: /proc/self/status")  # fmt: skip
        got.append((done.returncode, done.stdout, done.stderr))
    assert got[0] == got[1] and "Operation not permitted" in got[0][2]


@pytest.mark.parametrize(
    "flags",
    [
        ["--security-opt", "apparmor=unconfined"], ["--security-opt", "label=disable"], ["--cpu-quota", "20000", "--cpu-period", "50000"],
        ["--memory", "64m", "--memory-reservation", "40m", "--memory-swap", "128m"], ["--env-file", "{file}"], ["--log-driver", "none"],
        ["--label-file", "{file}"], ["--cidfile", "{new}"], ["--cgroupns", "private"], ["--mac-address", "02:42:ac:11:00:99"],
        ["--network-alias", "x", "--network", "none"], ["--pull", "never"], ["--isolation", "default"], ["--detach-keys", "ctrl-a"],
        ["--stop-timeout", "3"], ["--tmpfs", "/a:exec,uid=5,mode=1777"], ["--volumes-from", "nosuch"], ["--mount", "type=tmpfs,target=/m,tmpfs-size=1m"],
        ["--blkio-weight", "300"], ["--device-cgroup-rule", "c 1:3 rw"], ["--oom-kill-disable", "-m", "64m"], ["--memory-swappiness", "10"],
    ],
    ids=lambda f: " ".join(f[:2]),
)  # fmt: skip
def test_flags(docker: Docker, tmp_path: Path, flags: list[str]) -> None:
    """Whatever docker makes of a flag, a container runs, or does not, as with runc."""
    (tmp_path / "file").write_text("FROM_FILE=1\n")
    got = []
    for which in RUNTIMES:
        new = tmp_path / f"new-{which}"
        filled = [f.format(file=tmp_path / "file", new=new) for f in flags]
        done = docker("run", "--rm", f"--runtime={which}", *filled, "busybox", "sh", "-c", "echo $FROM_FILE ran; mount | grep -c ' /[am] '")  # fmt: skip
        got.append((done.returncode, done.stdout))
        assert "nvsandbox" in which or "OCI runtime" not in done.stderr, done.stderr
    assert got[0] == got[1]
