"""The gofer against a hostile Sentry, and the client against a lying gofer."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vfs.worlds import start_gofer

from nvsandbox.gofer import protocol as p
from nvsandbox.gofer.main import MountSpec
from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.fs.gofer_ahead import MAX_FILES, Order
from nvsandbox.sentry.fs.gofer_client import GoferClient, Node
from nvsandbox.sentry.fs.gofer_listing import Entry, parse

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


def code(fn: Any, *args: Any) -> int:
    with pytest.raises(SysErr) as e:
        fn(*args)
    return e.value.errno


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"../secret", b"/etc", b"x\0y"])
def test_names_that_leave_the_directory(served: Served, name: bytes) -> None:
    c, _ = served
    assert code(c.call, p.Find(c.new_id(), 0, [name])) == errno.EINVAL
    if name:
        assert code(c.call, p.Open(c.new_id(), 0, name, False)) == errno.EINVAL
    assert code(c.call, p.OpenDir(c.new_id(), 0, name, 77)) == errno.EINVAL


def test_links_are_never_followed(served: Served) -> None:
    c, _ = served
    r = c.call(p.Find(c.new_id(), 0, [b"up", b"secret"]))
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
    assert len(c.roots[0].list_dir()) == 3000
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


def child(parent: Node, name: bytes) -> Node:
    return Node(parent.client, parent, name, parent.list_dir()[name].attr())


def requests(c: GoferClient) -> int:
    return c.next_id


def test_a_walk_needs_few_requests_and_sees_the_right_files(tree: GoferClient) -> None:
    root = tree.roots[0]
    start = requests(tree)
    for name, e in root.list_dir().items():
        dir = Node(tree, root, name, e.attr())
        listing = dir.list_dir()
        assert set(listing) == {f"f{n}".encode() for n in range(40)}
        for f, a in listing.items():
            fd = Node(tree, dir, f, a.attr()).open(False)
            assert os.read(fd, 100) == b"%s %s" % (name[1:], f[1:])
            os.close(fd)
    assert requests(tree) - start < 30 * 4


def test_files_come_with_listings_only_while_files_are_read(tree: GoferClient) -> None:
    root = tree.roots[0]
    dirs = [Node(tree, root, n, e.attr()) for n, e in root.list_dir().items()]

    def read(dir: Node, count: int) -> None:
        for f, a in list(dir.list_dir().items())[:count]:
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
        for name, e in n.list_dir().items()
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


def test_a_walk_that_does_not_go_down_asks_for_nothing_below(deep: Path) -> None:
    with serve(deep) as c:
        root = c.roots[0]
        for name, e in root.list_dir().items():
            if stat.S_ISDIR(e.mode):
                Node(c, root, name, e.attr()).list_dir()
        assert {key[0] for key in c.ahead.dirs} <= {0}


def test_a_directory_replaced_since_it_was_listed_ahead_is_not_taken_for_the_new_one(
    deep: Path,
) -> None:
    with serve(deep) as c:
        a0 = child(c.roots[0], b"a0")
        subdirs = [n for n, e in a0.list_dir().items() if stat.S_ISDIR(e.mode)]
        visit(child(a0, subdirs[0]))
        assert any(name == subdirs[1] for _, name in c.ahead.dirs)
        where = deep / "a0" / os.fsdecode(subdirs[1])
        where.rename(deep / "gone")
        (where / "new").mkdir(parents=True)
        assert visit(Node(c, a0, subdirs[1], a0.list_dir(True)[subdirs[1]].attr())) == {b"new": {}}


def test_what_came_ahead_is_bounded(tree: GoferClient) -> None:
    root = tree.roots[0]
    before = len(os.listdir("/proc/self/fd"))
    for name, e in root.list_dir().items():
        dir = Node(tree, root, name, e.attr())
        files = list(dir.list_dir().items())
        for f, a in files[:3]:
            os.close(Node(tree, dir, f, a.attr()).open(False))
    assert len(tree.ahead.files) <= MAX_FILES
    assert len(os.listdir("/proc/self/fd")) - before <= MAX_FILES


def test_a_file_replaced_since_it_was_opened_ahead_is_not_taken_for_the_new_one(
    tmp_path: Path, tree: GoferClient
) -> None:
    dir = child(tree.roots[0], b"d0")
    order = list(dir.list_dir())
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
        assert [r.nums for r in got] == [[0, 0]]


def liar(answer: Any, then: Callable[[socket.socket, int], None] | None = None) -> GoferClient:
    """A client whose gofer greets properly, then answers a request with ``answer(id)`` and what ``then`` sends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    st_ = os.stat("/")
    root = p.Attr(st_.st_dev, st_.st_ino, st_.st_mode, 1, 0, 0, 0, 0, 0, 0, 0, 0)

    def serve() -> None:
        hello = p.request_decoder.decode(theirs.recv(p.MAX_MESSAGE))
        theirs.send(p.encoder.encode(p.Reply(hello.id, attrs=[root], nums=[p.VERSION, 1])))
        data = theirs.recv(p.MAX_MESSAGE)
        if data:
            id = p.request_decoder.decode(data).id
            theirs.send(answer(id))
            if then is not None:
                then(theirs, id)
        theirs.close()

    threading.Thread(target=serve, daemon=True).start()
    return GoferClient(ours)


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


