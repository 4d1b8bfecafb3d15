"""The driver's user-space on the host: what NVIDIA's container toolkit mounts, found without it.

Libraries carry the driver's version in their file names, so the right ones can't be mistaken. Lists follow libnvidia-container's
(``nvc_info.c``), by capability.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ..failure import Failure
from ..gofer import host
from . import ldcache

LIBRARIES: Final[dict[str, tuple[str, ...]]] = {
    "utility": ("libnvidia-ml", "libnvidia-cfg", "libnvidia-nscq", "libnvidia-sandboxutils"),
    "compute": (
        "libcuda", "libcudadebugger", "libnvidia-opencl", "libnvidia-gpucomp", "libnvidia-ptxjitcompiler",
        "libnvidia-fatbinaryloader", "libnvidia-allocator", "libnvidia-compiler", "libnvidia-pkcs11",
        "libnvidia-pkcs11-openssl3", "libnvidia-nvvm", "libnvidia-tileiras",
    ),
    "video": ("libvdpau_nvidia", "libnvidia-encode", "libnvidia-opticalflow", "libnvcuvid"),
    "graphics": (
        "libnvidia-eglcore", "libnvidia-glcore", "libnvidia-tls", "libnvidia-glsi", "libnvidia-fbc",
        "libnvidia-ifr", "libnvidia-rtcore", "libnvoptix", "libGLX_nvidia", "libEGL_nvidia",
        "libGLESv2_nvidia", "libGLESv1_CM_nvidia", "libnvidia-glvkspirv", "libnvidia-cbl", "libnvidia-gpucomp",
        "libnvidia-vulkan-producer", "libnvidia-api",
    ),
    "ngx": ("libnvidia-ngx",),
}  # fmt: skip
OTHER_LIBRARIES: Final[dict[str, tuple[str, ...]]] = {
    "compute": ("libnvidia-nvvm70",),
    "graphics": (
        "libnvidia-egl-gbm", "libnvidia-egl-wayland", "libnvidia-egl-wayland2", "libnvidia-egl-xcb", "libnvidia-egl-xlib",
    ),
}  # fmt: skip
"""Those with a version of their own."""
CONFIGS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "compute": (("/etc", "OpenCL/vendors/nvidia.icd"),),
    "graphics": (
        ("/usr/share", "glvnd/egl_vendor.d/10_nvidia.json"), ("/usr/share", "egl/egl_external_platform.d/15_nvidia_gbm.json"),
        ("/usr/share", "egl/egl_external_platform.d/10_nvidia_wayland.json"), ("/usr/share", "nvidia/nvoptix.bin"),
        ("/usr/share", "egl/egl_external_platform.d/20_nvidia_xcb.json"),
        ("/usr/share", "egl/egl_external_platform.d/20_nvidia_xlib.json"), ("/etc", "vulkan/icd.d/nvidia_icd.json"),
        ("/etc", "vulkan/icd.d/nvidia_icd.x86_64.json"), ("/etc", "vulkan/icd.d/nvidia_layers.json"),
        ("/etc", "vulkan/implicit_layer.d/nvidia_layers.json"),
    ),
}  # fmt: skip
"""Files by which loaders (OpenCL, EGL, Vulkan) find the driver: where they go inside, and which."""
CONFIG_DIRS: Final = ("/etc", "/usr/share", "/usr/local/share")
BINARIES: Final[dict[str, tuple[str, ...]]] = {
    "utility": ("nvidia-smi", "nvidia-debugdump", "nvidia-persistenced", "nv-fabricmanager"),
    "compute": ("nvidia-cuda-mps-control", "nvidia-cuda-mps-server"),
    "imex": ("nvidia-imex", "nvidia-imex-ctl"),
}
REQUIRED: Final = {"utility": "libnvidia-ml", "compute": "libcuda"}
LIB_DIRS: Final = (
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/nvidia/current", "/usr/lib64", "/usr/lib64/nvidia",
    "/usr/lib/nvidia", "/usr/lib", "/lib/x86_64-linux-gnu", "/lib64", "/usr/local/nvidia/lib64",
    "/run/opengl-driver/lib", "/usr/lib/x86_64-linux-gnu/vdpau", "/usr/lib64/vdpau",
)  # fmt: skip
BIN_DIRS: Final = (
    "/usr/bin",
    "/usr/lib/nvidia/current",
    "/usr/sbin",
    "/usr/local/nvidia/bin",
    "/opt/bin",
)
FIRMWARE: Final = "/lib/firmware/nvidia"
COMPAT: Final = "/usr/local/cuda/compat"
"""Where NVIDIA's images have a newer libcuda than the host's ("CUDA Forward Compatibility")."""
DIRECTORY: Final = "/usr/local/nvidia"
_MAX_ENTRIES: Final = 4096
_IN_ROOT: Final = 0x12
"""RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS (openat2(2))."""
_VERSIONED: Final = re.compile(r"(lib[^/]+)\.so\.\d{3,}\.\d+(\.\d+)?")


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


def brings_its_own(mounts: Iterable[tuple[str, str]]) -> bool:
    """Whether mounts (source, destination) hold the driver's libraries: file by file, or the directory of Google's device plugin."""
    for source, target in mounts:
        if re.search(r"/lib(cuda|nvidia-ml)\.so\.", target):
            return True
        if target.rstrip("/").startswith(DIRECTORY) and any(
            os.path.exists(f"{source}{d}/{name}.so.1")
            for d in ("", "/lib64", "/lib")
            for name in REQUIRED.values()
        ):
            return True
    return False


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
    dirs = _directories(root, version)
    for cap in wanted:
        for name in LIBRARIES.get(cap, ()):
            where = _library(dirs, name, version)
            if where and (REQUIRED.get(cap) != name or _is_elf(where)):
                _add(out, where)
            elif where:
                raise Failure(
                    f"--gpus: `{where}` is not a library; the driver's user-space is half installed: install it again"
                )
            elif REQUIRED.get(cap) == name:
                raise Failure(_missing(dirs, root, name, version, cap))
        for name in OTHER_LIBRARIES.get(cap, ()):
            where = _other(dirs, name)
            if where:
                _add(out, where)
        for to, name in CONFIGS.get(cap, ()):
            path = next(
                (p for d in CONFIG_DIRS if os.path.isfile(p := _inside(root, f"{d}/{name}"))), ""
            )
            if path:
                out.mounts[os.path.realpath(path)] = f"{to}/{name}"
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


def _directories(root: str, version: str) -> list[str]:
    """Where libraries are below ``root``: the usual places, or what the loader's cache there says of the driver's."""
    dirs = [_inside(root, d) for d in LIB_DIRS]
    if any(_library(dirs, name, version) for name in REQUIRED.values()):
        return dirs
    try:
        with open(_inside(root, ldcache.PATH), "rb") as f:
            parsed = ldcache.parse(f.read(ldcache.MAX_CACHE + 1))
    except OSError:
        parsed = None
    names = tuple(f"{name}.so".encode() for name in REQUIRED.values())
    found = [e.path for e in parsed[0] if e.name.startswith(names)] if parsed is not None else []
    more = [_inside(root, os.fsdecode(os.path.dirname(p))) for p in found]
    return [*dict.fromkeys(more), *dirs]


def _is_elf(path: str) -> bool:
    try:
        with open(path, "rb") as f:
            return f.read(4) == b"\x7fELF"
    except OSError:
        return False


def _library(dirs: Iterable[str], name: str, version: str) -> str:
    for d in dirs:
        path = f"{d}/{name}.so.{version}"
        if os.path.exists(path):
            return path
    return ""


def _other(dirs: Iterable[str], name: str) -> str:
    for d in dirs:
        try:
            entries = os.listdir(d)
        except OSError:
            continue
        for e in sorted(entries, reverse=True):
            path = f"{d}/{e}"
            if re.fullmatch(re.escape(name) + r"\.so\.\d+(\.\d+)+", e) and os.path.isfile(path):
                return path
    return ""


def mounted(files: Iterable[tuple[str, str]]) -> UserSpace:
    """What belongs to libraries of a driver that are mounted already, as a CDI specification does (host path, path inside): the links
    and the rows of the loader's cache that NVIDIA's hooks would have made."""
    out = UserSpace()
    for source, target in files:
        directory, file = os.path.split(target)
        if _VERSIONED.fullmatch(file) and os.path.isfile(source):
            _links(out, source, file, directory)
    return out


def open_inside(rootfs: str, path: str, flags: int) -> int:
    """A descriptor of ``path`` below ``rootfs``, where its links end, too. Raises OSError."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # O_NONBLOCK: the image may have a FIFO there
        return host.openat2(root, path.encode(), flags | os.O_NONBLOCK | os.O_CLOEXEC, 0, _IN_ROOT)
    finally:
        os.close(root)


