"""Commands of the client and device classes (``ctrl0000*.h``, ``ctrl0080*.h``)."""

from __future__ import annotations

from typing import Final

from ..control import Call, control
from ..gpu import Gpu
from ..memory import Place
from ..status import Status

_INVALID_ID: Final = 0xFFFFFFFF
_ID_IN_USE: Final = 1
_BINARY: Final = 2
"""Flag of the UUID queries: raw bytes instead of text."""
_ACCOUNTING_DISABLED: Final = 1
_PERSISTENCE: Final = {True: 0, False: 1}
_CHANGELIST: Final = 36000000
_INFO_PARENT, _INFO_CLASS = 1, 2


def _gpu_by_id(call: Call) -> Gpu | None:
    wanted = call.p["gpuId"]
    return next((g for g in call.rm.gpus if g.gpu_id == wanted), None)


@control("NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION")
def build_version(call: Call) -> None:
    """Three strings into buffers the parameters point at."""
    p, size = call.p, call.p["sizeOfStrings"]
    texts = (
        ("pDriverVersionBuffer", call.rm.release.version),
        ("pVersionBuffer", f"r{call.rm.release.version.split('.')[0]}_00"),
        ("pTitleBuffer", "nvsim"),
    )
    for name, text in texts:
        if p[name] and size:
            call.caller.memory.write(p[name], text.encode()[: size - 1] + b"\0")
    p.put(sizeOfStrings=80, changelistNumber=_CHANGELIST, officialChangelistNumber=_CHANGELIST)


@control("NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION_V2")
def build_version_v2(call: Call) -> None:
    """The same with the strings in the parameters."""
    call.p.put(
        driverVersionBuffer=call.rm.release.version,
        versionBuffer=f"r{call.rm.release.version.split('.')[0]}_00",
        driverBranch=f"r{call.rm.release.version.split('.')[0]}_00",
        titleBuffer="nvsim",
        changelistNumber=_CHANGELIST,
        officialChangelistNumber=_CHANGELIST,
    )


@control("NV0000_CTRL_CMD_GPU_GET_PROBED_IDS", "NV0000_CTRL_CMD_GPU_GET_ATTACHED_IDS")
def gpu_ids(call: Call) -> None:
    """Every slot not taken says so; an excluded id of zero would exclude a card."""
    n = call.p.length("gpuIds")
    ids = [g.gpu_id for g in call.rm.gpus]
    call.p["gpuIds"] = [*ids, *[_INVALID_ID] * (n - len(ids))]
    call.p.put(excludedGpuIds=[_INVALID_ID] * n)


@control("NV0000_CTRL_CMD_GPU_GET_ID_INFO", "NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2")
def id_info(call: Call) -> Status | None:
    """Instances of a card."""
    gpu = _gpu_by_id(call)
    if gpu is None:
        return Status.INVALID_ARGUMENT
    call.p.put(
        gpuFlags=_ID_IN_USE,
        deviceInstance=gpu.index,
        subDeviceInstance=0,
        sliStatus=0,
        boardId=gpu.gpu_id,
        gpuInstance=gpu.index,
        numaId=_INVALID_ID,
    )
    return None


@control("NV0000_CTRL_CMD_GPU_GET_PCI_INFO")
def pci_info(call: Call) -> Status | None:
    """Address; must agree with CARD_INFO."""
    gpu = _gpu_by_id(call)
    if gpu is None:
        return Status.INVALID_ARGUMENT
    call.p.put(domain=0, bus=gpu.bus, slot=0)
    return None


@control("NV0000_CTRL_CMD_GPU_GET_UUID_FROM_GPU_ID")
def uuid_from_id(call: Call) -> Status | None:
    """UUID as bytes or text."""
    gpu = _gpu_by_id(call)
    if gpu is None:
        return Status.OBJECT_NOT_FOUND
    if call.p["flags"] & _BINARY:
        call.p.put(gpuUuid=gpu.uuid, uuidStrLen=len(gpu.uuid))
    else:
        call.p.put(gpuUuid=gpu.uuid_text, uuidStrLen=len(gpu.uuid_text) + 1)
    return None


@control("NV0000_CTRL_CMD_GPU_GET_UUID_INFO")
def uuid_info(call: Call) -> Status | None:
    """The card with a UUID."""
    text = call.p.bytes("gpuUuid")
    for gpu in call.rm.gpus:
        if text[:16] == gpu.uuid or text.split(b"\0")[0] == gpu.uuid_text.encode():
            call.p.put(gpuId=gpu.gpu_id, deviceInstance=gpu.index, subdeviceInstance=0)
            return None
    return Status.OBJECT_NOT_FOUND


@control("NV0000_CTRL_CMD_GPU_QUERY_DRAIN_STATE")
def drain_state(call: Call) -> None:
    """Never draining."""
    call.p.put(drainState=0, flags=0)


@control("NV0000_CTRL_CMD_GPUACCT_GET_ACCOUNTING_STATE")
def accounting_state(call: Call) -> Status | None:
    """0 is enabled."""
    gpu = _gpu_by_id(call)
    if gpu is None:
        return Status.INVALID_ARGUMENT
    call.p["state"] = 0 if gpu.accounts.on else _ACCOUNTING_DISABLED
    return None


