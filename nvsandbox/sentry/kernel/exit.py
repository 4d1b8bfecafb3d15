"""The end of tasks and processes, and waiting for them (Linux: kernel/exit.c; wait(2), _exit(2))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...platform.interface import OF_IGNORE, OP_EXIT
from ...platform.native._native import lib
from ..errors import SysErr, TaskExit
from . import ptrace
from . import signal as sg
from .cputime import close_books, with_children
from .wait import Waiter

if TYPE_CHECKING:
    from .loop import EventLoop
    from .pids import PidNamespace
    from .task import Task, ThreadGroup

FUTEX_TID_MASK: Final = 0x3FFF_FFFF
FUTEX_OWNER_DIED: Final = 0x4000_0000
FUTEX_WAITERS: Final = 0x8000_0000
TICK: Final = 10_000_000  # ns
NR_RSEQ: Final = 334
RSEQ_FLAG_UNREGISTER: Final = 1


def exit_task(t: Task) -> None:
    """Everything a dying task leaves. Runs once, in the task's own greenlet; may suspend."""
    tg = t.tg
    if tg.pids.tasks.get(t.tid) is not t and t.tid not in tg.tasks:
        return
    t.exiting = True
    tg.leader_cred = t.creds
    if not tg.exited and len(tg.tasks) == 1:
        tg.exited = True
    if t.tracees or t.tracee is not None:
        ptrace.task_gone(t, tg.exit_code if tg.exited else t.exit_code)
    leave_mm(t)
    t.files.put(t)
    t.fs.put()
    if tg.pidns.init is tg and tg.pidns.parent is not None and len(tg.tasks) == 1:
        _end_namespace(tg)
    tg.tasks.pop(t.tid, None)
    if tg.pids.tasks.get(t.tid) is t and t.tid != tg.pid:
        tg.pids.drop(t.tid)
    tg.pids.task_gone(t)
    t.k.namespaces_left()
    if not tg.tasks:
        _group_dead(tg)


def _end_namespace(tg: ThreadGroup) -> None:
    """The init of an inner pid namespace ends: it takes everybody there with it, and is gone after them (Linux:
    zap_pid_ns_processes). May suspend."""
    ns, loop = tg.pidns, tg.k.loop
    tg.sighand.actions[sg.SIGCHLD] = sg.SigAction(sg.SIG_IGN)  # children are reaped as they die
    tg.exited = True
    for p in ns.members():
        if p is not tg and not p.dead:
            p.kill(sg.SIGKILL)
    for child in list(tg.children.values()):
        if child.dead and child.held is None:
            reap(child)
    while any(p is not tg and not p.dead for p in ns.members()):
        _await_change(ns, loop)


def _await_change(ns: PidNamespace, loop: EventLoop) -> None:
    token = loop.token()

    def woken(_events: int) -> None:
        ns.changed.remove(waiter)  # resumed once
        loop.resume(token, 1)

    waiter = Waiter(woken)
    ns.changed.add(waiter)
    loop.suspend()


def leave_mm(t: Task, later: bool = False) -> None:
    """Lets go of the address space: at exit, and at exec. Its host thread ends, or goes back to the vfork parent. ``later``: a process
    that ends takes a core for a while, which is to go to something else first."""
    mm, th = t.mm, t.thread
    if mm is t.k.no_mm:
        return
    if t.vfork_done is None and (mm.users == 1 or len(t.tg.tasks) == 1):
        close_books(t.tg)
    mm.users -= 1
    last = mm.users == 0
    if last:
        mm.put_exe()
        if mm.aio:
            mm.end_aio()
    if not mm.space.killed and (not last or (t.robust_list and mm.shares_memory())):
        try:
            _release_memory_words(t)
        except (SysErr, TaskExit):
            pass
    t.mm = t.k.no_mm  # gone for good, or replaced by exec
    if t.vfork_done is not None:
        done, t.vfork_done = t.vfork_done, None
        th.task = None
        done.wake()
    elif last:
        t.k.drop_thread(th)
        if later:
            t.k.loop.later.append(mm.space.kill)
        else:
            mm.space.kill()
    elif mm.space.killed:
        t.k.drop_thread(th)
    else:
        th.trap.op(OP_EXIT, 0, 0, 0, 0, 0, 0, 0, 0)
        lib.nv_post(th.cdata)
        t.k.drop_thread(th)
        mm.space.thread_exited(th.native)


def _release_memory_words(t: Task) -> None:
    """What other threads wait for in memory: robust futexes and the tid word (pthread_join). Before that the host stops writing to the
    thread's rseq area: whoever joins it may unmap its stack at once, and the host would kill the stub for not finding the area."""
    th = t.thread
    if t.rseq is not None and t.vfork_done is None:
        addr, size, sig = t.rseq
        t.rseq = None
        th.host(NR_RSEQ, addr, size, RSEQ_FLAG_UNREGISTER, sig, flags=OF_IGNORE)
        if not t.clear_tid and not t.robust_list:
            th.run()
    if t.robust_list:
        _robust(t)
    if t.clear_tid:
        addr, t.clear_tid = t.clear_tid, 0
        th.copy_out(addr, b"\0\0\0\0")
        th.run()
        t.k.futex.wake_addr(t, addr, 1)


