"""The packet filter's engine and iptables' tables, without a sandbox (docs/network.md)."""

from __future__ import annotations

import errno
import struct
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nvsandbox.sentry.errors import SysErr
from nvsandbox.sentry.net.netfilter import conntrack, hooks, legacy, nat, rules, skb, xt_targets
from nvsandbox.sentry.net.netfilter.conntrack import ConnTable, inverse
from nvsandbox.sentry.net.netfilter.skb import Skb
from nvsandbox.sentry.net.stack import output
from nvsandbox.sentry.net.stack.checksum import ones_sum, pseudo_sum
from nvsandbox.sentry.net.stack.stack import Stack

NO = legacy.NO_HOOK
A4, B4 = b"\x0a\0\0\1", b"\x0a\0\0\2"


class Clock:
    def __init__(self) -> None:
        self.ns = 10**12

    def __call__(self) -> int:
        return self.ns


def numbers(n: int) -> bytes:
    return bytes(i & 255 for i in range(1, n + 1))


def packet(
    src: bytes = A4, dst: bytes = B4, proto: int = 6, sport: int = 1000, dport: int = 80, flags: int = 2, data: bytes = b"abc"
) -> Skb:  # fmt: skip
    ports = sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    if proto == 6:
        l4 = ports + bytes(8) + bytes((0x50, flags)) + bytes(6) + data
    elif proto == 17:
        l4 = ports + (8 + len(data)).to_bytes(2, "big") + bytes(2) + data
    else:
        l4 = bytes((8, 0, 0, 0)) + ports + data
    at = skb.CHECKSUM_AT[proto]
    total = ones_sum(l4) + (0 if proto == 1 else pseudo_sum(src, dst, proto, len(l4)))
    l4 = l4[:at] + (65535 - total % 65535).to_bytes(2, "big") + l4[at + 2 :]
    head = output.header(src, dst, proto, len(l4), 64, 0, 0, 0)
    return Skb(head, l4, 0, src, dst, proto, False)


def right(p: Skb) -> bool:
    """Whether both checksums hold."""
    total = ones_sum(p.l4)
    if p.proto != 1:
        total += pseudo_sum(p.src, p.dst, p.proto, len(p.l4))
    return total % 65535 == 0 and (len(p.src) == 16 or ones_sum(p.head) % 65535 == 0)


def engine(
    source: nat.Range | None = None, dest: nat.Range | None = None
) -> tuple[hooks.Netfilter, Clock]:
    """With one translation for all, at POSTROUTING and at OUTPUT and PREROUTING."""
    clock = Clock()
    nf = hooks.Netfilter(Stack(clock, numbers))
    chains = []

    nf.stack.nf = nf
    for r, here, kind in ((source, (4,), b"SNAT"), (dest, (0, 3), b"DNAT")):
        for hook in here if r is not None else ():
            assert r is not None
            target = xt_targets.NatTarget(kind, r, nf.stack)
            chains.append(hooks.Base((4, 16), hook, 0, [rules.Rule([target])], nat=True))
    nf.load(chains, True)
    return nf, clock


def through(nf: hooks.Netfilter, p: Skb) -> Skb:
    """A packet that is forwarded."""
    p.tracked = False
    for hook in (hooks.PREROUTING, hooks.FORWARD, hooks.POSTROUTING):
        assert nf.run(p, hook) == rules.ACCEPT
    return p


addresses = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))


