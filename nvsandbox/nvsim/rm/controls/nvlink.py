"""NVLink (``ctrl2080nvlink.h``): links are there, not connected to a switch or peer."""

from __future__ import annotations

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
