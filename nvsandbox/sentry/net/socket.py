"""Sockets in general: what every family shares, and the table of families (Linux: net/socket.c, net/core/sock.c).

A socket is its own file description. A family registers ``create(t, type, protocol)``; the loopback-only inet
sockets and a full TCP/IP stack are interchangeable through that table.
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..abi.socket import (
    AF_MAX,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_TRUNC,
    SO_ACCEPTCONN,
    SO_ATTACH_BPF,
    SO_ATTACH_FILTER,
    SO_ATTACH_REUSEPORT_CBPF,
    SO_ATTACH_REUSEPORT_EBPF,
    SO_BINDTODEVICE,
    SO_BINDTOIFINDEX,
    SO_BPF_EXTENSIONS,
    SO_BROADCAST,
    SO_BSDCOMPAT,
    SO_CNX_ADVICE,
    SO_COOKIE,
    SO_DEBUG,
    SO_DETACH_FILTER,
    SO_DETACH_REUSEPORT_BPF,
    SO_DOMAIN,
    SO_DONTROUTE,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_LOCK_FILTER,
    SO_MAX_PACING_RATE,
    SO_MEMINFO,
    SO_OOBINLINE,
    SO_PEEK_OFF,
    SO_PEERCRED,
    SO_PEERNAME,
    SO_PRIORITY,
    SO_PROTOCOL,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_RCVLOWAT,
    SO_RCVTIMEO,
    SO_RCVTIMEO_NEW,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SO_SNDLOWAT,
    SO_SNDTIMEO,
    SO_SNDTIMEO_NEW,
    SO_TIMESTAMP,
    SO_TIMESTAMP_NEW,
    SO_TIMESTAMPING,
    SO_TIMESTAMPING_NEW,
    SO_TIMESTAMPNS,
    SO_TIMESTAMPNS_NEW,
    SO_TXTIME,
    SO_TYPE,
    SO_ZEROCOPY,
    SOL_SOCKET,
    UCRED,
)
from ..errors import Restart, SysErr
from ..fs.anon import socket_inode
from ..kernel.creds import CAP_NET_ADMIN, CAP_NET_RAW
from ..kernel.wait import WaitQueue
from ..vfs.file import FileDescription
from ..vfs.inode import Inode
from . import options
from .filter import attach
from .ifioctl import if_ioctl

if TYPE_CHECKING:
    from ..kernel.cbpf import Insn
    from ..kernel.task import Task

SIGPIPE: Final = 13
OPT_MAX: Final = 4096
BUF_DEFAULT: Final = 212992
BUF_MAX: Final = 212992  # net.core.wmem_max
SNDBUF_MIN: Final = 4608
RCVBUF_MIN: Final = 2304
FIONREAD: Final = 0x541B
SIOCOUTQ: Final = 0x5411
SIOCATMARK: Final = 0x8905
FLAG_OPTIONS: Final = frozenset(
    {
        SO_DEBUG, SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_REUSEPORT,
    }
)  # fmt: skip
TIMESTAMPS: Final = (
    SO_TIMESTAMP,
    SO_TIMESTAMPNS,
    SO_TIMESTAMP_NEW,
    SO_TIMESTAMPNS_NEW,
)  # one of them is on
ZEROS: Final = (SO_BSDCOMPAT, 56)  # obsolete, and SO_INCOMING_NAPI_ID
TXTIME_FLAGS: Final = 3
TIMEOUTS_RCV: Final = (SO_RCVTIMEO, SO_RCVTIMEO_NEW)
TIMEOUTS_SND: Final = (SO_SNDTIMEO, SO_SNDTIMEO_NEW)
Ucred = tuple[int, int, int]  # pid, uid, gid
Control = tuple[int, int, bytes]  # a control message: level, type, data (cmsg(3))


@final
class Received:
    """What one receive call got. ``files`` are held for the caller, who lets go of them."""

    __slots__ = ("addr", "control", "creds", "data", "files", "flags", "length")

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.length = len(data)  # the whole datagram's, for MSG_TRUNC
        self.addr: bytes | None = None
        self.creds: Ucred | None = None
        self.files: list[FileDescription] = []
        self.control: list[Control] = []
        self.flags = 0


def received(parts: list[bytes], flags: int) -> Received:
    """What a TCP socket has got; with MSG_TRUNC the bytes are dropped."""
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    out = Received(b"" if flags & MSG_TRUNC else data)
    out.length = len(data)
    return out


class Socket(FileDescription):
    """Base of all families: options, blocking, and read/write as receive/send."""

    __slots__ = (
        "bpf", "cookie", "device", "domain", "err", "linger", "net", "node", "noting", "opts", "peek_off", "protocol", "rcvbuf", "rcvtimeo", "shut", "sndbuf",
        "sndtimeo", "type",
    )  # fmt: skip

    def __init__(self, t: Task, domain: int, type: int, protocol: int) -> None:
        super().__init__(os.O_RDWR)
        self.net = t.ns.net
        self.domain = domain
        self.type = type
        self.protocol = protocol
        self.node = socket_inode(t.creds.fsuid, t.creds.fsgid)
        self.err = 0  # pending error, SO_ERROR
        self.shut = 0  # SHUT_RD, SHUT_WR
        self.rcvtimeo: int | None = None  # ns
        self.sndtimeo: int | None = None
        self.sndbuf = self.rcvbuf = BUF_DEFAULT
        self.linger = (0, 0)
        self.opts: dict[tuple[int, int], int] = {}
        self.bpf: list[Insn] | None = None  # SO_ATTACH_FILTER
        self.device = 0  # the interface it is bound to, by index; 0: none
        self.cookie = 0  # SO_COOKIE, once asked for
        self.peek_off = -1  # SO_PEEK_OFF (peek.py)
        self.noting = False  # the error queue tells of what was sent (notes.py)

    @property
    def inode(self) -> Inode:
        return self.node

    # What families implement
    def bind(self, t: Task, addr: bytes) -> None:
        raise SysErr(errno.EOPNOTSUPP)

    def connect(self, t: Task, addr: bytes) -> None:
        raise SysErr(errno.EOPNOTSUPP)

    def listen(self, t: Task, backlog: int) -> None:
        raise SysErr(errno.EOPNOTSUPP)

    def accept(self, t: Task, nonblock: bool) -> Socket:
        raise SysErr(errno.EOPNOTSUPP)

    def sockname(self) -> bytes:
        raise SysErr(errno.EOPNOTSUPP)

    def peername(self) -> bytes:
        raise SysErr(errno.ENOTCONN)

    def accepted_name(self) -> bytes:
        """The peer's name for accept(2), which gives it also where getpeername(2) no longer does."""
        return self.peername()

    def shutdown(self, t: Task, how: int) -> None:
        raise SysErr(errno.EOPNOTSUPP)

    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        """How much was sent, or -errno. ``files`` stay the caller's; what is queued has its own references."""
        raise SysErr(errno.EOPNOTSUPP)

    def send_with(
        self, t: Task, data: bytes, addr: bytes | None, flags: int, control: list[Control]
    ) -> int:
        """Sends a message with control messages of other levels than SOL_SOCKET. Raises EINVAL."""
        return self.send(t, data, addr, flags, [], None)

    def recv_error(self, t: Task, size: int) -> Received | int:
        """MSG_ERRQUEUE: the next of the error queue, which most families have not."""
        return -errno.EAGAIN

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        """What was received, or -errno."""
        raise SysErr(errno.EOPNOTSUPP)

    def pair(self, t: Task, other: Socket) -> None:
        """socketpair(2)."""
        raise SysErr(errno.EOPNOTSUPP)

    def listening(self) -> bool:
        return False

    def queued(self) -> int:
        """FIONREAD."""
        return 0

    def unsent(self) -> int:
        """SIOCOUTQ."""
        return 0

    def passcred(self) -> bool:
        return False

    def counts_truncated(self) -> bool:
        """Whether MSG_TRUNC makes a receive return the whole length."""
        return bool(self.max_send())

    def max_send(self) -> int:
        """The largest message, or 0 for a byte stream."""
        return 0

    # Blocking
    def pause(self, t: Task, queue: WaitQueue, deadline: int | None, timed: bool) -> None:
        """Waits on ``queue``. Raises EAGAIN at the deadline, and EINTR instead of a restart with a time-out."""
        try:
            if not t.wait(queue, deadline=deadline):
                raise SysErr(errno.EAGAIN)
        except Restart:
            if timed:
                raise SysErr(errno.EINTR) from None
            raise

    def go_on(self, t: Task, flags: int, sending: bool, deadline: int | None, done: int) -> int:
        """A stream's transfer that has come to ``done`` bytes waits for more: 0 when it is to look again, else what the call returns,
        those bytes or -EAGAIN. Raises as ``pause`` when there are none."""
        if self.dontwait(flags):
            return done or -errno.EAGAIN
        limit = self.sndtimeo if sending else self.rcvtimeo
        try:
            self.pause(t, self.queue, deadline, limit is not None)
        except (SysErr, Restart):
            if done:
                return done
            raise
        return 0

    def rcv_deadline(self, t: Task) -> int | None:
        return None if self.rcvtimeo is None else t.k.monotonic_ns() + self.rcvtimeo

    def snd_deadline(self, t: Task) -> int | None:
        return None if self.sndtimeo is None else t.k.monotonic_ns() + self.sndtimeo

    def dontwait(self, flags: int) -> bool:
        return bool(flags & MSG_DONTWAIT or self.flags & os.O_NONBLOCK)

    def take_error(self) -> int:
        e, self.err = self.err, 0
        return e

    def broken_pipe(self, t: Task, flags: int, sent: int = 0) -> int:
        """EPIPE with its signal, or what was sent before."""
        if sent:
            return sent
        if not flags & MSG_NOSIGNAL:
            t.send_signal_self(SIGPIPE)
        return -errno.EPIPE

    # As a file
    def read(self, t: Task, size: int) -> bytes | int:
        got = self.recv(t, size, 0)
        if isinstance(got, int):
            return got
        for f in got.files:
            f.decref()
        return got.data

    def write(self, t: Task, data: bytes) -> int:
        n = self.send(t, data, None, 0, [], None)
        if self.noting and n >= 0:
            self.sent(0, n)
        return n

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        if cmd == FIONREAD:
            if self.listening():
                raise SysErr(errno.EINVAL)
            t.copy_out(arg, struct.pack("<i", self.queued()))
            return 0
        if cmd == SIOCOUTQ:
            t.copy_out(arg, struct.pack("<i", self.unsent()))
            return 0
        if cmd == SIOCATMARK:
            mark = self.at_mark()
            if mark is not None:
                t.copy_out(arg, struct.pack("<i", int(mark)))
                return 0
        return if_ioctl(t, cmd, arg)

    def at_mark(self) -> bool | None:
        """Whether the next byte is the urgent one (sockatmark(3)); None where there is no such thing."""
        return None

    # Options
    def getsockopt(self, t: Task, level: int, opt: int) -> bytes:
        """The whole value; the caller cuts it. Raises ENOPROTOOPT, EOPNOTSUPP."""
        if level != SOL_SOCKET:
            raise SysErr(errno.EOPNOTSUPP)
        values = {
            SO_TYPE: self.type,
            SO_DOMAIN: self.domain,
            SO_PROTOCOL: self.protocol,
            SO_SNDBUF: self.sndbuf,
            SO_RCVBUF: self.rcvbuf,
            SO_ACCEPTCONN: int(self.listening()),
            SO_SNDLOWAT: 1,
            SO_RCVLOWAT: self.opts.get((level, opt), 1),
            SO_PRIORITY: self.opts.get((level, opt), 0),
            SO_LOCK_FILTER: self.opts.get((level, opt), 0),
        }
        if opt in values:
            return struct.pack("<i", values[opt])
        if opt in FLAG_OPTIONS or opt in TIMESTAMPS or opt in ZEROS:
            return struct.pack("<i", self.opts.get((level, opt), 0))
        if opt == SO_ERROR:
            return struct.pack("<i", self.take_error())
        if opt == SO_LINGER:
            return struct.pack("<ii", *self.linger)
        if opt in TIMEOUTS_RCV or opt in TIMEOUTS_SND:
            ns = (self.rcvtimeo if opt in TIMEOUTS_RCV else self.sndtimeo) or 0
            return struct.pack("<qq", ns // 10**9, ns % 10**9 // 1000)
        return self._rare_option(t, opt)

    def _rare_option(self, t: Task, opt: int) -> bytes:
        """What few programs ask for. Raises ENOPROTOOPT."""
        kept = self.opts.get((SOL_SOCKET, opt), options.first(SOL_SOCKET, opt))
        if opt in (SO_TIMESTAMPING, SO_TIMESTAMPING_NEW):
            return struct.pack("<ii", kept, 0)  # struct so_timestamping
        if opt in options.SOCKET_RULES:
            return struct.pack("<i", kept)
        if opt == SO_MAX_PACING_RATE:
            return struct.pack("<q", self.opts.get((SOL_SOCKET, opt), -1))
        if opt == SO_TXTIME:
            return struct.pack("<Q", self.opts.get((SOL_SOCKET, opt), 0))
        if opt == SO_BINDTODEVICE:
            i = self.net.ifaces.get(self.device)
            return i.name.encode("latin-1") + b"\0" if i is not None else b""
        if opt == SO_BINDTOIFINDEX:
            return struct.pack("<i", self.device)
        if opt == SO_PEERCRED:
            return UCRED.pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
        if opt == SO_PEERNAME:
            return self._peer()
        if opt == SO_COOKIE:
            if not self.cookie:
                self.cookie = next(_cookies)
            return struct.pack("<Q", self.cookie)
        if opt == SO_MEMINFO:  # SK_MEMINFO_*: only the limits and what waits are counted
            return self.meminfo()
        if opt == SO_BPF_EXTENSIONS:
            return struct.pack("<i", 64)  # SKF_AD_MAX
        if opt == SO_ATTACH_FILTER:  # SO_GET_FILTER
            return b""
        if opt == SO_PEEK_OFF:
            self._may_peek()
            return struct.pack("<i", self.peek_off)
        if opt == SO_ZEROCOPY:
            return struct.pack("<i", self.opts.get((SOL_SOCKET, opt), 0))
        raise SysErr(errno.ENOPROTOOPT)

    def _peer(self) -> bytes:
        """SO_PEERNAME. Raises ENOTCONN."""
        try:
            return self.peername()
        except SysErr:
            raise SysErr(errno.ENOTCONN) from None

    def meminfo(self) -> bytes:
        """SK_MEMINFO_* (linux/sock_diag.h)."""
        limits = (self.queued(), self.rcvbuf, self.unsent(), self.sndbuf)
        return struct.pack("<9I", *limits, 0, 0, 0, 0, 0)

    def getsockopt_from(self, t: Task, level: int, opt: int, val: int, room: int) -> bytes:
        """As ``getsockopt``, for options that look at what is in the caller's buffer, or at its size. Raises EFAULT too."""
        if level == SOL_SOCKET and opt == SO_COOKIE and room < 8:
            raise SysErr(errno.EINVAL)
        if level == SOL_SOCKET and opt == SO_PEERNAME and len(self._peer()) < room:
            raise SysErr(errno.EINVAL)
        return self.getsockopt(t, level, opt)

    def option_room(self, level: int, opt: int) -> int:
        """How many bytes of an option are read at most."""
        return OPT_MAX

    def setsockopt(self, t: Task, level: int, opt: int, data: bytes) -> None:
        """Raises EINVAL, EDOM, ENOPROTOOPT, EPERM."""
        if level != SOL_SOCKET:
            raise SysErr(errno.ENOPROTOOPT)
        if opt == SO_BINDTODEVICE:
            self._bind_device(t, data)
            return
        if len(data) < 4:
            raise SysErr(errno.EINVAL)
        value = struct.unpack_from("<i", data)[0]
        if opt == SO_REUSEPORT and value and not self.shares_ports():
            raise SysErr(errno.EOPNOTSUPP)
        if opt in FLAG_OPTIONS:
            self.opts[level, opt] = int(value != 0)
        elif opt in TIMESTAMPS:
            for o in TIMESTAMPS:
                self.opts.pop((level, o), None)
            if value:
                self.opts[level, opt] = 1
        elif opt in options.SOCKET_RULES:
            self.opts[level, opt] = options.checked(t, self.net, level, opt, value)
        elif opt in (SO_SNDBUF, SO_RCVBUF, SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            self._set_buffer(t, opt, value)
        elif opt == SO_LINGER:
            if len(data) < 8:
                raise SysErr(errno.EINVAL)
            on, secs = struct.unpack_from("<ii", data)
            self.linger = (int(on != 0), secs)
        elif opt in TIMEOUTS_RCV:
            self.rcvtimeo = _timeout(data)
        elif opt in TIMEOUTS_SND:
            self.sndtimeo = _timeout(data)
        elif opt == SO_PRIORITY:
            if not 0 <= value <= 6 and not t.creds.ns_capable(
                self.net.administrator(), CAP_NET_ADMIN
            ):
                raise SysErr(errno.EPERM)
            self.opts[level, opt] = value
        elif opt == SO_RCVLOWAT:
            self.opts[level, opt] = (value & 0x7FFFFFFF if value >= 0 else options.INT_MAX) or 1
        elif opt == SO_MAX_PACING_RATE:
            rate = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else value & 0xFFFFFFFF
            self.opts[level, opt] = (
                -1 if rate in (0xFFFFFFFF, (1 << 64) - 1) else min(rate, 1 << 62)
            )
        elif opt == SO_TXTIME:
            self._set_txtime(t, data)
        elif opt == SO_BINDTOIFINDEX:
            if value < 0:
                raise SysErr(errno.EINVAL)
            self._bind_index(t, value)
        elif opt in (
            SO_ATTACH_BPF,
            SO_ATTACH_REUSEPORT_EBPF,
        ):  # there are no eBPF programs, so no descriptor is one
            if len(data) == 4:
                t.files.get_any(value)
            raise SysErr(errno.EINVAL)
        elif opt in (SO_ATTACH_REUSEPORT_CBPF, SO_DETACH_REUSEPORT_BPF):
            raise SysErr(errno.EINVAL)  # of inet sockets alone
        elif opt in ZEROS[:1] or opt == SO_CNX_ADVICE:
            pass
        elif opt == SO_PEEK_OFF:
            self._may_peek()
            self.peek_off = value
        elif opt == SO_ZEROCOPY:
            raise SysErr(errno.EOPNOTSUPP)  # TCP's and UDP's
        elif opt == SO_DETACH_FILTER and not self.filters():
            raise SysErr(errno.ENOENT)
        elif opt in (SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_LOCK_FILTER) and self.filters():
            self._set_filter(t, opt, data, value)
        else:
            raise SysErr(errno.ENOPROTOOPT)

    def _bind_device(self, t: Task, data: bytes) -> None:
        """SO_BINDTODEVICE: a name, or nothing. Raises ENODEV, EPERM."""
        name = data[:15].split(b"\0")[0].decode("latin-1")
        i = self.net.by_name(name)
        if name and i is None:
            raise SysErr(errno.ENODEV)
        self._bind_index(t, i.index if i is not None else 0)

    def _bind_index(self, t: Task, index: int) -> None:
        """Raises ENODEV, EPERM."""
        if self.device and not t.creds.ns_capable(self.net.administrator(), CAP_NET_RAW):
            raise SysErr(errno.EPERM)
        if index and index not in self.net.ifaces:
            raise SysErr(errno.ENODEV)
        self.device = index
        self.device_set()

    def device_set(self) -> None:
        """Told when SO_BINDTODEVICE was set."""

    def shares_ports(self) -> bool:
        """Whether SO_REUSEPORT means something to this kind."""
        return False

    def _set_txtime(self, t: Task, data: bytes) -> None:
        """SO_TXTIME (struct sock_txtime): kept; as without a queueing discipline that knows it packets leave at once. Raises EINVAL,
        EPERM."""
        if len(data) != 8:
            raise SysErr(errno.EINVAL)
        clock, flags = struct.unpack("<iI", data)
        if flags & ~TXTIME_FLAGS or clock not in (
            0,
            1,
            11,
        ):  # CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_TAI
            raise SysErr(errno.EINVAL)
        if clock != 1 and not t.creds.ns_capable(self.net.administrator(), CAP_NET_ADMIN):
            raise SysErr(errno.EPERM)
        self.opts[SOL_SOCKET, SO_TXTIME] = struct.unpack("<Q", data)[0]

    def _set_buffer(self, t: Task, opt: int, value: int) -> None:
        force = opt in (SO_SNDBUFFORCE, SO_RCVBUFFORCE)
        if force and not t.creds.ns_capable(self.net.administrator(), CAP_NET_ADMIN):
            raise SysErr(errno.EPERM)
        # Bounded even when forced: the memory is the Sentry's.
        value = min(value & 0xFFFFFFFF, BUF_MAX * 16 if force else BUF_MAX)
        if opt in (SO_SNDBUF, SO_SNDBUFFORCE):
            self.sndbuf = max(2 * value, SNDBUF_MIN)
        else:
            self.rcvbuf = max(2 * value, RCVBUF_MIN)
        self.buffer_set(opt in (SO_SNDBUF, SO_SNDBUFFORCE))

    def peeks(self) -> bool:
        """Whether SO_PEEK_OFF is for this kind."""
        return False

    def _may_peek(self) -> None:
        """Raises EOPNOTSUPP."""
        if not self.peeks():
            raise SysErr(errno.EOPNOTSUPP)

    def sent(self, flags: int, size: int) -> None:
        """Told of each call that has sent something, while ``noting``."""

    def filters(self) -> bool:
        """Whether a filter looks at what this socket receives."""
        return False

    def _set_filter(self, t: Task, opt: int, data: bytes, value: int) -> None:
        locked = self.opts.get((SOL_SOCKET, SO_LOCK_FILTER), 0)
        if opt == SO_LOCK_FILTER:
            if locked and not value:
                raise SysErr(errno.EPERM)
            self.opts[SOL_SOCKET, opt] = int(value != 0)
            return
        program = attach(t, data) if opt == SO_ATTACH_FILTER else None
        if locked:
            raise SysErr(errno.EPERM)
        if program is None and self.bpf is None:
            raise SysErr(errno.ENOENT)
        self.bpf = program
        self.filter_set()

    def filter_set(self) -> None:
        """Told when a filter was attached or taken away."""

    def buffer_set(self, sending: bool) -> None:
        """Told when a program has chosen the size of a buffer."""


def _timeout(data: bytes) -> int | None:
    """A struct timeval: None (for ever) for zero. Raises EINVAL, EDOM."""
    if len(data) < 16:
        raise SysErr(errno.EINVAL)
    sec, usec = struct.unpack_from("<qq", data)
    if not 0 <= usec < 1_000_000:
        raise SysErr(errno.EDOM)
    if sec < 0:
        return 0
    return min(sec, 1 << 32) * 10**9 + usec * 1000 or None


_cookies: Final = itertools.count(4097)
Creator = Callable[["Task", int, int], Socket]
FAMILIES: Final[dict[int, Creator]] = {}


def register_family(family: int, create: Creator) -> None:
    """``create(t, type, protocol)`` makes sockets of ``family``; a later registration replaces an earlier one."""
    FAMILIES[family] = create


def create_socket(t: Task, family: int, type: int, protocol: int) -> Socket:
    """socket(2) without the descriptor. Raises EAFNOSUPPORT, EINVAL and what the family raises."""
    if not 0 <= family < AF_MAX:
        raise SysErr(errno.EAFNOSUPPORT)
    if not 0 <= type <= 10:
        raise SysErr(errno.EINVAL)
    make = FAMILIES.get(family)
    if make is None:
        raise SysErr(errno.EAFNOSUPPORT)
    return make(t, type, protocol)
