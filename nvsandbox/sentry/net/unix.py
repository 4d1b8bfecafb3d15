"""Unix sockets: names, connections, the life of a socket (Linux: net/unix/af_unix.c; unix(7)).

Sending and receiving are in ``unix_stream.py`` and ``unix_dgram.py``, tied to it in ``unix_family.py``. Two connected sockets hold each other as ``peer``;
``rx`` is what has arrived. Sent bytes count against the sender's SO_SNDBUF until they are received.
Left out: SO_PASSPIDFD.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, final

from ..abi.socket import (
    AF_UNIX,
    SHUT_RD,
    SHUT_WR,
    SO_PASSCRED,
    SO_PASSSEC,
    SO_PEERCRED,
    SO_PEERGROUPS,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    SOMAXCONN,
    UCRED,
)
from ..errors import SysErr
from ..kernel.wait import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)
from ..vfs.dirops import mknod_at, prepare_create
from ..vfs.inode import MAY_WRITE, Inode
from ..vfs.namei import walk_at
from . import unix_gc
from .socket import Socket, Ucred

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

AT_FDCWD: Final = -100
FAMILY: Final = struct.pack("<H", AF_UNIX)
PATH_LEN: Final = 108
DGRAM_QLEN: Final = 10  # net.unix.max_dgram_qlen
OVERHEAD: Final = 768  # bytes a message costs beyond its data
WAKE_ALL: Final = POLLIN | POLLRDNORM | POLLOUT | POLLHUP | POLLRDHUP | POLLERR
NO_CRED: Final[Ucred] = (0, 65534, 65534)

ALL: Final[dict[UnixSocket, None]] = {}
CLOSED: Final = 0
LISTEN: Final = 1
CONNECTED: Final = 2


@final
class Message:
    """One sent piece: data, and what came along."""

    __slots__ = ("addr", "cost", "creds", "data", "files", "off", "sender")

    def __init__(
        self, sender: UnixSocket, data: bytes, files: list[FileDescription], creds: Ucred | None
    ) -> None:
        self.sender = sender
        self.data = data
        self.off = 0
        self.creds = creds
        self.addr = sender.addr
        self.files = files
        self.cost = len(data) + OVERHEAD
        sender.wmem += self.cost
        if files:
            for f in files:
                f.incref()
            unix_gc.sent(files, [f for f in files if isinstance(f, UnixSocket)])

    def take_files(self) -> list[FileDescription]:
        """The descriptors, with their references."""
        files, self.files = self.files, []
        if files:
            unix_gc.landed(files, [f for f in files if isinstance(f, UnixSocket)])
        return files

    def done(self) -> None:
        """Received or dropped: the sender may send more."""
        for f in self.take_files():
            f.decref()
        s = self.sender
        s.wmem -= self.cost
        if s.wmem * 4 <= s.sndbuf or s.wmem < s.sndbuf <= s.wmem + self.cost:
            s.queue.wake(POLLOUT | POLLWRNORM)


class UnixSocket(Socket):
    """A Unix socket of any type; sending and receiving are its subclasses' (unix_family.py)."""

    __slots__ = (
        "addr", "backlog", "bound", "dead", "oob", "pass_creds", "peer", "peer_cred", "peer_groups",
        "pending", "rx", "state", "wmem",
    )  # fmt: skip

    def __init__(self, t: Task, type: int) -> None:
        super().__init__(t, AF_UNIX, type, 0)
        self.state = CLOSED
        self.addr: bytes | None = None  # sun_path as bound; abstract names begin with NUL
        self.bound: Inode | None = None
        self.peer: UnixSocket | None = None
        self.rx: deque[Message] = deque()
        self.oob: Message | None = None  # of ``rx``: the urgent byte that was not taken yet
        self.wmem = 0
        self.backlog = 0
        self.pending: deque[UnixSocket] = deque()  # accept queue
        self.pass_creds = False
        self.peer_cred = (0, -1, -1)
        self.peer_groups: tuple[int, ...] = ()
        self.dead = False
        ALL[self] = None

    # Names
    def sockname(self) -> bytes:
        return FAMILY + (self.addr or b"")

    def peername(self) -> bytes:
        if self.peer is None:
            raise SysErr(errno.ENOTCONN)
        return self.peer.sockname()

    def bind(self, t: Task, addr: bytes) -> None:
        name = parse_name(addr)
        if name == b"":
            self.autobind()
            return
        if self.addr is not None and name[0] == 0:
            raise SysErr(errno.EINVAL)
        if name[0] == 0:
            if name in self.net.abstract:
                raise SysErr(errno.EADDRINUSE)
            self.net.abstract[name] = self
        else:
            self._bind_path(t, name[:-1])
        self.addr = name

    def _bind_path(self, t: Task, path: bytes) -> None:
        try:
            last = prepare_create(t, AT_FDCWD, path, False)
            if self.addr is not None:  # an existing name is the worse mistake
                raise SysErr(errno.EINVAL)
            d = mknod_at(t, last, stat.S_IFSOCK | 0o777, 0)
        except SysErr as e:
            raise SysErr(errno.EADDRINUSE if e.errno == errno.EEXIST else e.errno) from None
        i = d.node()
        if self.addr is not None:  # bound by somebody else while we were suspended
            raise SysErr(errno.EINVAL)
        i.special = self
        self.bound = i

    def autobind(self) -> None:
        """A free abstract name of five hex digits. Raises ENOSPC."""
        if self.addr is not None:
            return
        for n in itertools.islice(_ordinals, 0x100000):
            name = b"\0%05x" % (n & 0xFFFFF)
            if name not in self.net.abstract:
                self.net.abstract[name] = self
                self.addr = name
                return
        raise SysErr(errno.ENOSPC)

    # Connections
    def pair(self, t: Task, other: Socket) -> None:
        assert isinstance(other, UnixSocket)
        for a, b in ((self, other), (other, self)):
            a.peer = b
            a.set_peer_cred(t)
            if a.type != SOCK_DGRAM:
                a.state = CONNECTED

    def set_peer_cred(self, t: Task) -> None:
        """The caller is who the other side will see."""
        self.peer_cred = (t.tg.pid, t.creds.euid, t.creds.egid)
        self.peer_groups = t.creds.groups

    def listen(self, t: Task, backlog: int) -> None:
        if self.type == SOCK_DGRAM:
            raise SysErr(errno.EOPNOTSUPP)
        if self.addr is None or self.state == CONNECTED:
            raise SysErr(errno.EINVAL)
        self.backlog = min(backlog & 0xFFFFFFFF, SOMAXCONN)
        self.state = LISTEN
        self.set_peer_cred(t)
        self.queue.wake(POLLOUT)

    def listening(self) -> bool:
        return self.state == LISTEN

    def connect(self, t: Task, addr: bytes) -> None:
        if self.type == SOCK_DGRAM:
            self._connect_dgram(t, addr)
            return
        name = parse_name(addr)
        if name == b"":
            raise SysErr(errno.EINVAL)
        if self.pass_creds:
            self.autobind()
        deadline = self.snd_deadline(t)
        while True:
            other = find(t, name, self.type)
            if other.state != LISTEN or other.shut & SHUT_RD:
                raise SysErr(errno.ECONNREFUSED)
            if self.state == LISTEN:
                raise SysErr(errno.EINVAL)
            if self.state == CONNECTED:
                raise SysErr(errno.EISCONN)
            if len(other.pending) <= other.backlog:
                break
            if self.dontwait(0):
                raise SysErr(errno.EAGAIN)
            self.pause(t, other.queue, deadline, self.sndtimeo is not None)
        new = type(self)(t, self.type)
        new.state = self.state = CONNECTED
        new.addr = other.addr
        new.pass_creds = other.pass_creds
        new.peer, self.peer = self, new
        new.set_peer_cred(t)
        self.peer_cred, self.peer_groups = other.peer_cred, other.peer_groups
        other.pending.append(new)
        other.queue.wake(POLLIN | POLLRDNORM)

    def _left(self, old: UnixSocket) -> None:
        """A datagram socket turns away from its peer (Linux: unix_dgram_disconnected)."""
        self.flush_rx()
        if old.peer is self:
            old.err = errno.ECONNRESET
            old.queue.wake(POLLERR)

    def _connect_dgram(self, t: Task, addr: bytes) -> None:
        if len(addr) >= 2 and addr[:2] == b"\0\0":  # AF_UNSPEC dissolves the association
            old, self.peer = self.peer, None
            if old is not None:
                self._left(old)
            return
        name = parse_name(addr)
        if name == b"":
            raise SysErr(errno.EINVAL)
        if self.pass_creds:
            self.autobind()
        other = find(t, name, self.type)
        if other.peer is not None and other.peer is not self:
            raise SysErr(errno.EPERM)
        old, self.peer = self.peer, other
        if old is not None and old is not other:
            self._left(old)
        self.queue.wake(POLLOUT | POLLWRNORM)

    def accept(self, t: Task, nonblock: bool) -> Socket:
        if self.type == SOCK_DGRAM:
            raise SysErr(errno.EOPNOTSUPP)
        if self.state != LISTEN:
            raise SysErr(errno.EINVAL)
        deadline = self.rcv_deadline(t)
        while not self.pending:
            if self.shut & SHUT_RD:
                raise SysErr(errno.EINVAL)
            if nonblock:
                raise SysErr(errno.EAGAIN)
            self.pause(t, self.queue, deadline, self.rcvtimeo is not None)
        new = self.pending.popleft()
        self.queue.wake(POLLOUT | POLLWRNORM)
        return new

    def shutdown(self, t: Task, how: int) -> None:
        self.shut |= how
        peer = self.peer
        if peer is not None and self.type != SOCK_DGRAM:
            peer.shut |= (SHUT_WR if how & SHUT_RD else 0) | (SHUT_RD if how & SHUT_WR else 0)
            peer.queue.wake(WAKE_ALL)
        self.queue.wake(WAKE_ALL)

    def flush_rx(self) -> None:
        self.oob = None
        while self.rx:
            self.rx.popleft().done()

    def release(self) -> None:
        self.dead = True
        ALL.pop(self, None)
        name = self.addr
        if name is not None and self.net.abstract.get(name) is self:
            del self.net.abstract[name]
        if self.bound is not None and self.bound.special is self:
            self.bound.special = None
        self.bound = None
        # Unread data resets; one empty message in front is taken for an urgent byte that was read already.
        self.hang_up(len(self.rx) > int(self._empty_head()))
        self.flush_rx()
        while self.pending:
            new = self.pending.popleft()
            new.hang_up(True)
            new.dead = True
            ALL.pop(new, None)
            new.flush_rx()
        self.queue.wake(WAKE_ALL)
        unix_gc.closed()

    def _empty_head(self) -> bool:
        return bool(self.rx) and self.rx[0].off == len(self.rx[0].data)

    def at_mark(self) -> bool | None:
        """Raises EOPNOTSUPP for others than streams."""
        if self.type != SOCK_STREAM:
            raise SysErr(errno.EOPNOTSUPP)
        rx = self.rx
        if not rx:
            return False
        if self.oob is None:
            return self._empty_head()
        return rx[0] is self.oob or (self._empty_head() and len(rx) > 1 and rx[1] is self.oob)

    def hang_up(self, reset: bool) -> None:
        """The other side of a connection learns that this one is gone."""
        peer = self.peer
        if peer is None:
            return
        self.peer = None
        if self.type == SOCK_DGRAM:
            peer.queue.wake(WAKE_ALL)
            return
        peer.shut = SHUT_RD | SHUT_WR
        if reset:
            peer.err = errno.ECONNRESET
        peer.queue.wake(WAKE_ALL)

    # Descriptors in flight (unix_gc.Carrier)
    def carried(self) -> list[FileDescription]:
        out = [f for m in self.rx for f in m.files]
        for s in self.pending:
            out += s.carried()
        return out

    def purge(self) -> None:
        self.flush_rx()
        for s in list(self.pending):
            s.purge()

    # Readiness
    def writable_now(self) -> bool:
        return self.wmem * 4 <= self.sndbuf

    def poll(self, t: Task | None) -> int:
        mask = 0
        if self.err:
            mask |= POLLERR
        if self.shut == SHUT_RD | SHUT_WR:
            mask |= POLLHUP
        if self.shut & SHUT_RD:
            mask |= POLLRDHUP | POLLIN | POLLRDNORM
        if self.rx or self.pending:
            mask |= POLLIN | POLLRDNORM
        if self.oob is not None:
            mask |= POLLPRI
        if self.type != SOCK_DGRAM and self.state == CLOSED:
            mask |= POLLHUP
        if self.state != LISTEN and self.writable_now():
            p = self.peer
            # A datagram socket whose connected peer (not connected back) is full cannot send.
            full = (
                self.type == SOCK_DGRAM
                and p is not None
                and p.peer is not self
                and len(p.rx) > DGRAM_QLEN
            )
            if not full:
                mask |= POLLOUT | POLLWRNORM | POLLWRBAND
        return mask

    def queued(self) -> int:
        if self.type != SOCK_DGRAM:
            return sum(len(m.data) - m.off for m in self.rx)
        return len(self.rx[0].data) if self.rx else 0

    def unsent(self) -> int:
        return self.wmem

    def passcred(self) -> bool:
        return self.pass_creds

    def peeks(self) -> bool:
        return True

    def filters(self) -> bool:
        return True  # streams take one, and never ask it, as Linux's

    def max_send(self) -> int:
        return 0 if self.type == SOCK_STREAM else max(self.sndbuf - 32, 1)

    # Options
    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        if level == SOL_SOCKET:
            if opt == SO_PASSCRED:
                return struct.pack("<i", int(self.pass_creds))
            if opt == SO_PASSSEC:
                return struct.pack("<i", self.opts.get((level, opt), 0))
            if opt == SO_PEERCRED:
                pid, uid, gid = self.peer_cred
                if uid == -1:
                    return UCRED.pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
                return UCRED.pack(*seen_by(t, (pid, uid, gid)))
            if opt == SO_PEERGROUPS:
                if self.peer_cred[1] == -1:
                    raise SysErr(errno.ENODATA)
                users = t.creds.userns
                return b"".join(users.gid_out(g).to_bytes(4, "little") for g in self.peer_groups)
        return super().getsockopt(t, level, opt)

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        if level != SOL_SOCKET:
            raise SysErr(errno.EOPNOTSUPP)
        if opt == SO_PASSCRED:
            if len(data) < 4:
                raise SysErr(errno.EINVAL)
            self.pass_creds = data[:4] != bytes(4)
            return
        if opt == SO_PASSSEC:
            if len(data) < 4:
                raise SysErr(errno.EINVAL)
            self.opts[level, opt] = int(data[:4] != bytes(4))
            return
        super().setsockopt(t, level, opt, data)

    def creds_for(self, t: Task, to: UnixSocket, creds: Ucred | None) -> Ucred | None:
        """What a message carries: given credentials, or the sender's where one side asked for them."""
        if creds is None and (self.pass_creds or to.pass_creds):
            return (t.tg.pid, t.creds.uid, t.creds.gid)
        return creds


