"""Packet sockets (Linux: net/packet/af_packet.c; packet(7)): frames of the sandbox's interfaces, for who has CAP_NET_RAW.

No fanout, no rings to send with.
"""

from __future__ import annotations

import errno
import struct
import time
from typing import TYPE_CHECKING, Final

from ..abi.socket import MSG_PEEK, MSG_TRUNC, SO_PROTOCOL, SOCK_DGRAM, SOCK_RAW, SOL_SOCKET
from ..errors import SysErr
from ..kernel.cbpf import run
from ..kernel.creds import CAP_NET_RAW
from ..kernel.wait import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from . import tcp_far
from .filter import View
from .packet_ring import REQUEST, SIZES, TPACKET_V1, Ring, RingMappable
from .socket import Received, Socket, Ucred, register_family
from .stack.raw import PacketEndpoint

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription, Mappable
    from .stack.raw import Frames

AF_PACKET: Final = 17
SOL_PACKET: Final = 263
SOCKADDR_LL: Final = struct.Struct("<H2siHBB8s")
PACKET_ADD_MEMBERSHIP: Final = 1
PACKET_DROP_MEMBERSHIP: Final = 2
PACKET_AUXDATA: Final = 8
PACKET_RX_RING: Final = 5
PACKET_STATISTICS: Final = 6
PACKET_VERSION: Final = 10
PACKET_HDRLEN: Final = 11
PACKET_RESERVE: Final = 12
PACKET_ROLLOVER_STATS: Final = 21
# PACKET_COPY_THRESH ORIGDEV LOSS TIMESTAMP TX_HAS_OFF QDISC_BYPASS
KEPT: Final = (7, 9, 14, 17, 19, 20)
FLAGS: Final = (9, 14, 19, 20)
LOOSE: Final = (9,)  # the others must have four bytes exactly
TPACKET_AUXDATA: Final = struct.Struct("<IIIHHHH")
TP_STATUS_USER: Final = 1
MAX_FRAME: Final = 65600


