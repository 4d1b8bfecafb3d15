"""What is asked for, and whether anything is: looked at for every container, so nothing heavy is imported here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from ..defaults import CDI_DIRECTORIES
from ..failure import Failure

ANNOTATION: Final = "dev.nvsandbox.gpu."
ANNOTATED: Final = ("memory", "capabilities", "timeslice", "priority", "policy", "deny")
"""OCI annotations of a container, below ANNOTATION."""
_LIST: Final = "/var/run/nvidia-container-devices/"
MAX_COUNT: Final = 64
_FIELD: Final = re.compile(r"(?:^|,)\s*(?:device|count|capabilities|driver|options)=")
VISIBLE: Final = b"NVIDIA_VISIBLE_DEVICES="
CDI_ANNOTATION: Final = "cdi.k8s.io/"
CLI: Final = "nvidia-container-cli"
HOOKS: Final = frozenset(
    (
        "nvidia-container-runtime-hook",
        "nvidia-container-toolkit",
        "nvidia-ctk",
        "nvidia-cdi-hook",
        CLI,
    )
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
    channels: tuple[str, ...] = ()
    """Device nodes of IMEX channels that the engine gives."""
    trace: bool = False
    """Every command is an event, decoded."""

    required: bool = False
    """What is asked for must be there; else an image that merely names GPUs in its environment runs without."""


def set_gpus(o: GpuOptions, text: str) -> None:
    """``--gpus``: a list, or Docker's fields (``"device=0,1",capabilities=utility``, ``count=2``). Raises Failure."""
    text = text.strip()
    if '"' not in text and not _FIELD.search(text):
        o.gpus = text
        return
    import csv

    items: list[str] = []
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as e:
        raise Failure(f"--gpus `{text}`: {e}") from None
    # one pair of quotes too many, from a shell that was given two
    for field in fields if len(fields) != 1 or "=" not in fields[0] else fields[0].split(","):
        key, eq, value = field.strip().partition("=")
        if not eq or "/" in key:
            items.append(field.strip())
        elif key == "device" and value:
            items += value.split(",")
        elif key == "count":
            if value in ("all", "-1"):
                items.append("all")
            elif re.fullmatch("[0-9]{1,2}", value) and 0 < int(value) <= MAX_COUNT:
                items += map(str, range(int(value)))
            else:
                raise Failure(f"--gpus `{text}`: count is a number of GPUs or all")
        elif key == "capabilities":
            names = value.replace(";", ",").split(",")
            o.capabilities = ",".join(n for n in names if n not in ("gpu", "nvidia"))
        elif (key, value) != ("driver", "nvidia"):
            raise Failure(
                f"--gpus `{text}`: `{field}` is not one of device=, count=, capabilities=, driver=nvidia"
            )
    o.gpus = ",".join(items) or "0"


def wanted(env: Iterable[bytes], devices: Iterable[str], annotations: Mapping[str, str]) -> bool:
    """Whether a container asks for GPUs: by variable, by device nodes (CDI), or by annotation."""
    for e in env:
        if e.startswith(VISIBLE) and e[len(VISIBLE) :] not in (b"", b"void"):
            return True
    if any(d.startswith("/dev/nvidia") for d in devices):
        return True
    return any(a.startswith((ANNOTATION, CDI_ANNOTATION)) for a in annotations)


def by_mounts(mounts: Iterable[tuple[str, str]]) -> str:
    """A list of GPUs given as mounts (source, destination) of /dev/null below /var/run/nvidia-container-devices, as NVIDIA's
    Kubernetes device plugin can: by their names, CDI's as ``cdi/VENDOR/CLASS/NAME``."""
    names = []
    for source, destination in mounts:
        if source == "/dev/null" and destination.startswith(_LIST):
            name = destination[len(_LIST) :].strip("/")
            kind, _, cdi = name.partition("/")
            if kind == "cdi" and "=" not in cdi:
                cdi = "=".join(cdi.rsplit("/", 1))
            if kind != "imex":
                names.append(cdi if kind == "cdi" else name)
    return ",".join(n for n in dict.fromkeys(names) if n)


def is_nvidias(path: str, args: Sequence[str]) -> bool:
    """Whether an OCI hook is one of NVIDIA's programs, itself or run by containerd's (``containerd oci-hook -- PROGRAM …``)."""
    programs = [path, *(args[args.index("--") + 1 :][:1] if "--" in args else ())]
    return any(os.path.basename(p) in HOOKS for p in programs)


def names_cdi(env: Iterable[str], gpus: str, annotations: Mapping[str, str]) -> bool:
    """Whether a container may ask for devices by CDI's names (``vendor/class=name``)."""
    if "/" in gpus or any(a.startswith(CDI_ANNOTATION) for a in annotations):
        return True
    start = VISIBLE.decode()
    return any(e.startswith(start) and "/" in e for e in env)
