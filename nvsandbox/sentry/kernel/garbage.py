"""Garbage that reference counts don't free (cycles) is looked for while applications compute, not while they wait for a call.

The interpreter looks whenever so many objects have been made, which is in the middle of a handler. Here that is left for the
case that there is never a quiet moment: the counts are the interpreter's own, and before they get there the loop has
found one, most of the time.
"""

from __future__ import annotations

import gc
import time
from typing import Final, final

YOUNG: Final = 500  # objects made, less those freed, that are worth a look
TIMES: Final = 10  # looks at one generation before the next
LATE: Final = 20_000  # objects after which the interpreter looks itself
SHARE: Final = 100  # all objects are looked at again after so many times what that took


@final
class Garbage:
    """When to look, and at what."""

    __slots__ = ("full_at",)

    def __init__(self) -> None:
        self.full_at = 0
        gc.set_threshold(LATE, TIMES, TIMES)

    def due(self) -> bool:
        return gc.get_count()[0] >= YOUNG

    def collect(self) -> None:
        """Looks at the youngest objects, and now and then at older ones."""
        _, young, middle = gc.get_count()
        if young < TIMES:
            gc.collect(0)
            return
        now = time.monotonic_ns()
        if middle < TIMES or now < self.full_at:
            gc.collect(1)
            return
        gc.collect()
        end = time.monotonic_ns()
        self.full_at = end + SHARE * (end - now)
