"""Segments that come for a connection (RFC 9293 section 3.10.7.3, 3.10.7.4; attacks: RFC 5961; PAWS: RFC 7323)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..events import EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRNORM
from . import fastopen, recovery, timeouts, transmit
from .ooo import OutOfOrder
from .segment import ACK, FIN, MASK, RST, SYN, URG, Segment, unwrap
from .states import (
    CLOSE_WAIT,
    CLOSING,
    DEFAULT_MSS,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    INVALID_RATELIMIT,
    LAST_ACK,
    MIN_MSS,
    MS,
    PAWS_AGE,
    SNDBUF_MAX,
    SYN_RECV,
    SYN_SENT,
)

if TYPE_CHECKING:
    from .connection import TcpConnection

READ: Final = EPOLLIN | EPOLLRDNORM
WRITE: Final = EPOLLOUT | EPOLLWRNORM


def arrives(c: TcpConnection, seg: Segment, now: int) -> None:
    """A segment whose addresses, ports and checksum are right."""
    c.segs_in += 1
    if c.state == SYN_SENT:
        _syn_sent(c, seg, now)
        return
    seq = unwrap(c.rcv_nxt, seg.seq)
    if not _acceptable(c, seg, seq, now):
        return
    if not seg.flags & ACK:
        return
    ack = unwrap(c.snd_una, seg.ack)
    if c.state == SYN_RECV:
        if ack <= c.snd_una or ack > c.snd_nxt:
            c.stack.tcp.refuse(seg, c.local, c.remote)
            return
        established(c, seg, now)
        c.notify(WRITE)
        if c.dead:
            return
    if not _take_ack(c, seg, seq, ack, now):
        return
    if seg.flags & URG:
        _take_urgent(c, seg, seq)
    if seg.data or seg.flags & FIN:
        if c.state in (CLOSE_WAIT, CLOSING, LAST_ACK):
            c.ack_now = True  # the peer has said it was done
        elif c.orphan and seg.data and seq + len(seg.data) > c.rcv_nxt:
            # Nobody is left to read it (RFC 9293 section 3.10.7.1, RFC 2525 section 2.17).
            c.stack.counters.tcpext.TCPAbortOnData += 1
            transmit.send_reset(c)
            c.finish(0)
            return
        else:
            _take_data(c, seg, seq, now)
            c.charge()
    if c.dead:
        return
    if c.tx.size or c.lost_out or (c.fin_queued and not c.fin_sent):
        transmit.push(c, now)
    if not c.dead:
        acknowledge(c, now)


# Opening
def _syn_sent(c: TcpConnection, seg: Segment, now: int) -> None:
    """RFC 9293 section 3.10.7.3."""
    flags = seg.flags
    if flags & ACK:
        ack = unwrap(c.snd_una, seg.ack)
        if not c.snd_nxt <= ack <= c.snd_nxt + c.syn_data:
            c.stack.tcp.refuse(seg, c.local, c.remote)
            return
        if (
            seg.has_ts
            and c.syn_sent
            and (transmit.timestamp(c, now) - seg.tsecr) & MASK >= 0x80000000
        ):
            c.stack.counters.tcpext.PAWSActive += 1
            c.stack.tcp.refuse(seg, c.local, c.remote)
            return
        if flags & RST:
            c.finish(errno.ECONNREFUSED)
            return
    if flags & RST or not flags & SYN:
        return
    c.irs = unwrap(0, seg.seq) & MASK
    c.snd_wl1 = c.irs
    c.rcv_nxt = c.rcv_wup = c.copied = c.irs + 1
    negotiate(c, seg, now)
    transmit.initial_window(c)
    if flags & ACK:
        fastopen.answered(c, seg, unwrap(c.snd_una, seg.ack) - c.snd_nxt)
        c.snd_una = c.snd_nxt
        established(c, seg, now)
        c.notify(WRITE)
        if c.dead:
            return
        if seg.data or seg.flags & FIN:
            _take_data(c, seg, c.rcv_nxt, now)
            c.charge()
        c.ack_now = True
        if c.tx.size or c.fin_queued:
            transmit.push(c, now)
        if c.ack_now and not c.dead:
            transmit.send_ack(c, now)
        return
    # Both sides have sent a SYN at once.
    c.state = SYN_RECV
    c.backoff = 0
    transmit.send_syn(c, now)
    timeouts.arm_rto(c, now)


def negotiate(c: TcpConnection, seg: Segment, now: int) -> None:
    """The options of a SYN."""
    c.peer_mss = max(seg.mss or DEFAULT_MSS, MIN_MSS)
    c.ts_ok = seg.has_ts
    if seg.has_ts:
        c.ts_recent = seg.tsval
        c.ts_recent_at = now
    c.sack_ok = seg.sack_ok
    if seg.wscale >= 0:
        c.snd_wscale = seg.wscale
        c.rcv_wscale = 7
    else:
        c.snd_wscale = -1
        c.rcv_wscale = 0
    transmit.sync_mss(c)
    c.rcv_mss = max(min(transmit.advertised_mss(c), c.peer_mss), MIN_MSS)
    c.cwnd = 10 * c.mss
    c.snd_wnd = c.max_window = seg.window


def established(c: TcpConnection, seg: Segment, now: int) -> None:
    """The handshake is complete."""
    c.state = FIN_WAIT1 if c.fin_queued else ESTABLISHED
    if c.snd_wscale < 0:
        c.snd_wscale = 0
    if c.syn_sent:
        recovery.measured(c, now - c.syn_sent, now)
    c.backoff = 0
    c.last_rx = now
    c.snd_sml = c.snd_nxt
    c.fack = c.high_seq = max(c.snd_una, c.iss + 1)
    fastopen.done(c)
    timeouts.disarm(c)
    if c.keepalive:
        timeouts.arm_keepalive(c, now)


# Checks
def challenge(c: TcpConnection, now: int) -> None:
    """RFC 5961 section 7: an ACK, rarely. Limited by connection: a limit for all of them would tell an attacker of
    others' (CVE-2016-5696)."""
    if may_answer(c, now):
        c.stack.counters.tcpext.TCPChallengeACK += 1
        transmit.send_ack(c, now)


