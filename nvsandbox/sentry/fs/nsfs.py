"""Files of namespaces, what /proc/PID/ns/* lead to (Linux: fs/nsfs.c; namespaces(7), ioctl_ns(2)).

There is one namespace of each kind, and no other can be made.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..errors import SysErr
from ..vfs.file import FileDescription
from ..vfs.inode import FileSystem, Inode
from ..vfs.mount import mount_of
from ..vfs.path import Dentry, Path
from ..vfs.synthetic import SynthLink
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


@final
class Namespace(Inode):
    """One namespace; ``flag``: its CLONE_NEW*."""

    __slots__ = ("flag", "kind", "node")

    def __init__(self, kind: bytes, ino: int, flag: int) -> None:
        super().__init__(NSFS, READABLE, 0, 0, ino)
        self.kind = kind
        self.flag = flag
        self.node = AnonInode(NSFS, READABLE)
        self.node.ino = ino
        self.node.label = self.label()

    def label(self) -> bytes:
        return b"%s:[%d]" % (self.kind, self.ino)

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        return NamespaceFile(flags, self)


USER: Final = Namespace(b"user", 0xEFFFFFFD, 0x10000000)
NAMESPACES: Final = {
    n.kind: n
    for n in (
        Namespace(b"cgroup", 0xEFFFFFFB, 0x02000000),
        Namespace(b"ipc", 0xEFFFFFFF, 0x08000000),
        Namespace(b"mnt", 0xEFFFFFF8, 0x00020000),
        Namespace(b"net", 0xEFFFFFF9, 0x40000000),
        Namespace(b"pid", 0xEFFFFFFC, 0x20000000),
        Namespace(b"time", 0xEFFFFFFA, 0x00000080),
        USER,
        Namespace(b"uts", 0xEFFFFFFE, 0x04000000),
    )
}


@final
class NamespaceFile(FileDescription):
    """An open namespace: it can be compared and asked."""

    __slots__ = ("ns",)

    def __init__(self, flags: int, ns: Namespace) -> None:
        super().__init__(flags)
        self.ns = ns

    @property
    def inode(self) -> Inode:
        return self.ns.node

    def pollable(self) -> bool:
        return False

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        """Raises EPERM for what lies outside, EINVAL for what this kind doesn't have."""
        if cmd == NS_GET_NSTYPE:
            return self.ns.flag
        if cmd == NS_GET_USERNS:
            if self.ns is USER:
                raise SysErr(errno.EPERM)
            f = NamespaceFile(os.O_RDONLY, USER)
            return t.files.install(f, t.tg.rlimit(RLIMIT_NOFILE), cloexec=True)
        if cmd == NS_GET_PARENT:
            raise SysErr(errno.EPERM if self.ns.kind in (b"pid", b"user") else errno.EINVAL)
        if cmd == NS_GET_OWNER_UID:
            if self.ns is not USER:
                raise SysErr(errno.EINVAL)
            t.copy_out(arg, struct.pack("<I", 0))
            return 0
        raise SysErr(errno.ENOTTY)


@final
class NamespaceLink(SynthLink):
    """/proc/PID/ns/KIND."""

    __slots__ = ("ns",)

    def __init__(self, fs: FileSystem, ns: Namespace) -> None:
        super().__init__(fs, ns.label())
        self.size = 0
        self.ns = ns

    def get_link(self, t: Task) -> bytes | Path:
        return Path(_MOUNT, Dentry(self.ns.label(), _MOUNT.root, self.ns))
