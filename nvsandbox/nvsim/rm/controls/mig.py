"""MIG (``ctrl2080gpu.h``, ``ctrlc637.h``, ``ctrlc638.h``).

A client sees an instance through a subscription (class 0xC637, within it 0xC638). Changes need the
``mig/config`` capability, which here is being root, as with the driver's default permissions.
"""

from __future__ import annotations

from typing import Final

from ...view import View
from ..control import Call, control
from ..mig import MAX_INSTANCES, VEIDS_PER_GPC, GpuInstance, Mig, Shape, shapes
from ..status import RmError, Status

_PLACE_AT_SPAN: Final = 1 << 31
_MODE_MASK, _MODE_LEGACY = 3, 0
_INVALID: Final = 0xFFFFFFFF


def _mig(call: Call) -> Mig:
    if not call.gpu.profile.mig:
        raise RmError(Status.NOT_SUPPORTED)
    if call.gpu.mig is None:
        raise RmError(Status.NOT_SUPPORTED)
    return call.gpu.mig


def _config_mig(call: Call) -> Mig:
    mig = _mig(call)
    if not call.caller.root:
        raise RmError(Status.INSUFFICIENT_PERMISSIONS)
    return mig


def subscribed(call: Call) -> GpuInstance | None:
    """The GPU instance this client's subdevice, or the object itself, is subscribed to."""
    mig = call.object.gpu.mig if call.object.gpu else None
    if mig is None:
        return None
    at = call.object.ancestor("GPUInstanceSubscription")
    if at is None:
        found = (
            o for o in call.client.objects.values()
            if o.cls.internal == "GPUInstanceSubscription" and o.gpu is call.object.gpu
        )  # fmt: skip
        at = next(found, None)
    return mig.instances.get(at.data.get("swizz", -1)) if at else None


def used_memory(call: Call, instance: GpuInstance) -> int:
    """Bytes allocated by clients subscribed to ``instance``; duplicates are counted once."""
    return call.rm.used_in(call.gpu, instance.swizz)


def _instance(call: Call) -> GpuInstance:
    found = subscribed(call)
    if found is None:
        raise RmError(Status.INVALID_STATE)
    return found


def _engines(shape: Shape) -> dict[str, int]:
    return {
        "smCount": shape.sms, "ceCount": shape.copies, "nvEncCount": 0,
        "nvDecCount": shape.decoders, "nvJpgCount": shape.jpegs, "nvOfaCount": shape.ofas,
        "ofaCount": shape.ofas, "gpcCount": shape.compute, "virtualGpcCount": shape.compute,
        "gfxGpcCount": 0, "veidCount": shape.compute * VEIDS_PER_GPC,
    }  # fmt: skip


def _partition(row: View, found: GpuInstance) -> None:
    shape, computes = found.shape, list(found.computes.values())
    gpcs = [c.compute for c in computes] + [0] * (MAX_INSTANCES - len(computes))
    row.put(
        swizzId=found.swizz, partitionFlag=shape.flag, grEngCount=shape.compute,
        gpcsPerGr=gpcs, virtualGpcsPerGr=gpcs, veidsPerGr=[g * VEIDS_PER_GPC for g in gpcs],
        memSize=shape.memory, bValid=1, validCTSIdMask=0, **_engines(shape),
    )  # fmt: skip
    row.sub("span").put(lo=found.span[0], hi=found.span[1])


@control("NV2080_CTRL_CMD_GPU_GET_PARTITIONS")
def partitions(call: Call) -> Status | None:
    """All instances for who may configure, else the one subscribed to."""
    if not call.gpu.profile.mig:
        return Status.NOT_SUPPORTED
    mig, found = call.gpu.mig, []
    if mig is not None and call.p["bGetAllPartitionInfo"]:
        if not call.caller.root:
            return Status.INSUFFICIENT_PERMISSIONS
        found = [mig.instances[k] for k in sorted(mig.instances)]
    elif (own := subscribed(call)) is not None:
        found = [own]
    for i, instance in enumerate(found):
        _partition(call.p.sub("queryPartitionInfo", i), instance)
    call.p["validPartitionCount"] = len(found)
    return None


