"""What these tests need of the machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

APT = Path(__file__).resolve().parents[2] / "tools/apt.sh"


@pytest.fixture(scope="session")
def tools() -> None:
    """Linux's side: made of these packages."""
    subprocess.run([APT, "iproute2", "ethtool", "iputils-ping", "tshark"], check=True)
