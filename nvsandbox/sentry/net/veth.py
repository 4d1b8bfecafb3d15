"""Pairs of interfaces that programs make: what one sends the other gets, in whichever of the sandbox's network namespaces they are
(Linux: drivers/net/veth.c; veth(4)).

A namespace that has none else gets a stack of its own with its first. Frames wait in a queue for the next turn of the loop: a stack must
not be called by the other's link.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Final, final

from ...rtattr import parse
from ..abi.socket import AF_INET6
from ..errors import SysErr
from . import dummy
from .stack.stack import Stack
from .state import (
    ARPHRD_ETHER,
    IFF_BROADCAST,
    IFF_MULTICAST,
    NET,
    STACK_MADE,
    Address,
    Iface,
    NetState,
)

if TYPE_CHECKING:
    from ..kernel.loop import EventLoop, Timer
    from .bridge import Bridge
    from .stack.link import Offload

log = logging.getLogger("nvsandbox.net")
FLAGS: Final = IFF_BROADCAST | IFF_MULTICAST
QUEUE: Final = 8 << 20  # bytes on their way to one end
BATCH: Final = 32
MTU: Final = 1500
MAX_MTU: Final = 65535
IFLA_ADDRESS: Final = 1
IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_LINKINFO: Final = 18
IFLA_NET_NS_PID: Final = 19
IFLA_NET_NS_FD: Final = 28
IFLA_INFO_KIND: Final = 1
IFLA_INFO_DATA: Final = 2
VETH_INFO_PEER: Final = 1
RT_SCOPE_LINK: Final = 253
LOOP: Final[list[EventLoop]] = []  # the kernel's
PAIRED: Final[set[NetState]] = set()  # namespaces that programs made and that have an end of a pair


@final
class VethLink:
    """One end (stack/link.py, Link). ``peer``: the other, None once it is gone."""

    def __init__(self, net: NetState, mac: bytes) -> None:
        self.net = net
        self.iface: Iface | None = None
        self.peer: VethLink | None = None
        self.master: Bridge | None = None
        self.mac = mac
        self.mtu = MTU
        self.max_gso = 65535
        self.checksums = True
        self.waiting: deque[tuple[bytes, int]] = deque()
        self.bytes = 0
        self.due = False
        self.rx_packets = self.rx_bytes = self.tx_packets = self.tx_bytes = self.drops = 0

    def send(self, parts: list[bytes], offload: Offload | None) -> bool:
        # Checksums that are still to be filled in are taken for good at the other end.
        gso = offload.gso_size if offload is not None and offload.gso_type else 0
        return self.emit(b"".join(parts), gso)

    def emit(self, frame: bytes, gso: int) -> bool:
        """A frame goes to the other end; False: dropped. ``gso``: payload bytes of a packet of a super-segment, else 0."""
        p = self.peer
        if p is None or p.bytes > QUEUE:
            self.drops += 1
            return False
        self.tx_packets += 1
        self.tx_bytes += len(frame)
        p.waiting.append((frame, gso))
        p.bytes += len(frame)
        p.soon()
        return True

    def soon(self) -> None:
        if not self.due:
            self.due = True
            LOOP[0].call_at(time.monotonic_ns(), self._deliver)

    def _deliver(self) -> None:
        self.due = False
        i, stack = self.iface, self.net.stack
        if i is None or i.under is None or stack is None:
            self.waiting.clear()
            self.bytes = 0
            return
        stack.begin_batch()
        for _ in range(min(BATCH, len(self.waiting))):
            frame, gso = self.waiting.popleft()
            self.bytes -= len(frame)
            self.rx_packets += 1
            self.rx_bytes += len(frame)
            if self.master is None:
                stack.receive(i.under, frame, True, gso)
            elif i.under.up:
                self.master.input(frame, gso, self)
        stack.end_batch()
        if self.waiting:
            self.soon()


@final
class Ticker:
    """A stack's timers on the loop."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.timer: Timer | None = None

    def arm(self, when: int) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = LOOP[0].call_at(when, self._due)

    def _due(self) -> None:
        self.stack.run_timers()
        when = self.stack.next_timer()
        if when is not None:
            self.arm(when)


def _failed(e: Exception) -> None:
    log.error("network stack", exc_info=e)


