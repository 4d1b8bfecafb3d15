"""What of the host's /proc and /sys shows inside: the driver's files about the sandbox's cards, read once, before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from .model import Device
from .select import Selection

DRIVER: Final = "/proc/driver/nvidia"
CAPS: Final = "/proc/driver/nvidia-caps"
PCI: Final = "/sys/bus/pci/devices"
MAX_FILE: Final = 1 << 16
SYSFS: Final = (
    "vendor", "device", "subsystem_vendor", "subsystem_device", "class", "revision", "irq", "numa_node",
    "local_cpulist", "local_cpus", "enable", "resource", "config", "uevent", "max_link_speed",
    "current_link_speed", "max_link_width", "current_link_width", "modalias",
)  # fmt: skip
MODULES: Final = (
    "/sys/module/nvidia/version",
    "/sys/module/nvidia/srcversion",
    "/sys/module/nvidia_uvm/version",
    "/sys/module/nvidia/initstate",
    "/sys/module/nvidia_uvm/initstate",
    "/sys/devices/system/memory/block_size_bytes",  # what NVML learns the addressing mode by
)
_DEVICES: Final = b"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n 10 misc\n136 pts\n"


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as f:
            return f.read(MAX_FILE)
    except OSError:
        return None


def _files(directory: str) -> Iterable[str]:
    """Regular files below ``directory``, whatever their depth."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        path = f"{directory}/{name}"
        if os.path.isdir(path):
            yield from _files(path)
        else:
            yield path


def snapshot(
    picked: Selection, devices: list[Device]
) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, str]]:
    """(files below /proc, files below /sys, links below /sys)."""
    own = {g.pci for g in picked.gpus}
    proc: dict[str, bytes] = {}
    for path in _files(DRIVER):
        rest = path[len(DRIVER) + 1 :].split("/")
        if rest[0] == "gpus" and (len(rest) < 2 or rest[1].lower() not in own):
            continue
        if rest[0] == "capabilities" and path not in picked.cap_paths:
            continue
        content = _read(path)
        if content is not None:
            if rest == ["params"]:  # the nodes inside are ours: nobody is to make others
                content = content.replace(b"ModifyDeviceFiles: 1", b"ModifyDeviceFiles: 0")
            proc[path.removeprefix("/proc/")] = content
    for path in _files(CAPS):
        content = _read(path)
        if content is not None:
            proc[path.removeprefix("/proc/")] = content
    proc["devices"] = _devices(devices)
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for pci in sorted(own):
        _card(pci, files, links)
    for path in MODULES:
        content = _read(path)
        if content is not None:
            files[path.removeprefix("/sys/")] = content
    return proc, files, links


def _devices(devices: list[Device]) -> bytes:
    """/proc/devices: the sandbox's own majors, and the driver's under the host's numbers."""
    names = {
        "ctl": b"nvidia-frontend",
        "uvm": b"nvidia-uvm",
        "cap": b"nvidia-caps",
        "channel": b"nvidia-caps-imex-channels",
    }
    rows = {d.major: names[d.kind] for d in devices if d.kind in names}
    lines = b"".join(b"%3d %s\n" % (major, name) for major, name in sorted(rows.items()))
    return _DEVICES + lines + b"\nBlock devices:\n"


def _card(pci: str, files: dict[str, bytes], links: dict[str, str]) -> None:
    """A card's directory where the host has it, and the link to it from the bus."""
    at = f"{PCI}/{pci}"
    real = os.path.realpath(at)
    where = at.removeprefix("/sys/")
    if real != at and real.startswith("/sys/devices/"):
        where = real.removeprefix("/sys/")
        links[at.removeprefix("/sys/")] = f"../../../{where}"
    for name in SYSFS:
        content = _read(f"{at}/{name}")
        if content is None:
            continue
        if name == "numa_node" and content.strip() not in (b"-1", b"0"):
            content = b"-1\n"  # the sandbox has one node
        files[f"{where}/{name}"] = content
