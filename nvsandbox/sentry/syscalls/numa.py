"""NUMA memory policy on a machine with one node (Linux: mm/mempolicy.c; numa(7)).

Every policy that names no node but node 0 comes to the same.
"""

from __future__ import annotations

import errno
from typing import Final

from ..errors import SysErr
from ..kernel.task import Task
from ..mm.mm import TASK_SIZE, page_up
from ..mm.vma import PAGE
from .decode import CInt, CULong, Table, UserPtr, missing, partial

MPOL_DEFAULT: Final = 0
MPOL_PREFERRED: Final = 1
MPOL_BIND: Final = 2
MPOL_INTERLEAVE: Final = 3
MPOL_LOCAL: Final = 4
MPOL_PREFERRED_MANY: Final = 5
MODES: Final = range(6)
MODE_FLAGS: Final = 0xE000  # MPOL_F_STATIC_NODES, _RELATIVE_NODES, _NUMA_BALANCING
MPOL_F_NODE: Final = 1
MPOL_F_ADDR: Final = 2
MPOL_F_MEMS_ALLOWED: Final = 4
MBIND_FLAGS: Final = 7  # MPOL_MF_STRICT, _MOVE, _MOVE_ALL
MAX_NODES: Final = 4096 * 8  # bits of one page
CPU_BITS: Final = 64


def _nodes(t: Task, mask: int, maxnode: int) -> int:
    """A node mask of the application. Raises EINVAL, EFAULT."""
    if maxnode > MAX_NODES:
        raise SysErr(errno.EINVAL)
    bits = maxnode - 1 if maxnode else 0
    if not mask or bits <= 0:
        return 0
    raw = t.copy_in(mask, (bits + CPU_BITS - 1) // CPU_BITS * 8)
    return int.from_bytes(raw, "little") & ((1 << bits) - 1)


def _check(mode: int, nodes: int) -> None:
    """Raises EINVAL as mpol_new and mpol_set_nodemask do."""
    mode &= ~MODE_FLAGS
    if mode not in MODES:
        raise SysErr(errno.EINVAL)
    if mode in (MPOL_DEFAULT, MPOL_LOCAL):
        if nodes:
            raise SysErr(errno.EINVAL)
    elif not nodes & 1 and not (mode == MPOL_PREFERRED and not nodes):
        raise SysErr(errno.EINVAL)


def sys_set_mempolicy(t: Task, mode: CInt, mask: UserPtr, maxnode: CULong) -> int:
    """set_mempolicy(2)."""
    _check(mode, _nodes(t, mask, maxnode))
    return 0


def sys_mbind(
    t: Task, addr: CULong, length: CULong, mode: CInt, mask: UserPtr, maxnode: CULong, flags: CULong
) -> int:
    """mbind(2)."""
    if addr & (PAGE - 1) or flags & ~MBIND_FLAGS:
        raise SysErr(errno.EINVAL)
    size = page_up(length)
    if addr > TASK_SIZE - size:
        raise SysErr(errno.EINVAL)
    _check(mode, _nodes(t, mask, maxnode))
    if size and not t.mm.map.covered(addr, addr + size):
        raise SysErr(errno.EFAULT)
    return 0


def sys_get_mempolicy(
    t: Task, mode: UserPtr, mask: UserPtr, maxnode: CULong, addr: CULong, flags: CULong
) -> int:
    """get_mempolicy(2): the default policy; node 0 is the only one."""
    if flags & ~(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED):
        raise SysErr(errno.EINVAL)
    if mask and maxnode < 1:
        raise SysErr(errno.EINVAL)
    nodes = 0
    if flags & MPOL_F_MEMS_ALLOWED:
        if flags & (MPOL_F_NODE | MPOL_F_ADDR):
            raise SysErr(errno.EINVAL)
        nodes = 1
    elif flags & MPOL_F_ADDR:
        if t.mm.map.find(addr) is None:
            raise SysErr(errno.EFAULT)
    elif addr or flags & MPOL_F_NODE:
        raise SysErr(errno.EINVAL)
    if mode:
        t.copy_out(mode, MPOL_DEFAULT.to_bytes(4, "little"))
    if mask:
        size = min((maxnode - 1 + CPU_BITS - 1) // CPU_BITS * 8, PAGE)
        t.copy_out(mask, nodes.to_bytes(size, "little"))
    return 0


TABLE: Final[Table] = {
    237: partial("mbind", sys_mbind, "one node: policies are checked, not kept"),
    238: partial("set_mempolicy", sys_set_mempolicy, "one node: policies are checked, not kept"),
    239: partial("get_mempolicy", sys_get_mempolicy, "one node: the default policy"),
    256: missing("migrate_pages", "NUMA policy"),
    279: missing("move_pages", "NUMA policy"),
}
