"""What was sent and is not acknowledged: the retransmission queue's elements."""

from __future__ import annotations

from typing import final


@final
class Sent:
    """A stretch that was sent and is not acknowledged (RFC 8985 section 5.1). ``end``: after its FIN. ``lost`` and
    ``sacked`` exclude each other; ``retrans``: sent again since it was found lost; ``ever``: sent again at all."""

    __slots__ = ("data", "end", "ever", "fin", "lost", "retrans", "sacked", "sent", "seq")

    def __init__(self, seq: int, data: bytes, fin: bool, now: int) -> None:
        self.seq = seq
        self.data = data
        self.fin = fin
        self.end = seq + len(data) + fin
        self.sent = now
        self.sacked = self.lost = self.retrans = self.ever = False
