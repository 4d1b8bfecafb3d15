"""The frontend escapes that are neither RM_CONTROL nor about objects and memory (``nv-ioctl-numbers.h``, ``nv_escape.h``).

``Argument`` is what all of them share: the struct copied in once, its size checked against the release's, forwarded from the arena,
and what changed copied out.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from ..sentry.errors import SysErr
from . import rules, status
from .abi.view import View
from .control import hold
from .host import Arena

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task
    from .devices import NvFile
    from .engine import Engine
    from .plan import Plan

CARDS: Final = 32
"""Records a CARD_INFO call can ask for (NV_MAX_GPUS)."""


@final
class Argument:
    """The argument of one escape, in an arena; use as a context manager."""

    __slots__ = ("a", "addr", "at", "e", "f", "nr", "plan", "raw", "size", "struct", "t")

    def __init__(
        self, e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int, *structs: str
    ) -> None:
        """``structs``: those it may be; the plan's own by default. Raises SysErr(EINVAL) when ``size`` is none of theirs, EFAULT."""
        self.e, self.t, self.f, self.plan = e, t, f, plan
        self.nr, self.size, self.addr = plan.id, size, addr
        self.struct = ""
        known = e.abi.release.structs
        for s in structs or (plan.struct,):
            if s in known and e.layouts.size(s) == size:
                self.struct = s
        if not self.struct:
            raise SysErr(errno.EINVAL)
        self.raw = t.copy_in(addr, size)
        self.a: Arena = e.arenas.get()
        self.at = self.a.put(self.raw)

    def __enter__(self) -> Argument:
        return self

    def __exit__(self, *exc: object) -> None:
        self.e.arenas.put(self.a)

    @property
    def p(self) -> View:
        """The struct's fields."""
        return View(self.e.layouts, self.e.layouts.table(self.struct), self.a.buf, self.at)

    def forward(self, *others: NvFile) -> int:
        """The host's answer: 0 or a negative errno; nothing is copied out yet. ``others``: files that the struct names, held
        meanwhile."""
        held = hold(list(others))
        try:
            return self.e.forward(self.f, self.plan, self.a, self.nr, self.at, self.size)
        finally:
            for f in held:
                f.decref()

    def finish(self) -> int:
        """Copy out what changed."""
        got = bytes(self.a.buf[self.at : self.at + self.size])
        if got != self.raw:
            self.t.copy_out(self.addr, got)
        if self.e.audit.trace:
            self.e.audit.escape(self.e, self.t, self.plan, self.struct, got)
        return 0


