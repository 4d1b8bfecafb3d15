"""Several containers of a pod in one Sentry, by the annotations that the CRI sets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import OWN, Runtime, traces
from .test_bad_input import family
from .test_commands import gone, wait_for

STYLES = {
    "containerd": ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    "cri-o": ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
}


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest) -> tuple[str, str]:
    return STYLES[request.param]


def pod(rt: Runtime, style: tuple[str, str]) -> int:
    """A running sandbox called "pod"; the pid of its pid-file process."""
    b = rt.bundle(
        "sleep",
        "1000",
        edit=lambda s: s.update(annotations={style[0]: "sandbox"}, hostname="podname"),
    )
    assert rt.create("pod", b).returncode == 0
    rt.ok("start", "pod")
    return int(rt.state("pod")["pid"])


def member(rt: Runtime, style: tuple[str, str], ident: str, script: str, edit: Any = None) -> int:
    infra = rt.state("pod")["pid"]

    def change(s: dict[str, Any]) -> None:
        s["annotations"] = {style[0]: "container", style[1]: "pod"}
        s["linux"]["namespaces"] = [
            {"type": "pid"}, {"type": "mount"},
            *({"type": t, "path": f"/proc/{infra}/ns/{f}"} for t, f in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"))),
        ]  # fmt: skip
        if edit is not None:
            edit(s)

    assert rt.create(ident, rt.bundle("bash", "-c", script, edit=change)).returncode == 0, (
        rt.base / "err"
    ).read_text()
    return int(rt.state(ident)["pid"])


def test_two_containers(rt: Runtime, style: tuple[str, str], tmp_path: Path) -> None:
    infra = pod(rt, style)
    shared = tmp_path / "shared"
    shared.mkdir()

    def volume(s: dict[str, Any]) -> None:
        s["mounts"].append(
            {"destination": "/shared", "type": "bind", "source": str(shared), "options": ["bind"]}
        )

    a = member(
        rt,
        style,
        "a",
        "echo a >/tmp/mine; echo from a >/shared/f; hostname; python3 -m http.server 8000 -b 127.0.0.1 >/dev/null 2>&1",
        volume,
    )
    b = member(rt, style, "b", "ls /tmp; trap 'exit 5' TERM; while :; do sleep 0.05; done", volume)
    assert len({infra, a, b}) == 3 and rt.state("b")["status"] == "created"
    rt.ok("start", "a")
    rt.ok("start", "b")
    sentries = [
        p
        for p in family(infra) + family(a) + family(b)
        if Path(f"/proc/{p}/comm").read_text() == "nv-sentry\n"
    ]
    assert len(set(sentries)) == 1
    out = rt.base / "out"
    wait_for(lambda: "podname\n" in out.read_text())
    # Roots are apart, volumes and the network are shared.
    assert (
        rt("exec", "b", "cat", "/tmp/mine").returncode == 1
        and rt.ok("exec", "a", "cat", "/tmp/mine") == "a\n"
    )
    assert rt.ok("exec", "b", "cat", "/shared/f") == "from a\n"
    fetch = (
        "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/etc/hostname').status)"
    )
    wait_for(lambda: rt("exec", "b", "python3", "-c", fetch).stdout == "200\n")
    for pid, name in ((a, "a"), (b, "b")):
        assert all(
            line.endswith(f"/{name}")
            for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        )
    # Each writes to its own root's disk, through its own pid-file process.
    rt.ok("exec", "b", "sh", "-c", "head -c 5000000 /dev/zero >/big")
    links = []
    for fd in Path(f"/proc/{sentries[0]}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            links.append(os.readlink(fd))
    root = os.path.realpath(rt.rootfs)
    assert any(x.startswith(f"{root}/") and x.endswith(" (deleted)") for x in links), links
    # Each has its own signals, status and end.
    rt.ok("kill", "b", "TERM")
    gone(b)
    assert rt.ok("wait", "b") == "5\n" and rt.state("a")["status"] == "running"
    rt.ok("delete", "b")
    assert not traces("b") and rt.ok("exec", "a", "echo", "on") == "on\n"
    rt.ok("kill", "--all", "a", "9")
    gone(a)
    rt.ok("delete", "a")
    c = member(rt, style, "a", "exit 3")  # the name is free again
    rt.ok("start", "a")
    gone(c)
    assert rt.state("pod")["status"] == "running"


def test_the_end_of_the_sandbox_is_the_end_of_all(rt: Runtime, style: tuple[str, str]) -> None:
    infra = pod(rt, style)
    a = member(rt, style, "a", "sleep 100")
    rt.ok("start", "a")
    rt.ok("kill", "pod", "9")
    gone(infra)
    gone(a)
    assert rt.state("a")["status"] == "stopped"
    rt.ok("delete", "a")


@pytest.mark.parametrize("victim", ["relay", "gofer"])
def test_kill_9_in_one_container_leaves_the_pod(
    rt: Runtime, style: tuple[str, str], victim: str
) -> None:
    pod(rt, style)
    a = member(rt, style, "a", "sleep 100")
    member(rt, style, "b", "sleep 100")
    rt.ok("start", "a")
    rt.ok("start", "b")
    os.kill(a if victim == "relay" else family(a)[0], signal.SIGKILL)
    gone(a)
    assert rt.ok("exec", "b", "echo", "alive") == "alive\n"
    seen = rt.ok("exec", "b", "bash", "-c", "grep -l sleep /proc/[0-9]*/comm | wc -l")
    assert int(seen) == 1  # b's: it sees no other container's


def test_a_pod_that_is_not_there(rt: Runtime, style: tuple[str, str]) -> None:

    def stray(s: dict[str, Any]) -> None:
        s["annotations"] = {style[0]: "container", style[1]: "nope"}
        s["linux"]["namespaces"] = [
            {"type": "mount"},
            {"type": "ipc", "path": "/proc/self/ns/ipc"},
        ]

    b = rt.bundle(edit=stray)
    assert "pod sandbox `nope`: container does not exist" in rt.failure(rt("create", "-b", b, "a"))
    b = rt.bundle(edit=lambda s: s.update(annotations={style[0]: "container", style[1]: "../x"}))
    assert "invalid container id" in rt.failure(rt("create", "-b", b, "a"))
    b = rt.bundle(edit=lambda s: s.update(annotations={style[0]: "container"}))
    assert "is missing" in rt.failure(rt("create", "-b", b, "a"))
    # A pod without a sandbox container, as podman makes it: nothing is shared, so there is nobody to join
    b = rt.bundle(
        "true", edit=lambda s: s.update(annotations={style[0]: "container", style[1]: "nope"})
    )
    rt.ok("run", "-b", b, "a")
    assert json.loads(rt.ok("list", "-f", "json")) is None


SHOW = """
echo pid $$ parent $PPID
ls /proc | grep -x '[0-9]*' | head -1
(exit 7) & wait $!; echo child $?
setsid sh -c 'sleep 0.2 & ' ; sleep 0.05; cat /proc/$(pgrep -n sleep 2>/dev/null || echo self)/status | grep -c PPid
kill -9 $$ ; echo init ignores its own kill
kill -0 4242 2>/dev/null || echo none
exec sleep 1000
"""


def test_pid_namespaces(rt: Runtime, style: tuple[str, str]) -> None:
    """Each container's first process is pid 1, takes its orphans, sees and can signal its own processes only."""
    pod(rt, style)
    for name in "ab":
        member(rt, style, name, SHOW)
        rt.ok("start", name)
    out = rt.base / "out"
    wait_for(lambda: out.read_text().count("none\n") == 2)
    for line in ("pid 1 parent 0", "1", "child 7", "init ignores its own kill"):
        assert out.read_text().splitlines().count(line) >= 2, out.read_text()
    look = "cat /proc/1/cmdline | tr '\\0' ' '; echo; cat /proc/[0-9]*/comm | sort | uniq -c | tr -s ' '"
    for name in "ab":
        wait_for(lambda name=name: rt.ok("exec", name, "cat", "/proc/1/comm") == "sleep\n")
        shown = rt.ok("exec", name, "bash", "-c", look).splitlines()
        assert shown[0].strip() == "sleep 1000" and " 1 sleep" in shown, shown
    # everybody but init dies by kill -1, in one container
    for name in "ab":
        subprocess.run(
            rt.argv("exec", "-d", name, "sleep", "500"), check=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    rt("exec", "a", "bash", "-c", "kill -9 -1")
    count = "grep -l sleep /proc/[0-9]*/comm | wc -l"
    wait_for(lambda: rt.ok("exec", "a", "bash", "-c", count) == "1\n")
    assert rt.ok("exec", "b", "bash", "-c", count) == "2\n"
    # the end of pid 1 is the end of its container
    rt.ok("kill", "a", "9")
    wait_for(lambda: rt.state("a")["status"] == "stopped")
    assert rt.ok("exec", "b", "bash", "-c", count) == "2\n"
    # pids are the container's own: the new one starts with 1 again
    rt.ok("delete", "a")
    member(rt, style, "a", "echo again $$; exec sleep 1000")
    rt.ok("start", "a")
    wait_for(lambda: "again 1\n" in out.read_text())


def test_a_shared_pid_namespace(rt: Runtime, style: tuple[str, str]) -> None:
    """shareProcessNamespace: the path of the sandbox's namespace is given."""
    infra = pod(rt, style)

    def share(s: dict[str, Any]) -> None:
        s["linux"]["namespaces"][0]["path"] = f"/proc/{infra}/ns/pid"

    member(rt, style, "a", "exec sleep 2000", share)
    member(rt, style, "b", "exec sleep 3000", share)
    rt.ok("start", "a")
    rt.ok("start", "b")
    look = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; echo; done"
    wait_for(lambda: {"sleep 1000 ", "sleep 2000 ", "sleep 3000 "} <= set(rt.ok("exec", "a", "bash", "-c", look).splitlines()))  # fmt: skip
    assert rt.ok("exec", "b", "cat", "/proc/1/cmdline") == "sleep\x001000\x00"
    rt.ok("exec", "b", "bash", "-c", "kill -9 $(pgrep -f '[s]leep 2000')")
    wait_for(lambda: rt.state("a")["status"] == "stopped")
    assert rt.state("b")["status"] == "running"


def test_limits_and_statistics_of_one_container(rt: Runtime, style: tuple[str, str]) -> None:
    pod(rt, style)

    def limited(s: dict[str, Any]) -> None:
        s["linux"]["resources"] = {
            "memory": {"limit": 200 << 20},
            "pids": {"limit": 12},
            "cpu": {"quota": 50000, "period": 100000},
        }

    member(rt, style, "a", "sleep 1000 & sleep 1000 & exec sleep 1000", limited)
    member(rt, style, "b", "exec sleep 1000")
    rt.ok("start", "a")
    rt.ok("start", "b")
    show = "cd /sys/fs/cgroup; cat pids.max memory.max cpu.max pids.current; awk '/MemTotal/{print $2}' /proc/meminfo; wc -l <cgroup.procs"
    wait_for(lambda: rt.ok("exec", "a", "cat", "/sys/fs/cgroup/pids.current") == "4\n")
    got = rt.ok("exec", "a", "bash", "-c", show).split("\n")
    assert got[:3] == ["12", str(200 << 20), "50000 100000"] and int(got[4]) == 200 << 10, got
    assert rt.ok("exec", "b", "cat", "/sys/fs/cgroup/pids.max") == "max\n"
    assert int(rt.ok("exec", "b", "awk", "/MemTotal/{print $2}", "/proc/meminfo")) > 200 << 10
    storm = "for i in $(seq 30); do sleep 3 & done 2>&1; true"
    assert "Resource temporarily unavailable" in rt("exec", "a", "bash", "-c", storm).stdout
    assert "unavailable" not in rt.ok("exec", "b", "bash", "-c", storm)
    rt.ok("update", "--pids-limit", "40", "--memory", str(300 << 20), "a")
    assert rt.ok("exec", "a", "cat", "/sys/fs/cgroup/pids.max") == "40\n"
    assert rt.ok("exec", "a", "cat", "/sys/fs/cgroup/memory.max") == f"{300 << 20}\n"
    assert rt.ok("exec", "b", "cat", "/sys/fs/cgroup/pids.max") == "max\n"
    busy = "import time\nt = time.process_time()\nwhile time.process_time() < t + 0.3: pass"
    rt.ok("exec", "b", "python3", "-c", busy)
    usage = "awk '/usage_usec/{print $2}' /sys/fs/cgroup/cpu.stat"
    assert int(rt.ok("exec", "a", "bash", "-c", usage)) < 300_000
    stats = json.loads(rt.ok("events", "--stats", "a"))
    assert stats["id"] == "a" and stats["data"]["pids"]["current"] > 0


def test_seccomp_profiles_are_a_containers(rt: Runtime, style: tuple[str, str]) -> None:
    pod(rt, style)

    def profile(s: dict[str, Any]) -> None:
        s["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
        }  # fmt: skip

    member(rt, style, "a", "exec sleep 1000", profile)
    member(rt, style, "b", "exec sleep 1000")
    rt.ok("start", "a")
    rt.ok("start", "b")
    try_it = (
        "mkdir /tmp/x; python3 -c 'import os; print(os.getppid())'; grep Seccomp: /proc/self/status"
    )
    a, b = (rt("exec", n, "bash", "-c", f"({try_it}) 2>&1").stdout for n in "ab")
    assert "Function not implemented" in a and "-38\n" in a and "Seccomp:\t2" in a, a
    assert "not implemented" not in b and "-38\n" not in b and "Seccomp:\t0" in b, b


def stubs_of(name: str) -> list[int]:
    """Stub processes in the control group of a container."""
    found = []
    group = f"/{OWN}/{name}"
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            exe = os.readlink(f"/proc/{pid}/exe")
            groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            continue
        if "nv-zygote" in exe and any(line.endswith(group) for line in groups):
            assert all(line.endswith((group, "::/")) for line in groups), groups
            found.append(pid)
    return found


HUNGRY = 'x = []\nwhile True: x.append(bytearray(b"x" * (4 << 20)))'


def test_memory_and_cpu_of_one_container_are_its_own(rt: Runtime, style: tuple[str, str]) -> None:
    """The host's kernel counts and limits: what a container runs is in its group. Who runs out of memory dies alone."""
    pod(rt, style)

    def limited(s: dict[str, Any]) -> None:
        s["linux"]["resources"] = {"memory": {"limit": 96 << 20}}

    member(rt, style, "a", "while ! [ -e /go ]; do sleep 0.1; done; exec python3 -c '" + HUNGRY + "'", limited)  # fmt: skip
    b = member(rt, style, "b", "exec sleep 1000")
    rt.ok("start", "a")
    rt.ok("start", "b")
    assert stubs_of("a") and stubs_of("b")
    stats = json.loads(rt.ok("events", "--stats", "b"))["data"]
    burn = "import time\nx = bytearray(b'x' * (50 << 20))\nt = time.process_time()\nwhile time.process_time() < t + 1: pass"
    rt.ok("exec", "b", "python3", "-c", burn)
    after = json.loads(rt.ok("events", "--stats", "b"))["data"]
    assert after["cpu"]["usage"]["total"] - stats["cpu"]["usage"]["total"] > 900_000_000
    assert after["memory"]["usage"]["max"] > 50 << 20
    with open(rt.base / "events", "wb") as told:
        watch = subprocess.Popen(rt.argv("events", "--interval", "100ms", "a"), stdout=told)
        rt.ok("exec", "a", "touch", "/go")
        wait_for(lambda: rt.state("a")["status"] == "stopped", 30)
        watch.wait(20)
    assert rt.ok("wait", "a") == "137\n"
    assert '"type":"oom"' in (rt.base / "events").read_text()
    assert rt.state("b")["status"] == "running" and rt.ok("exec", "b", "echo", "on") == "on\n"
    # one that is not the first program: the container goes on
    rt.ok("update", "--memory", str(96 << 20), "b")
    assert rt("exec", "b", "python3", "-c", HUNGRY).returncode == 137
    assert rt.ok("exec", "b", "echo", "on") == "on\n" and rt.state("b")["pid"] == b
    rt.ok("delete", "a")
    wait_for(lambda: not stubs_of("a"))


def test_a_paused_container_stops_alone(rt: Runtime, style: tuple[str, str]) -> None:
    pod(rt, style)
    count = "i=0; while :; do i=$((i+1)); echo $i >/tmp/n; sleep 0.02; done"
    for name in "ab":
        member(rt, style, name, count)
        rt.ok("start", name)
        wait_for(lambda name=name: rt("exec", name, "cat", "/tmp/n").returncode == 0)
    rt.ok("pause", "a")
    assert rt.state("a")["status"] == "paused"
    seen = int(rt.ok("exec", "b", "cat", "/tmp/n") or 0)
    wait_for(lambda: int(rt.ok("exec", "b", "cat", "/tmp/n") or 0) > seen + 20)
    rt.ok("resume", "a")
    seen = int(rt.ok("exec", "a", "cat", "/tmp/n") or 0)
    wait_for(lambda: int(rt.ok("exec", "a", "cat", "/tmp/n") or 0) > seen + 5)
    rt.ok("pause", "a")
    rt.ok("delete", "--force", "a")
    assert rt.ok("exec", "b", "echo", "on") == "on\n"
