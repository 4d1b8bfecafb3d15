"""TCP Fast Open (RFC 7413; Linux: net/ipv4/tcp_fastopen.c): data in the SYN of who has shown before, by a cookie, that he is at his address.

Client: data that goes with the SYN stays in ``tx`` until the SYN-ACK says how much of it was taken. Server: such a connection is accepted in
SYN-RECEIVED; how many a listener may have of those is bounded.
"""

from __future__ import annotations

from _blake2 import blake2s
from typing import TYPE_CHECKING, Final, final

from . import transmit
from .states import MIN_MSS

if TYPE_CHECKING:
    from .connection import TcpConnection
    from .segment import Segment

# Bits of net.ipv4.tcp_fastopen
CLIENT: Final = 1
SERVER: Final = 2
CLIENT_NO_COOKIE: Final = 4
SERVER_NO_COOKIE: Final = 0x200
SERVER_ALL: Final = 0x400  # without TCP_FASTOPEN too
COOKIES: Final = 1024
OPTION_SPACE: Final = 40


@final
class FastOpen:
    """A stack's: ``flags``, as net.ipv4.tcp_fastopen, and the cookies that servers gave us, with the MSS that they announced."""

    __slots__ = ("cookies", "flags", "secret")

    def __init__(self, secret: bytes) -> None:
        self.flags = CLIENT
        self.cookies: dict[bytes, tuple[bytes, int]] = {}
        self.secret = secret

    def cookie_for(self, src: bytes, dst: bytes) -> bytes:
        """What a client has to show; 8 bytes that nobody else can compute."""
        return bytes(blake2s(b"f" + src + dst, key=self.secret, digest_size=8).digest())

    def remember(self, ip: bytes, cookie: bytes, mss: int) -> None:
        if ip not in self.cookies and len(self.cookies) >= COOKIES:
            del self.cookies[next(iter(self.cookies))]
        self.cookies[ip] = (cookie, mss)

    def known(self, ip: bytes) -> tuple[bytes, int] | None:
        """The cookie of a server and its MSS, None: it has to be asked first."""
        if self.flags & CLIENT_NO_COOKIE:
            return self.cookies.get(ip, (b"", 0))
        return self.cookies.get(ip)


def begin(c: TcpConnection, data: bytes) -> int:
    """Before the SYN: asks for a cookie, or takes what of ``data`` fits beside the one we have; how much."""
    c.fast = True
    known = c.stack.tcp.fast.known(c.remote[0])
    if known is None:
        return 0
    c.peer_mss = max(known[1], c.peer_mss)
    transmit.sync_mss(c)
    n = min(len(data), max(c.mss - OPTION_SPACE, MIN_MSS - OPTION_SPACE))
    if n:
        c.tx.append(data[:n])
    c.syn_data = n
    return n


def answered(c: TcpConnection, seg: Segment, taken: int) -> None:
    """The SYN-ACK has come: the server has ``taken`` so many bytes of the SYN's."""
    if seg.fastopen:
        c.stack.tcp.fast.remember(c.remote[0], seg.fastopen, seg.mss)
    if taken:
        c.tx.take(taken)
        c.bytes_acked += taken
        c.syn_taken = True
        c.snd_nxt += taken
    c.syn_data = 0


def lost(c: TcpConnection) -> None:
    """The SYN went unanswered: something on the way may not like it (RFC 7413 section 4.1.3), the next one is plain."""
    if c.fast and not c.backoff:
        c.stack.tcp.fast.cookies.pop(c.remote[0], None)


def done(c: TcpConnection) -> None:
    """A connection that was accepted early is established, or over."""
    lst, c.early = c.early, None
    if lst is not None:
        lst.early -= 1
