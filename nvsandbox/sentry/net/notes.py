"""What a socket's error queue tells of what was sent: zero-copy completions and transmit time stamps (Linux: net/core/skbuff.c; the kernel's
msg_zerocopy.rst, timestamping.rst).

Bytes are always copied here, and the completion says so. A packet counts as sent when the call that sends it is done.
"""

from __future__ import annotations

import errno
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, final

from ..abi.socket import (
    AF_INET,
    MSG_ERRQUEUE,
    SO_TIMESTAMPING,
    SO_TIMESTAMPING_NEW,
    SO_ZEROCOPY,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
)
from ..kernel.wait import POLLERR
from .socket import Control, Received

if TYPE_CHECKING:
    from .inet import InetSocket

MSG_ZEROCOPY: Final = 0x4000000
ORIGIN_TIMESTAMPING: Final = 4
ORIGIN_ZEROCOPY: Final = 5
CODE_COPIED: Final = 1
MAX_NOTES: Final = 256
# SOF_TIMESTAMPING_* (linux/net_tstamp.h)
TX_SOFTWARE: Final = 1 << 1
SOFTWARE: Final = 1 << 4
OPT_ID: Final = 1 << 7
TX_SCHED: Final = 1 << 8
TX_ACK: Final = 1 << 9
KINDS: Final = ((TX_SCHED, 1), (TX_SOFTWARE, 0), (TX_ACK, 2))  # SCM_TSTAMP_SCHED, SND, ACK
EXTENDED_ERROR: Final = struct.Struct("<IBBBxII")
IP_RECVERR: Final = 11
IPV6_RECVERR: Final = 25


class Note(NamedTuple):
    """``low`` to ``high``: numbers of sends (zero copy); else ``low`` the kind and ``high`` the number of a time stamp."""

    zerocopy: bool
    low: int
    high: int
    when: int


@final
class Notes:
    """``sends``: zero-copy sends so far; ``key``: datagrams, or bytes of a stream, since OPT_ID was set."""

    __slots__ = ("key", "queue", "sends")

    def __init__(self) -> None:
        self.queue: deque[Note] = deque()
        self.sends = 0
        self.key = 0


def flags(s: InetSocket) -> int:
    """SOF_TIMESTAMPING_* of the socket."""
    return s.opts.get((SOL_SOCKET, SO_TIMESTAMPING), 0) or s.opts.get(
        (SOL_SOCKET, SO_TIMESTAMPING_NEW), 0
    )


def wanted(s: InetSocket) -> bool:
    """Whether what is sent is to be noted."""
    return bool(
        s.opts.get((SOL_SOCKET, SO_ZEROCOPY)) or flags(s) & (TX_SOFTWARE | TX_SCHED | TX_ACK)
    )


def sent(s: InetSocket, how: int, size: int) -> None:
    """A call with the MSG_* ``how`` has sent ``size`` bytes."""
    n = s.notes
    if n is None:
        n = s.notes = Notes()
    stream = not s.max_send()
    if how & MSG_ZEROCOPY and s.opts.get((SOL_SOCKET, SO_ZEROCOPY)) and (size or not stream):
        last = n.queue[-1] if n.queue else None
        if last is not None and last.zerocopy and last.high + 1 == n.sends:
            n.queue[-1] = Note(True, last.low, n.sends, 0)
        elif len(n.queue) < MAX_NOTES:
            n.queue.append(Note(True, n.sends, n.sends, 0))
        n.sends = (n.sends + 1) & 0xFFFFFFFF
    which = flags(s)
    if size or not stream:
        now = time.time_ns()
        n.key += size if stream else 1
        key = (n.key - 1) & 0xFFFFFFFF if which & OPT_ID else 0
        for bit, kind in KINDS:
            if which & bit and (stream or bit != TX_ACK) and len(n.queue) < MAX_NOTES:
                n.queue.append(Note(False, kind, key, now))
    if n.queue:
        s.queue.wake(POLLERR)


def take(s: InetSocket) -> Received | int:
    """The next, as recvmsg(2) gives it with MSG_ERRQUEUE, or -EAGAIN."""
    n = s.notes
    if n is None or not n.queue:
        return -errno.EAGAIN
    note = n.queue.popleft()
    out = Received()
    out.flags = MSG_ERRQUEUE
    control: list[Control] = []
    v4 = s.domain == AF_INET
    if note.zerocopy:
        head = EXTENDED_ERROR.pack(0, ORIGIN_ZEROCOPY, 0, CODE_COPIED, note.low, note.high)
    else:
        head = EXTENDED_ERROR.pack(errno.ENOMSG, ORIGIN_TIMESTAMPING, 0, 0, note.low, note.high)
        if flags(s) & SOFTWARE:
            new = s.opts.get((SOL_SOCKET, SO_TIMESTAMPING_NEW), 0)
            opt = SO_TIMESTAMPING_NEW if new else SO_TIMESTAMPING
            stamp = struct.pack("<6q", *divmod(note.when, 10**9), 0, 0, 0, 0)
            control.append((SOL_SOCKET, opt, stamp))
    level, kind = (SOL_IP, IP_RECVERR) if v4 else (SOL_IPV6, IPV6_RECVERR)
    control.append((level, kind, head + bytes(16 if v4 else 28)))
    out.control = control
    return out
