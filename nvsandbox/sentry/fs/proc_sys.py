"""/proc/sys: the parameters programs read, and those root may change (Linux: kernel/sysctl.c; proc_sys(5)).

A writable value is kept and read back only where something here obeys it; others are read-only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..ipc import mqueue, msg, sem
from ..ipc.namespace import INIT_IPC, IpcNamespace
from ..kernel import coredump, keys, pids, seccomp
from ..kernel.container import MAX_TASKS, RELEASE, VERSION
from ..kernel.creds import CAP_LAST, CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from ..kernel.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from ..kernel.userns import INT_MAX, Namespace
from ..mm import mm
from ..net import sysctl
from ..vfs import leases
from ..vfs.inode import MAY_EXEC
from ..vfs.perm import PROTECTED
from ..vfs.synthetic import GenFile, StaticDir
from . import aio, inotify, pipe

if TYPE_CHECKING:
    from ..kernel.kernel import Kernel
    from ..kernel.task import Task
    from .proc import ProcFs


def random_uuid() -> bytes:
    """A version 4 UUID (RFC 4122)."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}".encode()


BOOT_ID: Final = random_uuid()
FIXED: Final[dict[bytes, bytes]] = {
    b"kernel/ostype": b"Linux", b"kernel/osrelease": RELEASE, b"kernel/version": VERSION,
    b"kernel/threads-max": b"%d" % (2 * MAX_TASKS),
    b"kernel/cap_last_cap": b"%d" % CAP_LAST, b"kernel/overflowuid": b"65534",
    b"kernel/overflowgid": b"65534", b"kernel/ngroups_max": b"65536", b"kernel/tainted": b"0", b"kernel/randomize_va_space": b"2",
    b"kernel/sched_child_runs_first": b"0", b"kernel/sched_rt_runtime_us": b"950000",
    b"kernel/sched_rt_period_us": b"1000000", b"kernel/sched_autogroup_enabled": b"0",
    b"kernel/printk": b"4\t4\t1\t7", b"kernel/perf_event_paranoid": b"3",
    b"kernel/kptr_restrict": b"1", b"kernel/dmesg_restrict": b"1",
    b"kernel/unprivileged_bpf_disabled": b"2", b"kernel/seccomp/actions_avail": seccomp.NAMES,
    b"kernel/yama/ptrace_scope": b"0", b"kernel/shm_rmid_forced": b"0", b"kernel/modules_disabled": b"1", b"kernel/sysrq": b"0",
    b"kernel/random/entropy_avail": b"256", b"kernel/random/poolsize": b"256",
    b"kernel/keys/gc_delay": b"0", b"kernel/keys/persistent_keyring_expiry": b"%d" % keys.PERSISTENT_SECONDS,
    b"kernel/io_uring_disabled": b"2",
    b"kernel/cad_pid": b"1", b"kernel/panic": b"0", b"kernel/unprivileged_userns_clone": b"1",
    b"vm/overcommit_memory": b"0", b"vm/overcommit_ratio": b"50",
    b"vm/mmap_min_addr": b"1048576", b"vm/swappiness": b"60", b"vm/nr_hugepages": b"0",
    b"vm/dirty_ratio": b"20", b"vm/dirty_background_ratio": b"10", b"vm/panic_on_oom": b"0",
    b"vm/legacy_va_layout": b"0", b"vm/overcommit_kbytes": b"0",
    b"fs/file-max": b"9223372036854775807", b"fs/nr_open": b"1048576",
    b"fs/aio-max-nr": b"%d" % aio.MAX_NR,
    b"fs/leases-enable": b"1", b"fs/suid_dumpable": b"0",
    b"fs/overflowuid": b"65534", b"fs/overflowgid": b"65534", b"fs/epoll/max_user_watches": b"262144",
    b"fs/pipe-user-pages-soft": b"%d" % pipe.SOFT_PAGES, b"fs/pipe-user-pages-hard": b"0",
    b"fs/mount-max": b"100000",
    b"net/core/somaxconn": b"4096", b"net/core/rmem_max": b"212992",
    b"net/core/wmem_max": b"212992", b"net/core/rmem_default": b"212992",
    b"net/core/wmem_default": b"212992", b"net/core/netdev_max_backlog": b"1000",
    b"net/core/optmem_max": b"20480", b"net/unix/max_dgram_qlen": b"10",
    b"net/ipv4/ip_local_port_range": b"32768\t60999",
    b"net/ipv4/tcp_rmem": b"4096\t131072\t6291456", b"net/ipv4/tcp_wmem": b"4096\t16384\t4194304",
    b"net/ipv4/tcp_congestion_control": b"cubic", b"net/ipv4/tcp_available_congestion_control": b"cubic",
    b"net/ipv4/tcp_syncookies": b"1", b"net/ipv4/tcp_keepalive_time": b"7200",
    b"net/ipv4/tcp_keepalive_intvl": b"75", b"net/ipv4/tcp_keepalive_probes": b"9",
    b"net/ipv4/tcp_fin_timeout": b"60", b"net/ipv4/tcp_max_syn_backlog": b"4096",
    b"net/ipv4/tcp_sack": b"1", b"net/ipv4/tcp_timestamps": b"1",
    b"net/ipv4/tcp_window_scaling": b"1", b"net/ipv4/ip_unprivileged_port_start": b"1024",
    b"net/ipv4/ping_group_range": b"1\t0",
    b"net/ipv4/conf/lo/forwarding": b"0", b"net/ipv6/conf/all/disable_ipv6": b"0",
    b"net/ipv6/conf/lo/disable_ipv6": b"0",
    b"net/ipv6/bindv6only": b"0",
}  # fmt: skip


