"""The OCI runtime specification's config.json, as far as `nvsandbox run` uses it (opencontainers/runtime-spec 1.0, config.md).

Reading validates types and bounds with msgspec; an error names the JSON path.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ..failure import Failure, reason
from .rlimits import RLIMITS

MAX_CONFIG: Final = 4 << 20
HOOK_KINDS: Final = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip

U32 = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
I64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Text = Annotated[str, Meta(max_length=1 << 20)]
Name = Annotated[str, Meta(max_length=4096)]


class Struct(msgspec.Struct):
    """JSON ``null`` where a default exists is taken for the default, as Go does: see ``drop_nulls``."""


class User(Struct):
    uid: U32 = 0
    gid: U32 = 0
    umask: U32 | None = None
    additionalGids: Annotated[list[U32], Meta(max_length=65536)] = []


class Capabilities(Struct):
    bounding: list[Name] = []
    effective: list[Name] = []
    inheritable: list[Name] = []
    permitted: list[Name] = []
    ambient: list[Name] = []


class Rlimit(Struct):
    type: Name
    soft: int
    hard: int


class ConsoleSize(Struct):
    height: U32 = 0
    width: U32 = 0


class Process(Struct):
    cwd: Name
    args: list[Text] = []
    terminal: bool = False
    consoleSize: ConsoleSize | None = None
    user: User = msgspec.field(default_factory=User)
    env: list[Text] = []
    capabilities: Capabilities | None = None
    rlimits: list[Rlimit] = []
    noNewPrivileges: bool = False
    oomScoreAdj: I64 | None = None
    apparmorProfile: Name = ""
    selinuxLabel: Name = ""


class Root(Struct):
    path: Name
    readonly: bool = False


class IdMap(Struct):
    containerID: U32
    hostID: U32
    size: U32


class Mount(Struct):
    destination: Name
    type: Name = ""
    source: Name = ""
    options: list[Text] = []
    uidMappings: list[IdMap] = []
    gidMappings: list[IdMap] = []


class Hook(Struct):
    path: Name
    args: list[Text] = []
    env: list[Text] = []
    timeout: Annotated[int, Meta(ge=1)] | None = None


class Hooks(Struct):
    prestart: list[Hook] = []
    createRuntime: list[Hook] = []
    createContainer: list[Hook] = []
    startContainer: list[Hook] = []
    poststart: list[Hook] = []
    poststop: list[Hook] = []


class Namespace(Struct):
    type: Name
    path: Name = ""


class Device(Struct):
    type: Name
    path: Name
    major: I64 = 0
    minor: I64 = 0
    fileMode: U32 | None = None
    uid: U32 | None = None
    gid: U32 | None = None


class DeviceRule(Struct):
    allow: bool = False
    type: Name = "a"
    major: I64 | None = None
    minor: I64 | None = None
    access: Name = ""


class Memory(Struct):
    limit: I64 | None = None
    reservation: I64 | None = None
    swap: I64 | None = None
    kernel: I64 | None = None
    kernelTCP: I64 | None = None
    swappiness: int | None = None
    disableOOMKiller: bool | None = None


class Cpu(Struct):
    shares: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] | None = None
    quota: I64 | None = None
    burst: I64 | None = None
    period: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] | None = None
    realtimeRuntime: I64 | None = None
    realtimePeriod: I64 | None = None
    cpus: Name = ""
    mems: Name = ""
    idle: I64 | None = None


class Pids(Struct):
    limit: I64 = 0


class WeightDevice(Struct):
    major: I64
    minor: I64
    weight: I64 | None = None
    leafWeight: I64 | None = None


class ThrottleDevice(Struct):
    major: I64
    minor: I64
    rate: I64


class BlockIo(Struct):
    weight: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None
    leafWeight: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None
    weightDevice: list[WeightDevice] = []
    throttleReadBpsDevice: list[ThrottleDevice] = []
    throttleWriteBpsDevice: list[ThrottleDevice] = []
    throttleReadIOPSDevice: list[ThrottleDevice] = []
    throttleWriteIOPSDevice: list[ThrottleDevice] = []


class HugepageLimit(Struct):
    pageSize: Name
    limit: Annotated[int, Meta(ge=0)]


class InterfacePriority(Struct):
    name: Name
    priority: U32


class Network(Struct):
    classID: U32 | None = None
    priorities: list[InterfacePriority] = []


class Rdma(Struct):
    hcaHandles: U32 | None = None
    hcaObjects: U32 | None = None


class Resources(Struct):
    devices: list[DeviceRule] = []
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    blockIO: BlockIo | None = None
    hugepageLimits: list[HugepageLimit] = []
    network: Network | None = None
    rdma: dict[Name, Rdma] = {}
    unified: dict[Name, Text] = {}


class SeccompArg(Struct):
    index: Annotated[int, Meta(ge=0, le=5)]
    value: int
    op: Name
    valueTwo: int = 0


class SeccompRule(Struct):
    names: list[Name]
    action: Name
    errnoRet: U32 | None = None
    args: list[SeccompArg] = []


class Seccomp(Struct):
    defaultAction: Name
    defaultErrnoRet: U32 | None = None
    architectures: list[Name] = []
    flags: list[Name] = []
    listenerPath: Name = ""
    syscalls: list[SeccompRule] = []


class Personality(Struct):
    domain: Name = "LINUX"
    flags: list[Name] = []


class TimeOffset(Struct):
    secs: I64 = 0
    nanosecs: U32 = 0


class Linux(Struct):
    uidMappings: list[IdMap] = []
    gidMappings: list[IdMap] = []
    namespaces: list[Namespace] = []
    devices: list[Device] = []
    cgroupsPath: Name = ""
    resources: Resources | None = None
    rootfsPropagation: Name = ""
    sysctl: dict[Name, Text] = {}
    seccomp: Seccomp | None = None
    maskedPaths: list[Name] = []
    readonlyPaths: list[Name] = []
    mountLabel: Name = ""
    intelRdt: dict[str, Any] | None = None
    personality: Personality | None = None
    timeOffsets: dict[Name, TimeOffset] = {}


class Spec(Struct):
    ociVersion: Name
    process: Process
    root: Root
    hostname: Name = ""
    domainname: Name = ""
    mounts: list[Mount] = []
    hooks: Hooks | None = None
    annotations: dict[Name, Text] = {}
    linux: Linux = msgspec.field(default_factory=Linux)


ROOT_PROPAGATION: Final = ("", "shared", "slave", "private", "unbindable")
NAMESPACES: Final = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")


def drop_nulls(value: Any) -> Any:
    """JSON without the members that are null: Go writes nil slices so."""
    if isinstance(value, dict):
        return {k: drop_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [drop_nulls(v) for v in value]
    return value


def decode(raw: bytes, type: Any, path: str) -> Any:
    """JSON to ``type``. Raises Failure naming ``path`` and the JSON path."""
    if len(raw) > MAX_CONFIG:
        raise Failure(f"`{path}`: larger than {MAX_CONFIG >> 20} MiB")
    try:
        tree = msgspec.json.decode(raw)
        return msgspec.convert(drop_nulls(tree) if b"null" in raw else tree, type)
    except RecursionError:
        raise Failure(f"`{path}`: nested too deeply") from None
    except (msgspec.ValidationError, msgspec.DecodeError) as e:
        raise Failure(f"`{path}`: {e}") from None


def read(path: str) -> bytes:
    """A JSON file, a little more of it than is allowed. Raises Failure."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO does not hold us up
        with os.fdopen(fd, "rb") as f:
            return f.read(MAX_CONFIG + 1) or b""
    except OSError as e:
        raise Failure(f"open `{path}`: {reason(e)}") from None


