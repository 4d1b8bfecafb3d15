"""Texts of /proc/net about interfaces, addresses, routes and counters (Linux: net/core/net-procfs.c, net/ipv4/{route,fib_trie,proc}.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..abi.socket import AF_INET, AF_INET6
from . import tcp_local, udp_local
from .state import NetState, neighbours, text

DEV_HEAD: Final = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo"
    " colls carrier compressed\n"
)
ROUTE_HEAD: Final = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
)
ARP_HEAD: Final = "IP address       HW type     Flags       HW address            Mask     Device\n"
RTF_UP: Final = 1
RTF_GATEWAY: Final = 2
RTF_HOST: Final = 4
NUD_VALID: Final = 0xDE  # permanent, noarp, reachable, probe, stale, delay


def _name(net: NetState, index: int) -> str:
    i = net.ifaces.get(index)
    return i.name if i is not None else "*"


def _word(ip: bytes) -> str:
    return ip[::-1].hex().upper() if ip else "00000000"


def dev(net: NetState) -> bytes:
    rows = [DEV_HEAD]
    for i in net.ifaces.values():
        rxp, rxb, txp, txb, drops = i.counters()
        rows.append(
            f"{i.name:>6}: {rxb:7} {rxp:7}    0    0    0     0          0         0 {txb:8} {txp:7}    0"
            f" {drops:4}    0     0       0          0\n"
        )
    return "".join(rows).encode()


def route(net: NetState) -> bytes:
    rows = [ROUTE_HEAD.ljust(127) + "\n"]
    for r in net.routes:
        if r.family != AF_INET or r.type != 1:
            continue
        flags = RTF_UP | (RTF_GATEWAY if r.gateway else 0) | (RTF_HOST if r.prefix == 32 else 0)
        mask = (0xFFFFFFFF << (32 - r.prefix) & 0xFFFFFFFF).to_bytes(4, "big")
        row = (
            f"{_name(net, r.index)}\t{_word(r.dst)}\t{_word(r.gateway)}\t{flags:04X}\t0\t0\t{r.metric}"
            f"\t{_word(mask)}\t0\t0\t0"
        )
        rows.append(row.ljust(127) + "\n")
    return "".join(rows).encode()


def ipv6_route(net: NetState) -> bytes:
    rows = []
    for r in net.routes:
        if r.family != AF_INET6 or r.type != 1:
            continue
        flags = RTF_UP | (RTF_GATEWAY if r.gateway else 0)
        dst, via = (x.hex() or "0" * 32 for x in (r.dst, r.gateway))
        rows.append(
            f"{dst} {r.prefix:02x} {'0' * 32} 00 {via} {r.metric & 0xFFFFFFFF:08x} 00000001 00000000"
            f" {flags:08x} {_name(net, r.index):>8}\n"
        )
    for a in net.addresses:
        if a.family == AF_INET6:
            rows.append(
                f"{a.ip.hex()} 80 {'0' * 32} 00 {'0' * 32} 00000000 00000002 00000000 80200001"
                f" {_name(net, a.index):>8}\n"
            )
    return "".join(rows).encode()


def if_inet6(net: NetState) -> bytes:
    scopes = {254: 0x10, 253: 0x20}
    return "".join(
        f"{a.ip.hex()} {a.index:02x} {a.prefix:02x} {scopes.get(a.scope, 0):02x} {a.flags & 0xFF:02x}"
        f" {_name(net, a.index):>8}\n"
        for a in net.addresses
        if a.family == AF_INET6
    ).encode()


def arp(net: NetState) -> bytes:
    rows = [ARP_HEAD]
    for index, n in neighbours(net):
        if len(n.ip) != 4:
            continue
        flags = (2 if n.state & NUD_VALID else 0) | (4 if n.state & 0x80 else 0)
        mac = ":".join(f"{b:02x}" for b in n.mac or bytes(6))
        rows.append(
            f"{text(n.ip):<16} 0x1         0x{flags:<10x}{mac}     *        {_name(net, index)}\n"
        )
    return "".join(rows).encode()


UDP_COLUMNS: Final = "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors"
# Columns of /proc/net/snmp and netstat in Linux's order; what the stack does not count is 0.
SNMP: Final = {
    "Ip": (
        "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers"
        " OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates"
    ),
    "Icmp": (
        "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps"
        " InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutDestUnreachs OutTimeExcds"
        " OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks"
        " OutAddrMaskReps"
    ),
    "Tcp": (
        "RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs"
        " RetransSegs InErrs OutRsts InCsumErrors"
    ),
    "Udp": UDP_COLUMNS,
    "UdpLite": UDP_COLUMNS,
}  # fmt: skip
NETSTAT: Final = {
    "TcpExt": (
        "SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled RcvPruned OfoPruned OutOfWindowIcmps"
        " LockDroppedIcmps ArpFilter TW TWRecycled TWKilled PAWSActive PAWSEstab DelayedACKs DelayedACKLocked"
        " DelayedACKLost ListenOverflows ListenDrops TCPHPHits TCPPureAcks TCPHPAcks TCPRenoRecovery TCPSackRecovery"
        " TCPLossProbes TCPLossProbeRecovery TCPTimeouts TCPFastRetrans TCPSlowStartRetrans TCPLostRetransmit"
        " TCPBacklogDrop TCPAbortOnData TCPAbortOnClose TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger"
        " TCPChallengeACK TCPSYNChallenge TCPOFOQueue TCPOFODrop TCPKeepAlive"
    ),
    "IpExt": "InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets InCsumErrors",
}  # fmt: skip
FIXED: Final = {
    "IpForwarding": 2, "IpDefaultTTL": 64, "TcpRtoAlgorithm": 1, "TcpRtoMin": 200, "TcpRtoMax": 120000, "TcpMaxConn": -1,
}  # fmt: skip


def _counters(net: NetState) -> dict[str, dict[str, int]]:
    return net.stack.counters.dump() if net.stack is not None else {}


def _table(net: NetState, groups: dict[str, str]) -> bytes:
    counters = _counters(net)
    counters["IpExt"] = counters.get("Ip", {})
    out = []
    for group, names in groups.items():
        have = counters.get(group, {})
        values = [str(FIXED.get(group + n, have.get(n, 0))) for n in names.split()]
        out.append(f"{group}: {names}\n{group}: {' '.join(values)}\n")
    return "".join(out).encode()


def snmp(net: NetState) -> bytes:
    return _table(net, SNMP)


def snmp6(net: NetState) -> bytes:
    return "".join(
        f"{group + name:<32}\t{value}\n"
        for group, values in _counters(net).items()
        if group.endswith("6")
        for name, value in values.items()
    ).encode()


def netstat(net: NetState) -> bytes:
    return _table(net, NETSTAT)


def sockstat(net: NetState) -> bytes:
    tcp, udp, lite = tcp_local.sockets(net), udp_local.sockets(net), udp_local.sockets(net, True)
    return (
        f"sockets: used {len(tcp) + len(udp) + len(lite)}\n"
        f"TCP: inuse {sum(s.domain == AF_INET for s in tcp)} orphan 0 tw 0 alloc {len(tcp)} mem 0\n"
        f"UDP: inuse {sum(s.domain == AF_INET for s in udp)} mem 0\nUDPLITE: inuse {sum(s.domain == AF_INET for s in lite)}\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
    ).encode()


def sockstat6(net: NetState) -> bytes:
    tcp, udp, lite = tcp_local.sockets(net), udp_local.sockets(net), udp_local.sockets(net, True)
    return (
        f"TCP6: inuse {sum(s.domain == AF_INET6 for s in tcp)}\nUDP6: inuse {sum(s.domain == AF_INET6 for s in udp)}\n"
        f"UDPLITE6: inuse {sum(s.domain == AF_INET6 for s in lite)}\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"
    ).encode()


FILES: Final[dict[bytes, Callable[[NetState], bytes]]] = {
    b"dev": dev, b"route": route, b"ipv6_route": ipv6_route, b"if_inet6": if_inet6, b"arp": arp, b"snmp": snmp,
    b"snmp6": snmp6, b"netstat": netstat, b"sockstat": sockstat, b"sockstat6": sockstat6,
}  # fmt: skip
