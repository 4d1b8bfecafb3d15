"""--network=host: socket calls go to the host's stack, in the network namespace of the Sentry.

The sockets are the Sentry's; addresses, options and ioctls pass an allow-list. What needs a capability on the host
(interface changes) is refused, since the Sentry has none; raw sockets are another's to open (``host_raw.py``). Routing netlink answers queries only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from ..abi.socket import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_UNSPEC,
    IPPROTO_UDPLITE,
    MSG_DONTWAIT,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    SHUT_RD,
    SHUT_WR,
    SO_BINDTODEVICE,
    SO_BROADCAST,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_OOBINLINE,
    SO_RCVBUF,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_SNDBUF,
    SO_TIMESTAMP,
    SO_TIMESTAMPNS,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    SOL_TCP,
    SOL_UDP,
    SOL_UDPLITE,
)
from ..errors import SysErr, from_oserror
from ..fs.hostpoll import POLLRDHUP, HostPoll
from ..kernel.creds import CAP_NET_BIND_SERVICE
from ..kernel.wait import POLL_READ, POLL_WRITE, POLLERR, POLLHUP, POLLIN, POLLOUT, Waiter
from . import netlink
from .ifioctl import SIOCGIFADDR, SIOCGIFCONF, forward
from .inet_family import create_inet
from .ports import parse_sockaddr
from .socket import Control, Received, Socket, Ucred, register_family
from .state import NET

if TYPE_CHECKING:
    from ..kernel.loop import EventLoop
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

T = TypeVar("T")
MAX_DATAGRAM: Final = 65536
STREAM_CHUNK: Final = 1 << 18
IPPROTO_ICMP: Final = 1
IPPROTO_ICMPV6: Final = 58
# What passes to the host, by level. Waiting and identity (time-outs, types) are ours; in Socket.
SOCKET_OPTIONS: Final = frozenset(
    (
        SO_REUSEADDR, SO_BROADCAST, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_OOBINLINE, SO_LINGER, SO_REUSEPORT, SO_TIMESTAMP,
        SO_TIMESTAMPNS, SO_BINDTODEVICE,
    )
)  # fmt: skip
TCP_SET: Final = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 18, 23, 25))
TCP_GET: Final = TCP_SET | {11, 13}  # TCP_INFO, TCP_CONGESTION
# TOS TTL PKTINFO MTU_DISCOVER RECVERR RECVTTL RECVTOS, multicast, MULTICAST_ALL
IP_SET: Final = frozenset((1, 2, 8, 10, 11, 12, 13, 24, *range(32, 50)))
IP_GET: Final = IP_SET | {14}
# hops, multicast, MTU_DISCOVER RECVERR V6ONLY MULTICAST_ALL, sources, RECVPKTINFO RECVHOPLIMIT RECVTCLASS TCLASS
IP6_SET: Final = frozenset((16, 17, 18, 19, 20, 21, 23, 25, 26, 29, *range(42, 50), 51, 66, 67))
UDP_SET: Final = frozenset((1, 101, 102, 103, 104))  # CORK NO_CHECK6_TX NO_CHECK6_RX SEGMENT GRO
UDPLITE_SET: Final = frozenset((1, 10, 11))  # and how much checksums cover
# Control messages that programs may send: PKTINFO, TTL and TOS; of UDP SEGMENT
CONTROL: Final = frozenset(
    ((SOL_IP, 1), (SOL_IP, 2), (SOL_IP, 8), (SOL_IPV6, 50), (SOL_IPV6, 52), (SOL_IPV6, 67), (SOL_UDP, 103))
)  # fmt: skip
CONTROL_LEVELS: Final = frozenset((SOL_SOCKET, SOL_IP, SOL_IPV6, SOL_UDP))
CONTROL_ROOM: Final = 1024  # bytes
IP6_GET: Final = IP6_SET | {24}
SETTABLE: Final = {
    SOL_SOCKET: SOCKET_OPTIONS, SOL_TCP: TCP_SET, SOL_IP: IP_SET, SOL_IPV6: IP6_SET, SOL_UDP: UDP_SET,
    SOL_UDPLITE: UDPLITE_SET,
}  # fmt: skip
GETTABLE: Final = {
    SOL_SOCKET: SOCKET_OPTIONS | {SO_ERROR}, SOL_TCP: TCP_GET, SOL_IP: IP_GET, SOL_IPV6: IP6_GET, SOL_UDP: UDP_SET,
    SOL_UDPLITE: UDPLITE_SET,
}  # fmt: skip
# ioctls on struct ifreq that only read: NAME FLAGS ADDR DSTADDR BRDADDR NETMASK METRIC MTU HWADDR INDEX TXQLEN
IFREQ: Final = (
    0x8910, 0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8933, 0x8942,
)  # fmt: skip
FIONREAD: Final = 0x541B
SIOCOUTQ: Final = 0x5411
# RTM_GET*: link, addr, route, neigh, rule
NETLINK_QUERIES: Final = frozenset((18, 22, 26, 30, 34))
_loop: list[EventLoop] = []
raw_sockets: Final[
    list[Callable[[Task, int, int], Socket]]
] = []  # who makes them (host_raw.py): of a family and protocol


def host_call(fn: Callable[[], T]) -> T:
    """Raises SysErr for what the host refuses, BlockingIOError when it would wait."""
    while True:
        try:
            return fn()
        except InterruptedError:
            continue
        except BlockingIOError:
            raise
        except OSError as e:
            raise from_oserror(e) from None
        except (ValueError, OverflowError):
            raise SysErr(errno.EINVAL) from None


class HostSocket(Socket):
    """An internet socket of the host's."""

    __slots__ = ("connecting", "host", "is_listening", "ready")

    def __init__(
        self, t: Task, domain: int, type: int, protocol: int, host: socket.socket | None = None
    ) -> None:
        super().__init__(t, domain, type, protocol)
        self.host = host or host_call(lambda: socket.socket(domain, type, protocol))
        self.host.setblocking(False)
        self.is_listening = False
        self.connecting = False
        self.ready = HostPoll(
            self.host.fileno(),
            self.queue,
            _loop[0],
            POLLIN | POLLOUT | POLLRDHUP,
            self._woken,
            True,
        )

    # Readiness
    def poll(self, t: Task | None) -> int:
        return self.ready.mask()

    def watch(self, w: Waiter) -> None:
        super().watch(w)
        self.poll(None)

    def unwatch(self, w: Waiter) -> None:
        super().unwatch(w)
        if not self.queue.waiters:
            self.ready.listen(0)

    def _woken(self, events: int) -> None:
        mask = events & 0xFFFF
        if mask & (POLLIN | POLLHUP | POLLERR | POLLRDHUP):
            mask |= POLL_READ
        if mask & (POLLOUT | POLLERR | POLLHUP):
            mask |= POLL_WRITE
        self.queue.wake(mask)

    def _wait(self, t: Task, events: int, deadline: int | None, timed: bool) -> None:
        """Until the host socket is ready. Raises EAGAIN at the deadline, Restart for a signal."""
        self.ready.also(events)
        self.pause(t, self.queue, deadline, timed)

    # Names
    def address(self, t: Task, addr: bytes) -> tuple[str, int] | tuple[str, int, int, int]:
        """Raises EINVAL, EAFNOSUPPORT."""
        parse_sockaddr(addr, self.domain)
        port = int.from_bytes(addr[2:4], "big")
        if self.domain == AF_INET:
            return socket.inet_ntop(AF_INET, addr[4:8]), port
        flow = int.from_bytes(addr[4:8], "big")
        scope = int.from_bytes(addr[24:28], "little")
        return socket.inet_ntop(AF_INET6, addr[8:24]), port, flow, scope

    def sockaddr(self, name: object) -> bytes:
        """A host name as struct sockaddr; empty for none."""
        if not isinstance(name, tuple) or len(name) < 2:
            return b""
        if self.domain == AF_INET:
            return struct.pack("<HH", AF_INET, socket.htons(name[1])) + socket.inet_aton(name[0]) + bytes(8)  # fmt: skip
        ip = socket.inet_pton(AF_INET6, name[0].partition("%")[0])
        return struct.pack("<HHI", AF_INET6, socket.htons(name[1]), socket.htonl(name[2])) + ip + struct.pack("<I", name[3])  # fmt: skip

    def bind(self, t: Task, addr: bytes) -> None:
        name = self.address(t, addr)
        if 0 < name[1] < 1024 and not t.creds.capable(CAP_NET_BIND_SERVICE):
            raise SysErr(errno.EACCES)
        host_call(lambda: self.host.bind(name))

    def connect(self, t: Task, addr: bytes) -> None:
        if len(addr) >= 2 and int.from_bytes(addr[:2], "little") == AF_UNSPEC:
            raise SysErr(errno.EAFNOSUPPORT if self.type == SOCK_STREAM else errno.EINVAL)
        name = self.address(t, addr)
        if not self.connecting:
            try:
                host_call(lambda: self.host.connect(name))
                return
            except BlockingIOError:
                if self.flags & os.O_NONBLOCK:
                    raise SysErr(errno.EINPROGRESS) from None
                self.connecting = True
        deadline = self.snd_deadline(t)
        while not self.poll(t) & (POLLOUT | POLLERR | POLLHUP):
            self._wait(t, POLLOUT, deadline, self.sndtimeo is not None)
        self.connecting = False
        err = self.host.getsockopt(SOL_SOCKET, SO_ERROR)
        if err:
            raise SysErr(err)

    def listen(self, t: Task, backlog: int) -> None:
        host_call(lambda: self.host.listen(max(min(backlog, 4096), 0)))
        self.is_listening = True

    def listening(self) -> bool:
        return self.is_listening

    def accept(self, t: Task, nonblock: bool) -> Socket:
        deadline = self.rcv_deadline(t)
        while True:
            try:
                new, _addr = host_call(self.host.accept)
                return type(self)(t, self.domain, self.type, self.protocol, new)
            except BlockingIOError:
                if nonblock:
                    raise SysErr(errno.EAGAIN) from None
            self._wait(t, POLLIN, deadline, self.rcvtimeo is not None)

    def sockname(self) -> bytes:
        return self.sockaddr(host_call(self.host.getsockname))

    def peername(self) -> bytes:
        return self.sockaddr(host_call(self.host.getpeername))

    def shutdown(self, t: Task, how: int) -> None:
        which = {SHUT_RD: socket.SHUT_RD, SHUT_WR: socket.SHUT_WR}.get(how, socket.SHUT_RDWR)
        host_call(lambda: self.host.shutdown(which))

    # Data
    def max_send(self) -> int:
        return 0 if self.type == SOCK_STREAM else MAX_DATAGRAM

    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        how = flags & MSG_OOB | MSG_DONTWAIT | socket.MSG_NOSIGNAL
        name = self.address(t, addr) if addr and self.type != SOCK_STREAM else None
        deadline = self.snd_deadline(t)
        done = 0
        view = memoryview(data)
        while True:
            try:
                part = view[done:]
                done += host_call(
                    lambda: self.host.sendto(part, how, name) if name else self.host.send(part, how)  # noqa: B023
                )
                if done >= len(data):
                    return done
                continue
            except BlockingIOError:
                pass
            except SysErr as e:
                if e.errno == errno.EPIPE:
                    return self.broken_pipe(t, flags, done)
                if done:
                    return done
                raise
            if self.dontwait(flags):
                return done or -errno.EAGAIN
            try:
                self._wait(t, POLLOUT, deadline, self.sndtimeo is not None)
            except Exception:
                if done:
                    return done
                raise

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        how = flags & (MSG_PEEK | MSG_OOB) | MSG_DONTWAIT
        deadline = self.rcv_deadline(t)
        stream = self.type == SOCK_STREAM
        room = min(size, STREAM_CHUNK) if stream else MAX_DATAGRAM
        got = b""
        while True:
            try:
                data, anc, _mflags, name = host_call(
                    lambda: self.host.recvmsg(room, 0 if stream else CONTROL_ROOM, how)  # noqa: B023
                )
            except BlockingIOError:
                if self.dontwait(flags):
                    return Received(got) if got else -errno.EAGAIN
                try:
                    self._wait(t, POLLIN, deadline, self.rcvtimeo is not None)
                except Exception:
                    if got:
                        return Received(got)
                    raise
                continue
            if stream:
                got += data
                whole = flags & MSG_WAITALL and not flags & MSG_PEEK
                if whole and data and len(got) < size:
                    room = min(size - len(got), STREAM_CHUNK)
                    continue
                r = Received(got)
            else:
                r = Received(data[:size])
                r.length = len(data)
                r.flags = MSG_TRUNC if len(data) > size else 0
                r.addr = self.sockaddr(name)
                r.control = [c for c in anc if c[0] in CONTROL_LEVELS]
            if self.queue.waiters:
                self.poll(None)
            return r

    def send_with(
        self, t: Task, data: bytes, addr: bytes | None, flags: int, control: list[Control]
    ) -> int:
        if any(c[:2] not in CONTROL for c in control):
            raise SysErr(errno.EINVAL)
        if self.type == SOCK_STREAM:
            return self.send(t, data, addr, flags, [], None)
        name = self.address(t, addr) if addr else None
        how = MSG_DONTWAIT | socket.MSG_NOSIGNAL
        deadline = self.snd_deadline(t)
        while True:
            try:
                return host_call(lambda: self.host.sendmsg([data], control, how, name))
            except BlockingIOError:
                if self.dontwait(flags):
                    return -errno.EAGAIN
            self._wait(t, POLLOUT, deadline, self.sndtimeo is not None)

    def recv_error(self, t: Task, size: int) -> Received | int:
        how = socket.MSG_ERRQUEUE | MSG_DONTWAIT
        try:
            data, anc, flags, name = host_call(
                lambda: self.host.recvmsg(min(size, MAX_DATAGRAM), CONTROL_ROOM, how)
            )
        except BlockingIOError:
            return -errno.EAGAIN
        r = Received(data)
        r.flags = flags & (socket.MSG_ERRQUEUE | MSG_TRUNC)
        r.addr = self.sockaddr(name)
        r.control = [c for c in anc if c[0] in CONTROL_LEVELS]
        return r

    # Options and ioctls
    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if opt in GETTABLE.get(level, ()):
            return host_call(lambda: self.host.getsockopt(level, opt, 256))
        return super().getsockopt(t, level, opt) if level == SOL_SOCKET else _no_option()

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if opt in SETTABLE.get(level, ()):
            host_call(lambda: self.host.setsockopt(level, opt, data))
        else:
            if level != SOL_SOCKET:
                _no_option()
            super().setsockopt(t, level, opt, data)

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        if cmd in (FIONREAD, SIOCOUTQ):
            t.copy_out(arg, host_call(lambda: fcntl.ioctl(self.host, cmd, bytes(4))))
            return 0
        return super().ioctl(t, cmd, arg)

    def release(self) -> None:
        self.ready.close()
        self.host.close()


