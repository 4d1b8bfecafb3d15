"""The loader's cache, against the real ldconfig's."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nvsandbox.nvproxy import ldcache, libraries

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


def test_links_that_an_image_has_kept(first: Inside, tmp_path: Path) -> None:
    """Of the driver it was made on: they end at ours now; a file stays."""
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", first.rootfs, root], check=True)
    lib = "/usr/lib/x86_64-linux-gnu"
    (tmp_path / f"root{lib}/libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.470.1")
    (tmp_path / f"root{lib}/libcuda.so").write_text("own\n")
    script = f"readlink {lib}/libnvidia-ml.so.1; cat {lib}/libcuda.so; nvidia-smi -L | cut -c1-5"
    ran = Inside(first.libs, root, first.platform).run(["sh", "-c", script])
    assert ran.stdout.split() == [b"libnvidia-ml.so.535.261.03", b"own", b"GPU", b"0"]
    assert (tmp_path / f"root{lib}/libnvidia-ml.so.1").readlink() == Path("libnvidia-ml.so.470.1")


def test_an_images_newer_cuda(tmp_path: Path) -> None:
    """CUDA Forward Compatibility: only where it is newer; the image's links stay inside the image."""
    home = tmp_path / "usr/local/cuda-13.0/compat"
    home.mkdir(parents=True)
    (tmp_path / "usr/local/cuda").symlink_to("/usr/local/cuda-13.0")
    for name in ("libcuda.so.580.65.06", "libnvidia-nvvm.so.580.65.06", "README"):
        (home / name).touch()
    (home / "libcuda.so.1").symlink_to("libcuda.so.580.65.06")
    (home / "libnvidia-nvvm.so.4").symlink_to("libnvidia-nvvm.so.580.65.06")
    at = "/usr/local/cuda/compat"
    want = [("libcuda.so.1", f"{at}/libcuda.so.1"), ("libnvidia-nvvm.so.4", f"{at}/libnvidia-nvvm.so.4")]  # fmt: skip
    assert libraries.compat(str(tmp_path), "535.261.03") == want
    assert libraries.compat(str(tmp_path), "580.65.06") == []
    assert libraries.compat(str(tmp_path), "595.45.04") == []
    (home / "libcuda.so.590.1").touch()
    assert libraries.compat(str(tmp_path), "535.261.03") == []  # which one?
    outside = tmp_path / "root"
    outside.mkdir()
    (outside / "usr").symlink_to("../usr")
    assert libraries.compat(str(outside), "535.261.03") == []
    cache = ldcache.with_libraries(
        ldcache.build((), ()), [*want, ("libcuda.so.1", "/usr/lib/libcuda.so.1")]
    )
    assert cache is not None
    parsed = ldcache.parse(cache)
    assert parsed is not None
    cuda = [e.path for e in parsed[0] if e.name == b"libcuda.so.1"]
    assert cuda == [f"{at}/libcuda.so.1".encode(), b"/usr/lib/libcuda.so.1"]
