"""What a sandbox with GPUs gets: devices, /proc and /sys entries, libraries, programs, links; and what it is refused, before it starts.

``apply`` is the one way in, for ``do``, ``run``, OCI bundles and the Python API: it changes a ``SandboxConfig`` and says in one line what
can't be.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ..failure import Failure
from ..sandbox.config import DeviceNode, HostMount, SandboxConfig
from . import drivers, hostgpus, hosttree, ldcache, libraries, policy, require
from .abi import Release, database
from .cdi_inject import cards
from .model import Device, GpuConfig, HostGpu
from .options import ANNOTATED, ANNOTATION, CLI, GpuOptions, is_nvidias, wanted
from .scheduling import parse
from .select import IMEX_CHANNELS, NODE, Selection, add_imex, imex_channels, select

if TYPE_CHECKING:
    from ..oci.spec import DeviceRule, Hook, Spec

log: Final = logging.getLogger("nvsandbox.nvproxy")
MIN_MEMORY: Final = 1 << 20
VISIBLE: Final = "NVIDIA_VISIBLE_DEVICES"
NO_CARD: Final = "none"
"""The driver's user-space and control devices, and no card."""
_UVM: Final = frozenset(("compute", "graphics", "video", "profiling"))
"""Capabilities that come with unified memory."""
_REQUIRED_NODES: Final = (
    ("/dev/nvidiactl", "ctl", "nvidia-modprobe -c 0 makes it"),
    ("/dev/nvidia-uvm", "uvm", "nvidia-modprobe -u -c 0 makes it"),
)


def apply(config: SandboxConfig, env: Sequence[bytes] | Mapping[str, str], o: GpuOptions) -> bool:
    """Give ``config`` the GPUs that ``o`` and the container's environment ask for; whether there are any. Raises Failure."""
    variables = _variables(env)
    asked = (o.gpus or variables.get(VISIBLE, "")).strip()
    if asked in ("", "void"):
        return False
    if (not o.required or asked == NO_CARD) and not os.path.exists(drivers.VERSION_FILE):
        log.info("GPUs are named in the environment, but no driver is loaded: none is given")
        return False
    try:
        _give(config, variables, o, asked)
    except Failure as e:
        if o.required or asked != NO_CARD:
            raise
        log.warning("no driver's user-space for a container that wants no GPU: %s", e)
        return False
    return True


def _give(config: SandboxConfig, variables: Mapping[str, str], o: GpuOptions, asked: str) -> None:
    """Raises Failure, and has changed nothing then."""
    choice = drivers.choose(drivers.host_version(), o.driver_version)
    if choice.warning:
        log.warning(choice.warning)
    release = database().release(choice.abi)
    capabilities = o.capabilities or variables.get("NVIDIA_DRIVER_CAPABILITIES")
    if capabilities is None and require.is_old(variables):
        capabilities = policy.ALL
    rules = policy.make(
        capabilities, o.allowed, policy.choose(o.policy_file, o.policy), o.deny
    )  # fmt: skip
    if not rules.capabilities:
        raise Failure(
            "--gpus: no driver capability is left: the container asks for "
            f"{', '.join(sorted(rules.bounded)) or capabilities}, allowed are {o.allowed}"
        )
    host = hostgpus.probe(release)
    picked = _picked(o, asked, host, release)
    if "imex" in rules.capabilities:
        add_imex(picked)
    require.check(variables, choice.driver, picked.gpus)
    scheduling = parse(o.timeslice, o.priority)
    limit = memory_limit(o.memory)
    _check_cards(release, picked.gpus, limit)
    gpu = GpuConfig(choice.driver, choice.abi, picked.gpus, rules)
    gpu.memory_limit = limit
    gpu.timeslice_us, gpu.priority = scheduling.timeslice_us, o.priority
    gpu.hidden = frozenset(g.uuid for g in host if g.uuid and g not in picked.gpus)
    gpu.devices = _devices(picked, rules) + _channels(variables, o, rules)
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
        more = policy.libraries_only(capabilities)
        _user_space(config, o.driver_root, choice.driver, rules.capabilities | more)
    for d in gpu.devices:
        config.devices.append(
            DeviceNode(d.path.encode(), stat.S_IFCHR | d.mode, os.makedev(d.major, d.minor))
        )
    config.gpu = gpu


