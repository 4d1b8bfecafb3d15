"""What is asked of the gofer ahead of need: a directory's files opened, its subdirectories listed, many in one round trip.

Programs that walk a tree (find, tar, grep -r, cp -r) take a directory's entries in the order of its listing. A
request for an entry that is next in that order brings along those that follow, more with each hit, as read-ahead of a file does.
What came ahead is used only for an object of the same (dev, ino) as the one that is asked for later.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ...gofer import protocol as p
from .gofer_listing import Entry

if TYPE_CHECKING:
    from .gofer_client import Node

WINDOW: Final = 8  # entries of a listing that may be skipped in a walk
SEARCH_MAX: Final = 256  # names looked through for a new place in the listing
MAX_FILES: Final = 256  # descriptors held that nobody has asked for yet
MAX_DIRS: Final = 256
MAX_ENTRIES: Final = 1 << 15


@final
class Order:
    """Names of one kind in a directory, in the listing's order, and how far a walk has come."""

    __slots__ = ("hits", "names", "pos")

    def __init__(self, names: list[bytes]) -> None:
        self.names = names
        self.pos = 0
        self.hits = 0

    def following(self, name: bytes) -> list[bytes]:
        """``name`` is asked for: the names to bring along."""
        names = self.names
        n = len(names)
        i = self.pos
        end = min(i + WINDOW, n)
        while i < end and names[i] != name:
            i += 1
        if i == end:
            self.hits = 0
            if n <= SEARCH_MAX and name in names:
                self.pos = names.index(name) + 1
            return []
        self.hits = min(self.hits + 1, 4)
        ahead = names[i + 1 : i + (2 << self.hits)]
        self.pos = i + 1 + len(ahead)
        return ahead


@final
class Listed:
    """A directory that was opened and listed: its handle, and what is in it."""

    __slots__ = ("attr", "entries", "handle")

    def __init__(self, handle: int, attr: p.Attr) -> None:
        self.handle = handle
        self.attr = attr
        self.entries: dict[bytes, Entry] = {}


@final
class Ahead:
    """What one connection brought ahead, by directory and name, the oldest dropped first."""

    __slots__ = ("dirs", "entries", "files", "forget")

    def __init__(self, forget: Callable[[list[int]], None]) -> None:
        self.files: OrderedDict[tuple[Node, bytes], tuple[int, p.Attr]] = OrderedDict()
        self.dirs: OrderedDict[tuple[Node, bytes], Listed] = OrderedDict()
        self.entries = 0
        self.forget = forget

    def add_file(self, parent: Node, name: bytes, fd: int, a: p.Attr) -> None:
        old = self.files.pop((parent, name), None)
        if old is not None:
            os.close(old[0])
        self.files[(parent, name)] = (fd, a)
        if len(self.files) > MAX_FILES:
            _, (fd, _) = self.files.popitem(last=False)
            os.close(fd)

    def take_file(self, n: Node) -> int:
        """A descriptor of ``n``, the caller's to close, or -1."""
        if n.parent is None:
            return -1
        got = self.files.pop((n.parent, n.name), None)
        if got is None:
            return -1
        fd, a = got
        if (a.dev, a.ino) != (n.dev, n.ino):
            os.close(fd)
            return -1
        return fd

    def add_dir(self, parent: Node, name: bytes, d: Listed) -> None:
        old = self.dirs.pop((parent, name), None)
        if old is not None:
            self._dropped(old)
        self.dirs[(parent, name)] = d
        self.entries += len(d.entries)
        while len(self.dirs) > MAX_DIRS or (self.entries > MAX_ENTRIES and len(self.dirs) > 1):
            _, old = self.dirs.popitem(last=False)
            self._dropped(old)

    def take_dir(self, n: Node) -> Listed | None:
        """The listing of ``n``, whose handle becomes the caller's."""
        if n.parent is None:
            return None
        d = self.dirs.pop((n.parent, n.name), None)
        if d is None:
            return None
        if (d.attr.dev, d.attr.ino) != (n.dev, n.ino):
            self._dropped(d)
            return None
        self.entries -= len(d.entries)
        return d

    def _dropped(self, d: Listed) -> None:
        self.entries -= len(d.entries)
        self.forget([d.handle])
