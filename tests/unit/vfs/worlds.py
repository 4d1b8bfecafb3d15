"""Two worlds that answer the same system calls: the host, and our handlers on a chosen file system.

``World.call(name, *args)`` passes integers as they are, bytes as C strings, ``Out(n)`` as a buffer; the result is the
call's value or a negative errno. Each world works in a directory of its own, by relative paths.
"""

from __future__ import annotations

import ctypes
import os
import socket
import tempfile
from typing import Any

import pytest
from faketask import FakeTask

from nvsandbox.gofer.main import MountSpec, main
from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.fs.gofer_client import GoferClient
from nvsandbox.sentry.fs.memfd_pool import MemfdPool, local_refill
from nvsandbox.sentry.fs.rootfs import Builder
from nvsandbox.sentry.fs.tmpfs import make_tmpfs
from nvsandbox.sentry.syscalls import (
    file_copy,
    file_ctl,
    file_rw,
    file_sync,
    fs_attr,
    fs_mount,
    fs_names,
    fs_open,
    fs_stat,
    fs_xattr,
)
from nvsandbox.sentry.vfs.fs_context import FsContext
from nvsandbox.sentry.vfs.mount import MountNamespace, mount_of

MODULES = (
    file_copy, file_ctl, file_rw, file_sync, fs_attr, fs_mount, fs_names, fs_open, fs_stat, fs_xattr,
)  # fmt: skip
TABLE = {nr: row for m in MODULES for nr, row in m.TABLE.items()}
NUMBERS = {row.name: nr for nr, row in TABLE.items()}
AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Out:
    """A buffer for the call to fill; ``data`` afterwards."""

    def __init__(self, size: int, fill: bytes = b"") -> None:
        self.size = size
        self.data = fill.ljust(size, b"\0")


class HostWorld:
    """The machine's kernel, in a scratch directory. Never pass absolute paths: they are the machine's."""

    def __init__(self, base: str | None = None) -> None:
        self.dir = tempfile.mkdtemp(prefix="nvsandbox-test-", dir=base)
        os.mkdir(self.dir + "/w")  # so that ".." is ours too
        self.home = os.open(self.dir + "/w", os.O_RDONLY)
        self.old_umask = os.umask(0o022)
        self.opened: set[int] = set()

    def call(self, name: str, *args: Any) -> int:
        os.fchdir(self.home)
        raw: list[Any] = []
        outs: list[tuple[Out, Any]] = []
        for a in args:
            if isinstance(a, bytes):
                assert not a.startswith(b"/"), "the host's own files"
                raw.append(ctypes.c_char_p(a))
            elif isinstance(a, Out):
                buf = ctypes.create_string_buffer(a.data, a.size)
                outs.append((a, buf))
                raw.append(buf)
            else:
                raw.append(ctypes.c_long(a))
        r: int = _libc.syscall(ctypes.c_long(NUMBERS[name]), *raw)
        if r < 0:
            return -ctypes.get_errno()
        for out, buf in outs:
            out.data = buf.raw
        return r

    def close(self) -> None:
        os.close(self.home)
        os.umask(self.old_umask)
        os.chdir("/")
        _libc.system(f"rm -rf {self.dir}".encode())


class SentryWorld:
    """Our handlers, with a fake task."""

    def __init__(self, t: FakeTask) -> None:
        self.t = t

    def call(self, name: str, *args: Any) -> int:
        t = self.t
        t.reset_mem()
        raw: list[int] = []
        outs: list[tuple[Out, int]] = []
        for a in args:
            if isinstance(a, bytes):
                raw.append(t.cstr(a))
            elif isinstance(a, Out):
                addr = t.put(a.data)
                outs.append((a, addr))
                raw.append(addr)
            else:
                raw.append(a)
        row = TABLE[NUMBERS[name]]
        assert row.handler is not None
        try:
            r = row.handler(t, *raw[: len(row.args)])
        except SysErr as e:
            return -e.errno
        if r >= 0:
            for out, addr in outs:
                out.data = t.get(addr, out.size)
        return r


def code(fn: Any, *args: Any) -> int:
    """The errno that a call fails with."""
    with pytest.raises(SysErr) as e:
        fn(*args)
    return e.value.errno


def start_gofer(
    root: str, readonly: bool = True, extra: tuple[MountSpec, ...] = ()
) -> tuple[GoferClient, int]:
    """A real gofer process serving ``root``; returns its client and pid."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            main(theirs.detach(), [MountSpec(root, readonly), *extra])
        finally:
            os._exit(0)
    theirs.close()
    return GoferClient(ours), pid


class GoferWorld(SentryWorld):
    """Over a gofer serving a scratch directory: ``overlay`` or written through."""

    def __init__(
        self, overlay: bool, base: str | None = None, dir: str | None = None, bind: bool = False
    ) -> None:
        super().__init__(FakeTask())
        self.dir = dir or tempfile.mkdtemp(prefix="nvsandbox-lower-", dir=base)
        self.made = dir is None
        self.client, self.pid = start_gofer(self.dir, readonly=overlay)
        b = Builder(self.client, self.t, overlay)  # type: ignore[arg-type]  # FakeTask stands in
        if bind:
            b.mount_tmpfs(b"/", b"mode=755")
            b.bind_gofer(b"/m", 0, False)
        b.boot.fs = FsContext(b.ns, b.ns.root_path(), b.ns.root_path())
        self.builder = b
        self.client.attach_loop(self.t.k.loop)

    def close(self) -> None:
        self.client.sock.close()
        os.waitpid(self.pid, 0)
        if self.made:
            _libc.system(f"rm -rf {self.dir}".encode())


def tmpfs_world(uid: int = 0) -> SentryWorld:
    t = FakeTask(uid=uid, gid=uid)
    fs = make_tmpfs(MemfdPool(local_refill), t.k.realtime_ns(), b"mode=755")
    assert fs.root is not None
    ns = MountNamespace(mount_of(fs, fs.root))
    t.fs = FsContext(ns, ns.root_path(), ns.root_path())
    return SentryWorld(t)
