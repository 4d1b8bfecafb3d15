"""What is asked for, and whether anything is: looked at for every container, so nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ..defaults import CDI_DIRECTORIES

ANNOTATION: Final = "dev.nvsandbox.gpu."
"""OCI annotations of a container: ``.memory``, ``.capabilities``, ``.timeslice``, ``.priority``, ``.policy``, ``.deny``."""
VISIBLE: Final = b"NVIDIA_VISIBLE_DEVICES="
CDI_ANNOTATION: Final = "cdi.k8s.io/"
HOOKS: Final = frozenset(
    ("nvidia-container-runtime-hook", "nvidia-container-toolkit", "nvidia-ctk", "nvidia-cdi-hook")
)
"""Programs that prepare a container's root file system for GPUs: what they do is done here."""


class GpuOptions(msgspec.Struct):
    """What the operator and the container ask for. Strings as the user wrote them."""

    gpus: str = ""
    """``all``, ``none``, a list of indexes, UUIDs, PCI names, MIG ids; "": what the environment says."""
    capabilities: str = ""
    """NVIDIA_DRIVER_CAPABILITIES; "": what the environment says."""
    allowed: str = "compute,utility"
    """``--nvproxy-allowed-driver-capabilities``."""
    memory: str = ""
    """``--gpu-memory``: bytes a card, with k, m, g; "": no limit."""
    timeslice: str = ""
    """``--gpu-timeslice``: microseconds."""
    priority: str = ""
    """``--gpu-priority``: low, medium, high."""
    driver_version: str = ""
    policy_file: str = ""
    """``--nvproxy-policy``: a file, or a directory of which ``policy`` chooses one."""
    policy: str = ""
    """Annotation ``.policy``: NAME of the directory's NAME.toml; "": default."""
    deny: str = ""
    """Annotation ``.deny``: names and patterns that are taken away besides."""
    driver_root: str = "/"
    """Where the driver's user-space lies; "none": the image has its own."""
    audit: str = ""
    """File for events, one JSON object a line."""
    cdi_directories: tuple[str, ...] = CDI_DIRECTORIES
    trace: bool = False
    """Every command is an event, decoded."""

    required: bool = False
    """What is asked for must be there; else an image that merely names GPUs in its environment runs without."""


def wanted(env: Iterable[bytes], devices: Iterable[str], annotations: Mapping[str, str]) -> bool:
    """Whether a container asks for GPUs: by variable, by device nodes (CDI), or by annotation."""
    for e in env:
        if e.startswith(VISIBLE) and e[len(VISIBLE) :] not in (b"", b"void", b"none"):
            return True
    if any(d.startswith("/dev/nvidia") for d in devices):
        return True
    return any(a.startswith((ANNOTATION, CDI_ANNOTATION)) for a in annotations)


def names_cdi(env: Iterable[str], gpus: str, annotations: Mapping[str, str]) -> bool:
    """Whether a container may ask for devices by CDI's names (``vendor/class=name``)."""
    if "/" in gpus or any(a.startswith(CDI_ANNOTATION) for a in annotations):
        return True
    start = VISIBLE.decode()
    return any(e.startswith(start) and "/" in e for e in env)
