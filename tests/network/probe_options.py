"""What every option of every kind of socket answers, a line each: read and set with good and bad sizes and values.

Options that are newer than Linux 6.1, depend on the host's limits, or are its firewall's are left out.
"""

from __future__ import annotations

import errno
import socket
import struct

KINDS = {
    "tcp4": (2, 1, 0), "udp4": (2, 2, 0), "icmp4": (2, 3, 1), "raw4": (2, 3, 255), "tcp6": (10, 1, 0), "udp6": (10, 2, 0), "udplite4": (2, 2, 136), "udplite6": (10, 2, 136),
    "icmp6": (10, 3, 58), "unix stream": (1, 1, 0), "unix dgram": (1, 2, 0), "unix seqpacket": (1, 5, 0),
    "route": (16, 3, 0), "packet": (17, 3, 0x300),
}  # fmt: skip
SOCKET = [
    *range(1, 7),
    *range(9, 16),
    *range(19, 26),
    *range(28, 34),
    *range(35, 42),
    43,
    *range(45, 51),
    52,
    53,
    54,
    56,
    58,
    61,
]
SOCKET += [*range(63, 70), 72, 75]
IP = [
    *range(16),
    *range(18, 27),
    32,
    33,
    34,
    37,
    38,
    39,
    40,
    42,
    43,
    44,
    46,
    47,
    50,
    *range(53, 64),
]
IP6 = [
    *range(6),
    8,
    11,
    *range(16, 20),
    *range(23, 27),
    *range(29, 32),
    33,
    *range(49, 54),
    56,
    58,
    60,
    62,
    66,
    67,
    70,
    72,
    73,
]
IP6 += [74, 75, 76, 77, 78]
TCP = [*range(1, 11), 12, 16, 18, 20, 25, 27, 28, *range(30, 32), 33, 34, 36, 37]
LEVELS = {1: SOCKET, 0: IP, 41: IP6, 6: TCP, 17: [1, 10, 11, 100, 101, 102, 103, 104], 136: [1, 10, 11], 263: [6, 7, 8, 9, 10, 12, 14, 17, 19, 20, 21], 270: [3, 4, 5, 8, 9, 10, 11, 12]}  # fmt: skip
VALUES = (1, 0, -1, 77, b"", b"\1", b"\1\0", struct.pack("II", 1, 2))
# Lists and structures of bytes that are not ours to invent a meaning for, or whose defaults the host chooses
ODD = {
    ("icmp4", 0, 5), ("raw4", 0, 5), ("icmp6", 41, 22),
}  # fmt: skip


def said(call: object, *args: object) -> object:
    try:
        got = call(*args)  # type: ignore[operator]
    except OSError as e:
        return errno.errorcode[e.errno or 0]
    return got.hex() if isinstance(got, bytes) else got


for kind, how in KINDS.items():
    for level, numbers in LEVELS.items():
        if (level in (0, 6) and how[0] not in (2, 10)) or (
            level in (41, 6, 17) and how[0] != 10 and level == 41
        ):
            continue
        if (level == 6 and how[1] != 1) or (level in (17, 136) and how[1:] not in ((2, 0), (2, 136))) or (level == 263 and how[0] != 17) or (level == 270 and how[0] != 16):  # fmt: skip
            continue
        for opt in numbers:
            if (kind, level, opt) in ODD:
                continue
            line = []
            with socket.socket(*how) as s:
                line += [said(s.getsockopt, level, opt, n) for n in (0, 1, 4, 64)]
            for v in VALUES:
                with socket.socket(*how) as s:
                    line.append(said(s.setsockopt, level, opt, v))
                    if line[-1] is None:
                        line.append(said(s.getsockopt, level, opt, 64))
            print(kind, level, opt, *line)
