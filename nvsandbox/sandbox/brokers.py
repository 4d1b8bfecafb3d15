"""Brokers: small processes outside that open what the Sentry must not be able to open itself (docs/decisions.md).

A broker answers requests on a SOCK_SEQPACKET socket with an errno (i32) and, when that is 0, a descriptor. It ends with the Sentry, which
has the only other end. What it may ask of the host is decided by a seccomp filter of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from ..platform import bpf
from ..platform.bpf import Rule, allow, mask, refuse
from ..platform.native._native import lib
from . import isolate

# read write close fstat rt_sigaction rt_sigprocmask rt_sigreturn sendmsg recvmsg sendto recvfrom brk futex
# clock_gettime exit_group getpid madvise
_PLAIN: Final = (0, 1, 3, 5, 13, 14, 15, 47, 46, 44, 45, 12, 202, 228, 231, 39, 28)
REQUEST: Final = 16  # bytes, at most


def install_filter(extra: list[Rule]) -> None:
    """What any broker needs and ``extra``. mmap is for Python's allocator, but not over what there is (no MAP_FIXED); no unmapping, no
    protection changes."""
    rules = [*extra, *(allow(nr) for nr in _PLAIN)]
    rules += [
        allow(9, mask(2, 3), mask(3, 0x22)),
        refuse(11, errno.ENOMEM),
        refuse(25, errno.ENOMEM),
    ]
    isolate.install_filter(bpf.program(rules, bpf.RET_ERRNO | errno.EPERM))


def answer(sock: socket.socket, opens: Callable[[bytes], int]) -> None:
    """Answers until the Sentry is gone. ``opens``: a descriptor, or -errno."""
    socket.send_fds  # noqa: B018  looked up before the filter
    while True:
        request = sock.recv(REQUEST)
        if not request:
            return
        fd = opens(request)
        if fd < 0:
            sock.send(struct.pack("<i", -fd))
            continue
        socket.send_fds(sock, [bytes(4)], [fd])
        os.close(fd)


def start(name: str, caps: int, serve: Callable[[socket.socket], None]) -> tuple[int, int]:
    """Forks one that keeps the capabilities ``caps`` (a mask) and runs ``serve``. (descriptor of the Sentry's end, pid)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            os.setsid()
            isolate.reset_signals()
            isolate.set_name(name)
            isolate.close_others({theirs.fileno()})
            lib.nv_set_caps(caps)
            isolate.check("no_new_privs", lib.nv_prctl(isolate.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
            with contextlib.suppress(OSError):
                serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    return ours.detach(), pid
