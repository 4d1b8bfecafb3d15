"""``/dev/nvidia-uvm-tools``: queues of events in the caller's memory. One event is made: a migration, for each UVM_MIGRATE.

The driver pins the pages; here they are written through the memory of the process that migrates, so it must be the one with the queue.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from .files import OpenFile
from .rm.status import Status
from .uvm import UvmCall, uvm

CPU: Final = bytes((0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))
MAX_TRACKERS: Final = 64
_MIGRATION: Final = 2
_PAGE: Final = 4096
_CONTROL: Final = struct.Struct("<IIII")  # get_ahead, get_behind, put_ahead, put_behind


@dataclass(slots=True)
class Tracker:
    """The queue of one open of the device."""

    uvm: OpenFile
    queue: int
    count: int
    control: int
    entry: int
    events: int = 0


@uvm("UVM_TOOLS_INIT_EVENT_TRACKER", "UVM_TOOLS_INIT_EVENT_TRACKER_V2")
def init(call: UvmCall) -> Status | None:
    """The memory must be there, whole pages of it, and the UVM file initialised."""
    p, sim = call.p, call.sim
    target = sim.files.find(call.request.stat_fd(p["uvmFd"]))
    count, queue, control = p["queueBufferSize"], p["queueBuffer"], p["controlBuffer"]
    second = call.name.endswith("_V2") or max(p.opt("requestedVersion"), p.opt("version")) > 1
    entry = 72 if second else 64
    if (
        target is None or not target.initialized or count & (count - 1) or call.file in sim.trackers
        or len(sim.trackers) >= MAX_TRACKERS or count > 1 << 20
    ):  # fmt: skip
        return Status.INVALID_ARGUMENT
    if queue % _PAGE or control % _PAGE:
        return Status.INVALID_ADDRESS
    pages = [*range(queue, queue + count * entry, _PAGE), control]
    try:
        for page in pages:
            call.request.write(page, call.request.read(page, 8))
    except OSError:
        return Status.INVALID_ARGUMENT
    sim.trackers[call.file] = Tracker(target, queue, count, control, entry)
    return None


@uvm("UVM_TOOLS_EVENT_QUEUE_ENABLE_EVENTS", "UVM_TOOLS_EVENT_QUEUE_DISABLE_EVENTS")
def switch(call: UvmCall) -> Status | None:
    """A mask of kinds of events."""
    tracker = call.sim.trackers.get(call.file)
    if tracker is None:
        return Status.INVALID_ARGUMENT
    mask = call.p["eventTypeFlags"]
    on = call.name.endswith("ENABLE_EVENTS") and not call.name.endswith("DISABLE_EVENTS")
    tracker.events = tracker.events | mask if on else tracker.events & ~mask
    return None


@uvm(
    "UVM_TOOLS_SET_NOTIFICATION_THRESHOLD",
    "UVM_TOOLS_ENABLE_COUNTERS",
    "UVM_TOOLS_DISABLE_COUNTERS",
)
def settings(call: UvmCall) -> Status | None:
    """Of a queue that is there; nothing is counted."""
    return None if call.file in call.sim.trackers else Status.INVALID_ARGUMENT


@uvm("UVM_TOOLS_FLUSH_EVENTS")
def flush(call: UvmCall) -> Status | None:
    """Nothing waits."""
    return None


@uvm("UVM_TOOLS_GET_PROCESSOR_UUID_TABLE", "UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_V2")
def table(call: UvmCall) -> Status | None:
    """The CPU, and all cards of the machine."""
    rows = [CPU, *(g.uuid for g in call.sim.rm.gpus)]
    call.request.write(call.p["tablePtr"], b"".join(rows).ljust(33 * 16, b"\0"))
    call.p.put(count=len(rows))
    return None


@uvm("UVM_MIGRATE")
def migrate(call: UvmCall) -> Status | None:
    """With one copy there is nothing to move; whoever listens hears of it."""
    for tracker in call.sim.trackers.values():
        if tracker.uvm is call.file and tracker.events >> _MIGRATION & 1 and tracker.count:
            _enqueue(call, tracker)
    return None


def _enqueue(call: UvmCall, tracker: Tracker) -> None:
    get, behind, _, put = _CONTROL.unpack(call.request.read(tracker.control, _CONTROL.size))
    put %= tracker.count
    following = (put + 1) % tracker.count
    if following == behind % tracker.count:
        return  # full
    event = struct.pack("<BBBBIQQ", _MIGRATION, 0, 1, 0, 0, call.p["base"], call.p["length"])
    call.request.write(tracker.queue + put * tracker.entry, event.ljust(tracker.entry, b"\0"))
    control = _CONTROL.pack(get, behind, following, following)
    call.request.write(tracker.control, control)