def _mq(ns: IpcNamespace) -> object:
    return ns.mqueues.root.limits


class Setting:
    """A number that something here obeys, between ``low`` and ``high``: an attribute of a module or an object, or of a part of the
    IPC namespace."""

    __slots__ = ("attr", "high", "low", "owner")

    def __init__(self, owner: object, attr: str, low: int, high: int) -> None:
        self.owner = owner
        self.attr = attr
        self.low = low
        self.high = high

    def of(self, ns: IpcNamespace) -> object:
        return self.owner(ns) if callable(self.owner) else self.owner

    def show(self, ns: IpcNamespace) -> bytes:
        return b"%d" % getattr(self.of(ns), self.attr)

    def set(self, ns: IpcNamespace, text: bytes) -> None:
        """Raises EINVAL."""
        setattr(self.of(ns), self.attr, _number(text, self.low, self.high))


def _number(data: bytes, low: int, high: int) -> int:
    """Raises EINVAL."""
    try:
        v = int(data.strip(b" \t\n\0"))
    except ValueError:
        raise SysErr(errno.EINVAL) from None
    if not low <= v <= high:
        raise SysErr(errno.EINVAL)
    return v


# What is bounded below what Linux allows is bounded because the memory is the Sentry's.
SETTINGS: Final[dict[bytes, Setting]] = {
    b"fs/inotify/max_user_watches": Setting(inotify, "max_watches", 0, inotify.HARD_MAX),
    b"fs/inotify/max_queued_events": Setting(inotify, "max_queued", 0, inotify.HARD_MAX),
    b"fs/inotify/max_user_instances": Setting(inotify, "max_instances", 0, inotify.HARD_MAX),
    b"fs/lease-break-time": Setting(leases, "break_seconds", 0, (1 << 31) - 1),
    b"fs/protected_fifos": Setting(PROTECTED, "fifos", 0, 2),
    b"fs/protected_hardlinks": Setting(PROTECTED, "hardlinks", 0, 1),
    b"fs/protected_regular": Setting(PROTECTED, "regular", 0, 2),
    b"fs/protected_symlinks": Setting(PROTECTED, "symlinks", 0, 1),
    b"fs/mqueue/msg_max": Setting(_mq, "msg_max", 1, mqueue.HARD_MSG_MAX),
    b"fs/mqueue/msgsize_max": Setting(_mq, "msgsize_max", 128, mqueue.HARD_MSGSIZE_MAX),
    b"fs/mqueue/msg_default": Setting(_mq, "msg_default", 1, mqueue.HARD_MSG_MAX),
    b"fs/mqueue/msgsize_default": Setting(_mq, "msgsize_default", 128, mqueue.HARD_MSGSIZE_MAX),
    b"fs/mqueue/queues_max": Setting(_mq, "queues_max", 0, 1 << 16),
    b"kernel/msgmax": Setting(lambda ns: ns.msg_limits, "size", 0, 1 << 20),
    b"kernel/msgmnb": Setting(lambda ns: ns.msg_limits, "bytes", 0, msg.TOTAL_MAX),
    b"kernel/msgmni": Setting(lambda ns: ns.msgs, "limit", 0, 32768),
    b"kernel/msg_next_id": Setting(lambda ns: ns.msgs, "next_id", -1, 0x7FFFFFFF),
    b"kernel/sem_next_id": Setting(lambda ns: ns.sems, "next_id", -1, 0x7FFFFFFF),
    b"kernel/shm_next_id": Setting(lambda ns: ns.shms, "next_id", -1, 0x7FFFFFFF),
    b"kernel/shmmax": Setting(lambda ns: ns.shm_limits, "size", 0, (1 << 64) - 1),
    b"kernel/shmall": Setting(lambda ns: ns.shm_limits, "pages", 0, (1 << 64) - 1),
    b"kernel/shmmni": Setting(lambda ns: ns.shms, "limit", 0, 32768),
    b"kernel/core_uses_pid": Setting(coredump.SETTINGS, "uses_pid", 0, 1),
    b"kernel/keys/maxkeys": Setting(keys.USER_QUOTA, "keys", 0, (1 << 31) - 1),
    b"kernel/keys/maxbytes": Setting(keys.USER_QUOTA, "bytes", 0, (1 << 31) - 1),
    b"kernel/keys/root_maxkeys": Setting(keys.ROOT_QUOTA, "keys", 0, (1 << 31) - 1),
    b"kernel/keys/root_maxbytes": Setting(keys.ROOT_QUOTA, "bytes", 0, (1 << 31) - 1),
    b"kernel/pid_max": Setting(pids, "pid_max", pids.RESERVED + 1, pids.PID_MAX_LIMIT),
    b"vm/max_map_count": Setting(mm.LIMITS, "areas", 0, mm.HARD_MAP_COUNT),
}  # fmt: skip


