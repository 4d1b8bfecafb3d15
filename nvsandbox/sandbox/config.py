"""What a sandbox is made of: the launcher's plan, from the command line, an OCI bundle or the Python API."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass
class HostMount:
    """A host directory (or file) that the gofer serves. Index 0 is the root file system."""

    source: str
    target: bytes = b"/"
    readonly: bool = True  # writes go to a memory overlay for the root, are refused elsewhere
    write_through: bool = False


@dataclass
class InnerMount:
    """A file system of the Sentry's own."""

    target: bytes
    type: str
    data: bytes = b""
    flags: int = 0


@dataclass
class SandboxConfig:
    """Everything the Sentry and the gofer are started with."""

    root: HostMount
    mounts: list[HostMount] = field(default_factory=list)
    inner: list[InnerMount] = field(default_factory=list)
    hostname: bytes = b"nvsandbox"
    root_readonly: bool = False  # inside, by the OCI spec
    network: str = "none"
    platform: str = "auto"
    patching: str = field(
        default_factory=lambda: os.environ.get("NVSANDBOX_SYSTRAP_PATCHING", "on")
    )
    strace: bool = False
    debug: bool = False
    log_path: str = ""
    ncpu: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    init_is_program: bool = (
        False  # the first program is pid 1 (OCI) or has a built-in init above it
    )


DEFAULT_INNER: tuple[InnerMount, ...] = (
    InnerMount(b"/proc", "proc"),
    InnerMount(b"/dev", "dev"),
    InnerMount(b"/dev/pts", "devpts"),
    InnerMount(b"/dev/shm", "tmpfs", b"mode=1777"),
    InnerMount(b"/dev/mqueue", "mqueue"),
    InnerMount(b"/sys", "sysfs"),
    InnerMount(b"/sys/fs/cgroup", "cgroup2"),
)


class Failure(Exception):
    """What went wrong, in one line for a person: operation, object in backquotes, cause."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
