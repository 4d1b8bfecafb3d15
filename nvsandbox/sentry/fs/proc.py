"""procfs: the file system and its root (Linux: fs/proc/root.c; proc(5)).

An instance shows the processes of one pid namespace, with their numbers there. Left out: hidepid, subset=pid, /proc/PID/mem
(the kernel adds it with ``add``), /proc/kcore, /proc/kmsg.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..vfs.fstypes import register_filesystem
from ..vfs.inode import FileSystem, Inode
from ..vfs.synthetic import GenFile, StaticDir, SynthLink
from .proc_dirs import ProcRoot, SelfLink
from .proc_info import files
from .proc_net import make_net
from .proc_sys import make_sys

if TYPE_CHECKING:
    from ..kernel.container import Container
    from ..kernel.kernel import Kernel
    from ..kernel.pids import PidNamespace
    from ..kernel.task import Task


DIRECTORIES: Final[dict[bytes, dict[bytes, Callable[[Task], bytes]]]] = {}
"""Directories of generated files that other parts of the kernel have."""


@final
class ProcFs(FileSystem):
    """One instance, of a container; ``root`` is its root directory."""

    __slots__ = ("net", "pids", "root")

    magic: ClassVar[int] = 0x9FA0
    xattr_user_ok: ClassVar[bool] = False

    def __init__(self, k: Kernel, container: Container, pidns: PidNamespace) -> None:
        super().__init__("proc", "proc")
        self.pids = pidns
        self.owner = pidns.administrator()
        self.net = make_net(self)
        self.root = ProcRoot(self)
        static = self.root.static
        for name, fn in files(k).items():
            static[name] = GenFile(self, fn)
        static[b"self"] = SelfLink(self, False)
        static[b"thread-self"] = SelfLink(self, True)
        static[b"mounts"] = SynthLink(self, b"self/mounts")
        static[b"net"] = SynthLink(self, b"self/net")
        static[b"sys"] = make_sys(self, k)
        for name, made in DIRECTORIES.items():
            d = static[name] = StaticDir(self)
            for entry, fn in made.items():
                d.add(entry, GenFile(self, fn))
        for path, content in container.proc_files.items():
            self._extra(path, content)

    def _extra(self, path: bytes, content: bytes) -> None:
        first, *rest = path.split(b"/")
        file = GenFile(self, lambda t: content)
        if not rest:
            self.root.static[first] = file
            return
        d = self.root.static.get(first)
        if not isinstance(d, StaticDir):
            d = self.root.static[first] = StaticDir(self)
        for name in rest[:-1]:
            i = d.entries.get(name)
            if not isinstance(i, StaticDir):
                i = StaticDir(self)
                d.add(name, i)
            d = i
        d.add(rest[-1], file)

    def add(self, name: bytes, inode: Inode) -> None:
        """An entry of /proc that another part of the kernel provides (driver/…)."""
        self.root.static[name] = inode


def make_proc(k: Kernel, container: Container) -> ProcFs:
    """A new instance; mount its ``root``."""
    return ProcFs(k, container, container.pids)


def _factory(t: Task, source: bytes, data: bytes) -> tuple[FileSystem, Inode]:
    fs = ProcFs(t.k, t.tg.container, t.tg.pidns)
    fs.source = source.decode("utf-8", "replace") or "proc"
    return fs, fs.root


register_filesystem(b"proc", _factory, (b"gid", b"hidepid", b"subset"))
