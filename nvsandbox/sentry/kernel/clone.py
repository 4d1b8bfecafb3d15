"""Making tasks: fork, vfork, threads (Linux: kernel/fork.c; clone(2)).

A fork clones the stub, so the host copies the memory. A thread is a host thread of the same stub. A vfork child (CLONE_VM and
CLONE_VFORK without CLONE_THREAD) borrows the host thread of its suspended parent until it execs or exits: nothing is copied
(hazard B8).
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Final

from ...platform.interface import (
    E_CRET,
    OF_FD0,
    OF_IGNORE,
    OP_CLONE,
    OP_FORK,
    OP_RECVFD,
    RAX,
    RSP,
    SLOT_OFF,
    SLOT_SIZE,
)
from ...platform.native._native import ffi, lib
from ...platform.space import PlatformError, Space, prepare_shell
from ..errors import SysErr, TaskExit
from ..mm.promoted import copy_at_fork
from . import namespaces, ptrace
from . import signal as sg
from .stubs import find_lost
from .task import Task, ThreadGroup
from .thread import HostThread
from .timers import FOREVER, watch_cpu_limit
from .wait import WaitQueue

if TYPE_CHECKING:
    from .pids import PidNamespace

CSIGNAL: Final = 0xFF
CLONE_VM: Final = 0x100
CLONE_FS: Final = 0x200
CLONE_FILES: Final = 0x400
CLONE_SIGHAND: Final = 0x800
CLONE_PIDFD: Final = 0x1000
CLONE_PTRACE: Final = 0x2000
CLONE_VFORK: Final = 0x4000
CLONE_PARENT: Final = 0x8000
CLONE_THREAD: Final = 0x10000
CLONE_NEWNS: Final = 0x20000
CLONE_SYSVSEM: Final = 0x40000
CLONE_SETTLS: Final = 0x80000
CLONE_PARENT_SETTID: Final = 0x100000
CLONE_CHILD_CLEARTID: Final = 0x200000
CLONE_DETACHED: Final = 0x400000
CLONE_UNTRACED: Final = 0x800000
CLONE_CHILD_SETTID: Final = 0x1000000
CLONE_NEW: Final = 0x7E000000 | CLONE_NEWNS | 0x80
CLONE_CLEAR_SIGHAND: Final = 0x1_0000_0000
CLONE_INTO_CGROUP: Final = 0x2_0000_0000

NR_ARCH_PRCTL: Final = 158
ARCH_SET_FS: Final = 0x1002
NR_CLOSE: Final = 3
REALTIME: Final = (1, 2, 6)  # SCHED_FIFO, SCHED_RR, SCHED_DEADLINE


class CloneArgs:
    """clone3(2)'s struct clone_args, as both calls fill it in."""

    __slots__ = (
        "child_tid",
        "exit_signal",
        "flags",
        "parent_tid",
        "pidfd",
        "set_tid",
        "stack",
        "tls",
    )

    def __init__(self, flags: int, exit_signal: int) -> None:
        self.flags = flags
        self.exit_signal = exit_signal
        self.stack = 0
        self.parent_tid = self.child_tid = self.tls = self.pidfd = 0
        self.set_tid: tuple[int, ...] = ()  # ids for the child, innermost namespace first


def check(a: CloneArgs) -> None:
    """The flag combinations Linux refuses (clone(2), ERRORS)."""
    f = a.flags
    if f & CLONE_SIGHAND and not f & CLONE_VM:
        raise SysErr(errno.EINVAL)
    if f & CLONE_THREAD and not f & CLONE_SIGHAND:
        raise SysErr(errno.EINVAL)
    if f & (CLONE_NEWNS | namespaces.CLONE_NEWUSER) and f & CLONE_FS:
        raise SysErr(errno.EINVAL)
    if f & (namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWPID) and f & CLONE_THREAD:
        raise SysErr(errno.EINVAL)
    if f & namespaces.CLONE_NEWIPC and f & CLONE_SYSVSEM:
        raise SysErr(errno.EINVAL)
    if f & namespaces.CLONE_NEWTIME:
        raise SysErr(errno.EINVAL)
    if f & CLONE_PIDFD and f & (CLONE_THREAD | CLONE_DETACHED):
        raise SysErr(errno.EINVAL)
    if f & CLONE_CLEAR_SIGHAND and f & CLONE_SIGHAND:
        raise SysErr(errno.EINVAL)
    if a.exit_signal > 64:
        raise SysErr(errno.EINVAL)


