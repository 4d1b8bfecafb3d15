"""Memory of a card as a dma-buf (``NV_ESC_EXPORT_TO_DMABUF_FD``: nv-ioctl.h, kernel-open/nvidia/nv-dmabuf.c).

The driver puts the dma-buf into a new descriptor of its caller, the Sentry; the application gets a file that stands for it. Nothing can
be done with that but to add more handles, pass it on and close it: no device inside takes it, and it is never mapped.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, final

from ..sentry.errors import SysErr
from ..sentry.fs.anon import AnonFile
from . import status
from .alloc import signed
from .escapes import Argument

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task
    from .devices import NvFile
    from .engine import Engine
    from .objects import Obj
    from .plan import Plan
    from .quota import Charge

RLIMIT_NOFILE: Final = 7


@final
class DmaBuf(AnonFile):
    """``fd``: the Sentry's descriptor, which it owns. The memory stays as long as the file does, and so do its charges."""

    __slots__ = ("charges", "engine", "fd", "size")
    label = b"/dmabuf:"

    def __init__(self, engine: Engine, fd: int, size: int) -> None:
        super().__init__(os.O_RDWR)
        self.engine = engine
        self.fd = fd
        self.size = size
        self.charges: list[Charge] = []

    def seek(self, t: Task, offset: int, whence: int) -> int:
        """Tells the size (drivers/dma-buf/dma-buf.c: dma_buf_llseek)."""
        if offset or whence not in (os.SEEK_SET, os.SEEK_END):
            raise SysErr(errno.EINVAL)
        return self.size if whence == os.SEEK_END else 0

    def poll(self, t: Task | None) -> int:
        return 0

    def release(self) -> None:
        for c in self.charges:
            c.drop()
        self.charges.clear()
        self.engine.pool.submit(os.close, self.fd)  # the driver may take its time to free it


def export(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """Makes a dma-buf of some of a client's memory objects, or adds some to one that was made before."""
    with Argument(e, t, f, plan, size, addr) as x, f.exclusive(t):
        p = x.p
        number = signed(p["fd"])
        try:
            objects = _objects(e, f, x)
        except status.Refused as r:
            p["status"] = r.status
            return x.finish()
        if "bAllowMmap" in p:
            p["bAllowMmap"] = 0
        old = _dmabuf(e, t, number) if number >= 0 else None
        if number >= 0:
            if old is None:
                return -errno.EINVAL
            p["fd"] = old.fd
            old.incref()  # another thread may close it meanwhile
        try:
            got = x.forward()
            done = got >= 0 and p["status"] == status.OK
            made = signed(p["fd"])
            p["fd"] = number & 0xFFFFFFFF
            if got < 0:
                return got
            if done and old is not None:
                _charge(old, objects)
            elif done and made >= 0:
                new = DmaBuf(e, made, p["totalSize"])
                _charge(new, objects)
                new.incref()
                try:
                    p["fd"] = t.files.install(new, t.tg.rlimit(RLIMIT_NOFILE), cloexec=True)
                finally:
                    new.decref()
            return x.finish()
        finally:
            if old is not None:
                old.decref()


def _objects(e: Engine, f: NvFile, x: Argument) -> list[Obj]:
    """What is to be exported. Raises Refused."""
    p = x.p
    client = e.objects.usable(p["hClient"], f)
    n = p["numObjects"]
    if not 1 <= n <= p.length("handles"):
        raise status.Refused(status.INVALID_ARGUMENT)
    found = [client.objects.get(p.get("handles", i)) for i in range(n)]
    if None in found:
        raise status.Refused(status.OBJECT_NOT_FOUND)
    return [o for o in found if o is not None]


def _charge(d: DmaBuf, objects: list[Obj]) -> None:
    d.charges += [o.charge.share() for o in objects if o.charge is not None]


def _dmabuf(e: Engine, t: Task, number: int) -> DmaBuf | None:
    try:
        f = t.files.get(number)
    except SysErr:
        return None
    return f if isinstance(f, DmaBuf) and f.engine is e else None


HANDLERS: Final = {"NV_ESC_EXPORT_TO_DMABUF_FD": export}
