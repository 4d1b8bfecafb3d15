"""The mounts a sandbox starts with: the gofer's, and the file systems of our own."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .fs.rootfs import Builder
from .vfs.path import MS_RELATIME

if TYPE_CHECKING:
    from ..sandbox.config import InnerMount, SandboxConfig
    from .kernel.kernel import Kernel

log = logging.getLogger("nvsandbox.sentry")

Mounter = Callable[["Kernel", Builder, "InnerMount"], None]


def _tmpfs(k: Kernel, b: Builder, m: InnerMount) -> None:
    b.mount_tmpfs(m.target, m.data, m.flags | MS_RELATIME)


def _dev(k: Kernel, b: Builder, m: InnerMount) -> None:
    dev = b.mount_dev(m.target)
    b.add_device(dev, b"tty", stat.S_IFCHR | 0o666, 5 << 8)
    b.add_device(dev, b"console", stat.S_IFCHR | 0o600, 5 << 8 | 1)


MOUNTERS: Final[dict[str, Mounter]] = {"tmpfs": _tmpfs, "dev": _dev}


def mount_all(k: Kernel, b: Builder, config: SandboxConfig) -> None:
    """Mounts everything of ``config`` below the root, in order. Raises SysErr for a target that can't be made."""
    for i, hm in enumerate(config.mounts, 1):
        b.bind_gofer(hm.target, i, hm.readonly)
    for m in config.inner:
        mounter = MOUNTERS.get(m.type)
        if mounter is None:
            log.warning("no file system of type %s", m.type)
            continue
        mounter(k, b, m)
