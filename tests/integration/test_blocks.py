"""What a file takes on its disk, and the block size for I/O, are the host's for files that come from it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from inside import ENV, SandboxRun

LOOK = """
cd "$1"
ls -nAlRs --time-style=+
du -a | sort
du -s --apparent-size
find . -exec stat -c '%n %b %B %o' {} + | sort
"""


@pytest.fixture
def tree(tmp_path: Path, rootfs: Path) -> Path:
    """A root of its own whose /usr is to be bound from the real one, with the files to look at in /t."""
    for name in ("bin", "lib", "lib64"):
        (tmp_path / name).symlink_to(f"usr/{name}")
    at = tmp_path / "t"
    (at / "deep/er").mkdir(parents=True)
    at.chmod(0o755)
    for size in (0, 1, 4096, 5000, 300000):
        (at / f"full-{size}").write_bytes(b"x" * size)
    for size, data in ((1 << 20, 0), (1 << 20, 1 << 19), ((1 << 30) + 5, 1 << 20)):
        with (at / f"deep/holes-{size}-{data}").open("wb") as f:
            f.truncate(size)
            if data:
                f.seek(data)
                f.write(b"data")
    with (at / "deep/set-aside").open("wb") as f:
        os.posix_fallocate(f.fileno(), 0, 1 << 20)
        f.truncate(10)
    (at / "deep/er/short").symlink_to("x" * 20)
    (at / "deep/er/long").symlink_to("y" * 200)
    os.link(at / "full-5000", at / "deep/er/linked")
    os.mkfifo(at / "deep/pipe")
    many = at / "many"
    many.mkdir()
    for n in range(500):
        (many / f"a-name-that-makes-its-directory-long-{n:03}").touch()
    return tmp_path


def test_blocks_of_the_root_and_of_a_mount(
    sandbox_run: SandboxRun, rootfs: Path, tree: Path
) -> None:
    argv = ["bash", "-c", LOOK, "look"]
    host = subprocess.run([*argv, tree / "t"], capture_output=True, env=ENV, check=True)
    assert b"holes" in host.stdout and not host.stderr
    flags = ["--rootfs", str(tree), "-v", f"{rootfs}/usr:/usr:ro", "-v", f"{tree}/t:/mounted:ro"]
    for where in ("/t", "/mounted"):
        inside = sandbox_run([*argv, where], flags)
        assert (inside.err, inside.status) == (b"", 0)
        assert inside.text.splitlines() == host.stdout.decode().splitlines()


def test_blocks_of_a_whole_system(sandbox_run: SandboxRun, rootfs: Path) -> None:
    argv = ["bash", "-c", 'cd "$1" && find . -printf "%p %b %s %n\\n" | sort && du -s .', "look"]
    host = subprocess.run([*argv, rootfs / "usr"], capture_output=True, env=ENV, check=True)
    inside = sandbox_run([*argv, "/usr"])
    assert (inside.err, inside.status) == (b"", 0)
    assert inside.text.splitlines() == host.stdout.decode().splitlines()


def test_blocks_after_a_change(sandbox_run: SandboxRun, rootfs: Path, tree: Path) -> None:
    """A file that is changed takes what its copy takes."""
    script = """
    cd /t
    truncate -s 0 full-300000; stat -c %b full-300000
    printf x >>full-5000; stat -c %b full-5000 deep/er/linked
    fallocate -p -o 4096 -l 8192 deep/holes-1048576-524288; touch deep/er/short
    chmod 600 deep/set-aside deep/holes-1048576-0; stat -c %b deep/set-aside deep/holes-1048576-0
    ln -s x new-short; ln -s "$(printf %0200d 0)" new-long; stat -c %b new-short new-long
    """
    flags = ["--rootfs", str(tree), "-v", f"{rootfs}/usr:/usr:ro"]
    inside = sandbox_run(["bash", "-c", script], flags)
    kept = [os.lstat(tree / "t/deep" / n).st_blocks for n in ("set-aside", "holes-1048576-0")]
    assert (inside.err, inside.status) == (b"", 0)
    assert [int(n) for n in inside.text.split()] == [0, 16, 16, *kept, 0, 8]
