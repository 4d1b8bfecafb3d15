"""futex(2), robust lists and rseq registration (Linux: kernel/futex/syscalls.c, kernel/rseq.c)."""

from __future__ import annotations

import errno
import struct
from typing import Final

from ..errors import ERESTART_RESTARTBLOCK, Restart, SysErr
from ..kernel.creds import CAP_SYS_PTRACE
from ..kernel.futex import ANY
from ..kernel.task import Task
from .decode import CInt, CUInt, CULong, Table, UserPtr, full, partial
from .time import timespec

(
    WAIT,
    WAKE,
    FD,
    REQUEUE,
    CMP_REQUEUE,
    WAKE_OP,
    LOCK_PI,
    UNLOCK_PI,
    TRYLOCK_PI,
    WAIT_BITSET,
    WAKE_BITSET,
) = range(11)
WAIT_REQUEUE_PI: Final = 11
CMP_REQUEUE_PI: Final = 12
LOCK_PI2: Final = 13
PRIVATE: Final = 128
WAITV_MAX: Final = 128
FUTEX_32: Final = 2
CLOCK_REALTIME: Final = 256


def _timeout(t: Task, addr: int, relative: bool, realtime: bool) -> int | None:
    """The deadline on CLOCK_MONOTONIC."""
    if not addr:
        return None
    v = timespec(t, addr)
    if relative:
        return v + t.k.monotonic_ns()
    if realtime:
        return v - t.k.realtime_ns() + t.k.monotonic_ns()
    return v


def sys_futex(
    t: Task, uaddr: UserPtr, op: CInt, val: CUInt, timeout: UserPtr, uaddr2: UserPtr, val3: CUInt
) -> int:
    """futex(2)."""
    cmd = op & ~(PRIVATE | CLOCK_REALTIME)
    private = bool(op & PRIVATE)
    realtime = bool(op & CLOCK_REALTIME)
    ft = t.k.futex
    if realtime and cmd not in (WAIT, WAIT_BITSET, LOCK_PI2, WAIT_REQUEUE_PI):
        return -errno.ENOSYS
    if cmd == WAKE:
        return _wake(t, uaddr, _int(val), ANY, private)
    if cmd in (WAIT, WAIT_BITSET):
        bits = ANY if cmd == WAIT else val3
        if not bits:
            raise SysErr(errno.EINVAL)
        deadline = _timeout(t, timeout, cmd == WAIT, realtime)
        return _wait(t, uaddr, val, bits, deadline, private)
    if cmd == WAKE_BITSET:
        if not val3:
            raise SysErr(errno.EINVAL)
        return _wake(t, uaddr, _int(val), val3, private)
    if cmd in (REQUEUE, CMP_REQUEUE):
        return _requeue(t, cmd, uaddr, uaddr2, _int(val), _int(timeout), val3, private)
    if cmd == WAKE_OP:
        return _wake_op(t, uaddr, uaddr2, _int(val), _int(timeout), val3, private)
    if cmd in (LOCK_PI, LOCK_PI2):
        deadline = _timeout(t, timeout, False, cmd == LOCK_PI or realtime)
        return ft.lock_pi(t, uaddr, deadline, private, False)
    if cmd == TRYLOCK_PI:
        return ft.lock_pi(t, uaddr, None, private, True)
    if cmd == UNLOCK_PI:
        return ft.unlock_pi(t, uaddr, private)
    if cmd == WAIT_REQUEUE_PI:
        deadline = _timeout(t, timeout, False, realtime)
        return ft.wait_requeue_pi(t, uaddr, val, deadline, uaddr2, private)
    if cmd == CMP_REQUEUE_PI:
        move = _int(timeout)
        if _int(val) != 1 or move < 0:
            raise SysErr(errno.EINVAL)
        return ft.cmp_requeue_pi(t, uaddr, uaddr2, val3, move, private)
    return -errno.ENOSYS


def _int(v: int) -> int:
    v &= 0xFFFFFFFF
    return v - (1 << 32) if v & 0x80000000 else v


def _wake(t: Task, addr: int, count: int, bits: int, private: bool) -> int:
    ft = t.k.futex
    key = ft.key(t, addr, private)
    if ft.has_pi(key):
        raise SysErr(errno.EINVAL)
    return ft.wake(key, max(count, 1), bits)


def _wait(t: Task, addr: int, val: int, bits: int, deadline: int | None, private: bool) -> int:
    try:
        return t.k.futex.wait(t, addr, val, bits, deadline, private)
    except Restart:
        if deadline is None:
            raise
        t.restart_fn = lambda u: _wait(u, addr, val, bits, deadline, private)
        raise Restart(ERESTART_RESTARTBLOCK) from None