def _need_root(t: Task) -> None:
    if not t.creds.capable(CAP_SYS_ADMIN):
        raise SysErr(errno.EPERM)


def _need_root_of(t: Task, ns: Namespace) -> None:
    if ns.owner is None or not t.creds.ns_capable(ns.owner, CAP_SYS_ADMIN):
        raise SysErr(errno.EPERM)


def show_sem(ns: IpcNamespace) -> bytes:
    s = ns.sem_limits
    return b"%d\t%d\t%d\t%d" % (s.per_set, s.total, s.operations, ns.sems.limit)


def set_sem(ns: IpcNamespace, text: bytes) -> None:
    """kernel/sem: as many of its numbers as are given. Raises EINVAL."""
    words = text.strip(b"\0").split()
    highest = (sem.SEMMSL, (1 << 31) - 1, 1000, 32768)
    if not 0 < len(words) <= 4:
        raise SysErr(errno.EINVAL)
    new = [_number(w, 0, most) for w, most in zip(words, highest, strict=False)]
    s = ns.sem_limits
    new += [s.per_set, s.total, s.operations, ns.sems.limit][len(new) :]
    s.per_set, s.total, s.operations, ns.sems.limit = new


def configure(name: bytes, value: bytes) -> bool:
    """A parameter set from outside, before the first program starts; whether it is one of those that can be. Raises EINVAL."""
    if name == b"kernel/sem":
        set_sem(INIT_IPC, value)
    elif name in SETTINGS:
        SETTINGS[name].set(INIT_IPC, value)
    else:
        return False
    return True


