"""Files of /proc/PID and /proc/PID/task/TID that describe a process (Linux: fs/proc/array.c, base.c, task_mmu.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..kernel.coredump import FILTERS
from ..kernel.cputime import Usage, group_usage
from ..kernel.creds import CAP_SYS_RESOURCE
from ..vfs.path import path_name
from . import proc_mem
from .cpumask import every_cpu, mask_list, mask_words
from .proc_access import check_access, creds_of, leader, mm_of

if TYPE_CHECKING:
    from ..kernel.creds import Credentials
    from ..kernel.pids import PidNamespace
    from ..kernel.task import Task, ThreadGroup
    from ..mm.mm import MM
    from ..vfs.file import FileDescription
    from .proc_memory import Sizes

HZ_NS: Final = 10_000_000
PAGE_SHIFT: Final = 12
INF: Final = (1 << 64) - 1
LIMITS: Final = (
    ("Max cpu time", 0, "seconds"), ("Max file size", 1, "bytes"), ("Max data size", 2, "bytes"),
    ("Max stack size", 3, "bytes"), ("Max core file size", 4, "bytes"),
    ("Max resident set", 5, "bytes"), ("Max processes", 6, "processes"),
    ("Max open files", 7, "files"), ("Max locked memory", 8, "bytes"),
    ("Max address space", 9, "bytes"), ("Max file locks", 10, "locks"),
    ("Max pending signals", 11, "signals"), ("Max msgqueue size", 12, "bytes"),
    ("Max nice priority", 13, ""), ("Max realtime priority", 14, ""),
    ("Max realtime timeout", 15, "us"),
)  # fmt: skip


def state_of(tg: ThreadGroup, u: Task | None) -> str:
    if u is None or tg.dead:
        return (
            "Z (zombie)" if tg.dead or not tg.is_init else "S (sleeping)"
        )  # an init of our own has no task
    tr = u.tracee
    if tr is not None and tr.stopped:
        return "t (tracing stop)"
    if tg.stopped:
        return "T (stopped)"
    return "S (sleeping)" if u.token is not None else "R (running)"


def comm_of(tg: ThreadGroup, u: Task | None) -> bytes:
    return u.comm if u is not None else b"init" if tg.is_init else b""


def _tty_nr(tg: ThreadGroup) -> tuple[int, int]:
    """(device number, foreground group)."""
    index = getattr(tg.tty, "index", None)
    if index is None:
        return 0, -1
    return 136 << 8 | index & 0xFF, getattr(tg.tty, "pgrp", 0) or -1


def _signal_sets(tg: ThreadGroup) -> tuple[int, int]:
    ignored = caught = 0
    for sig, act in tg.sighand.actions.items():
        if act.handler == 1:
            ignored |= 1 << (sig - 1)
        elif act.handler:
            caught |= 1 << (sig - 1)
    return ignored, caught


def stat(ns: PidNamespace, tg: ThreadGroup, u: Task | None, tid: int, size: Sizes) -> bytes:
    """proc(5), /proc/PID/stat: 52 fields, with the numbers of ``ns``."""
    comm = comm_of(tg, u)
    ppid = ns.number(tg.parent.pid) if tg.parent is not None else 0
    tty, fg = _tty_nr(tg)
    fg = ns.number(fg) if fg > 0 else fg
    ignored, caught = _signal_sets(tg)
    mm = u.mm if u is not None else None
    pending = u.pending.mask if u is not None else 0
    m31 = (1 << 31) - 1
    nice = u.nice if u is not None else 0
    start = max((u.start_ns if u is not None else tg.start_ns) - tg.k.boot_mono, 0) // HZ_NS
    used, kids = group_usage(tg), tg.child_used
    if u is not None and tid != tg.pid:
        used = Usage()
        used.utime = u.utime_ns
    fields = [
        state_of(tg, u)[0], ppid, ns.number(tg.pgid), ns.number(tg.sid), tty, fg, 0x400000, used.minflt, kids.minflt,
        used.majflt, kids.majflt, used.utime // HZ_NS, used.stime // HZ_NS,
        kids.utime // HZ_NS, kids.stime // HZ_NS, 20 + nice, nice, max(len(tg.tasks), 1), 0,
        start, size.total, size.rss >> PAGE_SHIFT, INF,
        0, 0, mm.stack_start if mm else 0, 0, 0, pending & m31,
        (u.blocked if u is not None else 0) & m31, ignored & m31, caught & m31, 0, 0, 0,
        tg.exit_signal, 0, u.rt_priority if u is not None else 0, u.policy if u is not None else 0,
        0, 0, 0, 0, 0, mm.brk_start if mm else 0, mm.arg_start if mm else 0,
        mm.arg_end if mm else 0, mm.env_start if mm else 0, mm.env_end if mm else 0,
        tg.exit_code if tg.dead else 0,
    ]  # fmt: skip
    text = " ".join(str(f) for f in fields)
    return b"%d (%s) %s\n" % (ns.number(tid), comm, text.encode())


def status(
    t: Task, ns: PidNamespace, tg: ThreadGroup, u: Task | None, tid: int, size: Sizes
) -> bytes:
    """proc(5), /proc/PID/status, with the numbers of ``ns`` and the ids of the reader's user namespace."""
    c = u.creds if u is not None else tg.leader_cred
    users = t.creds.userns
    ppid = ns.number(tg.parent.pid) if tg.parent is not None else 0
    tr = u.tracee if u is not None else None
    tracer = ns.number(tr.tracer.tg.pid) if tr is not None else 0
    lines = [
        "Name:\t" + comm_of(tg, u).decode("latin1"),
        f"Umask:\t{u.fs.umask:04o}" if u is not None and u.fs is not None else "Umask:\t0022",
        "State:\t" + state_of(tg, u), f"Tgid:\t{ns.number(tg.pid)}", "Ngid:\t0", f"Pid:\t{ns.number(tid)}", f"PPid:\t{ppid}",
        f"TracerPid:\t{tracer}",
    ]  # fmt: skip
    if c is not None:
        uids = (users.uid_out(i) for i in (c.uid, c.euid, c.suid, c.fsuid))
        gids = (users.gid_out(i) for i in (c.gid, c.egid, c.sgid, c.fsgid))
        lines += ["\t".join(("Uid:", *map(str, uids))), "\t".join(("Gid:", *map(str, gids)))]
    files = len(u.files.files) if u is not None and u.files is not None else 0
    fdsize = 64
    while fdsize < files:
        fdsize *= 2
    lines.append(f"FDSize:\t{fdsize}")
    lines.append("Groups:\t" + "".join(f"{users.gid_out(g)} " for g in (c.groups if c else ())))
    for title, number in (
        ("NStgid:", tg.pid),
        ("NSpid:", tid),
        ("NSpgid:", tg.pgid),
        ("NSsid:", tg.sid),
    ):
        lines.append("\t".join((title, *map(str, ns.numbers_of(number, tg.pidns)))))
    if u is not None and u.memory() is not None:
        lines += _status_memory(u.mm, size, group_usage(tg).maxrss << 10)
    lines.append(f"Threads:\t{max(len(tg.tasks), 1)}")
    lines += _status_signals(tg, u, c)
    return ("\n".join(lines) + "\n").encode("latin1")


