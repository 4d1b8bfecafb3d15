"""Unnamed files on a disk: what is made, and what happens where there can be none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nvsandbox.sandbox import disk_files


def directory(path: str | Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def test_pairs_without_names(tmp_path: Path) -> None:
    at, proc = directory(tmp_path), directory("/proc/self/fd")
    fds = disk_files.make(at)
    assert len(fds) == 2 * disk_files.BATCH and os.listdir(tmp_path) == []
    for rw, ro in zip(fds[0::2], fds[1::2], strict=True):
        os.write(rw, b"x")
        assert os.pread(ro, 2, 0) == b"x" and os.fstat(ro).st_nlink == 0
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(ro, b"y")
        with pytest.raises(FileNotFoundError):  # O_EXCL: it never gets a name
            os.link(str(rw), "name", src_dir_fd=proc, dst_dir_fd=at, follow_symlinks=True)
    for fd in (*fds, at, proc):
        os.close(fd)


def test_a_file_system_that_has_none() -> None:
    at = directory("/proc")
    assert disk_files.make(at) == []
    os.close(at)


class Waiting:
    """A task whose wait is over when ``answer`` has been called."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def wait(self, _queue: object, interruptible: bool) -> None:
        assert not interruptible
        self.answer()


def test_memory_until_asked_and_where_the_disk_has_none() -> None:
    files = disk_files.DiskFiles(lambda _t: [(1, 2)])
    asked: list[int] = []
    t: Any = Waiting(None)
    assert files.refill(t) == [(1, 2)]
    files.ask = lambda: asked.append(1)
    t = Waiting(lambda: files.answer([5, 6, 7, 8]))
    assert files.refill(t) == [(5, 6), (7, 8)]
    t = Waiting(lambda: files.answer([]))
    assert files.refill(t) == [(1, 2)] and len(asked) == 2
    assert files.refill(t) == [(1, 2)] and len(asked) == 2  # not asked again
    for fds in ([1, 2], [1]):  # nobody waits
        with pytest.raises(ValueError, match="expected"):
            files.answer(fds)
