"""From an OCI spec to a sandbox's configuration and first process."""

from __future__ import annotations

import os
import stat
from typing import Final

from ..failure import Failure
from ..nvproxy.options import CDI_ANNOTATION, by_mounts, is_nvidias, names_cdi, wanted
from ..sandbox import control
from ..sandbox.config import DeviceNode, DeviceRule, HostMount, IdMap, InnerMount, SandboxConfig
from . import capabilities
from .cgroups import unescape
from .limits import ALWAYS, access_of
from .rlimits import RLIMITS
from .seccomp import profile_of
from .spec import Capabilities, Device, Mount, Process, Spec

FLAGS: Final = {
    "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048,
    "strictatime": 1 << 24, "rro": 1, "rnosuid": 2, "rnodev": 4, "rnoexec": 8,
}  # fmt: skip
CLEARS: Final = {
    "rw": 1, "suid": 2, "dev": 4, "exec": 8, "atime": 1024, "diratime": 2048, "nostrictatime": 1 << 24,
}  # fmt: skip
REC: Final = 1 << 14
PROPAGATION: Final = {
    "unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20, "runbindable": 1 << 17 | REC,
    "rprivate": 1 << 18 | REC, "rslave": 1 << 19 | REC, "rshared": 1 << 20 | REC,
}  # fmt: skip
# What has no meaning inside, where nothing propagates and everything is written when the host writes it.
IGNORED: Final = frozenset(
    (
        "defaults", "relatime", "norelatime", "bind", "rbind", "newinstance", "sync", "async", "tmpcopyup", "dirsync",
        "lazytime", "nolazytime", "silent", "loud", "iversion", "noiversion", "mand", "nomand", "remount",
        "nosymfollow", "symfollow", "z", "Z", "copy", "nocopy", "rrw", "U", "acl", "noacl",
        "consistent", "cached", "delegated",
    )
)  # fmt: skip
INNER: Final = ("tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2")
MAX_BELOW: Final = 64  # mounts of the host below a bind mount that are looked at
KINDS: Final = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def mounts_of(spec: Spec, bundle: str) -> tuple[list[HostMount], list[HostMount | InnerMount]]:
    """(the gofer's, all in their order). Raises Failure for a type we don't have or a source that isn't there."""
    host: list[HostMount] = []
    order: list[HostMount | InnerMount] = []
    groups: list[str] = []  # where control groups are mounted
    for i, m in enumerate(spec.mounts):
        flags, data = options(m)
        target = os.fsencode(m.destination)
        kind = next((PROPAGATION[o] for o in reversed(m.options) if o in PROPAGATION), 0)
        bind = m.type in ("bind", "rbind") or "bind" in m.options or "rbind" in m.options
        if bind and any(m.destination.startswith(g + "/") for g in groups):
            continue  # podman's `--systemd` on hosts with version 1; inside there is version 2 alone
        if m.type in ("cgroup", "cgroup2"):
            groups.append(m.destination)
        if bind:
            source = os.path.join(bundle, m.source)
            if not os.path.exists(source):
                raise Failure(
                    f"$.mounts[{i}]: mount `{m.source}` on `{m.destination}`: no such file or directory"
                )
            ro = bool(flags & 1)
            found = [HostMount(source, target, ro, not ro, flags, kind)]
            if ro and "rbind" in m.options and "rro" not in m.options:
                found += _mounts_below(source, target, flags & ~1)
            host += found
            order += found
        elif m.type == "tmpfs" and m.destination == "/dev":
            order.append(
                InnerMount(
                    target, "dev", b"" if spec.process.terminal else b"noconsole", flags, "", kind
                )
            )
        elif m.type in INNER:
            keep = data if m.type in ("tmpfs", "devpts") else []
            order.append(InnerMount(target, m.type, ",".join(keep).encode(), flags, m.source, kind))
        else:
            raise Failure(
                f"$.mounts[{i}]: mount `{m.destination}`: file system type `{m.type}` is not supported"
            )
    return host, order


