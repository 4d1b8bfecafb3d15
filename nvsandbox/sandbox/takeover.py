"""Taking over a container's network namespace for --network=sandbox: what the Sentry's own stack gets, and how the host's is silenced.

Whoever stands outside (the launcher, or the pid-file process) makes one packet socket for each Ethernet interface and tells the
Sentry, now and after each change, everything that is configured: links, addresses, routes. Nothing of it is taken away from the host's
stack, for an engine's own sockets live there (Docker's resolver); instead a classifier at ingress, behind the point at which packet sockets get
their copy, lets the host's stack see only ARP, neighbour discovery and what goes to ports of its own (PORT_RANGE). So it resets no
connection of the sandbox's and answers no ping of its. Which frames those are: ``wirefilter.py``.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from typing import Any, Final, final

from .. import rtattr
from ..failure import Failure, reason
from .config import SandboxConfig
from .rtnl import (
    CHANGES,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELTFILTER,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    Netlink,
)
from .wirefilter import CAPTURE, INGRESS, LO_CAPTURE, LO_INGRESS, PORT_RANGE

LOCAL_RANGE: Final = "/proc/sys/net/ipv4/ip_local_port_range"
DEFAULT_RANGE: Final = "32768 60999"  # Linux's
ARPHRD_ETHER: Final = 1
IFF_LOOPBACK: Final = 8
ETH_P_ALL: Final = 3
SOL_PACKET: Final = 263
PACKET_VNET_HDR: Final = 15
PACKET_IGNORE_OUTGOING: Final = 23
SO_ATTACH_FILTER: Final = 26
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
RCVBUF: Final = (
    8 << 20
)  # bytes: two long windows at full speed while the Sentry does something else
SNDBUF: Final = 4 << 20
TC_H_CLSACT: Final = 0xFFFFFFF1
TC_H_CLSACT_INGRESS: Final = 0xFFFFFFF2
TCA_KIND: Final = 1
TCA_OPTIONS: Final = 2
TCA_BPF_OPS_LEN: Final = 4
TCA_BPF_OPS: Final = 5
TCA_BPF_FLAGS: Final = 8
RT_TABLE_MAIN: Final = 254
NUD_PERMANENT: Final = 0x80
REGISTRY: Final = "\0nvsandbox-network"
MAX_OTHERS: Final = 64
MAX_LINKS: Final = 64
MAX_ROUTES: Final = 4096
DNS: Final = ("127.0.0.11", 53)  # Docker's resolver
LO: Final = 1  # the index of lo in every namespace
# With these the host's stack takes from a sandbox what comes from its own addresses over lo, and nowhere else.
LO_ACCEPTS: Final = ("accept_local", "route_localnet")


def silence(nl: Netlink, index: int, code: bytes = INGRESS) -> None:
    """Has the host's stack see of an interface only what a program leaves it. Raises OSError."""
    head = struct.pack("<BxxxiIII", 0, index, 0xFFFF0000, TC_H_CLSACT, 0)
    try:
        nl.change(
            RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, head + rtattr.pack(TCA_KIND, b"clsact\0")
        )
    except OSError as e:
        if e.errno != errno.EEXIST:
            raise
    options = (
        rtattr.pack(TCA_BPF_OPS_LEN, struct.pack("<H", len(code) // 8))
        + rtattr.pack(TCA_BPF_OPS, code)
        + rtattr.pack(TCA_BPF_FLAGS, struct.pack("<I", 1))  # the result is the action
    )
    body = _classifier(index) + rtattr.pack(TCA_OPTIONS, options)
    try:
        nl.change(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, body)
    except OSError as e:
        if e.errno != errno.EEXIST:  # another sandbox of this namespace was here first
            raise


def _classifier(index: int) -> bytes:
    """``struct tcmsg`` of ours: priority 1, every protocol."""
    info = 1 << 16 | socket.htons(ETH_P_ALL)
    head = struct.pack("<BxxxiIII", 0, index, 1, TC_H_CLSACT_INGRESS, info)
    return head + rtattr.pack(TCA_KIND, b"bpf\0")


def packet_socket(index: int, code: bytes = CAPTURE) -> socket.socket:
    """A packet socket of one interface that carries virtio-net headers and takes what a program lets through. Raises OSError."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        program = bytearray(code)
        view = (len(code) // 8).to_bytes(8, "little") + _address(program).to_bytes(8, "little")
        s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, view)
        for option, size in ((SO_RCVBUFFORCE, RCVBUF), (SO_SNDBUFFORCE, SNDBUF)):
            with contextlib.suppress(PermissionError):  # in a user namespace: net.core's limits
                s.setsockopt(socket.SOL_SOCKET, option, size)
        s.bind((socket.if_indextoname(index), ETH_P_ALL))
        s.setblocking(False)
    except OSError:
        s.close()
        raise
    return s


def _address(data: bytearray) -> int:
    from ..platform.native._native import ffi

    return int(ffi.cast("uintptr_t", ffi.from_buffer(data)))


def snapshot(nl: Netlink) -> dict[str, Any]:
    """Links, addresses, routes of the main table, permanent neighbours; addresses in hexadecimal. Raises OSError."""
    links = []
    for _kind, raw in nl.dump(RTM_GETLINK, struct.pack("<BxHiII", 0, 0, 0, 0, 0)):
        arp, index, flags = struct.unpack_from("<HiI", raw, 2)
        a = rtattr.parse(raw[16:])
        links.append({
            "index": index, "type": arp, "flags": flags, "name": a.get(3, b"").rstrip(b"\0").decode("latin-1"),
            "mac": a.get(1, b"").hex(), "mtu": _u32(a.get(4)), "qlen": _u32(a.get(13)),
        })  # fmt: skip
    addresses = []
    for _kind, raw in nl.dump(RTM_GETADDR, struct.pack("<BBBBI", 0, 0, 0, 0, 0)):
        family, length, flags, scope, index = struct.unpack_from("<BBBBI", raw)
        a = rtattr.parse(raw[8:])
        addresses.append({
            "family": family, "prefix": length, "scope": scope, "index": index,
            "flags": _u32(a.get(8)) or flags, "ip": (a.get(2) or a.get(1, b"")).hex(),
            "peer": a.get(1, b"").hex(), "broadcast": a.get(4, b"").hex(),
            "label": a.get(3, b"").rstrip(b"\0").decode("latin-1"),
        })  # fmt: skip
    routes = []
    for _kind, raw in nl.dump(RTM_GETROUTE, struct.pack("<BBBBBBBBI", *(0,) * 9)):
        family, dlen, _slen, _tos, table, proto, scope, kind, flags = struct.unpack_from(
            "<8BI", raw
        )
        a = rtattr.parse(raw[12:])
        if table != RT_TABLE_MAIN or family not in (socket.AF_INET, socket.AF_INET6):
            continue
        routes.append({
            "family": family, "prefix": dlen, "proto": proto, "scope": scope, "type": kind, "flags": flags,
            "dst": a.get(1, b"").hex(), "gateway": a.get(5, b"").hex(), "source": a.get(7, b"").hex(),
            "index": _u32(a.get(4)), "metric": _u32(a.get(6)),
        })  # fmt: skip
    neighbours = []
    for _kind, raw in nl.dump(RTM_GETNEIGH, struct.pack("<BxxxiHBB", 0, 0, 0, 0, 0)):
        family, index, state = struct.unpack_from("<BxxxiH", raw)
        a = rtattr.parse(raw[12:])
        if state & NUD_PERMANENT and family in (socket.AF_INET, socket.AF_INET6):
            neighbours.append(
                {"index": index, "ip": a.get(1, b"").hex(), "mac": a.get(2, b"").hex()}
            )
    return {
        "links": links[:MAX_LINKS], "addresses": addresses[:MAX_ROUTES], "routes": routes[:MAX_ROUTES],
        "neighbours": neighbours[:MAX_ROUTES],
    }  # fmt: skip


def _u32(raw: bytes | None) -> int:
    return struct.unpack("<I", raw)[0] if raw is not None and len(raw) == 4 else 0


@final
class Others:
    """Whether other sandboxes have the namespace too: then none may refuse what another may be waiting for.

    The first listens on an abstract Unix socket, whose names are the namespace's; others are connected to it. When it ends,
    another takes its place.
    """

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.listener: socket.socket | None = None
        self.connections: list[socket.socket] = []
        self.look()

    def fds(self) -> set[int]:
        """Descriptors to keep open."""
        own = [self.listener] if self.listener is not None else []
        return {self.epoll.fileno(), *(s.fileno() for s in [*own, *self.connections])}

    def look(self) -> bool:
        """Whether there are others now."""
        for c in list(self.connections):
            try:
                gone = c.recv(64) == b""
            except BlockingIOError:
                continue
            except OSError:
                gone = True
            if gone:
                self.connections.remove(c)
                c.close()
        if self.listener is None and not self.connections:
            self._join()
        while self.listener is not None and len(self.connections) < MAX_OTHERS:
            try:
                self._add(self.listener.accept()[0])
            except OSError:
                break
        return bool(self.connections)

    def _join(self) -> None:
        for _ in range(3):  # the first may end between the two attempts
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            s.setblocking(False)
            try:
                s.bind(REGISTRY)
                s.listen(MAX_OTHERS)
                self.listener = s
                self.epoll.register(s, select.EPOLLIN)
                return
            except OSError:
                pass
            try:
                s.connect(REGISTRY)
                self._add(s)
                return
            except OSError:
                s.close()

    def _add(self, s: socket.socket) -> None:
        s.setblocking(False)
        self.epoll.register(s, select.EPOLLIN)
        self.connections.append(s)


@final
class Takeover:
    """Keeps the network namespace we are in for a Sentry."""

    def __init__(self, alone: bool = False, ports: str = DEFAULT_RANGE) -> None:
        """``alone``: nobody else is in the namespace: no engine's resolver, no process that enters it. ``ports``: what
        ip_local_port_range is to be in the end. Raises Failure."""
        self.alone = alone
        self.ports = ports
        self.lo_was: list[tuple[str, str]] = []
        try:
            self.nl = Netlink()
            self.events = Netlink(CHANGES)
        except OSError as e:
            raise Failure(f"--network=sandbox: routing netlink: {reason(e)}") from None
        self.taken: set[int] = set()
        self.met = False  # the Sentry has a socket on the loopback interface
        self.others = Others()
        self.changes = select.epoll()
        self.changes.register(self.events.sock, select.EPOLLIN)
        self.changes.register(self.others.epoll, select.EPOLLIN)
        self.resolver = None if alone else resolver_socket()

    def fds(self) -> set[int]:
        """Descriptors to keep open."""
        return {
            self.nl.sock.fileno(), self.events.sock.fileno(), self.changes.fileno(), *self.others.fds(),
        }  # fmt: skip

    def close(self) -> None:
        """The sandbox is gone: unless others have the namespace, the host's stack hears everything again."""
        if self.others.look():
            return
        for index in [*self.taken, *([LO] if self.met else [])]:
            with contextlib.suppress(OSError):  # the interface may be gone
                self.nl.change(RTM_DELTFILTER, 0, _classifier(index))
        for path, value in self.lo_was:
            with contextlib.suppress(OSError):
                _write(path, value)
        with contextlib.suppress(OSError), open(LOCAL_RANGE, "r+") as f:
            if f.read().split() == PORT_RANGE["net.ipv4.ip_local_port_range"].split():
                f.seek(0)
                f.write(self.ports)

    def order(self) -> tuple[dict[str, Any], list[socket.socket]]:
        """The message that tells the Sentry all there is, with sockets for the interfaces that it has none for (and, once,
        for the resolver). Raises Failure."""
        self.events.drain()
        shared = self.others.look()
        leader = self.others.listener is not None
        try:
            now = snapshot(self.nl)
            sockets: list[socket.socket] = []
            present = set()
            for link in now["links"]:
                index = link["index"]
                present.add(index)
                if link["type"] != ARPHRD_ETHER or link["flags"] & IFF_LOOPBACK:
                    continue
                if index not in self.taken:
                    silence(self.nl, index)
                    sockets.append(packet_socket(index))
                    link["socket"] = len(sockets) - 1
                    self.taken.add(index)
            self.taken &= present
            if not self.alone and not self.met:
                self._open_loopback()
                now["lo"] = len(sockets)
                sockets.append(packet_socket(LO, LO_CAPTURE))
                self.met = True
            if self.resolver is not None:
                now["resolver"] = len(sockets)
                sockets.append(self.resolver)
                self.resolver = None
        except OSError as e:
            raise Failure(
                f"--network=sandbox: take over the network namespace: {reason(e)}"
            ) from None
        return {"op": "network", "shared": shared, "leader": leader, **now}, sockets

    def _open_loopback(self) -> None:
        """Processes that enter the namespace (kubectl port-forward, nsenter) reach the sandbox over lo. Raises OSError."""
        silence(self.nl, LO, LO_INGRESS)
        for name in LO_ACCEPTS:
            path = f"/proc/sys/net/ipv4/conf/lo/{name}"
            with contextlib.suppress(OSError):  # not ours to change: then over IPv6 only
                was = _write(path, "1")
                if was != "1":
                    self.lo_was.append((path, was))


def _write(path: str, value: str) -> str:
    """Sets a sysctl; what it was. Raises OSError."""
    with open(path, "r+") as f:
        was = f.read().strip()
        f.seek(0)
        f.write(value)
    return was


def resolver_socket() -> socket.socket | None:
    """A socket to Docker's resolver, which listens in the namespace we are in; None without an IPv4 loopback."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        s.connect(DNS)
    except OSError:
        s.close()
        return None
    s.setblocking(False)
    return s


def nameservers(config: SandboxConfig) -> list[str]:
    """The addresses in the sandbox's /etc/resolv.conf as the operator has given it."""
    path = b"/etc/resolv.conf"
    mounted = [m.source for m in config.mounts if m.target == path]
    text = config.files.get(path)
    if text is None:
        try:
            with open(
                mounted[-1] if mounted else config.root.source + "/etc/resolv.conf", "rb"
            ) as f:
                text = f.read(65536)
        except OSError:
            return []
    found = []
    for line in text.decode("latin-1").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            with contextlib.suppress(OSError):
                socket.inet_pton(socket.AF_INET6 if ":" in words[1] else socket.AF_INET, words[1])
                found.append(words[1])
    return found
