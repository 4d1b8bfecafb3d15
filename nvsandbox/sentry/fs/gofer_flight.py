"""Requests to the gofer that are under way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, final

from ...gofer import protocol as p
from .gofer_ahead import Ahead, Listed
from .gofer_listing import mode_ok

if TYPE_CHECKING:
    from .gofer_client import Node


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

    __slots__ = ("ahead", "at", "coming", "dir", "first", "handle", "names", "parent")

    def __init__(
        self, ahead: Ahead, coming: dict[tuple[Node, bytes], Call], parent: Node,
        names: list[bytes], handle: int,
    ) -> None:  # fmt: skip
        self.ahead = ahead
        self.coming = coming
        self.parent = parent
        self.names = names
        self.handle = handle  # the first one's
        self.at = -1  # index of the directory whose parts come
        self.dir: Listed | None = None  # that directory
        self.first: Listed | None = None  # the one that was asked for, once it is there

    def start(self, c: Call) -> None:
        """``c`` has been sent."""
        for name in self.names[1:]:
            self.coming[(self.parent, name)] = c

    def part(self, r: p.Reply, fds: list[int]) -> bool:
        """Takes in a part of the answer; False when it can't be, ``fds`` then are the caller's."""
        if r.err:
            self.lost()
            return not fds
        i = r.nums[0] if r.nums else -1
        if i != self.at:
            if not self.at < i < len(self.names) or len(r.attrs) != 1:
                return False
            a = r.attrs[0]
            if not mode_ok(a.mode):
                return False
            self._complete()
            self.at = i
            self.dir = Listed(self.handle + i, a)
        d = self.dir
        if d is None or not d.add(r, fds):
            return False
        if not r.more:
            self._complete()
            self.lost()
        return True

    def _complete(self) -> None:
        """The directory whose parts came is whole."""
        d, self.dir = self.dir, None
        if d is None:
            return
        if self.at == 0:
            self.first = d
        else:
            name = self.names[self.at]
            self.ahead.add_dir(self.parent, name, d)
            self.coming.pop((self.parent, name), None)

    def lost(self) -> None:
        """No more will come; a directory that isn't whole is none."""
        d, self.dir = self.dir, None
        if d is not None:
            for fd, _, _ in d.files.values():
                os.close(fd)
        for name in self.names[1:]:
            self.coming.pop((self.parent, name), None)
