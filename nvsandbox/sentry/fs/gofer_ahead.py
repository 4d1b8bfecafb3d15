"""What is asked of the gofer ahead of need: a directory's files opened, its subdirectories listed, many in one round trip.

Programs that walk a tree (find, tar, grep -r, cp -r) take a directory's entries in the order of its listing, or in that of
their names (compileall, make). A request for an entry that is next in such an order brings along those that follow, more with each
hit, as read-ahead of a file does.
Once a walk has gone down twice, it brings along all that is below, depth first, more the more of it is used; and as long as
nobody asks for attributes (find) those of directories only.
Where files are being opened in that order too, a directory's first files come with its listing.
What came ahead is used only for an object of the same (dev, ino) as the one that is asked for later.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ...gofer import protocol as p
from .gofer_listing import Listing

if TYPE_CHECKING:
    from .gofer_node import Node

WINDOW: Final = 8  # entries of a listing that may be skipped in a walk
OTHER_WINDOW: Final = 2  # the same for the order that hasn't been followed so far
HITS_MAX: Final = 5  # 64 names
HITS_SOON: Final = 3
SOON: Final = 16  # so many are left when the next are asked for
SEARCH_MAX: Final = 256  # names looked through for a new place in the listing
MAX_FILES: Final = 512  # descriptors held that nobody has asked for yet, and as many with listings
MAX_DIRS: Final = 1024
MAX_ENTRIES: Final = 1 << 15
OPENS_MIN: Final = 8  # opens in the listings' order that make files come with listings
OPENS_MAX: Final = 64
DEEP: Final = 2  # times that a walk went down
LOOK: Final = 4  # directories for which one look at an entry counts
LOOKS_MAX: Final = 16


@final
class Order:
    """Names of one kind in a directory, in the listing's order or sorted, and how far a walk has come."""

    __slots__ = ("hits", "names", "other", "other_pos", "pos", "taken")

    def __init__(self, names: list[bytes], came: int = 0) -> None:
        self.names = names
        self.pos = came  # so many came with the listing
        self.taken = 0  # and of what came so many were asked for
        self.hits = 4 if came else 0
        self.other: list[bytes] | None = None  # the names in the order that isn't followed
        self.other_pos = 0

    def following(self, name: bytes) -> list[bytes]:
        """``name`` is asked for: the names to bring along."""
        i = _near(self.names, self.pos, WINDOW, name)
        if i < 0:
            if self.other is None:
                self.other = sorted(self.names)
            i = _near(self.other, self.other_pos, OTHER_WINDOW, name)
            if i >= 0:
                self.names, self.other = self.other, self.names
                self.other_pos = self.pos
        if i < 0:
            self.hits = 0
            if len(self.names) <= SEARCH_MAX and self.other is not None and name in self.names:
                self.pos = self.names.index(name) + 1
                self.other_pos = self.other.index(name) + 1
            return []
        self.hits = min(self.hits + 1, HITS_MAX)
        ahead = self.names[i + 1 : i + (2 << self.hits)]
        self.taken = i + 1
        self.pos = i + 1 + len(ahead)
        return ahead

    def took(self) -> list[bytes]:
        """One that came ahead is used: the names to have ready when those that came are used up, if it is time for that."""
        self.taken += 1
        if self.pos - self.taken > SOON or self.hits < HITS_SOON:
            return []
        self.hits = min(self.hits + 1, HITS_MAX)
        ahead = self.names[self.pos : self.pos + (2 << self.hits)]
        self.pos += len(ahead)
        return ahead

    def after(self, name: bytes) -> list[bytes]:
        """The names that follow ``name``."""
        if name not in self.names:
            return []
        i = self.names.index(name) + 1
        return self.names[i : i + p.MAX_AHEAD]


def _near(names: list[bytes], at: int, window: int, name: bytes) -> int:
    """Where ``name`` is among the ``window`` names from ``at`` on, or -1."""
    for i in range(at, min(at + window, len(names))):
        if names[i] == name:
            return i
    return -1


@final
class Listed:
    """A directory that was opened and listed: its handle, which it is, what is in it, and files of it: descriptor, dev, ino."""

    __slots__ = ("dev", "files", "handle", "ino", "listing")

    def __init__(self, handle: int, dev: int, ino: int) -> None:
        self.handle = handle
        self.dev = dev
        self.ino = ino
        self.listing = Listing()
        self.files: dict[bytes, tuple[int, int, int]] = {}


