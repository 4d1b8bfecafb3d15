"""net.* parameters that something here obeys (Linux: Documentation/networking/ip-sysctl.rst), set before the first program starts."""

from __future__ import annotations

from typing import Final

from . import inet_family, ports
from .state import NET

FORWARDING: Final[dict[bytes, str]] = {
    b"net.ipv4.ip_forward": "forward4", b"net.ipv4.conf.all.forwarding": "forward4", b"net.ipv6.conf.all.forwarding": "forward6",
    b"net.ipv4.conf.all.route_localnet": "route_localnet",
}  # fmt: skip
PARAMETERS: Final[dict[bytes, str]] = {**FORWARDING, b"net.ipv4.tcp_fastopen": "fastopen"}


def obey(name: bytes, value: bytes) -> None:
    """A parameter by its name with dots; what nothing obeys and what is no number changes nothing."""
    try:
        numbers = [int(n) for n in value.split()]
    except ValueError:
        return
    if name == b"net.ipv4.ip_local_port_range" and len(numbers) == 2:
        low, high = numbers
        if 1 <= low <= high <= 65535:
            ports.EPHEMERAL[:] = [low, high]
    elif name == b"net.ipv4.ip_unprivileged_port_start" and len(numbers) == 1:
        if 0 <= numbers[0] <= 65535:
            ports.UNPRIVILEGED[0] = numbers[0]
    elif name == b"net.ipv4.ping_group_range" and len(numbers) == 2:
        inet_family.PING_GROUPS[:] = numbers
    elif name in FORWARDING and len(numbers) == 1:
        setattr(NET, FORWARDING[name], int(numbers[0] != 0))
        NET.tell_stack()
    elif name == b"net.ipv4.tcp_fastopen" and len(numbers) == 1:
        NET.fastopen = numbers[0]
        NET.tell_stack()
    elif name == b"net.core.somaxconn" and len(numbers) == 1 and numbers[0] > 0:
        ports.BACKLOG[0] = min(numbers[0], 65535)
