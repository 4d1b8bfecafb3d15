"""Matches and targets of x_tables by name and revision, for iptables and for nftables' compatibility expressions (Linux: net/netfilter/x_tables.c)."""

from __future__ import annotations

import errno
from typing import Final

from ...errors import SysErr
from .rules import Op
from .xt_context import Context
from .xt_matches import MATCHES as BASIC
from .xt_matches import Kind
from .xt_recent import mss, packet_type, recent, routing
from .xt_targets import TARGETS, Target

MATCHES: Final[dict[tuple[bytes, int], list[Kind]]] = {
    **BASIC, (b"recent", 0): [Kind(212, 0, recent)], (b"recent", 1): [Kind(228, 0, recent)], (b"pkttype", 0): [Kind(8, 0, packet_type)],
    (b"tcpmss", 0): [Kind(5, 0, mss)], (b"rt", 0): [Kind(280, 16, routing)],
}  # fmt: skip


def align(size: int) -> int:
    return (size + 7) & ~7


def _match(name: bytes, revision: int, family: int) -> Kind | None:
    for k in MATCHES.get((name, revision), ()):
        if k.family in (0, family):
            return k
    return None


def _target(name: bytes, revision: int, family: int) -> Target | None:
    for k in TARGETS.get((name, revision), ()):
        if k.family in (0, family):
            return k
    return None


def match(name: bytes, revision: int, data: bytes, context: Context) -> Op:
    """Raises ENOENT, EINVAL."""
    k = _match(name, revision, context.family)
    if k is None:
        raise SysErr(errno.ENOENT)
    if len(data) != align(k.size):
        raise SysErr(errno.EINVAL)
    return k.parse(data, context)


def target(
    name: bytes, revision: int, data: bytes, context: Context, table: bytes, hooks: int
) -> Op:
    """``hooks``: from which the rule can be reached. Raises ENOENT, EINVAL."""
    k = _target(name, revision, context.family)
    if k is None:
        raise SysErr(errno.ENOENT)
    if len(data) != align(k.size) or (k.table and k.table != table) or hooks & ~k.hooks:
        raise SysErr(errno.EINVAL)
    return k.parse(data, context)


def revision(name: bytes, number: int, is_target: bool, family: int) -> None:
    """Whether there is this revision. Raises ENOENT (nothing of the name), EPROTONOSUPPORT (others of it)."""
    if is_target:
        if _target(name, number, family) is not None:
            return
        others = any(_target(n, r, family) is not None for n, r in TARGETS if n == name)
    else:
        if _match(name, number, family) is not None:
            return
        others = any(_match(n, r, family) is not None for n, r in MATCHES if n == name)
    raise SysErr(errno.EPROTONOSUPPORT if others else errno.ENOENT)


def match_names(family: int) -> list[bytes]:
    """For /proc/net/ip_tables_matches."""
    return sorted({n for n, r in MATCHES if _match(n, r, family) is not None})


def target_names(family: int) -> list[bytes]:
    return sorted({n for n, r in TARGETS if _target(n, r, family) is not None} | {b"ERROR"})
