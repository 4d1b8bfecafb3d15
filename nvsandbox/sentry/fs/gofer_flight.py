"""Requests to the gofer that are under way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, final

from ...gofer import protocol as p
from ...platform.native.hot import walk_part
from .gofer_ahead import Ahead, Listed
from .gofer_listing import file_at, mode_ok

if TYPE_CHECKING:
    from .gofer_node import Node


class Incoming:
    """Who takes in the parts of an answer as they come."""

    __slots__ = ()

    def part(self, r: p.Reply, fds: list[int]) -> bool:
        """Takes in a part of the answer; False when it can't be, ``fds`` then are the caller's."""
        raise NotImplementedError

    def lost(self) -> None:
        """No more will come."""
        raise NotImplementedError


@final
class Call:
    """One request; ``answers`` has more than one part for a listing, only the last when somebody takes them in."""

    __slots__ = ("answers", "done", "fds", "flight", "tokens")

    def __init__(self, flight: Incoming | None = None) -> None:
        self.answers: list[p.Reply] = []
        self.fds: list[int] = []
        self.done = False
        self.tokens: list[Any] = []  # who waits for it, or for a part of it
        self.flight = flight


_SIZE: Final = p.ENTRY.size


@final
class Part:
    """What one part of the answer says of one directory."""

    __slots__ = (
        "above", "count", "dev", "files", "index", "ino", "more", "name", "records", "start", "text",
    )  # fmt: skip

    def __init__(
        self, index: int, above: int, more: bool, dev: int, ino: int, name: bytes, records: bytes, text: bytes, start: int, count: int
    ) -> None:  # fmt: skip
        self.index = index
        self.above = above
        self.more = more
        self.dev = dev
        self.ino = ino
        self.name = name
        self.records = records
        self.text = text
        self.start = start
        self.count = count
        self.files: dict[bytes, tuple[int, int, int]] = {}


@final
class Opening(Incoming):
    """Files of a directory that are being opened ahead."""

    __slots__ = ("ahead", "call", "dir", "names")

    def __init__(self, ahead: Ahead, dir: Node, names: list[bytes]) -> None:
        self.ahead = ahead
        self.dir = dir
        self.names = names
        self.call = Call(self)

    def part(self, r: p.Reply, fds: list[int]) -> bool:
        if r.err:
            self.lost()
            return not fds
        if r.more or not fds or len(fds) != len(r.attrs) or len(fds) != 1 + len(r.names):
            return False
        if any(n not in self.names for n in r.names) or any(not mode_ok(a.mode) for a in r.attrs):
            return False
        for n, fd, a in zip([self.names[0], *r.names], fds, r.attrs, strict=True):
            self.ahead.add_file(self.dir, n, fd, a.dev, a.ino)
        self.lost()
        return True

    def lost(self) -> None:
        if self.dir.opening is self:
            self.dir.opening = None


@final
class Flight(Incoming):
    """A walk: its directories are there one by one, while the gofer is still at those that follow."""

    __slots__ = (
        "ahead",
        "at",
        "brief",
        "deep",
        "dir",
        "first",
        "handle",
        "left",
        "most",
        "name",
        "new",
        "over",
    )

    def __init__(self, ahead: Ahead, handle: int, req: p.Walk) -> None:
        self.ahead = ahead
        self.handle = handle
        self.left = set(req.names)  # directories of ``handle`` that may still come
        self.new = req.new
        self.most = req.most
        self.deep = req.deep
        self.brief = req.brief
        self.at = -1  # index of the directory whose parts come
        self.dir: Listed | None = None  # that directory
        self.name = (0, req.names[0])  # where that one is: 1 + index, or 0 for ``handle``; its name
        self.first: Listed | None = None  # the one that was asked for, once it is there
        self.over = False

    def expects(self, handle: int, name: bytes) -> bool:
        """Whether directory ``name`` of the one with ``handle`` may still come."""
        if handle == self.handle:
            return name in self.left
        return self.deep and not self.over and self.new <= handle <= self.new + self.at

    def part(self, r: p.Reply, fds: list[int]) -> bool:
        if r.err:
            self.lost()
            return not fds
        if not r.values:  # what was left couldn't be opened
            if r.more or fds or self.at < 0:
                return False
            self.lost()
            return True
        found = self._check(r, fds)
        if found is None:
            return False
        for f in found:
            self._take(f)
        if not r.more:
            self.lost()
        return True

    def _check(self, r: p.Reply, fds: list[int]) -> list[Part] | None:
        """What came, None when it can't be; changes nothing."""
        if len(r.values) != 3 or len(r.nums) != len(fds):
            return None
        records, text = r.values[1], r.values[2]
        parts: list[Part] = []
        at = self.at
        more = self.dir is not None
        taken = 0  # of ``fds``
        before = -1
        for index, above, goes_on, start, count, dev, ino, name in walk_part(
            r.values[0], records, text, self.brief
        ):
            if more:
                if index != at or self.at != at:  # only the first of an answer can go on
                    return None
            elif (
                index != at + 1 or index >= self.most or above > index or (above and not self.deep)
                or (index == 0 and (above, name) != self.name)
            ):  # fmt: skip
                return None
            if more and self.dir is not None and self.dir.listing.count + count > p.MAX_LISTING:
                return None
            part = Part(index, above, goes_on, dev, ino, name, records, text, start, count)
            end = start + count * _SIZE
            while taken < len(fds) and before < r.nums[taken] * _SIZE < end:
                before = r.nums[taken] * _SIZE
                f = file_at(records, text, before)
                if before < start or f is None or f[0] in part.files:
                    return None
                part.files[f[0]] = (fds[taken], f[1], f[2])
                taken += 1
            parts.append(part)
            at = index
            more = goes_on
        return parts if parts and taken == len(fds) else None

    def _take(self, f: Part) -> None:
        d = self.dir
        if d is None:
            d = self.dir = Listed(self.new + f.index, f.dev, f.ino)
            self.at = f.index
            self.name = (f.above, f.name)
        d.listing.add(f.records, f.text, f.start, f.count)
        for name, file in f.files.items():
            old = d.files.pop(name, None)
            if old is not None:
                os.close(old[0])
            d.files[name] = file
        if not f.more:
            self._complete(d)

    def _complete(self, d: Listed) -> None:
        """All of directory ``d`` has come."""
        self.dir = None
        above, name = self.name
        if self.at == 0:
            self.first = d
        else:
            self.ahead.add_dir(self.new + above - 1 if above else self.handle, name, d)
        if not above:
            self.left.discard(name)

    def lost(self) -> None:
        """As above; a directory that isn't whole is none."""
        d, self.dir = self.dir, None
        if d is not None:
            for fd, _, _ in d.files.values():
                os.close(fd)
        self.left.clear()
        self.over = True
