"""Caches that hold what others use, and no longer than they do.

Compiled classes can't be referenced weakly, so a cache holds its values and asks how many others do: a value that only the
cache still holds is as good as gone.
"""

from __future__ import annotations

import sys
from typing import Final, Generic, TypeVar, final

K = TypeVar("K")
V = TypeVar("V")
SWEEP_AT: Final = 1024


@final
class Cache(Generic[K, V]):
    """A dictionary whose values count as absent once nobody else holds them."""

    __slots__ = ("_sweep_at", "held")

    def __init__(self) -> None:
        self.held: dict[K, V] = {}
        self._sweep_at = SWEEP_AT

    def get(self, key: K) -> V | None:
        if key not in self.held:
            return None
        if references(self.held, key) <= ALONE[0]:
            del self.held[key]
            return None
        return self.held[key]

    def put(self, key: K, value: V) -> None:
        self.held[key] = value
        if len(self.held) >= self._sweep_at:
            for k in list(self.held):
                if references(self.held, k) <= ALONE[0]:
                    del self.held[k]
            self._sweep_at = max(SWEEP_AT, 2 * len(self.held))


def references(held: dict[K, V], key: K) -> int:
    """References to a value, the cache's own and this look's included."""
    return sys.getrefcount(held[key])


def _alone() -> int:
    d: dict[int, object] = {0: object()}
    return references(d, 0)


ALONE: Final = [_alone()]