def may_answer(c: TcpConnection, now: int) -> bool:
    """Whether a segment that is out of place is answered now (net.ipv4.tcp_invalid_ratelimit)."""
    if c.answered and now - c.answered < INVALID_RATELIMIT:
        return False
    c.answered = now
    return True


def _acceptable(c: TcpConnection, seg: Segment, seq: int, now: int) -> bool:
    """The first three checks: sequence number with PAWS, RST, SYN."""
    flags = seg.flags
    if seg.has_ts and c.ts_ok and (seg.tsval - c.ts_recent) & MASK >= 0x80000000:
        if not flags & RST and now - c.ts_recent_at < PAWS_AGE:
            c.stack.counters.tcpext.PAWSEstab += 1
            _duplicate_seen(c, seg, seq)
            if seg.length() or may_answer(c, now):
                transmit.send_ack(c, now)
            return False
    end = seq + seg.length()
    edge = max(c.rcv_adv, c.rcv_nxt)
    if end < c.rcv_wup or seq > edge:
        if not flags & RST:
            if flags & SYN:
                challenge(c, now)
            else:
                _duplicate_seen(c, seg, seq)
                if seg.length() or may_answer(c, now):
                    transmit.send_ack(c, now)
        return False
    if flags & RST:
        _reset(c, seq, now)
        return False
    if flags & SYN:
        if c.state == SYN_RECV and seq == c.irs:
            transmit.send_syn(c, now)
            return flags & ACK != 0
        c.stack.counters.tcpext.TCPSYNChallenge += 1
        challenge(c, now)
        return False
    return True


def _duplicate_seen(c: TcpConnection, seg: Segment, seq: int) -> None:
    """The next ACK says what came twice (RFC 2883)."""
    n = len(seg.data)
    if c.sack_ok and n and seq < c.rcv_nxt:
        c.stack.counters.tcpext.TCPDSACKOldSent += 1
        c.dsack = (seq, min(seq + n, c.rcv_nxt))
    c.quickack = max(c.quickack, 8)


def _reset(c: TcpConnection, seq: int, now: int) -> None:
    """RFC 5961 section 3.2: only the exact sequence number resets."""
    if seq != c.rcv_nxt:
        challenge(c, now)
    elif c.state == CLOSE_WAIT:
        c.finish(errno.EPIPE)
    elif c.state in (CLOSING, LAST_ACK):
        c.finish(0)
    else:
        c.finish(
            errno.ECONNREFUSED if c.state == SYN_RECV and c.early is None else errno.ECONNRESET
        )


