"""The ``lo`` of the network namespace: other sandboxes there (``--network container:X``, pods), and processes of the host that have entered
it (``kubectl port-forward``, ``nsenter``).

**Sandboxes** have one loopback and one set of ports. They meet with a packet socket each. Frames go to an Ethernet address that is no interface's, so the
host's stack drops them, and come from an address that tells the sandboxes apart. Two things travel: IP packets between own addresses
that nobody of the sender's waits for, which the stack takes as from an interface of its own; and who has which port (*claims*), told
to all at each change and when somebody new asks. A port that another claims can't be bound; one that nobody has is refused
once, by the sandbox that came first, which also answers pings.

**The host's stack** stays as it is on lo; what it sends to ports that are not its own (``sandbox/wirefilter.py``) comes here too, and what
nobody waits for is left to it. Its refusals alone it doesn't get: those that say of a port of a sandbox's that nobody is there end here, others are
sent on (by the first sandbox).

Whoever may send frames on ``lo`` is believed about ports: with CAP_NET_RAW in that namespace it could take the packets themselves.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Final, final

from .link import PacketLink
from .ports import ANY4, ANY6, EPHEMERAL, Addr, is_v4
from .stack.link import Offload
from .state import NET, mapped
from .tcp_local import TcpSocket

if TYPE_CHECKING:
    from .stack.interface import Interface

GROUP: Final = b"\x02nvsbx"  # where frames are sent to; the launcher's filter lets only these through (takeover.py)
ETH_CLAIMS: Final = b"\x88\xb5"  # IEEE 802 local experimental
HEAD: Final = struct.Struct("<4sBBH")  # magic, kind, 0, number of rows
ROW: Final = struct.Struct(">B16sH")  # protocol, address, port
MAGIC: Final = b"nvs1"
HELLO: Final = 1  # says nothing, asks all for theirs
ALL: Final = 2  # the sender's claims
ADD: Final = 3
DROP: Final = 4
MAX_ROWS: Final = 2048
MAX_SIBLINGS: Final = 64
MAX_HEARD: Final = 4096
PATIENCE: Final = 2 * 10**9  # ns
HOST_PORTS: Final = 65024  # and above: the host's stack's own
ETH_NONE: Final = bytes(6)  # lo's own address
RST: Final = 4
ACK: Final = 16
TURNS: Final = 8  # batches of frames read before a port is refused
Claim = tuple[int, bytes, int]  # protocol, address (16 bytes), port


@final
class SiblingLink:
    """Implements the stack's ``Link``: IP packets in frames for the others. ``send`` never waits."""

    __slots__ = ("checksums", "head", "host", "mac", "max_gso", "mtu", "owner", "wire")

    def __init__(self, sock: socket.socket, name: bytes, owner: Siblings) -> None:
        """``name``: the Ethernet address that is ours."""
        self.owner = owner
        self.host = ETH_NONE + name
        self.wire = PacketLink(sock, name, 65536)
        self.head = GROUP + name
        self.mac = b""
        self.mtu = 65535
        self.max_gso = 0
        self.checksums = True

    def send(self, parts: list[bytes], offload: Offload | None) -> bool:
        kind = b"\x86\xdd" if parts[0][:1] >= b"\x60" else b"\x08\0"
        if offload is not None:
            if offload.csum_start >= 0:
                offload.csum_start += 14
            offload.hdr_len += 14
        head = self.host if self.owner.is_hosts(parts) else self.head
        return self.wire.send([head + kind + parts[0], *parts[1:]], offload)

    def relay(self, frame: bytes, start: int) -> None:
        """A refusal of the host's stack that is right goes where it was sent to. ``start``: of a TCP segment whose checksum is unfinished, or -1."""
        self.wire.send([self.host + frame[12:]], Offload(start, 16) if start >= 0 else None)

    def tell(self, kind: int, claims: list[Claim]) -> None:
        rows = b"".join(ROW.pack(*c) for c in claims[:MAX_ROWS])
        n = len(rows) // ROW.size
        self.wire.send([self.head + ETH_CLAIMS + HEAD.pack(MAGIC, kind, 0, n) + rows], None)


