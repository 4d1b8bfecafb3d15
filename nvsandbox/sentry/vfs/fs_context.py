"""Where a task stands in the file tree (Linux: struct fs_struct, fs/fs_struct.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from .mount import MountNamespace
    from .path import Path


@final
class FsContext:
    """Root, working directory, umask and mount namespace; shared by CLONE_FS."""

    __slots__ = ("cwd", "ns", "refs", "root", "umask")

    def __init__(self, ns: MountNamespace, root: Path, cwd: Path, umask: int = 0o022) -> None:
        self.ns = ns
        self.root = root
        self.cwd = cwd
        self.umask = umask
        self.refs = 1
        ns.contexts.add(self)

    def fork(self) -> FsContext:
        """A copy of its own for a child without CLONE_FS (or unshare(CLONE_FS))."""
        return FsContext(self.ns, self.root, self.cwd, self.umask)

    def enter(self, ns: MountNamespace) -> None:
        """setns(2): at the root of another mount namespace."""
        self.ns.leave(self)
        self.ns = ns
        ns.contexts.add(self)
        self.root = self.cwd = ns.root_path()

    def put(self) -> None:
        self.refs -= 1
        if self.refs == 0:
            self.ns.leave(self)
