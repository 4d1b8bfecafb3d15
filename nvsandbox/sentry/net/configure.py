"""What the namespace has in the end: what the launcher says, changed by what programs with CAP_NET_ADMIN have said since.

(Linux: net/core/rtnetlink.c, net/ipv4/devinet.c, net/ipv4/fib_frontend.c; rtnetlink(7).) Changes happen inside only: the host's
interfaces stay as they are, and each later order of the launcher's is changed in the same way. Of interfaces only dummies,
pairs and bridges can be made.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, final

from ...rtattr import parse
from ..abi.socket import AF_INET, AF_INET6
from ..errors import SysErr
from ..fs.nsfs import NamespaceFile
from ..kernel.creds import CAP_NET_ADMIN
from . import bridge, dummy, veth
from .stack.routes import Route as StackRoute
from .stack.routes import masked
from .state import (
    IFA_F_PERMANENT,
    IFF_LOWER_UP,
    IFF_RUNNING,
    IFF_UP,
    NET,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RTN_UNICAST,
    Address,
    Iface,
    NetState,
    Route,
)

if TYPE_CHECKING:
    from ..kernel.task import Task

NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
IFLA_MASTER: Final = 10
RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_SETLINK: Final = 19
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_NEWNEIGH: Final = 28
RTM_DELNEIGH: Final = 29
RT_TABLE_MAIN: Final = 254
RTPROT_KERNEL: Final = 2
RTN_TYPES: Final = frozenset((1, 6, 7, 8))  # unicast, blackhole, unreachable, prohibit
IFA_F_SECONDARY: Final = 0x01
METRIC6: Final = 1024  # of an IPv6 route that says none
METRIC6_KERNEL: Final = 256
MIN_MTU: Final = 68
UP: Final = IFF_UP | IFF_RUNNING | IFF_LOWER_UP
LIMIT: Final = 4096  # addresses and routes made inside
Key = tuple[bytes, int, int, bytes, int]  # destination, prefix, interface, gateway, metric


def key(r: Route) -> Key:
    return r.dst, r.prefix, r.index, r.gateway, r.metric


@final
class Configuration:
    """``addresses``, ``routes``: the launcher's. ``up``, ``mtu``, ``more_*``, ``less_*``: changes from inside."""

    def __init__(self, net: NetState) -> None:
        self.net = net
        self.addresses: list[Address] = []
        self.routes: list[Route] = []
        self.flags: dict[int, int] = {}
        self.mtus: dict[int, int] = {}
        self.names: dict[int, str] = {}
        self.made: dict[int, Iface] = {}
        self.up: dict[int, bool] = {}
        self.mtu: dict[int, int] = {}
        self.more_addresses: dict[tuple[int, bytes], Address] = {}
        self.less_addresses: set[tuple[int, bytes]] = set()
        self.more_routes: dict[Key, Route] = {}
        self.less_routes: set[Key] = set()

    def settle(self) -> None:
        """Makes the state, and the stack, agree."""
        for i in sorted(
            self.net.ifaces.values(), key=lambda i: i.bridge is not None
        ):  # behind their ports
            if i.index == 1:
                continue
            i.name = self.names.get(i.index, i.name)
            if i.index in self.made:
                i.flags = self._made_flags(i)
                i.mtu = self.mtu.get(i.index, i.mtu)
                if i.pair is not None:
                    i.pair.mtu = i.mtu
                if i.bridge is not None:
                    i.bridge.mtu = i.mtu
                if i.under is not None and self.net.stack is not None:
                    self.net.stack.set_up(i.under, bool(i.flags & IFF_LOWER_UP))
                continue
            flags = self.flags.get(i.index, i.flags)
            if not self.up.get(i.index, True):
                flags &= ~(IFF_UP | IFF_RUNNING | IFF_LOWER_UP)
            i.flags = flags
            i.mtu = min(self.mtu.get(i.index, 1 << 31), self.mtus.get(i.index, i.mtu))
            if i.link is not None and i.under is not None and self.net.stack is not None:
                i.link.mtu = i.mtu
                i.link.down = not flags & IFF_UP
                up = bool(flags & IFF_UP and flags & IFF_LOWER_UP)
                if up != i.under.up:
                    self.net.stack.set_up(i.under, up)
        here = [a for a in self.addresses if (a.index, a.ip) not in self.less_addresses]
        here += [a for a in self.more_addresses.values() if a.index in self.net.ifaces]
        self.net.put_addresses(here)
        self._stack_addresses(here)
        gone = self.less_routes
        rows = [r for r in self.routes if key(r) not in gone and key(r) not in self.more_routes]
        rows += self.more_routes.values()
        self.net.routes = [
            r for r in rows if not r.index or (r.index in self.net.ifaces and self.net.ifaces[r.index].flags & IFF_UP)
        ]  # fmt: skip
        self._stack_routes()
        for tell in self.net.changed:
            tell()

    def _made_flags(self, i: Iface) -> int:
        """One of a pair has carrier while the other is up."""
        up = self.up.get(i.index, False)
        if i.bridge is not None:
            return veth.FLAGS | (UP if up and i.bridge.carrier() else IFF_UP if up else 0)
        if i.pair is None:
            return dummy.FLAGS | (UP if up else 0)
        p = i.pair.peer
        there = p is not None and p.iface is not None and of(p.net).up.get(p.iface.index, False)
        return veth.FLAGS | (UP if up and there else IFF_UP if up else 0)

    def _stack_addresses(self, here: list[Address]) -> None:
        stack = self.net.stack
        if stack is None:
            return
        for i in self.net.ifaces.values():
            if i.under is None:
                continue
            wanted = {a.ip: a.prefix for a in here if a.index == i.index}
            for old in list(i.under.addresses):
                if wanted.get(old.ip) != old.prefixlen:
                    stack.remove_address(i.under, old.ip)
            for ip, prefix in wanted.items():
                stack.add_address(i.under, ip, prefix)

    def _stack_routes(self) -> None:
        stack = self.net.stack
        if stack is None:
            return
        wanted: dict[Key, StackRoute] = {}
        for r in self.net.routes:
            i = self.net.ifaces.get(r.index)
            if i is not None and i.under is None:
                continue
            wanted[key(r)] = StackRoute(
                r.dst or bytes(4 if r.family == AF_INET else 16), r.prefix, i.under if i is not None else None, r.gateway,
                r.metric, r.source, 0, r.type, r.scope, r.proto,
            )  # fmt: skip
        routes = stack.routes
        for old in routes.dump():
            index = old.iface.index if old.iface is not None else 0
            if (old.dst, old.prefixlen, index, old.gateway, old.metric) not in wanted:
                routes.remove(old)
        for s in wanted.values():
            routes.add(s)

    # Changes from inside
    def add_address(self, a: Address) -> None:
        """With the route to its network. Raises ENOBUFS."""
        if len(self.more_addresses) >= LIMIT:
            raise SysErr(errno.ENOBUFS)
        self.less_addresses.discard((a.index, a.ip))
        self.more_addresses[a.index, a.ip] = a
        if a.index != 1 and a.prefix < 8 * len(a.ip):
            route = _network(a)
            if not any(key(r) == key(route) for r in self.net.routes):
                self._add_route(route)
        self.settle()

    def remove_address(self, a: Address) -> None:
        """With the routes that are sent from it, and that of its network if no other address is in it."""
        where = (a.index, a.ip)
        if where in self.more_addresses:
            del self.more_addresses[where]
        else:
            self.less_addresses.add(where)
        rest = [o for o in self.net.addresses if o.index == a.index and o.ip != a.ip]
        net = masked(a.ip, a.prefix)
        for r in list(self.net.routes):
            if r.family != a.family or r.index != a.index:
                continue
            alone = not any(o.prefix == a.prefix and len(o.ip) == len(a.ip) and masked(o.ip, o.prefix) == net for o in rest)  # fmt: skip
            if r.source == a.ip or (
                r.dst == net and r.prefix == a.prefix and not r.gateway and alone
            ):
                self._remove_route(r)
        self.settle()

    def _add_route(self, r: Route) -> None:
        if len(self.more_routes) >= LIMIT:
            raise SysErr(errno.ENOBUFS)
        self.less_routes.discard(key(r))
        self.more_routes[key(r)] = r

    def drop_routes(self, index: int) -> None:
        """IPv4's over an interface that goes down, but for those of its addresses (Linux: fib_disable_ip)."""
        for r in list(self.net.routes):
            if r.index == index and r.family == AF_INET and r.proto != RTPROT_KERNEL:
                self._remove_route(r)

    def _remove_route(self, r: Route) -> None:
        self.more_routes.pop(key(r), None)
        if any(key(o) == key(r) for o in self.routes):
            self.less_routes.add(key(r))

    def make(self, t: Task, name: str, a: dict[int, bytes]) -> Iface:
        """A dummy, or a pair. Raises EOPNOTSUPP, EINVAL, EEXIST, ENOBUFS, and what ``namespace`` does."""
        kind = parse(a.get(veth.IFLA_LINKINFO, b"")).get(veth.IFLA_INFO_KIND, b"").rstrip(b"\0")
        if kind == b"veth":
            other = namespace(t, veth.peer_attributes(a)) or self.net
            i, j = veth.make(namespace(t, a) or self.net, other, name, a)
            for end in (i, j):
                assert end.pair is not None
                of(end.pair.net).enter(end)
            of(other).settle()
            return i
        i = bridge.make(self.net, name, a) if kind == b"bridge" else dummy.make(self.net, name, a)
        self.enter(i)
        return i

    def set_master(self, i: Iface, index: int) -> None:
        """An end of a pair becomes a bridge's port, or with 0 none any more. Raises EINVAL, EOPNOTSUPP."""
        if i.pair is None:
            raise SysErr(errno.EOPNOTSUPP)
        to = self.net.ifaces.get(index)
        if index and (to is None or to.bridge is None):
            raise SysErr(errno.EINVAL)
        if i.pair.master is not None:
            i.pair.master.leave(i.pair)
        if to is not None and to.bridge is not None:
            to.bridge.join(i.pair)
        self.settle()

    def enter(self, i: Iface) -> None:
        """One that was made is here now."""
        self.made[i.index] = i
        self.mtus[i.index] = 65535
        self.mtu[i.index] = i.mtu

    def move(self, i: Iface, to: NetState, name: str) -> None:
        """One end of a pair goes to another namespace. Raises EOPNOTSUPP for others, EEXIST, EINVAL, ENOBUFS."""
        if i.pair is None:
            raise SysErr(errno.EINVAL if i.index == 1 else errno.EOPNOTSUPP)
        if to is self.net:
            return
        there = veth.move(i, to, name)
        self._forget(i)
        self.settle()
        of(to).enter(there)
        of(to).settle()
        self._settle_peer(there)
        if name and name != there.name:
            of(to).rename(there, name)

    def _settle_peer(self, i: Iface) -> None:
        p = i.pair.peer if i.pair is not None else None
        if p is not None:
            of(p.net).settle()

    def unmake(self, i: Iface) -> None:
        """With its addresses and routes, and the other of a pair. Raises EOPNOTSUPP for the engine's."""
        if i.index not in self.made:
            raise SysErr(errno.EOPNOTSUPP)
        self._forget(i)
        for p in list(i.bridge.ports) if i.bridge is not None else ():
            p.master = None
        if i.pair is not None:
            peer, i.pair.peer = i.pair.peer, None
            veth.remove(i)
            if peer is not None and peer.iface is not None:
                peer.peer = None
                of(peer.net).unmake(peer.iface)
        else:
            if i.under is not None and self.net.stack is not None:
                self.net.stack.remove_interface(i.under)
            del self.net.ifaces[i.index]
        self.settle()

    def _forget(self, i: Iface) -> None:
        """Nothing of it is here any more."""
        self.made.pop(i.index, None)
        for table in (self.mtu, self.mtus):
            table.pop(i.index, None)
        self.up.pop(i.index, None)
        self.names.pop(i.index, None)
        self.more_addresses = {k: v for k, v in self.more_addresses.items() if k[0] != i.index}
        self.more_routes = {k: r for k, r in self.more_routes.items() if r.index != i.index}

    def rename(self, i: Iface, name: str) -> None:
        """Inside only. Raises EINVAL, EEXIST, EOPNOTSUPP for loopback."""
        if i.index == 1:
            raise SysErr(errno.EOPNOTSUPP)
        dummy.check_name(self.net, name)
        self.names[i.index] = i.name = name
        if i.under is not None:
            i.under.name = name
        self.settle()

    def add_route(self, r: Route) -> None:
        """Raises ENOBUFS."""
        self._add_route(r)
        self.settle()

    def remove_route(self, r: Route) -> None:
        self._remove_route(r)
        self.settle()