@control("NV2080_CTRL_CMD_GPU_DESCRIBE_PARTITIONS")
def describe(call: Call) -> Status | None:
    """What the card can be cut into, whether or not MIG is on."""
    known = shapes(call.gpu.profile)
    if not known:
        return Status.NOT_SUPPORTED
    for i, shape in enumerate(known):
        row = call.p.sub("partitionDescs", i)
        row.put(partitionFlag=shape.flag, grCount=shape.compute, gfxGrCount=0,
                memorySize=shape.memory, **_engines(shape))  # fmt: skip
    call.p["descCount"] = len(known)
    return None


def _spans(p: View, name: str, starts: list[int], length: int) -> None:
    for i, start in enumerate(starts[: p.length(name)]):
        p.sub(name, i).put(lo=start, hi=start + length - 1)
    p[f"{name}Count"] = len(starts[: p.length(name)])


@control("NV2080_CTRL_CMD_GPU_GET_PARTITION_CAPACITY")
def capacity(call: Call) -> Status | None:
    """How many more instances of one shape fit, and where."""
    mig, flag = _mig(call), call.p["partitionFlag"] & 0x1F
    shape = next((s for s in mig.shapes if s.flag == flag), None)
    if shape is None:
        return Status.INVALID_ARGUMENT
    free, every = mig.free_starts(shape), list(shape.starts())
    left = 7 - sum(g.shape.compute for g in mig.instances.values())
    call.p.put(
        partitionCount=min(len(free), left // shape.compute),
        totalPartitionCount=min(len(every), 7 // shape.compute),
    )
    _spans(call.p, "availableSpans", free, shape.slices)
    _spans(call.p, "totalSpans", every, shape.slices)
    return None


@control("NV2080_CTRL_CMD_GPU_GET_ACTIVE_PARTITION_IDS")
def active(call: Call) -> None:
    """Identifiers of the instances; none when MIG is off."""
    found = sorted(call.gpu.mig.instances) if call.gpu.mig else []
    call.p.put(swizzId=found, partitionCount=len(found))


@control("NV2080_CTRL_CMD_GPU_GET_COMPUTE_PROFILES")
def compute_profiles(call: Call) -> None:
    """Sizes of compute instances."""
    mig = _mig(call)
    seen: dict[int, Shape] = {}
    for shape in mig.shapes:
        seen.setdefault(shape.compute, shape)
    for i, shape in enumerate(seen.values()):
        row = call.p.sub("profiles", i)
        row.put(computeSize=shape.compute_size, **_engines(shape))
    call.p["profileCount"] = len(seen)


@control("NV2080_CTRL_CMD_GPU_SET_PARTITIONS")
def set_partitions(call: Call) -> Status | None:
    """Create or destroy GPU instances."""
    mig, p = _config_mig(call), call.p
    if p["partitionCount"] > p.length("partitionInfo"):
        return Status.INVALID_ARGUMENT
    for i in range(p["partitionCount"]):
        row = p.sub("partitionInfo", i)
        if row["bValid"]:
            flag = row["partitionFlag"]
            start = row.sub("placement")["lo"] if flag & _PLACE_AT_SPAN else None
            row["swizzId"] = mig.create(flag & 0x1F, start).swizz
        else:
            mig.destroy(row["swizzId"])
    call.rm.on_mig()
    return None


@control("NV2080_CTRL_CMD_GPU_SET_PARTITIONING_MODE")
def set_mode(call: Call) -> Status | None:
    """Turn MIG on or off; the tables say it needs root. Not while the card is in use."""
    gpu = call.gpu
    if not gpu.profile.mig:
        return Status.NOT_SUPPORTED
    if gpu.heap.used or (gpu.mig is not None and gpu.mig.instances):
        return Status.STATE_IN_USE
    on = call.p["partitioningMode"] & _MODE_MASK != _MODE_LEGACY
    if on != (gpu.mig is not None):
        gpu.mig = Mig(gpu.profile, gpu.uuid_text) if on else None
        call.rm.on_mig()
    return None


# ---------------------------------------------------------------------- within an instance


@control("NVC637_CTRL_CMD_EXEC_PARTITIONS_GET")
def computes(call: Call) -> None:
    """Compute instances of the subscribed GPU instance."""
    found = _instance(call)
    for i, c in enumerate(found.computes.values()):
        row = call.p.sub("execPartInfo", i)
        _compute(row, found.shape, c.compute, c.start)
    call.p.put(execPartCount=len(found.computes), execPartId=list(found.computes))


def _compute(row: View, shape: Shape, compute: int, start: int) -> None:
    whole = compute == shape.compute
    row.put(**_engines(shape))
    row.put(
        gpcCount=compute, veidCount=compute * VEIDS_PER_GPC, spanStart=start,
        smCount=shape.sms if whole else shape.sms // shape.compute * compute,
        computeSize=_size(compute) if not whole else shape.compute_size,
        sharedEngFlag=0x1F, veidStartOffset=start * VEIDS_PER_GPC,
    )  # fmt: skip


def _size(compute: int) -> int:
    return {1: 5, 2: 3, 3: 2, 4: 1, 7: 0}.get(compute, 0)


@control("NVC637_CTRL_EXEC_PARTITIONS_GET_ACTIVE_IDS")
def active_computes(call: Call) -> None:
    """Their identifiers and UUIDs."""
    found = _instance(call)
    for i, c in enumerate(found.computes.values()):
        call.p.sub("execPartUuid", i)["str"] = c.text
    call.p.put(execPartCount=len(found.computes), execPartId=list(found.computes))


@control("NVC637_CTRL_CMD_EXEC_PARTITIONS_CREATE")
def create_computes(call: Call) -> Status | None:
    """Create compute instances by their number of processing clusters."""
    mig, found, p = _mig(call), _instance(call), call.p
    if not call.caller.root:
        return Status.INSUFFICIENT_PERMISSIONS
    n = p["execPartCount"]
    if n > p.length("execPartId"):
        return Status.INVALID_ARGUMENT
    wanted = [p.sub("execPartInfo", i)["gpcCount"] for i in range(n)]
    if p["bQuery"]:
        return None
    ids = [mig.create_compute(found, w).index for w in wanted]
    p["execPartId"] = [*ids, *[_INVALID] * (p.length("execPartId") - n)]
    call.rm.on_mig()
    return None


@control("NVC637_CTRL_CMD_EXEC_PARTITIONS_DELETE")
def delete_computes(call: Call) -> Status | None:
    """Destroy compute instances."""
    found, p = _instance(call), call.p
    if not call.caller.root:
        return Status.INSUFFICIENT_PERMISSIONS
    for i in range(min(p["execPartCount"], p.length("execPartId"))):
        if found.computes.pop(p.get("execPartId", i), None) is None:
            return Status.INVALID_ARGUMENT
    call.rm.on_mig()
    return None


@control("NVC637_CTRL_CMD_EXEC_PARTITIONS_GET_PROFILE_CAPACITY")
def compute_capacity(call: Call) -> None:
    """How many more compute instances of one size fit, and where."""
    found = _instance(call)
    compute = {5: 1, 4: 1, 3: 2, 2: 3, 1: 4, 0: 7}.get(call.p["computeSize"], 0)
    starts = Mig.compute_starts(found, compute) if 0 < compute <= found.shape.compute else []
    every = list(range(found.shape.compute - compute + 1)) if compute else []
    call.p.put(profileCount=len(starts) // max(compute, 1) or int(bool(starts)),
               totalProfileCount=found.shape.compute // max(compute, 1))  # fmt: skip
    _spans(call.p, "availableSpans", starts, compute)
    _spans(call.p, "totalSpans", every, compute)


@control("NVC638_CTRL_CMD_GET_UUID")
def compute_uuid(call: Call) -> Status | None:
    """UUID of the subscribed compute instance."""
    compute = _instance(call).computes.get(call.object.data.get("compute", -1))
    if compute is None:
        return Status.INVALID_STATE
    call.p.put(uuid=compute.uuid, uuidStr=compute.text)
    return None
