"""The global flags, and how a failure is told."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from .. import userns
from .args import Values

PATCHING: Final = "NVSANDBOX_SYSTRAP_PATCHING"  # see sandbox/config.py


NVPROXY = (
    "nvproxy", "nvproxy_allowed_driver_capabilities", "nvproxy_driver_version", "nvproxy_policy", "nvproxy_driver_root",
    "nvproxy_audit", "nvproxy_trace", "cdi_spec_dirs", "gpu_memory", "gpu_timeslice", "gpu_priority",
)  # fmt: skip


class Globals(NamedTuple):
    """The global flags, for the commands."""

    root: str
    log: str
    log_format: str
    debug: bool
    debug_log: str
    systemd_cgroup: bool
    rootless: str
    platform: str
    cpu_dma_latency: int | None
    network: str
    pcap: str
    net_rate: str
    net_raw: bool
    egress: list[str]
    overlay2: str
    strace: bool
    nv: Values
    """The flags of nvproxy, by name without dashes."""
    program: str
    """Where native/nvsandbox.c is, if it started us."""


def from_values(v: Values, program: str = "") -> Globals:
    """Flags as parsed, with the defaults that depend on the environment."""
    if v["systrap_patching"]:
        os.environ[PATCHING] = v["systrap_patching"]  # whoever starts the Sentry inherits it
    return Globals(
        os.path.abspath(v["root"]) if v["root"] else default_root(), v["log"], v["log_format"], v["debug"],
        v["debug_log"], v["systemd_cgroup"], v["rootless"],
        v["platform"] or os.environ.get("NVSANDBOX_PLATFORM") or "auto", v["cpu_dma_latency"], v["network"], v["pcap"], v["net_rate"], v["net_raw"], list(v["egress"]), v["overlay2"],
        v["strace"], {k: v[k] for k in NVPROXY}, program,
    )  # fmt: skip


def default_root() -> str:
    run = os.environ.get("XDG_RUNTIME_DIR")
    root = os.geteuid() == 0 and (not run or userns.initial())  # rootless Podman's root is a user
    return "/run/nvsandbox" if root or not run else f"{run}/nvsandbox"


def fail(g: Globals | None, message: str) -> None:
    """One line on stderr and one in the log."""
    message = " ".join(message.split())
    _say(f"nvsandbox: {message}\n")
    if g is not None and g.log:
        _log(g, "error", message)


def debug(g: Globals, message: str) -> None:
    """A line for --debug: in the log, or on stderr."""
    _log(g, "debug", message)


def _log(g: Globals, level: str, message: str) -> None:
    import json
    import time

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if g.log_format == "json":
        line = json.dumps({"level": level, "msg": message, "time": now}, separators=(",", ":"))
    else:
        line = f'time="{now}" level={level} msg={json.dumps(message)}'
    if not g.log:
        _say(line + "\n")
        return
    try:
        fd = os.open(g.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, line.encode() + b"\n")
        finally:
            os.close(fd)
    except (OSError, ValueError) as e:
        _say(f"nvsandbox: open `{g.log}`: {e}\n")


def _say(line: str) -> None:
    try:
        os.write(2, line.encode("utf-8", "replace"))
    except OSError:
        pass
