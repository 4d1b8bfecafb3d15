"""UDP (RFC 768) and UDP-Lite (RFC 3828) as programs see it (Linux: net/ipv4/udp.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from .checksum import finish, ones_sum, parts_sum, pseudo_sum
from .events import EPOLLERR
from .inbox import ERRORS, Addr, Datagram, Inbox, SocketError, ignore
from .interface import Interface
from .ip import BROADCAST4, is_any, is_multicast
from .ip6headers import NONE, Headers
from .ip6headers import send as send_with_headers
from .ipoptions import IpOptions, received
from .link import Offload
from .members import Members
from .output import Path, find_path, send, send_with_options

if TYPE_CHECKING:
    from .icmp import IcmpError
    from .packet import Packet
    from .stack import Stack

PMTUDISC_DONT: Final = 0
PMTUDISC_WANT: Final = 1
PMTUDISC_DO: Final = 2


@final
class UdpEndpoint(Inbox):
    """A socket's end. Changes are told through ``notify`` with an EPOLL* mask.

    ``local``, ``remote``: (ip, port), ip all zeroes or ``b""``: any; remote port 0: not connected. ``iface``: bound to
    that device. ``v6only``: an IPv6 wildcard that doesn't take IPv4. Options are plain attributes: ``ttl``,
    ``mcast_ttl``, ``tos``, ``broadcast``, ``mcast_loop``, ``mcast_iface``, ``pmtu_discover`` (IP_PMTUDISC_*),
    ``rcvbuf``, ``recverr``, ``recverr6``, ``no_checksum``. ``lite``: of UDP-Lite; ``coverage``: how much the checksum of what is sent covers, 0: all;
    ``least``: how much it must of what is taken, 0: all, -1: whatever.
    """

    __slots__ = (
        "broadcast", "closed", "coverage", "headers", "iface", "least", "lite", "local", "mcast_iface", "mcast_loop", "mcast_ttl", "members",
        "no_checksum", "options", "own_members", "path", "pmtu_discover", "recverr", "recverr6", "remote", "tos", "ttl", "v6only",
    )  # fmt: skip

    def __init__(
        self, stack: Stack, local: Addr, iface: Interface | None, v6only: bool, members: Members | None = None,
        lite: bool = False,
    ) -> None:  # fmt: skip
        """``members``: what the socket has joined, when it is the socket's own."""
        super().__init__(stack)
        self.local = local
        self.remote: Addr = (b"", 0)
        self.iface = iface
        self.v6only = v6only
        self.lite = lite
        self.options: IpOptions | None = None
        self.headers = NONE
        self.coverage = 0
        self.least = -1
        self.own_members = members is None
        self.members = members or Members(stack, {})
        self.path: Path | None = None
        self.ttl = 64
        self.tos = 0
        self.mcast_ttl = 1
        self.mcast_loop = True
        self.mcast_iface: Interface | None = None
        self.broadcast = False
        self.pmtu_discover = PMTUDISC_WANT
        self.recverr = self.recverr6 = self.no_checksum = self.closed = False

    def connect(self, remote: Addr) -> int:
        """Fixes the peer and, when there was none, the local address. 0 or -errno of ``find_path``; ``(b"", 0)`` disconnects."""
        if not remote[1]:
            self.remote = (b"", 0)
            return 0
        path = find_path(self.stack, remote[0], self.iface)
        if isinstance(path, int):
            return path
        if is_any(self.local[0]):
            self.local = (path.src, self.local[1])
        self.remote = remote
        self.path = path
        return 0

    def send_to(
        self, data: bytes, remote: Addr | None, src: bytes = b"", iface: Interface | None = None, ttl: int = -1,
        tos: int = -1, options: IpOptions | None = None, headers: Headers | None = None,
    ) -> int:  # fmt: skip
        """Sends one datagram; ``src``, ``iface``, ``ttl``, ``tos``, ``options``, ``headers`` as from control messages.

        Bytes sent or -errno: EDESTADDRREQ, EMSGSIZE, ENETUNREACH, EACCES (broadcast), EINVAL, or a pending error.
        """
        if self.soft_error:
            return -self.take_error()
        if remote is None:
            remote = self.remote
            if not remote[1]:
                return -errno.EDESTADDRREQ
        dst, port = remote
        if port == 0 or not self.local[1]:
            return -errno.EINVAL
        v4 = len(dst) == 4
        if len(data) > (65507 if v4 else 65527):
            return -errno.EMSGSIZE
        many = is_multicast(dst)
        iface = iface or self.iface or (self.mcast_iface if many else None)
        path = self.path
        if (
            path is None
            or path.dst != dst
            or (iface and path.iface is not iface)
            or not path.valid(self.stack)
        ):
            found = find_path(self.stack, dst, iface)
            if isinstance(found, int):
                return found
            self.path = path = found
        if not self.broadcast and v4 and (dst == BROADCAST4 or path.iface.is_broadcast(dst)):
            return -errno.EACCES
        if not src:
            src = (
                path.src
                if is_any(self.local[0]) or len(self.local[0]) != len(dst)
                else self.local[0]
            )
        if not src:
            src = bytes(len(dst))
        if ttl < 0:
            ttl = self.mcast_ttl if many else self.ttl
        r = self._emit(
            path,
            src,
            port,
            data,
            ttl,
            self.tos if tos < 0 else tos,
            options or self.options,
            self.headers if headers is None else headers,
        )
        if r == -errno.ENOBUFS and not (self.recverr if v4 else self.recverr6):
            r = 0  # lost, as on the way; who asks for errors is told (Linux: udp_send_skb)
        if r < 0:
            return r
        everybody = (
            not many
            and self.broadcast
            and v4
            and (dst == BROADCAST4 or path.iface.is_broadcast(dst))
        )
        if everybody or (many and self.mcast_loop and dst in path.iface.groups):
            d = Datagram(
                data, (src, self.local[1]), remote, path.iface.index, self.stack.now(), ttl, 0
            )
            for e in self.stack.udp_receivers(path.iface, src, self.local[1], dst, port, self.lite):
                e.take(d)
        return len(data)

    def _emit(
        self,
        path: Path,
        src: bytes,
        port: int,
        data: bytes,
        ttl: int,
        tos: int,
        options: IpOptions | None,
        headers: Headers,
    ) -> int:
        stack = self.stack
        if len(path.dst) != 4:
            options = None
            more = headers.size()
        else:
            more = len(options.data) if options is not None else 0
        size = len(data) + 8
        covers = self.coverage if self.lite and self.coverage < size else size
        head = (
            self.local[1].to_bytes(2, "big")
            + port.to_bytes(2, "big")
            + (covers & 0xFFFF).to_bytes(2, "big")
        )
        v4 = len(path.dst) == 4
        whole = size + (20 if v4 else 40) + more <= path.mtu
        if not whole and self.pmtu_discover >= PMTUDISC_DO:
            self._too_big(path, (path.dst, port), data)
            return -errno.EMSGSIZE
        proto = 136 if self.lite else 17
        pseudo = pseudo_sum(src, path.dst, proto, size)
        offload = None
        if self.lite:
            field = finish(pseudo + parts_sum([head, data[: covers - 8] if covers else data]))
        elif v4 and self.no_checksum:
            field = b"\0\0"
        elif whole and path.iface.link.checksums and not more:
            field = pseudo.to_bytes(2, "big")
            offload = Offload(0, 6)
        else:
            field = finish(pseudo + parts_sum([head, data]))
        mib = stack.counters.of_udp(self.lite, v4)
        mib.OutDatagrams += 1
        df = whole and self.pmtu_discover != PMTUDISC_DONT
        if more and options is None:
            parts = [head + field, data]
            return send_with_headers(stack, path, src, proto, parts, ttl, tos, headers, self.owner)
        if options is not None:
            parts = [head + field, data]
            return send_with_options(
                stack, path, src, proto, parts, ttl, tos, df, options.build(src), self.owner
            )
        return send(
            stack, path, src, proto, [head + field, data], ttl, tos, df, offload, owner=self.owner
        )

    def _too_big(self, path: Path, dst: Addr, data: bytes) -> None:
        """The error queue tells the path's MTU (ip(7), IP_MTU_DISCOVER)."""
        if self.recverr if len(path.dst) == 4 else self.recverr6:
            self._queue_error(
                SocketError(errno.EMSGSIZE, 1, 0, 0, path.mtu, b"", dst, data, self.stack.now())
            )

    def _queue_error(self, e: SocketError) -> None:
        if len(self.errors) < ERRORS:
            self.errors.append(e)
        self.notify(EPOLLERR)

    def take(self, d: Datagram) -> bool:
        """A datagram for this endpoint; False: its buffer is full."""
        if self.add(d):
            return True
        mib = self.stack.counters.of_udp(self.lite, len(d.dst[0]) == 4)
        mib.RcvbufErrors += 1
        mib.InErrors += 1
        return False

    def enough(self, coverage: int) -> bool:
        """Whether a checksum over so much, and no more, will do."""
        return self.least < 0 or 0 < self.least <= coverage

    def icmp(self, e: IcmpError, port: int) -> None:
        """An error about a datagram of ours, sent to ``port``."""
        hard = e.fatal
        if e.mtu:
            if self.pmtu_discover == PMTUDISC_DONT:
                return
            hard = True
        if self.recverr if e.v4 else self.recverr6:
            s = SocketError(
                e.errno, 2 if e.v4 else 3, e.type, e.code, e.mtu, e.offender, (e.dst, port), e.inner[8:], self.stack.now(),
            )  # fmt: skip
            self.soft_error = e.errno
            self._queue_error(s)
        elif hard and self.remote[1]:
            self.soft_error = e.errno
            self.notify(EPOLLERR)

    def join(self, group: bytes, iface: Interface | None) -> int:
        """Joins a multicast group, by route when no interface is given; 0 or -EADDRINUSE, -EINVAL, -ENODEV, -ENOBUFS."""
        if iface is None and is_multicast(group):
            path = find_path(self.stack, group, self.iface)
            iface = None if isinstance(path, int) else path.iface
        return self.members.join(group, iface.index if iface is not None else 0)

    def leave(self, group: bytes, iface: Interface | None) -> int:
        """0 or -EADDRNOTAVAIL."""
        return self.members.leave(group, iface.index if iface is not None else 0)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.notify = ignore
        if self.own_members:
            self.members.close()
        self.stack.udp_forget(self)
        self.queue.clear()


