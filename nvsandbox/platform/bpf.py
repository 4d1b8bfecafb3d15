"""A small assembler for seccomp filters (classic BPF; seccomp(2), linux/filter.h, linux/seccomp.h).

A filter here is a list of rules per system call; every rule is a conjunction of tests on 64-bit arguments. The
architecture and the x32 bit are always tested first (an ``int 0x80`` would otherwise be judged by x86-64 numbers).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

RET_KILL: Final = 0x80000000
RET_TRAP: Final = 0x00030000
RET_ERRNO: Final = 0x00050000
RET_ALLOW: Final = 0x7FFF0000

AUDIT_ARCH_X86_64: Final = 0xC000003E
X32_BIT: Final = 0x40000000

LD: Final = 0x20  # BPF_LD|BPF_W|BPF_ABS
JEQ: Final = 0x15
JGE: Final = 0x35
JGT: Final = 0x25
JSET: Final = 0x45
JA: Final = 0x05
RET: Final = 0x06

NR: Final = 0
ARCH: Final = 4
IP_LO: Final = 8
IP_HI: Final = 12


def _lo(arg: int) -> int:
    return 16 + 8 * arg


class Test(NamedTuple):
    """One test: argument ``arg`` (its low 32 bits) against ``values``.

    ``kind`` "eq": equals one of ``values``; "mask": has no bit outside ``values[0]``. With ``wide`` the upper half
    must be zero as well.
    """

    arg: int
    kind: str
    values: tuple[int, ...]
    wide: bool = False


def eq(arg: int, *values: int) -> Test:
    return Test(arg, "eq", values)


def mask(arg: int, allowed: int) -> Test:
    return Test(arg, "mask", (allowed,))


class Rule(NamedTuple):
    nr: int
    tests: tuple[Test, ...] = ()
    ret: int = RET_ALLOW


def allow(nr: int, *tests: Test) -> Rule:
    return Rule(nr, tests)


def refuse(nr: int, errno: int) -> Rule:
    """The call fails with ``errno``, whatever the default is."""
    return Rule(nr, (), RET_ERRNO | errno)


class _Asm:
    """Instructions with forward labels."""

    def __init__(self) -> None:
        self.code: list[tuple[int, int | str, int | str, int]] = []
        self.labels: dict[str, int] = {}

    def emit(self, op: int, k: int, jt: int | str = 0, jf: int | str = 0) -> None:
        self.code.append((op, jt, jf, k))

    def label(self, name: str) -> None:
        self.labels[name] = len(self.code)

    def assemble(self) -> bytes:
        out = bytearray()
        for i, (op, jt, jf, k) in enumerate(self.code):
            t = self.labels[jt] - i - 1 if isinstance(jt, str) else jt
            f = self.labels[jf] - i - 1 if isinstance(jf, str) else jf
            if not (0 <= t < 256 and 0 <= f < 256):
                raise ValueError("bpf jump too far")
            out += struct.pack("<HBBI", op, t, f, k & 0xFFFFFFFF)
        return bytes(out)


def _emit_rule(a: _Asm, index: int, rule: Rule, deny_ret: int) -> None:
    miss = f"miss{index}"
    a.emit(JEQ, rule.nr, 0, miss)
    for n, t in enumerate(rule.tests):
        ok = f"ok{index}_{n}"
        if t.wide:
            a.emit(LD, _lo(t.arg) + 4)
            a.emit(JEQ, 0, 0, f"no{index}")
        a.emit(LD, _lo(t.arg))
        if t.kind == "eq":
            for v in t.values:
                a.emit(JEQ, v, ok, 0)
            a.emit(JA, 0)
            a.code[-1] = (JEQ, f"no{index}", f"no{index}", 0)
        else:
            a.emit(JSET, ~t.values[0], f"no{index}", ok)
        a.label(ok)
    a.emit(RET, rule.ret)
    if rule.tests:
        a.label(f"no{index}")
        a.emit(LD, NR)  # another rule of the same call may match
    a.label(miss)


def moved(prog: bytes, ip_range: tuple[int, int]) -> bytes:
    """A program made with an ``ip_range``, for another one (both ends in one 4 GiB area)."""
    out = bytearray(prog)
    lo, hi = _in_one_area(ip_range)
    for at, value in ((4, lo >> 32), (6, lo), (7, hi)):  # IP_HI ==, IP_LO >=, IP_LO <
        struct.pack_into("<I", out, 8 * at + 4, value & 0xFFFFFFFF)
    return bytes(out)


def _in_one_area(ip_range: tuple[int, int]) -> tuple[int, int]:
    lo, hi = ip_range
    if lo >> 32 != (hi - 1) >> 32:
        raise ValueError("image crosses a 4 GiB boundary")
    return lo, hi


def program(
    rules: Sequence[Rule],
    deny: int,
    ip_range: tuple[int, int] | None = None,
) -> bytes:
    """The filter as an array of ``struct sock_filter``.

    Calls from outside ``ip_range`` (when given; both ends in one 4 GiB area) and calls that no rule allows get
    ``deny``.
    """
    a = _Asm()
    a.emit(LD, ARCH)
    a.emit(JEQ, AUDIT_ARCH_X86_64, 1, 0)
    a.emit(RET, deny)
    if ip_range is not None:
        lo, hi = _in_one_area(ip_range)
        a.emit(LD, IP_HI)
        a.emit(JEQ, lo >> 32, 0, 3)
        a.emit(LD, IP_LO)
        a.emit(JGE, lo & 0xFFFFFFFF, 0, 1)
        a.emit(JGE, hi & 0xFFFFFFFF, 0, 1)
        a.emit(RET, deny)
    a.emit(LD, NR)
    a.emit(JGE, X32_BIT, 0, 1)
    a.emit(RET, deny)
    for i, rule in enumerate(rules):
        _emit_rule(a, i, rule, deny)
    a.emit(RET, deny)
    return a.assemble()
