"""The gofer against a hostile Sentry, and the client against a lying gofer."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest
from faketask import FakeTask
from hypothesis import given
from hypothesis import strategies as st
from vfs.worlds import code, start_gofer

from nvsandbox.gofer import protocol as p
from nvsandbox.gofer.main import MountSpec
from nvsandbox.platform.native.hot import dirents, entries_ok, list_names, walk_part
from nvsandbox.sentry.abi.stat import pack_dirents
from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.fs.gofer_ahead import MAX_FILES, Order
from nvsandbox.sentry.fs.gofer_client import GoferClient
from nvsandbox.sentry.fs.gofer_flight import Opening
from nvsandbox.sentry.fs.gofer_listing import UNSEEN, Listing
from nvsandbox.sentry.fs.gofer_node import Node
from nvsandbox.sentry.fs.memfd_pool import MemfdPool, local_refill
from nvsandbox.sentry.fs.overlay import OverlayFs, make_overlay
from nvsandbox.sentry.fs.tmpfs_inode import MemDir
from nvsandbox.sentry.vfs.inode import Inode

Served = tuple[GoferClient, Path]


@pytest.fixture(params=[True, False], ids=["ro", "rw"])
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    (root / "link").symlink_to("../secret")
    (root / "up").symlink_to("..")
    os.mkfifo(root / "fifo")
    (tmp_path / "secret").write_bytes(b"secret")
    client, pid = start_gofer(str(root), request.param)
    yield client, root
    client.sock.close()
    os.waitpid(pid, 0)


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"../secret", b"/etc", b"x\0y"])
def test_names_that_leave_the_directory(served: Served, name: bytes) -> None:
    c, _ = served
    assert code(c.call, p.Find(c.new_id(), 0, [name])) == errno.EINVAL
    if name:
        assert code(c.call, p.Open(c.new_id(), 0, name, False)) == errno.EINVAL
    assert code(c.call, p.OpenDir(c.new_id(), 0, name, 77)) == errno.EINVAL


def test_links_are_never_followed(served: Served) -> None:
    c, _ = served
    r = c.call(p.Find(c.new_id(), 0, [b"up", b"secret"], 77))
    assert [stat.S_IFMT(a.mode) for a in r.attrs] == [stat.S_IFLNK]
    assert r.attrs[0].target == b".."
    assert code(c.call, p.OpenDir(c.new_id(), 0, b"up", 77)) in (errno.ELOOP, errno.ENOTDIR)
    assert code(c.call, p.Open(c.new_id(), 0, b"link", False)) == errno.EINVAL


def test_only_regular_files_are_opened(served: Served) -> None:
    c, _ = served
    for name in (b"fifo", b"dir", b""):
        assert code(c.call, p.Open(c.new_id(), 0, name, False)) == errno.EINVAL


def test_a_read_descriptor_cannot_write(served: Served) -> None:
    c, _ = served
    a = c.roots[0].find(b"file")
    assert a is not None
    _, fds = c.call_fds(p.Open(c.new_id(), 0, b"file", False), 1)
    assert os.read(fds[0], 100) == b"content"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fds[0], b"x")
    os.close(fds[0])


def test_a_read_only_mount_refuses_every_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    c, pid = start_gofer(str(tmp_path), True)
    i = c.new_id
    requests: list[p.Request] = [
        p.Create(i(), 0, b"n", stat.S_IFREG | 0o644, 0, 0, 0, b""),
        p.Link(i(), 0, b"file", 0, b"n"),
        p.Unlink(i(), 0, b"file", False),
        p.Rename(i(), 0, b"file", 0, b"n", 0),
        p.SetAttr(i(), 0, b"file", 8, 0, 0, 0, 0, 0, 0),
        p.SetXattr(i(), 0, b"file", b"user.x", b"", 0),
        p.Open(i(), 0, b"file", True),
        p.Sync(i(), 0),
    ]
    for r in requests:
        assert code(c.call, r) == errno.EROFS
    assert (tmp_path / "file").read_bytes() == b"x"
    c.sock.close()
    os.waitpid(pid, 0)


def test_bad_handles(served: Served) -> None:
    c, _ = served
    assert code(c.call, p.Find(c.new_id(), 99, [b"file"])) == errno.EBADF
    assert code(c.call, p.OpenDir(c.new_id(), 0, b"dir", 0)) == errno.EINVAL
    c.forget([0, 1, 2])  # the root stays, whatever is asked
    assert c.roots[0].find(b"file") is not None


def test_devices_are_not_made(served: Served) -> None:
    c, root = served
    req = p.Create(c.new_id(), 0, b"null", stat.S_IFCHR | 0o666, 0, 0, os.makedev(1, 3), b"")
    assert code(c.call, req) in (errno.EPERM, errno.EROFS)
    assert not (root / "null").exists()


def test_memfd_pairs(served: Served) -> None:
    c, _ = served
    pairs = c.refill_memfds(None)
    assert len(pairs) == p.MEMFD_BATCH
    for rw, ro in pairs:
        assert os.fstat(rw).st_ino == os.fstat(ro).st_ino
        os.write(rw, b"x")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(ro, b"y")
        os.close(rw)
        os.close(ro)


def test_requests_overtake_nothing(served: Served) -> None:
    c, _ = served
    calls = [c.begin(p.Find(c.new_id(), 0, [n])) for n in (b"file", b"dir", b"link")]
    kinds = [stat.S_IFMT(c.finish(k)[-1].attrs[0].mode) for k in calls]
    assert kinds == [stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK]


def test_a_long_listing_comes_in_parts(tmp_path: Path) -> None:
    for k in range(3000):
        (tmp_path / f"{k:0200}").touch()
    c, pid = start_gofer(str(tmp_path), True, (MountSpec("/", True),))
    assert len(c.roots) == 2
    assert len(entries(c.roots[0])) == 3000
    c.sock.close()
    os.waitpid(pid, 0)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[GoferClient]:
    """30 directories of 40 files with their own names in them."""
    for k in range(30):
        d = tmp_path / f"d{k}"
        d.mkdir()
        for n in range(40):
            (d / f"f{n}").write_text(f"{k} {n}")
    client, pid = start_gofer(str(tmp_path), True)
    yield client
    client.sock.close()
    os.waitpid(pid, 0)


class Seen(NamedTuple):
    """An entry as a listing has it."""

    mode: int
    attr: Callable[[], p.Attr]


def entries(n: Node, now: bool = False) -> dict[bytes, Seen]:
    listing, names = n.list_dir(now)
    return {name: Seen(listing.mode(i), partial(listing.attr, i)) for name, i in names.items()}


def child(parent: Node, name: bytes) -> Node:
    return Node(parent.client, parent, name, entries(parent)[name].attr())


def requests(c: GoferClient) -> int:
    return c.next_id


def test_a_walk_needs_few_requests_and_sees_the_right_files(tree: GoferClient) -> None:
    root = tree.roots[0]
    start = requests(tree)
    for name, e in entries(root).items():
        dir = Node(tree, root, name, e.attr())
        listing = entries(dir)
        assert set(listing) == {f"f{n}".encode() for n in range(40)}
        for f, a in listing.items():
            fd = Node(tree, dir, f, a.attr()).open(False)
            assert os.read(fd, 100) == b"%s %s" % (name[1:], f[1:])
            os.close(fd)
    assert requests(tree) - start < 30 * 4


def test_files_come_with_listings_only_while_files_are_read(tree: GoferClient) -> None:
    root = tree.roots[0]
    dirs = [Node(tree, root, n, e.attr()) for n, e in entries(root).items()]

    def read(dir: Node, count: int) -> None:
        for f, a in list(entries(dir).items())[:count]:
            os.close(Node(tree, dir, f, a.attr()).open(False))

    read(dirs[0], 40)
    assert tree.ahead.walk_files()
    dirs[-1].list_dir()  # not the next one: a walk of its own
    start = requests(tree)
    read(dirs[-1], p.WALK_FILES)
    assert requests(tree) == start + 1  # the listing
    for d in dirs[1:-1]:
        d.list_dir()
    assert not tree.ahead.walk_files()


def visit(n: Node) -> dict[bytes, object]:
    """All that is below, as find would list it."""
    return {
        name: visit(Node(n.client, n, name, e.attr())) if stat.S_ISDIR(e.mode) else None
        for name, e in entries(n).items()
    }


def on_disk(p: Path) -> dict[bytes, object]:
    return {
        os.fsencode(e.name): on_disk(Path(e)) if e.is_dir(follow_symlinks=False) else None
        for e in os.scandir(p)
    }


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    for a in range(6):
        for b in range(6):
            for c in range(6):
                (tmp_path / f"a{a}/b{b}/c{c}/d").mkdir(parents=True)
                (tmp_path / f"a{a}/b{b}/c{c}/f").write_text("x")
    (tmp_path / "a0/link").symlink_to("/")
    return tmp_path


@contextlib.contextmanager
def serve(root: Path) -> Iterator[GoferClient]:
    client, pid = start_gofer(str(root), True)
    yield client
    client.sock.close()
    os.waitpid(pid, 0)


def test_a_walk_brings_what_is_below(deep: Path) -> None:
    with serve(deep) as c:
        assert visit(c.roots[0]) == on_disk(deep)
        assert requests(c) < 40  # for 474 directories


def test_a_brief_walk_looks_at_directories_only(deep: Path) -> None:
    with serve(deep) as c:
        req = p.Walk(c.new_id(), 0, [b"a0"], 77, p.WALK_DIRS, True, p.WALK_FILES, True)
        call = c.begin(req)
        seen = 0
        for r in c.finish(call):
            for _, _, _, at, count, *_ in walk_part(*r.values, True) if r.values else ():
                listing = Listing()
                listing.add(r.values[1], r.values[2], at, count)
                for name, i in listing.names()[0].items():
                    seen += 1
                    assert listing.known(i) == stat.S_ISDIR(listing.mode(i))
                    if name == b"link":
                        assert listing.key(i)[1] == os.lstat(deep / "a0/link").st_ino
                        assert stat.S_ISLNK(listing.mode(i))
        assert seen == 6 + 6 * 6 + 2 * 6 * 6 + 1
        assert not call.fds


def overlay(c: GoferClient) -> tuple[OverlayFs, Any]:
    t: Any = FakeTask()
    return make_overlay(c.roots[0], MemfdPool(local_refill)), t


def loaded(d: Inode, t: Any) -> MemDir:
    assert isinstance(d, MemDir)
    d.load(t)
    return d


def walked(c: GoferClient, deep: Path) -> tuple[MemDir, Any]:
    """A directory that came with a brief walk."""
    fs, t = overlay(c)
    d = loaded(fs.root, t) if fs.root is not None else None
    for name in (b"a0", b"b0", b"c0"):
        assert d is not None
        d = loaded(d.lookup(t, name), t)
    assert d is not None
    assert d.child(b"f") is None
    assert b"f" in d.entries
    return d, t


def test_what_a_brief_walk_left_out_is_asked_for_when_it_is_looked_at(deep: Path) -> None:
    with serve(deep) as c:
        d, t = walked(c, deep)
        (deep / "a0/b0/c0/new").touch()
        assert d.lookup(t, b"f").size == 1
        assert d.lookup(t, b"d").is_dir()
        assert code(d.lookup, t, b"new") == errno.ENOENT  # it was listed before that was there
        assert c.ahead.looks  # the next walk is not brief


def test_a_name_that_is_not_there_is_asked_for_once(deep: Path) -> None:
    with serve(deep) as c:
        fs, t = overlay(c)
        assert fs.root is not None
        assert code(fs.root.lookup, t, b"nothing") == errno.ENOENT
        asked = c.requests
        assert code(fs.root.lookup, t, b"nothing") == errno.ENOENT
        assert c.requests == asked
        assert code(fs.root.lookup, t, b"nothing else") == errno.ENOENT
        assert c.requests > asked


def test_what_is_gone_since_a_brief_walk_is_not_found(deep: Path) -> None:
    with serve(deep) as c:
        d, t = walked(c, deep)
        (deep / "a0/b0/c0/f").unlink()
        assert code(d.lookup, t, b"f") == errno.ENOENT
        assert set(d.entries) == {b"d"}


def test_a_walk_that_does_not_go_down_asks_for_nothing_below(deep: Path) -> None:
    with serve(deep) as c:
        root = c.roots[0]
        for name, e in entries(root).items():
            if stat.S_ISDIR(e.mode):
                Node(c, root, name, e.attr()).list_dir()
        assert {key[0] for key in c.ahead.dirs} <= {0}


def test_a_directory_replaced_since_it_was_listed_ahead_is_not_taken_for_the_new_one(
    deep: Path,
) -> None:
    with serve(deep) as c:
        a0 = child(c.roots[0], b"a0")
        subdirs = [n for n, e in entries(a0).items() if stat.S_ISDIR(e.mode)]
        visit(child(a0, subdirs[0]))
        assert any(name == subdirs[1] for _, name in c.ahead.dirs)
        where = deep / "a0" / os.fsdecode(subdirs[1])
        where.rename(deep / "gone")
        (where / "new").mkdir(parents=True)
        assert visit(Node(c, a0, subdirs[1], entries(a0, True)[subdirs[1]].attr())) == {b"new": {}}


def test_what_came_ahead_is_bounded(tree: GoferClient) -> None:
    root = tree.roots[0]
    before = len(os.listdir("/proc/self/fd"))
    for name, e in entries(root).items():
        dir = Node(tree, root, name, e.attr())
        files = list(entries(dir).items())
        for f, a in files[:3]:
            os.close(Node(tree, dir, f, a.attr()).open(False))
    assert len(tree.ahead.files) <= MAX_FILES
    assert len(os.listdir("/proc/self/fd")) - before <= MAX_FILES


def test_a_file_replaced_since_it_was_opened_ahead_is_not_taken_for_the_new_one(
    tmp_path: Path, tree: GoferClient
) -> None:
    dir = child(tree.roots[0], b"d0")
    order = list(entries(dir))
    os.close(child(dir, order[0]).open(False))
    assert tree.ahead.files
    (tmp_path / "d0" / "new").write_text("new")
    (tmp_path / "d0" / "new").rename(tmp_path / "d0" / os.fsdecode(order[1]))
    fd = child(dir, order[1]).open(False)
    assert os.read(fd, 10) == b"new"
    os.close(fd)


def test_a_walk_cannot_leave_the_directory_or_take_a_handle_in_use(served: Served) -> None:
    c, _ = served
    for names, new, err in (
        ([b".."], 77, errno.EINVAL),
        ([b"up"], 77, errno.ELOOP),
        ([b"file"], 77, errno.ENOTDIR),
        ([b"dir"], 0, errno.EINVAL),
    ):
        assert code(c.call, p.Walk(c.new_id(), 0, names, new, 1)) in (err, errno.ENOTDIR)
    for deep in (False, True):
        req = p.Walk(c.new_id(), 0, [b"dir", b"..", b"link", b"file"], 77 + deep, 4, deep)
        got = c.finish(c.begin(req))
        dirs = [d for r in got if r.values for d in walk_part(*r.values, False)]
        assert [(d[0], d[1], d[7]) for d in dirs] == [(0, 0, b"dir")]


def liar(
    answer: Any,
    then: Callable[[socket.socket, int], None] | None = None,
    greeting: tuple[int, ...] = (p.VERSION, 4096),
) -> GoferClient:
    """A client whose gofer says ``greeting``, then answers a request with ``answer(id)`` and what ``then`` sends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    st_ = os.stat("/")
    root = p.Attr(st_.st_dev, st_.st_ino, st_.st_mode, 1, 0, 0, 0, 0, 0, 0, 0, 0)

    def serve() -> None:
        hello = p.request_decoder.decode(theirs.recv(p.MAX_MESSAGE))
        theirs.send(p.encoder.encode(p.Reply(hello.id, attrs=[root], nums=list(greeting))))
        data = theirs.recv(p.MAX_MESSAGE)
        if data:
            id = p.request_decoder.decode(data).id
            if answer is not None:
                theirs.send(answer(id))
            if then is not None:
                then(theirs, id)
        theirs.close()

    threading.Thread(target=serve, daemon=True).start()
    return GoferClient(ours)


