"""`update`: other limits for a container that runs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from ..failure import Failure
from . import client, limits, spec, state
from .spec import BlockIo, Cpu, Memory, Pids, Resources

if TYPE_CHECKING:
    from ..cli.args import Values
    from ..cli.globals import Globals

REFUSED: Final = ("l3_cache_schema", "mem_bw_schema")


def update(g: Globals, v: Values, args: list[str]) -> int:
    """Writes what was given; the application sees it at once. Raises Failure."""
    for name in REFUSED:
        if v[name]:
            raise Failure(f"--{name.replace('_', '-')}: Intel RDT is not supported")
    r = _from_json(v["resources"]) if v["resources"] else _from_flags(v)
    with state.locked(g.root, args[0]):
        st = state.load(g.root, args[0])
        if state.status(st) == state.STOPPED:
            raise Failure("container not running")
        groups = st.get("cgroup") or {}
        r.devices = []  # only a creation sets them
        asked = r.memory.limit if r.memory is not None else None
        limits.apply(groups, r)
        if st.get("unit"):
            from .systemd import Manager

            with Manager() as m:
                m.limit(st["unit"], r, groups)
        if state.status(st) != state.PAUSED:
            order: dict[str, Any] = {
                "op": "limits",
                "memory": asked or limits.memory_limit(groups) or None,
                "cpu_max": limits.cpu_max(groups),
            }
            if r.pids is not None and r.pids.limit:
                order["pids"] = r.pids.limit
            if st.get("pod"):
                client.request(st["pod"], {**order, "container": args[0]})
            else:
                client.request(state.directory(g.root, args[0]), order)
    return 0


def _from_json(path: str) -> Resources:
    raw = sys.stdin.buffer.read(spec.MAX_CONFIG + 1) if path == "-" else spec.read(path)
    got: Resources = spec.decode(raw, Resources, "stdin" if path == "-" else os.path.abspath(path))
    return got


def _from_flags(v: Values) -> Resources:
    r = Resources()
    r.memory = Memory(v["memory"], v["memory_reservation"], v["memory_swap"])
    r.cpu = Cpu(
        shares=v["cpu_share"], quota=v["cpu_quota"], period=v["cpu_period"],
        realtimeRuntime=v["cpu_rt_runtime"], realtimePeriod=v["cpu_rt_period"], cpus=v["cpuset_cpus"],
        mems=v["cpuset_mems"],
    )  # fmt: skip
    if v["pids_limit"]:
        r.pids = Pids(v["pids_limit"])
    if v["blkio_weight"]:
        r.blockIO = BlockIo(weight=v["blkio_weight"])
    return r
