"""Pseudo-terminals: the two ends as files (Linux: drivers/tty/pty.c, tty_io.c; pty(7)).

The master reads what the terminal shows and types what the terminal gets. When the master closes, the terminal is
hung up; when the last slave closes, the master reads EIO once it has read everything.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, final

from ..abi import tty as a
from ..errors import Restart, SysErr
from ..kernel import signal as sg
from ..kernel.wait import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDNORM,
    POLLWRNORM,
    Waiter,
    WaitQueue,
)
from ..vfs.file import FileDescription
from ..vfs.inode import Inode
from .tty import WAKE_ALL, Tty
from .tty_ioctl import master_ioctl, slave_ioctl

if TYPE_CHECKING:
    from ..kernel.kernel import Kernel
    from ..kernel.task import Task
    from ..vfs.path import Path
    from .devpts import DevPts

LIMIT: Final = (
    8192  # bytes on the way in each direction (Linux: tty_buffer_set_limit in pty_install)
)
ECHO_LIMIT: Final = LIMIT * 8  # output no writer waits for is dropped beyond


@final
class Pty(Tty):
    """A terminal with a master."""

    __slots__ = ("fs", "locked", "master_open", "master_queue", "opened", "packet", "status")

    def __init__(self, k: Kernel, index: int, fs: DevPts) -> None:
        super().__init__(k, index)
        self.fs = fs
        self.locked = True
        self.master_open = True
        self.master_queue = WaitQueue()
        self.opened = False  # a slave has been open
        self.packet = False
        self.status = 0  # TIOCPKT_* not yet told

    def output(self, data: bytes) -> None:
        if self.master_open and len(self.out) < ECHO_LIMIT:
            self.out += data
            self.master_queue.wake(POLLIN | POLLRDNORM)

    def out_room(self) -> int:
        return max(LIMIT - len(self.out), 0)

    def flush_out(self) -> None:
        self.out.clear()
        self.control(a.TIOCPKT_FLUSHWRITE)
        self.queue.wake(POLLOUT | POLLWRNORM)

    def control(self, bits: int) -> None:
        if not self.packet:
            return
        if bits & (a.TIOCPKT_STOP | a.TIOCPKT_START):
            self.status &= ~(a.TIOCPKT_STOP | a.TIOCPKT_START)
        if bits & (a.TIOCPKT_DOSTOP | a.TIOCPKT_NOSTOP):
            self.status &= ~(a.TIOCPKT_DOSTOP | a.TIOCPKT_NOSTOP)
        self.status |= bits
        self.master_queue.wake(POLLIN | POLLRDNORM | POLLPRI)

    def master_closed(self) -> bool:
        return not self.master_open

    def other_closed(self) -> bool:
        """As the master sees it."""
        return self.opened and self.count == 0

    def slave_closed(self) -> None:
        self.master_queue.wake(WAKE_ALL)

    def close_master(self) -> None:
        self.master_open = False
        self.out.clear()
        self.hangup()
        self.fs.remove(self.index)


@final
class MasterFile(FileDescription):
    """/dev/ptmx opened."""

    __slots__ = ("node", "pty")

    def __init__(self, flags: int, path: Path, pty: Pty) -> None:
        super().__init__(flags, path)
        self.pty = pty
        self.node = path.inode

    @property
    def inode(self) -> Inode:
        return self.node

    def read(self, t: Task, size: int) -> bytes | int:
        p = self.pty
        if size == 0:
            return b""
        while True:
            if p.packet and p.status:
                status, p.status = p.status, 0
                return bytes([status])
            if p.out:
                break
            if p.other_closed():
                return -errno.EIO
            if self.flags & os.O_NONBLOCK:
                return -errno.EAGAIN
            t.wait(p.master_queue)
        n = size - 1 if p.packet else size
        data = bytes(p.out[:n])
        del p.out[:n]
        p.queue.wake(POLLOUT | POLLWRNORM)
        return b"\0" + data if p.packet else data

    def write(self, t: Task, data: bytes) -> int:
        p = self.pty
        done = 0
        while done < len(data):
            if p.other_closed():
                return done or -errno.EIO
            room = LIMIT - len(p.ldisc.inq)
            if room > 0:
                piece = data[done : done + room]
                p.ldisc.receive(piece)
                done += len(piece)
                continue
            if self.flags & os.O_NONBLOCK:
                return done or -errno.EAGAIN
            try:
                t.wait(p.master_queue)
            except Restart:
                if done:
                    return done
                raise
        return done

    def poll(self, t: Task | None) -> int:
        p = self.pty
        mask = 0
        if p.out:
            mask |= POLLIN | POLLRDNORM
        if p.packet and p.status:
            mask |= POLLIN | POLLRDNORM | POLLPRI
        if p.other_closed():
            mask |= POLLHUP
        if len(p.ldisc.inq) < LIMIT:
            mask |= POLLOUT | POLLWRNORM
        return mask

    def watch(self, w: Waiter) -> None:
        self.pty.master_queue.add(w)

    def unwatch(self, w: Waiter) -> None:
        self.pty.master_queue.remove(w)

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        return master_ioctl(t, self.pty, cmd, arg)

    def release(self) -> None:
        self.pty.close_master()


@final
class SlaveFile(FileDescription):
    """A terminal opened."""

    __slots__ = ("gen", "node", "tty")

    def __init__(self, flags: int, path: Path, tty: Tty) -> None:
        super().__init__(flags, path)
        self.tty = tty
        self.gen = tty.gen
        self.node = path.inode
        tty.count += 1
        if isinstance(tty, Pty):
            tty.opened = True
            tty.master_queue.wake(WAKE_ALL)

    @property
    def inode(self) -> Inode:
        return self.node

    def hung(self) -> bool:
        return self.gen != self.tty.gen

    def read(self, t: Task, size: int) -> bytes | int:
        """Linux: n_tty_read."""
        y = self.tty
        if self.hung():
            return b""
        y.check_change(t, sg.SIGTTIN)
        out = b""
        deadline: int | None = None
        armed = False
        if size == 0:
            return out
        while True:
            canonical = bool(y.termios.lflag & a.ICANON)
            least, tenths = (1, 0) if canonical else (y.termios.cc[a.VMIN], y.termios.cc[a.VTIME])
            if not armed and not canonical and least == 0:
                deadline = t.k.monotonic_ns() + tenths * 100_000_000 if tenths else 0
                armed = True
            if y.ldisc.available(1):
                had_room = y.ldisc.room()
                out += y.ldisc.take(size - len(out))
                if had_room < 128 and isinstance(y, Pty):
                    y.master_queue.wake(POLLOUT | POLLWRNORM)
                if canonical or len(out) >= max(least, 1) or len(out) >= size:
                    return out
                if tenths:
                    deadline = t.k.monotonic_ns() + tenths * 100_000_000
                continue
            if y.master_closed() and not out:
                return -errno.EIO
            if deadline == 0:
                return out
            if self.flags & os.O_NONBLOCK:
                return out or -errno.EAGAIN
            try:
                alive = t.wait(y.queue, deadline=deadline)
            except Restart:
                if out:
                    return out
                raise
            if self.hung() or (not alive and not y.ldisc.available(1)):
                return out
            y.check_change(t, sg.SIGTTIN)

    def write(self, t: Task, data: bytes) -> int:
        """Linux: n_tty_write."""
        y = self.tty
        if self.hung():
            return -errno.EIO
        if y.termios.lflag & a.TOSTOP:
            y.check_change(t, sg.SIGTTOU)
        done = 0
        while done < len(data):
            if self.hung() or y.master_closed():
                return done or -errno.EIO
            room = 0 if y.stopped else y.out_room()
            if room > 0:
                piece = data[done : done + room]
                y.output(y.ldisc.process_output(piece))
                done += len(piece)
                continue
            if self.flags & os.O_NONBLOCK:
                return done or -errno.EAGAIN
            try:
                t.wait(y.queue)
            except Restart:
                if done:
                    return done
                raise
        return done

    def poll(self, t: Task | None) -> int:
        y = self.tty
        if self.hung():
            return POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM
        mask = 0
        cc = y.termios.cc
        least = cc[a.VMIN] if cc[a.VMIN] and not cc[a.VTIME] else 1
        if y.ldisc.available(least):
            mask |= POLLIN | POLLRDNORM
        if y.master_closed():
            mask |= POLLHUP
        if not y.stopped and y.out_room() > 0:
            mask |= POLLOUT | POLLWRNORM
        return mask

    def watch(self, w: Waiter) -> None:
        self.tty.queue.add(w)

    def unwatch(self, w: Waiter) -> None:
        self.tty.queue.remove(w)

    def ioctl(self, t: Task, cmd: int, arg: int) -> int:
        if self.hung():
            raise SysErr(errno.ENOTTY if cmd == a.TIOCSPGRP else errno.EIO)
        return slave_ioctl(t, self.tty, cmd, arg, self.readable())

    def release(self) -> None:
        if self.hung():
            return
        y = self.tty
        y.count -= 1
        if y.count == 0:
            y.exclusive = False
            y.slave_closed()