@pytest.mark.parametrize(
    "nums",
    [
        (),
        (p.VERSION,),
        (p.VERSION + 1, 4096),
        (p.VERSION, 0),
        (p.VERSION, 1 << 40),
        (p.VERSION, 4096, 4096),
    ],
)
def test_a_bad_greeting(nums: tuple[int, ...]) -> None:
    with pytest.raises(SysErr):
        liar(None, greeting=nums)


@pytest.mark.parametrize(
    "answer",
    [
        lambda i: b"",
        lambda i: b"\xc1garbage",
        lambda i: p.encoder.encode(p.Reply(i + 5)),
        lambda i: p.encoder.encode(p.Reply(i)),
        lambda i: p.encoder.encode(p.Reply(i, fds=1)),
        lambda i: p.encoder.encode([i, 0, False, 0, [[-1] * 12]]),
        lambda i: p.encoder.encode([i, 0, False, 0, [[1, 1, 0o777, 1, 0, 0, 0, 0, 0, 0, 0, 0]]]),
        lambda i: p.encoder.encode([i, 70000]),
    ],
)
def test_a_lying_gofer_is_cut_off(answer: Any) -> None:
    c = liar(answer)
    assert code(c.roots[0].find, b"x") == errno.EIO
    assert c.broken
    assert code(c.roots[0].find, b"x") == errno.EIO
    c.sock.close()


