"""From a trap to its answer (Linux: entry/common.c, kernel/signal.c get_signal).

``on_event`` is the hottest code of the Sentry: one dictionary lookup, one call by arity, one reply. Everything unusual (signals,
stops, a temporary mask, an exiting group) is behind the one flag ``task.work``.
"""

from __future__ import annotations

import errno
import logging
import struct
from typing import TYPE_CHECKING, Final

from ...platform.interface import (
    E_ADDR,
    E_CODE,
    E_CRET,
    E_ERR,
    E_HOT,
    E_INLEN0,
    E_INLEN1,
    E_INLEN2,
    E_KIND,
    E_SIG,
    E_TRAPNO,
    EV_ACK,
    EV_BADARCH,
    EV_CMDFAIL,
    EV_FAULT,
    EV_SYSCALL,
    EV_UNCOMMON,
    RAX,
    RIP,
)
from ...platform.native._native import lib
from ...platform.native.hot import Event
from ..errors import (
    ERESTART_RESTARTBLOCK,
    ERESTARTNOINTR,
    ERESTARTSYS,
    NO_REPLY,
    Restart,
    SysErr,
    TaskExit,
)
from . import coredump, ptrace, seccomp
from . import signal as sg
from .cputime import look_last
from .deliver import setup_frame
from .exit import exit_task
from .remote import run_visits

if TYPE_CHECKING:
    from ..syscalls.decode import Row
    from .kernel import Kernel
    from .task import Task
    from .thread import HostThread

log = logging.getLogger("nvsandbox.sentry")
ENOSYS: Final = -errno.ENOSYS
NR_RESTART: Final = 219
M64: Final = (1 << 64) - 1
U64: Final = 0  # ``decode.WIDTHS``
SYSCALL_LEN: Final = 2
EV_SYSCALL_UNCOMMON: Final = EV_SYSCALL | EV_UNCOMMON
_EVENT: Final = struct.Struct("<8q").unpack_from  # kind, number, six arguments
WRITE_FAULT: Final = 2  # of a page fault's error code
PKEY_FAULT: Final = 0x20


def on_event(k: Kernel, ev: Event) -> None:
    """One event of one thread; returns when it is answered (others may have run meanwhile)."""
    th = k.threads.get(ev[8])
    if th is None:
        return
    kind = ev[0]
    if kind == EV_SYSCALL or kind == EV_SYSCALL_UNCOMMON:
        t = th.task
        if t is None:
            return
        try:
            if kind == EV_SYSCALL_UNCOMMON:
                _look_at_site(k, t, th, ev)
            finish(k, t, call(k, t, ev))
        except TaskExit:
            exit_task(t)
        except Exception:
            _bug(t)
    elif kind in (EV_ACK, EV_CMDFAIL):
        if th.token is not None:
            token, th.token = th.token, None
            k.loop.resume(token, True)
        elif kind == EV_CMDFAIL:
            _reply_failed(k, th, th.ev[E_CRET])
    else:
        _trap(k, th, kind)


def _look_at_site(k: Kernel, t: Task, th: HostThread, ev: Event) -> None:
    """A call from a site that traps often, perhaps."""
    hot = th.ev[E_HOT]
    if hot and k.patcher is not None:
        try:
            k.patcher.hot(t, ev[1], hot)
        except (SysErr, OSError) as e:
            log.warning("call site not patched: %s", e)


def call(k: Kernel, t: Task, ev: Event) -> int:
    """Runs the handler; the value for rax, a negative restart code, or NO_REPLY. Raises TaskExit."""
    nr = ev[1]
    t.orig_nr = nr
    if t.tracee is not None:
        return _traced_call(k, t, ev)
    if t.seccomp:
        return _filtered(k, t, ev)
    return _handle(k, t, ev)


