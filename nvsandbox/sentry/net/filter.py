"""Socket filters: classic BPF on what a socket is about to receive (Linux: net/core/filter.c; socket(7), SO_ATTACH_FILTER).

A program returns how many bytes of the packet are kept, 0: none.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.cbpf import INSN, MAX_INSNS, Insn, parse

if TYPE_CHECKING:
    from ..kernel.task import Task

# What is not in the packet (linux/filter.h): offsets from here on
SKF_NET_OFF: Final = 0xFFF00000
SKF_LL_OFF: Final = 0xFFE00000
SKF_AD_OFF: Final = 0xFFFFF000
AD_PROTOCOL: Final = 0
AD_PKTTYPE: Final = 4
AD_IFINDEX: Final = 8
AD_HATYPE: Final = 28
AD_RANDOM: Final = 56
AD_ZERO: Final = (
    20,
    24,
    32,
    36,
    44,
    48,
    60,
)  # mark, queue, hash, processor, VLAN tag, its presence, its protocol
ARPHRD_ETHER: Final = 1


@final
class View:
    """The packet as a filter sees it: data, where its network header is, protocol (EtherType), PACKET_*, interface."""

    __slots__ = ("data", "index", "kind", "net", "proto")

    def __init__(self, data: bytes, net: int, proto: int, kind: int, index: int) -> None:
        self.data = data
        self.net = net
        self.proto = proto
        self.kind = kind
        self.index = index

    def length(self) -> int:
        return len(self.data)

    def load(self, at: int, size: int) -> int:
        if at >= SKF_AD_OFF:
            return self._beside(at - SKF_AD_OFF)
        if at >= SKF_NET_OFF:
            at = at - SKF_NET_OFF + self.net
        elif at >= SKF_LL_OFF:
            at -= SKF_LL_OFF
            if not self.net:
                return -1
        if at + size > len(self.data):
            return -1
        return int.from_bytes(self.data[at : at + size], "big")

    def _beside(self, k: int) -> int:
        """A number beside the packet, -1: there is none such."""
        if k == AD_PROTOCOL:
            return self.proto
        if k == AD_PKTTYPE:
            return self.kind
        if k == AD_IFINDEX:
            return self.index
        if k == AD_HATYPE:
            return ARPHRD_ETHER
        if k == AD_RANDOM:
            return int.from_bytes(os.urandom(4), "little")
        return 0 if k in AD_ZERO else -1


def attach(t: Task, data: bytes) -> list[Insn]:
    """The program that SO_ATTACH_FILTER's ``struct sock_fprog`` points to. Raises EINVAL, EFAULT."""
    if len(data) < 16:
        raise SysErr(errno.EINVAL)
    n, where = struct.unpack_from("<H6xQ", data)
    if not 0 < n <= MAX_INSNS:
        raise SysErr(errno.EINVAL)
    return parse(t.copy_in(where, n * INSN.size), True)