class Live:
    """Values that are computed, and those that can be set: name -> (reader, writer or None)."""

    __slots__ = ("k",)

    def __init__(self, k: Kernel) -> None:
        self.k = k

    def set_hostname(self, t: Task, data: bytes) -> int:
        _need_root_of(t, t.ns.uts)
        t.ns.uts.hostname = data.rstrip(b"\n\0")[:64]
        return len(data)

    def set_domainname(self, t: Task, data: bytes) -> int:
        _need_root_of(t, t.ns.uts)
        t.ns.uts.domainname = data.rstrip(b"\n\0")[:64]
        return len(data)

    def set_pipe_max(self, t: Task, data: bytes) -> int:
        _need_root(t)
        pipe.max_size = max(_number(data, 1, 1 << 31), pipe.PAGE)
        return len(data)

    def set_last_pid(self, t: Task, data: bytes) -> int:
        _need_root(t)
        t.tg.pidns.last_pid = _number(data, 0, pids.pid_max - 1)
        return len(data)

    def set_core_pattern(self, t: Task, data: bytes) -> int:
        """Raises EINVAL for a pipe: nobody outside the sandbox could run the program."""
        _need_root(t)
        pattern = data.split(b"\n")[0].split(b"\0")[0]
        if pattern[:1] == b"|" or len(pattern) > coredump.PATTERN_LEN:
            raise SysErr(errno.EINVAL)
        coredump.SETTINGS.pattern = pattern
        return len(data)

    def set_sem(self, t: Task, data: bytes) -> int:
        _need_root(t)
        set_sem(t.ns.ipc, data)
        return len(data)

    def files(
        self,
    ) -> dict[bytes, tuple[Callable[[Task], bytes], Callable[[Task, bytes], int] | None]]:
        k = self.k
        return {
            b"kernel/hostname": (lambda t: t.ns.uts.hostname, self.set_hostname),
            b"kernel/domainname": (lambda t: t.ns.uts.domainname, self.set_domainname),
            b"kernel/ns_last_pid": (lambda t: b"%d" % t.tg.pidns.last_pid, self.set_last_pid),
            b"kernel/core_pattern": (lambda t: coredump.SETTINGS.pattern, self.set_core_pattern),
            b"kernel/sem": (lambda t: show_sem(t.ns.ipc), self.set_sem),
            b"kernel/random/uuid": (lambda t: random_uuid(), None),
            b"kernel/random/boot_id": (lambda t: BOOT_ID, None),
            b"fs/pipe-max-size": (lambda t: b"%d" % pipe.max_size, self.set_pipe_max),
            b"fs/aio-nr": (lambda t: b"%d" % aio.total(), None),
            b"fs/file-nr": (lambda t: b"%d\t0\t9223372036854775807" % sum(
                len(u.files.files) for u in k.every_task() if u.tid == u.tg.pid and u.files is not None), None),
        }  # fmt: skip


class SysctlFile(GenFile):
    """Its mode binds root as well, whatever the capabilities (Linux: proc_sys_permission)."""

    __slots__ = ()

    def permission(self, t: Task, mask: int) -> None:
        c = t.creds
        granted = self.mode >> 6 if c.fsuid == 0 else self.mode >> 3 if c.in_group(0) else self.mode
        if mask & ~granted & 7 or mask & MAY_EXEC:
            raise SysErr(errno.EACCES)


