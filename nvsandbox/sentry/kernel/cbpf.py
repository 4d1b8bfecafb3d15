"""The classic BPF machine (Linux: net/core/filter.c, linux/bpf_common.h): checking a program, and running it on what a socket
receives or a system call's ``struct seccomp_data``.

A program has at most 4096 instructions and only jumps forward, so it ends.
"""

from __future__ import annotations

import errno
import struct
from typing import Final, Protocol

from ..errors import SysErr

MAX_INSNS: Final = 4096
INSN: Final = struct.Struct("<HBBI")  # struct sock_filter
U32: Final = 0xFFFF_FFFF
# Class, size and mode, operation, source (linux/bpf_common.h)
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

LD_ABS_H: Final = 0x28
LD_ABS_B: Final = 0x30
LD_IND_W: Final = 0x40
LD_IND_H: Final = 0x48
LD_IND_B: Final = 0x50
LDX_MSH: Final = 0xB1  # X = 4 * (low half of a byte): the length of an IPv4 header
# What only a filter of a socket may have
PACKET: Final = frozenset((LD_ABS_H, LD_ABS_B, LD_IND_W, LD_IND_H, LD_IND_B, LDX_MSH, ALU | MOD, ALU | MOD | SOURCE_X))  # fmt: skip
SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1}
SECCOMP_DATA: Final = 64  # bytes of struct seccomp_data

Insn = tuple[int, int, int, int]


class Input(Protocol):
    """What a program looks at."""

    def length(self) -> int:
        """Of it, in bytes."""

    def load(self, at: int, size: int) -> int:
        """A number of 1, 2 or 4 bytes; -1: there is none, which ends the program with 0."""


def parse(raw: bytes, packets: bool) -> list[Insn]:
    """The instructions, checked as Linux checks them before it runs any: for ``packets``, or for system calls. Raises EINVAL."""
    program = [INSN.unpack_from(raw, at) for at in range(0, len(raw), INSN.size)]
    n = len(program)
    if n == 0 or program[-1][0] not in (RET_K, RET_A):
        raise SysErr(errno.EINVAL)
    # Which cells of memory are surely written when an instruction is reached
    written = [0xFFFF] * n
    now = 0
    for pc, (code, jt, jf, k) in enumerate(program):
        if code not in KNOWN and not (packets and code in PACKET):
            raise SysErr(errno.EINVAL)
        now &= written[pc]
        if code == LD_ABS:
            if not packets and (k >= SECCOMP_DATA or k & 3):
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


def run(program: list[Insn], source: Input) -> int:
    """What it returns."""
    a = x = pc = 0
    mem = [0] * 16
    while True:
        code, jt, jf, k = program[pc]
        pc += 1
        kind = code & 7
        if kind == JMP:
            if code == JA:
                pc += k
                continue
            other = x if code & SOURCE_X else k
            op = code & 0x70
            if op == JEQ:
                yes = a == other
            elif op == JGT:
                yes = a > other
            elif op == JGE:
                yes = a >= other
            else:
                yes = a & other != 0
            pc += jt if yes else jf
        elif kind == RET:
            return k if code == RET_K else a
        elif kind == ALU:
            if code == NEG:
                a = -a & U32
                continue
            other = x if code & SOURCE_X else k
            op = code & 0xF0
            if op in (DIV, MOD) and other == 0:
                return 0
            a = a % other if op == MOD else alu(op, a, other)
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
            a = source.length()
        elif code == LDX_LEN:
            x = source.length()
        elif code == LDX_MSH:
            byte = source.load(k, 1)
            if byte < 0:
                return 0
            x = (byte & 15) * 4
        else:
            at = k if code & 0xE0 == LD_ABS else (x + k) & U32
            got = source.load(at, SIZES[code & 0x18])
            if got < 0:
                return 0
            a = got


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
