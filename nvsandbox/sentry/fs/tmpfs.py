"""tmpfs instances and memfd_create's files (Linux: mm/shmem.c; tmpfs(5), memfd_create(2))."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

from ..errors import SysErr, from_oserror
from ..kernel.userns import INVALID
from ..vfs.fstypes import register_filesystem
from ..vfs.inode import Inode
from ..vfs.open import O_LARGEFILE
from ..vfs.path import Dentry, Mount, Path
from ..vfs.regular import open_regular
from .tmpfs_file import MemReg
from .tmpfs_inode import MemDir, MemFs

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from .memfd_pool import MemfdPool

_SUFFIX: Final = {b"k": 10, b"m": 20, b"g": 30, b"t": 40, b"p": 50, b"e": 60}
F_SEAL_EXEC: Final = 0x20
TMPFS_OPTIONS: Final = (
    b"size", b"nr_inodes", b"nr_blocks", b"mode", b"uid", b"gid", b"huge", b"mpol", b"inode32", b"inode64", b"noswap",
)  # fmt: skip
_shm: Final[list[Mount]] = []  # where memory files without a name live (Linux: shm_mnt)


def parse_size(v: bytes) -> int:
    """``size=`` as tmpfs(5) has it. Raises EINVAL."""
    if v.endswith(b"%"):
        return 0
    shift = _SUFFIX.get(v[-1:].lower(), 0)
    digits = v[:-1] if shift else v
    if not digits.isdigit() or len(digits) > 18:
        raise SysErr(errno.EINVAL)
    return int(digits) << shift


def parse_options(data: bytes) -> dict[bytes, int]:
    """mount(2)'s ``data`` for tmpfs. Raises EINVAL for an option it has not."""
    out: dict[bytes, int] = {}
    for item in data.split(b","):
        key, _, v = item.partition(b"=")
        if key in (b"", b"inode64", b"inode32", b"huge", b"mpol", b"noswap"):
            continue
        if key in (b"size", b"nr_inodes"):
            out[key] = parse_size(v)
        elif key == b"nr_blocks":
            out[b"size"] = parse_size(v) * 4096
        elif key == b"mode":
            try:
                out[key] = int(v, 8) & 0o7777
            except ValueError:
                raise SysErr(errno.EINVAL) from None
        elif key in (b"uid", b"gid") and v.isdigit():
            out[key] = int(v) & 0xFFFFFFFF
        else:
            raise SysErr(errno.EINVAL)
    return out


def show_options(o: dict[bytes, int]) -> str:
    """As /proc/mounts has them (Linux: shmem_show_options)."""
    out = []
    if o.get(b"size"):
        out.append(f"size={o[b'size'] >> 10}k")
    if o.get(b"nr_inodes"):
        out.append(f"nr_inodes={o[b'nr_inodes']}")
    if b"mode" in o and o[b"mode"] != 0o1777:
        out.append(f"mode={o[b'mode']:03o}")
    out += [f"{k.decode()}={o[k]}" for k in (b"uid", b"gid") if o.get(k)]
    return ",".join(out)


def reconfigure(fs: MemFs, data: bytes) -> None:
    """MS_REMOUNT: limits can be changed, not below what is used. Raises EINVAL."""
    o = parse_options(data)
    size, inodes = o.get(b"size", fs.max_bytes), o.get(b"nr_inodes", fs.max_inodes)
    if (size and fs.used_bytes > size) or (inodes and fs.used_inodes > inodes):
        raise SysErr(errno.EINVAL)
    fs.max_bytes, fs.max_inodes = size, inodes
    fs.options = show_options(
        parse_options(fs.options.encode()) | {b"size": size, b"nr_inodes": inodes}
    )


