"""The files of an NVIDIA driver: device nodes, ``/proc/driver/nvidia``, PCI devices in sysfs.

Paths and contents follow ``kernel-open/nvidia/nv-procfs.c`` and ``nv-frontend.c``. A directory that
really exists is listed with the real entries first (``merged``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from .rm.gpu import Gpu
from .rm.manager import Manager

NV_MAJOR: Final = 195
UVM_MAJOR: Final = 238
CAPS_MAJOR: Final = 237
IMEX_MAJOR: Final = 236
IMEX_CHANNELS: Final = 2
_CPUS: Final = os.cpu_count() or 1
_SYSFS: Final = "/sys/bus/pci/devices"


@dataclass(frozen=True, slots=True)
class Node:
    """One path."""

    kind: str
    mode: int
    rdev: tuple[int, int] = (0, 0)
    content: bytes = b""
    entries: tuple[str, ...] = ()
    merged: bool = False
    """A real directory of that name has entries too."""
    target: str = ""

    @property
    def is_device(self) -> bool:
        """Whether ioctls on it are ours."""
        return stat.S_ISCHR(self.mode)


def _device(kind: str, major: int, minor: int) -> Node:
    return Node(kind, stat.S_IFCHR | 0o666, (major, minor))


def _file(text: str | bytes) -> Node:
    data = text.encode() if isinstance(text, str) else text
    return Node("file", stat.S_IFREG | 0o444, content=data)


def _information(gpu: Gpu, version: str) -> str:
    vbios = gpu.profile.vbios
    text = ".".join(vbios[i : i + 2] for i in range(0, 8, 2)) + f".{gpu.profile.vbios_oem:02X}"
    rows = (
        ("Model", gpu.profile.name),
        ("IRQ", str(40 + gpu.index)),
        ("GPU UUID", gpu.uuid_text),
        ("Video BIOS", text),
        ("Bus Type", "PCIe"),
        ("DMA Size", "52 bits"),
        ("DMA Mask", "0xfffffffffffff"),
        ("Bus Location", gpu.pci_name),
        ("Device Minor", str(gpu.index)),
        ("GPU Firmware", version if gpu.profile.has_gsp else "N/A"),
        ("GPU Excluded", "No"),
    )
    return "".join(f"{k + ':':<16} {v}\n" for k, v in rows)


def _config_space(gpu: Gpu) -> bytes:
    p = gpu.profile
    data = bytearray(256)
    data[0:4] = p.pci_device.to_bytes(4, "big")[2:][::-1] + (p.pci_device >> 16).to_bytes(
        2, "little"
    )
    data[8] = p.revision
    data[9:12] = bytes((0, 2, 3))
    data[0x2C:0x2E] = (p.pci_subsystem & 0xFFFF).to_bytes(2, "little")
    data[0x2E:0x30] = (p.pci_subsystem >> 16).to_bytes(2, "little")
    return bytes(data)


def _sysfs(gpu: Gpu) -> dict[str, Node]:
    p = gpu.profile
    speed = {3: "8.0", 4: "16.0", 5: "32.0"}[p.pcie_gen]
    bars = "".join(
        f"{at:#018x} {at + size - 1:#018x} {0x14220C:#018x}\n" for size, at in gpu.bars()
    )
    texts: dict[str, str | bytes] = {
        "vendor": "0x10de\n",
        "device": f"{p.pci_device >> 16:#06x}\n",
        "subsystem_vendor": f"{p.pci_subsystem & 0xFFFF:#06x}\n",
        "subsystem_device": f"{p.pci_subsystem >> 16:#06x}\n",
        "class": "0x030200\n",
        "revision": f"{p.revision:#04x}\n",
        "irq": f"{40 + gpu.index}\n",
        "numa_node": "-1\n",
        "local_cpulist": f"0-{_CPUS - 1}\n",
        "local_cpus": f"{(1 << _CPUS) - 1:x}\n",
        "enable": "1\n",
        "resource": bars,
        "config": _config_space(gpu),
        "uevent": f"DRIVER=nvidia\nPCI_SLOT_NAME={gpu.pci_name}\n",
        "max_link_speed": f"{speed} GT/s PCIe\n",
        "current_link_speed": f"{speed} GT/s PCIe\n",
        "max_link_width": f"{p.pcie_width}\n",
        "current_link_width": f"{p.pcie_width}\n",
        "modalias": f"pci:v000010DEd0000{p.pci_device >> 16:04X}\n",
    }
    return {f"{_SYSFS}/{gpu.pci_name}/{name}": _file(text) for name, text in texts.items()}


_CIS: Final = 8
_GIS: Final = 15
_CAP_GPUS: Final = 32


def _minors() -> dict[str, int]:
    """Capability -> minor of its device file, numbered in the order of ``nv-caps.c``'s tables."""
    names = ["fabric-mgmt", "config", "monitor"]
    for gpu in range(_CAP_GPUS):
        for gi in range(_GIS):
            names.append(f"gpu{gpu}/gi{gi}/access")
            names += [f"gpu{gpu}/gi{gi}/ci{ci}/access" for ci in range(_CIS)]
    return {name: i for i, name in enumerate([*names, "fabric-imex-mgmt"])}


