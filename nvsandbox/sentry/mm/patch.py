"""Call-site patching: hot ``syscall`` instructions become jumps, so that no signal is needed to trap.

A site is seven bytes of a file's text that end in ``syscall`` (or four, ``xor %eax,%eax; syscall``, with the compare that
follows); any other site has two, enough for a short jump into padding between functions that is near. They are replaced by ``jmp *table[i]``: ``table[i]`` points at trampoline i, which loads what the site
would have loaded, finds the site's own address in this address space in ``ret[i]`` and enters the stub. Table and trampolines
are the sandbox's, at a fixed low address in every stub; ``ret`` is private memory of each (platform/native/proto.h).

The text itself is never written. Per file there is a sealed memfd, a *generation*, that holds the patched stretches of its
text, mapped over the file's own (hazards B21, C3): every process shares the pages, and a process that runs sees the change at once
and whole, by one mmap. Sites that glibc's own pattern gives away are patched when a file's text is first mapped; others once
they have trapped often. A site that has new neighbours waits for the next generation.

A jump into the middle of a patched site meets an invalid instruction by construction and is emulated (``emulate``). Text that the
application makes writable gets its own bytes back first, and so does everything once a thread sets gs itself.

Patched stretches can be executed only, where the host's processor has protection keys (mmap(2): PROT_EXEC alone). A program that
reads its own text, or has a call do it, faults and gets the file's bytes of that page back for good (``show``), or the whole stretch
when it goes on reading. Without protection keys it sees the jumps.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, final

from ...platform.interface import (
    EFL,
    ENTRY_OFF,
    KNOWN_OFF,
    LOW_CODE,
    LOW_CODE_SIZE,
    LOW_RET,
    LOW_SITES,
    LOW_TABLE,
    R11,
    RAX,
    RCX,
    RIP,
)
from ...platform.native._native import lib
from ..errors import SysErr
from ..kernel.remote import access
from ..vfs.regular import RegMappable
from .mm import MAP_PRIVATE, TASK_SIZE
from .vma import PAGE, PROT_EXEC, PROT_READ, PROT_WRITE, WRITTEN, Vma

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from .mm import MM

Reader = Callable[[int, int], bytes]

log = logging.getLogger("nvsandbox.sentry")

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
EAGER_MAX: Final = 8 << 20  # bytes of text searched when it is first mapped
FIRST, FACTOR, BUILD_AT = 2, 4, 8  # a site is noted at 2 traps, patched from 8 on
BUILD_GAP_NS: Final = 5_000_000
MAX_BUILDS: Final = 24
SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
SYSCALL_LEN: Final = 2
JUMP_LEN: Final = 7
PADDING: Final = b"\xcc" * JUMP_LEN
REACH: Final = 120  # of a short jump, bytes
ALIGNED: Final = 16  # functions are, and padding ends where one begins
AROUND: Final = 16  # bytes around a call that tell whether it is a site
EFL_ARITH: Final = 0x8D5
SHOW_MAX: Final = 8  # pages that get their own bytes back one by one


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
class Mapped:
    """A generation in an address space: file offset 0 is at ``base``; ``shown``: offsets from where to where the file's own text
    is mapped, since it was read. Shared by parent and child, so never changed."""

    __slots__ = ("base", "gen", "shown", "text")

    def __init__(
        self, text: PatchedText, gen: Generation, base: int, shown: tuple[tuple[int, int], ...]
    ) -> None:
        self.text = text
        self.gen = gen
        self.base = base
        self.shown = shown

    def is_shown(self, off: int) -> bool:
        return any(a <= off < b for a, b in self.shown)

    def hidden(self, lo: int, hi: int) -> Iterator[tuple[int, int]]:
        """What of [lo, hi) is not shown."""
        for a, b in sorted(self.shown):
            if lo < a < hi:
                yield lo, a
            if a < hi and b > lo:
                lo = b
        if lo < hi:
            yield lo, hi


@final
class Patcher:
    """One for the sandbox. ``how``: "on", or "forced": patch at the first trap (tests)."""

    __slots__ = ("_low", "_mov", "_xor", "build_at", "eager", "known")

    def __init__(self, low: memoryview, how: str) -> None:
        self._low = low
        self.known: dict[
            tuple[int, ...], PatchedText
        ] = {}  # files that were looked at before they were mapped
        free = range(LOW_SITES - 1, -1, -1)
        xor = [i for i in free if ((LOW_TABLE + 8 * i) >> 8) & 0xFF in INVALID]
        taken = set(xor)
        self._xor = xor
        self._mov = [i for i in free if i not in taken]
        self.eager = how != "forced"
        self.build_at = BUILD_AT if how != "forced" else 1
        lib.nv_set_patching(FIRST if how != "forced" else 1, FACTOR)

    # From text to sites
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

    def _add(self, text: PatchedText, end: int, before: bytes, after: bytes, nr: int) -> bool:
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

    def _add_short(self, text: PatchedText, end: int, fd: int, lo: int, hi: int) -> bool:
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

    def _search(self, text: PatchedText, fd: int, offset: int, size: int) -> bool:
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
                    found |= self._add(text, start + end, before, data[end : end + 6], -1)
                i = data.find(GLIBC, end)
        return found

    def _build(self, text: PatchedText, fd: int) -> None:
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

    # Address spaces
    def _text_of(self, m: RegMappable, fd: int) -> PatchedText:
        """Of the file as it is now: what was known of other content is forgotten."""
        identity = identity_of(fd)
        text = m.text
        if isinstance(text, PatchedText) and text.identity == identity:
            return text
        found = self.known.pop(identity, None) or PatchedText(identity)
        m.text = found
        return found

    def look_at(self, fd: int, offset: int, size: int) -> None:
        """Finds the sites of a stretch of text that will be mapped."""
        identity = identity_of(fd)
        text = self.known.setdefault(identity, PatchedText(identity))
        self._look(text, fd, offset, size)

    def _look(self, text: PatchedText, fd: int, offset: int, size: int) -> None:
        if self.eager and offset not in text.seen and size <= EAGER_MAX:
            text.seen.add(offset)
            if self._search(text, fd, offset, size):
                self._build(text, fd)

    def mapped(
        self, t: Task, mm: MM, at: int, size: int, offset: int, file: FileDescription, fd: int
    ) -> None:  # fmt: skip
        """Text of ``file`` is being mapped (its mmap is queued): queues what maps the patched stretches over it."""
        m = file.mappable(t)
        if not isinstance(m, RegMappable) or file.inode.writers > 0:
            return
        text = self._text_of(m, fd)
        self._look(text, fd, offset, size)
        if text.gen is not None:
            self._map(t, mm, text, at, size, offset)

    def _map(self, t: Task, mm: MM, text: PatchedText, at: int, size: int, offset: int) -> bool:
        gen = text.gen
        assert gen is not None
        base = at - offset
        old = None
        for p in mm.patches:
            if p.text is text:
                if p.base != base and self._still(mm, p):
                    return False  # mapped twice: a site has one address
                old = p
                break
        if old is not None:
            mm.patches.remove(old)
        lo, hi = offset, offset + size
        self._fill(t, [s for s in gen.sites if lo <= s.low() and s.high() + 6 <= hi], base)
        new = Mapped(text, gen, base, old.shown if old is not None and old.base == base else ())
        for a, b in gen.ranges:
            for c, d in new.hidden(max(a, lo), min(b, hi)):
                mm.host_mmap(t, base + c, d - c, PROT_EXEC, MAP_PRIVATE, gen.fd, c)
        mm.patches.append(new)
        return True

    def _fill(self, t: Task, sites: list[Site], base: int) -> None:
        """``ret`` of these sites, in runs of neighbours."""
        order = sorted(sites, key=lambda s: s.index)
        i = 0
        while i < len(order):
            j = i + 1
            while j < len(order) and order[j].index == order[j - 1].index + 1:
                j += 1
            run = array.array("Q", [base + s.end for s in order[i:j]])
            t.thread.copy_out(LOW_RET + 8 * order[i].index, run.tobytes())
            i = j

    def _still(self, mm: MM, p: Mapped) -> bool:
        """Whether any of it is mapped where it was."""
        for lo, _hi in p.gen.ranges:
            for s in p.gen.sites:
                if s.end > lo:
                    v = mm.map.find(p.base + s.end - 1)
                    if v is not None and self._same(v, p):
                        return True
                    break
        return False

    def _same(self, v: Vma, p: Mapped) -> bool:
        if v.file is None or v.shared or v.start - v.offset != p.base:
            return False
        m = v.file.inode.map
        return isinstance(m, RegMappable) and m.text is p.text

    def hot(self, t: Task, nr: int, count: int) -> None:
        """A call site has trapped ``count`` times: patches it when it can be. May suspend; the event's arguments are gone."""
        mm = t.mm
        if mm.no_patch or nr in NEVER:
            return
        rip = t.thread.regs[RIP]
        v = mm.map.find(rip - 1)
        if v is None or v.file is None or not patchable(v):
            return
        m = v.file.mappable(t)
        if not isinstance(m, RegMappable) or v.file.inode.writers > 0:
            return
        fd = m.host_fd(t, False)
        text = self._text_of(m, fd)
        end = v.offset + rip - v.start
        if end not in text.sites:
            if end in text.refused:
                return
            lo = max(end - 12, 0)
            data = os.pread(fd, end - lo + 6, lo)
            stop = v.offset + v.end - v.start
            if end + 6 > stop or not (
                self._add(text, end, data[: end - lo], data[end - lo :], nr)
                or self._add_short(text, end, fd, v.offset, stop)
            ):
                text.refused.add(end)
                return
        if count < self.build_at or any(p.text is text and p.is_shown(end - 1) for p in mm.patches):
            return
        gen = text.gen
        if gen is None or text.sites[end] not in gen.sites:
            if text.builds >= MAX_BUILDS:
                return
            if time.monotonic_ns() - text.built_at < BUILD_GAP_NS and self.eager:
                return
            self._build(text, fd)
        locked = mm.users > 1
        if locked:
            mm.lock(t)
        try:
            if self._map(t, mm, text, v.start, v.end - v.start, v.offset):
                t.thread.run()
        finally:
            if locked:
                mm.unlock()

    def _stretches(self, mm: MM, lo: int, hi: int) -> Iterator[tuple[Vma, int, int]]:
        """Stretches mapped from a generation that reach into [lo, hi): whose text, from where to where."""
        for p in mm.patches:
            for a, b in p.gen.ranges:
                a, b = p.base + a, p.base + b
                if a < hi and lo < b:
                    for v in mm.map.overlapping(max(lo, a), min(hi, b)):
                        if v.file is not None and patchable(v) and self._same(v, p):
                            yield v, max(v.start, a), min(v.end, b)

    def restore(self, t: Task, mm: MM, lo: int, hi: int) -> None:
        """Queues the file's own text back over what is patched in [lo, hi)."""
        for v, at, end in list(self._stretches(mm, lo, hi)):
            mm.host_mmap(
                t, at, end - at, v.prot, MAP_PRIVATE, _text_fd(t, v), v.offset + at - v.start
            )

    def hides(self, mm: MM, addr: int) -> bool:
        """Whether the page at ``addr`` can be executed only."""
        for p in mm.patches:
            off = addr - p.base
            if any(a <= off < b for a, b in p.gen.ranges) and not p.is_shown(off):
                v = mm.map.find(addr)
                if v is not None and patchable(v) and self._same(v, p):
                    return True
        return False

    def show(self, t: Task, lo: int, hi: int) -> bool:
        """[lo, hi) is read by the task's program, or by a call of it: what can be executed only gets the file's own bytes, for good.
        Whether there is any. May suspend. Raises SysErr when the host can't."""
        mm = t.mm
        locked = mm.users > 1 and not mm.is_locked_by(t)
        if locked:
            mm.lock(t)
        try:
            found = False
            for p in list(mm.patches):
                for v, at, end in list(self._stretches(mm, lo, hi)):
                    if self._same(v, p):
                        found = True
                        if len(p.shown) < SHOW_MAX:
                            at = max(at, lo & ~(PAGE - 1))
                            end = min(end, (hi + PAGE - 1) & ~(PAGE - 1))
                        p = self._show(t, mm, p, v, at, end)
            return found
        finally:
            if locked:
                mm.unlock()

    def _show(self, t: Task, mm: MM, p: Mapped, v: Vma, at: int, end: int) -> Mapped:
        parts = tuple(p.hidden(at - p.base, end - p.base))
        for a, b in parts:
            lo, hi = p.base + a, p.base + b
            mm.host_mmap(
                t, lo, hi - lo, v.prot, MAP_PRIVATE, _text_fd(t, v), v.offset + lo - v.start
            )
        t.thread.run()
        new = Mapped(p.text, p.gen, p.base, (*p.shown, *parts))
        if p in mm.patches:  # or all of it has been given back meanwhile
            mm.patches[mm.patches.index(p)] = new
        return new

    def read(self, t: Task, mm: MM, addr: int, size: int, plain: Reader) -> bytes:
        """``size`` bytes at ``addr`` of a process's memory, as far as there are any: patched text from its file, the rest by
        ``plain``. May suspend."""
        out: list[bytes] = []
        at, stop = addr, addr + size
        for v, lo, hi in sorted(self._stretches(mm, addr, stop), key=lambda s: s[1]):
            lo, hi = max(lo, at), min(hi, stop)
            if lo >= hi:
                continue
            if at < lo:
                out.append(plain(at, lo - at))
                if len(out[-1]) < lo - at:
                    return b"".join(out)
            out.append(os.pread(_text_fd(t, v), hi - lo, v.offset + lo - v.start))
            at = hi
            if len(out[-1]) < hi - lo:  # the file has become shorter
                return b"".join(out)
        if at < stop:
            out.append(plain(at, stop - at))
        return b"".join(out)

    def about_to_write(self, t: Task, mm: MM, lo: int, hi: int) -> None:
        """[lo, hi) is about to be written past its protection: text there gets its own bytes back first, for good. May suspend."""
        for v in mm.map.overlapping(lo, hi):
            patched = list(self._stretches(mm, v.start, v.end))
            if patched:
                mm.map.replace(v.start, v.end, [v.with_(flags=v.flags | WRITTEN)])
                self._give_back(t, mm, patched)

    def may_change(self, t: Task, m: RegMappable) -> None:
        """``m``'s file may be written from now on: whoever maps text of it gets the file's own. May suspend."""
        for mm in {id(mm): mm for u in t.k.every_task() if (mm := u.memory()) is not None}.values():
            for p in list(mm.patches):
                if p.text is m.text:
                    patched = [s for s in self._stretches(mm, 0, TASK_SIZE) if self._same(s[0], p)]
                    mm.patches.remove(p)
                    with contextlib.suppress(SysErr):  # it is gone
                        self._give_back(t, mm, patched)

    def _give_back(self, t: Task, mm: MM, patched: list[tuple[Vma, int, int]]) -> None:
        for v, lo, hi in patched:
            fd = os.dup(_text_fd(t, v))
            try:
                _map_own(t, mm, v, lo, hi, fd)
            finally:
                os.close(fd)

    def emulate(self, t: Task) -> int:
        """After an invalid instruction: 1 when it was a system call in the middle of a patched site, whose registers are now as at
        a trap; 2 when it was the rest of a site, which is done; 0 otherwise."""
        regs = t.thread.regs
        rip = regs[RIP]
        mm = t.mm
        for p in mm.patches:
            v = mm.map.find(rip)
            if v is None or not self._same(v, p):
                continue
            off = rip - p.base
            s = p.text.sites.get(off)
            if s is not None and s.kind == XOR:
                regs[EFL] = (regs[EFL] & ~EFL_ARITH) | compare_flags(regs[RAX], s.tail)
                regs[RIP] = rip + 6
                return 2
            s = p.text.sites.get(off + SYSCALL_LEN)
            if s is None or s.kind in (XOR, SHORT):
                s = p.text.sites.get(off - 3)  # the end of an `and` that jumped-into xor became
                if s is None or s.kind != XOR:
                    return 0
            regs[RIP] = regs[RCX] = p.base + s.end
            regs[R11] = regs[EFL]
            regs[RAX] &= 0xFFFFFFFF
            return 1
        return 0

    def give_up_gs(self, t: Task) -> None:
        """A thread is about to set gs: its process goes on without patched sites."""
        lib.nv_own_gs(t.thread.cdata)
        self.give_up(t)

    def give_up(self, t: Task) -> None:
        """The process goes on with its own text, for good. May suspend."""
        mm = t.mm
        mm.no_patch = True
        if mm.patches:
            self.restore(t, mm, 0, TASK_SIZE)
            mm.patches.clear()
            t.thread.run()


