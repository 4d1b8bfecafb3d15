"""The cards of the host: asked of the driver before a sandbox is created, so that what can't be is said then.

A small client of the resource manager, in the launcher: card records, probed ids, device instances and UUIDs, by the layouts of the
release in use. ``/proc/driver/nvidia/gpus`` fills in what the driver doesn't say.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from ..failure import Failure
from . import status
from .abi import Release
from .abi.view import Layouts, View
from .host import Arena, ioctl
from .model import HostGpu
from .plan import escape_cmd

CONTROL_DEVICE: Final = "/dev/nvidiactl"
GPUS: Final = Path("/proc/driver/nvidia/gpus")
CARDS: Final = 32
_BINARY: Final = 2
"""NV0000_CTRL_CMD_GPU_GET_UUID_FROM_GPU_ID_FLAGS_FORMAT_BINARY."""
_ROOT: Final = 0x41
_DEVICE: Final = 0x80
_SUBDEVICE: Final = 0x2080
_HEAP_KIB: Final = 0x09


class Client:
    """A root client of the host's resource manager, gone when closed."""

    def __init__(self, release: Release) -> None:
        try:
            self.fd = os.open(CONTROL_DEVICE, os.O_RDWR | os.O_CLOEXEC)
        except OSError as e:
            raise Failure(
                f"--gpus: open `{CONTROL_DEVICE}`: {e.strerror}; is the driver loaded, and the device node there "
                "(nvidia-modprobe -c 0 makes it)?"
            ) from None
        self.release = release
        self.layouts = Layouts(release)
        self.arena = Arena()
        self.handle = 0
        self._next = 0xCAFE0001

    def close(self) -> None:
        os.close(self.fd)

    def view(self, struct: str) -> View:
        """A zeroed struct in the arena."""
        at = self.arena.take(self.layouts.size(struct))
        return View(self.layouts, self.layouts.table(struct), self.arena.buf, at)

    def escape(self, name: str, p: View, size: int) -> int:
        """A frontend ioctl; 0 or a negative errno."""
        nr = next(i.id for i in self.release.ioctls.values() if i.name == name)
        return ioctl(self.fd, escape_cmd(nr, size), self.arena.addr + p.base)

    def alloc(self, parent: int, cls: int, params: View | None = None) -> int:
        """The new handle. Raises Refused with the driver's status."""
        p = self.view("NVOS64_PARAMETERS")
        root = 0 if cls == _ROOT else self.handle
        if cls == _ROOT:
            handle = 0
        else:
            handle, self._next = self._next, self._next + 1
        p.put(hRoot=root, hObjectParent=parent, hObjectNew=handle, hClass=cls)
        if params is not None:
            p["pAllocParms"] = self.arena.addr + params.base
        r = self.escape("NV_ESC_RM_ALLOC", p, self.layouts.size("NVOS64_PARAMETERS"))
        if r < 0 or p["status"]:
            raise status.Refused(p["status"] if r >= 0 else status.INVALID_ARGUMENT)
        return p["hObjectNew"]

    def control(self, obj: int, name: str, fill: dict[str, int] | None = None) -> View | None:
        """The parameters after the command; None when this release or driver doesn't do it."""
        c = self.release.command_named(name)
        if c is None or c.params not in self.release.structs:
            return None
        params = self.view(c.params)
        params.put(**(fill or {}))
        return params if self.send(obj, c.id, params, c.size) == status.OK else None

    def send(self, obj: int, cmd: int, params: View, size: int) -> int:
        """One RM_CONTROL; the status."""
        p = self.view("NVOS54_PARAMETERS")
        p.put(
            hClient=self.handle,
            hObject=obj,
            cmd=cmd,
            params=self.arena.addr + params.base,
            paramsSize=size,
        )
        r = self.escape("NV_ESC_RM_CONTROL", p, self.layouts.size("NVOS54_PARAMETERS"))
        return p["status"] if r >= 0 else status.INVALID_ARGUMENT


def probe(release: Release) -> list[HostGpu]:
    """The host's cards in PCI order. Raises Failure."""
    c = Client(release)
    try:
        return _probe(c)
    except status.Refused as e:
        raise Failure(
            f"--gpus: the driver refuses a client (status {e.status:#x}); does driver {release.version} match the loaded one?"
        ) from None
    finally:
        c.close()