def record(name: bytes, at: int, mode: int = stat.S_IFREG | 0o644, target: int = 0) -> bytes:
    """An entry whose name is at ``at`` of the text."""
    return p.ENTRY.pack(1, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, len(name), target, at)


def directory(
    index: int, above: int, name: bytes, at: int, count: int = 0, more: bool = False, mode: int = stat.S_IFDIR
) -> bytes:  # fmt: skip
    own = p.ENTRY.pack(1, 2, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, len(name), 0, at)
    return own + struct.pack("<4I", index, above, count, more)


def part(i: int, dirs: list[bytes], records: list[bytes], text: bytes, **more: Any) -> bytes:
    """One part of the answer to a walk."""
    values = [b"".join(dirs), b"".join(records), text]
    return p.encoder.encode(p.Reply(i, values=values, **more))


DIR = p.Attr(1, 2, stat.S_IFDIR | 0o755, 1, 0, 0, 0, 0, 0, 0, 0, 0)


def test_a_directory_can_be_used_while_a_walk_goes_on() -> None:
    go = threading.Event()

    def rest(sock: socket.socket, id: int) -> None:
        sock.send(part(id, [directory(1, 0, b"b", 0, 0, True)], [], b"b", more=True))
        assert go.wait(10)
        sock.send(part(id, [directory(1, 0, b"b", 0, 1)], [record(b"x", 1)], b"bx"))

    c = liar(lambda i: part(i, [directory(0, 0, b"a", 0)], [], b"a", more=True), rest)
    root = c.roots[0]
    root.subdirs = Order([b"a", b"b", b"c"])
    first, second = Node(c, root, b"a", DIR), Node(c, root, b"b", DIR)
    assert entries(first) == {}
    assert [flight.left for flight, _ in c.flights] == [{b"b", b"c"}]
    go.set()
    assert set(entries(second)) == {b"x"}
    assert not c.flights  # "c" was left out
    c.sock.close()


