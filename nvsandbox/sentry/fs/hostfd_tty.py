"""A terminal of the host as the sandbox's terminal: settings and size pass through, job control is ours.

The host's line discipline does the editing and turns ^C into a signal for the launcher, which passes it on to
``fg_pgrp``. Sessions and process groups of the sandbox mean nothing to the host, so those calls are answered here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING, Final

from ..errors import SysErr, from_oserror
from .hostfd import HostFile, open_host_fd

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .hostpoll import Loop

TCGETS: Final = 0x5401
TCSETS: Final = 0x5402
TCSETSW: Final = 0x5403
TCSETSF: Final = 0x5404
TCSBRK: Final = 0x5409
TCXONC: Final = 0x540A
TCFLSH: Final = 0x540B
TIOCSCTTY: Final = 0x540E
TIOCGPGRP: Final = 0x540F
TIOCSPGRP: Final = 0x5410
TIOCOUTQ: Final = 0x5411
TIOCGWINSZ: Final = 0x5413
TIOCSWINSZ: Final = 0x5414
FIONREAD: Final = 0x541B
TIOCNOTTY: Final = 0x5422
TIOCGSID: Final = 0x5429

READS: Final = {TCGETS: 36, TIOCGWINSZ: 8, FIONREAD: 4, TIOCOUTQ: 4}  # cmd -> bytes the host gives
WRITES: Final = {TCSETS: 36, TCSETSW: 36, TCSETSF: 36, TIOCSWINSZ: 8}
VALUES: Final = frozenset((TCXONC, TCFLSH))


class TtyJobs:
    """Session and foreground group, shared by all descriptors of the one terminal."""

    __slots__ = ("fg_pgrp", "session")

    def __init__(self) -> None:
        self.session = 0
        self.fg_pgrp = 0


JOBS: Final = TtyJobs()


class HostTty(HostFile):
    """A donated terminal."""

    __slots__ = ("jobs",)

    def __init__(self, fd: int, flags: int, loop: Loop | None, jobs: TtyJobs = JOBS) -> None:
        super().__init__(fd, flags, loop)
        self.jobs = jobs

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        try:
            if cmd in READS:
                t.copy_out(arg, fcntl.ioctl(self.fd, cmd, bytes(READS[cmd])))
                return 0
            if cmd in WRITES:
                fcntl.ioctl(self.fd, cmd, t.copy_in(arg, WRITES[cmd]))
                return 0
            if cmd in VALUES:
                fcntl.ioctl(self.fd, cmd, arg & 3)
                return 0
        except OSError as e:
            raise from_oserror(e) from None
        if cmd == TCSBRK:
            return 0
        return self._job_control(t, cmd, arg)

    def _job_control(self, t: Task, cmd: int, arg: int) -> int:
        jobs = self.jobs
        if cmd == TIOCSCTTY:
            if t.tg.sid != t.tg.pid:
                raise SysErr(errno.EPERM)
            jobs.session = t.tg.sid
            jobs.fg_pgrp = t.tg.pgid
            t.tg.tty = self
            return 0
        if cmd == TIOCNOTTY:
            if t.tg.tty is not self:
                raise SysErr(errno.ENOTTY)
            t.tg.tty = None
            return 0
        if cmd in (TIOCGPGRP, TIOCSPGRP, TIOCGSID):
            if jobs.session != t.tg.sid:
                raise SysErr(errno.ENOTTY)
            if cmd == TIOCSPGRP:
                (pgrp,) = struct.unpack("<i", t.copy_in(arg, 4))
                if pgrp <= 0:
                    raise SysErr(errno.EINVAL)
                jobs.fg_pgrp = t.tg.pidns.outer(pgrp)
                return 0
            value = jobs.session if cmd == TIOCGSID else jobs.fg_pgrp
            t.copy_out(arg, struct.pack("<i", t.tg.pidns.number(value)))
            return 0
        raise SysErr(errno.ENOTTY)


def open_stdio(fd: int, loop: Loop | None) -> HostFile:
    """A description over a donated descriptor of any kind."""
    if not os.isatty(fd):
        return open_host_fd(fd, loop)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND)
    return HostTty(fd, flags, loop)