def of(net: NetState) -> Configuration:
    """The one of a namespace."""
    c = net.config
    if c is None:
        c = net.config = Configuration(net)
    return c


def _network(a: Address) -> Route:
    """The route that comes with an address."""
    v4 = a.family == AF_INET
    return Route(
        a.family, masked(a.ip, a.prefix), a.prefix, b"", a.ip if v4 else b"", a.index, 0 if v4 else METRIC6_KERNEL,
        RTPROT_KERNEL, RT_SCOPE_LINK if v4 else 0, RTN_UNICAST,
    )  # fmt: skip


def namespace(t: Task, a: dict[int, bytes]) -> NetState | None:
    """The network namespace that a message names by descriptor or process, None: it names none. Raises EINVAL, ESRCH, EPERM, EBADF."""
    if veth.IFLA_NET_NS_FD in a:
        f = t.files.get(int.from_bytes(a[veth.IFLA_NET_NS_FD][:4], "little", signed=True))
        found = f.ns if isinstance(f, NamespaceFile) else None
        if not isinstance(found, NetState):
            raise SysErr(errno.EINVAL)
    elif veth.IFLA_NET_NS_PID in a:
        p = t.tg.pidns.task(int.from_bytes(a[veth.IFLA_NET_NS_PID][:4], "little", signed=True))
        if p is None:
            raise SysErr(errno.ESRCH)
        found = p.ns.net
    else:
        return None
    if not t.creds.ns_capable(found.administrator(), CAP_NET_ADMIN):
        raise SysErr(errno.EPERM)
    return found


