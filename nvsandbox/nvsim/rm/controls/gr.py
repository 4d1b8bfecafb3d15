"""Shape of the graphics engine (``ctrl2080gr.h``)."""

from __future__ import annotations

from typing import Final

from ..control import Call, control
from ..status import Status
from .mig import subscribed
from .subdevice import by_index, info_list, info_pointer


def _gr_info(call: Call) -> dict[int, int]:
    """Indices of ``NV0080_CTRL_GR_INFO_INDEX_*`` (``ctrl0080gr.h``)."""
    p = call.gpu.profile
    return by_index(p.gr_info) | {
        0x07: p.gpcs, 0x09: p.tpcs, 0x0C: p.sm_version, 0x0D: p.warps_per_sm, 0x13: p.cores_per_sm,
        0x14: p.litter_gpcs, 0x15: p.fbps, 0x17: p.tpcs_per_gpc, 0x1B: 2 * p.fbps,
        0x1D: p.sms * p.cores_per_sm, 0x20: p.sms_per_tpc, 0x22: p.rt_cores,
        0x23: p.sms * p.tensor_per_sm, 0x2A: p.tpcs_per_gpc,
    }  # fmt: skip


@control("NV2080_CTRL_CMD_GR_GET_INFO")
def gr_info(call: Call) -> None:
    """Facts by index."""
    info_pointer(call, "grInfoListSize", "grInfoList", _gr_info(call))


@control("NV2080_CTRL_CMD_GR_GET_INFO_V2")
def gr_info_v2(call: Call) -> None:
    """The same in the parameters."""
    info_list(call, "grInfoListSize", "grInfoList", _gr_info(call))


@control("NV2080_CTRL_CMD_GR_GET_GLOBAL_SM_ORDER")
def sm_order(call: Call) -> None:
    """Multiprocessors dealt out round robin over the clusters."""
    p, profile, instance = call.p, call.gpu.profile, subscribed(call)
    sms = instance.shape.sms if instance else profile.sms
    gpcs = instance.shape.compute if instance else profile.gpcs
    for i in range(sms):
        tpc = i // profile.sms_per_tpc
        gpc, local = tpc % gpcs, tpc // gpcs
        p.sub("globalSmId", i).put(
            gpcId=gpc,
            localTpcId=local,
            localSmId=i % profile.sms_per_tpc,
            globalTpcId=tpc,
            virtualGpcId=gpc,
            migratableTpcId=local,
        )
    p.put(numSm=sms, numTpc=sms // profile.sms_per_tpc)


@control("NV2080_CTRL_CMD_GR_GET_CAPS_V2")
def gr_caps(call: Call) -> None:
    """No capability bit is needed; they are populated."""
    call.p.put(bCapsPopulated=1)


@control("NV2080_CTRL_CMD_GR_GET_GPC_MASK")
def gpc_mask(call: Call) -> None:
    """Clusters present."""
    call.p["gpcMask"] = (1 << call.gpu.profile.gpcs) - 1


@control("NV2080_CTRL_CMD_GR_GET_TPC_MASK")
def tpc_mask(call: Call) -> Status | None:
    """Processing clusters present in one."""
    profile, gpc = call.gpu.profile, call.p["gpcId"]
    if gpc >= profile.gpcs:
        return Status.INVALID_ARGUMENT
    count = (profile.tpcs - gpc + profile.gpcs - 1) // profile.gpcs
    call.p["tpcMask"] = (1 << count) - 1
    return None


@control("NV2080_CTRL_CMD_GPU_GET_NUM_GPCS")
def num_gpcs(call: Call) -> None:
    """Clusters present."""
    call.p.put(numGpcs=call.gpu.profile.gpcs)


_CONTEXT_BUFFER: Final = 16 << 20


@control("NV2080_CTRL_CMD_GR_GET_CTX_BUFFER_SIZE")
def context_buffer(call: Call) -> None:
    """Memory the engine saves a context in."""
    call.p["totalBufferSize"] = _CONTEXT_BUFFER
