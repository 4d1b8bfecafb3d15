"""Congestion control: CUBIC (RFC 9438) and Reno (RFC 5681), slow start with HyStart++ (RFC 9406). Windows are in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from .connection import TcpConnection

C: Final = 0.4
BETA: Final = 0.7
INITIAL_WINDOW: Final = 10  # segments, RFC 6928
NS: Final = 1e9
# HyStart++, RFC 9406 section 4.3
MIN_RTT_THRESH: Final = 4_000_000
MAX_RTT_THRESH: Final = 16_000_000
N_RTT_SAMPLE: Final = 8
CSS_GROWTH_DIVISOR: Final = 4
CSS_ROUNDS: Final = 5


@final
class Congestion:
    """State of one connection. ``epoch``: when this stage of growth began, 0: not yet. ``w_*``, ``k``: as in RFC 9438,
    in segments and seconds. ``round_end``: of this round trip's data; ``samples``, ``rtt``, ``last_rtt``: how many round
    trips were measured in it, the least, the least of the one before; ``css``: rounds of conservative slow start left,
    0: not in it; ``css_rtt``: what led to it."""

    __slots__ = (
        "css", "css_rtt", "cubic", "epoch", "k", "last_rtt", "origin", "round_end", "rtt", "samples", "w_est", "w_max",
    )  # fmt: skip

    def __init__(self) -> None:
        self.cubic = True
        self.epoch = 0
        self.w_max = 0.0
        self.origin = 0.0
        self.k = 0.0
        self.w_est = 0.0
        self.round_end = self.samples = self.rtt = self.last_rtt = self.css = self.css_rtt = 0

    def measured(self, c: TcpConnection, rtt: int) -> None:
        """A round trip in slow start: one that grows means that a queue does (RFC 9406 section 4.2)."""
        if c.cwnd >= c.ssthresh:
            return
        if c.snd_una >= self.round_end:
            self.round_end = c.snd_nxt
            self.last_rtt, self.rtt, self.samples = self.rtt, 0, 0
            if self.css:
                self.css -= 1
                if not self.css:
                    c.ssthresh = c.cwnd
                    return
        self.rtt = min(self.rtt, rtt) if self.rtt else rtt
        self.samples += 1
        if self.samples < N_RTT_SAMPLE or not self.last_rtt:
            return
        if self.css:
            if self.rtt < self.css_rtt:
                self.css = 0
        elif self.rtt >= self.last_rtt + min(
            max(MIN_RTT_THRESH, self.last_rtt // 8), MAX_RTT_THRESH
        ):
            self.css = CSS_ROUNDS
            self.css_rtt = self.rtt

    def reduce(self, c: TcpConnection) -> int:
        """Something was lost: the new ssthresh (RFC 9438 sections 4.6, 4.7)."""
        w = c.cwnd / c.mss
        self.epoch = 0
        if not self.cubic:
            return max(c.cwnd // 2, 2 * c.mss)
        self.w_max = w * (1 + BETA) / 2 if w < self.w_max else w
        return max(int(w * BETA) * c.mss, 2 * c.mss)

    def restart(self) -> None:
        """After a retransmission timeout or a pause."""
        self.epoch = self.css = self.rtt = self.last_rtt = 0

    def grow(self, c: TcpConnection, acked: int, now: int) -> None:
        """``acked`` bytes were delivered while the window was the limit."""
        if c.cwnd < c.ssthresh:
            step = min(acked // CSS_GROWTH_DIVISOR if self.css else acked, c.ssthresh - c.cwnd)
            if self.css:
                c.cwnd += step
                return
            c.cwnd += step
            acked -= step
            if not acked:
                return
        w = c.cwnd / c.mss
        segments = acked / c.mss
        if not self.cubic:
            c.cwnd += max(int(segments / w * c.mss), 1)
            return
        if not self.epoch:
            self.epoch = now
            self.w_est = w
            if w < self.w_max:
                self.k = ((self.w_max - w) / C) ** (1 / 3)
                self.origin = self.w_max
            else:
                self.k = 0.0
                self.origin = w
        t = (now - self.epoch) / NS
        rtt = c.srtt / NS
        target = self.origin + C * (t + rtt - self.k) ** 3
        target = min(max(target, w), 1.5 * w)
        alpha = 1.0 if self.w_est >= self.w_max else 3 * (1 - BETA) / (1 + BETA)
        self.w_est += alpha * segments / w
        friendly = max(self.w_est - w, 0.0)
        step_segments = max((target - w) / w * segments, min(friendly, segments))
        c.cwnd += int(step_segments * c.mss)