def _mounts_below(source: str, target: bytes, flags: int) -> list[HostMount]:
    """What is mounted on the host below ``source``, in places below ``target``: ``ro`` is about the first mount alone, as mount(8)
    says of bind mounts."""
    top = os.fsencode(os.path.realpath(source)).rstrip(b"/")
    found: dict[bytes, HostMount] = {}
    with open("/proc/self/mountinfo", "rb") as f:
        for line in f:
            where = unescape(line.split(b" ")[4])
            if where.startswith(top + b"/") and len(found) < MAX_BELOW:
                found[where] = HostMount(
                    os.fsdecode(where), target.rstrip(b"/") + where[len(top) :], False, True, flags
                )
    return [found[w] for w in sorted(found)]


def options(m: Mount) -> tuple[int, list[str]]:
    """(MS_* flags, what is left for the file system)."""
    flags = 0
    data = []
    for o in m.options:
        if o in FLAGS:
            flags |= FLAGS[o]
        elif o in CLEARS:
            flags &= ~CLEARS[o]
        elif o not in IGNORED and o not in PROPAGATION:
            data.append(o)
    return flags, data


def capability_sets(c: Capabilities) -> list[int]:
    """Masks in the order of ``boot.CapSets``."""
    return [
        capabilities.mask(s)
        for s in (c.bounding, c.effective, c.inheritable, c.permitted, c.ambient)
    ]


def process_of(p: Process) -> control.Message:
    """The spawn message's process object."""
    size = p.consoleSize
    more = {"rows": size.height, "cols": size.width} if size is not None and size.height else {}
    return control.process(
        [os.fsencode(a) for a in p.args], [os.fsencode(e) for e in p.env], os.fsencode(p.cwd),
        p.user.uid, p.user.gid, groups=list(dict.fromkeys(p.user.additionalGids)),
        umask=0o022 if p.user.umask is None else p.user.umask & 0o777,
        rlimits={str(RLIMITS[r.type]): (r.soft, r.hard) for r in p.rlimits},
        caps=None if p.capabilities is None else capability_sets(p.capabilities),
        no_new_privs=p.noNewPrivileges, terminal=p.terminal, oom_score_adj=p.oomScoreAdj or 0, **more,
    )  # fmt: skip


def device_of(d: Device, i: int) -> DeviceNode:
    """Raises Failure for a type that is none, or a path outside of the tree."""
    if d.type not in KINDS:
        raise Failure(f"$.linux.devices[{i}].type: unknown `{d.type}`")
    if not d.path.startswith("/") or ".." in d.path.split("/") or "\0" in d.path:
        raise Failure(f"$.linux.devices[{i}].path: `{d.path}` is not an absolute path")
    if not (0 <= d.major < 1 << 12 and 0 <= d.minor < 1 << 20):
        raise Failure(f"$.linux.devices[{i}]: number {d.major}:{d.minor} out of range")
    mode = KINDS[d.type] | (0o666 if d.fileMode is None else d.fileMode & 0o7777)
    rdev = os.makedev(d.major, d.minor)
    return DeviceNode(os.fsencode(d.path), mode, rdev, d.uid or 0, d.gid or 0)


def device_rules(spec: Spec) -> list[DeviceRule]:
    """What the container may use of devices; none: all. Raises Failure."""
    r = spec.linux.resources
    if r is None or not r.devices:
        return []
    out = []
    for i, d in enumerate(r.devices):
        if d.type not in ("", "a", "b", "c"):
            raise Failure(f"$.linux.resources.devices[{i}].type: unknown `{d.type}`")
        major, minor = (-1 if n is None or n < 0 else n for n in (d.major, d.minor))
        out.append(DeviceRule(d.allow, d.type or "a", major, minor, access_of(d)))
    for line in ALWAYS:
        kind, numbers, access = line.split()
        major, minor = (-1 if n == "*" else int(n) for n in numbers.split(":"))
        out.append(DeviceRule(True, kind, major, minor, access))
    return out


