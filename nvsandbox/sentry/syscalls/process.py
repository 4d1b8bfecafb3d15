"""Processes: clone, exit, wait, ids of groups and sessions (Linux: kernel/fork.c, exit.c, sys.c)."""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from ..errors import Restart, SysErr, TaskExit
from ..fs.nsfs import NamespaceFile, namespace_of
from ..fs.proc_access import check_access
from ..ipc.sem import exit_process
from ..kernel import clone as cl
from ..kernel import namespaces as ns
from ..kernel import ptrace
from ..kernel import signal as sg
from ..kernel.clone import CloneArgs, do_clone
from ..kernel.cputime import Usage, look_last, with_children
from ..kernel.creds import CAP_SYS_PTRACE
from ..kernel.exit import exit_info, reap
from ..kernel.pids import MAX_LEVEL
from ..kernel.task import Task, ThreadGroup
from ..vfs.lent import forget_thread
from .decode import CInt, CUInt, CULong, Table, UserPtr, full, partial

if TYPE_CHECKING:
    pass

WNOHANG: Final = 1
WUNTRACED: Final = 2
WEXITED: Final = 4
WCONTINUED: Final = 8
WNOWAIT: Final = 0x01000000
WNOTHREAD: Final = 0x20000000
WALL: Final = 0x40000000
WCLONE: Final = 0x80000000
P_ALL: Final = 0
P_PID: Final = 1
P_PGID: Final = 2
P_PIDFD: Final = 3
SETNS_ORDER: Final = (b"user", b"mnt", b"uts", b"ipc", b"pid", b"cgroup", b"net", b"time")


def sys_fork(t: Task) -> int:
    """fork(2)."""
    return do_clone(t, CloneArgs(0, sg.SIGCHLD))


def sys_vfork(t: Task) -> int:
    """vfork(2)."""
    return do_clone(t, CloneArgs(cl.CLONE_VM | cl.CLONE_VFORK, sg.SIGCHLD))


def sys_clone(
    t: Task, flags: CULong, stack: UserPtr, ptid: UserPtr, ctid: UserPtr, tls: CULong
) -> int:
    """clone(2), x86-64 argument order."""
    a = CloneArgs(flags & 0xFFFFFFFF & ~cl.CSIGNAL, flags & cl.CSIGNAL)
    a.stack, a.parent_tid, a.child_tid, a.tls = stack, ptid, ctid, tls
    if a.flags & cl.CLONE_PIDFD and a.flags & cl.CLONE_PARENT_SETTID:
        raise SysErr(errno.EINVAL)
    return do_clone(t, a)


def sys_clone3(t: Task, args: UserPtr, size: CULong) -> int:
    """clone3(2)."""
    if size > 4096:
        raise SysErr(errno.E2BIG)
    if size < 64:
        raise SysErr(errno.EINVAL)
    raw = t.copy_in(args, size)
    if any(raw[88:]):
        raise SysErr(errno.E2BIG)
    flags, pidfd, ctid, ptid, sig, stack, stack_size, tls, set_tid, set_n, _cgroup = (
        struct.unpack_from("<11Q", raw[:88].ljust(88, b"\0"))
    )
    if flags & cl.CSIGNAL or flags & ~0x3_FFFF_FFFF or sig & ~cl.CSIGNAL:
        raise SysErr(errno.EINVAL)
    if flags & (cl.CLONE_THREAD | cl.CLONE_PARENT) and sig:
        raise SysErr(errno.EINVAL)
    if bool(stack) != bool(stack_size):
        raise SysErr(errno.EINVAL)
    if bool(set_n) != bool(set_tid) or set_n > MAX_LEVEL:
        raise SysErr(errno.EINVAL)
    if flags & cl.CLONE_INTO_CGROUP:
        raise SysErr(errno.EBADF)
    a = CloneArgs(flags, sig)
    a.stack = stack + stack_size
    a.parent_tid, a.child_tid, a.tls, a.pidfd = ptid, ctid, tls, pidfd
    if set_n:
        a.set_tid = struct.unpack(f"<{set_n}i", t.copy_in(set_tid, 4 * set_n))
    return do_clone(t, a)


