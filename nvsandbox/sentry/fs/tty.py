"""Terminals: settings, sessions, job control (Linux: drivers/tty/tty_io.c, tty_jobctrl.c; termios(3)).

A ``Tty`` is what a process group controls: the slave side of a pseudo-terminal. Its line discipline is in
``tty_ldisc.py``, its two ends as files in ``tty_pty.py``, ioctls in ``tty_ioctl.py``. Left out: serial lines (modem control,
baud rates mean nothing), virtual consoles, line disciplines other than N_TTY.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from ..abi import tty as a
from ..errors import ERESTARTSYS, Restart, SysErr
from ..kernel import signal as sg
from ..kernel.wait import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, WaitQueue
from .tty_ldisc import LineDiscipline

if TYPE_CHECKING:
    from ..kernel.kernel import Kernel
    from ..kernel.pids import PidNamespace
    from ..kernel.task import Task, ThreadGroup

INIT_CC: Final = bytes([3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0])
WAKE_ALL: Final = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP | POLLERR


@final
class Termios:
    """struct ktermios; the defaults are tty_std_termios."""

    __slots__ = ("cc", "cflag", "iflag", "ispeed", "lflag", "line", "oflag", "ospeed")

    def __init__(self) -> None:
        self.iflag = a.ICRNL | a.IXON
        self.oflag = a.OPOST | a.ONLCR
        self.cflag = a.B38400 | a.CS8 | a.CREAD
        self.lflag = (
            a.ISIG | a.ICANON | a.ECHO | a.ECHOE | a.ECHOK | a.ECHOCTL | a.ECHOKE | a.IEXTEN
        )
        self.line = 0
        self.cc = INIT_CC
        self.ispeed = self.ospeed = 38400

    def pack(self) -> bytes:
        return a.TERMIOS.pack(self.iflag, self.oflag, self.cflag, self.lflag, self.line, self.cc)

    def pack2(self) -> bytes:
        return a.TERMIOS2.pack(
            self.iflag,
            self.oflag,
            self.cflag,
            self.lflag,
            self.line,
            self.cc,
            self.ispeed,
            self.ospeed,
        )

    def unpack(self, raw: bytes) -> None:
        """From struct termios or termios2."""
        self.iflag, self.oflag, self.cflag, self.lflag, _, self.cc = a.TERMIOS.unpack_from(raw)
        if len(raw) == a.TERMIOS2.size:
            self.ispeed, self.ospeed = a.TERMIOS2.unpack(raw)[6:]


class Tty:
    """One terminal. ``out`` is what it has written and the other side has not read."""

    __slots__ = (
        "count", "exclusive", "gen", "index", "k", "ldisc", "out", "packet_changed", "pgrp", "pids", "queue",
        "session", "stopped", "termios", "winsize",
    )  # fmt: skip

    def __init__(self, k: Kernel, index: int) -> None:
        self.k = k
        self.index = index
        self.termios = Termios()
        self.winsize = bytes(8)
        self.session = 0
        self.pgrp = 0
        self.pids: PidNamespace | None = None  # where session and group are
        self.stopped = False  # ^S
        self.exclusive = False
        self.count = 0  # open descriptions
        self.gen = 0  # bumped by a hangup: descriptions of an earlier generation are dead
        self.queue = WaitQueue()
        self.out = bytearray()
        self.ldisc: LineDiscipline = LineDiscipline(self)

    # The other side, for a pseudo-terminal
    def output(self, data: bytes) -> None:
        """Data for whoever shows the terminal."""

    def out_room(self) -> int:
        return 0

    def flush_out(self) -> None:
        self.out.clear()

    def control(self, bits: int) -> None:
        """A TIOCPKT_* change."""

    def master_closed(self) -> bool:
        return False

    # Flow
    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.control(a.TIOCPKT_STOP)

    def start(self) -> None:
        if self.stopped:
            self.stopped = False
            self.control(a.TIOCPKT_START)
            self.queue.wake(POLLOUT | POLLWRNORM)

    # Job control
    def check_change(self, t: Task, sig: int) -> None:
        """A background process touches the terminal (Linux: __tty_check_change). Raises Restart, EIO."""
        tg = t.tg
        if tg.tty is not self or self.pgrp == 0 or tg.pgid == self.pgrp:
            return
        act = tg.sighand.get(sig).handler
        if act == sg.SIG_IGN or t.blocked & sg.bit(sig):
            if sig == sg.SIGTTIN:
                raise SysErr(errno.EIO)
            return
        if tg.pids.pgrp_orphaned(tg.pgid, tg.sid):
            raise SysErr(errno.EIO)
        tg.pids.signal_pgrp(tg.pgid, sig)
        raise Restart(ERESTARTSYS)

    def signal_foreground(self, sig: int) -> None:
        if self.pgrp and self.pids is not None:
            self.pids.signal_pgrp(self.pgrp, sig)

    def set_controlling(self, t: Task) -> None:
        """It becomes the controlling terminal of the caller's session."""
        self.session = t.tg.sid
        self.pgrp = t.tg.pgid
        self.pids = t.tg.pids
        t.tg.tty = self

    def may_acquire(self, t: Task) -> bool:
        """Whether open(2) without O_NOCTTY takes it."""
        tg = t.tg
        return tg.sid == tg.pid and tg.tty is None and self.session == 0

    def clear_session(self) -> None:
        """No process has it as controlling terminal any more."""
        for p in self.pids.procs.values() if self.pids is not None else ():
            if p.tty is self:
                p.tty = None
        self.session = self.pgrp = 0

    def hangup(self) -> None:
        """vhangup: open descriptions die, the session is told (Linux: __tty_hangup)."""
        self.gen += 1
        self.count = 0
        leader = (
            self.pids.procs.get(self.session) if self.session and self.pids is not None else None
        )
        had = leader is not None and leader.tty is self
        self.clear_session()
        if leader is not None and had and not leader.dead:
            leader.send_signal(sg.SIGHUP)
            leader.send_signal(sg.SIGCONT)
        self.ldisc.inq.clear()
        self.ldisc.reset()
        self.termios = Termios()
        self.stopped = False
        self.queue.wake(WAKE_ALL)
        self.slave_closed()

    def slave_closed(self) -> None:
        """No description of it is left."""

    def set_winsize(self, raw: bytes) -> None:
        if raw != self.winsize:
            self.winsize = raw
            self.signal_foreground(sg.SIGWINCH)


def detach(t: Task) -> None:
    """TIOCNOTTY: the caller gives up its terminal; a session leader does so for the session."""
    tg = t.tg
    tty = tg.tty
    tg.tty = None
    if not isinstance(tty, Tty) or tg.sid != tg.pid:
        return
    if tty.pgrp:
        tg.pids.signal_pgrp(tty.pgrp, sg.SIGHUP)
        tg.pids.signal_pgrp(tty.pgrp, sg.SIGCONT)
    tty.clear_session()


def session_leader_exit(tg: ThreadGroup) -> None:
    """For ``Kernel.tty_hangup``: the leader of a session with a terminal has died."""
    tty = tg.tty
    tg.tty = None
    if isinstance(tty, Tty) and tty.session == tg.sid:
        # A pseudo-terminal isn't hung up: its foreground group is, and another session may have it (disassociate_ctty).
        pgrp = tty.pgrp
        tty.clear_session()
        if pgrp:
            tg.pids.signal_pgrp(pgrp, sg.SIGHUP)


def vhangup(t: Task) -> None:
    """vhangup(2), after the capability check."""
    tty = t.tg.tty
    if isinstance(tty, Tty):
        tty.hangup()
