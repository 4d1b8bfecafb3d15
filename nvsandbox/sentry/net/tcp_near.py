"""A TCP connection within the sandbox, as the socket calls see it: bytes go from one socket to the other (Linux: net/ipv4/tcp.c; tcp(7))."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from ..abi.socket import (
    MSG_MORE,
    MSG_PEEK,
    MSG_WAITALL,
    SHUT_RD,
    SHUT_WR,
    SO_OOBINLINE,
    SOL_SOCKET,
    SOL_TCP,
)
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
from . import peek
from .socket import Received, received
from .stack.tcp.segment import HEADER, PSH

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .ports import Addr
    from .tcp_local import TcpSocket

CONNECTED: Final = 2
WAKE_ALL: Final = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP | POLLRDHUP | POLLERR
TCP_CORK: Final = 3
SEGMENT: Final = (
    65483  # what Linux's loopback takes at once: a segment that is full is sent, corked or not
)
CORK_TIME: Final = 200 * 10**6  # ns; tcp(7), TCP_CORK


@final
class Urgent:
    """An urgent byte that has come: ``left`` bytes of the stream are in front of it; ``valid``: not yet read."""

    __slots__ = ("byte", "left", "valid")

    def __init__(self, byte: int, left: int) -> None:
        self.byte = byte
        self.left = left
        self.valid = True


def window(s: TcpSocket, p: TcpSocket) -> int:
    """What may still be sent to ``p``."""
    return s.sndbuf + p.rcvbuf - p.rx_bytes - p.held_bytes


def lets(p: TcpSocket, source: Addr, data: bytes, flags: int) -> bool:
    """Whether the filter of ``p``, if it has one, lets a segment pass; its header is as loopback's would be."""
    if p.bpf is None:
        return True
    head = HEADER.pack(source[1], p.local[1], 0, 0, 0x8000 | flags, 512, 0, 0) + bytes(12)
    return p.keeps(head + data) > (len(head) if data else 0)


def send(s: TcpSocket, t: Task, data: bytes, flags: int) -> int:
    """As Socket.send."""
    sent = 0
    n = len(data)
    deadline = s.snd_deadline(t)
    while True:
        if s.err:
            e = s.take_error()
            if e == errno.EPIPE:
                return s.broken_pipe(t, flags, sent)
            return sent or -e
        if s.state != CONNECTED or s.shut & SHUT_WR:
            return s.broken_pipe(t, flags, sent)
        if sent == n:
            return sent
        p = s.peer
        if p is None:
            # The other side has closed: this is answered by a reset, which the next call finds.
            s.err = errno.EPIPE
            s.shut = SHUT_RD | SHUT_WR
            s.queue.wake(WAKE_ALL)
            return min(n, sent + s.sndbuf)
        room = window(s, p)
        if room > 0:
            piece = data[sent : sent + room] if sent or n > room else data
            sent += len(piece)
            if p.bpf is not None and not lets(p, s.local, piece, PSH):
                p.held.append(piece)
                p.held_bytes += len(piece)
                continue
            if p.held or flags & MSG_MORE or s.opts.get((SOL_TCP, TCP_CORK)):
                _hold(s, t, p, piece, flags)
                continue
            p.rx.append(piece)
            p.rx_bytes += len(piece)
            p.queue.wake(POLLIN | POLLRDNORM)
            continue
        flush(s)
        r = s.go_on(t, flags, True, deadline, sent)
        if r:
            return r


def send_urgent(s: TcpSocket, t: Task, data: bytes, flags: int) -> int:
    """MSG_OOB: the last byte is urgent (RFC 6093)."""
    n = len(data)
    r = send(s, t, data[:-1], flags)
    if r < n - 1 or not n:
        return r
    p = s.peer
    if p is None or s.state != CONNECTED or s.shut & SHUT_WR:
        r = send(s, t, data[-1:], flags)
        return n if r > 0 else (n - 1) or r
    flush(s)
    old = p.urgent
    if (
        old is not None and old.left > 0 and not _inline(p)
    ):  # the one before becomes a byte like others
        whole = b"".join(p.rx)[p.off :]
        p.rx.clear()
        p.rx.append(whole[: old.left] + bytes((old.byte,)) + whole[old.left :])
        p.off = 0
        p.rx_bytes += 1
    p.urgent = Urgent(data[-1], p.rx_bytes)
    if _inline(p):
        p.rx.append(data[-1:])
        p.rx_bytes += 1
    sigio.urgent(p)
    p.queue.wake(POLLPRI | (POLLIN | POLLRDNORM if p.rx_bytes else 0))
    return n