def compat(rootfs: str, driver: str) -> list[tuple[str, str]]:
    """(name, path inside) of an image's own libraries for a newer CUDA than the driver's; [] where it has none, or needs none.
    It has them for a reason: NVIDIA's loader settings prefer them when their major version is above the driver's."""
    try:
        fd = open_inside(rootfs, COMPAT, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    with contextlib.closing(os.scandir(fd)) as entries:
        names = [e.name for e in itertools.islice(entries, _MAX_ENTRIES)]
    os.close(fd)
    found = [m for n in names if (m := re.fullmatch(r"libcuda\.so\.(\d{3,4})\.[\d.]+", n))]
    if len(found) != 1 or int(found[0][1]) <= int(driver.split(".")[0]):
        return []
    return [(n, f"{COMPAT}/{n}") for n in sorted(names) if re.fullmatch(r"lib[\w-]+\.so\.\d+", n)]


def _add(out: UserSpace, path: str) -> None:
    """The library, and the links that ldconfig and the packages make for it."""
    file = os.path.basename(path)
    out.mounts[os.path.realpath(path)] = f"{out.library_dir}/{file}"
    _links(out, path, file, out.library_dir)


def _links(out: UserSpace, path: str, file: str, inside: str) -> None:
    directory = os.path.dirname(path)
    stem = file[: file.index(".so.")]
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
    if stem == "libGLX_nvidia":
        names.add("libGLX_indirect.so.0")
    for name in sorted(names - {file}):
        out.links[f"{inside}/{name}"] = file
        out.sonames.append((name, f"{inside}/{name}"))


def _missing(dirs: Iterable[str], root: str, name: str, version: str, cap: str) -> str:
    """Whether there is none, or one of another version."""
    others = set()
    for d in dirs:
        try:
            entries = os.listdir(d)
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
