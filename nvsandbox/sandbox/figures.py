"""What a Sentry counts, for ``events``, metrics and whoever asks its control socket."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, final

from ..platform.native._native import lib

if TYPE_CHECKING:
    from ..sentry.fs.gofer_client import GoferClient
    from ..sentry.kernel.kernel import Kernel

UNKNOWN: Final = "unknown"


@final
class Phases:
    """How long the steps of the start took, in seconds, by name."""

    def __init__(self) -> None:
        self.took: dict[str, float] = {}
        self._last = time.monotonic()

    def start(self) -> None:
        """The next step starts now, after a pause."""
        self._last = time.monotonic()

    def done(self, name: str) -> None:
        """The step called ``name`` has ended. The first time counts."""
        now = time.monotonic()
        if name not in self.took:
            self.took[name] = round(now - self._last, 6)
        self._last = now


def of_kernel(k: Kernel) -> dict[str, Any]:
    """Tasks, descriptors, system calls by name (those that stubs answer by themselves are not seen), traps by kind."""
    leaders = [t for tg in k.every_proc() for t in list(tg.tasks.values())[:1]]
    s = lib.nv_stats
    calls: dict[str, int] = {}
    for nr in range(512):
        n = int(s.calls[nr])
        if n:
            row = k.table.get(nr)
            name = row.name if row is not None else UNKNOWN
            calls[name] = calls.get(name, 0) + n
    jumps = int(s.jumps)
    return {
        "tasks": sum(c.tasks for c in k.containers), "processes": sum(not p.dead for p in k.every_proc()),
        "missing": {str(n): c for n, c in k.missing.items()},
        "fds": sum(len(t.files.files) for t in leaders), "calls": calls,
        "traps": {
            "jump": jumps, "signal": sum(calls.values()) - jumps, "fault": int(s.faults), "kick": int(s.kicks),
        },
        "loop": {"events": int(s.events), "sleeps": int(s.sleeps), "wakes": int(s.wakes)},
    }  # fmt: skip


def of_gofer(c: GoferClient) -> dict[str, int]:
    return {"requests": c.requests, "bytes_sent": c.sent, "bytes_received": c.received}
