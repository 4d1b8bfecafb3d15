"""Terminal ioctls (Linux: drivers/tty/tty_ioctl.c, tty_jobctrl.c, pty.c; ioctl_tty(2)).

On a master most of them act on its slave, as in Linux. TIOCSTI is for CAP_SYS_ADMIN alone (dev.tty.legacy_tiocsti=0).
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from ..abi import tty as a
from ..errors import SysErr
from ..kernel import signal as sg
from ..kernel.creds import CAP_SYS_ADMIN
from .tty import Termios, Tty, detach

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .tty_pty import Pty

RLIMIT_NOFILE: Final = 7
SETS: Final = {
    a.TCSETS: (36, 0), a.TCSETSW: (36, 1), a.TCSETSF: (36, 2),
    a.TCSETS2: (44, 0), a.TCSETSW2: (44, 1), a.TCSETSF2: (44, 2),
    a.TCSETA: (18, 0), a.TCSETAW: (18, 1), a.TCSETAF: (18, 2),
}  # fmt: skip


def _int_out(t: Task, arg: int, value: int) -> int:
    t.copy_out(arg, struct.pack("<i", value))
    return 0


def _int_in(t: Task, arg: int) -> int:
    return int(struct.unpack("<i", t.copy_in(arg, 4))[0])


def _pid_out(t: Task, arg: int, pid: int) -> int:
    return _int_out(t, arg, t.tg.pidns.number(pid))


def slave_ioctl(t: Task, y: Tty, cmd: int, arg: int, readable: bool) -> int:
    if cmd in SETS:
        y.check_change(t, sg.SIGTTOU)
        return _set_termios(t, y, cmd, arg)
    if cmd in (a.TIOCGPGRP, a.TIOCGSID):
        if t.tg.tty is not y or (cmd == a.TIOCGSID and not y.session):
            raise SysErr(errno.ENOTTY)
        return _pid_out(t, arg, y.pgrp if cmd == a.TIOCGPGRP else y.session)
    if cmd == a.TIOCSCTTY:
        return _set_controlling(t, y, arg, readable)
    if cmd == a.TIOCNOTTY:
        if t.tg.tty is not y:
            raise SysErr(errno.ENOTTY)
        detach(t)
        return 0
    if cmd == a.TIOCGPTPEER:
        raise SysErr(errno.EIO)
    if cmd == a.TIOCOUTQ:
        return _int_out(t, arg, len(y.out))
    if cmd in (a.TCFLSH, a.TCXONC, a.TCSBRK, a.TCSBRKP):
        y.check_change(t, sg.SIGTTOU)
        return _line_control(t, y, cmd, arg)
    if cmd == a.FIONREAD:
        return _int_out(t, arg, _readable_bytes(y))
    return common_ioctl(t, y, cmd, arg)


def master_ioctl(t: Task, y: Pty, cmd: int, arg: int) -> int:
    if cmd == a.TIOCGPTN:
        return _int_out(t, arg, y.index)
    if cmd == a.TIOCSPTLCK:
        y.locked = _int_in(t, arg) != 0
        return 0
    if cmd == a.TIOCGPTLCK:
        return _int_out(t, arg, int(y.locked))
    if cmd == a.TIOCPKT:
        y.packet = _int_in(t, arg) != 0
        y.status = 0
        return 0
    if cmd == a.TIOCGPKT:
        return _int_out(t, arg, int(y.packet))
    if cmd == a.TIOCSIG:
        if not 1 <= arg <= sg.NSIG:
            raise SysErr(errno.EINVAL)
        y.signal_foreground(arg)
        return 0
    if cmd == a.TIOCGPTPEER:
        f = y.fs.open_peer(t, y, arg & ~os.O_CLOEXEC)
        return t.files.install(f, t.tg.rlimit(RLIMIT_NOFILE), bool(arg & os.O_CLOEXEC))
    if cmd in SETS:
        return _set_termios(t, y, cmd, arg)
    if cmd == a.TIOCGPGRP:
        return _pid_out(t, arg, y.pgrp)
    if cmd == a.TIOCGSID:
        if not y.session:
            raise SysErr(errno.ENOTTY)
        return _pid_out(t, arg, y.session)
    if cmd == a.FIONREAD:
        return _int_out(t, arg, len(y.out))
    if cmd == a.TIOCOUTQ:
        return _int_out(t, arg, len(y.ldisc.inq))
    if cmd == a.TCFLSH:
        _flush(y, {0: 1, 1: 0}.get(arg, arg))  # the master's input is the slave's output
        return 0
    if cmd in (a.TCSBRK, a.TCSBRKP):
        return 0  # all it wrote has arrived, and there is no line to break
    if cmd in (a.TIOCSCTTY, a.TIOCNOTTY):
        raise SysErr(errno.EIO if cmd == a.TIOCSCTTY else errno.ENOTTY)
    return common_ioctl(t, y, cmd, arg)


def common_ioctl(t: Task, y: Tty, cmd: int, arg: int) -> int:
    """What both sides answer alike. Raises ENOTTY."""
    if cmd == a.TCGETS:
        t.copy_out(arg, y.termios.pack())
    elif cmd == a.TCGETS2:
        t.copy_out(arg, y.termios.pack2())
    elif cmd == a.TCGETA:
        x = y.termios
        m = 0xFFFF
        t.copy_out(
            arg, a.TERMIO.pack(x.iflag & m, x.oflag & m, x.cflag & m, x.lflag & m, 0, x.cc[:8])
        )
    elif cmd == a.TIOCGSOFTCAR:
        _int_out(t, arg, int(bool(y.termios.cflag & a.CLOCAL)))
    elif cmd == a.TIOCGWINSZ:
        t.copy_out(arg, y.winsize)
    elif cmd == a.TIOCSWINSZ:
        y.set_winsize(t.copy_in(arg, 8))
    elif cmd == a.TIOCSPGRP:
        _set_pgrp(t, y, arg)
    elif cmd == a.TIOCGETD:
        _int_out(t, arg, 0)
    elif cmd == a.TIOCSETD:
        if _int_in(t, arg) != 0:
            raise SysErr(errno.EINVAL)
    elif cmd == a.TIOCGDEV:
        _int_out(t, arg, 136 << 8 | y.index)
    elif cmd in (a.TIOCEXCL, a.TIOCNXCL):
        y.exclusive = cmd == a.TIOCEXCL
    elif cmd == a.TIOCGEXCL:
        _int_out(t, arg, int(y.exclusive))
    elif cmd == a.TIOCVHANGUP:
        if not t.creds.capable(CAP_SYS_ADMIN):
            raise SysErr(errno.EPERM)
        y.hangup()
    elif cmd == a.TIOCSTI:
        if not t.creds.capable(CAP_SYS_ADMIN):
            raise SysErr(errno.EIO)
        y.ldisc.receive(t.copy_in(arg, 1))
    else:
        raise SysErr(errno.ENOTTY)
    return 0


def _set_termios(t: Task, y: Tty, cmd: int, arg: int) -> int:
    size, mode = SETS[cmd]
    raw = t.copy_in(arg, size)
    if mode:
        _drain(t, y)
    if mode == 2:
        y.ldisc.flush_input()
    old = y.termios
    new = Termios()
    if size == a.TERMIO.size:
        i, o, c, lf, _, cc = a.TERMIO.unpack(raw)
        hi = 0xFFFF0000
        new.iflag, new.oflag = old.iflag & hi | i, old.oflag & hi | o
        new.cflag, new.lflag = old.cflag & hi | c, old.lflag & hi | lf
        new.cc = cc + old.cc[8:]
    else:
        new.ispeed, new.ospeed = old.ispeed, old.ospeed
        new.unpack(raw)
    new.cflag = new.cflag & ~0o460 | a.CS8 | a.CREAD  # a pseudo-terminal has 8 bits and no parity
    y.termios = new
    y.ldisc.mode_changed(bool(old.lflag & a.ICANON))
    if old.iflag & a.IXON and not new.iflag & a.IXON:
        y.start()
    _tell_packet(y, old, new)
    return 0


def _tell_packet(y: Tty, old: Termios, new: Termios) -> None:
    def flow(x: Termios) -> bool:
        return bool(x.iflag & a.IXON) and (x.cc[a.VSTOP], x.cc[a.VSTART]) == (19, 17)

    if flow(old) != flow(new):
        y.control(a.TIOCPKT_DOSTOP if flow(new) else a.TIOCPKT_NOSTOP)
    if (old.lflag ^ new.lflag) & a.EXTPROC or new.lflag & a.EXTPROC:
        y.control(a.TIOCPKT_IOCTL)


def _drain(t: Task, y: Tty) -> None:
    """tcdrain: what was written has reached the other side. For a pseudo-terminal it has at once, unless stopped."""
    while y.stopped and y.out and not y.master_closed():
        t.wait(y.queue)


def _readable_bytes(y: Tty) -> int:
    """Linux: n_tty_ioctl TIOCINQ: in canonical mode what complete lines hold, their EOF characters not counted."""
    d = y.ldisc
    if y.termios.lflag & a.ICANON:
        return d.canon - sum(1 for _, kind in d.ends if kind)
    return len(d.buf)


def _flush(y: Tty, which: int) -> None:
    if which not in (0, 1, 2):
        raise SysErr(errno.EINVAL)
    if which in (0, 2):
        y.ldisc.flush_input()
    if which in (1, 2):
        y.flush_out()


def _line_control(t: Task, y: Tty, cmd: int, arg: int) -> int:
    if cmd == a.TCFLSH:
        _flush(y, arg)
    elif cmd == a.TCXONC:
        if arg == 0:
            y.stop()
        elif arg == 1:
            y.start()
        elif arg not in (2, 3):
            raise SysErr(errno.EINVAL)
        else:
            y.output(bytes([y.termios.cc[a.VSTOP if arg == 2 else a.VSTART]]))
    else:
        _drain(t, y)  # a break itself means nothing here
    return 0


def _set_controlling(t: Task, y: Tty, arg: int, readable: bool) -> int:
    tg = t.tg
    if tg.sid == tg.pid and y.session == tg.sid and tg.tty is y:
        return 0
    if tg.sid != tg.pid or tg.tty is not None:
        raise SysErr(errno.EPERM)
    if y.session:
        if arg != 1 or not t.creds.capable(CAP_SYS_ADMIN):
            raise SysErr(errno.EPERM)
        y.clear_session()
    if not readable and not t.creds.capable(CAP_SYS_ADMIN):
        raise SysErr(errno.EPERM)
    y.set_controlling(t)
    return 0


def _set_pgrp(t: Task, y: Tty, arg: int) -> None:
    y.check_change(t, sg.SIGTTOU)
    if t.tg.tty is not y or y.session != t.tg.sid:
        raise SysErr(errno.ENOTTY)
    pgrp = _int_in(t, arg)
    if pgrp < 0:
        raise SysErr(errno.EINVAL)
    pgrp = t.tg.pidns.outer(pgrp)
    members = [p for p in t.tg.pids.procs.values() if p.pgid == pgrp]
    if not members:
        raise SysErr(errno.ESRCH)
    if members[0].sid != t.tg.sid:
        raise SysErr(errno.EPERM)
    y.pgrp = pgrp
