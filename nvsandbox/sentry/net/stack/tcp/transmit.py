"""What a connection sends: data within both windows, ACKs, SYNs, resets (RFC 9293 section 3.8; Linux: tcp_output.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..checksum import finish, parts_sum, pseudo_sum
from ..link import GSO_TCPV4, GSO_TCPV6, Offload
from ..output import find_path, send
from . import recovery, timeouts
from .segment import ACK, FIN, HEADER, MASK, PSH, RST, SYN, URG, sack_option, syn_options
from .sent import Sent
from .states import (
    CA_LOSS,
    CA_OPEN,
    CA_RECOVERY,
    FRTO_NEW,
    FRTO_OFF,
    MIN_MSS,
    MOST_SENT,
    MS,
    RCVBUF_MAX,
    SYN_RECV,
    WSCALE,
    S,
)

if TYPE_CHECKING:
    from .connection import TcpConnection

GSO_LIMIT: Final = 65535
TS_SIZE: Final = 12


def sync_mss(c: TcpConnection) -> None:
    """The segment size that path, peer and user allow (RFC 9293 section 3.7.1, RFC 6691)."""
    head = 40 if len(c.remote[0]) == 4 else 60
    mss = min(c.path.mtu - head, c.peer_mss)
    if c.maxseg:
        mss = min(mss, c.maxseg)
    if c.ts_ok:
        mss -= TS_SIZE
    c.mss = max(mss, MIN_MSS)
    link = c.path.iface.link
    c.gso_limit = c.mss
    if link.max_gso and link.checksums:
        room = min(link.max_gso, GSO_LIMIT) - head - 40  # all options there may be
        c.gso_limit = max(room // c.mss, 1) * c.mss


def advertised_mss(c: TcpConnection) -> int:
    """The MSS option: what the link takes, whatever the path."""
    mss = c.path.iface.link.mtu - (40 if len(c.remote[0]) == 4 else 60)
    return max(min(mss, c.maxseg) if c.maxseg else mss, MIN_MSS)


def refresh_path(c: TcpConnection) -> bool:
    """Asks for the route again; False: there is none now."""
    path = find_path(c.stack, c.remote[0], c.iface)
    if isinstance(path, int):
        c.soft_error = -path
        return False
    if path.mtu != c.path.mtu or path.iface is not c.path.iface:
        c.path = path
        sync_mss(c)
    c.path = path
    return True


def timestamp(c: TcpConnection, now: int) -> int:
    """Our clock of milliseconds, from a random start."""
    return (now // MS + c.ts_offset) & MASK


def emit(c: TcpConnection, seq: int, flags: int, data: bytes, options: bytes, window: int) -> bool:
    """One segment, maybe a super-segment, on its way; False: it was dropped before it left."""
    path = c.path
    if not path.valid(c.stack):
        if not refresh_path(c):
            return False
        path = c.path
    urgent = 0
    if c.snd_up > seq and flags & (SYN | RST) == 0:
        ahead = c.snd_up - seq
        if ahead <= 0xFFFF:
            urgent = ahead
            flags |= URG
    size = 20 + len(options)
    length = size + len(data)
    src, dst = c.local[0], c.remote[0]
    pseudo = pseudo_sum(src, dst, 6, length)
    ack = c.rcv_nxt & MASK if flags & ACK else 0
    link = path.iface.link
    word = size << 10 | flags
    head = HEADER.pack(
        c.local[1],
        c.remote[1],
        seq & MASK,
        ack,
        word,
        window,
        pseudo if link.checksums else 0,
        urgent,
    )
    parts = [head + options, data] if data else [head + options]
    offload: Offload | None = None
    segments = 1
    if link.checksums:
        offload = Offload(0, 16, hdr_len=size)
        if len(data) > c.mss:
            offload.gso_type = GSO_TCPV4 if len(dst) == 4 else GSO_TCPV6
            offload.gso_size = c.mss
            segments = -(-len(data) // c.mss)
    else:
        total = finish(pseudo + parts_sum(parts))
        parts[0] = head[:16] + total + head[18:] + options
    c.stack.counters.tcp.OutSegs += segments
    c.segs_out += segments
    if flags & ACK:
        c.rcv_wup = c.rcv_nxt
        c.ack_bytes = 0
        c.ack_now = False
        c.t_ack = 0
    return send(c.stack, path, src, 6, parts, c.ttl, c.tos, True, offload, owner=c.owner) == 0


def header_options(c: TcpConnection, now: int) -> bytes:
    """Timestamps, when both sides use them."""
    if not c.ts_ok:
        return b""
    return b"\1\1\x08\x0a" + timestamp(c, now).to_bytes(4, "big") + c.ts_recent.to_bytes(4, "big")


def sack_blocks(c: TcpConnection, room: int) -> bytes:
    """A SACK option of up to ``room`` bytes, a duplicate first (RFC 2883)."""
    most = (room - 4) // 8
    if most < 1:
        return b""
    blocks: list[tuple[int, int]] = []
    if c.dsack[1]:
        blocks.append(c.dsack)
        c.dsack = (0, 0)
    if c.ooo is not None:
        blocks += c.ooo.sacks()
    return sack_option(blocks[:most]) if blocks else b""


# Receiver's window
def window(c: TcpConnection) -> int:
    """The window field. The right edge never moves back (RFC 9293 section 3.8.6.2.2, Linux: __tcp_select_window)."""
    free = c.rcvbuf - c.rx.size
    now_open = max(c.rcv_adv - c.rcv_nxt, 0)
    table = c.stack.tcp
    if free < min(c.rcv_mss, c.rcvbuf) or free < c.rcvbuf >> 4 or table.queued > table.limit:
        free = 0
    shift = c.rcv_wscale
    if free <= now_open:
        wnd = -(-now_open >> shift) << shift
    else:
        wnd = free >> shift << shift
    wnd = min(wnd, 0xFFFF << shift)
    ext = c.stack.counters.tcpext
    if not wnd and now_open:
        ext.TCPToZeroWindowAdv += 1
    elif wnd and not now_open:
        ext.TCPFromZeroWindowAdv += 1
    c.rcv_adv = max(c.rcv_adv, c.rcv_nxt + wnd)
    return wnd >> shift


def window_opened(c: TcpConnection, now: int) -> None:
    """Something was read: the peer is told when the window has grown a lot; the buffer grows with the speed."""
    if c.dead or c.fin_received:
        return
    if not c.rcv_fixed and c.rcv_rtt and now - c.rcv_space_at >= c.rcv_rtt:
        # Dynamic right-sizing: twice what was read in a round trip (Linux: tcp_rcv_space_adjust).
        got = c.copied - c.rcv_space_copied
        table = c.stack.tcp
        if c.rcv_space_at and got > c.rcv_space and table.queued < table.limit // 2:
            want = 2 * got + 16 * c.rcv_mss
            want += 2 * want * (got - c.rcv_space) // c.rcv_space
            c.rcv_space = got
            c.rcvbuf = min(max(c.rcvbuf, want), RCVBUF_MAX if c.rcv_wscale else 65535)
        c.rcv_space_at = now
        c.rcv_space_copied = c.copied
    now_open = c.rcv_adv - c.rcv_nxt
    free = c.rcvbuf - c.rx.size
    if now_open <= c.rcvbuf >> 1 and free >= 2 * now_open and free >= min(c.rcv_mss, c.rcvbuf >> 1):
        send_ack(c, now)


def initial_window(c: TcpConnection) -> int:
    """A SYN's window, which is not scaled."""
    wnd = min(c.rcvbuf, 65535)
    c.rcv_adv = c.rcv_nxt + wnd
    return wnd


