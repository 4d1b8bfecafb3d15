"""--network=sandbox: our own stack on the interfaces of the container's network namespace.

The launcher says what the namespace has (``sandbox/takeover.py``), again after each change; here the stack is made to agree. Packets
come through the event loop, a batch a turn; the stack's timers are one timer of the loop.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any, final

from ..abi.socket import AF_INET, AF_INET6
from ..kernel.loop import Timer
from . import configure, tcp_local, udp_local
from .configure import RTN_TYPES
from .egress import Egress
from .link import PacketLink
from .pcap import Pcap
from .ports import Addr
from .resolver import Resolver
from .shaper import Shaper
from .siblings import Siblings
from .stack.stack import Stack
from .state import IFA_F_TENTATIVE, NET, Address, Iface, Route, mapped, packed

if TYPE_CHECKING:
    from ..kernel.loop import EventLoop
    from .stack.interface import Interface

log = logging.getLogger("nvsandbox.net")


def _failed(e: Exception) -> None:
    """A packet or a timer that the stack could not handle: our mistake, and loud."""
    log.error("network stack", exc_info=e)


def _outside(iface: Interface) -> bool:
    return isinstance(iface.link, PacketLink)


def _allowed(iface: Interface, proto: int, dst: bytes, l4: bytes) -> bool:
    """Whether --egress lets out a packet that is forwarded, or whose destination rules have changed."""
    if NET.egress is None or not _outside(iface):
        return True
    port = l4[2] << 8 | l4[3] if proto in (6, 17) and len(l4) >= 8 else 0
    name = {6: "tcp", 17: "udp"}.get(proto, "raw")
    return NET.egress.allows(name, mapped(dst), port, l4[8:] if proto == 17 else None)


def _claims() -> list[tuple[int, Addr]]:
    """What siblings have to know of our ports: protocol, address."""
    tcp = [(6, s.local) for s in tcp_local.sockets(NET) if s.listening()]
    return tcp + [(17, s.local) for s in udp_local.sockets(NET) if s.named]


def _choose(protocol: int, port: int, data: bytes, count: int, spread: int) -> int:
    """Which of the endpoints that share a port gets a packet (SO_REUSEPORT)."""
    return NET.ports(protocol).pick(port, data, count, spread)


@final
class Network:
    """The one of a sandbox; ``apply`` is its only input but packets."""

    __slots__ = ("loop", "pcap", "shaper", "stack", "timer")

    def __init__(
        self, loop: EventLoop, pcap_fd: int, egress: list[str], nameservers: list[str], rate: int
    ) -> None:
        """``pcap_fd``: a file that gets what crosses the interfaces, or -1. ``rate``: bytes a second each way, 0: no limit."""
        self.loop = loop
        self.pcap = Pcap(pcap_fd) if pcap_fd >= 0 else None
        self.shaper = Shaper(loop, rate) if rate else None
        self.timer: Timer | None = None
        self.stack = Stack(time.monotonic_ns, os.urandom)
        self.stack.set_on_timer(self._arm)
        self.stack.on_error = _failed
        self.stack.choose = _choose
        NET.stack = self.stack
        NET.tell_stack()
        NET.egress = Egress(egress, [packed(n) for n in nameservers]) if egress else None
        if egress:
            self.stack.allowed, self.stack.outside = _allowed, _outside

    def stats(self) -> dict[str, int]:
        """For metrics: packets, bytes, what was lost or refused."""
        rows = [i.counters() for i in NET.ifaces.values()]
        names = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "tx_dropped")
        out = {n: sum(r[k] for r in rows) for k, n in enumerate(names)}
        out["rate_dropped"] = self.shaper.dropped if self.shaper is not None else 0
        out["egress_refused"] = NET.egress.refused if NET.egress is not None else 0
        out["tcp_retransmitted"] = self.stack.counters.tcp.RetransSegs
        out["errors"] = self.stack.counters.errors
        return out

    def wires(self) -> list[int]:
        """Descriptors of the host's packet sockets."""
        links = [i.link for i in NET.ifaces.values() if i.link is not None]
        if NET.siblings is not None:
            links.append(NET.siblings.link.wire)
        return [link.sock.fileno() for link in links]

    # Timers
    def _arm(self, when: int) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop.call_at(when, self._due)

    def _due(self) -> None:
        self.stack.run_timers()
        when = self.stack.next_timer()
        if when is not None:
            self._arm(when)

    # What there is
    def apply(self, msg: dict[str, Any], fds: list[int]) -> None:
        """A "network" order. Raises KeyError, TypeError, ValueError for what the launcher never sends."""
        if "failed" in msg:
            if msg["failed"]:
                log.warning("%s", msg["failed"])
            return
        sockets = [socket.socket(fileno=fd) for fd in fds]
        self._links(msg["links"], sockets)
        self._addresses(msg["addresses"])
        self._routes(msg["routes"])
        for n in msg["neighbours"]:
            i = NET.ifaces.get(int(n["index"]))
            if i is not None and i.under is not None:
                i.under.neighbours.set_permanent(bytes.fromhex(n["ip"]), bytes.fromhex(n["mac"]))
        if "resolver" in msg:
            NET.resolver = Resolver(self.loop, sockets[int(msg["resolver"])])
        self._loopback(msg, sockets)
        configure.of(NET).settle()

    def _loopback(self, msg: dict[str, Any], sockets: list[socket.socket]) -> None:
        """The namespace's lo: who has entered it is there, and other sandboxes. The socket comes once."""
        if "lo" in msg:
            found = NET.siblings = Siblings(sockets[int(msg["lo"])])
            for proto, a in _claims():
                found.mine[proto, a[0], a[1]] = found.mine.get((proto, a[0], a[1]), 0) + 1
            fd = found.link.wire.sock.fileno()
            self.loop.watch_fd(fd, select.EPOLLIN, lambda _events: self._heard(found, fd))
        if NET.siblings is not None:
            NET.siblings.changed(bool(msg.get("shared")), bool(msg.get("leader")))

    def _heard(self, siblings: Siblings, fd: int) -> None:
        self.stack.begin_batch()
        there = siblings.receive()
        self.stack.end_batch()
        if not there:
            self.loop.unwatch_fd(fd)

    def _links(self, rows: list[dict[str, Any]], sockets: list[socket.socket]) -> None:
        present = {1, *configure.of(NET).made}
        for row in rows:
            index = int(row["index"])
            if index == 1:
                continue
            present.add(index)
            mac = bytes.fromhex(row["mac"])
            i = NET.ifaces.get(index)
            if i is None:
                i = Iface(index, "", int(row["type"]), mac, 0, 0, int(row["qlen"]))
                NET.ifaces[index] = i
            i.name, i.mac, i.mtu = str(row["name"]), mac, int(row["mtu"])
            configure.of(NET).flags[index], configure.of(NET).mtus[index] = int(row["flags"]), i.mtu
            if "socket" in row:
                self._attach(i, sockets[int(row["socket"])])
            if i.link is not None:
                i.link.mac = mac
        for index in NET.ifaces.keys() - present:
            self._detach(NET.ifaces.pop(index))
            for table in (configure.of(NET).flags, configure.of(NET).mtus, configure.of(NET).mtu):
                table.pop(index, None)
            configure.of(NET).up.pop(index, None)

    def _attach(self, i: Iface, sock: socket.socket) -> None:
        self._detach(i)
        link = PacketLink(sock, i.mac, i.mtu)
        link.pcap = self.pcap
        link.shaper = self.shaper
        under = self.stack.add_interface(i.name, i.index, link)
        i.link, i.under = link, under
        tell = NET.neighbour_changed
        if tell is not None:
            told = tell
            under.neighbours.told = lambda ip, mac, state: told(under.index, ip, mac, state)
        receive = self.stack.receive

        def deliver(frame: bytes, good: bool, gso: int) -> None:
            receive(under, frame, good, gso)

        def readable(_events: int) -> None:
            self.stack.begin_batch()
            there = link.receive(deliver)
            self.stack.end_batch()
            if not there:
                self.loop.unwatch_fd(sock.fileno())

        self.loop.watch_fd(sock.fileno(), select.EPOLLIN, readable)

    def _detach(self, i: Iface) -> None:
        if i.link is not None:
            self.loop.unwatch_fd(i.link.sock.fileno())
            i.link.close()
        if i.under is not None:
            self.stack.remove_interface(i.under)
        i.link = i.under = None

    def _addresses(self, rows: list[dict[str, Any]]) -> None:
        found = []
        for row in rows:
            a = Address(
                int(row["index"]), bytes.fromhex(row["ip"]), int(row["prefix"]), int(row["scope"]),
                int(row["flags"]) & ~IFA_F_TENTATIVE, bytes.fromhex(row["broadcast"]), str(row["label"]),
            )  # fmt: skip
            if a.index != 1 and len(a.ip) in (4, 16) and a.index in NET.ifaces:
                found.append(a)
        configure.of(NET).addresses = found

    def _routes(self, rows: list[dict[str, Any]]) -> None:
        found = []
        for row in rows:
            family, kind, index = int(row["family"]), int(row["type"]), int(row["index"])
            i = NET.ifaces.get(index)
            if (
                kind not in RTN_TYPES
                or family not in (AF_INET, AF_INET6)
                or (i is None and kind == 1)
            ):
                continue
            dst = bytes.fromhex(row["dst"]) or bytes(4 if family == AF_INET else 16)
            r = Route(
                family, dst, int(row["prefix"]), bytes.fromhex(row["gateway"]), bytes.fromhex(row["source"]),
                index, int(row["metric"]), int(row["proto"]), int(row["scope"]), kind,
            )  # fmt: skip
            found.append(r)
        configure.of(NET).routes = found
