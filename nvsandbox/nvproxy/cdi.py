"""A CDI specification of the host's cards (``/etc/cdi/nvidia.json``), for engines that name devices ``nvidia.com/gpu=0``.

It holds the device nodes alone: libraries, programs and links are the runtime's business here (``inject.py``), so that one file fits every
image. Container Device Interface 0.5.0.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Final

from . import drivers, hostgpus
from .abi import database
from .mig import Instance, instances
from .model import HostGpu
from .select import capability_minors

VERSION: Final = "0.5.0"
KIND: Final = "nvidia.com/gpu"
COMMON: Final = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")


def generate() -> dict[str, Any]:
    """The specification for this host as it is now. Raises Failure."""
    release = database().release(drivers.choose(drivers.host_version()).abi)
    gpus = hostgpus.probe(release)
    return of(gpus, {g.index: instances(g, release) for g in gpus})


def of(gpus: list[HostGpu], mig: dict[int, list[Instance]]) -> dict[str, Any]:
    """The specification of these cards and their MIG devices: by index (``1``, ``0:1``), by UUID, and all of them."""
    devices: list[dict[str, Any]] = []
    every: list[str] = []

    def add(names: tuple[str, ...], nodes: list[str]) -> None:
        every.extend(n for n in nodes if n not in every)
        edits = {"deviceNodes": [{"path": n} for n in nodes]}
        devices.extend({"name": n, "containerEdits": edits} for n in names if n)

    for g in gpus:
        caps = []
        for nth, i in enumerate(mig.get(g.index, ())):
            own = [
                f"/dev/nvidia-caps/nvidia-cap{m}" for m in capability_minors(g.minor, (i.gi, i.ci))
            ]
            add((f"{g.index}:{nth}", i.uuid), [f"/dev/nvidia{g.minor}", *own])
            caps += [n for n in own if n not in caps]
        add((str(g.index), g.uuid_text), [f"/dev/nvidia{g.minor}", *caps])
    devices.append({"name": "all", "containerEdits": {"deviceNodes": [{"path": n} for n in every]}})
    return {
        "cdiVersion": VERSION,
        "kind": KIND,
        "devices": devices,
        "containerEdits": {"deviceNodes": [{"path": p} for p in COMMON if _is_device(p)]},
    }


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False
