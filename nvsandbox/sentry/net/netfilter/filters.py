"""All of a network namespace's rules: iptables' tables and nftables', and the engine they are loaded into."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ...errors import SysErr
from ...kernel.creds import CAP_NET_ADMIN
from ...kernel.userns import INIT_USER
from .hooks import Base, Netfilter
from .nft_tables import Ruleset

if TYPE_CHECKING:
    from ...kernel.task import Task
    from ..stack.stack import Stack
    from ..state import NetState
    from .legacy import Table

# Who has packets of a namespace pass an engine (loopback.py): a list, since that needs what sockets are made of.
OTHERS: Final = 4  # namespaces that programs make have this part of what the sandbox's own may have
ATTACH: Final[list[Callable[[NetState, Netfilter | None], Stack]]] = []


@final
class Filters:
    """``share``: what part of the sandbox's limits the namespace has. ``tables``: iptables', by family (4, 16) and name. ``nft``: nftables' tables."""

    __slots__ = ("engine", "net", "nft", "share", "tables")

    def __init__(self, net: NetState) -> None:
        self.net = net
        self.engine: Netfilter | None = None
        self.share = 1 if net.owner is INIT_USER and net.maker < 0 else OTHERS
        self.nft = Ruleset(self.share)
        self.tables: dict[tuple[int, bytes], Table] = {}

    def stack(self) -> Stack:
        """The namespace's, made if it has none."""
        return ATTACH[0](self.net, self.net.stack.nf if self.net.stack is not None else None)

    def changed(self) -> None:
        """Loads what there is now; a namespace whose rules say nothing has none."""
        chains: list[Base] = []
        tracking, trivial = False, True
        for t in self.tables.values():
            chains += t.chains
            tracking = tracking or t.tracks
            trivial = trivial and t.trivial
        more = self.nft.bases()
        chains += more
        trivial = trivial and not more
        tracking = tracking or self.nft.tracks()
        e = self.engine
        if e is None:
            if trivial:
                return
            e = self.engine = Netfilter(ATTACH[0](self.net, None))
            e.table.limit //= self.share
        e.load(chains, tracking)
        ATTACH[0](self.net, None if trivial else e)


def of(net: NetState) -> Filters:
    f = net.filters
    if f is None:
        f = net.filters = Filters(net)
    return f


def need_admin(t: Task, net: NetState) -> None:
    """Raises EPERM."""
    if not t.creds.ns_capable(net.administrator(), CAP_NET_ADMIN):
        raise SysErr(errno.EPERM)