def _requeue(
    t: Task, cmd: int, a: int, b: int, wake: int, move: int, val3: int, private: bool
) -> int:
    if wake < 0 or move < 0:
        raise SysErr(errno.EINVAL)
    ft = t.k.futex
    src, dst = ft.key(t, a, private), ft.key(t, b, private)
    if ft.has_pi(src):
        raise SysErr(errno.EINVAL)
    if cmd == CMP_REQUEUE and t.thread.read_u32(a) != val3:
        return -errno.EAGAIN
    return ft.requeue(src, dst, wake, move)


def _wake_op(t: Task, a: int, b: int, n1: int, n2: int, code: int, private: bool) -> int:
    """FUTEX_WAKE_OP: an atomic read-modify-write of ``b``, then one or two wakes."""
    op, cmp = code >> 28 & 15, code >> 24 & 15
    oparg, cmparg = _s12(code >> 12), _s12(code)
    if op & 8:
        op &= 7
        oparg = 1 << (oparg & 31)
    if op > 4:
        return -errno.ENOSYS
    ft = t.k.futex
    k1, k2 = ft.key(t, a, private), ft.key(t, b, private)
    while True:
        old = t.thread.read_u32(b)
        new = (oparg, old + oparg, old | oparg, old & ~oparg, old ^ oparg)[op] & 0xFFFFFFFF
        if t.thread.cmpxchg(b, old, new) == old:
            break
    n = ft.wake(k1, max(n1, 1))
    s = _int(old)
    tests = (s == cmparg, s != cmparg, s < cmparg, s <= cmparg, s > cmparg, s >= cmparg)
    if cmp >= len(tests):
        return -errno.ENOSYS
    if tests[cmp]:
        n += ft.wake(k2, max(n2, 1))
    return n


def _s12(v: int) -> int:
    v &= 0xFFF
    return v - 0x1000 if v & 0x800 else v


def sys_futex_waitv(
    t: Task, waiters: UserPtr, count: CUInt, flags: CUInt, timeout: UserPtr, clock: CInt
) -> int:
    """futex_waitv(2): waits for one of several words."""
    if flags or not 0 < count <= WAITV_MAX or not waiters:
        raise SysErr(errno.EINVAL)
    deadline = None
    if timeout:
        if clock not in (0, 1):
            raise SysErr(errno.EINVAL)
        deadline = _timeout(t, timeout, False, clock == 0)
    words = []
    for val, addr, fl, reserved in struct.iter_unpack("<QQII", t.copy_in(waiters, 24 * count)):
        if fl & ~(3 | PRIVATE) or reserved or fl & 3 != FUTEX_32 or val >> 32:
            raise SysErr(errno.EINVAL)
        words.append((addr, val, bool(fl & PRIVATE)))
    return t.k.futex.wait_any(t, words, deadline)


def sys_set_robust_list(t: Task, head: UserPtr, size: CULong) -> int:
    """set_robust_list(2)."""
    if size != 24:
        raise SysErr(errno.EINVAL)
    t.robust_list = head
    return 0


def sys_get_robust_list(t: Task, pid: CInt, head: UserPtr, size: UserPtr) -> int:
    """get_robust_list(2)."""
    u = t.tg.pidns.find_task(pid) if pid else t
    if u is None:
        raise SysErr(errno.ESRCH)
    c = t.creds
    if (
        u.tg is not t.tg
        and u.creds.uid != c.euid
        and not c.ns_capable(u.creds.userns, CAP_SYS_PTRACE)
    ):
        raise SysErr(errno.EPERM)
    t.copy_out(size, (24).to_bytes(8, "little"))
    t.copy_out(head, u.robust_list.to_bytes(8, "little"))
    return 0


def sys_rseq(t: Task, addr: UserPtr, size: CUInt, flags: CInt, sig: CUInt) -> int:
    """rseq(2): the host kernel keeps the area up to date, since it schedules the thread (registered by the stub)."""
    if flags & ~1:
        raise SysErr(errno.EINVAL)
    if flags & 1:
        if t.rseq is None or t.rseq[0] != addr:
            raise SysErr(errno.EINVAL)
        if t.rseq[2] != sig:
            raise SysErr(errno.EPERM)
    elif t.rseq is not None:
        if t.rseq[0] != addr or t.rseq[1] != size:
            raise SysErr(errno.EINVAL)
        raise SysErr(errno.EPERM if t.rseq[2] != sig else errno.EBUSY)
    t.thread.host(334, addr, size, flags, sig)
    t.thread.run()
    t.rseq = None if flags & 1 else (addr, size, sig)
    return 0


TABLE: Final[Table] = {
    202: partial("futex", sys_futex, "PI has no priorities"),
    273: full("set_robust_list", sys_set_robust_list),
    274: full("get_robust_list", sys_get_robust_list),
    334: full("rseq", sys_rseq),
    449: full("futex_waitv", sys_futex_waitv),
}
