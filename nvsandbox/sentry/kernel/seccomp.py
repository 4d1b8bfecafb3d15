"""Filters that a program puts on its own system calls (Linux: kernel/seccomp.c, net/core/filter.c; seccomp(2)).

A filter is a program for the classic BPF machine that looks at a ``struct seccomp_data``. What it says about a call whose
arguments it did not look at is remembered by number, so that it runs once for most calls. Left out: listeners.
"""

from __future__ import annotations

import errno
import logging
import struct
from typing import TYPE_CHECKING, Final, final

from ...platform.interface import R8, R9, R10, RAX, RDI, RDX, RIP, RSI
from ..errors import NO_REPLY, TaskExit
from . import coredump, ptrace
from . import signal as sg
from .cbpf import SECCOMP_DATA, Insn, run

if TYPE_CHECKING:
    from .task import Task

log = logging.getLogger("nvsandbox.sentry")

MODE_STRICT: Final = 1
MODE_FILTER: Final = 2
RET_KILL_PROCESS: Final = 0x80000000
RET_KILL_THREAD: Final = 0
RET_TRAP: Final = 0x00030000
RET_ERRNO: Final = 0x00050000
RET_TRACE: Final = 0x7FF00000
RET_LOG: Final = 0x7FFC0000
RET_ALLOW: Final = 0x7FFF0000
ACTIONS: Final = (
    RET_KILL_PROCESS, RET_KILL_THREAD, RET_TRAP, RET_ERRNO, RET_TRACE, RET_LOG, RET_ALLOW,
)  # fmt: skip
NAMES: Final = b"kill_process kill_thread trap errno trace log allow"
ACTION: Final = 0xFFFF0000
DATA: Final = 0xFFFF
MAX_ERRNO: Final = 4095
MAX_TOTAL: Final = 32768  # instructions of all filters of a task, four more counted for each
MAX_CACHED: Final = 1024  # numbers whose answer is remembered
STRICT: Final = (0, 1, 60, 15)  # read, write, exit, rt_sigreturn
ARGS: Final = 2  # words of it that are the same for every call of a number
ENOSYS: Final = -errno.ENOSYS
GO_ON: Final = NO_REPLY + 1
CHANGED: Final = NO_REPLY + 2

WORDS: Final = struct.Struct("<iI7Q")


@final
class Filter:
    """One program, and those before it. Tasks share filters as they inherit them; a filter never changes."""

    __slots__ = ("cache", "count", "log", "previous", "program", "total")

    def __init__(self, program: list[Insn], previous: Filter | None, log: bool) -> None:
        self.program = program
        self.previous = previous
        self.log = log  # SECCOMP_FILTER_FLAG_LOG
        self.cache: dict[int, int] = {}
        self.count: int = previous.count + 1 if previous is not None else 1
        self.total: int = len(program) + (previous.total + 4 if previous is not None else 0)

    def allows(self, nr: int) -> bool:
        """Whether it and those before it are known to allow the call whatever its arguments."""
        f: Filter | None = self
        while f is not None:
            if f.cache.get(nr, 0) & ACTION != RET_ALLOW:
                return False
            f = f.previous
        return True

    def is_ancestor_of(self, f: Filter | None) -> bool:
        while f is not None and f is not self:
            f = f.previous
        return f is self


@final
class _Data:
    """struct seccomp_data, little-endian, and whether the number alone decides what a program says."""

    __slots__ = ("simple", "words")

    def __init__(self, words: tuple[int, ...]) -> None:
        self.words = words
        self.simple = True

    def length(self) -> int:
        return SECCOMP_DATA

    def load(self, at: int, size: int) -> int:
        at >>= 2
        if at >= ARGS:
            self.simple = False
        return self.words[at]


def _verdict(t: Task, nr: int) -> tuple[int, bool]:
    """(the strictest answer of all filters, whether the filter that gave it wants it logged)."""
    result, logged = RET_ALLOW, False
    words: tuple[int, ...] = ()
    f = t.filter
    while f is not None:
        r = f.cache.get(nr, -1)
        if r < 0:
            if not words:
                words = _words(t, nr)
            data = _Data(words)
            r = run(f.program, data)
            if data.simple and len(f.cache) < MAX_CACHED:
                f.cache[nr] = r
        if _rank(r) < _rank(result):
            result, logged = r, f.log
        f = f.previous
    return result, logged


def _rank(r: int) -> int:
    """Actions compare as signed numbers, RET_KILL_PROCESS being the least."""
    r &= ACTION
    return r - (1 << 32) if r >> 31 else r


def _words(t: Task, nr: int) -> tuple[int, ...]:
    r = t.thread.regs
    raw = WORDS.pack(nr, sg.AUDIT_ARCH_X86_64, r[RIP], r[RDI], r[RSI], r[RDX], r[R10], r[R8], r[R9])
    return struct.unpack("<16I", raw)


def check(t: Task, nr: int, again: bool) -> int:
    """Before the call ``nr`` is made: GO_ON, or the value for rax or NO_REPLY; CHANGED when a tracer may have changed it: then it
    is checked ``again``. May suspend. Raises TaskExit."""
    if t.seccomp == MODE_STRICT:
        if nr in STRICT:
            return GO_ON
        t.tg.kill(sg.SIGKILL)
        raise TaskExit
    r, logged = _verdict(t, nr)
    action, data = r & ACTION, r & DATA
    if action == RET_ALLOW:
        return GO_ON
    if logged or action == RET_LOG:
        log.info("%s[%d]: seccomp: call %d, %#x", t.comm.decode("latin1"), t.tid, nr, r)
    if action == RET_LOG:
        return GO_ON
    if action == RET_ERRNO:
        return -min(data, MAX_ERRNO)
    if action == RET_TRAP:
        return trap(t, nr, data)
    if action == RET_TRACE:
        return GO_ON if again else _trace(t, data)
    if action == RET_KILL_THREAD and len(t.tg.tasks) > 1:
        t.exit_code = sg.SIGSYS
        raise TaskExit
    info = sg.SigInfo(sg.SIGSYS, sg.SYS_SECCOMP)
    info.errno, info.addr, info.status = data, t.thread.regs[RIP], nr
    t.tg.kill(sg.SIGSYS | 0x80 if coredump.dump(t, info) else sg.SIGSYS)
    raise TaskExit


def _trace(t: Task, data: int) -> int:
    """SECCOMP_RET_TRACE: its tracer decides. May suspend."""
    tr = t.tracee
    if tr is None or not tr.options & ptrace.PTRACE_O_TRACESECCOMP:
        return ENOSYS
    t.thread.regs[RAX] = ENOSYS & (1 << 64) - 1
    tr.op = ptrace.SECCOMP
    ptrace.event_stop(t, ptrace.EVENT_SECCOMP, data)
    if t.orig_nr >= 0:
        return CHANGED
    left = t.thread.regs[RAX]  # it wants no call
    return left - (1 << 64) if left >> 63 else left


def trap(t: Task, nr: int, data: int) -> int:
    """SIGSYS instead of the call; its handler finds the registers as before it."""
    info = sg.SigInfo(sg.SIGSYS, sg.SYS_SECCOMP)
    info.errno = data
    info.addr = t.thread.regs[RIP]
    info.status = nr
    t.thread.regs[RAX] = nr & (1 << 64) - 1
    t.orig_nr = -1
    sg.force(t, info)
    return NO_REPLY
