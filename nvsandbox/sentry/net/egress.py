"""--egress: where programs may send to, on which ports; without a rule everywhere. Connections from outside are not its business.

A rule is ``allow:HOST[:PORT]``: an address, a network in CIDR notation or a DNS name (``*.`` in front: all below it). Names
are learned from the answers of the sandbox's own name servers and of nobody else, since a program that could choose its server
could also choose the answer. To those servers only questions for allowed names pass, over UDP: names carry data too.
"""

from __future__ import annotations

import logging
from typing import Final, final

from .state import text, unmapped

log = logging.getLogger("nvsandbox.net")
DNS_PORT: Final = 53
MAX_LEARNED: Final = 8192
MAX_TOLD: Final = 1000  # lines in the log
MAX_NAMES: Final = 64  # records looked at in one answer
TYPE_A: Final = 1
TYPE_CNAME: Final = 5
TYPE_AAAA: Final = 28


@final
class Rule:
    """``network`` and ``bits`` for addresses (4 or 16 bytes), else ``name`` in lower case. ``port`` 0: any."""

    __slots__ = ("below", "bits", "name", "network", "port")

    def __init__(self, name: str, network: bytes, bits: int, port: int) -> None:
        self.below = name.startswith("*.")
        self.name = name[1:] if self.below else name  # with its dot: a suffix
        self.network = network
        self.bits = bits
        self.port = port

    def takes_name(self, name: str) -> bool:
        if not self.name:
            return False
        return name.endswith(self.name) if self.below else name == self.name

    def takes(self, ip: bytes, port: int) -> bool:
        if self.name or len(ip) != len(self.network) or self.port not in (0, port):
            return False
        shift = 8 * len(ip) - self.bits
        return int.from_bytes(ip, "big") >> shift == int.from_bytes(self.network, "big") >> shift


def parse(rule: str) -> Rule:
    """Raises ValueError with what is wrong."""
    action, _, rest = rule.partition(":")
    if action != "allow" or not rest:
        raise ValueError("expected allow:HOST[:PORT]")
    host, port = rest, ""
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError("expected allow:[ADDRESS]:PORT")
        port = port[1:]
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"`{port}` is no port")
    number = int(port) if port else 0
    import ipaddress

    try:
        network = ipaddress.ip_network(host, strict=False)
    except ValueError:
        name = host.lower().rstrip(".")
        labels = name.removeprefix("*.").split(".")
        if not all(
            0 < len(x) < 64 and x.replace("-", "").replace("_", "").isalnum() for x in labels
        ):
            raise ValueError(f"`{host}` is neither an address, a network nor a name") from None
        if labels[-1].isdigit() or "/" in host:
            raise ValueError(f"`{host}` is no address") from None
        return Rule(name, b"", 0, number)
    return Rule("", network.network_address.packed, network.prefixlen, number)


@final
class Egress:
    """``servers``: the sandbox's name servers (4 or 16 bytes). ``refused`` counts what was not let out."""

    __slots__ = ("learned", "refused", "rules", "servers", "told")

    def __init__(self, rules: list[str], servers: list[bytes]) -> None:
        """Raises ValueError."""
        self.rules = [parse(r) for r in rules]
        self.servers = frozenset(servers)
        self.learned: dict[bytes, list[Rule]] = {}
        self.refused = 0
        self.told: set[tuple[str, bytes, int]] = set()

    def allows(self, protocol: str, ip: bytes, port: int, data: bytes | None = None) -> bool:
        """Whether something may go to an address (16 bytes); ``data``: the datagram."""
        if not self.rules:
            return True
        ip = unmapped(ip)
        if any(r.takes(ip, port) for r in self.rules):
            return True
        if any(r.port in (0, port) for r in self.learned.get(ip, ())):
            return True
        asked = ""
        if data is not None and port == DNS_PORT and ip in self.servers:
            asked = question(data)
            if any(r.takes_name(asked) for r in self.rules):
                return True
        self._refuse(protocol, ip, port, asked)
        return False

    def _refuse(self, protocol: str, ip: bytes, port: int, asked: str) -> None:
        self.refused += 1
        key = (protocol + asked, ip, port)
        if key not in self.told and len(self.told) < MAX_TOLD:
            self.told.add(key)
            about = f", question for `{asked}`" if asked else ""
            log.warning("egress refused: %s to %s port %d%s", protocol, text(ip), port, about)

    def hears(self, ip: bytes, port: int, data: bytes) -> None:
        """Something has come: learns from it if it is a name server's answer."""
        if self.rules and port == DNS_PORT and unmapped(ip) in self.servers:
            for name, address in answers(data):
                for r in self.rules:
                    if r.takes_name(name) and len(self.learned) < MAX_LEARNED:
                        have = self.learned.setdefault(address, [])
                        if r not in have:
                            have.append(r)


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name and where what follows it is (RFC 1035 section 4.1.4). Raises IndexError, ValueError."""
    labels: list[str] = []
    end = -1
    for _ in range(128):
        n = data[at]
        if n >= 0xC0:
            if end < 0:
                end = at + 2
            at = (n & 0x3F) << 8 | data[at + 1]
        elif n == 0:
            return ".".join(labels).lower(), end if end >= 0 else at + 1
        elif n > 63 or at + 1 + n > len(data):
            raise ValueError
        else:
            labels.append(data[at + 1 : at + 1 + n].decode("latin-1"))
            at += 1 + n
    raise ValueError


def question(data: bytes) -> str:
    """The name that a query asks for; empty for what is no query of one name."""
    try:
        if len(data) < 17 or data[2] & 0xF8 or data[4:6] != b"\0\1":
            return ""
        return _name(data, 12)[0]
    except (IndexError, ValueError):
        return ""


def answers(data: bytes) -> list[tuple[str, bytes]]:
    """Addresses in an answer, each with the name that was asked for, through its aliases."""
    out: list[tuple[str, bytes]] = []
    try:
        if not data[2] & 0x80 or data[3] & 15 or data[4:6] != b"\0\1":
            return out
        asked, at = _name(data, 12)
        at += 4
        aliases = {asked}
        for _ in range(min(int.from_bytes(data[6:8], "big"), MAX_NAMES)):
            owner, at = _name(data, at)
            kind = int.from_bytes(data[at : at + 2], "big")
            size = int.from_bytes(data[at + 8 : at + 10], "big")
            at += 10
            body = data[at : at + size]
            if len(body) < size:
                break
            if owner in aliases:
                if kind == TYPE_CNAME:
                    aliases.add(_name(data, at)[0])
                elif (kind, size) in ((TYPE_A, 4), (TYPE_AAAA, 16)):
                    out.append((asked, body))
            at += size
    except (IndexError, ValueError):
        pass
    return out
