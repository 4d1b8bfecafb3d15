"""System V message queues (Linux: ipc/msg.c; msgget(2), msgop(2), msgctl(2))."""

from __future__ import annotations

import errno
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.wait import WaitQueue
from .ids import IPC_NOWAIT, READ, WRITE, IpcObject

if TYPE_CHECKING:
    from ..kernel.task import Task

MSGMNI: Final = 32000
MSG_NOERROR: Final = 0o10000
MSG_EXCEPT: Final = 0o20000
MSG_COPY: Final = 0o40000
TOTAL_MAX: Final = 64 << 20  # bytes queued in all: the memory is the Sentry's
DS: Final = struct.Struct("<qqqQQQii16x")
_total = 0


@final
class Limits:
    """kernel.msgmax and kernel.msgmnb: bytes of a message, and of a new queue."""

    __slots__ = ("bytes", "size")

    def __init__(self) -> None:
        self.size = 8192
        self.bytes = 16384


@final
class MsgQueue(IpcObject):
    """``messages``: (type, text) in order of arrival."""

    __slots__ = (
        "bytes", "lrpid", "lspid", "messages", "qbytes", "queue", "rtime", "stime",
    )  # fmt: skip

    def __init__(self, t: Task, key: int, mode: int) -> None:
        super().__init__(t, key, mode)
        self.messages: deque[tuple[int, bytes]] = deque()
        self.bytes = 0
        self.qbytes = t.ns.ipc.msg_limits.bytes
        self.lspid = self.lrpid = 0
        self.stime = self.rtime = 0
        self.queue = WaitQueue()

    def pack(self, t: Task) -> bytes:
        """struct msqid64_ds, 120 bytes."""
        return self.pack_perm(t) + DS.pack(
            self.stime, self.rtime, self.ctime, self.bytes, len(self.messages), self.qbytes,
            t.tg.pidns.number(self.lspid), t.tg.pidns.number(self.lrpid),
        )  # fmt: skip


def _account(delta: int) -> None:
    global _total
    _total += delta


def send(t: Task, id: int, kind: int, text: bytes, flags: int) -> None:
    """Raises EINVAL, EACCES, EAGAIN, EIDRM; waits for room (never restarted, signal(7))."""
    q = t.ns.ipc.msgs.find(id)
    while True:
        q.check(t, WRITE)
        room = len(text) + q.bytes <= q.qbytes and len(q.messages) + 1 <= q.qbytes
        if room and _total + len(text) <= TOTAL_MAX:
            break
        if flags & IPC_NOWAIT:
            raise SysErr(errno.EAGAIN)
        t.wait(q.queue)
        if q.dead:
            raise SysErr(errno.EIDRM)
    q.messages.append((kind, text))
    q.bytes += len(text)
    _account(len(text))
    q.lspid = t.tg.pid
    q.stime = t.k.realtime_ns() // 10**9
    q.queue.wake()


def _pick(q: MsgQueue, kind: int, flags: int) -> int:
    """The position of the message that ``kind`` asks for, or -1."""
    if flags & MSG_COPY:
        return kind if 0 <= kind < len(q.messages) else -1
    if kind == 0:
        return 0 if q.messages else -1
    best = -1
    for i, (k, _) in enumerate(q.messages):
        if kind > 0:
            if (k != kind) == bool(flags & MSG_EXCEPT):
                return i
        elif k <= -kind and (best < 0 or k < q.messages[best][0]):
            best = i
    return best


def receive(t: Task, id: int, size: int, kind: int, flags: int) -> tuple[int, bytes]:
    """Raises EINVAL, EACCES, E2BIG, ENOMSG, EIDRM."""
    if flags & MSG_COPY and (flags & MSG_EXCEPT or not flags & IPC_NOWAIT):
        raise SysErr(errno.EINVAL)
    q = t.ns.ipc.msgs.find(id)
    while True:
        q.check(t, READ)
        i = _pick(q, kind, flags)
        if i >= 0:
            break
        if flags & IPC_NOWAIT:
            raise SysErr(errno.ENOMSG)
        t.wait(q.queue)
        if q.dead:
            raise SysErr(errno.EIDRM)
    k, text = q.messages[i]
    if len(text) > size and not flags & MSG_NOERROR:
        raise SysErr(errno.E2BIG)
    if not flags & MSG_COPY:
        del q.messages[i]
        q.bytes -= len(text)
        _account(-len(text))
        q.lrpid = t.tg.pid
        q.rtime = t.k.realtime_ns() // 10**9
        q.queue.wake()
    return k, text[:size]


def destroy(t: Task, q: MsgQueue) -> None:
    _account(-q.bytes)
    q.messages.clear()
    t.ns.ipc.msgs.remove(q)
    q.queue.wake()
