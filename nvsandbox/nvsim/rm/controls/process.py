"""Processes that use a card (``ctrl2080gpu.h``): those with a memory or channel object on it."""

from __future__ import annotations

from typing import Final

from ..control import Call, control
from ..status import Status

_ID_VGPU: Final = 1
_INDEX_VIDEO_MEMORY: Final = 0


def users(call: Call) -> dict[int, int]:
    """Process id -> bytes of device memory, for processes with compute objects on the card."""
    gpu = call.gpu
    found = dict(gpu.heap.by_pid)
    for client in call.rm.tree.clients.values():
        for o in client.objects.values():
            if o.gpu is gpu and o.cls.internal in ("KernelChannel", "KernelChannelGroupApi"):
                found.setdefault(client.pid, 0)
    return found


@control("NV2080_CTRL_CMD_GPU_GET_PIDS")
def pids(call: Call) -> None:
    """All of them, cut at the table's length."""
    found = sorted(users(call))[: call.p.length("pidTbl")]
    call.p.put(pidTblCount=len(found), pidTbl=found)


@control("NV2080_CTRL_CMD_GPU_GET_PID_INFO")
def pid_info(call: Call) -> Status | None:
    """Memory of each process asked for."""
    n, found = call.p["pidInfoListCount"], users(call)
    if n > call.p.length("pidInfoList"):
        return Status.INVALID_ARGUMENT
    for i in range(n):
        row = call.p.sub("pidInfoList", i)
        if row["index"] != _INDEX_VIDEO_MEMORY:
            row["result"] = int(Status.INVALID_ARGUMENT)
            continue
        row["result"] = int(Status.OK if row["pid"] in found else Status.OBJECT_NOT_FOUND)
        usage = row.sub("data").sub("vidMemUsage")
        used = found.get(row["pid"], 0)
        usage.put(memPrivate=used)
    return None
