"""Running one program in the foreground: signals passed on, its exit status ours."""

from __future__ import annotations

import os
import select
import signal
import termios
from typing import Any, Final

from . import control
from .config import SandboxConfig
from .launch import RunningSandbox

FORWARDED: Final = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGWINCH, signal.SIGCONT,
)  # fmt: skip


def run_foreground(config: SandboxConfig, process: control.Message, init: bool = False) -> int:
    """Exit code as a shell gives it: the program's own, or 128 + signal. Raises Failure."""
    sb = RunningSandbox(config)
    r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(w, warn_on_full_buffer=False)
    for s in FORWARDED:
        signal.signal(s, _noop)
    terminal = {fd: termios.tcgetattr(fd) for fd in (0,) if os.isatty(fd)}
    try:
        ident = sb.spawn(process, (0, 1, 2), init)
        while True:
            ready, _, _ = select.select([r, sb.ctl.fileno()], [], [])
            if r in ready:
                for n in set(os.read(r, 256)):
                    if n in FORWARDED:
                        sb.signal(ident, n)
            if sb.ctl.fileno() in ready:
                status = sb.wait(ident)
                if status is not None:
                    return exit_code(status)
    finally:
        for fd, mode in terminal.items():
            termios.tcsetattr(fd, termios.TCSADRAIN, mode)
        signal.set_wakeup_fd(-1)
        os.close(r)
        os.close(w)
        sb.close()


def _noop(_sig: int, _frame: Any) -> None:
    """The wake-up descriptor does the work."""


def exit_code(status: int) -> int:
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)
