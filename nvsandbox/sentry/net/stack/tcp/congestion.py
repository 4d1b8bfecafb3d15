"""Congestion control: CUBIC (RFC 9438) and Reno (RFC 5681). Windows are in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from .connection import TcpConnection

C: Final = 0.4
BETA: Final = 0.7
INITIAL_WINDOW: Final = 10  # segments, RFC 6928
NS: Final = 1e9


@final
class Congestion:
    """State of one connection. ``epoch``: when this stage of growth began, 0: not yet. ``w_*``, ``k``: as in RFC 9438,
    in segments and seconds."""

    __slots__ = ("cubic", "epoch", "k", "origin", "w_est", "w_max")

    def __init__(self) -> None:
        self.cubic = True
        self.epoch = 0
        self.w_max = 0.0
        self.origin = 0.0
        self.k = 0.0
        self.w_est = 0.0

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
        self.epoch = 0

    def grow(self, c: TcpConnection, acked: int, now: int) -> None:
        """``acked`` bytes were delivered while the window was the limit."""
        if c.cwnd < c.ssthresh:
            step = min(acked, c.ssthresh - c.cwnd)
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