def _traced_call(k: Kernel, t: Task, ev: Event) -> int:
    """As ``call``, with a stop before and after it if the tracer wants that."""
    th = t.thread
    tr = t.tracee
    if tr is not None and tr.mode == ptrace.SYSCALL:
        th.regs[RAX] = ENOSYS & M64
        ptrace.syscall_stop(t, ptrace.ENTRY)
        if t.orig_nr < 0:  # it wants no call
            r = th.regs[RAX]
            return r - (1 << 64) if r >> 63 else r
        ev = _changed(k, t)
    r = _filtered(k, t, ev) if t.seccomp else _handle(k, t, ev)
    tr = t.tracee
    if tr is None or tr.mode == ptrace.CONT:
        return r
    th = t.thread  # after an exec another one
    if th.trap.queued:  # what travels with the answer is the tracer's to see
        try:
            th.run()
        except SysErr as e:
            _undo(t)
            r = -e.errno
    if tr.mode == ptrace.STEP:
        if r == NO_REPLY or (r <= -ERESTARTSYS and r >= -ERESTART_RESTARTBLOCK):
            return r
        th.regs[RAX] = r & M64
        ptrace.step_stop(t)
        return NO_REPLY
    if r != NO_REPLY:
        th.regs[RAX] = r & M64
    ptrace.syscall_stop(t, ptrace.EXIT)
    left = th.regs[RAX]
    if r != NO_REPLY and M64 - ERESTART_RESTARTBLOCK < left <= M64 - ERESTARTSYS + 1:
        return left - (1 << 64)
    return NO_REPLY


def _changed(k: Kernel, t: Task) -> Event:
    """The call as its tracer has left it."""
    th = t.thread
    th.ev[E_INLEN0] = th.ev[E_INLEN1] = th.ev[E_INLEN2] = 0  # what they point to may have changed
    th.regs[RAX] = t.orig_nr
    th.ev[E_KIND] = EV_SYSCALL
    lib.nv_decode(th.cdata)
    return unsigned(k, _EVENT(th.ev))


def _filtered(k: Kernel, t: Task, ev: Event) -> int:
    """As ``_handle``, if the task's own filters allow the call."""
    r = seccomp.check(t, ev[1], False)
    if r == seccomp.CHANGED:
        ev = _changed(k, t)
        r = seccomp.check(t, ev[1], True)
    return _handle(k, t, ev) if r == seccomp.GO_ON else r


def _handle(k: Kernel, t: Task, ev: Event) -> int:
    nr = ev[1]
    row = t.tg.container.table.get(nr)
    if row is None or row.handler is None:
        k.count_missing(nr)
        return ENOSYS
    try:
        return _invoke(k, t, row, ev)
    except SysErr as e:
        return -e.errno
    except Restart as again:
        return -again.code
    except Exception:
        # Our bug. It is loud in the log, costs this one process its life, and the sandbox lives on.
        log.exception("%s[%d]: handler of %s failed", t.comm.decode("latin1"), t.tid, row.name)
        t.tg.kill(sg.SIGSYS)
        raise TaskExit from None


def unsigned(k: Kernel, ev: Event) -> Event:
    """The record of a thread has registers as signed numbers; addresses and unsigned longs are not."""
    row = k.table.get(ev[1])
    if row is None:
        return ev
    args = [v & M64 if w == U64 else v for v, w in zip(ev[2:], row.widths, strict=False)]
    return (ev[0], ev[1], *args)


def _invoke(k: Kernel, t: Task, row: Row, ev: Event) -> int:
    fn = row.handler
    assert fn is not None
    if k.strace is not None:
        return int(k.strace.call(t, row, list(ev[2:8])))
    n = len(row.widths)
    if n == 3:
        return fn(t, ev[2], ev[3], ev[4])
    if n == 2:
        return fn(t, ev[2], ev[3])
    if n == 1:
        return fn(t, ev[2])
    if n == 4:
        return fn(t, ev[2], ev[3], ev[4], ev[5])
    if n == 0:
        return fn(t)
    if n == 6:
        return fn(t, ev[2], ev[3], ev[4], ev[5], ev[6], ev[7])
    return fn(t, ev[2], ev[3], ev[4], ev[5], ev[6])


def finish(k: Kernel, t: Task, r: int) -> None:
    """Answers with ``r`` and lets the application go on, after what ``work`` asks for. Raises TaskExit."""
    if t.work or (-ERESTART_RESTARTBLOCK <= r <= -ERESTARTSYS):
        r = exit_to_user(k, t, r)
    th = t.thread
    th.used = 0
    if r == NO_REPLY:
        th.trap.resume()
    else:
        k.loop.reply(th.trap, r)


def _undo(t: Task) -> None:
    """The host refused a change of the map."""
    if t.undo is not None:
        mm, before = t.undo
        t.undo = None
        mm.map = before


def _bug(t: Task) -> None:
    """An exception nobody expected, outside a handler: it costs this one process its life."""
    log.exception("%s[%d]: on its way back", t.comm.decode("latin1"), t.tid)
    t.tg.kill(sg.SIGSYS)
    exit_task(t)


