"""Prints what a program sees of TCP to another host in many states; run in the sandbox and natively, the outputs must be equal.

argv: address of the peer, where ``peer_tcp.py`` serves.
"""

import errno
import fcntl
import os
import select
import socket
import struct
import sys
import threading
import time

HOST = sys.argv[1]
FAMILY = socket.AF_INET6 if ":" in HOST else socket.AF_INET
BITS = {
    1: "IN",
    2: "PRI",
    4: "OUT",
    8: "ERR",
    16: "HUP",
    0x40: "RDNORM",
    0x100: "WRNORM",
    0x2000: "RDHUP",
}


def mask(s: socket.socket) -> str:
    p = select.poll()
    p.register(s, sum(BITS))
    got = p.poll(0)
    return "|".join(n for b, n in BITS.items() if got and got[0][1] & b) or "-"


def tell(what: str, fn) -> None:  # type: ignore[no-untyped-def]
    try:
        print(what, fn())
    except OSError as e:
        print(what, errno.errorcode.get(e.errno or 0, str(e)))


def connect(order: str) -> socket.socket:
    """A connection whose other end does what ``order`` says."""
    s = socket.socket(FAMILY)
    s.settimeout(10)
    s.connect((HOST, 7100))
    s.sendall(order.encode().ljust(16))
    assert s.recv(2) == b"ok"
    s.settimeout(None)
    return s


def until(s: socket.socket, bit: str) -> None:
    for _ in range(200):
        if bit in mask(s).split("|"):
            return
        time.sleep(0.01)
    print("never", bit)


def names() -> None:
    s = socket.socket(FAMILY)
    print("fresh", mask(s), s.getsockname()[:2])
    tell("peername", s.getpeername)
    tell("recv", lambda: s.recv(1, socket.MSG_DONTWAIT))
    tell("send", lambda: s.send(b"x", socket.MSG_NOSIGNAL))
    tell("shutdown", lambda: s.shutdown(2))
    tell("accept", s.accept)
    s.bind(("", 0))
    tell("bind again", lambda: s.bind(("", 0)))
    print("bound", mask(s), s.getsockname()[0])
    s.listen(1)
    print("listening", mask(s))
    tell("connect", lambda: s.connect((HOST, 7100)))
    tell("recv", lambda: s.recv(1))
    s.setblocking(False)
    tell("accept", s.accept)


def data() -> None:
    s = connect("echo")
    print("connected", mask(s), s.getpeername()[:2] == (HOST, 7100))
    tell("connect again", lambda: s.connect((HOST, 7100)))
    tell("listen", lambda: s.listen(1))
    tell("accept", s.accept)
    s.send(b"0123456789")
    until(s, "IN")
    time.sleep(0.05)
    print("data", mask(s), struct.unpack("i", fcntl.ioctl(s, 0x541B, bytes(4)))[0])
    tell("peek", lambda: s.recv(4, socket.MSG_PEEK))
    tell("recv", lambda: s.recv(4))
    tell("trunc", lambda: s.recv_into(bytearray(2), 2, socket.MSG_TRUNC))
    tell("rest", lambda: s.recv(100))
    tell("empty", lambda: s.recv(1, socket.MSG_DONTWAIT))
    s.send(b"abc")
    time.sleep(0.2)
    s.send(b"defg")
    tell("waitall", lambda: s.recv(7, socket.MSG_WAITALL))
    tell("outq", lambda: struct.unpack("i", fcntl.ioctl(s, 0x5411, bytes(4)))[0])
    s.settimeout(0.1)
    tell("timeout", lambda: s.recv(1))
    s.settimeout(None)
    s.shutdown(socket.SHUT_WR)
    until(s, "IN")
    print("both ends", mask(s))
    tell("eof", lambda: s.recv(1))
    tell("send", lambda: s.send(b"x", socket.MSG_NOSIGNAL))
    tell("shutdown again", lambda: s.shutdown(socket.SHUT_WR))
    s.close()


def half_close() -> None:
    s = connect("close")
    until(s, "RDHUP")
    print("closed by peer", mask(s))
    tell("eof", lambda: s.recv(1))
    tell("first send", lambda: s.send(b"x", socket.MSG_NOSIGNAL))
    until(s, "HUP")
    print("after reset", mask(s))
    tell("second send", lambda: s.send(b"x", socket.MSG_NOSIGNAL))
    tell("error", lambda: s.getsockopt(1, 4))
    tell("recv", lambda: s.recv(1))
    s = connect("echo")
    s.shutdown(socket.SHUT_RD)
    print("no reading", mask(s))
    tell("recv", lambda: s.recv(1))
    tell("send", lambda: s.send(b"x"))


def reset() -> None:
    s = connect("reset")
    until(s, "HUP")
    print("reset", mask(s))
    tell("error", lambda: errno.errorcode[s.getsockopt(1, 4)])
    tell("recv", lambda: s.recv(1))
    tell("send", lambda: s.send(b"x", socket.MSG_NOSIGNAL))
    tell("peername", s.getpeername)
    tell("shutdown", lambda: s.shutdown(2))
    s = connect("reset")
    until(s, "HUP")
    tell("recv first", lambda: s.recv(1))
    tell("then", lambda: s.recv(1))
    s = connect("tell")
    s.setsockopt(1, 13, struct.pack("ii", 1, 0))
    s.close()
    s = connect("tell")
    s.close()
    s = connect("unread")
    until(s, "IN")
    s.close()


