"""The wire protocol between Sentry and gofer, version 1.

One SOCK_SEQPACKET socket; a message is one MessagePack array. The Sentry sends requests with an ``id`` of its
choice and may send more before the answer comes; the gofer answers each in order, a long listing in several
replies (``more``). Objects are named by a handle, a number the Sentry chose when it had it opened, and a name in
that directory (b"" is the handle itself). Descriptors travel with the reply that says ``fds``.

Neither side believes the other: decoding checks every field's type and range, and what remains (names, handles,
kinds) is checked by ``check_name`` and the two ends.
"""

from __future__ import annotations

import errno
import struct
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

VERSION: Final = 1
MAX_MESSAGE: Final = 128 << 10
MAX_FDS: Final = 128
XATTR_BYTES: Final = 48 << 10  # of one object's extended attributes
MAX_LISTING: Final = 4 << 20  # entries of one directory
MEMFD_BATCH: Final = 16
MAX_CHAIN: Final = 64  # components looked up at once
MAX_AHEAD: Final = 63  # files or directories opened besides the one asked for
WALK_DIRS: Final = 512  # directories of one walk
WALK_ENTRIES: Final = 8192  # a walk stops after the directory with which it has listed so many
WALK_FILES: Final = 64  # files of one directory that come with its listing
WALK_FDS: Final = 512  # and of all directories of a walk, which then stops

U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
U63 = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
I64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Name = Annotated[bytes, Meta(max_length=255)]
Target = Annotated[bytes, Meta(max_length=4096)]
Value = Annotated[bytes, Meta(max_length=65536)]


class Attr(Struct, array_like=True, frozen=True, gc=False):
    """Attributes of one object. Times in nanoseconds; ``target`` of symbolic links."""

    dev: U63
    ino: U63
    mode: U32
    nlink: U63
    uid: U32
    gid: U32
    rdev: U63
    size: U63
    blocks: U63
    atime: I64
    mtime: I64
    ctime: I64
    target: Target = b""


class Reply(Struct, array_like=True, gc=False):
    """Any answer; ``err`` is an errno, and then the rest is empty."""

    id: U32
    err: U16 = 0
    more: bool = False
    fds: U16 = 0
    attrs: list[Attr] = []
    names: list[Name] = []
    values: list[Value] = []
    nums: list[U63] = []


class Request(Struct, array_like=True, gc=False):
    id: U32


class Hello(Request, tag=1):
    """First message. Answer: the attributes of the mounts' roots, which are handle 0…n-1; ``nums`` = version, and for each
    root the block size for I/O, which is taken for that of all its files."""

    version: U32


class Find(Request, tag=2):
    """Attributes of the components ``names`` one below the other. Answer: ``attrs``, ending early at what is not
    there (with ``err`` only if the first is not) or is not a directory. Directories that were gone through, each but the last of
    ``names``, become handles ``new``, ``new`` + 1, …; ``nums`` = 1 when the next one is known not to be there. With ``open`` the last of
    ``names`` comes with a descriptor, read-only, if it is a regular file that can be opened. No names: the handle's own."""

    handle: U32
    names: Annotated[list[Name], Meta(max_length=MAX_CHAIN)]
    new: U32 = 0
    open: bool = False


class OpenDir(Request, tag=3):
    """Opens directory ``name`` as handle ``new``. Answer: its attributes."""

    handle: U32
    name: Name
    new: U32


class List(Request, tag=4):
    """Everything in directory ``handle``. Answers: ``values`` = records as ENTRY describes, text of all names and
    targets in the records' order."""

    handle: U32


class Open(Request, tag=5):
    """Opens a regular file. Answer: attributes and one descriptor, read-only unless ``write``; then the same, read-only,
    for those of the directory's further files ``ahead`` that could be opened, which ``names`` lists."""

    handle: U32
    name: Name
    write: bool
    ahead: Annotated[list[Name], Meta(max_length=MAX_AHEAD)] = []