def load(bundle: str) -> Spec:
    """``config.json`` of a bundle. Raises Failure."""
    path = os.path.join(bundle, "config.json")
    spec: Spec = decode(read(path), Spec, path)
    check(spec, path)
    return spec


def load_process(path: str) -> Process:
    """An OCI process object (exec --process). Raises Failure."""
    process: Process = decode(read(path), Process, path)
    check_process(process, path, "$")
    return process


def check_process(p: Process, path: str, at: str) -> None:
    """What types can't say about a process. Raises Failure naming the JSON path."""
    if not p.args:
        raise Failure(f"`{path}`: {at}.args: a program is needed")
    if not p.cwd.startswith("/"):
        raise Failure(f"`{path}`: {at}.cwd: `{p.cwd}` is not absolute")
    for i, r in enumerate(p.rlimits):
        if r.type not in RLIMITS:
            raise Failure(f"`{path}`: {at}.rlimits[{i}].type: unknown `{r.type}`")
        if not 0 <= r.soft <= r.hard < 1 << 64:
            raise Failure(f"`{path}`: {at}.rlimits[{i}]: soft limit above the hard one")
    if p.oomScoreAdj is not None and not -1000 <= p.oomScoreAdj <= 1000:
        raise Failure(f"`{path}`: {at}.oomScoreAdj: {p.oomScoreAdj} is not in -1000 to 1000")
    if any("\0" in s for s in (*p.args, *p.env, p.cwd)):
        raise Failure(f"`{path}`: {at}: a string contains a NUL")