def slot(port: int, lite: bool) -> int:
    """Under which number endpoints of a port are kept."""
    return port | 0x10000 if lite else port


def _lite_checksum_holds(p: Packet, size: int, covers: int) -> bool:
    """It is never left out, and no device computes it (RFC 3828 section 3.1)."""
    if p.buf[p.start + 6 : p.start + 8] == b"\0\0":
        return False
    total = pseudo_sum(p.src, p.dst, 136, size) + ones_sum(p.buf[p.start : p.start + covers])
    return total % 65535 == 0


def receive(stack: Stack, p: Packet) -> bool:
    """A packet of UDP or UDP-Lite; False: nobody is at its port."""
    v4 = len(p.src) == 4
    lite = p.proto == 136
    mib = stack.counters.of_udp(lite, v4)
    n = p.end - p.start
    if n < 8:
        mib.InErrors += 1
        return True
    length = p.buf[p.start + 4] << 8 | p.buf[p.start + 5]
    coverage = 0  # of UDP-Lite: partial
    if lite:
        if length == 0:
            length = n
        coverage = length if length < n else 0
    if length < 8 or length > n:
        mib.InErrors += 1
        return True
    if lite:
        if not _lite_checksum_holds(p, n, length):
            mib.InCsumErrors += 1
            mib.InErrors += 1
            return True
        length = n
    p.end = p.start + length
    if lite:
        pass
    elif p.buf[p.start + 6] == 0 and p.buf[p.start + 7] == 0:
        if not v4:
            mib.InCsumErrors += 1
            mib.InErrors += 1
            return True
    elif not p.checksum_holds():
        mib.InCsumErrors += 1
        mib.InErrors += 1
        return True
    sport = p.buf[p.start] << 8 | p.buf[p.start + 1]
    dport = p.buf[p.start + 2] << 8 | p.buf[p.start + 3]
    found = stack.udp_receivers(p.iface, p.src, sport, p.dst, dport, lite)
    if not found:
        if p.local:
            mib.NoPorts += 1
        else:
            mib.IgnoredMulti += 1
        return not p.local
    d = Datagram(
        p.buf[p.start + 8 : p.end], (p.src, sport), (p.dst, dport), p.iface.index, stack.now(), p.ttl, p.tos,
        received(p.options(), p.dst) if v4 and p.buf[p.ip] & 15 > 5 else b"", p.hop, p.dest,
    )  # fmt: skip
    if p.local:
        e = found[0]
        if len(found) > 1:
            spread = hash((p.src, sport, dport))
            e = found[stack.choose(p.proto, dport, d.data, len(found), spread)]
        if coverage and not e.enough(coverage):
            mib.InErrors += 1
        elif e.take(d):
            mib.InDatagrams += 1
        return True
    for e in found:
        if coverage and not e.enough(coverage):
            mib.InErrors += 1
        elif e.take(d):
            mib.InDatagrams += 1
    return True


def score(e: UdpEndpoint, iface: Interface, src: bytes, sport: int, dst: bytes) -> int:
    """How well an endpoint on the right port matches; -1: not at all (Linux: compute_score)."""
    s = 0
    mine = e.local[0]
    if is_any(mine):
        if mine and len(mine) != len(dst) and (len(mine) == 4 or e.v6only):
            return -1
    elif mine == dst:
        s += 2
    else:
        return -1
    if e.remote[1]:
        if e.remote[1] != sport or (e.remote[0] != src and not is_multicast(e.remote[0])):
            return -1
        s += 8
    if e.iface is not None:
        if e.iface is not iface:
            return -1
        s += 4
    return s
