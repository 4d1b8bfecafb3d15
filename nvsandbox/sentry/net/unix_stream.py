"""Bytes over SOCK_STREAM Unix sockets (Linux: unix_stream_sendmsg, unix_stream_read_generic).

An urgent byte (MSG_OOB, since Linux 5.15) is a message of its own in the queue. Taken by MSG_OOB it stays there, empty, as the mark.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..abi.socket import (
    MSG_OOB,
    MSG_PEEK,
    MSG_WAITALL,
    SHUT_RD,
    SHUT_WR,
    SO_OOBINLINE,
    SOL_SOCKET,
)
from ..errors import SysErr
from ..kernel.wait import POLLIN, POLLPRI, POLLRDNORM
from ..vfs import sigio
from . import peek
from .socket import Received, Ucred
from .unix import CONNECTED, Message, UnixSocket

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

CHUNK: Final = 65536


def send(
    s: UnixSocket, t: Task, data: bytes, addr: bytes | None, flags: int,
    files: list[FileDescription], creds: Ucred | None,
) -> int:  # fmt: skip
    urgent = flags & MSG_OOB != 0
    if urgent and not data:
        raise SysErr(errno.EOPNOTSUPP)
    if addr:
        raise SysErr(errno.EISCONN if s.state == CONNECTED else errno.EOPNOTSUPP)
    if s.peer is None and not s.shut:
        raise SysErr(errno.ENOTCONN)
    sent = 0
    n = len(data)
    deadline = s.snd_deadline(t)
    chunk = max(min(CHUNK, (s.sndbuf >> 1) - 64), 1)
    if s.shut & SHUT_WR:
        return s.broken_pipe(t, flags)
    while sent < n:
        while s.wmem >= s.sndbuf:
            r = s.go_on(t, flags, True, deadline, sent)
            if r:
                return r
            if s.shut & SHUT_WR:
                return s.broken_pipe(t, flags, sent)
        p = s.peer
        if p is None or p.dead or p.shut & SHUT_RD:
            return s.broken_pipe(t, flags, sent)
        piece = data[sent : sent + chunk] if n > chunk else data
        if urgent:
            last = sent == n - 1
            piece = data[-1:] if last else piece[: n - 1 - sent]
        m = Message(s, piece, files, s.creds_for(t, p, creds))
        p.rx.append(m)
        files = []
        sent += len(piece)
        if urgent and last:  # one that was there and not taken is a byte like others now
            p.oob = m
            sigio.urgent(p)
            p.queue.wake(POLLIN | POLLRDNORM | POLLPRI)
        else:
            p.queue.wake(POLLIN | POLLRDNORM)
    return sent


def recv(s: UnixSocket, t: Task, size: int, flags: int) -> Received | int:
    """Bytes up to the urgent mark, or to the next message whose credentials differ or that brings descriptors."""
    if s.state != CONNECTED:
        raise SysErr(errno.EINVAL)
    if flags & MSG_OOB:
        return _recv_urgent(s, flags)
    out = Received()
    parts: list[bytes] = []
    got = 0
    target = size if flags & MSG_WAITALL else min(size, 1)
    deadline = s.rcv_deadline(t)
    first = True
    while True:
        got += _collect(
            s, out, parts, size - got, bool(flags & MSG_PEEK), first, peek.skip(s, flags)
        )
        first = first and not parts
        if got >= target or out.files or (parts and flags & MSG_PEEK):
            break
        if s.rx and parts:
            break  # different credentials, descriptors or the mark follow
        if s.err:
            if got:
                break
            return -s.take_error()
        if s.shut & SHUT_RD:
            break
        r = s.go_on(t, flags, False, deadline, got)
        if r < 0:
            return r
        if r:
            break
    if s.peek_off >= 0:
        peek.moved(s, flags, got)
    out.data = b"".join(parts)
    out.length = got
    return out


def _collect(
    s: UnixSocket, out: Received, parts: list[bytes], size: int, stays: bool, first: bool, skip: int
) -> int:
    """Moves what goes together from the queue to ``parts``."""
    got = 0
    n = 0
    rx = s.rx
    skipped = False
    while n < len(rx) and got < size:
        m = rx[n]
        if not skipped and (m is s.oob or m.off == len(m.data)):
            n = _at_urgent(s, n, stays, bool(parts))
            if n < 0:
                break
            m = rx[n]
        left = len(m.data) - m.off
        if skip >= left:
            skip -= left
            n += 1
            skipped = True
            continue
        at = m.off + skip
        skip = 0
        skipped = False
        if first:
            out.creds = m.creds
            first = False
        elif s.pass_creds and m.creds != out.creds:
            break
        if m.files and (parts or out.files):
            break  # descriptors come only with the beginning of what is received
        piece = m.data[at : at + size - got] if at or size - got < len(m.data) else m.data
        parts.append(piece)
        got += len(piece)
        if m.files:
            if stays:
                out.files = [f.incref() for f in m.files]
            else:
                out.files = m.take_files()
        if stays:
            n += 1
        else:
            m.off += len(piece)
            if m.off == len(m.data):
                rx.popleft()
                m.done()
        if out.files:
            break
    return got


def inline(s: UnixSocket) -> bool:
    return bool(s.opts and s.opts.get((SOL_SOCKET, SO_OOBINLINE)))


def _at_urgent(s: UnixSocket, n: int, stays: bool, copied: bool) -> int:
    """Which message is read in place of the ``n``-th, which is the urgent one or the mark; -1: none, reading ends here (Linux: manage_oob)."""
    rx = s.rx
    m = rx[n]
    if m.off == len(m.data):
        if copied and s.oob is None:
            return -1
        if stays:
            n += 1
        else:
            rx.popleft().done()
        if n >= len(rx):
            return -1
    if rx[n] is not s.oob:
        return n
    if copied:
        return -1
    if not stays:
        s.oob = None
        if not inline(s):  # not asked for in time: it is lost
            rx.popleft().done()
    elif not inline(s):
        n += 1
    return n if n < len(rx) else -1


def _recv_urgent(s: UnixSocket, flags: int) -> Received | int:
    """MSG_OOB: the urgent byte, or -EINVAL (Linux: unix_stream_recv_urg)."""
    m = s.oob
    if m is None or inline(s):
        return -errno.EINVAL
    out = Received(m.data)
    out.flags = MSG_OOB
    if not flags & MSG_PEEK:
        s.oob = None
        m.off = 1
        at = s.rx.index(m)
        if at:
            before = s.rx[at - 1]
            if before.off == len(before.data):  # one mark is enough
                del s.rx[at - 1]
                before.done()
    return out
