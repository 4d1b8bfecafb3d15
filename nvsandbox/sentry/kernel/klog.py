"""The kernel's log of one container (Linux: kernel/printk/printk.c; syslog(2), Documentation/ABI/testing/dev-kmsg).

Nothing of the host's is in it: a line that says which kernel this is, and what programs write to /dev/kmsg. It is bounded; the oldest
records go.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Final, NamedTuple, final

from .wait import POLL_READ, WaitQueue

MAX_RECORDS: Final = 1024
MAX_LINE: Final = 992
"""Bytes of a record (LOG_LINE_MAX, 1024 less the prefix)."""
SIZE: Final = 1 << 17
"""What SYSLOG_ACTION_SIZE_BUFFER answers."""
USER: Final = 1
NOTICE: Final = 5


class Record(NamedTuple):
    """One line. ``priority``: facility times 8 and level."""

    seq: int
    usec: int
    priority: int
    text: bytes


@final
class KernelLog:
    """``clear_seq`` and ``read_seq`` are syslog(2)'s: what CLEAR has hidden, what READ has given away."""

    __slots__ = ("_boot_ns", "clear_seq", "next_seq", "queue", "read_seq", "records")

    def __init__(self, banner: bytes) -> None:
        self._boot_ns = time.monotonic_ns()
        self.records: deque[Record] = deque(maxlen=MAX_RECORDS)
        self.next_seq = self.clear_seq = self.read_seq = 0
        self.queue = WaitQueue()
        self._append(NOTICE, banner)

    def _append(self, priority: int, text: bytes) -> None:
        usec = (time.monotonic_ns() - self._boot_ns) // 1000
        self.records.append(Record(self.next_seq, usec, priority, text))
        self.next_seq += 1
        self.queue.wake(POLL_READ)

    def write(self, data: bytes) -> None:
        """A line from a program, ``<N>`` before it or not. Nobody but the kernel has facility 0."""
        priority = USER << 3 | 4  # the default level is a warning
        if data.startswith(b"<"):
            number, sep, rest = data[1:].partition(b">")
            if sep and number.isdigit() and len(number) < 5:
                given = int(number)
                priority = given if given >> 3 else USER << 3 | given
                data = rest
        self._append(priority, data.removesuffix(b"\n"))

    @property
    def first_seq(self) -> int:
        return self.records[0].seq if self.records else self.next_seq

    def at(self, seq: int) -> Record:
        """The record ``seq``, which must be there."""
        return self.records[seq - self.first_seq]

    def since(self, seq: int) -> list[Record]:
        return [r for r in self.records if r.seq >= seq]


def line(r: Record) -> bytes:
    """As syslog(2) gives it."""
    return b"<%d>[%5d.%06d] %s\n" % (r.priority, r.usec // 10**6, r.usec % 10**6, r.text)


def extended(r: Record) -> bytes:
    """As /dev/kmsg gives it: what is not printable is escaped."""
    text = b"".join(bytes((c,)) if 32 <= c < 127 and c != 92 else b"\\x%02x" % c for c in r.text)
    return b"%d,%d,%d,-;%s\n" % (r.priority, r.seq, r.usec, text)
