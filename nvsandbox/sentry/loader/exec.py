"""execve(2): from a file to a running program (Linux: fs/exec.c, fs/binfmt_elf.c, fs/binfmt_script.c).

Always into a clean stub: nothing of the old program's memory, slots or socket is there for a set-user-id program to trip over
(hazard A3). Until the new stub is complete, an error leaves the old program as it was.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final, final

from ...platform.interface import EFL, NREG, RIP, RSP
from ...platform.space import PlatformError
from ..abi.personality import ADDR_NO_RANDOMIZE, CLEAR_ON_SETID
from ..errors import SysErr, TaskExit
from ..kernel import signal as sg
from ..kernel.cputime import look_last
from ..kernel.exit import leave_mm
from ..mm.mm import (
    MAP_FIXED,
    MAP_GROWSDOWN,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MM,
    TASK_SIZE,
    no_chance,
    page_up,
    random_pages,
)
from ..mm.vma import STACK
from ..vfs.lent import forget_thread
from ..vfs.namei import AT_FDCWD, start_at
from ..vfs.open import open_exec
from . import elf
from .creds import exec_creds

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from ..vfs.path import Path

HEAD: Final = 4096
MAX_INTERP: Final = 5
ARG_MAX_STRLEN: Final = 131072
MAX_STACK: Final = 1 << 30
MIN_STACK: Final = 1 << 17
FIRST_STACK: Final = 8 << 20  # mapped at once; beyond, it grows fault by fault
MIN_ROOM: Final = 128 << 20
PIE_BASE: Final = 0x5555_5555_4000
GAP: Final = 1 << 20

AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY = (
    0,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_PLATFORM, AT_HWCAP, AT_CLKTCK, AT_SECURE = (
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    23,
)
AT_RANDOM, AT_HWCAP2, AT_RSEQ_SIZE, AT_RSEQ_ALIGN, AT_EXECFN, AT_SYSINFO_EHDR, AT_MINSIGSTKSZ = (
    25,
    26,
    27,
    28,
    31,
    33,
    51,
)


@final
class Program:
    """What is to be run: the file, its interpreter, the final argument vector."""

    __slots__ = (
        "argv",
        "envp",
        "execfn",
        "file",
        "header",
        "hidden",
        "interp",
        "interp_header",
        "script_depth",
    )

    def __init__(
        self, file: FileDescription, execfn: bytes, argv: list[bytes], envp: list[bytes]
    ) -> None:
        self.file = file
        self.execfn = execfn
        self.argv = argv
        self.envp = envp
        self.header: elf.Elf = elf.Elf()
        self.interp: FileDescription | None = None
        self.interp_header: elf.Elf | None = None
        self.script_depth = 0
        self.hidden = False  # by a name that is gone once it runs: no interpreter could read it


def _read(t: Task, f: FileDescription, size: int, offset: int) -> bytes:
    r = f.pread(t, size, offset)
    if isinstance(r, int):
        raise SysErr(-r)
    return r


def _load_header(t: Task, f: FileDescription, head: bytes) -> elf.Elf:
    _t, _e, phoff, _s, phnum = elf.parse_header(head)
    size = phnum * elf.PHDR
    table = head[phoff : phoff + size] if phoff + size <= len(head) else _read(t, f, size, phoff)
    return elf.parse(head, table)


def _open(t: Task, base: Path, path: bytes, follow: bool = True) -> FileDescription:
    """A program or interpreter, which nobody writes to until ``_close``. Raises ETXTBSY."""
    f = open_exec(t, base, path, follow).incref()
    try:
        f.inode.deny_write()
    except SysErr:
        f.decref()
        raise
    return f


def _close(f: FileDescription) -> None:
    f.inode.allow_write()
    f.decref()


def open_program(
    t: Task, base: Path, path: bytes, argv: list[bytes], envp: list[bytes], follow: bool = True,
    shown: bytes | None = None, hidden: bool = False,
) -> Program:  # fmt: skip
    """Opens ``path`` and follows ``#!`` lines to an ELF program and its interpreter. May suspend."""
    f = _open(t, base, path, follow)
    prog = Program(f, path if shown is None else shown, argv, envp)
    prog.hidden = hidden
    try:
        while True:
            head = _read(t, prog.file, HEAD, 0)
            if head[:2] != b"#!":
                break
            _script(t, prog, head)
        prog.header = _load_header(t, prog.file, head)
        if prog.header.interp is not None:
            off, size = prog.header.interp
            name = head[off : off + size]
            if len(name) != size:
                name = _read(t, prog.file, size, off)
            if len(name) != size or name[-1:] != b"\0":
                raise SysErr(errno.ENOEXEC)
            name = name.split(b"\0", 1)[0]
            prog.interp = _open(t, start_at(t, AT_FDCWD, name), name)
            ihead = _read(t, prog.interp, HEAD, 0)
            try:
                prog.interp_header = _load_header(t, prog.interp, ihead)
            except SysErr:
                raise SysErr(errno.ELIBBAD) from None
        return prog
    except BaseException:
        close_program(prog)
        raise


