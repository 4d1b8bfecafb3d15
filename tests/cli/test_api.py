"""The Python library."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nvsandbox import Sandbox, SandboxError


def test_run_gives_status_and_both_outputs(rootfs: Path) -> None:
    with Sandbox(rootfs=rootfs, env={"A": "1"}, cwd="/usr") as sb:
        r = sb.run(
            ["sh", "-c", "echo $A $B; pwd; cat; echo err >&2; exit 3"], input="in\n", env={"B": "2"}
        )
    assert (r.returncode, r.stdout, r.stderr) == (3, b"1 2\n/usr\nin\n", b"err\n")


def test_commands_of_one_sandbox_share_its_files(rootfs: Path) -> None:
    with Sandbox(rootfs=rootfs) as sb:
        assert sb.run(["sh", "-c", "echo kept >/tmp/f"]).returncode == 0
        assert sb.run(["cat", "/tmp/f"]).stdout == b"kept\n"


def test_mounts(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"host")
    with Sandbox(rootfs=rootfs, mounts={"/rw": str(tmp_path), "/ro": (str(tmp_path), "ro")}) as sb:
        assert sb.run(["cat", "/rw/x", "/ro/x"]).stdout == b"hosthost"
        assert sb.run(["touch", "/ro/y"]).returncode == 1
        assert sb.run(["touch", "/rw/y"]).returncode == 0
    assert (tmp_path / "y").exists()


def test_a_single_file_as_a_mount(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"host")
    code = "import os; os.setxattr('/f', 'user.a', b'b'); print(os.listxattr('/f'), os.getxattr('/f', 'user.a'))"
    with Sandbox(rootfs=rootfs, mounts={"/f": str(tmp_path / "x")}) as sb:
        listing = sb.run(["ls", "-l", "/f"])
        assert listing.stderr == b"" and listing.stdout.endswith(b" /f\n")
        assert sb.run(["python3", "-c", code]).stdout == b"['user.a'] b'b'\n"
    assert os.getxattr(tmp_path / "x", "user.a") == b"b"


def test_a_timeout_kills_the_command_and_the_sandbox_lives(rootfs: Path) -> None:
    with Sandbox(rootfs=rootfs) as sb:
        with pytest.raises(subprocess.TimeoutExpired):
            sb.run(["sleep", "100"], timeout=0.3)
        assert sb.run(["true"]).returncode == 0


def test_what_cannot_be_run_raises_as_subprocess_does(rootfs: Path) -> None:
    with Sandbox(rootfs=rootfs) as sb:
        with pytest.raises(FileNotFoundError):
            sb.run(["no-such-command"])
        with pytest.raises(PermissionError):
            sb.run(["/etc/passwd"])
        assert sb.run(["true"]).returncode == 0


def test_popen_with_large_input_and_output(rootfs: Path) -> None:
    data = bytes(range(256)) * 20000
    with Sandbox(rootfs=rootfs) as sb:
        assert sb.run(["cat"], input=data).stdout == data


def test_several_commands_at_once(rootfs: Path) -> None:
    with Sandbox(rootfs=rootfs) as sb:
        ps = [sb.popen(["sh", "-c", f"sleep 0.1; exit {i}"]) for i in range(8)]
        assert [p.wait(30) for p in ps] == list(range(8))


def test_a_bad_root_is_a_sandbox_error() -> None:
    with pytest.raises(SandboxError), Sandbox(rootfs="/no/such/root"):
        pass


def test_use_outside_the_with_statement(rootfs: Path) -> None:
    with pytest.raises(SandboxError):
        Sandbox(rootfs=rootfs).run(["true"])
