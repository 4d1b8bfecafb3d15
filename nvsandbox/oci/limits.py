"""Setting a container's limits (OCI runtime-spec config-linux.md, resources), and reading back what the application shall see."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from ..failure import Failure
from . import cgroups
from .cgroups import UNIFIED, Groups, read, write
from .spec import BlockIo, Cpu, DeviceRule, Memory, Network, Resources

OWN_TASKS: Final = (
    48  # what the sandbox itself needs below pids.max: monitor, gofer, Sentry, its pool
)
# What the sandbox's own processes take of the group's memory, in bytes; a limit too small to hold both is raised by it.
OWN_MEMORY: Final = 20 << 20
SMALL_MEMORY: Final = 48 << 20
MAX: Final = "max"
# What every container has whatever its rules say, as with runc: making nodes, memory devices, terminals.
ALWAYS: Final = (
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm",
    "c 5:2 rwm", "c 136:* rwm",
)  # fmt: skip
UNLIMITED: Final = -1
# Field of the resources, its controller in version 1 and in version 2
BY_CONTROLLER: Final = (
    ("cpu", "cpu", "cpu"), ("memory", "memory", "memory"), ("pids", "pids", "pids"),
    ("blockIO", "blkio", "io"), ("hugepageLimits", "hugetlb", "hugetlb"), ("rdma", "rdma", "rdma"),
)  # fmt: skip


def apply(groups: Groups, r: Resources, rootless: bool = False) -> None:
    """Writes the limits given. Raises Failure for one that can't be set."""
    m = r.memory
    if m is not None and m.limit is not None and 0 < m.limit < SMALL_MEMORY:
        swap = m.swap + OWN_MEMORY if m.swap is not None and m.swap > 0 else m.swap
        r.memory = Memory(
            m.limit + OWN_MEMORY, m.reservation, swap, swappiness=m.swappiness, disableOOMKiller=m.disableOOMKiller,
        )  # fmt: skip
    try:
        if UNIFIED in groups and "memory" not in groups:
            _network_v1(groups, r.network)  # version 2 has none
            _apply_v2(groups[UNIFIED], r)
        else:
            if UNIFIED in groups:
                _apply_v2(groups[UNIFIED], _moved(groups, r))
            _apply_v1(groups, r)
    except Failure:
        if not rootless:
            raise


def _moved(groups: Groups, r: Resources) -> Resources:
    """Where both versions are in use: what belongs to controllers that are in version 2; it is taken out of ``r``."""
    there = read(f"{groups[UNIFIED]}/cgroup.controllers").split()
    out = Resources()
    for field, v1, v2 in BY_CONTROLLER:
        if v1 not in groups and v2 in there:
            setattr(out, field, getattr(r, field))
            setattr(r, field, getattr(Resources(), field))
    return out


def _need(groups: Groups, controller: str, what: str) -> str:
    if controller not in groups:
        raise Failure(f"{what}: the control group controller `{controller}` is not available")
    return groups[controller]


# Version 1
def _apply_v1(groups: Groups, r: Resources) -> None:
    if r.unified:
        raise Failure(
            "unified resources: invalid configuration, control groups of version 2 are needed"
        )
    if r.cpu is not None:
        _cpu_v1(groups, r.cpu)
    if r.memory is not None:
        _memory_v1(groups, r.memory)
    if r.pids is not None and r.pids.limit:
        limit = r.pids.limit
        value = str(limit + OWN_TASKS) if limit > 0 else MAX
        write(_need(groups, "pids", "pids limit") + "/pids.max", value)
    if r.blockIO is not None:
        _blkio_v1(groups, r.blockIO)
    for h in r.hugepageLimits:
        base = _need(groups, "hugetlb", "hugepage limit")
        write(f"{base}/hugetlb.{_page_size(h.pageSize)}.limit_in_bytes", str(h.limit))
    _network_v1(groups, r.network)
    for device, line in _rdma(r):
        write(_need(groups, "rdma", "RDMA limit") + "/rdma.max", f"{device} {line}")
    if "devices" in groups:
        for d in r.devices:
            _device_v1(groups["devices"], d)
        if r.devices:
            for line in ALWAYS:
                write(f"{groups['devices']}/devices.allow", line)


def _network_v1(groups: Groups, n: Network | None) -> None:
    if n is None:
        return
    if n.classID:
        write(_need(groups, "net_cls", "network class") + "/net_cls.classid", str(n.classID))
    for p in n.priorities:
        base = _need(groups, "net_prio", "network priority")
        write(f"{base}/net_prio.ifpriomap", f"{p.name} {p.priority}")


def _rdma(r: Resources) -> list[tuple[str, str]]:
    """(device, its limits), as both versions have them."""
    out = []
    for device, limit in r.rdma.items():
        pairs = (("hca_handle", limit.hcaHandles), ("hca_object", limit.hcaObjects))
        out.append((device, " ".join(f"{k}={v}" for k, v in pairs if v is not None)))
    return out


def _page_size(text: str) -> str:
    if "/" in text or not text:
        raise Failure(f"hugepage size `{text}`")
    return text


