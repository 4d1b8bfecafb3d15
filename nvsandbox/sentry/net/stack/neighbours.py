"""Neighbours of one interface: who has which link-layer address (RFC 826, RFC 4861)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from .interface import Interface
    from .stack import Stack


class NeighbourInfo(NamedTuple):
    """A row of ``ip neigh``. ``state``: NUD_* (linux/neighbour.h)."""

    ip: bytes
    mac: bytes
    state: int


@final
class Neighbours:
    __slots__ = ("iface", "stack")

    def __init__(self, stack: Stack, iface: Interface) -> None:
        self.stack = stack
        self.iface = iface

    def dump(self) -> list[NeighbourInfo]:
        raise NotImplementedError

    def set_permanent(self, ip: bytes, mac: bytes) -> None:
        """A static entry."""
        raise NotImplementedError

    def remove(self, ip: bytes) -> bool:
        """False: there is none."""
        raise NotImplementedError
