"""Files of /proc about the system as a whole (Linux: fs/proc/{meminfo,stat,uptime,loadavg…}.c).

The kernel's name and version are ours. Of the host only the processor's kind and the amounts given to the Kernel show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..kernel.container import RELEASE, VERSION
from ..kernel.keys import VIEW, quota_of
from ..vfs.fstypes import FSTYPES
from .proc_pid import mm_of

if TYPE_CHECKING:
    from ..kernel.container import Container
    from ..kernel.kernel import Kernel
    from ..kernel.pids import PidNamespace
    from ..kernel.task import Task

COMPILER: Final = b"nvsandbox@nvsandbox (gcc (Debian 12.2.0-14) 12.2.0, GNU ld 2.40)"
CPU_KEYS: Final = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "cpu MHz", "cache size",
    "fpu", "fpu_exception", "cpuid level", "wp", "flags", "bugs", "bogomips", "TLB size",
    "clflush size", "cache_alignment", "address sizes", "power management",
)  # fmt: skip
TOPOLOGY_AFTER: Final = "cache size"


def _host_cpu() -> dict[str, str]:
    """The first processor as the host's kernel describes it; read once, when this module is imported."""
    out: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            for line in f:
                key, sep, value = line.partition(":")
                if not sep:
                    if out:
                        break
                    continue
                out[key.strip()] = value.strip()
    except OSError:
        pass
    return out


CPU: Final = _host_cpu()


def cpuinfo(k: Kernel) -> bytes:
    out = []
    for n in range(k.ncpu):
        lines = [f"processor\t: {n}"]
        for key in CPU_KEYS:
            if key not in CPU:
                continue
            lines.append(f"{key}{chr(9) if len(key) >= 8 else chr(9) * 2}: {CPU[key]}")
            if key == TOPOLOGY_AFTER:
                lines += [
                    "physical id\t: 0", f"siblings\t: {k.ncpu}", f"core id\t\t: {n}",
                    f"cpu cores\t: {k.ncpu}", f"apicid\t\t: {n}", f"initial apicid\t: {n}",
                ]  # fmt: skip
        out.append("\n".join(lines) + "\n\n")
    return "".join(out).encode()


