"""NV_ESC_RM_CONTROL: ``NVOS54_PARAMETERS`` {hClient, hObject, cmd, flags, params, paramsSize, status}."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from . import status
from .abi.view import View
from .host import Arena
from .plan import MAX_PARAMS, Nested, Plan

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task
    from .devices import NvFile
    from .engine import Engine

NVOS54: Final = struct.Struct("<IIIIQII")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_STATUS: Final = 28
RM_CONTROL: Final = 0xC020462A
RM_CONTROL_SIZE: Final = 32


@final
class Call:
    """One control command between copy-in and copy-out, for hooks."""

    __slots__ = (
        "arena",
        "at",
        "client",
        "engine",
        "file",
        "files",
        "object",
        "plan",
        "size",
        "status",
        "task",
        "undo",
    )

    def __init__(
        self, engine: Engine, task: Task, file: NvFile, plan: Plan, client: int, obj: int, arena: Arena, at: int,
        size: int,
    ) -> None:  # fmt: skip
        self.engine = engine
        self.task = task
        self.file = file
        self.files: list[NvFile] = []
        self.plan = plan
        self.client = client
        self.object = obj
        self.arena = arena
        self.at = at
        self.size = size
        self.status = 0
        self.undo: list[tuple[int, bytes]] = []
        """What a hook changes in the arena for the host alone."""

    @property
    def p(self) -> View:
        """The parameters, in the arena."""
        return View(
            self.engine.layouts,
            self.engine.layouts.table(self.plan.struct),
            self.arena.buf,
            self.at,
        )


Hook = Callable[[Call], "int | None"]
"""Before forwarding: a status that answers the call without the host, or None."""


def _escape(e: Engine, t: Task, f: NvFile, escape: Plan, size: int, arg: int) -> int:
    return rm_control(e, t, f, size, arg)


def rm_control(e: Engine, t: Task, f: NvFile, size: int, arg: int) -> int:
    """Checks in the driver's order: client, command, size; then translates, forwards and copies back."""
    if size != NVOS54.size:
        return -errno.EINVAL
    raw = t.copy_in(arg, size)
    client, obj, cmd, flags, params, psize, _ = NVOS54.unpack(raw)
    plan = e.abi.controls.get(cmd) or e.abi.control(cmd)
    try:
        e.objects.usable(client, f)
        if plan.reason:
            e.audit.refused(t, "control command", plan.name, plan.reason)
            raise status.Refused(plan.status)
        if (
            flags
        ):  # raised interrupt level, skipped locks, serialised parameters: for kernel callers
            raise status.Refused(status.INVALID_ARGUMENT)
        if psize != plan.size and (plan.sized or psize > MAX_PARAMS):
            raise status.Refused(status.INVALID_PARAM_STRUCT)
        if bool(psize) != bool(params):
            raise status.Refused(status.INVALID_ARGUMENT)
    except status.Refused as refused:
        t.copy_out(arg + _STATUS, _U32.pack(refused.status))
        return 0
    data = t.copy_in(params, psize) if psize else b""
    a = e.arenas.get()
    try:
        buf = a.buf
        end = RM_CONTROL_SIZE + psize
        buf[:RM_CONTROL_SIZE] = raw
        if psize:
            buf[RM_CONTROL_SIZE:end] = data
            _U64.pack_into(buf, 16, a.addr + RM_CONTROL_SIZE)
        if plan.plain:
            r = e.call(f, plan, RM_CONTROL, a.addr)
        else:
            a.top = (end + 15) & ~15
            c = Call(e, t, f, plan, client, obj, a, RM_CONTROL_SIZE, psize)
            if plan.ordered:
                with f.exclusive(t):
                    e.objects.usable(client, f)  # it may have gone while this one waited
                    r = _translated(c, 0)
            else:
                r = _translated(c, 0)
        if r < 0:
            return r
        got = bytes(buf[_STATUS:end])
        if got[4:] != data:
            t.copy_out(params, got[4:])
        if e.audit.trace:
            e.audit.call(e, t, plan, data, got[4:], int.from_bytes(got[:4], "little"))
        if got[:4] != raw[_STATUS:]:
            t.copy_out(arg + _STATUS, got[:4])
        return 0
    except status.Refused as refused:
        t.copy_out(arg + _STATUS, _U32.pack(refused.status))
        return 0
    finally:
        e.arenas.put(a)


