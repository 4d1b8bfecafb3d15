"""Tracing of one task by another: stops, events, who may, and how it ends (Linux: kernel/ptrace.c; ptrace(2)).

A stopped tracee is suspended in its own handler, so its host thread waits in the stub's loop and its registers lie in the
Sentry: its tracer reads and changes them there. While it is traced its text is not patched and none of its calls is answered in
the stub. The system call itself is ``syscalls/ptrace.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from ...platform.interface import EFL, RAX, RIP
from . import signal as sg
from .cputime import Usage, with_children
from .wait import WaitQueue

if TYPE_CHECKING:
    from .task import Task, ThreadGroup

PTRACE_O_TRACESYSGOOD: Final = 1
PTRACE_O_TRACEFORK: Final = 2
PTRACE_O_TRACEVFORK: Final = 4
PTRACE_O_TRACECLONE: Final = 8
PTRACE_O_TRACEEXEC: Final = 0x10
PTRACE_O_TRACEVFORKDONE: Final = 0x20
PTRACE_O_TRACEEXIT: Final = 0x40
PTRACE_O_TRACESECCOMP: Final = 0x80
PTRACE_O_EXITKILL: Final = 0x100000
OPTIONS: Final = 0x1000FF

EVENT_FORK: Final = 1
EVENT_VFORK: Final = 2
EVENT_CLONE: Final = 3
EVENT_EXEC: Final = 4
EVENT_VFORK_DONE: Final = 5
EVENT_EXIT: Final = 6
EVENT_SECCOMP: Final = 7
EVENT_STOP: Final = 128

# What a resumed tracee does next
CONT: Final = 0
SYSCALL: Final = 1
STEP: Final = 2

# What a stopped one was doing (PTRACE_GET_SYSCALL_INFO's op)
NONE: Final = 0
ENTRY: Final = 1
EXIT: Final = 2
SECCOMP: Final = 3

TF: Final = 0x100
RF: Final = 0x10000
NEWBORN_RIP: Final = 8  # nothing is ever mapped there
M64: Final = (1 << 64) - 1


@final
class Tracee:
    """The tracer's side of a traced task."""

    __slots__ = (
        "code", "data", "info", "interrupted", "listening", "message", "mode", "op", "options", "queue", "reported",
        "seized", "stopped", "tracer",
    )  # fmt: skip

    def __init__(self, tracer: Task, seized: bool, options: int) -> None:
        self.tracer = tracer
        self.seized = seized
        self.options = options
        self.mode = CONT
        self.op = NONE
        self.stopped = False
        self.listening = False  # a group stop that goes on, told once more when it ends
        self.interrupted = False  # PTRACE_INTERRUPT: stops on the next occasion
        self.reported = True  # the stop has been waited for
        self.code = 0  # the stop, as in a wait status's second and third byte
        self.info: sg.SigInfo | None = None  # None in a group stop
        self.message = 0
        self.data = 0  # the signal it is resumed with
        self.queue = WaitQueue()


@final
class DeadTracee:
    """A traced task that is gone and not yet waited for by its tracer. ``tg``: its process, if that ended with it and its
    parent is still to be told."""

    __slots__ = ("code", "pgid", "tg", "tid", "uid", "usage")

    def __init__(self, t: Task, code: int) -> None:
        self.tid = t.tid
        self.pgid = t.tg.pgid
        self.uid = t.creds.uid
        self.code = code
        self.usage = Usage()
        self.tg: ThreadGroup | None = None


def attach(tracer: Task, t: Task, seized: bool, options: int) -> None:
    """From here on ``tracer`` traces ``t``."""
    t.tracee = Tracee(tracer, seized, options)
    tracer.tracees[t.tid] = t
    if t.has_thread():
        t.publish()


def detach(t: Task, signal: int) -> None:
    """Its tracer lets go of it; a stopped one goes on, with ``signal``."""
    tr = t.tracee
    if tr is None:
        return
    tr.tracer.tracees.pop(t.tid, None)
    t.tracee = None
    if t.has_thread():
        if tr.mode == STEP:
            t.thread.regs[EFL] &= ~TF
        t.publish()
    tr.data = signal
    tr.stopped = tr.listening = False
    tr.queue.wake()


def resume(t: Task, tr: Tracee, mode: int, signal: int) -> None:
    """PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SINGLESTEP."""
    if t.has_thread():
        regs = t.thread.regs
        if mode == STEP:
            regs[EFL] |= TF
        elif tr.mode == STEP:
            regs[EFL] &= ~TF
    tr.mode = mode
    tr.data = signal
    tr.stopped = tr.listening = False
    tr.reported = True
    tr.queue.wake()


