"""The console of a program started with a terminal: a pseudo-terminal inside, tied to the launcher's terminal outside.

The launcher has put its terminal in raw mode, so every key comes through as a byte and all that a terminal does (echo, editing, ^C,
job control) is done by our own line discipline. Output is written to the host's terminal as it comes; a terminal
stopped by its user (^S there) holds the sandbox up.
"""

from __future__ import annotations

import os
import select
import struct
from typing import TYPE_CHECKING, Final, final

from .fs.devpts import DevPts, console_pty, open_slave, peer_path
from .fs.tty_pty import MasterFile
from .kernel.wait import Waiter

if TYPE_CHECKING:
    from .kernel.kernel import Kernel
    from .kernel.task import Task

CHUNK: Final = 4096


@final
class Console:
    """One program's console. ``fds``: the launcher's descriptors for input and output."""

    def __init__(self, k: Kernel, t: Task, fds: tuple[int, int]) -> None:
        fs = next(m.fs for m in t.fs.ns.mounts() if isinstance(m.fs, DevPts))
        self.k = k
        self.task = t
        self.fd_in, self.fd_out = fds
        self.pty = console_pty(k, fs, t)
        path = peer_path(t, fs, self.pty.index, fs.nodes[self.pty.index])
        self.master = MasterFile(os.O_RDWR | os.O_NONBLOCK, path, self.pty)
        self.slave = open_slave(t, path, os.O_RDWR, self.pty)
        self.pending = b""
        self.master.watch(Waiter(self._on_master))
        k.loop.watch_fd(self.fd_in, select.EPOLLIN, self._on_input)

    def resize(self, rows: int, cols: int) -> None:
        """The launcher's terminal has this size now."""
        self.pty.set_winsize(struct.pack("<HHHH", rows & 0xFFFF, cols & 0xFFFF, 0, 0))

    def _on_input(self, _events: int) -> None:
        try:
            self.pending = os.read(self.fd_in, CHUNK)
        except OSError:
            self.pending = b""
        if not self.pending:  # the terminal is gone
            self.k.loop.unwatch_fd(self.fd_in)
            self.pty.hangup()
            return
        self._feed()

    def _feed(self) -> None:
        """Hands pending input to the line discipline; input stops while it is full."""
        data, self.pending = self.pending, b""  # its echo calls _on_master
        r = self.master.write(self.task, data)
        self.pending = data[max(r, 0) :]
        if self.pending:
            self.k.loop.unwatch_fd(self.fd_in)
        elif self.fd_in not in self.k.loop.fds:
            self.k.loop.watch_fd(self.fd_in, select.EPOLLIN, self._on_input)

    def _on_master(self, _events: int) -> None:
        self.drain()
        if self.pending:
            self._feed()

    def drain(self) -> None:
        """Writes out what the program has printed."""
        while self.pty.out:
            data = self.master.read(self.task, CHUNK)
            if not isinstance(data, bytes) or not data:
                return
            while data:
                try:
                    data = data[os.write(self.fd_out, data) :]
                except OSError:
                    return

    def close(self) -> None:
        """The program is gone."""
        self.drain()
        self.k.loop.unwatch_fd(self.fd_in)
        os.close(self.fd_in)
        os.close(self.fd_out)
