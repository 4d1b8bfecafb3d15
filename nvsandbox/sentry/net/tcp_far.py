"""A TCP socket's connection to somewhere outside: the stack's, as the socket calls see it (Linux: net/ipv4/tcp.c; tcp(7))."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..abi.socket import (
    MSG_OOB,
    MSG_PEEK,
    MSG_WAITALL,
    SHUT_RD,
    SHUT_WR,
    SO_KEEPALIVE,
    SO_MAX_PACING_RATE,
    SO_OOBINLINE,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    SOL_TCP,
)
from ..errors import Restart, SysErr
from ..kernel.wait import POLL_READ, POLL_WRITE, POLLIN, POLLOUT
from . import inet, peek
from .socket import Received, received

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .stack.tcp.connection import TcpConnection
    from .tcp_local import TcpSocket

ESTABLISHED: Final = 1
SYN_SENT: Final = 2
SYN_RECV: Final = 3
CLOSE: Final = 7
UNFINISHED: Final = (2, 4, 9, 11)  # SYN_SENT, FIN_WAIT1, LAST_ACK, CLOSING
CHUNK: Final = 1 << 18  # bytes handed to the stack at once
SECOND: Final = 10**9
MS: Final = 10**6
SIBLING_IDLE: Final = 10 * SECOND
SIBLING_INTERVAL: Final = 2 * SECOND
TCP_NODELAY: Final = 1
TCP_MAXSEG: Final = 2
TCP_CORK: Final = 3
TCP_KEEPIDLE: Final = 4
TCP_KEEPINTVL: Final = 5
TCP_KEEPCNT: Final = 6
TCP_SYNCNT: Final = 7
TCP_LINGER2: Final = 8
TCP_QUICKACK: Final = 12
TCP_USER_TIMEOUT: Final = 18


def mask(events: int) -> int:
    """The stack's POLLIN and POLLOUT with the bits that poll(2) has beside them."""
    if events & POLLIN:
        events |= POLL_READ
    if events & POLLOUT:
        events |= POLL_WRITE
    return events


def connecting(c: TcpConnection) -> bool:
    return c.state in (SYN_SENT, SYN_RECV) and c.early is None


def watch_over(c: TcpConnection) -> None:
    """A connection to another sandbox of the namespace: nobody resets it when that one is gone, so it is asked now and then."""
    c.keepalive = True
    c.keep_idle, c.keep_intvl, c.keep_cnt = SIBLING_IDLE, SIBLING_INTERVAL, 3
    c.keepalive_changed()


def apply(s: TcpSocket, c: TcpConnection) -> None:
    """The socket's options for a new connection."""
    c.owner = s.sender
    if s.bpf is not None:
        c.keeps = s.keeps
    for (level, opt), value in s.opts.items():
        option(c, level, opt, value)
    if s.sndbuf_set:
        c.set_sndbuf(s.sndbuf)
    if s.rcvbuf_set:
        c.set_rcvbuf(s.rcvbuf)


def option(c: TcpConnection, level: int, opt: int, value: int) -> None:
    """One option that has been checked."""
    if level == SOL_TCP:
        _tcp_option(c, opt, value)
    elif level == SOL_SOCKET:
        if opt == SO_KEEPALIVE:
            c.keepalive = value != 0
            c.keepalive_changed()
        elif opt == SO_OOBINLINE:
            c.oobinline = value != 0
        elif opt == SO_MAX_PACING_RATE:
            c.pace = max(value, 0)
    elif (level, opt) in ((SOL_IP, inet.IP_TTL), (SOL_IPV6, inet.IPV6_UNICAST_HOPS)):
        c.ttl = value
    elif (level, opt) in ((SOL_IP, inet.IP_TOS), (SOL_IPV6, inet.IPV6_TCLASS)):
        c.tos = value


