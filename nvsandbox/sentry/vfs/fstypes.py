"""File-system types that mount(2) knows (Linux: fs/filesystems.c). Registered before lock-down, read after."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import SysErr

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .inode import FileSystem, Inode

# (task, source, option string) -> (file system, its root directory)
Factory = Callable[["Task", bytes, bytes], "tuple[FileSystem, Inode]"]

FSTYPES: Final[dict[bytes, Factory]] = {}


def register_filesystem(name: bytes, factory: Factory) -> None:
    """Makes ``mount -t name`` possible inside the sandbox."""
    FSTYPES[name] = factory


def make_filesystem(t: Task, name: bytes, source: bytes, data: bytes) -> tuple[FileSystem, Inode]:
    """A new instance. Raises ENODEV for an unknown type."""
    f = FSTYPES.get(name)
    if f is None:
        raise SysErr(errno.ENODEV)
    return f(t, source, data)