class UserLimit(SysctlFile):
    """/proc/sys/user/max_*_namespaces: of the reader's user namespace; CAP_SYS_RESOURCE there is what writing takes (Linux:
    kernel/ucount.c set_permissions)."""

    __slots__ = ("flag",)

    def __init__(self, fs: ProcFs, flag: int) -> None:
        super().__init__(fs, None, 0o644)
        self.flag = flag

    def permission(self, t: Task, mask: int) -> None:
        granted = 6 if t.creds.has(CAP_SYS_RESOURCE) else 4
        if mask & ~granted & 7:
            raise SysErr(errno.EACCES)

    def generate(self, t: Task) -> bytes:
        return b"%d\n" % t.creds.userns.limit(self.flag)

    def store(self, t: Task, data: bytes) -> int:
        t.creds.userns.limits[self.flag] = _number(data, 0, INT_MAX)
        return len(data)


class NetParameter(SysctlFile):
    """A number of the reader's network namespace; CAP_NET_ADMIN there is as good as being root (Linux: net/sysctl_net.c)."""

    __slots__ = ("attr",)

    def __init__(self, fs: ProcFs, attr: str) -> None:
        super().__init__(fs, None, 0o644)
        self.attr = attr

    def permission(self, t: Task, mask: int) -> None:
        if not t.creds.ns_capable(t.ns.net.administrator(), CAP_NET_ADMIN):
            super().permission(t, mask)

    def generate(self, t: Task) -> bytes:
        return b"%d\n" % getattr(t.ns.net, self.attr)

    def store(self, t: Task, data: bytes) -> int:
        setattr(t.ns.net, self.attr, _number(data, -(1 << 31), (1 << 31) - 1))
        t.ns.net.tell_stack()
        return len(data)


def _place(fs: ProcFs, top: StaticDir, path: bytes) -> tuple[StaticDir, bytes]:
    """The directory of ``path`` below ``top``, made where missing, and the last name."""
    *dirs, last = path.split(b"/")
    d = top
    for name in dirs:
        i = d.entries.get(name)
        if not isinstance(i, StaticDir):
            i = StaticDir(fs)
            d.add(name, i)
        d = i
    return d, last


def make_sys(fs: ProcFs, k: Kernel) -> StaticDir:
    top = StaticDir(fs)
    for path, value in FIXED.items():
        d, name = _place(fs, top, path)
        d.add(name, SysctlFile(fs, _constant(value + b"\n"), 0o444))
    for path, setting in SETTINGS.items():
        d, name = _place(fs, top, path)
        d.add(name, SysctlFile(fs, _shown(setting), 0o644, 0, 0, _settable(setting)))
    for path, (read, write) in Live(k).files().items():
        d, name = _place(fs, top, path)
        d.add(name, SysctlFile(fs, _line(read), 0o644 if write else 0o444, 0, 0, write))
    for parameter, attr in sysctl.PARAMETERS.items():
        d, name = _place(fs, top, parameter.replace(b".", b"/"))
        d.add(name, NetParameter(fs, attr))
    for kind, flag in USER_LIMITS:
        d, name = _place(fs, top, b"user/max_%s_namespaces" % kind)
        d.add(name, UserLimit(fs, flag))
    return top


USER_LIMITS: Final = (
    (b"user", CLONE_NEWUSER), (b"pid", CLONE_NEWPID), (b"uts", CLONE_NEWUTS), (b"ipc", CLONE_NEWIPC),
    (b"net", CLONE_NEWNET), (b"mnt", CLONE_NEWNS), (b"cgroup", CLONE_NEWCGROUP), (b"time", CLONE_NEWTIME),
)  # fmt: skip


def _constant(value: bytes) -> Callable[[Task], bytes]:
    return lambda t: value


def _shown(s: Setting) -> Callable[[Task], bytes]:
    return lambda t: s.show(t.ns.ipc) + b"\n"


def _settable(s: Setting) -> Callable[[Task, bytes], int]:
    def write(t: Task, data: bytes) -> int:
        _need_root(t)
        s.set(t.ns.ipc, data)
        return len(data)

    return write


def _line(read: Callable[[Task], bytes]) -> Callable[[Task], bytes]:
    return lambda t: read(t) + b"\n"
