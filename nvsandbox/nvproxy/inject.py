"""What a sandbox with GPUs gets: devices, /proc and /sys entries, libraries, programs, links; and what it is refused, before it starts.

``apply`` is the one way in, for ``do``, ``run``, OCI bundles and the Python API: it changes a ``SandboxConfig`` and says in one line what
can't be.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..failure import Failure
from ..sandbox.config import DeviceNode, HostMount, SandboxConfig
from . import drivers, hostgpus, hosttree, libraries, policy
from .abi import Release, database
from .model import Device, GpuConfig, HostGpu
from .select import Selection, select

log: Final = logging.getLogger("nvsandbox.nvproxy")
ANNOTATION: Final = "dev.nvsandbox.gpu."
"""OCI annotations: ``.memory``, ``.capabilities``, ``.policy``."""
MIN_MEMORY: Final = 1 << 20
_REQUIRED_NODES: Final = (
    ("/dev/nvidiactl", "ctl", "nvidia-modprobe -c 0 makes it"),
    ("/dev/nvidia-uvm", "uvm", "nvidia-modprobe -u -c 0 makes it"),
)


@dataclass(slots=True)
class GpuOptions:
    """What the operator and the container ask for. Strings as the user wrote them."""

    gpus: str = ""
    """``all``, ``none``, a list of indexes, UUIDs, PCI names, MIG ids; "": what the environment says."""
    capabilities: str = ""
    """NVIDIA_DRIVER_CAPABILITIES; "": what the environment says."""
    allowed: str = "compute,utility"
    """``--nvproxy-allowed-driver-capabilities``."""
    memory: str = ""
    """``--gpu-memory``: bytes a card, with k, m, g; "": no limit."""
    driver_version: str = ""
    policy_file: str = ""
    driver_root: str = "/"
    """Where the driver's user-space lies; "none": the image has its own."""
    audit: str = ""
    """File for events, one JSON object a line."""
    trace: bool = False
    """Every command is an event, decoded."""


def apply(config: SandboxConfig, env: Sequence[bytes] | Mapping[str, str], o: GpuOptions) -> bool:
    """Give ``config`` the GPUs that ``o`` and the container's environment ask for; whether there are any. Raises Failure."""
    variables = _variables(env)
    asked = o.gpus or variables.get("NVIDIA_VISIBLE_DEVICES", "")
    if asked in ("", "void", "none") and not o.gpus:
        if asked != "none":
            return False  # nothing was asked for; none keeps the driver's libraries, as the toolkit does
    if o.gpus in ("none", "void"):
        return False
    choice = drivers.choose(drivers.host_version(), o.driver_version)
    if choice.warning:
        log.warning(choice.warning)
    release = database().release(choice.abi)
    rules = policy.make(
        o.capabilities or variables.get("NVIDIA_DRIVER_CAPABILITIES"), o.allowed, o.policy_file
    )
    host = hostgpus.probe(release)
    picked = select(asked, host, release)
    limit = memory_limit(o.memory)
    _check_cards(release, picked.gpus, limit)
    gpu = GpuConfig(choice.driver, choice.abi, picked.gpus, rules)
    gpu.memory_limit = limit
    gpu.hidden = frozenset(g.uuid for g in host if g.uuid and g not in picked.gpus)
    gpu.devices = _devices(picked, rules)
    gpu.proc, gpu.sys, gpu.sys_links = hosttree.snapshot(picked, gpu.devices)
    gpu.trace = o.trace
    if o.audit:
        try:
            gpu.audit_fd = os.open(
                o.audit, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
        except OSError as e:
            raise Failure(f"audit file `{o.audit}`: {e.strerror}") from None
    if o.driver_root != "none":
        _user_space(config, o.driver_root, choice.driver, rules.capabilities)
    for d in gpu.devices:
        config.devices.append(
            DeviceNode(d.path.encode(), stat.S_IFCHR | d.mode, os.makedev(d.major, d.minor))
        )
    config.gpu = gpu
    return True


def _variables(env: Sequence[bytes] | Mapping[str, str]) -> dict[str, str]:
    if isinstance(env, Mapping):
        return dict(env)
    pairs = (os.fsdecode(e).partition("=") for e in env)
    return {k: v for k, _, v in pairs}


def memory_limit(text: str) -> int:
    """``--gpu-memory``. Raises Failure."""
    if not text:
        return 0
    number, unit = (text[:-1], text[-1].lower()) if text[-1].isalpha() else (text, "")
    shift = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}.get(unit)
    if shift is None or not number.isdigit():
        raise Failure(f"--gpu-memory `{text}`: a size like 8g or 512m is expected")
    size = int(number) << shift
    if size < MIN_MEMORY:
        raise Failure(f"--gpu-memory `{text}`: at least 1m is needed (leave it out for no limit)")
    return size


def _check_cards(release: Release, gpus: list[HostGpu], limit: int) -> None:
    """Each card answers, and is at least as big as the quota. Raises Failure."""
    sizes = hostgpus.check(release, gpus)
    for g in gpus:
        size = sizes.get(g.instance, 0)
        if limit and size and limit > size:
            raise Failure(
                f"--gpu-memory: {limit >> 20} MiB is more than GPU {g.index} ({g.name or g.pci}) has ({size >> 20} MiB)"
            )


def _node(path: str, kind: str) -> Device | None:
    try:
        st = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISCHR(st.st_mode):
        return None
    return Device(path, kind, os.major(st.st_rdev), os.minor(st.st_rdev), stat.S_IMODE(st.st_mode))


def _devices(picked: Selection, rules: policy.Policy) -> list[Device]:
    """The device nodes of a sandbox. Raises Failure for one that the host lacks."""
    out = []
    for path, kind, remedy in _REQUIRED_NODES:
        if kind == "uvm" and "compute" not in rules.capabilities:
            continue
        d = _node(path, kind)
        if d is None:
            raise Failure(f"--gpus: the device node `{path}` is not there; {remedy}")
        out.append(d)
    for g in picked.gpus:
        d = _node(f"/dev/nvidia{g.minor}", "gpu")
        if d is None:
            raise Failure(
                f"--gpus: the device node `/dev/nvidia{g.minor}` of GPU {g.index} is not there; "
                f"nvidia-modprobe -c {g.minor} makes it"
            )
        out.append(d)
    tools = _node("/dev/nvidia-uvm-tools", "uvm-tools")
    if tools is not None and "compute" in rules.capabilities:
        out.append(tools)
    for minor in picked.caps:
        d = _node(f"/dev/nvidia-caps/nvidia-cap{minor}", "cap")
        if d is not None:
            out.append(d)
    return out


def _user_space(
    config: SandboxConfig, root: str, driver: str, capabilities: frozenset[str]
) -> None:
    if not os.path.isdir(root):
        raise Failure(f"--nvproxy-driver-root `{root}`: not a directory")
    rootfs = config.root.source
    found = libraries.find(os.path.abspath(root), driver, capabilities, rootfs)
    for source, target in found.mounts.items():
        if rootfs == "/" and os.path.realpath(target) == source:
            continue  # it is there already
        m = HostMount(source, target.encode(), True)
        config.mounts.append(m)
        if config.sequence:
            config.sequence.append(m)
    for link, to in found.links.items():
        config.links[link.encode()] = to.encode()