def _reply_failed(k: Kernel, th: HostThread, cret: int) -> None:
    """A host call that travelled with a reply failed: the map goes back and the call fails with its errno."""
    t = th.task
    if t is None:
        return
    _undo(t)
    th.used = 0
    try:
        finish(k, t, max(min(cret, -1), -4095))
    except TaskExit:
        exit_task(t)
    except Exception:
        _bug(t)


def _trap(k: Kernel, th: HostThread, kind: int) -> None:
    """A fault, a kick, or a system call of another architecture."""
    t = th.task
    if t is None:
        return
    ev = th.ev
    try:
        if kind == EV_FAULT:
            sig = ev[E_SIG]
            if t.newborn:
                ptrace.born(t)
                finish_trap(k, t, (0, 0, 0))
                return
            if sig == sg.SIGILL and k.patcher is not None and t.mm.patches:
                how = k.patcher.emulate(t)
                if how == 1:
                    lib.nv_decode(th.cdata)
                    finish(k, t, call(k, t, unsigned(k, _EVENT(ev))))
                    return
                if how:
                    finish_trap(k, t, (0, 0, 0))
                    return
            if sig not in (sg.SIGSEGV, sg.SIGBUS, sg.SIGFPE, sg.SIGILL, sg.SIGTRAP):
                sig = sg.SIGSEGV
            if (
                sig == sg.SIGSEGV
                and ev[E_CODE] == sg.SEGV_MAPERR
                and t.mm.grow(t, ev[E_ADDR] & M64)
            ):
                finish_trap(k, t, (0, 0, 0))
                return
            if sig == sg.SIGSEGV and ev[E_ERR] & WRITE_FAULT and t.mm.held(t, ev[E_ADDR] & M64):
                finish_trap(k, t, (0, 0, 0))
                return
            if sig == sg.SIGSEGV and ev[E_CODE] == sg.SEGV_PKUERR:
                if not ev[E_ERR] & WRITE_FAULT and _shown(k, t, ev[E_ADDR] & M64):
                    finish_trap(k, t, (0, 0, 0))
                    return
                # The key is ours: to the application the text is one that can't be written
                ev[E_CODE] = sg.SEGV_ACCERR
                ev[E_ERR] &= ~PKEY_FAULT
            info = sg.SigInfo(sig, ev[E_CODE])
            info.addr = ev[E_ADDR]
            fault = (ev[E_TRAPNO], ev[E_ERR], ev[E_ADDR])
            sg.force(t, info)
            finish_trap(k, t, fault)
        elif kind == EV_BADARCH:
            t.thread.regs[RAX] = ENOSYS & 0xFFFFFFFF
            finish_trap(k, t, (0, 0, 0))
        else:
            finish_trap(k, t, (0, 0, 0))
    except TaskExit:
        exit_task(t)
    except Exception:
        _bug(t)


def _shown(k: Kernel, t: Task, addr: int) -> bool:
    """Whether a program that read patched text at ``addr`` has its own there now."""
    try:
        return k.patcher is not None and k.patcher.show(t, addr, addr + 1)
    except SysErr:  # the host can't
        return False


def finish_trap(k: Kernel, t: Task, fault: tuple[int, int, int]) -> None:
    """Goes on with the registers as they are."""
    t.orig_nr = -1
    if t.work:
        exit_to_user(k, t, NO_REPLY, fault)
    t.thread.used = 0
    t.thread.trap.resume()