def close_program(prog: Program) -> None:
    _close(prog.file)
    if prog.interp is not None:
        _close(prog.interp)


def _script(t: Task, prog: Program, head: bytes) -> None:
    """One ``#!`` line (Linux: load_script): interpreter, at most one argument, then the script's own name."""
    if prog.hidden:
        raise SysErr(errno.ENOENT)
    prog.script_depth += 1
    if prog.script_depth > MAX_INTERP:
        raise SysErr(errno.ELOOP)
    line = head[2:256].split(b"\n", 1)[0]
    if b"\n" not in head[:256] and len(head) >= 256 and not line.strip(b" \t").count(b" "):
        if not any(c in line.lstrip(b" \t") for c in b" \t"):
            raise SysErr(errno.ENOEXEC)
    line = line.split(b"\0", 1)[0].strip(b" \t")
    if not line:
        raise SysErr(errno.ENOEXEC)
    parts = line.replace(b"\t", b" ").split(b" ", 1)
    interp = parts[0]
    args = [interp]
    if len(parts) > 1 and parts[1].strip():
        args.append(line[len(interp) :].strip(b" \t"))
    prog.argv = [*args, prog.execfn, *prog.argv[1:]]
    f = _open(t, start_at(t, AT_FDCWD, interp), interp)
    _close(prog.file)
    prog.file = f
    prog.execfn = interp


