"""socket(2) and the calls that make, connect and describe sockets (Linux: net/socket.c)."""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from ..abi.socket import SHUT_RD, SHUT_WR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_TYPE_MASK
from ..errors import SysErr
from ..net import inet_family, netlink, packet_socket, unix_family
from ..net.socket import Socket, create_socket
from .decode import CInt, Table, UserPtr, full, partial
from .event_pipe import install_pair

if TYPE_CHECKING:
    from ..kernel.task import Task

RLIMIT_NOFILE: Final = 7
ADDR_MAX: Final = 128
FAMILY_MODULES: Final = (
    inet_family,
    netlink,
    packet_socket,
    unix_family,
)  # importing them registers their families


def get_socket(t: Task, fd: int) -> Socket:
    """Raises EBADF, ENOTSOCK."""
    f = t.files.get(fd)
    if not isinstance(f, Socket):
        raise SysErr(errno.ENOTSOCK)
    return f


def addr_in(t: Task, addr: int, size: int) -> bytes:
    """A sockaddr argument. Raises EINVAL, EFAULT."""
    if not 0 <= size <= ADDR_MAX:
        raise SysErr(errno.EINVAL)
    return t.copy_in(addr, size) if size else b""


def addr_out(t: Task, name: bytes, addr: int, lenp: int) -> None:
    """Writes as much of ``name`` as fits and its whole length (Linux: move_addr_to_user)."""
    room = struct.unpack("<i", t.copy_in(lenp, 4))[0]
    if room < 0:
        raise SysErr(errno.EINVAL)
    t.copy_out(addr, name[:room])
    t.copy_out(lenp, struct.pack("<i", len(name)))


def _type_flags(type: int) -> tuple[int, bool]:
    """(O_NONBLOCK or 0, close on exec). Raises EINVAL."""
    flags = type & ~SOCK_TYPE_MASK
    if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        raise SysErr(errno.EINVAL)
    return flags & os.O_NONBLOCK, bool(flags & SOCK_CLOEXEC)


def sys_socket(t: Task, family: CInt, type: CInt, protocol: CInt) -> int:
    nonblock, cloexec = _type_flags(type)
    s = create_socket(t, family, type & SOCK_TYPE_MASK, protocol)
    s.flags |= nonblock
    return t.files.install(s, t.tg.rlimit(RLIMIT_NOFILE), cloexec)


def sys_socketpair(t: Task, family: CInt, type: CInt, protocol: CInt, fds: UserPtr) -> int:
    nonblock, cloexec = _type_flags(type)
    a = create_socket(t, family, type & SOCK_TYPE_MASK, protocol)
    b = create_socket(t, family, type & SOCK_TYPE_MASK, protocol)
    a.pair(t, b)
    a.flags |= nonblock
    b.flags |= nonblock
    install_pair(t, fds, a, b, cloexec)
    return 0


def sys_bind(t: Task, fd: CInt, addr: UserPtr, size: CInt) -> int:
    s = get_socket(t, fd)
    s.bind(t, addr_in(t, addr, size))
    return 0


def sys_connect(t: Task, fd: CInt, addr: UserPtr, size: CInt) -> int:
    s = get_socket(t, fd)
    s.connect(t, addr_in(t, addr, size))
    return 0


def sys_listen(t: Task, fd: CInt, backlog: CInt) -> int:
    get_socket(t, fd).listen(t, backlog)
    return 0


def sys_accept4(t: Task, fd: CInt, addr: UserPtr, lenp: UserPtr, flags: CInt) -> int:
    if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        raise SysErr(errno.EINVAL)
    s = get_socket(t, fd)
    s.incref()
    try:
        new = s.accept(t, bool(s.flags & os.O_NONBLOCK))
    finally:
        s.decref()
    new.flags |= flags & os.O_NONBLOCK
    new.incref()
    try:
        if addr:
            try:
                name = new.accepted_name()
            except SysErr as e:
                raise SysErr(errno.ECONNABORTED if e.errno == errno.ENOTCONN else e.errno) from None
            addr_out(t, name, addr, lenp)
        return t.files.install(new, t.tg.rlimit(RLIMIT_NOFILE), bool(flags & SOCK_CLOEXEC))
    finally:
        new.decref()


def sys_accept(t: Task, fd: CInt, addr: UserPtr, lenp: UserPtr) -> int:
    return sys_accept4(t, fd, addr, lenp, 0)


def sys_shutdown(t: Task, fd: CInt, how: CInt) -> int:
    s = get_socket(t, fd)
    if not 0 <= how <= 2:
        raise SysErr(errno.EINVAL)
    s.shutdown(t, (SHUT_RD, SHUT_WR, SHUT_RD | SHUT_WR)[how])
    return 0


def sys_getsockname(t: Task, fd: CInt, addr: UserPtr, lenp: UserPtr) -> int:
    addr_out(t, get_socket(t, fd).sockname(), addr, lenp)
    return 0


def sys_getpeername(t: Task, fd: CInt, addr: UserPtr, lenp: UserPtr) -> int:
    addr_out(t, get_socket(t, fd).peername(), addr, lenp)
    return 0


def sys_setsockopt(t: Task, fd: CInt, level: CInt, opt: CInt, val: UserPtr, size: CInt) -> int:
    if size < 0:
        raise SysErr(errno.EINVAL)
    s = get_socket(t, fd)
    s.setsockopt(t, level, opt, t.copy_in(val, min(size, s.option_room(level, opt))))
    return 0


def sys_getsockopt(t: Task, fd: CInt, level: CInt, opt: CInt, val: UserPtr, lenp: UserPtr) -> int:
    s = get_socket(t, fd)
    room = struct.unpack("<i", t.copy_in(lenp, 4))[0]
    if room < 0:
        raise SysErr(errno.EINVAL)
    data = s.getsockopt_from(t, level, opt, val, room)
    t.copy_out(val, data[:room])
    t.copy_out(lenp, struct.pack("<i", min(len(data), room)))
    return 0


NET_GAP: Final = "AF_UNIX, AF_INET, AF_INET6, AF_PACKET, AF_NETLINK (route, sock_diag, netfilter, uevent, generic)"

TABLE: Final[Table] = {
    41: partial("socket", sys_socket, NET_GAP),
    42: full("connect", sys_connect),
    43: full("accept", sys_accept),
    48: full("shutdown", sys_shutdown),
    49: full("bind", sys_bind),
    50: full("listen", sys_listen),
    51: full("getsockname", sys_getsockname),
    52: full("getpeername", sys_getpeername),
    53: full("socketpair", sys_socketpair),
    54: full("setsockopt", sys_setsockopt),
    55: full("getsockopt", sys_getsockopt),
    288: full("accept4", sys_accept4),
}
