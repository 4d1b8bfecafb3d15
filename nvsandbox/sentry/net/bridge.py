"""Bridges that programs make: a switch whose ports are ends of pairs (``veth.py``), and an interface of its own (Linux: net/bridge).

No spanning tree, no VLANs; what is not known goes to all ports.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from . import dummy, veth
from .state import ARPHRD_ETHER, Iface, NetState

if TYPE_CHECKING:
    from .stack.link import Offload
    from .veth import VethLink

KNOWN: Final = 1024  # hardware addresses remembered
MTU: Final = 1500


@final
class Bridge:
    """The bridge's own interface is a link of its stack (stack/link.py, Link). ``where``: behind which port an address is."""

    def __init__(self, net: NetState, mac: bytes) -> None:
        self.net = net
        self.iface: Iface | None = None
        self.mac = mac
        self.mtu = MTU
        self.max_gso = 65535
        self.checksums = True
        self.fresh = True  # it has had no port yet
        self.ports: list[VethLink] = []
        self.where: dict[bytes, VethLink] = {}

    def carrier(self) -> bool:
        """Whether a port has a partner that is up, or there was none yet."""
        return self.fresh or any(
            p.iface is not None and p.iface.under is not None and p.iface.under.up
            for p in self.ports
        )

    def send(self, parts: list[bytes], offload: Offload | None) -> bool:
        gso = offload.gso_size if offload is not None and offload.gso_type else 0
        self._forward(b"".join(parts), gso, None)
        return True

    def input(self, frame: bytes, gso: int, port: VethLink) -> None:
        """What has come in by a port."""
        if len(frame) < 14:
            return
        src = frame[6:12]
        if not src[0] & 1:
            if src not in self.where and len(self.where) >= KNOWN:
                del self.where[next(iter(self.where))]
            self.where[src] = port
        i, stack = self.iface, self.net.stack
        if i is not None and i.under is not None and stack is not None:
            if frame[:6] == self.mac:
                stack.receive(i.under, frame, True, gso)
                return
            if frame[0] & 1:
                stack.receive(i.under, frame, True, gso)
        self._forward(frame, gso, port)

    def _forward(self, frame: bytes, gso: int, origin: VethLink | None) -> None:
        to = self.where.get(frame[:6]) if not frame[0] & 1 else None
        for p in [to] if to is not None else list(self.ports):
            if (
                p is not origin
                and p.iface is not None
                and p.iface.under is not None
                and p.iface.under.up
            ):
                p.emit(frame, gso)

    def join(self, port: VethLink) -> None:
        if port not in self.ports:
            self.ports.append(port)
            self.fresh = False
            port.master = self

    def leave(self, port: VethLink) -> None:
        if port in self.ports:
            self.ports.remove(port)
        port.master = None
        self.where = {m: p for m, p in self.where.items() if p is not port}


def make(net: NetState, name: str, a: dict[int, bytes]) -> Iface:
    """A new one, down. Raises EINVAL, EEXIST, ENOBUFS."""
    made = [i for i in net.ifaces if i >= dummy.FIRST]
    if len(made) >= dummy.MOST:
        raise SysErr(errno.ENOBUFS)
    if not name:
        name = next(
            n for n in (f"bridge{k}" for k in range(dummy.MOST + 1)) if net.by_name(n) is None
        )
    dummy.check_name(net, name)
    mac = a.get(dummy.IFLA_ADDRESS, b"") or bytes((0x02,)) + os.urandom(5)
    if len(mac) != 6 or mac[0] & 1:
        raise SysErr(errno.EINVAL)
    b = Bridge(net, mac)
    i = Iface(
        max(made, default=dummy.FIRST - 1) + 1, name, ARPHRD_ETHER, mac, MTU, veth.FLAGS, 1000
    )
    i.kind = b"bridge"
    i.bridge = b
    b.iface = i
    stack = veth.stack_of(net)
    i.under = stack.add_interface(name, i.index, b)
    stack.set_up(i.under, False)
    net.ifaces[i.index] = i
    return i