def request(t: Task, net: NetState, kind: int, flags: int, raw: bytes) -> None:
    """One request of who may change something, with its header. Raises what Linux answers, EOPNOTSUPP for what is left out."""
    if kind in (RTM_NEWLINK, RTM_SETLINK):
        _link(t, net, kind, flags, raw)
    elif kind == RTM_DELLINK:
        of(net).unmake(_named(net, raw))
    elif kind in (RTM_NEWADDR, RTM_DELADDR):
        _address(net, kind == RTM_NEWADDR, flags, raw)
    elif kind in (RTM_NEWROUTE, RTM_DELROUTE):
        _route(net, kind == RTM_NEWROUTE, flags, raw)
    elif kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
        _neighbour(net, kind == RTM_NEWNEIGH, raw)
    else:
        raise SysErr(errno.EOPNOTSUPP)


def _iface(net: NetState, index: int) -> Iface:
    i = net.ifaces.get(index)
    if i is None:
        raise SysErr(errno.ENODEV)
    return i


def set_up(net: NetState, i: Iface, up: bool) -> None:
    """Raises EOPNOTSUPP for the sandbox's own loopback, which stays up."""
    if i.index == 1:
        if net is not NET:
            net.set_loopback(up)
        elif not up:
            raise SysErr(errno.EOPNOTSUPP)
        return
    here = of(net)
    if not up and i.flags & IFF_UP:
        here.drop_routes(i.index)
    here.up[i.index] = up
    here.settle()
    if i.pair is not None or i.bridge is not None:
        if up and all(a.index != i.index or a.ip[:2] != b"\xfe\x80" for a in net.addresses):
            here.add_address(veth.link_local(i))
        p = i.pair.peer if i.pair is not None else None
        if p is not None:
            of(p.net).settle()


