"""What the ABI database can't know: how long the array behind a pointer is, what a descriptor must be, what is no pointer.

The database gives every offset and size; the meaning of each pointer and descriptor of a command we forward is written down here,
by field name. What is written nowhere is not translated: a pointer must then be null, a command with a descriptor is refused.
"""

from __future__ import annotations

from typing import Final, NamedTuple

CTL: Final = frozenset(("ctl",))
GPU: Final = frozenset(("gpu",))
FRONTEND: Final = frozenset(("ctl", "gpu"))
UVM: Final = frozenset(("uvm",))
CAP: Final = frozenset(("cap",))
CHANNEL: Final = frozenset(("channel",))


class Array(NamedTuple):
    """A pointer to ``number`` elements. ``number``: a field's name or a number; "a*a": its square."""

    pointer: str
    number: str | int
    element: int | str = 1
    """Bytes of an element, or the struct that it is."""
    limit: int = 4096
    way: str = "io"
    """i: copied in, o: copied out."""


class Fd(NamedTuple):
    """A descriptor of the application. ``kinds``: what it may be; ``absent``: a negative one means none."""

    field: str
    kinds: frozenset[str]
    absent: bool = False
    none: int = -1
    """What the driver gets when there is none."""


_CAPS: Final = (Array("capsTbl", "capsTblSize", 1, 4096, "o"),)

POINTERS: Final[dict[str, tuple[Array, ...]]] = {
    "NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION": (
        Array("pDriverVersionBuffer", "sizeOfStrings", 1, 4096, "o"),
        Array("pVersionBuffer", "sizeOfStrings", 1, 4096, "o"),
        Array("pTitleBuffer", "sizeOfStrings", 1, 4096, "o"),
    ),
    "NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS": (
        Array("busPeerIds", "gpuCount*gpuCount", 4, 1024, "o"),
        Array("busEgmPeerIds", "gpuCount*gpuCount", 4, 1024, "o"),
    ),
    # NV0000_CTRL_GPU_MAX_SZNAME bytes (ctrl0000gpu.h)
    "NV0000_CTRL_CMD_GPU_GET_ID_INFO": (Array("szName", 128, 1, 128, "o"),),
    "NV0041_CTRL_CMD_GET_SURFACE_INFO": (
        Array("surfaceInfoList", "surfaceInfoListSize", "NV0041_CTRL_SURFACE_INFO"),
    ),
    "NV0080_CTRL_CMD_GPU_GET_CLASSLIST": (Array("classList", "numClasses", 4, 4096, "o"),),
    "NV0080_CTRL_CMD_GR_GET_CAPS": _CAPS,
    "NV0080_CTRL_CMD_FB_GET_CAPS": _CAPS,
    "NV0080_CTRL_CMD_FIFO_GET_CAPS": _CAPS,
    "NV0080_CTRL_CMD_HOST_GET_CAPS": _CAPS,
    "NV0080_CTRL_CMD_MSENC_GET_CAPS": _CAPS,
    "NV2080_CTRL_CMD_CE_GET_CAPS": _CAPS,
    "NV0080_CTRL_CMD_GR_GET_INFO": (Array("grInfoList", "grInfoListSize", "NV0080_CTRL_GR_INFO"),),
    "NV2080_CTRL_CMD_GR_GET_INFO": (Array("grInfoList", "grInfoListSize", 8),),
    "NV2080_CTRL_CMD_BIOS_GET_INFO": (
        Array("biosInfoList", "biosInfoListSize", "NV2080_CTRL_BIOS_INFO"),
    ),
    "NV2080_CTRL_CMD_BUS_GET_INFO": (
        Array("busInfoList", "busInfoListSize", "NV2080_CTRL_BUS_INFO"),
    ),
    "NV2080_CTRL_CMD_FB_GET_INFO": (Array("fbInfoList", "fbInfoListSize", "NV2080_CTRL_FB_INFO"),),
    "NV0080_CTRL_CMD_FIFO_GET_CHANNELLIST": (
        Array("pChannelHandleList", "numChannels", 4, 65536, "i"),
        Array("pChannelList", "numChannels", 4, 65536, "io"),
    ),
    "NV2080_CTRL_CMD_GPU_EXEC_REG_OPS": (
        Array("regOps", "regOpCount", "NV2080_CTRL_GPU_REG_OP", 1024),
    ),
    "NV2080_CTRL_CMD_GPU_GET_ENGINES": (Array("engineList", "engineCount", 4, 1024, "o"),),
    "NV2080_CTRL_CMD_GPU_GET_ENGINE_CLASSLIST": (Array("classList", "numClasses", 4, 4096, "o"),),
    "NV83DE_CTRL_CMD_DEBUG_READ_MEMORY": (Array("buffer", "length", 1, 1 << 20, "o"),),
    "NV83DE_CTRL_CMD_DEBUG_WRITE_MEMORY": (Array("buffer", "length", 1, 1 << 20, "i"),),
}
"""Control command -> the arrays its parameters point to."""

