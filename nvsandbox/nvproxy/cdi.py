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
from .model import HostGpu

VERSION: Final = "0.5.0"
KIND: Final = "nvidia.com/gpu"
COMMON: Final = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")


def generate() -> dict[str, Any]:
    """The specification for this host as it is now. Raises Failure."""
    release = database().release(drivers.choose(drivers.host_version()).abi)
    return of(hostgpus.probe(release))


def of(gpus: list[HostGpu]) -> dict[str, Any]:
    """The specification of these cards: by index, by UUID, and all of them."""
    devices = []
    for g in gpus:
        node = {"deviceNodes": [{"path": f"/dev/nvidia{g.minor}"}]}
        devices += [{"name": n, "containerEdits": node} for n in (str(g.index), g.uuid_text) if n]
    every = [{"path": f"/dev/nvidia{g.minor}"} for g in gpus]
    devices.append({"name": "all", "containerEdits": {"deviceNodes": every}})
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