def _capability(minor: int, mode: int) -> tuple[Node, Node]:
    text = f"DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n"
    return _file(text), Node("cap", stat.S_IFCHR | mode, (CAPS_MAJOR, minor))


def _capabilities(rm: Manager) -> dict[str, Node]:
    """Those of MIG; a descriptor of the device file is the right to use what it stands for."""
    minors, root = _minors(), "/proc/driver/nvidia/capabilities"
    lines = "".join(f"{name} {i}\n" for name, i in minors.items() if not name.startswith("fabric-"))
    nodes = {
        "/proc/driver/nvidia-caps/mig-minors": _file(lines),
        "/proc/driver/nvidia-caps/nvlink-minors": _file("fabric-mgmt 0\n"),
        "/proc/driver/nvidia-caps/sys-minors": _file(
            f"fabric-imex-mgmt {minors['fabric-imex-mgmt']}\n"
        ),
    }
    if not any(g.profile.mig for g in rm.gpus):
        return nodes
    found = {"config": f"{root}/mig/config", "monitor": f"{root}/mig/monitor"}
    found["fabric-imex-mgmt"] = f"{root}/fabric-imex-mgmt"
    for n in range(IMEX_CHANNELS):
        node = Node("channel", stat.S_IFCHR | 0o666, (IMEX_MAJOR, n))
        nodes[f"/dev/nvidia-caps-imex-channels/channel{n}"] = node
    for gpu in rm.gpus:
        for gi in gpu.mig.instances.values() if gpu.mig else ():
            base = f"{root}/gpu{gpu.index}/mig/gi{gi.swizz}"
            found[f"gpu{gpu.index}/gi{gi.swizz}/access"] = f"{base}/access"
            for ci in gi.computes:
                found[f"gpu{gpu.index}/gi{gi.swizz}/ci{ci}/access"] = f"{base}/ci{ci}/access"
    for name, path in found.items():
        minor, mode = minors[name], 0o400 if name in ("config", "fabric-imex-mgmt") else 0o444
        nodes[path], nodes[f"/dev/nvidia-caps/nvidia-cap{minor}"] = _capability(minor, mode)
    return nodes


def _directories(nodes: dict[str, Node], merged: set[str]) -> None:
    """Add every directory above the nodes, with its entries."""
    children: dict[str, set[str]] = {}
    for path in nodes:
        while "/" in path.lstrip("/"):
            path, _, name = path.rpartition("/")
            children.setdefault(path, set()).add(name)
    for path, names in children.items():
        if path in merged or path.startswith(("/dev/", "/proc/driver/", f"{_SYSFS}/")):
            nodes[path] = Node(
                "dir", stat.S_IFDIR | 0o555, entries=tuple(sorted(names)), merged=path in merged
            )


def build(rm: Manager, proc_devices: str, missing: Collection[str] = ()) -> dict[str, Node]:
    """Every path we answer for. ``proc_devices`` is the host's own ``/proc/devices``; ``missing`` paths are left out."""
    version = rm.release.version
    nodes: dict[str, Node] = {
        "/dev/nvidiactl": _device("ctl", NV_MAJOR, 255),
        "/dev/nvidia-uvm": _device("uvm", UVM_MAJOR, 0),
        "/dev/nvidia-uvm-tools": _device("uvm-tools", UVM_MAJOR, 1),
        "/proc/driver/nvidia/version": _file(
            f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  (nvsim)\n"
            "GCC version:  gcc version 12.2.0\n"
        ),
        "/proc/driver/nvidia/params": _file(
            "ModifyDeviceFiles: 0\nDeviceFileMode: 438\nDeviceFileUID: 0\nDeviceFileGID: 0\n"
        ),
        "/proc/driver/nvidia/registry": _file('Binary: ""\n'),
    }
    for gpu in rm.gpus:
        nodes[f"/dev/nvidia{gpu.index}"] = _device("gpu", NV_MAJOR, gpu.index)
        base = f"/proc/driver/nvidia/gpus/{gpu.pci_name}"
        nodes[f"{base}/information"] = _file(_information(gpu, version))
        nodes[f"{base}/registry"] = _file('Binary: ""\n')
        nodes |= _sysfs(gpu)
    nodes |= _capabilities(rm)
    lines = f"{NV_MAJOR} nvidia-frontend\n{UVM_MAJOR} nvidia-uvm\n{CAPS_MAJOR} nvidia-caps\n{IMEX_MAJOR} nvidia-caps-imex-channels\n"
    head, sep, tail = proc_devices.partition("\nBlock devices:")
    nodes["/proc/devices"] = _file(f"{head.rstrip()}\n{lines}{sep}{tail}")
    for path in missing:
        nodes.pop(path, None)
    _directories(nodes, {"/dev", "/proc/driver", _SYSFS})
    return nodes