def check(spec: Spec, path: str) -> None:
    """What types can't say. Raises Failure naming the JSON path."""
    check_process(spec.process, path, "$.process")
    for i, m in enumerate(spec.mounts):
        if not m.destination or "\0" in m.destination + m.source:
            raise Failure(f"`{path}`: $.mounts[{i}].destination: `{m.destination}` is not a path")
        m.destination = os.path.normpath("/" + m.destination.lstrip("/"))
    if "\0" in spec.root.path or not spec.root.path:
        raise Failure(f"`{path}`: $.root.path: `{spec.root.path}` is not a path")
    if "\0" in spec.hostname or len(spec.hostname) > 64:
        raise Failure(f"`{path}`: $.hostname: longer than 64 characters, or with a NUL")
    if len(spec.domainname) > 64:
        raise Failure(f"`{path}`: $.domainname: longer than 64 characters")
    seen = set()
    for i, n in enumerate(spec.linux.namespaces):
        if n.type not in NAMESPACES:
            raise Failure(f"`{path}`: $.linux.namespaces[{i}].type: unknown `{n.type}`")
        if n.type in seen:
            raise Failure(f"`{path}`: $.linux.namespaces[{i}]: `{n.type}` is there twice")
        if n.path and not n.path.startswith("/"):
            raise Failure(f"`{path}`: $.linux.namespaces[{i}].path: `{n.path}` is not absolute")
        seen.add(n.type)
    for kind in HOOK_KINDS:
        for i, h in enumerate(getattr(spec.hooks, kind) if spec.hooks else ()):
            if not h.path.startswith("/") or "\0" in h.path:
                raise Failure(f"`{path}`: $.hooks.{kind}[{i}].path: `{h.path}` is not absolute")
    if spec.linux.rootfsPropagation.removeprefix("r") not in ROOT_PROPAGATION:
        raise Failure(
            f"`{path}`: $.linux.rootfsPropagation: unknown `{spec.linux.rootfsPropagation}`"
        )
    _refuse(spec, path)
    if ".." in spec.linux.cgroupsPath.split("/"):
        raise Failure(f"`{path}`: $.linux.cgroupsPath: `..` is not allowed")


def _refuse(spec: Spec, path: str) -> None:
    """What would silently be less than was asked for. Raises Failure naming the JSON path."""
    for i, m in enumerate(spec.mounts):
        if m.uidMappings or m.gidMappings or "idmap" in m.options or "ridmap" in m.options:
            raise Failure(f"`{path}`: $.mounts[{i}]: mounts with mapped ids are not supported")
    linux = spec.linux
    if linux.intelRdt:
        raise Failure(f"`{path}`: $.linux.intelRdt: Intel RDT is not supported")
    if linux.personality is not None and linux.personality.domain != "LINUX":
        what = linux.personality.domain
        raise Failure(f"`{path}`: $.linux.personality.domain: `{what}` is not supported")
    if any(o.secs or o.nanosecs for o in linux.timeOffsets.values()):
        raise Failure(f"`{path}`: $.linux.timeOffsets: time namespaces are not supported")
