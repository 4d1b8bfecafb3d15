"""Virtual memory areas of one address space (Linux: struct vm_area_struct, mm/vma.c).

VMAs never overlap, are page-aligned and immutable: a change replaces them, so that a snapshot of the list is a
snapshot of the map. The stub's own region is one of them (kind STUB), so that nothing is placed there; it is neither
shown nor touched. Not modelled: NUMA policy.
"""

from __future__ import annotations

import bisect
import os
from typing import TYPE_CHECKING, ClassVar, Final, final

if TYPE_CHECKING:
    from ..vfs.file import FileDescription

PAGE: Final = 4096
PROT_READ: Final = 1
PROT_WRITE: Final = 2
PROT_EXEC: Final = 4

NORMAL: Final = 0
STUB: Final = 1  # the stub's region: invisible, immovable
VDSO: Final = 2  # shown, immovable
STACK: Final = 3
HEAP: Final = 4

DONTFORK: Final = 1
LOCKED: Final = 2
NORESERVE: Final = 4
WIPEONFORK: Final = 8
WRITTEN: Final = 16  # a private file mapping that was writable: it may differ from the file
GROWS: Final = 32  # MAP_GROWSDOWN
DONTDUMP: Final = 64
STACK_GAP: Final = 256 * PAGE  # kept free below an area that grows (Linux: stack_guard_gap)


@final
class SharedAnon:
    """Identity of a shared anonymous object: what forked address spaces have in common.

    ``fd``: a memory file behind it, where a device may want to map it too (``backed``); else -1, and the host has the only one.
    """

    __slots__ = ("fd",)

    backed: ClassVar[bool] = False

    def __init__(self, size: int) -> None:
        self.fd = -1
        if self.backed:
            try:
                self.fd = os.memfd_create("shared", os.MFD_CLOEXEC)
                os.ftruncate(self.fd, size)
            except OSError:
                pass  # no descriptor left: the host's own serves as well

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


@final
class Vma:
    """One area. ``maxprot`` bounds mprotect; ``obj`` identifies what shared pages belong to (futexes)."""

    __slots__ = (
        "end",
        "file",
        "flags",
        "kind",
        "maxprot",
        "name",
        "obj",
        "offset",
        "prot",
        "shared",
        "start",
    )

    def __init__(
        self, start: int, end: int, prot: int, shared: bool = False,
        file: FileDescription | None = None, offset: int = 0, kind: int = NORMAL, flags: int = 0,
        maxprot: int = 7, name: bytes = b"", obj: object | None = None,
    ) -> None:  # fmt: skip
        self.start = start
        self.end = end
        self.prot = prot
        self.shared = shared
        self.file = file
        self.offset = offset
        self.kind = kind
        self.flags = flags
        self.maxprot = maxprot
        self.name = name
        self.obj = obj

    def part(self, start: int, end: int) -> Vma:
        """The same area cut to [start, end)."""
        off = (
            self.offset + (start - self.start)
            if self.file is not None or self.obj is not None
            else 0
        )
        return Vma(
            start, end, self.prot, self.shared, self.file, off, self.kind, self.flags, self.maxprot,
            self.name, self.obj,
        )  # fmt: skip

    def with_(self, prot: int | None = None, flags: int | None = None) -> Vma:
        v = self.part(self.start, self.end)
        if prot is not None:
            v.prot = prot
        if flags is not None:
            v.flags = flags
        return v

    def joins(self, b: Vma) -> bool:
        """Whether ``b``, right behind it, continues it."""
        return (
            self.end == b.start
            and self.prot == b.prot
            and self.kind == b.kind
            and self.flags == b.flags
            and self.shared == b.shared
            and self.file is b.file
            and self.obj is b.obj
            and self.name == b.name
            and self.maxprot == b.maxprot
            and (
                (self.file is None and self.obj is None)
                or self.offset + (self.end - self.start) == b.offset
            )
        )


