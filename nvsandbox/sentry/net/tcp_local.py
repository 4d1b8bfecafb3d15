"""TCP sockets (Linux: net/ipv4/tcp.c as programs see it): between two of one sandbox here, to the outside by ``tcp_far``.

Within the sandbox the handshake succeeds or fails at once; a non-blocking connect still answers EINPROGRESS first, as over Linux's loopback.
What is not modelled: TIME_WAIT, half-open states.
"""

from __future__ import annotations

import errno
import os
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, final

from ..abi.socket import (
    AF_INET,
    MSG_DONTWAIT,
    MSG_FASTOPEN,
    MSG_OOB,
    SHUT_RD,
    SHUT_WR,
    SO_RCVBUF,
    SO_SNDBUF,
    SOL_SOCKET,
    SOL_TCP,
)
from ..errors import SysErr
from ..kernel.cbpf import run
from ..kernel.wait import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRNORM,
)
from ..vfs import sigio
from . import resolver, resolver_tcp, tcp_far, tcp_near, tcp_options
from .filter import View
from .inet import InetSocket
from .ports import ANY6, BACKLOG, LO6, Addr, Ports, is_any, is_v4
from .socket import Received, Ucred
from .stack.tcp import fastopen
from .stack.tcp.segment import SYN
from .state import STACK_MADE, NetState, mapped, unmapped

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription
    from .socket import Socket
    from .stack.tcp.connection import TcpConnection
    from .stack.tcp.listener import TcpListener

ALL: Final[dict[TcpSocket, None]] = {}
CLOSED: Final = 0
LISTEN: Final = 1
CONNECTED: Final = 2
FAR: Final = 3  # connected, or connecting, through the stack
WAKE_ALL: Final = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP | POLLRDHUP | POLLERR
INFO_SIZE: Final = 232  # struct tcp_info of Linux 6.1
WMEM: Final = 16384  # net.ipv4.tcp_wmem, tcp_rmem: buffers of a socket that isn't connected
RMEM: Final = 131072


