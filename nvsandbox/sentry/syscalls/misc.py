"""System identity, limits, usage, prctl, arch_prctl, scheduling, randomness (Linux: kernel/sys.c, kernel/sched/, arch/x86)."""

from __future__ import annotations

import errno
import os
import struct
from typing import Final

from ..abi.personality import PER_LINUX32, PER_MASK, UNAME26
from ..errors import SysErr
from ..fs.kmsg import may_read
from ..kernel import klog
from ..kernel import signal as sg
from ..kernel.container import RELEASE, VERSION
from ..kernel.cputime import group_usage, look, thread_usage
from ..kernel.creds import (
    CAP_LAST,
    CAP_SETPCAP,
    CAP_SYS_ADMIN,
    CAP_SYS_RESOURCE,
)
from ..kernel.klog import KernelLog
from ..kernel.task import RLIM_NLIMITS, RLIMIT_CPU, RLIMIT_NOFILE, RLIMIT_STACK, Task
from ..kernel.timers import watch_cpu_limit
from ..mm.mm import TASK_SIZE
from ..mm.vma import PROT_WRITE
from ..vfs.file import NR_OPEN_MAX
from .decode import CInt, CUInt, CULong, Table, UserPtr, full, missing, partial
from .seccomp import pr_get_seccomp, pr_set_seccomp
from .time import NSEC

CAP_SYS_PACCT: Final = 20
SYSLOG_READ, SYSLOG_READ_ALL, SYSLOG_READ_CLEAR, SYSLOG_CLEAR = 2, 3, 4, 5
SYSLOG_CONSOLE_LEVEL, SYSLOG_SIZE_UNREAD, SYSLOG_SIZE_BUFFER = 8, 9, 10
IO_PORTS: Final = 65536
GRND_FLAGS: Final = 7
REBOOT_MAGIC2: Final = (0x28121969, 0x05121996, 0x16041998, 0x20112000)
# What the command makes of the sandbox's wait status: RESTART, RESTART2, HALT, POWER_OFF (reboot(2), "Behavior inside PID namespaces").
REBOOT_SIGNAL: Final = {
    0x01234567: sg.SIGHUP, 0xA1B2C3D4: sg.SIGHUP, 0xCDEF0123: sg.SIGINT, 0x4321FEDC: sg.SIGINT,
}  # fmt: skip
SECURE_LOCKS: Final = 0xAA
ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS = 0x1001, 0x1002, 0x1003, 0x1004
ARCH_GET_CPUID, ARCH_SET_CPUID = 0x1011, 0x1012


def sys_uname(t: Task, out: UserPtr) -> int:
    """uname(2)."""
    machine = b"i686" if t.personality & PER_MASK == PER_LINUX32 else b"x86_64"
    release = RELEASE
    if t.personality & UNAME26:
        _major, minor, rest = release.split(b".", 2)
        release = b"2.6.%d.%s" % (60 + int(minor), rest)
    uts = t.ns.uts
    fields = (b"Linux", uts.hostname, release, VERSION, machine, uts.domainname)
    t.copy_out(out, b"".join(f[:64].ljust(65, b"\0") for f in fields))
    return 0


def _set_name(t: Task, addr: int, size: int) -> bytes:
    owner = t.ns.uts.owner
    if owner is None or not t.creds.ns_capable(owner, CAP_SYS_ADMIN):
        raise SysErr(errno.EPERM)
    if not 0 <= size <= 64:
        raise SysErr(errno.EINVAL)
    return t.copy_in(addr, size)


def sys_sethostname(t: Task, addr: UserPtr, size: CInt) -> int:
    t.ns.uts.hostname = _set_name(t, addr, size)
    return 0


def sys_setdomainname(t: Task, addr: UserPtr, size: CInt) -> int:
    t.ns.uts.domainname = _set_name(t, addr, size)
    return 0


def sys_sysinfo(t: Task, out: UserPtr) -> int:
    """sysinfo(2)."""
    k = t.k
    up = (k.monotonic_ns() - k.boot_mono) // NSEC
    mem = t.tg.container.memory
    buf = struct.pack(
        "<qQQQQQQQQQHHIQQI",
        up,
        0,
        0,
        0,
        mem,
        k.mem_free(),
        0,
        0,
        0,
        0,
        len(t.tg.pids.procs) & 0xFFFF,
        0,
        0,
        0,
        0,
        1,
    )
    t.copy_out(out, buf.ljust(112, b"\0"))
    return 0