def do_clone(t: Task, a: CloneArgs) -> int:
    """The new task's tid for the parent. May suspend."""
    k = t.k
    check(a)
    f = a.flags
    ns = t.ns
    if f & CLONE_PARENT and t.tg.pidns.init is t.tg:
        raise SysErr(errno.EINVAL)
    if f & CLONE_THREAD and ns.pids_for_children is not t.tg.pidns:
        raise SysErr(errno.EINVAL)
    creds = t.creds
    if f & CLONE_NEW:
        if f & namespaces.CLONE_NEWUSER:
            creds = namespaces.new_user(t)
        ns = namespaces.new_proxy(t, f, creds)
    k.check_task_limit(t)
    pidns = ns.pids_for_children
    tid = pidns.allocate(t.creds, a.set_tid)
    seen = t.tg.pidns.number(tid)
    tg = t.tg if f & CLONE_THREAD else _new_group(t, a, tid, pidns)
    child = Task(k, tg, tid)
    _inherit(t, child, f)
    child.creds, child.ns = creds, ns
    if f & CLONE_NEWNS:
        namespaces.unshare_mount_namespace(child)
    if f & CLONE_CLEAR_SIGHAND:
        tg.sighand = t.tg.sighand.copy()
        tg.sighand.reset_for_exec()
    try:
        if f & CLONE_VM and f & CLONE_VFORK and not f & CLONE_THREAD:
            return _vfork(t, child, a)
        if f & CLONE_VM:
            _thread(t, child, a)
        else:
            _fork(t, child, a)
    except (SysErr, PlatformError, MemoryError) as e:
        _undo(t, child)
        raise SysErr(e.errno if isinstance(e, SysErr) else errno.EAGAIN) from None
    except TaskExit:
        if t.tg.pids.tasks.get(tid) is child:
            _undo(t, child)
        raise
    if (
        f & CLONE_PARENT_SETTID and not f & CLONE_VM
    ):  # a thread may have ended by now, and cleared the word
        _tell_parent(t, child, a)
    _give_pidfd(t, child, a)
    if t.tracee is not None:
        ptrace.clone_event(t, child, _event(a))
    return seen


def _event(a: CloneArgs) -> int:
    return ptrace.clone_kind(bool(a.flags & CLONE_VFORK), a.exit_signal)


def _trace(t: Task, c: Task, a: CloneArgs) -> None:
    """Before the child runs."""
    if t.tracee is not None and not a.flags & CLONE_UNTRACED:
        ptrace.adopt(t, c, _event(a), bool(a.flags & CLONE_PTRACE))


def _new_group(t: Task, a: CloneArgs, pid: int, pidns: PidNamespace) -> ThreadGroup:
    f = a.flags
    parent = t.tg.parent if f & CLONE_PARENT and t.tg.parent is not None else t.tg
    tg = ThreadGroup(t.k, pid, parent, t.tg.container)
    tg.exit_signal = t.tg.exit_signal if f & CLONE_PARENT else a.exit_signal
    tg.pidns = pidns
    if pidns.init is None and pidns.parent is not None:
        pidns.init = tg
        tg.is_init = True
    tg.pgid, tg.sid, tg.tty = t.tg.pgid, t.tg.sid, t.tg.tty
    tg.rlimits = list(t.tg.rlimits)
    if tg.rlimits[0][0] < FOREVER:
        watch_cpu_limit(tg)
    tg.sighand = t.tg.sighand if f & CLONE_SIGHAND else t.tg.sighand.copy()
    tg.oom_score_adj = t.tg.oom_score_adj
    tg.dumpable, tg.core_filter = t.tg.dumpable, t.tg.core_filter
    tg.loginuid = t.tg.loginuid
    return tg