@pytest.mark.parametrize(
    "answer",
    [
        lambda i: p.encoder.encode(p.Reply(i, values=[b"x"])),
        lambda i: p.encoder.encode(p.Reply(i, values=[b"", b"", b""])),
        lambda i: part(i, [directory(1, 0, b"d", 0)], [], b"d"),
        lambda i: part(i, [directory(0, 1, b"d", 0)], [], b"d"),
        lambda i: part(i, [directory(0, 0, b"other", 0)], [], b"other"),
        lambda i: part(i, [directory(0, 0, b"d", 0, mode=stat.S_IFREG)], [], b"d"),
        lambda i: part(i, [directory(0, 0, b"d", 1)], [], b"d"),
        lambda i: part(i, [directory(0, 0, b"d", 0)[:-1]], [], b"d"),
        lambda i: part(i, [directory(0, 0, b"d", 0)], [], b"dx"),
        lambda i: part(i, [directory(0, 0, b"d", 0)], [], b""),
        lambda i: part(i, [directory(0, 0, b"d", 0, 1)], [], b"d"),
        lambda i: part(i, [directory(0, 0, b"d", 0)], [record(b"x", 1)], b"dx"),
        lambda i: part(i, [directory(0, 0, b"d", 0, 1)], [record(b"x", 0)], b"dx"),
        lambda i: part(i, [directory(0, 0, b"d", 0, 1)], [record(b"x", 1)[:-1]], b"dx"),
        lambda i: part(i, [directory(0, 0, b"d", 0, 1)], [record(b"/", 1)], b"d/"),
        lambda i: part(i, [directory(0, 0, b"d", 0, 1)], [record(b"x", 1, 0o644)], b"dx"),
        lambda i: part(i, [directory(0, 0, b"d", 0, (1 << 32) - 1)], [record(b"x", 1)], b"dx"),
        lambda i: part(i, [directory(0, 0, b"d", 0, 1)], [record(b"x", 1, target=9)], b"dx"),
        lambda i: part(i, [directory(0, 0, b"d", 0, 1)], [record(b"x", 1, target=UNSEEN)], b"dx"),
        lambda i: part(i, [directory(0, 0, b"d", 0), directory(1, 0, b"e", 1)], [], b"de"),
        lambda i: part(i, [directory(0, 0, b"d", 0), directory(0, 0, b"d", 1)], [], b"dd"),
        lambda i: part(i, [directory(0, 0, b"d", 0)], [], b"d", fds=1),
        lambda i: part(i, [directory(0, 0, b"d", 0)], [], b"d", nums=[0]),
        lambda i: part(i, [directory(0, 0, b"d", 0, 0, True)], [], b"d", more=True),
        lambda i: part(i, [directory(0, 0, b"d", 0, 0, True)], [], b"d"),
    ],
)
def test_a_lying_walk_is_cut_off(answer: Any) -> None:
    c = liar(answer)
    root = c.roots[0]
    assert code(Node(c, root, b"d", DIR).list_dir) == errno.EIO
    assert c.broken
    c.sock.close()