def _translated(c: Call, top: int) -> int:
    """As the plain case, with pointers, descriptors, clients and hooks. The result of the call, 0 or a negative errno."""
    e, t, plan, a = c.engine, c.task, c.plan, c.arena
    undo = c.undo
    arrays: list[tuple[int, int, int, bytes]] = []
    held: list[NvFile] = []
    try:
        check_clients(e, t, c.file, plan, a, c.at)
        zero_pointers(plan, a, c.at, undo)
        held = hold(translate_fds(e, t, plan, a, c.at, undo))
        c.files = held
        for n in plan.nested:
            _array(t, n, c, undo, arrays)
        before = plan.before
        answered = before(c) if callable(before) else None
        if answered is None:
            r = e.call(c.file, plan, RM_CONTROL, a.addr + top)
            if r < 0:
                return r
            c.status = int(_U32.unpack_from(a.buf, top + _STATUS)[0])
            if callable(plan.after):
                plan.after(c)
            _U32.pack_into(a.buf, top + _STATUS, c.status)
        else:
            _U32.pack_into(a.buf, top + _STATUS, answered)
    except status.Refused as refused:
        _U32.pack_into(a.buf, top + _STATUS, refused.status)
    finally:
        for at, old in undo:
            a.buf[at : at + len(old)] = old
        for other in held:
            other.decref()
    for address, at, length, old in arrays:
        got = bytes(a.buf[at : at + length])
        if got != old:
            t.copy_out(address, got)
    return 0


def _array(
    t: Task, n: Nested, c: Call, undo: list[tuple[int, bytes]], arrays: list[tuple[int, int, int, bytes]]
) -> None:  # fmt: skip
    """Brings one array into the arena and points the parameters at it. Raises Refused, SysErr."""
    a, base = c.arena, c.at
    where = base + n.at
    address = int(_U64.unpack_from(a.buf, where)[0])
    if address == 0:
        return
    count = n.fixed
    if n.factors:
        count = 1
        for span in n.factors:
            where_n = base + span.at
            count *= int.from_bytes(a.buf[where_n : where_n + span.size], "little")
    if count > n.limit:
        raise status.Refused(status.INVALID_ARGUMENT)
    size = count * n.element
    data = t.copy_in(address, size) if n.copy_in else b""
    at = a.put(data) if n.copy_in else a.take(size)
    undo.append((where, _U64.pack(address)))
    _U64.pack_into(a.buf, where, a.addr + at if size else 0)
    if n.copy_out and size:
        arrays.append((address, at, size, data if n.copy_in else b""))


def hold(files: list[NvFile]) -> list[NvFile]:
    """Another thread may close them while the call is on its way: the Sentry's numbers must stay theirs."""
    for f in files:
        f.incref()
    return files


def check_clients(e: Engine, t: Task, f: NvFile, plan: Plan, a: Arena, base: int) -> None:
    """Clients named inside parameters must be the process's own. Raises Refused."""
    for offset in plan.clients:
        handle = int(_U32.unpack_from(a.buf, base + offset)[0])
        if handle and not e.objects.of_process(handle, t.tg.pid, f):
            raise status.Refused(status.INVALID_CLIENT)


def zero_pointers(plan: Plan, a: Arena, base: int, undo: list[tuple[int, bytes]]) -> None:
    """Pointers that aren't translated must be null, or are forwarded as null. Raises Refused."""
    for offset in plan.zero:
        if a.buf[base + offset : base + offset + 8] != bytes(8):
            raise status.Refused(status.INVALID_POINTER)
    for offset in plan.scrub:
        undo.append((base + offset, bytes(a.buf[base + offset : base + offset + 8])))
        a.buf[base + offset : base + offset + 8] = bytes(8)


def translate_fds(
    e: Engine, t: Task, plan: Plan, a: Arena, base: int, undo: list[tuple[int, bytes]]
) -> list[NvFile]:
    """The application's descriptor numbers become the Sentry's; the files. Raises Refused."""
    found = []
    for d in plan.fds:
        at = base + d.at
        old = bytes(a.buf[at : at + d.size])
        number = int.from_bytes(old[:4], "little", signed=True)
        high = old[4:]
        other = None
        if number >= 0 and not any(high):
            other = e.file(t, number, d.kinds)
        if other is None:
            # no descriptor: said so (-1), or one of a device that has no say here
            if not d.absent or (number >= 0 and d.size == 4):
                raise status.Refused(status.INVALID_ARGUMENT)
            new = d.none.to_bytes(d.size, "little", signed=True)
        else:
            found.append(other)
            new = other.fd.to_bytes(d.size, "little")
        undo.append((at, old))
        a.buf[at : at + d.size] = new
    return found


HANDLERS: Final = {"NV_ESC_RM_CONTROL": _escape}
