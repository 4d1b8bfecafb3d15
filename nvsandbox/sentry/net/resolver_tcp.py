"""Docker's resolver over TCP: connections to 127.0.0.11:53 are answered here, from the one UDP socket that leads there (``resolver.py``).

Queries of a connection (RFC 7766: each with its length in front) go out as datagrams that allow an answer of any size (EDNS(0), RFC 6891).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from ..kernel.wait import POLL_ALL, POLLIN, POLLRDNORM, Waiter
from . import tcp_near
from .resolver import ADDRESS

if TYPE_CHECKING:
    from .resolver import Resolver
    from .tcp_local import TcpSocket

HEADER: Final = 12
OPT: Final = b"\0\0\x29\xff\xff\0\0\0\0\0\0"  # root, type OPT, 65535 bytes, no flags, no options
MAX_QUERY: Final = 65535
MAX_UNREAD: Final = 1 << 20  # bytes of answers that wait for the program


def enlarge(query: bytes) -> tuple[bytes, bool]:
    """The query with leave for a long answer, and whether an option record was added that the program knows nothing of."""
    if len(query) < HEADER or query[6:10] != bytes(4):
        return query, False
    if query[10:12] == b"\0\0":
        return query[:10] + b"\0\1" + query[12:] + OPT, True
    at = HEADER  # its own record follows the question
    while at < len(query) and query[at]:
        at += query[at] + 1
    at += 5
    if query[10:12] == b"\0\1" and query[at : at + 3] == OPT[:3] and len(query) >= at + len(OPT):
        return query[: at + 3] + b"\xff\xff" + query[at + 5 :], False
    return query, False


def without_option(answer: bytes) -> bytes:
    """The answer without the option record that answers ours, if it is the last one."""
    at = len(answer) - len(OPT)
    count = int.from_bytes(answer[10:12], "big")
    if count and at >= HEADER and answer[at : at + 3] == OPT[:3] and answer[-2:] == b"\0\0":
        return answer[:10] + (count - 1).to_bytes(2, "big") + answer[12:at]
    return answer


@final
class Service:
    """One connection; ``server`` is its other end, which no program has."""

    __slots__ = ("buffer", "resolver", "server", "waiter")

    def __init__(self, server: TcpSocket, resolver: Resolver) -> None:
        self.server = server
        self.resolver = resolver
        self.buffer = b""
        self.waiter = Waiter(self._woken, POLL_ALL)
        server.queue.add(self.waiter)

    def _woken(self, _events: int) -> None:
        s = self.server
        if s.rx:
            parts = [self.buffer]
            tcp_near.take(s, parts, s.rx_bytes)
            self.buffer = b"".join(parts)
        while len(self.buffer) >= 2:
            n = int.from_bytes(self.buffer[:2], "big")
            if len(self.buffer) < 2 + n:
                break
            query, self.buffer = self.buffer[2 : 2 + n], self.buffer[2 + n :]
            if not self._ask(query):
                self._close()
                return
        if s.fin or s.peer is None:
            self._close()

    def _ask(self, query: bytes) -> bool:
        egress = self.server.net.egress
        if egress is not None and not egress.allows("tcp", *ADDRESS, query):
            return False
        sent, added = enlarge(query)
        return self.resolver.query(sent, lambda data: self._answer(data, added))

    def _answer(self, data: bytes, added: bool) -> None:
        client = self.server.peer
        if client is None:
            return
        if client.rx_bytes > MAX_UNREAD:
            self._close()
            return
        if added:
            data = without_option(data)
        if self.server.net.egress is not None:
            self.server.net.egress.hears(*ADDRESS, data)
        client.rx.append(len(data).to_bytes(2, "big") + data)
        client.rx_bytes += 2 + len(data)
        client.queue.wake(POLLIN | POLLRDNORM)

    def _close(self) -> None:
        self.server.queue.remove(self.waiter)
        self.server.hang_up()
