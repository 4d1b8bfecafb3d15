"""nvproxy's hook into a Sentry that starts: its engine, the devices it answers, what it adds to /proc and /sys, its share of the filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..platform.bpf import Rule, allow, eq
from ..sentry.fs import proc, sysfs
from ..sentry.mm.vma import SharedAnon
from ..sentry.vfs.special import register_chrdev
from .abi import database
from .engine import Engine
from .plan import Abi
from .policy import table

if TYPE_CHECKING:
    from ..sentry.kernel.kernel import Kernel
    from .model import GpuConfig


def warm_up(config: GpuConfig) -> None:
    """What the Sentry couldn't read once it is confined."""
    table()
    database().release(config.abi)


def attach(k: Kernel, config: GpuConfig) -> tuple[Engine, list[Rule]]:
    """In the confined Sentry, before its file tree is made. The engine, and the rules the seccomp filter needs besides the usual."""
    engine = Engine(k, config)
    for d in config.devices:
        register_chrdev(d.major, d.minor, engine.open)
    SharedAnon.backed = True
    proc.EXTRA.update({p.encode(): content for p, content in config.proc.items()})
    sysfs.EXTRA.update({p.encode(): content for p, content in config.sys.items()})
    sysfs.EXTRA_LINKS.update({p.encode(): to.encode() for p, to in config.sys_links.items()})
    return engine, rules(engine.abi)


def rules(abi: Abi) -> list[Rule]:
    """ioctl numbers of the enabled set, and no others: generated from policy and ABI."""
    frontend, uvm = abi.host_ioctls()
    return [allow(16, eq(1, *numbers)) for numbers in (frontend, uvm) if numbers]
