"""Control groups of a container: version 1, version 2 and both at once (cgroups(7); kernel: Documentation/admin-guide/cgroup-v2).

A container's group is a directory for each hierarchy: ``Groups`` maps a controller's name (v1) or "" (v2) to it. All processes of
a sandbox live in it, Sentry and gofer included. This module is imported by every command that looks at the freezer; what sets
limits is in ``limits.py``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from typing import Final

from ..failure import Failure, reason

Groups = dict[str, str]
UNIFIED: Final = ""
V1: Final = (
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "net_cls",
    "net_prio", "perf_event", "rdma", "misc", "name=systemd",
)  # fmt: skip
PATIENCE: Final = 10.0  # seconds for frozen, thawed, empty
REPEAT: Final = 0.005  # seconds, less than a grace period lasts
STRAGGLE: Final = 1.0  # seconds for processes that end by themselves


class Hierarchies:
    """What is mounted here, and where we are in it."""

    def __init__(self) -> None:
        self.v1: dict[str, str] = {}
        self.v2 = ""
        self.own: dict[str, str] = {}
        with open("/proc/self/mountinfo", "rb") as f:
            for line in f:
                left, _, right = line.rstrip(b"\n").partition(b" - ")
                kind, _src, options = [*right.split(b" "), b"", b""][:3]
                if kind not in (b"cgroup", b"cgroup2"):
                    continue
                where = os.fsdecode(unescape(left.split(b" ")[4]))
                if kind == b"cgroup2":
                    self.v2 = self.v2 or where
                    continue
                for o in options.decode("ascii", "replace").split(","):
                    if o in V1:
                        self.v1.setdefault(o, where)
        with open("/proc/self/cgroup") as g:
            for text in g:
                _id, names, path = text.rstrip("\n").split(":", 2)
                for n in names.split(","):
                    self.own[n] = path

    def controllers_v2(self) -> list[str]:
        if not self.v2:
            return []
        return read(os.path.join(self.v2, "cgroup.controllers")).split()


def unescape(raw: bytes) -> bytes:
    """mountinfo's octal escapes."""
    for code in (b"\\040", b"\\011", b"\\012", b"\\134"):
        raw = raw.replace(code, bytes([int(code[1:], 8)]))
    return raw


def read(path: str) -> str:
    """A control file; empty when it can't be read."""
    try:
        with open(path) as f:
            return f.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def write(path: str, value: str) -> None:
    """Raises Failure naming file and value."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as e:
        raise Failure(f"write `{value}` to `{path}`: {reason(e)}") from None


def expand_slice(name: str) -> str:
    """systemd's nesting: a-b.slice lies in a.slice. Raises Failure."""
    if name in ("-.slice", ""):
        return ""
    stem = name.removesuffix(".slice")
    if stem == name or "/" in name or "" in stem.split("-"):
        raise Failure(f"invalid slice name `{name}`")
    parts = stem.split("-")
    return "/".join("-".join(parts[: i + 1]) + ".slice" for i in range(len(parts)))


def path_of(cgroups_path: str, ident: str, systemd: bool) -> str:
    """The group's path in a hierarchy: absolute, or relative to the group of the caller. Raises Failure."""
    if not systemd:
        return cgroups_path or ident
    if not cgroups_path:
        return f"/system.slice/nvsandbox-{ident}.scope"
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        raise Failure(
            f"cgroup path `{cgroups_path}`: slice:prefix:name is expected with --systemd-cgroup"
        )
    base, prefix, name = parts
    unit = (
        name
        if name.endswith(".slice")
        else (f"{prefix}-{name}.scope" if prefix else f"{name}.scope")
    )
    return f"/{expand_slice(base or 'system.slice')}/{unit}"


