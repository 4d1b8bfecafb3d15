"""Options of TCP sockets at level SOL_TCP, as tcp(7) and Linux 6.1 (net/ipv4/tcp.c) have them; the plain ones are in ``options``."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ..abi.socket import SOL_TCP
from ..errors import SysErr
from . import options
from .socket import RCVBUF_MIN

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .tcp_local import TcpSocket

TCP_LINGER2: Final = 8
TCP_DEFER_ACCEPT: Final = 9
TCP_MAXSEG: Final = 2
TCP_INFO: Final = 11
TCP_CONGESTION: Final = 13
TCP_ULP: Final = 31
TCP_WINDOW_CLAMP: Final = 10
# TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR_OPTIONS, TCP_REPAIR_WINDOW
TCP_REPAIR: Final = (19, 20, 21, 22, 29)
TCP_TIMESTAMP: Final = 24
TCP_EMPTY: Final = (26, 28, 31, 33)  # CC_INFO, SAVED_SYN, ULP, FASTOPEN_KEY: read as nothing
TCP_FASTOPEN_KEY: Final = 33
TCP_FASTOPEN: Final = 23
TCP_FASTOPEN_CONNECT: Final = 30


def read(s: TcpSocket, t: Task, opt: int) -> bytes:
    """What getsockopt gives. Raises ENOPROTOOPT, EINVAL."""
    if opt in options.TCP_RULES:
        return struct.pack("<i", s.value(SOL_TCP, opt))
    if opt == TCP_MAXSEG:
        if s.far is not None:
            return s.far.info()[16:20]  # tcpi_snd_mss
        return struct.pack("<i", 65483 if s.connected() else 536)
    if opt == TCP_CONGESTION:
        return b"cubic".ljust(16, b"\0")
    if opt == TCP_INFO:
        return s.info()
    if opt in TCP_EMPTY:
        return b""
    if opt == TCP_TIMESTAMP:
        return struct.pack("<I", t.k.monotonic_ns() // 10**6 & 0xFFFFFFFF)
    if opt == TCP_REPAIR[0]:
        return struct.pack("<i", 0)
    if opt in TCP_REPAIR:
        raise SysErr(errno.EINVAL)
    raise SysErr(errno.ENOPROTOOPT)


def set_congestion(s: TcpSocket, data: bytes) -> None:
    """TCP_CONGESTION. Raises ENOENT for what there is not."""
    if not data:
        raise SysErr(errno.EINVAL)
    name = data.rstrip(b"\0")
    if name not in (b"cubic", b"reno"):
        raise SysErr(errno.ENOENT)
    if s.far is not None:
        s.far.set_congestion(name.decode())


def checked(s: TcpSocket, t: Task, opt: int, data: bytes) -> int:
    """The value that setsockopt keeps. Raises EINVAL, EPERM, ENOENT, ENOPROTOOPT."""
    if opt == TCP_ULP:
        raise SysErr(errno.ENOENT if data else errno.EINVAL)  # there is no upper layer protocol
    if len(data) < 4:
        raise SysErr(errno.EINVAL)
    value = struct.unpack_from("<i", data)[0]
    if opt == TCP_MAXSEG:
        if value and not 88 <= value <= 32767:
            raise SysErr(errno.EINVAL)
    elif opt in TCP_REPAIR or opt == TCP_TIMESTAMP:
        raise SysErr(errno.EPERM)
    elif opt == TCP_FASTOPEN and not (s.closed() or s.listening()):
        raise SysErr(errno.EINVAL)
    elif opt == TCP_FASTOPEN_CONNECT and 0 <= value <= 1 and not s.net.fastopen & 1:
        raise SysErr(errno.EOPNOTSUPP)
    elif (
        opt == TCP_FASTOPEN_CONNECT and 0 <= value <= 1 and not s.closed()
    ) or opt == TCP_FASTOPEN_KEY:
        raise SysErr(errno.EINVAL)
    elif opt == TCP_DEFER_ACCEPT:
        value = _defer(value)
    elif opt == TCP_WINDOW_CLAMP:
        if not value and not s.closed():
            raise SysErr(errno.EINVAL)
        value = max(value & 0x7FFFFFFF, RCVBUF_MIN // 2) if value >= 0 else RCVBUF_MIN // 2
        value = value if data[:4] != bytes(4) else 0
    else:
        value = options.checked(t, s.net, SOL_TCP, opt, value)
        if opt == TCP_LINGER2:
            value = -1 if value < 0 else value or 60
    return int(value)


def _defer(seconds: int) -> int:
    """TCP_DEFER_ACCEPT in whole retransmissions of the SYN-ACK, as it is read back."""
    total, period = 0, 1
    while total < seconds and total < 1 << 20:
        total += period
        period = min(period * 2, 120)
    return total
