"""System V message queues and semaphores: msgget(2), msgsnd(2), semget(2), semop(2) and kin."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ..errors import ERESTARTNOHAND, Restart, SysErr
from ..ipc import msg, sem
from ..ipc.ids import IPC_64, IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, PERM, READ, WRITE
from ..kernel.creds import CAP_SYS_RESOURCE
from .decode import CInt, CLong, CUInt, CULong, Table, UserPtr, full
from .timeouts import deadline_in

if TYPE_CHECKING:
    from ..kernel.task import Task

MSG_STAT: Final = 11
MSG_INFO: Final = 12
MSG_STAT_ANY: Final = 13
GETPID: Final = 11
GETVAL: Final = 12
GETALL: Final = 13
GETNCNT: Final = 14
GETZCNT: Final = 15
SETVAL: Final = 16
SETALL: Final = 17
SEM_STAT: Final = 18
SEM_INFO: Final = 19
SEM_STAT_ANY: Final = 20


# Message queues
def sys_msgget(t: Task, key: CInt, flags: CInt) -> int:
    return t.ns.ipc.msgs.get(t, key, flags, lambda: msg.MsgQueue(t, key, flags), lambda q: None)


def sys_msgsnd(t: Task, id: CInt, buf: UserPtr, size: CULong, flags: CInt) -> int:
    if size > t.ns.ipc.msg_limits.size or id < 0:
        raise SysErr(errno.EINVAL)
    raw = t.copy_in(buf, 8 + size)
    kind = struct.unpack_from("<q", raw)[0]
    if kind < 1:
        raise SysErr(errno.EINVAL)
    try:
        msg.send(t, id, kind, raw[8:], flags)
    except Restart:
        raise Restart(ERESTARTNOHAND) from None
    return 0


def sys_msgrcv(t: Task, id: CInt, buf: UserPtr, size: CULong, kind: CLong, flags: CInt) -> int:
    if id < 0 or size >> 63:
        raise SysErr(errno.EINVAL)
    try:
        k, text = msg.receive(t, id, size, kind, flags)
    except Restart:
        raise Restart(ERESTARTNOHAND) from None
    t.copy_out(buf, struct.pack("<q", k) + text)
    return len(text)


def sys_msgctl(t: Task, id: CInt, cmd: CInt, buf: UserPtr) -> int:
    cmd &= ~IPC_64
    if id < 0 or cmd < 0:
        raise SysErr(errno.EINVAL)
    if cmd in (IPC_INFO, MSG_INFO):
        queues = t.ns.ipc.msgs.by_index.values()
        used = (
            (len(queues), sum(len(q.messages) for q in queues), sum(q.bytes for q in queues))
            if cmd == MSG_INFO
            else (512000, 32000, 16384)
        )
        t.copy_out(
            buf,
            struct.pack(
                "<iiiiiiiH2x",
                used[0],
                used[1],
                t.ns.ipc.msg_limits.size,
                t.ns.ipc.msg_limits.bytes,
                t.ns.ipc.msgs.limit,
                16,
                used[2],
                0xFFFF,
            ),
        )
        return t.ns.ipc.msgs.highest()
    if cmd in (MSG_STAT, MSG_STAT_ANY, IPC_STAT):
        q = t.ns.ipc.msgs.find(id) if cmd == IPC_STAT else t.ns.ipc.msgs.at_index(id)
        if cmd != MSG_STAT_ANY:
            q.check(t, READ)
        t.copy_out(buf, q.pack(t))
        return 0 if cmd == IPC_STAT else q.id
    if cmd == IPC_SET:
        raw = t.copy_in(buf, 120)
        q = t.ns.ipc.msgs.find(id)
        q.check_owner(t)
        qbytes = struct.unpack_from("<Q", raw, 88)[0]
        if qbytes > t.ns.ipc.msg_limits.bytes and not t.creds.ns_capable(
            t.ns.ipc.administrator(), CAP_SYS_RESOURCE
        ):
            raise SysErr(errno.EPERM)
        q.set_perm(t, raw[: PERM.size])
        q.qbytes = min(qbytes, msg.TOTAL_MAX)
        q.queue.wake()
        return 0
    if cmd == IPC_RMID:
        q = t.ns.ipc.msgs.find(id)
        q.check_owner(t)
        msg.destroy(t, q)
        return 0
    raise SysErr(errno.EINVAL)


# Semaphores
def sys_semget(t: Task, key: CInt, n: CInt, flags: CInt) -> int:
    if not 0 <= n <= t.ns.ipc.sem_limits.per_set:
        raise SysErr(errno.EINVAL)

    def make() -> sem.SemSet:
        if n == 0:
            raise SysErr(errno.EINVAL)
        if t.ns.ipc.semaphores() + n > min(t.ns.ipc.sem_limits.total, sem.SEMMNS):
            raise SysErr(errno.ENOSPC)
        return sem.SemSet(t, key, flags, n)

    def check(s: sem.SemSet) -> None:
        if n > len(s.values):
            raise SysErr(errno.EINVAL)

    return t.ns.ipc.sems.get(t, key, flags, make, check)


def sys_semtimedop(t: Task, id: CInt, ops: UserPtr, n: CUInt, timeout: UserPtr) -> int:
    if n < 1 or id < 0:
        raise SysErr(errno.EINVAL)
    if n > t.ns.ipc.sem_limits.operations:
        raise SysErr(errno.E2BIG)
    raw = t.copy_in(ops, 6 * n)
    deadline = deadline_in(t, timeout)
    try:
        sem.operate(t, id, list(struct.iter_unpack("<Hhh", raw)), deadline)
    except Restart:
        raise SysErr(errno.EINTR) from None  # never restarted, signal(7)
    return 0


def sys_semop(t: Task, id: CInt, ops: UserPtr, n: CUInt) -> int:
    return sys_semtimedop(t, id, ops, n, UserPtr(0))


def sys_semctl(t: Task, id: CInt, num: CInt, cmd: CInt, arg: CULong) -> int:
    cmd &= ~IPC_64
    if id < 0:
        raise SysErr(errno.EINVAL)
    if cmd in (IPC_INFO, SEM_INFO):
        most = t.ns.ipc.sem_limits
        used = (
            (len(t.ns.ipc.sems.by_index), t.ns.ipc.semaphores()) if cmd == SEM_INFO else (20, 32000)
        )
        t.copy_out(
            arg,
            struct.pack(
                "<10i", most.total, t.ns.ipc.sems.limit, most.total, most.total, most.per_set, most.operations, 500,
                used[0], sem.SEMVMX, used[1],
            ),
        )  # fmt: skip
        return t.ns.ipc.sems.highest()
    if cmd in (IPC_STAT, SEM_STAT, SEM_STAT_ANY):
        s = t.ns.ipc.sems.find(id) if cmd == IPC_STAT else t.ns.ipc.sems.at_index(id)
        if cmd != SEM_STAT_ANY:
            s.check(t, READ)
        t.copy_out(arg, s.pack(t))
        return 0 if cmd == IPC_STAT else s.id
    if cmd in (IPC_SET, IPC_RMID):
        raw = t.copy_in(arg, 104) if cmd == IPC_SET else b""
        s = t.ns.ipc.sems.find(id)
        s.check_owner(t)
        if cmd == IPC_SET:
            s.set_perm(t, raw[: PERM.size])
        else:
            sem.destroy(t, s)
        return 0
    return _sem_values(t, id, num, cmd, arg)


def _sem_values(t: Task, id: int, num: int, cmd: int, arg: int) -> int:
    """The commands on values."""
    if cmd not in (GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL):
        raise SysErr(errno.EINVAL)
    s = t.ns.ipc.sems.find(id)
    n = len(s.values)
    if cmd not in (GETALL, SETALL) and not 0 <= num < n:
        raise SysErr(errno.EINVAL)
    s.check(t, WRITE if cmd in (SETVAL, SETALL) else READ)
    if cmd == SETVAL:
        value = arg & 0xFFFFFFFF
        if value > sem.SEMVMX:
            raise SysErr(errno.ERANGE)
        s.set_value(t, num, value)
    elif cmd == SETALL:
        values = struct.unpack(f"<{n}H", t.copy_in(arg, 2 * n))
        if s.dead:
            raise SysErr(errno.EIDRM)
        if any(v > sem.SEMVMX for v in values):
            raise SysErr(errno.ERANGE)
        for i, v in enumerate(values):
            s.set_value(t, i, v)
    elif cmd == GETALL:
        t.copy_out(arg, struct.pack(f"<{n}H", *s.values))
        return 0
    else:
        return {GETPID: s.pids, GETVAL: s.values, GETNCNT: s.ncount, GETZCNT: s.zcount}[cmd][num]
    s.ctime = t.k.realtime_ns() // 10**9
    s.queue.wake()
    return 0


TABLE: Final[Table] = {
    64: full("semget", sys_semget),
    65: full("semop", sys_semop),
    66: full("semctl", sys_semctl),
    68: full("msgget", sys_msgget),
    69: full("msgsnd", sys_msgsnd),
    70: full("msgrcv", sys_msgrcv),
    71: full("msgctl", sys_msgctl),
    220: full("semtimedop", sys_semtimedop),
}
