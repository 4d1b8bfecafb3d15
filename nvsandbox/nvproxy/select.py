"""Which cards a sandbox gets: NVIDIA_VISIBLE_DEVICES and ``--gpus`` against what the host has."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..failure import Failure
from .abi import Release
from .model import HostGpu

CAPABILITIES: Final = Path("/proc/driver/nvidia/capabilities")
_CDI: Final = "nvidia.com/gpu="
NODE: Final = re.compile(r"/dev/nvidia(\d+|-caps/nvidia-cap(\d+))")
"""Device nodes that say what a container gets: cards, and rights to MIG devices."""
IMEX: Final = "fabric-imex-mgmt"
IMEX_CHANNELS: Final = "/dev/nvidia-caps-imex-channels/channel"
_OLD_MIG: Final = re.compile(r"MIG-(GPU-[0-9a-f-]{36})/(\d{1,3})/(\d{1,3})")
"""As drivers before R470 named them: card, GPU instance, compute instance."""
_MINOR: Final = re.compile(r"^DeviceFileMinor: (\d+)$", re.M)


@dataclass(slots=True)
class Selection:
    """Cards in the host's order, and the capability minors (``nvidia-cap#``) that go with them."""

    gpus: list[HostGpu]
    caps: list[int] = field(default_factory=list)
    cap_paths: list[str] = field(default_factory=list)
    """The capabilities' files below /proc/driver/nvidia/capabilities."""
    mig: list[tuple[int, int, int]] = field(default_factory=list)
    """(minor, GPU instance, compute instance) when only instances were asked for."""


def select(asked: str, host: list[HostGpu], release: Release) -> Selection:
    """``all`` or a comma-separated list of index, UUID, PCI name, ``INDEX:INSTANCE``, MIG UUID. Raises Failure."""
    text = asked.removeprefix(_CDI)
    items = [i.strip().removeprefix(_CDI) for i in text.split(",") if i.strip()]
    if len(items) > 1 and {"all", "none", "void"} & set(items):
        raise Failure(f"--gpus `{asked}`: all and none stand alone")
    if "all" in items:
        out = Selection(list(host))
        for g in host:
            _add_caps(out, g.minor, None)
        return out
    if not items:
        raise Failure("--gpus: all, none, or a list of indexes and UUIDs is expected")
    if any(NODE.fullmatch(i) for i in items):
        return _by_nodes(items, host)
    chosen: set[int] = set()
    out = Selection([])
    for item in items:
        if item.startswith("MIG-") or re.fullmatch("[0-9]{1,9}:[0-9]{1,9}", item):
            gpu, gi, ci = _instance(item, host, release)
            out.mig.append((gpu.minor, gi, ci))
            _add_caps(out, gpu.minor, (gi, ci))
        else:
            gpu = _card(item, host)
            _add_caps(out, gpu.minor, None)
        chosen.add(gpu.index)
    out.gpus = [g for g in host if g.index in chosen]
    return out


def _by_nodes(items: list[str], host: list[HostGpu]) -> Selection:
    """By device nodes, as CDI lists them: cards, and of their MIG devices those whose access files are named. Raises Failure."""
    out = Selection([])
    caps = set()
    nodes = set()
    for item in items:
        found = NODE.fullmatch(item)
        if found is None:
            raise Failure(f"--gpus: `{item}` beside device nodes")
        if found[2]:
            caps.add(int(found[2]))
        elif any(f"/dev/nvidia{g.minor}" == item for g in host):
            nodes.add(item)
        else:
            has = ", ".join(f"/dev/nvidia{g.minor}" for g in host)
            raise Failure(f"--gpus: no GPU has the device node `{item}`; the host has {has}")
    out.gpus = [g for g in host if f"/dev/nvidia{g.minor}" in nodes]
    if not out.gpus:
        raise Failure("--gpus: rights to MIG devices, but no card's device node")
    for g in out.gpus:
        every = Selection([])
        _add_caps(every, g.minor, None)
        for minor, path in zip(every.caps, every.cap_paths, strict=True):
            if minor in caps:
                out.caps.append(minor)
                out.cap_paths.append(path)
    return out


