"""A container's life under docker: detached, exec, attach, logs, signals, pause, limits, copies, images, restarts."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Docker
from .test_docker_run import RUNTIMES

Started = Callable[..., str]


def until(what: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Every test runs on both: what it asserts holds for runc, too."""
    return str(request.param)


@pytest.fixture
def started(docker: Docker, runtime: str) -> Iterator[Started]:
    """Starts a detached container, removed at the end: ``started("sleep 100", "-e", "A=1")``."""
    ids = []

    def start(script: str, *flags: str) -> str:
        ids.append(
            docker.ok("run", "-d", f"--runtime={runtime}", *flags, "busybox", "sh", "-c", script)
        )
        return ids[-1]

    yield start
    for i in ids:
        docker("rm", "-f", "-v", i)


def field(docker: Docker, ident: str, path: str) -> str:
    return docker.ok("inspect", "-f", "{{" + path + "}}", ident)


def test_exec(docker: Docker, started: Started) -> None:
    c = started("sleep 100", "-e", "FROM=image", "-w", "/tmp")
    assert docker.ok("exec", c, "sh", "-c", "echo $FROM; pwd") == "image\n/tmp"
    assert (
        docker.ok(
            "exec", "-e", "A=b", "-w", "/etc", "-u", "1000", c, "sh", "-c", "echo $A; pwd; id -u"
        )
        == "b\n/etc\n1000"
    )
    assert docker("exec", "-i", c, "cat", input="through\n").stdout == "through\n"
    assert docker("exec", c, "sh", "-c", "exit 9").returncode == 9
    assert docker("exec", c, "sh", "-c", "kill -9 $$").returncode == 137
    assert docker("exec", c, "nosuchprogram").returncode in (126, 127)
    assert docker("exec", c, "/etc/passwd").returncode == 126
    docker.ok("exec", "-d", c, "sh", "-c", "echo x >/tmp/made; sleep 50")
    until(lambda: docker("exec", c, "cat", "/tmp/made").stdout == "x\n")


def test_exec_sees_many_at_once(docker: Docker, started: Started) -> None:
    c = started("sleep 100")
    ps = [
        subprocess.Popen(
            [docker.program, "exec", c, "sh", "-c", f"sleep 0.2; exit {i}"], env=docker.env
        )
        for i in range(5)
    ]
    assert [p.wait(30) for p in ps] == list(range(5))


def test_exec_with_a_terminal(docker: Docker, started: Started) -> None:
    c = started("sleep 100")
    line = f"{docker.program} exec -it {c} sh -c 'tty; stty size; read x; echo got $x'"
    done = subprocess.run(
        ["script", "-qec", line, "/dev/null"], input="word\n", capture_output=True, text=True,
        timeout=30, env=docker.env,
    )  # fmt: skip
    assert "/dev/pts/" in done.stdout and "got word" in done.stdout, done


