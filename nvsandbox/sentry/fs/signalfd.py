"""signalfd (Linux: fs/signalfd.c; signalfd(2)).

Reading takes the caller's own pending signals. Readiness is that of whoever asks, so the description listens to
the signal queues of all tasks that have asked.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, final

from ..abi.event import SIGNALFD_SIGINFO
from ..errors import Restart
from ..kernel.signal import SigInfo
from ..kernel.wait import POLLIN, Waiter
from .anon import AnonFile

if TYPE_CHECKING:
    from ..kernel.task import Task

SIZE: Final = 128
M32: Final = 0xFFFF_FFFF
M64: Final = (1 << 64) - 1
SIGCHLD: Final = 17


@final
class SignalFd(AnonFile):
    """``mask``: the signals it takes (bit sig-1)."""

    __slots__ = ("heard", "mask", "waiter")

    label = b"anon_inode:[signalfd]"

    def __init__(self, t: Task, mask: int, flags: int) -> None:
        super().__init__(flags | os.O_RDWR)
        self.mask = mask
        self.waiter = Waiter(self._signal)
        self.heard: dict[int, Task] = {}
        self._listen(t)

    def _listen(self, t: Task) -> None:
        if self.heard.get(t.tid) is not t:
            for tid in [i for i, u in self.heard.items() if u.tg.pids.tasks.get(i) is not u]:
                del self.heard[tid]
            self.heard[t.tid] = t
            t.signal_queue.add(self.waiter)

    def _signal(self, _events: int) -> None:
        self.queue.wake(POLLIN)

    def set_mask(self, mask: int) -> None:
        self.mask = mask
        self.queue.wake(POLLIN)

    def read(self, t: Task, size: int) -> bytes | int:
        if size < SIZE:
            return -errno.EINVAL
        out = b""
        while len(out) + SIZE <= size:
            info = t.dequeue_signal(self.mask)
            if info is not None:
                out += pack_signalfd(t, info)
            elif out:
                break
            elif self.flags & os.O_NONBLOCK:
                return -errno.EAGAIN
            else:
                self._wait(t)
        return out

    def _wait(self, t: Task) -> None:
        """A signal of the mask that is not blocked interrupts the wait; it is still ours if it is queued."""
        try:
            t.wait(t.signal_queue)
        except Restart:
            if not (t.pending.mask | t.tg.pending.mask) & self.mask:
                raise

    def poll(self, t: Task | None) -> int:
        if t is None:
            return 0
        self._listen(t)
        return POLLIN if (t.pending.mask | t.tg.pending.mask) & self.mask else 0

    def release(self) -> None:
        for t in self.heard.values():
            t.signal_queue.remove(self.waiter)

    def fdinfo(self) -> bytes:
        return b"sigmask:\t%016x\n" % self.mask


def pack_signalfd(t: Task, i: SigInfo) -> bytes:
    """struct signalfd_siginfo."""
    child = i.signo == SIGCHLD and i.code > 0
    value = i.value & M64
    signed = value & M32
    return SIGNALFD_SIGINFO.pack(
        i.signo, i.errno, i.code, t.tg.pidns.number(i.pid) & M32, t.creds.userns.uid_out(i.uid) & M32, i.fd, i.timerid & M32, i.band & M32,
        i.overrun & M32, 0, i.status if child else 0,
        signed - (1 << 32) if signed >> 31 else signed, value, i.utime & M64 if child else 0,
        i.stime & M64 if child else 0, i.addr & M64, 0, 0, 0, 0, 0,
    )  # fmt: skip