def used_memory(c: Container) -> int:
    """Bytes that processes have mapped privately: what we know of the memory in use, and no more than half of all."""
    seen: set[int] = set()
    used = 0
    for tg in c.pids.procs.values():
        mm = mm_of(tg)
        if mm is not None and id(mm) not in seen and tg.container is c:
            seen.add(id(mm))
            used += mm.data()
    return min(used, c.memory // 2)


def meminfo(c: Container) -> bytes:
    total = c.memory >> 10
    free = total - (used_memory(c) >> 10)
    rows: dict[str, int] = {
        "MemTotal": total, "MemFree": free, "MemAvailable": free, "Buffers": 0, "Cached": 0,
        "SwapCached": 0, "Active": total - free, "Inactive": 0, "Active(anon)": total - free,
        "Inactive(anon)": 0, "Active(file)": 0, "Inactive(file)": 0, "Unevictable": 0, "Mlocked": 0,
        "SwapTotal": 0, "SwapFree": 0, "Dirty": 0, "Writeback": 0, "AnonPages": total - free,
        "Mapped": 0, "Shmem": 0, "KReclaimable": 0, "Slab": 0, "SReclaimable": 0, "SUnreclaim": 0,
        "KernelStack": 0, "PageTables": 0, "NFS_Unstable": 0, "Bounce": 0, "WritebackTmp": 0,
        "CommitLimit": total // 2, "Committed_AS": total - free, "VmallocTotal": 34359738367,
        "VmallocUsed": 0, "VmallocChunk": 0, "Percpu": 0, "AnonHugePages": 0, "ShmemHugePages": 0,
        "ShmemPmdMapped": 0, "FileHugePages": 0, "FilePmdMapped": 0,
    }  # fmt: skip
    lines = [f"{name + ':':<15} {v:>8} kB" for name, v in rows.items()]
    lines += [
        "HugePages_Total:       0", "HugePages_Free:        0", "HugePages_Rsvd:        0",
        "HugePages_Surp:        0", "Hugepagesize:       2048 kB", "Hugetlb:               0 kB",
    ]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def _uptime_ns(k: Kernel) -> int:
    return k.monotonic_ns() - k.boot_mono


def _busy_ns(k: Kernel) -> int:
    return sum(tg.cputime for tg in k.every_proc())


def stat(k: Kernel, pids: PidNamespace) -> bytes:
    up = _uptime_ns(k) // 10_000_000
    busy = _busy_ns(k) // 10_000_000
    idle = max(up * k.ncpu - busy, 0)
    lines = [f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0"]
    for n in range(k.ncpu):
        lines.append(f"cpu{n} {busy // k.ncpu} 0 0 {idle // k.ncpu} 0 0 0 0 0 0")
    boot = (k.realtime_ns() - _uptime_ns(k)) // 10**9
    running = sum(1 for u in pids.tasks.values() if u.token is None)
    lines += [
        "intr 0", "ctxt 0", f"btime {boot}", f"processes {pids.last_pid}",
        f"procs_running {max(running, 1)}", "procs_blocked 0", "softirq 0 0 0 0 0 0 0 0 0 0 0",
    ]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def uptime(k: Kernel) -> bytes:
    up = _uptime_ns(k)
    idle = max(up * k.ncpu - _busy_ns(k), 0)
    return f"{up / 1e9:.2f} {idle / 1e9:.2f}\n".encode()


def loadavg(pids: PidNamespace) -> bytes:
    running = sum(1 for u in pids.tasks.values() if u.token is None)
    return f"0.00 0.00 0.00 {max(running, 1)}/{max(len(pids.tasks), 1)} {pids.last_pid}\n".encode()


def version() -> bytes:
    return b"Linux version %s (%s) %s\n" % (RELEASE, COMPILER, VERSION)


def filesystems() -> bytes:
    names = {b"proc", b"sysfs", b"tmpfs", b"devpts", b"cgroup2", b"mqueue", b"pipefs", b"sockfs"}
    names |= set(FSTYPES)
    return b"".join(b"nodev\t%s\n" % n for n in sorted(names)) + b"\toverlay\n"


DEVICES: Final = (
    b"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n 10 misc\n"
    b"136 pts\n\nBlock devices:\n"
)
CGROUPS: Final = b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n" + b"".join(
    b"%s\t0\t1\t1\n" % n for n in (b"cpuset", b"cpu", b"cpuacct", b"memory", b"pids", b"io")
)
VMSTAT: Final = b"".join(
    b"%s 0\n" % n
    for n in (
        b"nr_free_pages", b"nr_dirty", b"nr_writeback", b"nr_mapped", b"pgpgin", b"pgpgout",
        b"pswpin", b"pswpout", b"pgfault", b"pgmajfault", b"oom_kill",
    )
)  # fmt: skip


def interrupts(k: Kernel) -> bytes:
    return (" " * 11 + "".join(f"CPU{n:<8}" for n in range(k.ncpu)) + "\n").encode()


def keys(t: Task) -> bytes:
    """The keys that the reader may see (keyrings(7), "/proc/keys")."""
    table, users = t.tg.container.keys(t.k), t.creds.userns
    table.sweep()
    now, lines = table.now(), []
    for _, k in sorted(table.keys.items()):
        if not k.allows(t.creds, VIEW, table.possessed(t.keys, t.creds, k)):
            continue
        flags = b"IR-Q--" if k.revoked else b"I--Q--"
        what = b"%s: %d" % (k.description, len(k.payload))
        if k.links is not None:
            what = b"%s: %s" % (k.description, b"%d" % len(k.links) if k.links else b"empty")
        lines.append(
            b"%08x %s- %5d %4s %08x %5d %5d %-9.9s %s\n"
            % (
                k.serial, flags, 1, _left(k.expiry, now), k.perm,
                users.uid_out(k.uid), k.group_seen(users), k.kind, what,
            )
        )  # fmt: skip
    return b"".join(lines)


def _left(expiry: int, now: int) -> bytes:
    if not expiry:
        return b"perm"
    if now >= expiry:
        return b"expd"
    left = (expiry - now) // 10**9
    for size, unit, below in (
        (1, b"s", 60),
        (60, b"m", 3600),
        (3600, b"h", 86400),
        (86400, b"d", 604800),
    ):
        if left < below:
            return b"%d%s" % (left // size, unit)
    return b"%dw" % (left // 604800)


def key_users(t: Task) -> bytes:
    """Who has how many keys, and of how many bytes (keyrings(7), "/proc/key-users")."""
    table, users = t.tg.container.keys(t.k), t.creds.userns
    table.sweep()
    return b"".join(
        b"%5d: %5d %d/%d %d/%d %d/%d\n"
        % (users.uid_out(uid), n + 1, n, n, n, quota_of(uid).keys, size, quota_of(uid).bytes)
        for uid, (n, size) in sorted(table.used.items())
        if n and users.has_uid(uid)
    )


def files(k: Kernel) -> dict[bytes, Callable[[Task], bytes]]:
    """Name and content of every file directly in /proc."""
    return {
        b"meminfo": lambda t: meminfo(t.tg.container),
        b"cpuinfo": lambda t: cpuinfo(k),
        b"stat": lambda t: stat(k, t.tg.pids),
        b"uptime": lambda t: uptime(k),
        b"loadavg": lambda t: loadavg(t.tg.pids),
        b"version": lambda t: version(),
        b"filesystems": lambda t: filesystems(),
        b"devices": lambda t: DEVICES,
        b"cmdline": lambda t: b"BOOT_IMAGE=nvsandbox\n",
        b"cgroups": lambda t: CGROUPS,
        b"interrupts": lambda t: interrupts(k),
        b"vmstat": lambda t: VMSTAT,
        b"swaps": lambda t: b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
        b"partitions": lambda t: b"major minor  #blocks  name\n\n",
        b"diskstats": lambda t: b"",
        b"modules": lambda t: b"",
        b"locks": lambda t: b"",
        b"misc": lambda t: b"",
        b"crypto": lambda t: b"",
        b"buddyinfo": lambda t: b"",
        b"consoles": lambda t: b"",
        b"dma": lambda t: b"",
        b"ioports": lambda t: b"",
        b"iomem": lambda t: b"",
        b"execdomains": lambda t: b"0-0\tLinux           \t[kernel]\n",
        b"keys": keys,
        b"key-users": key_users,
    }
