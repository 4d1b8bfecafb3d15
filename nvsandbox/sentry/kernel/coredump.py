"""Core files (Linux: fs/coredump.c, fs/binfmt_elf.c elf_core_dump; core(5)).

The other threads are held where they are, in their calls or on their way back from the application, so that their registers and the
memory stand still. Pages that were never touched become holes of the file.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr, TaskExit
from ..mm.vma import DONTDUMP, PAGE, PROT_EXEC, PROT_READ, PROT_WRITE, STUB, VDSO, WRITTEN
from ..vfs.dirops import unlink
from ..vfs.namei import AT_FDCWD
from ..vfs.open import open_path
from ..vfs.path import path_name
from .cputime import group_usage
from .regset import NT_PRFPREG, NT_PRSTATUS, NT_X86_XSTATE, REGS, read_state, user_regs
from .remote import Access, access, read_remote
from .wait import WaitQueue

if TYPE_CHECKING:
    from ..mm.mm import MM
    from ..mm.vma import Vma
    from ..vfs.file import FileDescription
    from .signal import SigInfo
    from .task import Task

RLIMIT_CORE: Final = 4
NT_PRPSINFO: Final = 3
NT_AUXV: Final = 6
NT_SIGINFO: Final = 0x53494749
NT_FILE: Final = 0x46494C45
EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR: Final = struct.Struct("<IIQQQQQQ")
SHDR: Final = struct.Struct("<IIQQQQIIQQ")
PRSTATUS: Final = struct.Struct("<iiihxxQQiiiiQQQQQQQQ216sixxxx")
PRPSINFO: Final = struct.Struct("<bcbbxxxxQIIiiii16s80s")
assert PRSTATUS.size == 336 and PRPSINFO.size == 136
PT_LOAD: Final = 1
PT_NOTE: Final = 4
PN_XNUM: Final = 0xFFFF
# coredump_filter: which mappings are in it (core(5))
ANON_PRIVATE, ANON_SHARED, FILE_PRIVATE, FILE_SHARED, ELF_HEADERS = 1, 2, 4, 8, 16
DEFAULT_FILTER: Final = 0x33
FILTERS: Final = 0x1FF
PATTERN_LEN: Final = 127
PATIENCE: Final = 1_000_000_000  # ns for the other threads to come by
BLOCK: Final = 4096  # pages asked for at once whether any was touched
CHUNK: Final = 16  # pages read at once


@final
class Settings:
    """/proc/sys/kernel/core_pattern and core_uses_pid."""

    __slots__ = ("pattern", "uses_pid")

    def __init__(self) -> None:
        self.pattern = b"core"
        self.uses_pid = 0


SETTINGS: Final[Settings] = Settings()


@final
class Hold:
    """The threads of a process that is being dumped wait here."""

    __slots__ = ("forever", "here", "queue")

    def __init__(self) -> None:
        self.here: set[Task] = set()
        self.queue = WaitQueue()  # one more is here
        self.forever = WaitQueue()


def hold(t: Task) -> None:
    """On a thread's way back to the application: it stays until it is killed. Raises TaskExit."""
    h = t.tg.core
    assert h is not None
    h.here.add(t)
    h.queue.wake()
    while True:
        t.wait(h.forever, interruptible=False)


def _stand_still(t: Task, h: Hold) -> list[Task]:
    """The other threads, as far as they could be made to stop."""
    others = [u for u in t.tg.tasks.values() if u is not t]
    for u in others:
        u.notify_signal()
    deadline = t.k.monotonic_ns() + PATIENCE
    while t.k.monotonic_ns() < deadline:
        if all(_stands(u, h) or u.exiting for u in others):
            break
        t.wait(h.queue, deadline=deadline, interruptible=False)
    return [u for u in others if _stands(u, h) and not u.exiting]


def _stands(u: Task, h: Hold) -> bool:
    tr = u.tracee
    return (
        u in h.here
        or (tr is not None and tr.stopped)
        or (u.token is not None and u.uninterruptible)
    )


def dump(t: Task, info: SigInfo) -> bool:
    """Writes the core of a process that ``info`` is about to end; whether there is one now. May suspend. Raises TaskExit."""
    tg = t.tg
    limit = tg.rlimits[RLIMIT_CORE][0]
    if limit < PAGE or tg.dumpable != 1 or tg.core is not None or t.memory() is None:
        return False
    tg.core = Hold()
    try:
        threads = [t, *_stand_still(t, tg.core)]
        f = _open(t, info)
        f.incref()
        try:
            return Writer(t, f, limit).write(threads, info)
        finally:
            f.decref()
    except SysErr:
        return False


def _open(t: Task, info: SigInfo) -> FileDescription:
    """The file that the pattern names, made in the place of an older one. Raises SysErr."""
    name = _name(t, info)
    base = t.fs.root if name[:1] == b"/" else t.fs.cwd
    with contextlib.suppress(SysErr):
        unlink(t, AT_FDCWD, name)
    return open_path(t, base, name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)