DESCRIPTORS: Final[dict[str, tuple[Fd, ...]]] = {
    "NV0000_CTRL_CMD_OS_UNIX_EXPORT_OBJECT_TO_FD": (Fd("fd", CTL),),
    "NV0000_CTRL_CMD_OS_UNIX_IMPORT_OBJECT_FROM_FD": (Fd("fd", CTL),),
    "NV0000_CTRL_CMD_OS_UNIX_GET_EXPORT_OBJECT_INFO": (Fd("fd", CTL),),
    "NV0000_CTRL_CMD_OS_UNIX_EXPORT_OBJECTS_TO_FD": (Fd("fd", CTL),),
    "NV0000_CTRL_CMD_OS_UNIX_IMPORT_OBJECTS_FROM_FD": (Fd("fd", CTL),),
    "NV0000_CTRL_CMD_CLIENT_SUBSCRIBE_TO_IMEX_CHANNEL": (Fd("devDescriptor", CHANNEL),),
    "NV00FD_CTRL_CMD_ATTACH_GPU": (Fd("devDescriptor", GPU),),
}
"""Control command -> descriptors in its parameters."""

CLASS_DESCRIPTORS: Final[dict[str, tuple[Fd, ...]]] = {
    "NV01_EVENT_OS_EVENT": (Fd("data", FRONTEND),),
    "AMPERE_SMC_PARTITION_REF": (Fd("capDescriptor", CAP, True),),
    "AMPERE_SMC_EXEC_PARTITION_REF": (Fd("capDescriptor", CAP, True),),
    "AMPERE_SMC_CONFIG_SESSION": (Fd("capDescriptor", CAP, True),),
    "AMPERE_SMC_MONITOR_SESSION": (Fd("capDescriptor", CAP, True),),
    "NV_IMEX_SESSION": (Fd("capDescriptor", CAP, True), Fd("pOsEvent", FRONTEND, True, 0)),
    "NV_MEMORY_FABRIC_IMPORT_V2": (Fd("pOsEvent", FRONTEND, True, 0),),
    "NV_MEMORY_MULTICAST_FABRIC": (Fd("pOsEvent", FRONTEND, True, 0),),
}
"""Class -> descriptors in its allocation parameters."""

UVM_DESCRIPTORS: Final[dict[str, tuple[Fd, ...]]] = {
    "UVM_REGISTER_GPU": (Fd("rmCtrlFd", CTL, True),),
    "UVM_REGISTER_GPU_VASPACE": (Fd("rmCtrlFd", CTL),),
    "UVM_REGISTER_CHANNEL": (Fd("rmCtrlFd", CTL),),
    "UVM_MAP_EXTERNAL_ALLOCATION": (Fd("rmCtrlFd", CTL),),
    "UVM_ALLOC_DEVICE_P2P": (Fd("rmCtrlFd", CTL),),
    "UVM_MM_INITIALIZE": (Fd("uvmFd", UVM),),
    "UVM_TOOLS_INIT_EVENT_TRACKER": (Fd("uvmFd", UVM),),
    "UVM_TOOLS_INIT_EVENT_TRACKER_V2": (Fd("uvmFd", UVM),),
}
"""UVM ioctl -> descriptors in its parameters."""

SCRUBBED: Final = frozenset((
    "NV_MEMORY_ALLOCATION_PARAMS.address",
    "NV2080_CTRL_GPU_GET_NVENC_SW_SESSION_INFO_PARAMS.sessionInfoTbl",  # answered here, without a table
))  # fmt: skip
"""Pointers that only kernel-mode callers use: null is forwarded, whatever the application left there."""

