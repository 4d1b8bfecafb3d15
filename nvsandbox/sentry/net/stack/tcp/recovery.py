"""Finding out what was lost: SACK scoreboard (RFC 2018, 6675), RACK-TLP (RFC 8985), NewReno without SACK (RFC 6582),
proportional rate reduction (RFC 6937), undo of false alarms (RFC 3522, RFC 4015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import timeouts, transmit
from .segment import MASK, Segment, unwrap
from .states import (
    CA_LOSS,
    CA_OPEN,
    CA_RECOVERY,
    FRTO_HEAD,
    FRTO_NEW,
    FRTO_OFF,
    MOST_SENT,
    RTO_MAX,
    RTO_MIN,
    S,
)

if TYPE_CHECKING:
    from .connection import TcpConnection
    from .sent import Sent


# Round trips
def measured(c: TcpConnection, rtt: int, now: int) -> None:
    """A round trip was measured (RFC 6298 section 2)."""
    rtt = max(rtt, 1)
    if not c.min_rtt or rtt < c.min_rtt or now - c.min_rtt_at > 300 * S:
        c.min_rtt = rtt
        c.min_rtt_at = now
    if not c.srtt:
        c.srtt = rtt
        c.rttvar = rtt // 2
    else:
        c.rttvar += (abs(c.srtt - rtt) - c.rttvar) // 4
        c.srtt += (rtt - c.srtt) // 8
    c.rto = min(max(c.srtt + max(4 * c.rttvar, RTO_MIN), RTO_MIN), RTO_MAX)


# The scoreboard
def _unmark(c: TcpConnection, s: Sent) -> None:
    """It is in flight no more, one way or another."""
    size = s.end - s.seq
    if s.lost:
        s.lost = False
        c.lost_out -= size
    if s.retrans:
        s.retrans = False
        c.retrans_out -= size


def mark_lost(c: TcpConnection, s: Sent) -> None:
    size = s.end - s.seq
    if s.retrans:
        s.retrans = False
        c.retrans_out -= size
        c.stack.counters.tcpext.TCPLostRetransmit += 1
    if not s.lost:
        s.lost = True
        c.lost_out += size


def _rack_advance(c: TcpConnection, s: Sent, tsecr: int, now: int) -> None:
    """RFC 8985 section 6.2 step 2: the delivered segment that was sent last."""
    rtt = now - s.sent
    if s.ever:
        # An ACK of the original must not look like one of the retransmission.
        if c.ts_ok and tsecr and (tsecr - c.retrans_stamp) & MASK >= 0x80000000:
            return
        if rtt < c.min_rtt:
            return
    c.rack_rtt = rtt
    if s.sent > c.rack_sent or (s.sent == c.rack_sent and s.end > c.rack_end):
        c.rack_sent = s.sent
        c.rack_end = s.end


def clean(c: TcpConnection, ack: int, tsecr: int, now: int) -> int:
    """Removes what is acknowledged; a round trip in ns from what was sent once only, -1: none."""
    rtt = -1
    n = 0
    again = False
    q = c.rtxq
    for s in q:
        if s.end > ack:
            break
        again = again or s.ever
        if s.sacked:
            c.sacked_out -= s.end - s.seq
        else:
            if not s.ever and s.end <= c.high_seq:
                c.originals = True
            if s.end < c.fack and not s.ever:
                c.reordering = True
            _unmark(c, s)
            _rack_advance(c, s, tsecr, now)
            if not s.ever and rtt < 0:
                rtt = now - s.sent
        n += 1
    if n:
        del q[:n]
    if q and q[0].seq < ack:
        again = again or q[0].ever
        if not (q[0].ever or q[0].sacked) and ack <= c.high_seq:
            c.originals = True
        _trim(c, q[0], ack)
    if again and not c.sack_ok:
        c.originals = False  # whether the rest was there before is not known
    return rtt


def _trim(c: TcpConnection, s: Sent, ack: int) -> None:
    """Part of a super-segment was acknowledged."""
    n = ack - s.seq
    if s.sacked:
        c.sacked_out -= n
    if s.lost:
        c.lost_out -= n
    if s.retrans:
        c.retrans_out -= n
    s.data = s.data[n:]
    s.seq = ack


def _find(c: TcpConnection, seq: int) -> int:
    """The first stretch that ends after ``seq``."""
    q = c.rtxq
    lo, hi = 0, len(q)
    while lo < hi:
        mid = (lo + hi) // 2
        if q[mid].end <= seq:
            lo = mid + 1
        else:
            hi = mid
    return lo


def take_sacks(c: TcpConnection, seg: Segment, ack: int, now: int) -> int:
    """Notes SACK blocks; how many bytes they newly report. Nonsense is ignored (RFC 2018 section 5.1, RFC 2883)."""
    new = 0
    blocks: list[tuple[int, int]] = []
    ext = c.stack.counters.tcpext
    for i, (left, right) in enumerate(seg.sacks):
        start, end = unwrap(c.snd_una, left), unwrap(c.snd_una, right)
        if start >= end or end > c.snd_nxt:
            ext.TCPSackDiscard += 1
            continue
        if i == 0 and (end <= ack or (len(seg.sacks) > 1 and _inside(c, start, end, seg.sacks[1]))):
            if c.undo_marker and end <= c.snd_nxt:
                ext.TCPDSACKRecv += 1
            c.dsack_seen = True
            if c.tlp_end and c.tlp_retrans and end >= c.tlp_end:
                c.tlp_end = 0  # the probe was not needed: nothing was lost (RFC 8985 section 7.4.2)
            continue
        if end > ack:
            blocks.append((max(start, ack), end))
    for start, end in blocks:
        known = start
        for cached_start, cached_end in c.sack_cache:
            if cached_start <= known < cached_end:
                known = min(cached_end, end)
        if known < end:
            new += _tag(c, known, end, seg.tsecr, now)
    c.sack_cache = blocks
    return new


def _inside(c: TcpConnection, start: int, end: int, outer: tuple[int, int]) -> bool:
    return unwrap(c.snd_una, outer[0]) <= start and end <= unwrap(c.snd_una, outer[1])


def _tag(c: TcpConnection, start: int, end: int, tsecr: int, now: int) -> int:
    new = 0
    i = _find(c, start)
    highest = c.fack
    while i < len(c.rtxq) and c.rtxq[i].seq < end:
        s = c.rtxq[i]
        if s.sacked:
            i += 1
            continue
        if s.seq < start:
            # Cut at multiples of the segment size only, so that nobody can have it ground to dust.
            n = -(-(start - s.seq) // c.mss) * c.mss
            if n >= len(s.data) or len(c.rtxq) >= MOST_SENT:
                i += 1
                continue
            transmit.split(c, i, n)
            i += 1
            s = c.rtxq[i]
            if s.seq >= end:
                break
        if s.end > end:
            n = (end - s.seq) // c.mss * c.mss
            if n <= 0 or n >= len(s.data) or len(c.rtxq) >= MOST_SENT:
                break
            transmit.split(c, i, n)
            s = c.rtxq[i]
        if s.end < highest and not s.ever:
            c.reordering = True
        if not s.ever and s.end <= c.high_seq:
            c.originals = True
        _rack_advance(c, s, tsecr, now)
        _unmark(c, s)
        s.sacked = True
        new += s.end - s.seq
        c.fack = max(c.fack, s.end)
        i += 1
    c.sacked_out += new
    return new


# RACK
def _reordering_window(c: TcpConnection) -> int:
    """RFC 8985 section 6.2 step 4."""
    if not c.reordering and (c.ca_state != CA_OPEN or c.sacked_out >= 3 * c.mss):
        return 0
    return min(c.reo_mult * c.min_rtt // 4, c.srtt)


def _adapt(c: TcpConnection, ack: int) -> None:
    """Duplicates that were reported show that the window was too short."""
    if c.dsack_seen and ack >= c.reo_round:
        c.reo_round = c.snd_nxt
        c.reo_mult = min(c.reo_mult + 1, 16)
        c.reo_persist = 16
    c.dsack_seen = False


def detect(c: TcpConnection, now: int) -> int:
    """Marks what is lost by now; when to look again, 0: not (section 6.2 step 5)."""
    if not c.rack_sent:
        return 0
    wait = c.rack_rtt + _reordering_window(c)
    again = 0
    for s in c.rtxq:
        if s.sacked or (s.lost and not s.retrans):
            continue
        if s.sent > c.rack_sent or (s.sent == c.rack_sent and s.end >= c.rack_end):
            continue
        left = s.sent + wait - now
        if left <= 0:
            mark_lost(c, s)
        elif left > again:
            again = left
    return now + again if again else 0


def reordering_timeout(c: TcpConnection, now: int) -> None:
    """Section 6.3: what was given time to arrive out of order did not."""
    before = c.lost_out
    again = detect(c, now)
    if c.lost_out > before and c.ca_state == CA_OPEN:
        _enter_recovery(c)
    if c.ca_state == CA_RECOVERY:
        rate_reduction(c, 0, c.lost_out > before)
    transmit.push(c, now)
    if again:
        timeouts.arm(c, timeouts.REORDER, again)
    elif c.rtxq and not c.t_xmit:
        timeouts.arm_rto(c, now)


# Congestion states
def _remember(c: TcpConnection) -> None:
    c.undo_marker = c.snd_una
    c.undo_cwnd = c.cwnd
    c.undo_ssthresh = c.ssthresh
    c.retrans_stamp = 0


def _enter_recovery(c: TcpConnection) -> None:
    ext = c.stack.counters.tcpext
    if c.sack_ok:
        ext.TCPSackRecovery += 1
    else:
        ext.TCPRenoRecovery += 1
    _remember(c)
    c.flight_high = 0
    c.ca_state = CA_RECOVERY
    c.high_seq = c.snd_nxt
    c.ssthresh = c.ca.reduce(c)
    c.recovery_point = max(c.snd_nxt - c.snd_una, c.mss)  # RecoverFS
    c.prr_delivered = c.prr_out = 0
    if c.reo_persist:
        c.reo_persist -= 1
        if not c.reo_persist:
            c.reo_mult = 1


def rate_reduction(c: TcpConnection, delivered: int, lost: bool) -> None:
    """RFC 6937: the window shrinks by and by to ssthresh, never in a burst."""
    c.prr_delivered += delivered
    flight = c.in_flight()
    if flight > c.ssthresh:
        out = -(-c.prr_delivered * c.ssthresh // c.recovery_point) - c.prr_out
    else:
        limit = max(c.prr_delivered - c.prr_out, delivered)
        if not lost:
            limit += c.mss
        out = min(c.ssthresh - flight, limit)
    if c.prr_out == 0 or (lost and not c.sack_ok):
        out = max(out, c.mss)  # the first retransmission goes at once
    c.cwnd = max(flight + max(out, 0), c.mss)


def enter_loss(c: TcpConnection, now: int) -> None:
    """The retransmission timer ran out: all is taken for lost (RFC 5681 section 3.1, RFC 8985 section 6.3)."""
    if c.ca_state != CA_LOSS or c.backoff == 0:
        if c.ca_state != CA_LOSS:
            _remember(c)
            c.ssthresh = c.ca.reduce(c)
        c.high_seq = c.snd_nxt
    c.frto = FRTO_HEAD if c.ca_state != CA_RECOVERY else FRTO_OFF
    c.ca.restart()
    c.flight_high = 0
    c.ca_state = CA_LOSS
    c.cwnd = c.mss
    c.tlp_end = 0
    c.duplicates = 0
    if c.rtxq and c.rtxq[0].sacked:
        # The peer has thrown away what it had reported (RFC 2018 section 8).
        c.frto = FRTO_OFF
        for s in c.rtxq:
            s.sacked = False
        c.sacked_out = 0
        c.sack_cache = []
    for s in c.rtxq:
        if not s.sacked:
            if s.retrans:
                s.retrans = False
                c.retrans_out -= s.end - s.seq
            if not s.lost:
                s.lost = True
                c.lost_out += s.end - s.seq


def _undo(c: TcpConnection) -> None:
    """Nothing had been lost, only late."""
    c.stack.counters.tcpext.TCPFullUndo += 1
    c.cwnd = max(c.cwnd, c.undo_cwnd)
    c.ssthresh = max(c.ssthresh, c.undo_ssthresh)
    c.undo_marker = 0
    for s in c.rtxq:
        _unmark(c, s)
    c.ca_state = CA_OPEN
    c.backoff = 0
    c.frto = FRTO_OFF


def _forward(c: TcpConnection, acked: int, sacked: int, duplicate: bool) -> None:
    """F-RTO (RFC 5682 section 3.1, Linux: tcp_process_loss): after a timeout new data is sent before what is taken for lost, and
    the ACK of something sent once only shows that nothing was."""
    if c.originals and c.undo_marker:
        c.stack.counters.tcpext.TCPSpuriousRTOs += 1
        _undo(c)
    elif c.frto == FRTO_NEW:
        if sacked or duplicate:
            c.frto = FRTO_OFF
    elif acked and c.snd_una < c.high_seq and c.tx.size and c.snd_una + c.snd_wnd > c.snd_nxt:
        c.frto = FRTO_NEW
        c.high_seq = c.snd_nxt
    elif acked or sacked or duplicate:
        c.frto = FRTO_OFF


def acknowledged(
    c: TcpConnection, seg: Segment, acked: int, sacked: int, duplicate: bool, now: int
) -> None:
    """An ACK was processed: ``acked`` bytes cumulatively, ``sacked`` newly reported."""
    spurious = c.undo_marker and c.retrans_stamp and seg.has_ts and seg.tsecr and acked
    if spurious and c.ca_state != CA_OPEN and (seg.tsecr - c.retrans_stamp) & MASK >= 0x80000000:
        _undo(c)
    if c.frto and c.ca_state == CA_LOSS:
        _forward(c, acked, sacked, duplicate)
    c.originals = False
    if c.tlp_end:
        _probe_answered(c, seg, acked, duplicate)
    lost_before = c.lost_out
    again = 0
    if c.sack_ok:
        _adapt(c, c.snd_una)
        if c.sacked_out or c.retrans_out or c.lost_out or c.reordering:
            again = detect(c, now)
    else:
        _newreno(c, acked, duplicate)
    if c.ca_state in (CA_RECOVERY, CA_LOSS) and c.snd_una >= c.high_seq:
        _leave(c)
    if c.lost_out and c.ca_state == CA_OPEN:
        _enter_recovery(c)
    if c.ca_state == CA_RECOVERY:
        rate_reduction(c, acked + sacked, c.lost_out > lost_before)
    elif acked and (c.ca_state == CA_LOSS or _window_was_used(c)):
        c.ca.grow(c, acked, now)
    if again:
        timeouts.arm(c, timeouts.REORDER, again)


def _window_was_used(c: TcpConnection) -> bool:
    """A window grows only while it is the limit (RFC 7661's idea, Linux: tcp_is_cwnd_limited)."""
    if c.cwnd < c.ssthresh:
        return c.cwnd < 2 * max(c.flight_high, c.mss)
    return c.cwnd_limited or c.flight_high >= c.cwnd - c.mss


def _leave(c: TcpConnection) -> None:
    if c.ca_state == CA_RECOVERY:
        c.cwnd = max(c.ssthresh, c.mss)
    c.ca_state = CA_OPEN
    c.frto = FRTO_OFF
    c.undo_marker = 0
    c.duplicates = 0


def _probe_answered(c: TcpConnection, seg: Segment, acked: int, duplicate: bool) -> None:
    """RFC 8985 section 7.4.2: a probe that repaired the only loss must not hide it from congestion control."""
    if c.snd_una < c.tlp_end:
        return
    if not c.tlp_retrans:
        c.tlp_end = 0
    elif c.snd_una > c.tlp_end or (not acked and duplicate and not seg.sacks):
        if acked and c.ca_state == CA_OPEN:
            c.stack.counters.tcpext.TCPLossProbeRecovery += 1
            c.ssthresh = c.ca.reduce(c)
            c.cwnd = c.ssthresh
        c.tlp_end = 0
    elif not c.rtxq:
        c.tlp_end = 0


def _newreno(c: TcpConnection, acked: int, duplicate: bool) -> None:
    """Without SACK three duplicate ACKs tell of one loss, a partial ACK of the next (RFC 6582)."""
    if acked:
        c.duplicates = 0
        if c.ca_state == CA_RECOVERY and c.snd_una < c.high_seq and c.rtxq:
            _lose_head(c)
        return
    if not duplicate or not c.rtxq:
        return
    c.duplicates += 1
    if c.duplicates == 3 and c.ca_state == CA_OPEN:
        _lose_head(c)


def _lose_head(c: TcpConnection) -> None:
    s = c.rtxq[0]
    if len(s.data) > c.mss:
        transmit.split(c, 0, c.mss)
        s = c.rtxq[0]
    if not s.lost:
        mark_lost(c, s)
