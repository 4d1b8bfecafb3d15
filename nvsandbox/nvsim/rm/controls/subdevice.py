"""Identity and configuration of a card (``ctrl2080gpu.h``, ``timer``, ``mc``, ``bios``, ``gsp``)."""

from __future__ import annotations

import time
from typing import Final

from ...view import View
from ..control import Call, control
from ..status import RmError, Status

_BINARY: Final = 2
_ENGINE_GR0: Final = 1
_ENGINE_COPY0: Final = 9
_ENGINES_MEDIA: Final = (0x13, 0x1B, 0x22, 0x2B, 0x33)
_BRAND_INDEX: Final = 0x11
_SMC_MODE_INDEX: Final = 0x2A
_SMC_UNSUPPORTED, _SMC_ENABLED, _SMC_DISABLED = range(3)


def info_list(call: Call, size: str, items: str, known: dict[int, int]) -> None:
    """Answer an index/value list of the GET_INFO family held in the parameters."""
    n = call.p[size]
    if n > call.p.length(items):
        raise RmError(Status.INVALID_ARGUMENT)
    for i in range(n):
        item = call.p.sub(items, i)
        item["data"] = known.get(item["index"], 0)


def info_pointer(call: Call, size: str, pointer: str, known: dict[int, int]) -> None:
    """The same, the list being in the caller's memory."""
    n, at = call.p[size], call.p[pointer]
    if n > 1024 or (n and not at):
        raise RmError(Status.INVALID_ARGUMENT)
    raw = call.caller.memory.read(at, 8 * n)
    for i in range(n):
        index = int.from_bytes(raw[8 * i : 8 * i + 4], "little")
        raw[8 * i + 4 : 8 * i + 8] = known.get(index, 0).to_bytes(4, "little")
    call.caller.memory.write(at, raw)


def by_index(table: dict[str, int]) -> dict[int, int]:
    """A profile's index table with numbers for keys."""
    return {int(k, 0): v for k, v in table.items()}


@control("NV2080_CTRL_CMD_GPU_GET_INFO_V2")
def gpu_info(call: Call) -> None:
    """Facts by index."""
    profile = call.gpu.profile
    mode = _SMC_DISABLED if profile.mig else _SMC_UNSUPPORTED
    if call.gpu.mig is not None:
        mode = _SMC_ENABLED
    known = by_index(profile.gpu_info) | {_BRAND_INDEX: profile.brand_info, _SMC_MODE_INDEX: mode}
    info_list(call, "gpuInfoListSize", "gpuInfoList", known)


@control("NV2080_CTRL_CMD_GPU_GET_NAME_STRING")
def name_string(call: Call) -> None:
    """The product name."""
    name = call.gpu.profile.name
    union = call.p.sub("gpuNameString")
    if call.p["gpuNameStringFlags"] & 1:
        union["unicode"] = [ord(c) for c in name] + [0]
    else:
        union["ascii"] = name


@control("NV2080_CTRL_CMD_GPU_GET_GID_INFO")
def gid_info(call: Call) -> None:
    """UUID as text or, with flag bit 1, as bytes."""
    p, gpu = call.p, call.gpu
    if p["flags"] & _BINARY:
        p.put(data=gpu.uuid, length=len(gpu.uuid))
    else:
        p.put(data=gpu.uuid_text, length=len(gpu.uuid_text) + 1)


@control("NV2080_CTRL_CMD_GPU_GET_ENGINES_V2")
def engines(call: Call) -> None:
    """Graphics, copy and media engines."""
    copies = range(_ENGINE_COPY0, _ENGINE_COPY0 + call.gpu.profile.copy_engines)
    found = [_ENGINE_GR0, *copies, *_ENGINES_MEDIA]
    call.p.put(engineCount=len(found), engineList=found)


@control("NV2080_CTRL_CMD_GPU_GET_ENGINE_CLASSLIST")
def engine_classes(call: Call) -> None:
    """Classes an engine takes."""
    tails: tuple[int, ...] = ()
    if call.p["engineType"] == _ENGINE_GR0:
        tails = (0xC0, 0x97, 0x40, 0x2D)
    if _ENGINE_COPY0 <= call.p["engineType"] < _ENGINE_COPY0 + call.gpu.profile.copy_engines:
        tails = (0xB5,)
    found = [c for c in call.gpu.profile.classes if c > 0x9000 and c & 0xFF in tails]
    room = min(call.p["numClasses"], len(found))
    if call.p["classList"] and room:
        data = b"".join(c.to_bytes(4, "little") for c in found[:room])
        call.caller.memory.write(call.p["classList"], data)
    call.p["numClasses"] = len(found)