def _name(t: Task, info: SigInfo) -> bytes:
    """core(5), "Naming of core dump files"."""
    tg, c = t.tg, t.creds
    exe = t.mm.exe
    full = path_name(exe, t.fs.root) if exe is not None else t.comm
    values = {
        b"%": b"%", b"p": b"%d" % tg.nr, b"P": b"%d" % tg.pid, b"i": b"%d" % t.nr, b"I": b"%d" % t.tid,
        b"u": b"%d" % c.uid, b"g": b"%d" % c.gid, b"d": b"%d" % tg.dumpable, b"s": b"%d" % info.signo,
        b"t": b"%d" % (t.k.realtime_ns() // 10**9), b"h": _safe(t.ns.uts.hostname), b"e": _safe(t.comm),
        b"f": _safe(full.rsplit(b"/", 1)[-1]), b"E": full.replace(b"/", b"!"), b"c": b"%d" % tg.rlimits[RLIMIT_CORE][0],
        b"C": b"0",
    }  # fmt: skip
    out, parts = b"", SETTINGS.pattern
    pid = False
    at = 0
    while at < len(parts):
        ch = parts[at : at + 1]
        at += 1
        if ch == b"%":
            ch = parts[at : at + 1]
            at += 1
            pid = pid or ch == b"p"
            ch = values.get(ch, b"")
        out += ch
    if SETTINGS.uses_pid and not pid:
        out += b".%d" % tg.nr
    return out


def _safe(name: bytes) -> bytes:
    """A part of a file name that leads nowhere else."""
    name = name.replace(b"/", b"!")
    return b"!" + name[1:] if name in (b".", b"..") else name


@final
class Writer:
    """One core file."""

    __slots__ = ("f", "limit", "t")

    def __init__(self, t: Task, f: FileDescription, limit: int) -> None:
        self.t = t
        self.f = f
        self.limit = limit

    def put(self, data: bytes, offset: int) -> bool:
        """False once the limit is reached, or there is no room."""
        data = data[: max(self.limit - offset, 0)]
        while data:
            n = self.f.pwrite(self.t, data, offset)
            if n <= 0:
                return False
            data, offset = data[n:], offset + n
        return offset < self.limit

    def write(self, threads: list[Task], info: SigInfo) -> bool:
        t = self.t
        mm = t.mm
        areas = [v for v in mm.map.vmas if v.kind != STUB]
        sizes = [self._size(v) for v in areas]
        notes = self._notes(threads, info, areas)
        count = len(areas) + 1
        at = EHDR.size + PHDR.size * count
        head = PHDR.pack(PT_NOTE, 0, at, 0, 0, len(notes), 0, 4)
        data = (at + len(notes) + PAGE - 1) & ~(PAGE - 1)
        where = data
        for v, size in zip(areas, sizes, strict=True):
            flags = (
                (4 if v.prot & PROT_READ else 0)
                | (2 if v.prot & PROT_WRITE else 0)
                | (1 if v.prot & PROT_EXEC else 0)
            )
            head += PHDR.pack(PT_LOAD, flags, where, v.start, 0, size, v.end - v.start, PAGE)
            where += size
        many = count >= PN_XNUM
        ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
        elf = EHDR.pack(
            ident, 4, 62, 1, 0, EHDR.size, where if many else 0, 0, EHDR.size, PHDR.size, PN_XNUM if many else count,
            SHDR.size if many else 0, int(many), 0,
        )  # fmt: skip
        self.put(elf + head + notes, 0)
        where = data
        for v, size in zip(areas, sizes, strict=True):
            if size and not self._area(mm, v, where, size):
                return True  # cut off: still a core
            where += size
        if many:
            self.put(SHDR.pack(0, 0, 0, 0, 0, 1, 0, count, 0, 0), where)
        if self.f.inode.end(t) < min(where, self.limit):
            self.f.truncate(t, min(where, self.limit))
        return True

    # Memory
    def _size(self, v: Vma) -> int:
        """Bytes of an area that are in the file (Linux: vma_dump_size)."""
        whole = v.end - v.start
        bits = self.t.tg.core_filter
        if v.kind == VDSO:
            return whole
        if v.flags & DONTDUMP:
            return 0
        if v.shared:
            nameless = v.file is None or v.file.inode.nlink == 0
            return whole if bits & (ANON_SHARED if nameless else FILE_SHARED) else 0
        if v.file is None or v.flags & WRITTEN:
            if bits & ANON_PRIVATE:
                return whole
        if v.file is None:
            return 0
        if bits & FILE_PRIVATE:
            return whole
        if bits & ELF_HEADERS and v.offset == 0 and v.prot & PROT_READ:
            if v.prot & PROT_EXEC or self._read(v.start, 4) == b"\x7fELF":
                return PAGE
        return 0

    def _read(self, addr: int, size: int) -> bytes:
        return read_remote(self.t, self.t.mm, addr, size, True)

    def _touched(self, areas: list[tuple[int, int]]) -> list[int]:
        def ask(a: Access) -> list[int]:
            return a.present(areas)

        return access(self.t, self.t.mm, ask)

    def _area(self, mm: MM, v: Vma, where: int, size: int) -> bool:
        end = v.start + size
        step = BLOCK * PAGE
        for lo in range(v.start, end, step):
            if self.t.exiting:
                raise TaskExit
            hi = min(lo + step, end)
            if v.file is None and not self._touched([(lo, (hi - lo) // PAGE)])[0]:
                continue
            pieces = [(a, min(a + CHUNK * PAGE, hi)) for a in range(lo, hi, CHUNK * PAGE)]
            if v.file is None:
                there = self._touched([(a, (b - a) // PAGE) for a, b in pieces])
                pieces = [p for p, n in zip(pieces, there, strict=True) if n]
            for a, b in pieces:
                if not self._piece(a, b, where + a - v.start):
                    return False
        return True

    def _piece(self, a: int, b: int, where: int) -> bool:
        while a < b:
            data = self._read(a, b - a)
            if not data:  # beyond a file's end, say
                a, where = (a & ~(PAGE - 1)) + PAGE, where + PAGE - (a & (PAGE - 1))
                continue
            if data.count(0) != len(data) and not self.put(data, where):
                return False
            a, where = a + len(data), where + len(data)
        return True

    # Notes
    def _notes(self, threads: list[Task], info: SigInfo, areas: list[Vma]) -> bytes:
        t = self.t
        out = _note(NT_PRSTATUS, self._status(t, info.signo))
        out += _note(NT_PRPSINFO, self._process())
        out += _note(NT_SIGINFO, info.pack(t))
        out += _note(NT_AUXV, t.mm.auxv)
        out += _note(NT_FILE, self._files(areas))
        out += _state(t)
        for u in threads[1:]:
            out += _note(NT_PRSTATUS, self._status(u, info.signo)) + _state(u)
        return out

    def _status(self, u: Task, sig: int) -> bytes:
        """struct elf_prstatus."""
        tg, ns = u.tg, u.tg.pidns
        ppid = ns.number(tg.parent.pid) if tg.parent is not None else 0
        own, kids = group_usage(tg), tg.child_used
        times = [x for ns_ in (own.utime, own.stime, kids.utime, kids.stime) for x in (ns_ // 10**9, ns_ // 1000 % 10**6)]  # fmt: skip
        return PRSTATUS.pack(
            sig, 0, 0, sig, u.pending.mask, u.blocked, ns.number(u.tid), ppid, ns.number(tg.pgid), ns.number(tg.sid), *times,
            REGS.pack(*user_regs(u)), 1,
        )  # fmt: skip

    def _process(self) -> bytes:
        """struct elf_prpsinfo."""
        t = self.t
        tg, ns, c, mm = t.tg, t.tg.pidns, t.creds, t.mm
        ppid = ns.number(tg.parent.pid) if tg.parent is not None else 0
        args = b""
        if mm.arg_end > mm.arg_start:
            args = self._read(mm.arg_start, min(mm.arg_end - mm.arg_start, 79))
        users = c.userns
        return PRPSINFO.pack(
            0, b"R", 0, t.nice, 0, users.uid_out(c.uid), users.gid_out(c.gid), ns.number(tg.pid), ppid,
            ns.number(tg.pgid), ns.number(tg.sid), t.comm, args.rstrip(b"\0").replace(b"\0", b" "),
        )  # fmt: skip

    def _files(self, areas: list[Vma]) -> bytes:
        """Which file is mapped where: addresses, offset in pages, name."""
        rows, names = [], b""
        for v in areas:
            p = v.file.path if v.file is not None else None
            if p is None:
                continue
            rows.append(struct.pack("<QQQ", v.start, v.end, v.offset // PAGE))
            names += path_name(p, self.t.fs.root) + b"\0"
        return struct.pack("<QQ", len(rows), PAGE) + b"".join(rows) + names


def _state(u: Task) -> bytes:
    """Floating point and extended registers; nothing for a thread that has lent its own to a vfork child."""
    try:
        fp = read_state(u, NT_PRFPREG)
        ext = read_state(u, NT_X86_XSTATE)
    except SysErr:
        return b""
    out = _note(NT_PRFPREG, fp)
    return out + _note(NT_X86_XSTATE, ext, b"LINUX") if len(ext) > len(fp) else out


def _note(kind: int, data: bytes, name: bytes = b"CORE") -> bytes:
    name += b"\0"
    head = struct.pack("<III", len(name), len(data), kind)
    return head + name.ljust((len(name) + 3) & ~3, b"\0") + data.ljust((len(data) + 3) & ~3, b"\0")