def make_tmpfs(
    pool: MemfdPool, now: int, data: bytes = b"", source: str = "tmpfs", mode: int = 0o1777
) -> MemFs:
    """A new tmpfs; its root is ``fs.root``. Raises EINVAL for bad options."""
    o = parse_options(data)
    fs = MemFs(
        pool,
        "tmpfs",
        source,
        show_options(o),
        o.get(b"size", 0),
        o.get(b"nr_inodes", 0),
        reconfigure,
    )
    fs.root = MemDir(fs, o.get(b"mode", mode), o.get(b"uid", 0), o.get(b"gid", 0), 0, now)
    return fs


def memfd_inode(t: Task, fs: MemFs, allow_sealing: bool) -> MemReg:
    """memfd_create's file, with real host seals (hazard B18)."""
    i = MemReg(fs, stat.S_IFREG | 0o777, t.creds.fsuid, t.creds.fsgid, 0, t.k.realtime_ns())
    i.nlink = 0
    i.sealable = True
    i.to_host(t)
    if not allow_sealing:
        add_seals(t, i, fcntl.F_SEAL_SEAL)
    return i


def register(pool: MemfdPool) -> None:
    """Makes tmpfs mountable and memfd_create work. Called once, before lock-down."""
    _shm[:] = [Mount(*_shm_parts(pool))]
    for name in (b"tmpfs", b"ramfs", b"devtmpfs"):
        register_filesystem(
            name, lambda t, src, data: _mount(t, pool, src, data), TMPFS_OPTIONS, parse_options
        )


def _shm_parts(pool: MemfdPool) -> tuple[MemFs, Dentry]:
    fs = MemFs(pool, "tmpfs", "tmpfs")
    return fs, Dentry(b"/", None, MemDir(fs, 0o1777))


def _mount(t: Task, pool: MemfdPool, source: bytes, data: bytes) -> tuple[MemFs, Inode]:
    fs = make_tmpfs(pool, t.k.realtime_ns(), data, source.decode("utf-8", "replace") or "none")
    root = fs.root
    assert root is not None
    users, given = t.creds.userns, parse_options(data)
    root.uid = users.uid_in(given[b"uid"]) if b"uid" in given else t.creds.fsuid
    root.gid = users.gid_in(given[b"gid"]) if b"gid" in given else t.creds.fsgid
    if INVALID in (root.uid, root.gid):
        raise SysErr(errno.EINVAL)
    return fs, root


def open_memfd(t: Task, name: bytes, sealing: bool, noexec: bool) -> FileDescription:
    """The description memfd_create(2) returns. May suspend."""
    m = _shm[0]
    assert isinstance(m.fs, MemFs)
    i = memfd_inode(t, m.fs, sealing)
    if noexec:
        i.mode = stat.S_IFREG | 0o666
        assert i.pair is not None
        try:
            os.fchmod(i.pair.rw, 0o666)
        except OSError as e:
            raise from_oserror(e) from None
        add_seals(t, i, F_SEAL_EXEC)
    d = Dentry(b"memfd:" + name, m.root, i)
    d.unlinked = True
    return open_regular(t, Path(m, d), os.O_RDWR | O_LARGEFILE, i)


def add_seals(t: Task, i: Inode, seals: int) -> None:
    """F_ADD_SEALS. Raises EINVAL for a file without seals, EPERM, EBUSY."""
    if not isinstance(i, MemReg) or i.mem.type_name != "tmpfs":
        raise SysErr(errno.EINVAL)
    if not i.sealable or i.pair is None:
        raise SysErr(errno.EPERM)
    try:
        fcntl.fcntl(i.pair.rw, fcntl.F_ADD_SEALS, seals)
    except OSError as e:
        raise from_oserror(e) from None


def get_seals(i: Inode) -> int:
    """F_GET_SEALS. Raises EINVAL."""
    if not isinstance(i, MemReg) or i.mem.type_name != "tmpfs":
        raise SysErr(errno.EINVAL)
    if not i.sealable or i.pair is None:
        return fcntl.F_SEAL_SEAL
    return fcntl.fcntl(i.pair.rw, fcntl.F_GET_SEALS)
