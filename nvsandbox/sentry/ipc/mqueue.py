"""POSIX message queues (Linux: ipc/mqueue.c; mq_overview(7)).

A queue is an inode of the mqueue file system: mq_open looks it up there, and it can be mounted to be listed. An open queue
is a description that polls.
"""

from __future__ import annotations

import bisect
import errno
import os
import stat
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final, final

from ..errors import SysErr
from ..kernel.creds import CAP_SYS_RESOURCE
from ..kernel.signal import SI_MESGQ, SigInfo
from ..kernel.wait import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, Waiter, WaitQueue
from ..vfs.file import FileDescription
from ..vfs.fstypes import register_filesystem
from ..vfs.inode import MAY_READ, MAY_WRITE, Attrs, FileSystem, Inode
from ..vfs.synthetic import DynDir, SynthInode

if TYPE_CHECKING:
    from ..kernel.task import Task, ThreadGroup
    from ..vfs.path import Path

HARD_MSG_MAX: Final = 65536
HARD_MSGSIZE_MAX: Final = 16 << 20
HARD_BYTES: Final = 64 << 20
SIGEV_SIGNAL: Final = 0
SIGEV_NONE: Final = 1
SIGEV_THREAD: Final = 2
NOTIFY_WOKENUP: Final = 1
NOTIFY_REMOVED: Final = 2
RLIMIT_MSGQUEUE: Final = 12


@final
class Limits:
    """/proc/sys/fs/mqueue."""

    __slots__ = ("msg_default", "msg_max", "msgsize_default", "msgsize_max", "queues_max")

    def __init__(self) -> None:
        self.msg_max = self.msg_default = 10
        self.msgsize_max = self.msgsize_default = 8192
        self.queues_max = 256


@final
class Notification:
    """Who is told of the next message, and how. ``told``: SIGEV_THREAD's netlink socket, given NOTIFY_* once."""

    __slots__ = ("method", "sig", "told", "value", "who")

    def __init__(
        self, who: ThreadGroup, method: int, sig: int, value: int, told: Callable[[int], None] | None
    ) -> None:  # fmt: skip
        self.who = who
        self.method = method
        self.sig = sig
        self.value = value
        self.told = told


@final
class Queue(SynthInode):
    """``messages``: (-priority, order, data), sorted."""

    __slots__ = (
        "bytes", "cost", "maxmsg", "messages", "msgsize", "notify", "order", "queue", "readers",
    )  # fmt: skip

    def __init__(self, fs: MqueueFs, t: Task, mode: int, maxmsg: int, msgsize: int) -> None:
        super().__init__(fs, stat.S_IFREG | mode, t.creds.fsuid, t.creds.fsgid)
        self.set_times(t.k.realtime_ns())
        self.messages: list[tuple[int, int, bytes]] = []
        self.order = 0
        self.bytes = 0
        self.maxmsg = maxmsg
        self.msgsize = msgsize
        self.cost = maxmsg * (msgsize + 64)
        self.queue = WaitQueue()
        self.notify: Notification | None = None
        self.readers = 0  # tasks waiting in mq_receive
        self.size = 80

    def open(self, t: Task, path: Path, flags: int) -> FileDescription:
        return MqFile(self, flags, path)

    def setattr(self, t: Task, a: Attrs) -> None:
        super().setattr(t, a)

    def status(self) -> bytes:
        who, method, sig = (
            (self.notify.who.pid, self.notify.method, self.notify.sig) if self.notify else (0, 0, 0)
        )
        return b"QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n" % (
            self.bytes,
            method,
            sig,
            who,
        )

    def put(self, t: Task, data: bytes, prio: int) -> None:
        was_empty = not self.messages
        bisect.insort(self.messages, (-prio, self.order, data))
        self.order += 1
        self.bytes += len(data)
        if was_empty and self.notify is not None and self.readers == 0:
            n, self.notify = self.notify, None
            if n.told is not None:
                n.told(NOTIFY_WOKENUP)
            elif n.method == SIGEV_SIGNAL and not n.who.dead:
                info = SigInfo(n.sig, SI_MESGQ, t.tg.pid, t.creds.uid)
                info.value = n.value
                n.who.send_signal(n.sig, info)
        self.queue.wake(POLLIN | POLLRDNORM)

    def forget(self, who: ThreadGroup) -> None:
        """``who`` is no longer to be notified."""
        n = self.notify
        if n is not None and n.who is who:
            self.notify = None
            if n.told is not None:
                n.told(NOTIFY_REMOVED)

    def take(self) -> tuple[bytes, int]:
        prio, _, data = self.messages.pop(0)
        self.bytes -= len(data)
        self.queue.wake(POLLOUT | POLLWRNORM)
        return data, -prio


