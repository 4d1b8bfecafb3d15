"""The routing table: longest prefix, then lowest metric (Linux: net/ipv4/fib_trie.c, RFC 1812 section 5.2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from .interface import Interface

CACHE_LIMIT: Final = 1024


@final
class Route:
    """``gateway``: ``b""`` on-link. ``prefsrc``: source address to use, ``b""``: the interface's. ``mtu``: 0: the link's.

    ``kind``: 1 unicast, 7 unreachable, 6 blackhole, 8 prohibit (RTN_*, linux/rtnetlink.h).
    """

    __slots__ = (
        "dst", "gateway", "iface", "kind", "metric", "mtu", "prefixlen", "prefsrc", "protocol", "scope",
    )  # fmt: skip

    def __init__(
        self, dst: bytes, prefixlen: int, iface: Interface | None, gateway: bytes = b"", metric: int = 0,
        prefsrc: bytes = b"", mtu: int = 0, kind: int = 1, scope: int = 0, protocol: int = 3,
    ) -> None:  # fmt: skip
        self.dst = dst
        self.prefixlen = prefixlen
        self.iface = iface
        self.gateway = gateway
        self.metric = metric
        self.prefsrc = prefsrc
        self.mtu = mtu
        self.kind = kind
        self.scope = scope
        self.protocol = protocol


def masked(ip: bytes, prefixlen: int) -> bytes:
    """``ip`` with the host's bits cleared."""
    bits = len(ip) * 8
    keep = int.from_bytes(ip, "big") >> (bits - prefixlen) << (bits - prefixlen)
    return keep.to_bytes(len(ip), "big")


@final
class Routes:
    """Both families' routes. ``generation`` changes with every change, for those who remember a route."""

    __slots__ = ("_cache", "_tables", "generation")

    def __init__(self) -> None:
        # By address length: routes by prefix length and network, the longest prefix first.
        self._tables: dict[int, list[tuple[int, dict[bytes, list[Route]]]]] = {4: [], 16: []}
        self._cache: dict[bytes, Route | None] = {}
        self.generation = 0

    def add(self, r: Route) -> bool:
        """Adds a route; False when one with this destination, metric, gateway and interface is there."""
        r.dst = masked(r.dst, r.prefixlen)
        table = self._tables[len(r.dst)]
        nets = next((nets for plen, nets in table if plen == r.prefixlen), None)
        if nets is None:
            nets = {}
            table.append((r.prefixlen, nets))
            table.sort(key=_by_length)
        here = nets.setdefault(r.dst, [])
        for o in here:
            if o.metric == r.metric and o.gateway == r.gateway and o.iface is r.iface:
                return False
        here.append(r)
        here.sort(key=_by_metric)
        self.changed()
        return True

    def remove(self, r: Route) -> None:
        """Removes this very route (from ``dump``); nothing when it is gone already."""
        for plen, nets in self._tables[len(r.dst)]:
            here = nets.get(r.dst)
            if plen == r.prefixlen and here is not None and r in here:
                here.remove(r)
                if not here:
                    del nets[r.dst]
        self.changed()

    def changed(self) -> None:
        """Paths that were found are not to be used any more."""
        self.generation += 1
        self._cache.clear()

    def lookup(self, dst: bytes, iface: Interface | None = None) -> Route | None:
        """The best route to an address, over ``iface`` when given; None: unreachable."""
        if iface is None and dst in self._cache:
            return self._cache[dst]
        found = self._find(dst, iface)
        if iface is None:
            if len(self._cache) >= CACHE_LIMIT:
                self._cache.clear()
            self._cache[dst] = found
        return found

    def _find(self, dst: bytes, iface: Interface | None) -> Route | None:
        for plen, nets in self._tables[len(dst)]:
            for r in nets.get(masked(dst, plen), ()):
                if iface is not None and r.iface is not iface:
                    continue
                if r.iface is None or r.iface.up:
                    return r
        return None

    def dump(self) -> list[Route]:
        """All routes, IPv4's first, longest prefix first."""
        return [
            r
            for n in (4, 16)
            for _, nets in self._tables[n]
            for here in nets.values()
            for r in here
        ]


def _by_length(entry: tuple[int, dict[bytes, list[Route]]]) -> int:
    return -entry[0]


def _by_metric(r: Route) -> int:
    return r.metric