@given(
    st.integers(4, 16).filter(lambda n: n in (4, 16)), st.data(), st.sampled_from((6, 17, 1)), st.integers(1, 65535),
    st.integers(1, 65535), st.binary(max_size=40),
)  # fmt: skip
def test_translation_comes_back(
    size: int, data: st.DataObject, proto: int, sport: int, dport: int, body: bytes
) -> None:
    """What was translated one way is translated back the other, and every checksum holds all the time."""
    if size == 16 and proto == 1:
        proto = 17
    ip = st.binary(min_size=size, max_size=size)
    src, dst, new_src, new_dst = (data.draw(ip) for _ in range(4))
    assume(len({src, dst, new_src, new_dst}) == 4)
    nf, _ = engine(
        nat.Range(nat.MAP_IPS, new_src, new_src, 0, 0),
        nat.Range(nat.MAP_IPS, new_dst, new_dst, 0, 0),
    )
    p = through(nf, packet(src, dst, proto, sport, dport, data=body))
    assert (p.src, p.dst) == (new_src, new_dst) and right(p)
    kind = 0 if proto == 1 else 2
    back = packet(new_dst, new_src, proto, p.dport() if proto != 1 else 0, p.sport() if proto != 1 else 0, 18, body)  # fmt: skip
    if proto == 1:
        l4 = bytes((kind, 0, 0, 0)) + p.l4[4:]
        back.l4 = l4[:2] + (65535 - ones_sum(l4) % 65535).to_bytes(2, "big") + l4[4:]
    back = through(nf, back)
    assert (back.src, back.dst) == (dst, src) and right(back)
    if proto != 1:
        assert (back.sport(), back.dport()) == (dport, sport)
    else:
        assert back.l4[4:6] == sport.to_bytes(2, "big")


def test_two_sources_of_one_port_stay_apart() -> None:
    nf, _ = engine(nat.Range(nat.MAP_IPS, b"\x09\0\0\1", b"\x09\0\0\1", 0, 0))
    one = through(nf, packet(A4, sport=5000))
    two = through(nf, packet(b"\x0a\0\0\3", sport=5000))
    assert one.src == two.src and one.sport() == 5000 != two.sport() >= 1024
    assert right(two)
    back = through(nf, packet(B4, two.src, sport=80, dport=two.sport(), flags=18))
    assert (back.dst, back.dport()) == (b"\x0a\0\0\3", 5000)


def test_icmp_errors_are_translated_inside() -> None:
    nf, _ = engine(nat.Range(nat.MAP_IPS, b"\x09\0\0\1", b"\x09\0\0\1", 0, 0))
    p = through(nf, packet(proto=17, sport=5000, dport=53))
    body = b"\x0b\0\0\0\0\0\0\0" + p.head + p.l4[:8]
    body = body[:2] + (65535 - ones_sum(body) % 65535).to_bytes(2, "big") + body[4:]
    e = Skb(output.header(b"\x08\0\0\1", b"\x09\0\0\1", 1, len(body), 64, 0, 0, 0), body, 0, b"\x08\0\0\1", b"\x09\0\0\1", 1, False)  # fmt: skip
    through(nf, e)
    assert e.state == skb.CT_RELATED and e.dst == A4 and right(e)
    assert e.l4[20:24] == A4 and e.l4[28:30] == (5000).to_bytes(2, "big")
    assert ones_sum(e.l4[8:28]) % 65535 == 0


def test_states_of_a_connection() -> None:
    table = ConnTable(clock := Clock())

    def state(*args: int, reply: bool = False) -> int:
        flags = args[0]
        p = packet(B4, A4, sport=80, dport=1000, flags=flags) if reply else packet(flags=flags)
        assert table.track(p) and table.confirm(p)
        return p.state

    assert state(18, reply=True) == skb.CT_INVALID  # an answer to nothing
    assert state(2) == skb.CT_NEW
    assert state(2) == skb.CT_NEW
    assert state(18, reply=True) == skb.CT_ESTABLISHED
    assert state(16) == skb.CT_ESTABLISHED
    assert state(17) == state(17, reply=True) == state(16) == skb.CT_ESTABLISHED
    (c,) = table.all()
    assert c.state == conntrack.TIME_WAIT and c.status & conntrack.ASSURED
    assert state(2) == skb.CT_NEW  # a new one in its place
    clock.ns += 121 * 10**9
    assert table.find(c.orig) is None and not table.known