def _status_memory(mm: MM, s: Sizes, most: int) -> list[str]:
    total, rss, data, text, locked = (n >> 10 for n in (s.total, s.rss, s.data, s.text, s.locked))
    most = max(most >> 10, rss)
    return [
        f"VmPeak:\t{total:8} kB", f"VmSize:\t{total:8} kB", f"VmLck:\t{locked:8} kB", "VmPin:\t       0 kB",
        f"VmHWM:\t{most:8} kB", f"VmRSS:\t{rss:8} kB", f"RssAnon:\t{s.anon >> 10:8} kB",
        f"RssFile:\t{text:8} kB", f"RssShmem:\t{s.shmem >> 10:8} kB", f"VmData:\t{data:8} kB",
        "VmStk:\t     132 kB", f"VmExe:\t{text:8} kB", "VmLib:\t       0 kB", "VmPTE:\t      64 kB",
        "VmSwap:\t       0 kB", "HugetlbPages:\t       0 kB", "CoreDumping:\t0", f"THP_enabled:\t{int(not mm.no_thp)}",
    ]  # fmt: skip


def _status_signals(tg: ThreadGroup, u: Task | None, c: Credentials | None) -> list[str]:
    ignored, caught = _signal_sets(tg)
    queued = len(tg.pending.infos) + (len(u.pending.infos) if u is not None else 0)
    out = [
        f"SigQ:\t{queued}/{min(tg.rlimits[11][0], 1 << 31)}",
        f"SigPnd:\t{u.pending.mask if u is not None else 0:016x}", f"ShdPnd:\t{tg.pending.mask:016x}",
        f"SigBlk:\t{u.blocked if u is not None else 0:016x}", f"SigIgn:\t{ignored:016x}",
        f"SigCgt:\t{caught:016x}",
    ]  # fmt: skip
    if c is not None:
        out += [
            f"CapInh:\t{c.cap_inheritable:016x}", f"CapPrm:\t{c.cap_permitted:016x}",
            f"CapEff:\t{c.cap_effective:016x}", f"CapBnd:\t{c.cap_bset:016x}",
            f"CapAmb:\t{c.cap_ambient:016x}", f"NoNewPrivs:\t{int(c.no_new_privs)}",
        ]  # fmt: skip
    cpus = (u.cpu_mask if u is not None else 0) or every_cpu(tg.k.ncpu)
    used = group_usage(tg)
    own = u.filter if u is not None else None
    mode = max(tg.container.seccomp_mode, u.seccomp if u is not None else 0)
    filters = (tg.container.seccomp_mode >> 1) + (own.count if own is not None else 0)
    return [
        *out, f"Seccomp:\t{mode}", f"Seccomp_filters:\t{filters}", "Speculation_Store_Bypass:\tthread vulnerable",
        "SpeculationIndirectBranch:\tconditional enabled",
        f"Cpus_allowed:\t{mask_words(cpus, tg.k.ncpu)}", f"Cpus_allowed_list:\t{mask_list(cpus)}",
        "Mems_allowed:\t1", "Mems_allowed_list:\t0", f"voluntary_ctxt_switches:\t{used.nvcsw}",
        f"nonvoluntary_ctxt_switches:\t{used.nivcsw}",
    ]  # fmt: skip


