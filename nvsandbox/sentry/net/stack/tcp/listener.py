"""Listening: SYN queue, accept queue and SYN cookies (RFC 9293 section 3.10.7.2, RFC 4987)."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..events import EPOLLHUP, EPOLLIN, EPOLLRDNORM
from ..output import find_path
from ..timers import Expiring, Timer
from . import input, secrets, timeouts, transmit
from .connection import Addr, TcpConnection, ignore
from .fastopen import SERVER, SERVER_ALL, SERVER_NO_COOKIE
from .segment import ACK, MASK, RST, SYN, Segment, syn_options, unwrap
from .states import (
    CLOSE,
    DEFAULT_MSS,
    MIN_MSS,
    RCVBUF_INITIAL,
    RTO_INITIAL,
    SNDBUF_INITIAL,
    SYN_RECV,
    SYNACK_RETRIES,
    WSCALE,
    S,
)

if TYPE_CHECKING:
    from ..interface import Interface
    from ..output import Path
    from ..packet import Packet
    from .table import TcpTable

COOKIES_AFTER: Final = (
    2 * S
)  # cookies are taken for that long after one was sent, and a cookie's age
MIN_QUEUE: Final = 16


@final
class SynRequest(Expiring):
    """A SYN that was answered. ``wscale`` -1: none. ``sent``: when, 0: more than once."""

    __slots__ = (
        "cookie",
        "iface",
        "irs",
        "iss",
        "key",
        "listener",
        "local",
        "mss",
        "remote",
        "retries",
        "sack_ok",
        "sent",
        "timer",
        "tos",
        "ts_ok",
        "ts_recent",
        "window",
        "wscale",
    )  # fmt: skip

    def __init__(self, listener: TcpListener, key: bytes, p: Packet, seg: Segment) -> None:
        self.listener = listener
        self.key = key
        self.local: Addr = (p.dst, seg.dport)
        self.remote: Addr = (p.src, seg.sport)
        self.iface: Interface | None = (
            p.iface if p.src[0] == 0xFE and len(p.src) == 16 else listener.iface
        )
        self.cookie: bytes | None = None  # for Fast Open, to be given
        self.irs = seg.seq
        self.iss = 0
        self.mss = max(seg.mss or DEFAULT_MSS, MIN_MSS)
        self.wscale = seg.wscale
        self.sack_ok = seg.sack_ok
        self.ts_ok = seg.has_ts
        self.ts_recent = seg.tsval
        self.window = seg.window
        self.sent = 0
        self.retries = 0
        self.timer = Timer(self)

    def expire(self, now: int) -> None:
        self.listener.answer_again(self, now)


@final
class TcpListener:
    """``local``, ``iface``, ``v6only``: what it listens on. ``backlog``: of connections not accepted yet and, on its own,
    of half-open ones. ``notify``: called when there is something to accept.

    Accepted connections start with the listener's attributes of the same name: ``nodelay``, ``cork``, ``oobinline``,
    ``keepalive``, ``keep_idle``, ``keep_intvl``, ``keep_cnt``, ``user_timeout``, ``linger2``, ``ttl``, ``tos``, ``maxseg``, ``sndbuf``, ``rcvbuf``
    (0: not fixed), ``congestion``. ``fastopen``: how many may be accepted early, 0: none; ``early``: how many are.
    """

    __slots__ = (
        "backlog", "closed", "congestion", "cookies_until", "cork", "early", "family", "fastopen", "iface", "keep_cnt", "keep_idle",
        "keep_intvl", "keepalive", "keeps", "linger2", "local", "maxseg", "nodelay", "notify", "oobinline", "queue", "rcvbuf",
        "requests", "sndbuf", "table", "tos", "ttl", "user_timeout", "v6only",
    )  # fmt: skip

    def __init__(
        self,
        table: TcpTable,
        local: Addr,
        backlog: int,
        family: int,
        v6only: bool,
        iface: Interface | None,
    ) -> None:
        self.table = table
        self.local = local
        self.backlog = backlog
        self.family = family
        self.v6only = v6only
        self.iface = iface
        self.notify: Callable[[int], None] = ignore
        self.queue: deque[TcpConnection] = deque()
        self.requests = 0
        self.fastopen = self.early = 0
        self.cookies_until = 0
        self.closed = False
        self.keeps: Callable[[bytes], int] | None = None
        self.nodelay = self.cork = self.oobinline = self.keepalive = False
        self.keep_idle, self.keep_intvl, self.keep_cnt = 7200 * S, 75 * S, 9
        self.user_timeout = 0
        self.linger2 = 60 * S
        self.ttl, self.tos = 64, 0
        self.maxseg = self.sndbuf = self.rcvbuf = 0
        self.congestion = "cubic"

    def accept(self) -> TcpConnection | None:
        """The oldest established connection, None: none. It may be over already."""
        return self.queue.popleft() if self.queue else None

    def pending(self) -> int:
        """Connections ready to be accepted."""
        return len(self.queue)

    def events(self) -> int:
        if self.closed:
            return EPOLLHUP
        return EPOLLIN | EPOLLRDNORM if self.queue else 0

    def close(self) -> None:
        """Resets what was not accepted."""
        if self.closed:
            return
        self.closed = True
        self.table.forget_listener(self)
        self.notify = ignore
        while self.queue:
            c = self.queue.popleft()
            c.abort()
            c.close()

    # SYN
    def syn(self, p: Packet, seg: Segment, key: bytes, iss: int, now: int) -> None:
        """A SYN for a new connection. ``iss``: from a TIME-WAIT that it replaces, 0: any."""
        ext = self.table.stack.counters.tcpext
        if len(self.queue) > self.backlog:
            ext.ListenOverflows += 1
            ext.ListenDrops += 1
            return
        r = SynRequest(self, key, p, seg)
        if self._early(r, p, seg, iss, now):
            return
        full = self.requests >= max(self.backlog, MIN_QUEUE) or self.table.requests_full()
        if full:
            ext.TCPReqQFullDoCookies += 1
            ext.SyncookiesSent += 1
            secret = self.table.stack.secret
            r.iss = secrets.cookie(secret, key, seg.seq, r.mss, now)
            self.cookies_until = now + COOKIES_AFTER + secrets.COOKIE_AGE * secrets.COOKIE_PERIOD
            self._answer(r, now, True)
            return
        r.iss = iss or secrets.initial_sequence(self.table.stack.secret, key, now)
        self.requests += 1
        self.table.requests[key] = r
        r.sent = now
        self._answer(r, now, False)
        self.table.stack.timers.set(r.timer, now + RTO_INITIAL)

    def _early(self, r: SynRequest, p: Packet, seg: Segment, iss: int, now: int) -> bool:
        """Fast Open: accepts a connection whose SYN shows the cookie; otherwise False, and the SYN-ACK may bring one."""
        fast = self.table.fast
        flags = fast.flags
        if not flags & SERVER or not (self.fastopen or flags & SERVER_ALL):
            return False
        free = bool(flags & SERVER_NO_COOKIE and seg.data)
        if (seg.fastopen is None and not free) or self.early >= (self.fastopen or self.backlog):
            return False
        good = fast.cookie_for(p.src, p.dst)
        if not free and seg.fastopen != good:
            r.cookie = good
            return False
        path = find_path(self.table.stack, r.remote[0], r.iface)
        if isinstance(path, int):
            return False
        r.iss = iss or secrets.initial_sequence(self.table.stack.secret, r.key, now)
        c = self._connection(r, path, now)
        c.syn_sent = now
        c.early = self
        self.early += 1
        self.table.add(c)
        self.table.stack.counters.tcp.PassiveOpens += 1
        data = seg.data[: c.rcv_adv - c.rcv_nxt]
        if data:
            c.rx.append(data)
            c.rcv_nxt += len(data)
            c.bytes_received += len(data)
            c.data_segs_in += 1
            c.syn_taken = True
            c.charge()
        transmit.send_syn(c, now)
        timeouts.arm_rto(c, now)
        self.queue.append(c)
        self.notify(EPOLLIN | EPOLLRDNORM)
        return True

    def _answer(self, r: SynRequest, now: int, cookie: bool) -> None:
        """The SYN-ACK. A cookie's timestamp says in its low six bits what else the SYN offered."""
        path = find_path(self.table.stack, r.remote[0], r.iface)
        if isinstance(path, int):
            return
        mss = path.iface.link.mtu - (40 if len(r.remote[0]) == 4 else 60)
        if self.maxseg:
            mss = min(mss, self.maxseg)
        clock = self.table.clock(r.key, now)
        scale, sack = (WSCALE if r.wscale >= 0 else -1), r.sack_ok
        if cookie and not r.ts_ok:
            scale, sack = -1, False
        elif cookie:
            low = (r.wscale if r.wscale >= 0 else 15) | (32 if r.sack_ok else 0)
            clock = (((clock >> 6) - (low > clock & 63)) << 6 | low) & MASK
        options = syn_options(mss, scale, sack, r.ts_ok, clock, r.ts_recent, r.cookie)
        wnd = min(self.rcvbuf or RCVBUF_INITIAL, 65535)
        self.table.emit(
            path, r.local, r.remote, r.iss, (r.irs + 1) & MASK, SYN | ACK, wnd, options, self.tos,
        )  # fmt: skip

    def answer_again(self, r: SynRequest, now: int) -> None:
        """The SYN-ACK's timer."""
        if r.retries >= SYNACK_RETRIES or self.closed:
            self.table.drop_request(r)
            return
        r.retries += 1
        r.sent = 0
        self.table.stack.counters.tcp.RetransSegs += 1
        self.table.stack.counters.tcpext.TCPTimeouts += 1
        self._answer(r, now, False)
        self.table.stack.timers.set(r.timer, now + (RTO_INITIAL << r.retries))

    def request_segment(self, r: SynRequest, p: Packet, seg: Segment, now: int) -> None:
        """A segment for a half-open connection (RFC 9293 section 3.10.7.4, SYN-RECEIVED)."""
        flags = seg.flags
        seq = unwrap(r.irs + 1, seg.seq)
        if (
            r.ts_ok
            and seg.has_ts
            and (seg.tsval - r.ts_recent) & MASK >= 0x80000000
            and not flags & RST
        ):
            self.table.stack.counters.tcpext.PAWSEstab += 1
            return
        if flags & SYN and not flags & ACK and seg.seq == r.irs:
            r.sent = 0
            self._answer(r, now, False)
            return
        if not r.irs + 1 <= seq <= r.irs + 1 + 65535:
            if not flags & RST:
                self._answer(r, now, False)
            return
        if flags & RST:
            if seq == r.irs + 1:
                self.table.stack.counters.tcpext.EmbryonicRsts += 1
                self.table.drop_request(r)
            return
        if flags & SYN or not flags & ACK:
            return
        if seg.ack != (r.iss + 1) & MASK:
            self.table.refuse(seg, r.local, r.remote)
            return
        if len(self.queue) > self.backlog:
            self.table.stack.counters.tcpext.ListenOverflows += 1
            return
        self.table.drop_request(r)
        self._establish(r, seg, now)

    def _establish(self, r: SynRequest, seg: Segment, now: int) -> None:
        table = self.table
        path = find_path(table.stack, r.remote[0], r.iface)
        if isinstance(path, int):
            return
        c = self._connection(r, path, now)
        c.syn_sent = r.sent
        table.add(c)
        table.stack.counters.tcp.PassiveOpens += 1
        input.arrives(c, seg, now)
        if c.state == CLOSE and not c.rx.size and c.err != errno.ECONNRESET:
            return
        self.queue.append(c)
        self.notify(EPOLLIN | EPOLLRDNORM)

    def _connection(self, r: SynRequest, path: Path, now: int) -> TcpConnection:
        """A connection in SYN-RECEIVED."""
        table = self.table
        c = TcpConnection(table.stack, r.key, r.local, r.remote, r.iface, path)
        self._configure(c)
        c.iss = c.snd_una = r.iss
        c.snd_nxt = r.iss + 1
        c.irs = c.snd_wl1 = r.irs
        c.rcv_nxt = c.rcv_wup = c.copied = r.irs + 1
        c.ts_offset = table.offset(r.key)
        syn = Segment()
        syn.mss, syn.wscale, syn.sack_ok, syn.has_ts = r.mss, r.wscale, r.sack_ok, r.ts_ok
        syn.tsval, syn.window = r.ts_recent, r.window
        input.negotiate(c, syn, now)
        transmit.initial_window(c)
        c.state = SYN_RECV
        return c

    def _configure(self, c: TcpConnection) -> None:
        c.nodelay, c.cork, c.oobinline, c.keepalive = (
            self.nodelay,
            self.cork,
            self.oobinline,
            self.keepalive,
        )
        c.keep_idle, c.keep_intvl, c.keep_cnt = self.keep_idle, self.keep_intvl, self.keep_cnt
        c.user_timeout, c.linger2, c.ttl, c.tos = (
            self.user_timeout,
            self.linger2,
            self.ttl,
            self.tos,
        )
        c.maxseg = self.maxseg
        c.keeps = self.keeps
        if self.sndbuf and self.sndbuf != SNDBUF_INITIAL:
            c.set_sndbuf(self.sndbuf)
        if self.rcvbuf:
            c.set_rcvbuf(self.rcvbuf)
        c.set_congestion(self.congestion)

    def try_cookie(self, p: Packet, seg: Segment, key: bytes, now: int) -> bool:
        """An ACK that no connection or request explains; False: it is to be refused."""
        if now > self.cookies_until or seg.flags & (SYN | RST) or not seg.flags & ACK:
            return False
        stack = self.table.stack
        irs = (seg.seq - 1) & MASK
        mss = secrets.check_cookie(stack.secret, key, irs, (seg.ack - 1) & MASK, now)
        if not mss:
            stack.counters.tcpext.SyncookiesFailed += 1
            return False
        if len(self.queue) > self.backlog:
            stack.counters.tcpext.ListenOverflows += 1
            return True
        stack.counters.tcpext.SyncookiesRecv += 1
        r = SynRequest(self, key, p, seg)
        r.irs = irs
        r.iss = (seg.ack - 1) & MASK
        r.mss = mss
        r.wscale = -1
        if seg.has_ts:
            low = (seg.tsecr) & 63
            r.sack_ok = low & 32 != 0
            r.wscale = low & 15 if low & 15 <= 14 else -1
        self._establish(r, seg, now)
        return True
