"""`create` and `run` from their first moment: the pid-file process starts before anything is read, and imports what a Sentry needs
beside the reading (monitor.py is what it does then).
"""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, NamedTuple

from .streams import listen_fds, preserved

if TYPE_CHECKING:
    from ..cli.args import Values
    from ..cli.globals import Globals


class Process(NamedTuple):
    """The pid-file process, with which `create` speaks over ``link``."""

    pid: int
    pidfd: int
    link: socket.socket


class Begun(NamedTuple):
    activated: int  # descriptors from 3 on that systemd's activation passed
    more: list[int]  # those and the ones of --preserve-fds
    process: Process | None  # None for an ordinary user: it is to be in a user namespace of ours


def create(g: Globals, v: Values, args: list[str]) -> int:
    """Everything but the start of the program. Raises Failure."""
    begun = _begin(v)
    from . import create as whole

    return whole.create(g, v, args[0], begun)


def run(g: Globals, v: Values, args: list[str]) -> int:
    """create, start, and unless detached: wait, delete. Raises Failure."""
    begun = _begin(v)
    from . import create as whole

    return whole.run(g, v, args[0], begun)


def _begin(v: Values) -> Begun:
    activated = listen_fds()  # first: before descriptors of ours take the numbers
    more = preserved(v["preserve_fds"] + activated)
    return Begun(activated, more, start() if os.geteuid() == 0 else None)


def start() -> Process:
    """Forks the pid-file process. It ends when the link does, unless it has a container."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            os.setsid()
            from . import monitor

            monitor.main(theirs)
        finally:
            os._exit(1)
    theirs.close()
    return Process(pid, os.pidfd_open(pid), ours)
