"""`nvsandbox doctor`: what this machine offers a sandbox, and what is missing, in plain words."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import click

OK, WARN, FAIL = "ok", "warning", "missing"
Finding = tuple[str, str]


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Checks the machine; exit status 1 if no sandbox can run here."""
    bad = False
    for check in (_kernel, _privilege, _platforms, _namespaces, _cgroups, _gpu, _engines):
        for level, text in check():
            bad = bad or level == FAIL
            click.echo(f"{level + ':':9}{text}")
    if bad:
        ctx.exit(1)


def _kernel() -> Iterator[Finding]:
    u = os.uname()
    if u.machine != "x86_64":
        yield FAIL, f"this machine is {u.machine}; only x86_64 is supported"
    version = tuple(int(p) for p in u.release.split("-")[0].split(".")[:2] if p.isdigit())
    if version < (5, 14):
        yield WARN, f"Linux {u.release}: 5.14 or later is recommended"
    else:
        yield OK, f"Linux {u.release}"


def _privilege() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield OK, "running as root"
    else:
        yield (
            WARN,
            "not root: `do` and `run` work in a user namespace, without control groups; engines run the runtime as root",
        )
    with open("/proc/self/status") as f:
        caps = next(int(line.split()[1], 16) for line in f if line.startswith("CapEff"))
    if os.geteuid() == 0 and not caps >> 21 & 1:
        yield (
            FAIL,
            "CAP_SYS_ADMIN is missing: namespaces and mounts cannot be made (a container without --privileged?)",
        )
    if os.geteuid() == 0 and not caps >> 24 & 1:
        yield WARN, "CAP_SYS_RESOURCE is missing: hard limits and oom scores cannot be raised"


def _platforms() -> Iterator[Finding]:
    from ...platform import probe

    works = 0
    for name in probe.PROBES:
        try:
            probe.choose(name)
        except Exception as e:
            yield WARN, f"platform {name}: {e}"
        else:
            works += 1
            yield OK, f"platform {name} works"
    if not works:
        yield FAIL, "no platform works: seccomp filters or ptrace must be permitted"


def _namespaces() -> Iterator[Finding]:
    for kind in ("mnt", "net", "pid", "ipc", "uts", "user"):
        if not os.path.exists(f"/proc/self/ns/{kind}"):
            level = WARN if kind == "user" else FAIL
            yield level, f"this kernel has no {kind} namespaces"
    try:
        with open("/proc/sys/user/max_user_namespaces") as f:
            if int(f.read()) == 0:
                yield (
                    WARN,
                    "user namespaces are switched off (user.max_user_namespaces=0): no userns-remap",
                )
    except OSError:
        pass
    yield OK, "namespaces"


def _cgroups() -> Iterator[Finding]:
    from ...oci.cgroups import Hierarchies

    h = Hierarchies()
    two = h.controllers_v2()
    layout = "hybrid" if h.v1 and h.v2 else "version 1" if h.v1 else "version 2" if h.v2 else ""
    if not layout:
        yield FAIL, "no control groups are mounted on /sys/fs/cgroup"
        return
    yield OK, f"control groups {layout}"
    for c, use in (
        ("memory", "memory limits"), ("cpu", "CPU limits"), ("pids", "task limits"), ("cpuset", "CPU sets"),
    ):  # fmt: skip
        if c not in h.v1 and c not in two:
            yield WARN, f"controller {c} is not available: no {use}"
    if "freezer" not in h.v1 and not h.v2:
        yield WARN, "no freezer: containers cannot be paused"


def _gpu() -> Iterator[Finding]:
    if not os.path.exists("/dev/nvidiactl"):
        yield OK, "no NVIDIA driver (nvidiactl is not there): no GPU for sandboxes, all else works"
        return
    try:
        with open("/proc/driver/nvidia/version") as f:
            version = next(
                (w for w in f.readline().split() if w[:1].isdigit() and "." in w), "unknown"
            )
    except OSError:
        version = "unknown"
    from ...nvproxy.abi import database

    known = database().versions
    if version in known:
        yield OK, f"NVIDIA driver {version}, whose interface is known"
    else:
        yield WARN, f"NVIDIA driver {version} is not in the database (newest: {known[-1]})"


def _engines() -> Iterator[Finding]:
    from ..engines import ENGINES, read

    for e in ENGINES.values():
        if shutil.which(e.program) is None:
            continue
        try:
            known = "nvsandbox" in read(e.config)
        except Exception as err:
            yield WARN, f"{e.title}: {err}"
            continue
        if known:
            yield OK, f"{e.title} knows the runtime ({e.config})"
        else:
            yield (
                WARN,
                f"{e.title} does not know the runtime: `nvsandbox install --engine {e.program.removesuffix('d') if e.program == 'dockerd' else e.program}`",
            )
