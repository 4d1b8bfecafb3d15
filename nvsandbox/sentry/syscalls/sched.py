"""Scheduling calls (Linux: kernel/sched/syscalls.c, kernel/sys.c; sched(7), setpriority(2), ioprio_set(2)).

Policies, priorities and affinity are kept and shown; where and when a thread runs stays the host's decision.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from ..errors import SysErr
from ..kernel.creds import CAP_SYS_ADMIN, CAP_SYS_NICE
from ..kernel.task import Task
from .decode import CInt, CUInt, Table, UserPtr, full
from .time import pack_ts

PRIO_PROCESS, PRIO_PGRP, PRIO_USER = 0, 1, 2
SCHED_POLICIES: Final = {0: (0, 0), 1: (1, 99), 2: (1, 99), 3: (0, 0), 5: (0, 0), 6: (0, 0)}

SCHED_FIFO: Final = 1
SCHED_RR: Final = 2
SCHED_IDLE: Final = 5
SCHED_DEADLINE: Final = 6
SCHED_RESET_ON_FORK: Final = 0x40000000
SCHED_ATTR: Final = struct.Struct("<IIQiIQQQ")
FLAG_RESET_ON_FORK: Final = 1
FLAGS_ALL: Final = 0x7F
IOPRIO_CLASS_RT: Final = 1
IOPRIO_LEVELS: Final = {0: 1, 1: 8, 2: 8, 3: 0x2000}  # by class: none, real-time, best effort, idle


def _task(t: Task, pid: int) -> Task:
    if pid < 0:
        raise SysErr(errno.EINVAL)
    u = t.tg.pidns.find_task(pid) if pid else t
    if u is None:
        raise SysErr(errno.ESRCH)
    return u


def sys_sched_yield(t: Task) -> int:
    t.thread.host(24, flags=1)
    return 0


def sys_sched_getaffinity(t: Task, pid: CInt, size: CUInt, out: UserPtr) -> int:
    """sched_getaffinity(2): as many bytes as the kernel's mask has."""
    if pid < 0:
        raise SysErr(errno.ESRCH)
    u = _task(t, pid)
    n = (t.k.ncpu + 63) // 64 * 8
    if size * 8 < t.k.ncpu or size & 7:
        raise SysErr(errno.EINVAL)
    n = min(n, size)
    mask = u.cpu_mask or (1 << t.k.ncpu) - 1
    t.copy_out(out, mask.to_bytes(n, "little"))
    return n


def sys_sched_setaffinity(t: Task, pid: CInt, size: CUInt, addr: UserPtr) -> int:
    """sched_setaffinity(2): remembered and shown; where threads run stays the host's decision."""
    raw = t.copy_in(addr, min(size, 128))
    if pid < 0:
        raise SysErr(errno.ESRCH)
    u = _task(t, pid)
    mask = int.from_bytes(raw, "little") & ((1 << t.k.ncpu) - 1)
    if not mask:
        raise SysErr(errno.EINVAL)
    if (
        u.tg is not t.tg
        and t.creds.euid not in (u.creds.uid, u.creds.euid)
        and not t.creds.ns_capable(u.creds.userns, CAP_SYS_NICE)
    ):
        raise SysErr(errno.EPERM)
    u.cpu_mask = mask
    return 0


def sys_sched_getscheduler(t: Task, pid: CInt) -> int:
    u = _task(t, pid)
    return u.policy | (SCHED_RESET_ON_FORK if u.reset_on_fork else 0)


def _set_policy(t: Task, u: Task, policy: int, prio: int, reset: bool) -> int:
    if policy not in SCHED_POLICIES:
        raise SysErr(errno.EINVAL)
    lo, hi = SCHED_POLICIES[policy]
    if not lo <= prio <= hi:
        raise SysErr(errno.EINVAL)
    if not t.creds.capable(CAP_SYS_NICE):
        if policy in (SCHED_FIFO, SCHED_RR) and t.tg.rlimit(14) < prio:
            raise SysErr(errno.EPERM)
        if policy == SCHED_DEADLINE or t.creds.euid not in (u.creds.uid, u.creds.euid):
            raise SysErr(errno.EPERM)
        # SCHED_IDLE counts as the lowest priority: leaving it needs what a better nice value would.
        if u.policy == SCHED_IDLE != policy and u.tg.rlimit(13) < 20 - u.nice:
            raise SysErr(errno.EPERM)
        if u.reset_on_fork and not reset:
            raise SysErr(errno.EPERM)
    u.policy, u.rt_priority, u.reset_on_fork = policy, prio, reset
    return 0


