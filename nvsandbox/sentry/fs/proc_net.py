"""/proc/net: interfaces, routes and sockets of the sandbox (Linux: net/core/net-procfs.c, net/ipv4/tcp_ipv4.c…)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..abi.socket import AF_INET, AF_INET6, SOCK_RAW
from ..net import hostproc, netlink, proc, raw_socket, tcp_local, udp_local, unix
from ..net.netfilter import xt
from ..net.netfilter.conntrack import show
from ..net.state import NET
from ..vfs.synthetic import GenFile, StaticDir

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..net.inet import InetSocket
    from ..net.state import NetState
    from .proc import ProcFs

INET_HEAD: Final = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
INET6_HEAD: Final = (
    b"  sl  local_address                         remote_address                        st tx_queue"
    b" rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
)
UNIX_STATE: Final = {unix.CLOSED: 1, unix.LISTEN: 1, unix.CONNECTED: 3}


def _hex(a: tuple[bytes, int], v4: bool) -> str:
    ip = a[0][12:] if v4 else a[0]
    words = [ip[i : i + 4][::-1].hex().upper() for i in range(0, len(ip), 4)]
    return "".join(words) + f":{a[1]:04X}"


def _row(n: int, s: InetSocket, state: int, queued: int) -> bytes:
    v4 = s.domain == AF_INET
    local = s.local if s.type != SOCK_RAW else (s.local[0], s.protocol)
    remote = s.remote if s.type != SOCK_RAW else (s.remote[0], 0)
    return (
        f"{n:4}: {_hex(local, v4)} {_hex(remote, v4)} {state:02X} 00000000:{queued:08X} 00:00000000"
        f" 00000000 {s.node.uid:5}        0 {s.node.ino} 1 0000000000000000 100 0 0 10 0\n"
    ).encode()


def tcp(net: NetState, family: int) -> bytes:
    out = [INET_HEAD if family == AF_INET else INET6_HEAD]
    for s in tcp_local.sockets(net):
        if s.domain == family:
            out.append(
                _row(
                    len(out) - 1, s, s.tcp_state(), s.queued() if s.state != tcp_local.LISTEN else 0
                )
            )
    return b"".join(out)


def udp(net: NetState, family: int, lite: bool = False) -> bytes:
    out = [INET_HEAD if family == AF_INET else INET6_HEAD]
    for s in udp_local.sockets(net, lite):
        if s.domain == family:
            out.append(_row(len(out) - 1, s, 1 if s.remote[1] else 7, s.rx_cost))
    return b"".join(out)


def unix_sockets(net: NetState) -> bytes:
    out = [b"Num       RefCount Protocol Flags    Type St Inode Path\n"]
    for s in unix.ALL:
        if s.net is not net:
            continue
        name = s.addr or b""
        shown = b" @" + name[1:].replace(b"\0", b"@") if name[:1] == b"\0" else b" " + name[:-1]
        flags = 0x10000 if s.state == unix.LISTEN else 0
        fields = (0, s.refs, 0, flags, s.type, UNIX_STATE[s.state], s.node.ino)
        out.append(b"%016X: %08X %08X %08X %04X %02X %5d%s\n" % (*fields, shown if name else b""))
    return b"".join(out)


def raw(net: NetState, family: int) -> bytes:
    """As for the others, with the protocol in the port's place."""
    out = [INET_HEAD if family == AF_INET else INET6_HEAD]
    for s in raw_socket.ALL:
        if s.net is net and s.domain == family and s.type == SOCK_RAW:
            out.append(_row(s.protocol, s, 1 if s.remote[1] else 7, s.rx_cost))
    return b"".join(out)


def netlink_sockets(net: NetState) -> bytes:
    out = [
        b"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
    ]
    for s in netlink.used(net):
        out.append(
            b"%016x %-3d %-10d %08x 0        0        0     2        0        %d\n"
            % (0, s.protocol, s.portid, s.groups, s.node.ino)
        )
    return b"".join(out)


def _tables(net: NetState, family: int) -> bytes:
    f = net.filters
    names = [name for size, name in f.tables if size == family] if f is not None else []
    return b"".join(n + b"\n" for n in reversed(names))


def _lines(names: list[bytes]) -> Callable[[NetState], bytes]:
    text = b"".join(n + b"\n" for n in names)
    return lambda _net: text


def _conntrack(net: NetState) -> bytes:
    f = net.filters
    return show(f.engine.table) if f is not None and f.engine is not None else b""


def _nothing(_net: NetState) -> bytes:
    return b""


def _text(t: Task, make: Callable[[NetState], bytes], fd: int) -> bytes:
    """Of the reader's namespace; ``fd``: the host's file for the sandbox's own, with --network=host."""
    net = t.ns.net
    return hostproc.read(fd) if fd >= 0 and net is NET else make(net)


def make_net(fs: ProcFs) -> StaticDir:
    """One directory for all processes: it shows the reader's network namespace."""
    d = StaticDir(fs)
    texts = {
        b"packet": b"sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n",
        b"protocols": b"protocol  size sockets  memory press maxhdr  slab module\n",
        b"psched": b"000003e8 00000040 000f4240 3b9aca00\n",
        b"wireless": b"Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n",
        b"dev_mcast": b"", b"igmp": b"Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n",
    }  # fmt: skip
    own: dict[bytes, Callable[[NetState], bytes]] = {
        **{name: lambda _net, v=value: v for name, value in texts.items()},  # type: ignore[misc]  # the default binds the loop's value
        **proc.FILES,
        b"tcp": lambda net: tcp(net, AF_INET), b"tcp6": lambda net: tcp(net, AF_INET6),
        b"raw": lambda net: raw(net, AF_INET), b"raw6": lambda net: raw(net, AF_INET6),
        b"udp": lambda net: udp(net, AF_INET), b"udp6": lambda net: udp(net, AF_INET6),
        b"udplite": lambda net: udp(net, AF_INET, True), b"udplite6": lambda net: udp(net, AF_INET6, True),
    }  # fmt: skip
    rules: dict[bytes, Callable[[NetState], bytes]] = {
        b"ip_tables_names": lambda net: _tables(net, 4), b"ip6_tables_names": lambda net: _tables(net, 16),
        b"ip_tables_matches": _lines(xt.match_names(4)), b"ip6_tables_matches": _lines(xt.match_names(16)),
        b"ip_tables_targets": _lines(xt.target_names(4)), b"ip6_tables_targets": _lines(xt.target_names(16)),
        b"nf_conntrack": _conntrack,
    }  # fmt: skip
    for name, make in rules.items():
        d.add(name, GenFile(fs, lambda t, m=make: m(t.ns.net), 0o440))  # type: ignore[misc]  # as above
    for name in {**own, **hostproc.FILES}:
        make, fd = own.get(name, _nothing), hostproc.FILES.get(name, -1)
        d.add(name, GenFile(fs, lambda t, m=make, fd=fd: _text(t, m, fd)))  # type: ignore[misc]  # as above
    d.add(b"unix", GenFile(fs, lambda t: unix_sockets(t.ns.net)))
    d.add(b"netlink", GenFile(fs, lambda t: netlink_sockets(t.ns.net)))
    return d