@control("NV2080_CTRL_CMD_CE_GET_ALL_CAPS")
def copy_caps(call: Call) -> None:
    """Which copy engines are there."""
    call.p["present"] = (1 << call.gpu.profile.copy_engines) - 1


@control("NV2080_CTRL_CMD_GPU_QUERY_COMPUTE_MODE_RULES")
def compute_mode(call: Call) -> None:
    """0 default, 1 exclusive thread, 2 prohibited, 3 exclusive process."""
    call.p["rules"] = call.gpu.compute_mode


@control("NV2080_CTRL_CMD_GPU_SET_COMPUTE_MODE_RULES")
def set_compute_mode(call: Call) -> Status | None:
    """Takes a mode; needs root."""
    if call.p["rules"] > 3:
        return Status.INVALID_ARGUMENT
    call.gpu.compute_mode = call.p["rules"]
    return None


@control("NV2080_CTRL_CMD_GPU_GET_INFOROM_OBJECT_VERSION")
def inforom_object(call: Call) -> Status | None:
    """Version of an object on the board's ROM."""
    name = call.p.bytes("objectType").decode("ascii", "replace")
    found = call.gpu.profile.inforom.get(name)
    if found is None:
        return Status.NOT_SUPPORTED
    call.p.put(version=found[0], subversion=found[1])
    return None


@control("NV2080_CTRL_CMD_GPU_GET_OEM_BOARD_INFO")
def board_info(call: Call) -> None:
    """Part and serial numbers."""
    profile = call.gpu.profile
    call.p.put(
        buildDate=20230401,
        marketingName=profile.name.encode()[:23],
        serialNumber=call.gpu.serial,
        productPartNumber=profile.part_number,
        boardRevision="A01",
        board699PartNumber=profile.board_part,
    )


@control("NV2080_CTRL_CMD_GPU_GET_CHIP_DETAILS")
def chip_details(call: Call) -> None:
    """Device id and stepping."""
    profile = call.gpu.profile
    call.p.put(pciDevId=profile.pci_device, chipSku=b"885", chipMajor=profile.revision >> 4,
               chipMinor=profile.revision & 0xF)  # fmt: skip


@control("NV2080_CTRL_CMD_BIOS_GET_INFO")
def bios_info(call: Call) -> None:
    """VBIOS revision: four bytes and the OEM's one."""
    profile = call.gpu.profile
    known = {0: int(profile.vbios, 16), 1: profile.vbios_oem}
    info_pointer(call, "biosInfoListSize", "biosInfoList", known)


@control("NV2080_CTRL_CMD_BIOS_GET_INFO_V2")
def bios_info_v2(call: Call) -> None:
    """The same in the parameters."""
    profile = call.gpu.profile
    known = {0: int(profile.vbios, 16), 1: profile.vbios_oem}
    info_list(call, "biosInfoListSize", "biosInfoList", known)


@control("NV2080_CTRL_CMD_GSP_GET_FEATURES")
def gsp_features(call: Call) -> None:
    """The firmware runs where the card has a processor for it."""
    on = int(call.gpu.profile.has_gsp)
    call.p.put(gspFeatures=on, bValid=1, bDefaultGspRmGpu=on,
               firmwareVersion=call.rm.release.version)  # fmt: skip


@control("NV2080_CTRL_CMD_TIMER_GET_GPU_CPU_TIME_CORRELATION_INFO")
def time_correlation(call: Call) -> Status | None:
    """Samples of both clocks."""
    n = call.p["sampleCount"]
    if n > call.p.length("samples"):
        return Status.INVALID_ARGUMENT
    for i in range(n):
        sample: View = call.p.sub("samples", i)
        sample.put(cpuTime=time.time_ns() // 1000, gpuTime=time.monotonic_ns())
    return None


@control("NV2080_CTRL_CMD_TIMER_GET_TIME")
def timer(call: Call) -> None:
    """The card's clock, nanoseconds."""
    call.p.put(time_nsec=time.monotonic_ns())