@pytest.mark.parametrize(
    "nums",
    [[1], [0, 0], [1, 0], [2, 3], [2, 1], [3], [1 << 40], [0, 2, 1], [0, 2, 3]],
)
def test_lying_descriptors_are_closed(nums: list[int]) -> None:
    """Entry 1 is a directory; there is no entry 3; and each descriptor is for one entry."""
    records = [record(b"x", 1), record(b"y", 2, stat.S_IFDIR), record(b"z", 3)]

    def then(sock: socket.socket, id: int) -> None:
        fds = [os.open("/", os.O_PATH) for _ in nums]
        data = part(
            id, [directory(0, 0, b"d", 0, 3)], records, b"dxyz", nums=nums, fds=len(nums)
        )  # fmt: skip
        socket.send_fds(sock, [data], fds)
        for fd in fds:
            os.close(fd)

    c = liar(None, then)
    before = len(os.listdir("/proc/self/fd"))
    assert code(Node(c, c.roots[0], b"d", DIR).list_dir) == errno.EIO
    assert c.broken
    wait_for(lambda: len(os.listdir("/proc/self/fd")) < before)  # the liar's end is gone too
    c.sock.close()


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def opened(i: int, names: list[bytes], modes: list[int], **more: Any) -> bytes:
    attrs = [p.Attr(1, 1, m, 1, 0, 0, 0, 0, 0, 0, 0, 0) for m in modes]
    return p.encoder.encode(p.Reply(i, names=names, attrs=attrs, **more))


