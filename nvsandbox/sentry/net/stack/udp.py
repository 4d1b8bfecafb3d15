"""UDP (RFC 768) as programs see it (Linux: net/ipv4/udp.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, final

from .interface import Interface

if TYPE_CHECKING:
    from .stack import Stack

Addr = tuple[bytes, int]  # ip, port


class Datagram(NamedTuple):
    """One received datagram; ``when``: ns of the stack's clock; ``ttl``, ``tos``: hop limit and traffic class too."""

    data: bytes
    src: Addr
    dst: Addr
    ifindex: int
    when: int
    ttl: int
    tos: int


class SocketError(NamedTuple):
    """An entry of the error queue: ``struct sock_extended_err`` and the offender (ip(7), IP_RECVERR).

    ``origin``: 1 local, 2 ICMP, 3 ICMPv6. ``data``: the payload that caused it, ``dst``: where it was sent to.
    """

    errno: int
    origin: int
    type: int
    code: int
    info: int
    offender: bytes
    dst: Addr
    data: bytes
    when: int


@final
class UdpEndpoint:
    """A socket's end. Changes are told through ``notify`` with an EPOLL* mask.

    ``local``, ``remote``: (ip, port), ip all zeroes or ``b""``: any; remote port 0: not connected. ``iface``: bound to
    that device. ``v6only``: an IPv6 wildcard that doesn't take IPv4. Options are plain attributes: ``ttl``,
    ``mcast_ttl`` (-1: default), ``tos``, ``broadcast``, ``mcast_loop``, ``mcast_iface``, ``pmtu_discover`` (IP_PMTUDISC_*), ``rcvbuf``, ``recverr``,
    ``recverr6``, ``no_checksum``, ``reuseport``.
    """

    __slots__ = (
        "broadcast", "errors", "iface", "local", "mcast_iface", "mcast_loop", "mcast_ttl", "members", "no_checksum",
        "notify", "pmtu_discover", "queue", "queued", "rcvbuf", "recverr", "recverr6", "remote", "reuseport", "soft_error",
        "stack", "tos", "ttl", "v6only",
    )  # fmt: skip

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.notify: Callable[[int], None] = lambda events: None

    def connect(self, remote: Addr) -> int:
        """Fixes the peer and, when there was none, the local address. 0 or -ENETUNREACH; ``(b"", 0)`` disconnects."""
        raise NotImplementedError

    def send_to(
        self, data: bytes, remote: Addr | None, src: bytes = b"", iface: Interface | None = None, ttl: int = -1,
        tos: int = -1,
    ) -> int:  # fmt: skip
        """Sends one datagram; ``src``, ``iface``, ``ttl``, ``tos`` as from control messages.

        Bytes sent or -errno: EDESTADDRREQ, EMSGSIZE, ENETUNREACH, EACCES (broadcast), EINVAL, or a pending error.
        """
        raise NotImplementedError

    def recv(self) -> Datagram | None:
        raise NotImplementedError

    def peek(self) -> Datagram | None:
        raise NotImplementedError

    def recv_error(self) -> SocketError | None:
        """The next of the error queue."""
        raise NotImplementedError

    def take_error(self) -> int:
        """SO_ERROR: the pending errno, once."""
        raise NotImplementedError

    def events(self) -> int:
        """EPOLL* mask that holds now."""
        raise NotImplementedError

    def join(self, group: bytes, iface: Interface | None) -> int:
        """Joins a multicast group; 0 or -EADDRINUSE, -EINVAL, -ENODEV, -ENOBUFS."""
        raise NotImplementedError

    def leave(self, group: bytes, iface: Interface | None) -> int:
        """0 or -EADDRNOTAVAIL."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
