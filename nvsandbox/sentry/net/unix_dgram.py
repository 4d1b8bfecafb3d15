"""Messages over SOCK_DGRAM and SOCK_SEQPACKET Unix sockets (Linux: unix_dgram_sendmsg, unix_dgram_recvmsg)."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

from ..abi.socket import (
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SHUT_RD,
    SHUT_WR,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
)
from ..errors import SysErr
from ..kernel.cbpf import run
from ..kernel.wait import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from . import peek
from .ancillary import stamps
from .filter import View
from .socket import Received, Ucred
from .unix import CONNECTED, DGRAM_QLEN, FAMILY, Message, UnixSocket, find, parse_name

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription


def send(
    s: UnixSocket, t: Task, data: bytes, addr: bytes | None, flags: int,
    files: list[FileDescription], creds: Ucred | None,
) -> int:  # fmt: skip
    if flags & MSG_OOB:
        raise SysErr(errno.EOPNOTSUPP)
    name = None
    if s.type == SOCK_SEQPACKET:
        if s.err:
            return -s.take_error()
        if s.state != CONNECTED:
            raise SysErr(errno.ENOTCONN)
        to = s.peer
        if to is None:
            return -errno.EPIPE
    elif addr:
        name = parse_name(addr)
        if not name:
            raise SysErr(errno.EINVAL)
        to = find(t, name, SOCK_DGRAM)
    else:
        to = s.peer
    if s.pass_creds and s.type == SOCK_DGRAM:
        s.autobind()
    if len(data) > s.sndbuf - 32:
        raise SysErr(errno.EMSGSIZE)
    # No SIGPIPE here: Linux raises it for byte streams only.
    if s.err:
        return -s.take_error()
    if s.shut & SHUT_WR:
        return -errno.EPIPE
    if to is None:
        raise SysErr(errno.ENOTCONN if not addr else errno.ECONNREFUSED)
    deadline = s.snd_deadline(t)
    while True:
        _check(s, to, name is not None)
        if to.shut & SHUT_RD or s.shut & SHUT_WR:
            return -errno.EPIPE
        full = to.peer is not s and len(to.rx) > DGRAM_QLEN
        if not full and s.wmem < s.sndbuf:
            break
        if s.dontwait(flags):
            return -errno.EAGAIN
        s.pause(t, to.queue if full else s.queue, deadline, s.sndtimeo is not None)
    if to.bpf is not None:
        n = run(to.bpf, View(data, 0, 0, 0, 0))
        if not n:
            return len(data)
        sent, data = len(data), data[:n]
        to.rx.append(Message(s, data, files, s.creds_for(t, to, creds)))
        to.queue.wake(POLLIN | POLLRDNORM)
        return sent
    to.rx.append(Message(s, data, files, s.creds_for(t, to, creds)))
    to.queue.wake(POLLIN | POLLRDNORM)
    return len(data)


def _check(s: UnixSocket, to: UnixSocket, named: bool) -> None:
    """Raises ECONNREFUSED for a closed receiver, EPERM for one that is connected elsewhere."""
    if to.dead:
        if not named and s.peer is to:
            s.peer = None
            s.flush_rx()  # the association is dissolved
        raise SysErr(errno.ECONNREFUSED)
    if s.type == SOCK_DGRAM and to.peer is not None and to.peer is not s:
        raise SysErr(errno.EPERM)


def recv(s: UnixSocket, t: Task, size: int, flags: int) -> Received | int:
    """One message; the part beyond ``size`` is lost."""
    if flags & MSG_OOB:
        raise SysErr(errno.EOPNOTSUPP)
    if s.type == SOCK_SEQPACKET and s.state != CONNECTED:
        raise SysErr(errno.ENOTCONN)
    deadline = s.rcv_deadline(t)
    if s.err:  # told before what is still queued
        return -s.take_error()
    at, off = peek.find(s, flags, s.rx)
    while at < 0:
        if s.err:
            return -s.take_error()
        # A datagram socket that doesn't wait never sees the end (Linux: __skb_wait_for_more_packets).
        if s.dontwait(flags) and (s.type == SOCK_DGRAM or not s.shut & SHUT_RD):
            return -errno.EAGAIN
        if s.shut & SHUT_RD:
            return Received()
        s.pause(t, s.queue, deadline, s.rcvtimeo is not None)
        at, off = peek.find(s, flags, s.rx)
    m = s.rx[at]
    data = m.data[off:] if off else m.data
    out = Received(data[:size] if len(data) > size else data)
    out.length = len(data)
    if s.peek_off >= 0:
        peek.moved(s, flags, len(out.data) if flags & MSG_PEEK else len(m.data))
    out.creds = m.creds
    if s.opts:
        out.control = stamps(s.opts, time.time_ns())
    if len(data) > size:
        out.flags |= MSG_TRUNC
    if s.type == SOCK_DGRAM and m.addr is not None:
        out.addr = FAMILY + m.addr
    if flags & MSG_PEEK:
        out.files = [f.incref() for f in m.files]
        return out
    s.rx.popleft()
    out.files = m.take_files()
    m.done()
    if len(s.rx) == DGRAM_QLEN:
        s.queue.wake(POLLOUT | POLLWRNORM)
        m.sender.queue.wake(POLLOUT | POLLWRNORM)
    return out