class Create(Request, tag=6):
    """Makes ``name`` of the kind in ``mode``. Answer: its attributes."""

    handle: U32
    name: Name
    mode: U32
    uid: U32
    gid: U32
    rdev: U63
    target: Target


class Link(Request, tag=7):
    handle: U32
    name: Name
    new_handle: U32
    new_name: Name


class Unlink(Request, tag=8):
    handle: U32
    name: Name
    directory: bool


class Rename(Request, tag=9):
    handle: U32
    name: Name
    new_handle: U32
    new_name: Name
    flags: U32


class SetAttr(Request, tag=10):
    """``valid`` as vfs/inode.py's ATTR_*. Answer: the attributes after it."""

    handle: U32
    name: Name
    valid: U32
    mode: U32
    uid: U32
    gid: U32
    size: U63
    atime: I64
    mtime: I64


class Xattrs(Request, tag=11):
    """All extended attributes. Answer: ``names``, ``values``."""

    handle: U32
    name: Name


class SetXattr(Request, tag=12):
    """Sets one, or removes it (``flags`` = REMOVE)."""

    handle: U32
    name: Name
    key: Name
    value: Value
    flags: U32


class Sync(Request, tag=13):
    """syncfs of the mount the handle lies in."""

    handle: U32


class StatFs(Request, tag=14):
    """Answer: ``nums`` = type, bsize, blocks, bfree, bavail, files, ffree, namelen."""

    handle: U32


class Forget(Request, tag=15):
    """Closes handles. No answer."""

    handles: Annotated[list[U32], Meta(max_length=4096)]


class Memfds(Request, tag=16):
    """Answer: ``count`` pairs of descriptors (read-write, read-only) of fresh memory files."""

    count: Annotated[int, Meta(ge=1, le=MEMFD_BATCH)]


class Walk(Request, tag=17):
    """Opens directories ``names`` as handles ``new``, ``new`` + 1, … and lists each; when ``deep``, after each directory those
    in it, in the listing's order; ``most`` directories altogether. Answers: ``values`` = directories (struct nv_dir of walk.h), the records of
    their entries, the text of all names and targets in this order: a directory's name, then its entries'. Directories after
    the first that can't be opened are left out, and all that follow when the walk has become long. With ``files`` up
    to that many of a directory's regular files are opened: their descriptors, ``nums`` = which of the records they are. With
    ``brief`` only directories among the entries are looked at; of the others name, kind and inode number are told."""

    handle: U32
    names: Annotated[list[Name], Meta(min_length=1, max_length=MAX_AHEAD + 1)]
    new: U32
    most: Annotated[int, Meta(ge=1, le=WALK_DIRS)]
    deep: bool = False
    files: Annotated[int, Meta(ge=0, le=WALK_FILES)] = 0
    brief: bool = False


# struct nv_entry (native/walk.h): dev, ino, rdev, size, blocks, atime, mtime, ctime, mode, nlink, uid, gid, lengths of name and target,
# where they are in the text
ENTRY: Final = struct.Struct("<5Q3q4I2HI")

REMOVE: Final = 0x8000

AnyRequest = (
    Hello
    | Find
    | OpenDir
    | List
    | Open
    | Create
    | Link
    | Unlink
    | Rename
    | SetAttr
    | Xattrs
    | SetXattr
    | Sync
    | StatFs
    | Forget
    | Memfds
    | Walk
)

encoder: Final = msgspec.msgpack.Encoder()
request_decoder: Final = msgspec.msgpack.Decoder(AnyRequest)
reply_decoder: Final = msgspec.msgpack.Decoder(Reply)


def name_ok(name: bytes) -> bool:
    """Whether it is one component that stays in its directory."""
    return bool(name) and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


def check_name(name: bytes) -> None:
    """Raises OSError(EINVAL)."""
    if not name_ok(name):
        raise OSError(errno.EINVAL, "name")
