"""Answers of routing netlink from what the namespace has (Linux: net/core/rtnetlink.c, net/ipv4/fib_frontend.c; rtnetlink(7))."""

from __future__ import annotations

import errno
import struct
from typing import Final, NamedTuple

from ...rtattr import pack as attr
from ...rtattr import parse
from ..abi.socket import AF_INET, AF_INET6
from ..errors import SysErr
from .state import IFF_UP, Address, Iface, NetState, Route, mapped, neighbours

NLM_F_DUMP: Final = 0x300
RTM_NEWLINK: Final = 16
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_GETROUTE: Final = 26
RTM_NEWNEIGH: Final = 28
RTM_GETNEIGH: Final = 30
RTM_NEWRULE: Final = 32
RTM_GETRULE: Final = 34
RTM_GETQDISC: Final = 38
RTM_GETNSID: Final = 90
RTMGRP_LINK: Final = 0x1
RTMGRP_NEIGH: Final = 0x4
RTMGRP_IPV4_IFADDR: Final = 0x10
RTMGRP_IPV4_ROUTE: Final = 0x40
RTMGRP_IPV6_IFADDR: Final = 0x100
RTMGRP_IPV6_ROUTE: Final = 0x400
RT_TABLE_LOCAL: Final = 255
RT_TABLE_MAIN: Final = 254
RTN_LOCAL: Final = 2
RTM_F_CLONED: Final = 0x200
RTNL_FAMILY_MAX: Final = 128
Answer = tuple[int, bytes]  # message type, body


def u32(value: int) -> bytes:
    return struct.pack("<I", value & 0xFFFFFFFF)


def _operstate(i: Iface) -> bytes:
    """IF_OPER_*: loopback's is unknown while it is up."""
    if i.index == 1:
        return b"\0" if i.flags & IFF_UP else b"\2"
    if i.flags & 0x40:
        return b"\0" if i.bridge is not None and i.bridge.fresh else b"\6"
    peer = i.pair.peer if i.pair is not None else None
    if i.flags & IFF_UP and peer is not None and i.pair is not None and peer.net is i.pair.net:
        return b"\3"  # the other of the pair is down
    return b"\2"


def link(i: Iface) -> bytes:
    """struct ifinfomsg of an interface with its attributes."""
    rxp, rxb, txp, txb, drops = i.counters()
    stats = struct.pack("<24Q", rxp, txp, rxb, txb, 0, 0, 0, drops, *(0,) * 16)
    loopback = i.index == 1
    hw = bytes(6) if loopback else b"\xff" * 6
    peer = i.pair.peer if i.pair is not None else None
    other = b""
    if peer is not None and peer.iface is not None:
        other = attr(5, u32(peer.iface.index))  # IFLA_LINK
        if i.pair is not None and peer.net is not i.pair.net:
            other += attr(37, u32(0))  # IFLA_LINK_NETNSID
    if i.pair is not None and i.pair.master is not None and i.pair.master.iface is not None:
        other += attr(10, u32(i.pair.master.iface.index))  # IFLA_MASTER
    made = (
        other + attr(18, attr(1, i.kind + b"\0")) if i.kind else b""
    )  # IFLA_LINKINFO, IFLA_INFO_KIND
    return struct.pack("<BxHiII", 0, i.type, i.index, i.flags, 0) + b"".join(
        (
            attr(3, i.name.encode("latin-1") + b"\0"), attr(13, u32(i.qlen)),
            attr(16, _operstate(i)), attr(17, b"\0"),
            attr(4, u32(i.mtu)), attr(27, u32(0)), attr(6, b"noqueue\0" if i.flags & 1 else b"noop\0"), attr(1, i.mac), attr(2, hw),
            attr(23, stats), attr(7, struct.pack("<24I", *(v & 0xFFFFFFFF for v in struct.unpack("<24Q", stats)))),
            attr(33, b"\1"), attr(31, u32(1)), attr(32, u32(1)), made,
        )
    )  # fmt: skip


