"""Random sequences of file-system calls: the host and our three writable file systems must agree on every result."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vfs.worlds import AT_FDCWD, GoferWorld, HostWorld, Out, tmpfs_world

NAMES = [b"a", b"b", b"d", b"d/a", b"d/b", b"d/e", b"d/e/a", b"l", b"d/l"]
ODD = [
    b"",
    b".",
    b"..",
    b"a/",
    b"d/",
    b"d/.",
    b"d/..",
    b"a/x",
    b"no/x",
    b"x" * 256,
    b"l/",
    b"d/e/",
    b"d/../a",
]
PATHS = st.sampled_from(NAMES * 4 + ODD)
TARGETS = st.sampled_from([b"a", b"d", b"l", b"../a", b"nowhere", b"d/", b".", b"e/a", b"", b"d/l"])
MODES = st.sampled_from([0o644, 0o755, 0o600, 0, 0o7777, 0o2755])
O_FLAGS = st.sampled_from(
    [0, 1, 2, 0o100 | 2, 0o300 | 2, 0o100 | 0o1000 | 2, 0o1000 | 1, 0o2001, 0o200000, 0o400000,
     0o100 | 0o400000 | 2, 0o200000 | 0o100, 0o10000000, 0o10000000 | 0o400000, 0o200000 | 2, 0o2102]
)  # fmt: skip
OPS = st.one_of(
    st.tuples(st.just("write"), PATHS, O_FLAGS, MODES, st.binary(max_size=20)),
    st.tuples(st.just("openat"), st.just(AT_FDCWD), PATHS, O_FLAGS, MODES),
    st.tuples(st.just("mkdir"), PATHS, MODES),
    st.tuples(st.just("rmdir"), PATHS),
    st.tuples(st.just("unlink"), PATHS),
    st.tuples(st.just("symlink"), TARGETS, PATHS),
    st.tuples(st.just("link"), PATHS, PATHS),
    st.tuples(st.just("linkat"), st.just(AT_FDCWD), PATHS, st.just(AT_FDCWD), PATHS, st.sampled_from([0, 0x400])),
    st.tuples(st.just("rename"), PATHS, PATHS),
    st.tuples(st.just("renameat2"), st.just(AT_FDCWD), PATHS, st.just(AT_FDCWD), PATHS, st.sampled_from([0, 1, 2, 3])),
    st.tuples(st.just("chmod"), PATHS, MODES),
    st.tuples(st.just("chown"), PATHS, st.sampled_from([0, 1000, 0xFFFFFFFF]), st.sampled_from([0, 1000])),
    st.tuples(st.just("lchown"), PATHS, st.just(7), st.just(8)),
    st.tuples(st.just("truncate"), PATHS, st.sampled_from([0, 5, 100000, -1])),
    st.tuples(st.just("mknod"), PATHS, st.sampled_from([0o100644, 0o10644, 0o140644, 0o20644, 0o40755, 0o70000]), st.just(0x103)),
    st.tuples(st.just("access"), PATHS, st.sampled_from([0, 1, 2, 4, 7, 8])),
    st.tuples(st.just("setxattr"), PATHS, st.sampled_from([b"user.k", b"user.j", b"trusted.t"]), st.binary(max_size=4), st.just(0), st.sampled_from([0, 1, 2])),
    st.tuples(st.just("removexattr"), PATHS, st.just(b"user.k")),
)  # fmt: skip

WORLDS = ["tmpfs", "overlay", "direct", "bind"]


def run(w: Any, op: tuple[Any, ...]) -> int:
    """One step; ``write`` is open, write, close with the three results folded into one."""
    if op[0] == "setxattr":
        op = (*op[:3], Out(len(op[3]), op[3]), len(op[3]), op[5])
    if op[0] == "openat" or op[0] == "write":
        path = op[1] if op[0] == "write" else op[2]
        flags, mode = (op[2], op[3]) if op[0] == "write" else (op[3], op[4])
        fd = w.call("openat", AT_FDCWD, path, flags | 0o4000, mode)  # a FIFO would wait
        if fd < 0:
            return int(fd)
        r = w.call("write", fd, Out(len(op[4]), op[4]), len(op[4])) if op[0] == "write" else 0
        assert w.call("close", fd) == 0
        return int(r)
    return int(w.call(*op))


def tree(w: Any) -> dict[bytes, Any]:
    """Everything below the root: kinds, modes, owners, links, contents, link counts, xattrs."""
    out: dict[bytes, Any] = {}
    ids: dict[int, int] = {}
    todo = [b"."]
    while todo:
        d = todo.pop()
        for name in sorted(listing(w, d)):
            path = name if d == b"." else d + b"/" + name
            out[path] = describe(w, path, ids)
            if out[path][0] & 0o170000 == 0o040000:
                todo.append(path)
    return out


def listing(w: Any, d: bytes) -> list[bytes]:
    fd = w.call("openat", AT_FDCWD, d, 0o200000, 0)
    assert fd >= 0, (d, fd)
    names: list[bytes] = []
    while True:
        buf = Out(600)
        n = w.call("getdents64", fd, buf, buf.size)
        assert n >= 0
        if n == 0:
            break
        pos = 0
        while pos < n:
            _, _, size, kind = struct.unpack_from("<QqHB", buf.data, pos)
            name = buf.data[pos + 19 : pos + size].split(b"\0")[0]
            if name not in (b".", b"..", b"lost+found"):
                names.append(name)
                st_ = Out(144)
                assert w.call("newfstatat", fd, name, st_, 0x100) == 0
                assert struct.unpack_from("<I", st_.data, 24)[0] >> 12 == kind
            pos += size
    assert w.call("close", fd) == 0
    assert len(set(names)) == len(names)
    return names


def describe(w: Any, path: bytes, ids: dict[int, int]) -> tuple[Any, ...]:
    buf = Out(144)
    assert w.call("lstat", path, buf) == 0
    _, ino, nlink, mode, uid, gid = struct.unpack_from("<QQQIII", buf.data)
    (size,) = struct.unpack_from("<q", buf.data, 48)
    kind = mode & 0o170000
    content: Any = None
    if kind == 0o100000:
        fd = w.call("openat", AT_FDCWD, path, 0o4000, 0)
        data = Out(200)
        n = w.call("read", fd, data, data.size)
        content = data.data[:n]
        w.call("close", fd)
    elif kind == 0o120000:
        data = Out(100)
        content = data.data[: w.call("readlink", path, data, 100)]
        content = data.data.rstrip(b"\0")
    xattrs = Out(200)
    n = w.call("llistxattr", path, xattrs, 200)
    keys = sorted(k for k in xattrs.data[: max(n, 0)].split(b"\0") if k)
    same = ids.setdefault(ino, len(ids))
    if kind == 0o040000:
        return mode, uid, gid, 0, 0, content, keys, same
    return mode, uid, gid, nlink, size, content, keys, same


SEED = [
    ("mkdir", b"d", 0o755), ("mkdir", b"d/e", 0o755), ("write", b"a", 0o102, 0o644, b"hello"),
    ("write", b"d/b", 0o102, 0o600, b"lower"), ("symlink", b"d/b", b"l"), ("link", b"a", b"d/a"),
    ("setxattr", b"a", b"user.k", b"v", 0, 0),
]  # fmt: skip


def make(kind: str) -> Any:
    """A world whose directory already holds SEED (below the overlay: in the lower)."""
    if kind == "tmpfs":
        w: Any = tmpfs_world()
        assert w.call("mkdir", b"w", 0o755) == w.call("chdir", b"w") == 0
        for op in SEED:
            run(w, op)
        return w
    lower = HostWorld()
    for op in SEED:
        run(lower, op)
    w = GoferWorld(kind == "overlay", dir=lower.dir, bind=kind == "bind")
    w.lower = lower
    assert w.call("chdir", b"/m/w" if kind == "bind" else b"w") == 0
    return w


def finish(w: Any) -> None:
    if isinstance(w, GoferWorld):
        w.close()
        w.lower.close()  # type: ignore[attr-defined]  # put there by make


@pytest.fixture
def host() -> Iterator[HostWorld]:
    w = HostWorld()
    yield w
    w.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", WORLDS)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(ops=st.lists(OPS, max_size=25))
def test_same_as_the_host(kind: str, ops: list[tuple[Any, ...]]) -> None:
    host = HostWorld()
    w = make(kind)
    try:
        for op in SEED:
            run(host, op)
        for op in ops:
            if op[0] == "mknod" and op[2] == 0o20644 and kind in ("direct", "bind"):
                continue  # the gofer makes no devices
            assert (op, run(w, op)) == (op, run(host, op))
        assert tree(w) == tree(host)
    finally:
        finish(w)
        host.close()
