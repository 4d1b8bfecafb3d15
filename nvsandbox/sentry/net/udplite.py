"""UDP-Lite (RFC 3828; udplite(7); Linux: net/ipv4/udplite.c): UDP whose checksum covers as much of a datagram as the sender says.

A socket of it is a UdpSocket with ports of its own. Coverage 0 is the whole datagram.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..abi.socket import SOL_UDPLITE
from ..errors import SysErr

if TYPE_CHECKING:
    from .udp_local import UdpSocket

SEND_CSCOV: Final = 10  # UDPLITE_SEND_CSCOV
RECV_CSCOV: Final = 11
OPTIONS: Final = (SEND_CSCOV, RECV_CSCOV)


def value(s: UdpSocket, opt: int) -> int:
    """What getsockopt gives."""
    return s.opts.get((SOL_UDPLITE, opt), 0)


def set_option(s: UdpSocket, opt: int, value: int) -> None:
    """Raises ENOPROTOOPT for sockets of UDP."""
    if not s.lite:
        raise SysErr(errno.ENOPROTOOPT)
    s.opts[SOL_UDPLITE, opt] = min(value, 0xFFFF) if value == 0 or value >= 8 else 8
    tell_far(s)


def tell_far(s: UdpSocket) -> None:
    """The stack's endpoint learns what was set."""
    if s.far is not None:
        s.far.coverage = s.opts.get((SOL_UDPLITE, SEND_CSCOV), 0)
        s.far.least = s.opts.get((SOL_UDPLITE, RECV_CSCOV), -1)


def passes(sender: UdpSocket, to: UdpSocket, size: int) -> bool:
    """Whether a receiver of the sandbox takes a datagram of ``size`` bytes: it may ask for a least coverage."""
    coverage = sender.opts.get((SOL_UDPLITE, SEND_CSCOV), 0)
    least = to.opts.get((SOL_UDPLITE, RECV_CSCOV), -1)
    return not 0 < coverage < size + 8 or enough(coverage, least)


def enough(coverage: int, least: int) -> bool:
    """Whether partial coverage is; ``least`` -1: nobody has asked, 0: the whole datagram."""
    return least < 0 or 0 < least <= coverage
