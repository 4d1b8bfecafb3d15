"""Objects: RM_ALLOC, RM_ALLOC_MEMORY, VID_HEAP_CONTROL, DUP_OBJECT, FREE, and export and import by descriptor.

An allocation is checked, charged and recorded: the class by policy, the parent's client by ownership, device memory by quota before
the driver sees it. What the driver then says it gave corrects the charge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from . import status
from .abi.view import View
from .control import Call, check_clients, hold, translate_fds, zero_pointers
from .escapes import Argument
from .objects import MAX_CLIENTS, Client, Obj
from .promote import pin
from .scheduling import CHANNEL_GROUP
from .sharing import may_duplicate

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task
    from .devices import NvFile
    from .engine import Engine
    from .plan import Plan
    from .quota import Charge

ROOTS: Final = frozenset((0x0, 0x1, 0x41))
"""NV01_ROOT, NV01_ROOT_NON_PRIV, NV01_ROOT_CLIENT."""
MEMORY_SYSTEM: Final = 0x3E
MEMORY_LOCAL_USER: Final = 0x40
MEMORY_OS_DESCRIPTOR: Final = 0x71
VIRTUAL_ADDRESS: Final = 0
"""NVOS32_DESCRIPTOR_TYPE_VIRTUAL_ADDRESS."""
DEVICE: Final = 0x80
MEMORY_FABRIC: Final = 0xF8
_LOCATION: Final = 25
"""NVOS32_ATTR_LOCATION is bits 26:25; 1 is system memory, all else may be the card's."""
_LOCATION_PCI: Final = 1
_FLAG_VIRTUAL: Final = 0x00080000
_ALLOC_SIZE, _FREE, _INFO, _ALLOC_TILED, _ALLOC_RANGE = 2, 3, 5, 6, 14
_HEAP_ALLOCS: Final = {
    _ALLOC_SIZE: "AllocSize", _ALLOC_RANGE: "AllocSizeRange", _ALLOC_TILED: "AllocTiledPitchHeight",
}  # fmt: skip
MAX_SIZE: Final = 1 << 47
MAX_EXPORTS: Final = 4096


def rm_alloc(e: Engine, t: Task, f: NvFile, escape: Plan, size: int, arg: int) -> int:
    """NVOS21 or NVOS64, told apart by size."""
    with Argument(e, t, f, escape, size, arg, "NVOS64_PARAMETERS", "NVOS21_PARAMETERS") as x:
        try:
            return _alloc(x)
        except status.Refused as r:
            x.p["status"] = r.status
            return x.finish()


