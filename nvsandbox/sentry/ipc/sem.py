"""System V semaphores (Linux: ipc/sem.c; semget(2), semop(2), semctl(2)).

A set of operations is tried as a whole; one that cannot be done now waits on the set. Adjustments for SEM_UNDO
are kept by process and applied by ``exit_process``.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.wait import WaitQueue
from .ids import IPC_NOWAIT, READ, WRITE, IpcObject

if TYPE_CHECKING:
    from ..kernel.task import Task, ThreadGroup

SEMMSL: Final = 32000
SEMMNI: Final = 32000
SEMMNS: Final = 1 << 20  # semaphores in all: the memory is the Sentry's
SEMVMX: Final = 32767
SEM_UNDO: Final = 0x1000
DS: Final = struct.Struct("<qqqqQ16x")
Op = tuple[int, int, int]  # number, delta, flags


@final
class SemSet(IpcObject):
    """``undo``: pid -> adjustment by semaphore number."""

    __slots__ = ("ncount", "otime", "pids", "queue", "undo", "values", "zcount")

    def __init__(self, t: Task, key: int, mode: int, n: int) -> None:
        super().__init__(t, key, mode)
        self.values = [0] * n
        self.pids = [0] * n
        self.ncount = [0] * n
        self.zcount = [0] * n
        self.otime = 0
        self.queue = WaitQueue()
        self.undo: dict[ThreadGroup, dict[int, int]] = {}

    def pack(self, t: Task) -> bytes:
        """struct semid64_ds, 104 bytes."""
        return self.pack_perm(t) + DS.pack(self.otime, 0, self.ctime, 0, len(self.values))

    def attempt(self, t: Task, ops: list[Op]) -> int:
        """Does all of ``ops``, or nothing: the index of the one that must wait, or -1. Raises ERANGE."""
        values = dict[int, int]()
        undo = dict(self.undo.get(t.tg, {}))
        for i, (num, delta, flags) in enumerate(ops):
            v = values.get(num, self.values[num])
            if delta == 0:
                if v:
                    return i
                continue
            if v + delta < 0:
                return i
            if v + delta > SEMVMX:
                raise SysErr(errno.ERANGE)
            values[num] = v + delta
            if flags & SEM_UNDO:
                undo[num] = undo.get(num, 0) - delta
                if not -SEMVMX - 1 <= undo[num] <= SEMVMX:
                    raise SysErr(errno.ERANGE)
        for num, v in values.items():
            self.values[num] = v
        for num, _, _ in ops:
            self.pids[num] = t.tg.pid
        if any(f & SEM_UNDO for _, _, f in ops):
            self.undo[t.tg] = undo
            t.tg.undo_sets[self] = None
        return -1

    def set_value(self, t: Task, num: int, value: int) -> None:
        self.values[num] = value
        self.pids[num] = t.tg.pid
        for adj in self.undo.values():
            adj.pop(num, None)


@final
class Limits:
    """The first three numbers of kernel.sem: semaphores of a set and of all, operations of one semop(2)."""

    __slots__ = ("operations", "per_set", "total")

    def __init__(self) -> None:
        self.per_set = SEMMSL
        self.total = 1024000000
        self.operations = 500


def operate(t: Task, id: int, ops: list[Op], deadline: int | None) -> None:
    """semtimedop(2). Raises EFBIG, EACCES, EAGAIN, EIDRM, ERANGE; interrupted: EINTR by the caller."""
    s = t.ns.ipc.sems.find(id)
    if any(num >= len(s.values) for num, _, _ in ops):
        raise SysErr(errno.EFBIG)
    s.check(t, WRITE if any(d for _, d, _ in ops) else READ)
    while True:
        at = s.attempt(t, ops)
        if at < 0:
            break
        num, delta, flags = ops[at]
        if flags & IPC_NOWAIT:
            raise SysErr(errno.EAGAIN)
        counts = s.ncount if delta else s.zcount
        counts[num] += 1
        try:
            alive = t.wait(s.queue, deadline=deadline)
        finally:
            counts[num] -= 1
        if s.dead:
            raise SysErr(errno.EIDRM)
        if not alive:
            raise SysErr(errno.EAGAIN)
    s.otime = t.k.realtime_ns() // 10**9
    s.queue.wake()


def destroy(t: Task, s: SemSet) -> None:
    t.ns.ipc.sems.remove(s)
    s.queue.wake()


def exit_process(tg: ThreadGroup) -> None:
    """SEM_UNDO: called when a process is gone."""
    sets, tg.undo_sets = tg.undo_sets, {}
    for s in sets:
        adj = s.undo.pop(tg, None)
        if adj:
            for num, d in adj.items():
                s.values[num] = min(max(s.values[num] + d, 0), SEMVMX)
                s.pids[num] = tg.pid
            s.queue.wake()
