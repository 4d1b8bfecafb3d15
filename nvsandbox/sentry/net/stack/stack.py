"""The stack: interfaces, routes, endpoints, timers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, final

from .counters import Counters
from .interface import Interface
from .routes import Routes
from .timers import Timers

if TYPE_CHECKING:
    from .link import Link
    from .raw import PacketEndpoint, RawEndpoint
    from .tcp.connection import Addr, TcpConnection
    from .tcp.listener import TcpListener
    from .udp import UdpEndpoint


@final
class Stack:
    """``now``: monotonic ns. ``random``: n random bytes. ``on_timer``: told of a deadline earlier than all before it.

    ``notify`` callbacks of endpoints are called from within ``receive``, ``run_timers`` and the endpoints' methods.
    """

    __slots__ = ("counters", "interfaces", "now", "random", "routes", "timers")

    def __init__(self, now: Callable[[], int], random: Callable[[int], bytes]) -> None:
        self.now = now
        self.random = random
        self.interfaces: list[Interface] = []
        self.routes = Routes()
        self.counters = Counters()
        self.timers = Timers()

    # Interfaces and addresses
    def add_interface(self, name: str, index: int, link: Link) -> Interface:
        raise NotImplementedError

    def remove_interface(self, iface: Interface) -> None:
        """Its addresses, routes and neighbours go with it; endpoints bound to it get ENODEV."""
        raise NotImplementedError

    def set_up(self, iface: Interface, up: bool) -> None:
        raise NotImplementedError

    def add_address(self, iface: Interface, ip: bytes, prefixlen: int) -> bool:
        """Adds an address and the route of its prefix; False: it is there already."""
        raise NotImplementedError

    def remove_address(self, iface: Interface, ip: bytes) -> bool:
        """False: it is not there."""
        raise NotImplementedError

    def is_own(self, ip: bytes) -> bool:
        """Whether an interface has this address (loopback not among them)."""
        raise NotImplementedError

    def source_for(self, dst: bytes, iface: Interface | None = None) -> bytes:
        """The source address towards ``dst``; ``b""``: no route."""
        raise NotImplementedError

    def set_on_timer(self, on_timer: Callable[[int], None]) -> None:
        self.timers.on_timer = on_timer

    # The wire and the clock
    def receive(self, iface: Interface, frame: bytes, csum_ok: bool, gso_size: int) -> None:
        """A frame has come. ``csum_ok``: the transport's checksum is known to be good (or still partial, from the same
        host); ``gso_size``: payload bytes per packet when the host has merged several, else 0. Never raises."""
        raise NotImplementedError

    def next_timer(self) -> int | None:
        """When ``run_timers`` has something to do, absolute ns."""
        return self.timers.next()

    def run_timers(self) -> None:
        """Does what is due."""
        raise NotImplementedError

    # Endpoints
    def tcp_connect(
        self,
        local: Addr,
        remote: Addr,
        iface: Interface | None = None,
        setup: Callable[[TcpConnection], None] | None = None,
    ) -> TcpConnection:
        """Sends the SYN. ``local``: ip ``b""`` or zeroes: by route; port 0: any free one. ``setup`` sets options before
        the SYN is built. Raises SysErr: ENETUNREACH, EADDRNOTAVAIL (four-tuple taken, no port free), EINVAL."""
        raise NotImplementedError

    def tcp_listen(
        self, local: Addr, backlog: int, family: int, v6only: bool = False, iface: Interface | None = None,
    ) -> TcpListener:  # fmt: skip
        """Listens. ``local`` all zeroes: any address; of IPv6 (``family`` 16) and not ``v6only``: IPv4's too.

        Several listeners on one address share its connections by hash (SO_REUSEPORT): who may is the caller's to say.
        """
        raise NotImplementedError

    def udp_open(
        self, local: Addr, iface: Interface | None = None, v6only: bool = False
    ) -> UdpEndpoint:
        """An endpoint on a local address (``b""``: both families, 4 or 16 zeroes: any) and port (0: any free one)."""
        raise NotImplementedError

    def raw_open(self, family: int, protocol: int) -> RawEndpoint:
        """``family``: 4 or 16, the addresses' length."""
        raise NotImplementedError

    def packet_open(
        self, protocol: int, cooked: bool, iface: Interface | None = None
    ) -> PacketEndpoint:
        raise NotImplementedError

    def tcp_connections(self) -> list[TcpConnection]:
        """For /proc/net/tcp and ``ss``; TIME_WAIT ones are in ``tcp_time_waits``."""
        raise NotImplementedError
