"""Only the sandbox's cards show: what commands of the root client enumerate, name or take is filtered and checked here.

Also what the host tells about processes and memory: it sees one process, the Sentry, and a whole card; the application sees the
sandbox's processes and its quota.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import status
from .control import Call

if TYPE_CHECKING:
    from .engine import Engine

INVALID_ID: Final = 0xFFFFFFFF
_NO_ID: Final = 0xFFFF0000
"""No card's: NVML takes a driver that has probed none for broken, and a card that it can't ask for one that isn't there."""
ALL_PROBED: Final = 0x0000FFFF
"""NV0000_CTRL_GPU_ATTACH_ALL_PROBED_IDS (ctrl0000gpu.h)."""
_LINK_TO_GPU: Final = 2
_LINK_TO_NONE: Final = 0xFF
"""NV2080_CTRL_NVLINK_DEVICE_INFO_DEVICE_TYPE_* (ctrl2080nvlink.h)."""
_NO_LINK: Final = 0xFF
_CHANNEL_TAIL: Final = 0x6F
_CHANNEL_GROUP: Final = 0xA06C

# NV2080_CTRL_FB_INFO_INDEX_* (ctrl2080fb.h), in KiB
RAM_SIZE: Final = (0x07, 0x08, 0x20)
HEAP_SIZE: Final = (0x09, 0x0A)
HEAP_FREE: Final = (0x12, 0x16)


# ---------------------------------------------------------------------- which cards


def before_gpu_id(c: Call) -> int | None:
    """The card it asks about must be the sandbox's."""
    return None if c.p["gpuId"] in c.engine.by_id else status.INVALID_ARGUMENT


def after_ids(c: Call) -> None:
    """A list of gpu ids that ends at the first invalid one, and beside it lists of the same order."""
    p, known = c.p, c.engine.by_id
    n = p.length("gpuIds")
    ids = [p.get("gpuIds", i) for i in range(n)]
    keep = [i for i, v in enumerate(ids) if v in known]
    for name in ("gpuFlags",):
        if name in p and p.length(name) == n:
            values = [p.get(name, i) for i in keep]
            p[name] = values + [0] * (n - len(values))
    p["gpuIds"] = [ids[i] for i in keep] + [INVALID_ID] * (n - len(keep))
    if "excludedGpuIds" in p:
        p["excludedGpuIds"] = [INVALID_ID] * p.length("excludedGpuIds")


def after_probed(c: Call) -> None:
    """GET_PROBED_IDS."""
    after_ids(c)
    if not c.engine.gpus:
        c.p["gpuIds"] = [_NO_ID] + [INVALID_ID] * (c.p.length("gpuIds") - 1)


def before_attach(c: Call) -> int | None:
    """ATTACH_IDS and DETACH_IDS: "all" means all of the sandbox."""
    p, e = c.p, c.engine
    n = p.length("gpuIds")
    if p.get("gpuIds", 0) == ALL_PROBED:
        own = [g.gpu_id for g in e.gpus][:n]
        p["gpuIds"] = own + [INVALID_ID] * (n - len(own))
        return None
    for i in range(n):
        v = p.get("gpuIds", i)
        if v == INVALID_ID:
            break
        if v not in e.by_id:
            return status.INVALID_ARGUMENT
    return None


def before_listed(c: Call) -> int | None:
    """A counted list of gpu ids to look at together."""
    p = c.p
    n = p["gpuCount"]
    if n > p.length("gpuIds"):
        return status.INVALID_ARGUMENT
    own = all(p.get("gpuIds", i) in c.engine.by_id for i in range(n))
    return None if own else status.INVALID_ARGUMENT


def before_groups(c: Call) -> int | None:
    """Two counted lists (P2P_CAPS_MATRIX)."""
    p = c.p
    for name, size in (("gpuIdGrpA", "grpACount"), ("gpuIdGrpB", "grpBCount")):
        n = p[size]
        if n > p.length(name) or any(p.get(name, i) not in c.engine.by_id for i in range(n)):
            return status.INVALID_ARGUMENT
    return None


def after_device_ids(c: Call) -> None:
    """A mask of device instances."""
    own = 0
    for instance in c.engine.by_instance:
        own |= 1 << instance
    c.p["deviceIds"] = c.p["deviceIds"] & own


def after_active(c: Call) -> None:
    """GET_ACTIVE_DEVICE_IDS: rows with a gpu id."""
    _keep_own(c, "devices", "numDevices")


