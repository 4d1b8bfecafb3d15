"""`events`: usage of a container's control group as runc prints it, one JSON object a line, and out-of-memory kills."""

from __future__ import annotations

import json
import os
import select
import sys
from typing import TYPE_CHECKING, Any, Final

from ..failure import Failure
from . import limits, state
from .cgroups import UNIFIED, Groups, read

if TYPE_CHECKING:
    from ..cli.args import Values
    from ..cli.globals import Globals

UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
UNLIMITED: Final = (1 << 64) - 1


def events(g: Globals, v: Values, args: list[str]) -> int:
    """With --stats one line, else one each interval until the container stops."""
    seconds = duration(v["interval"])
    st = state.load(g.root, args[0])
    if state.status(st) == state.STOPPED:
        raise Failure(f"container with id {args[0]} is not running")
    groups = st.get("cgroup") or {}
    if v["stats"]:
        _print("stats", args[0], stats(groups))
        return 0
    kills = limits.oom_kills(groups)
    end = os.pidfd_open(st["pid"])
    while True:
        gone = bool(select.select([end], [], [], seconds)[0])
        now = limits.oom_kills(groups)
        if now > kills:
            kills = now
            _print("oom", args[0], None)
        if gone:
            return 0
        _print("stats", args[0], stats(groups))


def _print(kind: str, ident: str, data: dict[str, Any] | None) -> None:
    line = {"type": kind, "id": ident, **({"data": data} if data is not None else {})}
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def duration(text: str) -> float:
    """Seconds of Go's 5s, 1m, 500ms. Raises Failure."""
    number = text.rstrip("hms")
    unit = text[len(number) :]
    try:
        seconds = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        raise Failure(f"--interval `{text}`: a duration such as 5s is expected") from None
    if seconds <= 0:
        raise Failure(f"--interval `{text}`: must be greater than 0")
    return seconds


def stats(groups: Groups) -> dict[str, Any]:
    """The ``data`` of a stats line."""
    if UNIFIED in groups and "memory" not in groups:
        cpu, memory, pids = _v2(groups[UNIFIED])
    else:
        cpu, memory, pids = _v1(groups)
    return {
        "cpu": cpu, "cpuset": {}, "memory": memory, "pids": pids, "blkio": {}, "hugetlb": {},
        "intel_rdt": {}, "network_interfaces": None,
    }  # fmt: skip


def number(path: str) -> int:
    text = read(path)
    return int(text) if text.isdigit() else UNLIMITED if text == "max" else 0


def table(path: str) -> dict[str, int]:
    """``key value`` lines."""
    out = {}
    for line in read(path).splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            out[key] = int(value)
    return out


def _usage(base: str, kind: str) -> dict[str, int]:
    return {
        "limit": number(f"{base}/{kind}.limit_in_bytes"), "usage": number(f"{base}/{kind}.usage_in_bytes"),
        "max": number(f"{base}/{kind}.max_usage_in_bytes"), "failcnt": number(f"{base}/{kind}.failcnt"),
    }  # fmt: skip


def _v1(groups: Groups) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    acct, cpu, mem = groups.get("cpuacct", ""), groups.get("cpu", ""), groups.get("memory", "")
    throttled = table(f"{cpu}/cpu.stat")
    percpu = [int(n) for n in read(f"{acct}/cpuacct.usage_percpu").split()]
    raw = table(f"{mem}/memory.stat")
    return (
        {
            "usage": {
                "total": number(f"{acct}/cpuacct.usage"), "percpu": percpu,
                "kernel": number(f"{acct}/cpuacct.usage_sys"), "user": number(f"{acct}/cpuacct.usage_user"),
            },
            "throttling": {
                "periods": throttled.get("nr_periods", 0), "throttledPeriods": throttled.get("nr_throttled", 0),
                "throttledTime": throttled.get("throttled_time", 0),
            },
        },
        {
            "cache": raw.get("cache", 0), "usage": _usage(mem, "memory"), "swap": _usage(mem, "memory.memsw"),
            "kernel": _usage(mem, "memory.kmem"), "kernelTCP": _usage(mem, "memory.kmem.tcp"), "raw": raw,
        },
        {
            "current": number(f"{groups.get('pids', '')}/pids.current"),
            "limit": number(f"{groups.get('pids', '')}/pids.max"),
        },
    )  # fmt: skip


def _v2(base: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    t = table(f"{base}/cpu.stat")
    raw = table(f"{base}/memory.stat")
    usage = {
        "limit": number(f"{base}/memory.max"), "usage": number(f"{base}/memory.current"),
        "max": number(f"{base}/memory.peak"), "failcnt": table(f"{base}/memory.events").get("max", 0),
    }  # fmt: skip
    return (
        {
            "usage": {
                "total": t.get("usage_usec", 0) * 1000, "kernel": t.get("system_usec", 0) * 1000,
                "user": t.get("user_usec", 0) * 1000,
            },
            "throttling": {
                "periods": t.get("nr_periods", 0), "throttledPeriods": t.get("nr_throttled", 0),
                "throttledTime": t.get("throttled_usec", 0) * 1000,
            },
        },
        {
            "cache": raw.get("file", 0), "usage": usage,
            "swap": {"limit": number(f"{base}/memory.swap.max"), "usage": number(f"{base}/memory.swap.current")},
            "raw": raw,
        },
        {"current": number(f"{base}/pids.current"), "limit": number(f"{base}/pids.max")},
    )  # fmt: skip
