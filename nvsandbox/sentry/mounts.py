"""The mounts a sandbox starts with: the gofer's, and the file systems of our own."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .fs.cgroupfs import make_cgroupfs
from .fs.devpts import make_devpts
from .fs.pidfd import PidFd
from .fs.proc import make_proc
from .fs.rootfs import Builder
from .fs.sysfs import make_sysfs
from .fs.tty import session_leader_exit
from .ipc.mqueue import MQUEUES
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


def _proc(k: Kernel, b: Builder, m: InnerMount) -> None:
    fs = make_proc(k)
    b.mount(m.target, fs, fs.root, m.flags | MS_RELATIME)


def _sysfs(k: Kernel, b: Builder, m: InnerMount) -> None:
    fs = make_sysfs(k)
    b.mount(m.target, fs, fs.root, m.flags | MS_RELATIME)


def _devpts(k: Kernel, b: Builder, m: InnerMount) -> None:
    fs = make_devpts(m.data or b"gid=5,mode=620,ptmxmode=666")
    b.mount(m.target, fs, fs.root, m.flags | MS_RELATIME)


def _cgroup(k: Kernel, b: Builder, m: InnerMount) -> None:
    fs = make_cgroupfs(k)
    b.mount(m.target, fs, fs.root, m.flags | MS_RELATIME)


def _mqueue(k: Kernel, b: Builder, m: InnerMount) -> None:
    b.mount(m.target, MQUEUES, MQUEUES.root, m.flags | MS_RELATIME)


MOUNTERS: Final[dict[str, Mounter]] = {
    "tmpfs": _tmpfs, "dev": _dev, "proc": _proc, "sysfs": _sysfs, "devpts": _devpts, "cgroup": _cgroup,
    "cgroup2": _cgroup, "mqueue": _mqueue,
}  # fmt: skip


def mount_all(k: Kernel, b: Builder, config: SandboxConfig) -> None:
    """Mounts everything of ``config`` below the root, in order. Raises SysErr for a target that can't be made."""
    k.tty_hangup = session_leader_exit
    k.pidfd_factory = PidFd
    for i, hm in enumerate(config.mounts, 1):
        b.bind_gofer(hm.target, i, hm.readonly)
    for m in config.inner:
        mounter = MOUNTERS.get(m.type)
        if mounter is None:
            log.warning("no file system of type %s", m.type)
            continue
        mounter(k, b, m)