# Segments
def send_ack(c: TcpConnection, now: int) -> None:
    """A bare ACK, SACK blocks included."""
    options = header_options(c, now)
    if c.sack_ok and (c.ooo is not None or c.dsack[1]):
        options += sack_blocks(c, 40 - len(options))
    if c.quickack > 0:
        c.quickack -= 1
    emit(c, c.snd_nxt, ACK, b"", options, window(c))


def send_probe(c: TcpConnection, now: int) -> None:
    """A segment from before the window, which the peer has to answer (keepalive and window probes as Linux sends them)."""
    emit(c, c.snd_una - 1, ACK, b"", header_options(c, now), window(c))


def send_syn(c: TcpConnection, now: int) -> None:
    """The SYN, or SYN-ACK in SYN-RECEIVED."""
    flags = SYN
    if c.state == SYN_RECV:
        flags |= ACK
        ts, sack, scale = c.ts_ok, c.sack_ok, WSCALE if c.snd_wscale >= 0 else -1
    else:
        ts = sack = True
        scale = WSCALE
    cookie: bytes | None = None
    data = b""
    if c.state == SYN_RECV:
        pass
    elif c.fast and not c.backoff:
        known = c.stack.tcp.fast.known(c.remote[0])
        cookie = known[0] if known is not None else b""
        data = c.tx.peek(c.syn_data)
    options = syn_options(
        advertised_mss(c),
        scale,
        sack,
        ts,
        timestamp(c, now),
        c.ts_recent if c.state == SYN_RECV else 0,
        cookie,
    )
    c.last_tx = now
    emit(c, c.iss, flags, data, options, initial_window(c))


