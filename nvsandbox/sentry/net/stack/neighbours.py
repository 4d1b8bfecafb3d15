"""Neighbours of one interface: who has which link-layer address (RFC 826, RFC 4861; Linux: net/core/neighbour.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, final

from .arp import send_request
from .ip import BROADCAST4, is_multicast, multicast_mac
from .ndp import send_solicitation
from .timers import Expiring, Timer

if TYPE_CHECKING:
    from .interface import Interface
    from .link import Offload
    from .stack import Stack

NUD_INCOMPLETE: Final = 0x01
NUD_REACHABLE: Final = 0x02
NUD_STALE: Final = 0x04
NUD_DELAY: Final = 0x08
NUD_PROBE: Final = 0x10
NUD_FAILED: Final = 0x20
NUD_PERMANENT: Final = 0x80
USABLE: Final = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT

S: Final = 1_000_000_000
REACHABLE_TIME: Final = 30 * S
DELAY_TIME: Final = 5 * S
RETRANS_TIME: Final = S
PROBES: Final = 3
FAILED_TIME: Final = S  # how long a failure is remembered
LIMIT: Final = 1024  # entries of one interface
PENDING_LIMIT: Final = 256 * 1024  # bytes that wait for one address
ETH_BROADCAST: Final = b"\xff\xff\xff\xff\xff\xff"
TYPE4: Final = b"\x08\0"
TYPE6: Final = b"\x86\xdd"


class NeighbourInfo(NamedTuple):
    """A row of ``ip neigh``. ``state``: NUD_* (linux/neighbour.h)."""

    ip: bytes
    mac: bytes
    state: int


@final
class Neighbour(Expiring):
    """``header``: the Ethernet header of packets to it. ``pending``: what waits for its address."""

    __slots__ = (
        "confirmed", "header", "ip", "mac", "pending", "pending_bytes", "probes", "state", "table", "timer",
    )  # fmt: skip

    def __init__(self, table: Neighbours, ip: bytes) -> None:
        self.table = table
        self.ip = ip
        self.mac = b""
        self.header = b""
        self.state = NUD_INCOMPLETE
        self.confirmed = 0
        self.probes = 0
        self.pending: list[tuple[list[bytes], Offload | None]] = []
        self.pending_bytes = 0
        self.timer = Timer(self)

    def expire(self, now: int) -> None:
        self.table.expired(self, now)


@final
class Neighbours:
    """Bounded: when full, the entry that was confirmed longest ago makes room. ``told``: of changes, with address, link-layer address and
    state, 0: removed."""

    __slots__ = ("entries", "iface", "stack", "told")

    def __init__(self, stack: Stack, iface: Interface) -> None:
        self.stack = stack
        self.iface = iface
        self.entries: dict[bytes, Neighbour] = {}
        self.told: Callable[[bytes, bytes, int], None] | None = None

    def dump(self) -> list[NeighbourInfo]:
        """Failed ones too, as ``ip neigh`` shows them."""
        return [NeighbourInfo(n.ip, n.mac, self._state(n)) for n in self.entries.values()]

    def _state(self, n: Neighbour) -> int:
        old = self.stack.now() - n.confirmed > REACHABLE_TIME
        return NUD_STALE if n.state == NUD_REACHABLE and old else n.state

    def set_permanent(self, ip: bytes, mac: bytes) -> None:
        """A static entry."""
        n = self._get(ip)
        self._learn(n, mac, NUD_PERMANENT)

    def remove(self, ip: bytes) -> bool:
        """False: there is none."""
        n = self.entries.pop(ip, None)
        if n is None:
            return False
        self.stack.timers.free(n.timer)
        n.pending = []
        self._tell(n, 0)
        return True

    def _tell(self, n: Neighbour, state: int) -> None:
        if self.told is not None:
            self.told(n.ip, n.mac, state)

    def clear(self) -> None:
        for ip in list(self.entries):
            self.remove(ip)

    def transmit(self, hop: bytes, parts: list[bytes], offload: Offload | None) -> bool:
        """Sends an IP packet to a next hop, or queues it until its address is known. False: dropped."""
        mac = self.iface.link.mac
        if not mac:
            return self._out(b"", parts, offload)
        n = self.entries.get(hop)
        if n is not None and n.state & USABLE:
            if n.state & (NUD_REACHABLE | NUD_STALE):
                now = self.stack.now()
                if n.state == NUD_STALE or now - n.confirmed > REACHABLE_TIME:
                    n.state = NUD_DELAY
                    self.stack.timers.set(n.timer, now + DELAY_TIME)
            return self._out(n.header, parts, offload)
        if (
            is_multicast(hop)
            or hop == BROADCAST4
            or (len(hop) == 4 and self.iface.is_broadcast(hop))
        ):
            to = multicast_mac(hop) if is_multicast(hop) else ETH_BROADCAST
            return self._out(to + mac + (TYPE4 if len(hop) == 4 else TYPE6), parts, offload)
        if n is None:
            n = self._get(hop)
        size = sum(map(len, parts))
        if n.state == NUD_FAILED:
            n.state = NUD_INCOMPLETE
            n.probes = 0
        if n.pending_bytes + size > PENDING_LIMIT and n.pending:
            return False
        n.pending.append((parts, offload))
        n.pending_bytes += size
        if n.probes == 0:
            self._probe(n)
        return True

    def _out(self, header: bytes, parts: list[bytes], offload: Offload | None) -> bool:
        if header:
            parts = [header + parts[0], *parts[1:]]
            if offload is not None:
                if offload.csum_start >= 0:
                    offload.csum_start += 14
                offload.hdr_len += 14
        return self.stack.transmit(self.iface, parts, offload)

    def _get(self, ip: bytes) -> Neighbour:
        n = self.entries.get(ip)
        if n is None:
            if len(self.entries) >= LIMIT:
                self._evict()
            n = self.entries[ip] = Neighbour(self, ip)
        return n

    def _evict(self) -> None:
        victims = [n for n in self.entries.values() if n.state != NUD_PERMANENT]
        victims.sort(key=_by_use)
        for n in victims[: LIMIT // 16]:
            self.remove(n.ip)

    def _probe(self, n: Neighbour) -> None:
        n.probes += 1
        self.stack.timers.set(n.timer, self.stack.now() + RETRANS_TIME)
        to = n.mac if n.state == NUD_PROBE else b""
        if len(n.ip) == 4:
            send_request(self.stack, self.iface, n.ip, to)
        else:
            send_solicitation(self.stack, self.iface, n.ip, to)

    def expired(self, n: Neighbour, now: int) -> None:
        """A probe was not answered, or it is time to probe."""
        if n.state == NUD_FAILED:
            self.remove(n.ip)
        elif n.state == NUD_DELAY:
            if now - n.confirmed < REACHABLE_TIME:
                n.state = NUD_REACHABLE
                self._tell(n, n.state)
                return
            n.state = NUD_PROBE
            n.probes = 0
            self._probe(n)
        elif n.state in (NUD_INCOMPLETE, NUD_PROBE):
            if n.probes < PROBES:
                self._probe(n)
                return
            n.state = NUD_FAILED
            self._tell(n, n.state)
            self.stack.timers.set(n.timer, now + FAILED_TIME)
            lost, n.pending, n.pending_bytes = n.pending, [], 0
            for parts, _ in lost:
                self.stack.undeliverable(self.iface, parts)

    def confirm(self, ip: bytes) -> None:
        """Progress of a connection shows that the neighbour is there (RFC 4861 section 7.3.1)."""
        n = self.entries.get(ip)
        if n is not None and n.state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE):
            n.confirmed = self.stack.now()
            if n.state != NUD_PROBE:
                n.state = NUD_REACHABLE

    def heard(self, ip: bytes, mac: bytes, create: bool) -> None:
        """Its address was named in a request of its own: usable, not confirmed."""
        n = self._get(ip) if create else self.entries.get(ip)
        if n is None or n.state == NUD_PERMANENT:
            return
        if n.mac != mac or not n.state & USABLE:
            self._learn(n, mac, NUD_STALE)

    def answered(self, ip: bytes, mac: bytes, solicited: bool, override: bool) -> None:
        """An answer (ARP reply, neighbour advertisement); of use only for entries that exist (RFC 4861 section 7.2.5)."""
        n = self.entries.get(ip)
        if n is None or n.state == NUD_PERMANENT:
            return
        if n.state in (NUD_INCOMPLETE, NUD_FAILED):
            if mac:
                self._learn(n, mac, NUD_REACHABLE if solicited else NUD_STALE)
        elif mac and mac != n.mac and not override:
            if n.state == NUD_REACHABLE:
                n.state = NUD_STALE
        elif mac and mac != n.mac:
            self._learn(n, mac, NUD_REACHABLE if solicited else NUD_STALE)
        elif solicited:
            self._learn(n, n.mac, NUD_REACHABLE)

    def _learn(self, n: Neighbour, mac: bytes, state: int) -> None:
        n.mac = mac
        n.state = state
        n.probes = 0
        n.header = mac + self.iface.link.mac + (TYPE4 if len(n.ip) == 4 else TYPE6)
        n.confirmed = self.stack.now() if state != NUD_STALE else n.confirmed
        self.stack.timers.cancel(n.timer)
        waiting, n.pending, n.pending_bytes = n.pending, [], 0
        self._tell(n, state)
        for parts, offload in waiting:
            self._out(n.header, parts, offload)


def _by_use(n: Neighbour) -> int:
    return n.confirmed
