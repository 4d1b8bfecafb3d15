"""Registers of a task that does not run, in the layouts of ptrace(2) and core(5) (Linux: arch/x86/kernel/ptrace.c, sys/user.h)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ...platform.interface import (
    EFL,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    RAX,
    RBP,
    RBX,
    RCX,
    RDI,
    RDX,
    RIP,
    RSI,
    RSP,
    WIN_DATA,
)
from ...platform.native._native import lib
from ..errors import SysErr, TaskExit
from .deliver import fp_area
from .remote import run_now

if TYPE_CHECKING:
    from .task import Task

# struct user_regs_struct (sys/user.h), as indexes of our registers; names are kept apart
ORIG_RAX, CS, SS, FS_BASE, GS_BASE, ZERO = -1, -2, -3, -4, -5, -6
USER_REGS: Final = (
    R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI, ORIG_RAX, RIP, CS, EFL, RSP, SS,
    FS_BASE, GS_BASE, ZERO, ZERO, ZERO, ZERO,
)  # fmt: skip
REGS: Final = struct.Struct("<27Q")
FXSAVE: Final = 512
NT_PRSTATUS: Final = 1
NT_PRFPREG: Final = 2
NT_X86_XSTATE: Final = 0x202
NR_ARCH_PRCTL: Final = 158
ARCH_SET_FS: Final = 0x1002
ARCH_GET_FS: Final = 0x1003
M64: Final = (1 << 64) - 1


def arch_prctl(u: Task, code: int, value: int) -> int:
    """arch_prctl(2) of a host thread that waits in its stub's loop; what it found for ARCH_GET_FS."""
    th = u.thread
    get = code == ARCH_GET_FS
    th.host(NR_ARCH_PRCTL, code, th.window() if get else value)
    run_now(u, th)
    return int.from_bytes(th.mem[WIN_DATA : WIN_DATA + 8], "little") if get else 0


def user_regs(u: Task) -> list[int]:
    """struct user_regs_struct."""
    regs = u.thread.regs.tolist() if u.has_thread() else (u.lent or [0] * 18)
    orig = u.orig_nr & M64
    fs = arch_prctl(u, ARCH_GET_FS, 0) if u.has_thread() else 0
    special = {ORIG_RAX: orig, CS: 0x33, SS: 0x2B, FS_BASE: fs, GS_BASE: u.gs_base, ZERO: 0}
    return [special[i] if i < 0 else regs[i] for i in USER_REGS]


def state_area(u: Task) -> tuple[int, int]:
    """(offset, size) of the extended state in its slot. Raises EIO, ESRCH."""
    if not u.has_thread():
        raise SysErr(errno.EIO)
    try:
        u.thread.load_fp()
    except TaskExit:
        raise SysErr(errno.ESRCH) from None
    off, size = fp_area(u)
    if size < FXSAVE:
        raise SysErr(errno.EIO)
    return off, size


def read_state(u: Task, kind: int) -> bytes:
    """NT_PRFPREG or NT_X86_XSTATE. Raises EIO, ESRCH."""
    off, size = state_area(u)
    raw = bytes(u.thread.mem[off : off + size])
    if kind == NT_PRFPREG:
        return raw[:464] + bytes(48)
    # The place of the signal frame's own description holds the features (struct xstateregs)
    state = raw[:464] + raw[472:480] + bytes(40) + raw[512:-4]
    return state.ljust(lib.nv_xstate_all(), b"\0")  # tiles, which nobody here has
