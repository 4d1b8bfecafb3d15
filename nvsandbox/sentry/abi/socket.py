"""Socket constants and layouts (linux/socket.h, asm-generic/socket.h, linux/in.h, linux/un.h)."""

from __future__ import annotations

import struct
from typing import Final

AF_UNSPEC: Final = 0
AF_UNIX: Final = 1
AF_INET: Final = 2
AF_INET6: Final = 10
AF_NETLINK: Final = 16
AF_MAX: Final = 46

SOCK_STREAM: Final = 1
SOCK_DGRAM: Final = 2
SOCK_RAW: Final = 3
SOCK_SEQPACKET: Final = 5
SOCK_TYPE_MASK: Final = 0xF
SOCK_NONBLOCK: Final = 0o4000
SOCK_CLOEXEC: Final = 0o2000000

SOL_IP: Final = 0
SOL_SOCKET: Final = 1
SOL_TCP: Final = 6
SOL_UDP: Final = 17
SOL_UDPLITE: Final = 136
SOL_IPV6: Final = 41
SOL_NETLINK: Final = 270

SO_DEBUG: Final = 1
SO_REUSEADDR: Final = 2
SO_TYPE: Final = 3
SO_ERROR: Final = 4
SO_DONTROUTE: Final = 5
SO_BROADCAST: Final = 6
SO_SNDBUF: Final = 7
SO_RCVBUF: Final = 8
SO_KEEPALIVE: Final = 9
SO_OOBINLINE: Final = 10
SO_PRIORITY: Final = 12
SO_LINGER: Final = 13
SO_REUSEPORT: Final = 15
SO_PASSCRED: Final = 16
SO_PEERCRED: Final = 17
SO_RCVLOWAT: Final = 18
SO_SNDLOWAT: Final = 19
SO_RCVTIMEO: Final = 20
SO_SNDTIMEO: Final = 21
SO_BINDTODEVICE: Final = 25
SO_ATTACH_FILTER: Final = 26
SO_DETACH_FILTER: Final = 27
SO_TIMESTAMP: Final = 29
SO_ACCEPTCONN: Final = 30
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
SO_PROTOCOL: Final = 38
SO_LOCK_FILTER: Final = 44
SO_DOMAIN: Final = 39
SO_TIMESTAMPNS: Final = 35
SO_PEERGROUPS: Final = 59
SO_BSDCOMPAT: Final = 14
SO_PEERNAME: Final = 28
SO_PASSSEC: Final = 34
SO_MARK: Final = 36
SO_TIMESTAMPING: Final = 37
SO_RXQ_OVFL: Final = 40
SO_PEEK_OFF: Final = 42
SO_MAX_PACING_RATE: Final = 47
SO_BPF_EXTENSIONS: Final = 48
SO_INCOMING_CPU: Final = 49
SO_ATTACH_BPF: Final = 50
SO_ATTACH_REUSEPORT_CBPF: Final = 51
SO_ATTACH_REUSEPORT_EBPF: Final = 52
SO_CNX_ADVICE: Final = 53
SO_MEMINFO: Final = 55
SO_COOKIE: Final = 57
SO_ZEROCOPY: Final = 60
SO_TXTIME: Final = 61
SO_BINDTOIFINDEX: Final = 62
SO_TIMESTAMP_NEW: Final = 63
SO_TIMESTAMPNS_NEW: Final = 64
SO_TIMESTAMPING_NEW: Final = 65
SO_DETACH_REUSEPORT_BPF: Final = 68
SO_RCVTIMEO_NEW: Final = 66
SO_SNDTIMEO_NEW: Final = 67

MSG_OOB: Final = 1
MSG_MORE: Final = 0x8000
MSG_PEEK: Final = 2
MSG_CTRUNC: Final = 8
MSG_TRUNC: Final = 0x20
MSG_DONTWAIT: Final = 0x40
MSG_EOR: Final = 0x80
MSG_WAITALL: Final = 0x100
MSG_ERRQUEUE: Final = 0x2000
MSG_NOSIGNAL: Final = 0x4000
MSG_FASTOPEN: Final = 0x20000000
MSG_WAITFORONE: Final = 0x10000
MSG_CMSG_CLOEXEC: Final = 0x40000000

SCM_RIGHTS: Final = 1
SCM_CREDENTIALS: Final = 2
SCM_MAX_FD: Final = 253

SHUT_RD: Final = 1  # bits, not shutdown(2)'s numbers
SHUT_WR: Final = 2

IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
IPPROTO_UDPLITE: Final = 136
IPPROTO_ICMP: Final = 1

UCRED: Final = struct.Struct("<iII")
MSGHDR: Final = struct.Struct("<QI4xQQQQI4x")
CMSGHDR: Final = struct.Struct("<Qii")
assert MSGHDR.size == 56 and CMSGHDR.size == 16
SOMAXCONN: Final = 4096
