"""Peer groups of mounts (Linux: fs/pnode.c; mount_namespaces(7), "Shared subtrees"). What passes between them is in ``propagation.py``.

A shared mount is in a ``PeerGroup`` with its copies. A group or a single mount may be the slave of another group: it hears of what
is mounted there and is not heard. A namespace that no process is in any more hears nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from .path import Mount

_ids = 0


@final
class PeerGroup:
    """``slaves``: single mounts, ``groups``: those that are shared among themselves too."""

    __slots__ = ("groups", "id", "master", "peers", "slaves")

    def __init__(self, master: PeerGroup | None) -> None:
        global _ids
        _ids += 1
        self.id = _ids
        self.master = master
        self.peers: dict[Mount, None] = {}
        self.slaves: dict[Mount, None] = {}
        self.groups: dict[PeerGroup, None] = {}
        if master is not None:
            master.groups[self] = None

    def _dissolve(self) -> None:
        """The last peer is gone: whoever was its slave is its master's."""
        up = self.master
        if up is not None:
            del up.groups[self]
        for m in list(self.slaves):
            m.master = up
            if up is not None:
                up.slaves[m] = None
        for g in list(self.groups):
            g.master = up
            if up is not None:
                up.groups[g] = None
        self.slaves.clear()
        self.groups.clear()

    def remove(self, m: Mount) -> None:
        del self.peers[m]
        if not self.peers:
            self._dissolve()

    def receivers(self) -> Iterator[Mount]:
        """Every mount that hears of what is mounted on one of the peers, those included."""
        for m in (*self.peers, *self.slaves):
            if lives(m):
                yield m
        for g in list(self.groups):
            yield from g.receivers()


def lives(m: Mount) -> bool:
    """Whether some process is in its namespace."""
    return m.ns is not None and bool(m.ns.contexts)


def copy_type(old: Mount, new: Mount) -> None:
    """A copy is a peer of a shared mount, and the slave of what the original is the slave of."""
    new.unbindable = old.unbindable
    new.group, new.master = old.group, old.master
    if new.group is not None:
        new.group.peers[new] = None
    elif new.master is not None:
        new.master.slaves[new] = None


def make_shared(m: Mount) -> None:
    m.unbindable = False
    if m.group is None:
        if m.master is not None:
            del m.master.slaves[m]
        m.group, m.master = PeerGroup(m.master), None
        m.group.peers[m] = None


def make_slave(m: Mount) -> None:
    """Of its peers; of what these are slaves of, if it has none."""
    m.unbindable = False
    g = m.group
    if g is None:
        return
    m.group = None
    master = g if len(g.peers) > 1 else g.master
    g.remove(m)
    m.master = master
    if master is not None:
        master.slaves[m] = None


def make_private(m: Mount, unbindable: bool = False) -> None:
    g, master = m.group, m.master
    m.group = m.master = None
    m.unbindable = unbindable
    if g is not None:
        g.remove(m)
    elif master is not None:
        del master.slaves[m]


def subtree(m: Mount) -> Iterator[Mount]:
    """``m`` and all mounts below it."""
    yield m
    for c in list(m.children.values()):
        yield from subtree(c)
