"""What a run has found: figures by row and runtime, and why there are none."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

from .macro import PER_SECOND

UNITS = {
    "idle_rss": "MiB", "idle_pss_of_many": "MiB", "idle_pss_of_forked": "MiB", "net_idle_1000_kib": "KiB", **dict.fromkeys(PER_SECOND, "/s"),
}  # fmt: skip
Rows = dict[str, dict[str, dict[str, Any]]]


class Failed(Exception):
    """A row could not be measured; the text is one line."""


def one_line(text: str, otherwise: str) -> str:
    """The last line of a program's complaints, short enough for a table's foot."""
    lines = [x.strip() for x in text.splitlines() if x.strip()]
    return (lines[-1] if lines else otherwise)[:200]


class Results:
    def __init__(self) -> None:
        self.runtimes: list[str] = []
        self._values: dict[str, dict[str, list[float]]] = {}
        self._failures: dict[str, dict[str, str]] = {}

    def add(self, row: str, runtime: str, value: float) -> None:
        self._values.setdefault(row, {}).setdefault(runtime, []).append(value)

    def fail(self, row: str, runtime: str, why: str) -> None:
        """One failure spoils a cell, whatever else was measured for it."""
        self._values.setdefault(row, {})
        self._failures.setdefault(row, {}).setdefault(runtime, why)

    def measure(self, row: str, runtime: str, once: Callable[[], float]) -> None:
        """A runtime that has failed a row isn't asked again."""
        if not self.failed(row, runtime):
            try:
                self.add(row, runtime, once())
            except Failed as e:
                self.fail(row, runtime, str(e))

    def failed(self, row: str, runtime: str) -> bool:
        return runtime in self._failures.get(row, {})

    def read(self, lines: str, wanted: Iterable[str]) -> None:
        """``RUNTIME ROW VALUE`` or ``RUNTIME ROW ! WHY`` a line, as the parts that run on their own print it."""
        rows = set(wanted)
        for line in lines.splitlines():
            words = line.split(maxsplit=2)
            if len(words) < 3 or words[1] not in rows:
                continue
            runtime, row, value = words
            if value.startswith("!"):
                self.fail(row, runtime, value[1:].strip())
            else:
                self.add(row, runtime, float(value))

    def rows(self) -> Rows:
        out: Rows = {}
        for row, per in self._values.items():
            out[row] = {
                rt: {"median": statistics.median(v), "unit": UNITS.get(row, "ns"), "min": min(v), "max": max(v), "n": len(v)}
                for rt, v in per.items()
            }  # fmt: skip
            for rt, why in self._failures.get(row, {}).items():
                out[row][rt] = {"failed": why}
        return out
