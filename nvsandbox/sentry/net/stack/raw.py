"""Raw IP endpoints (raw(7), RFC 3542) and packet endpoints (packet(7))."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from .checksum import finish, ones_sum, pseudo_sum
from .events import EPOLLERR, EPOLLIN, EPOLLOUT, EPOLLRDNORM, EPOLLWRNORM
from .fanout import FLAG_IGNORE_OUTGOING, MAX_MEMBERS, Fanout
from .inbox import ERRORS, OVERHEAD, RCVBUF, Datagram, Inbox, SocketError, ignore
from .interface import Interface
from .ip import is_any, is_multicast
from .ip6headers import NONE, Headers
from .ip6headers import send as send_with_headers
from .ipoptions import IpOptions, received
from .output import Path, find_path, send, send_packet, send_with_options

if TYPE_CHECKING:
    from .icmp import IcmpError
    from .packet import Packet
    from .stack import Stack

IPPROTO_ICMP: Final = 1
IPPROTO_ICMPV6: Final = 58
IPPROTO_RAW: Final = 255
ETH_P_ALL: Final = 3
PACKET_HOST: Final = 0
PACKET_BROADCAST: Final = 1
PACKET_MULTICAST: Final = 2
PACKET_OTHERHOST: Final = 3
PACKET_OUTGOING: Final = 4

Frame = tuple[bytes, bytes, int, int, int, int, int]
CSUM_NOT_READY: Final = 8  # TP_STATUS_CSUMNOTREADY: DHCP clients must not check it


@final
class RawEndpoint(Inbox):
    """A SOCK_RAW socket's end of one family. IPv4: ``recv`` gives whole IP packets, IPv6: payloads.

    ``protocol`` IPPROTO_RAW (255) implies ``hdrincl``. ``checksum``: offset at which IPv6 fills in a checksum, -1: none
    (ICMPv6: always 2). ``icmp_filter``: bits of types not wanted (ICMP_FILTER: 32, ICMP6_FILTER: 256 bits).
    Options are attributes: ``local``, ``remote`` (addresses, ``b""``: any), ``iface``, ``ttl``, ``tos``, ``rcvbuf``,
    ``broadcast``.
    """

    __slots__ = (
        "broadcast", "checksum", "dont_fragment", "family", "hdrincl", "headers", "icmp_filter", "iface", "local", "options", "protocol", "recverr", "remote", "tos", "ttl",
    )  # fmt: skip

    def __init__(self, stack: Stack, family: int, protocol: int) -> None:
        super().__init__(stack)
        self.family = family
        self.protocol = protocol
        self.local = b""
        self.remote = b""
        self.iface: Interface | None = None
        self.hdrincl = protocol == IPPROTO_RAW
        self.checksum = 2 if protocol == IPPROTO_ICMPV6 else -1
        self.icmp_filter = 0
        self.broadcast = False
        self.dont_fragment = self.recverr = False
        self.options: IpOptions | None = None
        self.headers = NONE
        self.ttl = 64
        self.tos = 0

    def send_to(
        self,
        data: bytes,
        remote: bytes,
        src: bytes = b"",
        iface: Interface | None = None,
        ttl: int = -1,
        tos: int = -1,
        options: IpOptions | None = None,
        headers: Headers | None = None,
    ) -> int:
        """Bytes sent or -errno: EDESTADDRREQ, EMSGSIZE, EINVAL (bad header or checksum offset), EACCES, ENETUNREACH."""
        if self.soft_error and self.hdrincl:
            return -self.take_error()
        dst = remote or self.remote
        if is_any(dst):
            return -errno.EDESTADDRREQ
        if len(dst) != self.family:
            return -errno.EINVAL
        if len(data) > 65535:
            return -errno.EMSGSIZE
        path = find_path(self.stack, dst, iface or self.iface)
        if isinstance(path, int):
            return path
        if self.family == 4 and not self.broadcast and path.iface.is_broadcast(dst):
            return -errno.EACCES
        if not src:
            src = path.src or bytes(len(dst)) if is_any(self.local) else self.local
        if self.hdrincl:
            return self._send_with_header(path, data, src)
        body = data
        if self.checksum >= 0 and self.family == 16:
            at = self.checksum
            if at + 2 > len(data):
                return -errno.EINVAL
            body = data[:at] + b"\0\0" + data[at + 2 :]
            total = pseudo_sum(src, dst, self.protocol, len(body)) + ones_sum(body)
            body = body[:at] + finish(total) + body[at + 2 :]
        if ttl < 0:
            ttl = 1 if is_multicast(dst) else self.ttl
        if headers is None:
            headers = self.headers
        if self.family == 16 and headers.size():
            r = send_with_headers(
                self.stack, path, src, self.protocol, [body], ttl, self.tos if tos < 0 else tos, headers, self.owner
            )  # fmt: skip
            return r if r < 0 else len(data)
        options = options or self.options
        if options is not None and self.family == 4:
            r = send_with_options(
                self.stack, path, src, self.protocol, [body], ttl, self.tos if tos < 0 else tos, self.dont_fragment,
                options.build(src), self.owner,
            )  # fmt: skip
            return r if r < 0 else len(data)
        r = send(
            self.stack, path, src, self.protocol, [body], ttl, self.tos if tos < 0 else tos, self.dont_fragment,
            owner=self.owner,
        )  # fmt: skip
        return r if r < 0 else len(data)

    def _send_with_header(self, path: Path, data: bytes, src: bytes) -> int:
        """IP_HDRINCL. IPv4: length and checksum are ours, source and identification when zero (raw(7))."""
        v4 = self.family == 4
        if len(data) < (20 if v4 else 40):
            return -errno.EINVAL
        if len(data) > path.mtu:
            return -errno.EMSGSIZE
        packet = data
        if v4:
            n = (data[0] & 15) * 4
            if n < 20 or n > len(data):
                return -errno.EINVAL
            ident = data[4:6] if any(data[4:6]) else self.stack.ident(path.dst).to_bytes(2, "big")
            mine = data[12:16] if any(data[12:16]) else src
            head = (
                data[:2]
                + len(data).to_bytes(2, "big")
                + ident
                + data[6:10]
                + b"\0\0"
                + mine
                + data[16:n]
            )
            packet = head[:10] + finish(ones_sum(head)) + head[12:] + data[n:]
        mib = self.stack.counters.ip if v4 else self.stack.counters.ip6
        mib.OutRequests += 1
        return send_packet(self.stack, path, packet, self.owner) or len(data)

    def wants(self, p: Packet) -> bool:
        """Whether a packet of its protocol is for it."""
        if self.local and self.local != p.dst and not is_any(self.local):
            return False
        if self.remote and self.remote != p.src and not is_any(self.remote):
            return False
        if self.iface is not None and self.iface is not p.iface:
            return False
        if self.protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6) and p.end > p.start:
            kind = p.buf[p.start]
            if self.icmp_filter >> kind & 1 and (self.family == 16 or kind < 32):
                return False
        return True

    def take(self, p: Packet) -> None:
        """A packet; dropped when the buffer is full."""
        if self.checksum >= 0 and self.family == 16 and not p.checksum_holds():
            return
        data = p.buf[p.ip : p.end] if self.family == 4 else p.payload()
        now = self.stack.now()
        options = b""
        if self.family == 4 and data[0] & 15 > 5:
            options = received(p.options(), p.dst)
            data = data[:20] + options + data[20 + len(options) :]
        self.add(
            Datagram(
                data,
                (p.src, 0),
                (p.dst, 0),
                p.iface.index,
                now,
                p.ttl,
                p.tos,
                options,
                p.hop,
                p.dest,
            )
        )

    def icmp(self, e: IcmpError) -> None:
        """An error about a packet that may be ours (Linux: raw_err): for those who ask for errors, with the packet from its transport header on."""
        if self.recverr and len(self.errors) < ERRORS:
            origin = 2 if e.v4 else 3
            self.errors.append(
                SocketError(e.errno, origin, e.type, e.code, e.mtu, e.offender, (e.dst, 0), e.inner, self.stack.now())
            )  # fmt: skip
            self.soft_error = e.errno
            self.notify(EPOLLERR)
        elif e.fatal and not is_any(self.remote):
            self.soft_error = e.errno
            self.notify(EPOLLERR)

    def close(self) -> None:
        self.notify = ignore
        self.errors.clear()
        self.stack.raw_forget(self)
        self.queue.clear()


class Frames:
    """Where a packet socket gets its frames. ``protocol``: EtherType, 3 (ETH_P_ALL) or 0 (nothing). ``cooked``: SOCK_DGRAM, without the
    link-layer header. ``keeps``: how many bytes of a frame (data, EtherType, PACKET_*, ifindex) are kept, 0: it is not for us. ``put``
    takes frames instead of the queue, False: no room. ``seen``, ``drops``: PACKET_STATISTICS.
    """

    __slots__ = ("cooked", "drops", "keeps", "notify", "protocol", "put", "queue", "queued", "rcvbuf", "seen")  # fmt: skip

    def __init__(self, protocol: int, cooked: bool) -> None:
        self.protocol = protocol
        self.cooked = cooked
        self.notify: Callable[[int], None] = ignore
        self.queue: deque[Frame] = deque()
        self.queued = 0
        self.rcvbuf = RCVBUF
        self.keeps: Callable[[bytes, int, int, int], int] | None = None
        self.put: Callable[[Frame], bool] | None = None
        self.seen = self.drops = 0

    def offer(
        self, data: bytes, src: bytes, kind: int, where: int, index: int, status: int
    ) -> None:
        """A frame: data, source MAC, EtherType, PACKET_*, ifindex, TP_STATUS_*."""
        size = len(data)
        if self.keeps is not None:
            n = self.keeps(data, kind, where, index)
            if n < size:
                data = data[:n]
            if not n:
                return
        self.seen += 1
        if self.put is not None:
            if self.put((data, src, kind, where, index, size, status)):
                self.notify(EPOLLIN | EPOLLRDNORM)
            else:
                self.drops += 1
            return
        cost = len(data) + OVERHEAD
        if self.queued + cost > self.rcvbuf and self.queue:
            self.drops += 1
            return
        self.queued += cost
        self.queue.append((data, src, kind, where, index, size, status))
        self.notify(EPOLLIN | EPOLLRDNORM)

    def recv(self) -> Frame | None:
        """(data, source MAC, EtherType, PACKET_HOST…OUTGOING, ifindex, length before it was cut, TP_STATUS_*)."""
        if not self.queue:
            return None
        f = self.queue.popleft()
        self.queued -= len(f[0]) + OVERHEAD
        return f

    def has_room(self) -> bool:
        return self.queued < self.rcvbuf

    def peek(self) -> Frame | None:
        return self.queue[0] if self.queue else None

    def events(self) -> int:
        mask = EPOLLOUT | EPOLLWRNORM
        return mask | EPOLLIN | EPOLLRDNORM if self.queue else mask

    def close(self) -> None:
        self.notify = ignore
        self.queue.clear()


@final
class PacketEndpoint(Frames):
    """An AF_PACKET socket's end: frames of an interface (None: all), both directions."""

    __slots__ = ("fanout", "iface", "stack")

    def __init__(self, stack: Stack, protocol: int, cooked: bool, iface: Interface | None) -> None:
        super().__init__(protocol, cooked)
        self.stack = stack
        self.iface = iface
        self.fanout: Fanout | None = None

    def take(
        self, iface: Interface, frame: bytes, outgoing: bool, unfinished: bool = False
    ) -> None:
        """A frame on its way in or out."""
        if self.iface is not None and self.iface is not iface:
            return
        head = 14 if iface.link.mac else 0
        if head:
            kind = frame[12] << 8 | frame[13]
            src, dst = frame[6:12], frame[:6]
        else:
            kind = 0x86DD if frame[:1] >= b"\x60" else 0x0800
            src = dst = b""
        if self.protocol != ETH_P_ALL and (self.protocol != kind or outgoing):
            return
        if outgoing:
            where = PACKET_OUTGOING
        elif not dst or dst == iface.link.mac:
            where = PACKET_HOST
        elif dst == b"\xff" * 6:
            where = PACKET_BROADCAST
        else:
            where = PACKET_MULTICAST if dst[0] & 1 else PACKET_OTHERHOST
        to = self
        if self.fanout is not None:
            if self is not self.fanout.members[0]:
                return
            if outgoing and self.fanout.flags & FLAG_IGNORE_OUTGOING:
                return
            to = self.fanout.pick(frame, head)
        to.offer(
            frame[head:] if to.cooked else frame,
            src,
            kind,
            where,
            iface.index,
            CSUM_NOT_READY if unfinished else 0,
        )

    def send(self, data: bytes, iface: Interface, dst_mac: bytes = b"", protocol: int = 0) -> int:
        """A frame (cooked: its payload, to ``dst_mac`` as ``protocol``). Bytes or -errno: EINVAL, EMSGSIZE, ENETDOWN, ENOBUFS."""
        head = 14 if iface.link.mac else 0
        if not iface.up:
            return -errno.ENETDOWN
        if self.cooked:
            if head and len(dst_mac) != 6:
                return -errno.EINVAL
            if head:
                kind = protocol or self.protocol
                data = dst_mac + iface.link.mac + kind.to_bytes(2, "big") + data
        if len(data) < head:
            return -errno.EINVAL
        if len(data) > iface.link.mtu + head:
            return -errno.EMSGSIZE
        if not self.stack.transmit(iface, [data], None):
            return -errno.ENOBUFS
        return len(data) - (head if self.cooked else 0)

    def close(self) -> None:
        super().close()
        self.stack.packet_forget(self)
        f, self.fanout = self.fanout, None
        if f is not None:
            f.members.remove(self)
            if not f.members:
                self.stack.fanouts.pop(f.ident, None)

    def join(self, ident: int, kind: int, flags: int) -> int:
        """PACKET_FANOUT; 0 or -errno: EINVAL (another kind of group, other frames), ENOSPC, EALREADY."""
        if self.fanout is not None:
            return -errno.EALREADY
        if not self.protocol:
            return -errno.EINVAL
        f = self.stack.fanouts.get(ident)
        if f is None:
            f = self.stack.fanouts[ident] = Fanout(ident, kind, flags, self.stack.random)
        elif (
            f.kind != kind
            or f.flags != flags
            or (f.members[0].protocol, f.members[0].iface) != (self.protocol, self.iface)
        ):
            return -errno.EINVAL
        elif len(f.members) >= MAX_MEMBERS:
            return -errno.ENOSPC
        f.members.append(self)
        self.fanout = f
        return 0