class PacketSocket(Socket):
    """``next``: the frame taken from the endpoint and not yet read (MSG_PEEK)."""

    __slots__ = ("far", "index", "next", "proto", "reserve", "ring", "version")

    def __init__(self, t: Task, type: int, protocol: int) -> None:
        super().__init__(t, AF_PACKET, type, protocol)
        self.index = 0
        self.proto = int.from_bytes((protocol & 0xFFFF).to_bytes(2, "little"), "big")
        self.next: tuple[bytes, bytes, int, int, int, int] | None = None
        self.far: Frames | None = None
        self.ring: Ring | None = None
        self.version = TPACKET_V1
        self.reserve = 0
        self._open()

    def _open(self) -> None:
        if self.far is not None:
            self.far.close()
            self.far = None
        self.far = self.open_frames()
        if self.far is not None:
            self.far.notify = self._told
            self._settings()

    def open_frames(self) -> Frames | None:
        """What is to be heard by interface and protocol. Raises ENODEV…"""
        stack = self.net.stack
        if stack is None:
            return None
        return stack.packet_open(
            self.proto, self.type == SOCK_DGRAM, self.net.interface(self.index)
        )

    def has_interface(self, index: int) -> bool:
        return index in self.net.ifaces

    def _settings(self) -> None:
        """Tells the endpoint of filter and ring."""
        if self.far is not None:
            self.far.keeps = self._keeps if self.bpf is not None else None
            self.far.put = self._put if self.ring is not None else None

    def _put(self, f: tuple[bytes, bytes, int, int, int, int]) -> bool:
        """A frame for the ring."""
        data, mac, proto, kind, index, whole = f
        head = 14 if self.type == SOCK_RAW else 0
        return self.ring is not None and self.ring.put(data, mac, proto, kind, index, whole, head)

    def _keeps(self, data: bytes, proto: int, kind: int, index: int) -> int:
        """What the filter says."""
        if self.bpf is None:
            return len(data)
        return run(self.bpf, View(data, 14 if self.type == SOCK_RAW else 0, proto, kind, index))

    def filters(self) -> bool:
        return True

    def _told(self, events: int) -> None:
        self.queue.wake(tcp_far.mask(events))

    def bind(self, t: Task, addr: bytes) -> None:
        if len(addr) < SOCKADDR_LL.size:
            raise SysErr(errno.EINVAL)
        family, proto, index = struct.unpack_from("<H2si", addr)
        if family != AF_PACKET:
            raise SysErr(errno.EINVAL)
        if index < 0 or (index and not self.has_interface(index)):
            raise SysErr(errno.ENODEV)
        self.index = index
        self.proto = int.from_bytes(proto, "big") or self.proto
        self._open()

    def sockname(self) -> bytes:
        i = self.net.ifaces.get(self.index)
        kind, mac = (i.type, i.mac) if i is not None else (0, b"")
        proto = self.proto.to_bytes(2, "big")
        return SOCKADDR_LL.pack(AF_PACKET, proto, self.index, kind, 0, len(mac), mac)

    def peername(self) -> bytes:
        raise SysErr(errno.EOPNOTSUPP)

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
        if not self.has_interface(index):
            raise SysErr(errno.ENXIO)
        if self.type == SOCK_RAW and len(data) < 14:
            raise SysErr(errno.EINVAL)
        return self.transmit(data, index, mac, proto)

    def transmit(self, data: bytes, index: int, mac: bytes, proto: int) -> int:
        """Sends a frame (SOCK_DGRAM: its payload, to ``mac`` as ``proto``) on an interface. Bytes or -errno. Raises ENXIO, EPERM."""
        via = self.net.interface(index)
        if via is None or not isinstance(self.far, PacketEndpoint):
            raise SysErr(errno.ENXIO)
        if self.net.egress is not None and self.net.egress.rules:
            raise SysErr(errno.EPERM)  # frames of one's own making would go round --egress
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
        data, mac, proto, kind, index, whole = self.next
        if not flags & MSG_PEEK:
            self.next = None
        out = Received(data[:size])
        out.length = len(data)
        out.flags = MSG_TRUNC if len(data) > size else 0
        if self.opts.get((SOL_PACKET, PACKET_AUXDATA)):
            aux = TPACKET_AUXDATA.pack(
                TP_STATUS_USER, whole, len(data), 0, 14 if self.type == SOCK_RAW else 0, 0, 0
            )
            out.control = [(SOL_PACKET, PACKET_AUXDATA, aux)]
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
        if self.ring is not None:
            return mask | POLLIN | POLLRDNORM if self.ring.readable() else mask
        if self.next is not None or (self.far is not None and self.far.events() & POLLIN):
            mask |= POLLIN | POLLRDNORM
        return mask

    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if level == SOL_PACKET:
            if opt == PACKET_STATISTICS:
                far = self.far
                seen, drops = (far.seen, far.drops) if far is not None else (0, 0)
                if far is not None:
                    far.seen = far.drops = 0
                return struct.pack("<II", seen, drops)
            if opt == PACKET_VERSION:
                return struct.pack("<i", self.version)
            if opt == PACKET_RESERVE:
                return struct.pack("<I", self.reserve)
            if opt == PACKET_AUXDATA or opt in KEPT:
                return struct.pack("<i", self.opts.get((level, opt), 0))
            if opt == PACKET_ROLLOVER_STATS:
                raise SysErr(errno.EINVAL)
            raise SysErr(errno.ENOPROTOOPT)
        if (level, opt) == (SOL_SOCKET, SO_PROTOCOL):
            return bytes(4)
        if level != SOL_SOCKET:
            raise SysErr(errno.ENOPROTOOPT)
        return super().getsockopt(t, level, opt)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level == SOL_PACKET:
            if opt == PACKET_AUXDATA:
                if len(data) < 4:
                    raise SysErr(errno.EINVAL)
                self.opts[level, opt] = int(data[:4] != bytes(4))
                return
            if opt == PACKET_RX_RING:
                self._set_ring(t, data)
                return
            if opt in (PACKET_VERSION, PACKET_RESERVE):
                if len(data) != 4:
                    raise SysErr(errno.EINVAL)
                value = struct.unpack("<I", data)[0]
                if self.ring is not None:
                    raise SysErr(errno.EBUSY)
                if opt == PACKET_VERSION:
                    if value not in SIZES:
                        raise SysErr(errno.EINVAL)
                    self.version = value
                else:
                    if value > 0x7FFFFFFF:
                        raise SysErr(errno.EINVAL)
                    self.reserve = value
                return
            if opt in (PACKET_ADD_MEMBERSHIP, PACKET_DROP_MEMBERSHIP):
                self.membership(opt == PACKET_ADD_MEMBERSHIP, data)
            elif opt in KEPT:
                self._keep(opt, data)
            else:
                raise SysErr(errno.ENOPROTOOPT)
            return
        super().setsockopt(t, level, opt, data)
        self._settings()

    def membership(self, add: bool, data: bytes) -> None:
        """PACKET_ADD_MEMBERSHIP: our interfaces get what the host's get, so promiscuity adds nothing, and all groups are heard.
        Raises EINVAL, ENODEV."""
        if len(data) < 16:  # struct packet_mreq
            raise SysErr(errno.EINVAL)
        index, kind, size = struct.unpack_from("<iHH", data)
        if size > 8 or len(data) < 8 + size:
            raise SysErr(errno.EINVAL)
        if add and not self.has_interface(index):
            raise SysErr(errno.ENODEV)
        if add and kind > 3:  # PACKET_MR_UNICAST
            raise SysErr(errno.EINVAL)

    def _keep(self, opt: int, data: bytes) -> None:
        """Options without an effect here. Raises EINVAL."""
        if len(data) < 4 or (opt not in LOOSE and len(data) != 4):
            raise SysErr(errno.EINVAL)
        value = struct.unpack_from("<i", data)[0]
        if opt in FLAGS:
            value = int(value != 0)
        self.opts[SOL_PACKET, opt] = value

    def _set_ring(self, t: Task, data: bytes) -> None:
        """PACKET_RX_RING. Raises EINVAL, EBUSY, ENOMEM."""
        if len(data) < REQUEST.size:
            raise SysErr(errno.EINVAL)
        _size, blocks, _frame, frames = REQUEST.unpack_from(data)
        if not blocks:
            if frames:
                raise SysErr(errno.EINVAL)
            self.ring = None
        elif self.ring is not None:
            raise SysErr(errno.EBUSY)
        else:
            self.ring = Ring(t, data, self.version, self.reserve)
        self._settings()

    def mappable(self, t: Task) -> Mappable:
        if self.ring is None:
            raise SysErr(errno.EINVAL)
        return RingMappable(self.ring.pair)

    def getsockopt_from(self, t: Task, level: int, opt: int, val: int, room: int) -> bytes:
        if (level, opt) != (SOL_PACKET, PACKET_HDRLEN):
            return super().getsockopt_from(t, level, opt, val, room)
        if room < 4:
            raise SysErr(errno.EINVAL)
        version = struct.unpack("<i", t.copy_in(val, 4))[0]
        if version not in SIZES:
            raise SysErr(errno.EINVAL)
        return struct.pack("<i", SIZES[version])

    def release(self) -> None:
        if self.far is not None:
            self.far.close()
            self.far = None


def create_packet(t: Task, type: int, protocol: int) -> Socket:
    """Raises EPERM, ESOCKTNOSUPPORT, and EAFNOSUPPORT where there is no network."""
    if t.ns.net.stack is None:
        raise SysErr(errno.EAFNOSUPPORT)
    if not t.creds.ns_capable(t.ns.net.administrator(), CAP_NET_RAW):
        raise SysErr(errno.EPERM)
    if type not in (SOCK_RAW, SOCK_DGRAM):
        raise SysErr(errno.ESOCKTNOSUPPORT)
    return PacketSocket(t, type, protocol)


register_family(AF_PACKET, create_packet)
