"""Programs that make namespaces: unshare, nsenter, lsns, setpriv, bubblewrap."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from inside import REPO, cli

Bash = Callable[..., str]


def test_users(bash: Bash) -> None:
    out = bash(
        'as() { setpriv --reuid 1000 --regid 1000 --clear-groups "$@"; }; as unshare -r id; as unshare -U id;'
        "as unshare -Urm sh -c 'mount -t tmpfs x /mnt && touch /mnt/a && stat -c %u%g /mnt/a; umount /mnt; cat /proc/self/setgroups';"
        "as unshare -c sh -c 'id -u; unshare -r id -u'; as unshare -m true 2>&1; as unshare -Ur setpriv --clear-groups true 2>&1; true"
    )
    assert out.splitlines() == [
        "uid=0(root) gid=0(root) groups=0(root)",
        "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)",
        "00",
        "deny",
        "1000",
        "0",
        "unshare: unshare failed: Operation not permitted",
        "setpriv: setgroups failed: Operation not permitted",
    ]


def test_processes(bash: Bash) -> None:
    out = bash(
        "unshare -pf --mount-proc ps ax -o pid,comm; unshare -pf --mount-proc sh -c 'sleep 100 & echo $!; kill -9 1; echo alive'; "
        "unshare -pf --kill-child sleep 50 & p=$!; sleep 0.5; kill -9 $p; sleep 0.3; pgrep sleep | wc -l"
    )
    assert out.split() == ["PID", "COMMAND", "1", "ps", "2", "alive", "0"]


def test_names_and_network(bash: Bash) -> None:
    out = bash(
        "unshare -u sh -c 'hostname inner; hostname; cat /proc/sys/kernel/hostname'; [ $(hostname) != inner ] && echo kept;"
        "unshare -n cat /proc/net/dev | grep -c :; unshare -rn true && echo own"
    )
    assert out.split() == ["inner", "inner", "kept", "1", "own"]


def test_enter(bash: Bash) -> None:
    out = bash(
        "unshare -mupinf --mount-proc sh -c 'hostname there; mount -t tmpfs x /mnt; echo hi >/mnt/file; sleep 100' & sleep 1;"
        "p=$(pgrep -x sleep); nsenter -t $p -a sh -c 'hostname; cat /mnt/file; ps -o pid= -C sleep'; nsenter -t $p -u hostname;"
        "lsns -n -o TYPE -p $p | sort | tr '\\n' ' '; [ $(lsns -n -o NS -t uts -p $p) != $(lsns -n -o NS -t uts -p $$) ] && echo other;"
        "grep -c NSpid.*4 /proc/$p/status; kill $p"
    )
    assert out.split() == [
        *("there", "hi", "4", "there", "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts", "other", "1"),
    ]  # fmt: skip


@pytest.mark.parametrize("user", ["0", "1000"])
def test_bubblewrap(platform: str, user: str) -> None:
    subprocess.run([str(REPO / "tools/apt.sh"), "bubblewrap"], check=True)
    script = "id -u; ls -d /proc/[0-9]* | wc -l; cat /proc/net/dev | grep -c :; touch /x 2>&1; ls /dev | wc -l; ls /tmp"
    argv = [
        *cli(platform, Path("/"), "-w", "/"), "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
        "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--unshare-all", "--die-with-parent",
        "sh", "-c", script,
    ]  # fmt: skip
    got = subprocess.run(argv, cwd=REPO, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    lines = got.stdout.decode().splitlines()
    assert lines[0] == user, got.stderr
    assert 2 <= int(lines[1]) <= 4 and lines[2] == "1"
    assert re.fullmatch(r"touch: cannot touch '/x': Read-only file system", lines[3])
    assert int(lines[4]) >= 12 and len(lines) == 5
