"""What is malformed, missing or hostile: one clear line, status 1, everything taken back, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Runtime, traces
from .test_commands import gone, wait_for

Edit = Callable[[dict[str, Any]], Any]


def set_at(path: str, value: Any) -> Edit:
    """Sets one member of the configuration: "linux.namespaces"."""

    def edit(spec: dict[str, Any]) -> None:
        *where, last = path.split(".")
        for name in where:
            spec = spec.setdefault(name, {})
        spec[last] = value

    return edit


def family(pid: int) -> list[int]:
    """Descendants of a process."""
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                children = [
                    int(c) for c in Path(f"/proc/{p}/task/{t}/children").read_text().split()
                ]
                out += children
                todo += children
        except OSError:
            continue
    return out


def refused(rt: Runtime, bundle: Path, ident: str = "bad") -> str:
    """create fails as it must, and nothing is left; the message."""
    before = set(family(os.getpid()))
    got = rt("create", "-b", bundle, "--pid-file", rt.base / "bad.pid", ident)
    message = rt.failure(got)
    assert not (rt.base / "bad.pid").exists()
    assert not traces(ident) and not (rt.root.is_dir() and os.listdir(rt.root))
    assert set(family(os.getpid())) <= before
    return message


BAD: list[tuple[str, Any, str]] = [
    ("process.args", [], "$.process.args"),
    ("process.args", [1], "$.process.args[0]"),
    ("process.args", None, "$.process.args"),
    ("process.args", [""], 'exec: "": executable file not found in $PATH'),
    ("process.args", ["/no/such"], 'exec: "/no/such": no such file or directory'),
    ("process.cwd", "relative", "$.process.cwd"),
    ("process.cwd", "/a\0b", "NUL"),
    ("process.user", {"uid": -1}, "$.process.user.uid"),
    ("process.user", {"uid": 1 << 32}, "$.process.user.uid"),
    ("process.user", {"uid": "root"}, "$.process.user.uid"),
    ("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], "$.process.rlimits[0].type"),
    ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}], "soft limit above"),
    ("process.oomScoreAdj", 5000, "oomScoreAdj"),
    ("process.env", ["A=\0"], "NUL"),
    ("root.path", "no-such-dir", "no such file or directory"),
    ("root.path", "/etc/passwd", "not a directory"),
    ("root", None, "root"),
    ("hostname", "x" * 100, "$.hostname"),
    ("mounts", [{"destination": "/x", "type": "nfs", "source": "a:/b"}], "`nfs` is not supported"),
    (
        "mounts",
        [{"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]}],
        "no such file",
    ),
    ("mounts", [{"destination": "", "type": "tmpfs"}], "$.mounts[0].destination"),
    ("mounts", [{"destination": "/t", "type": "tmpfs", "options": ["size=nonsense"]}], "/t"),
    ("linux.namespaces", [{"type": "wrong"}], "$.linux.namespaces[0].type"),
    ("linux.namespaces", [{"type": "network"}, {"type": "network"}], "there twice"),
    ("linux.namespaces", [{"type": "network", "path": "/no/such/ns"}], "no such file"),
    ("linux.namespaces", [{"type": "network", "path": "/etc/passwd"}], "join namespace"),
    ("linux.namespaces", [{"type": "pid", "path": "/proc/1/ns/pid"}], "supported in pods only"),
    ("linux.namespaces", [{"type": "user"}], "uidMappings"),
    ("linux.cgroupsPath", "../../x", "cgroupsPath"),
    ("linux.intelRdt", {"l3CacheSchema": "L3:0=ffff0"}, "$.linux.intelRdt"),
    ("linux.personality", {"domain": "LINUX32"}, "$.linux.personality.domain"),
    ("linux.timeOffsets", {"monotonic": {"secs": 5}}, "$.linux.timeOffsets"),
    ("linux.resources", {"network": {"classID": -1}}, "$.linux.resources.network.classID"),
    (
        "mounts",
        [
            {
                "destination": "/x",
                "type": "bind",
                "source": "/tmp",
                "options": ["bind"],
                "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            }
        ],
        "$.mounts[0]: mounts with mapped ids",
    ),
    ("linux.resources", {"memory": {"limit": "much"}}, "$.linux.resources.memory.limit"),
    ("linux.resources", {"memory": {"limit": 1 << 70}}, "$.linux.resources.memory.limit"),
    ("linux.resources", {"cpu": {"cpus": "9999"}}, "cpuset"),
    ("linux.resources", {"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, "hugepage"),
    ("linux.devices", [{"type": "x", "path": "/dev/x"}], "$.linux.devices[0].type"),
    (
        "linux.devices",
        [{"type": "c", "path": "../x", "major": 1, "minor": 3}],
        "$.linux.devices[0].path",
    ),
    ("linux.sysctl", {"vm.swappiness": "1"}, "not in a separate kernel namespace"),
    ("linux.sysctl", {"kernel.hostname": "x"}, "conflicts"),
    ("linux.seccomp", {"defaultAction": 1}, "$.linux.seccomp.defaultAction"),
    ("hooks", {"prestart": [{"path": "relative"}]}, "$.hooks.prestart[0].path"),
    ("hooks", {"prestart": [{"path": "/no/such/hook"}]}, "prestart hook #0"),
    ("hooks", {"prestart": [{"path": "/bin/false"}]}, "prestart hook #0: exit status 1"),
    (
        "hooks",
        {
            "createRuntime": [
                {"path": "/bin/true"},
                {"path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 3"]},
            ]
        },
        "createRuntime hook #1: exit status 3, stdout: , stderr: why",
    ),
    (
        "hooks",
        {"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]},
        "no end after 1 s",
    ),
    ("hooks", {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"]}]}, "signal 9"),
]


@pytest.mark.parametrize(
    ("where", "value", "message"), BAD, ids=[f"{i}-{b[0]}" for i, b in enumerate(BAD)]
)
def test_a_bad_member(rt: Runtime, where: str, value: Any, message: str) -> None:
    assert message in refused(rt, rt.bundle(edit=set_at(where, value)))


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"x"', b"{}" * 2, b"[" * 200000, b"1" * (5 << 20)],
)
def test_what_is_no_configuration(rt: Runtime, raw: bytes) -> None:
    b = rt.bundle()
    (b / "config.json").write_bytes(raw)
    assert "config.json" in refused(rt, b)


def test_truncated_anywhere(rt: Runtime) -> None:
    b = rt.bundle()
    whole = (b / "config.json").read_bytes()
    for n in range(0, len(whole), len(whole) // 7):
        (b / "config.json").write_bytes(whole[:n])
        assert "config.json" in refused(rt, b)


def test_a_fifo_for_a_configuration(rt: Runtime) -> None:
    b = rt.bundle()
    (b / "config.json").unlink()
    os.mkfifo(b / "config.json")
    refused(rt, b)


@pytest.mark.parametrize("ident", ["../x", "a/b", "", ".", "..", "x" * 2000, "a b", "a\nb", "ü"])
@pytest.mark.parametrize("command", ["create", "start", "state", "kill", "delete", "exec"])
def test_bad_ids(rt: Runtime, ident: str, command: str) -> None:
    more = ["-b", str(rt.bundle())] if command == "create" else []
    tail = ["true"] if command == "exec" else []
    assert "invalid container id" in rt.failure(rt(command, *more, ident, *tail))


def test_an_id_that_is_taken(rt: Runtime) -> None:
    b = rt.bundle()
    rt.create("twice", b)
    assert "exists already" in rt.failure(rt("create", "-b", b, "twice"))
    assert rt.state("twice")["status"] == "created"


def test_a_pid_file_that_can_not_be_written(rt: Runtime) -> None:
    got = rt("create", "-b", rt.bundle(), "--pid-file", "/no/such/dir/pid", "bad")
    assert "/no/such/dir/pid" in rt.failure(got)
    assert not traces("bad") and os.listdir(rt.root) == []


def test_a_full_disk(rt: Runtime) -> None:
    small = rt.base / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", small], check=True)
    try:
        (small / "fill").write_bytes(b"x" * 4096)
        got = rt("--root", small / "s", "create", "-b", rt.bundle(), "bad")
        assert "no space left" in rt.failure(got)
        assert not traces("bad")
    finally:
        subprocess.run(["umount", small], check=True)


def test_bad_usage(rt: Runtime) -> None:
    for args in (
        ["start"],
        ["start", "a", "b"],
        ["kill", "--nope", "x"],
        ["create", "--preserve-fds", "x", "y"],
        ["list", "-f", "xml"],
        ["exec", "x"],
    ):
        got = rt(*args)
        assert (
            got.returncode in (1, 255)
            and got.stderr.count("\n") == 1
            and "Traceback" not in got.stderr
        )
    assert rt("create", "--help").stdout.startswith("Usage: nvsandbox create")


def test_a_state_file_that_is_garbage(rt: Runtime) -> None:
    (rt.root / "g1").mkdir(parents=True)
    for text in ("", "{", "[]", '{"pid": "x"}'):
        (rt.root / "g1" / "state.json").write_text(text)
        assert "not a state file" in rt.failure(rt("state", "g1"))
        rt.ok("list")
    rt.ok("delete", "--force", "g1")


def test_a_log_that_can_not_be_written(rt: Runtime) -> None:
    done = subprocess.run(
        [*rt.argv()[:1], "--log", "/no/such/log", "state", "x"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "/no/such/log" in done.stderr and "Traceback" not in done.stderr


def test_create_killed_half_way(rt: Runtime) -> None:
    """kill -9 of create while a hook runs: the container's process ends, delete --force cleans up."""
    b = rt.bundle(
        edit=set_at("hooks", {"prestart": [{"path": "/bin/sleep", "args": ["sleep", "5"]}]})
    )
    p = subprocess.Popen(
        rt.argv("create", "-b", b, "half"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while not (rt.root / "half" / "state.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    inside = int(json.loads((rt.root / "half" / "state.json").read_text())["pid"])
    p.send_signal(signal.SIGKILL)
    p.wait()
    rt.ok("delete", "--force", "half")
    assert not traces("half") and not os.path.exists(f"/proc/{inside}/root/.")


def test_a_sandbox_that_does_not_answer(rt: Runtime) -> None:
    """A stopped Sentry: KILL still works, and delete --force."""
    rt.create("mute", rt.bundle())
    rt.ok("start", "mute")
    pid = rt.state("mute")["pid"]
    sentry = next(p for p in family(pid) if Path(f"/proc/{p}/comm").read_text() == "nv-sentry\n")
    os.kill(sentry, signal.SIGSTOP)
    rt.ok("delete", "--force", "mute")
    assert not traces("mute")
    gone(sentry)


@pytest.mark.parametrize("platform", ["systrap", "ptrace"])
def test_a_stub_is_killed_while_its_program_runs(rt: Runtime, platform: str) -> None:
    """As the host's out-of-memory killer does it: the program is told to have been killed, whatever it was doing."""
    b = rt.bundle("bash", "-c", "bash -c 'while :; do :; done'; echo ended $?")
    argv = rt.argv("run", "-b", b, "busy")
    argv[1:1] = [f"--platform={platform}"]
    ran = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def burnt(pid: int) -> int:
        try:
            if "nv-zygote" not in os.readlink(f"/proc/{pid}/exe"):
                return 0
            return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
        except OSError:
            return 0

    wait_for(lambda: any(burnt(p) > 20 for p in family(ran.pid)), 30)
    os.kill(max(family(ran.pid), key=burnt), signal.SIGKILL)
    assert ran.communicate(timeout=30)[0] == "ended 137\n"


@pytest.mark.parametrize("place", ["proc", "sys"])
def test_proc_and_sys_on_a_symbolic_link(rt: Runtime, tmp_path: Path, place: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / place).symlink_to("/elsewhere")
    b = rt.bundle(edit=lambda s: s["root"].update(path=str(tmp_path / "root")))
    assert f"`/{place}` must be mounted on ordinary directory" in rt.failure(
        rt("create", "-b", b, "x")
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated"),
        (b'{"args": ["true"', "truncated"),
        (b"\xff\xfe", "malformed"),
        (b"[]", "Expected `object`"),
        (b'{"cwd": "/"}', "$.args: a program is needed"),
        (b'{"cwd": "x", "args": ["true"]}', "$.cwd: `x` is not absolute"),
        (b'{"cwd": "/", "args": ["true"], "user": {"uid": -1}}', "$.user.uid"),
        (b'{"cwd": "/", "args": ["true"], "env": ["A=\\u0000"]}', "NUL"),
        (b'{"cwd": "/", "args": ["' + b"x" * (5 << 20) + b'"]}', "larger than 4 MiB"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_process_files(rt: Runtime, tmp_path: Path, content: bytes, message: str) -> None:
    if not rt.root.is_dir():
        assert rt.create("p", rt.bundle()).returncode == 0
        rt.ok("start", "p")
    (tmp_path / "process.json").write_bytes(content)
    for detach in ((), ("--detach",)):
        told = rt.failure(rt("exec", *detach, "--process", tmp_path / "process.json", "p"))
        assert message in told, told
    assert rt.ok("exec", "p", "echo", "fine") == "fine\n"
