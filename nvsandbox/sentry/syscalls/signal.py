"""Signal calls (Linux: kernel/signal.c; sigaction(2), kill(2), sigaltstack(2), rt_sigtimedwait(2))."""

from __future__ import annotations

import errno
import struct
from typing import Final

from ..errors import ERESTARTNOHAND, NO_REPLY, Restart, SysErr
from ..fs.proc_dirs import PidDir
from ..kernel import signal as sg
from ..kernel.creds import CAP_KILL, Credentials
from ..kernel.deliver import SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, on_altstack, restore_frame
from ..kernel.task import RLIMIT_SIGPENDING, Task, ThreadGroup
from .decode import CInt, CUInt, CULong, Table, UserPtr, full

SIG_BLOCK: Final = 0
SIG_UNBLOCK: Final = 1
SIG_SETMASK: Final = 2
SIGSET: Final = 8
MINSIGSTKSZ: Final = 2048


def _mask(t: Task, addr: int, size: int) -> int:
    if size != SIGSET:
        raise SysErr(errno.EINVAL)
    return int.from_bytes(t.copy_in(addr, 8), "little")


def sys_rt_sigaction(t: Task, sig: CInt, act: UserPtr, old: UserPtr, size: CULong) -> int:
    """rt_sigaction(2)."""
    if size != SIGSET:
        raise SysErr(errno.EINVAL)
    if not 1 <= sig <= sg.NSIG or (act and sg.bit(sig) & sg.KILL_STOP):
        raise SysErr(errno.EINVAL)
    h = t.tg.sighand
    prev = h.get(sig)
    if act:
        handler, flags, restorer, mask = struct.unpack("<QQQQ", t.copy_in(act, 32))
        new = sg.SigAction(handler, flags & sg.SA_FLAGS, restorer, mask & ~sg.KILL_STOP)
        h.actions[sig] = new
        if handler == sg.SIG_IGN or (handler == sg.SIG_DFL and sg.bit(sig) & sg.IGNORED):
            t.tg.discard_pending(sg.bit(sig))
    if old:
        t.copy_out(old, struct.pack("<QQQQ", prev.handler, prev.flags, prev.restorer, prev.mask))
    return 0


def sys_rt_sigprocmask(t: Task, how: CInt, new: UserPtr, old: UserPtr, size: CULong) -> int:
    """rt_sigprocmask(2)."""
    if size != SIGSET:
        raise SysErr(errno.EINVAL)
    prev = t.blocked
    if new:
        m = int.from_bytes(t.copy_in(new, 8), "little")
        if how == SIG_BLOCK:
            m |= prev
        elif how == SIG_UNBLOCK:
            m = prev & ~m
        elif how != SIG_SETMASK:
            raise SysErr(errno.EINVAL)
        t.set_blocked(m)
    if old:
        t.copy_out(old, prev.to_bytes(8, "little"))
    return 0


def sys_rt_sigreturn(t: Task) -> int:
    """rt_sigreturn(2): never called by programs, only from the restorer."""
    if not restore_frame(t):
        sg.force(t, sg.SigInfo(sg.SIGSEGV, sg.SI_KERNEL))
    t.orig_nr = -1
    return NO_REPLY


def sys_rt_sigpending(t: Task, out: UserPtr, size: CULong) -> int:
    """rt_sigpending(2)."""
    if size > SIGSET:
        raise SysErr(errno.EINVAL)
    m = (t.pending.mask | t.tg.pending.mask) & t.blocked
    t.copy_out(out, m.to_bytes(8, "little")[:size])
    return 0


def sys_rt_sigsuspend(t: Task, mask: UserPtr, size: CULong) -> int:
    """rt_sigsuspend(2)."""
    t.set_temp_sigmask(_mask(t, mask, size))
    return _pause(t)


def sys_pause(t: Task) -> int:
    """pause(2)."""
    return _pause(t)


def _pause(t: Task) -> int:
    while True:
        try:
            t.wait(soon=False)
        except Restart:
            raise Restart(ERESTARTNOHAND) from None


def sys_rt_sigtimedwait(
    t: Task, these: UserPtr, info: UserPtr, timeout: UserPtr, size: CULong
) -> int:
    """rt_sigtimedwait(2)."""
    want = _mask(t, these, size) & ~sg.KILL_STOP
    deadline: int | None = None
    if timeout:
        sec, ns = struct.unpack("<qq", t.copy_in(timeout, 16))
        if not 0 <= ns < 1_000_000_000 or sec < 0:
            raise SysErr(errno.EINVAL)
        deadline = t.k.monotonic_ns() + sec * 1_000_000_000 + ns
    old = t.real_blocked = t.blocked
    t.blocked &= ~want
    try:
        while True:
            got = t.dequeue_signal(want)
            if got is not None:
                break
            if deadline is not None and t.k.monotonic_ns() >= deadline:
                return -errno.EAGAIN
            try:
                t.wait(t.signal_queue, deadline=deadline, soon=False)
            except Restart:
                got = t.dequeue_signal(want)
                if got is not None:
                    break
                return -errno.EINTR
    finally:
        t.real_blocked = 0
        t.set_blocked(old)
    if info:
        t.copy_out(info, got.pack(t))
    return got.signo


