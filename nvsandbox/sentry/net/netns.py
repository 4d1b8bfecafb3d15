"""The end of network namespaces that programs made (Linux: net/core/net_namespace.c, cleanup_net; network_namespaces(7)).

A namespace lives while a process is in it, a descriptor or a mount names it, or a socket is of it. Only those with ends of veth pairs
have to be told: an end that dies takes the other one with it, wherever that is. They are looked for when a process ends, leaves a
namespace or unmounts something; that costs nothing while there are no pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..fs.nsfs import NamespaceFile, NamespaceInode
from ..vfs.mount import MountNamespace
from ..vfs.peers import subtree
from .configure import of
from .socket import Socket
from .state import NET, NetState
from .veth import PAIRED

if TYPE_CHECKING:
    from ..kernel.kernel import Kernel


def end_unused(k: Kernel) -> None:
    """Pairs that reach into a namespace which is no more are gone."""
    if not PAIRED:
        return
    used = _used(k)
    for net in [n for n in PAIRED if n not in used]:
        for i in list(net.ifaces.values()):
            if i.pair is not None and i.index in net.ifaces:
                of(net).unmake(i)


def _used(k: Kernel) -> set[NetState]:
    used = {NET}
    trees: set[MountNamespace] = set()
    files = set()
    for t in k.every_task():
        if not t.exiting:
            used.add(t.ns.net)
            trees.add(t.fs.ns)
            files.add(t.files)
    for table in files:
        for f in table.files.values():
            if isinstance(f, Socket):
                used.add(f.net)
            elif isinstance(f, NamespaceFile):
                if isinstance(f.ns, NetState):
                    used.add(f.ns)
                elif isinstance(f.ns, MountNamespace):
                    trees.add(f.ns)
    for tree in trees:
        for m in subtree(tree.root):
            i = m.root.inode
            if isinstance(i, NamespaceInode) and isinstance(i.ns, NetState):
                used.add(i.ns)
    return used
