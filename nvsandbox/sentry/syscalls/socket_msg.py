"""Sending and receiving: sendto(2), sendmsg(2), sendmmsg(2), recvfrom(2), recvmsg(2), recvmmsg(2); cmsg(3)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ..abi.socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    CMSGHDR,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_TRUNC,
    MSG_WAITFORONE,
    MSGHDR,
    SCM_CREDENTIALS,
    SCM_MAX_FD,
    SCM_RIGHTS,
    SOL_SOCKET,
    UCRED,
)
from ..errors import Restart, SysErr
from ..kernel.creds import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN
from ..kernel.userns import INVALID
from ..kernel.wait import POLL_READ
from ..mm.vma import PROT_WRITE
from ..net.socket import Control, Received, Socket, Ucred
from ..net.unix import seen_by
from .decode import CInt, CUInt, CULong, Table, UserPtr, full
from .file_rw import valid
from .socket import addr_in, addr_out, get_socket
from .timeouts import deadline_in

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

RLIMIT_NOFILE: Final = 7
UIO_MAXIOV: Final = 1024
MAX_RW: Final = 0x7FFFF000
WINDOW: Final = 1 << 20  # of a byte stream, so much is copied in at a time
CONTROL_MAX: Final = 20480  # net.core.optmem_max
NO_CRED: Final[Ucred] = (0, 65534, 65534)
Iovec = list[tuple[int, int]]


def iovec_in(t: Task, addr: int, count: int) -> Iovec:
    """Raises EMSGSIZE, EINVAL, EFAULT."""
    if count > UIO_MAXIOV:
        raise SysErr(errno.EMSGSIZE)
    out: Iovec = []
    left = MAX_RW
    for base, size in struct.iter_unpack("<QQ", t.copy_in(addr, 16 * count)):
        if size >> 63:
            raise SysErr(errno.EINVAL)
        size = min(size, left)
        left -= size
        if size:
            out.append((base, size))
    return out


def _gather(t: Task, iov: Iovec, skip: int, limit: int) -> bytes:
    """``limit`` bytes of the vector from position ``skip``."""
    if skip == 0:
        came = t.thread.gathered(limit)
        if came is not None:
            return came
    parts = []
    for base, size in iov:
        if skip >= size:
            skip -= size
            continue
        n = min(size - skip, limit)
        parts.append(t.copy_in(base + skip, n))
        limit -= n
        skip = 0
        if limit <= 0:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _scatter(t: Task, iov: Iovec, data: bytes) -> None:
    at = 0
    for base, size in iov:
        if at >= len(data):
            break
        t.copy_out(base, data[at : at + size])
        at += size


def send_iov(
    t: Task, s: Socket, iov: Iovec, addr: bytes | None, flags: int,
    files: list[FileDescription], creds: Ucred | None, control: list[Control] | None = None,
) -> int:  # fmt: skip
    """Sends the whole vector. Raises EMSGSIZE before copying what no message could hold."""
    n = _send_iov(t, s, iov, addr, flags, files, creds, control)
    if s.noting and n >= 0:
        s.sent(flags, n)
    return n


def _send_iov(
    t: Task, s: Socket, iov: Iovec, addr: bytes | None, flags: int,
    files: list[FileDescription], creds: Ucred | None, control: list[Control] | None,
) -> int:  # fmt: skip
    total = sum(n for _, n in iov)
    most = s.max_send()
    if most:
        if total > most:
            raise SysErr(errno.EMSGSIZE)
        data = _gather(t, iov, 0, total)
        if control:
            return s.send_with(t, data, addr, flags, control)
        return s.send(t, data, addr, flags, files, creds)
    done = 0
    while True:
        n = min(total - done, WINDOW)
        try:
            got = s.send(t, _gather(t, iov, done, n), addr, flags, files, creds)
        except (SysErr, Restart):
            if done:
                return done
            raise
        if got < 0:
            return done or got
        done += got
        files = []
        if got < n or done >= total:
            return done


# Control messages
def _control_in(
    t: Task, s: Socket, addr: int, size: int
) -> tuple[list[FileDescription], Ucred | None, list[Control]]:
    """SCM_RIGHTS (referenced), SCM_CREDENTIALS, and what is of other levels. Raises EINVAL, EBADF, EPERM, ENOBUFS…"""
    files: list[FileDescription] = []
    creds: Ucred | None = None
    control: list[Control] = []
    if size == 0 or addr == 0:
        return files, creds, control
    if size > CONTROL_MAX:
        raise SysErr(errno.ENOBUFS)
    raw = t.copy_in(addr, size)
    at = 0
    try:
        while at + 16 <= len(raw):
            n, level, kind = CMSGHDR.unpack_from(raw, at)
            if n < 16 or at + n > len(raw):
                raise SysErr(errno.EINVAL)
            body = raw[at + 16 : at + n]
            at += (n + 7) & ~7
            if level != SOL_SOCKET:
                control.append((level, kind, body))
                continue
            if s.domain in (AF_INET, AF_INET6) and kind in (SCM_RIGHTS, SCM_CREDENTIALS):
                continue  # means nothing there (Linux: __sock_cmsg_send)
            if kind == SCM_RIGHTS:
                if s.domain != AF_UNIX:
                    raise SysErr(errno.EINVAL)
                _rights_in(t, body, files)
            elif kind == SCM_CREDENTIALS:
                creds = _creds_in(t, body)
            else:
                raise SysErr(errno.EINVAL)
    except SysErr:
        _put(files)
        raise
    return files, creds, control


def _rights_in(t: Task, body: bytes, files: list[FileDescription]) -> None:
    count = len(body) // 4
    if len(files) + count > SCM_MAX_FD:
        raise SysErr(errno.EINVAL)
    for (fd,) in struct.iter_unpack("<i", body[: 4 * count]):
        files.append(t.files.get_any(fd).incref())


def _creds_in(t: Task, body: bytes) -> Ucred:
    if len(body) != UCRED.size:
        raise SysErr(errno.EINVAL)
    nr, uid, gid = UCRED.unpack(body)
    c, ns = t.creds, t.tg.pidns
    pid, uid, gid = ns.outer(nr), c.userns.uid_in(uid), c.userns.gid_in(gid)
    if c.userns.owner is not None and INVALID in (uid, gid):
        raise SysErr(errno.EINVAL)
    if (
        (pid != t.tg.pid and not c.ns_capable(ns.administrator(), CAP_SYS_ADMIN))
        or (uid not in (c.uid, c.euid, c.suid) and not c.has(CAP_SETUID))
        or (gid not in (c.gid, c.egid, c.sgid) and not c.has(CAP_SETGID))
    ):
        raise SysErr(errno.EPERM)
    if pid != t.tg.pid and ns.proc(nr) is None:
        raise SysErr(errno.ESRCH)
    return pid, uid, gid


def _put(files: list[FileDescription]) -> None:
    for f in files:
        f.decref()


def _control_out(t: Task, s: Socket, got: Received, addr: int, room: int, flags: int) -> int:
    """Writes what came along; how many bytes. Sets MSG_CTRUNC; lets go of ``got.files``."""
    used = 0
    for level, kind, body in got.control:
        item = CMSGHDR.pack(16 + len(body), level, kind) + body
        if room - used < 16:
            got.flags |= MSG_CTRUNC
            break
        if room - used < len(item):
            got.flags |= MSG_CTRUNC
            item = struct.pack("<Q", room - used) + item[8 : room - used]
        t.copy_out(addr + used, item)
        used = min(used + ((len(item) + 7) & ~7), room)
    if s.passcred():
        item = CMSGHDR.pack(16 + UCRED.size, SOL_SOCKET, SCM_CREDENTIALS) + UCRED.pack(
            *(seen_by(t, got.creds) if got.creds is not None else NO_CRED)
        )
        if room < 16:
            got.flags |= MSG_CTRUNC
        else:
            if room < len(item):
                got.flags |= MSG_CTRUNC
                item = struct.pack("<Q", room) + item[8:room]
            t.copy_out(addr, item)
            used = min((len(item) + 7) & ~7, room)
    if got.files:
        files, got.files = got.files, []
        try:
            used += _rights_out(t, got, files, addr + used, room - used, flags)
        finally:
            _put(files)
    return used


def _rights_out(
    t: Task, got: Received, files: list[FileDescription], addr: int, room: int, flags: int
) -> int:
    """Installs as many descriptors as there is room for (Linux: scm_detach_fds)."""
    most = max(room - 16, 0) // 4
    fds: list[int] = []
    limit = t.tg.rlimit(RLIMIT_NOFILE)
    for f in files[:most]:
        try:
            fds.append(t.files.install(f, limit, bool(flags & MSG_CMSG_CLOEXEC)))
        except SysErr:
            break
    if len(fds) < len(files):
        got.flags |= MSG_CTRUNC
    if not fds:
        return 0
    body = b"".join(fd.to_bytes(4, "little") for fd in fds)
    t.copy_out(addr, CMSGHDR.pack(16 + len(body), SOL_SOCKET, SCM_RIGHTS) + body)
    return min((16 + len(body) + 7) & ~7, room)


# The calls
def sys_sendto(
    t: Task, fd: CInt, buf: UserPtr, size: CULong, flags: CUInt, addr: UserPtr, alen: CInt
) -> int:
    s = get_socket(t, fd)
    name = addr_in(t, addr, alen) if addr else None
    size = min(size, MAX_RW)
    return send_iov(t, s, [(buf, size)] if size else [], name, flags, [], None)


def _sendmsg(t: Task, s: Socket, msg: int, flags: int) -> int:
    name, nlen, iov, niov, ctl, clen, _ = MSGHDR.unpack(t.copy_in(msg, 56))
    if nlen >> 31:
        raise SysErr(errno.EINVAL)
    addr = addr_in(t, name, min(nlen, 128)) if name and nlen else None
    vec = iovec_in(t, iov, niov)
    if clen > 0x7FFFFFFF:
        raise SysErr(errno.ENOBUFS)
    files, creds, control = _control_in(t, s, ctl, clen)
    try:
        return send_iov(t, s, vec, addr, flags, files, creds, control)
    finally:
        _put(files)


def sys_sendmsg(t: Task, fd: CInt, msg: UserPtr, flags: CUInt) -> int:
    return _sendmsg(t, get_socket(t, fd), msg, flags)


def sys_sendmmsg(t: Task, fd: CInt, vec: UserPtr, count: CUInt, flags: CUInt) -> int:
    s = get_socket(t, fd)
    done = 0
    while done < min(count, UIO_MAXIOV):
        at = vec + 64 * done
        try:
            n = _sendmsg(t, s, at, flags)
            if n >= 0:
                t.copy_out(at + 56, struct.pack("<I", n))
        except (SysErr, Restart):
            if done:
                return done
            raise
        if n < 0:
            return done or n
        done += 1
    return done


def _fits(t: Task, s: Socket, vec: Iovec, flags: int) -> int:
    """How much to receive. A stream keeps what there is no memory for; a datagram is lost."""
    size = sum(n for _, n in vec)
    if s.max_send() or not size:
        return size
    there = valid(t, vec, PROT_WRITE)
    if there == 0 and s.poll(t) & POLL_READ:
        raise SysErr(errno.EFAULT)
    return there or size


def sys_recvfrom(
    t: Task, fd: CInt, buf: UserPtr, size: CULong, flags: CUInt, addr: UserPtr, lenp: UserPtr
) -> int:
    s = get_socket(t, fd)
    if flags & MSG_ERRQUEUE:
        got = s.recv_error(t, min(size, MAX_RW))
    else:
        size = _fits(t, s, [(buf, min(size, MAX_RW))], flags)
        got = s.recv(t, size, flags)
    if isinstance(got, int):
        return got
    _put(got.files)
    t.copy_out(buf, got.data)
    if addr:
        addr_out(t, got.addr or b"", addr, lenp)
    return got.length if flags & MSG_TRUNC and s.counts_truncated() else len(got.data)


def _recvmsg(t: Task, s: Socket, msg: int, flags: int) -> int:
    name, nlen, iov, niov, ctl, clen, _ = MSGHDR.unpack(t.copy_in(msg, 56))
    if nlen >> 31:
        raise SysErr(errno.EINVAL)
    vec = iovec_in(t, iov, niov)
    if flags & MSG_ERRQUEUE:
        got = s.recv_error(t, sum(n for _, n in vec))
    else:
        got = s.recv(t, _fits(t, s, vec, flags), flags & ~MSG_WAITFORONE)
    if isinstance(got, int):
        return got
    try:
        _scatter(t, vec, got.data)
        used = _control_out(t, s, got, ctl, min(clen, 0x7FFFFFFF) if ctl else 0, flags)
        if name:
            a = got.addr or b""
            t.copy_out(name, a[:nlen])
            t.copy_out(msg + 8, struct.pack("<i", len(a)))
        t.copy_out(msg + 40, struct.pack("<QI", used, got.flags | flags & MSG_CMSG_CLOEXEC))
    finally:
        _put(got.files)
    return got.length if flags & MSG_TRUNC and s.counts_truncated() else len(got.data)


def sys_recvmsg(t: Task, fd: CInt, msg: UserPtr, flags: CUInt) -> int:
    return _recvmsg(t, get_socket(t, fd), msg, flags)


def sys_recvmmsg(
    t: Task, fd: CInt, vec: UserPtr, count: CUInt, flags: CUInt, timeout: UserPtr
) -> int:
    deadline = deadline_in(t, timeout)
    s = get_socket(t, fd)
    done = 0
    while done < min(count, UIO_MAXIOV):
        at = vec + 64 * done
        try:
            n = _recvmsg(t, s, at, flags)
            if n >= 0:
                t.copy_out(at + 56, struct.pack("<I", n))
        except (SysErr, Restart):
            if done:
                return done
            raise
        if n < 0:
            return done or n
        done += 1
        if flags & MSG_WAITFORONE:
            flags |= MSG_DONTWAIT
        # As documented under BUGS in recvmmsg(2), the timeout is looked at only between messages.
        if deadline is not None and t.k.monotonic_ns() >= deadline:
            break
    return done


TABLE: Final[Table] = {
    44: full("sendto", sys_sendto),
    45: full("recvfrom", sys_recvfrom),
    46: full("sendmsg", sys_sendmsg),
    47: full("recvmsg", sys_recvmsg),
    299: full("recvmmsg", sys_recvmmsg),
    307: full("sendmmsg", sys_sendmmsg),
}
