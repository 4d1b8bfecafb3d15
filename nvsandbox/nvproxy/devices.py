"""Open NVIDIA devices inside the sandbox, and who opens them on the host.

One host open an application open, never pooled (hazard D2): the driver ties clients to the open file. dup, fork and descriptor
passing share the description, as on Linux.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, final

from ..sentry.fs.hostpoll import HostPoll
from ..sentry.kernel.wait import POLL_READ, POLL_WRITE, POLLIN, POLLPRI, Waiter, WaitQueue
from ..sentry.vfs.file import FileDescription

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task
    from ..sentry.vfs.inode import Inode
    from ..sentry.vfs.path import Path
    from .engine import Engine
    from .promote import Pinned

_EVENTS: Final = POLLIN | POLLPRI


@final
class NvFile(FileDescription):
    """An open device; ``fd`` is the Sentry's descriptor of the host's open file, which it owns."""

    __slots__ = (
        "_busy", "_ready", "_turn", "control", "engine", "export", "fd", "frontend", "gpu", "kind", "managed", "mapping",
        "node", "pins",
    )  # fmt: skip

    def __init__(
        self, engine: Engine, kind: str, gpu: int, fd: int, flags: int, path: Path, node: Inode
    ) -> None:
        super().__init__(flags, path)
        self.engine = engine
        self.kind = kind
        self.frontend = kind in ("ctl", "gpu")
        self.gpu = gpu
        """Device instance of a gpu file, else -1."""
        self.fd = fd
        self.node = node
        self.control: NvFile | None = None
        """The nvidiactl file that REGISTER_FD tied it to."""
        self.mapping: tuple[int, int] | None = None
        """(bytes, protection) that the last RM_MAP_MEMORY prepared it for."""
        self.managed = False
        """Its mappings are managed memory (an initialised UVM file)."""
        self.export: list[object] = []
        """What was exported to this descriptor: charges that live with it."""
        self.pins: list[Pinned] = []
        """The application's memory that the driver writes to for it (``uvm_tools.py``)."""
        self._busy = False
        self._turn = WaitQueue()
        self._ready: HostPoll | None = None  # once it is asked

    @contextlib.contextmanager
    def exclusive(self, t: Task) -> Iterator[None]:
        """Calls that make and free objects of this file's clients, one after the other: what we note must happen in the driver's
        order, or a charge could be given back for another object of the same handle. May suspend."""
        owner = self.control or self
        while owner._busy:
            t.wait(owner._turn, interruptible=False)
        owner._busy = True
        try:
            yield
        finally:
            owner._busy = False
            owner._turn.wake()

    @property
    def inode(self) -> Inode:
        return self.node

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        return self.engine.ioctl(t, self, cmd, arg)

    def mmap(self, t: Task, addr: int, size: int, prot: int, flags: int, offset: int) -> int:
        """mmap(2) of the device. May suspend. Raises SysErr."""
        return self.engine.mmap(t, self, addr, size, prot, flags, offset)

    def read(self, t: Task, size: int) -> bytes | int:
        return -errno.EINVAL

    def write(self, t: Task, data: bytes) -> int:
        return -errno.EINVAL

    # Readiness: an OS event is pending (nv.c: nvidia_poll). The host's files are asked, one shot at a time.
    def poll(self, t: Task | None) -> int:
        if self.kind not in ("ctl", "gpu", "uvm-tools"):
            return POLL_READ | POLL_WRITE
        if self._ready is None:
            self._ready = HostPoll(self.fd, self.queue, self.engine.loop, _EVENTS, self._woken)
        have = self._ready.events() & _EVENTS
        if self.queue.waiters and not have:
            self._ready.listen(_EVENTS)
        return have

    def watch(self, w: Waiter) -> None:
        super().watch(w)
        self.poll(None)

    def unwatch(self, w: Waiter) -> None:
        super().unwatch(w)
        if not self.queue.waiters and self._ready is not None:
            self._ready.listen(0)

    def _woken(self, events: int) -> None:
        self.queue.wake(events & _EVENTS)

    def release(self) -> None:
        if self._ready is not None:
            self._ready.close()
        self.engine.closed(self)
        # the driver takes its time to free what hangs on the file: the other tasks of the sandbox go on
        self.engine.pool.submit(os.close, self.fd)