def sys_exit(t: Task, code: CInt) -> int:
    """_exit(2) of one thread."""
    t.exit_code = (code & 0xFF) << 8
    if t.tracee is not None and not t.tg.exited:
        ptrace.exit_stop(t, t.exit_code)
    if len(t.tg.tasks) == 1 and not t.tg.exited:
        look_last(t)
        t.tg.exited = True
        t.tg.exit_code = (code & 0xFF) << 8
    raise TaskExit


def sys_exit_group(t: Task, code: CInt) -> int:
    """exit_group(2)."""
    if not t.tg.exited:
        look_last(t)
        ptrace.exit_stop(t, (code & 0xFF) << 8)
    t.tg.kill((code & 0xFF) << 8)
    raise TaskExit


# Waiting
def _matches(t: Task, c: ThreadGroup, which: int, ident: int, options: int) -> bool:
    if which == P_PID and c.pid != ident:
        return False
    if which == P_PGID and c.pgid != ident:
        return False
    if options & WALL:
        return True
    return bool(options & WCLONE) == (c.exit_signal != sg.SIGCHLD)


# (pid, siginfo, wait status, what it has used)
Waited = tuple[int, sg.SigInfo, int, Usage]


def _wait(t: Task, which: int, ident: int, options: int) -> Waited | None:
    """A child or tracee that has something to tell, or None with WNOHANG. Raises ECHILD, Restart. May suspend."""
    interrupted: Restart | None = None
    while True:
        found = False
        for c in list(t.tg.children.values()):
            if not _matches(t, c, which, ident, options):
                continue
            found = True
            got = _ready(t, c, options)
            if got is not None:
                return got
        if t.tracees or t.tg.dead_tracees or len(t.tg.tasks) > 1:
            traced, got = _tracees(t, which, ident, options)
            if got is not None:
                return got
            found = found or traced
        if not found:
            raise SysErr(errno.ECHILD)
        if options & WNOHANG:
            return None
        if interrupted is not None:
            raise interrupted
        try:
            t.wait(t.tg.child_queue, soon=False)
        except Restart as e:  # a child that is ready wins over the signal, its SIGCHLD above all
            interrupted = e


def _tracees(t: Task, which: int, ident: int, options: int) -> tuple[bool, Waited | None]:
    """(whether the process traces anybody who matches, the one with something to tell)."""
    found = False
    keep = bool(options & WNOWAIT)
    mine = [t] if options & WNOTHREAD else list(t.tg.tasks.values())
    for u in [u for v in mine for u in v.tracees.values()]:
        tr = u.tracee
        if (
            tr is None
            or (which == P_PID and u.tid != ident)
            or (which == P_PGID and u.tg.pgid != ident)
        ):
            continue
        found = True
        if tr.stopped and not tr.reported:
            tr.reported = not keep
            info = sg.SigInfo(sg.SIGCHLD, sg.CLD_TRAPPED, u.tid, u.creds.uid)
            info.status = tr.code
            if tr.info is None:
                info.code = sg.CLD_STOPPED
            return True, (_number(t, u.tid), info, tr.code << 8 | 0x7F, Usage())
    for d in list(t.tg.dead_tracees.values()):
        if (which == P_PID and d.tid != ident) or (which == P_PGID and d.pgid != ident):
            continue
        found = True
        if not options & WEXITED or (d.tg is not None and not d.tg.dead):
            continue
        info = sg.SigInfo(sg.SIGCHLD, sg.CLD_EXITED, d.tid, d.uid)
        info.status = d.code >> 8 & 0xFF
        if d.code & 0x7F:
            info.code = sg.CLD_DUMPED if d.code & 0x80 else sg.CLD_KILLED
            info.status = d.code & 0x7F
        if not keep:
            t.tg.dead_tracees.pop(d.tid)
            ptrace.release(d)
        return True, (_number(t, d.tid), info, d.code, d.usage)
    return found, None


