"""Paths looked up in one round trip: the gofer's end, the client's, the overlay's."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faketask import FakeTask
from vfs.worlds import code, start_gofer

from nvsandbox.gofer import protocol as p
from nvsandbox.sentry.fs.gofer_client import GoferClient
from nvsandbox.sentry.fs.gofer_node import Node
from nvsandbox.sentry.fs.memfd_pool import MemfdPool, local_refill
from nvsandbox.sentry.fs.overlay import AHEAD, OverlayFs, make_overlay
from nvsandbox.sentry.vfs.inode import Inode

Served = tuple[GoferClient, Path]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    root = tmp_path / "root"
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/b/c/file").write_bytes(b"content")
    (root / "a/b/c/first").write_bytes(b"content")
    (root / "a/b/up").symlink_to("../..")
    os.mkfifo(root / "a/b/fifo")
    client, pid = start_gofer(str(root))
    yield client, root
    client.sock.close()
    os.waitpid(pid, 0)


def overlay(c: GoferClient) -> tuple[OverlayFs, Any]:
    t: Any = FakeTask()
    fs = make_overlay(c.roots[0], MemfdPool(local_refill))
    assert fs.root is not None
    return fs, t


def walk(fs: OverlayFs, t: Any, path: bytes, opens: bool = False) -> Inode:
    """As vfs/namei.py walks."""
    assert fs.root is not None
    at: Inode = fs.root
    names = path.split(b"/")[::-1]
    while names:
        at = at.lookup_on(t, names.pop(), names, opens)
    return at


# The gofer
def test_directories_on_the_way_become_handles_and_the_file_comes_open(served: Served) -> None:
    c, root = served
    call = c.begin(p.Find(c.new_id(), 0, [b"a", b"b", b"c", b"file"], 50, True))
    r = c.finish(call)[-1]
    assert [a.ino for a in r.attrs] == [
        (root / n).stat().st_ino for n in ("a", "a/b", "a/b/c", "a/b/c/file")
    ]
    (fd,) = call.fds
    assert os.read(fd, 10) == b"content"
    with pytest.raises(OSError):
        os.write(fd, b"x")
    os.close(fd)
    assert c.call(p.Find(c.new_id(), 52, [b"first"])).attrs[0].size == 7
    assert code(c.call, p.OpenDir(c.new_id(), 0, b"a", 52)) == errno.EINVAL
    assert code(c.call, p.Find(c.new_id(), 53, [])) == errno.EBADF  # the file has none


@pytest.mark.parametrize(
    ("names", "count", "nums"),
    [
        ([b"a", b"x", b"c"], 1, [1]),
        ([b"a", b"b", b"x"], 2, [1]),
        ([b"a", b"b", b"up", b"secret"], 3, []),
        ([b"a", b"b", b"fifo", b"x"], 3, []),
        ([b"a", b"b", b"fifo"], 3, []),
        ([b"a", b"n" * 255], 1, [1]),
    ],
)
def test_it_ends_at_what_is_no_directory(
    served: Served, names: list[bytes], count: int, nums: list[int]
) -> None:
    c, _ = served
    call = c.begin(p.Find(c.new_id(), 0, names, 50, True))
    r = c.finish(call)[-1]
    assert (len(r.attrs), r.nums, call.fds) == (count, nums, [])


@pytest.mark.parametrize("names", [[b"a", b".."], [b"a", b"b/c"], [b"a", b""], [b"..", b"a"]])
def test_no_name_of_a_chain_leaves_its_directory(served: Served, names: list[bytes]) -> None:
    c, _ = served
    assert code(c.call, p.Find(c.new_id(), 0, names, 50)) == errno.EINVAL
    assert code(c.call, p.Find(c.new_id(), 50, [])) == errno.EBADF


def test_handles_in_use_are_not_taken(served: Served) -> None:
    c, _ = served
    assert code(c.call, p.Find(c.new_id(), 0, [b"a", b"b"], 0)) == errno.EINVAL
    c.call(p.OpenDir(c.new_id(), 0, b"a", 51))
    assert code(c.call, p.Find(c.new_id(), 0, [b"a", b"b", b"c"], 50)) == errno.EINVAL


# The client and the overlay
def test_a_path_is_one_round_trip(served: Served) -> None:
    c, _ = served
    fs, t = overlay(c)
    before = c.requests
    f = walk(fs, t, b"a/b/c/file", True)
    assert f.read_at(t, 0, 10) == b"content"
    assert c.requests == before + 1
    assert walk(fs, t, b"a/b/c/first").size == 7
    assert c.requests == before + 2
    assert code(walk, fs, t, b"a/b/c/none") == errno.ENOENT
    assert code(walk, fs, t, b"a/b/c/none") == errno.ENOENT
    assert c.requests == before + 3


def test_what_is_not_there_is_known_from_the_same_round_trip(served: Served) -> None:
    c, _ = served
    fs, t = overlay(c)
    before = c.requests
    assert code(walk, fs, t, b"a/b/x/y") == errno.ENOENT
    assert code(walk, fs, t, b"a/b/x") == errno.ENOENT
    assert walk(fs, t, b"a/b").is_dir()
    assert c.requests == before + 1


def test_links_and_long_names_end_it(served: Served) -> None:
    c, root = served
    fs, t = overlay(c)
    assert walk(fs, t, b"a/b/up").is_lnk()
    assert fs.root is not None
    assert fs.root.lookup_on(t, b"a", [b"n" * 300], True).is_dir()
    deep = "/".join(["d"] * (AHEAD + 5))
    (root / deep).mkdir(parents=True)
    before = c.requests
    assert walk(fs, t, deep.encode()).is_dir()
    assert c.requests == before + 2


def test_a_directory_whose_handle_was_let_go_is_opened_in_the_same_round_trip(
    served: Served,
) -> None:
    c, _ = served
    fs, t = overlay(c)
    walk(fs, t, b"a/b/c")
    for n in list(c.dirs):
        c.dirs.pop(n)
        c.forget([n.handle])
        n.handle = -1
    before = c.requests
    assert walk(fs, t, b"a/b/c/file").size == 7
    assert c.requests == before + 1


def chain(c: GoferClient, path: str) -> Node:
    n = c.roots[0]
    for name in path.encode().split(b"/"):
        ((n, _),), _ = c.find(n, [name], False)
    return n


@pytest.mark.parametrize("how", ["gone", "another", "a file"])
def test_a_directory_that_changed_places_is_not_taken_for_the_old_one(
    served: Served, how: str
) -> None:
    c, root = served
    n = chain(c, "a/b")
    m = n.parent
    assert m is not None
    assert n.handle < 0
    for d in (m, n):
        if d.handle >= 0:
            c.forget([d.handle])
            c.dirs.pop(d)
            d.handle = -1
    (root / "a").rename(root / "old")
    if how == "another":
        (root / "a/b").mkdir(parents=True)
        (root / "a/b/x").touch()
    elif how == "a file":
        (root / "a").touch()
    assert code(c.find, n, [b"x"], False) == (errno.ENOENT if how == "gone" else errno.ESTALE)
    assert m.handle < 0
    assert n.handle < 0
    assert not c.broken


def attr(mode: int) -> p.Attr:
    return p.Attr(1, 1, mode, 1, 0, 0, 0, 0, 0, 0, 0, 0)


DIR, REG = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644


@pytest.mark.parametrize(
    ("modes", "nums", "fds"),
    [
        ([], [], 0),
        ([DIR, DIR, DIR], [], 0),
        ([REG, REG], [], 0),
        ([DIR, REG], [1], 0),
        ([REG], [1], 0),
        ([DIR], [], 1),
        ([DIR, DIR], [], 1),
        ([DIR, REG], [], 2),
        ([DIR, 0o644], [], 1),
    ],
)
def test_a_lying_answer_is_cut_off(modes: list[int], nums: list[int], fds: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def serve() -> None:
        hello = p.request_decoder.decode(theirs.recv(p.MAX_MESSAGE))
        theirs.send(p.encoder.encode(p.Reply(hello.id, attrs=[attr(DIR)], nums=[p.VERSION, 4096])))
        req = p.request_decoder.decode(theirs.recv(p.MAX_MESSAGE))
        r = p.Reply(req.id, fds=fds, attrs=[attr(m) for m in modes], nums=nums)
        if fds:
            socket.send_fds(theirs, [p.encoder.encode(r)], [0] * fds)
        else:
            theirs.send(p.encoder.encode(r))
        theirs.recv(1)
        theirs.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    c = GoferClient(ours)
    held = len(os.listdir("/proc/self/fd"))
    assert code(c.find, c.roots[0], [b"x", b"y"], True) == errno.EIO
    assert c.broken
    assert len(os.listdir("/proc/self/fd")) == held
    c.sock.close()
    thread.join()
