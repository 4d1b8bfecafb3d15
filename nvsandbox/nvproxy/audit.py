"""What passes and what doesn't: counters, refusals named once each, and a stream of events as JSON lines.

An event is one line, written in one call: ``{"ev": "refused", "name": …, "why": …, "pid": …, "comm": …}``; with tracing on also
``{"ev": "call", …}`` for every command, with its parameters decoded by the ABI database.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Final, final

from .abi import Kind
from .plan import BUCKETS

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task
    from .abi.view import Layouts
    from .engine import Engine
    from .plan import Plan

log: Final = logging.getLogger("nvsandbox.nvproxy")
MAX_NAMED: Final = 4096
MAX_LINE: Final = 4096
MAX_FIELDS: Final = 32
_KEYS: Final = ("calls", "failures", "ns", "longest_ns")


@final
class Audit:
    """Counters and events of one sandbox."""

    __slots__ = ("_named", "_streamed", "fd", "refusals", "trace")

    def __init__(self, fd: int, trace: bool) -> None:
        self.fd = fd
        self.trace = trace
        self._named: set[tuple[str, str]] = set()
        self.refusals = 0
        self._streamed = False

    def stream(self, fd: int) -> None:
        """Every event, calls included, to ``fd`` as long as somebody reads it."""
        if self.fd >= 0:
            os.close(self.fd)
        os.set_blocking(fd, False)
        self.fd, self.trace, self._streamed = fd, True, True
        self._named.clear()

    def event(self, **fields: Any) -> None:
        """One line; a reader that is gone or slow stops nothing."""
        if self.fd < 0:
            return
        now = round(time.time(), 6)
        line = json.dumps({"t": now, **fields}, separators=(",", ":"))
        if len(line) >= MAX_LINE:  # what a pipe takes whole; parameters are what is long
            kept = {
                k: v[:200] if isinstance(v, str) else v
                for k, v in fields.items()
                if not isinstance(v, dict)
            }
            line = json.dumps({"t": now, **kept, "cut": True}, separators=(",", ":"))
        try:
            os.write(self.fd, line.encode() + b"\n")
        except BlockingIOError:
            pass
        except OSError:
            if self._streamed:
                os.close(self.fd)
                self.fd, self.trace = -1, False

    def refused(self, t: Task, kind: str, name: str, why: str) -> None:
        """Named once for each program and command."""
        self.refusals += 1
        comm = t.comm.decode("utf-8", "replace")
        key = (name, comm)
        if key in self._named or len(self._named) >= MAX_NAMED:
            return
        self._named.add(key)
        log.warning("%s %s refused to %s[%d]: %s", kind, name, comm, t.tg.pid, why)
        self.event(ev="refused", kind=kind, name=name, why=why, pid=t.tg.pid, comm=comm)

    def call(
        self, e: Engine, t: Task, plan: Plan, before: bytes, after: bytes, result: int
    ) -> None:
        """A control command or allocation, with its parameters decoded."""
        self.event(
            ev="call", kind=plan.kind, name=plan.name, pid=t.tg.pid, status=result,
            sent=decode(e.layouts, plan.struct, before), got=decode(e.layouts, plan.struct, after) if after != before else {},
        )  # fmt: skip

    def escape(self, e: Engine, t: Task, plan: Plan, struct: str, after: bytes) -> None:
        """A frontend or UVM ioctl, as it was answered."""
        self.event(
            ev="call",
            kind=plan.kind,
            name=plan.name,
            pid=t.tg.pid,
            got=decode(e.layouts, struct, after),
        )

    def done(self, plan: Plan, ns: int, failed: bool) -> None:
        """Counts one forwarded call."""
        s = plan.stats
        s[0] += 1
        s[1] += failed
        s[2] += ns
        if ns > s[3]:
            s[3] = ns
        i = ns.bit_length() - 11 >> 1
        s[4 + (0 if i < 0 else i if i < BUCKETS else BUCKETS - 1)] += 1


def decode(layouts: Layouts, struct: str, data: bytes) -> dict[str, int]:
    """Scalars that aren't zero, by name; the first few of a long struct."""
    out: dict[str, int] = {}
    if struct not in layouts.release.structs:
        return out
    for f in layouts.table(struct).values():
        if f.dims or f.kind in (Kind.STRUCT, Kind.UNION) or f.offset + f.size > len(data):
            continue
        value = int.from_bytes(data[f.offset : f.offset + f.size], "little")
        if value:
            out[f.name] = value
        if len(out) >= MAX_FIELDS:
            break
    return out


def counters(plans: list[Plan]) -> dict[str, dict[str, Any]]:
    """For metrics, by name: calls, failures, nanoseconds in all and longest; ``buckets``: calls that took less than 2**12 ns (4 µs), and
    than four times as much for each that follows, the last without bound."""
    return {
        p.name: {**dict(zip(_KEYS, p.stats, strict=False)), "buckets": p.stats[4:]}
        for p in plans
        if p.stats[0]
    }
