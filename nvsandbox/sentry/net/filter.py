"""Socket filters: classic BPF on what a socket is about to receive (Linux: net/core/filter.c; socket(7), SO_ATTACH_FILTER).

A program has at most 4096 instructions and only jumps forward, so it ends. It returns how many bytes of the packet are kept, 0: none.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..kernel.seccomp import (
    ALU,
    DIV,
    INSN,
    JA,
    JEQ,
    JGE,
    JGT,
    JMP,
    LD_ABS,
    LD_IMM,
    LD_LEN,
    LD_MEM,
    LDX_IMM,
    LDX_LEN,
    LDX_MEM,
    MAX_INSNS,
    MOD,
    NEG,
    RET,
    RET_K,
    SOURCE_X,
    ST,
    STX,
    TAX,
    TXA,
    U32,
    Insn,
    alu,
    parse,
)

if TYPE_CHECKING:
    from ..kernel.task import Task

LD_ABS_H: Final = 0x28
LD_ABS_B: Final = 0x30
LD_IND_W: Final = 0x40
LD_IND_H: Final = 0x48
LD_IND_B: Final = 0x50
LDX_MSH: Final = 0xB1  # X = 4 * (low half of a byte): the length of an IPv4 header
LOADS: Final = frozenset((LD_ABS_H, LD_ABS_B, LD_IND_W, LD_IND_H, LD_IND_B, LDX_MSH, ALU | MOD, ALU | MOD | SOURCE_X))  # fmt: skip
SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1}
# What is not in the packet (linux/filter.h): offsets from here on
SKF_NET_OFF: Final = 0xFFF00000
SKF_LL_OFF: Final = 0xFFE00000
SKF_AD_OFF: Final = 0xFFFFF000
AD_PROTOCOL: Final = 0
AD_PKTTYPE: Final = 4
AD_IFINDEX: Final = 8
AD_HATYPE: Final = 28
AD_RANDOM: Final = 56
AD_ZERO: Final = (
    20,
    24,
    32,
    36,
    44,
    48,
    60,
)  # mark, queue, hash, processor, VLAN tag, its presence, its protocol
ARPHRD_ETHER: Final = 1

# The packet as a filter sees it: data, where its network header is, protocol (EtherType), PACKET_*, interface
View = tuple[bytes, int, int, int, int]


def attach(t: Task, data: bytes) -> list[Insn]:
    """The program that SO_ATTACH_FILTER's ``struct sock_fprog`` points to. Raises EINVAL, EFAULT."""
    if len(data) < 16:
        raise SysErr(errno.EINVAL)
    n, where = struct.unpack_from("<H6xQ", data)
    if not 0 < n <= MAX_INSNS:
        raise SysErr(errno.EINVAL)
    return parse(t.copy_in(where, n * INSN.size), LOADS)


def _ancillary(k: int, v: View) -> int:
    """A number beside the packet, -1: there is none such."""
    _data, _net, proto, kind, index = v
    if k == AD_PROTOCOL:
        return proto
    if k == AD_PKTTYPE:
        return kind
    if k == AD_IFINDEX:
        return index
    if k == AD_HATYPE:
        return ARPHRD_ETHER
    if k == AD_RANDOM:
        return int.from_bytes(os.urandom(4), "little")
    return 0 if k in AD_ZERO else -1


def _load(v: View, at: int, size: int) -> int:
    """Bytes of the packet, -1: not there, which ends the program with 0."""
    data = v[0]
    if at >= SKF_AD_OFF:
        return _ancillary(at - SKF_AD_OFF, v)
    if at >= SKF_NET_OFF:
        at = at - SKF_NET_OFF + v[1]
    elif at >= SKF_LL_OFF:
        at -= SKF_LL_OFF
        if not v[1]:
            return -1
    if at + size > len(data):
        return -1
    return int.from_bytes(data[at : at + size], "big")


def run(program: list[Insn], v: View) -> int:
    """How many bytes are kept."""
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
            a = len(v[0])
        elif code == LDX_LEN:
            x = len(v[0])
        elif code == LDX_MSH:
            byte = _load(v, k, 1)
            if byte < 0:
                return 0
            x = (byte & 15) * 4
        else:
            at = k if code & 0xE0 == LD_ABS else (x + k) & U32
            got = _load(v, at, SIZES[code & 0x18])
            if got < 0:
                return 0
            a = got
