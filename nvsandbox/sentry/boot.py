"""Putting a kernel together: system-call table, mounts, the first process (Linux: init/main.c).

Everything is imported and opened here, before the Sentry locks itself down.
"""

from __future__ import annotations

import functools
import importlib
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import nvsandbox.sentry.syscalls as syscall_package

from ..platform import native
from ..platform.native._native import lib
from ..platform.space import HostPlatform, vdso_layout
from . import seccomp
from .console import Console
from .fs.gofer_client import GoferClient
from .fs.hostfd_tty import open_stdio
from .fs.memfd_pool import MemfdPool, Refill
from .fs.proc_mem import register_reader
from .fs.rootfs import Builder
from .ipc import proc_sysvipc, sem
from .kernel.container import Container
from .kernel.creds import Credentials
from .kernel.exit import reap
from .kernel.kernel import Kernel
from .kernel.pids import PidNamespace
from .kernel.remote import read_memory
from .kernel.signal import SIG_IGN, SigAction
from .kernel.task import RLIM_INFINITY, Task, ThreadGroup
from .loader.exec import HWCAP
from .mm.sites import KNOWN
from .mounts import mount_all
from .net import host as hostnet
from .net import host_raw, loopback, netns, veth
from .syscalls.decode import Row
from .vfs.device_rules import DeviceRule
from .vfs.file import FdTable
from .vfs.fs_context import FsContext
from .vfs.lent import CALLS
from .vfs.mount import MountNamespace

if TYPE_CHECKING:
    from ..sandbox.config import SandboxConfig

NR_IN: Final = {
    # strings inlined at entry: one path in argument i, or two in i and j
    "str": {
        2: 0, 4: 0, 6: 0, 21: 0, 59: 0, 76: 0, 80: 0, 82: 0, 83: 0, 84: 0, 85: 0, 87: 0, 89: 0, 90: 0,
        92: 0, 94: 0, 137: 0, 257: 1, 258: 1, 260: 1, 262: 1, 263: 1, 267: 1, 268: 1, 269: 1, 332: 1,
        439: 1, 191: 0, 192: 0, 280: 1,
    },
    "str2": {82: (0, 1), 86: (0, 1), 88: (0, 1), 264: (1, 3), 316: (1, 3), 265: (1, 3), 266: (0, 2)},
    "buf": (42, 44, 49),
    "write": (1, 18),
    "iov": (20, 296),
    "iov_only": (19, 295),
    "poll": (7, 271),
    "msg": (46,),
    "how": (437,),
    # structures: argument and size
    "fixed": {
        13: (1, 32), 14: (1, 8), 35: (0, 16), 38: (1, 32), 40: (2, 8), 43: (2, 4), 45: (5, 4), 47: (1, 56), 51: (2, 4),
        52: (2, 4), 54: (3, 4), 55: (4, 4), 131: (0, 24), 160: (1, 16), 202: (3, 16), 223: (2, 32), 230: (2, 16), 233: (3, 12),
        286: (2, 32), 288: (2, 4), 302: (2, 16), 435: (0, 88),
    },
}  # fmt: skip


IN_KINDS: Final = {
    "write": 0x21,
    "iov": 0x22,
    "iov_only": 0x23,
    "poll": 0x24,
    "msg": 0x25,
    "how": 0x26,
}  # proto.h, NV_IN_WRITE …
IN_SIZES: Final = (4, 8, 12, 16, 24, 32, 56, 64, 88)  # proto.h, NV_IN_FIXED


class CapSets(NamedTuple):
    """Capability sets as masks."""

    bounding: int
    effective: int
    inheritable: int
    permitted: int
    ambient: int


class ProcessSpec(NamedTuple):
    """The first process."""

    argv: Sequence[bytes]
    envp: Sequence[bytes]
    cwd: bytes
    uid: int
    gid: int
    groups: tuple[int, ...]
    umask: int
    rlimits: dict[int, tuple[int, int]]
    capabilities: CapSets | None  # None: all that the uid has
    no_new_privs: bool
    oom_score_adj: int = 0


@functools.cache
def load_table() -> dict[int, Row]:
    """The rows of every module of ``syscalls/``."""
    table: dict[int, Row] = {}
    # pkgutil would say it as well, and import 5 ms of modules for that
    files = [f for d in syscall_package.__path__ for f in os.listdir(d)]
    for name in sorted({f.partition(".")[0] for f in files if f.endswith((".py", ".so"))}):
        if name == "__init__":
            continue
        mod = importlib.import_module(f"{syscall_package.__name__}.{name}")
        rows = getattr(mod, "TABLE", None)
        if rows:
            for nr, row in rows.items():
                if nr in table:
                    raise RuntimeError(f"system call {nr} is in the table twice")
                table[nr] = row
    return table