def set_mtu(net: NetState, i: Iface, mtu: int) -> None:
    """Bytes, no more than the host's interface has. Raises EINVAL."""
    if i.index == 1 or not MIN_MTU <= mtu <= of(net).mtus.get(i.index, 0):
        raise SysErr(errno.EINVAL)
    of(net).mtu[i.index] = mtu
    of(net).settle()


def _named(net: NetState, raw: bytes) -> Iface:
    """The interface of a struct ifinfomsg, by number or name. Raises EINVAL, ENODEV."""
    if len(raw) < 32:
        raise SysErr(errno.EINVAL)
    index = struct.unpack_from("<i", raw, 20)[0]
    name = parse(raw[32:]).get(3, b"").rstrip(b"\0").decode("latin-1")
    found = net.ifaces.get(index) if index > 0 else net.by_name(name)
    if found is None:
        raise SysErr(errno.ENODEV)
    return found


def _link(t: Task, net: NetState, kind: int, flags: int, raw: bytes) -> None:
    """Up, down, the MTU, the name, the namespace; a new dummy or pair (struct ifinfomsg)."""
    if len(raw) < 32:
        raise SysErr(errno.EINVAL)
    want, change = struct.unpack_from("<II", raw, 24)
    a = parse(raw[32:])
    name = a.get(3, b"").rstrip(b"\0").decode("latin-1")
    try:
        found, fresh = _named(net, raw), False
    except SysErr:
        if kind != RTM_NEWLINK or not flags & NLM_F_CREATE:
            raise
        found, fresh = of(net).make(t, name, a), True
        if found.pair is not None:
            net = found.pair.net
    if flags & NLM_F_EXCL and not fresh:
        raise SysErr(errno.EEXIST)
    # Address, link type and so on would be the host's to change.
    if not fresh and a.keys() - {3, 4, IFLA_MASTER, 13, veth.IFLA_NET_NS_PID, veth.IFLA_NET_NS_FD}:
        raise SysErr(errno.EOPNOTSUPP)
    to = namespace(t, a) if not fresh else None
    if to is not None:
        of(net).move(found, to, name)
        return
    if IFLA_MASTER in a:
        of(net).set_master(found, _number(a, IFLA_MASTER))
    if 3 in a and name and name != found.name:
        of(net).rename(found, name)
    if 4 in a:
        if len(a[4]) != 4:
            raise SysErr(errno.EINVAL)
        set_mtu(net, found, struct.unpack("<I", a[4])[0])
    if (change or want) & IFF_UP:
        set_up(net, found, bool(want & IFF_UP))
    elif fresh:
        of(net).settle()


