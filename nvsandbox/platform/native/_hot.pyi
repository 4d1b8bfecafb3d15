"""hot.c: see native.h for what each function does. Numbers are taken as 64 bits, whatever their sign."""

from collections.abc import Mapping

# kind, number, six arguments, the thread's id; None: descriptors are ready or the deadline has come
Event = tuple[int, ...]

def wait(deadline: int, /) -> Event | None: ...
def put(into: bytearray, at: int, data: bytes, /) -> None:
    """``into[at:at + len(data)] = data``, which must lie within. Raises ValueError."""

def work(more: int, /) -> None:
    """So many more jobs of worker threads: while there are any they get the GIL."""

def hold(on: bool, /) -> None:
    """Wakes are put off until ``wait`` returns None, which it does at the latest after 150 microseconds, and before it sleeps."""

def entries_ok(records: bytes, text: bytes, /) -> bool:
    """Whether these are listed entries (walk.h): each name one component, each mode one that a file can have."""

def walk_part(
    dirs: bytes, records: bytes, text: bytes, brief: bool, /
) -> list[tuple[int, int, bool, int, int, int, int, bytes]]:
    """The directories of one part of a walk: index, above, more, offset of its first record, number of records, dev,
    ino, name. Empty when anything is not as walk.h has it. ``brief``: entries may be such that nobody looked at."""

def list_names(
    records: bytes, text: bytes, at: int, count: int, base: int,
    names: dict[bytes, int], files: list[bytes], dirs: list[bytes], /,
) -> None:  # fmt: skip
    """Adds ``count`` checked entries from byte ``at`` of the records on to ``names``, each with ``base`` + its record's
    offset, and to ``files`` or ``dirs`` if it is such."""

def dirents(
    names: list[bytes], pos: int, entries: Mapping[bytes, object], parts: list[tuple[bytes, bytes, int, int]],
    dots: tuple[int, int], dev: int, limit: int, room: int, /,
) -> tuple[bytes, int, bool]:  # fmt: skip
    """Directory entries for getdents64(2) from offset ``pos`` on, at most ``room`` bytes: those of . and .. with inode numbers
    ``dots``, then of ``names`` those that are in ``entries``: as a number one of ``parts`` (a record's part << 32 | offset), else by
    its ``ino`` and ``mode``. Also the last one's next offset, -1 if there is none, and whether this is all there is; it is
    not, too, before one that is not of ``dev`` or whose inode number is not below ``limit``."""

class Trap:
    """A thread of a stub, by the address of its record (struct nv_task), which has to outlive it."""

    def __init__(self, record: int, /) -> None: ...
    def close(self) -> None:
        """The record is about to go: every other method raises ValueError from now on."""

    @property
    def queued(self) -> int: ...
    def reply(self, rax: int, /) -> None: ...
    def reply_wait(self, rax: int, deadline: int, /) -> Event | None: ...
    def resume(self) -> None: ...
    def rest(self) -> None:
        """The answer will take its time: the stub sleeps instead of spinning for it."""

    def get_ready(self) -> None:
        """The answer will be there in some 100 microseconds: the stub wakes, and spins for it."""

    def op(
        self, op: int, flags: int, nr: int, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int, /
    ) -> bool:
        """True: the list is full."""

    def run(self, spins: int, /) -> bool: ...
    def done(self, spins: int, /) -> bool: ...
    def copy_out(self, addr: int, offset: int, data: bytes, flags: int, /) -> bool:
        """True: the list is full."""

    def stat_out(
        self,
        addr: int,
        offset: int,
        flags: int,
        dev: int,
        ino: int,
        nlink: int,
        mode: int,
        uid: int,
        gid: int,
        rdev: int,
        size: int,
        blksize: int,
        blocks: int,
        atime: int,
        mtime: int,
        ctime: int,
        /,
    ) -> bool:
        """As ``copy_out`` of a ``struct stat``; times in nanoseconds."""

    def read_out(self, fd: int, addr: int, size: int, offset: int, /) -> int: ...
    def copy_in(self, addr: int, size: int, /) -> bytes | None:
        """None: it did not come with the trap."""

    def put(self, into: bytearray, at: int, addr: int, size: int, /) -> bool:
        """Copies ``size`` bytes from ``addr`` into ``into``. False: they did not come with the trap, or don't fit."""

    def pwrite(self, fd: int, offset: int, addr: int, size: int, /) -> bool:
        """Writes ``size`` bytes from ``addr`` to host file ``fd``. False: they did not come with the trap, or not all got there."""

    def gathered(self, size: int, /) -> bytes | None:
        """What an iovec array of ``size`` bytes in all points to; None: it did not come with the trap."""

    def copy_in_str(self, addr: int, /) -> bytes | None:
        """Without its NUL; None: it did not come with the trap, or not all of it."""
