"""A root file system that a test may change."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tree(tmp_path: Path, rootfs: Path) -> Iterator[Path]:
    """A root of our own that is made of the Debian root's directories."""
    root = tmp_path / "root"
    root.mkdir()
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(os.readlink(rootfs / name))
    for name in ("proc", "dev", "sys", "tmp", "usr"):
        (root / name).mkdir()
    subprocess.run(["mount", "--bind", rootfs / "usr", root / "usr"], check=True)
    yield root
    subprocess.run(["umount", root / "usr"], check=True)