def _alloc(x: Argument) -> int:
    e, t, f, p, a = x.e, x.t, x.f, x.p, x.a
    number = p["hClass"]
    plan = e.abi.cls(number)
    client: Client | None = None
    if number in ROOTS:
        if len(e.objects.clients) >= MAX_CLIENTS:
            raise status.Refused(status.INSUFFICIENT_RESOURCES)
    else:
        client = e.objects.usable(p["hRoot"], f)
    if plan.reason:
        e.audit.refused(t, "class", plan.name, plan.reason)
        raise status.Refused(status.INVALID_CLASS)
    e.objects.check_room()
    where, given = p["pAllocParms"], p.opt("paramsSize")
    if where and plan.size and given not in (0, plan.size):
        raise status.Refused(status.INVALID_PARAM_STRUCT)
    rights = p.opt("pRightsRequested")
    at, data = 0, b""
    undo: list[tuple[int, bytes]] = []
    held: list[NvFile] = []
    charge: Charge | None = None
    pinned = None
    if where and plan.size:
        data = t.copy_in(where, plan.size)
        at = a.put(data)
        p["pAllocParms"] = a.addr + at
    else:
        p["pAllocParms"] = 0
        p.put(paramsSize=0)
    try:
        if rights:
            p["pRightsRequested"] = a.addr + a.put(t.copy_in(rights, 4))
        if data:
            check_clients(e, t, f, plan, a, at)
            if number != MEMORY_OS_DESCRIPTOR:
                zero_pointers(plan, a, at, undo)
            held = hold(translate_fds(e, t, plan, a, at, undo))
        params = (
            View(e.layouts, e.layouts.table(plan.struct), a.buf, at)
            if data and plan.struct in e.abi.release.structs
            else None
        )
        gpu = _gpu_of(e, client, p["hObjectParent"], number, params)
        charge = _reserve(e, t, gpu, number, params)
        if number == MEMORY_OS_DESCRIPTOR:
            if params is None:
                raise status.Refused(status.INVALID_ARGUMENT)
            if (
                params["descriptorType"] != VIRTUAL_ADDRESS
            ):  # page arrays, kernel addresses, files, dma-buf…
                raise status.Refused(status.NOT_SUPPORTED)
            descriptor = params["descriptor"]
            pinned = pin(t, descriptor, params["limit"] + 1)
            params["descriptor"] = pinned.address
        r = x.forward()
        if r < 0:
            return r
        if p["status"] == status.OK:
            handle = p["hObjectNew"]
            if client is None:
                e.objects.add_client(handle, f, t.tg.pid)
            else:
                o = e.objects.add(client, p["hObjectParent"], handle, number)
                o.gpu = gpu
                if charge is not None and params is not None and "size" in params:
                    charge.resize(params["size"])
                o.charge, charge = charge, None
                o.pinned, pinned = pinned, None
                if number == CHANNEL_GROUP:
                    e.scheduling.group_made(e, f, p["hRoot"], handle)
        if number == MEMORY_OS_DESCRIPTOR and params is not None:
            params["descriptor"] = descriptor
    finally:
        if charge is not None:
            charge.drop()
        if pinned is not None:
            pinned.close()
        for offset, old in undo:
            a.buf[offset : offset + len(old)] = old
        for other in held:
            other.decref()
        p["pAllocParms"] = where
        p.put(paramsSize=given, pRightsRequested=rights)
    got = bytes(a.buf[at : at + len(data)])
    if got != data:
        t.copy_out(where, got)
    if e.audit.trace:
        e.audit.call(e, t, plan, data, got, p["status"])
    return x.finish()


def _gpu_of(e: Engine, client: Client | None, parent: int, number: int, params: View | None) -> int:
    """The device instance a new object is on; a device itself must be one of the sandbox's. Raises Refused."""
    if number == DEVICE:
        instance = params["deviceId"] if params is not None else 0
        if instance not in e.by_instance:
            raise status.Refused(status.INVALID_DEVICE)
        return instance
    above = client.objects.get(parent) if client is not None else None
    return above.gpu if above is not None else -1


def _reserve(e: Engine, t: Task, gpu: int, number: int, params: View | None) -> Charge | None:
    """What an object of this class takes of the card's memory. Raises Refused(NO_MEMORY)."""
    if params is None:
        return None
    if number == MEMORY_LOCAL_USER:
        return take(e, t, gpu, _bytes(params))
    if number == MEMORY_FABRIC and "allocSize" in params:
        return take(e, t, gpu, params["allocSize"])
    return None


def take(e: Engine, t: Task, gpu: int, size: int) -> Charge:
    """Reserve ``size`` bytes. Raises Refused."""
    if gpu < 0:
        raise status.Refused(status.INVALID_OBJECT_PARENT)
    if size > MAX_SIZE:
        raise status.Refused(status.NO_MEMORY)
    return e.quota.take(gpu, t.tg.pid, size)


def rm_free(e: Engine, t: Task, f: NvFile, escape: Plan, size: int, arg: int) -> int:
    """NVOS00: an object and all below it, or the client."""
    with Argument(e, t, f, escape, size, arg) as x:
        p = x.p
        root, handle = p["hRoot"], p["hObjectOld"]
        # A client's handle stands in both places when it is freed itself.
        if handle in e.objects.clients and root in (0, handle):
            root = handle
        try:
            client = e.objects.usable(root, f)
        except status.Refused as r:
            p["status"] = r.status
            return x.finish()
        got = x.forward()
        if got < 0:
            return got
        if p["status"] == status.OK:
            e.objects.free(client, handle)
        return x.finish()


