"""`nvsandbox do` on a real terminal: job control, keys, size, and the terminal given back as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NVSANDBOX = Path(sys.executable).parent / "nvsandbox"


class Terminal:
    """A child on a pseudo-terminal; ``expect`` waits for text."""

    def __init__(self, argv: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(argv[0], argv)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.seen = ""

    def expect(self, pattern: str, timeout: float = 20) -> None:
        deadline = time.monotonic() + timeout
        while True:
            m = re.search(pattern, self.seen)
            if m:
                self.seen = self.seen[m.end() :]
                return
            assert time.monotonic() < deadline, f"waiting for {pattern!r}, got {self.seen!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 4096).decode(errors="replace")
                except OSError:
                    pytest.fail(f"ended while waiting for {pattern!r}: {self.seen!r}")

    def send(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def status(self, timeout: float = 20) -> int:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    os.read(self.fd, 4096)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        pytest.fail("did not end")


@pytest.fixture
def shell(rootfs: Path) -> Iterator[Terminal]:
    t = Terminal(
        [
            str(NVSANDBOX),
            "do",
            "--rootfs",
            str(rootfs),
            "-e",
            "PS1=%% ",
            "--",
            "bash",
            "--norc",
            "--noediting",
            "-i",
        ]
    )
    t.expect("%% ")
    yield t
    os.close(t.fd)


def test_a_shell_has_job_control(shell: Terminal) -> None:
    shell.send("tty; echo fl=$-\n")
    shell.expect(r"/dev/pts/\d+")
    shell.expect(r"fl=\w*m")
    shell.send("sleep 100\n")
    time.sleep(0.5)
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.send("fg\n")
    shell.expect("sleep 100")
    time.sleep(0.3)
    shell.send("\x03")
    shell.expect("%% ")
    shell.send("echo rc=$?\n")
    shell.expect("rc=130")
    shell.send("exit 3\n")
    assert shell.status() == 3


def test_the_size_follows(shell: Terminal) -> None:
    fcntl.ioctl(shell.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    time.sleep(0.3)
    shell.send("stty size\n")
    shell.expect("33 77")
    shell.send("exit\n")
    assert shell.status() == 0


def test_vi_edits_a_file(shell: Terminal) -> None:
    shell.send("vi /tmp/f\n")
    shell.expect("/tmp/f")
    shell.send("ihello from vi\x1b:wq\r")
    shell.expect("%% ")
    shell.send("cat /tmp/f; exit\n")
    shell.expect("hello from vi\r\n")
    assert shell.status() == 0