def _card(item: str, host: list[HostGpu]) -> HostGpu:
    has = ", ".join(f"{g.index} ({g.uuid_text})" for g in host)
    if re.fullmatch("[0-9]{1,9}", item):
        found = [g for g in host if g.index == int(item)]
        if not found:
            raise Failure(f"--gpus: there is no GPU {item}; the host has {has}")
    elif item.startswith("GPU-"):
        found = [g for g in host if g.uuid_text.startswith(item)]
        if len(found) > 1:
            raise Failure(f"--gpus: `{item}` is the start of several UUIDs; the host has {has}")
        if not found:
            raise Failure(f"--gpus: no GPU has UUID `{item}`; the host has {has}")
    else:
        name = item.lower()
        name = name[-12:] if re.fullmatch(r"[0-9a-f]{8}:[0-9a-f:.]{7}", name) else name
        found = [g for g in host if g.pci == name]
        if not found:
            raise Failure(
                f"--gpus: `{item[:80]}` is neither an index, a UUID, a PCI name nor a MIG id; the host has {has}"
            )
    return found[0]


def _instance(item: str, host: list[HostGpu], release: Release) -> tuple[HostGpu, int, int]:
    """Card, GPU instance and compute instance of a MIG id. Raises Failure."""
    from .mig import instances

    if not item.startswith("MIG-"):
        index, nth = (int(n) for n in item.split(":"))
        gpu = _card(str(index), host)
        found = instances(gpu, release)
        if not found:
            raise Failure(
                f"--gpus: `{item}`: MIG is off on GPU {index} (nvidia-smi -i {index} -mig 1)"
            )
        if nth >= len(found):
            raise Failure(f"--gpus: `{item}`: GPU {index} has {len(found)} MIG devices")
        return gpu, found[nth].gi, found[nth].ci
    old = _OLD_MIG.fullmatch(item)
    any_mig = False
    for gpu in host:
        for i in instances(gpu, release):
            any_mig = True
            if i.uuid == item or (
                old and (gpu.uuid_text, i.gi, i.ci) == (old[1], int(old[2]), int(old[3]))
            ):
                return gpu, i.gi, i.ci
    if not any_mig:
        raise Failure(f"--gpus: `{item}`: MIG is off on every card (nvidia-smi -mig 1 turns it on)")
    raise Failure(f"--gpus: no MIG device has UUID `{item}` (nvidia-smi -L lists them)")


def add_imex(out: Selection) -> None:
    """The right to manage IMEX (NVLink memory shared between hosts), which the IMEX daemon has."""
    found = _minor(CAPABILITIES / IMEX)
    if found is not None:
        out.caps.append(found)
        out.cap_paths.append(str(CAPABILITIES / IMEX))


def imex_channels(asked: str) -> list[str]:
    """Device nodes of NVIDIA_IMEX_CHANNELS, a list of numbers. Raises Failure."""
    items = [i.strip() for i in asked.split(",") if i.strip()]
    bad = next((i for i in items if not re.fullmatch("[0-9]{1,5}", i)), None)
    if bad is not None:
        raise Failure(f"NVIDIA_IMEX_CHANNELS: `{bad[:80]}` is not the number of a channel")
    return [f"{IMEX_CHANNELS}{int(i)}" for i in dict.fromkeys(items)]


def capability_minors(minor: int, instance: tuple[int, int]) -> list[int]:
    """Minors of the access files of one MIG device (GPU instance, compute instance) of a card."""
    out = Selection([])
    _add_caps(out, minor, instance)
    return out.caps


def _add_caps(out: Selection, minor: int, only: tuple[int, int] | None) -> None:
    """The access capabilities of a card's MIG instances: of all, or of one."""
    base = CAPABILITIES / f"gpu{minor}" / "mig"
    if not base.is_dir():
        return
    for gi in sorted(os.listdir(base)):
        if only is not None and gi != f"gi{only[0]}":
            continue
        paths = [base / gi / "access"]
        paths += [
            base / gi / ci / "access"
            for ci in sorted(os.listdir(base / gi))
            if ci.startswith("ci") and (only is None or ci == f"ci{only[1]}")
        ]
        for path in paths:
            found = _minor(path)
            if found is not None:
                out.caps.append(found)
                out.cap_paths.append(str(path))


def _minor(path: Path) -> int | None:
    try:
        found = _MINOR.search(path.read_text())
    except OSError:
        return None
    return int(found[1]) if found else None