@final
class TcpSocket(InetSocket):
    """``rx``: received and not yet read; its first ``off`` bytes are read already. ``held``: sent to us with MSG_MORE, not
    yet to be seen. ``far``: the stack's connection in state FAR,
    ``outer``: its listener beside ours, in state LISTEN."""

    __slots__ = (
        "backlog", "connecting", "deferred", "far", "fast", "fin", "held", "held_bytes", "off", "outer", "peer", "pending", "rcvbuf_set", "rx", "rx_bytes",
        "sndbuf_set", "state", "urgent", "was_reset",
    )  # fmt: skip

    def __init__(self, t: Task, domain: int, type: int, protocol: int) -> None:
        super().__init__(t, domain, type, protocol)
        self.state = CLOSED
        self.peer: TcpSocket | None = None
        self.rx: deque[bytes] = deque()
        self.off = 0
        self.rx_bytes = 0
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.fin = False  # the other side has finished sending
        self.connecting = False  # EINPROGRESS was answered, connect will be asked again
        self.far: TcpConnection | None = None
        self.outer: TcpListener | None = None
        self.sndbuf_set = self.rcvbuf_set = False
        self.deferred: bytes | None = (
            None  # TCP_FASTOPEN_CONNECT: where the first data is to open a connection to
        )
        self.fast: bytes | None = None  # MSG_FASTOPEN: what may go with the SYN
        self.backlog = 0
        self.urgent: tcp_near.Urgent | None = None
        self.was_reset = (
            False  # by the other side: what has come can be read, the connection is no more
        )
        ALL[self] = None
        self.pending: deque[TcpSocket] = deque()

    def ports(self) -> Ports:
        return self.net.tcp

    # Connections
    def listen(self, t: Task, backlog: int) -> None:
        if self.state in (CONNECTED, FAR):
            raise SysErr(errno.EINVAL)
        self.autobind(t, self.any_ip())
        if self.state != LISTEN and any(
            isinstance(o, TcpSocket)
            and o is not self
            and o.state == LISTEN
            and not all((o.may_share()[1], self.may_share()[1]))
            for o in self.net.tcp.lookup(*self.local)
        ):
            raise SysErr(errno.EADDRINUSE)
        self.backlog = min(backlog & 0xFFFFFFFF, BACKLOG[0])
        fresh = self.state != LISTEN
        self.state = LISTEN
        self.shut = 0
        self._listen_outside()
        if fresh and self.net.siblings is not None:
            self.net.siblings.claim(6, self.local)

    def _listen_outside(self) -> None:
        ip, port = self.local
        if self.outer is not None:
            self.outer.backlog = self.backlog
        elif self.net.stack is not None:
            both = ip == ANY6 and not self.v6only
            self.outer = self.net.stack.tcp_listen(
                (unmapped(ip), port),
                self.backlog,
                4 if is_v4(ip) else 16,
                not both,
                self.interface(self.device),
            )
            self.outer.notify = self._from_outside
            self.filter_set()
            self.outer.fastopen = self.opts.get((SOL_TCP, tcp_options.TCP_FASTOPEN), 0)

    def meet_stack(self) -> None:
        """The namespace has a stack from now on."""
        if self.state == LISTEN:
            self._listen_outside()

    def _from_outside(self, events: int) -> None:
        self.queue.wake(tcp_far.mask(events))

    def closed(self) -> bool:
        return self.state == CLOSED

    def connected(self) -> bool:
        """To another of this sandbox."""
        return self.state == CONNECTED

    def listening(self) -> bool:
        return self.state == LISTEN

    def connect(self, t: Task, addr: bytes) -> None:
        if len(addr) >= 2 and addr[:2] == b"\0\0":
            self.deferred = None
            self._abort(0)
            return
        if self.far is not None:
            self._connect_again(t, self.far)
            return
        if self.connecting:
            self.connecting = False
            if self.err:
                raise SysErr(self.take_error())
            return
        if self.state == CONNECTED or (self.deferred is not None and self.fast is None):
            raise SysErr(errno.EISCONN)
        dst = self.destination(addr)
        if self.state == LISTEN:
            raise SysErr(errno.EISCONN)
        self.check_scope(addr, dst[0])
        if self.is_broadcast(dst[0]):
            raise SysErr(errno.ENETUNREACH)
        if not self.net.is_local(dst[0]):
            self._connect_far(t, addr, dst)
            return
        if self.net.filtered(dst[0]) and not self._to_resolver(dst):
            self._connect_inside(t, dst)
            return
        if self.net.siblings is not None and self._listener(dst) is None:
            if self.net.siblings.taken(6, dst[0], dst[1]):
                self._connect_inside(t, dst)
                return
        if self._to_resolver(dst):
            self._connect_resolver(t, dst)
            return
        src = self.local[0] if self.local[1] else self.net.source_for(dst[0])
        if self.local[1] == 0:
            self.net.tcp.bind(t, self, src, 0)
        elif src == self.any_ip():
            self.local = (self.net.source_for(dst[0]), self.local[1])
        deadline = self.snd_deadline(t)
        while True:
            other = self._listener(dst)
            if other is None:
                if self.dontwait(0):
                    self._refused()
                raise SysErr(errno.ECONNREFUSED)
            if len(other.pending) <= other.backlog and tcp_near.lets(
                other, (src, self.local[1]), b"", SYN
            ):
                break
            if self.dontwait(0):
                raise SysErr(errno.EAGAIN)
            self.pause(t, other.queue, deadline, self.sndtimeo is not None)
        self._establish(t, other, dst)
        if self.dontwait(0):
            self.connecting = True
            raise SysErr(errno.EINPROGRESS)

    # Through the stack
    def _connect_far(self, t: Task, addr: bytes, dst: Addr) -> None:
        stack = self.net.stack
        if stack is None:
            raise SysErr(errno.ENETUNREACH)
        via = self.way(addr, dst[0])
        ip, port = self.local
        if port and ((is_v4(ip) and ip[12] == 127) or ip == LO6):
            raise SysErr(errno.EINVAL)
        self.may_send("tcp", dst)
        connects = (
            self.opts.get((SOL_TCP, tcp_options.TCP_FASTOPEN_CONNECT), 0) and self.fast is None
        )
        if connects and stack.tcp.fast.known(unmapped(dst[0])) is not None:
            self.deferred = addr
            return
        src = ip if port and not is_any(ip) else mapped(self.source(dst[0], via))
        self.autobind(t, self.any_ip())
        c = stack.tcp_connect(
            (unmapped(src), self.local[1]),
            (unmapped(dst[0]), dst[1]),
            via,
            lambda c: self._fast_setup(c, bool(connects)),
        )
        self.local = (src, self.local[1])
        self._joined(c)
        self._await(t, c)

    def _fast_setup(self, c: TcpConnection, connects: bool) -> None:
        tcp_far.apply(self, c)
        if self.fast is not None:
            self.fast = self.fast[fastopen.begin(c, self.fast) :]
        elif connects:
            fastopen.begin(c, b"")

    def _fast_send(self, t: Task, data: bytes, addr: bytes, flags: int) -> int:
        """MSG_FASTOPEN: connects, with as much of ``data`` in the SYN as the server's cookie allows, and sends the rest. Raises EOPNOTSUPP, EINPROGRESS…"""
        if not self.net.fastopen & fastopen.CLIENT or addr[:2] == b"\0\0":
            raise SysErr(errno.EOPNOTSUPP)
        self.fast = data
        try:
            if flags & MSG_DONTWAIT and not self.flags & os.O_NONBLOCK:
                self.flags |= os.O_NONBLOCK
                try:
                    self.connect(t, addr)
                finally:
                    self.flags &= ~os.O_NONBLOCK
            else:
                self.connect(t, addr)
        except SysErr as e:
            n = len(data) - len(self.fast)
            if e.errno == errno.EINPROGRESS and n:
                return n
            raise
        finally:
            rest, self.fast = self.fast, None
            self.deferred = None
        n = len(data) - len(rest)
        if not rest and n:
            return n
        r = self.send(t, rest, None, flags & ~MSG_FASTOPEN, [], None)
        return n + r if r >= 0 else n or r

    def _to_resolver(self, dst: Addr) -> bool:
        """Whether ``dst`` is Docker's resolver, whose part is played here."""
        if dst != resolver.ADDRESS or self.net.resolver is None:
            return False
        return self._listener(dst) is None

    def _connect_resolver(self, t: Task, dst: Addr) -> None:
        to = self.net.resolver
        assert to is not None
        self.autobind(t, self.net.source_for(dst[0]))
        if is_any(self.local[0]):
            self.local = (self.net.source_for(dst[0]), self.local[1])
        server = self._offspring(t)
        ALL.pop(server, None)
        self._pair(server, dst)
        resolver_tcp.Service(server, to)
        if self.dontwait(0):
            self.connecting = True
            raise SysErr(errno.EINPROGRESS)

    def hang_up(self) -> None:
        """Ends a connection in order, for who has no descriptor of it."""
        self._abort(0)

    def _connect_inside(self, t: Task, dst: Addr) -> None:
        """To an own address by way of the stack: there are rules, or another sandbox of the namespace listens (``siblings.py``)."""
        stack = self.net.stack
        assert stack is not None
        ip, port = self.local
        src = ip if port and not is_any(ip) else self.net.source_for(dst[0])
        self.autobind(t, self.any_ip())
        c = stack.tcp_connect(
            (unmapped(src), self.local[1]),
            (unmapped(dst[0]), dst[1]),
            None,
            lambda c: tcp_far.apply(self, c),
        )
        self.local = (src, self.local[1])
        self._joined(c)
        self._await(t, c)

    def _joined(self, c: TcpConnection) -> None:
        self.far, self.state, self.shut, self.fin = c, FAR, 0, False
        self.remote = (mapped(c.remote[0]), c.remote[1])
        self.connecting = tcp_far.connecting(c)
        if c.path.iface is c.stack.lo:
            tcp_far.watch_over(c)
        c.notify = self._from_far

    def _await(self, t: Task, c: TcpConnection) -> None:
        try:
            tcp_far.finish(self, t, c)
        except SysErr as e:
            if e.errno not in (errno.EINPROGRESS, errno.EINTR):
                self._abort(0)
            raise
        self.connecting = False

    def _connect_again(self, t: Task, c: TcpConnection) -> None:
        if tcp_far.connecting(c):
            if self.dontwait(0):
                raise SysErr(errno.EALREADY)
        elif not self.connecting:
            raise SysErr(errno.EISCONN)
        self._await(t, c)

    def _from_far(self, events: int) -> None:
        if events & POLLPRI:
            sigio.urgent(self)
        self.queue.wake(tcp_far.mask(events))

    def _accepted(self, t: Task, c: TcpConnection) -> TcpSocket:
        """The socket of a connection from outside."""
        new = self._offspring(t)
        new.local = (mapped(c.local[0]), c.local[1])
        new.device = self.device
        new._joined(c)
        tcp_far.apply(new, c)
        return new

    def _offspring(self, t: Task) -> TcpSocket:
        """A socket with a listener's options."""
        new = TcpSocket(t, self.domain, self.type, self.protocol)
        new.net = self.net
        new.opts = {k: v for k, v in self.opts.items() if k[0] != SOL_TCP or k[1] != 9}
        new.sndbuf, new.rcvbuf, new.bpf = self.sndbuf, self.rcvbuf, self.bpf
        new.sndbuf_set, new.rcvbuf_set = self.sndbuf_set, self.rcvbuf_set
        return new

    def _refused(self) -> None:
        """A non-blocking connect learns of the refusal later."""
        self.err = errno.ECONNREFUSED
        self.connecting = True
        self.queue.wake(WAKE_ALL)
        raise SysErr(errno.EINPROGRESS)

    def _listener(self, dst: tuple[bytes, int]) -> TcpSocket | None:
        found = [
            o for o in self.net.tcp.lookup(*dst) if isinstance(o, TcpSocket) and o.state == LISTEN
        ]
        if len(found) > 1 and dst[1] in self.net.tcp.choosers:
            found = [o for o in found if o.local == found[0].local]
            return found[self.net.tcp.pick(dst[1], b"", len(found), hash(self.local))]
        # Listeners that share the port (SO_REUSEPORT) take turns by load.
        return min(found, key=lambda o: len(o.pending), default=None)

    def _establish(self, t: Task, other: TcpSocket, dst: tuple[bytes, int]) -> None:
        new = other._offspring(t)
        self._pair(new, dst)
        other.pending.append(new)
        other.queue.wake(POLLIN | POLLRDNORM)
        self.queue.wake(WAKE_ALL)

    def _pair(self, new: TcpSocket, dst: Addr) -> None:
        """The two ends of a connection within the sandbox."""
        new.local, new.remote = dst, self.local
        new.state = self.state = CONNECTED
        new.peer, self.peer = self, new
        self.remote = dst
        self.shut = 0
        self.fin = self.was_reset = False
        self.urgent = None

    def accept(self, t: Task, nonblock: bool) -> Socket:
        if self.state != LISTEN:
            raise SysErr(errno.EINVAL)
        deadline = self.rcv_deadline(t)
        while not self.pending:
            c = self.outer.accept() if self.outer is not None else None
            if c is not None:
                return self._accepted(t, c)
            if nonblock:
                raise SysErr(errno.EAGAIN)
            self.pause(t, self.queue, deadline, self.rcvtimeo is not None)
            if self.state != LISTEN:
                raise SysErr(errno.EINVAL)
        new = self.pending.popleft()
        self.queue.wake(POLLOUT)
        return new

    def shutdown(self, t: Task, how: int) -> None:
        if self.state == LISTEN:
            if how & SHUT_RD:
                self._stop_listening()
            return
        if self.far is not None:
            tcp_far.shutdown(self, self.far, how)
            self.queue.wake(WAKE_ALL)
            return
        if self.state != CONNECTED:
            self.shut |= how  # Linux notes it all the same
            raise SysErr(errno.ENOTCONN)
        if how & SHUT_WR and not self.shut & SHUT_WR and self.peer is not None:
            tcp_near.flush(self)
            self.peer.fin = True
            self.peer.queue.wake(WAKE_ALL)
        self.shut |= how
        self.queue.wake(WAKE_ALL)

    def _stop_listening(self) -> None:
        self.state = CLOSED
        if self.net.siblings is not None:
            self.net.siblings.disclaim(6, self.local)
        while self.pending:
            lost = self.pending.popleft()
            lost._abort(errno.ECONNRESET)
            ALL.pop(lost, None)
        if self.outer is not None:
            self.outer.close()
            self.outer = None
        self.queue.wake(WAKE_ALL)

    def _abort(self, err: int) -> None:
        """Ends the connection with a reset (``err`` for the other side, 0: an orderly end)."""
        far, self.far = self.far, None
        if far is not None:
            far.notify = _nobody
            far.abort()
        if not err:
            tcp_near.flush(self)
        p, self.peer = self.peer, None
        if p is not None:
            p.peer = None
            if err:
                p.err = errno.EPIPE if p.fin else err
                p.was_reset = True
                p.shut = SHUT_RD | SHUT_WR
            p.fin = True
            p.queue.wake(WAKE_ALL)
        self.state = CLOSED
        self.connecting = False
        self.remote = (self.any_ip(), 0)
        self.rx.clear()
        self.held.clear()
        self.rx_bytes = self.off = self.held_bytes = 0

    def flush(self, t: Task) -> None:
        super().flush(t)
        if self.linger[0] and self.linger[1] > 0 and self.refs == 1 and self.far is not None:
            tcp_far.linger(self, t, self.far, self.linger[1])

    def release(self) -> None:
        ALL.pop(self, None)
        if self.state == LISTEN:
            self._stop_listening()
        if self.far is not None:
            far, self.far = self.far, None
            far.notify = _nobody
            far.close(0 if self.linger == (1, 0) else -1)
        reset = bool(self.rx_bytes) or self.linger == (1, 0)
        self._abort(errno.ECONNRESET if reset else 0)
        self.net.tcp.release(self)
        self.queue.wake(WAKE_ALL)

    # Data
    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        if flags & MSG_FASTOPEN or self.deferred is not None:
            if addr is None:
                addr = self.deferred
            if addr is None:
                raise SysErr(errno.EINVAL)
            return self._fast_send(t, data, addr, flags)
        if self.far is not None:
            return tcp_far.send(self, t, self.far, data, flags)
        if flags & MSG_OOB:
            return tcp_near.send_urgent(self, t, data, flags)
        return tcp_near.send(self, t, data, flags)

    def at_mark(self) -> bool | None:
        return self.far.at_mark() if self.far is not None else tcp_near.at_mark(self)

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        if self.far is not None:
            return tcp_far.recv(self, t, self.far, size, flags)
        if flags & MSG_OOB:
            return tcp_near.recv_urgent(self, flags)
        deadline = self.rcv_deadline(t)
        while self.deferred is not None:  # nothing comes before something was sent
            r = self.go_on(t, flags, False, deadline, 0)
            if r:
                return r
        if self.far is not None:
            return tcp_far.recv(self, t, self.far, size, flags)
        if self.state != CONNECTED and not self.rx and not self.fin:
            if self.err:
                return -self.take_error()
            return -errno.ENOTCONN
        return tcp_near.recv(self, t, size, flags)

    def counts_truncated(self) -> bool:
        return True

    def peeks(self) -> bool:
        return True

    def filters(self) -> bool:
        return True

    def filter_set(self) -> None:
        """What a filter drops comes again, on Linux by retransmission, until one lets it pass."""
        keeps = self.keeps if self.bpf is not None else None
        if self.far is not None:
            self.far.keeps = keeps
        if self.outer is not None:
            self.outer.keeps = keeps
        if self.state == LISTEN:
            self.queue.wake(POLLOUT)
        elif self.peer is not None:
            tcp_near.flush(self.peer)

    def keeps(self, data: bytes) -> int:
        """How many bytes of a segment the filter lets pass."""
        v4 = self.domain == AF_INET
        if self.bpf is None:
            return len(data)
        return run(self.bpf, View(data, 0, 0x0800 if v4 else 0x86DD, 0, self.device))

    def peername(self) -> bytes:
        if self.was_reset or (
            self.far is not None and self.far.state in (tcp_far.CLOSE, tcp_far.SYN_SENT)
        ):
            raise SysErr(errno.ENOTCONN)
        return super().peername()

    def accepted_name(self) -> bytes:
        return super().peername()

    def queued(self) -> int:
        return self.far.readable_bytes() if self.far is not None else self.rx_bytes

    def unsent(self) -> int:
        return self.far.unsent_bytes()[0] if self.far is not None else 0

    def take_error(self) -> int:
        if not self.err and self.far is not None:
            return self.far.take_error()
        return super().take_error()

    def waiting(self) -> int:
        """Connections that accept would give."""
        return len(self.pending) + (self.outer.pending() if self.outer is not None else 0)

    def tcp_state(self) -> int:
        """TCP_* of linux/tcp_states.h."""
        if self.far is not None:
            return self.far.state
        if self.state == CONNECTED:
            return 8 if self.fin else 1
        return 10 if self.state == LISTEN else 7

    def poll(self, t: Task | None) -> int:
        if self.state == LISTEN:
            return POLLIN | POLLRDNORM if self.waiting() else 0
        if self.far is not None:
            return tcp_far.mask(self.far.events()) | (POLLERR if self.err or self.noted() else 0)
        if self.deferred is not None:
            return POLLOUT | POLLWRNORM
        mask = 0
        rd = self.fin or bool(self.shut & SHUT_RD)
        if self.err or self.noted():
            mask |= POLLERR
        if self.state == CLOSED or (rd and self.shut & SHUT_WR):
            mask |= POLLHUP
        if rd:
            mask |= POLLIN | POLLRDNORM | POLLRDHUP
        if self.rx_bytes:
            mask |= POLLIN | POLLRDNORM
        if self.urgent is not None and self.urgent.valid:
            mask |= POLLPRI
        p = self.peer
        if self.shut & SHUT_WR or p is None or tcp_near.window(self, p) * 3 >= self.sndbuf:
            mask |= POLLOUT | POLLWRNORM
        return mask

    def info(self) -> bytes:
        """struct tcp_info."""
        if self.far is not None:
            return self.far.info()
        return bytes([self.tcp_state()]).ljust(INFO_SIZE, b"\0")

    # Options
    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if level == SOL_SOCKET and self.state in (CLOSED, LISTEN):
            if opt == SO_SNDBUF and not self.sndbuf_set:
                return struct.pack("<i", WMEM)
            if opt == SO_RCVBUF and not self.rcvbuf_set:
                return struct.pack("<i", RMEM)
        if level != SOL_TCP:
            return super().getsockopt(t, level, opt)
        return tcp_options.read(self, t, opt)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level != SOL_TCP:
            super().setsockopt(t, level, opt, data)
            return
        if opt == tcp_options.TCP_CONGESTION:
            tcp_options.set_congestion(self, data)
            return
        value = tcp_options.checked(self, t, opt, data)
        self.opts[level, opt] = value
        self.option_set(level, opt, value)

    def option_set(self, level: int, opt: int, value: int) -> None:
        if (level, opt) == (SOL_TCP, tcp_options.TCP_FASTOPEN) and self.outer is not None:
            self.outer.fastopen = value
        if self.far is not None:
            tcp_far.option(self.far, level, opt, value)
        elif (level, opt) == (SOL_TCP, tcp_near.TCP_CORK) and not value:
            tcp_near.flush(self)

    def buffer_set(self, sending: bool) -> None:
        if sending:
            self.sndbuf_set = True
        else:
            self.rcvbuf_set = True
        if self.far is not None and sending:
            self.far.set_sndbuf(self.sndbuf)
        elif self.far is not None:
            self.far.set_rcvbuf(self.rcvbuf)


def _nobody(_events: int) -> None:
    pass


def sockets(net: NetState) -> list[TcpSocket]:
    """All that are connected or listen, for /proc/net/tcp."""
    return [s for s in ALL if s.net is net and s.local[1] and s.tcp_state() != tcp_far.CLOSE]


def _stack_made(net: NetState) -> None:
    for s in sockets(net):
        s.meet_stack()


STACK_MADE.append(_stack_made)