def _cpu_v1(groups: Groups, c: Cpu) -> None:
    if c.shares:
        write(_need(groups, "cpu", "CPU shares") + "/cpu.shares", str(c.shares))
    if c.period or c.quota:
        base = _need(groups, "cpu", "CPU quota")
        if (
            c.period and c.quota
        ):  # the order matters when either alone would leave the allowed range
            try:
                write(f"{base}/cpu.cfs_period_us", str(c.period))
                write(f"{base}/cpu.cfs_quota_us", str(c.quota))
            except Failure:
                write(f"{base}/cpu.cfs_quota_us", str(c.quota))
                write(f"{base}/cpu.cfs_period_us", str(c.period))
        elif c.period:
            write(f"{base}/cpu.cfs_period_us", str(c.period))
        else:
            write(f"{base}/cpu.cfs_quota_us", str(c.quota))
    if c.burst is not None:
        write(_need(groups, "cpu", "CPU burst") + "/cpu.cfs_burst_us", str(c.burst))
    if c.idle is not None:
        write(_need(groups, "cpu", "idle CPU") + "/cpu.idle", str(c.idle))
    if c.realtimePeriod:
        write(_need(groups, "cpu", "realtime period") + "/cpu.rt_period_us", str(c.realtimePeriod))
    if c.realtimeRuntime:
        write(
            _need(groups, "cpu", "realtime runtime") + "/cpu.rt_runtime_us", str(c.realtimeRuntime)
        )
    for value, file in ((c.cpus, "cpuset.cpus"), (c.mems, "cpuset.mems")):
        if value:
            write(_need(groups, "cpuset", file) + f"/{file}", value)


def _memory_v1(groups: Groups, m: Memory) -> None:
    if any(v for v in (m.limit, m.swap, m.reservation)):
        base = _need(groups, "memory", "memory limit")
        limit, swap = m.limit or 0, m.swap or 0
        has_swap = os.path.exists(f"{base}/memory.memsw.limit_in_bytes")
        if limit == UNLIMITED and not swap:
            swap = UNLIMITED
        steps = []
        if limit:
            steps.append(("memory.limit_in_bytes", limit))
        if swap and has_swap:
            steps.append(("memory.memsw.limit_in_bytes", swap))
        now = read(f"{base}/memory.limit_in_bytes")
        if swap == UNLIMITED or (swap > 0 and now.isdigit() and swap > int(now)):
            steps.reverse()  # growing: swap first
        for file, value in steps:
            write(f"{base}/{file}", str(value))
        if m.reservation:
            write(f"{base}/memory.soft_limit_in_bytes", str(m.reservation))
    if "memory" in groups:
        base = groups["memory"]
        if m.swappiness is not None and m.swappiness >= 0:
            write(f"{base}/memory.swappiness", str(m.swappiness))
        if m.disableOOMKiller:
            write(f"{base}/memory.oom_control", "1")


def _blkio_v1(groups: Groups, b: BlockIo) -> None:
    if b.weight:
        base = _need(groups, "blkio", "block I/O weight")
        for file in ("blkio.weight", "blkio.bfq.weight"):
            if os.path.exists(f"{base}/{file}"):
                write(f"{base}/{file}", str(b.weight))
                break
        else:
            raise Failure("block I/O weight: this kernel has no proportional I/O scheduler")
    for d in b.weightDevice:
        base = _need(groups, "blkio", "block I/O weight")
        for value, files in (
            (d.weight, ("blkio.weight_device", "blkio.bfq.weight_device")),
            (d.leafWeight, ("blkio.leaf_weight_device",)),
        ):
            if value is not None:
                _first_of(base, files, f"{d.major}:{d.minor} {value}")
    for rules, file in (
        (b.throttleReadBpsDevice, "read_bps"), (b.throttleWriteBpsDevice, "write_bps"),
        (b.throttleReadIOPSDevice, "read_iops"), (b.throttleWriteIOPSDevice, "write_iops"),
    ):  # fmt: skip
        for t in rules:
            base = _need(groups, "blkio", "block I/O limit")
            write(f"{base}/blkio.throttle.{file}_device", f"{t.major}:{t.minor} {t.rate}")


def _first_of(base: str, files: tuple[str, ...], value: str) -> None:
    """Into the one of the schedulers' files that this kernel has. Raises Failure."""
    for file in files:
        if os.path.exists(f"{base}/{file}"):
            write(f"{base}/{file}", value)
            return
    raise Failure("block I/O weight: this kernel has no proportional I/O scheduler")


def _device_v1(base: str, d: DeviceRule) -> None:
    if d.type not in ("a", "b", "c", ""):
        raise Failure(f"device rule: unknown type `{d.type}`")
    file = "devices.allow" if d.allow else "devices.deny"
    kind = d.type or "a"
    if kind == "a" and d.major is None and d.minor is None:
        write(f"{base}/{file}", "a")
        return
    major, minor = ("*" if n is None or n < 0 else str(n) for n in (d.major, d.minor))
    write(f"{base}/{file}", f"{kind} {major}:{minor} {access_of(d)}")