def create(cgroups_path: str, ident: str, systemd: bool = False, rootless: bool = False) -> Groups:
    """Makes the group in every hierarchy. Raises Failure, also for one that is there already and frozen; with ``rootless`` what is not permitted is left out."""
    try:
        h = Hierarchies()
    except OSError as e:
        raise Failure(f"control groups: {reason(e)}") from None
    inner = path_of(cgroups_path, ident, systemd)
    groups: Groups = {}
    made: list[str] = []
    try:
        for name, mount in h.v1.items():
            _make_v1(name, _join(mount, inner, h.own.get(name, "/")), mount, groups, made, rootless)
        if h.v2 and (not h.v1 or h.controllers_v2() or set(h.v1) == {"name=systemd"}):
            _make_v2(_join(h.v2, inner, h.own.get("", "/")), h.v2, groups, made, rootless)
        if frozen(groups):  # whoever joins it would stop
            raise Failure("container's cgroup unexpectedly frozen")
    except Failure:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        raise
    return groups


def _join(mount: str, inner: str, own: str) -> str:
    base = mount if inner.startswith("/") else os.path.join(mount, own.lstrip("/"))
    path = os.path.normpath(os.path.join(base, inner.lstrip("/")))
    if path != mount and not path.startswith(mount.rstrip("/") + "/"):
        raise Failure(f"cgroup path `{inner}` leaves the hierarchy")
    return path


def _levels(mount: str, path: str) -> list[str]:
    """Every directory from below ``mount`` down to ``path``."""
    out: list[str] = []
    while path != mount and len(path) > len(mount):
        out.insert(0, path)
        path = os.path.dirname(path)
    return out


def _mkdir(path: str, made: list[str], rootless: bool) -> bool:
    try:
        os.mkdir(path, 0o755)
        made.append(path)
    except FileExistsError:
        pass
    except OSError as e:
        if rootless and e.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return False
        raise Failure(f"create cgroup `{path}`: {reason(e)}") from None
    return True


def _make_v1(
    name: str, path: str, mount: str, groups: Groups, made: list[str], rootless: bool
) -> None:
    for level in _levels(mount, path):
        if not _mkdir(level, made, rootless):
            return
        if name == "cpuset":  # a new group has no CPU until it is given some
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not read(f"{level}/{file}"):
                    write(f"{level}/{file}", read(f"{os.path.dirname(level)}/{file}"))
    groups[name] = path


def _make_v2(path: str, mount: str, groups: Groups, made: list[str], rootless: bool) -> None:
    parent = mount
    for level in _levels(mount, path):
        have = read(f"{parent}/cgroup.controllers").split()
        on = read(f"{parent}/cgroup.subtree_control").split()
        for c in have:
            if (
                c not in on
            ):  # one by one: what a process in the parent forbids must not stop the rest
                with contextlib.suppress(Failure):
                    write(f"{parent}/cgroup.subtree_control", f"+{c}")
        if not _mkdir(level, made, rootless):
            return
        parent = level
    groups[UNIFIED] = path


def join(groups: Groups, pid: int) -> None:
    """Moves a process. Raises Failure."""
    for path in groups.values():
        write(f"{path}/cgroup.procs", str(pid))


def hasten(groups: Groups, until: int) -> None:
    """A move waits for a grace period of the host (10–20 ms), unless one has just been waited for: moves us to where we are again and
    again until descriptor ``until`` can be read, for who joins ``groups`` then to find that done (kernel: cgroup_threadgroup_rwsem,
    rcu_sync_enter())."""
    with contextlib.suppress(OSError, Failure):
        h = Hierarchies()
        name = next(iter(groups), UNIFIED)
        mount = h.v2 if name == UNIFIED else h.v1[name]
        path = f"{_join(mount, '.', h.own.get(name, '/'))}/cgroup.procs"
        while not select.select([until], [], [], REPEAT)[0]:
            write(path, str(os.getpid()))


def pids(groups: Groups) -> list[int]:
    """Every process of the group and those below."""
    found: set[int] = set()
    order = ("pids", "memory", "freezer", UNIFIED, "name=systemd")
    top = next((groups[n] for n in order if n in groups), None) or next(iter(groups.values()), "")
    for base, _dirs, files in os.walk(top) if top else ():
        if "cgroup.procs" in files:
            found.update(int(p) for p in read(f"{base}/cgroup.procs").split())
    return sorted(found)