def test_run_with_a_terminal(docker: Docker, runtime: str) -> None:
    line = f"{docker.program} run --rm -it --runtime={runtime} busybox sh -c 'tty; test -t 0 && echo tty; exit 4'"
    done = subprocess.run(
        ["script", "-qec", line, "/dev/null"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=30, env=docker.env,
    )  # fmt: skip
    assert done.returncode == 4 and "\ntty\n" in done.stdout, done


def test_logs_and_exit_code(docker: Docker, started: Started) -> None:
    c = started("echo one; echo two >&2; exit 5")
    assert docker.ok("wait", c) == "5"
    got = docker("logs", c)
    assert (got.stdout, got.stderr) == ("one\n", "two\n")
    assert (
        field(docker, c, ".State.ExitCode") == "5" and field(docker, c, ".State.Status") == "exited"
    )


def test_stop_and_kill(docker: Docker, started: Started) -> None:
    c = started("trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: docker("logs", c).stdout == "ready\n")
    docker.ok("stop", c)
    assert docker.ok("wait", c) == "3" and docker("logs", c).stdout == "ready\nterm\n"
    c = started("trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done")
    until(lambda: docker("logs", c).stdout == "ready\n")
    docker.ok("kill", "-s", "USR1", c)
    until(lambda: docker("logs", c).stdout == "ready\nusr1\n")
    docker.ok("kill", c)
    assert docker.ok("wait", c) == "137"
    assert docker("kill", c).returncode == 1  # not running


def test_pid_1_ignores_what_it_does_not_handle(docker: Docker, started: Started) -> None:
    c = started("exec sleep 100")
    docker.ok("kill", "-s", "TERM", c)
    time.sleep(0.3)
    assert field(docker, c, ".State.Running") == "true"
    docker.ok("stop", "-t", "1", c)
    assert docker.ok("wait", c) == "137"


def test_pause(docker: Docker, started: Started) -> None:
    c = started("while :; do echo x; sleep 0.05; done")
    until(lambda: bool(docker("logs", c).stdout))
    docker.ok("pause", c)
    assert field(docker, c, ".State.Status") == "paused"
    before = docker("logs", c).stdout
    time.sleep(0.3)
    assert docker("logs", c).stdout == before
    assert docker("exec", c, "true").returncode == 1
    docker.ok("unpause", c)
    until(lambda: len(docker("logs", c).stdout) > len(before))
    docker.ok("pause", c)
    docker.ok("rm", "-f", c)


def test_top(docker: Docker, started: Started) -> None:
    c = started("exec sleep 12345")
    docker.ok("exec", "-d", c, "sleep", "54321")
    rows = docker.ok("top", c).splitlines()
    assert (
        len(rows) == 3
        and any("sleep 12345" in r for r in rows)
        and any("sleep 54321" in r for r in rows)
    )


def test_stats(docker: Docker, started: Started) -> None:
    c = started("while :; do :; done", "-m", "128m")
    row = json.loads(docker.ok("stats", "--no-stream", "--format", "{{json .}}", c))
    assert (
        "128MiB" in row["MemUsage"]
        and float(row["CPUPerc"].rstrip("%")) > 5
        and int(row["PIDs"]) >= 1
    )


def test_attach(docker: Docker, runtime: str) -> None:
    script = "read x; echo got $x; exit 6"
    c = docker.ok("create", "-i", f"--runtime={runtime}", "busybox", "sh", "-c", script)
    done = docker("start", "-ai", c, input="line\n")
    assert done.returncode == 6 and done.stdout == "got line\n"
    docker.ok("rm", c)


def test_cp(docker: Docker, started: Started, tmp_path: Path, runtime: str) -> None:
    """Into a volume and out of it; the root of a sandbox is memory that the engine does not see."""
    c = started("sleep 100", "-v", "/data")
    (tmp_path / "f").write_text("copied")
    docker.ok("cp", tmp_path / "f", f"{c}:/data/f")
    assert docker.ok("exec", c, "cat", "/data/f") == "copied"
    docker.ok("exec", c, "sh", "-c", "echo back >/data/g")
    docker.ok("cp", f"{c}:/data/g", tmp_path / "g")
    assert (tmp_path / "g").read_text() == "back\n"


def test_cp_with_a_root_that_is_written_through(docker: Docker, tmp_path: Path) -> None:
    """Files that the engine puts into the root of a running container, in the place of others, too."""
    c = docker.ok("run", "-d", "--runtime=nvthrough", "busybox", "sleep", "100")
    try:
        docker.ok("exec", c, "sh", "-c", "cat /etc/group >/dev/null; echo inside >/made")
        for text in ("first\n", "the second\n"):
            (tmp_path / "f").write_text(text)
            for place in ("/etc/group", "/new"):
                docker.ok("cp", tmp_path / "f", f"{c}:{place}")
                assert docker.ok("exec", c, "cat", place) == text.strip()
        docker.ok("cp", f"{c}:/made", tmp_path / "made")
        assert (tmp_path / "made").read_text() == "inside\n"
    finally:
        docker("rm", "-f", c)


def test_update(docker: Docker, started: Started) -> None:
    c = started("sleep 100", "-m", "64m", "--memory-swap", "64m")
    docker.ok(
        "update", "-m", "96m", "--memory-swap", "96m", "--cpus", "0.5", "--pids-limit", "77", c
    )
    assert field(docker, c, ".HostConfig.Memory") == str(96 << 20)


def test_limits_are_seen_inside(docker: Docker) -> None:
    script = "grep MemTotal /proc/meminfo; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max; nproc"
    flags = ["-m", "100m", "--pids-limit", "55", "--cpus", "1.5", "--cpuset-cpus", "0"]
    got = docker.ok("run", "--rm", "--runtime=nvsandbox", *flags, "busybox", "sh", "-c", script)
    assert got.split() == [
        "MemTotal:",
        "102400",
        "kB",
        str(100 << 20),
        "55",
        "150000",
        "100000",
        "1",
    ]


def test_pids_limit(docker: Docker, runtime: str) -> None:
    script = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; echo never"
    got = docker(
        "run", "--rm", f"--runtime={runtime}", "--pids-limit", "12", "busybox", "sh", "-c", script
    )
    assert "can't fork" in got.stderr and got.returncode


def test_out_of_memory(docker: Docker, started: Started) -> None:
    c = started("exec tail -c 400m /dev/zero", "-m", "64m", "--memory-swap", "64m")
    assert docker.ok("wait", c) == "137"
    until(lambda: field(docker, c, ".State.OOMKilled") == "true")


def test_inspect(docker: Docker, started: Started, runtime: str) -> None:
    c = started("sleep 100")
    state = json.loads(docker.ok("inspect", c))[0]
    assert (
        state["State"]["Running"]
        and state["State"]["Pid"] > 1
        and state["HostConfig"]["Runtime"] == runtime
    )
    assert state["NetworkSettings"]["IPAddress"].startswith("172.")


def test_restart_policy(docker: Docker, started: Started) -> None:
    c = started("sleep 0.3; exit 1", "--restart", "on-failure:2")
    until(
        lambda: (
            field(docker, c, ".RestartCount") == "2"
            and field(docker, c, ".State.Status") == "exited"
        ),
        30,
    )
    docker.ok("start", c)
    docker.ok("restart", "-t", "0", c)


def test_health(docker: Docker, started: Started) -> None:
    c = started(
        "sleep 100",
        "--health-cmd",
        "test -e /tmp/ok",
        "--health-interval",
        "300ms",
        "--health-retries",
        "1",
    )
    until(lambda: field(docker, c, ".State.Health.Status") == "unhealthy")
    docker.ok("exec", c, "touch", "/tmp/ok")
    until(lambda: field(docker, c, ".State.Health.Status") == "healthy")


def test_commit_and_build(docker: Docker, tmp_path: Path) -> None:
    """Images get what was written with --overlay2=none (runtime nvthrough)."""
    c = docker.ok(
        "run",
        "-d",
        "--runtime=nvthrough",
        "busybox",
        "sh",
        "-c",
        "echo new >/made; mkdir /d; chown 5 /d; ln -s x /l; rm /etc/group",
    )
    assert docker.ok("wait", c) == "0"
    assert {"A /made", "A /d", "A /l", "D /etc/group"} <= set(docker.ok("diff", c).splitlines())
    docker.ok("commit", c, "nvtest:committed")
    docker.ok("rm", c)
    assert docker.ok("run", "--rm", "--runtime=runc", "nvtest:committed", "cat", "/made") == "new"
    docker.ok("rmi", "nvtest:committed")


def test_build(docker: Docker, tmp_path: Path) -> None:
    """RUN steps go to the daemon's default runtime; --overlay2=none lets what they write reach the image."""
    config = docker.base / "daemon.json"
    before = config.read_text()

    def default(name: str) -> None:
        docker.stop()
        docker.start()
        assert docker.ok("info", "-f", "{{.DefaultRuntime}}") == name

    (tmp_path / "f").write_text("from the context\n")
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\n"
        "RUN uname -r >/made && mkdir -m 700 /d && rm /etc/group\n"
        "COPY f /f\n"
        "RUN cat /made /f >/both\n"
        'CMD ["cat", "/both"]\n'
    )
    try:
        config.write_text(json.dumps({**json.loads(before), "default-runtime": "nvthrough"}))
        default("nvthrough")
        docker.ok("build", "-t", "nvtest:built", tmp_path)
        bad = docker("build", "-", input="FROM busybox\nRUN exit 3\n")
        assert bad.returncode != 0 and "non-zero code: 3" in bad.stderr + bad.stdout
    finally:
        config.write_text(before)
        default("runc")
    out = docker.ok("run", "--rm", "--runtime=runc", "nvtest:built")
    assert out.splitlines()[0].endswith("-nvsandbox") and out.endswith("from the context")
    names = docker.ok("run", "--rm", "--runtime=runc", "nvtest:built", "ls", "/etc").split()
    assert "passwd" in names and "group" not in names
    docker.ok("rmi", "-f", "nvtest:built")


def test_shared_network_namespace(docker: Docker, started: Started, runtime: str) -> None:
    """--network container:X starts, as a pod's containers do."""
    a = started("sleep 100")
    b = started("echo joined", "--network", f"container:{a}")
    assert docker.ok("wait", b) == "0" and docker("logs", b).stdout == "joined\n"


def test_two_services(docker: Docker, runtime: str) -> None:
    """What compose does: a network, two containers on it, one reads what the other writes to a shared volume."""
    docker.ok("network", "create", "nvnet")
    docker.ok("volume", "create", "nvshared")
    try:
        common = ["--runtime", runtime, "--network", "nvnet", "-v", "nvshared:/shared"]
        a = docker.ok(
            "run",
            "-d",
            "--name",
            "writer",
            *common,
            "busybox",
            "sh",
            "-c",
            "echo data >/shared/x; sleep 100",
        )
        b = docker.ok(
            "run",
            "-d",
            "--name",
            "reader",
            *common,
            "busybox",
            "sh",
            "-c",
            "until cat /shared/x; do sleep 0.1; done 2>/dev/null",
        )
        assert docker.ok("wait", b) == "0" and docker("logs", b).stdout == "data\n"
        docker.ok("rm", "-f", a, b)
    finally:
        docker("rm", "-f", "writer", "reader")
        docker("network", "rm", "nvnet")
        docker("volume", "rm", "nvshared")


def test_kill_9_of_the_pid_file_process(docker: Docker, started: Started) -> None:
    c = started("sleep 100")
    subprocess.run(["kill", "-9", field(docker, c, ".State.Pid")], check=True)
    assert docker.ok("wait", c) == "137"


@pytest.mark.parametrize("name", ["nv-sentry", "nv-gofer"])
def test_kill_9_of_any_other_process(docker: Docker, name: str) -> None:
    c = docker.ok("run", "-d", "--runtime=nvsandbox", "busybox", "sleep", "100")
    try:
        procs = Path(f"/sys/fs/cgroup/pids/docker/{c}/cgroup.procs")
        if not procs.exists():
            procs = Path(f"/sys/fs/cgroup/docker/{c}/cgroup.procs")
        pid = next(
            p
            for p in procs.read_text().split()
            if Path(f"/proc/{p}/comm").read_text().strip() == name
        )
        subprocess.run(["kill", "-9", pid], check=True)
        assert docker.ok("wait", c) == "137"
    finally:
        docker("rm", "-f", c)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_live_restore(docker: Docker, started: Started, how: str) -> None:
    """Sandboxes survive a restart of the engine, and its death."""
    c = started("sleep 100")
    if how == "stopped":
        docker.stop()
    else:
        assert docker.daemon is not None
        containerd = (docker.base / "exec/containerd/containerd.pid").read_text()
        docker.daemon.kill()
        docker.daemon.wait()
        until(lambda: not Path(f"/proc/{containerd}").exists())  # it follows
    docker.start()
    assert field(docker, c, ".State.Running") == "true"
    assert docker.ok("exec", c, "echo", "alive") == "alive"


def test_network_of_the_host_stack(docker: Docker) -> None:
    """Runtime nvhost: two containers of a user's network talk to each other by name and through a published port."""
    docker.ok("network", "create", "nvtalk")
    common = ["--runtime=nvhost", "--network", "nvtalk"]
    try:
        serve = "mkdir /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www"
        docker.ok(
            "run",
            "-d",
            "--name",
            "web",
            "-p",
            "127.0.0.1::80",
            *common,
            "busybox",
            "sh",
            "-c",
            serve,
        )
        fetch = "until wget -qO- http://web/; do sleep 0.1; done"
        assert docker.ok("run", "--rm", *common, "busybox", "sh", "-c", fetch) == "served"
        port = docker.ok("port", "web", "80").rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as r:
            assert r.read() == b"served\n"
        look = "ip -4 addr show eth0 | grep -c inet; ip route | grep -c default; ifconfig eth0 | grep -c HWaddr; netstat -h >/dev/null 2>&1; echo end"
        assert docker.ok("run", "--rm", *common, "busybox", "sh", "-c", look) == "1\n1\n1\nend"
        change = "ip link set eth0 down; echo $?; ip addr add 1.2.3.4/8 dev eth0; echo $?"
        got = docker(
            "run", "--rm", "--cap-add", "NET_ADMIN", *common, "busybox", "sh", "-c", change
        )
        assert got.stdout == "1\n2\n" or "0" not in got.stdout
    finally:
        docker("rm", "-f", "web")
        docker("network", "rm", "nvtalk")


def test_not_much_slower_than_runc(docker: Docker) -> None:
    """docker run --rm busybox true: the best of some, since other work runs on the machine."""
    best = {}
    for runtime in RUNTIMES:
        times = []
        for _ in range(6):
            start = time.monotonic()
            docker.ok("run", "--rm", f"--runtime={runtime}", "busybox", "true")
            times.append(time.monotonic() - start)
        best[runtime] = min(times)
    assert best["nvsandbox"] < 2.5 * best["runc"], best  # 1.4 on a machine that does nothing else