def send_reset(c: TcpConnection) -> None:
    """RST for a connection that is being given up."""
    c.stack.counters.tcp.OutRsts += 1
    emit(c, c.snd_nxt, RST | ACK, b"", b"", 0)


def send_sent(c: TcpConnection, s: Sent, now: int) -> bool:
    """A stretch of data, for the first or another time."""
    flags = ACK
    if s.fin:
        flags |= FIN
    if s.data and (s.end - s.fin == c.snd_nxt or c.tx.size == 0):
        flags |= PSH
    options = header_options(c, now)
    data = s.data
    if c.sack_ok and len(data) <= c.mss - 36 and (c.ooo is not None or c.dsack[1]):
        options += sack_blocks(c, 40 - len(options))
    s.sent = now
    if data:
        c.data_segs_out += -(-len(data) // c.mss)
        c.bytes_sent += len(data)
        if c.last_rx and now - c.last_rx < 40 * MS:
            c.pingpong = True
    c.last_tx = now
    wnd = window(c)
    if len(data) <= c.gso_limit:
        return emit(c, s.seq, flags, data, options, wnd)
    # The limit has shrunk since the stretch was cut.
    ok = True
    for at in range(0, len(data), c.gso_limit):
        piece = data[at : at + c.gso_limit]
        last = at + len(piece) == len(data)
        ok = (
            emit(c, s.seq + at, flags if last else flags & ~(FIN | PSH), piece, options, wnd) and ok
        )
    return ok


def push(c: TcpConnection, now: int, force: bool = False) -> None:
    """Sends lost stretches again, then new data as far as the windows, Nagle and cork allow (``force``: not those)."""
    if c.lost_out and c.lost_out > c.retrans_out and c.frto != FRTO_NEW:
        retransmit_lost(c, now)
    sent_any = False
    if c.tx.size or (c.fin_queued and not c.fin_sent):
        if not c.rtxq and c.last_tx and now - c.last_tx > c.rto:
            _restart_after_idle(c)
        sent_any = _send_new(c, now, force or c.frto == FRTO_NEW)
    if c.frto == FRTO_NEW and c.snd_nxt == c.high_seq:  # nothing could be sent
        c.frto = FRTO_OFF
        retransmit_lost(c, now)
    if sent_any and c.ca_state == CA_OPEN:
        timeouts.arm_loss_probe(c, now)
    if not c.rtxq and not c.t_pace and (c.tx.size or (c.fin_queued and not c.fin_sent)):
        timeouts.arm_window_probe(c, now)


def _restart_after_idle(c: TcpConnection) -> None:
    """After a pause the window starts from the initial one (RFC 5681 section 4.1)."""
    c.cwnd = min(c.cwnd, 10 * c.mss)
    c.ca.restart()


def _send_new(c: TcpConnection, now: int, force: bool) -> bool:
    sent_any = False
    mss = c.mss
    c.cwnd_limited = False
    while True:
        left = c.tx.size
        flight = c.in_flight()
        if left == 0 and not (c.fin_queued and not c.fin_sent):
            break
        # Tiny segments count as whole ones, or a window of megabytes would be a million of them.
        most = min((c.cwnd + 2 * (c.snd_nxt - c.snd_una)) // mss + 1, MOST_SENT)
        if c.rtxq and len(c.rtxq) > most:
            c.cwnd_limited = True
            break
        by_peer = c.snd_una + c.snd_wnd - c.snd_nxt
        by_cwnd = c.cwnd - flight
        if c.ca_state in (CA_RECOVERY, CA_LOSS) and by_cwnd < mss:
            break
        if c.pace:
            if c.pace_at > now:
                timeouts.arm_pace(c)
                break
            # As much as the rate gives in a millisecond, but two segments (Linux: tcp_tso_autosize).
            by_cwnd = min(by_cwnd, max(c.pace >> 10, 2 * mss))
        take = _how_much(c, left, min(by_peer, by_cwnd), by_peer, force)
        if take < 0:
            c.cwnd_limited = by_cwnd < min(left, mss) or by_cwnd < by_peer
            break
        fin = c.fin_queued and take == left
        s = Sent(c.snd_nxt, c.tx.take(take) if take else b"", fin, now)
        c.rtxq.append(s)
        c.snd_nxt = s.end
        if fin:
            c.fin_sent = True
        if take % mss:
            c.snd_sml = c.snd_nxt
        if c.ca_state == CA_RECOVERY:
            c.prr_out += s.end - s.seq
        if c.pace:
            c.pace_at = max(c.pace_at, now - MS) + (s.end - s.seq) * S // c.pace
        left_us = send_sent(c, s, now)
        sent_any = True
        if not c.t_xmit or c.xmit_kind == timeouts.PROBE:
            timeouts.arm_rto(c, now)
        if not left_us:
            # The link's queue is full: that is congestion too, and known at once.
            recovery.mark_lost(c, s)
            break
    flight = c.in_flight()
    if flight > c.flight_high:
        c.flight_high = flight
    return sent_any


def _how_much(c: TcpConnection, left: int, room: int, by_peer: int, force: bool) -> int:
    """Bytes for the next segment, 0: a bare FIN, -1: nothing now (RFC 9293 section 3.8.6.2.1, RFC 896, Minshall's variant)."""
    mss = c.mss
    if left == 0:
        return 0
    if room <= 0:
        return -1
    if left <= room:
        take = min(left, c.gso_limit)
    else:
        take = min(room // mss * mss, c.gso_limit)
        if take == 0:
            # The window is smaller than a segment: only half of the largest ever seen is worth using.
            if room < by_peer or c.rtxq:
                return -1
            return min(room, left) if force or room >= c.max_window >> 1 else -1
    if take < left or take % mss == 0 or force or c.fin_queued or left > take:
        return take
    waits = c.cork or (not c.nodelay and c.rtxq and c.snd_sml > c.snd_una)
    if waits and c.snd_up <= c.snd_nxt:
        whole = take // mss * mss
        return whole if whole else -1
    return take


def split(c: TcpConnection, i: int, n: int) -> None:
    """Cuts stretch ``i`` after ``n`` bytes of data; both keep its state."""
    s = c.rtxq[i]
    t = Sent(s.seq + n, s.data[n:], s.fin, s.sent)
    s.data = s.data[:n]
    s.fin = False
    s.end = s.seq + n
    t.sacked, t.lost, t.retrans, t.ever = s.sacked, s.lost, s.retrans, s.ever
    c.rtxq.insert(i + 1, t)


def retransmit(c: TcpConnection, i: int, most: int, now: int) -> bool:
    """Sends stretch ``i`` again, ``most`` bytes of it at the most; counts it as in flight again."""
    s = c.rtxq[i]
    n = max(most // c.mss, 1) * c.mss
    if len(s.data) > n:
        split(c, i, n)
        s = c.rtxq[i]
    size = s.end - s.seq
    if s.lost and not s.retrans:
        s.retrans = True
        c.retrans_out += size
    s.ever = True
    if not c.retrans_stamp and c.ts_ok:
        c.retrans_stamp = timestamp(c, now) or 1
    segments = max(-(-len(s.data) // c.mss), 1)
    c.total_retrans += segments
    c.bytes_retrans += len(s.data)
    c.stack.counters.tcp.RetransSegs += segments
    return send_sent(c, s, now)


def retransmit_lost(c: TcpConnection, now: int) -> None:
    """Stretches known to be lost, as far as the congestion window allows."""
    i = 0
    ext = c.stack.counters.tcpext
    while i < len(c.rtxq) and c.lost_out > c.retrans_out:
        s = c.rtxq[i]
        if s.lost and not s.retrans:
            room = c.cwnd - c.in_flight()
            if room < min(c.mss, s.end - s.seq) and c.in_flight() > 0:
                return
            retransmit(c, i, min(max(room, c.mss), c.gso_limit), now)
            s = c.rtxq[i]
            if c.ca_state == CA_RECOVERY:
                c.prr_out += s.end - s.seq
                ext.TCPFastRetrans += 1
            else:
                ext.TCPSlowStartRetrans += 1
            if not c.t_xmit or c.xmit_kind != timeouts.RTO:
                timeouts.arm_rto(c, now)
        i += 1
