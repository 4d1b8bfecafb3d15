"""RM_MAP_MEMORY and mmap: device memory goes straight into the application's address space, so that a doorbell costs nothing.

A frontend descriptor maps what the last RM_MAP_MEMORY on it prepared, at offset 0; managed memory (UVM) is mapped at the address equal to
its offset. The stub makes the mapping itself from the Sentry's descriptor, as for any file.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..sentry.errors import SysErr
from ..sentry.mm import mm as m
from ..sentry.mm.mm import page_up
from ..sentry.mm.vma import DONTFORK, Vma
from . import rules, status
from .escapes import Argument
from .promote import Pinned

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task
    from .devices import NvFile
    from .engine import Engine
    from .plan import Plan

_READ_ONLY: Final = 1
"""NVOS33_FLAGS_ACCESS, bits 1:0."""
_RW: Final = 3


def map_memory(e: Engine, t: Task, f: NvFile, escape: Plan, size: int, arg: int) -> int:
    """NVOS33 with a descriptor: prepares it for the mmap that follows."""
    with Argument(e, t, f, escape, size, arg) as x:
        whole = x.p
        p = whole.sub("params")
        number = whole["fd"]
        try:
            client = e.objects.usable(p["hClient"], f)
            target = e.file(t, number, rules.FRONTEND)
            if target is None:
                raise status.Refused(status.INVALID_ARGUMENT)
        except status.Refused as r:
            p["status"] = r.status
            return x.finish()
        o = client.objects.get(p["hMemory"])
        whole["fd"] = target.fd
        got = x.forward(target)
        whole["fd"] = number
        if got < 0:
            return got
        if p["status"] == status.OK:
            rights = 1 if p["flags"] & 3 == _READ_ONLY else _RW
            target.mapping = (page_up(p["length"]), rights)
            if o is not None and isinstance(o.pinned, Pinned):
                p["pLinearAddress"] = o.pinned.outside(p["pLinearAddress"])
        return x.finish()


def unmap_memory(e: Engine, t: Task, f: NvFile, escape: Plan, size: int, arg: int) -> int:
    """NVOS34: the driver forgets; the address space has its own munmap."""
    with Argument(e, t, f, escape, size, arg) as x:
        p = x.p
        try:
            client = e.objects.usable(p["hClient"], f)
        except status.Refused as r:
            p["status"] = r.status
            return x.finish()
        o = client.objects.get(p["hMemory"])
        address = p["pLinearAddress"]
        if o is not None and isinstance(o.pinned, Pinned):
            p["pLinearAddress"] = o.pinned.inside(address)
        got = x.forward()
        p["pLinearAddress"] = address
        return got if got < 0 else x.finish()


def map_device(
    e: Engine, t: Task, f: NvFile, addr: int, size: int, prot: int, flags: int, offset: int
) -> int:
    """mmap(2) of a device. Raises SysErr as the driver's own mmap fails (nv-mmap.c, uvm.c)."""
    if flags & m.MAP_TYPE == m.MAP_PRIVATE or prot & 4:
        raise SysErr(errno.EINVAL)
    if not f.readable() or (prot & 2 and not f.writable()):
        raise SysErr(errno.EACCES)
    vflags, rights = 0, _RW
    if f.kind == "uvm":
        if not f.managed or addr != offset or prot & _RW != _RW:
            raise SysErr(errno.EINVAL)
        if not flags & (m.MAP_FIXED | m.MAP_FIXED_NOREPLACE):
            flags |= m.MAP_FIXED_NOREPLACE
        if not e.quota.room_for_managed(size):
            raise SysErr(errno.ENOMEM)
        vflags = DONTFORK  # the driver sets VM_DONTCOPY (uvm.c: uvm_mmap)
    elif f.kind in ("ctl", "gpu"):
        if f.mapping is None or offset or size > f.mapping[0]:
            raise SysErr(errno.EINVAL)
        rights = f.mapping[1]
        if prot & ~rights:
            raise SysErr(errno.EACCES)
    else:
        raise SysErr(errno.ENODEV)
    shared = t.mm.users > 1
    if shared:
        t.mm.lock(t)
    try:
        at = t.mm.mmap(t, addr, size, prot, flags, f, offset, f.fd, rights)
        if vflags:
            v = t.mm.map.find(at)
            if v is not None:
                nv: Vma = v.part(at, at + size)
                nv.flags |= vflags
                t.mm.map.replace(at, at + size, [nv])
        if f.kind == "uvm":
            e.quota.watch(t.mm)
        return at
    finally:
        if shared:
            t.mm.unlock()


HANDLERS: Final = {
    "NV_ESC_RM_MAP_MEMORY": map_memory,
    "NV_ESC_RM_UNMAP_MEMORY": unmap_memory,
}
