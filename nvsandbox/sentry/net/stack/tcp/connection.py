"""A TCP connection as the socket layer sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    pass

Addr = tuple[bytes, int]  # ip, port


@final
class TcpConnection:
    """``local``, ``remote``: (ip, port). ``state``: TCP_* (linux/tcp_states.h). ``notify``: called with an EPOLL* mask
    when something changes; it may call back into the connection.

    Options are plain attributes, to be set before or during the connection: ``nodelay``, ``cork`` (call ``push()`` after
    clearing it), ``oobinline``, ``keepalive`` with ``keep_idle``, ``keep_intvl`` (ns), ``keep_cnt`` (call ``keepalive_changed()``),
    ``user_timeout`` (ns, 0: none), ``syn_retries``, ``linger2`` (ns), ``ttl``, ``tos``, ``quickack``. Use ``set_sndbuf``,
    ``set_rcvbuf``, ``set_maxseg``, ``set_congestion`` for the others.
    """

    __slots__ = ()

    local: Addr
    remote: Addr
    state: int
    notify: Callable[[int], None]

    def send(self, data: bytes) -> int:
        """Queues bytes; how many were taken (0: the buffer is full, EPOLLOUT tells when to go on) or -errno (EPIPE, ENOTCONN, or the pending error)."""
        raise NotImplementedError

    def send_urgent(self, data: bytes) -> int:
        """MSG_OOB: as ``send``, the last byte is urgent (RFC 6093)."""
        raise NotImplementedError

    def recv(self, n: int) -> bytes:
        """Takes up to ``n`` bytes; empty: nothing there, see ``events`` and ``eof``. Stops at the urgent mark as Linux does."""
        raise NotImplementedError

    def peek(self, n: int, offset: int = 0) -> bytes:
        raise NotImplementedError

    def recv_urgent(self, peek: bool = False) -> int:
        """The urgent byte (not inline), -EINVAL: none or taken already, -EAGAIN: announced, not here yet."""
        raise NotImplementedError

    def at_mark(self) -> bool:
        raise NotImplementedError

    def readable_bytes(self) -> int:
        """SIOCINQ."""
        raise NotImplementedError

    def unsent_bytes(self) -> tuple[int, int]:
        """(SIOCOUTQ: not acknowledged, SIOCOUTQNSD: not sent)."""
        raise NotImplementedError

    def eof(self) -> bool:
        """The peer has finished sending and everything has been read, or the connection is over."""
        raise NotImplementedError

    def push(self) -> None:
        """Sends what may be sent now, a partial segment too."""
        raise NotImplementedError

    def shutdown_write(self) -> None:
        """FIN after what is queued. Nothing when already done."""
        raise NotImplementedError

    def shutdown_read(self) -> None:
        raise NotImplementedError

    def close(self, linger: int = -1) -> None:
        """The socket is closed: unread data or ``linger`` 0 resets the connection, else it ends by itself in the background."""
        raise NotImplementedError

    def abort(self) -> None:
        """RST, gone."""
        raise NotImplementedError

    def take_error(self) -> int:
        """SO_ERROR: the pending errno, once."""
        raise NotImplementedError

    def events(self) -> int:
        """EPOLL* mask that holds now."""
        raise NotImplementedError

    def keepalive_changed(self) -> None:
        raise NotImplementedError

    def set_sndbuf(self, n: int) -> None:
        """Fixes the send buffer (bytes of payload); until then it grows as needed."""
        raise NotImplementedError

    def set_rcvbuf(self, n: int) -> None:
        """Fixes the receive buffer (bytes of window); until then it grows as needed."""
        raise NotImplementedError

    def set_maxseg(self, n: int) -> None:
        raise NotImplementedError

    def set_congestion(self, name: str) -> bool:
        """``cubic`` or ``reno``; False: not known."""
        raise NotImplementedError

    def info(self) -> bytes:
        """``struct tcp_info`` (linux/tcp.h), 232 bytes."""
        raise NotImplementedError
