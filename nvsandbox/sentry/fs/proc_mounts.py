"""/proc/PID/mounts, mountinfo, mountstats (Linux: fs/proc_namespace.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..kernel.wait import POLL_READ, POLLERR, POLLPRI, Waiter
from ..vfs.path import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_RELATIME,
    Mount,
    Path,
    path_name,
)
from ..vfs.synthetic import GenFile, GenFileDesc

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from ..vfs.inode import FileSystem
    from ..vfs.mount import MountNamespace

FLAGS: Final = (
    (MS_NOSUID, "nosuid"), (MS_NODEV, "nodev"), (MS_NOEXEC, "noexec"), (MS_NOATIME, "noatime"),
    (MS_NODIRATIME, "nodiratime"), (MS_RELATIME, "relatime"),
)  # fmt: skip
ESCAPES: Final = {9: b"\\011", 10: b"\\012", 32: b"\\040", 92: b"\\134", 35: b"\\043"}


def escape(name: bytes) -> bytes:
    return b"".join(ESCAPES.get(c, bytes([c])) for c in name)


def _options(m: Mount, readonly: bool) -> str:
    out = ["ro" if readonly else "rw"]
    return ",".join(out + [text for bit, text in FLAGS if m.flags & bit])


def _super_options(m: Mount) -> str:
    return ("ro" if m.fs.readonly else "rw") + ("," + m.fs.options if m.fs.options else "")


def visible(u: Task) -> list[tuple[Mount, bytes]]:
    """The mounts below the task's root and where they are seen from it."""
    out = []
    root = u.fs.root
    for m in u.fs.ns.mounts():
        p = Path(m, m.root)
        if p.is_below(root):
            out.append((m, path_name(p, root)))
    return out


def mounts(u: Task) -> bytes:
    lines = []
    for m, where in visible(u):
        opts = _options(m, m.readonly) + ("," + m.fs.options if m.fs.options else "")
        lines.append(
            b"%s %s %s %s 0 0\n"
            % (escape(m.fs.source.encode()), escape(where), m.fs.type_name.encode(), opts.encode())
        )
    return b"".join(lines)


def mountinfo(u: Task) -> bytes:
    lines = []
    for m, where in visible(u):
        parent = m.parent.id if m.parent is not None else m.id
        optional = b""
        g = m.group
        if g is not None:
            optional += b" shared:%d" % g.id
        master = m.master if g is None else g.master
        if master is not None:
            optional += b" master:%d" % master.id
        if m.unbindable:
            optional += b" unbindable"
        inner = b"/"
        d = m.root
        parts = []
        while d.parent is not d:
            parts.append(d.name)
            d = d.parent
        if parts:
            inner = b"/" + b"/".join(reversed(parts))
        lines.append(
            b"%d %d %d:%d %s %s %s%s - %s %s %s\n"
            % (
                m.id, parent, m.fs.dev >> 8, m.fs.dev & 0xFF, escape(inner), escape(where),
                _options(m, bool(m.flags & MS_RDONLY)).encode(), optional, m.fs.type_name.encode(),
                escape(m.fs.source.encode()), _super_options(m).encode(),
            )
        )  # fmt: skip
    return b"".join(lines)


@final
class MountsFile(GenFile):
    """mounts and mountinfo: poll(2) tells of changes."""

    __slots__ = ("live",)

    def __init__(
        self, fs: FileSystem, fn: Callable[[Task], bytes], live: Callable[[], Task]
    ) -> None:
        super().__init__(fs, fn)
        self.live = live

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        return MountsDesc(flags, path, self, self.live().fs.ns)


@final
class MountsDesc(GenFileDesc):
    """One reader, and which state of the tree it has been told of."""

    __slots__ = ("ns", "told")

    def __init__(self, flags: int, path: Path, gen: GenFile, ns: MountNamespace) -> None:
        super().__init__(flags, path, gen)
        self.ns = ns
        self.told = ns.version

    def pollable(self) -> bool:
        return True

    def can_async(self) -> bool:
        return False

    def poll(self, t: Task | None) -> int:
        if self.told == self.ns.version:
            return POLL_READ
        self.told = self.ns.version
        return POLL_READ | POLLERR | POLLPRI

    def watch(self, w: Waiter) -> None:
        self.ns.queue.add(w)

    def unwatch(self, w: Waiter) -> None:
        self.ns.queue.remove(w)


def mountstats(u: Task) -> bytes:
    return b"".join(
        b"device %s mounted on %s with fstype %s\n"
        % (escape(m.fs.source.encode()), escape(where), m.fs.type_name.encode())
        for m, where in visible(u)
    )