def _address(net: NetState, add: bool, flags: int, raw: bytes) -> None:
    """struct ifaddrmsg."""
    if len(raw) < 24:
        raise SysErr(errno.EINVAL)
    family, prefix, _flags, scope, index = struct.unpack_from("<BBBBI", raw, 16)
    a = parse(raw[24:])
    size = {AF_INET: 4, AF_INET6: 16}.get(family, 0)
    ip = a.get(2, b"") or a.get(1, b"")
    if not size:
        raise SysErr(errno.EOPNOTSUPP)
    if len(ip) != size or prefix > 8 * size or (add and not any(ip)):
        raise SysErr(errno.EINVAL)
    i = _iface(net, index)
    here = [o for o in net.addresses if o.index == index and o.family == family]
    same = next((o for o in here if o.ip == ip), None)
    if not add:
        if same is None or (prefix and same.prefix != prefix):
            raise SysErr(errno.EADDRNOTAVAIL)
        if index == 1 and ip in (b"\x7f\0\0\1", bytes(15) + b"\1"):
            raise SysErr(errno.EOPNOTSUPP)
        of(net).remove_address(same)
        return
    if same is not None and (flags & NLM_F_EXCL or not flags & NLM_F_REPLACE):
        raise SysErr(errno.EEXIST)
    broadcast = a.get(4, b"") if family == AF_INET and len(a.get(4, b"")) == 4 else b""
    label = (a.get(3, b"").rstrip(b"\0").decode("latin-1") or i.name) if family == AF_INET else ""
    more = IFA_F_PERMANENT
    if family == AF_INET and any(
        o.prefix == prefix and masked(o.ip, prefix) == masked(ip, prefix) for o in here
    ):
        more |= IFA_F_SECONDARY
    if family == AF_INET6 and ip[0] == 0xFE and ip[1] & 0xC0 == 0x80:
        scope = RT_SCOPE_LINK
    elif family == AF_INET6:
        scope = RT_SCOPE_HOST if index == 1 and not any(ip[:15]) else 0
    of(net).add_address(Address(index, ip, prefix, scope, more, broadcast, label[:15]))


