"""--network=host with --net-raw: raw and packet sockets of the host's, for who has CAP_NET_RAW inside (raw(7), packet(7)).

A broker opens them (``sandbox/rawbroker.py``). Packet sockets are ours in front (filters, rings, statistics), as those of
``packet_socket.py``; frames come from the host's socket instead of our stack.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from typing import TYPE_CHECKING, Final, final

from ...platform.broker_client import BrokerClient
from ..abi.socket import (
    AF_INET,
    SOCK_DGRAM,
    SOCK_RAW,
    SOL_IP,
    SOL_IPV6,
)
from ..errors import SysErr, from_oserror
from ..kernel.cbpf import run
from ..kernel.creds import CAP_NET_RAW
from .filter import View
from .host import MAX_DATAGRAM, HostSocket, host_call, raw_sockets
from .packet_socket import (
    AF_PACKET,
    PACKET_ADD_MEMBERSHIP,
    PACKET_AUXDATA,
    PACKET_DROP_MEMBERSHIP,
    SOCKADDR_LL,
    SOL_PACKET,
    PacketSocket,
)
from .socket import Received, Socket, register_family
from .stack.raw import Frames

if TYPE_CHECKING:
    from ..kernel.loop import EventLoop
    from ..kernel.task import Task

REQUEST: Final = struct.Struct("<III")  # family, type, protocol: sandbox/rawbroker.py
SOL_RAW: Final = 255
SOL_ICMPV6: Final = 58
IPPROTO_RAW: Final = 255
# IP_HDRINCL and NODEFRAG, ICMP_FILTER, ICMPV6_FILTER, IPV6_CHECKSUM
RAW_OPTIONS: Final = frozenset(
    ((SOL_IP, 3), (SOL_IP, 22), (SOL_RAW, 1), (SOL_ICMPV6, 1), (SOL_IPV6, 7), (SOL_RAW, 7))
)
BATCH: Final = 32  # frames a turn
ROOM: Final = 65600
AUXDATA_ROOM: Final = 64
CHECKSUM: Final = 8 | 128  # TP_STATUS_CSUMNOTREADY, TP_STATUS_CSUM_VALID
ETH_P_ALL: Final = 3
SIOCGIFHWADDR: Final = 0x8927


@final
class Raw:
    """Who opens them and where events come from; one for the sandbox."""

    def __init__(self, loop: EventLoop, broker: BrokerClient) -> None:
        self.loop = loop
        self.broker = broker
        self.names: dict[str, int] = {}

    def open(self, family: int, type: int, protocol: int) -> socket.socket:
        """Raises SysErr."""
        try:
            fd = self.broker.ask(REQUEST.pack(family, type, protocol))
        except OSError as e:
            raise from_oserror(e) from None
        return socket.socket(family, type, protocol, fd)

    def index(self, name: str) -> int:
        """Of an interface, 0: it is gone."""
        if name not in self.names:
            self.names = {n: i for i, n in host_call(socket.if_nameindex)}
        return self.names.get(name, 0)

    def name(self, index: int) -> str:
        """Raises ENODEV."""
        for i, n in host_call(socket.if_nameindex):
            if i == index:
                return n
        raise SysErr(errno.ENODEV)


RAW: Final[list[Raw]] = []


@final
class HostRawSocket(HostSocket):
    """SOCK_RAW of an internet family."""

    __slots__ = ()

    def filters(self) -> bool:
        return True

    def bind(self, t: Task, addr: bytes) -> None:
        if self.domain == AF_INET and len(addr) >= 16:  # the family isn't looked at
            addr = AF_INET.to_bytes(2, "little") + addr[2:]
        name = self.address(t, addr)
        host_call(lambda: self.host.bind(name))

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        while True:
            r = HostSocket.recv(self, t, MAX_DATAGRAM, flags)
            if isinstance(r, int):
                return r
            keep = len(r.data)
            if self.bpf is not None:
                kind = 0x0800 if self.domain == AF_INET else 0x86DD
                keep = run(self.bpf, View(r.data, 0, kind, 0, 0))
                if not keep:
                    if flags & socket.MSG_PEEK:  # it goes, or it would be found again
                        HostSocket.recv(self, t, 1, flags & ~socket.MSG_PEEK)
                    continue
            whole = min(len(r.data), keep)
            r.data = r.data[: min(whole, size)]
            r.length = whole
            r.flags = socket.MSG_TRUNC if whole > size else 0
            return r

    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if (level, opt) in RAW_OPTIONS:
            return host_call(lambda: self.host.getsockopt(level, opt, 32))
        return super().getsockopt(t, level, opt)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if (level, opt) in RAW_OPTIONS:
            host_call(lambda: self.host.setsockopt(level, opt, data))
            return
        super().setsockopt(t, level, opt, data)


@final
class HostFrames(Frames):
    """The frames of a packet socket of the host's. It is read when they come; what has no room is dropped, as on the host."""

    __slots__ = ("raw", "sock")

    def __init__(
        self, raw: Raw, sock: socket.socket, protocol: int, cooked: bool, name: str
    ) -> None:
        """``name``: the interface's, "" for all. Raises SysErr."""
        super().__init__(protocol, cooked)
        self.raw = raw
        self.sock = sock
        sock.setblocking(False)
        host_call(lambda: sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1))
        if protocol:
            if name:
                host_call(lambda: sock.bind((name, protocol)))
            raw.loop.watch_fd(sock.fileno(), select.EPOLLIN, self._readable)

    def _readable(self, _events: int) -> None:
        for _ in range(BATCH):
            try:
                data, anc, _flags, name_ll = self.sock.recvmsg(ROOM, AUXDATA_ROOM)
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno != errno.ENETDOWN:  # told once, when an interface goes down
                    self.raw.loop.unwatch_fd(self.sock.fileno())
                return
            name, proto, kind, _hatype, mac = name_ll
            status = int.from_bytes(anc[0][2][:4], "little") if anc else 0
            self.offer(data, mac, proto, kind, self.raw.index(name), status & CHECKSUM)

    def emit(self, data: bytes, name: str, mac: bytes, protocol: int) -> int:
        """Sends a frame (cooked: its payload). Bytes or -errno."""
        where = (name, protocol or self.protocol, 0, 0, mac)
        try:
            return host_call(lambda: self.sock.sendto(data, socket.MSG_DONTWAIT, where))
        except BlockingIOError:
            return -errno.EAGAIN

    def close(self) -> None:
        super().close()
        if self.protocol:
            self.raw.loop.unwatch_fd(self.sock.fileno())
        self.sock.close()