@final
class MqFile(FileDescription):
    """An open queue. read(2) gives its status line."""

    __slots__ = ("mq",)

    def __init__(self, mq: Queue, flags: int, path: Path | None) -> None:
        super().__init__(flags, path)
        self.mq = mq

    @property
    def inode(self) -> Inode:
        return self.mq

    def read(self, t: Task, size: int) -> bytes | int:
        data = self.mq.status()[self.offset : self.offset + size]
        self.offset += len(data)
        return data

    def write(self, t: Task, data: bytes) -> int:
        return -errno.EINVAL

    def poll(self, t: Task | None) -> int:
        mask = 0
        if self.mq.messages:
            mask |= POLLIN | POLLRDNORM
        if len(self.mq.messages) < self.mq.maxmsg:
            mask |= POLLOUT | POLLWRNORM
        return mask

    def watch(self, w: Waiter) -> None:
        self.mq.queue.add(w)

    def unwatch(self, w: Waiter) -> None:
        self.mq.queue.remove(w)

    def flush(self, t: Task) -> None:
        """A process that closes it is no longer to be notified."""
        self.mq.forget(t.tg)

    def send(self, t: Task, data: bytes, prio: int, deadline: int | None) -> None:
        """Raises EMSGSIZE, EAGAIN, ETIMEDOUT."""
        q = self.mq
        if len(data) > q.msgsize:
            raise SysErr(errno.EMSGSIZE)
        while len(q.messages) >= q.maxmsg:
            if self.flags & os.O_NONBLOCK:
                raise SysErr(errno.EAGAIN)
            if not t.wait(q.queue, deadline=deadline):
                raise SysErr(errno.ETIMEDOUT)
        q.put(t, data, prio)

    def receive(self, t: Task, size: int, deadline: int | None) -> tuple[bytes, int]:
        """Raises EMSGSIZE, EAGAIN, ETIMEDOUT."""
        q = self.mq
        if size < q.msgsize:
            raise SysErr(errno.EMSGSIZE)
        while not q.messages:
            if self.flags & os.O_NONBLOCK:
                raise SysErr(errno.EAGAIN)
            q.readers += 1
            try:
                alive = t.wait(q.queue, deadline=deadline)
            finally:
                q.readers -= 1
            if not alive:
                raise SysErr(errno.ETIMEDOUT)
        return q.take()


@final
class MqRoot(DynDir):
    """The directory of all queues."""

    __slots__ = ("limits", "mqfs", "queues")

    def __init__(self, fs: MqueueFs) -> None:
        super().__init__(fs, 0o1777)
        self.mqfs = fs
        self.queues: dict[bytes, Queue] = {}
        self.limits = Limits()

    def lookup(self, t: Task, name: bytes) -> Inode:
        q = self.queues.get(name)
        if q is None:
            raise SysErr(errno.ENOENT)
        return q

    def names(self, t: Task) -> list[tuple[bytes, int, int]]:
        return [(n, q.ino, q.mode) for n, q in self.queues.items()]

    def create(self, t: Task, name: bytes, mode: int) -> Inode:
        return self.make(t, name, mode & 0o777, None)

    def make(self, t: Task, name: bytes, mode: int, attr: tuple[int, int] | None) -> Queue:
        """``attr``: (maxmsg, msgsize). Raises ENOSPC, EINVAL, EMFILE."""
        if len(self.queues) >= self.limits.queues_max and not t.creds.capable(CAP_SYS_RESOURCE):
            raise SysErr(errno.ENOSPC)
        most = self.limits
        default = min(most.msg_default, most.msg_max), min(most.msgsize_default, most.msgsize_max)
        maxmsg, msgsize = attr if attr is not None else default
        big = t.creds.capable(CAP_SYS_RESOURCE)
        if not (
            0 < maxmsg <= (HARD_MSG_MAX if big else most.msg_max)
            and 0 < msgsize <= (HARD_MSGSIZE_MAX if big else most.msgsize_max)
        ):
            raise SysErr(errno.EINVAL)
        q = Queue(self.mqfs, t, mode, maxmsg, msgsize)
        mine = sum(o.cost for o in self.queues.values() if o.uid == q.uid)
        if mine + q.cost > min(t.tg.rlimit(RLIMIT_MSGQUEUE), HARD_BYTES):
            raise SysErr(errno.EMFILE)
        self.queues[name] = q
        return q

    def unlink(self, t: Task, name: bytes, inode: Inode) -> None:
        if self.queues.get(name) is inode:
            del self.queues[name]


@final
class MqueueFs(FileSystem):
    """The one instance of an IPC namespace."""

    __slots__ = ("root",)

    magic: ClassVar[int] = 0x19800202

    def __init__(self) -> None:
        super().__init__("mqueue", "mqueue")
        self.root = MqRoot(self)


def _check_name(name: bytes) -> None:
    """Raises EACCES, ENOENT, ENAMETOOLONG."""
    if b"/" in name or name in (b".", b".."):
        raise SysErr(errno.EACCES)
    if not name:
        raise SysErr(errno.ENOENT)
    if len(name) > 255:
        raise SysErr(errno.ENAMETOOLONG)


def mq_open(t: Task, name: bytes, flags: int, mode: int, attr: tuple[int, int] | None) -> MqFile:
    """``name`` without its slash, as the C library passes it. Raises ENOENT, EEXIST, EACCES, EINVAL."""
    _check_name(name)
    root = t.ns.ipc.mqueues.root
    q = root.queues.get(name)
    if q is not None:
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise SysErr(errno.EEXIST)
        want = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE)
        if flags & 3 == 3:
            raise SysErr(errno.EINVAL)
        q.permission(t, want[flags & 3])
    elif flags & os.O_CREAT:
        q = root.make(t, name, mode & 0o777 & ~t.fs.umask, attr)
    else:
        raise SysErr(errno.ENOENT)
    return MqFile(q, flags & (3 | os.O_NONBLOCK), None)


def mq_unlink(t: Task, name: bytes) -> None:
    """Raises ENOENT, EACCES, ENAMETOOLONG."""
    _check_name(name)
    root = t.ns.ipc.mqueues.root
    q = root.queues.get(name)
    if q is None:
        raise SysErr(errno.ENOENT)
    c = t.creds
    if c.fsuid not in (q.uid, root.uid) and not c.capable_over(
        q.uid, q.gid, 3
    ):  # sticky directory, CAP_FOWNER
        raise SysErr(errno.EACCES)
    del root.queues[name]


ATTR: Final = struct.Struct("<qqqq32x")


def _factory(t: Task, source: bytes, data: bytes) -> tuple[FileSystem, Inode]:
    fs = t.ns.ipc.mqueues
    return fs, fs.root


register_filesystem(b"mqueue", _factory)