def interface_ioctl(probe: socket.socket, t: Task, cmd: int, arg: int) -> int | None:
    """What only reads about interfaces, on a socket of any family."""
    if cmd in IFREQ:
        raw = t.copy_in(arg, 40)
        t.copy_out(arg, host_call(lambda: fcntl.ioctl(probe, cmd, raw)))
        return 0
    if cmd != SIOCGIFCONF:
        return None
    rows = []
    for _index, name in host_call(socket.if_nameindex):
        try:
            rows.append(fcntl.ioctl(probe, SIOCGIFADDR, name.encode().ljust(40, b"\0")))
        except OSError:
            continue  # it has no IPv4 address
    size, where = struct.unpack("<i4xQ", t.copy_in(arg, 16))
    data = b"".join(rows)
    if where:
        data = data[: max(size, 0) // 40 * 40]
        t.copy_out(where, data)
    t.copy_out(arg, struct.pack("<i", len(data)))
    return 0


def _no_option() -> bytes:
    raise SysErr(errno.ENOPROTOOPT)


class HostNetlink(HostSocket):
    """NETLINK_ROUTE, queries only."""

    __slots__ = ()

    def address(self, t: Task, addr: bytes) -> tuple[str, int]:
        raise SysErr(errno.EINVAL)

    def sockaddr(self, name: object) -> bytes:
        pid, groups = name if isinstance(name, tuple) else (0, 0)
        return struct.pack("<HHII", AF_NETLINK, 0, pid & 0xFFFFFFFF, groups & 0xFFFFFFFF)

    def bind(self, t: Task, addr: bytes) -> None:
        if len(addr) < 12 or int.from_bytes(addr[:2], "little") != AF_NETLINK:
            raise SysErr(errno.EINVAL)
        host_call(lambda: self.host.bind((0, int.from_bytes(addr[8:12], "little"))))

    def connect(self, t: Task, addr: bytes) -> None:
        """The only peer is the kernel."""

    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        at = 0
        while at + 16 <= len(data):
            size, kind = struct.unpack_from("<IH", data, at)
            if size < 16:
                raise SysErr(errno.EINVAL)
            if kind not in NETLINK_QUERIES:
                raise SysErr(errno.EPERM)
            at += (size + 3) & ~3
        try:
            return host_call(lambda: self.host.sendto(data, MSG_DONTWAIT, (0, 0)))
        except BlockingIOError:
            return -errno.EAGAIN


def create(t: Task, domain: int, type: int, protocol: int) -> Socket:
    """Raises EPROTONOSUPPORT, ESOCKTNOSUPPORT, EPERM."""
    if t.ns.net is not NET:  # a namespace that a program has made has nothing to do with the host
        return create_inet(t, domain, type, protocol)
    if type == SOCK_RAW:
        return raw_sockets[0](t, domain, protocol)
    if type not in (SOCK_STREAM, SOCK_DGRAM):
        raise SysErr(errno.ESOCKTNOSUPPORT)
    tcp_udp = (
        (0, 6) if type == SOCK_STREAM else (0, 17, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_UDPLITE)
    )
    if protocol not in tcp_udp:
        raise SysErr(errno.EPROTONOSUPPORT)
    return HostSocket(t, domain, type, protocol or tcp_udp[1])


def create_netlink(t: Task, type: int, protocol: int) -> Socket:
    """Raises EPROTONOSUPPORT for what is not routing."""
    if t.ns.net is not NET:
        return netlink.create_netlink(t, type, protocol)
    if type not in (SOCK_RAW, SOCK_DGRAM):
        raise SysErr(errno.ESOCKTNOSUPPORT)
    if protocol != 0:
        raise SysErr(errno.EPROTONOSUPPORT)
    return HostNetlink(t, AF_NETLINK, type, protocol)


def register(loop: EventLoop) -> None:
    """The host's families take the place of ours."""
    _loop[:] = [loop]
    probe = socket.socket(AF_INET, SOCK_DGRAM)
    forward[:] = [lambda t, cmd, arg: interface_ioctl(probe, t, cmd, arg)]
    register_family(AF_INET, lambda t, type, protocol: create(t, AF_INET, type, protocol))
    register_family(AF_INET6, lambda t, type, protocol: create(t, AF_INET6, type, protocol))
    register_family(AF_NETLINK, create_netlink)
