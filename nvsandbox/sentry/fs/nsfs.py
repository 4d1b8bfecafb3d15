"""Files of namespaces, what /proc/PID/ns/* lead to (Linux: fs/nsfs.c; namespaces(7), ioctl_ns(2))."""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..errors import SysErr
from ..kernel.namespaces import INIT_TIME
from ..kernel.pids import PidNamespace
from ..kernel.userns import Namespace, UserNamespace
from ..vfs.file import FileDescription
from ..vfs.inode import FileSystem, Inode
from ..vfs.mount import mount_of
from ..vfs.path import Dentry, Path
from .anon import AnonInode

if TYPE_CHECKING:
    from ..kernel.task import Task

NS_GET_USERNS: Final = 0xB701
NS_GET_PARENT: Final = 0xB702
NS_GET_NSTYPE: Final = 0xB703
NS_GET_OWNER_UID: Final = 0xB704
RLIMIT_NOFILE: Final = 7
READABLE: Final = stat.S_IFREG | 0o444


@final
class NsFs(FileSystem):
    magic: ClassVar[int] = 0x6E736673


NSFS: Final = NsFs("nsfs", "nsfs")
_MOUNT: Final = mount_of(NSFS, AnonInode(NSFS, stat.S_IFDIR | 0o555))


def label(ns: Namespace) -> bytes:
    return b"%s:[%d]" % (ns.kind, ns.ino)


@final
class NamespaceInode(Inode):
    """What a namespace's link leads to. It keeps the namespace alive: bound somewhere, as ``ip netns`` does, longer than any
    process in it."""

    __slots__ = ("node", "ns")

    def __init__(self, ns: Namespace) -> None:
        super().__init__(NSFS, READABLE, 0, 0, ns.ino)
        self.ns = ns
        self.node = AnonInode(NSFS, READABLE)
        self.node.ino = ns.ino
        self.node.label = label(ns)

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        return NamespaceFile(flags, self.ns)


# As listed in /proc/PID/ns
NAMES: Final = (
    b"cgroup", b"ipc", b"mnt", b"net", b"pid", b"pid_for_children", b"time", b"time_for_children", b"user", b"uts",
)  # fmt: skip


def namespace_of(u: Task, name: bytes) -> Namespace | None:
    """The namespace of task ``u`` that /proc/PID/ns/NAME means; None before there is a first process in it."""
    p = u.ns
    if name == b"user":
        return u.creds.userns
    if name == b"mnt":
        return u.fs.ns
    if name == b"pid":
        return u.tg.pidns
    if name == b"pid_for_children":
        children = p.pids_for_children
        return children if children is u.tg.pidns or children.init is not None else None
    if name == b"uts":
        return p.uts
    if name == b"ipc":
        return p.ipc
    if name == b"net":
        return p.net
    if name == b"cgroup":
        return p.cgroup
    return INIT_TIME


@final
class NamespaceFile(FileDescription):
    """An open namespace: it can be compared and asked."""

    __slots__ = ("node", "ns")

    def __init__(self, flags: int, ns: Namespace) -> None:
        super().__init__(flags)
        self.ns = ns
        self.node = NamespaceInode(ns).node

    @property
    def inode(self) -> Inode:
        return self.node

    def pollable(self) -> bool:
        return False

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        """Raises EPERM for what lies outside, EINVAL for what this kind doesn't have."""
        if cmd == NS_GET_NSTYPE:
            return self.ns.flag
        if cmd == NS_GET_USERNS:
            return self._related(t, self.ns.owner)
        if cmd == NS_GET_PARENT:
            if isinstance(self.ns, PidNamespace):
                parent = self.ns.parent
                if parent is None or not parent.is_within(t.tg.pidns):
                    raise SysErr(errno.EPERM)
                return self._install(t, parent)
            if not isinstance(self.ns, UserNamespace):
                raise SysErr(errno.EINVAL)
            return self._related(t, self.ns.owner)
        if cmd == NS_GET_OWNER_UID:
            if not isinstance(self.ns, UserNamespace):
                raise SysErr(errno.EINVAL)
            t.copy_out(arg, struct.pack("<I", t.creds.userns.uid_out(self.ns.creator)))
            return 0
        raise SysErr(errno.ENOTTY)

    def _related(self, t: Task, users: UserNamespace | None) -> int:
        """A user namespace that the caller may know of: its own and what is within it."""
        if users is None or not users.is_within(t.creds.userns):
            raise SysErr(errno.EPERM)
        return self._install(t, users)

    @staticmethod
    def _install(t: Task, ns: Namespace) -> int:
        f = NamespaceFile(os.O_RDONLY, ns)
        return t.files.install(f, t.tg.rlimit(RLIMIT_NOFILE), cloexec=True)


def place(ns: Namespace) -> Path:
    """Where the link of a namespace leads."""
    return Path(_MOUNT, Dentry(label(ns), _MOUNT.root, NamespaceInode(ns)))