def seen_by(t: Task, creds: Ucred) -> Ucred:
    """Credentials as a receiver's namespaces have them."""
    pid, uid, gid = creds
    users = t.creds.userns
    return t.tg.pidns.number(pid), users.uid_out(uid), users.gid_out(gid)


def parse_name(addr: bytes) -> bytes:
    """sun_path of a sockaddr_un: b"" (autobind), an abstract name, or a path with its NUL. Raises EINVAL."""
    if not 2 <= len(addr) <= 2 + PATH_LEN or addr[:2] != FAMILY:
        raise SysErr(errno.EINVAL)
    path = addr[2:]
    if path[:1] in (b"", b"\0"):
        return path
    return path.split(b"\0", 1)[0] + b"\0"


def find(t: Task, name: bytes, type: int) -> UnixSocket:
    """The socket called ``name``. Raises ECONNREFUSED, EPROTOTYPE and what a path walk raises. May suspend."""
    if name[0] == 0:
        s: object | None = t.ns.net.abstract.get(name)
    else:
        i = walk_at(t, AT_FDCWD, name[:-1]).inode
        i.permission(t, MAY_WRITE)
        s = i.special if i.mode & 0o170000 == stat.S_IFSOCK else None
    if not isinstance(s, UnixSocket) or s.dead:
        raise SysErr(errno.ECONNREFUSED)
    if s.type != type:
        raise SysErr(errno.EPROTOTYPE)
    return s


_ordinals: Final = itertools.count(int.from_bytes(os.urandom(3), "little") & 0xFFFFF)