def options() -> None:
    s = connect("echo")
    for name in (
        "NODELAY",
        "CORK",
        "KEEPIDLE",
        "KEEPINTVL",
        "KEEPCNT",
        "SYNCNT",
        "LINGER2",
        "DEFER_ACCEPT",
        "QUICKACK",
        "USER_TIMEOUT",
    ):
        opt = getattr(socket, f"TCP_{name}")
        tell(name, lambda opt=opt: s.getsockopt(6, opt))
        tell(f"set {name}", lambda opt=opt: s.setsockopt(6, opt, 5))
        tell(name, lambda opt=opt: s.getsockopt(6, opt))
        tell(f"set {name} -1", lambda opt=opt: s.setsockopt(6, opt, -1))
    tell("bad congestion", lambda: s.setsockopt(6, 13, b"nothing"))
    info = s.getsockopt(6, 11, 104)
    print("info", info[0], info[5] & 7, struct.unpack_from("<I", info, 16)[0])
    tell("maxseg", lambda: s.getsockopt(6, 2))
    tell("mtu", lambda: s.getsockopt(*((0, 14) if FAMILY == socket.AF_INET else (41, 24))))
    for level, opt, value in (
        (0, 1, 0x10),
        (0, 2, 5),
        (0, 2, 0),
        (0, 2, 256),
        (41, 16, 7),
        (41, 16, -2),
        (41, 67, 3),
    ):
        tell(
            f"set {level} {opt} {value}",
            lambda level=level, opt=opt, value=value: s.setsockopt(level, opt, value),
        )
        tell(f"get {level} {opt}", lambda level=level, opt=opt: s.getsockopt(level, opt))


def urgent() -> None:
    s = connect("urgent")
    until(s, "PRI")
    time.sleep(0.1)
    print("urgent", mask(s))
    tell("before", lambda: s.recv(100))
    tell("oob", lambda: s.recv(1, socket.MSG_OOB))
    tell("oob again", lambda: s.recv(1, socket.MSG_OOB))
    tell("after", lambda: s.recv(100))
    s = connect("echo")
    tell("none", lambda: s.recv(1, socket.MSG_OOB))


def nonblocking() -> None:
    s = socket.socket(FAMILY)
    s.setblocking(False)
    print("connect", errno.errorcode[s.connect_ex((HOST, 7100))])
    until(s, "OUT")
    print(
        mask(s),
        s.connect_ex((HOST, 7100)),
        errno.errorcode[s.connect_ex((HOST, 7100))],
        s.getsockopt(1, 4),
    )
    s.close()
    s = socket.socket(FAMILY)
    s.setblocking(False)
    s.connect_ex((HOST, 9))
    until(s, "ERR")
    print(
        mask(s),
        errno.errorcode[s.connect_ex((HOST, 9))],
        mask(s),
        errno.errorcode[s.connect_ex((HOST, 9))],
    )
    s.close()
    e = select.epoll()
    s = connect("echo")
    e.register(s, select.EPOLLIN | select.EPOLLET)
    s.send(b"a")
    print("edge", [m for _, m in e.poll(5)], e.poll(0.1))
    s.send(b"b")
    print("edge", [m for _, m in e.poll(5)], s.recv(10) in (b"ab", b"a"), e.poll(0.1))
    s = connect("stall")
    s.setblocking(False)
    sent = 0
    while True:
        try:
            sent += s.send(bytes(65536))
        except BlockingIOError:
            break
    print("full", sent > 10000, mask(s))
    s.setblocking(True)
    s.settimeout(0.2)
    tell("send", lambda: s.send(b"x"))


def server() -> None:
    """The peer connects to us."""
    ls = socket.create_server(("", 7200), family=FAMILY)
    c = connect("connect")
    a, addr = ls.accept()
    until(a, "IN")
    print("accepted", addr[0] == HOST, a.getsockname()[1], mask(a), mask(ls))
    tell("recv", lambda: a.recv(10))
    a.send(b"bye")
    a.close()
    c.close()
    c = connect("connect-reset")
    time.sleep(0.3)
    print("a reset one waits", mask(ls))
    ls.settimeout(1)
    try:
        a, addr = ls.accept()
        print("accepted", mask(a))
        tell("recv", lambda: a.recv(10))
        tell("recv", lambda: a.recv(10))
    except OSError as e:
        print("accept", e)
    ls.close()
    c.close()
    time.sleep(0.1)
    ls = socket.create_server(("", 7200), family=FAMILY, reuse_port=True)
    tell("second", lambda: socket.create_server(("", 7200), family=FAMILY).close())
    tell("shared", lambda: socket.create_server(("", 7200), family=FAMILY, reuse_port=True).close())
    ls.close()


def blocked() -> None:
    """Calls that wait are ended by what another thread does."""
    s = connect("echo")
    t = threading.Timer(0.2, lambda: s.shutdown(2))
    t.start()
    tell("recv, then shutdown", lambda: s.recv(1))
    r, w = os.pipe()
    s = connect("echo")
    s.sendall(b"x" * 100000)
    got = b""
    while len(got) < 100000:
        got += s.recv(1 << 20)
    print("bulk", got == b"x" * 100000)
    with open("/proc/self/exe", "rb") as f:
        n = os.sendfile(s.fileno(), f.fileno(), 0, 50000)
        f.seek(0)
        want = f.read(n)
    got = b""
    while len(got) < n:
        got += s.recv(1 << 20)
    print("sendfile", got == want)
    os.write(w, b"spliced")
    print("splice", os.splice(r, s.fileno(), 7) if hasattr(os, "splice") else 7)


for part in (names, data, half_close, reset, options, urgent, nonblocking, server, blocked):
    print("==", part.__name__)
    part()
    sys.stdout.flush()
