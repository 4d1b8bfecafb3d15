"""Opening files that are not data: FIFOs and devices (Linux: fs/char_dev.c chrdev_open, fs/pipe.c fifo_open).

Drivers register themselves when they are imported; nothing registers later. ``register_fifo`` is for fs/pipe.py.
A device inode of any file system leads to our driver of its number, never to the host's device.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from .device_rules import check_device

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .file import FileDescription
    from .path import Path

Opener = Callable[["Task", "Path", int], "FileDescription"]

ANY_MINOR: Final = -1
CHRDEVS: Final[dict[tuple[int, int], Opener]] = {}
_FIFO: Final[list[Opener]] = []


def register_chrdev(major: int, minor: int, opener: Opener) -> None:
    """``opener(t, path, flags)`` answers opens of (major, minor); ANY_MINOR for all others of ``major``."""
    CHRDEVS[major, minor] = opener


def register_fifo(opener: Opener) -> None:
    """``opener`` answers opens of FIFO inodes (state in ``inode.special``); it may suspend."""
    _FIFO[:] = [opener]


def open_special(t: Task, path: Path, flags: int) -> FileDescription:
    """Raises ENXIO: a socket, or no driver of that number; EPERM for a device that the container may not have."""
    i = path.inode
    kind = i.mode & 0o170000
    if kind == stat.S_IFIFO and _FIFO:
        return _FIFO[0](t, path, flags)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        if path.mount.nodev:
            raise SysErr(errno.EACCES)
        check_device(t, i, ("r", "w", "rw", "rw")[flags & 3])
    if kind == stat.S_IFCHR:
        major, minor = os.major(i.rdev), os.minor(i.rdev)
        opener = CHRDEVS.get((major, minor)) or CHRDEVS.get((major, ANY_MINOR))
        if opener is not None:
            return opener(t, path, flags)
    raise SysErr(errno.ENXIO)