REG = stat.S_IFREG


@pytest.mark.parametrize(
    ("names", "modes", "count", "more"),
    [
        ([], [], 0, False),
        ([b"b"], [REG, REG], 1, False),
        ([b"b"], [REG], 2, False),
        ([b"x"], [REG, REG], 2, False),
        ([b"b"], [REG, 0], 2, False),
        ([b"b"], [REG, REG], 2, True),
    ],
)
def test_lying_answers_to_what_is_opened_ahead(
    names: list[bytes], modes: list[int], count: int, more: bool
) -> None:
    def then(sock: socket.socket, id: int) -> None:
        fds = [os.open("/", os.O_PATH) for _ in range(count)]
        socket.send_fds(sock, [opened(id, names, modes, fds=count, more=more)], fds)
        for fd in fds:
            os.close(fd)

    c = liar(None, then)
    root = c.roots[0]
    before = len(os.listdir("/proc/self/fd"))
    opening = root.opening = Opening(c.ahead, root, [b"a", b"b"])
    c._begin(p.Open(c.new_id(), 0, b"a", False, [b"b"]), opening.call)
    assert c.take_file(Node(c, root, b"a", DIR)) == -1
    assert c.broken
    assert root.opening is None
    wait_for(lambda: len(os.listdir("/proc/self/fd")) < before)  # the liar's end is gone too
    assert not c.ahead.files
    c.sock.close()


