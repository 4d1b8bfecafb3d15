"""What a container of a sandbox has of its own besides its files: pid namespace, seccomp profile, limits, devices' files.

A sandbox is one container; in a pod several share a Sentry. Children stay in the container of their parent.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, final

from ..vfs.lent import ALL
from .keys import KeyTable
from .klog import KernelLog

if TYPE_CHECKING:
    from ..syscalls.decode import Row
    from ..vfs.device_rules import DeviceRule
    from .kernel import Kernel
    from .namespaces import NsProxy
    from .pids import PidNamespace
    from .stubs import StubPool

MAX_TASKS: Final = 16000
RELEASE: Final[bytes] = b"6.1.0-nvsandbox"
VERSION: Final[bytes] = b"#1 SMP PREEMPT_DYNAMIC nvsandbox"
BANNER: Final[bytes] = b"Linux version %s %s" % (RELEASE, VERSION)
IDENTITY: Final = b"%10d %10d %10d\n" % (0, 0, 0xFFFFFFFF)


@final
class Container:
    """``table`` is what its calls are answered by: the sandbox's, under the container's profile."""

    __slots__ = (
        "_keys",
        "_log",
        "cpu_max",
        "device_rules",
        "gid_map",
        "hears_all",
        "lends",
        "max_tasks",
        "memory",
        "memory_max",
        "ns",
        "pids",
        "pids_max",
        "proc_files",
        "removed",
        "seccomp_mode",
        "stubs",
        "sys_files",
        "sys_links",
        "table",
        "tasks",
        "uid_map",
    )  # fmt: skip

    def __init__(self, pids: PidNamespace, table: dict[int, Row], ns: NsProxy) -> None:
        self.pids = pids
        self.ns = ns  # of its first process
        self.table = table
        self.hears_all = False  # no call may be answered in the stub: a profile has a word to say
        self.lends = ALL  # calls that the native module may answer (vfs/lent.py): no profile has a word to say there
        self.seccomp_mode = 0  # 2 under a profile (sentry/seccomp.py)
        self.memory = _host_memory()  # bytes that it sees
        self.memory_max = 0  # bytes, as its control group shows them; 0: no limit
        self.max_tasks = MAX_TASKS
        self.pids_max = 0  # tasks, as its control group shows them; 0: no limit
        self.cpu_max: tuple[int, int] | None = None  # quota and period, µs
        self.uid_map = self.gid_map = IDENTITY  # as /proc/PID/uid_map shows it
        self.tasks = 0
        self.removed = False  # starts nothing any more
        self.stubs: StubPool | None = None  # of its own, in a pod
        self.device_rules: list[DeviceRule] = []  # none: every device
        self._log: KernelLog | None = None
        self._keys: KeyTable | None = None
        # Files of device drivers: path -> content, path -> target
        self.proc_files: dict[bytes, bytes] = {}
        self.sys_files: dict[bytes, bytes] = {}
        self.sys_links: dict[bytes, bytes] = {}

    def log(self) -> KernelLog:
        """The kernel's log, as this container sees it."""
        if self._log is None:
            self._log = KernelLog(BANNER)
        return self._log

    def keys(self, k: Kernel) -> KeyTable:
        """Its keys and keyrings. Linux has one table for all containers."""
        if self._keys is None:
            self._keys = KeyTable(
                k.realtime_ns, lambda: [t.keys for t in k.every_task() if t.tg.container is self]
            )
        return self._keys

    def limit(self, memory: int, pids: int) -> None:
        """Limits in bytes and tasks, 0: as before."""
        if memory > 0:
            self.memory_max = memory
            self.memory = min(_host_memory(), memory)
        if pids > 0:
            self.pids_max = pids
            self.max_tasks = min(MAX_TASKS, pids)


def _host_memory() -> int:
    """Bytes of memory the sandbox may see."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