def _ready(t: Task, c: ThreadGroup, options: int) -> Waited | None:
    keep = bool(options & WNOWAIT)
    if c.dead:
        if not options & WEXITED or c.held is not None:
            return None
        info = exit_info(c)
        used = with_children(c)
        seen = _number(t, c.pid)
        if not keep:
            reap(c, waited=True)
            info.pid = seen and info.pid
        return seen, info, c.exit_code, used
    if any(u.tracee is not None and u.tracee.tracer.tg is t.tg for u in c.tasks.values()):
        return None  # told as a tracee
    if c.stopped and not c.stop_reported and options & WUNTRACED:
        c.stop_reported = not keep
        info = sg.SigInfo(sg.SIGCHLD, sg.CLD_STOPPED, c.pid, _uid(c))
        info.status = c.stop_code
        return _number(t, c.pid), info, c.stop_code << 8 | 0x7F, with_children(c)
    if not c.cont_reported and options & WCONTINUED:
        c.cont_reported = not keep
        info = sg.SigInfo(sg.SIGCHLD, sg.CLD_CONTINUED, c.pid, _uid(c))
        info.status = sg.SIGCONT
        return _number(t, c.pid), info, 0xFFFF, with_children(c)
    return None


def _number(t: Task, pid: int) -> int:
    return t.tg.pidns.number(pid)


def _uid(c: ThreadGroup) -> int:
    for u in c.tasks.values():
        return u.creds.uid
    return 0


def sys_wait4(t: Task, pid: CInt, status: UserPtr, options: CInt, rusage: UserPtr) -> int:
    """wait4(2)."""
    if options & 0xFFFFFFFF & ~(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE):
        raise SysErr(errno.EINVAL)
    if pid == -(1 << 31):
        raise SysErr(errno.ESRCH)
    which, ident = P_ALL, 0
    if pid > 0:
        which, ident = P_PID, t.tg.pidns.outer(pid)
    elif pid == 0:
        which, ident = P_PGID, t.tg.pgid
    elif pid < -1:
        which, ident = P_PGID, t.tg.pidns.outer(-pid)
    got = _wait(t, which, ident, (options & 0xFFFFFFFF) | WEXITED)
    if got is None:
        return 0
    child, _info, code, used = got
    if status:
        t.copy_out(status, code.to_bytes(4, "little"))
    if rusage:
        t.copy_out(rusage, used.pack())
    return child


def sys_waitid(
    t: Task, which: CInt, ident: CInt, info: UserPtr, options: CInt, rusage: UserPtr
) -> int:
    """waitid(2)."""
    opts = options & 0xFFFFFFFF
    if opts & ~(WNOHANG | WNOWAIT | WEXITED | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL):
        raise SysErr(errno.EINVAL)
    if not opts & (WEXITED | WUNTRACED | WCONTINUED):
        raise SysErr(errno.EINVAL)
    if which == P_PID:
        if ident <= 0:
            raise SysErr(errno.EINVAL)
        ident = t.tg.pidns.outer(ident)
    if which == P_PGID:
        if ident < 0:
            raise SysErr(errno.EINVAL)
        ident = t.tg.pidns.outer(ident) if ident else t.tg.pgid
    elif which == P_PIDFD:
        if ident < 0:
            raise SysErr(errno.EINVAL)
        f = t.files.get(ident)
        target = getattr(f, "target", None)
        if not isinstance(target, ThreadGroup):
            raise SysErr(errno.EBADF)
        which, ident = P_PID, target.pid
        if f.nonblock and not opts & WNOHANG:
            got = _wait(t, which, ident, opts | WNOHANG)
            if got is None:
                raise SysErr(errno.EAGAIN)
            return _waitid_out(t, got, info, rusage)
    elif which not in (P_ALL, P_PID):
        raise SysErr(errno.EINVAL)
    return _waitid_out(t, _wait(t, which, ident, opts), info, rusage)


