"""The mounts a sandbox starts with: the gofer's, and the file systems of our own."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from ..failure import Failure
from .errors import SysErr
from .fs.cgroupfs import make_cgroupfs
from .fs.devpts import make_devpts
from .fs.pidfd import PidFd
from .fs.proc import make_proc
from .fs.proc_sys import FIXED, configure
from .fs.rootfs import Builder, exists
from .fs.sysfs import make_sysfs
from .fs.tmpfs_file import MemReg
from .fs.tmpfs_inode import MemDir, MemNode
from .fs.tty import session_leader_exit
from .ipc.namespace import INIT_IPC
from .net import sysctl
from .vfs.mount import MS_SHARED, MS_SLAVE, MS_UNBINDABLE
from .vfs.path import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_RELATIME, Mount
from .vfs.peers import make_private, make_shared, make_slave, subtree

MS_REC: Final = 16384

if TYPE_CHECKING:
    from ..sandbox.config import DeviceNode, HostMount, InnerMount, SandboxConfig
    from .kernel.kernel import Kernel

log = logging.getLogger("nvsandbox.sentry")

NO_CONSOLE: Final = b"noconsole"  # a /dev for programs without a terminal
Mounter = Callable[["Kernel", Builder, "InnerMount"], None]


def _tmpfs(k: Kernel, b: Builder, m: InnerMount) -> None:
    fs = b.mount_tmpfs(m.target, m.data, m.flags | MS_RELATIME)
    if m.source:
        fs.source = m.source


def _dev(k: Kernel, b: Builder, m: InnerMount) -> None:
    dev = b.mount_dev(m.target)
    b.place(m.target, True).mount.flags = m.flags | MS_RELATIME
    b.add_device(dev, b"tty", stat.S_IFCHR | 0o666, 5 << 8)
    if m.data != NO_CONSOLE:
        b.add_device(dev, b"console", stat.S_IFCHR | 0o600, 5 << 8 | 1)


def _proc(k: Kernel, b: Builder, m: InnerMount) -> None:
    fs = make_proc(k, b.boot.tg.container)
    b.mount(m.target, fs, fs.root, m.flags | MS_RELATIME)


def _sysfs(k: Kernel, b: Builder, m: InnerMount) -> None:
    fs = make_sysfs(k, b.boot.tg.container)
    b.mount(m.target, fs, fs.root, m.flags | MS_RELATIME)


def _devpts(k: Kernel, b: Builder, m: InnerMount) -> None:
    fs = make_devpts(m.data or b"gid=5,mode=620,ptmxmode=666")
    b.mount(m.target, fs, fs.root, m.flags | MS_RELATIME)


def _mqueue(k: Kernel, b: Builder, m: InnerMount) -> None:
    fs = INIT_IPC.mqueues
    b.mount(m.target, fs, fs.root, m.flags | MS_RELATIME)


MOUNTERS: Final[dict[str, Mounter]] = {
    "tmpfs": _tmpfs, "dev": _dev, "proc": _proc, "sysfs": _sysfs, "devpts": _devpts, "mqueue": _mqueue,
}  # fmt: skip


def mount_all(k: Kernel, b: Builder, config: SandboxConfig) -> None:
    """Mounts everything of ``config`` below the root, in order. Raises Failure for one that can't be."""
    k.tty_hangup = session_leader_exit
    k.pidfd_factory = PidFd
    set_sysctls(k, config.sysctl)
    served = {id(hm): i for i, hm in enumerate(config.mounts, 1)}
    for m in config.sequence or [*config.mounts, *config.inner]:
        try:
            _mount_one(k, b, config, m, served.get(id(m)))
            if m.propagation:
                set_propagation(b.place(m.target, True).mount, m.propagation)
        except SysErr as e:
            where, why = m.target.decode("utf-8", "replace"), os.strerror(e.errno).lower()
            raise Failure(f"mount on `{where}`: {why}") from None
    for d in config.devices:
        _device(b, d)
    for link, target in config.links.items():
        _link(b, link, target)
    for path, content in config.files.items():
        _file(b, path, content)
    for path in config.masked:
        _mask(b, path)
    for path in config.readonly_paths:
        if exists(b, path):
            b.bind(path, path, MS_RELATIME | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if config.root_propagation:
        set_propagation(b.ns.root_path().mount, config.root_propagation)


def set_propagation(m: Mount, kind: int) -> None:
    """``kind``: MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, with MS_REC for the mounts below, too (mount(2))."""
    for x in subtree(m) if kind & MS_REC else [m]:
        if kind & MS_SHARED:
            make_shared(x)
        elif kind & MS_SLAVE:
            make_slave(x)
        else:
            make_private(x, bool(kind & MS_UNBINDABLE))


def _mount_one(
    k: Kernel, b: Builder, config: SandboxConfig, m: HostMount | InnerMount, index: int | None
) -> None:
    """``index``: of the gofer's mount, None for one of ours."""
    if index is not None:
        b.bind_gofer(m.target, index, bool(m.flags & MS_RDONLY), m.flags | MS_RELATIME)
        return
    m = cast("InnerMount", m)
    if m.type in ("cgroup", "cgroup2"):
        cg = make_cgroupfs(k, b.boot.tg.container)
        b.mount(m.target, cg, cg.root, m.flags | MS_RELATIME)
    elif m.type in MOUNTERS:
        MOUNTERS[m.type](k, b, m)
    else:
        log.warning("no file system of type %s", m.type)


def _device(b: Builder, d: DeviceNode) -> None:
    """A device node of the OCI spec; one that is there already stays."""
    where, _, name = d.path.rstrip(b"/").rpartition(b"/")
    dir = b.place(where, True).inode
    if not name or not isinstance(dir, MemDir) or name in dir.entries:
        return
    node = MemNode(dir.mem, d.mode, d.uid, d.gid, 0, time.time_ns())
    node.rdev = d.rdev
    dir.add(name, node)


def _link(b: Builder, path: bytes, target: bytes) -> None:
    """A symbolic link, in place of one to somewhere else (ldconfig does that, too); anything else that is there stays."""
    where, _, name = path.rpartition(b"/")
    at = b.place(where, True)
    dir = at.inode
    if not name or not dir.is_dir():
        return
    try:
        old = dir.lookup(b.boot, name)
    except SysErr:
        dir.symlink(b.boot, name, target)
        return
    if stat.S_ISLNK(old.mode) and old.readlink(b.boot) != target:
        dir.unlink(b.boot, name, old)
        at.dentry.drop_child(name)
        dir.symlink(b.boot, name, target)


def _file(b: Builder, path: bytes, content: bytes) -> None:
    """A file with this content in place of what is there; only where writes go to memory."""
    where, _, name = path.rpartition(b"/")
    at = b.place(where, True)
    dir = at.inode
    if not name or not isinstance(dir, MemDir):
        return
    node = MemReg(dir.mem, stat.S_IFREG | 0o644, now=time.time_ns())
    node.buf, node.size = bytearray(content), len(content)
    dir.entries[name] = node
    at.dentry.drop_child(name)


def _mask(b: Builder, path: bytes) -> None:
    """Hides a path: a directory under an empty read-only tmpfs, anything else under /dev/null. None is no error."""
    try:
        at = b.find(path)
    except SysErr:
        return
    if at.inode.is_dir():
        b.mount_tmpfs(path, b"size=0,mode=755", MS_RELATIME | MS_RDONLY)
    elif exists(b, b"/dev/null"):
        b.bind(b"/dev/null", path, MS_RELATIME | MS_RDONLY)


def set_sysctls(k: Kernel, wanted: dict[bytes, bytes]) -> None:
    """OCI sysctls, before /proc is made: shown there, obeyed where something here reads them."""
    for name, value in wanted.items():
        if name == b"kernel.hostname":
            k.uts.hostname = value[:64]
        elif name == b"kernel.domainname":
            k.uts.domainname = value[:64]
        path = name.replace(b".", b"/")
        try:
            if configure(path, value):
                continue
        except SysErr:
            continue  # not a number, or too large for here: the default stays
        FIXED[path] = value
        sysctl.obey(name, value)
