"""The process that opens a sandbox's GPU devices: the Sentry itself can open nothing (docs/decisions.md).

It knows a fixed list of paths. A request is the number of one (u32), the answer an errno (i32) with the new descriptor. What it may
ask of the host is decided by its filter: receive, send, close, and openat of *these* strings, which lie in a page that it has made
read-only, with these flags. Whoever took it over could open what the sandbox has anyway.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from ..platform import bpf
from ..platform.bpf import Test, allow, eq, mask, refuse
from ..platform.native._native import lib
from ..sandbox import isolate
from .model import Device

FLAGS: Final = os.O_RDWR | os.O_CLOEXEC
CAP_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC
"""Capability files (nvidia-caps) are only ever open for reading."""
_MAP_32BIT: Final = 0x40
_PROT_READ: Final = 1
_PAGE: Final = 4096
_AT_FDCWD: Final = -100
_NR_OPENAT: Final = 257
# read write close fstat rt_sigaction rt_sigprocmask rt_sigreturn sendmsg recvmsg sendto recvfrom brk futex
# clock_gettime exit_group getpid madvise
_PLAIN: Final = (0, 1, 3, 5, 13, 14, 15, 47, 46, 44, 45, 12, 202, 228, 231, 39, 28)


def _filter(pointers: Sequence[int]) -> bytes:
    """mmap for Python's allocator, but never over the paths (no MAP_FIXED); no unmapping, no protection changes."""
    rules = [allow(nr) for nr in _PLAIN]
    rules += [
        allow(_NR_OPENAT, Test(1, "eq", tuple(pointers), True), eq(2, FLAGS, CAP_FLAGS)),
        allow(9, mask(2, 3), mask(3, 0x22)),
        refuse(11, errno.ENOMEM),
        refuse(25, errno.ENOMEM),
    ]
    return bpf.program(rules, bpf.RET_ERRNO | errno.EPERM)


def _pin(paths: Sequence[str]) -> list[int]:
    """Addresses of the paths in a read-only page below 4 GiB, so that a filter can compare them whole."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    )  # fmt: skip
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    blob = b"".join(p.encode() + b"\0" for p in paths)
    size = -(-len(blob) // _PAGE) * _PAGE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_32BIT
    base = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if base is None or base >= 1 << 32:
        raise OSError(errno.ENOMEM, "mmap")
    ctypes.memmove(base, blob, len(blob))
    if libc.mprotect(base, size, _PROT_READ):
        raise OSError(ctypes.get_errno(), "mprotect")
    out, at = [], base
    for p in paths:
        out.append(at)
        at += len(p.encode()) + 1
    return out


def _serve(sock: socket.socket, pointers: Sequence[int], flags: Sequence[int]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    openat = libc.openat
    openat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    socket.send_fds  # noqa: B018  everything is looked up before the filter
    isolate.install_filter(_filter(pointers))
    while True:
        request = sock.recv(8)
        if not request:
            return
        fd, err = -1, errno.EINVAL
        if len(request) == 4:
            index = struct.unpack("<I", request)[0]
            if index < len(pointers):
                fd = openat(_AT_FDCWD, pointers[index], flags[index])
                err = 0 if fd >= 0 else ctypes.get_errno()
        answer = struct.pack("<i", err)
        if fd >= 0:
            socket.send_fds(sock, [answer], [fd])
            os.close(fd)
        else:
            sock.send(answer)


def _process(sock: socket.socket, devices: Sequence[Device]) -> None:
    """In the child. Ends with the Sentry: its end of the socket is the only other one."""
    try:
        os.setsid()
        isolate.reset_signals()
        isolate.set_name("nv-broker")
        isolate.close_others({sock.fileno()})
        pointers = _pin([d.path for d in devices])
        flags = [CAP_FLAGS if d.kind == "cap" else FLAGS for d in devices]
        lib.nv_set_caps(0)
        isolate.check("no_new_privs", lib.nv_prctl(isolate.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        with contextlib.suppress(OSError):
            _serve(sock, pointers, flags)
    finally:
        os._exit(0)


def start(devices: Sequence[Device]) -> tuple[int, int]:
    """(descriptor of the Sentry's end, pid)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _process(theirs, devices)
    theirs.close()
    return ours.detach(), pid
