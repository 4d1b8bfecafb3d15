"""docker run with its flags: the same outcome as with runc."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from .conftest import Docker

RUNTIMES = ("nvsandbox", "runc")


class Case(NamedTuple):
    """``docker run FLAGS busybox COMMAND``; ``{tmp}`` in flags is a directory with a file ``f``."""

    name: str
    flags: str
    script: str
    exact: bool = True  # compare the output, not only the status


CASES = [
    Case("echo", "", "echo hi"),
    Case("status", "", "exit 7"),
    Case("killed", "", "(sleep 0.2; kill -KILL 1) & sh -c 'kill -9 $$'; echo $?"),
    Case("stderr", "", "echo out; echo err >&2"),
    Case("environment", "-e A=1 -e B=two", "echo $A $B $PATH $HOME"),
    Case("workdir", "-w /tmp/new/dir", "pwd"),
    Case("user", "-u 1000:10", "id -u; id -g; grep -E '^(Uid|Gid)' /proc/self/status"),
    Case("user by name", "-u user", "id"),
    Case("group-add", "-u 1000 --group-add 77", "id -G"),
    Case("volume", "-v {tmp}:/v", "cat /v/f; echo new >/v/g; ls /v; rm /v/g"),
    Case("volume ro", "-v {tmp}:/v:ro", "cat /v/f; echo new >/v/g; echo $?"),
    Case("file volume", "-v {tmp}/f:/etc/one:ro", "cat /etc/one; echo x >/etc/one; echo $?"),
    Case(
        "tmpfs",
        "--tmpfs /t:size=1m,mode=700",
        "stat -c %a /t; dd if=/dev/zero of=/t/x bs=1k count=2000 2>/dev/null; stat -c %s /t/x",
    ),
    Case("read-only", "--read-only", "echo x >/x; echo $?; echo y >/dev/shm/y && cat /dev/shm/y"),
    Case("read-only with tmpfs", "--read-only --tmpfs /run", "echo x >/run/x; cat /run/x"),
    Case("init", "--init", "ps -o pid,args | head -3 | grep -c docker-init; exit 3"),
    Case("hostname", "--hostname box.example", "hostname; cat /etc/hostname"),
    Case(
        "domainname", "--hostname box --domainname example.org", "cat /proc/sys/kernel/domainname"
    ),
    Case("add-host", "--add-host some:10.1.2.3", "grep some /etc/hosts"),
    Case("dns", "--dns 10.9.9.9 --dns-search here", "grep -E '10.9.9.9|here' /etc/resolv.conf"),
    Case("cap-drop", "--cap-drop ALL", "grep Cap /proc/self/status"),
    Case(
        "cap-add",
        "--cap-drop ALL --cap-add CHOWN",
        "grep Cap /proc/self/status; chown 5 /tmp; stat -c %u /tmp",
    ),
    Case("default capabilities", "", "grep Cap /proc/self/status"),
    Case("capabilities of a user", "-u 1000", "grep Cap /proc/self/status"),
    Case(
        "no-new-privileges", "--security-opt no-new-privileges", "grep NoNewPrivs /proc/self/status"
    ),
    Case("seccomp unconfined", "--security-opt seccomp=unconfined", "echo fine"),
    Case("ulimit", "--ulimit nofile=123:456", "ulimit -n; ulimit -Hn"),
    Case("ulimit core", "--ulimit core=0", "ulimit -c"),
    Case("sysctl", "--sysctl net.core.somaxconn=77", "cat /proc/sys/net/core/somaxconn"),
    Case("sysctl kernel", "--sysctl kernel.msgmax=4096", "cat /proc/sys/kernel/msgmax"),
    Case(
        "network none", "--network none", "ls /sys/class/net; cat /etc/resolv.conf | wc -l", False
    ),
    Case("network host", "--network host", "echo up"),
    Case("network bridge", "--network bridge", "echo up"),
    Case("publish", "-p 127.0.0.1::80", "echo up"),
    Case("memory", "-m 64m", "echo fine"),
    Case(
        "out of memory",
        "-m 64m --memory-swap 64m",
        "dd if=/dev/zero of=/dev/null bs=100M count=1 2>/dev/null; echo $?; dd if=/dev/zero of=/dev/shm/x bs=1M count=100 2>/dev/null; echo $?",
    ),
    Case(
        "files larger than memory",
        "-m 64m --memory-swap 64m",
        "dd if=/dev/zero of=/tmp/x bs=1M count=200 2>/dev/null; echo $?; stat -c %s /tmp/x; md5sum /tmp/x",
    ),
    Case("exec of a directory", "--group-add 5 --group-add 5 -u user", "id -G; /etc; echo $?"),
    Case("no ipc", "--ipc none", "ls -d /dev/shm; echo $?"),
    Case("cpus", "--cpus 0.5", "echo fine"),
    Case("cpuset", "--cpuset-cpus 0", "nproc"),
    Case("cpu-shares", "--cpu-shares 100", "echo fine"),
    Case(
        "pids-limit",
        "--pids-limit 20",
        "i=0; while [ $i -lt 30 ]; do sleep 1 & i=$((i+1)); done 2>/dev/null; echo $? >/dev/null",
        False,
    ),
    Case("shm-size", "--shm-size 3m", "df -k /dev/shm | tail -1 | awk '{{print $2}}'"),
    Case(
        "device", "--device /dev/null:/dev/mynull", "echo x >/dev/mynull; stat -c %t:%T /dev/mynull"
    ),
    Case("devices", "", "ls /dev | sort | tr '\\n' ' '"),
    Case(
        "privileged paths",
        "",
        "for f in /proc/kcore /proc/keys /sys/firmware; do ls -d $f; done 2>/dev/null; echo x >/proc/sys/kernel/hostname; echo $?",
        False,
    ),
    Case("entrypoint", "--entrypoint /bin/echo", "given"),
    Case("label", "-l a=b", "echo labelled"),
    Case("stop-signal", "--stop-signal USR1", "echo x"),
    Case("oom-score-adj", "--oom-score-adj 321", "cat /proc/self/oom_score_adj"),
    Case("pid 1", "", "echo $$; cat /proc/1/comm"),
    Case("umask", "", "umask; touch /tmp/u; stat -c %a /tmp/u"),
    Case(
        "mounts",
        "",
        "cut -d' ' -f2 /proc/mounts | grep -v '^/proc/\\|^/sys/\\|^/dev/console' | sort",
    ),
    Case("ipc host", "--ipc host", "echo fine"),
    Case("ipc private", "--ipc private", "ls -d /dev/shm"),
    Case("pid host", "--pid host", "echo fine"),
    Case("uts host", "--uts host", "echo fine"),
    Case("cgroup parent", "--cgroup-parent /nvtest", "echo fine"),
    Case("mount bind", "--mount type=bind,source={tmp},target=/m,readonly", "cat /m/f"),
    Case("named volume", "-v nvvol:/data", "echo x >/data/x; cat /data/x"),
    Case("anonymous volume", "-v /data", "echo x >/data/x; cat /data/x"),
    Case("stdin closed", "", "cat; echo end"),
    Case("large output", "", "seq 1 100000 | tail -1; seq 1 50000"),
    Case("background child", "", "sleep 100 & echo started"),
    Case("orphans are reaped", "", "(sleep 0.01 &) ; sleep 0.2; ps -o stat | grep -c Z; true"),
]

FAILURES = [
    Case("missing program", "", "/no/such"),
    Case("program not on PATH", "", "nosuchprogram"),
    Case("program without x", "", "/etc/passwd"),
    Case("directory", "", "/etc"),
    Case("no name", "", ""),
    Case("missing workdir made", "-w /fresh", "pwd"),
]


def run(docker: Docker, runtime: str, flags: list[str], command: list[str]) -> tuple[int, str, str]:
    got = docker("run", "--rm", f"--runtime={runtime}", *flags, "busybox", *command)
    return got.returncode, got.stdout, got.stderr


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_run(docker: Docker, tmp_path: Path, case: Case) -> None:
    (tmp_path / "f").write_text("from the host\n")
    flags = case.flags.replace("{tmp}", str(tmp_path)).split()
    command = (
        [case.script]
        if "--entrypoint" in flags
        else ["sh", "-c", case.script.replace("{{", "{").replace("}}", "}")]
    )
    ours, theirs = (run(docker, r, flags, command) for r in RUNTIMES)
    assert ours[0] == theirs[0], (ours, theirs)
    if case.exact:
        assert ours[1:] == theirs[1:]


@pytest.mark.parametrize("case", FAILURES, ids=[c.name for c in FAILURES])
def test_run_failures(docker: Docker, case: Case) -> None:
    ours, theirs = (run(docker, r, case.flags.split(), [case.script]) for r in RUNTIMES)
    assert ours[0] == theirs[0], (ours, theirs)
