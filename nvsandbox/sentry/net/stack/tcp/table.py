"""All connections, half-open ones, TIME-WAITs and listeners, and the segments that belong to none of them (RFC 9293
section 3.10.7.1)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ....errors import SysErr
from ..checksum import finish, ones_sum, pseudo_sum
from ..ip import is_any, is_multicast
from ..output import MIN_PMTU4, Path, find_path, learn_mtu, send
from ..ports import EPHEMERAL
from . import input, recovery, secrets, timeouts, transmit
from .connection import Addr, TcpConnection
from .fastopen import FastOpen
from .listener import SynRequest, TcpListener
from .segment import ACK, FIN, HEADER, MASK, RST, SYN, Segment, parse, unwrap
from .states import MS, SYN_RECV, SYN_SENT, TIME_WAIT_LEN
from .timewait import TimeWait

if TYPE_CHECKING:
    from ..icmp import IcmpError
    from ..interface import Interface
    from ..packet import Packet
    from ..stack import Stack

REQUESTS: Final = 4096  # half-open connections of all listeners
QUEUED: Final = 256 << 20
TIME_WAITS: Final = 32768  # net.ipv4.tcp_max_tw_buckets is 65536 or less


def make_key(remote: Addr, local: Addr) -> bytes:
    """The four-tuple in the order in which a segment to us has it."""
    return remote[0] + local[0] + remote[1].to_bytes(2, "big") + local[1].to_bytes(2, "big")


@final
class TcpTable:
    """``queued``: bytes received and not read, of all connections; beyond ``limit`` windows close (Linux: tcp_mem). ``owed``: during a
    batch of frames, connections that have an ACK to send."""

    __slots__ = (
        "conns",
        "fast",
        "limit",
        "listeners",
        "owed",
        "queued",
        "requests",
        "stack",
        "waits",
    )

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.conns: dict[bytes, TcpConnection] = {}
        self.requests: dict[bytes, SynRequest] = {}
        self.waits: dict[bytes, TimeWait] = {}
        self.listeners: dict[int, list[TcpListener]] = {}
        self.fast = FastOpen(stack.secret)
        self.queued = 0
        self.limit = QUEUED
        self.owed: dict[TcpConnection, None] | None = None

    # Bookkeeping
    def connections(self) -> list[TcpConnection]:
        return list(self.conns.values())

    def time_waits(self) -> list[TimeWait]:
        return list(self.waits.values())

    def begin_batch(self) -> None:
        """More frames follow at once; what they have us acknowledge is sent by ``end_batch``."""
        if self.owed is None:
            self.owed = {}

    def end_batch(self) -> None:
        owed, self.owed = self.owed, None
        now = self.stack.now()
        for c in owed or ():
            if not c.dead and c.rcv_nxt != c.rcv_wup:
                transmit.send_ack(c, now)

    def add(self, c: TcpConnection) -> None:
        self.conns[c.key] = c
        self.stack.counters.tcp.CurrEstab += 1

    def forget(self, c: TcpConnection) -> None:
        if self.conns.get(c.key) is c:
            del self.conns[c.key]
            self.stack.counters.tcp.CurrEstab -= 1

    def forget_listener(self, lst: TcpListener) -> None:
        here = self.listeners.get(lst.local[1])
        if here is not None and lst in here:
            here.remove(lst)
            if not here:
                del self.listeners[lst.local[1]]
        for r in [r for r in self.requests.values() if r.listener is lst]:
            self.drop_request(r)

    def drop_request(self, r: SynRequest) -> None:
        if self.requests.get(r.key) is r:
            del self.requests[r.key]
            r.listener.requests -= 1
        self.stack.timers.free(r.timer)

    def has(self, key: bytes) -> bool:
        """Whether a four-tuple is that of a connection, a coming or a past one."""
        return key in self.conns or key in self.requests or key in self.waits

    def requests_full(self) -> bool:
        return len(self.requests) >= REQUESTS

    def time_wait(self, c: TcpConnection, now: int) -> None:
        """Both sides have finished, we first."""
        c.finish(0)
        if len(self.waits) >= TIME_WAITS:
            self.stack.counters.tcpext.TCPTimeWaitOverflow += 1
            return
        self.stack.counters.tcpext.TW += 1
        w = TimeWait(self, c, now)
        self.waits[c.key] = w
        self.stack.timers.set(w.timer, now + TIME_WAIT_LEN)

    def drop_time_wait(self, w: TimeWait) -> None:
        if self.waits.get(w.key) is w:
            del self.waits[w.key]
        self.stack.timers.free(w.timer)

    def offset(self, key: bytes) -> int:
        """Of a connection's timestamps."""
        return secrets.timestamp_offset(self.stack.secret, key, len(key) > 12)

    def clock(self, key: bytes, now: int) -> int:
        return (now // MS + self.offset(key)) & MASK

    # Opening
    def connect(
        self,
        local: Addr,
        remote: Addr,
        iface: Interface | None,
        setup: Callable[[TcpConnection], None] | None,
    ) -> TcpConnection:
        """See ``Stack.tcp_connect``."""
        stack = self.stack
        if not remote[1] or is_any(remote[0]) or is_multicast(remote[0]):
            raise SysErr(errno.ENETUNREACH if is_multicast(remote[0]) else errno.EINVAL)
        path = find_path(stack, remote[0], iface)
        if isinstance(path, int):
            raise SysErr(-path)
        src = path.src if is_any(local[0]) else local[0]
        if not src or len(src) != len(remote[0]):
            raise SysErr(errno.EADDRNOTAVAIL)
        now = stack.now()
        local = (src, local[1] or self._free_port(src, remote, now))
        key = make_key(remote, local)
        if not self._claim(key, now):
            raise SysErr(errno.EADDRNOTAVAIL)
        c = TcpConnection(stack, key, local, remote, iface, path)
        if setup is not None:
            setup(c)
        c.iss = c.snd_una = c.snd_sml = secrets.initial_sequence(stack.secret, key, now)
        c.snd_nxt = c.iss + 1
        c.ts_offset = self.offset(key)
        c.state = SYN_SENT
        transmit.sync_mss(c)
        self.add(c)
        stack.counters.tcp.ActiveOpens += 1
        c.syn_sent = c.stalled_since = now
        transmit.send_syn(c, now)
        timeouts.arm_rto(c, now)
        return c

    def _claim(self, key: bytes, now: int) -> bool:
        """Whether a new connection may have the four-tuple; an old enough TIME-WAIT gives way."""
        if key in self.conns or key in self.requests:
            return False
        w = self.waits.get(key)
        if w is None:
            return True
        if not w.reusable(now):
            return False
        self.stack.counters.tcpext.TWRecycled += 1
        self.drop_time_wait(w)
        return True

    def _free_port(self, src: bytes, remote: Addr, now: int) -> int:
        """RFC 6056 section 3.3.3: from a random port on."""
        low, high = EPHEMERAL
        n = high - low + 1
        start = int.from_bytes(self.stack.random(4), "little") % n
        for i in range(n):
            port = low + (start + i) % n
            key = make_key(remote, (src, port))
            if port in self.listeners or key in self.conns or key in self.requests:
                continue
            w = self.waits.get(key)
            if w is None or w.reusable(now):
                return port
        raise SysErr(errno.EADDRNOTAVAIL)

    def listen(
        self, local: Addr, backlog: int, family: int, v6only: bool, iface: Interface | None
    ) -> TcpListener:
        """See ``Stack.tcp_listen``."""
        lst = TcpListener(self, local, backlog, family, v6only, iface)
        self.listeners.setdefault(local[1], []).append(lst)
        return lst

    def find_listener(self, p: Packet, seg: Segment) -> TcpListener | None:
        """The best match; equals share by hash (Linux: inet_lhash2_lookup)."""
        best: list[TcpListener] = []
        most = -1
        for lst in self.listeners.get(seg.dport, ()):
            mine = lst.local[0]
            rank = 0
            if not is_any(mine):
                if mine != p.dst:
                    continue
                rank = 2
            elif lst.family != len(p.dst):
                if lst.family == 4 or lst.v6only:
                    continue
            else:
                rank = 1
            if lst.iface is not None:
                if lst.iface is not p.iface:
                    continue
                rank += 4
            if rank > most:
                best, most = [lst], rank
            elif rank == most:
                best.append(lst)
        if len(best) > 1:
            spread = hash((p.src, seg.sport))
            return best[self.stack.choose(6, seg.dport, seg.data, len(best), spread)]
        return best[0] if best else None

    # Segments
    def receive(self, p: Packet) -> None:
        """A TCP packet."""
        mib = self.stack.counters.tcp
        mib.InSegs += 1
        if not p.local or p.by_broadcast():
            return
        if p.end - p.start < 20:
            mib.InErrs += 1
            return
        if not p.checksum_holds():
            mib.InCsumErrors += 1
            mib.InErrs += 1
            return
        seg = parse(p)
        if seg is None:
            mib.InErrs += 1
            return
        if seg.gso_size:
            mib.InSegs += max(-(-len(seg.data) // seg.gso_size) - 1, 0)
        now = self.stack.now()
        key = p.src + p.dst + p.buf[p.start : p.start + 4]
        c = self.conns.get(key)
        if c is not None:
            if c.keeps is not None and not _passes(c.keeps, p, seg):
                return
            input.arrives(c, seg, now)
            return
        r = self.requests.get(key)
        if r is not None:
            keeps = r.listener.keeps
            if keeps is not None and not _passes(keeps, p, seg):
                return
            r.listener.request_segment(r, p, seg, now)
            return
        iss = 0
        w = self.waits.get(key)
        if w is not None:
            if not w.arrives(seg, now):
                return
            iss = (w.snd_nxt + 65537) & MASK or 1
        self._unknown(p, seg, key, iss, w, now)

    def _unknown(
        self, p: Packet, seg: Segment, key: bytes, iss: int, w: TimeWait | None, now: int
    ) -> None:
        """RFC 9293 section 3.10.7.2."""
        lst = self.find_listener(p, seg)
        if lst is not None and lst.keeps is not None and not _passes(lst.keeps, p, seg):
            return
        if lst is not None and seg.flags & (SYN | ACK | RST) == SYN:
            if seg.sport and not seg.flags & 1:
                if w is not None:
                    self.drop_time_wait(w)
                lst.syn(p, seg, key, iss, now)
            return
        if lst is not None and lst.try_cookie(p, seg, key, now):
            return
        self.refuse(seg, (p.dst, seg.dport), (p.src, seg.sport), p.iface)

    def emit(
        self,
        path: Path,
        local: Addr,
        remote: Addr,
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        options: bytes,
        tos: int,
    ) -> None:
        """A segment that no connection sends."""
        size = 20 + len(options)
        head = HEADER.pack(local[1], remote[1], seq, ack, size << 10 | flags, wnd, 0, 0) + options
        total = pseudo_sum(local[0], remote[0], 6, size) + ones_sum(head)
        head = head[:16] + finish(total) + head[18:]
        self.stack.counters.tcp.OutSegs += 1
        send(self.stack, path, local[0], 6, [head], 64, tos, True)

    def refuse(
        self, seg: Segment, local: Addr, remote: Addr, iface: Interface | None = None
    ) -> None:
        """RST in answer to a segment that fits nothing; never to an RST."""
        if seg.flags & RST or not self.stack.refuses(iface, 6, local[0], local[1]):
            return
        if seg.flags & ACK and self.stack.others is not None:
            return  # may be of a connection that another stack has
        path = find_path(self.stack, remote[0], iface if remote[0][0] == 0xFE else None)
        if isinstance(path, int):
            return
        self.stack.counters.tcp.OutRsts += 1
        if seg.flags & ACK:
            self.emit(path, local, remote, seg.ack, 0, RST, 0, b"", 0)
        else:
            self.emit(path, local, remote, 0, (seg.seq + seg.length()) & MASK, RST | ACK, 0, b"", 0)

    def answer(self, w: TimeWait, now: int) -> None:
        """A TIME-WAIT's ACK."""
        path = find_path(self.stack, w.remote[0], w.iface)
        if isinstance(path, int):
            return
        options = b""
        if w.ts_ok:
            clock = (now // MS + w.ts_offset) & MASK
            options = b"\1\1\x08\x0a" + clock.to_bytes(4, "big") + w.ts_recent.to_bytes(4, "big")
        wnd = min(w.rcv_window >> 7, 65535)
        self.emit(path, w.local, w.remote, w.snd_nxt & MASK, w.rcv_nxt & MASK, ACK, wnd, options, 0)

    # ICMP
    def icmp_error(self, e: IcmpError) -> None:
        """An error about a segment of ours: believed only when its sequence number is in flight (RFC 5927)."""
        if len(e.inner) < 8:
            return
        key = e.dst + e.src + e.inner[2:4] + e.inner[:2]
        seq = int.from_bytes(e.inner[4:8], "big")
        c = self.conns.get(key)
        if c is None:
            r = self.requests.get(key)
            if r is not None and seq == r.iss and not e.mtu:
                self.drop_request(r)
            return
        at = unwrap(c.snd_una, seq)
        if not c.snd_una <= at < max(c.snd_nxt, c.snd_una + 1):
            return
        if e.mtu:
            self._too_big(c, e)
        elif c.state in (SYN_SENT, SYN_RECV):
            c.finish(e.errno)
        else:
            c.soft_error = e.errno

    def _too_big(self, c: TcpConnection, e: IcmpError) -> None:
        """Path MTU discovery (RFC 1191, RFC 8201): what was too big is cut anew and sent at once."""
        if e.mtu < MIN_PMTU4 or not learn_mtu(self.stack, e.dst, e.mtu):
            return
        now = self.stack.now()
        old = c.mss
        if not transmit.refresh_path(c) or c.mss >= old:
            return
        for s in c.rtxq:
            if len(s.data) > c.mss and not s.sacked:
                recovery.mark_lost(c, s)
        transmit.push(c, now)


def _passes(keeps: Callable[[bytes], int], p: Packet, seg: Segment) -> bool:
    """What a socket's filter says of a segment; data that it cuts off will come again (Linux: tcp_filter)."""
    n = keeps(p.buf[p.start : p.end])
    if n <= 0:
        return False
    left = max(n - (p.end - p.start - len(seg.data)), 0)
    if left < len(seg.data):
        seg.data = seg.data[:left]
        seg.flags &= ~FIN
    return True
