"""NVLink (``ctrl2080nvlink.h``) and peer access (``ctrl0000system.h``).

Cards with links sit on a baseboard with NVSwitch chips, as SXM modules do: every link of every card
goes to a switch, so any two cards reach each other over all of them; or (``gpu sim --bridged``) cards are joined in pairs, as bridges
join cards in slots. Errors are never counted.
"""

from __future__ import annotations

from typing import Final

from nvsandbox.nvproxy.abi import Kind

from ...view import View
from ..control import Call, control
from ..gpu import Gpu
from ..status import Status

_VERSION: Final = {0x180: 7, 0x170: 5}
"""NVLINK_CAPS version by architecture: 4.0 Hopper, 3.0 Ampere."""
_LINE_MBPS: Final = {0x180: (106250, 2), 0x170: (50000, 4)}
"""Rate of a lane and lanes of a link."""
_SWITCHES: Final = {0x180: (4, 0x22A310DE), 0x170: (6, 0x1AF110DE)}
"""How many switch chips a baseboard has, and their PCI identity."""
_SWITCH_BUS: Final = 0xC1
# Byte 0: link, peer access, system memory, atomics of both, SLI; byte 1: state L0, valid.
_CAPS: Final = 0x5F | 0x11 << 8
_ACTIVE, _HIGH_SPEED, _PHY_NVHS, _REFCLK_NVHS = 3, 0, 1, 1
_NO_FLAGS, _FLAG_PCI, _FLAG_UUID = 0, 1, 2
_TYPE_GPU, _TYPE_SWITCH, _TYPE_NONE = 2, 3, 0xFF
_NO_PEER: Final = 0xFFFFFFFF
# Writes, reads, NVLink, atomics.
_P2P_NVLINK: Final = 0x1B
_STATUS_OK, _STATUS_CHIPSET, _STATUS_UNSUPPORTED = 0, 1, 5
# The table's order: read, write, NVLink, atomics, prop, loopback, PCI, C2C, BAR1.
_NVLINK_STATUS: Final = bytes(
    [_STATUS_OK] * 4 + [_STATUS_UNSUPPORTED, _STATUS_UNSUPPORTED, _STATUS_CHIPSET]
    + [_STATUS_UNSUPPORTED] * 2
)  # fmt: skip


def _mask(gpu: Gpu) -> int:
    """Links of a card; MIG takes a card off its links."""
    return 0 if gpu.mig is not None else (1 << gpu.profile.nvlinks) - 1


@control("NV2080_CTRL_CMD_NVLINK_GET_NVLINK_CAPS")
def caps(call: Call) -> None:
    """Which links a card has."""
    profile = call.gpu.profile
    if profile.nvlinks:
        version = _VERSION.get(profile.architecture, 0)
        call.p.put(
            capsTbl=_CAPS,
            lowestNvlinkVersion=version,
            highestNvlinkVersion=version,
            lowestNciVersion=version,
            highestNciVersion=version,
            discoveredLinkMask=(1 << profile.nvlinks) - 1,
            enabledLinkMask=_mask(call.gpu),
        )


@control("NV2080_CTRL_CMD_NVLINK_GET_NVLINK_STATUS")
def link_status(call: Call) -> Status | None:
    """State, rate and far end of each link."""
    mask = _mask(call.gpu)
    call.p.put(enabledLinkMask=mask)
    for link in range(min(mask.bit_length(), call.p.length("linkInfo"))):
        row = call.p.sub("linkInfo", link)
        _link(row, call.gpu, link)
        if call.rm.bridged:
            _far_card(row, call.rm.gpus, call.gpu, link)
    return None