def _waitid_out(t: Task, got: Waited | None, info: int, rusage: int) -> int:
    if info:
        if got is None:
            t.copy_out(info, bytes(4))
            t.copy_out(info + 8, bytes(4))
            t.copy_out(info + 12, bytes(12))
        else:
            si = got[1]
            si.signo = sg.SIGCHLD
            raw = si.pack(t)
            t.copy_out(info, raw[:12])  # no times here, nor anything between the fields
            t.copy_out(info + 16, raw[16:28])
    if rusage and got is not None:
        t.copy_out(rusage, got[3].pack())
    return 0


# Identity
def sys_getpid(t: Task) -> int:
    return t.tg.nr


def sys_gettid(t: Task) -> int:
    return t.nr


def sys_getppid(t: Task) -> int:
    p = t.tg.parent
    return _number(t, p.pid) if p is not None else 0


def sys_set_tid_address(t: Task, addr: UserPtr) -> int:
    """set_tid_address(2)."""
    t.clear_tid = addr
    return t.nr


def _find(t: Task, pid: int) -> ThreadGroup:
    if pid == 0:
        return t.tg
    p = t.tg.pidns.proc(pid)
    if p is None:
        raise SysErr(errno.ESRCH)
    return p


def sys_setpgid(t: Task, pid: CInt, pgid: CInt) -> int:
    """setpgid(2)."""
    if (pgid or pid) < 0:
        raise SysErr(errno.EINVAL)
    p = _find(t, pid)
    pgid = t.tg.pidns.outer(pgid) if pgid else p.pid
    if p is not t.tg and p.parent is not t.tg:
        raise SysErr(errno.ESRCH)
    if p.parent is t.tg and p is not t.tg:
        if p.sid != t.tg.sid:
            raise SysErr(errno.EPERM)
        if p.did_exec:
            raise SysErr(errno.EACCES)
    if p.sid == p.pid:
        raise SysErr(errno.EPERM)
    if pgid != p.pid and not any(q.sid == t.tg.sid for q in t.tg.pids.group(pgid)):
        raise SysErr(errno.EPERM)
    p.pgid = pgid
    return 0


def sys_getpgid(t: Task, pid: CInt) -> int:
    return _number(t, _find(t, pid).pgid)


def sys_getpgrp(t: Task) -> int:
    return _number(t, t.tg.pgid)


def sys_getsid(t: Task, pid: CInt) -> int:
    return _number(t, _find(t, pid).sid)


def sys_setsid(t: Task) -> int:
    """setsid(2)."""
    tg = t.tg
    if t.tg.pids.group(tg.pid):
        raise SysErr(errno.EPERM)
    tg.sid = tg.pgid = tg.pid
    tg.tty = None
    return tg.nr


def sys_unshare(t: Task, flags: CULong) -> int:
    """unshare(2)."""
    ok = (
        cl.CLONE_FILES
        | cl.CLONE_FS
        | cl.CLONE_SYSVSEM
        | cl.CLONE_THREAD
        | cl.CLONE_SIGHAND
        | cl.CLONE_VM
    )
    if flags & ~(ok | ns.ALL):
        raise SysErr(errno.EINVAL)
    if flags & ns.CLONE_NEWUSER:
        flags |= cl.CLONE_THREAD | cl.CLONE_FS
    if flags & (cl.CLONE_THREAD | cl.CLONE_SIGHAND | cl.CLONE_VM) and len(t.tg.tasks) > 1:
        raise SysErr(errno.EINVAL)
    if flags & ns.CLONE_NEWNS:
        flags |= cl.CLONE_FS
    if flags & cl.CLONE_FILES and t.files.refs > 1:
        new = t.files.fork()
        t.files.refs -= 1
        t.files = new
        forget_thread(t.thread.cdata)
    if flags & cl.CLONE_FS and t.fs.refs > 1:
        fresh = t.fs.fork()
        t.fs.put()
        t.fs = fresh
    if flags & ns.ALL:
        ns.unshare(t, flags)
        if flags & ns.CLONE_NEWIPC:
            exit_process(t.tg)
    return 0


