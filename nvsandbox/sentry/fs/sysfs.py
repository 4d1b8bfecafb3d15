"""sysfs: the small part that programs look at (Linux: fs/sysfs; sysfs(5)).

Processors, one memory node, network interfaces, empty buses and block devices. Everything is read-only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, final

from ..vfs.fstypes import register_filesystem
from ..vfs.inode import FileSystem, Inode
from ..vfs.synthetic import GenFile, MountPointDir, StaticDir, SynthLink
from .cpumask import every_cpu, mask_list, mask_words
from .sysfs_net import NetDir, NetLinks

if TYPE_CHECKING:
    from ..kernel.container import Container
    from ..kernel.kernel import Kernel
    from ..kernel.task import Task

CACHES: Final = (("1", "Data", "32K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K"))
DIRS: Final = (
    b"block", b"bus/pci/devices", b"bus/pci/drivers", b"bus/usb/devices", b"bus/cpu/devices",
    b"class/block", b"class/drm", b"class/input", b"class/tty", b"class/mem", b"class/hwmon",
    b"class/power_supply", b"class/thermal", b"dev/block", b"dev/char", b"devices/platform",
    b"devices/virtual", b"firmware", b"hypervisor", b"kernel/iommu_groups", b"module", b"power",
)  # fmt: skip
MOUNT_POINTS: Final = ((b"fs", b"cgroup"), (b"kernel", b"debug"), (b"kernel", b"security"))
HUGE: Final = {
    b"enabled": b"always [madvise] never", b"defrag": b"always defer defer+madvise [madvise] never",
    b"shmem_enabled": b"always within_size advise [never] deny force", b"hpage_pmd_size": b"2097152",
    b"use_zero_page": b"1",
}  # fmt: skip


@final
class SysFs(FileSystem):
    """One instance; ``root`` is its root directory."""

    __slots__ = ("root",)

    magic: ClassVar[int] = 0x62656572
    xattr_user_ok: ClassVar[bool] = False

    def __init__(self, k: Kernel, container: Container) -> None:
        super().__init__("sysfs", "sysfs")
        self.root = StaticDir(self, 0o555)
        for path in DIRS:
            self.dir(path)
        for at, point in MOUNT_POINTS:
            self.dir(at).add(point, MountPointDir(self, 0o755))
        self._cpus(k.ncpu)
        self._node(k, container)
        self.dir(b"devices/virtual").add(b"net", NetDir(self))
        self.dir(b"class").add(b"net", NetLinks(self))
        for name, value in HUGE.items():
            self.text(b"kernel/mm/transparent_hugepage/" + name, value)
        self.dir(b"kernel/mm/hugepages")
        for path, content in container.sys_files.items():
            self.raw(path, content)
        for path, target in container.sys_links.items():
            self.link(path, target)
        self.text(b"kernel/uevent_seqnum", b"0")
        self.text(b"kernel/profiling", b"0")

    def dir(self, path: bytes) -> StaticDir:
        """The directory at ``path``, made with what is missing of it."""
        d = self.root
        for name in path.split(b"/"):
            if not name:
                continue
            i = d.entries.get(name)
            if not isinstance(i, StaticDir):
                i = StaticDir(self, 0o755)
                d.add(name, i)
            d = i
        return d

    def text(self, path: bytes, value: bytes, mode: int = 0o444) -> None:
        """A file with fixed content."""
        at, _, name = path.rpartition(b"/")
        line = value + b"\n"
        self.dir(at).add(name, GenFile(self, lambda t: line, mode))

    def raw(self, path: bytes, content: bytes) -> None:
        """A file with exactly this content."""
        at, _, name = path.rpartition(b"/")
        self.dir(at).add(name, GenFile(self, lambda t: content))

    def link(self, path: bytes, target: bytes) -> None:
        at, _, name = path.rpartition(b"/")
        self.dir(at).add(name, SynthLink(self, target))

    def _cpus(self, n: int) -> None:
        base = b"devices/system/cpu/"
        mask = mask_words(every_cpu(n), n).encode()
        cpus = mask_list(every_cpu(n)).encode()
        for name in (b"online", b"possible", b"present"):
            self.text(base + name, cpus)
        self.text(base + b"offline", b"")
        self.text(base + b"isolated", b"")
        self.text(base + b"kernel_max", b"8191")
        self.text(base + b"smt/active", b"0")
        self.text(base + b"smt/control", b"notsupported")
        for c in range(n):
            cpu = base + b"cpu%d/" % c
            one = mask_words(1 << c, n).encode()
            rows = {
                b"core_id": b"%d" % c, b"physical_package_id": b"0", b"die_id": b"0",
                b"thread_siblings": one, b"thread_siblings_list": b"%d" % c, b"core_siblings": mask,
                b"core_siblings_list": cpus, b"core_cpus": one, b"core_cpus_list": b"%d" % c,
                b"package_cpus": mask, b"package_cpus_list": cpus,
            }  # fmt: skip
            for name, value in rows.items():
                self.text(cpu + b"topology/" + name, value)
            for i, (level, kind, size) in enumerate(CACHES):
                at = cpu + b"cache/index%d/" % i
                for key, text in (("level", level), ("type", kind), ("size", size)):
                    self.text(at + key.encode(), text.encode())
                self.text(at + b"coherency_line_size", b"64")
                self.text(at + b"shared_cpu_list", b"%d" % c)
                self.text(at + b"shared_cpu_map", one)
            self.link(cpu + b"node0", b"../../node/node0")
            if c:
                self.text(cpu + b"online", b"1")

    def _node(self, k: Kernel, container: Container) -> None:
        base = b"devices/system/node/"
        for name in (b"online", b"possible", b"has_cpu", b"has_memory", b"has_normal_memory"):
            self.text(base + name, b"0")
        self.text(base + b"node0/cpulist", mask_list(every_cpu(k.ncpu)).encode())
        self.text(base + b"node0/cpumap", mask_words(every_cpu(k.ncpu), k.ncpu).encode())
        self.text(base + b"node0/distance", b"10")
        self.text(
            base + b"node0/meminfo", b"Node 0 MemTotal:       %d kB" % (container.memory >> 10)
        )
        self.text(base + b"node0/numastat", b"numa_hit 0\nnuma_miss 0\nnuma_foreign 0")


def make_sysfs(k: Kernel, container: Container) -> SysFs:
    """A new instance; mount its ``root``."""
    return SysFs(k, container)


def _factory(t: Task, source: bytes, data: bytes) -> tuple[FileSystem, Inode]:
    fs = SysFs(t.k, t.tg.container)
    fs.source = source.decode("utf-8", "replace") or "sysfs"
    return fs, fs.root


register_filesystem(b"sysfs", _factory)
