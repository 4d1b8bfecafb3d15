"""Signals: numbers, siginfo, queues, actions (Linux: kernel/signal.c; signal(7), sigaction(2)).

Sending is here, delivery in ``kernel/deliver.py``. Masks are ints with bit ``sig - 1``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, final

from .wait import WaitQueue

if TYPE_CHECKING:
    from .task import Task, ThreadGroup

SIGHUP: Final = 1
SIGINT: Final = 2
SIGQUIT: Final = 3
SIGILL: Final = 4
SIGTRAP: Final = 5
SIGABRT: Final = 6
SIGBUS: Final = 7
SIGFPE: Final = 8
SIGKILL: Final = 9
SIGUSR1: Final = 10
SIGSEGV: Final = 11
SIGUSR2: Final = 12
SIGPIPE: Final = 13
SIGALRM: Final = 14
SIGTERM: Final = 15
SIGSTKFLT: Final = 16
SIGCHLD: Final = 17
SIGCONT: Final = 18
SIGSTOP: Final = 19
SIGTSTP: Final = 20
SIGTTIN: Final = 21
SIGTTOU: Final = 22
SIGURG: Final = 23
SIGXCPU: Final = 24
SIGXFSZ: Final = 25
SIGVTALRM: Final = 26
SIGPROF: Final = 27
SIGWINCH: Final = 28
SIGIO: Final = 29
SIGPWR: Final = 30
SIGSYS: Final = 31
SIGRTMIN: Final = 32
NSIG: Final = 64


def bit(sig: int) -> int:
    return 1 << (sig - 1)


def bits(*sigs: int) -> int:
    m = 0
    for s in sigs:
        m |= 1 << (s - 1)
    return m


KILL_STOP: Final = bits(SIGKILL, SIGSTOP)
STOP_SIGNALS: Final = bits(SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)
IGNORED: Final = bits(SIGCONT, SIGCHLD, SIGWINCH, SIGURG)
SYNCHRONOUS: Final = bits(SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS)
CORE: Final = bits(
    SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS
)

SIG_DFL: Final = 0
SIG_IGN: Final = 1
SA_NOCLDSTOP: Final = 1
SA_NOCLDWAIT: Final = 2
SA_SIGINFO: Final = 4
SA_RESTORER: Final = 0x04000000
SA_ONSTACK: Final = 0x08000000
SA_RESTART: Final = 0x10000000
SA_NODEFER: Final = 0x40000000
SA_RESETHAND: Final = 0x80000000
SA_FLAGS: Final = 0xDC000007 | 0x00000800

SI_USER: Final = 0
SI_KERNEL: Final = 0x80
SEGV_MAPERR: Final = 1
SEGV_ACCERR: Final = 2
SEGV_PKUERR: Final = 4
SI_QUEUE: Final = -1
SI_TIMER: Final = -2
SI_MESGQ: Final = -3
SI_TKILL: Final = -6
SYS_SECCOMP: Final = 1
AUDIT_ARCH_X86_64: Final = 0xC000003E
CLD_EXITED: Final = 1
CLD_KILLED: Final = 2
CLD_DUMPED: Final = 3
CLD_TRAPPED: Final = 4
CLD_STOPPED: Final = 5
CLD_CONTINUED: Final = 6


@final
class SigInfo:
    """What siginfo_t carries. Which fields count depends on signo and code."""

    __slots__ = (
        "addr", "band", "code", "errno", "fd", "overrun", "pid", "raw", "signo", "status", "stime",
        "timerid", "uid", "utime", "value",
    )  # fmt: skip

    def __init__(self, signo: int, code: int = SI_KERNEL, pid: int = 0, uid: int = 0) -> None:
        self.signo = signo
        self.code = code
        self.errno = 0
        self.pid = pid
        self.uid = uid
        self.value = 0
        self.status = 0
        self.utime = self.stime = 0
        self.addr = 0
        self.band = 0
        self.fd = 0
        self.timerid = self.overrun = 0
        self.raw = b""  # rt_sigqueueinfo: the sender's own bytes

    def pack(self, t: Task) -> bytes:
        """The 128 bytes of siginfo_t (asm-generic/siginfo.h), as ``t`` sees the sender."""
        pid, uid = t.tg.pidns.number(self.pid), t.creds.userns.uid_out(self.uid)
        head = struct.pack("<iiii", self.signo, self.errno, self.code, 0)
        if self.raw:
            return (head[:12] + self.raw[12:]).ljust(128, b"\0")[:128]
        s, c = self.signo, self.code
        if c == SI_TIMER:
            body = struct.pack("<iiQ", self.timerid, self.overrun, self.value & (2**64 - 1))
        elif s == SIGCHLD and c > 0 and c != SI_KERNEL:
            body = struct.pack("<iIiiqq", pid, uid, self.status, 0, self.utime, self.stime)
        elif s == SIGSYS and c == SYS_SECCOMP:
            body = struct.pack("<QiI", self.addr, self.status, AUDIT_ARCH_X86_64)
        elif bit(s) & SYNCHRONOUS and c > 0 and c != SI_KERNEL:
            body = struct.pack("<Q", self.addr & (2**64 - 1))
        elif (s == SIGIO or self.band) and c > 0 and c != SI_KERNEL:
            body = struct.pack("<qi", self.band, self.fd)
        else:
            body = struct.pack("<iIQ", pid, uid, self.value & (2**64 - 1))
        return (head + body).ljust(128, b"\0")

    @staticmethod
    def unpack(data: bytes) -> SigInfo:
        """From the application's siginfo_t (rt_sigqueueinfo)."""
        signo, err, code = struct.unpack_from("<iii", data)
        pid, uid, value = struct.unpack_from("<iIQ", data, 16)
        info = SigInfo(signo, code, pid, uid)
        info.errno = err
        info.value = value
        info.raw = data
        return info


