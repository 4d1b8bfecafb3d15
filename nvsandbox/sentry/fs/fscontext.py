"""What fsopen(2) and fspick(2) return: a file system that is being configured (Linux: fs/fsopen.c, fs/fs_context.c)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.wait import POLL_READ, POLL_WRITE
from ..vfs.fstypes import CHECKS, OPTIONS
from ..vfs.open import PathFile
from .anon import AnonFile

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.inode import FileSystem, Inode
    from ..vfs.mount import MountNamespace
    from ..vfs.path import Path

# What may be done next.
CREATE_PARAMS: Final = 0
AWAITING_MOUNT: Final = 1
AWAITING_RECONF: Final = 2
RECONF_PARAMS: Final = 3
FAILED: Final = 4

MESSAGES: Final = 8  # as many as Linux keeps
MAX_OPTIONS: Final = 4096  # bytes of them
RO: Final = {b"ro": True, b"rw": False}
IGNORED: Final = frozenset(
    (b"dirsync", b"lazytime", b"mand", b"sync", b"async", b"nolazytime", b"nomand")
)


@final
class FsConfig(AnonFile):
    """``kind``: the type's name. ``fs``, ``root``: what has been made, or is being changed."""

    __slots__ = ("fs", "kind", "log", "options", "phase", "readonly", "root", "source")

    label = b"anon_inode:[fscontext]"

    def __init__(
        self, kind: bytes, fs: FileSystem | None = None, root: Inode | None = None
    ) -> None:
        super().__init__(os.O_RDWR)
        self.kind = kind
        self.fs = fs
        self.root = root
        self.source: bytes | None = None
        self.readonly: bool | None = None  # not mentioned
        self.options: list[bytes] = []
        self.log: list[bytes] = []
        self.phase = CREATE_PARAMS if fs is None else RECONF_PARAMS

    def poll(self, t: Task | None) -> int:
        return POLL_READ | POLL_WRITE

    def pollable(self) -> bool:
        return False

    def read(self, t: Task, size: int) -> bytes | int:
        """One message of what went wrong. ENODATA when there is none, EMSGSIZE when it does not fit."""
        if not self.log:
            return -errno.ENODATA
        if len(self.log[0]) > size:
            return -errno.EMSGSIZE
        return self.log.pop(0)

    def fail(self, text: bytes) -> SysErr:
        """EINVAL, with a message for the reader."""
        del self.log[: -(MESSAGES - 1)]
        self.log.append(b"e %s\n" % text)
        return SysErr(errno.EINVAL)

    def text(self) -> bytes:
        """The option string so far."""
        return b",".join(self.options)

    def start_over(self) -> None:
        """It has been mounted, or changed: what comes next is a change (Linux: vfs_clean_context)."""
        self.options, self.source, self.readonly = [], None, None
        self.phase = AWAITING_RECONF

    def may_reconfigure(self) -> bool:
        """Whether it is mounted already, and no change of it has failed (Linux: finish_clean_context)."""
        if self.phase == AWAITING_RECONF:
            self.phase = RECONF_PARAMS
        return self.phase == RECONF_PARAMS

    def set(self, key: bytes, value: bytes | None, is_text: bool) -> None:
        """One parameter; ``value`` None for a flag, ``is_text`` unless it is binary, a path or a file. Raises EINVAL, EBUSY."""
        if self.phase != CREATE_PARAMS and not self.may_reconfigure():
            raise SysErr(errno.EBUSY)
        if key in RO:
            self.readonly = RO[key]
            return
        if key in IGNORED:
            return
        if key not in OPTIONS.get(self.kind, ()):
            self._source(key, value, is_text)
            return
        item = key if value is None else b"%s=%s" % (key, value)
        check = CHECKS.get(self.kind)
        if not is_text or b"," in item or len(self.text()) + len(item) >= MAX_OPTIONS:
            raise self.fail(b"%s: Bad value for '%s'" % (self.kind, key))
        try:
            if check is not None:
                check(item)
        except SysErr:
            raise self.fail(b"%s: Bad value for '%s'" % (self.kind, key)) from None
        self.options.append(item)

    def _source(self, key: bytes, value: bytes | None, is_text: bool) -> None:
        if key != b"source":
            raise self.fail(b"%s: Unknown parameter '%s'" % (self.kind, key))
        if value is None or not is_text:
            raise self.fail(b"Non-string source")
        if self.source is not None:
            raise self.fail(b"Multiple sources")
        self.source = value


@final
class TreeFile(PathFile):
    """A tree of mounts that is nowhere yet, as open_tree(2) and fsmount(2) return it. It goes away with the descriptor unless
    move_mount(2) has put it somewhere."""

    __slots__ = ("tree",)

    def __init__(self, path: Path, tree: MountNamespace) -> None:
        super().__init__(os.O_PATH, path)
        self.tree = tree

    def release(self) -> None:
        self.tree.dissolve()
