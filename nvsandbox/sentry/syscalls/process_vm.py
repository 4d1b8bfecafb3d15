"""process_vm_readv(2), process_vm_writev(2) (Linux: mm/process_vm_access.c)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..abi.fcntl import UIO_MAXIOV
from ..errors import SysErr
from ..fs.proc_access import check_access
from ..kernel.remote import access, read_remote
from .decode import CInt, CULong, Table, UserPtr, full
from .file_rw import Iov, copy_in_iov

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..mm.mm import MM

CHUNK: Final = 1 << 20
# (task, memory, our vector, position in it, address there, bytes): bytes moved
Piece = Callable[["Task", "MM", Iov, int, int, int], int]


def _remote_iov(t: Task, addr: int, count: int) -> Iov:
    if count > UIO_MAXIOV:
        raise SysErr(errno.EINVAL)
    vec = list(struct.iter_unpack("<QQ", t.copy_in(addr, 16 * count))) if count else []
    if any(n >> 63 for _, n in vec):
        raise SysErr(errno.EINVAL)
    return vec


def _target(t: Task, pid: int) -> MM:
    u = t.tg.pidns.task(pid)
    if u is None:
        raise SysErr(errno.ESRCH)  # a zombie has no memory either
    try:
        check_access(t, u.tg)
    except SysErr:
        raise SysErr(errno.EPERM) from None
    mm = u.memory()
    if mm is None:
        raise SysErr(errno.ESRCH)
    return mm


def _common(
    t: Task, pid: int, lvec: int, ln: int, rvec: int, rn: int, flags: int
) -> tuple[Iov, Iov, MM | None]:
    if flags:
        raise SysErr(errno.EINVAL)
    local = copy_in_iov(t, lvec, ln)
    if not local:
        return [], [], None
    remote = [r for r in _remote_iov(t, rvec, rn) if r[1]]
    if not remote:
        return [], [], None
    return local, remote, _target(t, pid)


def _transfer(
    t: Task, pid: int, lvec: int, ln: int, rvec: int, rn: int, flags: int, piece: Piece
) -> int:
    """Moves pieces until either side is through; ``piece`` moves one and says how much of it there was."""
    local, remote, mm = _common(t, pid, lvec, ln, rvec, rn, flags)
    if mm is None:
        return 0
    room = sum(n for _, n in local)
    total = 0
    for addr, size in remote:
        done = 0
        while done < size and total < room:
            want = min(size - done, room - total, CHUNK)
            n = piece(t, mm, local, total, addr + done, want)
            total += n
            done += n
            if n < want:
                return _result(total)
    return total


def _read_piece(t: Task, mm: MM, local: Iov, pos: int, addr: int, want: int) -> int:
    return _to_local(t, local, pos, read_remote(t, mm, addr, want))


def _write_piece(t: Task, mm: MM, local: Iov, pos: int, addr: int, want: int) -> int:
    data = _from_local(t, local, pos, want)
    return access(t, mm, lambda a: a.write(addr, data)) if data else 0


def sys_process_vm_readv(
    t: Task, pid: CInt, lvec: UserPtr, ln: CULong, rvec: UserPtr, rn: CULong, flags: CULong
) -> int:
    """process_vm_readv(2)."""
    return _transfer(t, pid, lvec, ln, rvec, rn, flags, _read_piece)


def sys_process_vm_writev(
    t: Task, pid: CInt, lvec: UserPtr, ln: CULong, rvec: UserPtr, rn: CULong, flags: CULong
) -> int:
    """process_vm_writev(2)."""
    return _transfer(t, pid, lvec, ln, rvec, rn, flags, _write_piece)


def _result(total: int) -> int:
    if total == 0:
        raise SysErr(errno.EFAULT)
    return total


def _slices(local: Iov, pos: int, size: int) -> Iov:
    """The parts of ``local`` that hold its bytes [pos, pos + size)."""
    out = []
    for addr, n in local:
        if pos >= n:
            pos -= n
            continue
        if size <= 0:
            break
        take = min(n - pos, size)
        out.append((addr + pos, take))
        size -= take
        pos = 0
    return out


def _to_local(t: Task, local: Iov, pos: int, data: bytes) -> int:
    """How much of ``data`` our own memory took."""
    done = 0
    for addr, n in _slices(local, pos, len(data)):
        ok = access(t, t.mm, lambda a, at=addr, d=data[done : done + n]: a.write(at, d))  # type: ignore[misc]
        done += ok
        if ok < n:
            break
    return done


def _from_local(t: Task, local: Iov, pos: int, size: int) -> bytes:
    parts = []
    for addr, n in _slices(local, pos, size):
        part = access(t, t.mm, lambda a, at=addr, m=n: a.read(at, m))  # type: ignore[misc]
        parts.append(part)
        if len(part) < n:
            break
    return b"".join(parts)


TABLE: Final[Table] = {
    310: full("process_vm_readv", sys_process_vm_readv),
    311: full("process_vm_writev", sys_process_vm_writev),
}
