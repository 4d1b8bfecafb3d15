"""Descriptors in flight over Unix sockets, and the collection of unreachable cycles (Linux: net/unix/garbage.c).

A socket whose every reference lies in messages that only such sockets hold can never be received again. As in Linux the
collector runs when a Unix socket is closed while others are in flight (not at every close, so that closing many
stays linear) and when descriptors are sent while many are.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from ..errors import SysErr

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

MAX_DEPTH = 65536  # files in flight in the whole sandbox
COLLECT_LEAST = 256  # sockets in flight from which sending collects too
RLIMIT_NOFILE = 7


class Carrier(Protocol):
    """A socket that can hold descriptors in its queue."""

    refs: int

    def carried(self) -> list[FileDescription]: ...

    def purge(self) -> None: ...


_inflight: dict[Carrier, int] = {}  # carriers in flight: how often
_files = 0
_collect_at = COLLECT_LEAST
_closes = 0


def check_limit(t: Task, n: int) -> None:
    """Raises ETOOMANYREFS."""
    global _collect_at
    if len(_inflight) >= _collect_at:
        collect()
        _collect_at = max(COLLECT_LEAST, 2 * len(_inflight))
    limit = min(t.tg.rlimit(RLIMIT_NOFILE), MAX_DEPTH)
    if _files + n > (MAX_DEPTH if t.creds.uid == 0 else limit):
        raise SysErr(errno.ETOOMANYREFS)


def sent(files: list[FileDescription], carriers: list[Carrier]) -> None:
    """``files`` (``carriers`` are those among them that carry) entered a queue."""
    global _files
    _files += len(files)
    for c in carriers:
        _inflight[c] = _inflight.get(c, 0) + 1


def landed(files: list[FileDescription], carriers: list[Carrier]) -> None:
    """They left it."""
    global _files
    _files -= len(files)
    for c in carriers:
        n = _inflight.get(c, 0) - 1
        if n > 0:
            _inflight[c] = n
        else:
            _inflight.pop(c, None)


def closed() -> None:
    """A Unix socket was closed: maybe time to collect."""
    global _closes
    if not _inflight:
        return
    _closes += 1
    if _closes * 16 >= len(_inflight):
        _closes = 0
        collect()


def collect() -> int:
    """Empties the queues of the unreachable; how many those were."""
    suspects: dict[object, Carrier] = {c: c for c, n in _inflight.items() if c.refs == n}
    inside: dict[object, int] = dict.fromkeys(suspects, 0)
    for c in suspects.values():
        for f in c.carried():
            if f in inside:
                inside[f] += 1
    alive = [c for c in suspects.values() if inside[c] < _inflight[c]]
    reached: set[object] = set()
    while alive:
        c = alive.pop()
        if c in reached:
            continue
        reached.add(c)
        alive += [suspects[f] for f in c.carried() if f in suspects and f not in reached]
    dead = [c for c in suspects.values() if c not in reached]
    for c in dead:
        c.purge()
    return len(dead)
