"""Running one program in the foreground: signals passed on, its exit status ours."""

from __future__ import annotations

import os
import select
import signal
import termios
import tty
from typing import Any, Final

from . import control
from .handle import Handle

FORWARDED: Final = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGWINCH, signal.SIGCONT,
)  # fmt: skip


def run_foreground(sb: Handle, process: control.Message, program: str = "") -> int:
    """Exit code as a shell gives it: the program's own, or 128 + signal. Raises Failure.

    With ``process["terminal"]`` our own terminal is handed over in raw mode and given back at the end. ``program``: who may
    wait in our place, native/nvsandbox.c.
    """
    terminal = bool(process.get("terminal"))
    if terminal:
        process["rows"], process["cols"] = _size()
    r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(w, warn_on_full_buffer=False)
    for s in FORWARDED:
        signal.signal(s, _noop)
    saved = termios.tcgetattr(0) if terminal else None
    try:
        ident = sb.spawn(process, (0, 1, 2))
        if program:
            _leave(sb, ident, r, terminal, program)
        if terminal:
            tty.setraw(0)
        return _wait(sb, ident, r, terminal)
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        signal.set_wakeup_fd(-1)
        os.close(r)
        os.close(w)
        sb.close()


def _leave(sb: Handle, ident: int, wakeup: int, terminal: bool, program: str) -> None:
    """Becomes the small program that waits as ``_wait`` does; comes back where that is not possible."""
    children = sb.children()
    if not children or sb.heard_of(ident):
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    if not select.select([wakeup], [], [], 0)[0]:
        fd = sb.ctl.fileno()
        os.set_inheritable(fd, True)
        words = [str(fd), str(ident), "tty" if terminal else "-", *map(str, children)]
        try:
            os.execv(program, ["nvsandbox", "@wait", *words])
        except OSError:
            os.set_inheritable(fd, False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)


def _wait(sb: Handle, ident: int, wakeup: int, terminal: bool) -> int:
    while True:
        ready, _, _ = select.select([wakeup, sb.ctl.fileno()], [], [])
        if wakeup in ready:
            for n in set(os.read(wakeup, 256)):
                if n == signal.SIGWINCH and terminal:
                    rows, cols = _size()
                    sb.resize(ident, rows, cols)
                elif n in FORWARDED:
                    sb.signal(ident, n)
        if sb.ctl.fileno() in ready:
            status = sb.wait(ident)
            if status is not None:
                return exit_code(status)


def _size() -> tuple[int, int]:
    """Rows and columns of our terminal."""
    try:
        size = os.get_terminal_size(0)
    except OSError:
        return 24, 80
    return size.lines, size.columns


def _noop(_sig: int, _frame: Any) -> None:
    """The wake-up descriptor does the work."""


def exit_code(status: int) -> int:
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)
