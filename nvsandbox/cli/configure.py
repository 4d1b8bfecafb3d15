"""From flags to a sandbox's configuration."""

from __future__ import annotations

import os

from ..nvproxy.options import GpuOptions, set_gpus, wanted
from ..sandbox.config import DEFAULT_INNER, Failure, HostMount, InnerMount, SandboxConfig
from .args import Values
from .globals import Globals

DEFAULT_ENV = {
    b"PATH": b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    b"HOME": b"/root",
}

MAX_LATENCY = 2_000_000_000  # µs, what the kernel takes
MIN_RATE, MAX_RATE = 0.1, 100_000  # Mbit/s


def environment(extra: tuple[str, ...], inherit: bool) -> list[bytes]:
    """The command's environment: the host's when its root is used, a small default otherwise."""
    env = dict(os.environb) if inherit else dict(DEFAULT_ENV)
    if not inherit and b"TERM" in os.environb:
        env[b"TERM"] = os.environb[b"TERM"]
    for item in extra:
        name, eq, value = item.partition("=")
        if not name:
            raise Failure(f"bad variable `{item}`: a name is needed")
        if eq:
            env[os.fsencode(name)] = os.fsencode(value)
        elif os.fsencode(name) in os.environb:
            env[os.fsencode(name)] = os.environb[os.fsencode(name)]
    return [k + b"=" + v for k, v in env.items()]


def volumes(specs: tuple[str, ...]) -> list[HostMount]:
    """``SRC:DST[:ro]`` as Docker writes it."""
    out = []
    for s in specs:
        parts = s.split(":")
        if len(parts) not in (2, 3) or not parts[0] or not parts[1].startswith("/"):
            raise Failure(f"bad volume `{s}`: SRC:DST[:ro] is expected, DST absolute")
        mode = parts[2] if len(parts) == 3 else "rw"
        if mode not in ("ro", "rw"):
            raise Failure(f"bad volume `{s}`: mode `{mode}` is neither ro nor rw")
        src = os.path.abspath(parts[0])
        if not os.path.exists(src):
            raise Failure(f"bad volume `{s}`: `{src}`: no such file or directory")
        out.append(
            HostMount(src, os.fsencode(parts[1]), mode == "ro", mode == "rw", int(mode == "ro"))
        )
    return out


def gpu_options(g: Globals, gpus: str = "") -> GpuOptions | None:
    """nvproxy's flags; None: no GPU whatever is asked."""
    if g.nv["nvproxy"] == "off":
        return None
    return GpuOptions(
        gpus=gpus, allowed=g.nv["nvproxy_allowed_driver_capabilities"], memory=g.nv["gpu_memory"],
        timeslice=g.nv["gpu_timeslice"], priority=g.nv["gpu_priority"],
        driver_version=g.nv["nvproxy_driver_version"], policy_file=g.nv["nvproxy_policy"],
        driver_root=g.nv["nvproxy_driver_root"] or os.environ.get("NVSANDBOX_DRIVER_ROOT") or "/",
        audit=g.nv["nvproxy_audit"], trace=g.nv["nvproxy_trace"],
        cdi_directories=tuple(d for d in g.nv["cdi_spec_dirs"].split(",") if d),
    )  # fmt: skip


def give_gpus(
    config: SandboxConfig, env: list[bytes], own: tuple[str, ...], gpus: str, memory: str
) -> None:
    """GPUs for a command that asks for them, by flag or by a variable of its ``own`` (not one of the host's). Raises Failure."""
    o = config.gpu_options
    if o is None:
        if gpus not in ("", "none"):
            raise Failure("--gpus: contradicts --nvproxy=off")
        return
    set_gpus(o, gpus)
    o.required = bool(gpus)
    o.memory = memory or o.memory
    if memory and not gpus:
        raise Failure("--gpu-memory: needs --gpus")
    if gpus or wanted(map(os.fsencode, own), (), {}):
        from ..nvproxy.inject import apply

        apply(config, env, o)


def sandbox_config(
    g: Globals, rootfs: str, hostname: str, volume: tuple[str, ...] = ()
) -> SandboxConfig:
    """Raises Failure for what can't be."""
    if not os.path.isdir(rootfs):
        raise Failure(
            f"rootfs `{rootfs}`: "
            + ("not a directory" if os.path.exists(rootfs) else "no such file or directory")
        )
    needs = "pcap" if g.pcap else "egress" if g.egress else "net-rate" if g.net_rate else ""
    if needs and g.network not in ("sandbox", "auto"):
        raise Failure(f"--{needs}: needs --network=sandbox")
    for rule in g.egress:
        from ..sentry.net import egress

        try:
            egress.parse(rule)
        except ValueError as e:
            raise Failure(f"--egress `{rule}`: {e}") from None
    try:
        rate = float(g.net_rate or 0)
    except ValueError:
        rate = -1
    if g.net_rate and not MIN_RATE <= rate <= MAX_RATE:
        raise Failure(
            f"--net-rate `{g.net_rate}`: expected a number of Mbit/s, {MIN_RATE} to {MAX_RATE}"
        )
    if g.cpu_dma_latency is not None and not 0 <= g.cpu_dma_latency <= MAX_LATENCY:
        raise Failure(f"--cpu-dma-latency `{g.cpu_dma_latency}`: not between 0 and {MAX_LATENCY}")
    through = g.overlay2 == "none"
    if g.overlay2 not in ("none", "root:self", "root:memory", "all:memory"):
        raise Failure(f"--overlay2 `{g.overlay2}`: expected none, root:self or root:memory")
    root = HostMount(os.path.abspath(rootfs), b"/", not through, through)
    inner: list[InnerMount] = list(DEFAULT_INNER)
    config = SandboxConfig(
        root,
        volumes(volume),
        inner,
        hostname.encode(),
        network=g.network,
        egress=g.egress,
        net_rate=int(rate * 125_000),
        net_raw=g.net_raw,
        pcap=os.path.abspath(g.pcap) if g.pcap else "",
        platform=g.platform,
        cpu_dma_latency=-1 if g.cpu_dma_latency is None else g.cpu_dma_latency,
        strace=g.strace,
        debug=g.debug,
        log_path=g.debug_log or (g.log if g.debug else ""),
    )
    config.gpu_options = gpu_options(g)
    return config


def command_config(g: Globals, v: Values) -> SandboxConfig:
    """``sandbox_config`` of ``do`` and ``warm``. Raises Failure."""
    config = sandbox_config(g, v["rootfs"], v["hostname"], v["volume"])
    if config.network == "auto":  # a way out is made only when it is asked for
        needs = (
            "pcap"
            if config.pcap
            else "egress"
            if config.egress
            else "net-rate"
            if config.net_rate
            else ""
        )
        if needs:
            raise Failure(f"--{needs}: needs --network=sandbox")
        config.network = "none"
    return config
