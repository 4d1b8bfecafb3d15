"""Linux's own stack as the peer: a veth pair, one end in a network namespace, ours on a packet socket at the other."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nvsandbox.sentry.net.stack.link import Offload
from nvsandbox.sentry.net.stack.stack import Stack

SOL_PACKET = 263
PACKET_VNET_HDR = 15
VNET = struct.Struct("<BBHHHH")  # struct virtio_net_hdr
ETH_P_ALL = 3
OURS4, THEIRS4 = bytes((10, 77, 0, 1)), bytes((10, 77, 0, 2))
OURS6 = b"\xfd\x77" + bytes(13) + b"\1"
THEIRS6 = b"\xfd\x77" + bytes(13) + b"\2"
PEER = Path(__file__).with_name("peer.py")


def sh(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


class PacketLink:
    """An AF_PACKET socket with offloads; ``loss`` of single packets in either direction when set."""

    def __init__(self, name: str, offload: bool) -> None:
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)
        self.sock.setsockopt(socket.SOL_SOCKET, 32, 16 << 20)
        self.sock.bind((name, ETH_P_ALL))
        self.sock.setblocking(False)
        self.mac = self.sock.getsockname()[4]
        self.mtu = 1500
        self.max_gso = 65535 if offload else 0
        self.checksums = offload
        self.loss = 0.0
        self.rng = random.Random(1)
        self.frames: list[bytes] | None = None

    def send(self, parts: list[bytes], offload: Offload | None) -> bool:
        if self.loss and self.rng.random() < self.loss:
            return True
        if self.frames is not None:
            self.frames.append(b"".join(parts))
        head = bytes(10)
        if offload is not None:
            head = VNET.pack(
                1,
                offload.gso_type,
                offload.hdr_len,
                offload.gso_size,
                offload.csum_start,
                offload.csum_offset,
            )
        try:
            self.sock.sendmsg([head, *parts])
        except BlockingIOError:
            return False
        return True

    def receive(self) -> tuple[bytes, bool, int] | None:
        try:
            data, _, _, addr = self.sock.recvmsg(65536 + 100)
        except BlockingIOError:
            return None
        if addr[2] == socket.PACKET_OUTGOING:
            return b"", True, 0
        flags, gso_type, _, gso_size, _, _ = VNET.unpack_from(data)
        return data[10:], flags & 3 != 0, gso_size if gso_type else 0


class World:
    """Our stack, and a namespace with Linux's at the other end."""

    def __init__(self, offload: bool = True, gso_peer: bool = True) -> None:
        self.name = f"nvt{os.getpid() % 10000}{random.randrange(1000)}"
        self.outer, self.inner = self.name[:12] + "a", self.name[:12] + "b"
        sh("ip", "netns", "add", self.name)
        sh(
            "ip",
            "link",
            "add",
            self.outer,
            "type",
            "veth",
            "peer",
            "name",
            self.inner,
            "netns",
            self.name,
        )
        Path(f"/proc/sys/net/ipv6/conf/{self.outer}/disable_ipv6").write_text("1")
        sh("ip", "link", "set", self.outer, "arp", "off", "up")
        self.ns("ip", "link", "set", "lo", "up")
        self.ns("ip", "addr", "add", "10.77.0.2/24", "dev", self.inner)
        self.ns("ip", "addr", "add", "fd77::2/64", "dev", self.inner, "nodad")
        self.ns("ip", "link", "set", self.inner, "up")
        if not gso_peer:
            for what in ("tso", "gso", "gro", "tx"):
                subprocess.run(
                    ["ip", "netns", "exec", self.name, "ethtool", "-K", self.inner, what, "off"],
                    capture_output=True,
                )
        self.link = PacketLink(self.outer, offload)
        self.errors: list[Exception] = []
        self.stack = Stack(time.monotonic_ns, os.urandom)
        self.stack.on_error = self.errors.append
        self.iface = self.stack.add_interface("eth0", 2, self.link)
        self.stack.add_address(self.iface, OURS4, 24)
        self.stack.add_address(self.iface, OURS6, 64)
        self.procs: list[subprocess.Popen[bytes]] = []
        self.poll = select.poll()
        self.poll.register(self.link.sock, select.POLLIN)

    def ns(self, *argv: str) -> str:
        r = subprocess.run(
            ["ip", "netns", "exec", self.name, *argv], check=True, capture_output=True, text=True
        )
        return r.stdout

    def peer(self, *argv: str) -> subprocess.Popen[bytes]:
        """Starts tests/net/peer.py in the namespace; waits for its "ready" unless it connects."""
        p = subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, str(PEER), *argv], stdout=subprocess.PIPE,
        )  # fmt: skip
        self.procs.append(p)
        assert p.stdout is not None
        assert p.stdout.readline() == b"ready\n"
        return p

    def turn(self, most: float) -> None:
        """Takes what has come, then what is due; waits up to ``most`` seconds for something."""
        nxt = self.stack.next_timer()
        wait = most * 1000
        if nxt is not None:
            wait = min(wait, max((nxt - time.monotonic_ns()) / 1e6, 0))
        self.poll.poll(wait)
        for _ in range(256):
            got = self.link.receive()
            if got is None:
                break
            if not got[0] or (self.link.loss and self.link.rng.random() < self.link.loss):
                continue
            if self.link.frames is not None:
                self.link.frames.append(got[0])
            self.stack.receive(self.iface, *got)
        self.stack.run_timers()

    def until(self, condition: Callable[[], Any], limit: float = 60) -> None:
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, "nothing happened"
            assert not self.errors, self.errors
            self.turn(0.05)

    def output(self, p: subprocess.Popen[bytes]) -> str:
        """What the peer prints at its end, the stack being served meanwhile."""
        self.until(lambda: p.poll() is not None)
        assert p.stdout is not None
        return p.stdout.read().decode().strip()

    def close(self) -> None:
        for p in self.procs:
            if p.poll() is None:
                p.kill()
            p.wait()
            if p.stdout is not None:
                p.stdout.close()
        self.link.sock.close()
        subprocess.run(["ip", "link", "del", self.outer], capture_output=True)
        sh("ip", "netns", "del", self.name)


@contextlib.contextmanager
def world(**options: bool) -> Iterator[World]:
    w = World(**options)
    try:
        yield w
        assert not w.errors, w.errors
    finally:
        w.close()