def _probe(c: Client) -> list[HostGpu]:
    cards = _cards(c)
    if not cards:
        raise Failure("--gpus: the driver reports no card; `nvidia-smi` on the host shows why")
    c.handle = c.alloc(0, _ROOT)
    info = _information()
    out = []
    for index, (pci, gpu_id, minor) in enumerate(sorted(cards)):
        known = info.get(pci, {})
        instance = index
        attach = c.release.command_named("NV0000_CTRL_CMD_GPU_ATTACH_IDS")
        if attach is not None:
            p = c.view(attach.params)
            n = p.length("gpuIds")
            p["gpuIds"] = [gpu_id] + [0xFFFFFFFF] * (n - 1)
            c.send(c.handle, attach.id, p, attach.size)
        for name in ("NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2", "NV0000_CTRL_CMD_GPU_GET_ID_INFO"):
            got = c.control(c.handle, name, {"gpuId": gpu_id})
            if got is not None:
                instance = got["deviceInstance"]
                break
        out.append(
            HostGpu(
                index, minor, gpu_id, instance, pci, _uuid(c, gpu_id, known), known.get("Model", "")
            )
        )
    return out


def _cards(c: Client) -> list[tuple[str, int, int]]:
    """(PCI name, gpu id, minor) of every card."""
    size = c.layouts.size("nv_ioctl_card_info_t")
    at = c.arena.take(size * CARDS)
    table = c.layouts.table("nv_ioctl_card_info_t")
    first = View(c.layouts, table, c.arena.buf, at)
    r = c.escape("NV_ESC_CARD_INFO", first, size * CARDS)
    if r < 0:
        raise Failure(f"--gpus: the driver doesn't list its cards: {os.strerror(-r)}")
    out = []
    for i in range(CARDS):
        v = View(c.layouts, table, c.arena.buf, at + i * size)
        if v["valid"]:
            p = v.sub("pci_info")
            pci = f"{p['domain']:04x}:{p['bus']:02x}:{p['slot']:02x}.{p['function']}"
            out.append((pci, v["gpu_id"], v["minor_number"]))
    return out


def _information() -> dict[str, dict[str, str]]:
    """PCI name -> the rows of its information file."""
    out = {}
    try:
        names = sorted(os.listdir(GPUS))
    except OSError:
        return {}
    for name in names:
        try:
            text = (GPUS / name / "information").read_text(errors="replace")
        except OSError:
            continue
        out[name.lower()] = {
            k.strip(): v.strip() for k, _, v in (line.partition(":") for line in text.splitlines())
        }
    return out


def _uuid(c: Client, gpu_id: int, known: dict[str, str]) -> bytes:
    """16 raw bytes, or b""."""
    got = c.control(
        c.handle, "NV0000_CTRL_CMD_GPU_GET_UUID_FROM_GPU_ID", {"gpuId": gpu_id, "flags": _BINARY}
    )
    if got is not None and got["uuidStrLen"] == 16:
        return got.bytes("gpuUuid")[:16]
    text = known.get("GPU UUID", "").removeprefix("GPU-").replace("-", "")
    return bytes.fromhex(text) if re.fullmatch("[0-9a-f]{32}", text) else b""


def check(release: Release, gpus: list[HostGpu]) -> dict[int, int]:
    """Device instance -> bytes an application can use, of each card that answers. Raises Failure for one that doesn't."""
    c = Client(release)
    sizes = {}
    try:
        c.handle = c.alloc(0, _ROOT)
        for g in gpus:
            c.arena.top = 0
            p = c.view("NV0080_ALLOC_PARAMETERS")
            p["deviceId"] = g.instance
            try:
                device = c.alloc(c.handle, _DEVICE, p)
                sub = c.alloc(device, _SUBDEVICE, c.view("NV2080_ALLOC_PARAMETERS"))
            except status.Refused as e:
                if e.status == status.GPU_IS_LOST:
                    raise Failure(
                        f"--gpus: GPU {g.index} ({g.pci}) has fallen off the bus (Xid 79); reset it or reboot the host"
                    ) from None
                continue
            sizes[g.instance] = _heap_size(c, sub)
    except status.Refused:
        pass
    finally:
        c.close()
    return sizes


def _heap_size(c: Client, sub: int) -> int:
    command = c.release.command_named("NV2080_CTRL_CMD_FB_GET_INFO_V2")
    if command is None:
        return 0
    p = c.view(command.params)
    p["fbInfoListSize"] = 1
    p.sub("fbInfoList", 0)["index"] = _HEAP_KIB
    if c.send(sub, command.id, p, command.size) != status.OK:
        return 0
    return p.sub("fbInfoList", 0)["data"] << 10
