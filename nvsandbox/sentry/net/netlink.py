"""Netlink sockets (Linux: net/netlink/af_netlink.c; netlink(7)): NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_NETFILTER (nftables), and two of which nothing comes:
NETLINK_KOBJECT_UEVENT (no device appears or goes) and NETLINK_GENERIC (no family is there).

Changes need CAP_NET_ADMIN and are made inside only (``configure.py``). Listeners are told of links, addresses, routes and neighbours that
come, change and go.
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, final

from ..abi.socket import (
    AF_NETLINK,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SO_PASSCRED,
    SOCK_DGRAM,
    SOCK_RAW,
    SOL_NETLINK,
    SOL_SOCKET,
)
from ..errors import SysErr
from ..kernel.cbpf import run
from ..kernel.creds import CAP_NET_ADMIN
from ..kernel.wait import POLLERR, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from . import configure, rtnetlink, sock_diag
from .filter import View
from .netfilter import nft_netlink
from .socket import Received, Socket, Ucred, register_family
from .state import NET, NetState

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

NETLINK_ROUTE: Final = 0
NETLINK_SOCK_DIAG: Final = 4
NLMSG: Final = struct.Struct("<IHHII")
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_MULTI: Final = 2
NLM_F_ACK: Final = 4
NLM_F_DUMP: Final = 0x300
PACKET: Final = 8192
MAX_QUEUE: Final = 256
MAX_LATER: Final = 16
ADD_MEMBERSHIP: Final = 1
DROP_MEMBERSHIP: Final = 2
LIST_MEMBERSHIPS: Final = 9
FLAGS: Final = (
    3,
    4,
    5,
    8,
    10,
    11,
    12,
)  # PKTINFO, BROADCAST_ERROR, NO_ENOBUFS, LISTEN_ALL_NSID, CAP_ACK, EXT_ACK, GET_STRICT_CHK
MAX_GROUP: Final = 36  # __RTNLGRP_MAX
NETLINK_NETFILTER: Final = 12
NETLINK_KOBJECT_UEVENT: Final = 15
NETLINK_GENERIC: Final = 16
PROTOCOLS: Final = (
    NETLINK_ROUTE,
    NETLINK_SOCK_DIAG,
    NETLINK_NETFILTER,
    NETLINK_KOBJECT_UEVENT,
    NETLINK_GENERIC,
)
Port = tuple[NetState, int, int]  # namespace, protocol, number
_used: dict[Port, NetlinkSocket] = {}
ALL: Final[dict[NetlinkSocket, None]] = {}


@final
class NetlinkSocket(Socket):
    """A socket of one of PROTOCOLS."""

    __slots__ = ("groups", "later", "portid", "rx")

    def __init__(self, t: Task, type: int, protocol: int) -> None:
        super().__init__(t, AF_NETLINK, type, protocol)
        self.portid = 0
        self.groups = 0
        self.rx: deque[bytes] = deque()
        self.later: deque[Iterator[bytes]] = deque()  # answers that are made when they are read
        ALL[self] = None

    def bind(self, t: Task, addr: bytes) -> None:
        if len(addr) < 12 or addr[:2] != struct.pack("<H", AF_NETLINK):
            raise SysErr(errno.EINVAL)
        port, groups = struct.unpack_from("<II", addr, 4)
        if self.portid:
            if port not in (0, self.portid):
                raise SysErr(errno.EINVAL)
        else:
            self._bind_port(t, port)
        self.groups = groups

    def _bind_port(self, t: Task, port: int) -> None:
        if port == 0:
            port = t.tg.pid
            while (self.net, self.protocol, port) in _used:
                port = (port - 4096) & 0xFFFFFFFF or 1
        elif (self.net, self.protocol, port) in _used:
            raise SysErr(errno.EADDRINUSE)
        self.portid = port
        _used[self.net, self.protocol, port] = self

    def connect(self, t: Task, addr: bytes) -> None:
        if len(addr) < 12 or addr[:2] != struct.pack("<H", AF_NETLINK):
            raise SysErr(errno.EINVAL)
        if struct.unpack_from("<I", addr, 4)[0] != 0:
            raise SysErr(errno.ECONNREFUSED)
        if not self.portid:
            self._bind_port(t, 0)

    def sockname(self) -> bytes:
        return struct.pack("<HHII", AF_NETLINK, 0, self.portid, self.groups)

    def peername(self) -> bytes:
        return struct.pack("<HHII", AF_NETLINK, 0, 0, 0)

    def max_send(self) -> int:
        return self.sndbuf - 32

    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        if flags & MSG_OOB:
            raise SysErr(errno.EOPNOTSUPP)
        if addr:
            if len(addr) < 12 or addr[:2] != struct.pack("<H", AF_NETLINK):
                raise SysErr(errno.EINVAL)
            if struct.unpack_from("<I", addr, 4)[0] != 0:
                raise SysErr(errno.ECONNREFUSED)
        if self.protocol == NETLINK_KOBJECT_UEVENT:
            raise SysErr(errno.ECONNREFUSED)  # nobody listens in the kernel
        if not self.portid:
            self._bind_port(t, 0)
        if self.protocol == NETLINK_NETFILTER:
            return self._netfilter(t, data)
        at = 0
        while at + 16 <= len(data):
            size, kind, nflags, seq, _ = NLMSG.unpack_from(data, at)
            if size < 16 or at + size > len(data):
                break
            self._request(t, kind, nflags, seq, data[at : at + size])
            at += (size + 3) & ~3
        return len(data)

    def _netfilter(self, t: Task, data: bytes) -> int:
        if len(self.later) >= MAX_LATER:
            self.err = errno.ENOBUFS
            self.queue.wake(POLLIN | POLLRDNORM)
            return len(data)
        self.later.append(nft_netlink.receive(t, self.net, self.portid, data))
        self._refill()
        if self.rx:
            self.queue.wake(POLLIN | POLLRDNORM)
        return len(data)

    def _refill(self) -> None:
        """One more datagram to read, if there is an answer that has more."""
        while not self.rx and self.later:
            more = next(self.later[0], None)
            if more is None:
                self.later.popleft()
            else:
                self.rx.append(more)

    def _request(self, t: Task, kind: int, flags: int, seq: int, raw: bytes) -> None:
        if kind < 16:
            if flags & NLM_F_ACK:
                self._error(0, seq, raw)
            return
        try:
            if kind & 3 != 2 and self.protocol == NETLINK_ROUTE:
                if not t.creds.ns_capable(self.net.administrator(), CAP_NET_ADMIN):
                    raise SysErr(errno.EPERM)
                configure.request(t, self.net, kind, flags, raw)
                if flags & NLM_F_ACK:
                    self._error(0, seq, raw)
                return
            answers = self._answers(kind, bool(flags & NLM_F_DUMP == NLM_F_DUMP), raw)
        except SysErr as e:
            self._error(e.errno, seq, raw)
            return
        multi = NLM_F_MULTI if flags & NLM_F_DUMP == NLM_F_DUMP else 0
        out = b""
        for k, body in answers:
            message = self._message(k, multi, seq, body)
            if len(out) + len(message) > PACKET:  # readers have so much room
                self.deliver(out)
                out = b""
            out += message
        if multi:
            out += self._message(NLMSG_DONE, multi, seq, bytes(4))
        if out:
            self.deliver(out)
        if flags & NLM_F_ACK and not multi:
            self._error(0, seq, raw)

    def _answers(self, kind: int, dump: bool, raw: bytes) -> list[rtnetlink.Answer]:
        if self.protocol == NETLINK_GENERIC:
            if dump:
                return []
            raise SysErr(errno.ENOENT)
        if self.protocol == NETLINK_SOCK_DIAG:
            return sock_diag.query(self.net, kind, dump, raw)
        return rtnetlink.query(self.net, kind, dump, raw)

    def _message(self, kind: int, flags: int, seq: int, body: bytes) -> bytes:
        return NLMSG.pack(16 + len(body), kind, flags, seq, self.portid) + body.ljust(
            (len(body) + 3) & ~3, b"\0"
        )

    def _error(self, err: int, seq: int, raw: bytes) -> None:
        body = struct.pack("<i", -err) + (raw if err else raw[:16])
        self.deliver(self._message(NLMSG_ERROR, 0, seq, body))

    def deliver(self, data: bytes) -> None:
        """One more datagram to read."""
        if self.bpf is not None:
            data = data[: run(self.bpf, View(data, 0, 0, 0, 0))]
            if not data:
                return
        if len(self.rx) >= MAX_QUEUE:
            self.err = errno.ENOBUFS
        else:
            self.rx.append(data)
        self.queue.wake(POLLIN | POLLRDNORM)

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        deadline = self.rcv_deadline(t)
        while not self.rx:
            if self.err:
                return -self.take_error()
            if self.dontwait(flags):
                return -errno.EAGAIN
            self.pause(t, self.queue, deadline, self.rcvtimeo is not None)
        data = self.rx[0] if flags & MSG_PEEK else self.rx.popleft()
        if self.later:
            self._refill()
        out = Received(data[:size])
        out.length = len(data)
        if len(data) > size:
            out.flags |= MSG_TRUNC
        out.addr = self.peername()
        out.creds = (0, 0, 0)  # the kernel's
        return out

    def tell(self, groups: int, kind: int, body: bytes) -> None:
        """A notification, if this socket listens to one of the groups."""
        if self.groups & groups and self.protocol == NETLINK_ROUTE:
            padded = body.ljust((len(body) + 3) & ~3, b"\0")
            self.deliver(NLMSG.pack(16 + len(body), kind, 0, 0, 0) + padded)

    def poll(self, t: Task | None) -> int:
        return (
            POLLOUT
            | POLLWRNORM
            | (POLLIN | POLLRDNORM if self.rx else 0)
            | (POLLERR if self.err else 0)
        )

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level == SOL_NETLINK and opt in (ADD_MEMBERSHIP, DROP_MEMBERSHIP):
            group = int.from_bytes(data[:4], "little")
            if len(data) < 4 or not 0 < group <= MAX_GROUP:
                raise SysErr(errno.EINVAL)
            bit = 1 << (group - 1)
            self.groups = self.groups | bit if opt == ADD_MEMBERSHIP else self.groups & ~bit
        elif level == SOL_NETLINK:
            if opt not in FLAGS:
                raise SysErr(errno.ENOPROTOOPT)
            self.opts[level, opt] = int(len(data) >= 4 and data[:4] != bytes(4))
        elif (level, opt) == (SOL_SOCKET, SO_PASSCRED):
            if len(data) < 4:
                raise SysErr(errno.EINVAL)
            self.opts[level, opt] = int(data[:4] != bytes(4))
        else:
            super().setsockopt(t, level, opt, data)

    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if (level == SOL_NETLINK and opt in FLAGS) or (level, opt) == (SOL_SOCKET, SO_PASSCRED):
            return struct.pack("<i", self.opts.get((level, opt), 0))
        if level == SOL_NETLINK and opt == LIST_MEMBERSHIPS:
            return struct.pack("<Q", self.groups) if self.groups else b""
        if level != SOL_SOCKET:
            raise SysErr(errno.ENOPROTOOPT)
        return super().getsockopt(t, level, opt)

    def filters(self) -> bool:
        return True

    def getsockopt_from(self, t: Task, level: int, opt: int, val: int, room: int) -> bytes:
        if level == SOL_NETLINK and opt in FLAGS and 0 < room < 4:
            raise SysErr(errno.EINVAL)
        return super().getsockopt_from(t, level, opt, val, room)

    def passcred(self) -> bool:
        return bool(self.opts and self.opts.get((SOL_SOCKET, SO_PASSCRED)))

    def release(self) -> None:
        _used.pop((self.net, self.protocol, self.portid), None)
        ALL.pop(self, None)
        self.rx.clear()
        self.later.clear()


def create_netlink(t: Task, type: int, protocol: int) -> Socket:
    if type not in (SOCK_RAW, SOCK_DGRAM):
        raise SysErr(errno.ESOCKTNOSUPPORT)
    if protocol not in PROTOCOLS:
        raise SysErr(errno.EPROTONOSUPPORT)
    return NetlinkSocket(t, type, protocol)


register_family(AF_NETLINK, create_netlink)


_before: dict[tuple[object, ...], rtnetlink.Known] = {}


def changed() -> None:
    """Tells monitors what is new, and what is gone, since the last time."""
    now = rtnetlink.known(NET)
    gone: list[rtnetlink.Known] = []
    for key, old in _before.items():
        if key not in now:
            gone.append(old)
    gone.reverse()  # what depends on something goes before it
    fresh: list[rtnetlink.Known] = []
    for key, known in now.items():
        was = _before.get(key)
        if was is None or was.same != known.same:
            fresh.append(known)
    _before.clear()
    _before.update(now)
    for s in [s for s in ALL if s.net is NET]:
        for f in fresh:
            s.tell(f.groups, f.new, f.body)
        for g in gone:
            s.tell(g.groups, g.gone, g.body)


NET.changed.append(changed)


def neighbour_changed(index: int, ip: bytes, mac: bytes, state: int) -> None:
    """Tells monitors of a neighbour; ``state`` 0: it is gone."""
    kind = rtnetlink.RTM_NEWNEIGH + (not state)
    body = b""
    for s in [s for s in ALL if s.net is NET]:
        if s.groups & rtnetlink.RTMGRP_NEIGH:
            body = body or rtnetlink.neighbour(index, ip, mac, state)
            s.tell(rtnetlink.RTMGRP_NEIGH, kind, body)


NET.neighbour_changed = neighbour_changed


def used(net: NetState) -> list[NetlinkSocket]:
    """Bound sockets, for /proc/net/netlink."""
    return [s for s in _used.values() if s.net is net]