def exec_program(t: Task, prog: Program) -> None:
    """Replaces the task's program. Raises SysErr before the point of no return; TaskExit after it. May suspend."""
    k = t.k
    size = sum(len(s) + 9 for s in prog.argv) + sum(len(s) + 9 for s in prog.envp)
    limit = min(max(t.tg.rlimit(3) // 4, 131072), 6 << 20)
    if size > limit or any(len(s) >= ARG_MAX_STRLEN for s in (*prog.argv, *prog.envp)):
        raise SysErr(errno.E2BIG)
    creds, secure = exec_creds(t, prog.file)
    look_last(t)  # its stub is still awake now
    try:
        space, th = k.take_clean(t)
    except (PlatformError, OSError):
        raise SysErr(errno.EAGAIN) from None
    # The one takes the other's core
    t.thread.trap.rest()
    th.trap.get_ready()
    mm = MM(space)
    mm.users = 1
    mm.no_patch = t.tracee is not None
    assert prog.file.path is not None
    mm.set_exe(prog.file.path)
    th.task = t
    old = (t.thread, t.mm)
    t.thread, t.mm = th, mm
    try:
        users = creds.userns
        ids = (
            users.uid_out(creds.uid),
            users.uid_out(creds.euid),
            users.gid_out(creds.gid),
            users.gid_out(creds.egid),
        )
        _load(t, prog, mm, *ids, secure)
        # A program without an interpreter that maps text is one itself, or a translator of code (valgrind).
        mm.patch_late = prog.interp is None
        th.run()
    except BaseException:
        t.thread, t.mm = old
        mm.put_exe()
        k.drop_thread(th)
        space.kill()
        raise
    # No way back from here.
    t.thread, t.mm = old
    _kill_others(t)
    if t.memory() is not None:
        leave_mm(t, True)
    t.thread, t.mm = th, mm
    t.creds = creds
    t.publish()
    _reset(t, prog, secure)


def _kill_others(t: Task) -> None:
    """The other threads of the group end; the caller takes over the leader's id."""
    tg = t.tg
    others = [u for u in tg.tasks.values() if u is not t]
    for u in others:
        u.kill()
    while any(u is not t for u in tg.tasks.values()):
        if t.exiting:
            raise TaskExit
        t.k.loop.call_at(t.k.monotonic_ns() + 200_000, lambda: t._resume(1))
        t.token = t.k.loop.token()
        t.uninterruptible = True
        t.k.loop.suspend()
        t.token = None
    if t.tid != tg.pid:
        tg.pids.drop(t.tid)
        tg.tasks.pop(t.tid, None)
        t.tg.pids.release_pid(t.tid)
        t.tid = tg.pid
        tg.tasks[t.tid] = t
        tg.pids.add(t)


def _reset(t: Task, prog: Program, secure: bool) -> None:
    """What exec resets in the task (execve(2), "Effect on process attributes")."""
    tg = t.tg
    if len(t.files.files) and t.files.refs > 1:
        t.files.refs -= 1
        t.files = t.files.fork()
        forget_thread(t.thread.cdata)
    t.files.drop_cloexec(t)
    tg.sighand = tg.sighand.copy()
    tg.sighand.reset_for_exec()
    t.altstack = (0, 2, 0)
    t.keys = t.keys.inherit(False)
    t.comm = prog.execfn.rsplit(b"/", 1)[-1][:15]
    t.clear_tid = t.robust_list = 0
    t.rseq = None
    t.gs_base = 0
    t.undo = None
    tg.did_exec = True
    tg.exit_signal = sg.SIGCHLD if tg.exit_signal else tg.exit_signal
    tg.dumpable = 0 if secure else 1
    for timer in tg.posix_timers.values():
        timer.cancel()
    tg.posix_timers.clear()


def _load(
    t: Task, prog: Program, mm: MM, uid: int, euid: int, gid: int, egid: int, secure: bool
) -> None:
    if secure:
        t.personality &= ~CLEAR_ON_SETID
    chance = no_chance if t.personality & ADDR_NO_RANDOMIZE else random_pages
    stack_top = TASK_SIZE - chance(22) - GAP
    limit = t.tg.rlimit(3)
    size = min(max(page_up(min(limit, MAX_STACK)), MIN_STACK), FIRST_STACK)
    mm.stack_start = stack_top - 1
    # As Linux leaves room: for what the limit lets the stack grow to.
    room = min(max(limit, MIN_ROOM), TASK_SIZE // 6 * 5)
    mm.mmap_base = (stack_top - room - GAP - chance(16)) & ~0xFFF
    h = prog.header
    bias = 0
    if h.pie:
        lo, hi = h.span()
        if prog.interp is not None:
            bias = (PIE_BASE + chance(28)) & ~(h.align - 1)
        else:  # a static PIE, or an interpreter run by hand: among the mappings
            bias = mm.map.find_gap(hi - lo + h.align, 0x10000, mm.mmap_base) & ~(h.align - 1)
        bias -= lo & ~(h.align - 1)
    end = _map_image(t, mm, prog.file, h, bias)
    mm.brk_start = mm.brk = page_up(end) + chance(13)
    entry = h.entry + bias
    base = 0
    if prog.interp is not None and prog.interp_header is not None:
        ih = prog.interp_header
        lo, hi = ih.span()
        ibias = 0
        if ih.pie:
            ibias = (
                mm.map.find_gap(hi - lo + ih.align, 0x10000, mm.mmap_base) & ~(ih.align - 1)
            ) - lo
            base = ibias + lo
        _map_image(t, mm, prog.interp, ih, ibias)
        entry = ih.entry + ibias
    prot = 3 | (4 if h.stack_exec else 0)
    mm.mmap(
        t,
        stack_top - size,
        size,
        prot,
        MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE | MAP_GROWSDOWN,
        None,
        0,
        kind=STACK,
    )
    aux = [
        (AT_SYSINFO_EHDR, mm.vdso), (AT_HWCAP, HWCAP[0]), (AT_PAGESZ, 4096), (AT_CLKTCK, 100),
        (AT_PHDR, h.phdr_vaddr + bias), (AT_PHENT, h.phentsize), (AT_PHNUM, h.phnum), (AT_BASE, base),
        (AT_FLAGS, 0), (AT_ENTRY, h.entry + bias), (AT_UID, uid), (AT_EUID, euid), (AT_GID, gid),
        (AT_EGID, egid), (AT_SECURE, int(secure)), (AT_HWCAP2, HWCAP[1]), (AT_MINSIGSTKSZ, HWCAP[2]),
    ]  # fmt: skip
    sp = _build_stack(t, prog, mm, stack_top, aux)
    regs = t.thread.regs
    for i in range(NREG):
        regs[i] = 0
    regs[RIP], regs[RSP], regs[EFL] = entry, sp, 0x202


HWCAP: Final[list[int]] = [0, 0, 2048]  # of the host's own auxv: set once at boot


def _map_image(t: Task, mm: MM, f: FileDescription, h: elf.Elf, bias: int) -> int:
    """Maps the segments; the end of the highest one."""
    th = t.thread
    end = 0
    fd = f.mappable(t).host_fd(t, False)
    limit = f.inode.getattr(t).size
    mm.donate(t, fd)
    for s in h.segments:
        if s.filesz and s.offset + s.filesz > limit:
            raise SysErr(errno.ENOEXEC)
        va = s.vaddr + bias
        start = va & ~0xFFF
        fend = va + s.filesz
        mend = page_up(va + s.memsz)
        if s.filesz:
            mm.mmap(
                t,
                start,
                page_up(fend) - start,
                s.prot,
                MAP_PRIVATE | MAP_FIXED,
                f,
                s.offset & ~0xFFF,
                fd,
            )
        file_end = page_up(fend) if s.filesz else start
        if s.memsz > s.filesz:
            if s.prot & 2 and s.filesz and fend & 0xFFF:
                th.copy_out(fend, bytes(file_end - fend))
            if mend > file_end:
                mm.mmap(t, file_end, mend - file_end, s.prot, MAP_PRIVATE | MAP_FIXED, None, 0)
        end = max(end, va + s.memsz)
    mm.take_back(t)
    return end


def _build_stack(t: Task, prog: Program, mm: MM, top: int, aux: list[tuple[int, int]]) -> int:
    """Strings, auxv, envp, argv, argc (psABI 3.4.1); the initial stack pointer."""
    blob = bytearray(8)  # Linux leaves a null word at the very top

    def push(data: bytes) -> int:
        blob[0:0] = data
        return top - len(blob)

    execfn = push(prog.execfn + b"\0")
    strings = b"\0".join([*prog.argv, *prog.envp, b""])
    at = push(strings)
    ptrs = []
    for s in (*prog.argv, *prog.envp):
        ptrs.append(at)
        at += len(s) + 1
    argc = len(prog.argv)
    start = ptrs[0] if ptrs else at
    mm.arg_start = start
    mm.arg_end = mm.env_start = ptrs[argc] if len(ptrs) > argc else at
    mm.env_end = at
    mm.args = strings
    push(bytes((top - len(blob)) & 15))
    platform = push(b"x86_64\0".ljust(16, b"\0"))
    rand = push(os.urandom(16))
    aux = [*aux, (AT_RANDOM, rand), (AT_EXECFN, execfn), (AT_PLATFORM, platform), (AT_NULL, 0)]
    words = [argc, *ptrs[:argc], 0, *ptrs[argc:], 0]
    mm.auxv = b"".join(struct.pack("<QQ", a, v & (2**64 - 1)) for a, v in aux)
    table = struct.pack(f"<{len(words)}Q", *words) + mm.auxv
    if (top - len(blob) - len(table)) & 15:
        push(bytes(8))
    sp = push(table)
    t.thread.copy_out(sp, bytes(blob))
    t.thread.run()
    return sp
