"""How the GPU's time is shared: time slice and priority of a sandbox's channel groups (ctrla06c/ctrla06cgpfifo.h).

Every group an application makes gets the operator's values at once, by two commands of ours; what the application asks for later can
be less than that, not more.
"""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Final, final

from ..failure import Failure
from . import status
from .control import NVOS54, RM_CONTROL

if TYPE_CHECKING:
    from .control import Call
    from .devices import NvFile
    from .engine import Engine

log: Final = logging.getLogger("nvsandbox.nvproxy")
CHANNEL_GROUP: Final = 0xA06C
SET_TIMESLICE: Final = 0xA06C0103
SET_INTERLEAVE_LEVEL: Final = 0xA06C0107
LEVELS: Final = {"low": 0, "medium": 1, "high": 2}
MIN_US: Final = 100
MAX_US: Final = 1_000_000
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")


@final
class Scheduling:
    """``timeslice_us`` 0, ``priority`` "": the driver's own."""

    __slots__ = ("level", "timeslice_us")

    def __init__(self, timeslice_us: int = 0, priority: str = "") -> None:
        self.timeslice_us = timeslice_us
        self.level = LEVELS.get(priority, -1)

    def group_made(self, e: Engine, f: NvFile, client: int, group: int) -> None:
        """Applies it to a new channel group. May suspend."""
        if self.timeslice_us:
            self._set(e, f, client, group, SET_TIMESLICE, _U64.pack(self.timeslice_us))
        if self.level >= 0:
            self._set(e, f, client, group, SET_INTERLEAVE_LEVEL, _U32.pack(self.level))

    def _set(self, e: Engine, f: NvFile, client: int, group: int, cmd: int, params: bytes) -> None:
        plan = e.abi.controls.get(cmd) or e.abi.control(cmd)
        a = e.arenas.get()
        try:
            at = a.put(bytes(NVOS54.size))
            where = a.addr + a.put(params)
            NVOS54.pack_into(a.buf, at, client, group, cmd, 0, where, len(params), 0)
            r = e.call(f, plan, RM_CONTROL, a.addr + at)
            answer = r if r < 0 else NVOS54.unpack_from(a.buf, at)[6]
        finally:
            e.arenas.put(a)
        if answer:
            log.warning("%s of a channel group: the driver answers %#x", plan.name, answer)
            e.audit.event(ev="scheduling", name=plan.name, status=answer)


def parse(timeslice: str, priority: str) -> Scheduling:
    """``--gpu-timeslice`` (µs) and ``--gpu-priority``. Raises Failure."""
    us = 0
    if timeslice:
        us = int(timeslice) if timeslice.isdecimal() and len(timeslice) < 9 else -1
        if not MIN_US <= us <= MAX_US:
            raise Failure(
                f"--gpu-timeslice `{timeslice}`: microseconds from {MIN_US} to {MAX_US} are expected"
            )
    if priority and priority not in LEVELS:
        raise Failure(f"--gpu-priority `{priority}`: low, medium or high is expected")
    return Scheduling(us, priority)


def before_timeslice(c: Call) -> int | None:
    """No longer than the operator's."""
    limit = c.engine.scheduling.timeslice_us
    if limit and c.p["timesliceUs"] > limit:
        c.undo.append((c.at, bytes(c.arena.buf[c.at : c.at + _U64.size])))
        c.p["timesliceUs"] = limit
    return None


def before_level(c: Call) -> int | None:
    """No higher than the operator's."""
    limit = c.engine.scheduling.level
    if 0 <= limit < c.p["tsgInterleaveLevel"]:
        return status.INSUFFICIENT_PERMISSIONS
    return None


HOOKS: Final[dict[str, tuple[object, object]]] = {
    "NVA06C_CTRL_CMD_SET_TIMESLICE": (before_timeslice, None),
    "NVA06C_CTRL_CMD_SET_INTERLEAVE_LEVEL": (before_level, None),
}