def address(a: Address) -> bytes:
    """struct ifaddrmsg with its attributes."""
    parts = [attr(1, a.ip)]
    if a.family == AF_INET:
        parts.append(attr(2, a.ip))
        if a.broadcast:
            parts.append(attr(4, a.broadcast))
        parts.append(attr(3, a.label.encode("latin-1") + b"\0"))
    parts += [attr(8, u32(a.flags)), attr(6, struct.pack("<IIII", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0))]
    head = struct.pack("<BBBBI", a.family, a.prefix, a.flags & 0xFF, a.scope, a.index)
    return head + b"".join(parts)


def route(r: Route) -> bytes:
    """struct rtmsg with its attributes."""
    parts = [attr(15, u32(RT_TABLE_MAIN))]
    if r.prefix:
        parts.append(attr(1, r.dst))
    for kind, value in ((5, r.gateway), (7, r.source)):
        if value:
            parts.append(attr(kind, value))
    if r.index:
        parts.append(attr(4, u32(r.index)))
    if r.metric:
        parts.append(attr(6, u32(r.metric)))
    head = struct.pack("<8BI", r.family, r.prefix, 0, 0, RT_TABLE_MAIN, r.proto, r.scope, r.type, 0)
    return head + b"".join(parts)


def lookup(net: NetState, ip: bytes) -> Route | None:
    """The route to an address (4 or 16 bytes): the longest prefix, then the smallest metric."""
    best: Route | None = None
    number = int.from_bytes(ip, "big")
    family = AF_INET if len(ip) == 4 else AF_INET6
    for r in net.routes:
        if r.family != family:
            continue
        shift = len(ip) * 8 - r.prefix
        if r.prefix and number >> shift != int.from_bytes(r.dst, "big") >> shift:
            continue
        if best is None or (r.prefix, -r.metric) > (best.prefix, -best.metric):
            best = r
    return best


def source_of(net: NetState, r: Route) -> bytes:
    """The address a packet along a route is sent from; empty if its interface has none."""
    if r.source:
        return r.source
    target = r.gateway
    found = b""
    for a in net.addresses:
        if a.index != r.index or a.family != r.family or a.scope == 254:
            continue
        bits = len(a.ip) * 8 - a.prefix
        if target and int.from_bytes(a.ip, "big") >> bits == int.from_bytes(target, "big") >> bits:
            return a.ip
        if not found or (a.family == AF_INET6 and a.scope == 0 and found[:2] == b"\xfe\x80"):
            found = a.ip
    return found


def _get_route(net: NetState, family: int, raw: bytes) -> Answer:
    dst = parse(raw[28:]).get(1, b"")
    if len(dst) != (4 if family == AF_INET else 16):
        raise SysErr(errno.EINVAL)
    bits = 8 * len(dst)
    if mapped(dst) in net.local or (family == AF_INET and dst[0] == 127):
        src = b"\x7f\0\0\1" if family == AF_INET and dst[0] == 127 else dst
        head = struct.pack(
            "<8BI", family, bits, 0, 0, RT_TABLE_LOCAL, 0, 0, RTN_LOCAL, RTM_F_CLONED
        )
        parts = [attr(15, u32(RT_TABLE_LOCAL)), attr(1, dst), attr(4, u32(1)), attr(7, src)]
    else:
        r = lookup(net, dst)
        if r is None or r.type != 1:
            refusal = {6: errno.EINVAL, 7: errno.EHOSTUNREACH, 8: errno.EACCES}
            raise SysErr(refusal.get(r.type if r is not None else 0, errno.ENETUNREACH))
        head = struct.pack("<8BI", family, bits, 0, 0, RT_TABLE_MAIN, 0, 0, 1, RTM_F_CLONED)
        parts = [attr(15, u32(RT_TABLE_MAIN)), attr(1, dst), attr(4, u32(r.index))]
        src = source_of(net, r)
        if r.gateway:
            parts.append(attr(5, r.gateway))
        if src:
            parts.append(attr(7, src))
    parts.append(attr(12, bytes(32)))
    return RTM_NEWROUTE, head + b"".join(parts)


def _get_link(net: NetState, raw: bytes) -> Answer:
    if len(raw) < 32:
        raise SysErr(errno.EINVAL)
    index = struct.unpack_from("<i", raw, 20)[0]
    a = parse(raw[32:])
    name = a.get(3, a.get(53, b"")).rstrip(b"\0").decode("latin-1")
    found = net.ifaces.get(index) if index > 0 else net.by_name(name)
    if found is None:
        raise SysErr(errno.ENODEV)
    return RTM_NEWLINK, link(found)


