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
OPTIONS: Final[dict[bytes, frozenset[bytes]]] = {}  # the names of those a type has
CHECKS: Final[dict[bytes, Callable[[bytes], object]]] = {}  # of an option string's values


def register_filesystem(
    name: bytes,
    factory: Factory,
    options: tuple[bytes, ...] = (),
    check: Callable[[bytes], object] | None = None,
) -> None:
    """Makes ``mount -t name`` possible inside the sandbox. ``check`` raises EINVAL for an option string with a bad value."""
    FSTYPES[name] = factory
    OPTIONS[name] = frozenset(options)
    if check is not None:
        CHECKS[name] = check


def split_options(data: bytes) -> list[tuple[bytes, bytes]]:
    """The (name, value) pairs of an option string."""
    out = []
    for item in data.split(b","):
        if item:
            key, _, value = item.partition(b"=")
            out.append((key, value))
    return out


def make_filesystem(t: Task, name: bytes, source: bytes, data: bytes) -> tuple[FileSystem, Inode]:
    """A new instance. Raises ENODEV for an unknown type, EINVAL for an option that it doesn't have."""
    f = FSTYPES.get(name)
    if f is None:
        raise SysErr(errno.ENODEV)
    if any(key not in OPTIONS[name] for key, _ in split_options(data)):
        raise SysErr(errno.EINVAL)
    return f(t, source, data)