def _may_signal(t: Task, tg: ThreadGroup, d: Credentials, sig: int) -> bool:
    c = t.creds
    if t.tg is tg or c.ns_capable(d.userns, CAP_KILL):
        return True
    if c.euid in (d.suid, d.uid) or c.uid in (d.suid, d.uid):
        return True
    return sig == sg.SIGCONT and t.tg.sid == tg.sid


def _group_allowed(t: Task, tg: ThreadGroup, sig: int) -> bool:
    for u in tg.tasks.values():
        return _may_signal(t, tg, u.creds, sig)
    stand_in = t.tg.pids.find_task(tg.pid)
    creds = stand_in.creds if stand_in is not None else tg.leader_cred  # of a zombie
    return creds is None or _may_signal(t, tg, creds, sig)


def sys_kill(t: Task, pid: CInt, sig: CInt) -> int:
    """kill(2)."""
    if not 0 <= sig <= sg.NSIG:
        raise SysErr(errno.EINVAL)
    info = sg.SigInfo(sig, sg.SI_USER, t.tg.pid, t.creds.uid)
    if pid > 0:
        return _kill_groups(t, [_group_of(t, pid)], sig, info)
    if pid == -(1 << 31):
        raise SysErr(errno.ESRCH)
    if pid == -1:
        groups = [
            p
            for p in t.tg.pidns.members()
            if p is not t.tg and p is not t.tg.pidns.init and p.pid != 1
        ]
        allowed = [p for p in groups if _group_allowed(t, p, sig)]
        return _kill_groups(t, allowed, sig, info) if allowed or not groups else 0
    pgid = t.tg.pidns.outer(-pid) if pid else t.tg.pgid
    return _kill_groups(t, t.tg.pids.group(pgid), sig, info)


def _group_of(t: Task, pid: int) -> ThreadGroup:
    """The process ``pid``, or the one that has a thread of that number. Raises ESRCH."""
    tg = t.tg.pidns.proc(pid)
    if tg is not None:
        return tg
    u = t.tg.pidns.task(pid)
    if u is None:
        raise SysErr(errno.ESRCH)
    return u.tg


def _kill_groups(t: Task, groups: list[ThreadGroup], sig: int, info: sg.SigInfo) -> int:
    if not groups:
        raise SysErr(errno.ESRCH)
    sent = False
    for tg in groups:
        if _group_allowed(t, tg, sig):
            sent = True
            tg.send_signal(sig, info)
    if not sent:
        raise SysErr(errno.EPERM)
    return 0


def _thread_kill(t: Task, tgid: int, tid: int, sig: int, info: sg.SigInfo) -> int:
    ns = t.tg.pidns
    u = ns.task(tid)
    if u is None or (tgid and ns.number(u.tg.pid) != tgid):
        raise SysErr(errno.ESRCH)
    if not _may_signal(t, u.tg, u.creds, sig):
        raise SysErr(errno.EPERM)
    if sig >= sg.SIGRTMIN and _queued_signals(t) >= t.tg.rlimit(RLIMIT_SIGPENDING):
        raise SysErr(errno.EAGAIN)
    if sig:
        u.send_signal(sig, info)
    return 0


def sys_tkill(t: Task, tid: CInt, sig: CInt) -> int:
    """tkill(2)."""
    if tid <= 0 or not 0 <= sig <= sg.NSIG:
        raise SysErr(errno.EINVAL)
    return _thread_kill(t, 0, tid, sig, sg.SigInfo(sig, sg.SI_TKILL, t.tg.pid, t.creds.uid))


def sys_tgkill(t: Task, tgid: CInt, tid: CInt, sig: CInt) -> int:
    """tgkill(2)."""
    if tid <= 0 or tgid <= 0 or not 0 <= sig <= sg.NSIG:
        raise SysErr(errno.EINVAL)
    return _thread_kill(t, tgid, tid, sig, sg.SigInfo(sig, sg.SI_TKILL, t.tg.pid, t.creds.uid))


def _queued_signals(t: Task) -> int:
    """How many signals are queued for processes of the caller's user (Linux: struct ucounts)."""
    uid = t.creds.uid
    n = 0
    for u in t.tg.pids.tasks.values():
        if u.creds is not None and u.creds.uid == uid:
            n += len(u.pending.infos)
            if u.tid == u.tg.pid:
                n += len(u.tg.pending.infos)
    return n