@final
class Siblings:
    """``shared``: there are others. ``claims``: what the others have, by their names; ``before``: what they had said before all were asked again, believed a
    moment longer. ``heard``: addresses that datagrams came from, newest last."""

    __slots__ = (
        "before",
        "before_until",
        "claims",
        "heard",
        "leader",
        "link",
        "mine",
        "name",
        "shared",
        "under",
    )

    def __init__(self, sock: socket.socket) -> None:
        stack = NET.stack
        assert stack is not None
        self.name = b"\x02" + os.urandom(5)
        self.shared = False
        self.link = SiblingLink(sock, self.name, self)
        self.claims: dict[bytes, set[Claim]] = {}
        self.before: dict[bytes, set[Claim]] = {}
        self.before_until = 0
        self.heard: dict[Addr, None] = {}
        self.mine: dict[Claim, int] = {}
        self.leader = False
        self.under: Interface = stack.add_interface("lo", 1, self.link)
        stack.lo = self.under

    def changed(self, shared: bool, leader: bool) -> None:
        """Somebody may have come or gone: everybody says again what is theirs."""
        stack = NET.stack
        assert stack is not None
        self.leader = leader
        self.shared = shared
        if not shared:
            stack.others = None
            self.claims, self.before = {}, {}
            return
        stack.others = self
        self.before, self.claims = self.claims, {}
        self.before_until = time.monotonic_ns() + PATIENCE
        self.link.tell(HELLO, [])
        self.link.tell(ALL, list(self.mine))

    # Our own
    def claim(self, proto: int, a: Addr) -> None:
        """A socket of ours has a port."""
        key = (proto, a[0], a[1])
        n = self.mine.get(key, 0)
        self.mine[key] = n + 1
        if not n and self.shared:
            self.link.tell(ADD, [key])

    def disclaim(self, proto: int, a: Addr) -> None:
        key = (proto, a[0], a[1])
        n = self.mine.pop(key, 0)
        if n > 1:
            self.mine[key] = n - 1
        elif n and self.shared:
            self.link.tell(DROP, [key])

    # The others'
    def has(self, proto: int, ip: bytes, port: int) -> bool:
        """Whether another has somebody at an own address (16 bytes) and port."""
        wild = ANY4 if is_v4(ip) else ANY6
        if self.before and time.monotonic_ns() > self.before_until:
            self.before = {}
        for theirs in [*self.claims.values(), *self.before.values()]:
            if (proto, ip, port) in theirs or (proto, wild, port) in theirs:
                return True
            if is_v4(ip) and (proto, ANY6, port) in theirs:
                return True
            if ip in (ANY4, ANY6) and any(c[0] == proto and c[2] == port for c in theirs):
                return True
        return False

    def knows(self, a: Addr) -> bool:
        """Whether a datagram to an own address is for somebody else: it has the port, or has sent from it."""
        if a in self.heard:
            return True
        if not self.shared:
            return False
        self.catch_up()
        return self.has(17, a[0], a[1])

    def hears(self, a: Addr) -> None:
        """A datagram came over ``lo``."""
        if a in self.heard:
            return
        if len(self.heard) >= MAX_HEARD:
            del self.heard[next(iter(self.heard))]
        self.heard[a] = None

    def taken(self, proto: int, ip: bytes, port: int) -> bool:
        """Whether another has a port: one that listens, or a datagram socket bound to it."""
        if not self.shared:
            return False
        self.catch_up()
        return self.has(proto, ip, port)

    # What the stack asks
    def leads(self) -> bool:
        return self.leader

    def refuses(self, proto: int, ip: bytes, port: int) -> bool:
        # Ports given out for one exchange are not told, so silence is all there is for them.
        if not self.leader or EPHEMERAL[0] <= port <= EPHEMERAL[1]:
            return False
        self.catch_up()
        return not self.has(proto, mapped(ip), port)

    # Frames
    def catch_up(self) -> None:
        """Claims may lie in the queue behind what made us ask."""
        for _ in range(TURNS):
            before = self.link.wire.rx_packets
            self.receive()
            if self.link.wire.rx_packets == before:
                return

    def receive(self) -> bool:
        """A batch; False: the interface is gone."""
        return self.link.wire.receive(self._frame)

    def _frame(self, frame: bytes, good: bool, gso: int) -> None:
        if len(frame) < 14 or frame[6:12] == self.name:
            return
        kind = frame[12:14]
        if frame[:6] == ETH_NONE and frame[6:12] == ETH_NONE:
            if self._refusal(frame, good):
                return
        elif frame[:6] != GROUP:
            return
        if kind == ETH_CLAIMS:
            self._told(frame[6:12], frame[14:])
        elif kind in (b"\x08\0", b"\x86\xdd") and NET.stack is not None:
            NET.stack.receive(self.under, frame[14:], good, gso)

    def is_hosts(self, parts: list[bytes]) -> bool:
        """Whether a packet of ours goes to the host's stack: to one of its ports that no sandbox has."""
        packet = parts[0] if len(parts[0]) >= 44 or len(parts) < 2 else parts[0] + parts[1][:4]
        v4 = packet[:1] < b"\x60"
        if len(packet) < (24 if v4 else 44) or (v4 and packet[7] | packet[6] & 0x1F):
            return False
        at, proto = (20, packet[9]) if v4 else (40, packet[6])
        port = packet[at + 2] << 8 | packet[at + 3]
        if proto not in (6, 17) or port < HOST_PORTS:
            return False
        return not (
            self.shared and self.has(proto, mapped(packet[16:20] if v4 else packet[24:40]), port)
        )

    def _refusal(self, frame: bytes, unfinished: bool) -> bool:
        """Whether a frame of the host's stack is one that says that nobody is at a port; if so, it is dealt with."""
        v4 = frame[12:14] == b"\x08\0"
        at = 14 + max(frame[14] & 15, 5) * 4 if v4 and len(frame) > 14 else 54
        if len(frame) < at + 8:
            return True
        proto = frame[23] if v4 else frame[20]
        if proto == 17:
            return False
        src, dst = (frame[26:30], frame[30:34]) if v4 else (frame[22:38], frame[38:54])
        stack = NET.stack
        assert stack is not None
        if proto == 6:
            if len(frame) < at + 20 or not frame[at + 13] & RST:
                return False
            port = frame[at] << 8 | frame[at + 1]
            if port >= HOST_PORTS:  # of the other side of a connection of ours
                return False
            ours = stack.tcp.has(dst + src + frame[at + 2 : at + 4] + frame[at : at + 2])
            answers_syn = frame[at + 13] & ACK and frame[at + 4 : at + 8] == bytes(4)
        else:
            inner = at + 8
            quoted = inner + 40
            if v4 and len(frame) > inner:
                quoted = inner + max(frame[inner] & 15, 5) * 4
            if len(frame) < quoted + 4 or frame[inner + (9 if v4 else 6)] != 17:
                return True
            proto, port, ours, answers_syn = (
                17,
                frame[quoted + 2] << 8 | frame[quoted + 3],
                False,
                True,
            )
        ip = mapped(src)
        ours = ours or any(
            not isinstance(s, TcpSocket) or s.listening()
            for s in (NET.tcp if proto == 6 else NET.udp).lookup(ip, port)
        )
        if self.shared and not ours:  # what the others are in the middle of they don't tell
            ours = not self.leader or not answers_syn or self.taken(proto, ip, port)
        if not ours:
            self.link.relay(frame, at if proto == 6 and unfinished else -1)
        return True

    def _told(self, who: bytes, body: bytes) -> None:
        """Claims of ``who``; nothing else happens than that they are noted."""
        if len(body) < HEAD.size:
            return
        magic, kind, _zero, n = HEAD.unpack_from(body)
        if magic != MAGIC or n > MAX_ROWS or len(body) < HEAD.size + n * ROW.size:
            return
        if kind == HELLO:
            self.link.tell(ALL, list(self.mine))
            return
        theirs = self.claims.get(who)
        if theirs is None:
            if len(self.claims) >= MAX_SIBLINGS:
                return
            theirs = self.claims[who] = set()
        rows = set(ROW.iter_unpack(body[HEAD.size : HEAD.size + n * ROW.size]))
        if kind == ALL:
            self.claims[who] = rows
        elif kind == ADD and len(theirs) + n <= MAX_ROWS:
            theirs |= rows
        elif kind == DROP:
            theirs -= rows
