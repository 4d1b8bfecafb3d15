"""What a sandbox with GPUs is started with: found by the launcher, used by the Sentry, never changed afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field

from .policy import Policy


@dataclass(frozen=True, slots=True)
class HostGpu:
    """One card as the host's driver knows it."""

    index: int
    """Its place in PCI order, which is NVML's numbering."""
    minor: int
    gpu_id: int
    """The resource manager's id (``NV0000_CTRL_CMD_GPU_GET_PROBED_IDS``)."""
    instance: int
    """Device instance: what ``NV01_DEVICE_0`` is allocated by."""
    pci: str
    """``0000:01:00.0``"""
    uuid: bytes
    """16 raw bytes; empty when the driver hasn't said."""
    name: str = ""
    memory: int = 0
    """Bytes; 0 when unknown."""

    @property
    def uuid_text(self) -> str:
        """``GPU-xxxxxxxx-xxxx-…``, as everybody writes it."""
        h = self.uuid.hex()
        return f"GPU-{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" if h else ""


@dataclass(slots=True)
class Device:
    """A device node of the sandbox. ``kind``: ctl, gpu, uvm, uvm-tools, cap, channel."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666


@dataclass(slots=True)
class GpuConfig:
    """Everything nvproxy needs. Without ``devices`` it stands by for containers that join a pod with some."""

    driver: str
    """The host driver's version."""
    abi: str
    """The release of the ABI database that is used for it."""
    gpus: list[HostGpu]
    policy: Policy
    devices: list[Device] = field(default_factory=list)
    proc: dict[str, bytes] = field(default_factory=dict)
    """Path below /proc -> content."""
    sys: dict[str, bytes] = field(default_factory=dict)
    """Path below /sys -> content."""
    sys_links: dict[str, str] = field(default_factory=dict)
    """Path below /sys -> target of a symbolic link."""
    hidden: frozenset[bytes] = frozenset()
    """UUIDs of the host's other cards."""
    memory_limit: int = 0
    """Bytes of device memory a GPU, 0: no limit."""
    timeslice_us: int = 0
    """Of its channel groups, 0: the driver's."""
    priority: str = ""
    """Of its channel groups: low, medium, high; "": the driver's."""
    broker_fd: int = -1
    """Socket to the process that opens the devices."""
    audit_fd: int = -1
    """Events as JSON lines, one write each; -1: none."""
    trace: bool = False
    null: bool = False
    """Calls go to a memory file and count as successful (measurements only)."""