def sys_getrandom(t: Task, out: UserPtr, size: CULong, flags: CUInt) -> int:
    """getrandom(2)."""
    if flags & ~GRND_FLAGS or flags & 6 == 6:
        raise SysErr(errno.EINVAL)
    size = min(size, 0x1FFFFFF)
    there = t.mm.map.span(out, out + size, PROT_WRITE)
    if there == 0 < size:
        raise SysErr(errno.EFAULT)
    size = there
    done = 0
    while done < size:
        n = min(size - done, 32768)
        t.copy_out(out + done, os.getrandom(n))
        done += n
    return size


# Limits
def _check_limit(t: Task, which: int) -> None:
    if not 0 <= which < RLIM_NLIMITS:
        raise SysErr(errno.EINVAL)


def _set_limit(t: Task, target: Task, which: int, soft: int, hard: int) -> None:
    if soft > hard:
        raise SysErr(errno.EINVAL)
    if which == RLIMIT_NOFILE and hard > NR_OPEN_MAX:
        raise SysErr(errno.EPERM)
    if hard > target.tg.rlimits[which][1] and not t.creds.capable(CAP_SYS_RESOURCE):
        raise SysErr(errno.EPERM)
    if which == RLIMIT_STACK and target is t and soft < t.tg.rlimits[which][0]:
        t.mm.stack_limit(t, soft)
    target.tg.rlimits[which] = (soft, hard)
    if which == RLIMIT_CPU:
        watch_cpu_limit(target.tg)


def sys_getrlimit(t: Task, which: CUInt, out: UserPtr) -> int:
    _check_limit(t, which)
    t.copy_out(out, struct.pack("<QQ", *t.tg.rlimits[which]))
    return 0


def sys_setrlimit(t: Task, which: CUInt, new: UserPtr) -> int:
    raw = struct.unpack("<QQ", t.copy_in(new, 16))
    _check_limit(t, which)
    _set_limit(t, t, which, raw[0], raw[1])
    return 0


def sys_prlimit64(t: Task, pid: CInt, which: CUInt, new: UserPtr, old: UserPtr) -> int:
    """prlimit(2)."""
    u = t.tg.pidns.find_task(pid) if pid else t
    raw = struct.unpack("<QQ", t.copy_in(new, 16)) if new else None
    if u is None:
        raise SysErr(errno.ESRCH)
    _check_limit(t, which)
    c, d = t.creds, u.creds
    if u.tg is not t.tg and not c.ns_capable(d.userns, CAP_SYS_RESOURCE):
        if {c.uid} != {d.uid, d.euid, d.suid} or {c.gid} != {d.gid, d.egid, d.sgid}:
            raise SysErr(errno.EPERM)
    prev = u.tg.rlimits[which]
    if raw is not None:
        _set_limit(t, u, which, raw[0], raw[1])
    if old:
        t.copy_out(old, struct.pack("<QQ", *prev))
    return 0


def sys_getrusage(t: Task, who: CInt, out: UserPtr) -> int:
    """getrusage(2)."""
    if who not in (0, -1, 1):
        raise SysErr(errno.EINVAL)
    if who == -1:
        used = t.tg.child_used
    elif who == 0:
        look(t)
        used = group_usage(t.tg)
    else:
        used = thread_usage(t)
    t.copy_out(out, used.pack())
    return 0


# arch_prctl, prctl
def sys_arch_prctl(t: Task, code: CInt, addr: CULong) -> int:
    """arch_prctl(2): the segment bases are the host thread's own."""
    if code == ARCH_SET_FS or code == ARCH_SET_GS:
        if addr >= TASK_SIZE:
            raise SysErr(errno.EPERM)
        if code == ARCH_SET_GS and t.k.patcher is not None:
            t.k.patcher.give_up_gs(t)
            t.gs_base = addr
        t.thread.host(158, code, addr)
        return 0
    if code == ARCH_GET_GS and t.k.patcher is not None:  # the host's may be ours, for patched sites
        t.copy_out(addr, t.gs_base.to_bytes(8, "little"))
        return 0
    if code == ARCH_GET_FS or code == ARCH_GET_GS:
        t.thread.host(158, code, addr)
        t.thread.run()
        return 0
    if code == ARCH_GET_CPUID:
        return 1
    if code == ARCH_SET_CPUID:
        raise SysErr(errno.ENODEV)
    raise SysErr(errno.EINVAL)


def sys_prctl(t: Task, op: CInt, a: CULong, b: CULong, c: CULong, d: CULong) -> int:
    """prctl(2)."""
    fn = PRCTL.get(op)
    if fn is None:
        raise SysErr(errno.EINVAL)
    return int(fn(t, a, b, c, d))


