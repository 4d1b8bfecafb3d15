"""ptrace(2) (Linux: kernel/ptrace.c, arch/x86/kernel/ptrace.c): requests of tracers, checked and carried out."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ...platform.interface import (
    EFL,
    R8,
    R9,
    R10,
    RAX,
    RDI,
    RDX,
    RIP,
    RSI,
    RSP,
)
from ...platform.native._native import lib
from ..errors import SysErr
from ..fs.proc_access import check_access
from ..kernel import ptrace as pt
from ..kernel import signal as sg
from ..kernel.deliver import EFL_USER, checked_fp
from ..kernel.regset import (
    ARCH_GET_FS,
    ARCH_SET_FS,
    FS_BASE,
    FXSAVE,
    GS_BASE,
    M64,
    NT_PRFPREG,
    NT_PRSTATUS,
    NT_X86_XSTATE,
    ORIG_RAX,
    REGS,
    USER_REGS,
    arch_prctl,
    read_state,
    state_area,
    user_regs,
)
from ..kernel.remote import access
from ..mm.mm import TASK_SIZE
from .decode import CLong, CULong, Table, partial

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..mm.mm import MM

USER_SIZE: Final = 912 + 16  # struct user
DEBUG_REGS: Final = range(848, 912)
AUDIT_ARCH_X86_64: Final = 0xC000003E
MAX_STATE: Final = 1 << 16

Request = Callable[["Task", "Task", pt.Tracee, int, int], int]


def sys_ptrace(t: Task, request: CLong, pid: CLong, addr: CULong, data: CULong) -> int:
    """ptrace(2); PEEK requests store the word at ``data``."""
    if request == 0:
        return _traceme(t)
    u = t.tg.pidns.task(pid)
    if u is None:
        raise SysErr(errno.ESRCH)
    if request == 16:  # PTRACE_ATTACH
        return _attach(t, u, False, 0)
    if request == 0x4206:  # PTRACE_SEIZE
        if addr or data & ~pt.OPTIONS:
            raise SysErr(errno.EIO)
        return _attach(t, u, True, data)
    tr = u.tracee
    if tr is None or tr.tracer is not t:
        raise SysErr(errno.ESRCH)
    if request == 8:  # PTRACE_KILL
        if tr.stopped:
            u.tg.send_signal(sg.SIGKILL)
        return 0
    if request == 0x4207:  # PTRACE_INTERRUPT
        if not tr.seized:
            raise SysErr(errno.EIO)
        pt.interrupt(u, tr)
        return 0
    if not tr.stopped or tr.listening:
        raise SysErr(errno.ESRCH)
    fn = REQUESTS.get(request)
    if fn is None:
        raise SysErr(errno.EIO)
    return fn(t, u, tr, addr, data)


def _traceme(t: Task) -> int:
    parent = t.tg.parent
    tracer = parent.tasks.get(parent.pid) if parent is not None else None
    if t.tracee is not None or tracer is None:
        raise SysErr(errno.EPERM)
    pt.attach(tracer, t, False, 0)
    return 0


def _attach(t: Task, u: Task, seize: bool, options: int) -> int:
    if u.tg is t.tg or u.tracee is not None or u.exiting:
        raise SysErr(errno.EPERM)
    try:
        check_access(t, u.tg)
    except SysErr:
        raise SysErr(errno.EPERM) from None
    pt.attach(t, u, seize, options)
    if u.tg.stopped:
        u.tg.stop_queue.wake()  # it stops anew, as a tracee
    elif not seize:
        sg.send(u.tg, u, sg.SigInfo(sg.SIGSTOP, sg.SI_USER))
    return 0


# Going on
def _signal(data: int) -> int:
    if data > sg.NSIG:
        raise SysErr(errno.EIO)
    return data


def _cont(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    pt.resume(u, tr, pt.CONT, _signal(data))
    return 0


def _syscall(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    pt.resume(u, tr, pt.SYSCALL, _signal(data))
    return 0


def _singlestep(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    pt.resume(u, tr, pt.STEP, _signal(data))
    return 0


def _detach(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    pt.detach(u, _signal(data))
    return 0


def _listen(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    if not tr.seized or tr.code >> 8 != pt.EVENT_STOP:
        raise SysErr(errno.EIO)
    tr.listening = True
    tr.reported = True
    tr.queue.wake()
    return 0


# Memory
def _peek(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    try:
        word = access(t, _memory(u), lambda a: a.read(addr, 8, True))
    except SysErr:
        word = b""
    if len(word) != 8:
        raise SysErr(errno.EIO)
    t.copy_out(data, word)
    return 0


def _poke(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    raw = data.to_bytes(8, "little")
    try:
        n = access(t, _memory(u), lambda a: a.write(addr, raw, True))
    except SysErr:
        n = 0
    if n != 8:
        raise SysErr(errno.EIO)
    return 0


def _memory(u: Task) -> MM:
    mm = u.memory()
    if mm is None:
        raise SysErr(errno.EIO)
    return mm


# Registers
def _set_regs(u: Task, new: list[int]) -> None:
    old = user_regs(u)
    regs = u.thread.regs if u.has_thread() else u.lent
    if regs is None:
        raise SysErr(errno.EIO)
    for i, v in zip(USER_REGS, new, strict=False):
        if (i == FS_BASE or i == GS_BASE) and v >= TASK_SIZE:
            raise SysErr(errno.EIO)
    for n, i in enumerate(USER_REGS[: len(new)]):
        v = new[n]
        if i == EFL:
            regs[EFL] = (regs[EFL] & ~EFL_USER) | (v & EFL_USER) | 0x202
        elif i >= 0:
            regs[i] = v
        elif i == ORIG_RAX:
            v &= 0xFFFFFFFF
            u.orig_nr = v - (1 << 32) if v >> 31 else v
        elif i == FS_BASE and v != old[n] and u.has_thread():
            arch_prctl(u, ARCH_SET_FS, v)


def _getregs(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    t.copy_out(data, REGS.pack(*user_regs(u)))
    return 0


def _setregs(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    _set_regs(u, list(REGS.unpack(t.copy_in(data, REGS.size))))
    return 0


def _peekuser(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    if addr & 7 or addr >= USER_SIZE:
        raise SysErr(errno.EIO)
    v = user_regs(u)[addr // 8] if addr < REGS.size else 0
    t.copy_out(data, v.to_bytes(8, "little"))
    return 0


def _pokeuser(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    if addr & 7 or addr >= USER_SIZE:
        raise SysErr(errno.EIO)
    if addr < REGS.size:
        new = user_regs(u)
        new[addr // 8] = data
        _set_regs(u, new)
    elif addr not in DEBUG_REGS or data:  # no hardware breakpoints
        raise SysErr(errno.EIO)
    return 0


def _write_state(u: Task, kind: int, new: bytes) -> None:
    off, size = state_area(u)
    th = u.thread
    old = bytes(th.mem[off : off + size])
    if kind == NT_PRFPREG:
        th.mem[off : off + 464] = new[:464]
    else:
        if len(new) != lib.nv_xstate_all() or len(new) < size - 4:
            raise SysErr(errno.EFAULT)
        new = new[:464] + old[464:512] + new[512 : size - 4] + old[size - 4 :]
        th.mem[off : off + size] = checked_fp(new, old[464:512])
    th.store_fp()


def _getfpregs(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    t.copy_out(data, read_state(u, NT_PRFPREG))
    return 0


def _setfpregs(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    _write_state(u, NT_PRFPREG, t.copy_in(data, FXSAVE))
    return 0


def _regset(t: Task, data: int) -> tuple[int, int]:
    base, size = struct.unpack("<QQ", t.copy_in(data, 16))
    return base, size


def _getregset(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    base, size = _regset(t, data)
    if addr == NT_PRSTATUS:
        raw = REGS.pack(*user_regs(u))
    elif addr in (NT_PRFPREG, NT_X86_XSTATE):
        raw = read_state(u, addr)
    else:
        raise SysErr(errno.EINVAL)
    if size % 8:
        raise SysErr(errno.EINVAL)
    raw = raw[:size]
    t.copy_out(base, raw)
    t.copy_out(data + 8, len(raw).to_bytes(8, "little"))
    return 0


def _setregset(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    base, size = _regset(t, data)
    if size % 8 or addr not in (NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE):
        raise SysErr(errno.EINVAL)
    if addr == NT_PRSTATUS:
        n = min(size // 8, 27)
        _set_regs(u, list(struct.unpack(f"<{n}Q", t.copy_in(base, 8 * n))))
        size = 8 * n
    else:
        raw = t.copy_in(base, min(size, MAX_STATE))
        if addr == NT_PRFPREG and len(raw) < FXSAVE:
            raise SysErr(errno.EIO)
        _write_state(u, addr, raw)
    t.copy_out(data + 8, size.to_bytes(8, "little"))
    return 0


def _arch_prctl(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    """PTRACE_ARCH_PRCTL: ``data`` is the code."""
    if data == ARCH_GET_FS:
        t.copy_out(addr, arch_prctl(u, ARCH_GET_FS, 0).to_bytes(8, "little"))
        return 0
    raise SysErr(errno.EINVAL)


# About the stop
def _setoptions(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    if data & ~pt.OPTIONS:
        raise SysErr(errno.EINVAL)
    tr.options = data
    return 0


def _geteventmsg(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    t.copy_out(data, tr.message.to_bytes(8, "little"))
    return 0


def _getsiginfo(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    if tr.info is None:
        raise SysErr(errno.EINVAL)
    t.copy_out(data, tr.info.pack(t))
    return 0


def _setsiginfo(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    new = sg.SigInfo.unpack(t.copy_in(data, 128))
    if tr.info is None or not 0 < new.signo <= sg.NSIG:
        raise SysErr(errno.EINVAL)
    tr.info = new
    return 0


def _getsigmask(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    if addr != 8:
        raise SysErr(errno.EINVAL)
    mask = u.saved_mask if u.saved_mask is not None else u.blocked
    t.copy_out(data, mask.to_bytes(8, "little"))
    return 0


def _setsigmask(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    if addr != 8:
        raise SysErr(errno.EINVAL)
    u.saved_mask = None
    u.set_blocked(int.from_bytes(t.copy_in(data, 8), "little"))
    return 0


def _syscall_info(t: Task, u: Task, tr: pt.Tracee, addr: int, data: int) -> int:
    """PTRACE_GET_SYSCALL_INFO: ``addr`` is the size of the buffer."""
    r = user_regs(u)
    regs = dict(zip(USER_REGS[:22], r, strict=False))
    buf = struct.pack("<BxxxIQQ", tr.op, AUDIT_ARCH_X86_64, regs[RIP], regs[RSP])
    if tr.op in (pt.ENTRY, pt.SECCOMP):
        args = [regs[i] for i in (RDI, RSI, RDX, R10, R8, R9)]
        buf += struct.pack("<7Q", regs[ORIG_RAX], *args)
        if tr.op == pt.SECCOMP:
            buf += struct.pack("<I4x", tr.message)
    elif tr.op == pt.EXIT:
        buf += struct.pack("<QB", regs[RAX], regs[RAX] > M64 - 4095)
    t.copy_out(data, buf[:addr])
    return len(buf)


REQUESTS: Final[dict[int, Request]] = {
    1: _peek, 2: _peek, 3: _peekuser, 4: _poke, 5: _poke, 6: _pokeuser, 7: _cont, 9: _singlestep, 12: _getregs,
    13: _setregs, 14: _getfpregs, 15: _setfpregs, 17: _detach, 24: _syscall, 30: _arch_prctl,
    0x4200: _setoptions, 0x4201: _geteventmsg, 0x4202: _getsiginfo, 0x4203: _setsiginfo, 0x4204: _getregset,
    0x4205: _setregset, 0x4208: _listen, 0x420A: _getsigmask, 0x420B: _setsigmask, 0x420E: _syscall_info,
}  # fmt: skip

TABLE: Final[Table] = {
    101: partial("ptrace", sys_ptrace, "hardware breakpoints, system call emulation, PEEKSIGINFO")
}
