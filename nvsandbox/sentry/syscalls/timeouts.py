"""Timeouts and signal masks as the event calls take them (linux/time_types.h)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..abi.event import NS, NS_MAX, TIMESPEC
from ..errors import SysErr

if TYPE_CHECKING:
    from ..kernel.task import Task


def to_ns(sec: int, nsec: int) -> int:
    """A valid timespec in ns (capped). Raises EINVAL."""
    if sec < 0 or not 0 <= nsec < NS:
        raise SysErr(errno.EINVAL)
    return min(sec * NS + nsec, NS_MAX)


def timespec_in(t: Task, addr: int) -> int:
    sec, nsec = TIMESPEC.unpack(t.copy_in(addr, 16))
    return to_ns(sec, nsec)


def deadline_in(t: Task, addr: int) -> int | None:
    """A relative timespec as a deadline on CLOCK_MONOTONIC; None (for ever) at address 0."""
    if addr == 0:
        return None
    return after(t, timespec_in(t, addr))


def after(t: Task, ns: int) -> int:
    return min(t.k.monotonic_ns() + ns, NS_MAX) if ns else 0


def sigmask_in(t: Task, addr: int, size: int) -> None:
    """The temporary mask of ppoll and its kin, none at address 0. Raises EINVAL, EFAULT."""
    if addr == 0:
        return
    if size != 8:
        raise SysErr(errno.EINVAL)
    t.set_temp_sigmask(int.from_bytes(t.copy_in(addr, 8), "little"))
