"""The driver's user-space on the host: what NVIDIA's container toolkit mounts, found without it.

Libraries carry the driver's version in their file names, so the right ones can't be mistaken. Lists follow libnvidia-container's
(``nvc_info.c``), by capability.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ..failure import Failure

LIBRARIES: Final[dict[str, tuple[str, ...]]] = {
    "utility": ("libnvidia-ml", "libnvidia-cfg", "libnvidia-nscq"),
    "compute": (
        "libcuda", "libcudadebugger", "libnvidia-opencl", "libnvidia-gpucomp", "libnvidia-ptxjitcompiler",
        "libnvidia-fatbinaryloader", "libnvidia-allocator", "libnvidia-compiler", "libnvidia-pkcs11",
        "libnvidia-pkcs11-openssl3", "libnvidia-nvvm",
    ),
    "video": ("libvdpau_nvidia", "libnvidia-encode", "libnvidia-opticalflow", "libnvcuvid"),
    "graphics": (
        "libnvidia-eglcore", "libnvidia-glcore", "libnvidia-tls", "libnvidia-glsi", "libnvidia-fbc",
        "libnvidia-ifr", "libnvidia-rtcore", "libnvoptix", "libGLX_nvidia", "libEGL_nvidia",
        "libGLESv2_nvidia", "libGLESv1_CM_nvidia", "libnvidia-glvkspirv", "libnvidia-cbl", "libnvidia-gpucomp",
    ),
    "display": ("libnvidia-egl-gbm", "libnvidia-egl-wayland"),
}  # fmt: skip
BINARIES: Final[dict[str, tuple[str, ...]]] = {
    "utility": ("nvidia-smi", "nvidia-debugdump", "nvidia-persistenced"),
    "compute": ("nvidia-cuda-mps-control", "nvidia-cuda-mps-server"),
}
REQUIRED: Final = {"utility": "libnvidia-ml", "compute": "libcuda"}
LIB_DIRS: Final = (
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/nvidia/current", "/usr/lib64", "/usr/lib64/nvidia",
    "/usr/lib/nvidia", "/usr/lib", "/lib/x86_64-linux-gnu", "/lib64", "/usr/local/nvidia/lib64",
    "/run/opengl-driver/lib",
)  # fmt: skip
BIN_DIRS: Final = (
    "/usr/bin",
    "/usr/lib/nvidia/current",
    "/usr/sbin",
    "/usr/local/nvidia/bin",
    "/opt/bin",
)
FIRMWARE: Final = "/lib/firmware/nvidia"


@dataclass(slots=True)
class UserSpace:
    """What to show inside: host path -> path inside, and links to make there."""

    mounts: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    library_dir: str = ""
    sonames: list[tuple[str, str]] = field(default_factory=list)
    """(name, path inside), for the loader's cache."""


def _inside(root: str, path: str) -> str:
    """``path`` below the driver root."""
    return path if root == "/" else root.rstrip("/") + path


def library_dir(rootfs: str) -> str:
    """Where a container's loader looks without being told."""
    for d in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64"):
        if os.path.isdir(rootfs.rstrip("/") + d):
            return d
    return "/usr/lib"


def find(root: str, version: str, capabilities: Iterable[str], rootfs: str) -> UserSpace:
    """Libraries and programs of driver ``version`` below ``root``. Raises Failure when they are missing or of another version."""
    out = UserSpace(library_dir=library_dir(rootfs))
    wanted = sorted(set(capabilities))
    for cap in wanted:
        for name in LIBRARIES.get(cap, ()):
            where = _library(root, name, version)
            if where:
                _add(out, where)
            elif REQUIRED.get(cap) == name:
                raise Failure(_missing(root, name, version, cap))
        for name in BINARIES.get(cap, ()):
            path = next(
                (p for d in BIN_DIRS if os.path.exists(p := _inside(root, f"{d}/{name}"))), ""
            )
            if path:
                out.mounts[os.path.realpath(path)] = f"/usr/bin/{name}"
    firmware = _inside(root, f"{FIRMWARE}/{version}")
    if os.path.isdir(firmware):
        out.mounts[firmware] = f"{FIRMWARE}/{version}"
    return out


def _library(root: str, name: str, version: str) -> str:
    for d in LIB_DIRS:
        path = _inside(root, f"{d}/{name}.so.{version}")
        if os.path.exists(path):
            return path
    return ""


def _add(out: UserSpace, path: str) -> None:
    """The library, and the links that ldconfig and the packages make for it."""
    directory, file = os.path.split(path)
    stem = file[: file.index(".so.")]
    target = f"{out.library_dir}/{file}"
    out.mounts[os.path.realpath(path)] = target
    names = {f"{stem}.so.1"}
    if stem in ("libcuda", "libnvidia-ml", "libnvidia-opticalflow"):
        names.add(f"{stem}.so")
    real = os.path.realpath(path)
    for entry in os.listdir(directory):
        link = os.path.join(directory, entry)
        if (
            entry.startswith(f"{stem}.so")
            and os.path.islink(link)
            and os.path.realpath(link) == real
        ):
            names.add(entry)
    for name in names - {file}:
        out.links[f"{out.library_dir}/{name}"] = file
        out.sonames.append((name, f"{out.library_dir}/{name}"))


def _missing(root: str, name: str, version: str, cap: str) -> str:
    """Whether there is none, or one of another version."""
    others = set()
    for d in LIB_DIRS:
        try:
            entries = os.listdir(_inside(root, d))
        except OSError:
            continue
        for e in entries:
            found = re.fullmatch(re.escape(name) + r"\.so\.(\d+\.\d+(?:\.\d+)?)", e)
            if found:
                others.add(found[1])
    if others:
        return (
            f"--gpus: `{name}.so` is of version {', '.join(sorted(others))}, the loaded driver is {version}; "
            "install the driver's own user-space, or reboot after an upgrade"
        )
    return (
        f"--gpus: `{name}.so.{version}` (capability {cap}) is not below `{root}`; install the driver's user-space there, "
        "name its root with --nvproxy-driver-root, or `--nvproxy-driver-root none` for an image that has its own"
    )
