"""A read view of the sandbox's own control group, version 2 (Linux: kernel/cgroup; cgroups(7)).

The sandbox is one group, seen as the root of the hierarchy. Limits given to the file system are shown where
programs size themselves by them; nothing can be written and no group can be made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

from ..vfs.fstypes import register_filesystem
from ..vfs.inode import FileSystem, Inode
from ..vfs.synthetic import GenFile, StaticDir
from .proc_info import used_memory

if TYPE_CHECKING:
    from ..kernel.kernel import Kernel
    from ..kernel.task import Task


@final
class CgroupFs(FileSystem):
    """``cpu_max``: (quota, period) in µs or None; ``memory_max``, ``pids_max``: None is "max"."""

    __slots__ = ("k", "root")

    magic: ClassVar[int] = 0x63677270
    xattr_user_ok: ClassVar[bool] = False

    def __init__(
        self, k: Kernel, memory_max: int | None = None, cpu_max: tuple[int, int] | None = None,
        pids_max: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__("cgroup2", "cgroup")
        self.k = k
        self.root = StaticDir(self, 0o555)
        quota = b"%d %d" % cpu_max if cpu_max is not None else b"max 100000"
        values = {
            b"cgroup.controllers": b"cpuset cpu io memory pids", b"cgroup.subtree_control": b"",
            b"cgroup.type": b"domain", b"cgroup.max.depth": b"max", b"cgroup.max.descendants": b"max",
            b"cgroup.freeze": b"0", b"cgroup.events": b"populated 1\nfrozen 0",
            b"cgroup.stat": b"nr_descendants 0\nnr_dying_descendants 0",
            b"cpu.max": quota, b"cpu.weight": b"100", b"memory.max": _limit(memory_max),
            b"memory.high": b"max", b"memory.low": b"0", b"memory.min": b"0",
            b"memory.swap.max": b"0", b"memory.swap.current": b"0",
            b"memory.events": b"low 0\nhigh 0\nmax 0\noom 0\noom_kill 0", b"pids.max": _limit(pids_max),
            b"cpuset.cpus": b"", b"cpuset.mems": b"", b"cpuset.mems.effective": b"0",
        }  # fmt: skip
        for name, value in values.items():
            line = value + b"\n" if value else b"\n"
            self.root.add(name, GenFile(self, lambda t, v=line: v))  # type: ignore[misc]  # binds the loop's value
        self._live(k)

    def _live(self, k: Kernel) -> None:
        add = self.root.add
        add(
            b"cgroup.procs", GenFile(self, lambda t: b"".join(b"%d\n" % p for p in sorted(k.procs)))
        )
        add(
            b"cgroup.threads",
            GenFile(self, lambda t: b"".join(b"%d\n" % p for p in sorted(k.tasks))),
        )
        add(b"pids.current", GenFile(self, lambda t: b"%d\n" % len(k.tasks)))
        add(b"memory.current", GenFile(self, lambda t: self._memory()))
        add(b"memory.stat", GenFile(self, lambda t: b"anon %sfile 0\n" % self._memory()))
        add(b"cpu.stat", GenFile(self, lambda t: self._cpu()))
        n = k.ncpu
        add(
            b"cpuset.cpus.effective",
            GenFile(self, lambda t: b"0\n" if n == 1 else b"0-%d\n" % (n - 1)),
        )

    def _memory(self) -> bytes:
        return b"%d\n" % used_memory(self.k)

    def _cpu(self) -> bytes:
        us = sum(tg.cputime for tg in self.k.procs.values()) // 1000
        return b"usage_usec %d\nuser_usec %d\nsystem_usec 0\n" % (us, us)


def _limit(v: int | None) -> bytes:
    return b"max" if v is None else b"%d" % v


def make_cgroupfs(
    k: Kernel, memory_max: int | None = None, cpu_max: tuple[int, int] | None = None,
    pids_max: int | None = None,
) -> CgroupFs:  # fmt: skip
    """A new instance; mount its ``root``."""
    return CgroupFs(k, memory_max, cpu_max, pids_max)


def _factory(t: Task, source: bytes, data: bytes) -> tuple[FileSystem, Inode]:
    fs = CgroupFs(t.k)
    return fs, fs.root


register_filesystem(b"cgroup2", _factory)
