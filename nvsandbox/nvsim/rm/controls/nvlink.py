"""NVLink (``ctrl2080nvlink.h``): links are there, not connected to a switch or peer."""

from __future__ import annotations

from typing import Final

from nvsandbox.nvproxy.abi import Kind

from ..control import Call, control
from ..status import Status

_VERSION = {0x180: 7, 0x170: 5}
"""NVLINK_CAPS version by architecture: 4.0 Hopper, 3.0 Ampere."""


@control("NV2080_CTRL_CMD_NVLINK_GET_NVLINK_CAPS")
def caps(call: Call) -> None:
    """Which links a card has."""
    profile = call.gpu.profile
    if profile.nvlinks:
        version = _VERSION.get(profile.architecture, 0)
        call.p.put(
            lowestNvlinkVersion=version,
            highestNvlinkVersion=version,
            discoveredLinkMask=(1 << profile.nvlinks) - 1,
            enabledLinkMask=0,
        )


@control("NV2080_CTRL_CMD_NVLINK_GET_NVLINK_STATUS")
def link_status(call: Call) -> Status | None:
    """No link is enabled."""
    call.p.put(enabledLinkMask=0)
    return None


_NO_PEER: Final = 0xFFFFFFFF
_STATUS_CHIPSET: Final = 1


@control("NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS", "NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS_V2")
def peer_caps(call: Call) -> Status | None:
    """No card reaches another one directly."""
    p = call.p
    n, known = p["gpuCount"], {g.gpu_id for g in call.rm.gpus}
    if n > p.length("gpuIds") or any(p.get("gpuIds", i) not in known for i in range(n)):
        return Status.INVALID_ARGUMENT
    p.put(p2pCaps=0, p2pOptimalReadCEs=0, p2pOptimalWriteCEs=0)
    if "p2pCapsStatus" in p:
        p["p2pCapsStatus"] = bytes([_STATUS_CHIPSET] * p.length("p2pCapsStatus"))
    peers = p.fields().get("busPeerIds")
    if peers is not None and peers.kind is Kind.POINTER and p["busPeerIds"]:
        call.caller.memory.write(p["busPeerIds"], _NO_PEER.to_bytes(4, "little") * (n * n))
    return None


@control("NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS_MATRIX")
def peer_matrix(call: Call) -> None:
    """The same for sets of cards: nothing anywhere."""
    call.p.put(p2pCaps=0)


@control("NV2080_CTRL_CMD_PMGR_GET_MODULE_INFO")
def module_info(call: Call) -> Status | None:
    """Cards on a baseboard have a place on it."""
    if not call.gpu.profile.nvlinks:
        return Status.NOT_SUPPORTED
    call.p.put(moduleId=call.gpu.index, nvswitchSupport=0)
    return None
