"""Bytes over SOCK_STREAM Unix sockets (Linux: unix_stream_sendmsg, unix_stream_read_generic)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..abi.socket import MSG_OOB, MSG_PEEK, MSG_WAITALL, SHUT_RD, SHUT_WR
from ..errors import SysErr
from ..kernel.wait import POLLIN, POLLRDNORM
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
    if flags & MSG_OOB:
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
        p.rx.append(Message(s, piece, files, s.creds_for(t, p, creds)))
        files = []
        sent += len(piece)
        p.queue.wake(POLLIN | POLLRDNORM)
    return sent


def recv(s: UnixSocket, t: Task, size: int, flags: int) -> Received | int:
    """Bytes up to the next message whose credentials differ or that brings descriptors."""
    if flags & MSG_OOB:
        raise SysErr(errno.EOPNOTSUPP)
    if s.state != CONNECTED:
        raise SysErr(errno.EINVAL)
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
        if s.rx and (parts or not peek.skip(s, flags)):
            break  # different credentials, or descriptors, follow
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
    while n < len(rx) and got < size:
        m = rx[n]
        if skip >= len(m.data) - m.off > 0:
            skip -= len(m.data) - m.off
            n += 1
            continue
        at = m.off + skip
        skip = 0
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
