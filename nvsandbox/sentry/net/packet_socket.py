"""Packet sockets (Linux: net/packet/af_packet.c; packet(7)): frames of the sandbox's interfaces, for who has CAP_NET_RAW."""

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
from .filter import View, attach
from .packet_blocks import REQUEST3, BlockRing
from .packet_ring import (
    MAX_SIZE,
    REQUEST,
    SIZES,
    TPACKET_V1,
    TPACKET_V3,
    Area,
    Ring,
)
from .socket import Received, Socket, Ucred, register_family
from .stack.fanout import CBPF, FLAG_DEFRAG, FLAG_IGNORE_OUTGOING, FLAG_ROLLOVER, FLAG_UNIQUEID
from .stack.raw import Frame, PacketEndpoint

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
PACKET_TX_RING: Final = 13
PACKET_LOSS: Final = 14
PACKET_FANOUT: Final = 18
PACKET_TX_HAS_OFF: Final = 19
PACKET_FANOUT_DATA: Final = 22
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
FANOUT_FLAGS: Final = FLAG_ROLLOVER | FLAG_UNIQUEID | FLAG_IGNORE_OUTGOING | FLAG_DEFRAG


class PacketSocket(Socket):
    """``next``: the frame taken from the endpoint and not yet read (MSG_PEEK)."""

    __slots__ = (
        "blocks",
        "far",
        "index",
        "next",
        "proto",
        "reserve",
        "ring",
        "rings",
        "sends",
        "version",
    )

    def __init__(self, t: Task, type: int, protocol: int) -> None:
        super().__init__(t, AF_PACKET, type, protocol)
        self.index = 0
        self.proto = int.from_bytes((protocol & 0xFFFF).to_bytes(2, "little"), "big")
        self.next: Frame | None = None
        self.far: Frames | None = None
        self.rings: Area | None = None
        self.ring: Ring | None = None
        self.blocks: BlockRing | None = None  # in the place of ``ring``
        self.sends: Ring | None = None
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
            self.far.put = self._put if self.ring is not None or self.blocks is not None else None

    def _put(self, f: Frame) -> bool:
        """A frame for the ring."""
        data, mac, proto, kind, index, whole, status = f
        head = 14 if self.type == SOCK_RAW else 0
        if self.blocks is not None:
            return self.blocks.put(data, mac, proto, kind, index, whole, head, status)
        return self.ring is not None and self.ring.put(
            data, mac, proto, kind, index, whole, head, status
        )

    def _aged(self) -> None:
        """A block was handed over."""
        self.queue.wake(POLLIN | POLLRDNORM)

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
        if self.fanout():
            raise SysErr(errno.EINVAL)
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
        if self.sends is not None:
            return self._send_ring(self.sends, index, mac, proto)
        if self.type == SOCK_RAW and len(data) < 14:
            raise SysErr(errno.EINVAL)
        return self.transmit(data, index, mac, proto)

    def _send_ring(self, ring: Ring, index: int, mac: bytes, proto: int) -> int:
        """The frames of the ring that are to go; their bytes, or -errno of the first that can't."""
        total = 0
        has_offset = bool(self.opts.get((SOL_PACKET, PACKET_TX_HAS_OFF)))
        for _ in range(ring.count):
            data = ring.take(has_offset, self.type == SOCK_DGRAM)
            if data is None:
                break
            if isinstance(data, bytes):
                if self.type == SOCK_RAW and len(data) < 14:
                    r = -errno.EINVAL
                else:
                    r = self.transmit(data, index, mac, proto)
            else:
                r = data
            if r in (-errno.EAGAIN, -errno.ENOBUFS):
                return total or r
            if r < 0 and not self.opts.get((SOL_PACKET, PACKET_LOSS)):
                ring.refuse()
                return r
            ring.done()
            total += max(r, 0)
        self.queue.wake(POLLOUT | POLLWRNORM)
        return total

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
        data, mac, proto, kind, index, whole, status = self.next
        if not flags & MSG_PEEK:
            self.next = None
        out = Received(data[:size])
        out.length = len(data)
        out.flags = MSG_TRUNC if len(data) > size else 0
        if self.opts.get((SOL_PACKET, PACKET_AUXDATA)):
            aux = TPACKET_AUXDATA.pack(
                TP_STATUS_USER | status,
                whole,
                len(data),
                0,
                14 if self.type == SOCK_RAW else 0,
                0,
                0,
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
        if self.blocks is not None:
            return mask | POLLIN | POLLRDNORM if self.blocks.readable() else mask
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
                if self.version != TPACKET_V3:
                    return struct.pack("<II", seen, drops)
                freezes = 0
                if self.blocks is not None:
                    freezes, self.blocks.freezes = self.blocks.freezes, 0
                return struct.pack("<III", seen, drops, freezes)
            if opt == PACKET_FANOUT:
                return struct.pack("<I", self.fanout())
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
            if opt in (PACKET_RX_RING, PACKET_TX_RING):
                self._set_ring(t, data, opt == PACKET_TX_RING)
                return
            if opt == PACKET_FANOUT:
                self._join(data)
                return
            if opt == PACKET_FANOUT_DATA:
                self._fanout_program(t, data)
                return
            if opt in (PACKET_VERSION, PACKET_RESERVE):
                if len(data) != 4:
                    raise SysErr(errno.EINVAL)
                value = struct.unpack("<I", data)[0]
                if self._has_ring():
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
        if opt in (PACKET_LOSS, PACKET_TX_HAS_OFF) and self._has_ring():
            if opt == PACKET_LOSS:
                raise SysErr(errno.EBUSY)
            return
        value = struct.unpack_from("<i", data)[0]
        if opt in FLAGS:
            value = int(value != 0)
        self.opts[SOL_PACKET, opt] = value

    def _has_ring(self) -> bool:
        return self.ring is not None or self.blocks is not None or self.sends is not None

    def _set_ring(self, t: Task, data: bytes, sends: bool) -> None:
        """PACKET_RX_RING, PACKET_TX_RING. Raises EINVAL, EBUSY, ENOMEM. May suspend."""
        if len(data) < (REQUEST3.size if self.version == TPACKET_V3 else REQUEST.size):
            raise SysErr(errno.EINVAL)
        _size, blocks, _frame, frames = REQUEST.unpack_from(data)
        there = (
            self.sends is not None if sends else self.ring is not None or self.blocks is not None
        )
        if not blocks:
            if frames:
                raise SysErr(errno.EINVAL)
            if sends:
                self.sends = None
            else:
                self._drop_ring()
            self._settings()
            return
        if there:
            raise SysErr(errno.EBUSY)
        if self.rings is None:
            self.rings = Area(t)
        ring: Ring | None = None
        found: BlockRing | None = None
        if self.version == TPACKET_V3 and not sends:
            found = BlockRing(self.rings, data, self.reserve, t.k.loop, self._aged)
        elif self.version == TPACKET_V3 and any(data[REQUEST.size : REQUEST3.size]):
            raise SysErr(errno.EINVAL)
        else:
            ring = Ring(self.rings, data, self.version, 0 if sends else self.reserve)
        new = found.size() if found is not None else ring.size() if ring is not None else 0
        mine = 0 if self.sends is None else self.sends.size()
        if not sends:
            first, second = new, mine
        else:
            first = (
                self.blocks.size()
                if self.blocks is not None
                else self.ring.size()
                if self.ring is not None
                else 0
            )
            second = new
        if first + second > MAX_SIZE:
            raise SysErr(errno.ENOMEM)
        if sends:
            self.sends = ring
        else:
            self.ring, self.blocks = ring, found
        if self.sends is not None:
            self.sends.base = first
        self.rings.resize(first + second)
        self._settings()

    def _drop_ring(self) -> None:
        if self.blocks is not None:
            self.blocks.close()
        self.ring = self.blocks = None

    def mappable(self, t: Task) -> Mappable:
        if self.rings is None or not self._has_ring():
            raise SysErr(errno.EINVAL)
        return self.rings

    # Fanout
    def fanout(self) -> int:
        """What PACKET_FANOUT tells: 0, or number, kind and flags of the group."""
        f = self.far.fanout if isinstance(self.far, PacketEndpoint) else None
        return f.ident | f.kind << 16 | f.flags << 24 if f is not None else 0

    def _join(self, data: bytes) -> None:
        """PACKET_FANOUT. Raises EINVAL, EALREADY, ENOSPC, and ENOPROTOOPT for frames that are the host's."""
        if len(data) not in (4, 8):  # int, struct fanout_args
            raise SysErr(errno.EINVAL)
        ident, kind, flags = struct.unpack_from("<HBB", data)
        if kind > CBPF or flags & ~FANOUT_FLAGS:
            raise SysErr(errno.EINVAL)
        if not isinstance(self.far, PacketEndpoint):
            raise SysErr(errno.ENOPROTOOPT)
        if flags & FLAG_UNIQUEID:
            if ident:
                raise SysErr(errno.EINVAL)
            free = (i for i in range(1, 0x10000) if i not in self.far.stack.fanouts)
            ident = next(free, 0)
            flags &= ~FLAG_UNIQUEID
        r = self.far.join(ident, kind, flags)
        if r < 0:
            raise SysErr(-r)

    def _fanout_program(self, t: Task, data: bytes) -> None:
        """PACKET_FANOUT_DATA: who of a group of kind CBPF gets a frame. Raises EINVAL."""
        f = self.far.fanout if isinstance(self.far, PacketEndpoint) else None
        if f is None or f.kind != CBPF or len(data) != 16:
            raise SysErr(errno.EINVAL)
        program = attach(t, data)
        f.chooses = lambda frame: run(program, View(frame, 14, frame[12] << 8 | frame[13], 0, 0))

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
        self._drop_ring()
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