def _tcp_option(c: TcpConnection, opt: int, value: int) -> None:
    if opt == TCP_NODELAY:
        c.nodelay = value != 0
        if value:
            c.push()
    elif opt == TCP_CORK:
        c.cork = value != 0
        if not value:
            c.push()
    elif opt in (TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT):
        if opt == TCP_KEEPIDLE:
            c.keep_idle = value * SECOND
        elif opt == TCP_KEEPINTVL:
            c.keep_intvl = value * SECOND
        else:
            c.keep_cnt = value
        c.keepalive_changed()
    elif opt == TCP_SYNCNT:
        c.syn_retries = value
    elif opt == TCP_LINGER2:
        c.linger2 = value * SECOND
    elif opt == TCP_QUICKACK:
        c.quickack = value != 0
    elif opt == TCP_USER_TIMEOUT:
        c.user_timeout = value * MS
    elif opt == TCP_MAXSEG:
        c.set_maxseg(value)


def finish(s: TcpSocket, t: Task, c: TcpConnection) -> None:
    """Waits for the handshake. Raises EINPROGRESS, ECONNREFUSED, ETIMEDOUT…"""
    if connecting(c):
        if s.dontwait(0):
            raise SysErr(errno.EINPROGRESS)
        deadline = s.snd_deadline(t)
        while connecting(c):
            try:
                s.pause(t, s.queue, deadline, s.sndtimeo is not None)
            except SysErr as e:
                raise SysErr(errno.EINPROGRESS if e.errno == errno.EAGAIN else e.errno) from None
    if c.state == CLOSE:
        raise SysErr(s.take_error() or c.take_error() or errno.ECONNREFUSED)


def send(s: TcpSocket, t: Task, c: TcpConnection, data: bytes, flags: int) -> int:
    """As Socket.send."""
    sent, n = 0, len(data)
    deadline = s.snd_deadline(t)
    while True:
        if not connecting(c):
            if s.err:
                return sent or -s.take_error()
            if s.shut & SHUT_WR:
                return s.broken_pipe(t, flags, sent)
            if sent == n:
                return sent
            piece = data if sent == 0 and n <= CHUNK else data[sent : sent + CHUNK]
            r = c.send_urgent(piece) if flags & MSG_OOB else c.send(piece)
            if r == -errno.EPIPE:
                return s.broken_pipe(t, flags, sent)
            if r < 0:
                return sent or r
            if r:
                sent += r
                continue
        r = s.go_on(t, flags, True, deadline, sent)
        if r:
            return r


def recv(s: TcpSocket, t: Task, c: TcpConnection, size: int, flags: int) -> Received | int:
    """As Socket.recv."""
    if flags & MSG_OOB:
        byte = c.recv_urgent(bool(flags & MSG_PEEK))
        return byte if byte < 0 else Received(bytes((byte,)))
    target = size if flags & MSG_WAITALL else min(size, 1)
    deadline = s.rcv_deadline(t)
    parts: list[bytes] = []
    got = 0
    while True:
        if flags & MSG_PEEK:
            parts = [c.peek(size, peek.skip(s, flags))]
            got = len(parts[0])
        else:
            piece = c.recv(size - got)
            if piece:
                parts.append(piece)
                got += len(piece)
        if got >= target or s.shut & SHUT_RD:
            break
        err = 0 if connecting(c) else s.err or c.take_error()
        if err:
            if not got:
                s.err = 0
                return -err
            s.err = err
            break
        if c.eof():
            break
        r = s.go_on(t, flags, False, deadline, got)
        if r < 0:
            return r
        if r:
            break
    if s.peek_off >= 0:
        peek.moved(s, flags, got)
    return received(parts, flags)


def linger(s: TcpSocket, t: Task, c: TcpConnection, seconds: int) -> None:
    """SO_LINGER with a time: close(2) waits until the peer has everything, for so long or until a signal."""
    if c.readable_bytes() or c.state == CLOSE:
        return
    c.shutdown_write()
    deadline = t.k.monotonic_ns() + seconds * SECOND
    try:
        while c.state in UNFINISHED and t.wait(s.queue, deadline=deadline):
            pass
    except Restart:
        pass  # the descriptor is gone, the rest happens in the background


def shutdown(s: TcpSocket, c: TcpConnection, how: int) -> None:
    """Raises ENOTCONN."""
    if c.state == CLOSE or connecting(c):
        raise SysErr(errno.ENOTCONN)
    s.shut |= how
    if how & SHUT_WR:
        c.shutdown_write()
    if how & SHUT_RD:
        c.shutdown_read()
