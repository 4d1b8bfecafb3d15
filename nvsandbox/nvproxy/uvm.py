"""Unified memory: ioctls of ``/dev/nvidia-uvm`` (``uvm_ioctl.h``, ``uvm_linux_ioctl.h``).

The driver binds a UVM file to the address space of the process that initialises it, which here would be the Sentry's. So it is always
told that several processes share the file; pageable memory is then out of the cards' reach, and libraries are told so.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from . import status, uvm_tools
from .abi.view import View
from .control import check_clients, hold, translate_fds, zero_pointers

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task
    from .devices import NvFile
    from .engine import Engine
    from .promote import Pinned

INITIALIZE: Final = 0x30000001
DEINITIALIZE: Final = 0x30000002
MULTI_PROCESS: Final = 0x2
"""UVM_INIT_FLAGS_MULTI_PROCESS_SHARING_MODE."""
_UUIDS: Final = (
    "gpu_uuid", "gpuUuid", "gpuUuidA", "gpuUuidB", "destinationUuid", "preferredLocation", "accessedByUuid", "processor",
)  # fmt: skip


def uvm_ioctl(e: Engine, t: Task, f: NvFile, cmd: int, arg: int) -> int:
    """One UVM ioctl; the status is in ``rmStatus``."""
    plan = e.abi.uvm(cmd)
    if plan.reason:
        e.audit.refused(t, "ioctl", plan.name, plan.reason)
        return -errno.EINVAL
    if (plan.name in uvm_tools.ON_TOOLS) != (f.kind == "uvm-tools"):
        return -errno.EINVAL  # the driver's other device has it
    if cmd == DEINITIALIZE:
        return e.call(f, plan, cmd, 0)
    data = t.copy_in(arg, plan.size)
    a = e.arenas.get()
    try:
        at = a.put(data)
        p = View(e.layouts, e.layouts.table(plan.struct), a.buf, at)
        undo: list[tuple[int, bytes]] = []
        held: list[NvFile] = []
        pins: list[Pinned] = []
        table, where = -1, 0
        try:
            answered = _check(e, t, f, plan.name, p)
            if answered is None:
                check_clients(e, t, f, plan, a, at)
                zero_pointers(plan, a, at, undo)
                held = hold(translate_fds(e, t, plan, a, at, undo))
                if plan.name in uvm_tools.QUEUES:
                    undo.append((at, data[:24]))  # queueBuffer, queueBufferSize, controlBuffer
                    pins = uvm_tools.pin_queues(e, t, plan.name, p)
                elif plan.name == uvm_tools.ENABLE:
                    undo.append((at, data[:8]))
                    p["eventTypeFlags"] = p["eventTypeFlags"] & ~uvm_tools.BROADCAST
                elif plan.name in uvm_tools.TABLES:
                    undo.append((at, data[:8]))
                    where = p["tablePtr"]
                    table = uvm_tools.place_table(p, a)
                if cmd == INITIALIZE:
                    undo.append((at, data[:8]))
                    p["flags"] = p["flags"] | MULTI_PROCESS
                r = e.call(f, plan, cmd, a.addr + at)
                if r < 0:
                    return r
                if cmd == INITIALIZE and p["rmStatus"] == status.OK:
                    f.managed = True
                if p["rmStatus"] == status.OK:
                    f.pins, pins = f.pins + pins, []
                    if table >= 0:
                        uvm_tools.give_table(e, t, a, table, where)
            else:
                p["rmStatus"] = answered
        except status.Refused as refused:
            p.put(rmStatus=refused.status)
        finally:
            for pinned in pins:
                pinned.close()
            for offset, old in undo:
                a.buf[offset : offset + len(old)] = old
            for other in held:
                other.decref()
        got = bytes(a.buf[at : at + plan.size])
        if got != data:
            t.copy_out(arg, got)
        if e.audit.trace:
            e.audit.escape(e, t, plan, plan.struct, got)
        return 0
    finally:
        e.arenas.put(a)


def _check(e: Engine, t: Task, f: NvFile, name: str, p: View) -> int | None:
    """A status that answers the call without the host. Raises Refused."""
    if name == "UVM_MM_INITIALIZE":
        return status.WARN_NOTHING_TO_DO  # no process's memory map is tied to the file (hazard D5)
    for field in _UUIDS:
        # Not a card at all may be the CPU, or an instance of a card, whose owner the driver knows.
        if field in p and p.sub(field).bytes("uuid") in e.config.hidden:
            raise status.Refused(status.GPU_UUID_NOT_FOUND)
    return None