def recv_urgent(s: TcpSocket, flags: int) -> Received | int:
    """MSG_OOB: the urgent byte, or -EINVAL."""
    u = s.urgent
    if u is None or not u.valid or _inline(s):
        return -errno.EINVAL
    if not flags & MSG_PEEK:
        u.valid = False
    return Received(bytes((u.byte,)))


def at_mark(s: TcpSocket) -> bool:
    """sockatmark(3)."""
    return s.urgent is not None and s.urgent.left == 0


def _inline(s: TcpSocket) -> bool:
    return bool(s.opts and s.opts.get((SOL_SOCKET, SO_OOBINLINE)))


def _hold(s: TcpSocket, t: Task, p: TcpSocket, piece: bytes, flags: int) -> None:
    """MSG_MORE, TCP_CORK: bytes wait for a full segment, for what comes next, or for a moment."""
    first = not p.held
    p.held.append(piece)
    p.held_bytes += len(piece)
    if p.held_bytes >= SEGMENT or not (flags & MSG_MORE or s.opts.get((SOL_TCP, TCP_CORK))):
        flush(s)
    elif first:
        t.k.loop.call_at(t.k.monotonic_ns() + CORK_TIME, lambda: flush(s))


def flush(s: TcpSocket) -> None:
    """What is held goes to the other side."""
    p = s.peer
    if p is not None and p.held:
        if p.bpf is not None and not lets(p, s.local, b"".join(p.held), PSH):
            return
        p.rx.extend(p.held)
        p.rx_bytes += p.held_bytes
        p.held.clear()
        p.held_bytes = 0
        p.queue.wake(POLLIN | POLLRDNORM)


def recv(s: TcpSocket, t: Task, size: int, flags: int) -> Received | int:
    """As Socket.recv."""
    target = size if flags & MSG_WAITALL else min(size, 1)
    deadline = s.rcv_deadline(t)
    parts: list[bytes] = []
    got = 0
    while True:
        if flags & MSG_PEEK:
            parts = [_peek(s, size, peek.skip(s, flags))]
            got = len(parts[0])
        else:
            got += take(s, parts, size - got)
        if got >= target or s.fin or s.shut & SHUT_RD or (got and at_mark(s)):
            if got == 0 and s.err:
                return -s.take_error()
            break
        if s.err:
            if got:
                break
            return -s.take_error()
        r = s.go_on(t, flags, False, deadline, got)
        if r < 0:
            return r
        if r:
            break
    if s.peek_off >= 0:
        peek.moved(s, flags, got)
    return received(parts, flags)


def take(s: TcpSocket, parts: list[bytes], size: int) -> int:
    """Appends up to ``size`` received bytes to ``parts``; how many."""
    got = 0
    u = s.urgent
    if u is not None:
        if u.left == 0:
            if s.rx or s.fin:  # what is behind the mark is read now
                s.urgent = None
        else:
            size = min(size, u.left)
            u.left -= min(size, s.rx_bytes)
    while s.rx and got < size:
        head = s.rx[0]
        piece = head[s.off : s.off + size - got] if s.off or len(head) > size - got else head
        parts.append(piece)
        got += len(piece)
        s.off += len(piece)
        if s.off == len(head):
            s.rx.popleft()
            s.off = 0
    s.rx_bytes -= got
    if got and s.peer is not None:
        s.peer.queue.wake(POLLOUT | POLLWRNORM)
    return got


def _peek(s: TcpSocket, size: int, skip: int) -> bytes:
    """Up to ``size`` bytes behind the first ``skip``, which stay."""
    out = b""
    off = s.off + skip
    if s.urgent is not None and s.urgent.left > 0:
        size = max(min(size, s.urgent.left - skip), 0)
    for piece in s.rx:
        if len(out) >= size:
            break
        out += piece[off : off + size - len(out)]
        off = max(off - len(piece), 0)
    return out
