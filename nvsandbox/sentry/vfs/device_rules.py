"""Which devices a container may use (Linux: security/device_cgroup.c; OCI: linux.resources.devices).

The host's device control group knows nothing of the application's opens; this is where its rules hold. They don't restrict mknod: the
runtime allows every container to make nodes, as runc does.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SysErr

if TYPE_CHECKING:
    from ..kernel.task import Task
    from .inode import Inode


class DeviceRule(NamedTuple):
    """``kind``: a, b or c. ``major``, ``minor``: -1 for any. ``access``: of r, w and m."""

    allow: bool
    kind: str
    major: int
    minor: int
    access: str


def check_device(t: Task, i: Inode, wanted: str) -> None:
    """Raises EPERM if the container may not have ``wanted`` (r, w, rw) of a device. The last rule that fits decides."""
    rules = t.tg.container.device_rules
    if not rules:
        return
    kind = "b" if i.mode & 0o170000 == stat.S_IFBLK else "c"
    for access in wanted:
        if not _allowed(rules, kind, os.major(i.rdev), os.minor(i.rdev), access):
            raise SysErr(errno.EPERM)


def _allowed(rules: list[DeviceRule], kind: str, major: int, minor: int, access: str) -> bool:
    for r in reversed(rules):
        if (
            access in r.access
            and r.kind in ("a", kind)
            and (r.kind == "a" or (r.major in (-1, major) and r.minor in (-1, minor)))
        ):
            return r.allow
    return True
