"""What the kernel asks of a platform, and the numbers both share with the native code.

A platform owns host processes ("spaces", one per application address space) and threads in them. The kernel gets
events of threads (system call, fault, kick, acknowledgement) and answers with registers and operations that
the thread's host side executes before the application goes on.
"""

from __future__ import annotations

from typing import Final

from .native._native import lib

EV_SYSCALL: Final = int(lib.NV_EV_SYSCALL)
EV_FAULT: Final = int(lib.NV_EV_FAULT)
EV_KICK: Final = int(lib.NV_EV_KICK)
EV_ACK: Final = int(lib.NV_EV_ACK)
EV_CMDFAIL: Final = int(lib.NV_EV_CMDFAIL)
EV_BADARCH: Final = int(lib.NV_EV_BADARCH)
EV_UNCOMMON: Final = int(lib.NV_EV_UNCOMMON)

OP_SYSCALL: Final = int(lib.NV_OP_SYSCALL)
OP_COPYOUT: Final = int(lib.NV_OP_COPYOUT)
OP_COPYIN: Final = int(lib.NV_OP_COPYIN)
OP_COPYSTR: Final = int(lib.NV_OP_COPYSTR)
OP_RECVFD: Final = int(lib.NV_OP_RECVFD)
OP_CMPXCHG: Final = int(lib.NV_OP_CMPXCHG)
OP_CLONE: Final = int(lib.NV_OP_CLONE)
OP_FORK: Final = int(lib.NV_OP_FORK)
OP_MOVE: Final = int(lib.NV_OP_MOVE)
OP_EXIT: Final = int(lib.NV_OP_EXIT)
OP_PIO: Final = int(lib.NV_OP_PIO)
OP_STRINGS: Final = int(lib.NV_OP_STRINGS)
STRINGS_ALL: Final = int(lib.NV_ALL)
OP_XSAVE: Final = int(lib.NV_OP_XSAVE)

OF_IGNORE: Final = int(lib.NV_OF_IGNORE)
OF_FD4: Final = int(lib.NV_OF_FD4)
OF_FD0: Final = int(lib.NV_OF_FD0)
OF_EFAULT: Final = int(lib.NV_OF_EFAULT)

# Indexes into a thread's ev[]
E_KIND: Final = int(lib.NV_E_KIND)
E_NR: Final = int(lib.NV_E_NR)
E_ARG0: Final = int(lib.NV_E_ARG0)
E_SIG: Final = int(lib.NV_E_SIG)
E_CODE: Final = int(lib.NV_E_CODE)
E_ADDR: Final = int(lib.NV_E_ADDR)
E_TRAPNO: Final = int(lib.NV_E_TRAPNO)
E_ERR: Final = int(lib.NV_E_ERR)
E_CRET: Final = int(lib.NV_E_CRET)
E_FAIL: Final = int(lib.NV_E_FAIL)
E_FPOFF: Final = int(lib.NV_E_FPOFF)
E_INADDR0: Final = int(lib.NV_E_INADDR0)
E_INLEN0: Final = int(lib.NV_E_INLEN0)
E_INADDR1: Final = int(lib.NV_E_INADDR1)
E_INLEN1: Final = int(lib.NV_E_INLEN1)
E_INLEN2: Final = int(lib.NV_E_INLEN2)
E_TID: Final = int(lib.NV_E_TID)
E_HOT: Final = int(lib.NV_E_HOT)

# Registers, in the order of the host's signal frames
R8, R9, R10, R11, R12, R13, R14, R15 = range(8)
RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, EFL = range(8, 18)
NREG: Final = 18

SLOTS: Final = int(lib.NV_SLOTS)
SLOT_SIZE: Final = int(lib.NV_SLOT_SIZE)
SLOT_OFF: Final = int(lib.NV_SLOT_OFF)
SLOT_LEN: Final = int(lib.NV_SLOT_LEN)
CMD_LEN: Final = int(lib.NV_CMD_LEN)
REGION_LEN: Final = int(lib.NV_REGION_LEN)
VDSO_OFF: Final = int(lib.NV_VDSO_OFF)
WIN_OFF: Final = int(lib.NV_WIN_OFF)
WIN_LEN: Final = int(lib.NV_WIN_LEN)
STACK_OFF: Final = int(lib.NV_STACK_OFF)
IN_MAXBUF: Final = int(lib.NV_IN_MAXBUF)
IN_MAXWRITE: Final = int(lib.NV_IN_MAXWRITE)
MAX_OPS: Final = int(lib.NV_MAXOPS)

LOW_SITES: Final = int(lib.NV_LOW_SITES)
LOW_TABLE: Final = int(lib.NV_LOW_TABLE)
LOW_CODE: Final = int(lib.NV_LOW_CODE)
LOW_CODE_SIZE: Final = int(lib.NV_LOW_CODE_SIZE)
LOW_RET: Final = int(lib.NV_LOW_RET)
LOW_END: Final = int(lib.NV_LOW_END)

KNOWN_OFF: Final = int(lib.nv_offset(0))  # in a slot: the answers its stub gives itself
ENTRY_OFF: Final = int(lib.nv_offset(int(lib.NV_KNOWN)))

KICK_SIGNAL: Final = 62
DATA_OFF: Final = IN_MAXBUF  # window bytes below hold inputs inlined at entry
WIN_DATA: Final = WIN_OFF + DATA_OFF
DATA_LEN: Final = WIN_LEN - DATA_OFF