@final
class VmaMap:
    """The areas in address order, with their starts beside them for bisection."""

    __slots__ = ("gap_high", "gap_top", "hole", "starts", "vmas")

    def __init__(self) -> None:
        self.gap_high = self.gap_top = self.hole = 0  # find_gap's memory
        self.vmas: list[Vma] = []
        self.starts: list[int] = []

    def copy(self) -> VmaMap:
        m = VmaMap()
        m.vmas = self.vmas[:]
        m.starts = self.starts[:]
        m.gap_high, m.gap_top, m.hole = self.gap_high, self.gap_top, self.hole
        return m

    def find(self, addr: int) -> Vma | None:
        """The area that contains ``addr``."""
        i = bisect.bisect_right(self.starts, addr) - 1
        if i >= 0:
            v = self.vmas[i]
            if addr < v.end:
                return v
        return None

    def overlapping(self, start: int, end: int) -> list[Vma]:
        """The areas that meet [start, end), in order."""
        i = bisect.bisect_right(self.starts, start) - 1
        if i < 0 or self.vmas[i].end <= start:
            i += 1
        j = bisect.bisect_left(self.starts, end, i)
        return self.vmas[i:j]

    def covered(self, start: int, end: int) -> bool:
        """Whether there is no hole in [start, end)."""
        at = start
        for v in self.overlapping(start, end):
            if v.start > at:
                return False
            at = v.end
        return at >= end

    def span(self, addr: int, end: int, prot: int) -> int:
        """How many bytes from ``addr`` on, up to ``end``, are mapped with all of ``prot``."""
        at = addr
        for v in self.overlapping(addr, end):
            if v.start > at or v.prot & prot != prot or v.kind == STUB:
                break
            at = v.end
        return min(at, end) - addr

    def replace(self, start: int, end: int, new: list[Vma]) -> None:
        """Cuts everything out of [start, end) and puts ``new`` there, merged with its neighbours."""
        if not new and end > self.gap_top:
            self.gap_high = 0  # a hole above: search from the top again
        i = bisect.bisect_right(self.starts, start) - 1
        if i < 0 or self.vmas[i].end <= start:
            i += 1
        j = bisect.bisect_left(self.starts, end, i)
        out: list[Vma] = []
        if i < j and self.vmas[i].start < start:
            out.append(self.vmas[i].part(self.vmas[i].start, start))
        out.extend(new)
        if i < j and self.vmas[j - 1].end > end:
            out.append(self.vmas[j - 1].part(end, self.vmas[j - 1].end))
        if i > 0:
            i -= 1
            out.insert(0, self.vmas[i])
        if j < len(self.vmas):
            out.append(self.vmas[j])
            j += 1
        merged: list[Vma] = []
        for v in out:
            if merged and merged[-1].joins(v):
                last = merged[-1]
                merged[-1] = last.part(last.start, last.end)
                merged[-1].end = v.end
            else:
                merged.append(v)
        self.vmas[i:j] = merged
        self.starts[i:j] = [v.start for v in merged]

    def find_gap(self, size: int, low: int, high: int) -> int:
        """The highest address where ``size`` bytes fit below ``high`` and not below ``low``; -1.

        Remembers how far down there is nothing larger than ``hole``, so that ten thousand thread stacks don't each scan all others
        (Linux had the same cache before it had a tree of gaps).
        """
        top = high
        hole = 0
        if high == self.gap_high and size > self.hole:
            top, hole = self.gap_top, self.hole
        i = bisect.bisect_left(self.starts, top)
        vmas = self.vmas
        while i > 0:
            v = vmas[i - 1]
            room = top - v.end
            if room >= size:
                break
            hole = max(hole, room)
            top = min(top, v.start - STACK_GAP if v.flags & GROWS else v.start)
            if top - size < low:
                return -1
            i -= 1
        at = top - size
        if at < low:
            return -1
        self.gap_high, self.gap_top, self.hole = high, top, hole
        return at

    def find_gap_up(self, size: int, low: int, high: int) -> int:
        """The lowest address >= ``low`` where ``size`` bytes fit below ``high``; -1."""
        at = low
        i = bisect.bisect_right(self.starts, low) - 1
        if i >= 0 and self.vmas[i].end > at:
            at = self.vmas[i].end
        for v in self.vmas[i + 1 :]:
            if v.start - at >= size:
                break
            at = max(at, v.end)
        return at if at + size <= high else -1
