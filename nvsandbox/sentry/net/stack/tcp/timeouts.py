"""What a connection does when time passes: retransmission (RFC 6298), tail loss probes (RFC 8985 section 7), window
probes, delayed ACKs, keepalive, user timeout (RFC 5482), the end of FIN-WAIT-2."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from . import fastopen, recovery, transmit
from .states import (
    CA_OPEN,
    DELACK,
    DELACK_MAX,
    FIN_WAIT2,
    MS,
    ORPHAN_RETRIES,
    RETRIES,
    RTO_MAX,
    RTO_MIN,
    SYN_RECV,
    SYN_SENT,
    SYNACK_RETRIES,
)

if TYPE_CHECKING:
    from .connection import TcpConnection

NONE: Final = 0
RTO: Final = 1
TLP: Final = 2
REORDER: Final = 3
PROBE: Final = 4


def schedule(c: TcpConnection) -> None:
    """Sets the one timer to the earliest of what the connection waits for."""
    at = c.t_xmit
    if c.t_ack and (not at or c.t_ack < at):
        at = c.t_ack
    if c.t_keep and (not at or c.t_keep < at):
        at = c.t_keep
    if c.t_pace and (not at or c.t_pace < at):
        at = c.t_pace
    if at:
        if at != c.timer.deadline:
            c.stack.timers.set(c.timer, at)
    elif c.timer.deadline:
        c.stack.timers.cancel(c.timer)


def arm(c: TcpConnection, kind: int, at: int) -> None:
    c.xmit_kind = kind
    c.t_xmit = at
    schedule(c)


def disarm(c: TcpConnection) -> None:
    c.xmit_kind = NONE
    c.t_xmit = 0


def arm_rto(c: TcpConnection, now: int) -> None:
    """RFC 6298 section 5: restarted with every ACK of new data."""
    arm(c, RTO, now + min(c.rto << c.backoff, RTO_MAX))


def arm_loss_probe(c: TcpConnection, now: int) -> None:
    """RFC 8985 section 7.2: two round trips after the last transmission, if nothing is known to be missing."""
    if (
        not c.sack_ok
        or not c.rtxq
        or c.sacked_out
        or c.ca_state != CA_OPEN
        or c.tlp_end
        or c.backoff
    ):
        return
    if not c.srtt:
        return
    wait = 2 * c.srtt
    wait += DELACK_MAX if len(c.rtxq) == 1 and len(c.rtxq[0].data) <= c.mss else 2 * MS
    at = now + wait
    rto_at = now + c.rto
    if c.xmit_kind == RTO and c.t_xmit:
        rto_at = c.t_xmit
    if at < rto_at:
        arm(c, TLP, at)


def arm_window_probe(c: TcpConnection, now: int) -> None:
    """Data waits and nothing is in flight that would bring an ACK (RFC 9293 section 3.8.6.1)."""
    if c.xmit_kind != PROBE or not c.t_xmit:
        arm(c, PROBE, now + min(max(c.rto, RTO_MIN) << c.backoff, RTO_MAX))


def arm_pace(c: TcpConnection) -> None:
    """More may be sent once what was sent had its time (SO_MAX_PACING_RATE)."""
    c.t_pace = c.pace_at
    schedule(c)


def arm_delayed_ack(c: TcpConnection, now: int) -> None:
    if not c.t_ack:
        c.t_ack = now + DELACK
        schedule(c)


def arm_keepalive(c: TcpConnection, now: int) -> None:
    if c.orphan and c.state == FIN_WAIT2:
        return
    c.t_keep = now + c.keep_idle if c.keepalive else 0
    schedule(c)


def arm_fin_wait2(c: TcpConnection, now: int) -> None:
    """Nobody will read any more: the peer's FIN is not waited for without end (tcp(7), TCP_LINGER2)."""
    c.t_keep = now + max(c.linger2, 1)
    schedule(c)


def expire(c: TcpConnection, now: int) -> None:
    """The earliest of the four times has come."""
    if c.dead:
        return
    if c.t_ack and c.t_ack <= now:
        c.t_ack = 0
        c.stack.counters.tcpext.DelayedACKs += 1
        c.pingpong = False
        transmit.send_ack(c, now)
    if c.t_xmit and c.t_xmit <= now:
        kind = c.xmit_kind
        disarm(c)
        if c.state in (SYN_SENT, SYN_RECV):
            _syn_timeout(c, now)
        elif kind == RTO:
            _retransmission_timeout(c, now)
        elif kind == TLP:
            _loss_probe(c, now)
        elif kind == REORDER:
            recovery.reordering_timeout(c, now)
        elif kind == PROBE:
            _window_probe(c, now)
    if not c.dead and c.t_keep and c.t_keep <= now:
        c.t_keep = 0
        _keepalive(c, now)
    if not c.dead and c.t_pace and c.t_pace <= now:
        c.t_pace = 0
        transmit.push(c, now)
    if not c.dead:
        schedule(c)