# The ACK
def _take_ack(c: TcpConnection, seg: Segment, seq: int, ack: int, now: int) -> bool:
    """False: the segment is to be dropped, or the connection is over."""
    if ack > c.snd_nxt or ack < c.snd_una - c.max_window:
        challenge(c, now)
        return False
    c.last_rx = now
    c.keep_probes = 0
    if seg.has_ts and c.ts_ok and seq <= c.rcv_wup:
        if (seg.tsval - c.ts_recent) & MASK < 0x80000000:
            c.ts_recent = seg.tsval
            c.ts_recent_at = now
    old_window = c.snd_wnd
    if ack < c.snd_una:
        if seg.sacks and c.sack_ok:
            sacked = recovery.take_sacks(c, seg, c.snd_una, now)
            recovery.acknowledged(c, seg, 0, sacked, False, now)
        return True
    wnd = seg.window << c.snd_wscale
    if ack > c.snd_una or seq > c.snd_wl1 or (seq == c.snd_wl1 and wnd != c.snd_wnd):
        c.snd_wnd = wnd
        c.snd_wl1 = seq
        c.max_window = max(c.max_window, wnd)
    acked = ack - c.snd_una
    if not acked and not c.rtxq:
        _window_news(c, old_window, now)
        return True
    return _progress(c, seg, ack, acked, wnd == old_window, now)


def _window_news(c: TcpConnection, old: int, now: int) -> None:
    """An ACK while nothing is in flight: an answer to a probe or a window update."""
    c.probes = 0
    if c.xmit_kind == timeouts.PROBE and c.snd_wnd > old:
        c.backoff = 0
        timeouts.disarm(c)


def _progress(
    c: TcpConnection, seg: Segment, ack: int, acked: int, same_window: bool, now: int
) -> bool:
    duplicate = not acked and not seg.data and not seg.flags & FIN and same_window
    rtt = -1
    if acked:
        c.snd_una = ack
        c.bytes_acked += acked
        rtt = recovery.clean(c, ack, seg.tsecr, now)
        if rtt >= 0:
            recovery.measured(c, rtt, now)
            c.ca.measured(c, rtt)
        elif seg.has_ts and seg.tsecr and c.ts_ok:
            ms = (transmit.timestamp(c, now) - seg.tsecr) & MASK
            if ms < 0x80000000:
                recovery.measured(c, ms * MS, now)
        c.backoff = c.probes = 0
        c.path.iface.neighbours.confirm(c.path.hop)
    sacked = recovery.take_sacks(c, seg, ack, now) if seg.sacks and c.sack_ok else 0
    if sacked and not acked:
        newest = c.rack_rtt
        if newest and not c.srtt:
            recovery.measured(c, newest, now)
    if acked:
        if c.rtxq:
            timeouts.arm_rto(c, now)
        else:
            timeouts.disarm(c)
            c.fack = c.snd_una
    recovery.acknowledged(c, seg, acked, sacked, duplicate, now)
    if acked:
        if c.fin_sent and c.snd_una == c.snd_nxt and not _fin_acknowledged(c, now):
            return False
        _more_room(c)
        if c.rtxq and c.xmit_kind == timeouts.RTO:
            timeouts.arm_loss_probe(c, now)
    return not c.dead


def _more_room(c: TcpConnection) -> None:
    """The send buffer follows the congestion window; a waiting writer is told."""
    if not c.snd_fixed and c.sndbuf < 2 * c.cwnd:
        c.sndbuf = min(2 * c.cwnd + 64 * 1024, SNDBUF_MAX)
    if c.nospace and c.writable():
        c.nospace = False
        c.notify(WRITE)


def _fin_acknowledged(c: TcpConnection, now: int) -> bool:
    """False: that was the end."""
    if c.state == FIN_WAIT1:
        c.state = FIN_WAIT2
        c.notify(WRITE)
        if c.orphan and not c.dead:
            timeouts.arm_fin_wait2(c, now)
    elif c.state == CLOSING:
        c.stack.tcp.time_wait(c, now)
        return False
    elif c.state == LAST_ACK:
        c.finish(0)
        return False
    return True


# Data
def _take_urgent(c: TcpConnection, seg: Segment, seq: int) -> None:
    """The urgent pointer, as Linux and BSD understand it: after the urgent byte (RFC 6093 section 2.1)."""
    if not seg.urg:
        return
    mark = seq + seg.urg - 1
    if mark < c.copied or mark < c.rcv_nxt or (c.urg_seq and mark <= c.urg_seq):
        return
    c.urg_seq = mark
    c.urg_valid = False
    c.notify(EPOLLPRI)


def _urgent_byte(c: TcpConnection, data: bytes, seq: int) -> None:
    if c.urg_seq and not c.urg_valid and seq <= c.urg_seq < seq + len(data):
        c.urg_data = data[c.urg_seq - seq]
        c.urg_valid = True
        c.notify(EPOLLPRI)


