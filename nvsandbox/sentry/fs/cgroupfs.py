"""A read view of a container's own control group, version 2 (Linux: kernel/cgroup; cgroups(7)).

A container is one group, seen as the root of the hierarchy. Its limits are shown where programs size themselves by
them; nothing can be written and no group can be made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from ..vfs.fstypes import register_filesystem
from ..vfs.inode import FileSystem, Inode
from ..vfs.synthetic import GenFile, StaticDir
from .cpumask import every_cpu, mask_list
from .proc_info import used_memory

if TYPE_CHECKING:
    from ..kernel.container import Container
    from ..kernel.kernel import Kernel
    from ..kernel.task import Task


@final
class CgroupFs(FileSystem):
    """Of one container; limits may change."""

    __slots__ = ("container", "root")

    magic: ClassVar[int] = 0x63677270
    xattr_user_ok: ClassVar[bool] = False

    def __init__(self, k: Kernel, container: Container) -> None:
        super().__init__("cgroup2", "cgroup")
        self.container = c = container
        self.root = StaticDir(self, 0o555)
        values = {
            b"cgroup.controllers": b"cpuset cpu io memory pids", b"cgroup.subtree_control": b"",
            b"cgroup.type": b"domain", b"cgroup.max.depth": b"max", b"cgroup.max.descendants": b"max",
            b"cgroup.freeze": b"0", b"cgroup.events": b"populated 1\nfrozen 0",
            b"cgroup.stat": b"nr_descendants 0\nnr_dying_descendants 0",
            b"cpu.weight": b"100",
            b"memory.high": b"max", b"memory.low": b"0", b"memory.min": b"0",
            b"memory.swap.max": b"0", b"memory.swap.current": b"0",
            b"memory.events": b"low 0\nhigh 0\nmax 0\noom 0\noom_kill 0",
            b"cpuset.cpus": b"", b"cpuset.mems": b"", b"cpuset.mems.effective": b"0",
        }  # fmt: skip
        for name, value in values.items():
            line = value + b"\n" if value else b"\n"
            self.root.add(name, GenFile(self, lambda t, v=line: v))  # type: ignore[misc]  # binds the loop's value
        self._live(k, c)

    def _live(self, k: Kernel, c: Container) -> None:
        add = self.root.add
        add(b"cpu.max", GenFile(self, lambda t: _quota(c.cpu_max)))
        add(b"memory.max", GenFile(self, lambda t: _limit(c.memory_max)))
        add(b"pids.max", GenFile(self, lambda t: _limit(c.pids_max)))
        add(
            b"cgroup.procs",
            GenFile(
                self,
                lambda t: b"".join(
                    b"%d\n" % p for p in sorted(c.pids.procs) if c.pids.procs[p].container is c
                ),
            ),
        )
        add(
            b"cgroup.threads",
            GenFile(
                self,
                lambda t: b"".join(
                    b"%d\n" % p for p in sorted(c.pids.tasks) if c.pids.tasks[p].tg.container is c
                ),
            ),
        )
        add(b"pids.current", GenFile(self, lambda t: b"%d\n" % c.tasks))
        add(b"memory.current", GenFile(self, lambda t: self._memory()))
        add(b"memory.stat", GenFile(self, lambda t: b"anon %sfile 0\n" % self._memory()))
        add(b"cpu.stat", GenFile(self, lambda t: self._cpu()))
        cpus = mask_list(every_cpu(k.ncpu)).encode() + b"\n"
        add(b"cpuset.cpus.effective", GenFile(self, lambda t: cpus))

    def _memory(self) -> bytes:
        return b"%d\n" % used_memory(self.container)

    def _cpu(self) -> bytes:
        us = (
            sum(
                g.cputime
                for g in self.container.pids.procs.values()
                if g.container is self.container
            )
            // 1000
        )
        return b"usage_usec %d\nuser_usec %d\nsystem_usec 0\n" % (us, us)


def _limit(v: int) -> bytes:
    return b"%d\n" % v if v else b"max\n"


def _quota(v: tuple[int, int] | None) -> bytes:
    return b"%d %d\n" % v if v is not None else b"max 100000\n"


def make_cgroupfs(k: Kernel, container: Container) -> CgroupFs:
    """A new instance; mount its ``root``."""
    return CgroupFs(k, container)


def _factory(t: Task, source: bytes, data: bytes) -> tuple[FileSystem, Inode]:
    fs = CgroupFs(t.k, t.tg.container)
    return fs, fs.root


register_filesystem(
    b"cgroup2", _factory, (b"nsdelegate", b"favordynmods", b"memory_localevents", b"memory_recursiveprot")
)  # fmt: skip
