"""Memory of a card (``ctrl2080fb.h``); used + free + reserved = total at every moment."""

from __future__ import annotations

from ..control import Call, control
from ..mig import GpuInstance
from ..status import Status
from .mig import subscribed, used_memory
from .subdevice import by_index, info_list, info_pointer

_KIB = 10
_MIB = 20


def _fb_info(call: Call) -> dict[int, int]:
    """Indices of ``NV2080_CTRL_FB_INFO_INDEX_*``; sizes in KiB."""
    p, heap = call.gpu.profile, call.gpu.heap
    bar1 = p.bar1_mib << _KIB
    instance = subscribed(call)
    if instance is not None:
        return _instance_info(call, instance)
    total, usable, free = heap.total >> 10, (heap.total - heap.reserved) >> 10, heap.free >> 10
    return by_index(p.fb_info) | {
        0x04: p.fbps, 0x05: bar1, 0x07: total, 0x08: total, 0x09: usable, 0x0A: usable,
        0x0B: p.bus_width, 0x0D: p.ram_type, 0x12: free, 0x16: free, 0x19: p.fbps,
        0x1A: (1 << p.fbps) - 1, 0x1B: p.l2_bytes, 0x1D: bar1 - 1024, 0x1F: bar1 - 1024,
        0x20: total, 0x22: p.ltcs, 0x23: 2 * p.ltcs, 0x2A: int(p.ecc),
    }  # fmt: skip


def _instance_info(call: Call, instance: GpuInstance) -> dict[int, int]:
    """The same within a MIG instance: its own memory."""
    p, size = call.gpu.profile, instance.shape.memory
    kib = size >> _KIB
    free = max(0, kib - (used_memory(call, instance) >> _KIB))
    bar1 = (p.bar1_mib << _KIB) * size // (p.memory_mib << _MIB)
    return by_index(p.fb_info) | {
        0x05: bar1, 0x07: kib, 0x08: kib, 0x09: kib, 0x0A: kib, 0x0B: p.bus_width,
        0x0D: p.ram_type, 0x12: free, 0x16: free, 0x1D: bar1, 0x1F: bar1, 0x20: kib,
        0x2A: int(p.ecc),
    }  # fmt: skip


@control("NV2080_CTRL_CMD_FB_GET_INFO_V2")
def fb_info_v2(call: Call) -> None:
    """Sizes by index."""
    info_list(call, "fbInfoListSize", "fbInfoList", _fb_info(call))


@control("NV2080_CTRL_CMD_FB_GET_INFO")
def fb_info(call: Call) -> None:
    """The same through a pointer."""
    info_pointer(call, "fbInfoListSize", "fbInfoList", _fb_info(call))


_AMPERE = 0x170
_HISTOGRAM_SHIFT = {0x170: 3, 0x180: 1, 0x190: 1}
"""Banks with every spare row: the bus width over this, by architecture."""


@control("NV2080_CTRL_CMD_FB_GET_OFFLINED_PAGES")
def offlined_pages(call: Call) -> Status | None:
    """Page retirement is what cards before Ampere have."""
    profile = call.gpu.profile
    return None if profile.ecc and profile.architecture < _AMPERE else Status.NOT_SUPPORTED


@control("NV2080_CTRL_CMD_FB_GET_REMAPPED_ROWS")
def remapped_rows(call: Call) -> Status | None:
    """Row remapping is what Ampere and newer have; none remapped."""
    profile = call.gpu.profile
    return None if profile.ecc and profile.architecture >= _AMPERE else Status.NOT_SUPPORTED


@control("NV2080_CTRL_CMD_FB_GET_ROW_REMAPPER_HISTOGRAM")
def remapper_histogram(call: Call) -> Status | None:
    """All banks have all their spare rows."""
    profile = call.gpu.profile
    if not profile.ecc or profile.architecture < _AMPERE:
        return Status.NOT_SUPPORTED
    shift = _HISTOGRAM_SHIFT.get(profile.architecture, 1)
    call.p["histogram"] = [profile.bus_width >> shift]
    return None
