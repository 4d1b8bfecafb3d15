"""Host calls the gofer makes that the os module has not: openat2, renameat2, syncfs, fstatfs, listings with attributes.

Every name is resolved by ``openat2`` from a directory descriptor, with no symbolic link, no magic link and no way up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, NamedTuple

from ..platform.native._native import ffi, lib

RESOLVE: Final = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS | NO_SYMLINKS | BENEATH
RESOLVE_LAST: Final = (
    0x02 | 0x08
)  # the last component may be a link: O_PATH | O_NOFOLLOW opens itself

_WALK: Final = ffi.new("struct nv_batch *")
_DIR_SIZE: Final = ffi.sizeof("struct nv_dir")
_ENTRY_SIZE: Final = ffi.sizeof("struct nv_entry")
LIST_ENTRIES: Final = 512
LIST_TEXT: Final = 48 << 10
_own: Final = ffi.new("struct nv_entry *")
_records: Final = ffi.new("struct nv_entry[]", LIST_ENTRIES)
_text: Final = ffi.new("uint8_t[]", LIST_TEXT)
_used: Final = ffi.new("unsigned[2]")


def _native(r: int) -> int:
    """What a function of the native module says: raises OSError for -errno."""
    if r < 0:
        raise OSError(-r, os.strerror(-r))
    return r


def openat2(dirfd: int, path: bytes, flags: int, mode: int = 0, resolve: int = RESOLVE) -> int:
    """Opens ``path`` beneath ``dirfd``; always O_CLOEXEC."""
    return _native(lib.nv_openat2(dirfd, path, flags, mode, resolve))


def renameat2(old: int, old_name: bytes, new: int, new_name: bytes, flags: int) -> None:
    _native(lib.nv_renameat2(old, old_name, new, new_name, flags))


def chown_fd(fd: int, uid: int, gid: int) -> None:
    """Works on O_PATH descriptors, links too. ``uid``, ``gid``: 2³²-1 leaves it."""
    _native(lib.nv_chown(fd, uid, gid))


def syncfs(fd: int) -> None:
    _native(lib.nv_syncfs(fd))


def fstatfs(fd: int) -> list[int]:
    """type, bsize, blocks, bfree, bavail, files, ffree, namelen."""
    out = ffi.new("uint64_t[8]")
    _native(lib.nv_statfs(fd, out))
    return list(out)


def listing(fd: int) -> tuple[bytes, bytes, bool]:
    """The next entries of the directory but . and ..: as many ``struct nv_entry`` (native/host.h) as there are, at most
    LIST_ENTRIES, the text of their names and targets, and whether these are the last."""
    n = _native(lib.nv_list(fd, _records, LIST_ENTRIES, _text, LIST_TEXT, _used))
    records = bytes(ffi.buffer(_records, n * _ENTRY_SIZE))
    return records, bytes(ffi.buffer(_text, _used[0])), bool(_used[1])


def open_file(at: int, name: bytes, flags: int, proc_fd: int) -> tuple[int, bytes]:
    """Opens a regular file, and nothing else, beneath ``at``: a descriptor, and what it is."""
    fd = _native(lib.nv_open_file(at, name, flags, proc_fd, _own))
    return fd, bytes(ffi.buffer(_own))


class Batch(NamedTuple):
    """Some directories of a walk (walk.h)."""

    last: bool
    dirs: list[tuple[int, int]]  # those that were opened: index and descriptor
    values: list[bytes]  # directories, entries, text; empty when there are none
    fds: list[int]  # files that were opened
    files: list[int]  # and which of the entries they are


def walk_begin(
    at: int, names: Iterable[bytes], most: int, deep: bool, brief: bool, files: int, entries: int, fds: int, proc_fd: int
) -> None:  # fmt: skip
    """Begins a walk of directories ``names`` of ``at``; see nv_walk_begin."""
    lib.nv_walk_begin(at, most, deep, brief, files, entries, fds, proc_fd)
    for name in names:
        lib.nv_walk_add(name)


def walk_next() -> Batch:
    """The next directories. Raises OSError where the walk ends with one that can't be read."""
    b = _WALK
    last = not _native(lib.nv_walk_next(b))
    if not b.ndirs:
        return Batch(last, [], [], [], [])
    values = [
        bytes(ffi.buffer(b.dir, b.ndirs * _DIR_SIZE)),
        bytes(ffi.buffer(b.entry, b.nentries * _ENTRY_SIZE)),
        bytes(ffi.buffer(b.text, b.ntext)),
    ]
    fds = ffi.unpack(b.dir_fd, b.ndirs)
    dirs = [(b.dir[i].index, fd) for i, fd in enumerate(fds) if fd >= 0]
    if not b.nfiles:
        return Batch(last, dirs, values, [], [])
    return Batch(
        last, dirs, values, ffi.unpack(b.file_fd, b.nfiles), ffi.unpack(b.file_entry, b.nfiles)
    )
