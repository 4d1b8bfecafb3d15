"""Commands of channels and channel groups (``ctrl906f.h``, ``ctrla06f.h``, ``ctrlc36f.h``)."""

from __future__ import annotations

from typing import Final

from ..control import Call, control
from ..status import Status

_GR0: Final = 1
_COPY0: Final = 9
_COPY_TAIL: Final = 0xB5


@control("NV0080_CTRL_CMD_FIFO_GET_CHANNELLIST")
def channel_list(call: Call) -> Status | None:
    """Hardware numbers of channel handles."""
    p, memory = call.p, call.caller.memory
    n = p["numChannels"]
    if n > 4096 or not p["pChannelHandleList"] or not p["pChannelList"]:
        return Status.INVALID_ARGUMENT
    raw, out = memory.read(p["pChannelHandleList"], 4 * n), b""
    for i in range(n):
        handle = int.from_bytes(raw[4 * i : 4 * i + 4], "little")
        found = call.client.objects.get(handle)
        if found is None or "id" not in found.data:
            return Status.OBJECT_NOT_FOUND
        out += found.data["id"].to_bytes(4, "little")
    memory.write(p["pChannelList"], out)
    return None


@control("NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN")
def work_token(call: Call) -> Status | None:
    """What is to be written to the doorbell."""
    if "id" not in call.object.data:
        return Status.INVALID_OBJECT
    call.p["workSubmitToken"] = call.object.data["id"]
    return None


@control(
    "NVC36F_CTRL_GET_CLASS_ENGINEID",
    "NVC36F_CTRL_CMD_GET_CLASS_ENGINEID",
    "NVA06F_CTRL_GET_CLASS_ENGINEID",
    "NV906F_CTRL_GET_CLASS_ENGINEID",
)
def class_engine(call: Call) -> Status | None:
    """What SET_OBJECT takes for an engine object: its class, engine 0."""
    found = call.client.objects.get(call.p["hObject"])
    if found is None:
        return Status.OBJECT_NOT_FOUND
    engine = _COPY0 if found.cls.id & 0xFF == _COPY_TAIL else _GR0
    call.p.put(classEngineID=found.cls.id, classID=found.cls.id, engineID=engine)
    return None
