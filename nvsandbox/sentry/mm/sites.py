"""Call sites in a file's text, their trampolines, and the patched text that is made of them (mm/patch.py maps it)."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from typing import Final, final

from ...platform.interface import (
    ENTRY_OFF,
    KNOWN_OFF,
    LOW_CODE,
    LOW_CODE_SIZE,
    LOW_RET,
    LOW_SITES,
    LOW_TABLE,
)
from .vma import PAGE

MOV: Final = 0  # mov $nr,%eax; syscall
XOR: Final = 1  # xor %eax,%eax; syscall; cmp $…,%rax
NINE: Final = 2  # mov 8(%rsp),%r9; syscall: syscall(3)
SHORT: Final = 3  # syscall, whatever is before it: a short jump to padding, which has the long one (Go's syscall.Syscall6)

# rt_sigreturn, clone, fork, vfork, execve, exit, arch_prctl, exit_group, execveat, clone3: rare, or they need the thread's whole
# state in a frame
NEVER: Final = frozenset((15, 56, 57, 58, 59, 60, 158, 231, 322, 435))
# getpid gettid getppid getuid geteuid getgid getegid: place in the slot's known[]
KNOWN: Final = {39: 0, 186: 1, 110: 2, 102: 3, 107: 4, 104: 5, 108: 6}
INVALID: Final = (0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x27, 0x2F, 0x37, 0x3F, 0x60, 0x61)
GLIBC: Final = b"\x0f\x05\x48\x3d"  # syscall; cmp $…,%rax
ERRNO_MAX: Final = (b"\x00\xf0\xff\xff", b"\x01\xf0\xff\xff")  # what it compares with
CHUNK: Final = 1 << 16
NEAR: Final = 1 << 18  # patched stretches closer than this become one
SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
SYSCALL_LEN: Final = 2
JUMP_LEN: Final = 7
PADDING: Final = b"\xcc" * JUMP_LEN
REACH: Final = 120  # of a short jump, bytes
ALIGNED: Final = 16  # functions are, and padding ends where one begins
AROUND: Final = 16  # bytes around a call that tell whether it is a site


@final
class Site:
    """One patched place of a file. ``end``: file offset after its ``syscall``; ``jump``: of its long jump."""

    __slots__ = ("end", "index", "jump", "kind", "tail")

    def __init__(self, end: int, kind: int, index: int, tail: int, jump: int) -> None:
        self.end = end
        self.kind = kind
        self.index = index
        self.tail = tail  # XOR: the number compared with
        self.jump = jump

    def low(self) -> int:
        return min(self.end - SYSCALL_LEN, self.jump)

    def high(self) -> int:
        return max(self.end, self.jump + JUMP_LEN)


@final
class Generation:
    """A sealed memfd with the patched stretches of one file, at their own offsets."""

    __slots__ = ("fd", "ranges", "sites")

    def __init__(self, fd: int, ranges: list[tuple[int, int]], sites: list[Site]) -> None:
        self.fd = fd
        self.ranges = ranges
        self.sites = sites

    def __del__(self) -> None:
        os.close(self.fd)


@final
class PatchedText:
    """What is known of one file's call sites."""

    __slots__ = ("builds", "built_at", "gen", "identity", "refused", "seen", "sites")

    def __init__(self, identity: tuple[int, ...]) -> None:
        self.identity = identity
        self.sites: dict[int, Site] = {}  # by end
        self.gen: Generation | None = None
        self.seen: set[int] = set()  # starts of text that was searched
        self.refused: set[int] = set()
        self.builds = 0
        self.built_at = 0