def test_the_next_files_are_opened_before_those_that_came_are_used_up(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for n in range(400):
        (tmp_path / f"d/f{n}").write_text(str(n))
    with serve(tmp_path) as c:
        d = child(c.roots[0], b"d")
        waited = 0
        for name, e in entries(d).items():
            n = Node(c, d, name, e.attr())
            coming = d.opening is not None and name in d.opening.names
            here = (d, name) in c.ahead.files
            waited += not coming and not here
            fd = n.open(False)
            assert os.read(fd, 10) == name[1:]
            os.close(fd)
        assert waited < 8


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=30, unique=True),
    st.integers(0, 40),
    st.integers(0, 700),
)
def test_directory_entries_are_those_of_the_slow_way(
    names: list[bytes], pos: int, room: int
) -> None:
    """Every third name is an inode, every fourth is gone."""
    text = b"".join(n[:1] for n in names)  # the names in the listing don't count
    records = b"".join(
        p.ENTRY.pack(7, 100 + i, 0, 0, 0, 0, 0, 0, stat.S_IFREG, 1, 0, 0, 1, 0, i)
        for i in range(len(names))
    )
    parts = [(b"", b"", 0, 0), (records, text, 0, len(names))]
    found: dict[bytes, Any] = {}
    want = [(1, 1, 4, b"."), (2, 2, 4, b"..")]
    for i, name in enumerate(names):
        if i % 4 == 3:
            continue
        found[name] = (
            SimpleNamespace(ino=i, mode=stat.S_IFLNK) if i % 3 == 0 else 1 << 32 | p.ENTRY.size * i
        )
        want.append((i, i + 3, 10, name) if i % 3 == 0 else (100 + i, i + 3, 8, name))
    want = [e for e in want if e[1] > pos]
    data, last, whole = dirents(names, pos, found, parts, (1, 2), 7, 1000, room)
    expected, expected_last = pack_dirents(want, room, False)
    assert (data, last) == (expected, expected_last)
    assert whole == (not want or last == want[-1][1])
    assert dirents(names, 2, found, parts, (1, 2), 8, 1000, 9999)[0] == pack_dirents(
        [(0, 3, 10, names[0])] if names else [], 9999, False
    )[0]  # fmt: skip


