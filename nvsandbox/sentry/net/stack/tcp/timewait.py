"""TIME-WAIT: what is left of a connection that we ended first (RFC 9293 section 3.10.7.4, RFC 6191)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from ..timers import Expiring, Timer
from .segment import ACK, FIN, MASK, RST, SYN, Segment, unwrap
from .states import INVALID_RATELIMIT, TIME_WAIT_LEN, S

if TYPE_CHECKING:
    from .connection import Addr, TcpConnection
    from .table import TcpTable

REUSE_AFTER: Final = S  # net.ipv4.tcp_tw_reuse


@final
class TimeWait(Expiring):
    """``ts_recent_at`` 0: no timestamps."""

    __slots__ = (
        "answered", "iface", "key", "local", "rcv_nxt", "rcv_window", "remote", "since", "snd_nxt", "table", "timer", "ts_offset",
        "ts_ok", "ts_recent",
    )  # fmt: skip

    def __init__(self, table: TcpTable, c: TcpConnection, now: int) -> None:
        self.table = table
        self.key = c.key
        self.iface = c.iface
        self.local: Addr = c.local
        self.remote: Addr = c.remote
        self.snd_nxt = c.snd_nxt
        self.rcv_nxt = c.rcv_nxt
        self.rcv_window = max(c.rcv_adv - c.rcv_nxt, 0)
        self.ts_ok = c.ts_ok
        self.ts_recent = c.ts_recent
        self.ts_offset = c.ts_offset
        self.since = now
        self.answered = 0
        self.timer = Timer(self)

    def expire(self, now: int) -> None:
        self.table.drop_time_wait(self)

    def reusable(self, now: int) -> bool:
        """Whether a new connection may take the four-tuple: timestamps tell its segments from old ones."""
        return self.ts_ok and now - self.since > REUSE_AFTER

    def arrives(self, seg: Segment, now: int) -> bool:
        """True: a SYN that may open a new connection; the caller forgets this one (Linux: tcp_timewait_state_process)."""
        seq = unwrap(self.rcv_nxt, seg.seq)
        flags = seg.flags
        old = self.ts_ok and seg.has_ts and (seg.tsval - self.ts_recent) & MASK >= 0x80000000
        if flags & RST:
            if seq == self.rcv_nxt and not old:
                self.table.drop_time_wait(self)
            return False
        if flags & SYN and not flags & ACK and not old:
            newer = self.ts_ok and seg.has_ts and seg.tsval != self.ts_recent
            if seq > self.rcv_nxt or newer:
                return True
        if not old and flags & FIN:
            # Our last ACK was lost: the wait starts again.
            self.since = now
            self.table.stack.timers.set(self.timer, now + TIME_WAIT_LEN)
        if seg.length() or seq != self.rcv_nxt or old:
            if not self.answered or now - self.answered >= INVALID_RATELIMIT:
                self.answered = now
                self.table.answer(self, now)
        return False
