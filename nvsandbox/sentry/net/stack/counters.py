"""Counters under their MIB names, as /proc/net/snmp, snmp6 and netstat have them (linux/snmp.h, RFC 4293, 4022, 4113)."""

from __future__ import annotations

from typing import Final, final

IP_NAMES: Final = (
    "InReceives", "InHdrErrors", "InAddrErrors", "ForwDatagrams", "InUnknownProtos", "InDiscards", "InDelivers",
    "OutRequests", "OutDiscards", "OutNoRoutes", "ReasmTimeout", "ReasmReqds", "ReasmOKs", "ReasmFails", "FragOKs",
    "FragFails", "FragCreates", "InTruncatedPkts", "InMcastPkts", "OutMcastPkts", "InBcastPkts", "InOctets",
    "OutOctets",
)  # fmt: skip
ICMP_NAMES: Final = (
    "InMsgs", "InErrors", "InCsumErrors", "InDestUnreachs", "InTimeExcds", "InParmProbs", "InSrcQuenchs",
    "InRedirects", "InEchos", "InEchoReps", "InPktTooBigs", "OutMsgs", "OutErrors", "OutRateLimitHost",
    "OutDestUnreachs", "OutTimeExcds", "OutParmProbs", "OutEchos", "OutEchoReps", "OutPktTooBigs",
)  # fmt: skip
TCP_NAMES: Final = (
    "ActiveOpens", "PassiveOpens", "AttemptFails", "EstabResets", "CurrEstab", "InSegs", "OutSegs", "RetransSegs",
    "InErrs", "OutRsts", "InCsumErrors",
)  # fmt: skip
UDP_NAMES: Final = (
    "InDatagrams", "NoPorts", "InErrors", "OutDatagrams", "RcvbufErrors", "SndbufErrors", "InCsumErrors",
    "IgnoredMulti", "MemErrors",
)  # fmt: skip
TCPEXT_NAMES: Final = (
    "SyncookiesSent", "SyncookiesRecv", "SyncookiesFailed", "EmbryonicRsts", "ListenOverflows", "ListenDrops",
    "TW", "TWRecycled", "TCPTimeWaitOverflow", "PAWSEstab", "PAWSActive", "DelayedACKs",
    "TCPReqQFullDoCookies", "TCPChallengeACK", "TCPSYNChallenge", "TCPTimeouts", "TCPLossProbes",
    "TCPLossProbeRecovery", "TCPSackRecovery", "TCPRenoRecovery", "TCPLostRetransmit", "TCPFastRetrans",
    "TCPSlowStartRetrans", "TCPDSACKOldSent", "TCPDSACKOfoSent", "TCPDSACKRecv", "TCPOFOQueue", "TCPOFODrop", "TCPAbortOnData", "TCPAbortOnClose", "TCPAbortOnTimeout", "TCPAbortOnLinger", "TCPKeepAlive",
    "TCPFromZeroWindowAdv", "TCPToZeroWindowAdv", "TCPWinProbe", "TCPSackDiscard", "TCPFullUndo", "TCPSpuriousRTOs",
)  # fmt: skip


@final
class IpCounters:
    """IPv4's or IPv6's."""

    __slots__ = IP_NAMES

    def __init__(self) -> None:
        self.InReceives = self.InHdrErrors = self.InAddrErrors = self.ForwDatagrams = 0
        self.InUnknownProtos = self.InDiscards = self.InDelivers = self.OutRequests = 0
        self.OutDiscards = self.OutNoRoutes = self.ReasmTimeout = self.ReasmReqds = 0
        self.ReasmOKs = self.ReasmFails = self.FragOKs = self.FragFails = self.FragCreates = 0
        self.InTruncatedPkts = self.InMcastPkts = self.OutMcastPkts = self.InBcastPkts = 0
        self.InOctets = self.OutOctets = 0


@final
class IcmpCounters:
    """ICMP's or ICMPv6's."""

    __slots__ = ICMP_NAMES

    def __init__(self) -> None:
        self.InMsgs = self.InErrors = self.InCsumErrors = self.InDestUnreachs = self.InTimeExcds = 0
        self.InParmProbs = self.InSrcQuenchs = self.InRedirects = self.InEchos = self.InEchoReps = 0
        self.InPktTooBigs = self.OutMsgs = self.OutErrors = self.OutRateLimitHost = 0
        self.OutDestUnreachs = self.OutTimeExcds = self.OutParmProbs = self.OutEchos = 0
        self.OutEchoReps = self.OutPktTooBigs = 0


