"""Packet sockets (Linux: net/packet/af_packet.c; packet(7)): frames of the sandbox's interfaces, for who has CAP_NET_RAW.

No rings (PACKET_RX_RING), no fanout, no filters: readers filter for themselves, as libraries do when the kernel can't.
"""

from __future__ import annotations

import errno
import struct
import time
from typing import TYPE_CHECKING, Final, final

from ..abi.socket import MSG_PEEK, MSG_TRUNC, SOCK_DGRAM, SOCK_RAW
from ..errors import SysErr
from ..kernel.creds import CAP_NET_RAW
from ..kernel.wait import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from . import tcp_far
from .inet import interface
from .socket import Received, Socket, Ucred, register_family
from .state import NET

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from .stack.raw import PacketEndpoint

AF_PACKET: Final = 17
SOL_PACKET: Final = 263
SOCKADDR_LL: Final = struct.Struct("<H2siHBB8s")
PACKET_ADD_MEMBERSHIP: Final = 1
PACKET_DROP_MEMBERSHIP: Final = 2
PACKET_AUXDATA: Final = 8
PACKET_STATISTICS: Final = 6
MAX_FRAME: Final = 65600


@final
class PacketSocket(Socket):
    """``next``: the frame taken from the endpoint and not yet read (MSG_PEEK)."""

    __slots__ = ("far", "index", "next", "proto")

    def __init__(self, t: Task, type: int, protocol: int) -> None:
        super().__init__(t, AF_PACKET, type, protocol)
        self.index = 0
        self.proto = int.from_bytes((protocol & 0xFFFF).to_bytes(2, "little"), "big")
        self.next: tuple[bytes, bytes, int, int, int, int] | None = None
        self.far: PacketEndpoint | None = None
        self._open()

    def _open(self) -> None:
        if self.far is not None:
            self.far.close()
            self.far = None
        if NET.stack is not None and self.proto:
            self.far = NET.stack.packet_open(
                self.proto, self.type == SOCK_DGRAM, interface(self.index)
            )
            self.far.notify = self._told

    def _told(self, events: int) -> None:
        self.queue.wake(tcp_far.mask(events))

    def bind(self, t: Task, addr: bytes) -> None:
        if len(addr) < 12:
            raise SysErr(errno.EINVAL)
        family, proto, index = struct.unpack_from("<H2si", addr)
        if family != AF_PACKET:
            raise SysErr(errno.EINVAL)
        if index < 0 or (index and index not in NET.ifaces):
            raise SysErr(errno.ENODEV)
        self.index = index
        self.proto = int.from_bytes(proto, "big") or self.proto
        self._open()

    def sockname(self) -> bytes:
        i = NET.ifaces.get(self.index)
        kind, mac = (i.type, i.mac) if i is not None else (0, b"")
        proto = self.proto.to_bytes(2, "big")
        return SOCKADDR_LL.pack(AF_PACKET, proto, self.index, kind, 0, len(mac), mac)

    def max_send(self) -> int:
        return MAX_FRAME

    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        index, mac, proto = self.index, b"", self.proto
        if addr is not None:
            if len(addr) < 20:
                raise SysErr(errno.EINVAL)
            _family, raw, index, _kind, _type, size, where = SOCKADDR_LL.unpack_from(addr)
            mac, proto = where[: min(size, 8)], int.from_bytes(raw, "big")
        via = interface(index)
        if via is None or self.far is None:
            raise SysErr(errno.ENXIO)
        if NET.egress is not None and NET.egress.rules:
            raise SysErr(errno.EPERM)  # frames of one's own making would go round --egress
        if self.type == SOCK_RAW and len(data) < 14:
            raise SysErr(errno.EINVAL)
        return self.far.send(data, via, mac, proto)

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        deadline = self.rcv_deadline(t)
        while self.next is None:
            if self.far is not None:
                self.next = self.far.recv()
            if self.next is None:
                if self.dontwait(flags):
                    return -errno.EAGAIN
                self.pause(t, self.queue, deadline, self.rcvtimeo is not None)
        data, mac, proto, kind, index, _when = self.next
        if not flags & MSG_PEEK:
            self.next = None
        out = Received(data[:size])
        out.length = len(data)
        out.flags = MSG_TRUNC if len(data) > size else 0
        out.addr = SOCKADDR_LL.pack(
            AF_PACKET, proto.to_bytes(2, "big"), index, 1, kind, len(mac), mac
        )
        return out

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        if cmd in (0x8906, 0x8907):  # SIOCGSTAMP, SIOCGSTAMPNS: of the last frame
            sec, ns = divmod(time.time_ns(), 10**9)
            t.copy_out(arg, struct.pack("<qq", sec, ns // (1000 if cmd == 0x8906 else 1)))
            return 0
        return super().ioctl(t, cmd, arg)

    def poll(self, t: Task | None) -> int:
        mask = POLLOUT | POLLWRNORM
        if self.next is not None or (self.far is not None and self.far.events() & POLLIN):
            mask |= POLLIN | POLLRDNORM
        return mask

    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if level == SOL_PACKET:
            if opt == PACKET_STATISTICS:
                return bytes(8)
            raise SysErr(errno.ENOPROTOOPT)
        return super().getsockopt(t, level, opt)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level == SOL_PACKET:
            # Our interfaces get what the host's get: promiscuity adds nothing, all groups are heard.
            if opt not in (PACKET_ADD_MEMBERSHIP, PACKET_DROP_MEMBERSHIP):
                raise SysErr(errno.ENOPROTOOPT)
            return
        super().setsockopt(t, level, opt, data)

    def release(self) -> None:
        if self.far is not None:
            self.far.close()
            self.far = None


def create_packet(t: Task, type: int, protocol: int) -> Socket:
    """Raises EPERM, ESOCKTNOSUPPORT, and EAFNOSUPPORT where there is no network."""
    if NET.stack is None:
        raise SysErr(errno.EAFNOSUPPORT)
    if not t.creds.capable(CAP_NET_RAW):
        raise SysErr(errno.EPERM)
    if type not in (SOCK_RAW, SOCK_DGRAM):
        raise SysErr(errno.ESOCKTNOSUPPORT)
    return PacketSocket(t, type, protocol)


register_family(AF_PACKET, create_packet)
