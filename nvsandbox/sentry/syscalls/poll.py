"""poll(2), ppoll(2), select(2), pselect6(2) (Linux: fs/select.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from ..abi.event import NS, POLLFD, TIMESPEC
from ..abi.personality import STICKY_TIMEOUTS
from ..errors import ERESTART_RESTARTBLOCK, ERESTARTNOHAND, Restart, SysErr
from ..kernel.wait import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
    Waiter,
    WaitQueue,
)
from .decode import CInt, CUInt, CULong, Table, UserPtr, full
from .timeouts import after, sigmask_in, timespec_in, to_ns

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

RLIMIT_NOFILE: Final = 7
SELECT_IN: Final = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR | POLLNVAL
SELECT_OUT: Final = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR | POLLNVAL
SELECT_EX: Final = POLLPRI | POLLNVAL

Watch = tuple[
    "FileDescription | None", int
]  # description (None: bad descriptor or ignored), events


def poll_files(t: Task, want: list[Watch], deadline: int | None) -> list[int]:
    """The events of each entry once one has some or ``deadline`` has passed. Raises Restart."""
    got = _look(t, want)
    if any(got) or deadline == 0:
        return got
    q = WaitQueue()
    waiters: list[tuple[FileDescription, Waiter]] = []
    try:
        for f, events in want:
            if f is not None:
                w = Waiter(q.wake, events | POLLERR | POLLHUP)
                f.watch(w)
                waiters.append((f.incref(), w))
        while True:
            alive = t.wait(q, deadline=deadline)
            got = _look(t, want)
            if any(got) or not alive:
                return got
    finally:
        for f, w in waiters:
            f.unwatch(w)
            f.decref()


def _look(t: Task, want: list[Watch]) -> list[int]:
    return [0 if f is None else f.poll(t) & (events | POLLERR | POLLHUP) for f, events in want]


def _poll(t: Task, fds: int, nfds: int, deadline: int | None) -> int:
    """The common part: reads pollfds, waits, writes the revents back."""
    if nfds > t.tg.rlimit(RLIMIT_NOFILE):
        raise SysErr(errno.EINVAL)
    raw = t.copy_in(fds, nfds * 8)
    want: list[Watch] = []
    bad: list[int] = []
    get = t.files.files.get
    for i, (fd, events, _) in enumerate(POLLFD.iter_unpack(raw)):
        f = get(fd) if fd >= 0 else None
        if f is not None and f.flags & 0o10000000:  # O_PATH
            f = None
        if fd >= 0 and f is None:
            bad.append(i)
        want.append((f, events & 0xFFFF))
    if bad:
        got = _look(t, want)
        for i in bad:
            got[i] = POLLNVAL
    else:
        got = poll_files(t, want, deadline)
    out = bytearray(raw)
    for i, ev in enumerate(got):
        struct.pack_into("<H", out, 8 * i + 6, ev)
    if nfds:
        t.copy_out(fds, bytes(out))
    return sum(1 for ev in got if ev)


def sys_poll(t: Task, fds: UserPtr, nfds: CUInt, timeout: CInt) -> int:
    deadline = None if timeout < 0 else after(t, timeout * 1_000_000)
    return _restartable_poll(t, fds, nfds, deadline)


def _restartable_poll(t: Task, fds: int, nfds: int, deadline: int | None) -> int:
    try:
        return _poll(t, fds, nfds, deadline)
    except Restart:
        # The time that has passed counts when the call is restarted after a stop.
        t.restart_fn = lambda u: _restartable_poll(u, fds, nfds, deadline)
        raise Restart(ERESTART_RESTARTBLOCK) from None


def _time_left(t: Task, addr: int, deadline: int | None, unit: int) -> None:
    """Linux updates the timeout of ppoll, select and pselect6; that this fails is ignored there too."""
    if addr == 0 or deadline is None or t.personality & STICKY_TIMEOUTS:
        return
    left = max(deadline - t.k.monotonic_ns(), 0) if deadline else 0
    sec, ns = divmod(left, NS)
    try:
        t.copy_out(addr, TIMESPEC.pack(sec, ns // unit))
    except SysErr:
        pass


def sys_ppoll(t: Task, fds: UserPtr, nfds: CUInt, tsp: UserPtr, mask: UserPtr, size: CULong) -> int:
    deadline = after(t, timespec_in(t, tsp)) if tsp else None
    sigmask_in(t, mask, size)
    try:
        return _poll(t, fds, nfds, deadline)
    except Restart:
        raise Restart(ERESTARTNOHAND) from None
    finally:
        _time_left(t, tsp, deadline, 1)


def _bits(raw: bytes) -> list[int]:
    n = int.from_bytes(raw, "little")
    out = []
    while n:
        low = n & -n
        out.append(low.bit_length() - 1)
        n ^= low
    return out


def _select(t: Task, n: int, sets: tuple[int, int, int], deadline: int | None) -> int:
    """``sets``: addresses of the in, out and exceptional sets."""
    if n < 0:
        raise SysErr(errno.EINVAL)
    n = min(n, max(max(t.files.files, default=-1) + 1, 256))
    size = (n + 63) // 64 * 8
    raw = [t.copy_in(a, size) if a and size else b"" for a in sets]
    events: dict[int, int] = {}
    for s, bits in zip(raw, (SELECT_IN, SELECT_OUT, SELECT_EX), strict=True):
        for fd in _bits(s):
            if fd < n:
                events[fd] = events.get(fd, 0) | bits
    want: list[Watch] = [(t.files.get(fd), ev) for fd, ev in events.items()]
    got = poll_files(t, want, deadline)
    count = 0
    for i, (a, bits) in enumerate(zip(sets, (SELECT_IN, SELECT_OUT, SELECT_EX), strict=True)):
        if not a or not size:
            continue
        asked = int.from_bytes(raw[i], "little")
        res = 0
        for fd, ev in zip(events, got, strict=True):
            if ev & bits and asked >> fd & 1:
                res |= 1 << fd
                count += 1
        t.copy_out(a, res.to_bytes(size, "little"))
    return count


def sys_select(t: Task, n: CInt, inp: UserPtr, outp: UserPtr, exp: UserPtr, tv: UserPtr) -> int:
    deadline = None
    if tv:
        sec, usec = TIMESPEC.unpack(t.copy_in(tv, 16))
        sec += usec // 1_000_000
        deadline = after(t, to_ns(sec, usec % 1_000_000 * 1000 if usec >= 0 else -1))
    try:
        return _select(t, n, (inp, outp, exp), deadline)
    except Restart:
        raise Restart(ERESTARTNOHAND) from None
    finally:
        _time_left(t, tv, deadline, 1000)


def sys_pselect6(
    t: Task, n: CInt, inp: UserPtr, outp: UserPtr, exp: UserPtr, tsp: UserPtr, sig: UserPtr
) -> int:
    mask, size = struct.unpack("<QQ", t.copy_in(sig, 16)) if sig else (0, 0)
    deadline = after(t, timespec_in(t, tsp)) if tsp else None
    sigmask_in(t, mask, size)
    try:
        return _select(t, n, (inp, outp, exp), deadline)
    except Restart:
        raise Restart(ERESTARTNOHAND) from None
    finally:
        _time_left(t, tsp, deadline, 1)


TABLE: Final[Table] = {
    7: full("poll", sys_poll),
    23: full("select", sys_select),
    270: full("pselect6", sys_pselect6),
    271: full("ppoll", sys_ppoll),
}
