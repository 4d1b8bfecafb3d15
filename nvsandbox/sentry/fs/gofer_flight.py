"""Requests to the gofer that are under way."""

from __future__ import annotations

import os
from typing import Any, final

from ...gofer import protocol as p
from .gofer_ahead import Ahead, Listed
from .gofer_listing import mode_ok


@final
class Call:
    """One request; ``answers`` has more than one part for a listing, only the last for a walk."""

    __slots__ = ("answers", "done", "fds", "flight", "tokens")

    def __init__(self, flight: Flight | None = None) -> None:
        self.answers: list[p.Reply] = []
        self.fds: list[int] = []
        self.done = False
        self.tokens: list[Any] = []  # who waits for it, or for a part of it
        self.flight = flight


@final
class Flight:
    """A walk: its directories are there one by one, while the gofer is still at those that follow."""

    __slots__ = (
        "ahead",
        "at",
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
        """Takes in a part of the answer; False when it can't be, ``fds`` then are the caller's."""
        if r.err:
            self.lost()
            return not fds
        nums = r.nums
        if r.attrs:
            if fds or not self._begin(r):
                return False
        elif not nums or nums[0] != self.at:
            return False
        d = self.dir
        if d is None or not d.add(r, fds):
            return False
        if not r.more:
            self._complete()
            self.lost()
        return True

    def _begin(self, r: p.Reply) -> bool:
        """The first part of a directory has come."""
        nums = r.nums
        if len(nums) != 2 or len(r.attrs) != 1 or len(r.names) != 1:
            return False
        i, above = nums[0], nums[1]
        where = (above, r.names[0])
        a = r.attrs[0]
        if i != self.at + 1 or i >= self.most or above > i or not mode_ok(a.mode):
            return False
        if (i == 0 and where != self.name) or (above and not self.deep):
            return False
        self._complete()
        self.at = i
        self.name = where
        self.dir = Listed(self.new + i, a)
        return True

    def _complete(self) -> None:
        """The directory whose parts came is whole."""
        d, self.dir = self.dir, None
        if d is None:
            return
        above, name = self.name
        if self.at == 0:
            self.first = d
        else:
            self.ahead.add_dir(self.new + above - 1 if above else self.handle, name, d)
        if not above:
            self.left.discard(name)

    def lost(self) -> None:
        """No more will come; a directory that isn't whole is none."""
        d, self.dir = self.dir, None
        if d is not None:
            for fd, _, _ in d.files.values():
                os.close(fd)
        self.left.clear()
        self.over = True