def _picked(o: GpuOptions, asked: str, host: list[HostGpu], release: Release) -> Selection:
    """Raises Failure, which names what it was asked by."""
    if asked == NO_CARD:
        return Selection([])
    try:
        return select(cards(asked, o.cdi_directories), host, release)
    except Failure as e:
        if o.gpus:
            raise
        raise Failure(str(e).replace("--gpus", VISIBLE, 1)) from None


def stand_by(config: SandboxConfig) -> None:
    """The sandbox of a pod: its containers may bring GPUs. Nothing where there is no driver that we know."""
    o = config.gpu_options
    if o is None or config.gpu is not None or not os.path.exists(drivers.VERSION_FILE):
        return
    try:
        choice = drivers.choose(drivers.host_version(), o.driver_version)
        rules = policy.most(o.allowed, o.policy_file)
    except Failure as e:
        log.warning("no GPUs for the pod's containers: %s", e)
        return
    config.gpu = GpuConfig(choice.driver, choice.abi, [], rules)


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
    if shift is None or not re.fullmatch(r"[0-9]{1,18}", number):
        raise Failure(f"--gpu-memory `{text[:80]}`: a size like 8g or 512m is expected")
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
        if kind == "uvm" and not rules.capabilities & _UVM:
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
    if tools is not None and rules.capabilities & _UVM:
        out.append(tools)
    for minor in picked.caps:
        d = _node(f"/dev/nvidia-caps/nvidia-cap{minor}", "cap")
        if d is not None:
            out.append(d)
    return out


def _channels(variables: Mapping[str, str], o: GpuOptions, rules: policy.Policy) -> list[Device]:
    """IMEX channels: those the engine has made nodes for, and with capability imex those that are asked for. Raises Failure."""
    asked = imex_channels(variables.get("NVIDIA_IMEX_CHANNELS", ""))
    if asked and "imex" not in rules.capabilities:
        raise Failure(
            "NVIDIA_IMEX_CHANNELS: needs capability imex (NVIDIA_DRIVER_CAPABILITIES, --nvproxy-allowed-driver-capabilities)"
        )
    out = []
    for path in dict.fromkeys([*o.channels, *asked]):
        d = _node(path, "channel")
        if d is None:
            raise Failure(f"IMEX channel `{path}` is not there; nvidia-modprobe -i makes it")
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
    if found.mounts:
        _loader_cache(config, found.sonames, driver)


def _mounted_already(config: SandboxConfig, spec: Spec, driver: str) -> None:
    """The engine's CDI specification has mounted libraries: its hooks, which don't run, would have told the loader."""
    files = ((m.source, m.destination) for m in spec.mounts if m.source)
    found = libraries.mounted(files)
    for link, to in found.links.items():
        config.links.setdefault(link.encode(), to.encode())
    _loader_cache(config, found.sonames, driver, ldcache.build((), ()))


def _loader_cache(
    config: SandboxConfig, sonames: list[tuple[str, str]], driver: str, empty: bytes = b""
) -> None:
    """The loader, and programs that ask its cache (``ldconfig -p``), find the driver's libraries there."""
    rootfs = config.root.source
    if not sonames:
        return
    sonames = libraries.compat(rootfs, driver) + sonames
    try:
        fd = libraries.open_inside(rootfs, ldcache.PATH, os.O_RDONLY)
        with os.fdopen(fd, "rb") as f:
            if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
                return
            old = f.read(ldcache.MAX_CACHE + 1)
    except FileNotFoundError:
        old = empty
    except OSError:
        return
    new = ldcache.with_libraries(old, sonames)
    if new is not None and not config.root.write_through:
        config.files[ldcache.PATH.encode()] = new


# ---------------------------------------------------------------------- OCI bundles