def sys_sched_setscheduler(t: Task, pid: CInt, policy: CInt, param: UserPtr) -> int:
    if policy < 0 or not param:
        raise SysErr(errno.EINVAL)
    prio = struct.unpack("<i", t.copy_in(param, 4))[0]
    u, reset = _task(t, pid), bool(policy & SCHED_RESET_ON_FORK)
    policy &= ~SCHED_RESET_ON_FORK
    if policy == SCHED_DEADLINE:  # needs sched_setattr's parameters
        raise SysErr(errno.EINVAL)
    return _set_policy(t, u, policy, prio, reset)


def sys_sched_setparam(t: Task, pid: CInt, param: UserPtr) -> int:
    if not param:
        raise SysErr(errno.EINVAL)
    prio = struct.unpack("<i", t.copy_in(param, 4))[0]
    u = _task(t, pid)
    return _set_policy(t, u, u.policy, prio, u.reset_on_fork)


def sys_sched_getparam(t: Task, pid: CInt, param: UserPtr) -> int:
    if not param:
        raise SysErr(errno.EINVAL)
    t.copy_out(param, _task(t, pid).rt_priority.to_bytes(4, "little"))
    return 0


def sys_sched_get_priority_max(t: Task, policy: CInt) -> int:
    if policy not in SCHED_POLICIES:
        raise SysErr(errno.EINVAL)
    return SCHED_POLICIES[policy][1]


def sys_sched_get_priority_min(t: Task, policy: CInt) -> int:
    if policy not in SCHED_POLICIES:
        raise SysErr(errno.EINVAL)
    return SCHED_POLICIES[policy][0]


def sys_sched_rr_get_interval(t: Task, pid: CInt, out: UserPtr) -> int:
    u = _task(t, pid)
    t.copy_out(out, pack_ts(100_000_000 if u.policy == 2 else 4_000_000 if u.policy != 1 else 0))
    return 0


def sys_sched_getattr(t: Task, pid: CInt, out: UserPtr, size: CUInt, flags: CUInt) -> int:
    if flags or not out or not 48 <= size <= 4096:
        raise SysErr(errno.EINVAL)
    u = _task(t, pid)
    dl = u.deadline if u.policy == SCHED_DEADLINE else (0, 0, 0)
    t.copy_out(out, SCHED_ATTR.pack(48, u.policy, int(u.reset_on_fork), u.nice, u.rt_priority, *dl))
    return 0


def sys_sched_setattr(t: Task, pid: CInt, attr: UserPtr, flags: CUInt) -> int:
    if flags or not attr:
        raise SysErr(errno.EINVAL)
    size, policy, bits, nice, prio, *dl = SCHED_ATTR.unpack(t.copy_in(attr, 48))
    if size and size < 48:
        raise SysErr(errno.E2BIG)
    if bits & ~FLAGS_ALL:
        raise SysErr(errno.EINVAL)
    u = _task(t, pid)
    if policy == SCHED_DEADLINE:
        runtime, deadline, period = dl
        if not 1024 <= runtime <= deadline <= (period or deadline) < 1 << 63:
            raise SysErr(errno.EINVAL)
    _set_policy(t, u, policy, prio, bool(bits & FLAG_RESET_ON_FORK))
    if policy == SCHED_DEADLINE:
        u.deadline = runtime, deadline, period or deadline
    if policy in (0, 3):
        u.nice = max(-20, min(19, nice))
    return 0


def sys_getcpu(t: Task, cpu: UserPtr, node: UserPtr) -> int:
    """getcpu(2): a processor the thread may run on; the vDSO and rseq tell the host's."""
    if cpu:
        mask = t.cpu_mask or 1
        t.copy_out(cpu, ((mask & -mask).bit_length() - 1).to_bytes(4, "little"))
    if node:
        t.copy_out(node, bytes(4))
    return 0


