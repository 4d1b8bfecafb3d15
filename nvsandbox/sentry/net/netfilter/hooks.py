"""The five hooks of a namespace's stack (Linux: include/linux/netfilter.h, net/netfilter/core.c, nf_nat_core.c).

``Netfilter`` is what the stack knows: ``arrived`` takes received packets through PREROUTING and INPUT or FORWARD, ``output`` takes what is sent
through OUTPUT and POSTROUTING. A stack without rules has none.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from ..stack import forward, output
from ..stack.ip import is_loopback
from ..stack.link import GSO_TCPV4, GSO_TCPV6, Offload
from .conntrack import CONFIRMED, DST_NAT_DONE, SRC_NAT_DONE, ConnTable
from .nat import NOTHING, Nat
from .rules import ACCEPT, BUDGET, CONTINUE, DROP, Count, Rule, walk
from .skb import CT_NEW, CT_RELATED, REGISTERS, TCP, UDP, Skb, of_packet

if TYPE_CHECKING:
    from ..stack.output import Path
    from ..stack.owner import Owner
    from ..stack.packet import Packet
    from ..stack.stack import Stack

PREROUTING: Final = 0
INPUT: Final = 1
FORWARD: Final = 2
OUTPUT: Final = 3
POSTROUTING: Final = 4
HOOKS: Final = 5
# NF_IP_PRI_* (linux/netfilter_ipv4.h)
PRI_RAW: Final = -300
PRI_CONNTRACK: Final = -200
PRI_MANGLE: Final = -150
PRI_NAT_DST: Final = -100
PRI_FILTER: Final = 0
PRI_SECURITY: Final = 50
PRI_NAT_SRC: Final = 100
PRI_CONFIRM: Final = 1 << 31
HEADER_ROOM: Final = 512  # bytes of TCP and UDP that rules may look at


class Step:
    """Something that happens at a hook; steps are taken by ``priority``."""

    __slots__ = ("priority",)

    def __init__(self, priority: int) -> None:
        self.priority = priority

    def run(self, nf: Netfilter, skb: Skb) -> int:
        """ACCEPT: on with the next step; else the packet's end."""
        raise NotImplementedError


