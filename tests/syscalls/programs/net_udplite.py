#!/usr/bin/env python3
"""UDP-Lite (udplite(7), RFC 3828): options, partial coverage and who takes it, ports of its own, /proc/net/udplite."""

import errno
import socket

LITE, SEND, RECV = 136, 10, 11


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


def lite(family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM, LITE)
    s.setblocking(False)
    return s


for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    a, b = lite(family), lite(family)
    u = socket.socket(family, socket.SOCK_DGRAM)
    print(
        a.getsockopt(1, socket.SO_PROTOCOL),
        a.getsockopt(1, socket.SO_TYPE),
        u.getsockopt(1, socket.SO_PROTOCOL),
    )
    for level in (LITE, 17):
        for opt in (SEND, RECV):
            print(
                level,
                opt,
                code(a.getsockopt, level, opt),
                code(u.getsockopt, level, opt),
                code(u.setsockopt, level, opt, 20),
                end=" ",
            )
            for value in (0, 1, 7, 8, 9, -1, 65535, 65536, 1 << 30, b"", b"\1\0", b"\x14\0\0"):
                print(
                    code(a.setsockopt, level, opt, value), code(a.getsockopt, level, opt), end=" "
                )
            print()
    a = lite(family)
    b.bind((host, 0))
    port = b.getsockname()[1]
    u.bind((host, port))  # the number is free for UDP
    print(code(lite(family).bind, (host, port)))
    a.connect((host, port))
    # For each coverage that the sender says, which receivers take it
    for send in (None, 0, 8, 12, 18, 19, 28, 100):
        if send is not None:
            a.setsockopt(LITE, SEND, send)
        got = []
        for least in (None, 0, 8, 12, 18, 19):
            b.close()
            b = lite(family)
            b.bind((host, port))
            if least is not None:
                b.setsockopt(LITE, RECV, least)
            a.send(b"0123456789")
            got.append(code(b.recv, 100))
        print(send, got)
    b.close()
    print(code(a.send, b"x"), code(a.send, b"y"), code(a.recv, 9))  # refused by ICMP
    b = lite(family)
    b.bind((host, port))
    print(
        a.send(bytes(65507 if family == socket.AF_INET else 60000)),
        len(b.recv(70000)),
        code(a.send, bytes(65536)),
    )
    a.setsockopt(LITE, 1, 1)  # UDP_CORK
    print(
        a.send(b"one"), a.send(b"two"), code(b.recv, 9), a.setsockopt(LITE, 1, 0), code(b.recv, 9)
    )
    a.setsockopt(17, 103, 4)
    print(code(a.send, b"long enough"), code(a.send, b"1234"), code(b.recv, 9))
    name = "/proc/net/udplite" + ("6" if family == socket.AF_INET6 else "")
    print(sorted(line.split()[3] for line in open(name) if f":{port:04X} " in line))
    print(sum(f":{port:04X} " in line for line in open(name.replace("lite", ""))))
with open("/proc/net/sockstat") as f:
    print([line.split()[0] for line in f if line.startswith("UDPL")])
with open("/proc/net/snmp") as f:
    print([len(line.split()) for line in f if line.startswith("UdpLite:")])
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    print(code(socket.socket, socket.AF_INET, kind, LITE))
