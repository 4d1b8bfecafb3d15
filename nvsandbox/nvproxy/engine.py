"""The forwarding engine: opens, ioctls and mmaps of NVIDIA devices, from the application to the host and back.

Every parameter is copied once into an arena (``host.py``), checked and translated there, and the host is given the arena. What comes
back is compared with what went in and only differences are copied out, with the application's own pointers and descriptors in their
places. A call that is refused never reaches the host; it is answered as the driver answers what it doesn't support, so that libraries
go on where they can, and named once in the audit.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from ..platform.broker_client import BrokerClient
from ..sentry.errors import SysErr, from_oserror
from .abi import database
from .alloc import HANDLERS as ALLOC_HANDLERS
from .alloc import HOOKS as ALLOC_HOOKS
from .audit import Audit, counters
from .control import HANDLERS as CONTROL_HANDLERS
from .control import RM_CONTROL, RM_CONTROL_SIZE, rm_control
from .devices import NvFile
from .dmabuf import HANDLERS as DMABUF_HANDLERS
from .escapes import HANDLERS as ESCAPE_HANDLERS
from .host import Arena, Arenas, ioctl
from .mapping import HANDLERS as MAPPING_HANDLERS
from .mapping import map_device
from .objects import Objects
from .plan import Abi, Plan, escape_cmd
from .quota import Quota
from .scheduling import HOOKS as SCHEDULING_HOOKS
from .scheduling import Scheduling
from .sharing import HANDLERS as SHARING_HANDLERS
from .sharing import HOOKS as SHARING_HOOKS
from .uvm import uvm_ioctl
from .visibility import HOOKS as VISIBILITY_HOOKS

if TYPE_CHECKING:
    from ..sentry.kernel.kernel import Kernel
    from ..sentry.kernel.task import Task
    from ..sentry.vfs.path import Path
    from .model import GpuConfig

WORKERS: Final = 16
SLOW_NS: Final = 200_000
"""A call that takes longer on average goes to a worker, so that the sandbox's other tasks go on."""
MAX_ARG: Final = 1 << 16
_XFER: Final = 0xD3
_FRONTEND: Final = ord("F")


ALL_HOOKS: Final = VISIBILITY_HOOKS | ALLOC_HOOKS | SHARING_HOOKS | SCHEDULING_HOOKS
FORWARDED: Final = frozenset(
    (*ESCAPE_HANDLERS, *ALLOC_HANDLERS, *MAPPING_HANDLERS, *CONTROL_HANDLERS, *SHARING_HANDLERS)
)
Handler = Callable[["Engine", "Task", NvFile, Plan, int, int], int]


def _ask(broker: BrokerClient, index: int) -> int:
    """A new descriptor of the device at ``index`` of the sandbox's list. Blocks. Raises SysErr."""
    try:
        return broker.ask(struct.pack("<I", index))
    except OSError as e:
        raise from_oserror(e) from None