def interrupt(t: Task, tr: Tracee) -> None:
    """PTRACE_INTERRUPT: a stop without a signal."""
    if tr.listening:
        tr.listening = False
        tr.interrupted = True
        tr.queue.wake()
    elif not tr.stopped:
        tr.interrupted = t.work = True
        t.notify_signal()


def _tell_tracer(t: Task, tr: Tracee) -> None:
    tg = tr.tracer.tg
    act = tg.sighand.get(sg.SIGCHLD)
    if not act.flags & sg.SA_NOCLDSTOP or act.handler == sg.SIG_DFL:
        info = sg.SigInfo(sg.SIGCHLD, sg.CLD_TRAPPED, t.tid, t.creds.uid)
        info.status = tr.code & 0x7F
        sg.send(tg, None, info)
    tg.child_queue.wake()


def stop(t: Task, code: int, info: sg.SigInfo | None, message: int = 0) -> int:
    """Stops until the tracer lets it go on; the signal it is given. May suspend. Raises TaskExit when it is killed."""
    tr = t.tracee
    if tr is None:
        return 0
    if t.has_thread():
        _own_text(t)
        if tr.mode == STEP:
            t.thread.regs[EFL] &= ~TF
    tr.code, tr.info, tr.message = code, info, message
    tr.data = 0
    tr.interrupted = False
    tr.stopped, tr.reported = True, False
    _tell_tracer(t, tr)
    while tr.stopped:
        if tr.listening:
            if not t.stop_pending:
                break
        t.wait(tr.queue, interruptible=False)
    tr.op = NONE
    return tr.data


def _own_text(t: Task) -> None:
    """A tracer sees, and may change, the text as its file has it."""
    k, mm = t.k, t.mm
    if k.patcher is not None and not mm.no_patch:
        k.patcher.give_up(t)


def own_info(t: Task, code: int) -> sg.SigInfo:
    """The siginfo of a stop that is no signal's."""
    return sg.SigInfo(sg.SIGTRAP, code, t.tid, t.creds.uid)


def syscall_stop(t: Task, op: int) -> None:
    """Before and after a system call. May suspend."""
    tr = t.tracee
    if tr is None:
        return
    good = 0x80 if tr.options & PTRACE_O_TRACESYSGOOD else 0
    tr.op = op
    sig = stop(t, sg.SIGTRAP | good, own_info(t, sg.SIGTRAP | good), op)
    if sig:
        t.send_signal(sig, sg.SigInfo(sig, sg.SI_USER, tr.tracer.tg.pid, tr.tracer.creds.uid))


def event_stop(t: Task, event: int, message: int = 0) -> None:
    """A PTRACE_EVENT_* stop. May suspend."""
    stop(t, event << 8 | sg.SIGTRAP, own_info(t, event << 8 | sg.SIGTRAP), message)


def step_stop(t: Task) -> None:
    """The end of a single step that no trap tells of. May suspend."""
    sig = stop(t, sg.SIGTRAP, own_info(t, sg.SI_USER))
    if sig:
        t.send_signal(sig)


def signal_stop(t: Task, info: sg.SigInfo) -> sg.SigInfo | None:
    """A signal is about to be delivered: what is delivered instead, if anything. May suspend."""
    tr = t.tracee
    if tr is None:
        return info
    if tr.mode == STEP and t.has_thread():
        t.thread.regs[EFL] &= ~TF
    sig = stop(t, info.signo, info)
    got = tr.info
    if not sig:
        return None
    if got is None or got.signo != sig:
        got = sg.SigInfo(sig, sg.SI_USER, tr.tracer.tg.pid, tr.tracer.creds.uid)
    if t.blocked & sg.bit(sig) and sig not in (sg.SIGKILL, sg.SIGSTOP):
        t.pending.add(got)
        return None
    return got


def group_stop(t: Task) -> None:
    """A traced task in a group stop. May suspend."""
    tr = t.tracee
    if tr is None:
        return
    sig = t.stop_pending
    if not tr.seized:
        stop(t, sig, None)
        t.stop_pending = 0
        return
    info = own_info(t, EVENT_STOP << 8 | sg.SIGTRAP)
    stop(t, EVENT_STOP << 8 | sig, info)
    if tr.listening and tr.stopped:  # SIGCONT has ended it while it listened
        tr.listening = tr.stopped = False
        event_stop(t, EVENT_STOP)
    elif tr.interrupted:
        return
    t.stop_pending = 0


def interrupt_stop(t: Task) -> None:
    """What PTRACE_INTERRUPT asked for. May suspend."""
    event_stop(t, EVENT_STOP)