def _robust(t: Task) -> None:
    """Marks the robust futexes the task holds as ownerless (get_robust_list(2), Documentation/robust-futexes)."""
    th = t.thread
    head = t.robust_list
    t.robust_list = 0
    raw = th.copy_in(head, 24)
    nxt = int.from_bytes(raw[:8], "little")
    offset = int.from_bytes(raw[8:16], "little", signed=True)
    pending = int.from_bytes(raw[16:24], "little")
    for _ in range(2048):
        entry = nxt & ~1
        if entry == head:
            break
        nxt = int.from_bytes(th.copy_in(entry, 8), "little")
        if entry != pending:
            _robust_one(t, entry + offset)
    if pending:
        _robust_one(t, (pending & ~1) + offset)


def _robust_one(t: Task, addr: int) -> None:
    word = t.thread.read_u32(addr)
    while word & FUTEX_TID_MASK == t.nr:
        new = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED
        found = t.thread.cmpxchg(addr, word, new)
        if found == word:
            if word & FUTEX_WAITERS:
                t.k.futex.wake_addr(t, addr, 1)
            return
        word = found


def _group_dead(tg: ThreadGroup) -> None:
    """The last task is gone: a zombie for its parent, or nothing if the parent does not care."""
    k = tg.k
    tg.dead = True
    ns = tg.pidns
    while ns.parent is not None:
        ns.changed.wake()
        ns = ns.parent
    for timer in [*tg.posix_timers.values(), *tg.itimers.values()]:
        timer.cancel()
    tg.pidfd_queue.wake()
    for hook in k.exit_hooks:
        hook(tg)
    k.session_leader_exit(tg)
    reaper = _reaper(tg)
    for child in list(tg.children.values()):
        _reparent(child, reaper)
    parent = tg.parent
    if k.on_process_exit is not None:
        k.on_process_exit(tg)
    if parent is None or (tg.is_init and tg.pidns.parent is None):
        k.init_exited(tg)
        # Started from outside, where its end has just been told; the sandbox's own init goes with the sandbox.
        if not tg.is_init or tg.container is not k.container:
            reap(tg)
        return
    if (tg.held is not None or tg.dead_tracees) and ptrace.process_gone(tg, tg.exit_code):
        return
    tell_parent(tg)


def tell_parent(tg: ThreadGroup) -> None:
    """A process's end reaches its parent, or whoever that is by now."""
    parent = tg.parent
    if parent is None:
        return
    act = parent.sighand.get(sg.SIGCHLD)
    autoreap = tg.exit_signal == sg.SIGCHLD and (
        act.handler == sg.SIG_IGN or bool(act.flags & sg.SA_NOCLDWAIT)
    )
    if tg.exit_signal and not parent.dead:
        sg.send(parent, None, exit_info(tg))
    if autoreap:
        reap(tg)
    parent.child_queue.wake()


def exit_info(tg: ThreadGroup) -> sg.SigInfo:
    """The siginfo of a child's end: SIGCHLD's and waitid's."""
    code = tg.exit_code
    info = sg.SigInfo(tg.exit_signal or sg.SIGCHLD, sg.CLD_EXITED, tg.pid)
    info.uid = tg.leader_cred.uid if tg.leader_cred is not None else 0
    if code & 0x7F:
        info.code = sg.CLD_DUMPED if code & 0x80 else sg.CLD_KILLED
        info.status = code & 0x7F
    else:
        info.status = code >> 8 & 0xFF
    used = with_children(tg)
    info.utime, info.stime = used.utime // TICK, used.stime // TICK
    return info


def _reaper(tg: ThreadGroup) -> ThreadGroup | None:
    """Who inherits orphans: the nearest subreaper above, or init."""
    p, ns = tg.parent, tg.pidns
    while p is not None and p.pidns is ns:
        if not p.dead and (p.subreaper or p.is_init):
            return p
        p = p.parent
    init = ns.init
    return init if init is not tg and (init is None or not init.dead) else None


def _reparent(child: ThreadGroup, reaper: ThreadGroup | None) -> None:
    old = child.parent
    if old is not None:
        old.children.pop(child.pid, None)
    child.parent = reaper
    child.exit_signal = sg.SIGCHLD
    for t in child.tasks.values():
        if t.has_thread():
            t.publish()
        if t.pdeath_signal:
            uid = old.leader_cred.uid if old is not None and old.leader_cred is not None else 0
            info = sg.SigInfo(t.pdeath_signal, sg.SI_USER, old.pid if old is not None else 0, uid)
            sg.send(child, None, info)
    if reaper is None:
        return
    reaper.children[child.pid] = child
    if child.dead and child.held is None:
        act = reaper.sighand.get(sg.SIGCHLD)
        if act.handler == sg.SIG_IGN or act.flags & sg.SA_NOCLDWAIT:
            reap(child)
        else:
            sg.send(reaper, None, exit_info(child))
        reaper.child_queue.wake()


def reap(tg: ThreadGroup, waited: bool = False) -> None:
    """A zombie is gone: its pid is free. A parent that ``waited`` for it is told what it used."""
    k = tg.k
    if tg.parent is not None:
        tg.parent.children.pop(tg.pid, None)
        if waited:
            tg.parent.child_used.add(with_children(tg))
    tg.pids.procs.pop(tg.pid, None)
    tg.pids.drop(tg.pid)
    tg.pids.free_pid(tg)
    if tg.container.removed:
        k.forget_container(tg.container)
