"""UDP between sockets of one sandbox (Linux: net/ipv4/udp.c as programs see it)."""

from __future__ import annotations

import errno
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, final

from ..abi.socket import MSG_OOB, MSG_PEEK, MSG_TRUNC, SHUT_RD, SHUT_WR, SOL_UDP
from ..errors import SysErr
from ..kernel.wait import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)
from .inet import InetSocket
from .ports import Addr, Ports, make_sockaddr, source_for
from .socket import Received, Ucred

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

PORTS: Final = Ports()
MAX_PAYLOAD: Final = 65507
OVERHEAD: Final = 768
WAKE_ALL: Final = POLLIN | POLLRDNORM | POLLOUT | POLLHUP | POLLRDHUP | POLLERR


@final
class UdpSocket(InetSocket):
    """``rx``: (data, sender) of datagrams received; beyond SO_RCVBUF they are dropped, as the network may."""

    __slots__ = ("rx", "rx_cost")

    def __init__(self, t: Task, domain: int, type: int, protocol: int) -> None:
        super().__init__(t, domain, type, protocol)
        self.rx: deque[tuple[bytes, Addr]] = deque()
        self.rx_cost = 0

    def ports(self) -> Ports:
        return PORTS

    def connect(self, t: Task, addr: bytes) -> None:
        if len(addr) >= 2 and addr[:2] == b"\0\0":
            self.remote = (self.any_ip(), 0)
            return
        dst = self.destination(addr)
        self.autobind(t, source_for(dst[0]))
        if self.local[0] == self.any_ip():
            self.local = (source_for(dst[0]), self.local[1])
        self.remote = dst

    def shutdown(self, t: Task, how: int) -> None:
        if not self.remote[1]:
            raise SysErr(errno.ENOTCONN)
        self.shut |= how
        self.queue.wake(WAKE_ALL)

    def max_send(self) -> int:
        return MAX_PAYLOAD

    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        if len(data) > MAX_PAYLOAD:
            return -errno.EMSGSIZE
        if flags & MSG_OOB:
            return -errno.EOPNOTSUPP
        if addr is not None:
            dst = self.destination(addr)
            if dst[1] == 0:
                return -errno.EINVAL
        else:
            dst = self.remote
            if not dst[1]:
                return -errno.EDESTADDRREQ
        if self.err:
            return -self.take_error()
        if self.shut & SHUT_WR:
            return self.broken_pipe(t, flags)
        self.autobind(t, self.any_ip())
        src = self.local if self.local[0] != self.any_ip() else (source_for(dst[0]), self.local[1])
        self._deliver(data, src, dst)
        return len(data)

    def _deliver(self, data: bytes, src: Addr, dst: Addr) -> None:
        best: UdpSocket | None = None
        for o in PORTS.lookup(*dst):
            if not isinstance(o, UdpSocket):
                continue
            if o.remote[1]:
                if o.remote == src:
                    best = o
                    break
            elif best is None:
                best = o
        if best is None:
            if self.remote[1]:  # ICMP port unreachable reaches only connected sockets
                self.err = errno.ECONNREFUSED
                self.queue.wake(WAKE_ALL)
            return
        if best.rx_cost + len(data) + OVERHEAD > best.rcvbuf or best.shut & SHUT_RD:
            return
        best.rx.append((data, src))
        best.rx_cost += len(data) + OVERHEAD
        best.queue.wake(POLLIN | POLLRDNORM)

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        deadline = self.rcv_deadline(t)
        while not self.rx:
            if self.err:
                return -self.take_error()
            if self.shut & SHUT_RD:
                return Received()
            if self.dontwait(flags):
                return -errno.EAGAIN
            self.pause(t, self.queue, deadline, self.rcvtimeo is not None)
        data, src = self.rx[0]
        if not flags & MSG_PEEK:
            self.rx.popleft()
            self.rx_cost -= len(data) + OVERHEAD
        out = Received(data[:size] if len(data) > size else data)
        out.length = len(data)
        if len(data) > size:
            out.flags |= MSG_TRUNC
        out.addr = make_sockaddr(src, self.domain)
        return out

    def queued(self) -> int:
        return len(self.rx[0][0]) if self.rx else 0

    def poll(self, t: Task | None) -> int:
        mask = POLLOUT | POLLWRNORM | POLLWRBAND
        if self.err:
            mask |= POLLERR
        if self.rx:
            mask |= POLLIN | POLLRDNORM
        if self.shut & SHUT_RD:
            mask |= POLLIN | POLLRDNORM | POLLRDHUP
        if self.shut == SHUT_RD | SHUT_WR:
            mask |= POLLHUP
        return mask

    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if level == SOL_UDP:
            if opt == 1:  # UDP_CORK
                return struct.pack("<i", 0)
            raise SysErr(errno.ENOPROTOOPT)
        return super().getsockopt(t, level, opt)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level == SOL_UDP:
            raise SysErr(errno.ENOPROTOOPT)
        super().setsockopt(t, level, opt, data)

    def release(self) -> None:
        PORTS.release(self)
        self.rx.clear()
        self.queue.wake(WAKE_ALL)


def sockets() -> list[UdpSocket]:
    """All bound ones, for /proc/net/udp."""
    return [s for here in PORTS.bound.values() for s in here if isinstance(s, UdpSocket)]