def _neighbours(net: NetState, family: int) -> list[Answer]:
    out: list[Answer] = []
    for index, n in neighbours(net):
        fam = AF_INET if len(n.ip) == 4 else AF_INET6
        if family not in (0, fam):
            continue
        out.append((RTM_NEWNEIGH, neighbour(index, n.ip, n.mac, n.state)))
    return out


def neighbour(index: int, ip: bytes, mac: bytes, state: int) -> bytes:
    """struct ndmsg with its attributes."""
    family = AF_INET if len(ip) == 4 else AF_INET6
    body = struct.pack("<BxxxiHBB", family, index, state, 0, 1) + attr(1, ip)
    if mac:
        body += attr(2, mac)
    return body + attr(3, bytes(16)) + attr(4, u32(0))


def _rules(family: int) -> list[Answer]:
    """The three policy rules that every namespace has."""
    out = []
    for fam in (AF_INET, AF_INET6):
        if family not in (0, fam):
            continue
        for table, priority in ((255, 0), (254, 32766), (253, 32767)):
            if fam == AF_INET6 and table == 253:
                continue
            head = struct.pack("<8BI", fam, 0, 0, 0, table, 0, 0, 1, 0)
            body = attr(15, u32(table)) + attr(14, u32(0xFFFFFFFF))
            out.append((RTM_NEWRULE, head + body + (attr(6, u32(priority)) if priority else b"")))
    return out


class Known(NamedTuple):
    """Something that monitors are told of: ``same`` is what makes it differ from before."""

    groups: int  # RTMGRP_*
    new: int
    gone: int
    body: bytes
    same: bytes


def known(net: NetState) -> dict[tuple[object, ...], Known]:
    """Links, addresses and routes as they are."""
    out: dict[tuple[object, ...], Known] = {}
    for i in net.ifaces.values():
        same = repr((i.name, i.mac, i.mtu, i.flags)).encode()
        out["link", i.index] = Known(RTMGRP_LINK, RTM_NEWLINK, RTM_NEWLINK + 1, link(i), same)
    for a in net.addresses:
        group = RTMGRP_IPV4_IFADDR if a.family == AF_INET else RTMGRP_IPV6_IFADDR
        body = address(a)
        out["addr", a.index, a.ip] = Known(group, RTM_NEWADDR, RTM_NEWADDR + 1, body, body)
    for r in net.routes:
        group = RTMGRP_IPV4_ROUTE if r.family == AF_INET else RTMGRP_IPV6_ROUTE
        body = route(r)
        key = ("route", r.family, r.dst, r.prefix, r.metric, r.index, r.gateway)
        out[key] = Known(group, RTM_NEWROUTE, RTM_NEWROUTE + 1, body, body)
    return out


def query(net: NetState, kind: int, dump: bool, raw: bytes) -> list[Answer]:
    """What a request (with its header) is answered. Raises ENODEV, ENETUNREACH, EINVAL, EOPNOTSUPP."""
    family = raw[16] if len(raw) > 16 else 0
    if kind == RTM_GETLINK:
        return (
            [(RTM_NEWLINK, link(i)) for i in net.ifaces.values()] if dump else [_get_link(net, raw)]
        )
    if kind == RTM_GETADDR and dump:
        wanted = struct.unpack_from("<I", raw, 20)[0] if len(raw) >= 24 else 0
        return [
            (RTM_NEWADDR, address(a))
            for a in net.addresses
            if family in (0, a.family) and wanted in (0, a.index)
        ]
    if kind == RTM_GETROUTE:
        if not dump:
            return [_get_route(net, family, raw)]
        return [(RTM_NEWROUTE, route(r)) for r in net.routes if family in (0, r.family)]
    if kind == RTM_GETNEIGH and dump:
        return _neighbours(net, family)
    if kind == RTM_GETRULE and dump:
        return _rules(family)
    if kind == RTM_GETQDISC and dump:
        return []
    if kind == RTM_GETNSID and not dump:  # namespaces have no numbers for each other
        return [(RTM_GETNSID - 2, bytes(4) + attr(1, struct.pack("<i", -1)))]
    raise SysErr(errno.EOPNOTSUPP)