def _inherit(t: Task, c: Task, f: int) -> None:
    c.comm = t.comm
    c.creds = t.creds
    c.keys = t.keys.inherit(c.tg is t.tg)
    if t.keys.thread is not None and c.tg is t.tg:
        c.keys.thread = t.tg.container.keys(t.k).of_thread(c.creds)
    c.blocked = t.saved_mask if t.saved_mask is not None else t.blocked
    c.nice, c.policy, c.rt_priority, c.ioprio = t.nice, t.policy, t.rt_priority, t.ioprio
    if t.reset_on_fork:  # sched(7), "Resetting scheduling policy for child processes"
        c.nice = max(t.nice, 0)
        if t.policy in REALTIME:
            c.policy = c.rt_priority = 0
    c.cpu_mask, c.personality = t.cpu_mask, t.personality
    c.timer_slack = c.default_slack = t.timer_slack
    c.gs_base = t.gs_base
    c.seccomp, c.filter = t.seccomp, t.filter
    if f & CLONE_FILES:
        t.files.refs += 1
        c.files = t.files
    else:
        c.files = t.files.fork()
    if f & CLONE_FS:
        t.fs.refs += 1
        c.fs = t.fs
    else:
        c.fs = t.fs.fork()
    if not f & CLONE_VM or f & CLONE_VFORK:
        c.altstack = t.altstack
    if not f & CLONE_VM:
        c.rseq = t.rseq  # the host's clone keeps it


def _undo(t: Task, c: Task) -> None:
    tg = c.tg
    ptrace.detach(c, 0)
    tg.tasks.pop(c.tid, None)
    tg.pids.drop(c.tid)
    if tg is not t.tg:
        tg.pids.procs.pop(tg.pid, None)
        if tg.pidns.init is tg:
            tg.exited = True  # the namespace has had its init
        if tg.parent is not None:
            tg.parent.children.pop(tg.pid, None)
    c.files.put(t)
    c.fs.put()
    t.tg.pids.release_pid(c.tid)


def _publish(t: Task, c: Task, a: CloneArgs) -> None:
    """From here on others can see the child. It must be so before it runs: its first call may be to itself."""
    tg = c.tg
    tg.tasks[c.tid] = c
    tg.pids.add(c)
    if not a.flags & CLONE_THREAD:
        tg.pids.procs[tg.pid] = tg
        if tg.parent is not None:
            tg.parent.children[tg.pid] = tg
    if a.flags & CLONE_CHILD_CLEARTID:
        c.clear_tid = a.child_tid


def _give_pidfd(t: Task, c: Task, a: CloneArgs) -> None:
    if a.flags & CLONE_PIDFD:
        fd = t.k.open_pidfd(t, c.tg)
        t.copy_out(a.pidfd or a.parent_tid, fd.to_bytes(4, "little"))


def _tell_parent(t: Task, c: Task, a: CloneArgs) -> None:
    """CLONE_PARENT_SETTID, whose fault Linux ignores too (kernel_clone)."""
    with contextlib.suppress(SysErr):
        t.thread.copy_out(a.parent_tid, t.tg.pidns.number(c.tid).to_bytes(4, "little"), OF_IGNORE)


def _child_regs(t: Task, th: HostThread, a: CloneArgs) -> None:
    for i, v in enumerate(t.thread.regs):
        th.regs[i] = v
    th.regs[RAX] = 0
    if a.stack:
        th.regs[RSP] = a.stack


def _thread(t: Task, c: Task, a: CloneArgs) -> None:
    """A host thread in the same stub: CLONE_THREAD, or CLONE_VM alone (a second process in one memory)."""
    k = t.k
    space = t.mm.space
    th = k.new_thread(space)
    th.task = c
    c.thread, c.mm = th, t.mm
    _child_regs(t, th, a)
    if a.flags & CLONE_CHILD_SETTID:
        th.copy_out(a.child_tid, c.nr.to_bytes(4, "little"))
    addr = space.base + SLOT_OFF + th.native.index * SLOT_SIZE
    t.mm.users += 1
    _trace(t, c, a)
    c.publish()
    if t.mm.no_patch:
        lib.nv_own_gs(th.cdata)
    th.trap.resume()  # its answer waits in the slot before the thread exists
    th.used = 0
    _publish(t, c, a)
    try:
        if a.flags & CLONE_PARENT_SETTID:  # before it can run: its exit clears the same word
            _tell_parent(t, c, a)
        t.thread.op(OP_CLONE, 0, 0, addr, a.tls, 1 if a.flags & CLONE_SETTLS else 0)
        lib.nv_pt_expect(t.thread.cdata, th.cdata, 1)
        t.thread.run()
    except BaseException:
        lib.nv_pt_expect(t.thread.cdata, ffi.NULL, 1)
        t.mm.users -= 1
        th.task = None
        k.drop_thread(th)
        space.thread_failed(th.native)
        raise


