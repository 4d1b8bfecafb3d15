"""The root file system with big programs, which several files here need."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from inside import REPO


@pytest.fixture(scope="session")
def big_root() -> Path:
    done = subprocess.run(
        [REPO / "tools" / "mkprograms.sh", *filter(None, [os.environ.get("NVSANDBOX_CACHE")])],
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    return Path(done.stdout.splitlines()[-1])