def rm_dup(e: Engine, t: Task, f: NvFile, escape: Plan, size: int, arg: int) -> int:
    """NVOS55: another handle for an object, of the same process only: others share by exported descriptor (hazard D1)."""
    with Argument(e, t, f, escape, size, arg) as x:
        p = x.p
        try:
            client = e.objects.usable(p["hClient"], f)
            owner = e.objects.clients.get(p["hClientSrc"])
            if owner is None:
                raise status.Refused(status.INVALID_CLIENT)
            source = owner.objects.get(p["hObjectSrc"])
            if not may_duplicate(e, t, f, client, owner, source):
                raise status.Refused(status.INSUFFICIENT_PERMISSIONS)
            e.objects.check_room()
        except status.Refused as r:
            p["status"] = r.status
            return x.finish()
        charge = source.charge.share() if source is not None and source.charge is not None else None
        got = x.forward()
        if got >= 0 and p["status"] == status.OK:
            o = e.objects.add(client, p["hParent"], p["hObject"], source.cls if source else 0)
            if source is not None:
                o.gpu = source.gpu
            o.charge, charge = charge, None
        if charge is not None:
            charge.drop()
        return got if got < 0 else x.finish()


def rm_alloc_memory(e: Engine, t: Task, f: NvFile, escape: Plan, size: int, arg: int) -> int:
    """NVOS02: system memory, and application memory registered with the driver, the older way."""
    with Argument(e, t, f, escape, size, arg) as x:
        whole = x.p
        p = whole.sub("params")
        pointer, number, fd = p["pMemory"], p["hClass"], whole["fd"]
        plan = e.abi.cls(number)
        pinned = None
        try:
            client = e.objects.usable(p["hRoot"], f)
            e.objects.check_room()
            if number == MEMORY_OS_DESCRIPTOR and not plan.reason:
                pinned = pin(t, pointer, p["limit"] + 1)
                p["pMemory"] = pinned.address
            elif number == MEMORY_SYSTEM and not plan.reason:
                p["pMemory"] = 0
            else:
                why = plan.reason or "not by this call"
                e.audit.refused(t, "class", plan.name, why)
                raise status.Refused(status.INVALID_CLASS)
            whole["fd"] = 0xFFFFFFFF
        except status.Refused as r:
            p["status"] = r.status
            return x.finish()
        try:
            got = x.forward()
            p["pMemory"], whole["fd"] = pointer, fd
            if got < 0:
                return got
            if p["status"] == status.OK:
                o = e.objects.add(client, p["hObjectParent"], p["hObjectNew"], number)
                o.pinned, pinned = pinned, None
        finally:
            if pinned is not None:
                pinned.close()
        return x.finish()


def vid_heap(e: Engine, t: Task, f: NvFile, escape: Plan, size: int, arg: int) -> int:
    """NVOS32: memory by function code; those that allocate, free and ask for sizes."""
    with Argument(e, t, f, escape, size, arg) as x:
        p = x.p
        try:
            client = e.objects.usable(p["hRoot"], f)
            function = p["function"]
            if function not in _HEAP_ALLOCS and function not in (_FREE, _INFO):
                e.audit.refused(t, "ioctl", f"{escape.name} function {function}", "not forwarded")
                raise status.Refused(status.NOT_SUPPORTED)
            return _heap(x, client, function)
        except status.Refused as r:
            p["status"] = r.status
            return x.finish()


def _heap(x: Argument, client: Client, function: int) -> int:
    e, t, p = x.e, x.t, x.p
    above = client.objects.get(p["hObjectParent"])
    gpu = above.gpu if above is not None else -1
    charge: Charge | None = None
    pointer = 0
    d = p.sub("data").sub(_HEAP_ALLOCS[function]) if function in _HEAP_ALLOCS else None
    if d is not None:
        e.objects.check_room()
        pointer = d["address"]
        d["address"] = 0
        if not d["flags"] & _FLAG_VIRTUAL and d["attr"] >> _LOCATION & 3 != _LOCATION_PCI:
            charge = take(e, t, gpu, _bytes(d))
    try:
        got = x.forward()
        if got < 0:
            return got
        ok = p["status"] == status.OK
        if d is not None:
            d["address"] = pointer
            if ok:
                o = e.objects.add(client, p["hObjectParent"], d["hMemory"], MEMORY_LOCAL_USER)
                if charge is not None and d["attr"] >> _LOCATION & 3 != _LOCATION_PCI:
                    charge.resize(d["size"])
                    o.charge, charge = charge, None
        elif function == _FREE and ok:
            e.objects.free(client, p.sub("data").sub("Free")["hMemory"])
    finally:
        if charge is not None:
            charge.drop()
    if e.quota.limit and gpu >= 0:
        total = min(p["total"], e.quota.limit)
        p["total"] = total
        p["free"] = min(p["free"], max(0, total - e.quota.total(gpu)))
    return x.finish()


