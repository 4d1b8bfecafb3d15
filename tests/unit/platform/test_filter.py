"""The stub's seccomp program, run on sample calls by a small interpreter of classic BPF."""

from __future__ import annotations

import struct

import pytest

from nvsandbox.platform import bpf
from nvsandbox.platform.stub_filter import stub_filter

BASE = 0x7D12_3456_0000
INSIDE = BASE + 0x100
X86_64 = bpf.AUDIT_ARCH_X86_64


def run(
    prog: bytes, nr: int, args: tuple[int, ...] = (), ip: int = INSIDE, arch: int = X86_64
) -> int:
    """What the host would do with the call: a SECCOMP_RET_ value."""
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", nr, arch, ip, *(a & (2**64 - 1) for a in padded))
    code = [struct.unpack_from("<HBBI", prog, i) for i in range(0, len(prog), 8)]
    pc = acc = 0
    while True:
        op, jt, jf, k = code[pc]
        pc += 1
        if op == bpf.LD:
            acc = struct.unpack_from("<I", data, k)[0]
        elif op == bpf.RET:
            return int(k)
        elif op == bpf.JA:
            pc += k
        else:
            hit = {
                bpf.JEQ: acc == k, bpf.JGE: acc >= k, bpf.JGT: acc > k, bpf.JSET: bool(acc & k),
            }[op]  # fmt: skip
            pc += jt if hit else jf


ALLOWED = [
    (15, ()),  # rt_sigreturn
    (202, (0x1000, 0, 1)),  # futex WAIT
    (1, (0, 0x1000, 8)),  # write to the eventfd
    (9, (0, 4096, 3, 0x22, 2**64 - 1, 0)),  # mmap
    (56, (0x3D0F00,)),  # a thread
    (56, (0x8000 | 17,)),  # a fork
]
REFUSED = [
    (1, (1, 0x1000, 8)),  # write elsewhere
    (9, (0, 4096, 3, 0x22 | 0x40000, 2**64 - 1, 0)),  # MAP_HUGETLB
    (56, (0x10000000 | 17,)),  # CLONE_NEWUSER
    (435, (0x1000, 88)),  # clone3
    (2, (0x1000, 0)),  # open
    (59, (0x1000, 0, 0)),  # execve
    (62, (1, 9)),  # kill
    (101, (16, 1)),  # ptrace
    (13, (11, 0x1000, 0, 8)),  # rt_sigaction
    (310, (1,)),  # process_vm_readv
    (16, (3, 0x5401)),  # ioctl
    (bpf.X32_BIT | 15, ()),
]


@pytest.fixture(scope="module")
def prog() -> bytes:
    return stub_filter(BASE, 0x3000)


@pytest.mark.parametrize(("nr", "args"), ALLOWED)
def test_the_stub_may(prog: bytes, nr: int, args: tuple[int, ...]) -> None:
    assert run(prog, nr, args) == bpf.RET_ALLOW


@pytest.mark.parametrize(("nr", "args"), REFUSED)
def test_nobody_may(prog: bytes, nr: int, args: tuple[int, ...]) -> None:
    assert run(prog, nr, args) == bpf.RET_TRAP


@pytest.mark.parametrize("ip", [BASE - 1, BASE + 0x3000, 0x400000, INSIDE + (1 << 32)])
def test_calls_from_outside_the_image_trap(prog: bytes, ip: int) -> None:
    for nr, args in ALLOWED:
        assert run(prog, nr, args, ip) == bpf.RET_TRAP


def test_i386_numbers_trap(prog: bytes) -> None:
    for nr in (11, 15, 24, 26):
        assert run(prog, nr, arch=0x40000003) == bpf.RET_TRAP