def clone_event(t: Task, c: Task, event: int) -> None:
    """``t`` has made ``c``, which ``adopt`` may have attached. May suspend."""
    if _wants(t, event):
        event_stop(t, event, _seen(t, c.tid))


def _seen(t: Task, tid: int) -> int:
    """A number as the tracer of ``t`` has it."""
    tr = t.tracee
    return tr.tracer.tg.pidns.number(tid) if tr is not None else tid


def _wants(t: Task, event: int) -> bool:
    tr = t.tracee
    return tr is not None and bool(tr.options & 1 << event)


def clone_kind(vfork: bool, exit_signal: int) -> int:
    """Which event a new task is (Linux: kernel_clone)."""
    return EVENT_VFORK if vfork else EVENT_FORK if exit_signal == sg.SIGCHLD else EVENT_CLONE


def adopt(t: Task, c: Task, event: int, asked: bool) -> None:
    """The new task ``c``, which has not run yet, is traced as its maker is, if the tracer wants that or ``asked``
    (CLONE_PTRACE). Its first instruction traps, so that it does not run before its tracer has heard of it."""
    tr = t.tracee
    if tr is None or not (asked or _wants(t, event)):
        return
    attach(tr.tracer, c, tr.seized, tr.options)
    new = c.tracee
    assert new is not None
    if tr.seized:
        new.interrupted = True
    else:
        c.pending.add(sg.SigInfo(sg.SIGSTOP, sg.SI_USER))
    c.work = True
    regs = c.thread.regs
    c.newborn = regs[RIP]
    regs[RIP] = NEWBORN_RIP


def born(t: Task) -> None:
    """The trap that ``adopt`` laid."""
    regs = t.thread.regs
    regs[RIP] = t.newborn
    regs[EFL] &= ~RF
    t.newborn = 0
    t.work = True


def exec_stop(t: Task, old_tid: int) -> None:
    """After a successful execve. May suspend."""
    tr = t.tracee
    if tr is None:
        return
    if tr.options & PTRACE_O_TRACEEXEC:
        t.thread.regs[RAX] = 0
        event_stop(t, EVENT_EXEC, _seen(t, old_tid))
    elif not tr.seized:
        t.send_signal(sg.SIGTRAP, sg.SigInfo(sg.SIGTRAP, sg.SI_USER, t.tg.pid, t.creds.uid))


def exit_stop(t: Task, status: int) -> None:
    """PTRACE_EVENT_EXIT: before anything of it goes. May suspend."""
    if _wants(t, EVENT_EXIT) and not t.exiting:
        event_stop(t, EVENT_EXIT, status)


def task_gone(t: Task, code: int) -> None:
    """A task is at its end: it is nobody's tracer any more, and its own tracer is told of a thread's end."""
    for u in list(t.tracees.values()):
        kill = u.tracee is not None and u.tracee.options & PTRACE_O_EXITKILL
        detach(u, 0)
        if kill:
            u.tg.kill(sg.SIGKILL)
    tr = t.tracee
    if tr is None:
        return
    tracer = tr.tracer
    tracer.tracees.pop(t.tid, None)
    t.tracee = None
    dead = DeadTracee(t, code)
    if t.tid != t.tg.pid:
        tracer.tg.dead_tracees[t.tid] = dead
        tracer.tg.child_queue.wake()
    elif tracer.tg is not t.tg.parent:
        dead.tg = t.tg
        t.tg.held = dead
        tracer.tg.dead_tracees[t.tid] = dead


def process_gone(tg: ThreadGroup, code: int) -> bool:
    """Whether a dead process's parent hears of it only when its tracer, who is somebody else, has waited for it."""
    for d in list(tg.dead_tracees.values()):
        tg.dead_tracees.pop(d.tid)
        release(d)
    held = tg.held
    if held is None:
        return False
    for p in tg.pids.procs.values():
        if p.dead_tracees.get(held.tid) is held and not p.dead:
            held.code = code
            held.usage = with_children(tg)
            info = sg.SigInfo(sg.SIGCHLD, sg.CLD_KILLED if code & 0x7F else sg.CLD_EXITED, tg.pid)
            info.status = code & 0x7F or code >> 8 & 0xFF
            sg.send(p, None, info)
            p.child_queue.wake()
            return True
    tg.held = None
    return False


def release(d: DeadTracee) -> None:
    """Its tracer has waited for it, or is gone."""
    tg = d.tg
    if tg is not None and tg.held is d:
        tg.held = None
        if tg.dead:
            tg.k.tell_parent(tg)
