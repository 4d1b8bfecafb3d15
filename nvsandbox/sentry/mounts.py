"""The mounts a sandbox starts with: the gofer's, and the file systems of our own."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .errors import SysErr
from .fs.dev_nodes import mode_and_rdev

if TYPE_CHECKING:
    from ..sandbox.config import SandboxConfig
    from .boot import Boot
    from .kernel.task import Task
    from .vfs.inode import FileSystem, Inode
    from .vfs.mount import MountNamespace

log = logging.getLogger("nvsandbox.sentry")

Maker = Callable[["Boot", "Task", bytes], tuple["FileSystem", "Inode"]]


def _tmpfs(b: Boot, t: Task, data: bytes) -> tuple[FileSystem, Inode]:
    return b.tmpfs(data)


def _dev(b: Boot, t: Task, data: bytes) -> tuple[FileSystem, Inode]:
    """A tmpfs with the nodes and links every program expects (Linux: Documentation/admin-guide/devices.txt)."""
    fs, root = b.tmpfs(b"mode=755")
    for name, minor in DEV_MEM:
        mode, rdev = mode_and_rdev(minor)
        node = root.mknod(t, name, mode, rdev)
        node.mode = stat.S_IFCHR | 0o666
    for name, major, minor, perm in DEV_TTY:
        node = root.mknod(t, name, stat.S_IFCHR | perm, os.makedev(major, minor))
        node.mode = stat.S_IFCHR | perm
    for name, target in DEV_LINKS:
        root.symlink(t, name, target)
    for name in (b"pts", b"shm", b"mqueue"):
        root.mkdir(t, name, stat.S_IFDIR | 0o755)
    return fs, root


DEV_MEM: Final = ((b"null", 3), (b"zero", 5), (b"full", 7), (b"random", 8), (b"urandom", 9))
DEV_TTY: Final = ((b"tty", 5, 0, 0o666),)
DEV_LINKS: Final = (
    (b"fd", b"/proc/self/fd"), (b"stdin", b"/proc/self/fd/0"), (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"), (b"ptmx", b"pts/ptmx"), (b"core", b"/proc/kcore"),
)  # fmt: skip

MAKERS: Final[dict[str, Maker]] = {"tmpfs": _tmpfs, "dev": _dev}


def mount_all(b: Boot, ns: MountNamespace, config: SandboxConfig) -> None:
    """Mounts everything of ``config`` below the root. Raises SysErr for a target that can't be made."""
    t = b.boot_task(ns)
    for m in config.inner:
        maker = MAKERS.get(m.type)
        if maker is None:
            log.warning("no file system of type %s", m.type)
            continue
        fs, root = maker(b, t, m.data)
        b.mount(t, ns, fs, root, m.target, m.flags)


__all__ = ["SysErr", "mount_all"]
