"""Which frames the host's stack sees and which our own, in a network namespace that is taken over: classic BPF programs (linux/filter.h).

On an Ethernet interface the two share what comes by port. On ``lo`` the host's stack keeps everything (processes that have entered the
namespace talk to each other) but its refusals, for it can't know who listens in a sandbox: those go by way of the Sentry
(``sentry/net/siblings.py``).
"""

from __future__ import annotations

import struct
from typing import Final

# Ports of the host's own sockets in the namespace: 512 of them, aligned, so that one mask tells.
PORT_MASK: Final = 0xFE00
PORT_RANGE: Final = {"net.ipv4.ip_local_port_range": "65024 65535"}
SIBLINGS: Final = b"\x02nvsbx"  # the Ethernet address at which sandboxes of one namespace meet (sentry/net/siblings.py)
TC_ACT_UNSPEC: Final = 0xFFFFFFFF
TC_ACT_SHOT: Final = 2
ALL: Final = 0xFFFFFFFF
RESOLVER: Final = 0x7F00000B  # 127.0.0.11: an engine's, on the host's stack

LD: Final = 0x20
LDH: Final = 0x28
LDB: Final = 0x30
LDH_X: Final = 0x48  # at X + k
LDB_X: Final = 0x50
LDX_MSH: Final = 0xB1  # X = length of the IPv4 header at k
JEQ: Final = 0x15
JGE: Final = 0x35
JSET: Final = 0x45
AND: Final = 0x54
RET: Final = 0x06

# Name of the line or "", operation, its number, where to go on if a comparison holds and if not ("": the next line).
Line = tuple[str, int, int, str, str]


def _assemble(lines: list[Line], results: dict[str, int]) -> bytes:
    """A program; ``results``: names of what can be returned."""
    lines = [*lines, *((name, RET, value, "", "") for name, value in results.items())]
    where = {name: i for i, (name, *_rest) in enumerate(lines) if name}
    out = b""
    for i, (_name, op, k, t, f) in enumerate(lines):
        jt, jf = (where[x] - i - 1 if x else 0 for x in (t, f))
        out += struct.pack("<HBBI", op, jt, jf, k)
    return out


def _by_port(host: int, other: int, both: int) -> bytes:
    """Returns ``host`` for what the host's stack must see, ``both`` for what both must, else ``other``."""
    lines: list[Line] = [
        ("", LDH, 12, "", ""),
        ("", JEQ, 0x0806, "BOTH", ""),
        ("", JEQ, 0x86DD, "six", ""),
        ("", JEQ, 0x0800, "", "OTHER"),
        ("", LDB, 23, "", ""),
        ("", JEQ, 6, "four", ""),
        ("", JEQ, 17, "four", "OTHER"),
        ("four", LDH, 20, "", ""),
        ("", JSET, 0x1FFF, "OTHER", ""),  # a later fragment has no ports
        ("", LDX_MSH, 14, "", ""),
        ("", LDH_X, 16, "", ""),
        ("ports", AND, PORT_MASK, "", ""),
        ("", JEQ, PORT_MASK, "HOST", "OTHER"),
        ("six", LDB, 20, "", ""),
        ("", JEQ, 58, "icmp", ""),
        ("", JEQ, 6, "sixports", ""),
        ("", JEQ, 17, "", "OTHER"),
        ("sixports", LDH, 56, "", ""),
        ("", AND, PORT_MASK, "", ""),
        ("", JEQ, PORT_MASK, "HOST", "OTHER"),
        ("icmp", LDB, 54, "", ""),
        ("", JGE, 133, "", "OTHER"),  # router and neighbour discovery, redirect: RFC 4861
        ("", JGE, 138, "OTHER", "BOTH"),
    ]
    return _assemble(lines, {"HOST": host, "OTHER": other, "BOTH": both})


def _on_loopback(to_us: int, refusal: int, other: int, siblings: int) -> bytes:
    """On frames of ``lo``: ``siblings`` for those of sandboxes to each other; of the host's stack's own ``to_us`` for TCP and UDP to
    ports that are not the host's, ``refusal`` for its resets and "port unreachable" from such ports; ``other`` for the rest.

    Frames of the host's stack have no source address there, those of sandboxes have."""
    high, low = struct.unpack(">IH", SIBLINGS)
    lines: list[Line] = [
        ("", LD, 0, "", ""),
        ("", JEQ, high, "", "host"),
        ("", LDH, 4, "", ""),
        ("", JEQ, low, "SIBLINGS", "OTHER"),
        ("host", LD, 6, "", ""),
        ("", JEQ, 0, "", "OTHER"),
        ("", LDH, 10, "", ""),
        ("", JEQ, 0, "", "OTHER"),
        ("", LDH, 12, "", ""),
        ("", JEQ, 0x86DD, "six", ""),
        ("", JEQ, 0x0800, "", "OTHER"),
        ("", LD, 26, "", ""),
        ("", JEQ, RESOLVER, "OTHER", ""),
        ("", LD, 30, "", ""),
        ("", JEQ, RESOLVER, "OTHER", ""),
        ("", LDH, 20, "", ""),
        ("", JSET, 0x1FFF, "OTHER", ""),
        ("", LDX_MSH, 14, "", ""),
        ("", LDB, 23, "", ""),
        ("", JEQ, 6, "tcp", ""),
        ("", JEQ, 1, "icmp", ""),
        ("", JEQ, 17, "to", "OTHER"),
        ("tcp", LDB_X, 27, "", ""),
        ("", JSET, 4, "", "to"),  # RST
        ("", LDH_X, 14, "", ""),
        ("", AND, PORT_MASK, "", ""),
        ("", JEQ, PORT_MASK, "to", "REFUSAL"),
        ("to", LDH_X, 16, "", ""),
        ("", AND, PORT_MASK, "", ""),
        ("", JEQ, PORT_MASK, "OTHER", "TO_US"),
        ("icmp", LDH_X, 14, "", ""),
        ("", JEQ, 0x0303, "REFUSAL", "OTHER"),  # port unreachable, RFC 792
        ("six", LDB, 20, "", ""),
        ("", JEQ, 6, "tcp6", ""),
        ("", JEQ, 58, "icmp6", ""),
        ("", JEQ, 17, "to6", "OTHER"),
        ("tcp6", LDB, 67, "", ""),
        ("", JSET, 4, "", "to6"),
        ("", LDH, 54, "", ""),
        ("", AND, PORT_MASK, "", ""),
        ("", JEQ, PORT_MASK, "to6", "REFUSAL"),
        ("to6", LDH, 56, "", ""),
        ("", AND, PORT_MASK, "", ""),
        ("", JEQ, PORT_MASK, "OTHER", "TO_US"),
        ("icmp6", LDH, 54, "", ""),
        ("", JEQ, 0x0104, "REFUSAL", "OTHER"),  # RFC 4443
    ]
    results = {"TO_US": to_us, "REFUSAL": refusal, "SIBLINGS": siblings, "OTHER": other}
    return _assemble(lines, results)


# As classifiers at ingress (behind the point at which packet sockets get their copy), as filters of packet sockets.
INGRESS: Final = _by_port(TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_UNSPEC)
CAPTURE: Final = _by_port(0, ALL, ALL)
LO_INGRESS: Final = _on_loopback(TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_UNSPEC, TC_ACT_SHOT)
LO_CAPTURE: Final = _on_loopback(ALL, ALL, 0, ALL)