def _text_fd(t: Task, v: Vma) -> int:
    """A descriptor of the file that ``v`` is text of. May suspend."""
    assert v.file is not None
    return v.file.mappable(t).host_fd(t, False)


def _map_own(t: Task, mm: MM, v: Vma, lo: int, hi: int, fd: int) -> None:
    access(t, mm, lambda a: a.map_file(v, lo, hi, fd))


def identity_of(fd: int) -> tuple[int, ...]:
    """The same as long as the file and its content are."""
    st = os.fstat(fd)
    return st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns


def patchable(v: Vma) -> bool:
    """Text as the file has it: never writable since it was mapped."""
    return (
        v.prot & (PROT_READ | PROT_WRITE | PROT_EXEC) == PROT_READ | PROT_EXEC
        and not v.shared
        and not v.flags & WRITTEN
    )


def compare_flags(rax: int, imm: int) -> int:
    """CF PF AF ZF SF OF of ``cmp $imm,%rax`` (imm: 32 bits, sign-extended)."""
    m = (1 << 64) - 1
    b = (imm | ~0xFFFFFFFF) & m if imm & 0x80000000 else imm
    r = (rax - b) & m
    flags = 1 if rax < b else 0
    flags |= 4 if (r & 0xFF).bit_count() % 2 == 0 else 0
    flags |= (rax ^ b ^ r) & 0x10
    flags |= 0x40 if r == 0 else 0
    flags |= 0x80 if r >> 63 else 0
    flags |= 0x800 if ((rax ^ b) & (rax ^ r)) >> 63 else 0
    return flags
