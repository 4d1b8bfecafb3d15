"""Events and counters of unified memory, as profilers read them (``uvm_ioctl.h``, "Tools"; capability profiling).

The driver writes them into the caller's memory, whose pages it pins. They become memory that the Sentry maps too (``promote.py``), and the
driver gets the Sentry's addresses. Reading and writing another process's memory (UVM_TOOLS_READ_PROCESS_MEMORY) stays refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..sentry.mm.vma import PAGE
from . import status
from .promote import Pinned, pin

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task
    from .abi.view import View
    from .engine import Engine
    from .host import Arena

QUEUES: Final = frozenset(("UVM_TOOLS_INIT_EVENT_TRACKER", "UVM_TOOLS_INIT_EVENT_TRACKER_V2"))
TABLES: Final = frozenset(
    ("UVM_TOOLS_GET_PROCESSOR_UUID_TABLE", "UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_V2")
)
ON_TOOLS: Final = QUEUES | {
    "UVM_TOOLS_SET_NOTIFICATION_THRESHOLD", "UVM_TOOLS_EVENT_QUEUE_ENABLE_EVENTS",
    "UVM_TOOLS_EVENT_QUEUE_DISABLE_EVENTS", "UVM_TOOLS_ENABLE_COUNTERS", "UVM_TOOLS_DISABLE_COUNTERS",
}  # fmt: skip
"""What is asked of nvidia-uvm-tools; the rest, of nvidia-uvm."""
ENABLE: Final = "UVM_TOOLS_EVENT_QUEUE_ENABLE_EVENTS"
BROADCAST: Final = 1 << 4 | 1 << 5 | 1 << 63
"""Kinds of events that tell of a card whoever uses it: replayed faults, overflows of its fault buffer, access counters."""
MAX_QUEUE: Final = 1 << 20
"""Entries of a queue."""
_MAX_ENTRY: Final = 256
_TABLE: Final = 1 << 14
"""More than any release's table of processors has bytes."""
_UUID: Final = 16


def pin_queues(e: Engine, t: Task, name: str, p: View) -> list[Pinned]:
    """Pins the queue and the control data, and puts the Sentry's addresses into the parameters. May suspend. Raises Refused."""
    count = p["queueBufferSize"]
    if count > MAX_QUEUE or p["controlBuffer"] % PAGE:
        raise status.Refused(status.INVALID_ARGUMENT)
    # The driver pins whole pages from an aligned address. Whatever it takes an entry's size to be, it finds nothing of ours behind.
    guard = count * _MAX_ENTRY + PAGE
    pins = [pin(t, p["controlBuffer"], PAGE, guard)]
    p["controlBuffer"] = pins[0].address
    if count:
        if p["queueBuffer"] % PAGE:
            raise status.Refused(status.INVALID_ADDRESS)
        pins.append(pin(t, p["queueBuffer"], count * _entry(e, name, p), guard))
        p["queueBuffer"] = pins[1].address
    else:  # counters alone
        p["queueBuffer"] = 0
    return pins


def _entry(e: Engine, name: str, p: View) -> int:
    """Bytes of an event: releases 550 to 560 have the version in the parameters, later ones in the ioctl's name."""
    second = name.endswith("_V2") or max(p.opt("requestedVersion"), p.opt("version")) > 1
    names = ("UvmEventEntry_V2",) if second else ("UvmEventEntry", "UvmEventEntry_V1")
    found = next((n for n in names if n in e.abi.release.structs), "")
    if not found:
        raise status.Refused(status.NOT_SUPPORTED)
    return e.layouts.size(found)


def place_table(p: View, a: Arena) -> int:
    """Room for the table of processors, in place of the application's; where."""
    at = a.take(_TABLE)
    p["tablePtr"] = a.addr + at
    return at


def give_table(e: Engine, t: Task, a: Arena, at: int, where: int) -> None:
    """The table for the application: the CPU, which comes first, and the sandbox's cards in their places. Raises SysErr."""
    rows = [bytes(a.buf[i : i + _UUID]) for i in range(at, at + _TABLE, _UUID)]
    used = max((i + 1 for i, row in enumerate(rows) if any(row)), default=0)
    own = [row if i == 0 or row in e.by_uuid else bytes(_UUID) for i, row in enumerate(rows[:used])]
    t.copy_out(where, b"".join(own))
