"""Interface ioctls (Linux: net/core/dev_ioctl.c, net/ipv4/devinet.c; netdevice(7))."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..kernel.creds import CAP_NET_ADMIN
from . import configure
from .state import IFF_UP, NET, Iface, NetState

if TYPE_CHECKING:
    from ..kernel.task import Task

SIOCGIFNAME: Final = 0x8910
SIOCGIFCONF: Final = 0x8912
SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
SIOCGIFADDR: Final = 0x8915
SIOCGIFDSTADDR: Final = 0x8917
SIOCGIFBRDADDR: Final = 0x8919
SIOCGIFNETMASK: Final = 0x891B
SIOCGIFMETRIC: Final = 0x891D
SIOCGIFMTU: Final = 0x8921
SIOCSIFMTU: Final = 0x8922
SIOCGIFHWADDR: Final = 0x8927
SIOCGIFINDEX: Final = 0x8933
SIOCGIFTXQLEN: Final = 0x8942
SIOCETHTOOL: Final = 0x8946
IFREQ: Final = 40  # sizeof(struct ifreq)


# Set where interfaces are the host's (net/host.py): it answers instead, None for what it does not know.
forward: list[Callable[[Task, int, int], int | None]] = []


def _sin(ip: bytes) -> bytes:
    return struct.pack("<HH4s8x", 2, 0, ip)


def _address(net: NetState, i: Iface, cmd: int) -> bytes:
    """The IPv4 ones. Raises EADDRNOTAVAIL."""
    a = net.primary(i.index)
    if a is None:
        raise SysErr(errno.EADDRNOTAVAIL)
    if cmd == SIOCGIFBRDADDR:
        return _sin(a.broadcast or bytes(4))
    if cmd == SIOCGIFNETMASK:
        return _sin((0xFFFFFFFF << (32 - a.prefix) & 0xFFFFFFFF).to_bytes(4, "big"))
    return _sin(a.ip)


def _answer(net: NetState, i: Iface, cmd: int) -> bytes:
    if cmd == SIOCGIFFLAGS:
        return struct.pack("<H", i.flags & 0xFFFF)
    if cmd == SIOCGIFMETRIC:
        return struct.pack("<i", 0)
    if cmd == SIOCGIFMTU:
        return struct.pack("<i", i.mtu)
    if cmd == SIOCGIFHWADDR:
        return struct.pack("<H14s", i.type, i.mac.ljust(14, b"\0"))
    if cmd == SIOCGIFINDEX:
        return struct.pack("<i", i.index)
    if cmd == SIOCGIFTXQLEN:
        return struct.pack("<i", i.qlen)
    return _address(net, i, cmd)


ANSWERED: Final = frozenset(
    (
        SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFDSTADDR, SIOCGIFBRDADDR, SIOCGIFNETMASK, SIOCGIFMETRIC, SIOCGIFMTU,
        SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFTXQLEN,
    )
)  # fmt: skip


def if_ioctl(t: Task, cmd: int, arg: int) -> int:
    """Raises ENODEV for unknown names, EADDRNOTAVAIL, EPERM for changes, ENOTTY for what is no such ioctl."""
    for answer in forward if t.ns.net is NET else ():
        r = answer(t, cmd, arg)
        if r is not None:
            return r
    if cmd == SIOCGIFCONF:
        return _ifconf(t, arg)
    if cmd == SIOCGIFNAME:
        found = t.ns.net.ifaces.get(struct.unpack("<i", t.copy_in(arg + 16, 4))[0])
        if found is None:
            raise SysErr(errno.ENODEV)
        t.copy_out(arg, found.name.encode("latin-1")[:15].ljust(16, b"\0"))
        return 0
    if cmd in ANSWERED:
        name = t.copy_in(arg, 16).split(b"\0")[0].decode("latin-1")
        found = t.ns.net.by_name(name.partition(":")[0])
        if found is None:
            raise SysErr(errno.ENODEV)
        t.copy_out(arg + 16, _answer(t.ns.net, found, cmd).ljust(16, b"\0"))
        return 0
    if cmd == SIOCETHTOOL:
        raise SysErr(errno.EOPNOTSUPP)
    if 0x8914 <= cmd <= 0x8943:
        request = t.copy_in(arg, IFREQ)
        if not t.creds.ns_capable(t.ns.net.administrator(), CAP_NET_ADMIN):
            raise SysErr(errno.EPERM)
        return _change(t.ns.net, cmd, request)
    raise SysErr(errno.ENOTTY)


def _change(net: NetState, cmd: int, request: bytes) -> int:
    """Up, down and the MTU. Raises ENODEV, EINVAL, EOPNOTSUPP."""
    found = net.by_name(request[:16].split(b"\0")[0].decode("latin-1").partition(":")[0])
    if found is None:
        raise SysErr(errno.ENODEV)
    value: int = struct.unpack_from("<i", request, 16)[0]
    if cmd == SIOCSIFFLAGS:
        configure.set_up(net, found, bool(value & IFF_UP))
    elif cmd == SIOCSIFMTU:
        configure.set_mtu(net, found, value)
    else:
        raise SysErr(errno.EOPNOTSUPP)
    return 0


def _ifconf(t: Task, arg: int) -> int:
    """Interfaces with an IPv4 address."""
    size, buf = struct.unpack("<i4xQ", t.copy_in(arg, 16))
    rows = []
    for i in t.ns.net.ifaces.values():
        a = t.ns.net.primary(i.index)
        if a is not None:
            rows.append(
                i.name.encode("latin-1")[:15].ljust(16, b"\0") + _sin(a.ip).ljust(24, b"\0")
            )
    data = b"".join(rows)
    if buf:
        data = data[: max(size, 0) // IFREQ * IFREQ]
        t.copy_out(buf, data)
    t.copy_out(arg, struct.pack("<i", len(data)))
    return 0
