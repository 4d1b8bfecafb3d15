"""Listening: SYN queue, accept queue and SYN cookies (RFC 4987)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, final

from .connection import Addr, TcpConnection

if TYPE_CHECKING:
    from ..interface import Interface


@final
class TcpListener:
    """``template``: attributes that accepted connections start with are set on the listener (same names)."""

    __slots__ = ()

    local: Addr
    iface: Interface | None
    backlog: int
    notify: Callable[[int], None]

    def accept(self) -> TcpConnection | None:
        """The oldest established connection, None: none."""
        raise NotImplementedError

    def pending(self) -> int:
        """Connections ready to be accepted."""
        raise NotImplementedError

    def close(self) -> None:
        """Resets what was not accepted."""
        raise NotImplementedError