def _prio_targets(t: Task, which: int, who: int) -> list[Task]:
    if which == PRIO_PROCESS:
        u = t.tg.pidns.find_task(who) if who else t
        return [u] if u is not None else []
    if which == PRIO_PGRP:
        pgid = t.tg.pidns.outer(who) if who else t.tg.pgid
        return [u for u in t.tg.pids.tasks.values() if u.tg.pgid == pgid]
    if which == PRIO_USER:
        uid = t.creds.userns.uid_in(who) if who else t.creds.uid
        return [u for u in t.tg.pids.tasks.values() if u.creds.uid == uid]
    raise SysErr(errno.EINVAL)


def sys_getpriority(t: Task, which: CInt, who: CInt) -> int:
    """getpriority(2): the call itself answers 20 - nice."""
    found = _prio_targets(t, which, who)
    if not found:
        raise SysErr(errno.ESRCH)
    return max(20 - u.nice for u in found)


def sys_setpriority(t: Task, which: CInt, who: CInt, nice: CInt) -> int:
    """setpriority(2): remembered; the host gives every thread of a sandbox the same share."""
    nice = max(-20, min(19, nice))
    found = _prio_targets(t, which, who)
    if not found:
        raise SysErr(errno.ESRCH)
    for u in found:
        if (
            u.creds.uid != t.creds.euid
            and u.creds.euid != t.creds.euid
            and not t.creds.ns_capable(u.creds.userns, CAP_SYS_NICE)
        ):
            raise SysErr(errno.EPERM)
        if nice < u.nice and not t.creds.capable(CAP_SYS_NICE) and 20 - nice > t.tg.rlimit(13):
            raise SysErr(errno.EACCES)
        u.nice = nice
    return 0


def sys_ioprio_get(t: Task, which: CInt, who: CInt) -> int:
    found = _prio_targets(t, which - 1, who)
    if not found:
        raise SysErr(errno.ESRCH)
    return found[0].ioprio


def sys_ioprio_set(t: Task, which: CInt, who: CInt, prio: CInt) -> int:
    """ioprio_set(2): remembered and shown."""
    kind, level = prio >> 13, prio & 0x1FFF
    admin = t.creds.capable(CAP_SYS_NICE) or t.creds.capable(CAP_SYS_ADMIN)
    if kind not in IOPRIO_LEVELS:
        raise SysErr(errno.EINVAL)
    if kind == IOPRIO_CLASS_RT and not admin:
        raise SysErr(errno.EPERM)
    if level >= IOPRIO_LEVELS[kind]:
        raise SysErr(errno.EINVAL)
    found = _prio_targets(t, which - 1, who)
    if not found:
        raise SysErr(errno.ESRCH)
    for u in found:
        if u.creds.uid not in (t.creds.euid, t.creds.uid) and not t.creds.capable(CAP_SYS_NICE):
            raise SysErr(errno.EPERM)
        u.ioprio = prio
    return 0


TABLE: Final[Table] = {
    24: full("sched_yield", sys_sched_yield),
    140: full("getpriority", sys_getpriority),
    141: full("setpriority", sys_setpriority),
    142: full("sched_setparam", sys_sched_setparam),
    143: full("sched_getparam", sys_sched_getparam),
    144: full("sched_setscheduler", sys_sched_setscheduler),
    145: full("sched_getscheduler", sys_sched_getscheduler),
    146: full("sched_get_priority_max", sys_sched_get_priority_max),
    147: full("sched_get_priority_min", sys_sched_get_priority_min),
    148: full("sched_rr_get_interval", sys_sched_rr_get_interval),
    203: full("sched_setaffinity", sys_sched_setaffinity),
    204: full("sched_getaffinity", sys_sched_getaffinity),
    251: full("ioprio_set", sys_ioprio_set),
    252: full("ioprio_get", sys_ioprio_get),
    309: full("getcpu", sys_getcpu),
    314: full("sched_setattr", sys_sched_setattr),
    315: full("sched_getattr", sys_sched_getattr),
}
