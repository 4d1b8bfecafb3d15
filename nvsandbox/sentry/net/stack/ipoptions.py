"""IPv4's options (RFC 791 section 3.1, RFC 1122 section 3.2.1.8; Linux: net/ipv4/ip_options.c): those that programs send, and answers to those that
come. Record route and timestamps are filled in; source routes are not to be had, in neither direction.
"""

from __future__ import annotations

import time
from typing import Final, final

END: Final = 0
NOP: Final = 1
RECORD_ROUTE: Final = 7
TIMESTAMP: Final = 68
ROUTER_ALERT: Final = 148
SOURCE_ROUTES: Final = (131, 137)
TS_ONLY: Final = 0
TS_AND_ADDRESS: Final = 1
TS_PRESPECIFIED: Final = 3
MOST: Final = 40


@final
class IpOptions:
    """``raw``: as the program gave them, padded. ``route``, ``stamp``: where an address is to be filled in, -1: nowhere;
    ``clock``: where a time is; ``full``: where the number of those is that time stamps had no room for. ``data``: with the pointers moved on, ready to be filled."""

    __slots__ = ("clock", "data", "full", "raw", "route", "stamp")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.data = bytearray(raw)
        self.route = self.stamp = self.clock = self.full = -1

    def build(self, src: bytes) -> bytes:
        """As they are sent from ``src`` now."""
        out = bytearray(self.data)
        if self.route >= 0:
            out[self.route : self.route + 4] = src
        if self.stamp >= 0:
            out[self.stamp : self.stamp + 4] = src
        if self.clock >= 0:
            out[self.clock : self.clock + 4] = now()
        return bytes(out)


def now() -> bytes:
    """Milliseconds since midnight, UT."""
    return (time.time_ns() // 1_000_000 % 86_400_000).to_bytes(4, "big")


def parse(raw: bytes, anything: bool, own: frozenset[bytes] = frozenset()) -> IpOptions | None:
    """What IP_OPTIONS is set to; None: malformed, or not to be had. ``anything``: options that Linux does not know are for CAP_NET_RAW.
    ``own``: addresses that prespecified timestamps are for."""
    if len(raw) > MOST:
        return None
    o = IpOptions(raw + bytes(-len(raw) % 4))
    d = o.data
    at, seen_route, seen_stamp = 0, False, False
    while at < len(d):
        kind = d[at]
        if kind == END:
            d[at:] = bytes(len(d) - at)
            o.raw = o.raw[:at].ljust(len(d), b"\0")
            break
        if kind == NOP:
            at += 1
            continue
        if at + 2 > len(d) or not 2 <= d[at + 1] <= len(d) - at:
            return None
        n = d[at + 1]
        if kind in SOURCE_ROUTES:
            return None
        if kind == RECORD_ROUTE:
            if seen_route or n < 3 or d[at + 2] < 4:
                return None
            seen_route = True
            if d[at + 2] <= n:
                if d[at + 2] + 3 > n:
                    return None
                o.route = at + d[at + 2] - 1
                d[at + 2] += 4
        elif kind == TIMESTAMP:
            if seen_stamp or n < 4 or d[at + 2] < 5:
                return None
            seen_stamp = True
            if not _stamp(o, at, n, anything, own):
                return None
        elif kind == ROUTER_ALERT:
            if n < 4:
                return None
        elif not anything:
            return None
        at += n
    return o


def _stamp(o: IpOptions, at: int, n: int, anything: bool, own: frozenset[bytes]) -> bool:
    d = o.data
    pointer, kind = d[at + 2], d[at + 3] & 15
    if pointer > n:
        if kind != TS_PRESPECIFIED:
            o.full = at + 3
        return kind == TS_PRESPECIFIED or d[at + 3] >> 4 != 15
    if pointer + 3 > n:
        return False
    if kind == TS_ONLY:
        o.clock = at + pointer - 1
        d[at + 2] += 4
    elif kind in (TS_AND_ADDRESS, TS_PRESPECIFIED):
        if pointer + 7 > n:
            return False
        if kind == TS_AND_ADDRESS:
            o.stamp = at + pointer - 1
        elif bytes(d[at + pointer - 1 : at + pointer + 3]) not in own:
            return True
        o.clock = at + pointer + 3
        d[at + 2] += 8
    else:
        return anything
    return True


def received(data: bytes, own: bytes) -> bytes:
    """Options of a packet that has come to ``own``, which is recorded in them, as IP_RECVOPTS and raw sockets show them."""
    o = parse(data, True, frozenset((own,)))
    if o is None:
        return data
    if o.full >= 0 and o.data[o.full] >> 4 < 15:
        o.data[o.full] += 0x10
    return o.build(own)


def answer(data: bytes) -> IpOptions | None:
    """The options of an answer to a packet with these, which were ``received``: what is recorded goes on being recorded (Linux: ip_options_echo)."""
    kept = b""
    at = 0
    while at < len(data) and data[at] != END:
        if data[at] == NOP:
            at += 1
            continue
        n = data[at + 1] if at + 1 < len(data) else 0
        if n < 2 or at + n > len(data):
            return None
        if data[at] in (RECORD_ROUTE, TIMESTAMP):
            kept += data[at : at + n]
        at += n
    return parse(kept, True) if kept else None


def of_fragment(options: bytes) -> bytes:
    """Those of fragments but the first: the ones that say so are copied, the others become padding."""
    out = b""
    at = 0
    while at < len(options) and options[at] != END:
        n = 1 if options[at] == NOP else options[at + 1]
        out += options[at : at + n] if options[at] & 0x80 else b"\1" * n
        at += n
    return out + bytes(len(options) - len(out))