class Prepared(NamedTuple):
    """What must be read while the host's files are still there."""

    table: dict[int, Row]
    image: bytes
    elf: bytes
    vdso: list[tuple[int, int, bool]]


def _file(path: str) -> bytes:
    with open(path, "rb") as f:
        return f.read()


def prepare() -> Prepared:
    """Imports everything and reads the stub image. Raises OSError when the build is incomplete."""
    d = os.path.dirname(native.__file__)
    read_auxv()
    table = load_table()
    register_reader(read_memory)
    proc_sysvipc.register()
    return Prepared(table, _file(f"{d}/stub.bin"), _file(f"{d}/stub.elf.bin"), vdso_layout())


def read_auxv() -> None:
    """Hardware capabilities as the host shows them to its own programs."""
    raw = _file("/proc/self/auxv")
    for i in range(0, len(raw), 16):
        key, value = (int.from_bytes(raw[i + 8 * j : i + 8 * j + 8], "little") for j in (0, 1))
        if key in (16, 26, 51):
            HWCAP[{16: 0, 26: 1, 51: 2}[key]] = value


def set_inlining() -> None:
    """What the stub copies along with a call."""
    strs: Any = NR_IN["str"]
    strs2: Any = NR_IN["str2"]
    bufs: Any = NR_IN["buf"]
    for nr, i in strs.items():
        lib.nv_set_intab(nr, 0x10 | i)
    for nr, (i, j) in strs2.items():
        lib.nv_set_intab(nr, 0x40 | i << 3 | j)
    for nr in bufs:
        lib.nv_set_intab(nr, 0x20)
    for kind, code in IN_KINDS.items():
        numbers: Any = NR_IN[kind]
        for nr in numbers:
            lib.nv_set_intab(nr, code)
    fixed: Any = NR_IN["fixed"]
    for nr, (i, size) in fixed.items():
        lib.nv_set_intab(nr, 0x80 | i << 4 | IN_SIZES.index(size))