@final
class SigAction:
    """struct sigaction of one signal."""

    __slots__ = ("flags", "handler", "mask", "restorer")

    def __init__(
        self, handler: int = SIG_DFL, flags: int = 0, restorer: int = 0, mask: int = 0
    ) -> None:
        self.handler = handler
        self.flags = flags
        self.restorer = restorer
        self.mask = mask

    def reset(self) -> SigAction:
        """SA_RESETHAND: the handler goes, the rest is still there to be asked for."""
        return SigAction(SIG_DFL, self.flags, self.restorer, self.mask)


DEFAULT_ACTION: Final = SigAction()


@final
class SigHandlers:
    """The actions of a thread group (sighand_struct), shared by CLONE_SIGHAND."""

    __slots__ = ("actions",)

    def __init__(self) -> None:
        self.actions: dict[int, SigAction] = {}

    def get(self, sig: int) -> SigAction:
        return self.actions.get(sig, DEFAULT_ACTION)

    def copy(self) -> SigHandlers:
        new = SigHandlers()
        new.actions = dict(self.actions)
        return new

    def reset_for_exec(self) -> None:
        """Caught signals go back to default, ignored ones stay ignored."""
        self.actions = {
            s: SigAction(SIG_IGN) for s, a in self.actions.items() if a.handler == SIG_IGN
        }


@final
class Pending:
    """A queue of pending signals. Standard signals are held once, real-time ones queue."""

    __slots__ = ("infos", "mask")

    def __init__(self) -> None:
        self.infos: list[SigInfo] = []
        self.mask = 0

    def add(self, info: SigInfo) -> bool:
        """False: a standard signal that was pending already."""
        b = 1 << (info.signo - 1)
        if info.signo < SIGRTMIN and self.mask & b:
            return False
        self.infos.append(info)
        self.mask |= b
        return True

    def take(self, allowed: int) -> SigInfo | None:
        """The next one: synchronous faults first, then the lowest number."""
        ready = self.mask & allowed
        if not ready:
            return None
        sync = ready & SYNCHRONOUS
        if sync:
            ready = sync
        sig = (ready & -ready).bit_length()
        found: SigInfo | None = None
        more = False
        for i in self.infos:
            if i.signo == sig:
                if found is None:
                    found = i
                else:
                    more = True
                    break
        if found is None:
            self.mask &= ~bit(sig)
            return None
        self.infos.remove(found)
        if not more:
            self.mask &= ~bit(sig)
        return found

    def discard(self, mask: int) -> None:
        if self.mask & mask:
            self.infos = [i for i in self.infos if not bit(i.signo) & mask]
            self.mask &= ~mask


def is_ignored(tg: ThreadGroup, sig: int) -> bool:
    """Whether sending ``sig`` has no effect (it is still queued while blocked)."""
    h = tg.sighand.get(sig).handler
    if h == SIG_IGN:
        return True
    return h == SIG_DFL and bool(bit(sig) & IGNORED)


def force(t: Task, info: SigInfo) -> None:
    """A fault's signal: one that is blocked or ignored is delivered with the default action."""
    act = t.tg.sighand.get(info.signo)
    b = bit(info.signo)
    if t.blocked & b or act.handler == SIG_IGN:
        t.tg.sighand.actions.pop(info.signo, None)
        t.blocked &= ~b
    t.pending.discard(b)
    t.pending.add(info)
    t.work = True


def send(tg: ThreadGroup, target: Task | None, info: SigInfo, force: bool = False) -> None:
    """Queues ``info`` for a thread (``target``) or for the whole group, and wakes who should take it."""
    sig = info.signo
    if sig == 0 or tg.dead:
        return
    tasks = [target] if target else list(tg.tasks.values())
    blocked_by_all = bool(tasks) and all((t.blocked | t.real_blocked) & bit(sig) for t in tasks)
    if (
        tg.is_init
        and not force
        and tg.sighand.get(sig).handler == SIG_DFL
        and not bit(sig) & IGNORED
        and not blocked_by_all
    ):
        # pid 1 gets only what it handles, or may handle by the time it is unblocked; SIGKILL and SIGSTOP from inside do nothing
        if not bit(sig) & KILL_STOP or tg.pidns.number(info.pid):
            return
        if tg.pidns.parent is None:
            return
    if bit(sig) & STOP_SIGNALS:
        tg.discard_pending(bit(SIGCONT))
    elif sig == SIGCONT:
        tg.discard_pending(STOP_SIGNALS)
        tg.continue_()
    elif sig == SIGKILL:
        tg.continue_(report=False)
    if sig == SIGKILL:
        tg.kill(sig)
        return
    if not blocked_by_all and is_ignored(tg, sig) and all(t.tracee is None for t in tasks):
        return
    queue = target.pending if target is not None else tg.pending
    if len(queue.infos) >= MAX_QUEUED or not queue.add(info):
        return
    if target is not None:
        wake(target, sig)
    else:
        _wake_one(tg, sig)


MAX_QUEUED: Final = 4096


def _wake_one(tg: ThreadGroup, sig: int) -> None:
    """Chooses the thread that takes a group signal: the leader if it wants it, else any that does."""
    candidates = [t for t in tg.tasks.values() if not t.exiting]
    for t in candidates:
        t.signal_queue.wake()
        if t.tid == tg.pid and not t.blocked & bit(sig):
            wake(t, sig)
            return
    for t in candidates:
        if not t.blocked & bit(sig):
            wake(t, sig)
            return


def wake(t: Task, sig: int) -> None:
    t.signal_queue.wake()
    if not t.blocked & bit(sig):
        t.notify_signal()


__all__ = ["SigAction", "SigHandlers", "SigInfo", "WaitQueue", "send"]
