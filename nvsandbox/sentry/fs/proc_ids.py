"""/proc/PID/uid_map, gid_map, projid_map, setgroups (Linux: kernel/user_namespace.c, fs/proc/base.c; user_namespaces(7))."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel import userns
from ..vfs.synthetic import GenFile, GenFileDesc

if TYPE_CHECKING:
    from ..kernel.creds import Credentials
    from ..kernel.task import Task
    from ..kernel.userns import UserNamespace
    from ..vfs.file import FileDescription
    from ..vfs.path import Path
    from .proc import ProcFs
    from .proc_dirs import ProcessDir

PROJECTS: Final = b"         0          0 4294967295\n"


@final
class MapFile(GenFile):
    """``kind``: its name."""

    __slots__ = ("dir", "kind")

    def __init__(self, fs: ProcFs, dir: ProcessDir, kind: bytes) -> None:
        mode = 0o444 if kind == b"projid_map" else 0o644
        super().__init__(fs, self._show, mode, 0, 0, None if mode == 0o444 else self._refuse)
        self.dir = dir
        self.kind = kind

    def namespace(self) -> UserNamespace:
        """Raises ESRCH."""
        return self.dir.live().creds.userns

    def _show(self, t: Task) -> bytes:
        ns = self.namespace()
        if self.kind == b"projid_map":
            return PROJECTS if ns.owner is None else b""
        if self.kind == b"setgroups":
            return b"allow\n" if ns.may_setgroups else b"deny\n"
        groups = self.kind == b"gid_map"
        if ns.owner is None:
            c = self.dir.tg.container
            return c.gid_map if groups else c.uid_map
        return userns.show_map(t.creds.userns, ns, groups)

    def _refuse(self, t: Task, data: bytes) -> int:
        raise SysErr(errno.EINVAL)

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        return MapDesc(flags, path, self, t.creds, self.namespace())


@final
class MapDesc(GenFileDesc):
    """Who opened it counts as well as who writes."""

    __slots__ = ("creds", "file", "ns")

    def __init__(
        self, flags: int, path: Path, gen: MapFile, creds: Credentials, ns: UserNamespace
    ) -> None:
        super().__init__(flags, path, gen)
        self.file = gen
        self.creds = creds
        self.ns = ns

    def write(self, t: Task, data: bytes) -> int:
        n = self.pwrite(t, data, self.offset)
        self.offset += n
        return n

    def pwrite(self, t: Task, data: bytes, offset: int) -> int:
        """Raises EINVAL, EPERM."""
        if offset:
            raise SysErr(errno.EINVAL)
        if self.file.kind == b"setgroups":
            return userns.write_setgroups(t, self.ns, data)
        return userns.write_map(t, self.creds, self.ns, self.file.kind == b"gid_map", data)