class Boot:
    """The steps from descriptors to a running first process."""

    def __init__(
        self,
        prepared: Prepared,
        gofer: socket.socket,
        ncpu: int,
        platform: type[HostPlatform],
    ) -> None:
        self.k = Kernel(platform(prepared.image, prepared.elf), ncpu, prepared.vdso)
        self.k.table = self.k.container.table = prepared.table
        self.k.exit_hooks.append(sem.exit_process)
        veth.LOOP[:] = [self.k.loop]
        self.k.namespaces_left = lambda: netns.end_unused(self.k)
        loopback.register()
        self.client = GoferClient(gofer)

    def build(self, config: SandboxConfig, refill: Refill | None = None) -> MountNamespace:
        """The file tree of ``config``; ``refill`` gives host files for what is written to the root, if those are to be others than
        memory. Raises SysErr, Failure."""
        if config.network == "host":
            hostnet.register(self.k.loop)
            host_raw.register(self.k.loop, config.raw_fd)
        self._limit(self.k.container, config)
        b = self._builder(config, self.client, None, self.k.container, refill)
        self.pool = b.pool
        self.k.mnt_ns = b.ns
        mount_all(self.k, b, config)
        return b.ns

    def build_another(
        self,
        config: SandboxConfig,
        gofer: socket.socket,
        container: Container,
        refill: Refill | None = None,
    ) -> MountNamespace:
        """The file tree of one more container, with a gofer of its own. Blocks until it stands. Raises SysErr, Failure."""
        self._limit(container, config)
        client = GoferClient(gofer)
        b = self._builder(config, client, self.pool, container, refill)
        mount_all(self.k, b, config)
        client.attach_loop(self.k.loop)
        return b.ns

    def new_container(self, shares_pids: bool, profile: seccomp.Profile | None) -> Container:
        """One more container of a pod, with a pid namespace of its own unless it shares the sandbox's."""
        k = self.k
        pids = k.container.pids if shares_pids else PidNamespace(k)
        ns = k.container.ns.replace(pids_for_children=pids)
        c = Container(pids, k.table, ns)
        self.confine(c, profile)
        k.containers.append(c)
        return c

    def confine(self, c: Container, profile: seccomp.Profile | None) -> None:
        """The container's calls are answered under a seccomp profile."""
        if profile is not None:
            before = self.k.table
            c.table = seccomp.apply(before, profile)
            c.hears_all = any(c.table.get(nr) is not before.get(nr) for nr in KNOWN)
            c.lends = sum(bit for nr, bit in CALLS.items() if c.table.get(nr) is before.get(nr))
            c.seccomp_mode = 2

    @staticmethod
    def _limit(c: Container, config: SandboxConfig) -> None:
        c.limit(config.memory, config.pids)
        c.cpu_max = config.cpu_max
        c.device_rules = [
            DeviceRule(r.allow, r.kind, r.major, r.minor, r.access) for r in config.device_rules
        ]
        if config.uid_maps:
            c.uid_map, c.gid_map = (
                b"".join(b"%10d %10d %10d\n" % (m.inside, m.outside, m.count) for m in maps)
                for maps in (config.uid_maps, config.gid_maps)
            )

    def _builder(
        self,
        config: SandboxConfig,
        client: GoferClient,
        pool: MemfdPool | None,
        container: Container,
        refill: Refill | None,
    ) -> Builder:
        tg = ThreadGroup(self.k, 0, None, container)
        t = Task(self.k, tg, 0)
        t.creds = Credentials()
        t.files = FdTable()
        through = config.root.write_through
        b = Builder(client, t, not through, config.root_readonly, pool, refill)
        root = b.ns.root_path()
        t.fs = FsContext(b.ns, root, root, 0o022)
        return b

    def builtin_init(self) -> ThreadGroup:
        """pid 1 without a program: inherits orphans and reaps them."""
        k = self.k
        pids = k.container.pids
        if pids.init is None:
            reaper = ThreadGroup(k, pids.new_pid(), None, k.container)
            reaper.is_init = True
            reaper.sighand.actions[17] = SigAction(SIG_IGN)
            pids.init = reaper
            pids.procs[reaper.pid] = reaper
        return pids.init

    def first_task(
        self, ns: MountNamespace, spec: ProcessSpec, init: bool, container: Container
    ) -> Task:
        """The task that will exec a program from outside. ``init``: it is pid 1 itself."""
        k = self.k
        pids = container.pids
        # Beside a container's own init, a program from outside has no parent inside (OCI exec).
        outside = pids.init is not None and pids.init.tasks
        parent = None if init or outside else self.builtin_init()
        tg = ThreadGroup(k, pids.new_pid(), parent, container)
        if init:
            tg.is_init = True
            pids.init = tg
        elif parent is not None:
            parent.children[tg.pid] = tg
        tg.rlimits = default_rlimits()
        for which, pair in spec.rlimits.items():
            if 0 <= which < len(tg.rlimits):
                tg.rlimits[which] = pair
        t = Task(k, tg, tg.pid)
        t.creds = first_creds(spec)
        tg.oom_score_adj = spec.oom_score_adj
        t.files = FdTable()
        root = ns.root_path()
        t.fs = FsContext(ns, root, root, spec.umask)
        t.comm = b"nvsandbox"
        tg.tasks[t.tid] = t
        pids.add(t)
        pids.procs[tg.pid] = tg
        return t

    def discard_task(self, t: Task) -> None:
        """Takes back a first task whose program could not be started."""
        t.files.put(t)
        t.fs.put()
        tg = t.tg
        tg.tasks.clear()
        tg.dead = True
        tg.pids.drop(t.tid)
        reap(tg)

    def install_stdio(self, t: Task, fds: list[int], terminal: bool) -> Console | None:
        """Descriptors 0, 1, 2… of the first program: the launcher's, or a console tied to them."""
        if not terminal:
            for fd in fds:
                t.files.install(open_stdio(fd, self.k.loop), 1 << 20)
            return None
        console = Console(self.k, t, (fds[0], fds[1]))
        for _ in range(3):
            t.files.install(console.slave, 1 << 20)
        for fd in fds[2:]:
            os.close(fd)
        return console


def first_creds(spec: ProcessSpec) -> Credentials:
    """Credentials of a program started from outside."""
    creds = Credentials(spec.uid, spec.gid, tuple(sorted(spec.groups)))
    if spec.capabilities is not None:
        caps = spec.capabilities
        creds.cap_bset, creds.cap_inheritable = caps.bounding, caps.inheritable
        creds.cap_permitted, creds.cap_effective = caps.permitted, caps.effective
        creds.cap_ambient = caps.ambient & caps.permitted & caps.inheritable
    creds.no_new_privs = spec.no_new_privs
    return creds


def default_rlimits() -> list[tuple[int, int]]:
    """What a login shell has on a Debian machine."""
    inf = (RLIM_INFINITY, RLIM_INFINITY)
    lim = [inf] * 16
    lim[3] = (8 << 20, RLIM_INFINITY)
    lim[4] = (0, RLIM_INFINITY)
    lim[6] = (63000, 63000)
    lim[7] = (1024, 1 << 20)
    lim[8] = (8 << 20, 8 << 20)
    lim[11] = (63000, 63000)
    lim[12] = (819200, 819200)
    lim[13] = lim[14] = (0, 0)
    return lim