def sys_setns(t: Task, fd: CInt, flags: CInt) -> int:
    """setns(2): by a file of /proc/PID/ns, or by a process's descriptor."""
    f = t.files.get(fd)
    target = getattr(f, "target", None)
    entering = ns.Entering(t)
    if isinstance(f, NamespaceFile):
        if flags and flags != f.ns.flag:
            raise SysErr(errno.EINVAL)
        entering.enter(f.ns)
    elif isinstance(target, ThreadGroup):
        if not flags or flags & ~(ns.ALL | ns.CLONE_NEWTIME):
            raise SysErr(errno.EINVAL)
        u = next(iter(target.tasks.values()), None)
        if u is None:
            raise SysErr(errno.ESRCH)
        try:
            check_access(t, target)
        except SysErr:
            raise SysErr(errno.EPERM) from None
        for name in SETNS_ORDER:
            wanted = namespace_of(u, name)
            if wanted is not None and wanted.flag & flags:
                entering.enter(wanted)
    else:
        raise SysErr(errno.EINVAL)
    entering.commit()
    return 0


def sys_pidfd_open(t: Task, pid: CInt, flags: CUInt) -> int:
    """pidfd_open(2)."""
    if flags & ~os.O_NONBLOCK or pid <= 0:
        raise SysErr(errno.EINVAL)
    p = t.tg.pidns.proc(pid)
    if p is None:
        raise SysErr(errno.EINVAL if t.tg.pidns.task(pid) is not None else errno.ESRCH)
    fd = t.k.open_pidfd(t, p)
    if flags:
        t.files.get(fd).flags |= os.O_NONBLOCK
    return fd


def sys_pidfd_getfd(t: Task, pidfd: CInt, fd: CInt, flags: CUInt) -> int:
    """pidfd_getfd(2)."""
    if flags:
        raise SysErr(errno.EINVAL)
    target = getattr(t.files.get(pidfd), "target", None)
    if not isinstance(target, ThreadGroup):
        raise SysErr(errno.EBADF)
    for u in target.tasks.values():
        c = t.creds
        if (
            u is not t
            and not c.ns_capable(u.creds.userns, CAP_SYS_PTRACE)
            and u.creds.uid != c.euid
        ):
            raise SysErr(errno.EPERM)
        return t.files.install(u.files.get_any(fd), t.tg.rlimit(7), cloexec=True)
    raise SysErr(errno.ESRCH)


def sys_restart_syscall(t: Task) -> int:
    """restart_syscall(2): goes on with what a signal interrupted."""
    fn, t.restart_fn = t.restart_fn, None
    if fn is None:
        raise SysErr(errno.EINTR)
    return int(fn(t))


TABLE: Final[Table] = {
    39: full("getpid", sys_getpid),
    56: partial("clone", sys_clone, "time namespaces"),
    57: full("fork", sys_fork),
    58: full("vfork", sys_vfork),
    60: full("exit", sys_exit),
    61: full("wait4", sys_wait4),
    109: full("setpgid", sys_setpgid),
    110: full("getppid", sys_getppid),
    111: full("getpgrp", sys_getpgrp),
    112: full("setsid", sys_setsid),
    121: full("getpgid", sys_getpgid),
    124: full("getsid", sys_getsid),
    186: full("gettid", sys_gettid),
    218: full("set_tid_address", sys_set_tid_address),
    219: full("restart_syscall", sys_restart_syscall),
    231: full("exit_group", sys_exit_group),
    247: full("waitid", sys_waitid),
    272: partial("unshare", sys_unshare, "time namespaces"),
    308: partial("setns", sys_setns, "time namespaces"),
    434: full("pidfd_open", sys_pidfd_open),
    435: partial("clone3", sys_clone3, "time namespaces"),
    438: full("pidfd_getfd", sys_pidfd_getfd),
}
