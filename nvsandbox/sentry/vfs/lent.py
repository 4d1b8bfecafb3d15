"""Descriptions whose reads the native module answers alone (platform/native/lent.c).

A regular file that is read several times with nothing else in between is lent: the native module then reads it, and moves its
position, without a word to us. The first call of another kind takes it back (``FdTable.get``), as does everything that
changes what such a read would have to do: other content, an event for inotify, an access time that is due. The null device is
lent for good. A task whose calls somebody wants to see (a tracer, a filter that looks at arguments) lends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...platform.native._native import ffi, lib
from .notify import active
from .path import MS_STRICTATIME

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .file import FileDescription
    from .inode import Inode

FDS: Final = 64  # NV_LENT_FDS
READ: Final = 1  # NV_LENT_*
PREAD: Final = 2
WRITE: Final = 4
LSEEK: Final = 8
CALLS: Final = {0: READ, 17: PREAD, 1: WRITE, 8: LSEEK}
ALL: Final = READ | PREAD | WRITE | LSEEK
AFTER: Final = 3  # so many reads in a row, more or less
MAKE_DIRECT: Final = 16  # so many of one whose content lies in our memory


def lend(t: Task, f: FileDescription, fd: int, host: int) -> None:
    """``t`` has just read ``f``, its descriptor ``fd``, through descriptor ``host``, or written to the null device (-1)."""
    calls = _calls(t)
    f.reads = 0
    if not calls or fd >= FDS:
        return
    if f.native is None:
        f.native = ffi.gc(lib.nv_file_new(), lib.nv_file_put)
    if host < 0:
        how = (READ if f.readable() else 0) | (WRITE if f.writable() else 0)
        lib.nv_file_null(f.native, how)
    elif active() or _always_touched(f) or lib.nv_file_lend(f.native, host, f.offset):
        return
    else:
        f.lent = True
        i = f.inode
        if i.lent is None:
            i.lent = []
        i.lent.append(f)
    table = t.files
    if table.native is None:
        table.native = ffi.gc(lib.nv_files_new(), lib.nv_files_put)
    lib.nv_files_set(table.native, fd, f.native)
    lib.nv_lend(t.thread.cdata, table.native, calls)


def _always_touched(f: FileDescription) -> bool:
    """Whether each read is seen in the access time."""
    return f.path is not None and f.path.mount.flags & MS_STRICTATIME != 0


def _calls(t: Task) -> int:
    """Which of its calls nobody else wants to see."""
    if t.tracee is not None or t.k.strace is not None:
        return 0
    calls = t.tg.container.lends
    if t.seccomp:
        nr = t.orig_nr
        calls &= CALLS.get(nr, 0) if t.filter is not None and t.filter.allows(nr) else 0
    return calls


def count(t: Task, f: FileDescription, fd: int) -> None:
    """A read of a file that has no descriptor to read through. May suspend."""
    f.reads += 1
    if f.reads == MAKE_DIRECT and fd < FDS and _calls(t):
        f.inode.make_direct(t)


def take_back(f: FileDescription) -> None:
    """It is ours again, its position as the reads have left it."""
    f.lent = False
    f.offset = int(lib.nv_file_back(f.native))
    others: list[Any] | None = f.inode.lent
    if others is not None and f in others:
        others.remove(f)


def take_all_back(i: Inode) -> None:
    """All descriptions of ``i``: its content or its times change."""
    if i.lent is not None:
        for f in list(i.lent):
            take_back(f)
        i.lent = None


def forget_thread(cdata: Any) -> None:
    """The thread runs another task, its task has other descriptors, or somebody wants to see its calls."""
    lib.nv_lend(cdata, ffi.NULL, 0)


def forget_number(table: Any, fd: int) -> None:
    """Number ``fd`` of a descriptor table is another description's, or nobody's."""
    lib.nv_files_set(table, fd, ffi.NULL)
