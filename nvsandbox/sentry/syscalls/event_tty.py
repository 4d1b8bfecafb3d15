"""vhangup(2)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from ..fs.tty import vhangup
from ..kernel.creds import CAP_SYS_TTY_CONFIG
from .decode import Table, full

if TYPE_CHECKING:
    from ..kernel.task import Task


def sys_vhangup(t: Task) -> int:
    if not t.creds.capable(CAP_SYS_TTY_CONFIG):
        raise SysErr(errno.EPERM)
    vhangup(t)
    return 0


TABLE: Final[Table] = {153: full("vhangup", sys_vhangup)}