def for_spec(config: SandboxConfig, spec: Spec) -> None:
    """What a bundle asks for: by environment (docker --gpus, NVIDIA_VISIBLE_DEVICES), or by device nodes that the engine took from a
    CDI specification. NVIDIA's own hooks, which would prepare a root file system on the host, are taken out. Raises Failure."""
    o = config.gpu_options
    env = [os.fsencode(e) for e in spec.process.env]
    paths = [d.path for d in spec.linux.devices]
    hooks = _take_hooks(spec)
    if o is None or not (o.gpus or hooks or wanted(env, paths, spec.annotations)):
        return
    for name in spec.annotations:
        if name.startswith(ANNOTATION) and name.removeprefix(ANNOTATION) not in ANNOTATED:
            raise Failure(f"annotation {name}: there are {', '.join(ANNOTATED)} below {ANNOTATION}")
    nodes = [p for p in paths if NODE.fullmatch(p)]
    o.required = bool(nodes or hooks or o.gpus)
    variables = _variables(env)
    if hooks and VISIBLE not in variables and require.is_old(variables):
        o.gpus = o.gpus or "all"
    if nodes and not o.gpus:
        o.gpus = ",".join(nodes)
    for h in hooks:
        _configured(o, h.args)
    o.channels = tuple(p for p in paths if p.startswith(IMEX_CHANNELS))
    o.memory = spec.annotations.get(f"{ANNOTATION}memory", o.memory)
    o.capabilities = spec.annotations.get(f"{ANNOTATION}capabilities", o.capabilities)
    o.timeslice = spec.annotations.get(f"{ANNOTATION}timeslice", o.timeslice)
    o.priority = spec.annotations.get(f"{ANNOTATION}priority", o.priority)
    o.policy = spec.annotations.get(f"{ANNOTATION}policy", "")
    o.deny = spec.annotations.get(f"{ANNOTATION}deny", "")
    if libraries.brings_its_own((m.source, m.destination) for m in spec.mounts):
        o.driver_root = "none"  # the engine's CDI specification has mounted them
    for h in hooks:
        _create_symlinks(config, h.args)
    if not apply(config, env, o) or config.gpu is None:
        return
    if o.driver_root == "none":
        _mounted_already(config, spec, config.gpu.driver)
    if spec.linux.resources is not None:
        _allow_devices(spec.linux.resources.devices, config.gpu.devices)


def _allow_devices(rules: list[DeviceRule], devices: list[Device]) -> None:
    """The broker is in the container's control group, whose device rules know nothing of what is injected here."""
    from ..oci.spec import DeviceRule

    if rules:
        rules += [DeviceRule(True, "c", d.major, d.minor, "rw") for d in devices]


def _take_hooks(spec: Spec) -> list[Hook]:
    """NVIDIA's hooks, removed from the spec."""
    found: list[Hook] = []
    if spec.hooks is None:
        return found
    for kind in ("prestart", "createRuntime", "createContainer", "startContainer"):
        hooks: list[Hook] = getattr(spec.hooks, kind)
        ours = [h for h in hooks if is_nvidias(h.path, h.args)]
        found += ours
        setattr(spec.hooks, kind, [h for h in hooks if h not in ours])
    return found


def _configured(o: GpuOptions, args: list[str]) -> None:
    """``nvidia-container-cli … configure --device=LIST --compute …``, as `ctr run --gpus` has it."""
    if not any(os.path.basename(a) == CLI for a in args):
        return
    chosen = [a.partition("=")[2] for a in args if a.startswith("--device=")]
    if chosen and not o.gpus:
        o.gpus = ",".join(chosen)
    names = [a[2:] for a in args if a[2:] in policy.CAPABILITIES and a.startswith("--")]
    o.capabilities = o.capabilities or ",".join(names)


def _create_symlinks(config: SandboxConfig, args: list[str]) -> None:
    """``nvidia-ctk hook create-symlinks --link TARGET::PATH …``"""
    if "create-symlinks" not in args:
        return
    for i, a in enumerate(args):
        value = (
            args[i + 1]
            if a == "--link" and i + 1 < len(args)
            else a.removeprefix("--link=")
            if a.startswith("--link=")
            else ""
        )
        target, sep, path = value.partition("::")
        if sep and path.startswith("/"):
            config.links[path.encode()] = target.encode()
