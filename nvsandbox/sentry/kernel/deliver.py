"""Signal frames (Linux: arch/x86/kernel/signal_64.c; asm/sigcontext.h, asm/ucontext.h).

The frame a handler finds on its stack is Linux's to the byte, extended state included, since programs unwind through it and
change it. The extended state is copied from and to the host's own frame in the thread's slot: the application's vector registers are
there and nowhere else while the Sentry has the thread.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ...platform.interface import (
    E_FPOFF,
    EFL,
    NREG,
    RAX,
    RDI,
    RDX,
    RIP,
    RSI,
    RSP,
    SLOT_SIZE,
)
from ..errors import SysErr
from . import signal as sg

if TYPE_CHECKING:
    from .task import Task

FRAME: Final = 440  # pretcode + ucontext + siginfo
UC: Final = 8
UC_FLAGS: Final = 7  # UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
MC: Final = UC + 40
MASK: Final = UC + 296
INFO: Final = UC + 304
FP_MAGIC: Final = 0x46505853
REDZONE: Final = 128
SS_ONSTACK: Final = 1
SS_DISABLE: Final = 2
SS_AUTODISARM: Final = 1 << 31
EFL_CLEAR: Final = 0x10500  # RF, DF, TF
EFL_USER: Final = (
    0x40DD5 | 0x10000
)  # what sigreturn may set: AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF


def fp_area(t: Task) -> tuple[int, int]:
    """(offset, size) of the extended state in the slot's host frame; size 0 when there is none that can be trusted."""
    off = t.thread.ev[E_FPOFF]
    if not 0 < off <= SLOT_SIZE - 512:
        return 0, 0
    magic, ext = struct.unpack_from("<II", t.thread.mem, off + 464)
    if magic != FP_MAGIC or not 512 <= ext <= SLOT_SIZE - off:
        return off, 512
    return off, ext


def on_altstack(t: Task, sp: int) -> bool:
    base, flags, size = t.altstack
    return not flags & (SS_DISABLE | SS_AUTODISARM) and base < sp <= base + size


def _stack_for(t: Task, act: sg.SigAction) -> int:
    """The stack pointer the frame is built below, or 0 when an alternate stack would overflow."""
    sp = t.thread.regs[RSP]
    base, flags, size = t.altstack
    on = on_altstack(t, sp)
    sp -= REDZONE
    if act.flags & sg.SA_ONSTACK and not flags & SS_DISABLE and not on:
        return base + size
    if on and sp <= base:
        return 0
    return sp


def setup_frame(t: Task, info: sg.SigInfo, act: sg.SigAction, fault: tuple[int, int, int]) -> bool:
    """Builds the frame and points the registers at the handler. False: the stack can't hold it. May suspend."""
    th = t.thread
    regs = th.regs
    sp = _stack_for(t, act)
    if not sp or not act.flags & sg.SA_RESTORER:
        return False
    th.load_fp()
    fpoff, fpsize = fp_area(t)
    fp = (sp - fpsize) & ~63
    frame = ((fp - FRAME) & ~15) - 8
    if (
        t.altstack[2]
        and act.flags & sg.SA_ONSTACK
        and not t.altstack[1] & SS_DISABLE
        and frame < t.altstack[0]
    ):
        return False
    buf = bytearray(FRAME)
    base, flags, size = t.altstack
    if on_altstack(t, regs[RSP]):
        flags |= SS_ONSTACK
    mask = t.saved_mask if t.saved_mask is not None else t.blocked
    struct.pack_into(
        "<QQQQIIQ", buf, 0, act.restorer, UC_FLAGS, 0, base, flags & 0xFFFFFFFF, 0, size
    )
    struct.pack_into("<18Q", buf, MC, *regs.tolist())
    struct.pack_into("<HHHH", buf, MC + 144, 0x33, 0, 0, 0x2B)
    struct.pack_into(
        "<QQQQQ",
        buf,
        MC + 152,
        fault[1] & M64,
        fault[0] & M64,
        mask,
        fault[2] & M64,
        fp if fpsize else 0,
    )
    struct.pack_into("<Q", buf, MASK, mask)
    buf[INFO:FRAME] = info.pack(t)
    try:
        if fpsize:
            th.copy_out(fp, bytes(th.mem[fpoff : fpoff + fpsize]))
        th.copy_out(frame, bytes(buf))
        th.run()
    except SysErr:
        return False
    t.saved_mask = None
    regs[RDI], regs[RSI], regs[RDX], regs[RAX] = info.signo, frame + INFO, frame + UC, 0
    regs[RIP], regs[RSP] = act.handler, frame
    regs[EFL] &= ~EFL_CLEAR
    if t.altstack[1] & SS_AUTODISARM:
        t.altstack = (0, SS_DISABLE, 0)
    blocked = t.blocked | act.mask
    if not act.flags & sg.SA_NODEFER:
        blocked |= sg.bit(info.signo)
    t.set_blocked(blocked)
    return True


M64: Final = 0xFFFF_FFFF_FFFF_FFFF


def restore_frame(t: Task) -> bool:
    """rt_sigreturn(2): registers, mask, alternate stack and extended state from the frame. False: bad frame."""
    th = t.thread
    frame = th.regs[RSP] - 8
    th.load_fp()
    try:
        buf = th.copy_in(frame, FRAME)
        regs = struct.unpack_from("<18Q", buf, MC)
        mask = struct.unpack_from("<Q", buf, MASK)[0]
        fp = struct.unpack_from("<Q", buf, MC + 184)[0]
        off, size = fp_area(t)
        if fp and size:
            state = th.copy_in(fp, size)
            th.mem[off : off + size] = checked_fp(state, bytes(th.mem[off + 464 : off + 512]))
            th.store_fp()
    except SysErr:
        return False
    keep = th.regs[EFL] & ~EFL_USER
    for i in range(NREG):
        th.regs[i] = regs[i]
    th.regs[EFL] = (regs[EFL] & EFL_USER) | keep | 0x202
    sp, flags, size = struct.unpack_from("<QIxxxxQ", buf, UC + 16)
    if not on_altstack(t, th.regs[RSP]):
        t.altstack = (
            (sp, flags & ~SS_ONSTACK, size) if not flags & SS_DISABLE else (0, SS_DISABLE, 0)
        )
    t.set_blocked(mask)
    return True


def checked_fp(state: bytes, ours: bytes) -> bytes:
    """The application's extended state with the sizes the host itself wrote: it can't make the host read past them."""
    if state[464:468] != ours[:4]:  # legacy fxsave frame: only its 512 bytes count
        return state[:464] + ours + state[512:]
    feats = struct.unpack_from("<Q", state, 472)[0] & struct.unpack_from("<Q", ours, 8)[0]
    return state[:464] + ours[:8] + struct.pack("<Q", feats) + ours[16:] + state[512:]