def _queued(t: Task, addr: int, sig: int, same: bool) -> sg.SigInfo:
    info = sg.SigInfo.unpack(t.copy_in(addr, 128))
    info.signo = sig
    if sig >= sg.SIGRTMIN and _queued_signals(t) >= t.tg.rlimit(RLIMIT_SIGPENDING):
        raise SysErr(errno.EAGAIN)
    if (info.code >= 0 or info.code == sg.SI_TKILL) and not same:
        raise SysErr(errno.EPERM)
    info.pid, info.uid = t.tg.pidns.outer(info.pid), t.creds.userns.uid_in(info.uid)
    return info


def sys_rt_sigqueueinfo(t: Task, pid: CInt, sig: CInt, uinfo: UserPtr) -> int:
    """rt_sigqueueinfo(2)."""
    if not 0 <= sig <= sg.NSIG:
        raise SysErr(errno.EINVAL)
    info = _queued(t, uinfo, sig, pid == t.nr)
    return _kill_groups(t, [_group_of(t, pid)], sig, info)


def sys_rt_tgsigqueueinfo(t: Task, tgid: CInt, tid: CInt, sig: CInt, uinfo: UserPtr) -> int:
    """rt_tgsigqueueinfo(2)."""
    if tgid <= 0 or tid <= 0 or not 0 <= sig <= sg.NSIG:
        raise SysErr(errno.EINVAL)
    return _thread_kill(t, tgid, tid, sig, _queued(t, uinfo, sig, tid == t.nr))


def sys_pidfd_send_signal(t: Task, pidfd: CInt, sig: CInt, uinfo: UserPtr, flags: CUInt) -> int:
    """pidfd_send_signal(2)."""
    if flags:
        raise SysErr(errno.EINVAL)
    f = t.files.get(pidfd)
    i = f.inode  # a directory of procfs is as good
    target = i.tg if isinstance(i, PidDir) else getattr(f, "target", None)
    if not isinstance(target, ThreadGroup):
        raise SysErr(errno.EBADF)
    if not 0 <= sig <= sg.NSIG:
        raise SysErr(errno.EINVAL)
    if (
        target.pids.procs.get(target.pid) is not target
    ):  # reaped, its number another's by now perhaps
        raise SysErr(errno.ESRCH)
    if uinfo:
        if int.from_bytes(t.copy_in(uinfo, 4), "little", signed=True) != sig:
            raise SysErr(errno.EINVAL)
        info = _queued(t, uinfo, sig, target is t.tg)
    else:
        info = sg.SigInfo(sig, sg.SI_USER, t.tg.pid, t.creds.uid)
    return _kill_groups(t, [target], sig, info)


def sys_sigaltstack(t: Task, new: UserPtr, old: UserPtr) -> int:
    """sigaltstack(2)."""
    sp, flags, size = t.altstack
    on = on_altstack(t, t.thread.regs[15])
    if new:
        nsp, nflags, nsize = struct.unpack("<QixxxxQ", t.copy_in(new, 24))
        if on:
            raise SysErr(errno.EPERM)
        mode = nflags & ~SS_AUTODISARM & 0xFFFFFFFF & 0x7FFFFFFF
        if mode not in (0, SS_DISABLE, SS_ONSTACK):
            raise SysErr(errno.EINVAL)
        if mode == SS_DISABLE:
            t.altstack = (0, SS_DISABLE, 0)
        else:
            if nsize < MINSIGSTKSZ:
                raise SysErr(errno.ENOMEM)
            t.altstack = (nsp, nflags & 0x80000000, nsize)
    if old:
        shown = (flags | SS_ONSTACK) if on else flags
        t.copy_out(old, struct.pack("<QIxxxxQ", sp, shown & 0xFFFFFFFF, size))
    return 0


TABLE: Final[Table] = {
    13: full("rt_sigaction", sys_rt_sigaction),
    14: full("rt_sigprocmask", sys_rt_sigprocmask),
    15: full("rt_sigreturn", sys_rt_sigreturn),
    34: full("pause", sys_pause),
    62: full("kill", sys_kill),
    127: full("rt_sigpending", sys_rt_sigpending),
    128: full("rt_sigtimedwait", sys_rt_sigtimedwait),
    129: full("rt_sigqueueinfo", sys_rt_sigqueueinfo),
    130: full("rt_sigsuspend", sys_rt_sigsuspend),
    131: full("sigaltstack", sys_sigaltstack),
    200: full("tkill", sys_tkill),
    234: full("tgkill", sys_tgkill),
    297: full("rt_tgsigqueueinfo", sys_rt_tgsigqueueinfo),
    424: full("pidfd_send_signal", sys_pidfd_send_signal),
}
