#!/usr/bin/env python3
"""Multicast and broadcast over loopback: groups, sources of groups (RFC 3678), who hears what."""

import errno
import select
import socket
import struct

LO = socket.inet_aton("127.0.0.1")
GROUP = "239.7.7.7"
G = socket.inet_aton(GROUP)
SIX = "ff11::7777"
index = socket.if_nametoindex("lo")


def code(f, *a):
    try:
        return f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]


def heard(*socks):
    out = []
    for s in socks:
        got = []
        while select.select([s], [], [], 0.05)[0]:
            got.append(s.recv(100))
        out.append(got)
    return out


def receiver(port=0, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port))
    return s


a = receiver()
port = a.getsockname()[1]
b, c = receiver(port), receiver(port)
send = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
send.setsockopt(0, socket.IP_MULTICAST_IF, LO)
print(send.getsockopt(0, socket.IP_MULTICAST_IF, 4) == LO)
send.bind(("127.0.0.1", 0))

send.sendto(b"nobody", (GROUP, port))
print(heard(a, b, c))
print(
    code(a.setsockopt, 0, socket.IP_ADD_MEMBERSHIP, G + LO),
    code(a.setsockopt, 0, socket.IP_ADD_MEMBERSHIP, G + LO),
)
print(code(a.setsockopt, 0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("10.0.0.1") + LO))
c.setsockopt(0, 49, 0)  # IP_MULTICAST_ALL
send.sendto(b"all", (GROUP, port))
print(heard(a, b, c))
c.setsockopt(0, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4si", G, bytes(4), index))
send.sendto(b"members", (GROUP, port))
print(heard(a, b, c))
print(
    code(a.setsockopt, 0, socket.IP_DROP_MEMBERSHIP, G + LO),
    code(a.setsockopt, 0, socket.IP_DROP_MEMBERSHIP, G + LO),
)
c.close()
send.sendto(b"gone", (GROUP, port))
print(heard(a, b))

# Sources: joined (39), left (40), blocked (38), unblocked (37)
me, other = LO, socket.inet_aton("127.0.0.9")
a.setsockopt(0, 49, 0)
for opt, src in (
    (37, me),
    (40, me),
    (39, other),
    (39, other),
    (38, me),
    (39, me),
    (40, other),
    (40, other),
    (40, me),
    (40, me),
):
    print(opt, src == me, code(a.setsockopt, 0, opt, G + LO + src), end=" ")
    send.sendto(b"%d" % opt, (GROUP, port))
    print(heard(a))
a.setsockopt(0, socket.IP_ADD_MEMBERSHIP, G + LO)
for opt, src in (
    (38, me),
    (38, me),
    (38, other),
    (37, me),
    (37, me),
    (39, me),
    (37, other),
    (39, other),
    (40, other),
):
    print(opt, src == me, code(a.setsockopt, 0, opt, G + LO + src), end=" ")
    send.sendto(b"%d" % opt, (GROUP, port))
    print(heard(a))
print(code(a.setsockopt, 0, socket.IP_DROP_MEMBERSHIP, G + LO))


# The protocol-independent ones: MCAST_JOIN_GROUP (42) and so on
def sa(ip):
    if ":" in ip:
        return struct.pack(
            "<HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, ip), 0
        ).ljust(128, b"\0")
    return struct.pack("<HH4s", socket.AF_INET, 0, socket.inet_aton(ip)).ljust(128, b"\0")


def source_req(group, src):
    return struct.pack("<I4x", index) + sa(group) + sa(src)


req = struct.pack("<I4x", index) + sa(GROUP)
print(
    code(a.setsockopt, 0, 42, req),
    code(a.setsockopt, 0, 42, req),
    code(a.setsockopt, 0, 43, source_req(GROUP, "127.0.0.1")),
)
send.sendto(b"blocked", (GROUP, port))
print(heard(a), code(a.setsockopt, 0, 44, source_req(GROUP, "127.0.0.1")))
send.sendto(b"again", (GROUP, port))
print(heard(a), code(a.setsockopt, 0, 45, req), code(a.setsockopt, 0, 45, req))
print(
    code(a.setsockopt, 0, 46, source_req(GROUP, "127.0.0.1")),
    code(a.setsockopt, 0, 47, source_req(GROUP, "127.0.0.2")),
)
send.sendto(b"joined", (GROUP, port))
print(heard(a))
# Whole filters: IP_MSFILTER (41)
print(code(a.setsockopt, 0, 41, G + LO + struct.pack("<II", 0, 1) + me))
send.sendto(b"excluded", (GROUP, port))
print(heard(a))
print(
    code(a.setsockopt, 0, 41, G + LO + struct.pack("<II", 2, 0)),
    code(a.setsockopt, 0, 41, G + LO + struct.pack("<II", 1, 2) + me),
)
print(
    code(
        a.setsockopt,
        0,
        41,
        G + LO + struct.pack("<II", 1, 11) + b"".join(bytes((127, 0, 1, i)) for i in range(11)),
    )
)
print(
    code(a.setsockopt, 0, 41, G + LO + struct.pack("<II", 1, 0)),
    code(a.setsockopt, 0, 41, G + LO + struct.pack("<II", 1, 0)),
)

# IPv6
d = receiver(0, socket.AF_INET6)
port6 = d.getsockname()[1]
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.setsockopt(41, socket.IPV6_MULTICAST_IF, index)
join = socket.inet_pton(socket.AF_INET6, SIX) + struct.pack("<I", index)
print(
    code(d.setsockopt, 41, socket.IPV6_JOIN_GROUP, join),
    code(d.setsockopt, 41, socket.IPV6_JOIN_GROUP, join),
)
print(code(six.sendto, b"six", (SIX, port6)), code(d.setsockopt, 41, 43, source_req(SIX, "::1")))
print(
    code(d.setsockopt, 41, 43, source_req(SIX, "::1")),
    code(d.setsockopt, 41, 46, source_req(SIX, "::1")),
)
print(
    code(d.setsockopt, 41, 44, source_req(SIX, "::1")),
    code(d.setsockopt, 41, 44, source_req(SIX, "::1")),
)
print(
    code(d.setsockopt, 41, socket.IPV6_LEAVE_GROUP, join),
    code(d.setsockopt, 41, socket.IPV6_LEAVE_GROUP, join),
)

# Broadcast on loopback
plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(code(plain.sendto, b"x", ("127.255.255.255", port)))
plain.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
print(code(plain.sendto, b"to all", ("127.255.255.255", port)), heard(a, b))