def plain(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """Parameters without pointers, descriptors or clients."""
    with Argument(e, t, f, plan, size, addr) as x:
        r = x.forward()
        return r if r < 0 else x.finish()


def with_client(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """Plain but for the client, which must be usable through this file."""
    with Argument(e, t, f, plan, size, addr) as x:
        p = x.p
        try:
            e.objects.usable(p["hClient"], f)
        except status.Refused as r:
            p["status"] = r.status
            return x.finish()
        got = x.forward()
        return got if got < 0 else x.finish()


def card_info(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """One record a card: those of the sandbox's cards, moved together, however many the application has room for."""
    one = plan.size
    if not one or size % one or not 1 <= size // one <= CARDS:
        return -errno.EINVAL
    raw = t.copy_in(addr, size)
    a = e.arenas.get()
    try:
        at = a.put(raw.ljust(one * CARDS, b"\0"))
        r = e.forward(f, plan, a, plan.id, at, one * CARDS)
        if r < 0:
            return r
        table = e.layouts.table(plan.struct)
        kept = bytearray()
        for i in range(CARDS):
            record = bytearray(a.buf[at + i * one : at + (i + 1) * one])
            v = View(e.layouts, table, record)
            if v["valid"] and v["gpu_id"] in e.by_id:
                kept += record
        t.copy_out(addr, bytes(kept[:size].ljust(size, b"\0")))
        return 0
    finally:
        e.arenas.put(a)


def register_fd(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """Ties this file to the control file whose clients it serves."""
    with Argument(e, t, f, plan, size, addr) as x:
        number = x.p["ctl_fd"]
        other = e.file(t, number, rules.CTL)
        if other is None or (f.control is not None and f.control is not other):
            return -errno.EINVAL
        x.p["ctl_fd"] = other.fd
        r = x.forward(other)
        if r < 0:
            return r
        f.control = other
        x.p["ctl_fd"] = number
        return x.finish()


def attach_gpus(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """An array of gpu ids, each of which must be the sandbox's."""
    if size % 4 or not 4 <= size <= 4 * CARDS:
        return -errno.EINVAL
    raw = t.copy_in(addr, size)
    ids = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, size, 4)]
    if any(i and i not in e.by_id for i in ids):
        return -errno.EINVAL
    a = e.arenas.get()
    try:
        r = e.forward(f, plan, a, plan.id, a.put(raw), size)
        return min(r, 0)
    finally:
        e.arenas.put(a)


def os_event(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """ALLOC_OS_EVENT and FREE_OS_EVENT: events are reported on a descriptor of the application."""
    with Argument(e, t, f, plan, size, addr) as x:
        p = x.p
        number = p["fd"]
        other = e.file(t, number, rules.FRONTEND)
        client = p["hClient"]
        if other is None or (client and not e.objects.of_process(client, t.tg.pid, f)):
            p["Status"] = status.INVALID_ARGUMENT
            return x.finish()
        p["fd"] = other.fd
        r = x.forward(other)
        p["fd"] = number
        return r if r < 0 else x.finish()


def get_event_data(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """Takes the oldest pending event of this file (``NvUnixEvent`` behind a pointer)."""
    with Argument(e, t, f, plan, size, addr) as x:
        if "NvUnixEvent" not in e.abi.release.structs:
            return -errno.EINVAL
        p = x.p
        where = p["pEvent"]
        n = e.layouts.size("NvUnixEvent")
        at = x.a.take(n)
        p["pEvent"] = x.a.addr + at if where else 0
        r = x.forward()
        p["pEvent"] = where
        if r < 0:
            return r
        if where and p["status"] == status.OK:
            t.copy_out(where, bytes(x.a.buf[at : at + n]))
        return x.finish()


def numa_info(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """The topology inside is the sandbox's, which has one node: no card of it is another."""
    return -errno.EINVAL


def idle_channels(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """``NVOS30_PARAMETERS``: three arrays of handles."""
    with Argument(e, t, f, plan, size, addr) as x:
        p = x.p
        try:
            e.objects.usable(p["hClient"], f)
            n = p["numChannels"]
            if not 1 <= n <= 4096:
                raise status.Refused(status.INVALID_ARGUMENT)
            where = {}
            for name in ("phClients", "phDevices", "phChannels"):
                where[name] = p[name]
                data = t.copy_in(where[name], 4 * n)
                if name == "phClients":
                    for i in range(n):
                        e.objects.usable(int.from_bytes(data[4 * i : 4 * i + 4], "little"), f)
                p[name] = x.a.addr + x.a.put(data)
        except status.Refused as r:
            x.a.buf[x.at : x.at + size] = x.raw
            p["status"] = r.status
            return x.finish()
        got = x.forward()
        for name, old in where.items():
            p[name] = old
        return got if got < 0 else x.finish()


HANDLERS: Final = {
    "NV_ESC_CHECK_VERSION_STR": plain,
    "NV_ESC_SYS_PARAMS": plain,
    "NV_ESC_WAIT_OPEN_COMPLETE": plain,
    "NV_ESC_CARD_INFO": card_info,
    "NV_ESC_REGISTER_FD": register_fd,
    "NV_ESC_ATTACH_GPUS_TO_FD": attach_gpus,
    "NV_ESC_ALLOC_OS_EVENT": os_event,
    "NV_ESC_FREE_OS_EVENT": os_event,
    "NV_ESC_RM_GET_EVENT_DATA": get_event_data,
    "NV_ESC_NUMA_INFO": numa_info,
    "NV_ESC_RM_IDLE_CHANNELS": idle_channels,
    "NV_ESC_RM_ALLOC_CONTEXT_DMA2": plain,
    "NV_ESC_RM_MAP_MEMORY_DMA": with_client,
    "NV_ESC_RM_UNMAP_MEMORY_DMA": with_client,
    "NV_ESC_RM_UPDATE_DEVICE_MAPPING_INFO": with_client,
}
