"""Whose socket a packet comes from (Linux: struct sock, as packet filters see it)."""

from __future__ import annotations

from typing import final


@final
class Owner:
    """``uid``, ``gid``: of who made the socket, of the initial user namespace. ``mark``: SO_MARK."""

    __slots__ = ("gid", "mark", "uid")

    def __init__(self, uid: int, gid: int) -> None:
        self.uid = uid
        self.gid = gid
        self.mark = 0