def limits(tg: ThreadGroup) -> bytes:
    def show(v: int) -> str:
        return "unlimited" if v == INF else str(v)

    lines = [f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}"]
    for name, n, unit in LIMITS:
        soft, hard = tg.rlimits[n]
        lines.append(f"{name:<25} {show(soft):<20} {show(hard):<20} {unit:<10}")
    return ("\n".join(lines) + "\n").encode()


def map_line(
    t: Task, start: int, end: int, prot: int, shared: bool, offset: int, f: FileDescription | None, name: bytes
) -> bytes:  # fmt: skip
    """One line of /proc/PID/maps, from one element of ``MM.maps``."""
    dev = ino = 0
    if f is not None:
        i = f.inode
        dev, ino = i.fs.dev, i.ino
        if not name:
            name = path_name(f.path, t.fs.root) if f.path is not None else b"/dev/zero (deleted)"
    perm = "".join(
        (
            "r" if prot & 1 else "-", "w" if prot & 2 else "-", "x" if prot & 4 else "-",
            "s" if shared else "p",
        )
    )  # fmt: skip
    head = f"{start:08x}-{end:08x} {perm} {offset:08x} {dev >> 8:02x}:{dev & 0xFF:02x} {ino} "
    line = head.encode()
    if name:
        line = line.ljust(73) + name.replace(b"\n", b"\\012")
    return line + b"\n"


def maps(t: Task, mm: MM) -> bytes:
    """proc(5) /proc/PID/maps."""
    return b"".join(map_line(t, *m) for m in mm.maps())


def oom_score_adj_write(t: Task, tg: ThreadGroup, data: bytes) -> int:
    """Raises EINVAL, EACCES (lowering without CAP_SYS_RESOURCE)."""
    try:
        v = int(data.strip() or b"x")
    except ValueError:
        raise SysErr(errno.EINVAL) from None
    if not -1000 <= v <= 1000:
        raise SysErr(errno.EINVAL)
    if v < tg.oom_score_adj and not t.creds.capable(CAP_SYS_RESOURCE):
        raise SysErr(errno.EACCES)
    tg.oom_score_adj = v
    return len(data)


def core_filter_write(tg: ThreadGroup, data: bytes) -> int:
    """A number as C writes it. Raises EINVAL."""
    try:
        v = int(data.split(b"\0")[0].strip(), 0)
    except ValueError:
        raise SysErr(errno.EINVAL) from None
    if not 0 <= v < 1 << 32:
        raise SysErr(errno.EINVAL)
    tg.core_filter = v & FILTERS
    return len(data)


def comm_write(t: Task, u: Task, data: bytes) -> int:
    """Only threads of the same process may be named. Raises EINVAL."""
    if u.tg is not t.tg:
        raise SysErr(errno.EINVAL)
    u.comm = data[:15].split(b"\0")[0].rstrip(b"\n")
    return len(data)


__all__ = [
    "check_access",
    "creds_of",
    "leader",
    "limits",
    "maps",
    "mm_of",
    "proc_mem",
    "stat",
    "status",
]
