"""Several containers of a pod in one Sentry, by the annotations that the CRI sets."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from .conftest import Runtime, traces
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
    assert int(seen) == 2  # b's and the sandbox's own


def test_a_pod_that_is_not_there(rt: Runtime, style: tuple[str, str]) -> None:
    b = rt.bundle(edit=lambda s: s.update(annotations={style[0]: "container", style[1]: "nope"}))
    assert "pod sandbox `nope`: container does not exist" in rt.failure(rt("create", "-b", b, "a"))
    b = rt.bundle(edit=lambda s: s.update(annotations={style[0]: "container", style[1]: "../x"}))
    assert "invalid container id" in rt.failure(rt("create", "-b", b, "a"))
    b = rt.bundle(edit=lambda s: s.update(annotations={style[0]: "container"}))
    assert "is missing" in rt.failure(rt("create", "-b", b, "a"))
    assert json.loads(rt.ok("list", "-f", "json")) is None
