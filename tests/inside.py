"""Running commands in a sandbox from a test: which platforms, which environment, which command line."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LIBC = ctypes.CDLL(None)
REPO = Path(__file__).resolve().parent.parent
PLATFORMS = os.environ.get("NVSANDBOX_TEST_PLATFORMS", "systrap,ptrace").split(",")
ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
}


@dataclass
class Ran:
    """How a command ended."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "replace")


def cli(platform: str, root: Path, *flags: str) -> list[str]:
    """The start of a command line that runs what follows in a sandbox. ``platform``: "systrap", "ptrace", or
    "systrap-off" and "systrap-forced" for call-site patching that is off or done at the first trap, "systrap-interpreted"
    for a kernel that is not compiled."""
    platform, _, how = platform.partition("-")
    variant = {"": [], "interpreted": ["env", "NVSANDBOX_COMPILED=0"]}
    return [
        *variant.get(how, ["env", f"NVSANDBOX_SYSTRAP_PATCHING={how}"]),
        *(sys.executable, "-m", "nvsandbox.cli.main", f"--platform={platform}"),
        *("do", "--rootfs", str(root)),
        *(x for k, v in ENV.items() for x in ("-e", f"{k}={v}")),
        *flags,
        "--",
    ]


def plain() -> None:
    """What a fresh sandbox starts with, whoever started us: dispositions, mask, priority."""
    default = bytes(
        32
    )  # struct sigaction of rt_sigaction(2); the C library won't touch its own two signals
    for s in range(1, 65):
        LIBC.syscall(13, s, default, None, 8)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


SandboxRun = Callable[..., Ran]