@final
class Ahead:
    """What one connection brought ahead, by directory and name, the oldest dropped first."""

    __slots__ = (
        "credit",
        "deep",
        "dirs",
        "entries",
        "fds",
        "files",
        "forget",
        "last",
        "looks",
        "opens",
    )

    def __init__(self, forget: Callable[[list[int]], None]) -> None:
        self.files: OrderedDict[tuple[Node, bytes], tuple[int, int, int]] = OrderedDict()
        self.dirs: OrderedDict[tuple[int, bytes], Listed] = (
            OrderedDict()
        )  # by the handle they are in
        self.entries = self.fds = 0  # of ``dirs``
        self.last: Node | None = None  # the directory listed last
        self.deep = 0  # how often a directory was listed after the one it is in
        self.credit = (
            0  # directories that came ahead and were used, less those that came for nothing
        )
        self.looks = 0  # how often attributes of what is no directory were wanted, less directories that were listed
        self.opens = 0  # files opened in a listing's order, less those that came for nothing
        self.forget = forget

    def visit(self, n: Node) -> None:
        """``n`` is about to be listed."""
        if n.parent is self.last:
            self.deep = min(self.deep + 1, 2 * DEEP)
        self.last = n
        self.looks = max(self.looks - 1, 0)

    def looked(self) -> None:
        """Attributes of an entry that is no directory were wanted."""
        self.looks = min(self.looks + LOOK, LOOKS_MAX)

    def walk(self, n: Node) -> tuple[list[bytes], int, bool]:
        """What a walk that is to bring ``n`` should bring: names beside it, how many directories, and whether those below."""
        order = n.parent.subdirs if n.parent is not None else None
        if self.deep < DEEP:
            names = [n.name, *order.following(n.name)] if order is not None else [n.name]
            return names, len(names), False
        names = [n.name, *order.after(n.name)] if order is not None else [n.name]
        return names, min(4 << self.credit, p.WALK_DIRS), True

    def walk_files(self) -> int:
        """How many files of each directory are to come with its listing."""
        return p.WALK_FILES if self.opens >= OPENS_MIN else 0

    def opened(self) -> None:
        """A file was opened that came ahead, or would have next time."""
        self.opens = min(self.opens + 1, OPENS_MAX)

    def _unused(self, fd: int) -> None:
        os.close(fd)
        self.opens = max(self.opens - 1, 0)

    def add_file(self, parent: Node, name: bytes, fd: int, dev: int, ino: int) -> None:
        old = self.files.pop((parent, name), None)
        if old is not None:
            self._unused(old[0])
        self.files[(parent, name)] = (fd, dev, ino)
        if len(self.files) > MAX_FILES:
            _, old = self.files.popitem(last=False)
            self._unused(old[0])

    def take_file(self, n: Node) -> int:
        """A descriptor of ``n``, the caller's to close, or -1."""
        if n.parent is None:
            return -1
        got = self.files.pop((n.parent, n.name), None)
        if got is None:
            return -1
        fd, dev, ino = got
        if dev != n.dev or ino != n.ino:
            os.close(fd)
            return -1
        self.opened()
        return fd

    def add_dir(self, parent: int, name: bytes, d: Listed) -> None:
        """``name`` of the directory with handle ``parent``."""
        old = self.dirs.pop((parent, name), None)
        if old is not None:
            self._dropped(old)
        self.dirs[(parent, name)] = d
        self.entries += d.listing.count
        self.fds += len(d.files)
        while len(self.dirs) > MAX_DIRS or (
            len(self.dirs) > 1 and (self.entries > MAX_ENTRIES or self.fds > MAX_FILES)
        ):
            _, old = self.dirs.popitem(last=False)
            self._dropped(old)

    def take_dir(self, n: Node) -> Listed | None:
        """The listing of ``n``, whose handle becomes the caller's."""
        if n.parent is None:
            return None
        d = self.dirs.pop((n.parent.handle, n.name), None)
        if d is None:
            return None
        if d.dev != n.dev or d.ino != n.ino:
            self._dropped(d)
            return None
        self.entries -= d.listing.count
        self.fds -= len(d.files)
        self.credit = min(self.credit + 1, 7)
        return d

    def _dropped(self, d: Listed) -> None:
        self.entries -= d.listing.count
        self.fds -= len(d.files)
        for fd, _, _ in d.files.values():
            self._unused(fd)
        self.credit = max(self.credit - 1, 0)
        if not self.credit:
            self.deep = 0
        self.forget([d.handle])