def id_maps(spec: Spec) -> tuple[list[IdMap], list[IdMap]]:
    """User namespace mappings; none when ids are the host's."""
    if not any(n.type == "user" and not n.path for n in spec.linux.namespaces):
        return [], []
    if not spec.linux.uidMappings or not spec.linux.gidMappings:
        raise Failure("$.linux: a user namespace needs uidMappings and gidMappings")
    return tuple(  # type: ignore[return-value]  # two lists
        [IdMap(m.containerID, m.hostID, m.size) for m in maps]
        for maps in (spec.linux.uidMappings, spec.linux.gidMappings)
    )


def gpus_wanted(spec: Spec) -> bool:
    """Whether nvproxy has anything to do with it, hooks of NVIDIA's included."""
    hooks = spec.hooks
    if hooks is not None:
        for h in (
            *hooks.prestart,
            *hooks.createRuntime,
            *hooks.createContainer,
            *hooks.startContainer,
        ):
            if is_nvidias(h.path, h.args):
                return True
    env = (os.fsencode(e) for e in spec.process.env)
    return wanted(env, (d.path for d in spec.linux.devices), spec.annotations)


def _cdi(spec: Spec, base: SandboxConfig) -> None:
    """Devices that are asked for by CDI's names, and not resolved by the engine. Raises Failure."""
    o = base.gpu_options
    if o is None:
        if any(k.startswith(CDI_ANNOTATION) for k in spec.annotations):
            raise Failure("$.annotations: CDI devices: contradicts --nvproxy=off")
    elif names_cdi(spec.process.env, o.gpus, spec.annotations):
        from ..nvproxy.cdi_inject import for_spec

        for_spec(spec, o)


def config_of(spec: Spec, bundle: str, base: SandboxConfig) -> SandboxConfig:
    """``base`` (from the command line) with what the spec says. Raises Failure."""
    path = os.path.join(bundle, spec.root.path)
    if not os.path.isdir(path):
        why = "not a directory" if os.path.exists(path) else "no such file or directory"
        raise Failure(f"rootfs `{path}`: {why}")
    if base.gpu_options is not None and not base.gpu_options.gpus:
        base.gpu_options.gpus = by_mounts((m.source, m.destination) for m in spec.mounts)
    _cdi(spec, base)
    through = base.root.write_through
    on_disk = base.root.on_disk and not spec.root.readonly
    base.root = HostMount(os.path.realpath(path), b"/", not through, through, on_disk=on_disk)
    base.root_readonly = spec.root.readonly
    for i, m in enumerate(spec.mounts):
        if m.type in ("proc", "sysfs") and os.path.islink(base.root.source + m.destination):
            raise Failure(
                f"$.mounts[{i}]: `{m.destination}` must be mounted on ordinary directory, not on a symbolic link"
            )
    base.mounts, base.sequence = mounts_of(spec, bundle)
    base.root_propagation = PROPAGATION.get(spec.linux.rootfsPropagation, 0)
    base.hostname = os.fsencode(spec.hostname or os.uname().nodename)
    base.domainname = os.fsencode(spec.domainname)
    base.devices = [device_of(d, i) for i, d in enumerate(spec.linux.devices)]
    base.masked = [os.fsencode(p) for p in spec.linux.maskedPaths]
    base.readonly_paths = [os.fsencode(p) for p in spec.linux.readonlyPaths]
    base.sysctl = {k.encode(): v.encode() for k, v in spec.linux.sysctl.items()}
    base.seccomp = profile_of(spec.linux.seccomp)
    base.uid_maps, base.gid_maps = id_maps(spec)
    base.init_is_program = True
    if base.gpu_options is not None and (base.gpu_options.gpus or gpus_wanted(spec)):
        from ..nvproxy.inject import for_spec

        for_spec(base, spec)
    base.device_rules = device_rules(spec)  # with those that GPUs have added
    return base