@final
class HostPacketSocket(PacketSocket):
    """AF_PACKET on the host's interfaces."""

    __slots__ = ("frames",)

    def open_frames(self) -> Frames | None:
        raw = RAW[0]
        name = raw.name(self.index) if self.index else ""
        # Of one interface it hears nothing before it is bound there.
        proto = 0 if name else int.from_bytes(self.proto.to_bytes(2, "big"), "little")
        sock = raw.open(AF_PACKET, self.type, proto)
        try:
            found = HostFrames(raw, sock, self.proto, self.type == SOCK_DGRAM, name)
        except SysErr:
            sock.close()
            raise
        self.frames = found
        return found

    def has_interface(self, index: int) -> bool:
        return index in (i for i, _name in host_call(socket.if_nameindex))

    def sockname(self) -> bytes:
        if not self.index:
            return SOCKADDR_LL.pack(AF_PACKET, self.proto.to_bytes(2, "big"), 0, 0, 0, 0, b"")
        return sockaddr_ll(self.frames.sock.getsockname(), self.index)

    def membership(self, add: bool, data: bytes) -> None:
        super().membership(add, data)
        opt = PACKET_ADD_MEMBERSHIP if add else PACKET_DROP_MEMBERSHIP
        host_call(lambda: self.frames.sock.setsockopt(SOL_PACKET, opt, data[:16]))

    def transmit(self, data: bytes, index: int, mac: bytes, proto: int) -> int:
        return self.frames.emit(data, RAW[0].name(index), mac, proto)


def sockaddr_ll(name: tuple[str, int, int, int, bytes], index: int) -> bytes:
    """What Python has made of a struct sockaddr_ll, as that again."""
    _name, proto, kind, hatype, mac = name
    return SOCKADDR_LL.pack(AF_PACKET, proto.to_bytes(2, "big"), index, hatype, kind, len(mac), mac)


def may_open(t: Task) -> Raw:
    """Raises EPERM without the capability or without --net-raw."""
    if not RAW or not t.creds.capable(CAP_NET_RAW):
        raise SysErr(errno.EPERM)
    return RAW[0]


def register(loop: EventLoop, broker_fd: int) -> None:
    """``broker_fd``: the broker's other end, -1 without --net-raw."""
    if broker_fd >= 0:
        RAW[:] = [Raw(loop, BrokerClient(broker_fd))]
    raw_sockets[:] = [create_raw]
    register_family(AF_PACKET, create_packet)


def create_raw(t: Task, domain: int, protocol: int) -> Socket:
    """Raises EPERM, EPROTONOSUPPORT, EINVAL."""
    raw = may_open(t)
    return HostRawSocket(t, domain, SOCK_RAW, protocol, raw.open(domain, SOCK_RAW, protocol))


def create_packet(t: Task, type: int, protocol: int) -> Socket:
    """Raises EPERM, ESOCKTNOSUPPORT."""
    may_open(t)
    if type not in (SOCK_RAW, SOCK_DGRAM):
        raise SysErr(errno.ESOCKTNOSUPPORT)
    return HostPacketSocket(t, type, protocol)
