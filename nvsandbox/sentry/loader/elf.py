"""ELF programs (elf(5), System V gABI ch. 4–5, x86-64 psABI): reading and checking headers, planning segments."""

from __future__ import annotations

import errno
import struct
from typing import Final, final

from ..errors import SysErr

EHDR: Final = 64
PHDR: Final = 56
ET_EXEC: Final = 2
ET_DYN: Final = 3
EM_X86_64: Final = 62
PT_LOAD: Final = 1
PT_INTERP: Final = 3
PT_GNU_STACK: Final = 0x6474E551
PF_X: Final = 1
PF_W: Final = 2
PF_R: Final = 4
MAX_PHDRS: Final = 65536 // PHDR
PAGE: Final = 4096
PATH_MAX: Final = 4096
TASK_SIZE: Final = 0x7FFF_FFFF_F000


@final
class Segment:
    """One PT_LOAD."""

    __slots__ = ("filesz", "memsz", "offset", "prot", "vaddr")

    def __init__(self, vaddr: int, offset: int, filesz: int, memsz: int, flags: int) -> None:
        self.vaddr = vaddr
        self.offset = offset
        self.filesz = filesz
        self.memsz = memsz
        self.prot = (
            (1 if flags & PF_R else 0) | (2 if flags & PF_W else 0) | (4 if flags & PF_X else 0)
        )


@final
class Elf:
    """A checked ELF header and its program headers."""

    __slots__ = (
        "align",
        "entry",
        "interp",
        "phdr_vaddr",
        "phentsize",
        "phnum",
        "phoff",
        "pie",
        "segments",
        "stack_exec",
    )

    def __init__(self) -> None:
        self.entry = 0
        self.pie = False
        self.phoff = self.phnum = 0
        self.phentsize = PHDR
        self.phdr_vaddr = 0
        self.interp: tuple[int, int] | None = None  # offset, size
        self.segments: list[Segment] = []
        self.stack_exec = False
        self.align = PAGE

    def span(self) -> tuple[int, int]:
        """Lowest and highest page address of the segments."""
        lo = self.segments[0].vaddr & ~(PAGE - 1)
        hi = max(s.vaddr + s.memsz for s in self.segments)
        return lo, (hi + PAGE - 1) & ~(PAGE - 1)


def is_elf(head: bytes) -> bool:
    return head[:4] == b"\x7fELF"


def parse_header(head: bytes) -> tuple[int, int, int, int, int]:
    """(type, entry, phoff, phentsize, phnum). Raises ENOEXEC for what is not a 64-bit x86 program."""
    if len(head) < EHDR or not is_elf(head):
        raise SysErr(errno.ENOEXEC)
    if head[4] != 2 or head[5] != 1:
        raise SysErr(errno.ENOEXEC)
    etype, machine, _v, entry, phoff, _sh, _fl, _eh, phentsize, phnum = struct.unpack_from(
        "<HHIQQQIHHH", head, 16
    )
    if machine != EM_X86_64 or etype not in (ET_EXEC, ET_DYN) or phentsize != PHDR:
        raise SysErr(errno.ENOEXEC)
    if not 0 < phnum <= MAX_PHDRS:
        raise SysErr(errno.ENOEXEC)
    return etype, entry, phoff, phentsize, phnum


_parsed: Final[
    dict[bytes, Elf]
] = {}  # by both headers; a shell runs the same programs again and again
MAX_PARSED: Final = 64


def parse(head: bytes, phdrs: bytes) -> Elf:
    """The program described by the ELF header and its program header table, not to be changed. Raises ENOEXEC, EINVAL."""
    key = head[:EHDR] + phdrs
    e = _parsed.get(key)
    if e is None:
        e = _parse(head, phdrs)
        if len(key) <= PAGE:
            if len(_parsed) >= MAX_PARSED:
                _parsed.clear()
            _parsed[key] = e
    return e


def _parse(head: bytes, phdrs: bytes) -> Elf:
    etype, entry, phoff, phentsize, phnum = parse_header(head)
    if len(phdrs) < phnum * PHDR:
        raise SysErr(errno.ENOEXEC)
    e = Elf()
    e.entry, e.phoff, e.phentsize, e.phnum = entry, phoff, phentsize, phnum
    e.pie = etype == ET_DYN
    last_end = 0
    for i in range(phnum):
        ptype, flags, off, vaddr, _pa, filesz, memsz, align = struct.unpack_from(
            "<IIQQQQQQ", phdrs, i * PHDR
        )
        if ptype == PT_INTERP and e.interp is None:
            if not 2 <= filesz <= PATH_MAX:
                raise SysErr(errno.ENOEXEC)
            e.interp = (off, filesz)
        elif ptype == PT_GNU_STACK:
            e.stack_exec = bool(flags & PF_X)
        elif ptype == PT_LOAD and memsz:
            _check_load(off, vaddr, filesz, memsz)
            if vaddr < last_end:
                raise SysErr(errno.ENOEXEC)
            last_end = vaddr + memsz
            e.segments.append(Segment(vaddr, off, filesz, memsz, flags))
            if align > e.align and align & (align - 1) == 0 and align <= 1 << 30:
                e.align = align
            if off <= phoff < off + filesz:
                e.phdr_vaddr = vaddr + phoff - off
    if not e.segments:
        raise SysErr(errno.ENOEXEC)
    return e


def _check_load(off: int, vaddr: int, filesz: int, memsz: int) -> None:
    if filesz > memsz or vaddr >= TASK_SIZE or memsz > TASK_SIZE or vaddr > TASK_SIZE - memsz:
        raise SysErr(errno.ENOMEM)
    if (vaddr - off) & (PAGE - 1) or off >= 1 << 62:
        raise SysErr(errno.EINVAL)