def _take_data(c: TcpConnection, seg: Segment, seq: int, now: int) -> None:
    data = seg.data
    fin = seg.flags & FIN != 0
    if data:
        c.data_segs_in += 1
        size = seg.gso_size or len(data)
        if size > c.rcv_mss:
            c.rcv_mss = min(size, max(transmit.advertised_mss(c), c.rcv_mss))
        elif size >= DEFAULT_MSS:
            c.rcv_mss = size
        _measure_receiver(c, seg, now)
    if seq < c.rcv_nxt:
        old = c.rcv_nxt - seq
        if data:
            _duplicate_seen(c, seg, seq)
            c.ack_now = True
        if old > len(data) or (old == len(data) and not fin):
            c.ack_now = True
            return
        data = data[old:]
        seq = c.rcv_nxt
    room = max(c.rcv_adv, c.rcv_nxt) - seq
    if len(data) > room:
        data = data[: max(room, 0)]
        fin = False
        c.ack_now = True
        if not data:
            return
    if fin:
        c.fin_at = seq + len(data)
    if seq > c.rcv_nxt:
        _out_of_order(c, seq, data)
        return
    if data:
        _urgent_byte(c, data, seq)
        c.rx.append(data)
        c.rcv_nxt += len(data)
        c.bytes_received += len(data)
        c.ack_bytes += len(data)
    if c.ooo is not None:
        _drain(c)
    if c.fin_at and c.rcv_nxt == c.fin_at:
        _take_fin(c, now)
    elif data:
        c.notify(READ)


def _measure_receiver(c: TcpConnection, seg: Segment, now: int) -> None:
    """A round trip as a receiver sees it, for the size of the window."""
    if seg.has_ts and seg.tsecr and c.ts_ok:
        ms = (transmit.timestamp(c, now) - seg.tsecr) & MASK
        if ms < 0x10000:
            rtt = max(ms, 1) * MS
            c.rcv_rtt = rtt if not c.rcv_rtt else min(rtt, c.rcv_rtt + (rtt - c.rcv_rtt) // 8)
    elif not c.rcv_rtt:
        c.rcv_rtt = c.srtt or 20 * MS


def _out_of_order(c: TcpConnection, seq: int, data: bytes) -> None:
    c.ack_now = True
    if not data:
        return
    if c.ooo is None:
        c.ooo = OutOfOrder()
    ext = c.stack.counters.tcpext
    if c.ooo.cost + len(data) > 2 * c.rcvbuf or c.stack.tcp.queued > c.stack.tcp.limit:
        ext.TCPOFODrop += 1
        return
    ext.TCPOFOQueue += 1
    dup = c.ooo.add(seq, data)
    if dup[1] and c.sack_ok:
        ext.TCPDSACKOfoSent += 1
        c.dsack = dup


def _drain(c: TcpConnection) -> None:
    """What had come ahead follows now."""
    ooo = c.ooo
    if ooo is None:
        return
    c.ack_now = True
    for piece in ooo.pop(c.rcv_nxt):
        _urgent_byte(c, piece, c.rcv_nxt)
        c.rx.append(piece)
        c.rcv_nxt += len(piece)
        c.bytes_received += len(piece)
    if not ooo.blocks:
        c.ooo = None


def _take_fin(c: TcpConnection, now: int) -> None:
    """The peer has finished (RFC 9293 section 3.10.7.4, eighth)."""
    c.rcv_nxt += 1
    c.fin_received = True
    c.ack_now = True
    if c.state == ESTABLISHED:
        c.state = CLOSE_WAIT
    elif c.state == FIN_WAIT1:
        c.state = CLOSING
    elif c.state == FIN_WAIT2:
        transmit.send_ack(c, now)
        c.stack.tcp.time_wait(c, now)
        return
    mask = READ | EPOLLRDHUP
    c.notify(mask | EPOLLHUP if c.fin_queued else mask)


def acknowledge(c: TcpConnection, now: int) -> None:
    """Sends or schedules the ACK that is due (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2)."""
    if c.ack_now:
        transmit.send_ack(c, now)
    elif c.rcv_nxt != c.rcv_wup:
        if c.ack_bytes >= 2 * c.rcv_mss or (c.quickack > 0 and not c.pingpong):
            owed = c.stack.tcp.owed
            # Frames that lie in the link's queue together are acknowledged together, as a merged one would be; not so many
            # that the peer has to stop.
            if owed is None or c.ack_bytes > c.rcvbuf >> 2:
                transmit.send_ack(c, now)
            else:
                owed[c] = None
        else:
            timeouts.arm_delayed_ack(c, now)
