"""nvproxy's hook into a Sentry that starts: its engine, the devices it answers, what it adds to /proc and /sys, its share of the filter."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

import msgspec

from ..platform.bpf import Rule, allow, eq
from ..platform.native._native import lib
from ..sentry.errors import SysErr
from ..sentry.mm.vma import SharedAnon
from ..sentry.vfs.special import register_chrdev
from .abi import database
from .engine import Engine
from .model import GpuConfig
from .plan import Abi
from .policy import table

if TYPE_CHECKING:
    from ..sentry.kernel.container import Container
    from ..sentry.kernel.kernel import Kernel
    from ..sentry.kernel.task import Task
    from ..sentry.vfs.path import Path
    from .devices import NvFile

NR_IOCTL: Final = 16
IN_IOCTL: Final = 0x30
"""proto.h NV_IN_IOCTL."""
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(GpuConfig)


def warm_up(config: GpuConfig) -> None:
    """What the Sentry couldn't read once it is confined."""
    table()
    database().release(config.abi)


@final
class Gpus:
    """The engines of a Sentry: one for a sandbox, or in a pod one for each container that has GPUs.

    Device numbers are the same for all; whose engine answers is decided by the mount namespace of who opens.
    """

    def __init__(self, k: Kernel, config: GpuConfig) -> None:
        """In the confined Sentry, before its file tree is made."""
        self.k = k
        self.standby = not config.devices
        self.rules = rules(Abi(database().release(config.abi), config.policy))
        """What the seccomp filter needs besides the usual."""
        self.engines: dict[str, Engine] = {}
        self._of: dict[Container, Engine] = {}
        self._release = config.abi
        SharedAnon.backed = True
        if not self.standby:
            self.engines[""] = self._engine(config, k.container)

    @staticmethod
    def started() -> None:
        """The platform runs: stubs are told to send an ioctl's argument along with the call."""
        lib.nv_set_intab(NR_IOCTL, IN_IOCTL)

    def _engine(self, config: GpuConfig, c: Container) -> Engine:
        for d in config.devices:
            register_chrdev(d.major, d.minor, self._open)
        c.proc_files |= {p.encode(): content for p, content in config.proc.items()}
        c.sys_files |= {p.encode(): content for p, content in config.sys.items()}
        c.sys_links |= {p.encode(): to.encode() for p, to in config.sys_links.items()}
        return Engine(self.k, config)

    def _open(self, t: Task, path: Path, flags: int) -> NvFile:
        e = self._of.get(t.tg.container) or self.engines.get("")
        if e is None:
            raise SysErr(errno.EPERM)  # as the device control group answers
        return e.open(t, path, flags)

    def join(self, name: str, data: bytes, fds: list[int], c: Container) -> None:
        """GPUs for container ``name`` of a pod: what ``message`` has made, with the descriptors it names. Raises ValueError."""
        if not self.standby:
            raise ValueError("the pod's sandbox was not started for GPUs")
        config = _decoder.decode(data)
        if config.abi != self._release:
            raise ValueError("another release of the driver's ABI than the pod's")
        rest = list(fds)
        config.broker_fd = rest.pop(0) if config.broker_fd >= 0 and rest else -1
        config.audit_fd = rest.pop(0) if config.audit_fd >= 0 and rest else -1
        self.engines[name] = self._of[c] = self._engine(config, c)

    def removed(self, name: str, c: Container) -> None:
        """The container is gone; files that are still open go with its processes."""
        self._of.pop(c, None)
        e = self.engines.pop(name, None)
        if e is not None:
            e.end()


def message(config: GpuConfig) -> tuple[bytes, list[int]]:
    """For ``Gpus.join``: (data, descriptors that go with it)."""
    return _encoder.encode(config), [fd for fd in (config.broker_fd, config.audit_fd) if fd >= 0]


def rules(abi: Abi) -> list[Rule]:
    """ioctl numbers of the enabled set, and no others: generated from policy and ABI."""
    frontend, uvm = abi.host_ioctls()
    return [allow(16, eq(1, *numbers)) for numbers in (frontend, uvm) if numbers]
