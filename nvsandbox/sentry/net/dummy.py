"""Interfaces that a program makes: of kind dummy, which has addresses and swallows what is sent (Linux: drivers/net/dummy.c)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, final

from ...rtattr import parse
from ..errors import SysErr
from .state import ARPHRD_ETHER, IFF_BROADCAST, Iface, NetState

if TYPE_CHECKING:
    from .stack.link import Offload

IFF_NOARP: Final = 0x80
FLAGS: Final = IFF_BROADCAST | IFF_NOARP
FIRST: Final = 1 << 16  # numbers of made ones begin behind any that the host gives
MOST: Final = 256
IFLA_ADDRESS: Final = 1
IFLA_LINKINFO: Final = 18
IFLA_INFO_KIND: Final = 1
MTU: Final = 1500


@final
class Nowhere:
    """A link without addresses of its own and without an other end (stack/link.py, Link)."""

    def __init__(self) -> None:
        self.mac = b""
        self.mtu = MTU
        self.max_gso = 0
        self.checksums = True

    def send(self, parts: list[bytes], offload: Offload | None) -> bool:
        return True


def check_name(net: NetState, name: str) -> None:
    """Raises EINVAL, EEXIST (Linux: dev_valid_name)."""
    if not 0 < len(name) < 16 or name in (".", "..") or any(c in "/:" or c.isspace() for c in name):
        raise SysErr(errno.EINVAL)
    if net.by_name(name) is not None:
        raise SysErr(errno.EEXIST)


def make(net: NetState, name: str, a: dict[int, bytes]) -> Iface:
    """A new one, down, from the attributes of RTM_NEWLINK. Raises EOPNOTSUPP for other kinds, EINVAL, EEXIST, ENOBUFS."""
    kind = parse(a.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b"").rstrip(b"\0")
    if kind != b"dummy":
        raise SysErr(errno.EOPNOTSUPP)
    made = [i for i in net.ifaces if i >= FIRST]
    if len(made) >= MOST:
        raise SysErr(errno.ENOBUFS)
    if not name:
        name = next(n for n in (f"dummy{k}" for k in range(MOST + 1)) if net.by_name(n) is None)
    check_name(net, name)
    mac = a.get(IFLA_ADDRESS, b"") or bytes((0x02,)) + os.urandom(5)
    if len(mac) != 6:
        raise SysErr(errno.EINVAL)
    i = Iface(max(made, default=FIRST - 1) + 1, name, ARPHRD_ETHER, mac, MTU, FLAGS, 1000)
    i.kind = kind
    if net.stack is not None:
        i.under = net.stack.add_interface(name, i.index, Nowhere())
        net.stack.set_up(i.under, False)
    net.ifaces[i.index] = i
    return i