def _keep_own(c: Call, table: str, count: str) -> None:
    """Of a counted table of rows with a ``gpuId``, those of the sandbox's cards."""
    p = c.p
    n = min(p[count], p.length(table))
    size = c.engine.layouts.table(c.plan.struct)[table].size
    rows = []
    for i in range(n):
        row = p.sub(table, i)
        if row["gpuId"] in c.engine.by_id:
            rows.append(bytes(row.buf[row.base : row.base + size]))
    start = p.sub(table, 0).base
    blob = b"".join(rows).ljust(size * p.length(table), b"\0")
    c.arena.buf[start : start + len(blob)] = blob
    p[count] = len(rows)


def before_peer_caps(c: Call) -> int | None:
    """NV2080 GET_P2P_CAPS: from one card to those named, or to all."""
    p = c.p
    if p["bAllCaps"]:
        return None
    n = p["peerGpuCount"]
    if n > p.length("peerGpuCaps"):
        return status.INVALID_ARGUMENT
    rows = [p.sub("peerGpuCaps", i) for i in range(n)]
    if p["bUseUuid"]:
        uuids = {g.uuid for g in c.engine.gpus}
        own = all(r.bytes("gpuUuid") in uuids for r in rows)
    else:
        own = all(r["gpuId"] in c.engine.by_id for r in rows)
    return None if own else status.INVALID_ARGUMENT


def after_peer_caps(c: Call) -> None:
    """All are those of the sandbox."""
    if c.status == status.OK:
        _keep_own(c, "peerGpuCaps", "peerGpuCount")


def after_links(c: Call) -> None:
    """A link to a card that the sandbox doesn't have ends nowhere; a switch is no card."""
    p = c.p
    if c.status != status.OK or "linkInfo" not in p:
        return
    own = {g.pci for g in c.engine.gpus}
    for i in range(p.length("linkInfo")):
        row = p.sub("linkInfo", i)
        if "remoteDeviceInfo" not in row:
            return
        far = row.sub("remoteDeviceInfo")
        if far["deviceType"] != _LINK_TO_GPU:
            continue
        name = f"{far['domain']:04x}:{far['bus']:02x}:{far['device']:02x}.{far['function']:x}"
        if name not in own:
            far.put(
                deviceIdFlags=0, domain=0, bus=0, device=0, function=0, pciDeviceId=0, deviceType=_LINK_TO_NONE,
                deviceUUID=bytes(16),
            )  # fmt: skip
            row.put(connected=0, remoteDeviceLinkNumber=_NO_LINK)
            if "remoteLinkSid" in row:
                row["remoteLinkSid"] = 0


def before_uuid(c: Call) -> int | None:
    """GET_UUID_INFO: asked by UUID."""
    ident = c.p.bytes("gpuUuid")
    hidden = any(h in ident or _text(h) in ident for h in c.engine.config.hidden)
    return status.OBJECT_NOT_FOUND if hidden else None


def _text(uuid: bytes) -> bytes:
    h = uuid.hex()
    return f"GPU-{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}".encode()


# ---------------------------------------------------------------------- processes


def _gpu_of(c: Call) -> int:
    client = c.engine.objects.clients.get(c.client)
    o = client.objects.get(c.object) if client else None
    return o.gpu if o is not None else -1


def users(e: Engine, gpu: int) -> dict[int, int]:
    """Process -> bytes on a card, of processes with memory or channels on it."""
    found = e.quota.by_process(gpu)
    for client in e.objects.clients.values():
        for o in client.objects.values():
            channel = o.cls & 0xFF == _CHANNEL_TAIL or o.cls == _CHANNEL_GROUP
            if o.gpu == gpu and channel:
                found.setdefault(client.pid, 0)
    return found


def before_pids(c: Call) -> int | None:
    """The host would name the Sentry: the sandbox's processes are ours to know (hazard D6)."""
    p = c.p
    found = sorted(users(c.engine, _gpu_of(c)))[: p.length("pidTbl")]
    p.put(pidTblCount=len(found), pidTbl=found)
    return status.OK


def before_pid_info(c: Call) -> int | None:
    """Memory of each process asked for (index 0: video memory)."""
    p = c.p
    n = p["pidInfoListCount"]
    if n > p.length("pidInfoList"):
        return status.INVALID_ARGUMENT
    found = users(c.engine, _gpu_of(c))
    for i in range(n):
        row = p.sub("pidInfoList", i)
        if row["index"] != 0:
            row["result"] = status.INVALID_ARGUMENT
            continue
        pid = row["pid"]
        row["result"] = status.OK if pid in found else status.OBJECT_NOT_FOUND
        row.sub("data").sub("vidMemUsage").put(memPrivate=found.get(pid, 0))
    return status.OK


