"""Accounting mode: what each process has used of a card (``ctrl0000gpuacct.h``).

A process is accounted for from its first to its last allocation on the card. The table is a ring, as the driver's: the
oldest processes leave it first. Work on channels is not timed, so utilisation is 0.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

SIZE: Final = 4000
"""Processes remembered (NV0000_GPUACCT_PID_MAX_COUNT)."""


@dataclass(slots=True)
class Record:
    """One process; times are microseconds since the epoch, ``end`` is 0 while it runs."""

    pid: int
    start: int
    end: int = 0
    peak: int = 0


@dataclass(slots=True)
class Accounts:
    """The processes of one card, in the order in which they began."""

    on: bool = False
    records: dict[int, Record] = field(default_factory=dict)

    def set(self, on: bool) -> None:
        """Switch; what was recorded goes with the mode."""
        if not on:
            self.records.clear()
        self.on = on

    def note(self, pid: int, used: int) -> None:
        """A process has ``used`` bytes now."""
        if not self.on or not pid:
            return
        now = time.time_ns() // 1000
        r = self.records.get(pid)
        if r is None:
            if not used:
                return
            if len(self.records) >= SIZE:
                self.records.pop(next(iter(self.records)))
            r = self.records[pid] = Record(pid, now)
        r.peak = max(r.peak, used)
        r.end = 0 if used else now

    def clear(self) -> None:
        """Forget the processes that have ended."""
        self.records = {p: r for p, r in self.records.items() if not r.end}
