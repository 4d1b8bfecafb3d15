"""Watching ioctls: nothing, a trace for people, or a recording. See ``trace`` and ``record``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rm.status import Status
from .view import View

if TYPE_CHECKING:
    from .frontend import Escape


class Observer:
    """Sees each control command and each ioctl; the base class ignores them."""

    active = False

    def control(
        self, call: Escape, p: View, before: bytes, after: bytearray, status: Status
    ) -> None:
        """A control command was answered."""

    def ioctl(
        self, pid: int, path: str, cmd: int, before: bytes, after: bytes, result: int
    ) -> None:
        """An ioctl on one of our files was answered; the argument before and after."""

    def opened(self, pid: int, path: str, result: int) -> None:
        """One of our files was opened."""
