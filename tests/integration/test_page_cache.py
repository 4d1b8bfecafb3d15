"""Files of the root are read from the host's page cache, or from the disk, and mapped from it by all."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import random
import subprocess
from pathlib import Path

import pytest
from inside import LIBC, PLATFORMS, cli

SIZE = 24 << 20
PAGE = mmap.PAGESIZE


@pytest.fixture
def data(tree: Path) -> Path:
    path = tree / "data"
    path.write_bytes(random.Random(7).randbytes(SIZE))
    return path


def drop(path: Path) -> None:
    """Takes the file out of the page cache, as far as nobody maps it."""
    with path.open("rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached(path: Path) -> int:
    """How many of its pages are in the page cache (mincore(2))."""
    with path.open("r+b") as f, mmap.mmap(f.fileno(), SIZE) as m:
        vec = (ctypes.c_ubyte * (SIZE // PAGE))()
        at = (ctypes.c_char * SIZE).from_buffer(m)
        assert LIBC.mincore(ctypes.c_void_p(ctypes.addressof(at)), ctypes.c_size_t(SIZE), vec) == 0
        del at
        return sum(v & 1 for v in vec)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("bs", [4096, 65536, 1 << 20])
@pytest.mark.parametrize("warm", [False, True])
def test_what_is_not_cached_is_read_from_the_disk(
    platform: str, tree: Path, data: Path, bs: int, warm: bool
) -> None:
    """All of it, or with islands that are cached, so that one read finds both."""
    drop(data)
    if cached(data) == SIZE // PAGE:
        pytest.fail("this file system keeps what it is told to drop")
    if warm:
        with data.open("rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for at in range(0, SIZE, 300_000):
                os.pread(f.fileno(), 40_000, at)
        assert 0 < cached(data) < SIZE // PAGE
    script = (
        f"while :; do :; done & dd if=/data bs={bs} status=none | sha256sum; kill $!; "
        "dd if=/data bs=1000 skip=23456 count=3 status=none | sha256sum"
    )
    r = subprocess.run(
        [*cli(platform, tree), "sh", "-c", script], capture_output=True, timeout=60, check=True
    )
    content = data.read_bytes()
    expected = [hashlib.sha256(x).hexdigest() for x in (content, content[23456000:23459000])]
    assert [line.split()[0] for line in r.stdout.decode().splitlines()] == expected


@pytest.mark.parametrize("platform", PLATFORMS)
def test_processes_that_map_a_file_share_its_pages(platform: str, tree: Path, data: Path) -> None:
    """Those of one sandbox and of two, with whoever else maps it on the host."""
    program = (
        "import mmap, os\n"
        "f = open('/data', 'rb')\n"
        "for _ in range(2): os.fork()\n"
        f"m = mmap.mmap(f.fileno(), {SIZE}, mmap.MAP_PRIVATE, mmap.PROT_READ)\n"
        f"n = sum(m[i] for i in range(0, {SIZE}, {PAGE}))\n"
        "os.write(1, b'.')\n"
        "os.read(0, 1)\n"
    )
    boxes = [
        subprocess.Popen(
            [*cli(platform, tree), "python3", "-c", program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        for b in boxes:
            assert b.stdout is not None
            for _ in range(4):
                assert b.stdout.read(1) == b"."
        shares = mapped(data)
        assert len(shares) == 8
        for rss, pss in shares:
            assert rss >= SIZE >> 10
            assert pss <= rss // 8 + 64
    finally:
        for b in boxes:
            b.kill()
            b.communicate()


def mapped(path: Path) -> list[tuple[int, int]]:
    """Rss and Pss (KiB) of the file in each process of the host that maps it."""
    st = path.stat()
    key = f"{os.major(st.st_dev):02x}:{os.minor(st.st_dev):02x} {st.st_ino} "
    found = []
    for maps in Path("/proc").glob("[0-9]*/smaps"):
        try:
            lines = maps.read_text().splitlines()
        except OSError:
            continue
        rss = pss = 0
        ours = False
        for line in lines:
            if line[0] in "0123456789abcdef":
                ours = key in line
            elif ours and line.startswith("Rss:"):
                rss += int(line.split()[1])
            elif ours and line.startswith("Pss:"):
                pss += int(line.split()[1])
        if rss:
            found.append((rss, pss))
    return found