def test_directory_entries_of_numbers_that_no_part_has() -> None:
    for number in (1 << 32, 1, 1 << 70):
        with pytest.raises((ValueError, IndexError, OverflowError)):
            dirents([b"x"], 2, {b"x": number}, [(X, b"x", 0, 1)], (1, 2), 1, 1000, 100)


X = record(b"x", 0)


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [X, b""],
        [X, b"xx"],
        [X, b"/"],
        [X + b"x", b"x"],
        [X * 2, b"xx"],
        [X + record(b"..", 1), b"x.."],
        [X + record(b".", 1), b"x."],
        [record(b"", 0), b""],
        [record(b"x\0y", 0), b"x\0y"],
        [record(b"x", 1), b"xx"],
        [record(b"x", 0, 0o644), b"x"],
        [record(b"x", 0, 0o1100644), b"x"],
        [record(b"x" * 300, 0), b"x" * 300],
        [record(b"x", 0, stat.S_IFLNK, 5000), b"x" * 5001],
        [record(b"x", 0, stat.S_IFLNK, UNSEEN), b"x"],
        [p.ENTRY.pack(1 << 63, 1, 0, 0, 0, 0, 0, 0, stat.S_IFREG, 1, 0, 0, 1, 0, 0), b"x"],
    ],
)
def test_a_lying_listing_is_cut_off(values: list[bytes]) -> None:
    c = liar(lambda i: p.encoder.encode(p.Reply(i, values=values)))
    assert code(c.roots[0].list_dir) == errno.EIO
    assert c.broken
    c.sock.close()


def test_an_impossible_size_is_found_out() -> None:
    impossible = p.ENTRY.pack(1, 1, 0, 1 << 63, 0, 0, 0, 0, stat.S_IFREG, 1, 0, 0, 1, 0, 0)
    listing = Listing()
    assert listing.add_answer([impossible, b"x"])
    assert code(listing.attr, listing.names()[0][b"x"]) == errno.EIO


@given(st.binary(max_size=400), st.binary(max_size=400), st.binary(max_size=8))
def test_any_bytes_are_a_listing_or_are_refused(dirs: bytes, records: bytes, text: bytes) -> None:
    for brief in (False, True):
        walk_part(dirs, records, text, brief)
    if entries_ok(records, text):
        names, files, subdirs = {}, [], []
        list_names(records, text, 0, len(records) // p.ENTRY.size, 0, names, files, subdirs)


@pytest.mark.parametrize(("at", "count"), [(-88, 1), (0, 2), (88, 1), (1, 1), (0, -1)])
def test_names_are_taken_from_the_records_only(at: int, count: int) -> None:
    with pytest.raises(ValueError, match="entries"):
        list_names(X, b"x", at, count, 0, {}, [], [])


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:

    for d in (p.request_decoder, p.reply_decoder):
        try:
            d.decode(data)
        except msgspec.MsgspecError:
            pass


@pytest.mark.parametrize("by_name", [False, True])
def test_names_are_brought_along_in_the_order_in_which_they_are_taken(by_name: bool) -> None:
    listed = [b"%02d" % ((i * 7 + 3) % 40) for i in range(40)]
    o = Order(list(listed))
    names = sorted(listed) if by_name else listed
    asked = at = 0
    while at < len(names):
        more = o.following(names[at])
        asked += 1
        at += 1
        assert more == names[at : at + len(more)]
        at += len(more)
    assert asked < 6


def test_names_taken_in_no_order_bring_none_along() -> None:
    listed = [b"%02d" % (i * 7 % 40) for i in range(40)]
    o = Order(listed)
    assert [o.following(b"%02d" % n) for n in (25, 9, 33, 17, 1)] == [[]] * 5
