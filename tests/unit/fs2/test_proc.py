"""Walks the whole of proc, sys and cgroupfs with a fake kernel; inotify through vfs/notify.py."""

from __future__ import annotations

import errno
import os
import struct
from typing import Any

import pytest
from faketask import FakeTask

from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.fs.cgroupfs import make_cgroupfs
from nvsandbox.sentry.fs.inotify import Inotify
from nvsandbox.sentry.fs.pipe import make_pipe
from nvsandbox.sentry.fs.proc import make_proc
from nvsandbox.sentry.fs.sysfs import make_sysfs
from nvsandbox.sentry.kernel.cputime import Usage
from nvsandbox.sentry.kernel.signal import Pending, SigHandlers
from nvsandbox.sentry.vfs.fs_context import FsContext
from nvsandbox.sentry.vfs.mount import MountNamespace, mount_of
from nvsandbox.sentry.vfs.namei import walk
from nvsandbox.sentry.vfs.notify import IN_CREATE, IN_DELETE_SELF, notify_inode
from nvsandbox.sentry.vfs.open import open_path


def world(make: Any = make_proc) -> Any:
    t: Any = FakeTask()
    k, tg = t.k, t.tg
    k.procs, k.ncpu, k.boot_mono = {tg.pid: tg}, 2, 0
    k.hostname, k.domainname = b"box", b"(none)"
    tg.tasks, tg.k, tg.parent, tg.dead, tg.stopped = {t.tid: t}, k, None, False, False
    tg.sighand, tg.pending, tg.exit_signal, tg.exit_code = SigHandlers(), Pending(), 17, 0
    tg.cputime = tg.start_ns = 0
    tg.used, tg.seen, tg.child_used = Usage(), Usage(), Usage()
    tg.is_init = False
    tg.dumpable, tg.oom_score_adj, tg.loginuid, tg.leader_cred = 1, 0, 0xFFFFFFFF, None
    t.pending, t.blocked, t.nice, t.policy, t.rt_priority = Pending(), 0, 0, 0, 0
    t.start_ns = t.utime_ns = t.personality = 0
    t.cpu_mask = 0
    t.timer_slack, t.mm, t.token = 50000, None, None
    t.signal_pending = lambda: False
    t.memory = lambda: None
    t.has_thread = lambda: False
    t.tracee = None
    fs = make(k, k.container)
    ns = MountNamespace(mount_of(fs, fs.root))
    t.fs = FsContext(ns, ns.root_path(), ns.root_path())
    return t


def read(t: Any, path: bytes) -> bytes:
    f = open_path(t, t.fs.root, path, os.O_RDONLY, 0).incref()
    out = b""
    while True:
        got = f.read(t, 4096)
        assert isinstance(got, bytes)
        if not got:
            break
        out += got
    f.decref()
    return out


def everything(t: Any, path: bytes, depth: int = 0) -> int:
    """Looks up, stats and reads all below ``path``; how many files there are."""
    f = open_path(t, t.fs.root, path, os.O_RDONLY | os.O_DIRECTORY, 0)
    n = 0
    for _, _, kind, name in f.readdir(t):
        if name in (b".", b".."):
            continue
        where = path + b"/" + name
        p = walk(t, t.fs.root, where, False)
        p.inode.getattr(t)
        assert p.inode.mode >> 12 & 15 == kind, where
        n += 1
        if kind == 4:
            assert depth < 8
            n += everything(t, where, depth + 1) if where != b"//net" else 0
        elif kind == 10:
            try:
                p.inode.readlink(t)
            except SysErr as e:
                assert e.errno in (errno.ENOENT, errno.EACCES), where
        elif p.inode.mode & 0o444:
            read(t, where)
    return n


@pytest.mark.parametrize("make, least", [(make_proc, 200), (make_sysfs, 80), (make_cgroupfs, 20)])
def test_everything_can_be_read(make: Any, least: int) -> None:
    assert everything(world(make), b"/") > least


def test_self_and_fields() -> None:
    t = world()
    assert read(t, b"self/comm") == b"fake\n"
    assert len(read(t, b"self/stat").rsplit(b")", 1)[1].split()) == 50
    assert b"\nUid:\t0\t0\t0\t0\n" in read(t, b"self/status")
    assert read(t, b"sys/kernel/osrelease") == b"6.1.0-nvsandbox\n"
    assert read(t, b"version").startswith(b"Linux version 6.1.0-nvsandbox ")
    with pytest.raises(SysErr):
        read(t, b"99999/comm")
    assert read(t, b"mounts").startswith(b"proc / proc rw")


@pytest.mark.parametrize(
    "mask, n, words, ranges",
    [
        (0b1, 1, "1", "0"),
        (0b11, 2, "3", "0-1"),
        (0b1010_0111_0001, 12, "a71", "0,4-6,9,11"),
        (1 << 31, 33, "0,80000000", "31"),
        (0b11 << 31, 40, "01,80000000", "31-32"),
        (1 << 99, 100, "8,00000000,00000000,00000000", "99"),
    ],
)
def test_processors(mask: int, n: int, words: str, ranges: str) -> None:
    t = world()
    t.k.ncpu, t.cpu_mask = n, mask
    shown = f"\nCpus_allowed:\t{words}\nCpus_allowed_list:\t{ranges}\n"
    assert shown.encode() in read(t, b"self/status")


def test_writable_sysctl() -> None:
    t = world()
    f = open_path(t, t.fs.root, b"sys/kernel/hostname", os.O_WRONLY, 0)
    assert f.write(t, b"new\n") == 4
    assert read(t, b"sys/kernel/hostname") == b"new\n"
    f = open_path(t, t.fs.root, b"self/oom_score_adj", os.O_WRONLY, 0)
    assert f.write(t, b"100\n") == 4
    with pytest.raises(SysErr):
        f.write(t, b"junk")


def test_fd_links() -> None:
    t = world()
    r, w = make_pipe(t)
    fr, fw = t.files.install(r, 100), t.files.install(w, 100)
    link = walk(t, t.fs.root, b"self/fd/%d" % fr, False).inode.readlink(t)
    assert link.startswith(b"pipe:[")
    again = open_path(t, t.fs.root, b"self/fd/%d" % fw, os.O_WRONLY, 0)
    assert again.write(t, b"x") == 1
    assert r.read(t, 5) == b"x"
    assert b"pos:\t0\n" in read(t, b"self/fdinfo/%d" % fr)


def test_other_users_processes_are_closed() -> None:
    t = world()
    u: Any = FakeTask(t.k, uid=1000, gid=1000)
    u.fs = t.fs
    u.tg.pid = 4711
    with pytest.raises(SysErr) as e:
        read(u, b"%d/environ" % t.tg.pid)
    assert e.value.errno == errno.EACCES


def test_inotify() -> None:
    t: Any = world()
    i = t.fs.root.inode
    n = Inotify(os.O_NONBLOCK)
    n.incref()
    wd = n.add(i, 0xFFF)
    assert n.add(i, 0xFFF) == wd
    notify_inode(i, IN_CREATE, 0, b"a")
    notify_inode(i, IN_CREATE, 0, b"a")
    assert n.read(t, 10) == -errno.EINVAL
    assert n.read(t, 100) == struct.pack("<iIII", wd, IN_CREATE, 0, 16) + b"a".ljust(16, b"\0")
    notify_inode(i, IN_DELETE_SELF)
    got = n.read(t, 100)
    assert struct.unpack("<iIIIiIII", got)[1::4] == (IN_DELETE_SELF, 0x8000)
    assert n.read(t, 100) == -errno.EAGAIN
    n.decref()
    assert i.watches is None