def before_accounting(c: Call) -> int | None:
    """Accounted processes are the host's: none shows."""
    if c.p["gpuId"] not in c.engine.by_id:
        return status.INVALID_ARGUMENT
    c.p["pidCount"] = 0
    return status.OK


def before_sessions(c: Call) -> int | None:
    """Encoder and capture sessions name processes of the host: none shows."""
    c.p.put(sessionInfoTblEntry=0, sessionInfoCount=0)
    return status.OK


# ---------------------------------------------------------------------- memory


def after_fb_info(c: Call) -> None:
    """Sizes of a card with a quota are the quota's."""
    e = c.engine
    gpu = _gpu_of(c)
    if not e.quota.limit or c.status != status.OK or gpu < 0:
        return
    limit = e.quota.limit >> 10
    free = max(0, (e.quota.limit - e.quota.total(gpu)) >> 10)
    p = c.p
    for i in range(min(p["fbInfoListSize"], p.length("fbInfoList"))):
        row = p.sub("fbInfoList", i)
        if row["index"] in RAM_SIZE or row["index"] in HEAP_SIZE:
            row["data"] = min(row["data"], limit)
        elif row["index"] in HEAP_FREE:
            row["data"] = min(row["data"], free)


def before_fb_info_pointer(c: Call) -> int | None:
    """The same list behind a pointer: with a quota only the newer call answers, which every library has."""
    return status.NOT_SUPPORTED if c.engine.quota.limit else None


HOOKS: Final[dict[str, tuple[object, object]]] = {
    "NV0000_CTRL_CMD_GPU_GET_PROBED_IDS": (None, after_probed),
    "NV0000_CTRL_CMD_GPU_GET_ATTACHED_IDS": (None, after_ids),
    "NV0000_CTRL_CMD_GPU_ATTACH_IDS": (before_attach, None),
    "NV0000_CTRL_CMD_GPU_DETACH_IDS": (before_attach, None),
    "NV0000_CTRL_CMD_GPU_GET_DEVICE_IDS": (None, after_device_ids),
    "NV0000_CTRL_CMD_GPU_GET_ACTIVE_DEVICE_IDS": (None, after_active),
    "NV0000_CTRL_CMD_GPU_GET_UUID_INFO": (before_uuid, None),
    "NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS": (before_listed, None),
    "NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS_V2": (before_listed, None),
    "NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS_MATRIX": (before_groups, None),
    "NV2080_CTRL_CMD_GET_P2P_CAPS": (before_peer_caps, after_peer_caps),
    "NV2080_CTRL_CMD_NVLINK_GET_NVLINK_STATUS": (None, after_links),
    "NV2080_CTRL_CMD_GPU_GET_PIDS": (before_pids, None),
    "NV2080_CTRL_CMD_GPU_GET_PID_INFO": (before_pid_info, None),
    "NV0000_CTRL_CMD_GPUACCT_GET_ACCOUNTING_PIDS": (before_accounting, None),
    "NV2080_CTRL_GPU_GET_NVENC_SW_SESSION_INFO": (before_sessions, None),
    "NV2080_CTRL_GPU_GET_NVENC_SW_SESSION_INFO_V2": (before_sessions, None),
    "NV2080_CTRL_GPU_GET_NVFBC_SW_SESSION_INFO": (before_sessions, None),
    "NV2080_CTRL_CMD_FB_GET_INFO_V2": (None, after_fb_info),
    "NV2080_CTRL_CMD_FB_GET_INFO": (before_fb_info_pointer, None),
}
_BY_ID: Final = (
        "NV0000_CTRL_CMD_GPU_GET_ID_INFO", "NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2",
        "NV0000_CTRL_CMD_GPU_GET_PCI_INFO", "NV0000_CTRL_CMD_GPU_GET_UUID_FROM_GPU_ID",
        "NV0000_CTRL_CMD_GPU_QUERY_DRAIN_STATE", "NV0000_CTRL_CMD_GPU_GET_INIT_STATUS",
        "NV0000_CTRL_CMD_GPU_ASYNC_ATTACH_ID", "NV0000_CTRL_CMD_GPU_WAIT_ATTACH_ID",
        "NV0000_CTRL_CMD_GPUACCT_GET_ACCOUNTING_STATE", "NV0000_CTRL_CMD_GPUACCT_GET_ACCOUNTING_PIDS",
        "NV0000_CTRL_CMD_GPUACCT_GET_PROC_ACCOUNTING_INFO", "NV0000_CTRL_CMD_GPU_DISABLE_NVLINK_INIT",
        "NV0000_CTRL_CMD_SYSTEM_NVPCF_GET_POWER_MODE_INFO",
)  # fmt: skip
for _name in _BY_ID:
    HOOKS[_name] = (before_gpu_id, None)
