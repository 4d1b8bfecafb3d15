"""A TCP connection: its state and what the socket layer does with it (RFC 9293 section 3.9).

Sequence numbers inside are plain integers that start at the initial 32-bit number and never wrap. Work is in
``input``, ``transmit``, ``recovery`` and ``timeouts``, which all change the fields here.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, final

from ..events import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLPRI,
    EPOLLRDHUP,
    EPOLLRDNORM,
    EPOLLWRNORM,
)
from ..timers import Expiring, Timer
from . import fastopen, timeouts, transmit
from .bytequeue import ByteQueue
from .congestion import INITIAL_WINDOW, Congestion
from .info import tcp_info
from .states import (
    CA_OPEN,
    CLOSE,
    CLOSE_WAIT,
    DEFAULT_MSS,
    ESTABLISHED,
    FIN_TIMEOUT,
    FIN_WAIT1,
    FIN_WAIT2,
    FRTO_OFF,
    INFINITE,
    LAST_ACK,
    RCVBUF_INITIAL,
    RCVBUF_MAX,
    RTO_INITIAL,
    SNDBUF_INITIAL,
    SYN_RECV,
    SYN_RETRIES,
    SYN_SENT,
    TIME_WAIT,
    S,
)

if TYPE_CHECKING:
    from ..interface import Interface
    from ..output import Path
    from ..owner import Owner
    from ..stack import Stack
    from .listener import TcpListener
    from .ooo import OutOfOrder
    from .sent import Sent

Addr = tuple[bytes, int]  # ip, port


def ignore(events: int) -> None:
    """Nobody listens."""


@final
class TcpConnection(Expiring):
    """``local``, ``remote``: (ip, port). ``state``: TCP_* (linux/tcp_states.h). ``notify``: called with an EPOLL* mask
    when something changes; it may call back into the connection.

    Options are plain attributes, to be set before or during the connection: ``nodelay``, ``cork`` (call ``push()`` after
    clearing it), ``oobinline``, ``keepalive`` with ``keep_idle``, ``keep_intvl`` (ns), ``keep_cnt`` (call
    ``keepalive_changed()``), ``user_timeout`` (ns, 0: none), ``syn_retries``, ``linger2`` (ns), ``ttl``, ``tos``, ``quickack``
    (a number of ACKs to send at once). Use ``set_sndbuf``, ``set_rcvbuf``, ``set_maxseg``, ``set_congestion`` for the others.
    """

    __slots__ = (
        "ack_bytes",
        "ack_now",
        "answered",
        "backoff",
        "bytes_acked",
        "bytes_received",
        "bytes_retrans",
        "bytes_sent",
        "ca",
        "ca_state",
        "charged",
        "copied",
        "cork",
        "cwnd",
        "cwnd_limited",
        "data_segs_in",
        "data_segs_out",
        "dead",
        "dsack",
        "dsack_seen",
        "duplicates",
        "early",
        "err",
        "fack",
        "fast",
        "fin_at",
        "fin_queued",
        "fin_received",
        "fin_sent",
        "flight_high",
        "frto",
        "gso_limit",
        "high_seq",
        "iface",
        "irs",
        "iss",
        "keep_cnt",
        "keep_idle",
        "keep_intvl",
        "keep_probes",
        "keepalive",
        "keeps",
        "key",
        "last_rx",
        "last_tx",
        "linger2",
        "local",
        "lost_out",
        "max_window",
        "maxseg",
        "min_rtt",
        "min_rtt_at",
        "mss",
        "nodelay",
        "nospace",
        "notify",
        "oobinline",
        "ooo",
        "originals",
        "orphan",
        "owner",
        "pace",
        "pace_at",
        "path",
        "peer_mss",
        "pingpong",
        "probes",
        "prr_delivered",
        "prr_out",
        "quickack",
        "rack_end",
        "rack_rtt",
        "rack_sent",
        "rcv_adv",
        "rcv_fixed",
        "rcv_mss",
        "rcv_nxt",
        "rcv_rtt",
        "rcv_space",
        "rcv_space_at",
        "rcv_space_copied",
        "rcv_wscale",
        "rcv_wup",
        "rcvbuf",
        "recovery_point",
        "remote",
        "reo_mult",
        "reo_persist",
        "reo_round",
        "reordering",
        "retrans_out",
        "retrans_stamp",
        "rto",
        "rttvar",
        "rtxq",
        "rx",
        "sack_cache",
        "sack_ok",
        "sacked_out",
        "segs_in",
        "segs_out",
        "shut_read",
        "snd_fixed",
        "snd_nxt",
        "snd_sml",
        "snd_una",
        "snd_up",
        "snd_wl1",
        "snd_wnd",
        "snd_wscale",
        "sndbuf",
        "soft_error",
        "srtt",
        "ssthresh",
        "stack",
        "stalled_since",
        "state",
        "syn_data",
        "syn_retries",
        "syn_sent",
        "syn_taken",
        "t_ack",
        "t_keep",
        "t_pace",
        "t_xmit",
        "timer",
        "tlp_end",
        "tlp_retrans",
        "tos",
        "total_retrans",
        "ts_offset",
        "ts_ok",
        "ts_recent",
        "ts_recent_at",
        "ttl",
        "tx",
        "undo_cwnd",
        "undo_marker",
        "undo_ssthresh",
        "urg_data",
        "urg_seq",
        "urg_valid",
        "user_timeout",
        "xmit_kind",
    )  # fmt: skip

    def __init__(
        self,
        stack: Stack,
        key: bytes,
        local: Addr,
        remote: Addr,
        iface: Interface | None,
        path: Path,
    ) -> None:
        self.stack = stack
        self.key = key
        self.local = local
        self.remote = remote
        self.iface = iface
        self.path = path
        self.notify: Callable[[int], None] = ignore
        self.state = CLOSE
        self.err = self.soft_error = 0
        self.dead = self.orphan = False
        # Options
        self.owner: Owner | None = None
        self.keeps: Callable[[bytes], int] | None = None  # how much a filter lets pass
        self.nodelay = self.cork = self.oobinline = self.keepalive = False
        self.keep_idle, self.keep_intvl, self.keep_cnt = 7200 * S, 75 * S, 9
        self.user_timeout = 0
        self.syn_retries = SYN_RETRIES
        self.linger2 = FIN_TIMEOUT
        self.ttl, self.tos = 64, 0
        self.maxseg = 0
        self.pace = self.pace_at = 0  # bytes a second, 0: no limit; when the next may be sent
        # Timers: absolute ns, 0: not set; one Timer has the earliest of the four.
        self.timer = Timer(self)
        self.t_xmit = self.t_ack = self.t_keep = self.t_pace = 0
        self.xmit_kind = 0
        self.backoff = self.probes = self.keep_probes = 0
        self.stalled_since = 0
        # Sending
        self.iss = self.snd_una = self.snd_nxt = self.snd_sml = self.snd_up = 0
        self.snd_wnd = self.snd_wl1 = self.max_window = 0
        self.snd_wscale = 0
        self.tx = ByteQueue()
        self.rtxq: list[Sent] = []
        self.sndbuf = SNDBUF_INITIAL
        self.snd_fixed = False
        self.fin_queued = self.fin_sent = self.nospace = False
        self.mss = self.peer_mss = self.rcv_mss = DEFAULT_MSS
        self.gso_limit = DEFAULT_MSS
        self.syn_sent = 0
        # Fast Open (fastopen.py)
        self.fast = self.syn_taken = False
        self.syn_data = 0
        self.early: TcpListener | None = None  # who has accepted us before the handshake was over
        self.last_tx = self.last_rx = 0
        # Congestion and recovery
        self.ca = Congestion()
        self.ca_state = CA_OPEN
        self.cwnd = INITIAL_WINDOW * DEFAULT_MSS
        self.ssthresh = INFINITE
        self.cwnd_limited = False
        self.flight_high = 0
        self.sacked_out = self.lost_out = self.retrans_out = 0
        self.high_seq = self.fack = self.recovery_point = 0
        self.prr_delivered = self.prr_out = 0
        self.duplicates = 0
        self.frto = FRTO_OFF
        self.originals = False  # the ACK at hand tells of something that was sent once only
        self.undo_marker = self.undo_cwnd = self.undo_ssthresh = self.retrans_stamp = 0
        self.sack_cache: list[tuple[int, int]] = []
        self.rack_sent = self.rack_end = self.rack_rtt = 0
        self.reo_mult, self.reo_persist, self.reo_round = 1, 0, 0
        self.reordering = self.dsack_seen = False
        self.tlp_end = 0
        self.tlp_retrans = False
        # Round trips, ns
        self.srtt = self.rttvar = self.min_rtt = self.min_rtt_at = 0
        self.rto = RTO_INITIAL
        # Receiving
        self.fin_at = 0  # where the peer's FIN is, once it has come
        self.irs = self.rcv_nxt = self.rcv_wup = self.rcv_adv = 0
        self.rcv_wscale = 0
        self.rx = ByteQueue()
        self.ooo: OutOfOrder | None = None
        self.copied = 0
        self.charged = 0  # what the table counts for us
        self.rcvbuf = RCVBUF_INITIAL
        self.rcv_fixed = False
        self.rcv_rtt = self.rcv_space_at = self.rcv_space_copied = 0
        self.rcv_space = 10 * DEFAULT_MSS
        self.fin_received = self.shut_read = False
        self.ack_bytes = 0
        self.ack_now = self.pingpong = False
        self.quickack = 16
        self.dsack = (0, 0)
        self.answered = 0
        self.urg_seq = self.urg_data = 0
        self.urg_valid = False
        # Options of the connection
        self.sack_ok = self.ts_ok = False
        self.ts_offset = self.ts_recent = self.ts_recent_at = 0
        # What TCP_INFO tells
        self.total_retrans = self.data_segs_in = self.data_segs_out = self.segs_in = (
            self.segs_out
        ) = 0
        self.bytes_acked = self.bytes_received = self.bytes_sent = self.bytes_retrans = 0

    # Sending
    def send(self, data: bytes) -> int:
        """Queues bytes; how many were taken (0: the buffer is full, EPOLLOUT tells when to go on) or -errno (EPIPE,
        ENOTCONN, or the pending error). While connecting bytes are queued."""
        if self.err:
            return -self.take_error()
        if self.fin_queued or self.state == CLOSE or self.dead:
            return -errno.EPIPE
        room = self.sndbuf - self.tx.size - (self.snd_nxt - self.snd_una)
        if room <= 0:
            self.nospace = True
            return 0
        n = len(data)
        if n > room:
            self.nospace = True
            data = data[:room]
            n = room
        self.tx.append(data)
        if self.state == ESTABLISHED or self.state == CLOSE_WAIT or self.early is not None:
            transmit.push(self, self.stack.now())
        return n

    def send_urgent(self, data: bytes) -> int:
        """MSG_OOB: as ``send``, the last byte is urgent (RFC 6093)."""
        if self.err:
            return -self.take_error()
        end = self.snd_nxt + self.tx.size + len(data)
        room = self.sndbuf - self.tx.size - (self.snd_nxt - self.snd_una)
        if data and len(data) <= room:
            self.snd_up = end
        return self.send(data)

    def unsent_bytes(self) -> tuple[int, int]:
        """(SIOCOUTQ: not acknowledged, SIOCOUTQNSD: not sent)."""
        sent = sum(len(s.data) for s in self.rtxq)
        return sent + self.tx.size, self.tx.size

    def push(self) -> None:
        """Sends what may be sent now."""
        if not self.dead and self.state not in (SYN_SENT, SYN_RECV, CLOSE):
            transmit.push(self, self.stack.now())

    def writable(self) -> bool:
        """At least a third of the buffer is free, as Linux has it."""
        return (self.tx.size + self.snd_nxt - self.snd_una) * 3 <= self.sndbuf * 2

    # Receiving
    def recv(self, n: int) -> bytes:
        """Takes up to ``n`` bytes; empty: nothing there, see ``events`` and ``eof``. Stops at the urgent mark as Linux does."""
        self._skip_urgent()
        data = self.rx.take(self._to_mark(n))
        self.copied += len(data)
        if data:
            self.charge()
            transmit.window_opened(self, self.stack.now())
        return data

    def charge(self) -> None:
        """Tells the table how much is received and not read."""
        n = self.rx.size + (self.ooo.cost if self.ooo is not None else 0)
        self.stack.tcp.queued += n - self.charged
        self.charged = n

    def peek(self, n: int, offset: int = 0) -> bytes:
        """As ``recv``, but the bytes stay; ``offset``: bytes to pass over (SO_PEEK_OFF)."""
        self._skip_urgent()
        return self.rx.peek(self._to_mark(n + offset) - offset, offset)

    def _to_mark(self, n: int) -> int:
        """How much may be read before the mark stops us."""
        if self.urg_seq:
            left = self.urg_seq - self.copied
            if 0 < left < n:
                return left
        return n

    def _skip_urgent(self) -> None:
        """The urgent byte isn't part of the stream unless it is inline."""
        if self.urg_seq and self.copied >= self.urg_seq and self.rx.size:
            if self.copied == self.urg_seq and not self.oobinline:
                self.rx.take(1)
                self.copied += 1
            if self.copied > self.urg_seq or self.oobinline:
                self.urg_seq = 0

    def recv_urgent(self, peek: bool = False) -> int:
        """The urgent byte (not inline), -EINVAL: none or taken already, -EAGAIN: announced, not here yet."""
        if self.oobinline or not (self.urg_valid or self.urg_seq):
            return -errno.EINVAL
        if not self.urg_valid:
            return -errno.EAGAIN if self.rcv_nxt <= self.urg_seq else -errno.EINVAL
        if not peek:
            self.urg_valid = False
        return self.urg_data

    def at_mark(self) -> bool:
        """sockatmark(3)."""
        return self.urg_seq != 0 and self.copied == self.urg_seq

    def readable_bytes(self) -> int:
        """SIOCINQ."""
        return self.rx.size

    def eof(self) -> bool:
        """The peer has finished sending and everything has been read, or the connection is over."""
        over = self.fin_received or self.shut_read or self.dead or self.state == CLOSE
        return over and not self.rx.size

    # Ending
    def shutdown_write(self) -> None:
        """FIN after what is queued. Nothing when already done."""
        if self.fin_queued or self.dead:
            return
        if self.state == SYN_SENT:
            self.finish(errno.ECONNRESET)  # as Linux: nothing to finish, so disconnected
            return
        if self.state == SYN_RECV:
            self.fin_queued = True
            return
        if self.state == ESTABLISHED:
            self.state = FIN_WAIT1
        elif self.state == CLOSE_WAIT:
            self.state = LAST_ACK
        else:
            return
        self.fin_queued = True
        transmit.push(self, self.stack.now())

    def shutdown_read(self) -> None:
        """Reads end; what comes is still acknowledged, as by Linux."""
        self.shut_read = True
        self.notify(EPOLLIN | EPOLLRDNORM | EPOLLRDHUP)

    def close(self, linger: int = -1) -> None:
        """The socket is closed: unread data or ``linger`` 0 resets the connection, else it ends by itself in the background."""
        self.notify = ignore
        if self.orphan:
            return
        self.orphan = True
        if self.dead:
            self.rx.clear()
            self.charge()
            return
        c = self.stack.counters.tcpext
        if self.state in (SYN_SENT, CLOSE):
            self.finish(0)
        elif self.rx.size and self.state != TIME_WAIT:
            c.TCPAbortOnClose += 1
            self.abort()
        elif linger == 0:
            c.TCPAbortOnLinger += 1
            self.abort()
        else:
            self.shutdown_write()
            if self.state == FIN_WAIT2:
                timeouts.arm_fin_wait2(self, self.stack.now())

    def abort(self) -> None:
        """RST, gone; what was not read is lost."""
        self.orphan = True
        if self.dead:
            self.rx.clear()
            self.charge()
            return
        if self.state not in (SYN_SENT, CLOSE):
            transmit.send_reset(self)
        self.finish(0)

    def finish(self, err: int) -> None:
        """The connection is over; ``err`` is told to the socket. All memory but unread data goes."""
        if self.dead:
            return
        self.dead = True
        fastopen.done(self)
        tcp = self.stack.counters.tcp
        if err and self.state in (SYN_SENT, SYN_RECV):
            tcp.AttemptFails += 1
        elif err and self.state in (ESTABLISHED, CLOSE_WAIT):
            tcp.EstabResets += 1
        self.state = CLOSE
        self.err = err
        self.stack.timers.free(self.timer)
        self.t_xmit = self.t_ack = self.t_keep = self.t_pace = 0
        self.stack.tcp.forget(self)
        self.tx.clear()
        self.rtxq.clear()
        self.sacked_out = self.lost_out = self.retrans_out = 0
        self.ooo = None
        self.notify(self.events())
        if self.orphan:
            self.rx.clear()
            self.notify = ignore
        self.charge()

    def expire(self, now: int) -> None:
        timeouts.expire(self, now)

    # What the socket asks
    def take_error(self) -> int:
        """SO_ERROR: the pending errno, once."""
        err, self.err = self.err, 0
        return err

    def events(self) -> int:
        """EPOLL* mask that holds now (Linux: tcp_poll)."""
        mask = 0
        if self.rx.size or self.fin_received or self.shut_read:
            mask |= EPOLLIN | EPOLLRDNORM
        if self.fin_received or self.shut_read:
            mask |= EPOLLRDHUP
        if self.dead or self.state == CLOSE:
            mask |= EPOLLHUP | EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLOUT | EPOLLWRNORM
        elif self.fin_queued:
            mask |= EPOLLOUT | EPOLLWRNORM
            if self.fin_received:
                mask |= EPOLLHUP
        elif self.state not in (SYN_SENT, SYN_RECV) or self.early is not None:
            if self.writable():
                mask |= EPOLLOUT | EPOLLWRNORM
            else:
                self.nospace = True
        if self.urg_valid:
            mask |= EPOLLPRI
        if self.err:
            mask |= EPOLLERR
        return mask

    def keepalive_changed(self) -> None:
        """``keepalive`` or its times were set."""
        if not self.dead and self.state not in (SYN_SENT, SYN_RECV, CLOSE):
            timeouts.arm_keepalive(self, self.stack.now())

    def set_sndbuf(self, n: int) -> None:
        """Fixes the send buffer (bytes of payload); until then it grows as needed."""
        self.sndbuf = max(n, 2048)
        self.snd_fixed = True

    def set_rcvbuf(self, n: int) -> None:
        """Fixes the receive buffer (bytes of window); until then it grows as needed."""
        self.rcvbuf = min(max(n, 1152), RCVBUF_MAX)
        self.rcv_fixed = True

    def set_maxseg(self, n: int) -> None:
        """TCP_MAXSEG: an upper bound for both directions."""
        self.maxseg = n
        if not self.dead and self.state not in (SYN_SENT, CLOSE):
            transmit.sync_mss(self)

    def set_congestion(self, name: str) -> bool:
        """``cubic`` or ``reno``; False: not known."""
        if name not in ("cubic", "reno"):
            return False
        self.ca.cubic = name == "cubic"
        self.ca.restart()
        return True

    def info(self) -> bytes:
        """``struct tcp_info`` (linux/tcp.h), 232 bytes."""
        return tcp_info(self)

    def in_flight(self) -> int:
        """RFC 6675's pipe, bytes."""
        return self.snd_nxt - self.snd_una - self.sacked_out - self.lost_out + self.retrans_out