def _fork(t: Task, c: Task, a: CloneArgs) -> None:
    """A new address space: the calling host thread clones its process."""
    k, mm = t.k, t.mm
    shared = mm.users > 1
    if shared:
        mm.lock(t)
    try:
        space, native, shell = k.platform.fork_shell(mm.space)
        th = k.adopt_thread(native)
        th.task = c
        c.thread = th
        if mm.no_patch:  # before it looks, which it does as soon as it is there
            lib.nv_own_gs(th.cdata)
        p = t.thread
        p.op(OP_RECVFD, 0, 0, 3)
        p.op(OP_FORK, 0, 0)
        for i in range(3):
            p.host(NR_CLOSE, i, flags=OF_FD0 | OF_IGNORE)
        lib.nv_pt_expect(p.cdata, th.cdata, 0)
        failed: list[BaseException] = []

        def meanwhile() -> None:
            try:
                shell.close_child_side()
                _let_go(t, c, a, space)
            except BaseException as e:  # the parent has to finish its clone first
                failed.append(e)

        try:
            p.run_with(meanwhile)
            if failed:
                raise failed[0]
            space.set_pid(int(p.ev[E_CRET]))
            if c.work and c.runs_application():  # a signal came before it could be kicked
                space.kick(th.native)
        except BaseException:
            lib.nv_pt_expect(p.cdata, ffi.NULL, 0)
            th.task = None
            c.mm.put_exe()
            k.drop_thread(th)
            space.kill()
            k.loop.spawn(lambda: find_lost(k, space))
            raise
        k.loop.chores.append(_next_shell)  # while parent and child run
    finally:
        if shared:
            mm.unlock()


def _let_go(t: Task, c: Task, a: CloneArgs, space: Space) -> None:
    """The child of a fork, which the host is cloning, and what it does first. Must not suspend."""
    th = c.thread
    c.mm = t.mm.fork(space)
    c.mm.users = 1
    copy_at_fork(c.mm, th)
    _child_regs(t, th, a)
    if a.flags & CLONE_SETTLS:
        th.host(NR_ARCH_PRCTL, ARCH_SET_FS, a.tls)
    if a.flags & CLONE_CHILD_SETTID:
        th.copy_out(a.child_tid, c.nr.to_bytes(4, "little"))
    _trace(t, c, a)
    c.publish()
    _publish(t, c, a)
    th.trap.resume()
    th.used = 0


def _next_shell() -> None:
    with contextlib.suppress(PlatformError, OSError):  # then the next fork tells
        prepare_shell()


def _vfork(t: Task, c: Task, a: CloneArgs) -> int:
    """The child runs on this host thread until it execs or exits; then the parent goes on where it was."""
    th = t.thread
    saved = th.regs.tolist()
    c.thread, c.mm = th, t.mm
    c.mm.users += 1
    done = WaitQueue()
    seen = t.tg.pidns.number(c.tid)
    c.vfork_done = done
    if a.flags & CLONE_PARENT_SETTID:
        _tell_parent(t, c, a)
    _publish(t, c, a)
    _give_pidfd(t, c, a)
    th.task = c
    th.regs[RAX] = 0
    if a.stack:
        th.regs[RSP] = a.stack
    if a.flags & CLONE_CHILD_SETTID:
        th.copy_out(a.child_tid, c.nr.to_bytes(4, "little"))
    _trace(t, c, a)
    c.publish()
    t.thread = t.k.nobody  # lent
    t.lent = saved
    th.trap.resume()
    th.used = 0
    killed = False
    if t.tracee is not None:
        try:
            ptrace.clone_event(t, c, _event(a))
        except TaskExit:
            killed = True
            if c.borrows():
                c.tg.kill(sg.SIGKILL)
                t.exiting = False
    while c.borrows():
        try:
            t.wait(done, interruptible=False)
        except TaskExit:
            killed = True
            if c.borrows():
                c.tg.kill(sg.SIGKILL)
                t.exiting = False
    t.thread = th
    th.task = t
    t.publish()
    t.lent = None
    for i, v in enumerate(saved):
        th.regs[i] = v
    if killed:
        t.exiting = True
        raise TaskExit
    if t.tracee is not None:
        ptrace.clone_event(t, c, ptrace.EVENT_VFORK_DONE)
    return seen