def test_table_is_bounded() -> None:
    table = ConnTable(Clock())
    table.limit = 50
    for i in range(500):
        p = packet(proto=17, sport=i + 1)
        assert table.track(p) and table.confirm(p)
        assert table.count <= 50 and len(table.known) == 2 * table.count
    for c in table.all():
        c.status |= conntrack.ASSURED
    p = packet(proto=17, sport=1000)
    assert table.track(p) and not table.confirm(p)  # none of them may be lost for it


@given(st.tuples(st.sampled_from((6, 17, 1)), addresses, addresses, st.integers(0, 65535), st.integers(0, 65535)))  # fmt: skip
def test_inverse_is_its_own(k: conntrack.Key) -> None:
    assert inverse(inverse(k)) == k


def test_extension_headers_hide_nothing() -> None:
    """What is behind them is what rules look at; of later fragments nothing is."""
    udp = packet(b"\xfd" + bytes(15), b"\xfe" + bytes(15), 17).l4
    options = bytes((60, 0, 1, 4)) + bytes(4) + bytes((17, 1)) + bytes(14)
    head = output.header(b"\xfd" + bytes(15), b"\xfe" + bytes(15), 0, 24 + len(udp), 64, 0, 0, 0)
    p = skb.of_packet(head + options + udp)
    assert (p.proto, p.l4, len(p.head), p.fragment) == (17, udp, 64, False) and p.has_ports()
    for at, hidden in ((0, False), (1, False), (8, True)):
        fragment = bytes((17, 0)) + at.to_bytes(2, "big") + bytes(4)
        head = output.header(p.src, p.dst, 44, 8 + len(udp), 64, 0, 0, 0)
        q = skb.of_packet(head + fragment + udp)
        assert (q.proto, q.fragment, q.has_ports()) == (17, hidden, not hidden)
    for n in range(40, 70):
        assert skb.of_packet((head + bytes((60, 255)) * 20)[:n]).size() == n


# Chains
ops = st.sampled_from(("accept", "drop", "return", "nothing", "miss"))


@given(st.lists(st.lists(st.tuples(ops, st.integers(0, 5)), max_size=6), min_size=1, max_size=6))
def test_walk_is_what_recursion_says(chains: list[list[tuple[str, int]]]) -> None:
    """Jumps go to later chains only, so that the recursive reading ends."""
    verdicts = {"accept": rules.ACCEPT, "drop": rules.DROP, "return": rules.RETURN}
    lists: list[list[rules.Rule]] = [[] for _ in chains]

    def said(n: int) -> int:
        for what, to in chains[n]:
            if what in ("accept", "drop"):
                return verdicts[what]
            if what == "return":
                return rules.CONTINUE
            if what == "nothing" and n + 1 + to < len(chains):
                v = said(n + 1 + to)
                if v != rules.CONTINUE:
                    return v
        return rules.CONTINUE

    for n, chain in enumerate(chains):
        for what, to in chain:
            if what in verdicts:
                op: list[rules.Op] = [rules.Verdict(verdicts[what])]
            elif what == "nothing" and n + 1 + to < len(chains):
                op = [rules.Jump(lists[n + 1 + to], 0, False)]
            elif what == "miss":
                op = [rules.Verdict(rules.BREAK), rules.Verdict(rules.DROP)]
            else:
                op = []
            lists[n].append(rules.Rule(op))
    p = packet()
    p.budget = rules.BUDGET
    assert rules.walk(p, lists[0], 0) == said(0)


def test_chains_that_double_end() -> None:
    """40 chains that jump twice to the next are 2^40 rules: a packet gets no more than its share."""
    lists: list[list[rules.Rule]] = [[] for _ in range(41)]
    for n in range(40):
        lists[n] += [rules.Rule([rules.Jump(lists[n + 1], 0, False)]) for _ in range(2)]
    p = packet()
    p.budget = rules.BUDGET
    before = time.process_time()
    assert rules.walk(p, lists[0], 0) == rules.DROP and p.budget == 0
    assert time.process_time() - before < 30


