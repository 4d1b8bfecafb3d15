"""System V and POSIX message queues, semaphores; values against sysvipc(7) and mq_overview(7)."""

from __future__ import annotations

import errno
import os
import struct
from typing import Any

from faketask import FakeTask

from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.ipc import sem
from nvsandbox.sentry.syscalls import ipc_mqueue as mq
from nvsandbox.sentry.syscalls import ipc_msg_sem as ms
from nvsandbox.sentry.syscalls import ipc_shm as sh

CREAT, EXCL, NOWAIT = 0o1000, 0o2000, 0o4000


def call(t: Any, fn: Any, *a: int) -> int:
    try:
        return fn(t, *a)
    except SysErr as e:
        return -e.errno


def send(t: Any, q: int, kind: int, text: bytes, flags: int = NOWAIT) -> int:
    return call(t, ms.sys_msgsnd, q, t.put(struct.pack("<q", kind) + text), len(text), flags)


def recv(t: Any, q: int, kind: int, size: int = 100, flags: int = NOWAIT) -> Any:
    a = t.room(8 + size)
    n = call(t, ms.sys_msgrcv, q, a, size, kind, flags)
    return (struct.unpack("<q", t.get(a, 8))[0], t.get(a + 8, n)) if n >= 0 else n


def test_message_queue_selection() -> None:
    t: Any = FakeTask()
    q = ms.sys_msgget(t, 0, 0o600)
    for kind in (3, 1, 2):
        assert send(t, q, kind, b"m%d" % kind) == 0
    assert recv(t, q, 2) == (2, b"m2")
    assert recv(t, q, -5) == (1, b"m1")
    assert recv(t, q, 3, 1) == -errno.E2BIG
    assert recv(t, q, 3, 1, NOWAIT | 0o10000) == (3, b"m")
    assert recv(t, q, 0) == -errno.ENOMSG
    assert send(t, q, 0, b"") == -errno.EINVAL
    while send(t, q, 1, bytes(8000)) == 0:
        pass
    assert send(t, q, 1, bytes(8000)) == -errno.EAGAIN
    assert ms.sys_msgctl(t, q, 0, 0) == 0
    assert recv(t, q, 0) == -errno.EINVAL


def test_keys_and_permissions() -> None:
    t: Any = FakeTask(uid=1000)
    q = ms.sys_msgget(t, 0x1234, CREAT | 0o600)
    assert ms.sys_msgget(t, 0x1234, 0) == q
    assert call(t, ms.sys_msgget, 0x1234, CREAT | EXCL) == -errno.EEXIST
    assert call(t, ms.sys_msgget, 0x9999, 0) == -errno.ENOENT
    o: Any = FakeTask(t.k, uid=2000, gid=2000)
    assert send(o, q, 1, b"x") == -errno.EACCES
    assert call(o, ms.sys_msgctl, q, 0, 0) == -errno.EPERM
    st = t.room(120)
    assert ms.sys_msgctl(t, q, 2, st) == 0
    assert struct.unpack_from("<iIIII", t.get(st, 120)) == (0x1234, 1000, 0, 1000, 0)
    ms.sys_msgctl(t, q, 0, 0)


def semop(t: Any, s: int, *ops: tuple[int, int, int]) -> int:
    raw = b"".join(struct.pack("<Hhh", *o) for o in ops)
    return call(t, ms.sys_semop, s, t.put(raw), len(ops))


def test_semaphores_are_atomic_and_undone() -> None:
    t: Any = FakeTask()
    s = ms.sys_semget(t, 0, 3, 0o600)
    assert semop(t, s, (0, 2, 0), (1, -1, NOWAIT)) == -errno.EAGAIN
    assert ms.sys_semctl(t, s, 0, 12, 0) == 0
    assert semop(t, s, (0, 2, 0x1000)) == 0
    assert ms.sys_semctl(t, s, 0, 12, 0) == 2
    sem.exit_process(t.tg)
    assert ms.sys_semctl(t, s, 0, 12, 0) == 0
    assert semop(t, s, (7, 1, 0)) == -errno.EFBIG
    assert call(t, ms.sys_semctl, s, 0, 16, 40000) == -errno.ERANGE
    t.k.loop.hooks.append(lambda: semop(t, s, (1, 1, 0)))
    assert semop(t, s, (1, -1, 0)) == 0
    t.k.loop.hooks.append(lambda: ms.sys_semctl(t, s, 0, 0, 0))
    assert semop(t, s, (1, -1, 0)) == -errno.EIDRM


def test_posix_queue_orders_by_priority() -> None:
    t: Any = FakeTask()
    t.tg.rlimits[12] = (819200, 819200)
    t.fs = type("Fs", (), {"umask": 0})()
    attr = t.put(struct.pack("<qqqq32x", 0, 3, 16, 0))
    name = t.cstr(b"q1")
    fd = mq.sys_mq_open(t, name, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o600, attr)
    for p, text in ((1, b"low"), (5, b"high"), (1, b"low2")):
        assert mq.sys_mq_timedsend(t, fd, t.put(text), len(text), p, 0) == 0
    assert call(t, mq.sys_mq_timedsend, fd, t.put(b"x"), 1, 0, 0) == -errno.EAGAIN
    buf, prio = t.room(16), t.room(4)
    got = []
    for _ in range(3):
        n = mq.sys_mq_timedreceive(t, fd, buf, 16, prio, 0)
        got.append((t.get(buf, n), t.get(prio, 4)[0]))
    assert got == [(b"high", 5), (b"low", 1), (b"low2", 1)]
    assert call(t, mq.sys_mq_timedreceive, fd, buf, 8, 0, 0) == -errno.EMSGSIZE
    assert call(t, mq.sys_mq_open, name, os.O_CREAT | os.O_EXCL, 0, 0) == -errno.EEXIST
    assert mq.sys_mq_unlink(t, name) == 0
    assert t.ns.ipc.mqueues.root.queues == {}


def test_shm_identifiers() -> None:
    t: Any = FakeTask()
    t.k.container.memory = 1 << 30
    i = sh.sys_shmget(t, 77, 5000, CREAT | 0o600)
    assert call(t, sh.sys_shmget, 77, 6000, 0) == -errno.EINVAL
    assert call(t, sh.sys_shmget, 0, 0, CREAT) == -errno.EINVAL
    st = t.room(112)
    assert sh.sys_shmctl(t, i, 2, st) == 0
    assert struct.unpack_from("<Q", t.get(st, 112), 48)[0] == 5000
    assert struct.unpack_from("<Q", t.get(st, 112), 88)[0] == 0
    assert sh.sys_shmctl(t, i, 0, 0) == 0
    assert call(t, sh.sys_shmctl, i, 2, st) == -errno.EINVAL
