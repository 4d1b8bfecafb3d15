"""The loader's cache, against the real ldconfig's."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nvsandbox.nvproxy import ldcache

from .conftest import Inside


def test_order_and_round_trip(rootfs: Path) -> None:
    for path in (rootfs / "etc/ld.so.cache", Path("/etc/ld.so.cache")):
        parsed = ldcache.parse(path.read_bytes())
        assert parsed is not None
        entries, names = parsed
        assert len(entries) > 50
        assert ldcache.parse(ldcache.build(entries, names)) == parsed
        assert all(ldcache.compare(a.name, b.name) >= 0 for a, b in itertools.pairwise(entries))


def test_hwcaps_names_are_kept() -> None:
    entries = [
        ldcache.Entry(0x303, b"liba.so.1", b"/lib/glibc-hwcaps/x86-64-v3/liba.so.1", 0, 1 << 62)
    ]
    assert ldcache.parse(ldcache.build(entries, [b"x86-64-v3"])) == (entries, [b"x86-64-v3"])


@given(st.binary(max_size=300))
def test_garbage_is_no_cache(data: bytes) -> None:
    ldcache.parse(data)
    ldcache.parse(ldcache.MAGIC + data)
    assert ldcache.with_libraries(data, [("a", "/a")]) is None


def test_inside(first: Inside) -> None:
    """ldconfig itself, run inside, writes the same libraries."""
    script = "/sbin/ldconfig -p | grep nvidia -c; /sbin/ldconfig -p | grep -o '[^/]*$' | sort >/tmp/a; /sbin/ldconfig; /sbin/ldconfig -p | grep -v ^Cache | grep -o '[^/]*$' | sort | diff - /tmp/a | grep so"
    ran = first.run(["sh", "-c", script], check=1)
    assert int(ran.stdout) >= 4 and b"<" not in ran.stdout and b">" not in ran.stdout