OWN: Final = frozenset((
    "NV0000_CTRL_CMD_CLIENT_GET_HANDLE_INFO",
    "NV0000_CTRL_CMD_CLIENT_SHARE_OBJECT",
    "NV0000_CTRL_CMD_CLIENT_SUBSCRIBE_TO_IMEX_CHANNEL",
    "NV0000_CTRL_CMD_GPUACCT_GET_ACCOUNTING_PIDS",
    "NV0000_CTRL_CMD_GPU_GET_INIT_STATUS",
    "NV0000_CTRL_CMD_GPU_GET_UUID_INFO",
    "NV0080_CTRL_CMD_GPU_GET_BRAND_CAPS",
    "NV0080_CTRL_CMD_GPU_GET_VGX_CAPS",
    "NV2080_CTRL_CMD_ECC_GET_AGGREGATE_COUNTS",
    "NV2080_CTRL_CMD_ECC_GET_CLIENT_EXPOSED_COUNTERS",
    "NV2080_CTRL_CMD_ECC_GET_VOLATILE_COUNTS",
    "NV2080_CTRL_CMD_FB_GET_REMAPPED_ROWS",
    "NV2080_CTRL_CMD_FB_GET_ROW_REMAPPER_HISTOGRAM",
    "NV2080_CTRL_CMD_GPU_DESCRIBE_PARTITIONS",
    "NV2080_CTRL_CMD_GPU_GET_COMPUTE_PROFILES",
    "NV2080_CTRL_CMD_GPU_GET_DRAIN_AND_RESET_STATUS",
    "NV2080_CTRL_CMD_GPU_GET_PARTITIONS",
    "NV2080_CTRL_CMD_GPU_GET_PARTITION_CAPACITY",
    "NV2080_CTRL_CMD_GPU_GET_RESET_STATUS",
    "NV2080_CTRL_CMD_PMGR_GET_MODULE_INFO",
    "NV2080_CTRL_GPU_GET_NVENC_SW_SESSION_INFO",
    "NV2080_CTRL_GPU_GET_NVENC_SW_SESSION_INFO_V2",
    "NV2080_CTRL_GPU_GET_NVENC_SW_SESSION_STATS",
    "NV2080_CTRL_GPU_GET_NVFBC_SW_SESSION_INFO",
    "NV2080_CTRL_GPU_GET_NVFBC_SW_SESSION_STATS",
    "NVC637_CTRL_CMD_EXEC_PARTITIONS_GET",
    "NVC637_CTRL_CMD_EXEC_PARTITIONS_GET_PROFILE_CAPACITY",
    "NVC637_CTRL_CMD_GET_UUID",
    "NVC637_CTRL_EXEC_PARTITIONS_GET_ACTIVE_IDS",
    "NVC638_CTRL_CMD_GET_UUID",
    "NV_CONF_COMPUTE_CTRL_CMD_GET_GPU_CERTIFICATE",
    "NV_CONF_COMPUTE_CTRL_CMD_GPU_GET_VIDMEM_SIZE",
    "kchannelCtrlCmdResetChannel",
    "subdeviceCtrlCmdGpuAcquireComputeModeReservation",
    "subdeviceCtrlCmdGpuReleaseComputeModeReservation",
))  # fmt: skip
"""Commands that we forward and gVisor doesn't: what became of them after the database's newest release, nobody has said."""

SLOW_ESCAPES: Final = frozenset((
    "NV_ESC_RM_FREE", "NV_ESC_RM_ALLOC", "NV_ESC_RM_ALLOC_MEMORY", "NV_ESC_RM_VID_HEAP_CONTROL",
    "NV_ESC_RM_DUP_OBJECT", "NV_ESC_RM_IDLE_CHANNELS", "NV_ESC_RM_MAP_MEMORY_DMA",
    "NV_ESC_RM_UNMAP_MEMORY_DMA", "NV_ESC_ATTACH_GPUS_TO_FD", "NV_ESC_WAIT_OPEN_COMPLETE",
    "NV_ESC_EXPORT_TO_DMABUF_FD",
))  # fmt: skip
ORDERED: Final = frozenset((
    "NV0000_CTRL_CMD_OS_UNIX_EXPORT_OBJECT_TO_FD", "NV0000_CTRL_CMD_OS_UNIX_IMPORT_OBJECT_FROM_FD",
    "NV0000_CTRL_CMD_OS_UNIX_EXPORT_OBJECTS_TO_FD", "NV0000_CTRL_CMD_OS_UNIX_IMPORT_OBJECTS_FROM_FD",
))  # fmt: skip
"""Control commands that make objects, or are about charges: in turn with allocations of the same file."""
SLOW_CONTROLS: Final = frozenset((
    "NV0000_CTRL_CMD_GPU_ATTACH_IDS", "NV0000_CTRL_CMD_GPU_DETACH_IDS",
    "NV0000_CTRL_CMD_GPU_WAIT_ATTACH_ID", "NV2080_CTRL_CMD_FIFO_DISABLE_CHANNELS",
    "NV2080_CTRL_CMD_GPU_EXEC_REG_OPS", "NV83DE_CTRL_CMD_DEBUG_READ_MEMORY",
))  # fmt: skip
"""What takes long from the first time on; others move to a worker once they have been seen to (``engine.py``)."""