@control("NV0000_CTRL_CMD_GPUACCT_SET_ACCOUNTING_STATE")
def set_accounting_state(call: Call) -> Status | None:
    """Needs root; the tables say so and ``dispatch`` checks it."""
    gpu = _gpu_by_id(call)
    if gpu is None:
        return Status.INVALID_ARGUMENT
    gpu.accounts.set(call.p["newState"] == 0)
    return None


@control("NV0000_CTRL_CMD_GPUACCT_GET_ACCOUNTING_PIDS")
def accounting_pids(call: Call) -> Status | None:
    """Processes in the table, those that run among them."""
    gpu = _gpu_by_id(call)
    if gpu is None:
        return Status.INVALID_ARGUMENT
    pids = list(gpu.accounts.records)[: call.p.length("pidTbl")]
    call.p.put(pidTbl=pids, pidCount=len(pids))
    return None


@control("NV0000_CTRL_CMD_GPUACCT_GET_PROC_ACCOUNTING_INFO")
def accounting_info(call: Call) -> Status | None:
    """What one process has used."""
    gpu = _gpu_by_id(call)
    if gpu is None:
        return Status.INVALID_ARGUMENT
    if not gpu.accounts.on:
        return Status.NOT_SUPPORTED
    r = gpu.accounts.records.get(call.p["subPid"] or call.p["pid"])
    if r is None:
        return Status.OBJECT_NOT_FOUND
    call.p.put(gpuUtil=0, fbUtil=0, maxFbUsage=r.peak, startTime=r.start, endTime=r.end)
    return None


@control("NV0000_CTRL_CMD_GPUACCT_CLEAR_ACCOUNTING_DATA")
def clear_accounting(call: Call) -> Status | None:
    """Needs root, as the tables say."""
    gpu = _gpu_by_id(call)
    if gpu is None:
        return Status.INVALID_ARGUMENT
    gpu.accounts.clear()
    return None


@control("NV0000_CTRL_CMD_CLIENT_GET_ADDR_SPACE_TYPE")
def addr_space_type(call: Call) -> Status | None:
    """Which memory a handle is: system 1, video 2, registers 3."""
    target = call.client.objects.get(call.p["hObject"])
    if target is None:
        return Status.OBJECT_NOT_FOUND
    place = target.memory.place if target.memory else None
    if place is Place.VIDEO:
        kind = 2
    elif target.cls.internal == "UserModeApi" or place is Place.REGISTERS:
        kind = 3
    else:
        kind = 1
    call.p["addrSpaceType"] = kind
    return None


@control("NV0000_CTRL_CMD_CLIENT_GET_HANDLE_INFO")
def handle_info(call: Call) -> Status | None:
    """Parent (1) or class (2) of a handle."""
    target = call.client.objects.get(call.p["hObject"])
    if target is None:
        return Status.OBJECT_NOT_FOUND
    data = call.p.sub("data")
    if call.p["index"] == _INFO_PARENT:
        data["hResult"] = target.parent.handle if target.parent else target.handle
    elif call.p["index"] == _INFO_CLASS:
        data["iResult"] = target.cls.id
    else:
        return Status.INVALID_ARGUMENT
    return None


@control("NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2")
def class_list(call: Call) -> None:
    """Classes of this card that this driver has."""
    known = [c for c in call.gpu.profile.classes if c in call.rm.release.classes]
    room = call.p.length("classList")
    call.p.put(numClasses=min(len(known), room), classList=known[:room])


@control("NV0080_CTRL_CMD_GPU_GET_CLASSLIST")
def class_list_v1(call: Call) -> None:
    """The same through a pointer; a null pointer asks for the number."""
    known = [c for c in call.gpu.profile.classes if c in call.rm.release.classes]
    room = min(call.p["numClasses"], len(known))
    if call.p["classList"] and room:
        data = b"".join(c.to_bytes(4, "little") for c in known[:room])
        call.caller.memory.write(call.p["classList"], data)
    call.p["numClasses"] = len(known)


@control("NV0080_CTRL_CMD_GPU_QUERY_SW_STATE_PERSISTENCE")
def persistence(call: Call) -> None:
    """0 is enabled."""
    call.p["swStatePersistence"] = _PERSISTENCE[call.gpu.persistence]


@control("NV0080_CTRL_CMD_GPU_MODIFY_SW_STATE_PERSISTENCE")
def set_persistence(call: Call) -> None:
    """Takes the new state."""
    call.gpu.persistence = call.p["newState"] == 0


@control("NV0080_CTRL_CMD_GPU_GET_BRAND_CAPS")
def brand_caps(call: Call) -> None:
    """No professional brand bits; the card's brand index says the rest."""
    call.p.put(brands=0)


@control("NV503C_CTRL_CMD_REGISTER_VA_SPACE")
def register_va_space(call: Call) -> Status | None:
    """A token for peer-to-peer with other devices."""
    if call.p["hVASpace"] not in call.client.objects:
        return Status.OBJECT_NOT_FOUND
    call.p["vaSpaceToken"] = call.client.handle << 32 | call.p["hVASpace"]
    return None