def _link(row: View, gpu: Gpu, link: int) -> None:
    arch = gpu.profile.architecture
    version, (mbps, lanes) = _VERSION[arch], _LINE_MBPS[arch]
    count, identity = _SWITCHES[arch]
    ports = -(-gpu.profile.nvlinks // count)  # of one switch, taken by one card
    row.put(
        capsTbl=_CAPS, phyType=_PHY_NVHS, subLinkWidth=lanes, linkState=_ACTIVE,
        rxSublinkStatus=_HIGH_SPEED, txSublinkStatus=_HIGH_SPEED, nvlinkVersion=version,
        nciVersion=version, phyVersion=1, nvlinkLineRateMbps=mbps, nvlinkRefClkType=_REFCLK_NVHS,
        nvlinkLinkClockKHz=mbps * 1000 // 32, nvlinkLinkClockMhz=mbps // 32,
        nvlinkCommonClockSpeedMhz=mbps // 32, nvlinkCommonClockSpeedKHz=mbps * 1000 // 32,
        nvlinkRefClkSpeedMhz=156, nvlinkRefClkSpeedKHz=156250,
        nvlinkLinkDataRateKiBps=mbps * 1_000_000 * lanes // 8 // 1024, connected=1,
        remoteDeviceLinkNumber=gpu.index * ports + link // count, localDeviceLinkNumber=link,
    )  # fmt: skip
    row.sub("remoteDeviceInfo").put(
        deviceIdFlags=_FLAG_PCI, domain=0, bus=_SWITCH_BUS + link % count, device=0, function=0,
        pciDeviceId=identity, deviceType=_TYPE_SWITCH,
    )  # fmt: skip
    row.sub("localDeviceInfo").put(
        deviceIdFlags=_FLAG_PCI | _FLAG_UUID, domain=0, bus=gpu.bus, device=0, function=0,
        pciDeviceId=gpu.profile.pci_device, deviceType=_TYPE_GPU, deviceUUID=gpu.uuid,
    )  # fmt: skip


def _far_card(row: View, gpus: list[Gpu], gpu: Gpu, link: int) -> None:
    """The same link of the other card of a pair; nothing for a card without."""
    far = row.sub("remoteDeviceInfo")
    if gpu.index ^ 1 >= len(gpus):
        row.put(connected=0, linkState=0, remoteDeviceLinkNumber=0xFF)
        far.put(deviceIdFlags=0, bus=0, pciDeviceId=0, deviceType=_TYPE_NONE)
        return
    peer = gpus[gpu.index ^ 1]
    row.put(remoteDeviceLinkNumber=link)
    far.put(
        deviceIdFlags=_FLAG_PCI | _FLAG_UUID, bus=peer.bus, pciDeviceId=peer.profile.pci_device, deviceType=_TYPE_GPU,
        deviceUUID=peer.uuid,
    )  # fmt: skip


@control("NV2080_CTRL_CMD_NVLINK_GET_COUNTERS", "NV2080_CTRL_CMD_NVLINK_GET_ERR_INFO",
         "NV2080_CTRL_CMD_NVLINK_CLEAR_COUNTERS")  # fmt: skip
def counters(call: Call) -> Status | None:
    """No traffic and no errors; links that aren't there have no counters."""
    if not call.gpu.profile.nvlinks:
        return Status.NOT_SUPPORTED
    if call.p["linkMask"] & ~((1 << call.gpu.profile.nvlinks) - 1):
        return Status.INVALID_ARGUMENT
    return None


@control("NV2080_CTRL_CMD_NVLINK_GET_POWER_STATE")
def power_state(call: Call) -> Status | None:
    """L0, full power."""
    return None if call.gpu.profile.nvlinks else Status.NOT_SUPPORTED


# ---------------------------------------------------------------------- peers


def _linked(gpus: list[Gpu]) -> bool:
    return len(gpus) > 1 and all(_mask(g) for g in gpus)


def _named(call: Call, ids: list[int]) -> list[Gpu] | None:
    known = {g.gpu_id: g for g in call.rm.gpus}
    return [known[i] for i in ids] if all(i in known for i in ids) else None


@control("NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS", "NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS_V2")
def peer_caps(call: Call) -> Status | None:
    """Whether a set of cards reach each other directly."""
    p, n = call.p, call.p["gpuCount"]
    if n > p.length("gpuIds"):
        return Status.INVALID_ARGUMENT
    gpus = _named(call, [p.get("gpuIds", i) for i in range(n)])
    if gpus is None:
        return Status.INVALID_ARGUMENT
    linked = _linked(gpus)
    p.put(p2pCaps=_P2P_NVLINK if linked else 0, p2pOptimalReadCEs=0, p2pOptimalWriteCEs=0)
    if "p2pCapsStatus" in p:
        room = p.length("p2pCapsStatus")
        p["p2pCapsStatus"] = _NVLINK_STATUS[:room] if linked else bytes([_STATUS_CHIPSET] * room)
    ids = [g.index if linked and g is not h else _NO_PEER for h in gpus for g in gpus]
    peers = p.fields().get("busPeerIds")
    if peers is None:
        return None
    if peers.kind is not Kind.POINTER:
        p["busPeerIds"] = ids
    elif p["busPeerIds"]:
        data = b"".join(i.to_bytes(4, "little") for i in ids)
        call.caller.memory.write(p["busPeerIds"], data)
    return None


@control("NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS_MATRIX")
def peer_matrix(call: Call) -> Status | None:
    """The same for every pair of two sets; an empty second set stands for the first."""
    p, width = call.p, 8
    a, b = p["grpACount"], p["grpBCount"]
    if a > width or b > width:
        return Status.INVALID_ARGUMENT
    rows = _named(call, [p.get("gpuIdGrpA", i) for i in range(a)])
    columns = _named(call, [p.get("gpuIdGrpB", i) for i in range(b)]) if b else rows
    if rows is None or columns is None:
        return Status.INVALID_ARGUMENT
    cells = [0] * (width * width)
    for i, x in enumerate(rows):
        for j, y in enumerate(columns):
            cells[i * width + j] = _P2P_NVLINK if x is not y and _linked([x, y]) else 0
    p["p2pCaps"] = cells
    return None


@control("NV2080_CTRL_CMD_GET_P2P_CAPS")
def device_peers(call: Call) -> Status | None:
    """The same from one card to others, or to all of them."""
    p, me = call.p, call.gpu
    rows = range(min(p["peerGpuCount"], p.length("peerGpuCaps")))
    peers: list[Gpu | None] = []
    if p["bAllCaps"]:
        peers = [g for g in call.rm.gpus if g is not me]
        p["peerGpuCount"] = len(peers)
    else:
        known = {g.gpu_id: g for g in call.rm.gpus}
        peers = [known.get(p.sub("peerGpuCaps", i)["gpuId"]) for i in rows]
    for i, peer in enumerate(peers):
        if peer is None:
            return Status.INVALID_ARGUMENT
        linked = peer is not me and _linked([me, peer])
        p.sub("peerGpuCaps", i).put(
            gpuId=peer.gpu_id, gpuUuid=peer.uuid, p2pCaps=_P2P_NVLINK if linked else 0,
            p2pCapsStatus=_NVLINK_STATUS if linked else bytes([_STATUS_CHIPSET] * 9),
            busPeerId=peer.index if linked else _NO_PEER,
        )  # fmt: skip
    return None


@control("NV2080_CTRL_CMD_PMGR_GET_MODULE_INFO")
def module_info(call: Call) -> Status | None:
    """Cards on a baseboard have a place on it."""
    if not call.gpu.profile.nvlinks:
        return Status.NOT_SUPPORTED
    call.p.put(moduleId=call.gpu.index, nvswitchSupport=1)
    return None
