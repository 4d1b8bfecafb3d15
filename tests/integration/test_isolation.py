"""What an application may not reach: each attempt is made for real, and what the host has is compared."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Bash = Callable[..., str]


def test_files_of_the_host_are_not_there(bash: Bash, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    up = "../" * 40
    out = bash(
        f"for p in {secret} {up}{secret} /proc/self/root{secret} /proc/1/root{secret} "
        f"/proc/self/cwd/{up}{secret} /dev/fd/../../..{secret} /proc/self/fd/{up}{secret}; do "
        "cat $p 2>/dev/null; done; "
        f"ln -s {secret} /tmp/a; ln -s {up}{secret} /tmp/b; cat /tmp/a /tmp/b 2>/dev/null; echo end"
    )
    assert out == "end\n"


def test_shadow_is_the_roots_own(bash: Bash, rootfs: Path) -> None:
    assert bash("cat /etc/shadow") == (rootfs / "etc/shadow").read_text()
    assert bash("cat /proc/self/root/etc/hostname /../../etc/hostname; uname -n").endswith(
        "nvsandbox\n"
    )


def test_root_stays_as_it_was(bash: Bash, rootfs: Path) -> None:
    before = sorted(os.listdir(rootfs)), (rootfs / "etc/passwd").read_bytes()
    bash(
        "echo x >> /etc/passwd; rm -rf /usr/share/doc; touch /new; mv /etc/issue /etc/issue2; chmod 0 /bin/true"
    )
    assert (sorted(os.listdir(rootfs)), (rootfs / "etc/passwd").read_bytes()) == before
    assert (rootfs / "etc/issue").exists() and os.access(rootfs / "bin/true", os.X_OK)


@pytest.mark.parametrize(
    "device",
    ["b 8 0", "b 254 0", "c 1 1", "c 1 4", "c 10 200", "c 10 232", "c 4 0", "c 5 1", "c 195 255"],
)
def test_devices_of_the_host_cannot_be_opened(bash: Bash, device: str) -> None:
    out = bash(
        f"mknod /tmp/d {device} 2>/dev/null && {{ exec 3</tmp/d; }} 2>/dev/null && echo opened; echo end"
    )
    assert out == "end\n"


def test_only_own_processes_are_seen(bash: Bash) -> None:
    here = subprocess.Popen(["sleep", "321.5"])
    try:
        out = bash(
            "ls /proc | grep -c '^[0-9]'; ps ax | grep -c '[3]21.5'; "
            f"kill -9 {here.pid} 2>/dev/null; cat /proc/{here.pid}/cmdline 2>/dev/null; kill -9 -1; echo end"
        )
        lines = out.split()
        assert int(lines[0]) < 10
        assert lines[1:] == ["0", "end"]
        assert here.poll() is None
    finally:
        here.kill()
        here.wait()


def test_kernel_of_the_host_is_not_shown(bash: Bash) -> None:
    release = os.uname().release
    out = bash(
        "uname -a; cat /proc/version; cat /proc/mounts; cat /proc/cmdline; dmesg 2>/dev/null; true"
    )
    assert release not in out
    assert "nvsandbox" in out


def test_no_network_but_loopback(bash: Bash) -> None:
    out = bash(
        "cat /proc/net/dev | tail -n +3 | cut -d: -f1; : 2>/dev/null </dev/tcp/192.0.2.1/80 || echo no"
    )
    assert out.split() == ["lo", "no"]


def test_readonly_mount(bash: Bash, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    out = bash(
        "cat /m/f; (echo y >/m/f) 2>/dev/null || echo refused; rm -f /m/f 2>/dev/null; touch /m/n 2>/dev/null;"
        "chmod 777 /m/f 2>/dev/null; mount -o remount,rw /m 2>/dev/null; (echo y >/m/f) 2>/dev/null || echo refused",
        flags=["-v", f"{tmp_path}:/m:ro"],
    )
    assert out == "xrefused\nrefused\n"
    assert (tmp_path / "f").read_text() == "x"
    assert os.listdir(tmp_path) == ["f"]


def test_links_out_of_a_mount_stay_inside(bash: Bash, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    share = tmp_path / "share"
    share.mkdir()
    (share / "up").symlink_to("../secret")
    (share / "abs").symlink_to(tmp_path / "secret")
    out = bash("cat /m/up /m/abs /m/../secret 2>/dev/null; echo end", flags=["-v", f"{share}:/m"])
    assert out == "end\n"