def frozen(groups: Groups) -> bool:
    if "freezer" in groups:
        return read(f"{groups['freezer']}/freezer.state") in ("FROZEN", "FREEZING")
    if UNIFIED in groups:
        return read(f"{groups[UNIFIED]}/cgroup.freeze") == "1"
    return False


def freeze(groups: Groups, on: bool) -> None:
    """Stops or continues every process, and waits until it is so. Raises Failure."""
    deadline = time.monotonic() + PATIENCE
    if "freezer" in groups:
        path = f"{groups['freezer']}/freezer.state"
        want = "FROZEN" if on else "THAWED"
        write(path, want)
        while (now := read(path)) != want:
            if not now or time.monotonic() > deadline:
                if on:
                    write(path, "THAWED")
                raise Failure(f"control group did not become {want.lower()}")
            time.sleep(0.005)
            write(path, want)
    elif UNIFIED in groups:
        path = groups[UNIFIED]
        if not os.path.exists(f"{path}/cgroup.freeze"):
            raise Failure("this kernel cannot freeze control groups")
        write(f"{path}/cgroup.freeze", "1" if on else "0")
        while f"frozen {int(on)}" not in read(f"{path}/cgroup.events"):
            if time.monotonic() > deadline:
                raise Failure(
                    "control group did not freeze" if on else "control group did not thaw"
                )
            time.sleep(0.005)
    else:
        raise Failure("pausing needs a freezer control group, and the container has none")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name: state, parent, group, session…; empty when it is gone."""
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def session(pid: int) -> int:
    """0 for a process that is gone."""
    fields = _stat(pid)
    return int(fields[3]) if fields else 0


def sessions_below(groups: Groups, pid: int) -> set[int]:
    """Sessions of a process and of its descendants in the group: those of a container's pid-file process are the container's, since
    no program inside makes one on the host."""
    parents = {p: int(f[1]) for p in pids(groups) if (f := _stat(p))}
    found = {pid}
    for p in parents:
        chain = [p]
        while chain[-1] in parents and chain[-1] != pid:
            chain.append(parents[chain[-1]])
        if chain[-1] == pid:
            found |= {session(q) for q in chain}
    return found - {0}


def _left(groups: Groups, sessions: set[int] | None) -> list[int]:
    own = os.getpid()
    return [p for p in pids(groups) if p != own and (sessions is None or session(p) in sessions)]


def kill_all(groups: Groups, sessions: set[int] | None = None) -> None:
    """SIGKILL to whatever is left in the group, of ``sessions`` if they are given: containers may share a group."""
    if groups and frozen(groups):
        with contextlib.suppress(Failure):
            freeze(groups, False)
    deadline = time.monotonic() + PATIENCE
    while left := _left(groups, sessions):
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.005)


def remove(groups: Groups, sessions: set[int] | None = None) -> None:
    """Removes the group, in every hierarchy, with the groups below it; it stays when others than ``sessions`` are in it. Raises
    Failure when processes don't leave."""
    start = time.monotonic()
    todo = set(groups.values())
    while todo:
        todo = {path for path in todo if not _rmdir(path)}
        if not todo:
            return
        took = time.monotonic() - start
        # what is in no session of ours ends with the container, like an exec's process, or belongs to somebody else
        if sessions and took > STRAGGLE and pids(groups) and not _left(groups, sessions):
            return
        if took > PATIENCE:
            raise Failure(f"cgroup `{sorted(todo)[0]}` cannot be removed: processes are left in it")
        time.sleep(0.01)


def _rmdir(path: str) -> bool:
    """Whether the directory is gone."""
    try:
        os.rmdir(path)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        pass
    for base, dirs, _files in os.walk(path, topdown=False):
        for d in dirs:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(base, d))
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True
