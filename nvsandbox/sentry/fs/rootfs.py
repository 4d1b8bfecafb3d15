"""Building the sandbox's file tree before the first task runs (Linux: init/do_mounts.c).

``Builder`` is used by the Sentry's start-up with no event loop yet: everything blocks. Mount points that are not there
are made, in memory only.
"""

from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING, final

from ..errors import SysErr
from ..vfs.inode import FileSystem, Inode
from ..vfs.mount import MountNamespace, follow_mounts, mount_of, new_mount
from ..vfs.namei import lookup_slow
from ..vfs.path import MS_RDONLY, MS_RELATIME, Dentry, Path
from . import tmpfs
from .dev_nodes import NODES, mode_and_rdev
from .gofer_client import GoferClient
from .gofer_fs import GoferFs
from .memfd_pool import MemfdPool, Refill
from .overlay import make_overlay
from .tmpfs_file import MemReg
from .tmpfs_inode import MemDir, MemFs, MemLink, MemNode

if TYPE_CHECKING:
    from ..kernel.task import Task


@final
class Builder:
    """The tree under construction. ``boot`` is any task-like object with root's credentials."""

    __slots__ = ("boot", "client", "ns", "pool")

    def __init__(
        self,
        client: GoferClient,
        boot: Task,
        overlay: bool = True,
        readonly: bool = False,
        pool: MemfdPool | None = None,
        refill: Refill | None = None,
    ) -> None:
        """The gofer's mount 0 becomes the root: below an overlay, whose big files are ``refill``'s (else in memory), or written
        through."""
        self.client = client
        self.boot = boot
        self.pool = pool or MemfdPool(client.refill_memfds)
        tmpfs.register(self.pool)
        fs: FileSystem
        root: Inode
        if overlay:
            ofs = make_overlay(
                client.roots[0], MemfdPool(refill) if refill is not None else self.pool
            )
            assert ofs.root is not None
            fs, root = ofs, ofs.root
        else:
            gfs = GoferFs(client.roots[0], readonly, exclusive=True, source="root")
            fs, root = gfs, gfs.root
        flags = MS_RELATIME | (MS_RDONLY if readonly else 0)
        self.ns = MountNamespace(mount_of(fs, root, flags))

    def mount(self, where: bytes, fs: FileSystem, root: Inode, flags: int = MS_RELATIME) -> None:
        """Mounts a file system; what is missing of ``where`` is made. ``flags``: MS_*."""
        at = self.place(where, root.is_dir())
        self.ns.attach(mount_of(fs, root, flags), at)

    def bind_gofer(
        self, where: bytes, index: int, readonly: bool, flags: int = MS_RELATIME
    ) -> None:
        """Bind mount: the gofer's mount ``index`` (a directory or a file) at ``where``."""
        fs = GoferFs(self.client.roots[index], readonly)
        self.mount(where, fs, fs.root, flags | (MS_RDONLY if readonly else 0))

    def bind(self, source: bytes, where: bytes, flags: int = MS_RELATIME) -> None:
        """Bind mount within the tree (OCI readonlyPaths)."""
        src = self.find(source)
        self.ns.attach(
            new_mount(src.mount.fs, src.dentry, flags), self.place(where, src.inode.is_dir())
        )

    def mount_tmpfs(self, where: bytes, options: bytes = b"", flags: int = MS_RELATIME) -> MemFs:
        """A tmpfs with tmpfs(5) ``options``. Raises SysErr(EINVAL)."""
        fs = tmpfs.make_tmpfs(self.pool, time.time_ns(), options)
        assert fs.root is not None
        self.mount(where, fs, fs.root, flags)
        return fs

    def mount_dev(self, where: bytes = b"/dev") -> MemDir:
        """A /dev of ours: memory devices and the usual links; more is added by who owns it."""
        now = time.time_ns()
        fs = self.mount_tmpfs(where, b"mode=755")
        dev = fs.root
        assert dev is not None
        for name, minor in NODES:
            mode, rdev = mode_and_rdev(minor)
            self.add_device(dev, name, mode, rdev)
        for name, target in (
            (b"fd", b"/proc/self/fd"), (b"stdin", b"/proc/self/fd/0"),
            (b"stdout", b"/proc/self/fd/1"), (b"stderr", b"/proc/self/fd/2"),
            (b"ptmx", b"pts/ptmx"),
        ):  # fmt: skip
            dev.add(name, MemLink(fs, target, 0, 0, 0, now))
        return dev

    @staticmethod
    def add_device(dir: MemDir, name: bytes, mode: int, rdev: int) -> None:
        """A device node in a memory directory."""
        node = MemNode(dir.mem, mode, 0, 0, 0, time.time_ns())
        node.rdev = rdev
        dir.add(name, node)

    def find(self, path: bytes) -> Path:
        """An existing place, symbolic links not followed. Raises SysErr(ENOENT)."""
        at = self.ns.root_path()
        for name in path.split(b"/"):
            if name:
                d = self._child(at, name)
                at = follow_mounts(Path(at.mount, d))
                at.inode  # noqa: B018  raises ENOENT
        return at

    def place(self, path: bytes, is_dir: bool) -> Path:
        """As ``find``, but makes directories (and the last one a file unless ``is_dir``)."""
        at = self.ns.root_path()
        names = [n for n in path.split(b"/") if n]
        for k, name in enumerate(names):
            last = k == len(names) - 1
            d = self._child(at, name)
            if d.inode is None:
                d = self._make(at, name, is_dir or not last)
            elif d.inode.is_lnk():
                at = self._through_link(at, d.inode.readlink(self.boot), is_dir or not last)
                continue
            at = follow_mounts(Path(at.mount, d))
        return at

    def _through_link(self, at: Path, target: bytes, is_dir: bool) -> Path:
        """A link on the way (/var/run -> /run): its target is taken from the root of the tree or from ``at``."""
        if target.startswith(b"/"):
            return self.place(target, is_dir)
        names: list[bytes] = []
        d = at.dentry
        while d.parent is not d:
            names.insert(0, d.name)
            d = d.parent
        for part in target.split(b"/"):
            if part == b"..":
                names = names[:-1]
            elif part not in (b"", b"."):
                names.append(part)
        return self.place(b"/".join(names), is_dir)

    def _child(self, at: Path, name: bytes) -> Dentry:
        return at.dentry.children.get(name) or lookup_slow(self.boot, at.dentry, name)

    def _make(self, at: Path, name: bytes, is_dir: bool) -> Dentry:
        dir = at.inode
        if not isinstance(dir, MemDir):
            return at.dentry.set_child(
                name,
                dir.mkdir(self.boot, name, stat.S_IFDIR | 0o755)
                if is_dir
                else dir.create(self.boot, name, stat.S_IFREG | 0o644),
            )
        now = time.time_ns()
        i = (
            MemDir(dir.mem, 0o755, 0, 0, 0, now)
            if is_dir
            else MemReg(dir.mem, stat.S_IFREG | 0o644, 0, 0, 0, now)
        )
        dir.add(name, i)
        return at.dentry.set_child(name, i)


def exists(b: Builder, path: bytes) -> bool:
    """Whether the tree has ``path``."""
    try:
        b.find(path)
    except SysErr:
        return False
    return True