def _route(net: NetState, add: bool, flags: int, raw: bytes) -> None:
    """struct rtmsg: the main table, one next hop."""
    if len(raw) < 28:
        raise SysErr(errno.EINVAL)
    family, prefix, source_bits, tos, table, proto, scope, kind, _f = struct.unpack_from(
        "<8BI", raw, 16
    )
    a = parse(raw[28:])
    size = {AF_INET: 4, AF_INET6: 16}.get(family, 0)
    if (
        not size or source_bits or tos or a.keys() & {9, 22, 25, 30}
    ):  # multipath, encapsulation, via, next hop objects
        raise SysErr(errno.EOPNOTSUPP)
    table = struct.unpack("<I", a[15])[0] if len(a.get(15, b"")) == 4 else table
    if table not in (0, RT_TABLE_MAIN):
        raise SysErr(errno.EOPNOTSUPP)
    dst = a.get(1, b"") or bytes(size)
    gateway, source = a.get(5, b""), a.get(7, b"")
    if (
        len(dst) != size
        or prefix > 8 * size
        or len(gateway) not in (0, size)
        or len(source) not in (0, size)
    ):
        raise SysErr(errno.EINVAL)
    if masked(dst, prefix) != dst:
        raise SysErr(errno.EINVAL)
    index = _number(a, 4)
    metric = _number(a, 6)
    if not add:
        _remove(net, family, dst, prefix, gateway, index, metric)
        return
    if kind not in RTN_TYPES:
        raise SysErr(errno.EOPNOTSUPP)
    if kind != RTN_UNICAST:
        index, gateway = 0, b""
    else:
        index = _next_hop(net, family, gateway, index)
    if source and not any(o.ip == source for o in net.addresses):
        raise SysErr(errno.EINVAL)
    if family == AF_INET6 and not metric:
        metric = METRIC6
    r = Route(family, dst, prefix, gateway, source, index, metric, proto, scope, kind)
    same = [o for o in net.routes if (o.family, o.dst or bytes(size), o.prefix, o.metric) == (family, dst, prefix, metric)]  # fmt: skip
    if same and flags & NLM_F_EXCL:
        raise SysErr(errno.EEXIST)
    if not same and not flags & NLM_F_CREATE:
        raise SysErr(errno.ENOENT)
    if same and flags & NLM_F_REPLACE:
        of(net).remove_route(same[0])
    of(net).add_route(r)


def _number(a: dict[int, bytes], kind: int) -> int:
    n: int = struct.unpack("<I", a[kind])[0] if len(a.get(kind, b"")) == 4 else 0
    return n


def _next_hop(net: NetState, family: int, gateway: bytes, index: int) -> int:
    """The interface of a route. Raises ENODEV, ENETDOWN, ENETUNREACH."""
    if gateway and not index:
        for o in net.addresses:
            if (
                o.family == family
                and o.index != 1
                and masked(o.ip, o.prefix) == masked(gateway, o.prefix)
            ):
                index = o.index
                break
        else:
            raise SysErr(errno.ENETUNREACH if family == AF_INET else errno.EHOSTUNREACH)
    if not index:
        raise SysErr(errno.ENODEV)
    i = _iface(net, index)
    if not i.flags & IFF_UP:
        raise SysErr(errno.ENETDOWN)
    if gateway and not any(
        o.family == family
        and o.index == index
        and masked(o.ip, o.prefix) == masked(gateway, o.prefix)
        for o in net.addresses
    ):
        raise SysErr(errno.ENETUNREACH if family == AF_INET else errno.EHOSTUNREACH)
    return index


def _remove(
    net: NetState, family: int, dst: bytes, prefix: int, gateway: bytes, index: int, metric: int
) -> None:
    for r in net.routes:
        if (
            (r.family, r.dst or bytes(len(dst)), r.prefix) == (family, dst, prefix)
            and gateway in (b"", r.gateway)
            and index in (0, r.index)
            and metric in (0, r.metric)
        ):
            of(net).remove_route(r)
            return
    raise SysErr(errno.ESRCH)


def _neighbour(net: NetState, add: bool, raw: bytes) -> None:
    """struct ndmsg: permanent entries."""
    if len(raw) < 28:
        raise SysErr(errno.EINVAL)
    index, _state = struct.unpack_from("<iH", raw, 20)
    a = parse(raw[28:])
    ip, mac = a.get(1, b""), a.get(2, b"")
    i = _iface(net, index)
    if len(ip) not in (4, 16) or i.under is None:
        raise SysErr(errno.EINVAL)
    if not add:
        if not i.under.neighbours.remove(ip):
            raise SysErr(errno.ENOENT)
        return
    if len(mac) != 6:
        raise SysErr(errno.EINVAL)
    i.under.neighbours.set_permanent(ip, mac)
