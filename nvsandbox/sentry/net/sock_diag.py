"""NETLINK_SOCK_DIAG: what ``ss`` asks about internet sockets (Linux: net/ipv4/inet_diag.c, linux/inet_diag.h; sock_diag(7)).

Sockets of families that aren't here are in /proc/net, where ``ss`` then looks.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from ...rtattr import pack as attr
from ...rtattr import parse
from ..abi.socket import AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP
from ..errors import SysErr
from . import tcp_local, udp_local
from .inet import InetSocket
from .ports import Addr
from .rtnetlink import Answer
from .state import NetState
from .tcp_local import TcpSocket

SOCK_DIAG_BY_FAMILY: Final = 20
REQUEST: Final = struct.Struct("<BBBxI")
INET_DIAG_INFO: Final = 2
INET_DIAG_CONG: Final = 4
INET_DIAG_SHUTDOWN: Final = 8
INET_DIAG_MEMINFO: Final = 1
INET_DIAG_SKMEMINFO: Final = 7
REQ_PROTOCOL: Final = 3  # INET_DIAG_REQ_PROTOCOL, after struct inet_diag_req_v2
REQUEST_SIZE: Final = 56
TCP_LISTEN: Final = 10


def _ip(a: Addr, family: int) -> bytes:
    return a[0][12:].ljust(16, b"\0") if family == AF_INET else a[0]


def _row(s: InetSocket, state: int, queued: tuple[int, int], ext: int) -> Answer:
    """struct inet_diag_msg with its attributes."""
    family = s.domain
    cookie = struct.pack("<Q", s.node.ino)
    body = struct.pack("<BBBB", family, state, 0, 0)
    body += (
        struct.pack(">HH", s.local[1], s.remote[1]) + _ip(s.local, family) + _ip(s.remote, family)
    )
    body += struct.pack("<I", s.device) + cookie
    body += struct.pack("<IIIII", 0, *queued, s.node.uid, s.node.ino)
    if ext & 1 << (INET_DIAG_MEMINFO - 1):
        body += attr(INET_DIAG_MEMINFO, struct.pack("<4I", queued[0], queued[1], 0, queued[1]))
    if ext & 1 << (INET_DIAG_SKMEMINFO - 1):
        body += attr(INET_DIAG_SKMEMINFO, s.meminfo())
    if isinstance(s, TcpSocket):
        if ext & 1 << (INET_DIAG_INFO - 1):
            body += attr(INET_DIAG_INFO, s.info())
        if ext & 1 << (INET_DIAG_CONG - 1):
            body += attr(INET_DIAG_CONG, b"cubic\0")
    body += attr(INET_DIAG_SHUTDOWN, bytes((s.shut & 3,)))
    return SOCK_DIAG_BY_FAMILY, body


def query(net: NetState, kind: int, dump: bool, raw: bytes) -> list[Answer]:
    """Raises ENOENT for what is kept elsewhere, EINVAL, EOPNOTSUPP for single sockets."""
    if kind != SOCK_DIAG_BY_FAMILY or len(raw) < 24:
        raise SysErr(errno.EINVAL)
    family, protocol, ext, states = REQUEST.unpack_from(raw, 16)
    if family not in (AF_INET, AF_INET6) or protocol not in (IPPROTO_TCP, IPPROTO_UDP):
        raise SysErr(errno.ENOENT)
    asked = parse(raw[16 + REQUEST_SIZE :]).get(REQ_PROTOCOL)
    if asked is not None and int.from_bytes(asked[:4], "little") != protocol:
        raise SysErr(errno.ENOENT)  # one whose number is larger than a byte: MPTCP
    if not dump:
        raise SysErr(errno.EOPNOTSUPP)
    out = []
    if protocol == IPPROTO_TCP:
        for s in tcp_local.sockets(net):
            state = s.tcp_state()
            if s.domain == family and states >> state & 1:
                if state == TCP_LISTEN:
                    queued = (s.waiting(), s.backlog)
                else:
                    queued = (s.queued(), s.unsent())
                out.append(_row(s, state, queued, ext))
    else:
        for u in udp_local.sockets(net):
            state = 1 if u.remote[1] else 7
            if u.domain == family and states >> state & 1:
                out.append(_row(u, state, (u.rx_cost, 0), 0))
    return out
