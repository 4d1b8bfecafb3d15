"""/sys/class/net: the interfaces there are (Linux: net/core/net-sysfs.c; Documentation/ABI/testing/sysfs-class-net)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..net.state import IFF_RUNNING, Iface
from ..vfs.inode import FileSystem, Inode
from ..vfs.synthetic import DynDir, GenFile, StaticDir, SynthLink

if TYPE_CHECKING:
    from ..kernel.task import Task


def _mac(raw: bytes) -> bytes:
    return b":".join(b"%02x" % b for b in raw)


def _operstate(i: Iface) -> bytes:
    return b"unknown" if i.index == 1 else b"up" if i.flags & IFF_RUNNING else b"down"


STATISTICS: Final = {
    b"rx_packets": 0,
    b"rx_bytes": 1,
    b"tx_packets": 2,
    b"tx_bytes": 3,
    b"tx_dropped": 4,
}
ZERO: Final = (b"rx_errors", b"tx_errors", b"rx_dropped", b"multicast", b"collisions")
TEXTS: Final[dict[bytes, Callable[[Iface], bytes]]] = {
    b"address": lambda i: _mac(i.mac), b"addr_len": lambda i: b"6", b"dev_id": lambda i: b"0x0",
    b"broadcast": lambda i: _mac(bytes(6) if i.index == 1 else b"\xff" * 6),
    b"carrier": lambda i: b"%d" % bool(i.flags & IFF_RUNNING or i.index == 1), b"dormant": lambda i: b"0",
    b"flags": lambda i: b"0x%x" % (i.flags & 0xFFFF & ~IFF_RUNNING), b"ifindex": lambda i: b"%d" % i.index,
    b"iflink": lambda i: b"%d" % i.index, b"link_mode": lambda i: b"0", b"mtu": lambda i: b"%d" % i.mtu,
    b"operstate": _operstate, b"tx_queue_len": lambda i: b"%d" % i.qlen, b"type": lambda i: b"%d" % i.type,
    b"uevent": lambda i: b"INTERFACE=%s\nIFINDEX=%d" % (i.name.encode("latin-1"), i.index),
}  # fmt: skip


def _text(fs: FileSystem, i: Iface, make: Callable[[Iface], bytes]) -> GenFile:
    return GenFile(fs, lambda t: make(i) + b"\n")


def _counter(fs: FileSystem, i: Iface, column: int) -> GenFile:
    return GenFile(fs, lambda t: b"%d\n" % (i.counters()[column] if column >= 0 else 0))


@final
class NetDir(DynDir):
    """devices/virtual/net: a directory for each interface."""

    __slots__ = ("made",)

    def __init__(self, fs: FileSystem) -> None:
        super().__init__(fs, 0o755)
        self.made: dict[int, tuple[Iface, StaticDir]] = {}

    def _of(self, i: Iface) -> StaticDir:
        have = self.made.get(i.index)
        if have is not None and have[0] is i:
            return have[1]
        d = StaticDir(self.fs, 0o755)
        for name, make in TEXTS.items():
            d.add(name, _text(self.fs, i, make))
        statistics = StaticDir(self.fs, 0o755)
        for name, column in STATISTICS.items():
            statistics.add(name, _counter(self.fs, i, column))
        for name in ZERO:
            statistics.add(name, _counter(self.fs, i, -1))
        d.add(b"statistics", statistics)
        d.add(b"subsystem", SynthLink(self.fs, b"../../../../class/net"))
        self.made[i.index] = (i, d)
        return d

    def lookup(self, t: Task, name: bytes) -> Inode:
        i = t.ns.net.by_name(name.decode("latin-1"))
        if i is None:
            raise SysErr(errno.ENOENT)
        return self._of(i)

    def names(self, t: Task) -> list[tuple[bytes, int, int]]:
        found = [(i.name.encode("latin-1"), self._of(i)) for i in t.ns.net.ifaces.values()]
        return [(name, d.ino, d.mode) for name, d in found]


@final
class NetLinks(DynDir):
    """class/net: links to them."""

    __slots__ = ("made",)

    def __init__(self, fs: FileSystem) -> None:
        super().__init__(fs, 0o755)
        self.made: dict[bytes, SynthLink] = {}

    def lookup(self, t: Task, name: bytes) -> Inode:
        if t.ns.net.by_name(name.decode("latin-1")) is None:
            raise SysErr(errno.ENOENT)
        if name not in self.made:
            self.made[name] = SynthLink(self.fs, b"../../devices/virtual/net/" + name)
        return self.made[name]

    def names(self, t: Task) -> list[tuple[bytes, int, int]]:
        found = [i.name.encode("latin-1") for i in t.ns.net.ifaces.values()]
        return [(n, x.ino, x.mode) for n in found for x in (self.lookup(t, n),)]
