"""`nvsandbox metrics`: figures of every container of a state directory, for Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import click
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ...failure import Failure, reason
from ...oci import client, events, limits, state
from ..globals import Globals

LABELS = ["container"]


class Gpu:
    """What containers ask of the GPU driver (nvproxy)."""

    def __init__(self) -> None:
        self.calls = CounterMetricFamily(
            "nvsandbox_gpu_calls", "Calls forwarded to the driver.", labels=[*LABELS, "name"]
        )
        self.failures = CounterMetricFamily(
            "nvsandbox_gpu_failures",
            "Forwarded calls that failed with an errno.",
            labels=[*LABELS, "name"],
        )
        self.seconds = HistogramMetricFamily(
            "nvsandbox_gpu_call_seconds", "Time the driver took for them.", labels=[*LABELS, "name"]
        )
        self.refusals = CounterMetricFamily(
            "nvsandbox_gpu_refusals", "Calls that the policy refused.", labels=LABELS
        )
        self.memory = GaugeMetricFamily(
            "nvsandbox_gpu_memory_bytes", "Device memory charged.", labels=[*LABELS, "gpu"]
        )
        self.limit = GaugeMetricFamily(
            "nvsandbox_gpu_memory_limit_bytes",
            "Its limit on each GPU; absent when there is none.",
            labels=LABELS,
        )
        self.families = (
            self.calls,
            self.failures,
            self.seconds,
            self.refusals,
            self.memory,
            self.limit,
        )

    def add(self, ident: str, stats: Any) -> None:
        if not isinstance(stats, dict):
            return
        for name, row in stats["calls"].items():
            self.calls.add_metric([ident, name], row["calls"])
            self.failures.add_metric([ident, name], row["failures"])
            self.seconds.add_metric([ident, name], histogram(row["buckets"]), row["ns"] / 1e9)
        self.refusals.add_metric([ident], stats["refusals"])
        for index, used in stats["memory"].items():
            self.memory.add_metric([ident, index], used)
        if stats["limit"]:
            self.limit.add_metric([ident], stats["limit"])


def histogram(counts: list[int]) -> list[tuple[str, float]]:
    """(upper bound in seconds, calls up to it) from nvproxy's counts (``nvproxy/audit.py``)."""
    out, total = [], 0
    for i, n in enumerate(counts):
        total += n
        last = i == len(counts) - 1
        out.append(("+Inf" if last else repr((1 << 12 + 2 * i) / 1e9), float(total)))
    return out


class Containers(Collector):
    """Asks every sandbox when Prometheus asks."""

    def __init__(self, root: str) -> None:
        self.root = root

    def collect(self) -> Iterator[Any]:
        up = GaugeMetricFamily(
            "nvsandbox_container_state",
            "1 for the state a container is in.",
            labels=[*LABELS, "state"],
        )
        memory = GaugeMetricFamily(
            "nvsandbox_memory_bytes", "Memory of the container's group.", labels=LABELS
        )
        limit = GaugeMetricFamily(
            "nvsandbox_memory_limit_bytes", "Its limit; absent when there is none.", labels=LABELS
        )
        cpu = CounterMetricFamily("nvsandbox_cpu_seconds", "CPU time used.", labels=LABELS)
        oom = CounterMetricFamily(
            "nvsandbox_oom_kills", "Processes killed for want of memory.", labels=LABELS
        )
        pids = GaugeMetricFamily("nvsandbox_host_tasks", "Host tasks in the group.", labels=LABELS)
        tasks = GaugeMetricFamily("nvsandbox_tasks", "Tasks of the application.", labels=LABELS)
        procs = GaugeMetricFamily(
            "nvsandbox_processes", "Processes of the application.", labels=LABELS
        )
        fds = GaugeMetricFamily(
            "nvsandbox_open_files", "Open descriptors of the application.", labels=LABELS
        )
        missing = CounterMetricFamily(
            "nvsandbox_missing_syscalls",
            "System calls that are not implemented.",
            labels=[*LABELS, "number"],
        )
        calls = CounterMetricFamily(
            "nvsandbox_syscalls", "System calls by name.", labels=[*LABELS, "name"]
        )
        traps = CounterMetricFamily(
            "nvsandbox_traps",
            "How they came: by a jump, by a signal; faults and kicks besides.",
            labels=[*LABELS, "kind"],
        )
        gofer = CounterMetricFamily(
            "nvsandbox_gofer", "Requests to the gofer, and bytes.", labels=[*LABELS, "counter"]
        )
        phases = GaugeMetricFamily(
            "nvsandbox_start_seconds", "Steps of the Sentry's start.", labels=[*LABELS, "phase"]
        )
        network = CounterMetricFamily(
            "nvsandbox_network",
            "What crossed the interfaces (--network=sandbox), was lost, or refused by --egress.",
            labels=[*LABELS, "counter"],
        )
        gpu = Gpu()
        for ident in state.all_ids(self.root):
            try:
                st = state.load(self.root, ident)
                now = state.status(st)
            except Failure:
                continue
            up.add_metric([ident, now], 1)
            groups = st.get("cgroup") or {}
            if now in (state.STOPPED, state.CREATING):
                continue
            s = events.stats(groups)
            memory.add_metric([ident], s["memory"]["usage"]["usage"])
            bound = limits.memory_limit(groups)
            if bound:
                limit.add_metric([ident], bound)
            cpu.add_metric([ident], s["cpu"]["usage"]["total"] / 1e9)
            oom.add_metric([ident], limits.oom_kills(groups))
            pids.add_metric([ident], s["pids"]["current"])
            if now == state.PAUSED:
                continue
            directory, name = state.control(self.root, ident, st)
            try:
                inside = client.request(directory, {"op": "stats", "container": name})
            except Failure:
                continue
            if name:  # of the rest the pod's sandbox tells
                gpu.add(ident, inside.get("gpu"))
                continue
            tasks.add_metric([ident], inside["tasks"])
            procs.add_metric([ident], inside["processes"])
            fds.add_metric([ident], inside["fds"])
            for nr, n in inside["missing"].items():
                missing.add_metric([ident, nr], n)
            for family, part in (
                (calls, "calls"),
                (traps, "traps"),
                (gofer, "gofer"),
                (phases, "start"),
                (network, "network"),
            ):
                for key, n in inside.get(part, {}).items():
                    family.add_metric([ident, key], n)
            gpu.add(ident, inside.get("gpu"))
        yield from (
            up,
            memory,
            limit,
            cpu,
            oom,
            pids,
            tasks,
            procs,
            fds,
            missing,
            calls,
            traps,
            gofer,
            phases,
            network,
            *gpu.families,
        )


def _registry(root: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Containers(root))
    return registry


@click.group()
def metrics() -> None:
    """Figures for Prometheus."""


@metrics.command("print")
@click.pass_obj
def print_(g: Globals) -> None:
    """Print the figures once."""
    click.echo(generate_latest(_registry(g.root)).decode(), nl=False)


@metrics.command()
@click.option("--listen", default="127.0.0.1:9115", show_default=True, metavar="ADDRESS:PORT")
@click.pass_obj
def serve(g: Globals, listen: str) -> None:
    """Serve them on http://ADDRESS:PORT/metrics."""
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Failure(f"--listen `{listen}`: ADDRESS:PORT is expected")
    try:
        start_http_server(int(port), host.strip("[]") or "127.0.0.1", _registry(g.root))
    except OSError as e:
        raise Failure(f"listen on `{listen}`: {reason(e)}") from None
    click.echo(f"serving http://{listen}/metrics", err=True)
    threading.Event().wait()
