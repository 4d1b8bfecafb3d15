"""Prints what a program sees of UDP to another host; run in the sandbox and natively, the outputs must be equal.

argv: address of the peer, where an echo server has port 7100 and nobody port 9.
"""

import errno
import select
import socket
import struct
import sys
import time

HOST = sys.argv[1]
V4 = ":" not in HOST
FAMILY = socket.AF_INET if V4 else socket.AF_INET6
IP = socket.IPPROTO_IP if V4 else socket.IPPROTO_IPV6
BITS = {1: "IN", 4: "OUT", 8: "ERR", 16: "HUP", 0x40: "RDNORM", 0x100: "WRNORM", 0x2000: "RDHUP"}


def mask(s: socket.socket) -> str:
    p = select.poll()
    p.register(s, sum(BITS))
    got = p.poll(0)
    return "|".join(n for b, n in BITS.items() if got and got[0][1] & b) or "-"


def soon(s: socket.socket, want: str) -> str:
    """The mask once ``want`` is in it: the other end, or the machine, may take its time."""
    for _ in range(2000):
        if want in mask(s).split("|"):
            break
        time.sleep(0.01)
    return mask(s)


def tell(what: str, fn) -> None:  # type: ignore[no-untyped-def]
    try:
        print(what, fn())
    except OSError as e:
        print(what, errno.errorcode.get(e.errno or 0, str(e)))


def nothing(what: str, s: socket.socket, fn) -> None:  # type: ignore[no-untyped-def]
    """``tell`` of what would wait for ever."""
    s.settimeout(0.2)
    tell(what, fn)
    s.settimeout(30)


def new() -> socket.socket:
    s = socket.socket(FAMILY, socket.SOCK_DGRAM)
    s.settimeout(30)
    return s


def basics() -> None:
    s = new()
    print("fresh", mask(s), s.getsockname()[:2])
    tell("send", lambda: s.send(b"x"))
    tell("peername", s.getpeername)
    u = new()
    tell("shutdown", lambda: u.shutdown(2))
    print("shut", mask(u))
    tell("send", lambda: u.sendto(b"x", (HOST, 7100)))
    tell("port 0", lambda: s.sendto(b"x", (HOST, 0)))
    tell("listen", lambda: s.listen(1))
    tell("empty", lambda: s.sendto(b"", (HOST, 7100)))
    tell("recv", lambda: s.recvfrom(10)[0])
    s.sendto(b"0123456789", (HOST, 7100))
    print("data", soon(s, "IN"))
    tell("peek", lambda: s.recvmsg(4, 0, socket.MSG_PEEK)[:3])
    tell("trunc", lambda: s.recv_into(bytearray(4), 4, socket.MSG_TRUNC))
    nothing("nothing", s, lambda: s.recv(4, socket.MSG_DONTWAIT))
    for size in (1400, 1472, 1473, 5000, 65507):
        s.sendto(bytes(size), (HOST, 7100))
        tell(f"size {size}", lambda: len(s.recv(70000)))
    tell("too big", lambda: s.sendto(bytes(65536), (HOST, 7100)))
    s.setsockopt(IP, 10 if V4 else 23, 2)
    tell("not fragmented", lambda: s.sendto(bytes(1400), (HOST, 7100)))
    tell("not fragmented", lambda: s.sendto(bytes(2000), (HOST, 7100)))
    tell("oob", lambda: s.sendto(b"x", socket.MSG_OOB, (HOST, 7100)))


def connected() -> None:
    s = new()
    s.connect((HOST, 7100))
    print("connected", mask(s), s.getsockname()[0], s.getpeername()[:2] == (HOST, 7100))
    s.send(b"a")
    tell("recv", lambda: s.recv(10))
    other = new()
    other.bind(("", 0))
    tell("mtu", lambda: s.getsockopt(IP, 14 if V4 else 24))
    s.connect((HOST, 9))
    tell("to nobody", lambda: s.send(b"x"))
    print("refused", soon(s, "ERR"))
    tell("send", lambda: s.send(b"x"))
    time.sleep(0.1)
    nothing("recv", s, lambda: s.recv(1))
    tell("error", lambda: s.getsockopt(1, 4))
    s.shutdown(socket.SHUT_RDWR)
    print("shut", mask(s))
    nothing("recv", s, lambda: s.recv(1))
    tell("send", lambda: s.send(b"x"))
    u = new()
    tell("to nobody", lambda: u.sendto(b"x", (HOST, 9)))
    time.sleep(0.1)
    print("unconnected hears nothing", mask(u))
    u.setsockopt(IP, 11 if V4 else 25, 1)
    u.sendto(b"question", (HOST, 9))
    print("with errors", soon(u, "ERR"))
    tell("recv", lambda: u.recv(1, socket.MSG_DONTWAIT))
    data, anc, flags, addr = u.recvmsg(100, 500, socket.MSG_ERRQUEUE)
    level, kind, body = anc[0]
    print("queue", data, level, kind, struct.unpack_from("<IBBBxII", body), hex(flags), addr[:2])
    nothing("queue", u, lambda: u.recvmsg(100, 500, socket.MSG_ERRQUEUE))


def groups() -> None:
    s = new()
    any4, group = bytes(4), socket.inet_aton("239.1.2.3")
    if V4:
        index = socket.if_nametoindex("eth0")
        tell("join", lambda: s.setsockopt(0, 35, group + struct.pack("4si", any4, index)))
        tell("join again", lambda: s.setsockopt(0, 35, group + struct.pack("4si", any4, index)))
        tell("not a group", lambda: s.setsockopt(0, 35, socket.inet_aton("10.0.0.1") + any4))
        tell("leave", lambda: s.setsockopt(0, 36, group + struct.pack("4si", any4, index)))
        tell("leave again", lambda: s.setsockopt(0, 36, group + struct.pack("4si", any4, index)))
        tell("broadcast", lambda: s.sendto(b"x", ("255.255.255.255", 9)))
        for opt, value in ((33, 5), (33, 256), (34, 0), (32, 0)):
            tell(f"set {opt}", lambda opt=opt, value=value: s.setsockopt(0, opt, value))
            tell(f"get {opt}", lambda opt=opt: s.getsockopt(0, opt))
    else:
        tell("scope", lambda: s.sendto(b"x", ("fe80::1", 9)))
        tell(
            "group",
            lambda: s.setsockopt(
                41,
                20,
                socket.inet_pton(FAMILY, "ff02::1:7")
                + struct.pack("I", socket.if_nametoindex("eth0")),
            ),
        )
        tell(
            "no such interface",
            lambda: s.setsockopt(
                41, 20, socket.inet_pton(FAMILY, "ff02::1:7") + struct.pack("I", 999)
            ),
        )
    tell("bind elsewhere", lambda: s.bind(("10.1.1.1" if V4 else "2001:db8::7", 0)))
    tell("device", lambda: s.setsockopt(1, 25, b"nothere\0"))
    tell("device", lambda: s.setsockopt(1, 25, b"eth0\0"))
    tell("device", lambda: s.getsockopt(1, 25, 16))
    tell("send", lambda: s.sendto(b"x", (HOST, 7100)))
    tell("recv", lambda: s.recv(1))
    if V4:
        tell("to loopback", lambda: s.sendto(b"x", ("127.0.0.1", 9)))


for part in (basics, connected, groups):
    print("==", part.__name__)
    part()
    sys.stdout.flush()
