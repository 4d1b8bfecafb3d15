"""How much memory a process has, for /proc/PID: statm, status, smaps (Linux: fs/proc/task_mmu.c; proc(5)).

What of its own memory is present, the host knows: a thread of the process asks it with mincore(2). Of files only the text counts, whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.remote import access
from ..mm.vma import (
    DONTDUMP,
    DONTFORK,
    GROWS,
    LOCKED,
    NORESERVE,
    PAGE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    STUB,
    VDSO,
    WIPEONFORK,
    Vma,
)  # fmt: skip
from .proc_pid import map_line

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..mm.mm import MM

MAX_PAGES: Final = 1 << 21  # of one process that are looked at
FRESH: Final = 20_000_000  # ns for which an answer is good for further files
Areas = list[tuple[int, int]]


@final
class Sizes:
    """In bytes. ``anon`` and ``shmem``: present; ``text``: mapped."""

    __slots__ = ("anon", "data", "locked", "shmem", "text", "total")

    def __init__(self, mm: MM | None, anon: int = 0, shmem: int = 0) -> None:
        self.anon = anon
        self.shmem = shmem
        self.data = self.text = self.total = self.locked = 0
        if mm is None:
            return
        for start, end, prot, shared, _, _, _ in mm.maps():
            n = end - start
            if prot:
                self.total += n
            if prot & PROT_WRITE and not shared:
                self.data += n
            if prot & PROT_EXEC:
                self.text += n
        self.locked = mm.locked()

    @property
    def rss(self) -> int:
        return self.anon + self.shmem + self.text


def _looked_at(mm: MM) -> list[Vma]:
    """The areas without a file that may have pages."""
    return [v for v in mm.map.vmas if v.file is None and v.prot and v.kind not in (STUB, VDSO)]


def _present(t: Task, mm: MM, areas: Areas) -> list[int]:
    """Bytes present of each area, as far as somebody there answers. May suspend."""
    left = MAX_PAGES
    asked: Areas = []
    for start, end in areas:
        n = min((end - start) // PAGE, left)
        asked.append((start, n))
        left -= n
    try:
        return [n * PAGE for n in access(t, mm, lambda a: a.present(asked))]
    except SysErr:
        return [0] * len(areas)


def sizes(t: Task, mm: MM | None) -> Sizes:
    """May suspend."""
    if mm is None:
        return Sizes(None)
    now = t.k.monotonic_ns()
    when, anon, shmem = mm.resident
    if now - when > FRESH:
        vmas = _looked_at(mm)
        got = _present(t, mm, [(v.start, v.end) for v in vmas])
        anon = sum(n for n, v in zip(got, vmas, strict=True) if not v.shared)
        shmem = sum(n for n, v in zip(got, vmas, strict=True) if v.shared)
        mm.resident = (now, anon, shmem)
    return Sizes(mm, anon, shmem)


def statm(t: Task, mm: MM | None) -> bytes:
    s = sizes(t, mm)
    pages = [n // PAGE for n in (s.total, s.rss, s.text + s.shmem, s.text, s.data)]
    return b"%d %d %d %d 0 %d 0\n" % (*pages,)


FLAGS: Final = (
    (GROWS, "gd"),
    (LOCKED, "lo"),
    (DONTFORK, "dc"),
    (DONTDUMP, "dd"),
    (NORESERVE, "nr"),
    (WIPEONFORK, "wf"),
)


def _flags(v: Vma) -> str:
    out = [
        s for bit, s in ((PROT_READ, "rd"), (PROT_WRITE, "wr"), (PROT_EXEC, "ex")) if v.prot & bit
    ]
    out += ["sh"] if v.shared else []
    out += [
        s
        for bit, s in ((PROT_READ, "mr"), (PROT_WRITE, "mw"), (PROT_EXEC, "me"))
        if v.maxprot & bit
    ]
    out += ["ms"] if v.shared else []
    return " ".join(out + [s for bit, s in FLAGS if v.flags & bit])


def _rows(v: Vma, present: int) -> dict[str, int]:
    """The lines of an area that are sizes, in bytes."""
    file = v.end - v.start if v.file is not None and v.prot & PROT_EXEC else 0
    anon = present if not v.shared else 0
    rss = file + present
    rows = dict.fromkeys(ROWS, 0)
    rows.update({
        "Rss": rss, "Pss": rss, "Pss_Dirty": present, "Shared_Clean": file, "Shared_Dirty": present - anon,
        "Private_Dirty": anon, "Referenced": rss, "Anonymous": anon, "Locked": rss if v.flags & LOCKED else 0,
    })  # fmt: skip
    return rows


ROWS: Final = (
    "Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced", "Anonymous",
    "KSM", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb", "Swap",
    "SwapPss", "Locked",
)  # fmt: skip


def _line(name: str, size: int) -> str:
    return f"{name + ':':<16}{size >> 10:8} kB\n"


def _areas(t: Task, mm: MM) -> list[tuple[Vma, dict[str, int]]]:
    vmas = [v for v in mm.map.vmas if v.kind != STUB]
    looked = _looked_at(mm)
    got = _present(t, mm, [(v.start, v.end) for v in looked])
    there = {v.start: n for v, n in zip(looked, got, strict=True)}
    return [(v, _rows(v, there.get(v.start, 0))) for v in vmas]


def smaps(t: Task, mm: MM) -> bytes:
    """/proc/PID/smaps. May suspend."""
    out = []
    shown = {m[0]: m for m in mm.maps()}
    for v, rows in _areas(t, mm):
        line = shown.get(v.start)
        if line is None:
            continue
        text = (
            _line("Size", v.end - v.start)
            + _line("KernelPageSize", PAGE)
            + _line("MMUPageSize", PAGE)
        )
        text += "".join(_line(name, rows[name]) for name in ROWS)
        out.append(
            map_line(t, *line) + f"{text}THPeligible:           0\nVmFlags: {_flags(v)} \n".encode()
        )
    return b"".join(out)


def smaps_rollup(t: Task, mm: MM) -> bytes:
    """/proc/PID/smaps_rollup: the sums. May suspend."""
    total = dict.fromkeys(ROWS, 0)
    areas = _areas(t, mm)
    for _, rows in areas:
        for name, n in rows.items():
            total[name] += n
    start, end = (areas[0][0].start, areas[-1][0].end) if areas else (0, 0)
    head = f"{start:08x}-{end:08x} ---p 00000000 00:00 0 ".ljust(73) + "[rollup]\n"
    return (head + "".join(_line(name, total[name]) for name in ROWS)).encode()
