"""The process that opens a sandbox's GPU devices: the Sentry itself can open nothing (docs/decisions.md).

It knows a fixed list of paths; a request is the number of one (u32). What it may ask of the host is decided by its filter
(``sandbox/brokers.py``): receive, send, close, and openat of *these* strings, which lie in a page that it has made
read-only, with these flags. Whoever took it over could open what the sandbox has anyway.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from ..platform.bpf import Test, allow, eq
from ..sandbox import brokers
from .model import Device

FLAGS: Final = os.O_RDWR | os.O_CLOEXEC
CAP_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC
"""Capability files and IMEX channels are only ever open for reading."""
_MAP_32BIT: Final = 0x40
_PROT_READ: Final = 1
_PAGE: Final = 4096
_AT_FDCWD: Final = -100
_NR_OPENAT: Final = 257


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


def _serve(sock: socket.socket, devices: Sequence[Device]) -> None:
    pointers = _pin([d.path for d in devices])
    flags = [CAP_FLAGS if d.kind in ("cap", "channel") else FLAGS for d in devices]
    libc = ctypes.CDLL(None, use_errno=True)
    openat = libc.openat
    openat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)

    def opens(request: bytes) -> int:
        index = struct.unpack("<I", request)[0] if len(request) == 4 else len(pointers)
        if index >= len(pointers):
            return -errno.EINVAL
        fd: int = openat(_AT_FDCWD, pointers[index], flags[index])
        return fd if fd >= 0 else -ctypes.get_errno()

    paths = allow(_NR_OPENAT, Test(1, "eq", tuple(pointers), True), eq(2, FLAGS, CAP_FLAGS))
    brokers.install_filter([paths])
    brokers.answer(sock, opens)


def start(devices: Sequence[Device]) -> tuple[int, int]:
    """(descriptor of the Sentry's end, pid)."""
    return brokers.start("nv-broker", 0, lambda sock: _serve(sock, devices))
