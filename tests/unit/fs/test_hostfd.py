"""Donated host descriptors: no waiting on the host, host flags untouched."""

from __future__ import annotations

import errno
import os
import pty
import socket
import struct
from pathlib import Path

import pytest
from faketask import FakeTask

from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.fs.hostfd import open_host_fd
from nvsandbox.sentry.fs.hostfd_tty import TCGETS, TIOCGPGRP, TIOCGWINSZ, TIOCSCTTY, open_stdio
from nvsandbox.sentry.kernel.wait import POLLIN, POLLOUT, Waiter


def test_pipe_read_waits_in_the_loop() -> None:
    t = FakeTask()
    r, w = os.pipe()
    f = open_host_fd(r, t.k.loop)
    f.incref()
    t.k.loop.hooks.append(lambda: os.write(w, b"hello"))  # type: ignore[arg-type,return-value]
    assert f.read(t, 100) == b"hello"
    f.flags |= os.O_NONBLOCK
    assert f.read(t, 100) == -errno.EAGAIN
    assert os.get_blocking(r)  # the host's description is as it was
    os.close(w)
    assert f.read(t, 100) == b""
    f.decref()


def test_pipe_write_is_partial_then_waits() -> None:
    t = FakeTask()
    r, w = os.pipe()
    os.set_blocking(r, False)
    f = open_host_fd(w, t.k.loop)
    f.incref()
    got: list[bytes] = []

    def drain() -> None:
        try:
            got.append(os.read(r, 1 << 20))
        except BlockingIOError:
            pass  # the writer has not been woken yet

    t.k.loop.watch_fd(r, POLLIN, lambda _: drain())
    assert f.write(t, b"x" * 200000) == 200000
    while sum(map(len, got)) < 200000:
        drain()
    t.k.loop.unwatch_fd(r)
    f.flags |= os.O_NONBLOCK
    assert 0 < f.write(t, b"x" * 200000) < 200000
    assert f.write(t, b"x" * 5000) == -errno.EAGAIN
    f.decref()
    os.close(r)


def test_broken_pipe() -> None:
    t = FakeTask()
    r, w = os.pipe()
    os.close(r)
    f = open_host_fd(w, t.k.loop)
    f.incref()
    with pytest.raises(SysErr) as e:
        f.write(t, b"x")
    assert e.value.errno == errno.EPIPE
    f.decref()


def test_socket_and_readiness() -> None:
    t = FakeTask()
    a, b = socket.socketpair()
    f = open_host_fd(a.detach(), t.k.loop)
    f.incref()
    assert f.poll(t) & (POLLIN | POLLOUT) == POLLOUT
    seen: list[int] = []
    w = Waiter(seen.append, POLLIN)
    f.watch(w)
    b.send(b"ping")
    while not seen:
        t.k.loop.step()
    assert seen[0] & POLLIN
    assert f.read(t, 10) == b"ping"
    assert f.write(t, b"pong") == 4
    assert b.recv(10) == b"pong"
    f.unwatch(w)
    f.decref()


def test_regular_file(tmp_path: Path) -> None:
    t = FakeTask()
    path = tmp_path / "f"
    f = open_host_fd(os.open(path, os.O_RDWR | os.O_CREAT), None)
    f.incref()
    assert f.write(t, b"hello") == 5
    assert f.seek(t, 1, 0) == 1
    assert f.read(t, 10) == b"ello"
    assert f.pread(t, 2, 0) == b"he"
    assert not f.pollable()
    assert f.inode.getattr(t).size == 5
    f.decref()


def test_terminal() -> None:
    t = FakeTask()
    master, slave = pty.openpty()
    f = open_stdio(slave, t.k.loop)
    f.incref()
    buf = t.room(64)
    assert f.ioctl(t, TCGETS, buf) == 0
    assert f.ioctl(t, TIOCGWINSZ, buf) == 0
    with pytest.raises(SysErr) as e:
        f.ioctl(t, TIOCGPGRP, buf)
    assert e.value.errno == errno.ENOTTY
    assert f.ioctl(t, TIOCSCTTY, 0) == 0
    assert f.ioctl(t, TIOCGPGRP, buf) == 0
    assert struct.unpack("<i", t.get(buf, 4))[0] == t.tg.pgid
    os.write(master, b"line\n")
    assert f.read(t, 100) == b"line\n"
    assert f.write(t, b"out") == 3
    f.decref()
    os.close(master)
