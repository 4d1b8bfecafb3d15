"""From an OCI spec to a sandbox's configuration and first process."""

from __future__ import annotations

import os
from typing import Final

from ..sandbox import control
from ..sandbox.config import Failure, HostMount, InnerMount, SandboxConfig
from .spec import RLIMITS, Mount, Spec, capability_mask

FLAGS: Final = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048}
IGNORED: Final = frozenset(
    (
        "rw", "suid", "dev", "exec", "defaults", "relatime", "norelatime", "strictatime", "atime", "bind", "rbind",
        "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable", "newinstance",
        "sync", "async", "tmpcopyup", "nostrictatime", "diratime",
    )
)  # fmt: skip


def mounts_of(spec: Spec, bundle: str) -> tuple[list[HostMount], list[InnerMount]]:
    """(the gofer's, our own). Raises Failure for a type we don't have or a source that isn't there."""
    host: list[HostMount] = []
    inner: list[InnerMount] = []
    for m in spec.mounts:
        flags, data = options(m)
        target = os.fsencode(m.destination)
        if m.type in ("bind", "rbind") or "bind" in m.options or "rbind" in m.options:
            source = os.path.join(bundle, m.source)
            if not os.path.exists(source):
                raise Failure(f"mount `{m.source}` on `{m.destination}`: no such file or directory")
            ro = bool(flags & 1)
            host.append(HostMount(source, target, ro, not ro))
        elif m.type == "tmpfs" and m.destination == "/dev":
            inner.append(InnerMount(target, "dev", b"", flags))
        elif m.type in ("tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"):
            keep = data if m.type in ("tmpfs", "devpts") else []
            inner.append(InnerMount(target, m.type, ",".join(keep).encode(), flags))
        else:
            raise Failure(f"mount `{m.destination}`: file system type `{m.type}` is not supported")
    return host, inner


def options(m: Mount) -> tuple[int, list[str]]:
    """(MS_* flags, what is left for the file system)."""
    flags = 0
    data = []
    for o in m.options:
        if o in FLAGS:
            flags |= FLAGS[o]
        elif o not in IGNORED:
            data.append(o)
    return flags, data


def process_of(spec: Spec) -> control.Message:
    """The spawn message's process object."""
    p = spec.process
    caps = p.capabilities
    env = [os.fsencode(e) for e in p.env]
    return control.process(
        [os.fsencode(a) for a in p.args], env, os.fsencode(p.cwd), p.user.uid, p.user.gid,
        groups=list(p.user.additionalGids), umask=0o022 if p.user.umask is None else p.user.umask & 0o777,
        rlimits={str(RLIMITS[r.type]): (r.soft, r.hard) for r in p.rlimits},
        caps=None if caps is None else capability_mask(caps.permitted or caps.effective),
        no_new_privs=p.noNewPrivileges, terminal=p.terminal,
    )  # fmt: skip


def config_of(spec: Spec, bundle: str, base: SandboxConfig) -> SandboxConfig:
    """``base`` (from the command line) with what the spec says."""
    path = os.path.join(bundle, spec.root.path)
    if not os.path.isdir(path):
        raise Failure(
            f"rootfs `{path}`: "
            + ("not a directory" if os.path.exists(path) else "no such file or directory")
        )
    through = base.root.write_through
    base.root = HostMount(os.path.realpath(path), b"/", not through, through)
    base.root_readonly = spec.root.readonly
    base.mounts, base.inner = mounts_of(spec, bundle)
    base.hostname = (spec.hostname or "nvsandbox").encode()
    base.init_is_program = True
    return base
