"""PCI express (``ctrl2080bus.h``)."""

from __future__ import annotations

from ..control import Call, control
from .subdevice import by_index, info_list, info_pointer


def _bus_info(call: Call) -> dict[int, int]:
    """Indices of ``NV2080_CTRL_BUS_INFO_INDEX_*``: link capabilities and state as PCI registers."""
    p, gpu = call.gpu.profile, call.gpu
    # LINK_CAPS: speed 3:0, width 9:4, then generation less one: the link's 15:12, the current
    # one 19:16, the card's own 23:20. LINK_CTRL_STATS: speed 19:16, width 25:20.
    gen = p.pcie_gen - 1
    caps = p.pcie_gen | p.pcie_width << 4 | gen << 12 | gen << 16 | gen << 20
    status = p.pcie_gen << 16 | p.pcie_width << 20
    return by_index(p.bus_info) | {
        0x03: caps, 0x04: caps, 0x05: caps, 0x07: status, 0x08: status, 0x09: status,
        0x0F: gpu.bus, 0x10: 0, 0x2C: 0, 0x2D: caps,
    }  # fmt: skip


@control("NV2080_CTRL_CMD_BUS_GET_INFO_V2")
def bus_info_v2(call: Call) -> None:
    """Facts by index."""
    info_list(call, "busInfoListSize", "busInfoList", _bus_info(call))


@control("NV2080_CTRL_CMD_BUS_GET_INFO")
def bus_info(call: Call) -> None:
    """The same through a pointer."""
    info_pointer(call, "busInfoListSize", "busInfoList", _bus_info(call))


@control("NV2080_CTRL_CMD_BUS_GET_PCI_INFO")
def pci_info(call: Call) -> None:
    """Identification registers."""
    p = call.gpu.profile
    call.p.put(
        pciDeviceId=p.pci_device,
        pciSubSystemId=p.pci_subsystem,
        pciRevisionId=p.revision,
        pciExtDeviceId=p.pci_device >> 16,
    )


@control("NV2080_CTRL_CMD_BUS_GET_PCI_BAR_INFO")
def bar_info(call: Call) -> None:
    """Base address registers."""
    bars = call.gpu.bars()
    call.p["pciBarCount"] = len(bars)
    for i, (size, at) in enumerate(bars):
        call.p.sub("pciBarInfo", i).put(
            flags=0, barSize=size >> 20, barSizeBytes=size, barOffset=at
        )