class Engine:
    """nvproxy of one sandbox."""

    def __init__(self, k: Kernel, config: GpuConfig) -> None:
        self.k = k
        self.config = config
        self.loop = k.loop
        self.abi = Abi(database().release(config.abi), config.policy)
        self.layouts = self.abi.layouts
        self.audit = Audit(config.audit_fd, config.trace)
        self.quota = Quota(config.memory_limit)
        self.scheduling = Scheduling(config.timeslice_us, config.priority)
        self.objects = Objects()
        self.arenas = Arenas()
        self.broker = BrokerClient(config.broker_fd) if config.broker_fd >= 0 else None
        self.gpus = config.gpus
        self.by_id = {g.gpu_id: g for g in config.gpus}
        self.by_instance = {g.instance: g for g in config.gpus}
        self.by_uuid = {g.uuid: g for g in config.gpus if g.uuid}
        self.pool = ThreadPoolExecutor(WORKERS, "nvproxy")
        self.files: set[NvFile] = set()
        self.controls_allowed = not self.abi.escape(RM_CONTROL & 0xFF).reason
        self.abi.hooks = ALL_HOOKS
        self.escape_handlers: dict[str, Handler] = {
            **ESCAPE_HANDLERS,
            **ALLOC_HANDLERS,
            **MAPPING_HANDLERS,
            **CONTROL_HANDLERS,
            **SHARING_HANDLERS,
            **DMABUF_HANDLERS,
        }
        self._by_device = {(d.major, d.minor): i for i, d in enumerate(config.devices)}

    # ------------------------------------------------------------------ orders from outside

    def order(self, msg: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """From the control socket: ``trace`` writes events to the descriptor that comes with it, ``stats`` answers with counters."""
        if msg.get("what") == "trace" and len(fds) == 1:
            self.audit.stream(fds[0])
            return {}
        for fd in fds:
            os.close(fd)
        a = self.abi
        plans = [p for d in (a.controls, a.classes, a.uvms, a.escapes) for p in d.values()]
        used = {g.index: self.quota.total(g.instance) for g in self.gpus}
        return {
            "calls": counters(plans), "refusals": self.audit.refusals, "clients": len(self.objects.clients),
            "objects": self.objects.total, "memory": {str(k): v for k, v in used.items()},
            "limit": self.quota.limit,
        }  # fmt: skip

    def end(self) -> None:
        """Nothing is opened any more: its broker goes."""
        broker, self.broker = self.broker, None
        if broker is not None:
            broker.close()
        self._by_device.clear()

    # ------------------------------------------------------------------ open and close

    def open(self, t: Task, path: Path, flags: int) -> NvFile:
        """open(2) of one of the sandbox's device nodes, wherever the node is. Raises SysErr(ENXIO)."""
        i = path.inode
        index = self._by_device.get((os.major(i.rdev), os.minor(i.rdev)))
        if index is None or not stat.S_ISCHR(i.mode):
            raise SysErr(errno.ENXIO)
        device = self.config.devices[index]
        broker = self.broker
        if broker is None:
            fd = os.memfd_create("null-device", os.MFD_CLOEXEC)
        else:
            fd = self.run(lambda: _ask(broker, index))
        gpu = -1
        if device.kind == "gpu":
            gpu = next((g.instance for g in self.gpus if g.minor == device.minor), -1)
        f = NvFile(self, device.kind, gpu, fd, flags, path, i)
        self.files.add(f)
        return f

    def closed(self, f: NvFile) -> None:
        """The last descriptor is gone; the host frees what hangs on it when no mapping is left either."""
        self.files.discard(f)
        self.objects.free_file(f)
        for charge in f.export:
            charge.drop()  # type: ignore[attr-defined]  # quota.Charge
        f.export.clear()
        f.pins.clear()

    # ------------------------------------------------------------------ ioctl

    def ioctl(self, t: Task, f: NvFile, cmd: int, arg: int) -> int:
        """ioctl(2); 0 or a negative errno. Raises SysErr."""
        if cmd == RM_CONTROL and f.frontend and self.controls_allowed:
            return rm_control(self, t, f, RM_CONTROL_SIZE, arg)
        if f.kind in ("uvm", "uvm-tools"):
            return uvm_ioctl(self, t, f, cmd, arg)
        if f.kind not in ("ctl", "gpu") or cmd >> 8 & 0xFF != _FRONTEND:
            if f.kind not in ("ctl", "gpu"):
                self.audit.refused(
                    t, f.kind, f"ioctl {cmd:#x}", "nothing of this device is forwarded"
                )
            return -errno.ENOTTY
        nr, size = cmd & 0xFF, cmd >> 16 & 0x3FFF
        if nr == _XFER:
            if size < 16:
                return -errno.EINVAL
            head = t.copy_in(arg, 16)
            nr = int.from_bytes(head[:4], "little")
            size = int.from_bytes(head[4:8], "little")
            arg = int.from_bytes(head[8:16], "little")
            if nr > 0xFF or nr == _XFER:
                return -errno.EINVAL
        if size > MAX_ARG:
            return -errno.EINVAL
        plan = self.abi.escape(nr)
        handler = self.escape_handlers.get(plan.name)
        if plan.reason or handler is None:
            self.audit.refused(t, "ioctl", plan.name, plan.reason or "it is not forwarded")
            return -errno.EINVAL
        return handler(self, t, f, plan, size, arg)

    def mmap(
        self, t: Task, f: NvFile, addr: int, size: int, prot: int, flags: int, offset: int
    ) -> int:
        """mmap(2) of a device."""
        return map_device(self, t, f, addr, size, prot, flags, offset)

    # ------------------------------------------------------------------ the host

    def run(self, fn: Callable[[], Any]) -> Any:
        """``fn`` in a worker of ours while the task is suspended."""
        return self.loop.run_in_worker(fn, self.pool)

    def forward(self, f: NvFile, plan: Plan, a: Arena, nr: int, at: int, size: int) -> int:
        """The frontend call ``nr`` with the argument at offset ``at`` of ``a``. May suspend."""
        return self.call(f, plan, escape_cmd(nr, size), a.addr + at)

    def call(self, f: NvFile, plan: Plan, cmd: int, addr: int) -> int:
        """One host ioctl, counted; 0 or more, or a negative errno. May suspend."""
        if self.config.null:
            ioctl(f.fd, cmd, addr)  # of a memory file: the cost of a host call, and no driver
            plan.stats[0] += 1
            return 0
        start = time.monotonic_ns()
        stats = plan.stats
        if plan.slow or stats[2] > SLOW_NS * max(stats[0], 4):
            f.incref()  # another thread may close it meanwhile
            try:
                fd = f.fd
                r = int(self.run(lambda: ioctl(fd, cmd, addr)))
            finally:
                f.decref()
        else:
            r = ioctl(f.fd, cmd, addr)
        self.audit.done(plan, time.monotonic_ns() - start, r < 0)
        return r

    # ------------------------------------------------------------------ descriptors of the application

    def file(self, t: Task, number: int, kinds: frozenset[str]) -> NvFile | None:
        """The device behind descriptor ``number``, if it is one of ``kinds``."""
        try:
            f = t.files.get(number)
        except SysErr:
            return None
        return f if isinstance(f, NvFile) and f.engine is self and f.kind in kinds else None
