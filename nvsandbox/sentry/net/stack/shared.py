"""What a stack has to know of others with the same addresses."""

from __future__ import annotations

from typing import Protocol


class Others(Protocol):
    """Asked when nobody here waits for something that has come."""

    def leads(self) -> bool:
        """Whether this stack answers what is asked of all of them (echo requests, unknown protocols)."""
        ...

    def refuses(self, proto: int, ip: bytes, port: int) -> bool:
        """Whether this stack refuses a port: it leads, and no other has somebody there."""
        ...
