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
from ..errors import NO_REPLY, SysErr, TaskExit
from . import coredump, ptrace
from . import signal as sg

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
MAX_INSNS: Final = 4096
MAX_TOTAL: Final = 32768  # instructions of all filters of a task, four more counted for each
MAX_CACHED: Final = 1024  # numbers whose answer is remembered
STRICT: Final = (0, 1, 60, 15)  # read, write, exit, rt_sigreturn
DATA_LEN: Final = 64  # struct seccomp_data
ARGS: Final = 2  # words of it that are the same for every call of a number
ENOSYS: Final = -errno.ENOSYS
GO_ON: Final = NO_REPLY + 1
CHANGED: Final = NO_REPLY + 2

INSN: Final = struct.Struct("<HBBI")  # struct sock_filter
WORDS: Final = struct.Struct("<iI7Q")
U32: Final = 0xFFFF_FFFF
# Classic BPF: class, size and mode, operation, source (linux/bpf_common.h)
ST: Final = 2
STX: Final = 3
ALU: Final = 4
JMP: Final = 5
RET: Final = 6
LD_ABS: Final = 0x20
LD_LEN: Final = 0x80
LDX_LEN: Final = 0x81
LD_IMM: Final = 0x00
LDX_IMM: Final = 0x01
LD_MEM: Final = 0x60
LDX_MEM: Final = 0x61
TAX: Final = 0x07
TXA: Final = 0x87
NEG: Final = 0x84
JA: Final = 0x05
RET_K: Final = 0x06
RET_A: Final = 0x16
ADD: Final = 0x00
SUB: Final = 0x10
MUL: Final = 0x20
DIV: Final = 0x30
OR: Final = 0x40
AND: Final = 0x50
LSH: Final = 0x60
RSH: Final = 0x70
XOR: Final = 0xA0
MOD: Final = 0x90
JEQ: Final = 0x10
JGT: Final = 0x20
JGE: Final = 0x30
JSET: Final = 0x40
SOURCE_X: Final = 8
ALU_OPS: Final = (ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, XOR)
JUMPS: Final = (JEQ, JGT, JGE, JSET)
KNOWN: Final = frozenset((
    LD_ABS, LD_LEN, LDX_LEN, LD_IMM, LDX_IMM, LD_MEM, LDX_MEM, ST, STX, TAX, TXA, NEG, JA, RET_K, RET_A,
    *(ALU | op | x for op in ALU_OPS for x in (0, SOURCE_X)), *(JMP | op | x for op in JUMPS for x in (0, SOURCE_X)),
))  # fmt: skip

Insn = tuple[int, int, int, int]


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

    def is_ancestor_of(self, f: Filter | None) -> bool:
        while f is not None and f is not self:
            f = f.previous
        return f is self


def parse(raw: bytes, loads: frozenset[int] = frozenset()) -> list[Insn]:
    """The instructions, checked as Linux checks them before it runs any. ``loads``: those that only a socket's filter may have, none
    for one of system calls. Raises EINVAL."""
    program = [INSN.unpack_from(raw, at) for at in range(0, len(raw), INSN.size)]
    n = len(program)
    if n == 0 or program[-1][0] not in (RET_K, RET_A):
        raise SysErr(errno.EINVAL)
    # Which cells of memory are surely written when an instruction is reached
    written = [0xFFFF] * n
    now = 0
    for pc, (code, jt, jf, k) in enumerate(program):
        if code not in KNOWN and code not in loads:
            raise SysErr(errno.EINVAL)
        now &= written[pc]
        if code == LD_ABS:
            if not loads and (k >= DATA_LEN or k & 3):
                raise SysErr(errno.EINVAL)
        elif (code in (ALU | DIV, ALU | MOD) and k == 0) or (
            code in (ALU | LSH, ALU | RSH) and k >= 32
        ):
            raise SysErr(errno.EINVAL)
        elif code in (ST, STX):
            if k >= 16:
                raise SysErr(errno.EINVAL)
            now |= 1 << k
        elif code in (LD_MEM, LDX_MEM):
            if k >= 16 or not now >> k & 1:
                raise SysErr(errno.EINVAL)
        elif code == JA:
            if k >= n - pc - 1:
                raise SysErr(errno.EINVAL)
            written[pc + 1 + k] &= now
            now = 0xFFFF
        elif code & 7 == JMP:
            if pc + 1 + max(jt, jf) >= n:
                raise SysErr(errno.EINVAL)
            written[pc + 1 + jt] &= now
            written[pc + 1 + jf] &= now
            now = 0xFFFF
    return program


def _run(program: list[Insn], words: tuple[int, ...]) -> tuple[int, bool]:
    """(what it returns, whether the number alone decided that). ``words``: struct seccomp_data's, little-endian."""
    a = x = pc = 0
    simple = True
    mem = [0] * 16
    while True:
        code, jt, jf, k = program[pc]
        pc += 1
        kind = code & 7
        if kind == JMP:
            if code == JA:
                pc += k
                continue
            v = x if code & SOURCE_X else k
            op = code & 0x70
            if op == JEQ:
                yes = a == v
            elif op == JGT:
                yes = a > v
            elif op == JGE:
                yes = a >= v
            else:
                yes = bool(a & v)
            pc += jt if yes else jf
        elif code == LD_ABS:
            k >>= 2
            a = words[k]
            if k >= ARGS:
                simple = False
        elif kind == RET:
            return (k if code == RET_K else a), simple
        elif kind == ALU:
            if code == NEG:
                a = -a & U32
                continue
            v = x if code & SOURCE_X else k
            op = code & 0xF0
            if op == DIV and v == 0:
                return 0, simple
            a = alu(op, a, v)
        elif code == LD_IMM:
            a = k
        elif code == LDX_IMM:
            x = k
        elif code == LD_MEM:
            a = mem[k]
        elif code == LDX_MEM:
            x = mem[k]
        elif code == ST:
            mem[k] = a
        elif code == STX:
            mem[k] = x
        elif code == TAX:
            x = a
        elif code == TXA:
            a = x
        elif code == LD_LEN:
            a = DATA_LEN
        else:
            x = DATA_LEN


def alu(op: int, a: int, v: int) -> int:
    """An operation of the machine; the divisor is not 0."""
    if op == ADD:
        return (a + v) & U32
    if op == SUB:
        return (a - v) & U32
    if op == MUL:
        return (a * v) & U32
    if op == DIV:
        return a // v
    if op == OR:
        return a | v
    if op == AND:
        return a & v
    if op == XOR:
        return a ^ v
    if op == LSH:
        return (a << (v & 31)) & U32
    return a >> (v & 31)


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
            r, simple = _run(f.program, words)
            if simple and len(f.cache) < MAX_CACHED:
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
