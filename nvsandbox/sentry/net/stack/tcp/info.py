"""``struct tcp_info`` (linux/tcp.h of Linux 6.1)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from .states import MS

if TYPE_CHECKING:
    from .connection import TcpConnection

OPT_TIMESTAMPS: Final = 1
OPT_SACK: Final = 2
OPT_WSCALE: Final = 4
OPT_SYN_DATA: Final = 32


def tcp_info(c: TcpConnection) -> bytes:
    """Times in microseconds and milliseconds as there; what isn't kept is zero."""
    now = c.stack.now()
    options = (OPT_TIMESTAMPS if c.ts_ok else 0) | (OPT_SACK if c.sack_ok else 0)
    options |= OPT_WSCALE if c.rcv_wscale or c.snd_wscale else 0
    options |= OPT_SYN_DATA if c.syn_taken else 0
    mss = max(c.mss, 1)
    ssthresh = c.ssthresh // mss if c.ssthresh < 0x7FFFFFFF else 0x7FFFFFFF
    notsent = c.tx.size
    head = struct.pack(
        "<8B24I", c.state, c.ca_state, c.backoff, c.probes, c.backoff, options, c.snd_wscale | c.rcv_wscale << 4, 0,
        c.rto // 1000, 40000, c.mss, c.rcv_mss,
        -(-(c.snd_nxt - c.snd_una) // mss), -(-c.sacked_out // mss), -(-c.lost_out // mss), -(-c.retrans_out // mss), 0,
        _age(now, c.last_tx), 0, _age(now, c.last_rx), _age(now, c.last_rx),
        c.path.mtu, min(c.rcvbuf, 0xFFFFFFFF), c.srtt // 1000, c.rttvar // 1000, ssthresh, c.cwnd // mss, c.mss, 3,
        c.rcv_rtt // 1000, c.rcv_space, c.total_retrans,
    )  # fmt: skip
    rate = c.cwnd * 1_000_000_000 // c.srtt if c.srtt else 0
    head += struct.pack(
        "<4Q",
        min(rate, c.pace or rate),
        c.pace or 0xFFFFFFFFFFFFFFFF,
        c.bytes_acked,
        c.bytes_received,
    )
    min_rtt = c.min_rtt // 1000 if c.min_rtt else 0xFFFFFFFF
    head += struct.pack(
        "<6I", c.segs_out, c.segs_in, notsent, min_rtt, c.data_segs_in, c.data_segs_out
    )
    head += struct.pack("<4Q2I2Q", 0, 0, 0, 0, 0, 0, c.bytes_sent, c.bytes_retrans)
    ooo = len(c.ooo.blocks) if c.ooo is not None else 0
    return head + struct.pack("<4I", 0, int(c.reordering), ooo, min(c.snd_wnd, 0xFFFFFFFF))


def _age(now: int, then: int) -> int:
    return min((now - then) // MS, 0xFFFFFFFF) if then else 0