@final
class Base(Step):
    """A base chain: begins at ``rules[at]``; who returns meets ``policy``, or the rule ``rules[end]`` (-1: none). ``nat``: for first packets
    of connections only. ``count``: of what the policy has decided."""

    __slots__ = ("at", "count", "end", "families", "hook", "nat", "policy", "registers", "rules")

    def __init__(
        self, families: tuple[int, ...], hook: int, priority: int, rules: list[Rule], at: int = 0, end: int = -1,
        policy: int = ACCEPT, nat: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(priority)
        self.families = families
        self.hook = hook
        self.rules = rules
        self.at = at
        self.end = end
        self.policy = policy
        self.nat = nat
        self.count: Count | None = None
        self.registers = False  # its rules have some (nftables)

    def run(self, nf: Netfilter, skb: Skb) -> int:
        if self.registers:
            skb.regs = bytearray(REGISTERS)
        v = walk(skb, self.rules, self.at)
        if v == CONTINUE:
            v = self.policy
            if self.count is not None:
                self.count.run(skb)
            if self.end >= 0:
                v = self.rules[self.end].run(skb)
        return v if v >= 0 else ACCEPT


@final
class Track(Step):
    __slots__ = ()

    def run(self, nf: Netfilter, skb: Skb) -> int:
        return ACCEPT if nf.table.track(skb) else DROP


@final
class Confirm(Step):
    __slots__ = ()

    def run(self, nf: Netfilter, skb: Skb) -> int:
        return ACCEPT if nf.table.confirm(skb) else DROP


@final
class Translate(Step):
    """Address translation of one hook: its chains are asked once a connection."""

    __slots__ = ("chains", "source")

    def __init__(self, priority: int, source: bool) -> None:
        super().__init__(priority)
        self.source = source
        self.chains: list[Base] = []

    def run(self, nf: Netfilter, skb: Skb) -> int:
        c = skb.ct
        if c is None:
            return ACCEPT
        done = SRC_NAT_DONE if self.source else DST_NAT_DONE
        if skb.state == CT_NEW and not c.status & done and not skb.reply:
            for chain in self.chains:
                v = chain.run(nf, skb)
                if v != ACCEPT:
                    return v
                if c.status & done:
                    break
            if not nf.nat.setup(c, NOTHING, self.source):
                return DROP
        nf.nat.apply(skb, self.source)
        return ACCEPT


def _priority(s: Step) -> int:
    return s.priority


@final
class Netfilter:
    """``steps``: by address length and hook. ``carried``: the packet that comes over loopback next, as it was when it was sent: its
    connection and mark stay with it. ``related``: the packet that what is sent next is an error about (Linux: nf_ct_attach)."""

    __slots__ = ("carried", "nat", "recent", "related", "stack", "steps", "table", "tracking")

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.table = ConnTable(stack.now)
        self.nat = Nat(self.table, stack.random)
        self.steps: dict[int, list[list[Step]]] = {4: [[]] * HOOKS, 16: [[]] * HOOKS}
        self.tracking = False
        self.carried: Skb | None = None
        self.related: Skb | None = None
        # Of the match "recent": lists by name, of addresses with a TTL and when they were seen.
        self.recent: dict[bytes, dict[bytes, tuple[int, list[int]]]] = {}

    def load(self, chains: list[Base], tracking: bool) -> None:
        """Takes a whole new rule set. ``tracking``: a rule asks for connections."""
        self.tracking = tracking
        for family in (4, 16):
            hooks: list[list[Step]] = []
            for hook in range(HOOKS):
                here = [c for c in chains if c.hook == hook and family in c.families]
                here.sort(key=_priority)
                steps: list[Step] = [c for c in here if not c.nat]
                if self.tracking:
                    if hook in (PREROUTING, OUTPUT):
                        steps.append(Track(PRI_CONNTRACK))
                    if hook != FORWARD:
                        source = hook in (INPUT, POSTROUTING)
                        t = Translate(PRI_NAT_SRC if source else PRI_NAT_DST, source)
                        t.chains = [c for c in here if c.nat]
                        steps.append(t)
                    if hook in (INPUT, POSTROUTING):
                        steps.append(Confirm(PRI_CONFIRM))
                steps.sort(key=_priority)
                hooks.append(steps)
            self.steps[family] = hooks

    def run(self, skb: Skb, hook: int) -> int:
        """The verdict of all of a hook: ACCEPT, or the packet is to go no further."""
        skb.hook = hook
        skb.budget = BUDGET
        for step in self.steps[len(skb.src)][hook]:
            v = step.run(self, skb)
            if v != ACCEPT:
                return v
        return ACCEPT

    # In
    def arrived(self, p: Packet) -> None:
        """A received packet, whole; it is delivered, forwarded or dropped."""
        stack = self.stack
        skb = _received(p)
        before, self.carried = self.carried, None
        if before is not None and p.iface is stack.loop:
            skb.ct, skb.state, skb.reply, skb.tracked = (
                before.ct,
                before.state,
                before.reply,
                before.tracked,
            )
            skb.mark = before.mark
            skb.looped = True
        if self.run(skb, PREROUTING) != ACCEPT:
            return
        c = skb.ct
        if stack.outside is not None and c is not None and not c.status & CONFIRMED:
            c.outside = stack.outside(p.iface)
        through = p.through
        if skb.dst != p.dst:
            through = not (skb.dst in stack.own or is_loopback(skb.dst))
            if is_loopback(skb.dst) and p.iface is not stack.loop and not stack.route_localnet:
                return
            p.local = not through
        if through:
            if p.by_broadcast():
                return
            write_back(p, skb)
            forward.forward(stack, p, skb)
            return
        if self.run(skb, INPUT) != ACCEPT:
            return
        write_back(p, skb)
        stack.deliver(p)

    # Out
    def output(
        self, path: Path, src: bytes, proto: int, parts: list[bytes], ttl: int, tos: int, dont_fragment: bool,
        offload: Offload | None, owner: Owner | None,
    ) -> int:  # fmt: skip
        """What the stack sends; as ``output.send``, and -EPERM when a rule drops it."""
        stack = self.stack
        size = sum(map(len, parts))
        flags = 0x4000 if dont_fragment else 0
        head = output.header(src, path.dst, proto, size, ttl, tos, 0, flags)
        partial = offload is not None and offload.csum_start >= 0
        skb = Skb(head, parts[0], size - len(parts[0]), src, path.dst, proto, partial)
        done = self._leave(skb, path, owner)
        if isinstance(done, int):
            return done
        if skb.changed:
            if skb.partial:
                skb.finish_partial(size)
            parts = [skb.l4, *parts[1:]]
        if done is not path and offload is not None and proto == TCP:
            _recut(done, offload, size + len(head), len(head), len(src) == 4)
        self._carry(done, skb)
        return output.emit(
            stack, done, skb.src, proto, parts, skb.ttl(), skb.tos(), dont_fragment, offload
        )

    def output_packet(self, path: Path, packet: bytes, owner: Owner | None) -> bytes | int:
        """A packet with its header, as a raw socket has it (IP_HDRINCL): as it leaves, or -errno. ``path`` may lead it elsewhere only
        through ``output``'s way, so one whose destination a rule changes is dropped."""
        skb = of_packet(packet)
        done = self._leave(skb, path, owner)
        if isinstance(done, int):
            return done
        if done is not path:
            return -errno.EPERM
        self._carry(path, skb)
        return skb.head + skb.l4

    def _leave(self, skb: Skb, path: Path, owner: Owner | None) -> Path | int:
        """OUTPUT and POSTROUTING: the path that it takes then, or -errno (0: a rule has dealt with it)."""
        stack = self.stack
        skb.owner = owner
        skb.mark = owner.mark if owner is not None else 0
        skb.oif, skb.oindex = path.iface.name.encode("latin-1"), path.iface.index
        about, self.related = self.related, None
        if about is not None and about.ct is not None:
            skb.ct, skb.state, skb.reply, skb.tracked = about.ct, CT_RELATED, not about.reply, True
        dst = skb.dst
        v = self.run(skb, OUTPUT)
        if v != ACCEPT:
            return -errno.EPERM if v == DROP else 0
        if skb.dst != dst:
            found = output.find_path(stack, skb.dst)
            if isinstance(found, int):
                return found
            path = found
            if path.iface is not stack.loop and not self._allowed(skb, path):
                return -errno.EPERM
            skb.oif, skb.oindex = path.iface.name.encode("latin-1"), path.iface.index
        v = self.run(skb, POSTROUTING)
        if v != ACCEPT:
            return -errno.EPERM if v == DROP else 0
        return path

    def _carry(self, path: Path, skb: Skb) -> None:
        if path.iface is self.stack.loop:
            self.carried = skb  # the link takes it at once (loopback.py)

    def through(self, p: Packet, skb: Skb, path: Path) -> bool:
        """FORWARD and POSTROUTING of a packet that has been routed; False: it goes no further."""
        skb.iif, skb.iindex = p.iface.name.encode("latin-1"), p.iface.index
        skb.oif, skb.oindex = path.iface.name.encode("latin-1"), path.iface.index
        if self.run(skb, FORWARD) != ACCEPT:
            return False
        return self._allowed(skb, path) and self.run(skb, POSTROUTING) == ACCEPT

    def _allowed(self, skb: Skb, path: Path) -> bool:
        """Whether --egress lets it out: who has come from outside is answered."""
        if skb.ct is not None and skb.reply and skb.ct.outside:
            return True
        return self.stack.allowed(path.iface, skb.proto, skb.dst, skb.l4)


def _received(p: Packet) -> Skb:
    end = p.end
    if p.proto in (TCP, UDP):
        end = min(end, p.start + HEADER_ROOM)
    skb = Skb(
        p.buf[p.ip : p.start], p.buf[p.start : end], p.end - end, p.src, p.dst, p.proto, p.csum_ok
    )
    skb.iif, skb.iindex = p.iface.name.encode("latin-1"), p.iface.index
    return skb


def write_back(p: Packet, skb: Skb) -> None:
    """What the hooks have changed."""
    if not skb.changed:
        return
    skb.changed = False
    rest = p.buf[p.end - skb.more : p.end] if skb.more else b""
    p.buf = skb.head + skb.l4 + rest
    p.ip, p.start, p.end = 0, len(skb.head), len(p.buf)
    p.src, p.dst = skb.src, skb.dst
    p.ttl, p.tos = skb.ttl(), skb.tos()


def _recut(path: Path, offload: Offload, size: int, head: int, v4: bool) -> None:
    """A segment that was made for another path is cut to the size that this one takes."""
    room = path.mtu - head - offload.hdr_len
    if size > path.mtu and offload.csum_start >= 0 and room > 0:
        offload.gso_type = GSO_TCPV4 if v4 else GSO_TCPV6
        offload.gso_size = min(offload.gso_size or room, room)