def walk_part(i: int, nums: list[int], name: bytes = b"", **more: Any) -> bytes:
    """A part of a walk's answer, with ``name`` the first of a directory."""
    first = [DIR] if name else []
    return p.encoder.encode(
        p.Reply(i, nums=nums, attrs=first, names=[name] if name else [], **more)
    )


DIR = p.Attr(1, 2, stat.S_IFDIR | 0o755, 1, 0, 0, 0, 0, 0, 0, 0, 0)


def test_a_directory_can_be_used_while_a_walk_goes_on() -> None:
    go = threading.Event()

    def rest(sock: socket.socket, id: int) -> None:
        sock.send(walk_part(id, [1, 0], b"b", more=True))
        assert go.wait(10)
        sock.send(walk_part(id, [1], values=[RECORD, b"x"]))

    c = liar(lambda i: walk_part(i, [0, 0], b"a", more=True), rest)
    root = c.roots[0]
    root.subdirs = Order([b"a", b"b", b"c"])
    first, second = Node(c, root, b"a", DIR), Node(c, root, b"b", DIR)
    assert first.list_dir() == {}
    assert [flight.left for flight, _ in c.flights] == [{b"b", b"c"}]
    go.set()
    assert set(second.list_dir()) == {b"x"}
    assert not c.flights  # "c" was left out
    c.sock.close()


@pytest.mark.parametrize(
    "answer",
    [
        lambda i: walk_part(i, [], b"d"),
        lambda i: walk_part(i, [0], b"d"),
        lambda i: walk_part(i, [1, 0], b"d"),
        lambda i: walk_part(i, [0, 1], b"d"),
        lambda i: walk_part(i, [0, 0], b"other"),
        lambda i: walk_part(i, [0]),
        lambda i: walk_part(i, [0, 0], b"d", fds=1),
        lambda i: walk_part(i, [0, 0], b"d", values=[b"x"]),
        lambda i: walk_part(i, [0, 0], b"d", more=True),
    ],
)
def test_a_lying_walk_is_cut_off(answer: Any) -> None:
    c = liar(answer)
    root = c.roots[0]
    assert code(Node(c, root, b"d", DIR).list_dir) == errno.EIO
    assert c.broken
    c.sock.close()


RECORD = p.ENTRY.pack(1, 1, 0, 0, 0, 0, 0, 0, stat.S_IFREG | 0o644, 1, 0, 0, 1, 0)


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [RECORD, b""],
        [RECORD, b"xx"],
        [RECORD, b"/"],
        [RECORD + b"x", b"x"],
        [RECORD * 2, b".."],
        [p.ENTRY.pack(1, 1, 0, 0, 0, 0, 0, 0, 0o644, 1, 0, 0, 1, 0), b"x"],
        [p.ENTRY.pack(1, 1, 0, 0, 0, 0, 0, 0, stat.S_IFREG, 1, 0, 0, 300, 0), b"x" * 300],
    ],
)
def test_a_lying_listing_is_cut_off(values: list[bytes]) -> None:
    c = liar(lambda i: p.encoder.encode(p.Reply(i, values=values)))
    assert code(c.roots[0].list_dir) == errno.EIO
    assert c.broken
    c.sock.close()


def test_an_impossible_size_is_found_out() -> None:
    entries: dict[bytes, Entry] = {}
    record = p.ENTRY.pack(1, 1, 0, 1 << 63, 0, 0, 0, 0, stat.S_IFREG, 1, 0, 0, 1, 0)
    assert parse([record, b"x"], entries)
    assert code(entries[b"x"].attr) == errno.EIO


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
