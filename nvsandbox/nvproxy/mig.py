"""MIG devices of a card, asked of the driver: instances, and their UUIDs (``clc637.h``, ``clc638.h``)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

from . import status
from .abi import Release
from .hostgpus import Client
from .model import HostGpu
from .select import CAPABILITIES

_GPU_INSTANCE: Final = 0xC637
_COMPUTE_INSTANCE: Final = 0xC638


@dataclass(frozen=True, slots=True)
class Instance:
    """One MIG device."""

    gi: int
    ci: int
    uuid: str


def instances(gpu: HostGpu, release: Release) -> list[Instance]:
    """Those of a card, in NVML's order; none when MIG is off."""
    base = CAPABILITIES / f"gpu{gpu.minor}" / "mig"
    pairs = []
    if base.is_dir():
        for gi in os.listdir(base):
            if re.fullmatch(r"gi\d+", gi):
                pairs += [
                    (int(gi[2:]), int(ci[2:]))
                    for ci in os.listdir(base / gi)
                    if re.fullmatch(r"ci\d+", ci)
                ]
    if not pairs:
        return []
    c = Client(release)
    try:
        return [Instance(gi, ci, _uuid(c, gpu, gi, ci)) for gi, ci in sorted(pairs)]
    finally:
        c.close()


def _uuid(c: Client, gpu: HostGpu, gi: int, ci: int) -> str:
    """``MIG-…``; empty when the driver doesn't say."""
    c.arena.top = 0
    try:
        c.handle = c.alloc(0, 0x41)
        p = c.view("NV0080_ALLOC_PARAMETERS")
        p["deviceId"] = gpu.instance
        device = c.alloc(c.handle, 0x80, p)
        sub = c.alloc(device, 0x2080, c.view("NV2080_ALLOC_PARAMETERS"))
        p = c.view("NVC637_ALLOCATION_PARAMETERS")
        p.put(swizzId=gi, capDescriptor=(1 << 64) - 1)
        partition = c.alloc(sub, _GPU_INSTANCE, p)
        p = c.view("NVC638_ALLOCATION_PARAMETERS")
        p.put(execPartitionId=ci, capDescriptor=(1 << 64) - 1)
        compute = c.alloc(partition, _COMPUTE_INSTANCE, p)
        got = c.control(compute, "NVC638_CTRL_CMD_GET_UUID")
    except (status.Refused, KeyError):
        return ""
    if got is None:
        return ""
    return got.bytes("uuidStr").split(b"\0")[0].decode("ascii", "replace")
