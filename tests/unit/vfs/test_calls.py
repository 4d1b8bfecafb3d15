"""Single calls where the model test does not reach; each runs on the host too, so that expectations are proved."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from vfs.worlds import AT_FDCWD, GoferWorld, HostWorld, Out, tmpfs_world

CREAT = os.O_RDWR | os.O_CREAT


@pytest.fixture(params=["host", "tmpfs", "overlay"])
def w(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "tmpfs":
        yield tmpfs_world()
        return
    world: Any = HostWorld() if request.param == "host" else GoferWorld(True)
    yield world
    world.close()


def opened(w: Any, name: bytes = b"f", flags: int = CREAT, data: bytes = b"") -> int:
    fd = int(w.call("openat", AT_FDCWD, name, flags, 0o644))
    assert fd >= 0
    if data:
        assert w.call("write", fd, Out(len(data), data), len(data)) == len(data)
    return fd


def content(w: Any, fd: int, size: int = 100) -> bytes:
    out = Out(size)
    n = w.call("pread64", fd, out, size, 0)
    assert n >= 0
    return out.data[:n]


def test_positions(w: Any) -> None:
    fd = opened(w, data=b"hello world")
    assert w.call("lseek", fd, -5, os.SEEK_END) == 6
    out = Out(100)
    assert w.call("read", fd, out, 100) == 5
    assert out.data[:5] == b"world"
    assert w.call("lseek", fd, -1, os.SEEK_SET) == -errno.EINVAL
    assert w.call("lseek", fd, 0, 9) == -errno.EINVAL
    assert w.call("lseek", fd, 100, os.SEEK_SET) == 100
    assert w.call("read", fd, out, 100) == 0
    assert w.call("write", fd, Out(1, b"!"), 1) == 1
    assert content(w, fd, 200) == b"hello world".ljust(100, b"\0") + b"!"
    assert w.call("lseek", fd, 0, os.SEEK_HOLE) >= 0
    assert w.call("lseek", fd, 1000, os.SEEK_DATA) == -errno.ENXIO


def test_append(w: Any) -> None:
    fd = opened(w, data=b"abc")
    ap = opened(w, flags=os.O_WRONLY | os.O_APPEND)
    assert w.call("pwrite64", ap, Out(1, b"d"), 1, 0) == 1
    assert w.call("write", ap, Out(1, b"e"), 1) == 1
    assert content(w, fd) == b"abcde"
    assert w.call("lseek", ap, 0, os.SEEK_CUR) == 5


def test_access_modes(w: Any) -> None:
    fd = opened(w, data=b"x")
    ro = opened(w, flags=os.O_RDONLY)
    wo = opened(w, flags=os.O_WRONLY)
    path = opened(w, flags=os.O_PATH)
    b = Out(10)
    assert w.call("write", ro, b, 1) == -errno.EBADF
    assert w.call("read", wo, b, 1) == -errno.EBADF
    assert w.call("read", path, b, 1) == -errno.EBADF
    assert w.call("fstat", path, Out(144)) == 0
    assert w.call("ftruncate", ro, 0) == -errno.EINVAL
    assert w.call("fchmod", path, 0) == -errno.EBADF
    assert w.call("fcntl", path, 4, 0) == -errno.EBADF
    assert w.call("fcntl", fd, 3, 0) == os.O_RDWR | 0o100000
    assert w.call("close", fd) == 0
    assert w.call("close", fd) == -errno.EBADF


def test_tmpfile_gets_a_name(w: Any) -> None:
    fd = opened(w, b".", os.O_TMPFILE | os.O_RDWR, b"data")
    assert w.call("linkat", fd, b"", AT_FDCWD, b"named", 0x1000) == 0
    named = opened(w, b"named", os.O_RDONLY)
    assert content(w, named) == b"data"
    excl = opened(w, b".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
    assert w.call("linkat", excl, b"", AT_FDCWD, b"n2", 0x1000) == -errno.ENOENT
    assert w.call("openat", AT_FDCWD, b".", os.O_TMPFILE, 0o644) == -errno.EINVAL


def test_unlinked_but_open(w: Any) -> None:
    fd = opened(w, data=b"still here")
    assert w.call("unlink", b"f") == 0
    assert content(w, fd) == b"still here"
    st = Out(144)
    assert w.call("fstat", fd, st) == 0
    assert struct.unpack_from("<Q", st.data, 16)[0] == 0
    assert w.call("write", fd, Out(2, b"yy"), 2) == 2


def test_openat2(w: Any) -> None:
    assert w.call("mkdir", b"d", 0o755) == 0
    assert w.call("symlink", b"../f", b"d/up") == 0
    opened(w)
    d = opened(w, b"d", os.O_RDONLY | os.O_DIRECTORY)

    def op(path: bytes, resolve: int, flags: int = 0, tail: bytes = b"") -> int:
        how = struct.pack("<QQQ", flags, 0, resolve) + tail
        return int(w.call("openat2", d, path, Out(len(how), how), len(how)))

    assert op(b"../f", 0) >= 0
    assert op(b"../f", 8) == -errno.EXDEV
    assert op(b"up", 8) == -errno.EXDEV
    assert op(b"up", 0x10) == -errno.ENOENT  # in its own root "../f" is "/f" and absent
    assert op(b"up", 4) == -errno.ELOOP
    assert op(b"up", 0x100) == -errno.EINVAL
    assert op(b"up", 0x18) == -errno.EINVAL
    assert op(b"up", 0, 1 << 40) == -errno.EINVAL
    assert op(b"up", 0, tail=bytes(8)) >= 0
    assert op(b"up", 0, tail=b"\1" * 8) == -errno.E2BIG
    assert op(b"..", 8) == -errno.EXDEV
    assert op(b"..", 0x10, os.O_DIRECTORY) >= 0


def test_link_loop(w: Any) -> None:
    assert w.call("symlink", b"l2", b"l1") == w.call("symlink", b"l1", b"l2") == 0
    assert w.call("stat", b"l1", Out(144)) == -errno.ELOOP
    assert w.call("openat", AT_FDCWD, b"l1", CREAT, 0o644) == -errno.ELOOP
    assert w.call("openat", AT_FDCWD, b"l1", os.O_NOFOLLOW, 0) == -errno.ELOOP


def test_locks_between_descriptions(w: Any) -> None:
    a, b = opened(w), opened(w)
    assert w.call("flock", a, 2) == 0
    assert w.call("flock", b, 2 | 4) == -errno.EAGAIN
    assert w.call("flock", a, 8) == 0
    assert w.call("flock", b, 1 | 4) == 0
    assert w.call("flock", a, 1 | 4) == 0

    def lock(fd: int, cmd: int, kind: int, start: int, size: int) -> tuple[int, bytes]:
        arg = Out(32, struct.pack("<hh4xqqi4x", kind, 0, start, size, 0))
        r = int(w.call("fcntl", fd, cmd, arg))
        return r, arg.data

    assert lock(a, 37, 1, 0, 10)[0] == 0
    assert lock(b, 37, 1, 5, 10)[0] == -errno.EAGAIN
    assert lock(b, 37, 1, 10, 10)[0] == 0
    assert lock(a, 37, 2, 4, 2)[0] == 0
    assert lock(b, 37, 0, 4, 2)[0] == 0
    r, out = lock(b, 36, 1, 6, 0)
    assert r == 0
    assert struct.unpack("<hh4xqqi4x", out) == (1, 0, 6, 4, -1)


def test_directory_errors(w: Any) -> None:
    assert w.call("mkdir", b"d", 0o755) == 0
    fd = opened(w, b"d", os.O_RDONLY)
    assert w.call("read", fd, Out(10), 10) == -errno.EISDIR
    assert w.call("getdents64", fd, Out(10), 10) == -errno.EINVAL
    assert w.call("ftruncate", fd, 0) == -errno.EINVAL
    assert w.call("rmdir", b"d") == 0
    assert w.call("getdents64", fd, Out(1000), 1000) == -errno.ENOENT
    assert w.call("openat", fd, b"new", CREAT, 0o644) == -errno.ENOENT
    assert w.call("mkdirat", fd, b"new", 0o755) == -errno.ENOENT


def test_copies(w: Any) -> None:
    src = opened(w, b"src", data=bytes(range(256)) * 1000)
    dst = opened(w, b"dst")
    assert w.call("sendfile", dst, src, Out(8), 1 << 30) == 256000
    assert w.call("sendfile", dst, src, Out(8, struct.pack("<q", 255990)), 100) == 10
    pos = Out(8, struct.pack("<q", 10))
    assert w.call("copy_file_range", src, pos, dst, 0, 20, 0) == 20
    assert struct.unpack("<q", pos.data)[0] == 30
    assert w.call("copy_file_range", src, 0, src, 0, 20, 1) == -errno.EINVAL
    assert w.call("splice", src, 0, dst, 0, 10, 0) == -errno.EINVAL
    st = Out(144)
    assert w.call("fstat", dst, st) == 0
    assert struct.unpack_from("<q", st.data, 48)[0] == 256030


def test_big_file_round_trip(w: Any) -> None:
    data = os.urandom(300_000)
    fd = opened(w, b"big", data=data)
    out = Out(300_000)
    assert w.call("pread64", fd, out, 300_000, 0) == 300_000
    assert out.data == data
    assert w.call("ftruncate", fd, 100) == 0
    assert content(w, fd, 200) == data[:100]
    assert w.call("fallocate", fd, 0, 0, 500) == 0
    assert content(w, fd, 600) == data[:100] + bytes(400)
    assert w.call("fallocate", fd, 3, 10, 20) == 0
    assert content(w, fd, 100) == data[:10] + bytes(20) + data[30:100]


def test_seals(w: Any) -> None:
    fd = w.call("memfd_create", b"name", 2)
    if isinstance(w, (GoferWorld, HostWorld)):
        assert fd >= 0
        assert w.call("write", fd, Out(4, b"data"), 4) == 4
        assert w.call("fcntl", fd, 1033, 8) == 0
        assert w.call("write", fd, Out(4, b"more"), 4) == -errno.EPERM
        assert w.call("fcntl", fd, 1034, 0) == 8
    f = opened(w)
    assert w.call("fcntl", f, 1034, 0) in (1, -errno.EINVAL)


@pytest.mark.parametrize("path", [b"", b"no", b"no/such", b"f/x", b"f/", b"f/."])
def test_stat_errors(w: Any, path: bytes) -> None:
    opened(w)
    want = {b"": errno.ENOENT, b"no": errno.ENOENT, b"no/such": errno.ENOENT}.get(
        path, errno.ENOTDIR
    )
    for call in ("stat", "lstat"):
        assert w.call(call, path, Out(144)) == -want


def test_utimensat(w: Any) -> None:
    fd = opened(w)
    times = struct.pack("<qqqq", 1000, 5, 2000, 999_999_999)
    assert w.call("utimensat", AT_FDCWD, b"f", Out(32, times), 0) == 0
    st = Out(144)
    assert w.call("fstat", fd, st) == 0
    assert struct.unpack_from("<qqqq", st.data, 72) == (1000, 5, 2000, 999_999_999)
    omit = struct.pack("<qqqq", 0, 0x3FFFFFFE, 7, 0)
    assert w.call("utimensat", fd, 0, Out(32, omit), 0) == 0
    assert w.call("fstat", fd, st) == 0
    assert struct.unpack_from("<qqqq", st.data, 72) == (1000, 5, 7, 0)
    bad = struct.pack("<qqqq", 0, 1_000_000_000, 7, 0)
    assert w.call("utimensat", fd, 0, Out(32, bad), 0) == -errno.EINVAL
