"""Raw IP endpoints (raw(7), RFC 3542) and packet endpoints (packet(7))."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, final

from .interface import Interface
from .udp import Datagram

if TYPE_CHECKING:
    from .stack import Stack


@final
class RawEndpoint:
    """A SOCK_RAW socket's end of one family. IPv4: ``recv`` gives whole IP packets, IPv6: payloads.

    ``protocol`` IPPROTO_RAW (255) implies ``hdrincl``. ``checksum``: offset at which IPv6 fills in a checksum, -1: none
    (ICMPv6: always 2). ``icmp_filter``: bits of types not wanted (ICMP_FILTER: 32, ICMP6_FILTER: 256 bits).
    Options are attributes: ``ttl``, ``tos``, ``rcvbuf``, ``broadcast``.
    """

    __slots__ = (
        "broadcast", "checksum", "family", "hdrincl", "icmp_filter", "iface", "local", "notify", "protocol", "queue",
        "queued", "rcvbuf", "remote", "soft_error", "stack", "tos", "ttl",
    )  # fmt: skip

    def __init__(self, stack: Stack, family: int, protocol: int) -> None:
        self.stack = stack
        self.notify: Callable[[int], None] = lambda events: None

    def send_to(
        self,
        data: bytes,
        remote: bytes,
        src: bytes = b"",
        iface: Interface | None = None,
        ttl: int = -1,
        tos: int = -1,
    ) -> int:
        """Bytes sent or -errno."""
        raise NotImplementedError

    def recv(self) -> Datagram | None:
        raise NotImplementedError

    def peek(self) -> Datagram | None:
        raise NotImplementedError

    def take_error(self) -> int:
        raise NotImplementedError

    def events(self) -> int:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@final
class PacketEndpoint:
    """An AF_PACKET socket's end: frames of an interface (None: all), both directions.

    ``protocol``: EtherType, 3 (ETH_P_ALL) or 0 (nothing). ``cooked``: SOCK_DGRAM, without the link-layer header.
    """

    __slots__ = ("cooked", "iface", "notify", "protocol", "queue", "queued", "rcvbuf", "stack")

    def __init__(self, stack: Stack, protocol: int, cooked: bool) -> None:
        self.stack = stack
        self.notify: Callable[[int], None] = lambda events: None

    def recv(self) -> tuple[bytes, bytes, int, int, int, int] | None:
        """(data, source MAC, EtherType, PACKET_HOST…OUTGOING, ifindex, ns)."""
        raise NotImplementedError

    def send(self, data: bytes, iface: Interface, dst_mac: bytes = b"", protocol: int = 0) -> int:
        """A frame (cooked: its payload, to ``dst_mac`` as ``protocol``). Bytes or -errno: EMSGSIZE, ENETDOWN, ENOBUFS."""
        raise NotImplementedError

    def events(self) -> int:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
