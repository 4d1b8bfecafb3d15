"""Full-screen programs, driven from outside through a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from inside import REPO, cli


class Terminal:
    """A sandbox on a terminal of 24 by 80: what it prints is collected, keys are typed."""

    def __init__(self, start: list[str], argv: list[str]) -> None:
        self.fd, other = pty.openpty()
        self.resize(24, 80, False)
        self.seen = b""
        self.p = subprocess.Popen(
            ["setsid", "-c", *start[:-1], "-e", "TERM=xterm", "--", *argv],
            stdin=other, stdout=other, stderr=other, cwd=REPO,
        )  # fmt: skip
        os.close(other)

    def resize(self, rows: int, cols: int, tell: bool = True) -> None:
        ioctl(self.fd, TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        if tell:
            self.p.send_signal(signal.SIGWINCH)

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def until(self, pattern: str, timeout: float = 20) -> str:
        """Waits for ``pattern`` in what was printed since the last call."""
        end = time.monotonic() + timeout
        while not (m := re.search(pattern.encode(), self.seen)):
            if not select.select([self.fd], [], [], max(end - time.monotonic(), 0))[0]:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            try:
                self.seen += os.read(self.fd, 65536)
            except OSError:
                raise AssertionError(f"ended without {pattern!r}: {self.seen!r}") from None
        self.seen = self.seen[m.end() :]
        return m.group().decode("utf-8", "replace")

    def close(self) -> None:
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        os.close(self.fd)


@pytest.fixture
def shell(rootfs: Path, platform: str) -> Iterator[Terminal]:
    t = Terminal(cli(platform, rootfs, "-w", "/tmp"), ["bash", "--norc", "-i"])
    t.until("# ")
    yield t
    t.close()


def test_line_editing_and_signals(shell: Terminal) -> None:
    shell.type("echo one twX\x7fo\n")
    shell.until("\rone two\r\n")
    shell.type("sleep 100\n")
    time.sleep(0.5)
    shell.type("\x03")
    shell.until("# ")
    shell.type("echo status $?\n")
    shell.until("status 130\r\n")
    shell.type("sleep 100\n")
    time.sleep(0.5)
    shell.type("\x1a")
    shell.until("Stopped")
    shell.type("kill %1; fg\n")
    shell.until("# ")
    shell.type("stty size; tty\n")
    shell.until("24 80\r\n/dev/\\w+")
    shell.type("exit 5\n")
    assert shell.p.wait(20) == 5


def test_vim(shell: Terminal) -> None:
    shell.type("vim.tiny -u NONE file\n")
    shell.until("file.*New")
    shell.type("ihello\rworld\x1b:s/world/there/\rggyyp")
    shell.type(":wq\r")
    shell.until("written|# ")
    shell.type("clear; tr '\\n' , <file; echo .\n")
    shell.until("hello,hello,there,\\.")


def test_less(shell: Terminal) -> None:
    shell.type("seq 1000 | less\n")
    shell.until("23\r\n:")
    shell.type("G")
    shell.until("1000")
    shell.type("?^5..$\n")
    shell.until("599")
    shell.type("q")
    shell.type("echo do''ne\n")
    shell.until("done\r\n")


def test_tmux(shell: Terminal) -> None:
    shell.type("tmux -f /dev/null\n")
    shell.until("\\[0\\] 0:")
    shell.type("echo in''side $TMUX_PANE\n")
    shell.until("inside %0")
    shell.type('\x02"')
    time.sleep(1)
    shell.type("tmux list-panes | wc -l | sed s/^/panes-/\n")
    shell.until("panes-2")
    shell.type("\x02d")
    shell.until("detached")
    shell.type("tmux kill-server; echo e''nd\n")
    shell.until("end\r\n")