def exit_to_user(k: Kernel, t: Task, r: int, fault: tuple[int, int, int] = (0, 0, 0)) -> int:
    """Signals, stops and restarts before the application goes on; the final rax or NO_REPLY. May suspend."""
    th = t.thread
    restart = -r if -ERESTART_RESTARTBLOCK <= r <= -ERESTARTSYS else 0
    if th.trap.queued and r != NO_REPLY and (restart or t.mm.visits or t.signal_pending()):
        # A visitor or a signal's frame takes their place in the window, and a call that fails is not restarted.
        try:
            th.run()
        except SysErr as e:
            _undo(t)
            r, restart = -e.errno, 0
    if r != NO_REPLY and not restart:
        th.regs[RAX] = r & 0xFFFF_FFFF_FFFF_FFFF
    while True:
        if t.exiting:
            raise TaskExit
        t.work = False
        if t.mm.visits:
            run_visits(t)
            continue
        if t.tg.core is not None:
            coredump.hold(t)
        if t.stop_pending:
            _stop(t)
            continue
        tr = t.tracee
        if tr is not None:
            if tr.interrupted:
                ptrace.interrupt_stop(t)
                continue
            if restart:
                th.regs[RAX] = -restart & M64
        info = t.dequeue_signal(~t.blocked)
        if info is None:
            break
        if tr is not None:
            info = ptrace.signal_stop(t, info)
            if info is None:
                continue
        act = t.tg.sighand.get(info.signo)
        if act.handler == sg.SIG_IGN:
            continue
        if act.handler == sg.SIG_DFL:
            _default_action(k, t, info)
            continue
        if restart:
            _before_handler(t, restart, act)
            restart = 0
        if act.flags & sg.SA_RESETHAND:
            t.tg.sighand.actions[info.signo] = act.reset()
        if not setup_frame(t, info, act, fault):
            if info.signo == sg.SIGSEGV:  # its own frame does not fit: no second chance
                t.tg.sighand.actions.pop(sg.SIGSEGV, None)
            sg.force(t, sg.SigInfo(sg.SIGSEGV, sg.SI_KERNEL))
        elif tr is not None and tr.mode == ptrace.STEP:
            ptrace.step_stop(t)
        r = NO_REPLY
    if restart:
        th.regs[RIP] -= SYSCALL_LEN
        if restart == ERESTART_RESTARTBLOCK:
            th.regs[RAX] = NR_RESTART
        else:
            th.regs[RAX] = t.orig_nr
    if t.saved_mask is not None:
        mask, t.saved_mask = t.saved_mask, None
        t.set_blocked(mask)
        if t.work:
            return exit_to_user(k, t, NO_REPLY, fault)
    return NO_REPLY


def _before_handler(t: Task, restart: int, act: sg.SigAction) -> None:
    """A handler interrupts a call that wants to be restarted: restart it after the handler, or EINTR."""
    regs = t.thread.regs
    if restart == ERESTARTNOINTR or (restart == ERESTARTSYS and act.flags & sg.SA_RESTART):
        regs[RIP] -= SYSCALL_LEN
        regs[RAX] = t.orig_nr
    else:
        regs[RAX] = -errno.EINTR & 0xFFFF_FFFF_FFFF_FFFF


def _default_action(k: Kernel, t: Task, info: sg.SigInfo) -> None:
    sig = info.signo
    b = sg.bit(sig)
    if b & sg.IGNORED:
        return
    if (
        t.tg.is_init
        and (t.tg.pidns.parent is None or not b & sg.KILL_STOP)
        and sig
        not in (
            sg.SIGSEGV,
            sg.SIGBUS,
            sg.SIGILL,
            sg.SIGFPE,
            sg.SIGTRAP,
            sg.SIGSYS,
        )
    ):
        return
    if b & sg.STOP_SIGNALS:
        if sig != sg.SIGSTOP and t.tg.pids.pgrp_orphaned(t.tg.pgid, t.tg.sid):
            return
        start_stop(t, sig)
        return
    status = sig
    if b & sg.CORE and coredump.dump(t, info):
        status |= 0x80
    if b & sg.CORE and log.isEnabledFor(logging.DEBUG):
        log.debug(
            "%s[%d]: killed by signal %d code %d addr %#x rip %#x", t.comm.decode("latin1"), t.tid, sig,
            info.code, info.addr, t.thread.regs[RIP],
        )  # fmt: skip
    look_last(t)
    ptrace.exit_stop(t, status)
    t.tg.kill(status)
    raise TaskExit


def start_stop(t: Task, sig: int) -> None:
    """Group stop: every thread stops when it comes by here."""
    for u in t.tg.tasks.values():
        u.stop_pending = sig
        if u is not t:
            u.notify_signal()
    t.work = True


def _stop(t: Task) -> None:
    tg = t.tg
    sig = t.stop_pending
    if not tg.stopped:
        tg.stopped = True
        tg.stop_code = sig
        tg.stop_reported = False
        tg.notify_parent(sg.CLD_STOPPED, sig)
    while t.stop_pending and not t.exiting:
        if t.tracee is not None:
            ptrace.group_stop(t)
        else:
            t.wait(tg.stop_queue, interruptible=False, soon=False)
    if tg.stopped and t.tracee is not None and not any(u.stop_pending for u in tg.tasks.values()):
        tg.stopped = False  # its tracer lets it go on