def access_of(d: DeviceRule) -> str:
    """Of r, w and m, what a rule is about; anything else in it means nothing, as with runc."""
    return "".join(c for c in "rwm" if c in d.access) or "rwm"


# Version 2
def _apply_v2(base: str, r: Resources) -> None:
    c, m, b = r.cpu, r.memory, r.blockIO
    if c is not None:
        if c.shares:
            write(f"{base}/cpu.weight", str(1 + (max(c.shares, 2) - 2) * 9999 // 262142))
        if c.quota or c.period:
            quota = str(c.quota) if c.quota and c.quota > 0 else MAX
            write(f"{base}/cpu.max", f"{quota} {c.period or 100000}")
        if c.burst is not None:
            write(f"{base}/cpu.max.burst", str(c.burst))
        if c.idle is not None:
            write(f"{base}/cpu.idle", str(c.idle))
        for value, file in ((c.cpus, "cpuset.cpus"), (c.mems, "cpuset.mems")):
            if value:
                write(f"{base}/{file}", value)
    if m is not None:
        if m.limit:
            write(f"{base}/memory.max", str(m.limit) if m.limit > 0 else MAX)
        if m.swap and os.path.exists(f"{base}/memory.swap.max"):
            if m.swap > 0 and (not m.limit or m.limit < 0):
                raise Failure("memory: a swap limit needs a memory limit")
            value = MAX if m.swap < 0 else str(max(m.swap - (m.limit or 0), 0))
            write(f"{base}/memory.swap.max", value)
        if m.reservation:
            write(f"{base}/memory.low", str(m.reservation) if m.reservation > 0 else MAX)
    if r.pids is not None and r.pids.limit:
        limit = r.pids.limit
        write(f"{base}/pids.max", str(limit + OWN_TASKS) if limit > 0 else MAX)
    if b is not None:
        if b.weight:
            with contextlib.suppress(Failure):
                write(f"{base}/io.weight", str(1 + (b.weight - 10) * 9999 // 990))
        for d in b.weightDevice:
            if d.weight is not None:
                _first_of(base, ("io.bfq.weight", "io.weight"), f"{d.major}:{d.minor} {d.weight}")
        for rules, name in (
            (b.throttleReadBpsDevice, "rbps"), (b.throttleWriteBpsDevice, "wbps"),
            (b.throttleReadIOPSDevice, "riops"), (b.throttleWriteIOPSDevice, "wiops"),
        ):  # fmt: skip
            for t in rules:
                write(f"{base}/io.max", f"{t.major}:{t.minor} {name}={t.rate}")
    for h in r.hugepageLimits:
        write(f"{base}/hugetlb.{_page_size(h.pageSize)}.max", str(h.limit))
    for device, line in _rdma(r):
        write(f"{base}/rdma.max", f"{device} {line}")
    for file, value in r.unified.items():
        if "/" in file or file.startswith("cgroup."):
            raise Failure(f"unified resource `{file}`: not a controller's file")
        write(f"{base}/{file}", value)


# What the application sees
def memory_limit(groups: Groups) -> int:
    """Bytes, 0 when unlimited."""
    for name, file in (("memory", "memory.limit_in_bytes"), (UNIFIED, "memory.max")):
        if name in groups:
            text = read(f"{groups[name]}/{file}")
            if text.isdigit() and int(text) < 1 << 60:
                return int(text)
    return 0


def cpus(groups: Groups) -> int:
    """CPUs of the group's cpuset, 0 when there is none."""
    for name, file in (("cpuset", "cpuset.effective_cpus"), ("cpuset", "cpuset.cpus"), (UNIFIED, "cpuset.cpus.effective")):  # fmt: skip
        if name in groups:
            n = count(read(f"{groups[name]}/{file}"))
            if n:
                return n
    return 0


def count(text: str) -> int:
    """CPUs of a list like 0-3,8; 0 if it is none."""
    n = 0
    try:
        for part in text.split(",") if text else ():
            a, _, b = part.partition("-")
            n += int(b or a) - int(a) + 1
    except ValueError:
        return 0
    return n


def cpu_max(groups: Groups) -> tuple[int, int] | None:
    """(quota, period) in µs, None when unlimited."""
    if "cpu" in groups:
        quota, period = (read(f"{groups['cpu']}/cpu.cfs_{n}_us") for n in ("quota", "period"))
        return (int(quota), int(period)) if quota.isdigit() and period.isdigit() else None
    if UNIFIED in groups:
        words = read(f"{groups[UNIFIED]}/cpu.max").split()
        return (int(words[0]), int(words[1])) if len(words) == 2 and words[0].isdigit() else None
    return None


def oom_kills(groups: Groups) -> int:
    """How often the kernel's out-of-memory killer took a process of the group."""
    for name, file in (("memory", "memory.oom_control"), (UNIFIED, "memory.events")):
        if name in groups:
            for line in read(f"{groups[name]}/{file}").splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.isdigit():
                    return int(value)
    return 0


__all__ = ["apply", "cgroups", "cpu_max", "cpus", "memory_limit", "oom_kills"]