def _bytes(p: View) -> int:
    """What is asked for, as a size or as rows."""
    return max(p["size"], p.opt("height") * abs(signed(p.opt("pitch"))))


def signed(value: int) -> int:
    """A 32-bit field as C's int."""
    return value - (1 << 32) if value >= 1 << 31 else value


# ---------------------------------------------------------------------- export and import


def _exported(c: Call) -> list[Obj]:
    """The objects named by an export: one, or an array of handles of the calling client."""
    client = c.engine.objects.clients[c.client]
    p = c.p
    if "object" in p:
        handle = p.sub("object").sub("data").sub("rmObject")["hObject"]
        found = [client.objects.get(handle)]
    else:
        n = min(p["numObjects"], p.length("objects"))
        found = [client.objects.get(p.get("objects", i)) for i in range(n)]
    return [o for o in found if o is not None]


def before_export(c: Call) -> int | None:
    """The object must be of this client: the parameters can't name another's."""
    p = c.p
    if "object" in p:
        data = p.sub("object").sub("data").sub("rmObject")
        if data["hParent"] and data["hParent"] not in c.engine.objects.clients[c.client].objects:
            return status.INVALID_OBJECT_PARENT
    return None


def after_export(c: Call) -> None:
    """The descriptor keeps the memory: the charge lives with it too."""
    if c.status == status.OK and c.files:
        for o in _exported(c):
            if o.charge is not None and len(c.files[0].export) < MAX_EXPORTS:
                c.files[0].export.append(o.charge.share())


def after_import(c: Call) -> None:
    """An imported object is the exported memory: it holds the same charge, and is freed with its client."""
    if c.status != status.OK or not c.files:
        return
    client = c.engine.objects.clients[c.client]
    p = c.p
    if "object" in p:
        data = p.sub("object").sub("data").sub("rmObject")
        made = [(data["hParent"], data["hObject"])]
    else:
        n = min(p["numObjects"], p.length("objects"))
        made = [(p["hParent"], p.get("objects", i)) for i in range(n)]
    held = c.files[0].export
    for i, (parent, handle) in enumerate(made):
        o = c.engine.objects.add(client, parent, handle, 0)
        if i < len(held):
            o.charge = held[i].share()  # type: ignore[attr-defined]  # quota.Charge


HOOKS: Final[dict[str, tuple[object, object]]] = {
    "NV0000_CTRL_CMD_OS_UNIX_EXPORT_OBJECT_TO_FD": (before_export, after_export),
    "NV0000_CTRL_CMD_OS_UNIX_EXPORT_OBJECTS_TO_FD": (None, after_export),
    "NV0000_CTRL_CMD_OS_UNIX_IMPORT_OBJECT_FROM_FD": (None, after_import),
    "NV0000_CTRL_CMD_OS_UNIX_IMPORT_OBJECTS_FROM_FD": (None, after_import),
}
Escape = Callable[["Engine", "Task", "NvFile", "Plan", int, int], int]


def _in_turn(fn: Escape) -> Escape:
    """One at a time for the clients of a file."""

    def run(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, arg: int) -> int:
        with f.exclusive(t):
            return fn(e, t, f, plan, size, arg)

    return run


HANDLERS: Final[dict[str, Escape]] = {
    "NV_ESC_RM_ALLOC": _in_turn(rm_alloc),
    "NV_ESC_RM_FREE": _in_turn(rm_free),
    "NV_ESC_RM_DUP_OBJECT": _in_turn(rm_dup),
    "NV_ESC_RM_ALLOC_MEMORY": _in_turn(rm_alloc_memory),
    "NV_ESC_RM_VID_HEAP_CONTROL": _in_turn(vid_heap),
}
