"""What datagram endpoints share: received datagrams up to the size of a buffer, one pending error, and the error queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from .events import EPOLLERR, EPOLLIN, EPOLLOUT, EPOLLRDNORM, EPOLLWRNORM

if TYPE_CHECKING:
    from .owner import Owner
    from .stack import Stack

Addr = tuple[bytes, int]  # ip, port

OVERHEAD: Final = 576  # of receive buffer, a datagram costs that beside its bytes
RCVBUF: Final = 212992
ERRORS: Final = 64  # entries of the error queue


class Datagram(NamedTuple):
    """One received datagram; ``when``: ns of the stack's clock; ``ttl``, ``tos``: hop limit and traffic class too."""

    data: bytes
    src: Addr
    dst: Addr
    ifindex: int
    when: int
    ttl: int
    tos: int
    options: bytes = b""  # of IPv4, as IP_RECVOPTS shows them
    hop: bytes = b""  # of IPv6: whole extension headers
    dest: bytes = b""


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


def ignore(events: int) -> None:
    """``notify`` of an endpoint nobody listens to."""


class Inbox:
    """The receiving side of an endpoint. Changes are told through ``notify`` with an EPOLL* mask."""

    __slots__ = ("errors", "notify", "owner", "queue", "queued", "rcvbuf", "soft_error", "stack")

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.notify: Callable[[int], None] = ignore
        self.queue: deque[Datagram] = deque()
        self.queued = 0  # bytes of ``rcvbuf`` in use
        self.rcvbuf = RCVBUF
        self.soft_error = 0
        self.errors: deque[SocketError] = deque()
        self.owner: Owner | None = None

    def add(self, d: Datagram) -> bool:
        """A datagram has come; False: the buffer is full."""
        cost = len(d.data) + OVERHEAD
        if self.queued + cost > self.rcvbuf and self.queue:
            return False
        self.queue.append(d)
        self.queued += cost
        self.notify(EPOLLIN | EPOLLRDNORM)
        return True

    def recv(self) -> Datagram | None:
        if not self.queue:
            return None
        d = self.queue.popleft()
        self.queued -= len(d.data) + OVERHEAD
        return d

    def peek(self) -> Datagram | None:
        return self.queue[0] if self.queue else None

    def take_error(self) -> int:
        """SO_ERROR: the pending errno, once."""
        err, self.soft_error = self.soft_error, 0
        return err

    def recv_error(self) -> SocketError | None:
        """The next of the error queue; SO_ERROR then tells of the one after it."""
        if not self.errors:
            return None
        e = self.errors.popleft()
        self.soft_error = self.errors[0].errno if self.errors else 0
        return e

    def events(self) -> int:
        """EPOLL* mask that holds now."""
        mask = EPOLLOUT | EPOLLWRNORM
        if self.queue:
            mask |= EPOLLIN | EPOLLRDNORM
        if self.soft_error or self.errors:
            mask |= EPOLLERR
        return mask
