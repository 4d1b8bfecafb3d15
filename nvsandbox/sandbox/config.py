"""What a sandbox is made of: the launcher's plan, from the command line, an OCI bundle or the Python API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from ..failure import Failure

if TYPE_CHECKING:
    from ..nvproxy.model import GpuConfig
    from ..nvproxy.options import GpuOptions


class HostMount(Struct):
    """A host directory (or file) that the gofer serves. Index 0 is the root file system."""

    source: str
    target: bytes = b"/"
    readonly: bool = True  # writes go to a memory overlay for the root, are refused elsewhere
    write_through: bool = False
    flags: int = 0  # MS_NOSUID, MS_NOEXEC… inside
    propagation: int = (
        0  # MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE inside, MS_REC for those below
    )
    on_disk: bool = (
        False  # the root's overlay has its files on the disk the root is on (sandbox/disk_files.py)
    )


class InnerMount(Struct):
    """A file system of the Sentry's own."""

    target: bytes
    type: str
    data: bytes = b""
    flags: int = 0
    source: str = ""  # as /proc/mounts shows it
    propagation: int = 0


class DeviceNode(Struct):
    """A device node inside; what opens it is decided by its number (fs/dev_nodes.py)."""

    path: bytes
    mode: int
    rdev: int
    uid: int = 0
    gid: int = 0


class DeviceRule(Struct):
    """What of devices is allowed or not (sentry/vfs/device_rules.py)."""

    allow: bool
    kind: str
    major: int
    minor: int
    access: str


class IdMap(Struct):
    """One line of a user namespace's map."""

    inside: int
    outside: int
    count: int


class SandboxConfig(Struct):
    """Everything the Sentry and the gofer are started with."""

    root: HostMount
    mounts: list[HostMount] = field(default_factory=list)
    inner: list[InnerMount] = field(default_factory=list)
    hostname: bytes = b"nvsandbox"
    sequence: list[HostMount | InnerMount] = field(
        default_factory=list
    )  # both kinds in their order
    devices: list[DeviceNode] = field(default_factory=list)
    device_rules: list[DeviceRule] = field(default_factory=list)  # none: every device
    masked: list[bytes] = field(default_factory=list)
    readonly_paths: list[bytes] = field(default_factory=list)
    sysctl: dict[bytes, bytes] = field(default_factory=dict)
    uid_maps: list[IdMap] = field(default_factory=list)  # empty: the host's ids
    gid_maps: list[IdMap] = field(default_factory=list)
    root_readonly: bool = False  # inside, by the OCI spec
    root_propagation: int = 0  # of the root, by the OCI spec
    domainname: bytes = b""
    seccomp: dict[str, Any] | None = None  # an OCI profile
    memory: int = 0  # bytes the application may see, 0: the host's
    pids: int = 0  # tasks the application may have, 0: as many as the kernel can
    cpu_max: tuple[int, int] | None = None  # quota and period, µs
    network: str = "none"  # auto (containers only), none, host, sandbox
    egress: list[str] = field(default_factory=list)  # rules, none: everything is allowed
    nameservers: list[str] = field(default_factory=list)  # whose answers --egress believes
    pcap: str = ""  # file that gets what crosses the interfaces
    pcap_fd: int = -1
    net_rate: int = 0  # bytes a second each way, 0: no limit
    net_raw: bool = False  # --network=host: raw and packet sockets, for who has CAP_NET_RAW
    raw_fd: int = -1  # the broker that opens them
    cpu_dma_latency: int = -1  # µs, -1: as the host wants it
    latency_fd: int = -1  # holds it
    platform: str = "auto"
    patching: str = field(
        default_factory=lambda: os.environ.get("NVSANDBOX_SYSTRAP_PATCHING", "on")
    )
    strace: bool = False
    debug: bool = False
    log_path: str = ""
    ncpu: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    links: dict[bytes, bytes] = field(default_factory=dict)  # symbolic links made inside
    files: dict[bytes, bytes] = field(
        default_factory=dict
    )  # made inside, where writes go to memory
    gpu_options: GpuOptions | None = None  # what the operator allows; None: no GPUs
    gpu: GpuConfig | None = None  # nvproxy's; None: no GPU inside
    mount_ns: int = -1  # descriptor of the mount namespace that sources are in, -1: ours
    init_is_program: bool = (
        False  # the first program is pid 1 (OCI) or has a built-in init above it
    )

    def descriptors(self) -> set[int]:
        """Those that the Sentry gets with it."""
        fds = {self.pcap_fd, self.latency_fd, self.raw_fd}
        if self.gpu is not None:
            fds |= {self.gpu.broker_fd, self.gpu.audit_fd}
        return fds - {-1}


__all__ = ["DEFAULT_INNER", "Failure", "HostMount", "InnerMount", "SandboxConfig"]

DEFAULT_INNER: tuple[InnerMount, ...] = (
    InnerMount(b"/proc", "proc"),
    InnerMount(b"/dev", "dev"),
    InnerMount(b"/dev/pts", "devpts"),
    InnerMount(b"/dev/shm", "tmpfs", b"mode=1777"),
    InnerMount(b"/dev/mqueue", "mqueue"),
    InnerMount(b"/sys", "sysfs"),
    InnerMount(b"/sys/fs/cgroup", "cgroup2"),
)
