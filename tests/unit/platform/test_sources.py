"""A native module that was not built from the C sources beside it is told from one that was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nvsandbox.platform.native import _native, sources


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Sources, generated and foreign files, and a module that is newer than all of them."""
    for name in ("a.c", "a.h", "stub.ld", "_native.c", "nvsandbox.c", "build.py"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(1000, 1000))
    (tmp_path / "module.so").touch()
    os.utime(tmp_path / "module.so", ns=(2000, 2000))
    return tmp_path


def current(place: Path, built_from: int = -1) -> bool:
    return sources.current(str(place / "module.so"), built_from, str(place))


def test_the_built_module_has_the_checksum_of_the_sources_here() -> None:
    assert sources.checksum() == _native.lib.NV_SOURCES


def test_a_newer_module_is_current(place: Path) -> None:
    assert current(place)


@pytest.mark.parametrize("name", ["a.c", "a.h", "stub.ld"])
def test_a_newer_source_counts_only_if_its_content_differs(place: Path, name: str) -> None:
    was = sources.checksum(str(place))
    os.utime(place / name, ns=(3000, 3000))
    assert current(place, was)
    (place / name).write_text("other")
    os.utime(place / name, ns=(3000, 3000))
    assert not current(place, was)
    assert not current(place)  # built before there was a checksum


@pytest.mark.parametrize("name", ["_native.c", "nvsandbox.c", "build.py"])
def test_what_the_module_is_not_made_of_does_not_count(place: Path, name: str) -> None:
    was = sources.checksum(str(place))
    os.utime(place / name, ns=(3000, 3000))
    (place / name).write_text("other")
    assert current(place, was)


def test_a_wheel_has_no_sources(tmp_path: Path) -> None:
    (tmp_path / "module.so").touch()
    assert sources.current(str(tmp_path / "module.so"), -1, str(tmp_path))


def test_a_module_that_is_gone_is_not_current(place: Path) -> None:
    (place / "module.so").unlink()
    assert not current(place)
