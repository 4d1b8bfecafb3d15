"""The mount table as text: /proc/PID/{mountinfo,mounts,mountstats} (Linux: fs/proc_namespace.c; proc(5))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from .mount import MS_SHARED, MS_SLAVE, MS_UNBINDABLE, MountNamespace
from .path import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_STRICTATIME,
    Mount,
    Path,
    path_name,
)

if TYPE_CHECKING:
    from .path import Dentry

_FLAGS: Final = (
    (MS_NOSUID, "nosuid"), (MS_NODEV, "nodev"), (MS_NOEXEC, "noexec"), (MS_NOATIME, "noatime"),
    (MS_NODIRATIME, "nodiratime"), (MS_NOSYMFOLLOW, "nosymfollow"),
)  # fmt: skip
_ESCAPES: Final = {" ": "\\040", "\t": "\\011", "\n": "\\012", "\\": "\\134"}


def _quote(s: bytes) -> str:
    text = s.decode("utf-8", "surrogateescape")
    return "".join(_ESCAPES.get(c, c) for c in text)


def _options(m: Mount) -> str:
    out = ["ro" if m.flags & MS_RDONLY else "rw"]
    out += [name for bit, name in _FLAGS if m.flags & bit]
    if not m.flags & (MS_NOATIME | MS_STRICTATIME):
        out.append("relatime")
    return ",".join(out)


def _super(m: Mount) -> str:
    return "rw" + ("," + m.fs.options if m.fs.options else "")


def _inner(d: Dentry) -> bytes:
    """The root of a mount within its file system."""
    parts: list[bytes] = []
    while d.parent is not d:
        parts.append(d.name)
        d = d.parent
    return b"/" + b"/".join(reversed(parts))


def _visible(ns: MountNamespace, root: Path) -> list[tuple[Mount, bytes]]:
    out: list[tuple[Mount, bytes]] = []
    for m in ns.mounts():
        p = Path(m, m.root)
        if p.is_below(root):
            out.append((m, path_name(p, root)))
    return out


def _propagation(m: Mount) -> str:
    out = ""
    if m.propagation & MS_SHARED:
        out += f" shared:{m.peer_group}"
    if m.propagation & MS_SLAVE:
        out += f" master:{m.master}"
    if m.propagation & MS_UNBINDABLE:
        out += " unbindable"
    return out


def mountinfo(ns: MountNamespace, root: Path) -> bytes:
    """/proc/PID/mountinfo as a process with ``root`` sees it."""
    lines: list[str] = []
    for m, name in _visible(ns, root):
        parent = m.parent.id if m.parent is not None else m.id
        dev = f"{os.major(m.fs.dev)}:{os.minor(m.fs.dev)}"
        lines.append(
            f"{m.id} {parent} {dev} {_quote(_inner(m.root))} {_quote(name)} {_options(m)}"
            f"{_propagation(m)} - {m.fs.type_name} {_quote(m.fs.source.encode())} {_super(m)}\n"
        )
    return "".join(lines).encode("utf-8", "surrogateescape")


def mounts(ns: MountNamespace, root: Path) -> bytes:
    """/proc/PID/mounts."""
    lines: list[str] = []
    for m, name in _visible(ns, root):
        options = _options(m) + ("," + m.fs.options if m.fs.options else "")
        source = _quote(m.fs.source.encode())
        lines.append(f"{source} {_quote(name)} {m.fs.type_name} {options} 0 0\n")
    return "".join(lines).encode("utf-8", "surrogateescape")
