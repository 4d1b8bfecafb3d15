"""The hook that Docker's --gpus looks for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nvsandbox.nvproxy import hook


def test_written_run_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    path = hook.install(str(tmp_path))
    assert os.path.basename(path) == "nvidia-container-runtime-hook"
    assert subprocess.run([path, "prestart"]).returncode == 0
    assert hook.install(str(tmp_path)) == ""
    hook.uninstall(str(tmp_path))
    assert not os.path.exists(path)


def test_nvidias_own_stays(tmp_path: Path) -> None:
    own = tmp_path / hook.NAME
    own.write_text("#!/bin/sh\necho theirs\n")
    assert hook.install(str(tmp_path)) == ""
    hook.uninstall(str(tmp_path))
    assert "theirs" in own.read_text()