def stack_of(net: NetState) -> Stack:
    """The namespace's, made when it has none; sockets that are bound already hear from it."""
    if net.stack is not None:
        return net.stack
    stack = Stack(time.monotonic_ns, os.urandom)
    stack.set_on_timer(Ticker(stack).arm)
    stack.on_error = _failed

    def choose(protocol: int, port: int, data: bytes, count: int, spread: int) -> int:
        return net.ports(protocol).pick(port, data, count, spread)

    stack.choose = choose
    net.stack = stack
    net.tell_stack()
    for i in net.ifaces.values():
        if i.kind == b"dummy":
            i.under = stack.add_interface(i.name, i.index, dummy.Nowhere())
    for tell in STACK_MADE:
        tell(net)
    return stack


def _place(net: NetState, link: VethLink, name: str, index: int = 0) -> Iface:
    """An end in a namespace. Raises EINVAL, EEXIST, ENOBUFS."""
    made = [i for i in net.ifaces if i >= dummy.FIRST]
    if len(made) >= dummy.MOST:
        raise SysErr(errno.ENOBUFS)
    if not name:
        name = next(
            n for n in (f"veth{k}" for k in range(2 * dummy.MOST)) if net.by_name(n) is None
        )
    dummy.check_name(net, name)
    if not index or index in net.ifaces:
        index = max(made, default=dummy.FIRST - 1) + 1
    i = Iface(index, name, ARPHRD_ETHER, link.mac, link.mtu, FLAGS, 1000)
    i.kind = b"veth"
    i.pair = link
    stack = stack_of(net)
    i.under = stack.add_interface(name, index, link)
    stack.set_up(i.under, False)
    link.net, link.iface = net, i
    net.ifaces[index] = i
    if net is not NET:
        PAIRED.add(net)
    return i


def _link(net: NetState, a: dict[int, bytes]) -> VethLink:
    mac = a.get(IFLA_ADDRESS, b"") or bytes((0x02,)) + os.urandom(5)
    if len(mac) != 6 or mac[0] & 1:
        raise SysErr(errno.EINVAL)
    link = VethLink(net, mac)
    if IFLA_MTU in a:
        link.mtu = int.from_bytes(a[IFLA_MTU], "little")
        if not 68 <= link.mtu <= MAX_MTU:
            raise SysErr(errno.EINVAL)
    return link


def make(net: NetState, other: NetState, name: str, a: dict[int, bytes]) -> tuple[Iface, Iface]:
    """A pair, both ends down, from the attributes of RTM_NEWLINK; the second end in ``other``. Raises EINVAL, EEXIST, ENOBUFS."""
    b = peer_attributes(a)
    first, second = _link(net, a), _link(other, b)
    i = _place(net, first, name)
    try:
        j = _place(other, second, b.get(IFLA_IFNAME, b"").rstrip(b"\0").decode("latin-1"))
    except SysErr:
        remove(i)
        raise
    first.peer, second.peer = second, first
    return i, j


def peer_attributes(a: dict[int, bytes]) -> dict[int, bytes]:
    """What is said of the other end: attributes behind a struct ifinfomsg."""
    info = parse(parse(a.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_DATA, b""))
    return parse(info.get(VETH_INFO_PEER, b"")[16:])


def remove(i: Iface) -> None:
    """Takes an end out of its namespace; the pair stays one."""
    link = i.pair
    assert link is not None
    if i.under is not None and link.net.stack is not None:
        link.net.stack.remove_interface(i.under)
    link.net.ifaces.pop(i.index, None)
    if all(o.pair is None for o in link.net.ifaces.values()):
        PAIRED.discard(link.net)
    if link.master is not None:
        link.master.leave(link)
    link.iface = None
    link.waiting.clear()
    link.bytes = 0


def move(i: Iface, to: NetState, name: str) -> Iface:
    """To another namespace, where it is down and has no addresses; ``name`` is what it is called if its own is taken there.
    Raises EEXIST, EINVAL, ENOBUFS."""
    link = i.pair
    assert link is not None
    if to.by_name(i.name) is None or not name:
        name = i.name
    dummy.check_name(to, name)
    if sum(k >= dummy.FIRST for k in to.ifaces) >= dummy.MOST:
        raise SysErr(errno.ENOBUFS)
    remove(i)
    return _place(to, link, name, i.index)


def link_local(i: Iface) -> Address:
    """The IPv6 address that comes with the hardware's (RFC 4291 appendix A)."""
    m = i.mac
    ip = b"\xfe\x80" + bytes(6) + bytes((m[0] ^ 2,)) + m[1:3] + b"\xff\xfe" + m[3:]
    a = Address(i.index, ip, 64, RT_SCOPE_LINK)
    assert a.family == AF_INET6
    return a
