"""The OCI runtime specification's config.json, as far as `nvsandbox run` uses it (opencontainers/runtime-spec 1.0, config.md).

Reading validates types and bounds with msgspec; an error names the JSON path.
"""

from __future__ import annotations

import os
from typing import Any, Final

import msgspec

from ..sandbox.config import Failure

MAX_CONFIG: Final = 4 << 20
CAP_NAMES: Final = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
RLIMITS: Final = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9, "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip


class User(msgspec.Struct):
    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additionalGids: list[int] = []


class Capabilities(msgspec.Struct):
    bounding: list[str] = []
    effective: list[str] = []
    inheritable: list[str] = []
    permitted: list[str] = []
    ambient: list[str] = []


class Rlimit(msgspec.Struct):
    type: str
    soft: int
    hard: int


class Process(msgspec.Struct):
    args: list[str]
    cwd: str
    terminal: bool = False
    user: User = msgspec.field(default_factory=User)
    env: list[str] = []
    capabilities: Capabilities | None = None
    rlimits: list[Rlimit] = []
    noNewPrivileges: bool = False


class Root(msgspec.Struct):
    path: str
    readonly: bool = False


class Mount(msgspec.Struct):
    destination: str
    type: str = ""
    source: str = ""
    options: list[str] = []


class Spec(msgspec.Struct):
    ociVersion: str
    process: Process
    root: Root
    hostname: str = ""
    mounts: list[Mount] = []
    annotations: dict[str, str] = {}
    linux: dict[str, Any] = {}


def load(bundle: str) -> Spec:
    """``config.json`` of a bundle. Raises Failure."""
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, "rb") as f:
            raw = f.read(MAX_CONFIG + 1)
    except OSError as e:
        raise Failure(f"open `{path}`: {(e.strerror or str(e)).lower()}") from None
    if len(raw) > MAX_CONFIG:
        raise Failure(f"`{path}`: larger than {MAX_CONFIG >> 20} MiB")
    try:
        spec = msgspec.json.decode(raw, type=Spec)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as e:
        raise Failure(f"`{path}`: {str(e) or 'nested too deeply'}") from None
    check(spec, path)
    return spec


def check(spec: Spec, path: str) -> None:
    """What types can't say. Raises Failure naming the JSON path."""
    p = spec.process
    if not p.args or not p.args[0]:
        raise Failure(f"`{path}`: $.process.args: a program is needed")
    if not p.cwd.startswith("/"):
        raise Failure(f"`{path}`: $.process.cwd: `{p.cwd}` is not absolute")
    for i, r in enumerate(p.rlimits):
        if r.type not in RLIMITS:
            raise Failure(f"`{path}`: $.process.rlimits[{i}].type: unknown `{r.type}`")
        if not 0 <= r.soft <= r.hard < 1 << 64:
            raise Failure(f"`{path}`: $.process.rlimits[{i}]: soft limit above the hard one")
    for i, m in enumerate(spec.mounts):
        if not m.destination.startswith("/"):
            raise Failure(f"`{path}`: $.mounts[{i}].destination: `{m.destination}` is not absolute")
    for name, ids in (
        ("uid", [p.user.uid]),
        ("gid", [p.user.gid]),
        ("additionalGids", p.user.additionalGids),
    ):
        if any(not 0 <= v < 1 << 32 for v in ids):
            raise Failure(f"`{path}`: $.process.user.{name}: out of range")
    for s in (*p.args, *p.env, p.cwd, spec.hostname):
        if "\0" in s:
            raise Failure(f"`{path}`: $.process: a string contains a NUL")


def capability_mask(names: list[str]) -> int:
    """``CAP_X`` names as a bit mask; unknown ones are left out, as runc does."""
    m = 0
    for n in names:
        short = n.upper().removeprefix("CAP_")
        if short in CAP_NAMES:
            m |= 1 << CAP_NAMES.index(short)
    return m


def default_spec() -> dict[str, Any]:
    """What `nvsandbox spec` writes: runc's template."""
    caps = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    nosuid = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "nvsandbox",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*nosuid, "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": nosuid},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*nosuid, "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*nosuid, "relatime", "ro"]},
        ],
        "linux": {"namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "cgroup")]},
    }  # fmt: skip
