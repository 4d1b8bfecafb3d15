"""Addresses and ports of one transport (Linux: net/ipv4/inet_hashtables.c, inet_connection_sock.c).

Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final, Protocol, final

from ..abi.socket import AF_INET, AF_INET6
from ..errors import SysErr
from ..kernel.cbpf import run
from ..kernel.creds import CAP_NET_BIND_SERVICE
from .filter import View

if TYPE_CHECKING:
    from ..kernel.cbpf import Insn
    from ..kernel.task import Task
    from .state import NetState

V4: Final = bytes(10) + b"\xff\xff"  # before an IPv4 address
ANY4: Final = V4 + bytes(4)
ANY6: Final = bytes(16)
LO4: Final = V4 + b"\x7f\0\0\1"
LO6: Final = bytes(15) + b"\1"
# net.ipv4.ip_local_port_range, net.ipv4.ip_unprivileged_port_start, net.core.somaxconn (net/sysctl.py)
EPHEMERAL: Final = [32768, 60999]
UNPRIVILEGED: Final = [1024]
BACKLOG: Final = [4096]
Addr = tuple[bytes, int]  # ip, port


class Bound(Protocol):
    """What the table needs to know of a socket."""

    net: NetState
    local: Addr
    v6only: bool
    owner_uid: int

    def may_share(self) -> tuple[bool, bool]:
        """(SO_REUSEADDR and not listening, SO_REUSEPORT)."""
        ...


def parse_sockaddr(raw: bytes, family: int) -> Addr:
    """A sockaddr_in or sockaddr_in6. Raises EINVAL, EAFNOSUPPORT."""
    if len(raw) < 2:
        raise SysErr(errno.EINVAL)
    fam = struct.unpack_from("<H", raw)[0]
    if family == AF_INET:
        if len(raw) < 16:
            raise SysErr(errno.EINVAL)
        if fam != AF_INET and not (fam == 0 and raw[4:8] == bytes(4)):
            raise SysErr(errno.EAFNOSUPPORT)
        return V4 + raw[4:8], int.from_bytes(raw[2:4], "big")
    if len(raw) < 24:
        raise SysErr(errno.EINVAL)
    if fam != AF_INET6:
        raise SysErr(errno.EAFNOSUPPORT)
    return raw[8:24], int.from_bytes(raw[2:4], "big")


def as_ipv6(raw: bytes) -> bytes:
    """What a datagram socket of IPv6 makes of a struct sockaddr_in; others stay as they are."""
    if len(raw) < 16 or raw[:2] != AF_INET.to_bytes(2, "little"):
        return raw
    return make_sockaddr(parse_sockaddr(raw, AF_INET), AF_INET6)


def make_sockaddr(a: Addr, family: int, index: int = 0) -> bytes:
    """``index``: the interface, told for link-local addresses."""
    ip, port = a
    if family == AF_INET:
        return struct.pack("<H", AF_INET) + port.to_bytes(2, "big") + ip[12:] + bytes(8)
    scope = index if is_link_local(ip) else 0
    head = struct.pack("<H", AF_INET6) + port.to_bytes(2, "big") + bytes(4)
    return head + ip + struct.pack("<I", scope)


def is_link_local(ip: bytes) -> bool:
    """Of IPv6; such an address means something on one link only. Multicast within the link is included."""
    return (ip[0] == 0xFE and ip[1] & 0xC0 == 0x80) or (ip[0] == 0xFF and ip[1] & 15 <= 2)


def is_multicast(ip: bytes) -> bool:
    return ip[12] & 0xF0 == 0xE0 if is_v4(ip) else ip[0] == 0xFF


def is_v4(ip: bytes) -> bool:
    return ip[:12] == V4


def is_any(ip: bytes) -> bool:
    return ip in (ANY4, ANY6)


def _overlap(a: Bound, ip: bytes, v6only: bool) -> bool:
    """Whether ``a`` would get what a socket bound to ``ip`` gets."""
    mine = a.local[0]
    if mine == ip:
        return True
    if mine == ANY6:
        return not is_v4(ip) or not a.v6only
    if ip == ANY6:
        return not is_v4(mine) or not v6only
    return (mine == ANY4 and is_v4(ip)) or (ip == ANY4 and is_v4(mine))


@final
class Ports:
    """Who is bound to which port of a protocol (IPPROTO_TCP, IPPROTO_UDP)."""

    __slots__ = ("bound", "choosers", "proto")

    def __init__(self, proto: int) -> None:
        self.proto = proto
        self.choosers: dict[int, list[Insn]] = {}  # SO_ATTACH_REUSEPORT_CBPF, by port
        self.bound: dict[int, list[Bound]] = {}

    def bind(self, t: Task, s: Bound, ip: bytes, port: int) -> None:
        """Gives ``s`` the address (port 0: any free one). Raises EADDRINUSE, EACCES."""
        if 0 < port < UNPRIVILEGED[0] and not t.creds.ns_capable(
            s.net.administrator(), CAP_NET_BIND_SERVICE
        ):
            raise SysErr(errno.EACCES)
        if port == 0:
            port = self._free(s, ip)
        elif not self._allowed(s, ip, port):
            raise SysErr(errno.EADDRINUSE)
        s.local = (ip, port)
        self.bound.setdefault(port, []).append(s)

    def _allowed(self, s: Bound, ip: bytes, port: int) -> bool:
        addr, many = s.may_share()
        if s.net.siblings is not None and not (self.proto == 17 and (addr or many)):
            if s.net.siblings.taken(self.proto, ip, port):
                return False
        for o in self.bound.get(port, ()):
            if not _overlap(o, ip, s.v6only):
                continue
            o_addr, o_many = o.may_share()
            if not ((addr and o_addr) or (many and o_many and s.owner_uid == o.owner_uid)):
                return False
        return True

    def _free(self, s: Bound, ip: bytes) -> int:
        low, high = EPHEMERAL
        n = high - low + 1
        start = int.from_bytes(os.urandom(4), "little") % n
        for i in range(n):
            port = low + (start + i) % n
            if port not in self.bound:
                return port
        for i in range(n):
            port = low + (start + i) % n
            if not any(_overlap(o, ip, s.v6only) for o in self.bound[port]):
                return port
        raise SysErr(errno.EADDRINUSE)

    def release(self, s: Bound) -> None:
        port = s.local[1]
        here = self.bound.get(port)
        if here is not None and s in here:
            here.remove(s)
            if not here:
                del self.bound[port]
                self.choosers.pop(port, None)

    def choose(self, port: int, program: list[Insn] | None) -> bool:
        """Sets the program that chooses among those who share a port, or takes it away (False: there was none)."""
        had = self.choosers.pop(port, None) is not None
        if program is not None:
            self.choosers[port] = program
        return had

    def pick(self, port: int, data: bytes, count: int, spread: int) -> int:
        """Which of ``count`` sockets that share a port gets a packet with this payload: what the program says, or by ``spread``."""
        program = self.choosers.get(port)
        if program is not None:
            n = run(program, View(data, 0, 0, 0, 0))
            if n < count:
                return n
        return spread % count

    def lookup(self, ip: bytes, port: int) -> list[Bound]:
        """Sockets that traffic to ``ip``:``port`` may go to, the closest match first."""
        exact: list[Bound] = []
        wild: list[Bound] = []
        for o in self.bound.get(port, ()):
            mine = o.local[0]
            if mine == ip:
                exact.append(o)
            elif (mine == ANY4 and is_v4(ip)) or (mine == ANY6 and (not is_v4(ip) or not o.v6only)):
                wild.append(o)
        return exact + wild
