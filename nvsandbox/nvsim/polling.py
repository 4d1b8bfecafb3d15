"""poll(2) and epoll_ctl(2) on device files.

A memfd always polls ready and epoll refuses it, so both are answered here. The driver reports
POLLPRI and POLLIN when an event is pending (``nv.c:nvidia_poll``). A poll that has to wait is kept
and answered later; other descriptors of the same call are watched through pidfd_getfd(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .files import OpenFile
from .seccomp import NAME_OF, libc
from .task import Request, get_fd

if TYPE_CHECKING:
    from .simulator import Simulator

_ROW: Final = struct.Struct("<ihH")
_READY: Final = select.POLLIN | select.POLLPRI
_MAX_ROWS: Final = 1024
_MAX_WAITING: Final = 256
_TICK: Final = 0.05
_EPOLL_ADD, _EPOLL_DEL, _EPOLL_MOD = 1, 2, 3


@dataclass(slots=True)
class _Waiting:
    """A poll that isn't answered yet."""

    request: Request
    rows: list[tuple[int, int]]
    ours: dict[int, OpenFile]
    deadline: float | None
    foreign: dict[int, int] = field(default_factory=dict)
    """Row -> our duplicate of another descriptor."""

    def close(self) -> None:
        for fd in self.foreign.values():
            os.close(fd)
        self.foreign.clear()


class Poller:
    """Polls on our descriptors."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._waiting: list[_Waiting] = []

    def next_due(self) -> float | None:
        """When ``check`` is to be called next."""
        return time.monotonic() + _TICK if self._waiting else None

    def poll(self, request: Request) -> None:
        """poll and ppoll."""
        addr, n = request.args[0], request.args[1]
        if not len(self._sim.files) or n == 0 or n > _MAX_ROWS:
            request.proceed()
            return
        raw = request.read(addr, _ROW.size * n)
        rows = [(fd, events) for fd, events, _ in _ROW.iter_unpack(raw)]
        ours = {}
        for i, (fd, _) in enumerate(rows):
            file = self._sim.files.find(request.stat_fd(fd)) if fd >= 0 else None
            if file is not None:
                ours[i] = file
        if not ours:
            request.proceed()
            return
        waiting = _Waiting(request, rows, ours, self._deadline(request))
        for i, (fd, _) in enumerate(rows):
            if i not in ours and fd >= 0:
                try:
                    waiting.foreign[i] = get_fd(request.tgid(), fd)
                except OSError:
                    pass
        if not self._try(waiting):
            if len(self._waiting) >= _MAX_WAITING:
                waiting.close()
                raise OSError(errno.ENOMEM, "poll")
            self._waiting.append(waiting)

    @staticmethod
    def _deadline(request: Request) -> float | None:
        if NAME_OF[request.nr] == "poll":
            ms = request.args[2] & 0xFFFFFFFF
            return None if ms >= 1 << 31 else float(time.monotonic() + ms / 1000)
        if not request.args[2]:
            return None
        seconds, nanos = struct.unpack("<qq", request.read(request.args[2], 16))
        return float(time.monotonic() + max(seconds, 0) + nanos / 1e9)

    def check(self) -> None:
        """Answer what has become ready or timed out."""
        for waiting in list(self._waiting):
            try:
                done = not waiting.request.alive() or self._try(waiting)
            except OSError:
                done = True
            if done:
                waiting.close()
                self._waiting.remove(waiting)

    def _try(self, w: _Waiting) -> bool:
        results = [0] * len(w.rows)
        for i, file in w.ours.items():
            if file.events:
                results[i] = _READY & w.rows[i][1]
        poll, row_of = select.poll(), {fd: i for i, fd in w.foreign.items()}
        for fd, i in row_of.items():
            poll.register(fd, w.rows[i][1] & 0xFFFF)
        for fd, events in poll.poll(0) if row_of else []:
            results[row_of[fd]] = events
        ready = sum(1 for r in results if r)
        expired = w.deadline is not None and time.monotonic() >= w.deadline
        if not ready and not expired:
            return False
        out = b"".join(
            _ROW.pack(fd, events, result & 0xFFFF)
            for (fd, events), result in zip(w.rows, results, strict=True)
        )
        w.request.write(w.request.args[0], out)
        w.request.reply(ready)
        w.close()
        return True

    def epoll_ctl(self, request: Request) -> None:
        """Put an eventfd of ours into the caller's epoll set in place of the memfd."""
        epfd, op, fd, event = request.args[:4]
        file = self._sim.files.find(request.stat_fd(fd)) if len(self._sim.files) else None
        if file is None:
            request.proceed()
            return
        if file.eventfd < 0:
            file.eventfd = os.eventfd(len(file.events), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        data = bytes(request.read(event, 12)) if event and op != _EPOLL_DEL else bytes(12)
        ours = get_fd(request.tgid(), epfd & 0xFFFFFFFF)
        try:
            done = libc.syscall(233, ours, op & 0xFFFFFFFF, file.eventfd, data)
        finally:
            os.close(ours)
        if done < 0:
            request.reply(-ctypes.get_errno())
            return
        request.reply()