def give_up(c: TcpConnection) -> None:
    c.stack.counters.tcpext.TCPAbortOnTimeout += 1
    c.finish(c.soft_error or errno.ETIMEDOUT)


def _syn_timeout(c: TcpConnection, now: int) -> None:
    most = c.syn_retries if c.state == SYN_SENT else SYNACK_RETRIES
    late = c.user_timeout and now - c.stalled_since >= c.user_timeout
    if c.backoff >= most or late:
        give_up(c)
        return
    fastopen.lost(c)
    c.backoff += 1
    c.stack.counters.tcp.RetransSegs += 1
    c.stack.counters.tcpext.TCPTimeouts += 1
    c.total_retrans += 1
    c.syn_sent = 0  # Karn: no round trip can be measured now
    transmit.send_syn(c, now)
    arm_rto(c, now)
    _not_after_user_timeout(c, now)


def _expired_for_good(c: TcpConnection, now: int) -> bool:
    if c.user_timeout and now - c.stalled_since >= c.user_timeout:
        return True
    return c.backoff >= (ORPHAN_RETRIES if c.orphan else RETRIES)


def _retransmission_timeout(c: TcpConnection, now: int) -> None:
    if not c.rtxq:
        return
    if not c.backoff:
        c.stalled_since = c.rtxq[0].sent
    if _expired_for_good(c, now):
        give_up(c)
        return
    c.stack.counters.tcpext.TCPTimeouts += 1
    recovery.enter_loss(c, now)
    transmit.retransmit(c, 0, c.mss, now)
    c.backoff += 1
    arm_rto(c, now)
    _not_after_user_timeout(c, now)


def _not_after_user_timeout(c: TcpConnection, now: int) -> None:
    """The next attempt is no later than the time at which to give up."""
    if c.user_timeout:
        c.t_xmit = min(c.t_xmit, max(c.stalled_since + c.user_timeout, now + MS))
        schedule(c)


def _loss_probe(c: TcpConnection, now: int) -> None:
    """Sends something new or the last segment again, so that the peer says what is missing."""
    if not c.rtxq:
        return
    ext = c.stack.counters.tcpext
    ext.TCPLossProbes += 1
    before = c.snd_nxt
    room = c.snd_una + c.snd_wnd - c.snd_nxt
    if c.tx.size and room >= min(c.tx.size, c.mss):
        saved, c.cwnd = c.cwnd, c.in_flight() + c.mss
        transmit.push(c, now, True)
        c.cwnd = saved
    c.tlp_retrans = c.snd_nxt == before
    c.tlp_end = c.snd_nxt
    if c.tlp_retrans:
        last = c.rtxq[-1]
        if len(last.data) > c.mss:
            transmit.split(c, len(c.rtxq) - 1, (len(last.data) - 1) // c.mss * c.mss)
        transmit.retransmit(c, len(c.rtxq) - 1, c.mss, now)
    arm(c, RTO, now + c.rto)


def _window_probe(c: TcpConnection, now: int) -> None:
    if c.rtxq:
        arm_rto(c, now)
        return
    if not c.tx.size and not (c.fin_queued and not c.fin_sent):
        return
    transmit.push(c, now, True)
    if c.rtxq:
        return
    if not c.probes:
        c.stalled_since = now
    late = c.user_timeout and now - c.stalled_since >= c.user_timeout
    if late or c.probes >= (ORPHAN_RETRIES if c.orphan else RETRIES):
        give_up(c)
        return
    c.probes += 1
    c.backoff = min(c.backoff + 1, 10)
    c.stack.counters.tcpext.TCPWinProbe += 1
    transmit.send_probe(c, now)
    arm(c, PROBE, now + min(max(c.rto, RTO_MIN) << c.backoff, RTO_MAX))


def _keepalive(c: TcpConnection, now: int) -> None:
    """RFC 9293 section 3.8.4."""
    if c.orphan and c.state == FIN_WAIT2:
        c.finish(0)
        return
    if not c.keepalive:
        return
    idle = now - max(c.last_rx, 1)
    if c.rtxq or c.tx.size:
        c.t_keep = now + c.keep_idle
        return
    if idle < c.keep_idle:
        c.keep_probes = 0
        c.t_keep = c.last_rx + c.keep_idle
        return
    late = c.user_timeout and c.keep_probes and idle >= c.user_timeout
    if late or (not c.user_timeout and c.keep_probes >= c.keep_cnt):
        transmit.send_reset(c)
        give_up(c)
        return
    c.keep_probes += 1
    c.stack.counters.tcpext.TCPKeepAlive += 1
    transmit.send_probe(c, now)
    c.t_keep = now + c.keep_intvl