# iptables' tables
def entry(
    verdict: int, family: int = 4, proto: int = 0, goto: bool = False, more: bytes = b""
) -> bytes:
    at = legacy.LAYOUTS[family]
    raw = bytearray(at.entry)
    raw[at.proto] = proto
    raw[at.flags] = at.goto if goto else 0
    size = at.entry + len(more) + 40
    struct.pack_into("<HH", raw, at.offsets, at.entry + len(more), size)
    return bytes(raw) + more + struct.pack("<H29sBi4x", 40, b"", 0, verdict)


def last(family: int = 4, name: bytes = b"ERROR") -> bytes:
    at = legacy.LAYOUTS[family]
    raw = bytearray(at.entry)
    struct.pack_into("<HH", raw, at.offsets, at.entry, at.entry + 64)
    return bytes(raw) + struct.pack("<H29sB30s2x", 64, b"ERROR", 0, name)


ONE = len(entry(0))  # bytes of an entry without matches
STACK = Stack(Clock(), numbers)
NF = hooks.Netfilter(STACK)


def raw_table(entries: list[bytes], first: int = 0, end: int = 1) -> legacy.Table:
    """``raw``: both of its hooks begin with one entry and end with another."""
    starts = [sum(map(len, entries[:first]))] * 4 + [NO]
    ends = [sum(map(len, entries[:end]))] * 4 + [NO]
    return legacy.load(4, b"raw", 9, len(entries), b"".join(entries), starts, ends, STACK)


def test_empty_tables_are_as_they_come() -> None:
    for family in (4, 16):
        for name in legacy.NAMES:
            t = legacy.empty(family, name)
            assert t.trivial and t.shown() == t.blob


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([entry(ONE), entry(-2), last()], 0),
        ([entry(0), entry(-2), last()], errno.ELOOP),  # to itself
        ([entry(2 * ONE + len(last())), entry(-2), last(name=b"a"), entry(0, proto=6), entry(-5), last()], errno.ELOOP),
        ([entry(2 * ONE + len(last())), entry(-2), last(name=b"a"), entry(-5), last()], 0),
        ([entry(8), entry(-2), last()], errno.EINVAL),  # into the middle of one
        ([entry(-2), entry(-5), last()], errno.EINVAL),  # a policy that is none
        ([entry(-2), entry(-2, proto=6), last()], errno.EINVAL),
        ([entry(-9), entry(-2), last()], errno.EINVAL),
        ([entry(-2), entry(-2)], errno.EINVAL),  # no end
        ([entry(-2, more=struct.pack("<H29sB", 24, b"tcp", 0)), entry(-2), last()], errno.EINVAL),
        ([entry(-2, more=struct.pack("<H29sB16x", 48, b"tcp", 0)), entry(-2), last()], errno.EINVAL),  # of no protocol
        ([entry(-2, proto=6, more=struct.pack("<H29sB16x", 48, b"tcp", 0)), entry(-2), last()], 0),
        ([entry(-2, proto=6, more=struct.pack("<H29sB8x", 40, b"tcp", 0)), entry(-2), last()], errno.EINVAL),
        ([entry(-2, more=struct.pack("<H29sB8x", 40, b"nosuch", 0)), entry(-2), last()], errno.ENOENT),
    ],
)  # fmt: skip
def test_what_a_table_may_be(entries: list[bytes], error: int) -> None:
    if not error:
        raw_table(entries)
        return
    with pytest.raises(SysErr) as e:
        raw_table(entries)
    assert e.value.errno == error


def test_a_thousand_rules() -> None:
    """A long chain is gone through by each packet, and at once."""
    n = 1000
    entries = [entry(-1, proto=99) for _ in range(n)] + [entry(-2), last()]
    t = raw_table(entries, end=n)
    p = packet()
    p.budget = rules.BUDGET
    before = time.process_time()
    for _ in range(20):
        assert t.chains[0].run(NF, p) == rules.ACCEPT
        p.budget = rules.BUDGET
    assert time.process_time() - before < 20
    assert [e.count.packets for e in t.entries] == [0] * n + [20, 0]