def _pr_set_pdeathsig(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a > 64:
        raise SysErr(errno.EINVAL)
    t.pdeath_signal = a
    return 0


def _pr_get_pdeathsig(t: Task, a: int, b: int, c: int, d: int) -> int:
    t.copy_out(a, t.pdeath_signal.to_bytes(4, "little"))
    return 0


def _pr_get_dumpable(t: Task, a: int, b: int, c: int, d: int) -> int:
    return t.tg.dumpable


def _pr_set_dumpable(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a > 1:
        raise SysErr(errno.EINVAL)
    t.tg.dumpable = a
    return 0


def _pr_get_keepcaps(t: Task, a: int, b: int, c: int, d: int) -> int:
    return t.creds.securebits >> 4 & 1


def _pr_set_keepcaps(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a > 1:
        raise SysErr(errno.EINVAL)
    bits = t.creds.securebits
    if bits & 32:  # SECBIT_KEEP_CAPS_LOCKED
        raise SysErr(errno.EPERM)
    t.creds = t.creds.replace(securebits=bits | 16 if a else bits & ~16)
    return 0


def _pr_set_name(t: Task, a: int, b: int, c: int, d: int) -> int:
    raw = t.thread.copy_in_some(a, 16)
    if not raw:
        raise SysErr(errno.EFAULT)
    t.comm = raw.split(b"\0", 1)[0][:15]
    return 0


def _pr_get_name(t: Task, a: int, b: int, c: int, d: int) -> int:
    t.copy_out(a, t.comm.ljust(16, b"\0"))
    return 0


def _pr_capbset_read(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a > CAP_LAST:
        raise SysErr(errno.EINVAL)
    return t.creds.cap_bset >> a & 1


def _pr_capbset_drop(t: Task, a: int, b: int, c: int, d: int) -> int:
    if not t.creds.has(CAP_SETPCAP):
        raise SysErr(errno.EPERM)
    if a > CAP_LAST:
        raise SysErr(errno.EINVAL)
    t.creds = t.creds.replace(cap_bset=t.creds.cap_bset & ~(1 << a))
    return 0


def _pr_get_securebits(t: Task, a: int, b: int, c: int, d: int) -> int:
    return t.creds.securebits


def _pr_set_securebits(t: Task, a: int, b: int, c: int, d: int) -> int:
    if not t.creds.has(CAP_SETPCAP):
        raise SysErr(errno.EPERM)
    old = t.creds.securebits
    locked = (old & SECURE_LOCKS) >> 1  # what a lock bit protects lies right below it
    if a & ~0xFF or locked & (old ^ a) or old & SECURE_LOCKS & ~a:
        raise SysErr(errno.EPERM)
    t.creds = t.creds.replace(securebits=a)
    return 0


def _pr_set_timerslack(t: Task, a: int, b: int, c: int, d: int) -> int:
    t.timer_slack = a if 0 < a < 1 << 63 else t.default_slack
    return 0


def _pr_get_timerslack(t: Task, a: int, b: int, c: int, d: int) -> int:
    return t.timer_slack


def _pr_set_subreaper(t: Task, a: int, b: int, c: int, d: int) -> int:
    t.tg.subreaper = bool(a)
    return 0


def _pr_get_subreaper(t: Task, a: int, b: int, c: int, d: int) -> int:
    t.copy_out(a, int(t.tg.subreaper).to_bytes(4, "little"))
    return 0


def _pr_set_nnp(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a != 1 or b or c or d:
        raise SysErr(errno.EINVAL)
    t.creds = t.creds.replace(no_new_privs=True)
    return 0


def _pr_get_nnp(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a or b or c or d:
        raise SysErr(errno.EINVAL)
    return int(t.creds.no_new_privs)


def _pr_cap_ambient(t: Task, a: int, b: int, c: int, d: int) -> int:
    cr = t.creds
    if a == 4 and not (b or c or d):
        t.creds = cr.replace(cap_ambient=0)
        return 0
    if a not in (1, 2, 3) or b > CAP_LAST or c or d:
        raise SysErr(errno.EINVAL)
    bit = 1 << b
    if a == 1:
        return int(bool(cr.cap_ambient & bit))
    if a == 2:
        if not (cr.cap_permitted & cr.cap_inheritable & bit) or cr.securebits & 64:
            raise SysErr(errno.EPERM)
        t.creds = cr.replace(cap_ambient=cr.cap_ambient | bit)
    else:
        t.creds = cr.replace(cap_ambient=cr.cap_ambient & ~bit)
    return 0


def _pr_set_thp(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a > 1 or b or c or d:
        raise SysErr(errno.EINVAL)
    t.mm.no_thp = bool(a)
    return 0


def _pr_get_thp(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a or b or c or d:
        raise SysErr(errno.EINVAL)
    return int(t.mm.no_thp)


def _pr_get_tsc(t: Task, a: int, b: int, c: int, d: int) -> int:
    t.copy_out(a, (1).to_bytes(4, "little"))  # PR_TSC_ENABLE
    return 0


def _pr_set_tsc(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a != 1:  # PR_TSC_SIGSEGV would be the host's to do
        raise SysErr(errno.EINVAL)
    return 0


def _pr_get_tid_address(t: Task, a: int, b: int, c: int, d: int) -> int:
    t.copy_out(a, t.clear_tid.to_bytes(8, "little"))
    return 0


def _pr_mce_kill_get(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a or b or c or d:
        raise SysErr(errno.EINVAL)
    return 2  # PR_MCE_KILL_DEFAULT


def _pr_nothing(t: Task, a: int, b: int, c: int, d: int) -> int:
    return 0


def _pr_set_timing(t: Task, a: int, b: int, c: int, d: int) -> int:
    if a:  # only PR_TIMING_STATISTICAL
        raise SysErr(errno.EINVAL)
    return 0


PRCTL: Final = {
    13: _pr_nothing, 14: _pr_set_timing, 25: _pr_get_tsc, 26: _pr_set_tsc, 31: _pr_nothing,
    32: _pr_nothing, 34: _pr_mce_kill_get, 40: _pr_get_tid_address,
    1: _pr_set_pdeathsig, 2: _pr_get_pdeathsig, 3: _pr_get_dumpable, 4: _pr_set_dumpable,
    7: _pr_get_keepcaps, 8: _pr_set_keepcaps, 15: _pr_set_name, 16: _pr_get_name,
    21: pr_get_seccomp, 22: pr_set_seccomp, 23: _pr_capbset_read, 24: _pr_capbset_drop, 27: _pr_get_securebits,
    28: _pr_set_securebits, 29: _pr_set_timerslack, 30: _pr_get_timerslack, 36: _pr_set_subreaper,
    37: _pr_get_subreaper, 38: _pr_set_nnp, 39: _pr_get_nnp, 41: _pr_set_thp, 42: _pr_get_thp, 47: _pr_cap_ambient,
}  # fmt: skip


def sys_personality(t: Task, persona: CUInt) -> int:
    """personality(2): PER_LINUX with its flags remembered."""
    old = t.personality
    if persona != 0xFFFFFFFF:
        t.personality = persona
    return old


def sys_kcmp(t: Task, a: CInt, b: CInt, kind: CInt, x: CULong, y: CULong) -> int:
    """kcmp(2)."""
    u, v = t.tg.pidns.task(a), t.tg.pidns.task(b)
    if u is None or v is None:
        raise SysErr(errno.ESRCH)
    if kind == 0:
        one: object = u.files.get_any(x)
        two: object = v.files.get_any(y)
    elif kind in (1, 2, 3, 4):
        one = (u.mm, u.files, u.fs, u.tg.sighand)[kind - 1]
        two = (v.mm, v.files, v.fs, v.tg.sighand)[kind - 1]
    else:
        raise SysErr(errno.EINVAL)
    return 0 if one is two else 1 if id(one) < id(two) else 2


def sys_syslog(t: Task, kind: CInt, buf: UserPtr, size: CInt) -> int:
    """syslog(2): the log of the container (kernel/klog.py)."""
    if not may_read(t):
        raise SysErr(errno.EPERM)
    if not 0 <= kind <= 10:
        raise SysErr(errno.EINVAL)
    log = t.tg.container.log()
    if kind in (SYSLOG_READ, SYSLOG_READ_ALL, SYSLOG_READ_CLEAR):
        if not buf or size < 0:
            raise SysErr(errno.EINVAL)
        if not size:
            return 0
        text = _read_log(t, log, size) if kind == SYSLOG_READ else _last_of_log(log, size)
        t.copy_out(buf, text)
        if kind == SYSLOG_READ_CLEAR:
            log.clear_seq = log.next_seq
        return len(text)
    if kind == SYSLOG_CLEAR:
        log.clear_seq = log.next_seq
    elif kind == SYSLOG_CONSOLE_LEVEL and not 1 <= size <= 8:
        raise SysErr(errno.EINVAL)
    elif kind == SYSLOG_SIZE_UNREAD:
        return sum(len(klog.line(r)) for r in log.since(log.read_seq))
    elif kind == SYSLOG_SIZE_BUFFER:
        return klog.SIZE
    return 0


def _read_log(t: Task, log: KernelLog, size: int) -> bytes:
    """What nobody has read yet, waiting for some; whole lines, the first cut where it is too long. May suspend."""
    while log.read_seq >= log.next_seq:
        t.wait(log.queue)
    out = b""
    for r in log.since(log.read_seq):
        text = klog.line(r)
        if out and len(out) + len(text) > size:
            break
        out += text
        log.read_seq = r.seq + 1
    return out[:size]


def _last_of_log(log: KernelLog, size: int) -> bytes:
    """The newest lines that fit."""
    out: list[bytes] = []
    for r in reversed(log.since(log.clear_seq)):
        text = klog.line(r)
        if len(text) > size:
            break
        size -= len(text)
        out.append(text)
    return b"".join(reversed(out))


def sys_reboot(t: Task, m1: CUInt, m2: CUInt, cmd: CUInt, arg: UserPtr) -> int:
    """reboot(2): CAP_SYS_BOOT ends the sandbox, as it ends a pid namespace."""
    if not t.creds.capable(22):
        raise SysErr(errno.EPERM)
    if m1 != 0xFEE1DEAD or m2 not in REBOOT_MAGIC2:
        raise SysErr(errno.EINVAL)
    if cmd in (0, 0x89ABCDEF):  # CAD_OFF, CAD_ON: there is no keyboard
        return 0
    sig = REBOOT_SIGNAL.get(cmd)
    if sig is None:
        raise SysErr(errno.EINVAL)
    t.k.shutdown(sig)
    return 0


def sys_acct(t: Task, path: UserPtr) -> int:
    """acct(2), of a kernel without process accounting."""
    raise SysErr(errno.ENOSYS if t.creds.capable(CAP_SYS_PACCT) else errno.EPERM)


def sys_iopl(t: Task, level: CUInt) -> int:
    """iopl(2): never more than level 0, which a process has from the start."""
    if level > 3:
        raise SysErr(errno.EINVAL)
    if level:
        raise SysErr(errno.EPERM)
    return 0


def sys_ioperm(t: Task, first: CULong, count: CULong, on: CInt) -> int:
    """ioperm(2): no port is ever allowed; to give them up is."""
    if not first < first + count <= IO_PORTS:
        raise SysErr(errno.EINVAL)
    if on:
        raise SysErr(errno.EPERM)
    return 0


def sys_denied(t: Task) -> int:
    raise SysErr(errno.EPERM)


TABLE: Final[Table] = {
    63: full("uname", sys_uname),
    97: full("getrlimit", sys_getrlimit),
    98: full("getrusage", sys_getrusage),
    99: full("sysinfo", sys_sysinfo),
    103: full("syslog", sys_syslog),
    134: missing("uselib"),
    135: full("personality", sys_personality),
    154: missing("modify_ldt"),
    157: partial("prctl", sys_prctl, "speculation control, PR_SET_MM"),
    158: partial("arch_prctl", sys_arch_prctl, "xstate permissions"),
    160: full("setrlimit", sys_setrlimit),
    163: partial("acct", sys_acct, "no accounting"),
    164: partial("settimeofday", sys_denied, "always EPERM"),
    167: partial("swapon", sys_denied, "always EPERM"),
    168: partial("swapoff", sys_denied, "always EPERM"),
    169: full("reboot", sys_reboot),
    170: full("sethostname", sys_sethostname),
    171: full("setdomainname", sys_setdomainname),
    172: partial("iopl", sys_iopl, "EPERM above level 0"),
    173: partial("ioperm", sys_ioperm, "EPERM for every port"),
    175: partial("init_module", sys_denied, "always EPERM"),
    176: partial("delete_module", sys_denied, "always EPERM"),
    246: partial("kexec_load", sys_denied, "always EPERM"),
    298: partial("perf_event_open", sys_denied, "always EPERM"),
    302: full("prlimit64", sys_prlimit64),
    312: full("kcmp", sys_kcmp),
    313: partial("finit_module", sys_denied, "always EPERM"),
    318: full("getrandom", sys_getrandom),
    321: partial("bpf", sys_denied, "always EPERM"),
    323: missing("userfaultfd"),
    425: missing("io_uring_setup"),
    426: missing("io_uring_enter"),
    427: missing("io_uring_register"),
}
