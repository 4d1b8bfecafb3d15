"""What the processes of a sandbox hold on the host, listed from outside while an application runs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from inside import REPO, cli

from .test_bad_input import children


def _links(pid: int) -> dict[int, str]:
    out = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            out[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
    return out


def _status(pid: int, key: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return line.split(":", 1)[1].strip()
    return ""


@pytest.fixture(scope="module")
def running(rootfs: Path, platform: str) -> Iterator[dict[str, list[int]]]:
    """The processes of a sandbox by kind, while its application has a host file open."""
    secret = os.open("/etc/passwd", os.O_RDONLY)  # must not be inherited by anybody
    os.set_inheritable(secret, True)
    p = subprocess.Popen(
        [*cli(platform, rootfs), "bash", "-c", "exec 5</etc/issue; echo started; sleep 300 & sleep 300"],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=REPO, close_fds=False,
    )  # fmt: skip
    os.close(secret)
    try:
        assert p.stdout is not None and p.stdout.readline() == b"started\n"
        time.sleep(0.5)
        kinds: dict[str, list[int]] = {"gofer": [], "sentry": [], "stub": []}
        for pid in children(p.pid):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            for kind in ("gofer", "sentry"):
                if kind in name:
                    kinds[kind].append(pid)
        below = children(kinds["sentry"][0])
        zygote = below[:1]  # the first child, from which the others come
        kinds["stub"] = [x for x in below if x not in zygote]
        yield kinds
    finally:
        p.kill()
        p.wait()


def test_kinds(running: dict[str, list[int]]) -> None:
    assert len(running["gofer"]) == 1
    assert len(running["sentry"]) == 1  # it has one child more, that never runs an application
    assert len(running["stub"]) >= 3  # bash and two sleeps


def test_stubs_hold_nothing(running: dict[str, list[int]]) -> None:
    """Their socket to the Sentry and the event it waits on, nothing of the application's files."""
    for pid in running["stub"]:
        held = _links(pid)
        kinds = sorted(v.split("[")[0] for v in held.values())
        assert kinds in ([], ["socket:"], ["anon_inode:", "socket:"]), held


def test_sentry_holds_no_place_in_a_file_system(running: dict[str, list[int]]) -> None:
    """Regular files of the root may be open; directories and devices of the host are not."""
    for fd, link in _links(running["sentry"][0]).items():
        path = Path(f"/proc/{running['sentry'][0]}/fd/{fd}")
        assert not path.is_dir(), (fd, link)
        if path.is_block_device():
            pytest.fail(f"{fd}: {link}")
        if path.exists():
            assert not os.path.samefile(path, "/etc/passwd"), (fd, link)


def test_gofer_holds_only_its_mounts(running: dict[str, list[int]], rootfs: Path) -> None:
    pid = running["gofer"][0]
    for fd, link in _links(pid).items():
        assert link.startswith(("socket:", "pipe:", "/dev/null", "anon_inode:", "/")), (fd, link)
        assert not link.startswith(("/proc", "/sys", "/root", str(Path.home() / "."))), (fd, link)
        assert (
            link != "/etc/passwd" or os.stat(f"/proc/{pid}/fd/{fd}").st_dev == rootfs.stat().st_dev
        )


def test_all_are_locked_down(running: dict[str, list[int]]) -> None:
    for kind, pids in running.items():
        for pid in pids:
            assert _status(pid, "NoNewPrivs") == "1", kind
            assert _status(pid, "Seccomp") == "2", kind
            if kind != "gofer":
                assert int(_status(pid, "CapEff"), 16) == 0, kind
