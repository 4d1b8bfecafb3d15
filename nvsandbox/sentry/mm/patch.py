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
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, final

from ...platform.interface import (
    EFL,
    LOW_RET,
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
from .sites import NEVER, SHORT, SYSCALL_LEN, XOR, Generation, PatchedText, Site, Sites, identity_of
from .vma import PAGE, PROT_EXEC, PROT_READ, PROT_WRITE, WRITTEN, Vma

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from .mm import MM

Reader = Callable[[int, int], bytes]

EAGER_MAX: Final = 8 << 20  # bytes of text searched when it is first mapped
FIRST, FACTOR, BUILD_AT = 2, 4, 8  # a site is noted at 2 traps, patched from 8 on
BUILD_GAP_NS: Final = 5_000_000
MAX_BUILDS: Final = 24
EFL_ARITH: Final = 0x8D5
SHOW_MAX: Final = 8  # pages that get their own bytes back one by one


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

    __slots__ = ("build_at", "eager", "known", "sites")

    def __init__(self, low: memoryview, how: str) -> None:
        self.sites = Sites(low)
        self.known: dict[
            tuple[int, ...], PatchedText
        ] = {}  # files that were looked at before they were mapped
        self.eager = how != "forced"
        self.build_at = BUILD_AT if how != "forced" else 1
        lib.nv_set_patching(FIRST if how != "forced" else 1, FACTOR)

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
            if self.sites.search(text, fd, offset, size):
                self.sites.build(text, fd)

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
                self.sites.add(text, end, data[: end - lo], data[end - lo :], nr)
                or self.sites.add_short(text, end, fd, v.offset, stop)
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
            self.sites.build(text, fd)
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
            yield from self._stretches_of(mm, p, lo, hi)

    def _stretches_of(self, mm: MM, p: Mapped, lo: int, hi: int) -> Iterator[tuple[Vma, int, int]]:
        for a, b in p.gen.ranges:
            a, b = p.base + a, p.base + b
            if a < hi and lo < b:
                for v in mm.map.overlapping(max(lo, a), min(hi, b)):
                    if v.file is not None and patchable(v) and self._same(v, p):
                        yield v, max(v.start, a), min(v.end, b)

    def restore(self, t: Task, mm: MM, lo: int, hi: int) -> None:
        """Queues the file's own text back over what is patched in [lo, hi)."""
        for v, at, end in list(self._stretches(mm, lo, hi)):
            _queue_own(t, mm, v, at, end)

    def hides(self, mm: MM, addr: int) -> bool:
        """Whether the page at ``addr`` can be executed only."""
        return any(
            not p.is_shown(addr - p.base)
            for p in mm.patches
            for _ in self._stretches_of(mm, p, addr, addr + 1)
        )

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
                for v, at, end in list(self._stretches_of(mm, p, lo, hi)):
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
            _queue_own(t, mm, v, p.base + a, p.base + b)
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
                    patched = list(self._stretches_of(mm, p, 0, TASK_SIZE))
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


def _queue_own(t: Task, mm: MM, v: Vma, lo: int, hi: int) -> None:
    """Queues the mmap of the file's own text to [lo, hi) of ``v``."""
    mm.host_mmap(t, lo, hi - lo, v.prot, MAP_PRIVATE, _text_fd(t, v), v.offset + lo - v.start)


def _map_own(t: Task, mm: MM, v: Vma, lo: int, hi: int, fd: int) -> None:
    access(t, mm, lambda a: a.map_file(v, lo, hi, fd))


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