@final
class TcpCounters:
    __slots__ = TCP_NAMES

    def __init__(self) -> None:
        self.ActiveOpens = self.PassiveOpens = self.AttemptFails = self.EstabResets = 0
        self.CurrEstab = self.InSegs = self.OutSegs = self.RetransSegs = self.InErrs = 0
        self.OutRsts = self.InCsumErrors = 0


@final
class UdpCounters:
    __slots__ = UDP_NAMES

    def __init__(self) -> None:
        self.InDatagrams = self.NoPorts = self.InErrors = self.OutDatagrams = 0
        self.RcvbufErrors = self.SndbufErrors = self.InCsumErrors = self.IgnoredMulti = 0
        self.MemErrors = 0


@final
class TcpExtCounters:
    __slots__ = TCPEXT_NAMES

    def __init__(self) -> None:
        self.SyncookiesSent = self.SyncookiesRecv = self.SyncookiesFailed = 0
        self.EmbryonicRsts = self.ListenOverflows = self.ListenDrops = self.TW = self.TWRecycled = 0
        self.TCPTimeWaitOverflow = self.PAWSEstab = self.PAWSActive = self.DelayedACKs = 0
        self.TCPReqQFullDoCookies = self.TCPChallengeACK = 0
        self.TCPSYNChallenge = self.TCPTimeouts = self.TCPLossProbes = self.TCPLossProbeRecovery = 0
        self.TCPSackRecovery = self.TCPRenoRecovery = self.TCPLostRetransmit = 0
        self.TCPFastRetrans = self.TCPSlowStartRetrans = self.TCPDSACKOldSent = 0
        self.TCPDSACKOfoSent = self.TCPDSACKRecv = self.TCPOFOQueue = self.TCPOFODrop = 0
        self.TCPAbortOnData = self.TCPAbortOnClose = self.TCPAbortOnTimeout = 0
        self.TCPAbortOnLinger = self.TCPKeepAlive = self.TCPFromZeroWindowAdv = 0
        self.TCPToZeroWindowAdv = self.TCPWinProbe = self.TCPSackDiscard = 0
        self.TCPFullUndo = 0
        self.TCPSpuriousRTOs = 0


@final
class Counters:
    """All of them. ``errors``: frames whose handling raised an exception, which is a bug of ours."""

    __slots__ = (
        "errors",
        "icmp",
        "icmp6",
        "ip",
        "ip6",
        "tcp",
        "tcpext",
        "udp",
        "udp6",
        "udplite",
        "udplite6",
    )

    def __init__(self) -> None:
        self.ip = IpCounters()
        self.ip6 = IpCounters()
        self.icmp = IcmpCounters()
        self.icmp6 = IcmpCounters()
        self.tcp = TcpCounters()
        self.udp = UdpCounters()
        self.udp6 = UdpCounters()
        self.udplite = UdpCounters()
        self.udplite6 = UdpCounters()
        self.tcpext = TcpExtCounters()
        self.errors = 0

    def of_udp(self, lite: bool, v4: bool) -> UdpCounters:
        """UDP's or UDP-Lite's."""
        if lite:
            return self.udplite if v4 else self.udplite6
        return self.udp if v4 else self.udp6

    def dump(self) -> dict[str, dict[str, int]]:
        """Every group by its name in /proc: Ip, Ip6, Icmp, Icmp6, Tcp, Udp, Udp6, UdpLite, UdpLite6, TcpExt."""
        groups: list[tuple[str, object, tuple[str, ...]]] = [
            ("Ip", self.ip, IP_NAMES), ("Ip6", self.ip6, IP_NAMES), ("Icmp", self.icmp, ICMP_NAMES),
            ("Icmp6", self.icmp6, ICMP_NAMES), ("Tcp", self.tcp, TCP_NAMES), ("Udp", self.udp, UDP_NAMES),
            ("Udp6", self.udp6, UDP_NAMES), ("UdpLite", self.udplite, UDP_NAMES), ("UdpLite6", self.udplite6, UDP_NAMES),
            ("TcpExt", self.tcpext, TCPEXT_NAMES),
        ]  # fmt: skip
        return {title: {n: int(getattr(o, n)) for n in names} for title, o, names in groups}