@final
class Sites:
    """Finds the sites of files and makes their trampolines. One for the sandbox."""

    __slots__ = ("_low", "_mov", "_xor")

    def __init__(self, low: memoryview) -> None:
        self._low = low
        free = range(LOW_SITES - 1, -1, -1)
        xor = [i for i in free if ((LOW_TABLE + 8 * i) >> 8) & 0xFF in INVALID]
        taken = set(xor)
        self._xor = xor
        self._mov = [i for i in free if i not in taken]

    def _trampoline(self, kind: int, nr: int, tail: int) -> int:
        """Writes one; its index, or -1 when all are taken."""
        pool = self._xor if kind == XOR else self._mov
        if not pool:
            return -1
        i = pool.pop()
        ret = struct.pack("<I", LOW_RET + 8 * i)
        here = LOW_CODE + LOW_CODE_SIZE * i
        enter = b"\x65\xff\x24\x25" + struct.pack("<I", ENTRY_OFF)  # jmp *%gs:entry
        load = b"\x4c\x8b\x1c\x25" + ret  # mov ret[i],%r11
        if kind == XOR:
            code = b"\x31\xc0" + load + b"\xb9" + struct.pack("<I", here + 32) + enter
            code = code.ljust(32, b"\xcc")
            # cmp $tail,%rax; mov ret[i],%r11; lea 6(%r11),%r11; jmp *%r11
            code += b"\x48\x3d" + struct.pack("<I", tail) + load + b"\x4d\x8d\x5b\x06\x41\xff\xe3"
        else:
            code = b""
            if kind == MOV:
                code = b"\xb8" + struct.pack("<I", nr)
            elif kind == NINE:
                code = b"\x4c\x8b\x4c\x24\x08"
            code += load + b"\x4c\x89\xd9" + enter  # mov %r11,%rcx
            if kind == MOV and nr in KNOWN:
                # mov %gs:known,%ecx; jecxz ask; lea -1(%rcx),%eax; mov ret[i],%r11; jmp *%r11; ask:
                known = struct.pack("<I", KNOWN_OFF + 4 * KNOWN[nr])
                code = (
                    b"\x65\x8b\x0c\x25" + known + b"\x67\xe3\x0e\x8d\x41\xff" + load
                    + b"\x41\xff\xe3" + code
                )  # fmt: skip
        at = LOW_CODE - LOW_TABLE + LOW_CODE_SIZE * i
        self._low[at : at + LOW_CODE_SIZE] = code.ljust(LOW_CODE_SIZE, b"\xcc")
        self._low[8 * i : 8 * i + 8] = struct.pack("<Q", here)
        return i

    def add(self, text: PatchedText, end: int, before: bytes, after: bytes, nr: int) -> bool:
        """A site that ends at ``end``; ``nr``: the number it was seen to pass, -1 when it was only found."""
        kind, tail, jump = MOV, 0, end - JUMP_LEN
        if before[-7:-2] == b"\x4c\x8b\x4c\x24\x08":
            kind = NINE
        elif before[-7:-6] == b"\xb8" and before[-4:-2] == b"\0\0":
            imm = int.from_bytes(before[-6:-4], "little")
            if (nr >= 0 and imm != nr) or imm in NEVER:
                return False
            if len(before) < 8 or before[-8] & 0xF0 == 0x40 or before[-10:-8] == b"\xc7\x44":
                return False  # the immediate of another instruction
            nr = imm
        elif before[-4:-2] == b"\x31\xc0" and nr <= 0:
            if (
                after[:2] != b"\x48\x3d"
                or after[2:3] not in (b"\0", b"\1")
                or after[3:6] != b"\xf0\xff\xff"
            ):
                return False
            if before[-5:-4] and before[-5] & 0xF0 == 0x40:
                return False
            kind, tail, jump = XOR, int.from_bytes(after[2:6], "little"), end - 4
        else:
            return False
        index = self._trampoline(kind, nr, tail)
        if index < 0:
            return False
        text.sites[end] = Site(end, kind, index, tail, jump)
        return True

    def add_short(self, text: PatchedText, end: int, fd: int, lo: int, hi: int) -> bool:
        """A site of two bytes that ends at ``end``, if in [lo, hi) of the file there is padding that it reaches."""
        start = max(end - REACH, lo)
        data = os.pread(fd, min(end + REACH, hi) - start, start)
        if data[end - SYSCALL_LEN - start : end - start] != b"\x0f\x05":
            return False
        used = {s.jump for s in text.sites.values()}
        i = data.find(PADDING)
        while i >= 0:
            stop = i + JUMP_LEN
            while data[stop : stop + 1] == b"\xcc":
                stop += 1
            if (start + stop) % ALIGNED == 0 and start + stop - JUMP_LEN not in used:
                index = self._trampoline(SHORT, 0, 0)
                if index < 0:
                    return False
                text.sites[end] = Site(end, SHORT, index, 0, start + stop - JUMP_LEN)
                return True
            i = data.find(PADDING, stop)
        return False

    def search(self, text: PatchedText, fd: int, offset: int, size: int) -> bool:
        """Whether there are glibc's calls in this stretch of text. Read in pieces that stay in the processor's cache."""
        found = False
        for lo in range(offset, offset + size, CHUNK):
            start = max(lo - AROUND, offset)
            data = os.pread(fd, min(lo + CHUNK + AROUND, offset + size) - start, start)
            i = data.find(GLIBC, lo - start)
            while 0 <= i < lo - start + CHUNK:
                end = i + SYSCALL_LEN
                if data[i + 4 : i + 8] in ERRNO_MAX and start + end not in text.sites:
                    before = data[max(0, end - 12) : end]
                    found |= self.add(text, start + end, before, data[end : end + 6], -1)
                i = data.find(GLIBC, end)
        return found

    def build(self, text: PatchedText, fd: int) -> None:
        """A new generation with all sites known by now."""
        sites = sorted(text.sites.values(), key=lambda s: s.low())
        ranges: list[tuple[int, int]] = []
        for s in sites:
            lo = s.low() & ~(CHUNK - 1)
            hi = (s.high() + 16 + CHUNK - 1) & ~(CHUNK - 1)
            if ranges and lo <= ranges[-1][1] + NEAR:
                ranges[-1] = (ranges[-1][0], max(hi, ranges[-1][1]))
            else:
                ranges.append((lo, hi))
        size = text.identity[2]
        page_end = (size + PAGE - 1) & ~(PAGE - 1)
        ranges = [(lo, min(hi, page_end)) for lo, hi in ranges]
        mem = os.memfd_create("nv-text", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(mem, page_end)
            buf = bytearray(CHUNK)
            for lo, hi in ranges:
                for at in range(lo, hi, CHUNK):
                    n = os.preadv(fd, [buf], at)
                    os.pwrite(mem, memoryview(buf)[: min(n, hi - at)], at)
            for s in sites:
                jump = b"\xff\x24\x25" + struct.pack("<I", LOW_TABLE + 8 * s.index)
                os.pwrite(mem, jump, s.jump)
                if s.kind == SHORT:
                    os.pwrite(mem, struct.pack("<Bb", 0xEB, s.jump - s.end), s.end - SYSCALL_LEN)
            fcntl.fcntl(mem, fcntl.F_ADD_SEALS, SEALS)
        except BaseException:
            os.close(mem)
            raise
        text.gen = Generation(mem, ranges, sites)
        text.builds += 1
        text.built_at = time.monotonic_ns()


def identity_of(fd: int) -> tuple[int, ...]:
    """The same as long as the file and its content are."""
    st = os.fstat(fd)
    return st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns
